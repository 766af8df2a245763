#!/usr/bin/env python3
"""Time an encoder and a decoder against PyTorch + Transformers: sentence features, a forward pass, greedy generation.

    scripts/setup --test && swift build -c release
    .venv/bin/python benchmarks/families.py [--json results.json]

Both sides run in this process on the same random weights and the same batches, in f32, in turn, so that a change in the
machine's speed meets both. The sizes are those of all-MiniLM-L6-v2 (features of 32 texts of 64 tokens) and of
SmolLM2-135M (a forward pass over 8 texts of 64 tokens; 64 new tokens after a prompt of 16). Compared first: the states,
the logits and the tokens.

With --cpu-time the figures are processor time, which other work on a shared machine disturbs less; run it on one
thread then (taskset -c 0).
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
from pathlib import Path

import numpy as np
import torch
import transformers

# Chooses the BLAS kernels and finds the library, which has to come before everything else.
from t5_small import INHERITED, processor, spread

from seam_objects import Batch, Runtime, Session

PROMPT, NEW_TOKENS = 16, 64
END, BEGIN, PAD, FIRST_WORD = 0, 1, 2, 3


def encoder() -> transformers.PreTrainedModel:
    return transformers.BertModel(
        transformers.BertConfig(
            vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
        )
    )


def decoder() -> transformers.PreTrainedModel:
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
            eos_token_id=END,
            bos_token_id=BEGIN,
            pad_token_id=PAD,
        )
    )


class Pair:
    """A model on both sides."""

    def __init__(self, runtime: Runtime, model: transformers.PreTrainedModel, folder: Path):
        self.torch = model.eval().requires_grad_(False)
        model.save_pretrained(folder)
        self.backbone = runtime.open(folder)
        self.session: Session = self.backbone.session()

    def ids(self, count: int, length: int) -> torch.Tensor:
        return torch.randint(FIRST_WORD, self.torch.config.vocab_size, (count, length))


def difference(found: np.ndarray, expected: torch.Tensor) -> float:
    return float(np.abs(found - expected.numpy()).max() / expected.abs().max())


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each with every measurement once")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--cpu-time", action="store_true", help="measure processor time")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu_time else time.perf_counter

    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    folder = tempfile.TemporaryDirectory()
    runtime = Runtime([Path(os.environ["SEAM_LIBRARY"]).parent / "libTransformer.so"])
    bert = Pair(runtime, encoder(), Path(folder.name, "encoder"))
    llama = Pair(runtime, decoder(), Path(folder.name, "decoder"))
    texts, passages, prompt = bert.ids(32, 64), llama.ids(8, 64), llama.ids(1, PROMPT)
    lengths = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    options = llama.backbone.generate_options(num_beams=1, **lengths)

    def batch(ids: torch.Tensor) -> Batch:
        return Batch(ids.numpy().astype(np.int32))

    def torch_generate() -> torch.Tensor:
        return llama.torch.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, **lengths)

    measurements: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "features, BERT": (lambda: bert.session.encode(batch(texts)), lambda: bert.torch(texts)),
        "forward, Llama": (lambda: llama.session.forward(batch(passages)), lambda: llama.torch(passages)),
        "generation, Llama": (lambda: llama.session.generate(batch(prompt), options), torch_generate),
    }
    states = difference(bert.session.encode(batch(texts)), bert.torch(texts).last_hidden_state)
    logits = difference(llama.session.forward(batch(passages)), llama.torch(passages).logits)
    tokens = llama.session.generate(batch(prompt), options)[0][0].tokens == torch_generate()[0, PROMPT:].tolist()

    times: dict[str, list[float]] = {f"{what} {side}": [] for what in measurements for side in ("SeamKit", "PyTorch")}
    for _ in range(arguments.rounds):
        for what, sides in measurements.items():
            for side, run in zip(("SeamKit", "PyTorch"), sides, strict=True):
                run()  # lets the other side's threads go to sleep and the caches turn over
                start = clock()
                run()
                times[f"{what} {side}"].append((clock() - start) * 1e3)

    median = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"machine: {processor()}, {os.cpu_count()} cores; torch {torch.__version__} on {torch.get_num_threads()} "
        f"threads, transformers {transformers.__version__}, Python {platform.python_version()}"
    )
    print(f"inherited OPENBLAS_CORETYPE: {INHERITED or 'none'}" + (", set aside" if INHERITED else ""))
    print(
        f"largest difference: states {states:.1e}, logits {logits:.1e} of the largest; generated tokens "
        + ("equal" if tokens else "differ")
    )
    kind = "processor ms" if arguments.cpu_time else "ms"
    print(f"\n{kind + ', median (min ... max)':36}{'SeamKit':>26}{'PyTorch':>26}{'ratio':>8}")
    for what in measurements:
        cells = [spread(times[f"{what} {side}"]) for side in ("SeamKit", "PyTorch")]
        ratio = median[f"{what} SeamKit"] / median[f"{what} PyTorch"]
        print(f"{what:36}{cells[0]:>26}{cells[1]:>26}{ratio:8.2f}")
    rates = [NEW_TOKENS / median[f"generation, Llama {side}"] * 1e3 for side in ("SeamKit", "PyTorch")]
    print(f"{'tokens a second':36}{rates[0]:>26.1f}{rates[1]:>26.1f}")
    if arguments.json:
        result = {"median_ms": median, "states": states, "logits": logits, "tokens_equal": tokens}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
