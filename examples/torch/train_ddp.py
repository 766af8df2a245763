#!/usr/bin/env python3
"""Train adapters inside a Hugging Face model on several processes, one per device.

    torchrun --standalone --nproc-per-node 2 examples/torch/train_ddp.py --model MODEL --train pairs.jsonl \\
        --adapter repcali --option lambda=0.5 --steps 200 --output adapter

MODEL is a folder (or a name) of an encoder-decoder or of a decoder with its tokenizer; a line of pairs.jsonl is
{"source": ..., "target": ...}. Several adapters are written as residual-prefix+gate. With `--fsdp` the model is
spread over the processes (`fully_shard`), without it each has a copy (`DistributedDataParallel`). Plain `python`
runs it in one process. On several machines, on each of them:

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint FIRST:29400 \\
        examples/torch/train_ddp.py ...

The loss of a step is the mean over all tokens that count, of all processes: each divides its sum by their common
number. So P processes with B rows each take the same steps as one with P x B, also where targets differ in length.
Ctrl-C ends the training after the step; the process of rank 0 writes the adapter.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

import seamkit

IGNORED = -100
Rows = list[tuple[list[int], list[int]]]


def main() -> None:
    arguments = parsed()
    device, rank, world = joined()
    try:
        train(arguments, device, rank, world)
    finally:
        dist.destroy_process_group()


def joined() -> tuple[torch.device, int, int]:
    """Into the group that torchrun has started, or into one of this process alone."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        os.environ.setdefault(name, value)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device, dist.get_rank(), dist.get_world_size()


def train(arguments: argparse.Namespace, device: torch.device, rank: int, world: int) -> None:
    config = AutoConfig.from_pretrained(arguments.model)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model: Any = kind.from_pretrained(arguments.model, dtype=torch.float32).to(device)
    rows = read(arguments.train, AutoTokenizer.from_pretrained(arguments.model), config)
    adapters = attached(model, arguments)
    model.train()
    if arguments.fsdp:
        mesh = dist.device_mesh.init_device_mesh(device.type, (world,))
        # Each layer is gathered when it runs; what is left, the adapters included, before the first.
        for layer in layers(model):
            fully_shard(layer, mesh=mesh)
        wrapped = fully_shard(model, mesh=mesh)
    else:
        wrapped = DistributedDataParallel(model)
    # Only now: `fully_shard` has put other parameters in the places of the old ones.
    optimizer = torch.optim.AdamW(
        [each for adapter in adapters for each in adapter.parameters()],
        lr=arguments.learning_rate,
        eps=arguments.adam_epsilon,
    )
    torch.manual_seed(arguments.seed + rank)  # dropout differs between the processes
    stopped = Stop()
    batches = shares(rows, arguments.batch_size, rank, world, arguments.seed)
    for step in range(1, arguments.steps + 1):
        batch = {name: each.to(device) for name, each in padded(next(batches), config).items()}
        labels = batch.pop("labels")
        if not config.is_encoder_decoder:
            labels = labels.roll(-1, 1).index_fill(1, torch.tensor(labels.shape[1] - 1, device=device), IGNORED)
        told = torch.tensor([(labels != IGNORED).sum(), stopped.asked], dtype=torch.float64, device=device)
        dist.all_reduce(told)
        if told[1] > 0:
            report(rank, f"stopped before step {step}")
            break
        logits = wrapped(**batch).logits
        total = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        # Both wrappers average the gradients over the processes; what is wanted is their sum.
        (total / told[0] * world).backward()
        optimizer.step()
        optimizer.zero_grad()
        dist.all_reduce(total.detach_())
        report(rank, f"step {step}: loss {total.item() / told[0].item():.6f}")
    if arguments.fsdp:
        wrapped.unshard()  # in all processes: rank 0 needs the others' parts
    if rank == 0:
        seamkit.save(model, arguments.output, notes=f"- {world} processes, {'FSDP' if arguments.fsdp else 'DDP'}")
        report(rank, f"saved {arguments.output}")
    dist.barrier()


class Stop:
    """Ctrl-C and torchrun's SIGTERM ask; all processes end before the same step, since each tells the others."""

    def __init__(self) -> None:
        self.asked = False
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, self._ask)

    def _ask(self, *_: Any) -> None:
        self.asked = True


def report(rank: int, text: str) -> None:
    if rank == 0:
        print(text, file=sys.stderr, flush=True)


# ---- The model


def attached(model: Any, arguments: argparse.Namespace) -> list[seamkit.torch.Adapter]:
    """`a+b`, with the options of the first; the same values in every process."""
    options = dict(each.split("=", 1) for each in arguments.option)
    given = {name: value_of(text) for name, text in options.items()}
    names = arguments.adapter.split("+")
    return [
        seamkit.attach(model, name, random_seed=arguments.seed, **(given if index == 0 else {}))
        for index, name in enumerate(names)
    ]


def value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def layers(model: Any) -> list[torch.nn.Module]:
    """The model's stacks of equal layers, as transformers keeps them."""
    names = ("layers", "block", "h")
    return [
        layer
        for name, stack in model.named_modules()
        if name.split(".")[-1] in names and isinstance(stack, torch.nn.ModuleList)
        for layer in stack
    ]


# ---- The data


def read(path: str, tokenizer: Any, config: Any) -> Rows:
    rows = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            pair = json.loads(line)
            source = tokenizer(pair["source"])["input_ids"]
            target = tokenizer(text_target=pair["target"], add_special_tokens=False)["input_ids"]
            rows.append((source, [*target, config.eos_token_id]))
    return rows


def shares(rows: Rows, size: int, rank: int, world: int, seed: int) -> Iterator[Rows]:
    """A process's rows of each step. All processes shuffle alike; what does not fill a step of all is left for another
    epoch."""
    if len(rows) < size * world:
        raise SystemExit(f"{len(rows)} rows are fewer than the {size * world} of a step of all processes")
    shuffle = random.Random(seed)
    while True:
        order = shuffle.sample(rows, len(rows))
        for start in range(0, len(order) - size * world + 1, size * world):
            yield order[start + rank * size : start + (rank + 1) * size]


def padded(rows: Rows, config: Any) -> dict[str, torch.Tensor]:
    """A source and a target for an encoder-decoder; for a decoder one text, whose second part counts."""
    pad = config.pad_token_id if config.pad_token_id is not None else config.eos_token_id
    if config.is_encoder_decoder:
        inputs, labels = [source for source, _ in rows], [target for _, target in rows]
        start = [[config.decoder_start_token_id, *target[:-1]] for target in labels]
        more = {"decoder_input_ids": rectangle(start, pad)}
    else:
        inputs = [source + target for source, target in rows]
        labels, more = [[IGNORED] * len(source) + target for source, target in rows], {}
    return {
        "input_ids": rectangle(inputs, pad),
        "labels": rectangle(labels, IGNORED),
        "attention_mask": rectangle([[1] * len(each) for each in inputs], 0),
        **more,
    }


def rectangle(rows: list[list[int]], fill: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train adapters on several processes.")
    parser.add_argument("--model", required=True, help="folder of the model and its tokenizer")
    parser.add_argument("--train", required=True, help="pairs of texts, .jsonl with source and target")
    parser.add_argument("--output", required=True, help="folder for the adapter")
    parser.add_argument("--adapter", default="repcali", help="an adapter, or several as a+b")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the first adapter")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=8, help="rows of each process in a step")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--adam-epsilon", type=float, default=1e-8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fsdp", action="store_true", help="spread the model over the processes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
