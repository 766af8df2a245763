#!/usr/bin/env python3
"""How the time and the memory of a training step grow with the length of the text, against PyTorch + PEFT.

    scripts/setup --test && swift build -c release
    .venv/bin/python benchmarks/long_texts.py [--lengths 512,1024,2048,4096] [--json results.json]

A Llama with the sizes of SmolLM2-135M and random weights, one text, all labels count, f32, two threads: a step is
forward, backward, clipping and AdamW of a prefix of 20 tokens in every layer (PEFT's prefix tuning without
prefix_projection). Each length and side has a process of its own, so that its peak of resident memory can be told; the two
sides take turns. Compared first: the loss of the first step, from the same prefix. The time is that of the fastest step
but the first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from peft import PrefixTuningConfig, get_peft_model
from prefix import LEARNING_RATE, TOKENS, llama

# Chooses the BLAS kernels and finds the library, which has to come before what uses it.
from t5_small import processor

from seam_abi import library
from seam_objects import Batch, Runtime

SIDES = ("SeamKit", "PyTorch")


def numbers(model: Path) -> np.ndarray:
    """The same prefix on both sides: [layers, 2, heads of keys, tokens, width]."""
    config = json.loads((model / "config.json").read_text())
    width = config["hidden_size"] // config["num_attention_heads"]
    shape = (config["num_hidden_layers"], 2, config["num_key_value_heads"], TOKENS, width)
    return np.random.default_rng(1).normal(0, 0.1, shape).astype(np.float32)


def ids(length: int) -> np.ndarray:
    return np.random.default_rng(2).integers(3, 49152, (1, length), dtype=np.int64)


def steps_of_seamkit(model: Path, length: int) -> Any:
    library().seam_set_thread_count(2)
    plugins = Path(os.environ["SEAM_LIBRARY"]).parent
    runtime = Runtime([plugins / "libTransformer.so", plugins / "libPrefixTuning.so"])
    backbone = runtime.open(model)
    adapter = backbone.adapter(
        "prefix-tuning", {"prefix_length": TOKENS, "attention": "decoder", "reparameterization": "none"}
    )
    [values] = adapter.parameters.values()
    values[...] = numbers(model)
    session = backbone.session(adapter)
    session.begin_training(learning_rate=LEARNING_RATE, weight_decay=0.01, max_grad_norm=1.0)
    batch = Batch(ids(length), labels=ids(length))
    while True:
        yield session.train_step(batch).loss


def steps_of_pytorch(model: Path, length: int) -> Any:
    torch.set_num_threads(2)
    plain = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval().requires_grad_(False)
    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS)
    adapted: Any = get_peft_model(plain, config).eval()
    [rows] = trained = [each for each in adapted.parameters() if each.requires_grad]
    # PEFT's rows are tokens: key and value of the first layer, of the second ...
    with torch.no_grad():
        rows.copy_(torch.from_numpy(numbers(model)).permute(3, 0, 1, 2, 4).reshape(rows.shape))
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.01)
    tokens = torch.from_numpy(ids(length))
    while True:
        loss = adapted(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        yield loss.item()


def one(side: str, model: Path, length: int, count: int) -> dict[str, Any]:
    """What a process of one side measures of one length."""
    steps = (steps_of_seamkit if side == "SeamKit" else steps_of_pytorch)(model, length)
    losses, times = [], []
    for _ in range(count):
        start = time.perf_counter()
        losses.append(next(steps))
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"loss": losses[0], "seconds": min(times[1:]), "peak_gib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lengths", default="512,1024,2048,4096", help="tokens of the text, separated by commas")
    parser.add_argument("--steps", type=int, default=3, help="of each length and side, 2 or more")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "MODEL", "LENGTH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        side, model, length = arguments.one
        return print(json.dumps(one(side, Path(model), int(length), arguments.steps)))
    print(
        f"machine: {processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; torch {torch.__version__}, "
        f"transformers {transformers.__version__}, peft {peft.__version__}, Python {platform.python_version()}"
    )
    print(f"{'tokens':>8}" + "".join(f"{side + ' s':>12}{'GiB':>8}" for side in SIDES) + f"{'time':>8}{'memory':>8}")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        llama().save_pretrained(folder)
        for length in map(int, arguments.lengths.split(",")):
            found = {}
            for side in SIDES:
                command = [
                    sys.executable,
                    __file__,
                    "--steps",
                    str(arguments.steps),
                    "--one",
                    side,
                    folder,
                    str(length),
                ]
                found[side] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            ours, theirs = (found[side] for side in SIDES)
            cells = "".join(f"{found[side]['seconds']:12.2f}{found[side]['peak_gib']:8.2f}" for side in SIDES)
            ratios = [ours[what] / theirs[what] for what in ("seconds", "peak_gib")]
            print(f"{length:8}{cells}{ratios[0]:8.2f}{ratios[1]:8.2f}", flush=True)
            if abs(ours["loss"] - theirs["loss"]) > 1e-4 * theirs["loss"]:
                sys.exit(f"{length} tokens: the losses of the first step differ: {ours['loss']} and {theirs['loss']}")
            results.append({"tokens": length, **found})
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
