#!/usr/bin/env python3
"""Time the training of a DecT decoder on cached features against PyTorch.

    scripts/setup --test && swift build -c release
    .venv/bin/python benchmarks/dect.py [--json results.json]
    .venv/bin/python benchmarks/dect.py --large [--width 1024]

Both sides run in this process on the same features, initial weights and number of threads, in turn, so that a change in
the machine's speed meets both. Measured is a whole fit: preparation (radii, calibration) and 30 full-batch epochs of
Adam, hidden states of 1024 numbers, 16 examples a class. PyTorch's side does what the authors' code does: nn.Linear,
distances from a tensor of differences, torch.optim.Adam. Compared first: the losses of all epochs.

--large trains on 100,000 cached examples of 77 classes, SeamKit alone, and gives time and peak memory. What the sizes
ask for at the least is printed beside each time: multiply-adds of the two products with the hidden states (forward and
the gradient of W), and the bytes that they read.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

# A value inherited from the machine's set-up would keep SeamKit from choosing its own kernels; PyTorch uses MKL.
INHERITED = os.environ.pop("OPENBLAS_CORETYPE", None) if "--keep-coretype" not in sys.argv else None

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "Tests" / "python")]
os.environ.setdefault("SEAM_LIBRARY", str(ROOT / ".build" / "release" / "libSeam.so"))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from dect_reference import DecT, Features, features  # noqa: E402
from seam_abi import Array, library  # noqa: E402
from seam_objects import Backbone, Runtime  # noqa: E402
from tiny_models import t5  # noqa: E402

WIDTH, PROJECTION, SHOTS, EPOCHS = 1024, 128, 16, 30


def carrier(width: int, folder: Path) -> Backbone:
    """An open backbone of a width: what it computes does not matter here."""
    t5(d_model=width, d_kv=2, d_ff=2, num_layers=1, num_decoder_layers=1).save_pretrained(folder)
    plugins = Path(os.environ["SEAM_LIBRARY"]).parent
    return Runtime([plugins / "libTransformer.so", plugins / "libDecT.so"]).open(folder)


def floor(examples: int, width: int) -> str:
    work = 2 * 2 * examples * PROJECTION * width * EPOCHS
    read = 2 * 4 * examples * width * EPOCHS
    return f"{work / 1e9:.2f} GFLOP, {read / 1e9:.2f} GB of hidden states read"


def small(backbone: Backbone, rounds: int) -> list[dict[str, float]]:
    print(f"\n{'fit, ms, median (min ... max)':32}{'SeamKit':>26}{'PyTorch':>26}{'ratio':>8}")
    results = []
    for classes in (2, 4, 14):
        given = features(classes, SHOTS, WIDTH, noise=4.0)
        start = backbone.classifier("dect", classes).parameters
        initial = {name: np.array(value) for name, value in start.items()}

        def ours() -> tuple[float, list[float]]:
            adapter = backbone.classifier("dect", classes)
            begin = time.perf_counter()
            losses = adapter.fit(given.scores, given.hidden, given.labels, given.empty)
            return time.perf_counter() - begin, losses

        def theirs() -> tuple[float, list[float]]:
            model = reference(classes, initial)
            begin = time.perf_counter()
            model.prepare(given)
            losses = model.fit(given)
            return time.perf_counter() - begin, losses

        difference = np.abs(np.array(ours()[1]) - np.array(theirs()[1])).max()
        times: dict[str, list[float]] = {"SeamKit": [], "PyTorch": []}
        for _ in range(rounds):
            for name, run in (("SeamKit", ours), ("PyTorch", theirs)):
                # The other side's threads, which wait for work by spinning, go to sleep, and the caches turn over.
                time.sleep(0.05)
                for _ in range(3):
                    run()
                times[name] += [run()[0] * 1e3 for _ in range(3)]
        ratio = statistics.median(times["PyTorch"]) / statistics.median(times["SeamKit"])
        print(
            f"{f'{classes} classes, {len(given.labels)} examples':32}{spread(times['SeamKit']):>26}"
            f"{spread(times['PyTorch']):>26}{ratio:7.1f}x   losses differ by {difference:.0e}; floor "
            f"{floor(len(given.labels), WIDTH)}"
        )
        results.append(
            {"classes": classes, "ratio": ratio, "difference": float(difference)}
            | {name: statistics.median(values) for name, values in times.items()}
        )
    return results


def reference(classes: int, initial: dict[str, Array]) -> DecT:
    model = DecT(classes, WIDTH)
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor(initial["projection"]))
        model.prototypes.copy_(torch.tensor(initial["prototypes"]))
    return model


def large(backbone: Backbone, width: int, examples: int, classes: int) -> dict[str, float]:
    given = many(examples, classes, width)
    size = (given.hidden.nbytes + given.scores.nbytes) / 2**20
    before = peak()
    adapter = backbone.classifier("dect", classes)
    begin = time.perf_counter()
    losses = adapter.fit(given.scores, given.hidden, given.labels, given.empty)
    seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    right = float((adapter.classify(given.scores, given.hidden).argmax(1) == given.labels).mean())
    print(
        f"{examples} examples, {classes} classes, hidden {width}: {seconds:.1f} s for the fit, "
        f"{time.perf_counter() - begin:.1f} s to classify all; floor {floor(examples, width)}"
    )
    print(f"peak memory {peak():.0f} MiB, of them {before:.0f} before the fit, with features of {size:.0f}")
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, accuracy on the same examples {right:.3f}")
    return {"seconds": seconds, "peak_mib": peak(), "before_mib": before}


def many(examples: int, classes: int, width: int) -> Features:
    """As `features`, made in place: nothing of it may count as the fit's memory."""
    random = np.random.default_rng(0)
    labels = np.arange(examples, dtype=np.int32) % classes
    centres = random.standard_normal((classes, width), np.float32)
    hidden = random.standard_normal((examples, width), np.float32)
    hidden *= 4
    for start in range(0, examples, 1000):
        hidden[start : start + 1000] += centres[labels[start : start + 1000]]
    scores = random.standard_normal((examples, classes), np.float32)
    scores -= 4
    return Features(scores, hidden, labels, np.full(classes, -4, np.float32) + random.random(classes, np.float32))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} ... {max(values):.1f})"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="rounds, each with every measurement three times")
    parser.add_argument("--large", action="store_true", help="100,000 examples of 77 classes")
    parser.add_argument("--width", type=int, default=WIDTH, help="of the hidden states, with --large")
    parser.add_argument("--threads", type=int, default=2, help="of both sides")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--keep-coretype", action="store_true", help="obey an inherited OPENBLAS_CORETYPE")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    library().seam_set_thread_count(arguments.threads)
    torch.manual_seed(0)
    print(
        f"machine: {processor()}, {os.cpu_count()} cores; threads of both sides: {arguments.threads}; torch {torch.__version__}, "
        f"Python {platform.python_version()}; inherited OPENBLAS_CORETYPE: {INHERITED or 'none'}"
    )
    with tempfile.TemporaryDirectory() as folder:
        backbone = carrier(arguments.width if arguments.large else WIDTH, Path(folder))
        found = large(backbone, arguments.width, 100_000, 77) if arguments.large else small(backbone, arguments.rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
