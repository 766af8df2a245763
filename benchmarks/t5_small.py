#!/usr/bin/env python3
"""Time a RepCali training step and a forward pass of a T5-small-sized model against PyTorch + Transformers.

    scripts/setup --test && swift build -c release
    .venv/bin/python benchmarks/t5_small.py [--json results.json]

Both sides run in this process on the same random weights and the same batch (8 sources of 128 tokens, 8 targets of 32,
f32), in turn, so that a change in the machine's speed meets both. Compared first: the logits and the loss of the first
steps. The training step is RepCali alone on a frozen model: forward, backward to the seam, clipping, AdamW. Three
SeamKit figures are given: with the encoder in every step, as PyTorch has it, and with the seam cache's work only (the
decoder), which is what later epochs of a run cost; the latter is measured as a step minus an encoder pass.

PyTorch's side is Transformers' T5ForConditionalGeneration, eval mode (no dropout, which SeamKit does not apply), the
RepCali block as a torch module on the encoder's output, requires_grad off for the model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# A value inherited from the machine's set-up would keep SeamKit from choosing its own kernels; PyTorch uses MKL.
INHERITED = os.environ.pop("OPENBLAS_CORETYPE", None) if "--keep-coretype" not in sys.argv else None

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "Tests" / "python")]
os.environ.setdefault("SEAM_LIBRARY", str(ROOT / ".build" / "release" / "libSeam.so"))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from seam_objects import Batch, Runtime  # noqa: E402

BATCH, SOURCE, TARGET, VOCABULARY, WIDTH = 8, 128, 32, 32128, 512
LEARNING_RATE = 1e-3


class TorchRepCali(torch.nn.Module):
    """RepCali's identity form, ones seed (Plugins/RepCali)."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(1, WIDTH))
        self.gain = torch.nn.Parameter(torch.ones(WIDTH))
        self.bias = torch.nn.Parameter(torch.zeros(WIDTH))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        def normalise(x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.layer_norm(x, (WIDTH,))

        deviation = (hidden.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
        calibrated = normalise(hidden + self.shift) * self.gain
        return hidden + deviation * (calibrated - normalise(hidden)) + self.bias


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds, each with every measurement once")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--keep-coretype", action="store_true", help="obey an inherited OPENBLAS_CORETYPE")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=VOCABULARY,
            d_model=WIDTH,
            d_kv=64,
            d_ff=2048,
            num_layers=6,
            num_decoder_layers=6,
            num_heads=8,
            decoder_start_token_id=0,
        )
    ).eval()
    model.requires_grad_(False)
    source = torch.randint(2, VOCABULARY, (BATCH, SOURCE))
    labels = torch.randint(2, VOCABULARY, (BATCH, TARGET))

    folder = tempfile.TemporaryDirectory()
    model.save_pretrained(folder.name)
    library = Path(os.environ["SEAM_LIBRARY"]).parent
    runtime = Runtime([library / "libTransformer.so", library / "libRepCali.so"])
    backbone = runtime.open(Path(folder.name))
    batch = Batch(source.numpy().astype(np.int32), labels=labels.numpy().astype(np.int32))
    plain = backbone.session()
    adapted = backbone.session(backbone.adapter("repcali"))
    adapted.begin_training(learning_rate=LEARNING_RATE, weight_decay=0.01, max_grad_norm=1.0)

    block = TorchRepCali()
    optimizer = torch.optim.AdamW(block.parameters(), lr=LEARNING_RATE, weight_decay=0.01)

    def torch_forward() -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=source, labels=labels).logits

    def torch_step() -> float:
        with torch.no_grad():
            hidden = model.encoder(input_ids=source).last_hidden_state
        calibrated = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=block(hidden))
        loss = model(encoder_outputs=calibrated, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(block.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    ours, theirs = plain.forward(batch), torch_forward().numpy()
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    losses = [(adapted.train_step(batch).loss, torch_step()) for _ in range(3)]

    measurements: dict[str, Callable[[], object]] = {
        "forward SeamKit": lambda: plain.forward(batch),
        "forward PyTorch": torch_forward,
        "step SeamKit": lambda: adapted.train_step(batch),
        "step PyTorch": torch_step,
        "encoder SeamKit": lambda: plain.encode(batch),
    }
    times: dict[str, list[float]] = {name: [] for name in measurements}
    for _ in range(arguments.rounds):
        for name, run in measurements.items():
            run()  # lets the other side's threads go to sleep and the caches turn over
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1e3)
    adapted.end_training()

    median = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"machine: {processor()}, {os.cpu_count()} cores; torch {torch.__version__} on {torch.get_num_threads()} "
        f"threads, transformers {transformers.__version__}, Python {platform.python_version()}"
    )
    print(f"inherited OPENBLAS_CORETYPE: {INHERITED or 'none'}" + (", set aside" if INHERITED else ""))
    print(f"largest logit difference: {difference:.1e} of the largest logit")
    print("loss of the first steps, SeamKit and PyTorch: " + ", ".join(f"{a:.6f} {b:.6f}" for a, b in losses))
    print(f"\n{'ms, median (min ... max)':28}{'SeamKit':>26}{'PyTorch':>26}{'ratio':>8}")
    for what in ("forward", "step"):
        cells = [spread(times[f"{what} {side}"]) for side in ("SeamKit", "PyTorch")]
        ratio = median[f"{what} SeamKit"] / median[f"{what} PyTorch"]
        print(f"{what:28}{cells[0]:>26}{cells[1]:>26}{ratio:8.2f}")
    cached = median["step SeamKit"] - median["encoder SeamKit"]
    print(f"{'step with the seam cache':28}{cached:>26.0f}{'':>26}{cached / median['step PyTorch']:8.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"median_ms": median, "difference": difference}, indent=2) + "\n")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} ... {max(values):.0f})"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    vector = "AVX-512" if any("avx512f" in line for line in lines) else "no AVX-512"
    return f"{names[0] if names else platform.machine()} ({vector})"


if __name__ == "__main__":
    main()
