#!/usr/bin/env python3
"""Time generation of batches whose rows take different adapters against batches that take one.

    scripts/setup --test && swift build -c release
    .venv/bin/python benchmarks/routes.py MODEL ... [--json results.json]

MODEL is a model folder or a GGUF file: SmolLM2-135M and the molecules' encoder-decoder are those of docs/routes.md. A batch
has 16 rows, its prompts 16 to 32 tokens each, and every row gets 32 new tokens by greedy search. Four routes have LoRA with
r = 8 on q and v, four others a prefix of 64 tokens. Measured are

- plain: the model alone;
- one adapter: all rows take the first route;
- four routes: four rows of each, in the order of the routes;
- four routes, mixed: the same rows shuffled, which the session puts in order and back.

All of them run in turn, so that a change in the machine's speed meets all, and the ratios are medians over the rounds.
Compared first: the tokens of each row of the mixed batch with those of its route alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))
os.environ.setdefault("SEAMKIT_LIBRARY_PATH", str(ROOT / ".build" / "release"))

import numpy as np  # noqa: E402

import seamkit  # noqa: E402
from seamkit import Backbone, Batch, Session  # noqa: E402

ROWS, NEW_TOKENS, ROUTES = 16, 32, ["a", "b", "c", "d"]
ADAPTERS = {
    "LoRA, r = 8": ("lora", {"r": 8, "targets": "q,v"}),
    "prefixes of 64 tokens": ("prefix-tuning", {"prefix_length": 64, "reparameterization": "none"}),
}


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return platform.processor()


def routed(backbone: Backbone, kind: str) -> Session:
    """A session with an adapter of its own on each route."""
    id, options = ADAPTERS[kind]
    session = backbone.session()
    for seed, route in enumerate(ROUTES):
        numbers = np.random.default_rng(seed)
        for parameter in session.add(id, options, route=route, seed=seed).parameters.values():
            parameter[...] = numbers.normal(0, 0.02, parameter.shape)
    return session


class Case:
    """A model with the adapters of one kind."""

    def __init__(self, backbone: Backbone, kind: str):
        self.backbone, self.session = backbone, routed(backbone, kind)
        numbers = np.random.default_rng(1)
        most = min(backbone.info.vocab_size, 10_000)
        self.texts = [numbers.integers(10, most, 16 + row % 17).tolist() for row in range(ROWS)]
        # Every row gets as many tokens, whatever it writes.
        self.options = backbone.generate_options(max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, num_beams=1)
        in_order: list[str | None] = [route for route in ROUTES for _ in range(ROWS // len(ROUTES))]
        shuffled = numbers.permutation(ROWS)
        self.batches: dict[str, Batch] = {
            "plain": self.batch([None] * ROWS),
            "one adapter": self.batch(["a"] * ROWS),
            "four routes": self.batch(in_order),
            "four routes, mixed": self.batch([in_order[row] for row in shuffled]),
        }

    def batch(self, routes: list[str | None], rows: list[int] | None = None) -> Batch:
        texts = self.texts if rows is None else [self.texts[row] for row in rows]
        return Batch.padded(texts, pad_token_id=self.backbone.info.pad_token_id or 0, routes=routes)

    def generate(self, batch: Batch) -> list[list[int]]:
        return [each[0].tokens for each in self.session.generate(batch, self.options)]

    def check(self) -> int:
        """How many rows of the mixed batch write what they write with their adapter alone: sums in another order may
        choose another token where two are equally likely."""
        mixed = self.batches["four routes, mixed"]
        found = self.generate(mixed)
        assert mixed.routes is not None
        return sum(found[row] == self.generate(self.batch([route], [row]))[0] for row, route in enumerate(mixed.routes))

    def measure(self, rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
        seconds: dict[str, list[float]] = {name: [] for name in self.batches}
        for turn in range(rounds + 1):
            for name, batch in self.batches.items():
                start = clock()
                self.generate(batch)
                # The first round fills caches.
                if turn:
                    seconds[name].append(clock() - start)
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="processor time: other work disturbs it less")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    clock = time.process_time if given.cpu_time else time.perf_counter
    seamkit.set_thread_count(given.threads)
    runtime = seamkit.Runtime()
    load = os.getloadavg()[0]
    print(f"{processor()}, {given.threads} threads, load {load:.1f}, seamkit {seamkit.__version__}, {date.today()}")
    results = []
    for path in given.models:
        backbone = runtime.open(path)
        for kind in ADAPTERS:
            case = Case(backbone, kind)
            same = case.check()
            print(f"\n{path.name}, {kind}: {same} of {ROWS} rows write what they write alone")
            seconds = case.measure(given.rounds, clock)
            uniform = seconds["one adapter"]
            for name, times in seconds.items():
                ratio = statistics.median(own / other for own, other in zip(times, uniform, strict=True))
                speed = ROWS * NEW_TOKENS / statistics.median(times)
                print(f"  {name:20} {speed:8.1f} tokens/s   {ratio:.3f} of the time of one adapter")
                results.append({"model": path.name, "adapters": kind, "batch": name, "seconds": times, "ratio": ratio})
    if given.json:
        given.json.write_text(json.dumps({"processor": processor(), "load": load, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
