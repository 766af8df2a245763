#!/usr/bin/env python3
"""Asks a model of transformers about labelled texts, in as many processes as torchrun starts, and trains DecT on what
it says. Each process has the model and a share of the texts; each text is asked once.

  torchrun --nproc-per-node 2 examples/torch/extract_features.py MODEL words.json train.jsonl OUTPUT

MODEL is a folder or GGUF file, words.json holds the words of each label ({"negative": ["bad"], "positive": ["great"]}),
and each line of train.jsonl is an object with the strings "text" and "label". OUTPUT gets features.safetensors (scores
[texts, classes], hidden [texts, d_model], empty_scores [classes]) and head/, which `seam classify` and seamkit read.
--template is the prompt, docs/fewshot.md says how it is written. With python in place of torchrun it is one process.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from seamkit.torch import Adapter, Classifier, Site, open_model


def main(arguments: argparse.Namespace) -> None:
    rank = dist.get_rank() if dist.is_initialized() else 0
    words = json.loads(arguments.words.read_text())
    rows = [json.loads(line) for line in arguments.data.read_text().splitlines() if line.strip()]
    texts, labels = [each["text"] for each in rows], [each["label"] for each in rows]
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    model, tokenizer = open_model(arguments.model, device)
    task = {"template": arguments.template, "labels": words, "scores": arguments.scores}
    classifier = Classifier(model, tokenizer, task, batch_size=arguments.batch_size)
    features = classifier.features(texts)
    # Of the same features all processes train the same head.
    head = Adapter("dect", Site.of(model), classes=len(words)).to(device)
    classifier.attach(head)
    losses = classifier.fit(texts, labels)
    print(f"process {rank}: asked {classifier.query_count} of {len(set(texts))} texts and the empty one", flush=True)
    if rank == 0:
        arguments.output.mkdir(parents=True, exist_ok=True)
        found = {"scores": features.scores, "hidden": features.hidden, "empty_scores": classifier.empty_scores()}
        tensors = {name: each.contiguous() for name, each in found.items()}
        save_file(tensors, arguments.output / "features.safetensors")
        head.save(arguments.output / "head", model)
        print(f"loss {losses[0]:.4f} -> {losses[-1]:.4f}, saved to {arguments.output}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("words", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--template", default="{text} In summary, it was [MASK]")
    parser.add_argument("--scores", default="logit", choices=("logit", "probability"))
    parser.add_argument("--batch-size", type=int, default=32)
    given = parser.parse_args()
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    try:
        main(given)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
