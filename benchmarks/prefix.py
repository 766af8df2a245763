#!/usr/bin/env python3
"""Time prefix tuning against PyTorch + PEFT: a training step, and a forward pass with the prefix and without.

    scripts/setup --test && swift build -c release
    .venv/bin/python benchmarks/prefix.py [--json results.json]

Both sides run in this process on the same random weights, the same 20 prefix tokens and the same batch, in f32 on two
threads, in turn, so that a change in the machine's speed meets both. The models: T5 with the sizes of t5-small (8
sources of 128 tokens, 8 targets of 32; the prefix is on the decoder's self-attention, where PEFT has it), and a Llama
with those of SmolLM2-135M (4 texts of 128 tokens, all labels count). A step is forward, backward, clipping and AdamW on
the keys and values themselves (PEFT without prefix_projection), the model frozen and in eval mode. Compared first: the
logits and the losses of the first steps.

The floor is the time of the products that no implementation can leave out, at the speed of the fastest large product
that either side's BLAS reaches here: those of the forward pass, and of the gradient's way from the scores to the keys
and values of the first layer. A weight needs no gradient, and neither does anything below the first layer's attention.
Of a causal attention the visible half counts.

With --cpu-time the figures are processor time, which other work on a shared machine disturbs less; use --threads 1
then, since waiting threads spin.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from peft import PrefixTuningConfig, get_peft_model

# Chooses the BLAS kernels and finds the library, which has to come before everything else.
from t5_small import INHERITED, processor, spread

from seam_abi import library
from seam_objects import Batch, Pass, Runtime

transformers.logging.disable_progress_bar()

TOKENS, LEARNING_RATE = 20, 1e-3
SIDES = ("SeamKit", "PyTorch")


@dataclass(frozen=True)
class Work:
    """Multiplications of the products that are needed."""

    forward: float
    backward: float


@dataclass(frozen=True)
class Case:
    task: str
    model: Callable[[], transformers.PreTrainedModel]
    # Batch, source, target; 0: none.
    sizes: tuple[int, int, int]
    work: Callable[[int], Work]


def t5() -> transformers.PreTrainedModel:
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=32128,
            d_model=512,
            d_kv=64,
            d_ff=2048,
            num_layers=6,
            num_decoder_layers=6,
            num_heads=8,
            decoder_start_token_id=0,
        )
    )


def t5_work(prefix: int) -> Work:
    batch, source, target, width, inner, layers, vocabulary = 8, 128, 32, 512, 2048, 6, 32128
    reading, writing, square, feed_forward = batch * source, batch * target, width * width, 2 * width * inner
    # Keys that a target's token sees, and a product of all queries with all keys of an attention.
    own, over = writing * (prefix + (target + 1) / 2) * width, writing * source * width
    encoder = layers * reading * (4 * square + feed_forward + 2 * source * width)
    decoder = layers * (writing * (6 * square + feed_forward) + reading * 2 * square + 2 * own + 2 * over)
    head = writing * width * vocabulary
    # The source's keys and values want no gradient.
    whole = writing * (6 * square + feed_forward) + 4 * own + 2 * over
    first = writing * (3 * square + feed_forward) + 3 * writing * prefix * width + 2 * over
    return Work(encoder + decoder + head, head + (layers - 1) * whole + first)


def llama() -> transformers.PreTrainedModel:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            intermediate_size=1536,
            max_position_embeddings=8192,
            tie_word_embeddings=True,
            eos_token_id=0,
            bos_token_id=1,
            pad_token_id=2,
        )
    )


def llama_work(prefix: int) -> Work:
    batch, length, width, grouped, inner, layers, vocabulary = 4, 128, 576, 192, 1536, 30, 49152
    tokens, feed_forward = batch * length, 3 * width * inner
    projections = 2 * width * (width + grouped)
    own = tokens * (prefix + (length + 1) / 2) * width
    head = tokens * width * vocabulary
    whole = tokens * (projections + feed_forward) + 4 * own
    first = tokens * (width * width + feed_forward) + 3 * tokens * prefix * width
    return Work(layers * (tokens * (projections + feed_forward) + 2 * own) + head, head + (layers - 1) * whole + first)


CASES = {
    "T5": Case("SEQ_2_SEQ_LM", t5, (8, 128, 32), t5_work),
    "Llama": Case("CAUSAL_LM", llama, (4, 128, 0), llama_work),
}


class Pair:
    """One model with one prefix on both sides."""

    def __init__(self, runtime: Runtime, case: Case, folder: Path):
        model = case.model().eval().requires_grad_(False)
        count, source, target = case.sizes
        vocabulary = model.config.vocab_size
        self.ids = torch.randint(3, vocabulary, (count, source))
        self.labels = torch.randint(3, vocabulary, (count, target)) if target else self.ids
        self.batch = Batch(self.ids.numpy(), labels=self.labels.numpy())
        model.save_pretrained(folder)
        backbone = runtime.open(folder)
        self.plain = backbone.session()
        adapter = backbone.adapter(
            "prefix-tuning", {"prefix_length": TOKENS, "attention": "decoder", "reparameterization": "none"}
        )
        self.session = backbone.session(adapter)

        self.model = model
        self.adapted: Any = get_peft_model(
            model, PrefixTuningConfig(task_type=case.task, num_virtual_tokens=TOKENS)
        ).eval()
        self.trained = [each for each in self.adapted.parameters() if each.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=LEARNING_RATE, weight_decay=0.01)
        [values] = adapter.parameters.values()
        # PEFT's rows are tokens: key and value of the first layer, of the second ...
        layers, _, heads, _, width = values.shape
        [rows] = self.trained
        numbers = rows.detach().view(TOKENS, layers, 2, heads, width).permute(1, 2, 3, 0, 4)
        # For an encoder-decoder PEFT lays its numbers out twice, four to a layer, and uses the first two of each four:
        # those of every second layer. The first step is the same on both sides then, later ones train shared numbers.
        order = [2 * layer % layers if target else layer for layer in range(layers)]
        values[...] = numbers[order].numpy()

    @torch.no_grad()
    def torch_forward(self, model: Any) -> torch.Tensor:
        return model(input_ids=self.ids, labels=self.labels).logits

    def torch_step(self) -> float:
        loss = self.adapted(input_ids=self.ids, labels=self.labels).loss
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        return loss.item()

    def measurements(self) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
        return {
            "forward": (lambda: self.plain.forward(self.batch), lambda: self.torch_forward(self.model)),
            "forward with the prefix": (
                lambda: self.session.forward(self.batch),
                lambda: self.torch_forward(self.adapted),
            ),
            "step": (lambda: self.session.train_step(self.batch), self.torch_step),
        }


def peak(runtime: Runtime, clock: Callable[[], float]) -> float:
    """Multiplications a second of a product of [1024, 1024] matrices, the best of both sides."""
    size = 1024
    a, b = torch.randn(size, size), torch.randn(size, size)
    passing = Pass(runtime, record_gradients=False)
    own = [passing.constant(each.numpy()) for each in (a, b)]
    best = float("inf")
    for _ in range(3):
        for product in (lambda: passing.op("matmul", *own, 0, 0), lambda: a @ b):
            start = clock()
            product()
            best = min(best, clock() - start)
    return size**3 / best


def options(description: str | None) -> argparse.ArgumentParser:
    """What every benchmark of these models is told."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds, each with every measurement once")
    parser.add_argument("--only", choices=CASES, action="append", help="this model only")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--cpu-time", action="store_true", help="measure processor time")
    return parser


