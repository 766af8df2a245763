#!/usr/bin/env python3
"""Time a training step of LoRA on the upper third of a model, with the seam cache and without.

    scripts/setup --test && swift build -c release
    .venv/bin/python benchmarks/earliest_seam.py [--json results.json]

The models are those of benchmarks/prefix.py, of the sizes of t5-small and of SmolLM2-135M with random weights; LoRA has
r = 8 on q and v (of T5 on those of cross-attention, too) of the upper third of the layers: of both stacks of T5, and of its
decoder alone. Two sessions of one model train on the same batches in turn, one with `seam_cache_bytes`; all examples have
come up before the first step that counts, as in every epoch but the first. Compared: the losses of all steps. Beside the
times stands the share of the layers that a step with the cache runs forwards, which the rest of it (gradients of the upper
layers, the head) comes on top of.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

# Chooses the BLAS kernels and finds the library, which has to come before what uses it.
from prefix import CASES, LEARNING_RATE, begun, options
from t5_small import spread

from seam_objects import Batch, Runtime

BATCHES = 2


@dataclass(frozen=True)
class Place:
    model: str
    settings: dict[str, Any]
    # Layers that a step runs with the cache, and all of them.
    layers: tuple[int, int]


PLACES = {
    "SmolLM2, layers 20-29": Place("Llama", {"layers": "20-29", "targets": ["q", "v"]}, (10, 30)),
    "T5, layers 4-5 of both stacks": Place(
        "T5", {"layers": "4-5", "targets": ["q", "v", "cross_q", "cross_v"]}, (8, 12)
    ),
    "T5, layers 4-5 of the decoder": Place(
        "T5", {"layers": "4-5", "targets": ["q", "v", "cross_q", "cross_v"], "stack": "decoder"}, (2, 12)
    ),
}


def measured(name: str, place: Place, runtime: Runtime, rounds: int, clock: Callable[[], float]) -> dict[str, Any]:
    case = CASES[place.model]
    count, source, target = case.sizes
    with tempfile.TemporaryDirectory() as folder:
        model = case.model().eval()
        model.save_pretrained(folder)
        vocabulary = model.config.vocab_size
        del model
        batches = []
        for _ in range(BATCHES):
            ids = torch.randint(3, vocabulary, (count, source))
            labels = torch.randint(3, vocabulary, (count, target)) if target else ids
            batches.append(Batch(ids.numpy(), labels=labels.numpy()))
        backbone = runtime.open(Path(folder))
        sessions = {}
        for side, memory in (("whole", 0), ("cached", -1)):
            session = backbone.session(backbone.adapter("lora", {"r": 8, "lora_alpha": 8} | place.settings))
            session.begin_training(learning_rate=LEARNING_RATE, seam_cache_bytes=memory)
            sessions[side] = session
        times: dict[str, list[float]] = {side: [] for side in sessions}
        losses: dict[str, list[float]] = {side: [] for side in sessions}
        for round in range(1 + rounds):
            for side, session in sessions.items():
                for batch in batches:
                    start = clock()
                    losses[side].append(session.train_step(batch).loss)
                    # The first epoch computes what is kept.
                    if round > 0:
                        times[side].append((clock() - start) * 1e3)
        for session in sessions.values():
            session.end_training()
    if not np.allclose(losses["whole"], losses["cached"], rtol=1e-5, atol=1e-5):
        raise SystemExit(f"{name}: the losses with the seam cache and without differ: {losses}")
    ratio = statistics.median(a / b for a, b in zip(times["cached"], times["whole"], strict=True))
    print(f"\n{name} ({place.layers[0]} of {place.layers[1]} layers run)")
    for side, values in times.items():
        print(f"{side:12}{spread(values):>30}")
    print(f"{'ratio':12}{ratio:30.2f}")
    medians = {side: statistics.median(values) for side, values in times.items()}
    return {"median_ms": medians, "ratio": ratio, "losses": losses["cached"]}


def main() -> None:
    parser = options(__doc__)
    arguments = parser.parse_args()
    runtime, clock = begun(arguments, "LoRA")
    results = {
        name: measured(name, place, runtime, arguments.rounds, clock)
        for name, place in PLACES.items()
        if not arguments.only or place.model in arguments.only
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