def begun(arguments: argparse.Namespace, *plugins: str) -> tuple[Runtime, Callable[[], float]]:
    """A runtime with these plugins beside that of the models, and the clock; both sides have their threads and say where
    they run."""
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    library().seam_set_thread_count(arguments.threads)
    folder = Path(os.environ["SEAM_LIBRARY"]).parent
    runtime = Runtime([folder / f"lib{each}.so" for each in ("Transformer", *plugins)])
    print(
        f"machine: {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; threads of each side: "
        f"{arguments.threads}; torch {torch.__version__}, transformers {transformers.__version__}, "
        f"peft {peft.__version__}, Python {platform.python_version()}"
    )
    print(f"inherited OPENBLAS_CORETYPE: {INHERITED or 'none'}" + (", set aside" if INHERITED else ""))
    return runtime, time.process_time if arguments.cpu_time else time.perf_counter


def main() -> None:
    arguments = options(__doc__).parse_args()
    runtime, clock = begun(arguments, "PrefixTuning")
    results: dict[str, Any] = {}
    for name in arguments.only or CASES:
        case = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measured(name, case, Pair(runtime, case, Path(folder)), runtime, arguments.rounds, clock)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def measured(
    name: str, case: Case, pair: Pair, runtime: Runtime, rounds: int, clock: Callable[[], float]
) -> dict[str, Any]:
    measurements = pair.measurements()
    differences = []
    for what in ("forward", "forward with the prefix"):
        ours, theirs = (run() for run in measurements[what])
        expected = theirs.numpy()
        differences.append(float(np.abs(ours - expected).max() / np.abs(expected).max()))
    pair.session.begin_training(learning_rate=LEARNING_RATE, weight_decay=0.01, max_grad_norm=1.0)
    losses = [(pair.session.train_step(pair.batch).loss, pair.torch_step()) for _ in range(2)]

    times: dict[str, dict[str, list[float]]] = {what: {side: [] for side in SIDES} for what in measurements}
    best = 0.0
    for _ in range(rounds):
        for what, sides in measurements.items():
            for side, run in zip(SIDES, sides, strict=True):
                run()  # lets the other side's threads go to sleep and the caches turn over
                start = clock()
                run()
                times[what][side].append((clock() - start) * 1e3)
        best = max(best, peak(runtime, clock))
    pair.session.end_training()

    floors = {
        "forward": case.work(0).forward,
        "forward with the prefix": case.work(TOKENS).forward,
        "step": case.work(TOKENS).forward + case.work(TOKENS).backward,
    }
    print(
        f"\n{name}: largest logit difference {differences[0]:.1e} without the prefix and {differences[1]:.1e} with it, "
        "of the largest logit"
    )
    print("loss of the first steps, SeamKit and PyTorch: " + ", ".join(f"{a:.6f} {b:.6f}" for a, b in losses))
    unit = "processor ms" if clock is time.process_time else "ms"
    print(f"products at best: {best * 2 / 1e9:.0f} GFLOP/s")
    print(
        f"{unit + ', median (min ... max)':36}{'SeamKit':>24}{'PyTorch':>24}{'ratio':>8}{'GFLOP':>8}{'floor':>8}"
        f"{'best/floor':>12}"
    )
    found: dict[str, Any] = {"differences": differences, "gflops": best * 2 / 1e9}
    for what, by_side in times.items():
        cells = [spread(by_side[side]) for side in SIDES]
        medians = [statistics.median(by_side[side]) for side in SIDES]
        # Of pairs that ran one after the other: other work on the machine meets both.
        ratio = statistics.median(a / b for a, b in zip(*by_side.values(), strict=True))
        floor = floors[what] / best * 1e3
        distances = " ".join(f"{min(by_side[side]) / floor:.2f}" for side in SIDES)
        print(
            f"{what:36}{cells[0]:>24}{cells[1]:>24}{ratio:8.2f}{floors[what] * 2 / 1e9:8.0f}{floor:8.0f}{distances:>12}"
        )
        found[what] = {"median_ms": dict(zip(SIDES, medians, strict=True)), "ratio": ratio, "floor_ms": floor}
    return found


if __name__ == "__main__":
    main()
