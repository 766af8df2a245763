"""Writes the folders beside it with the program `seam` in the environment's SEAM: what a version of SeamKit saves.

  SEAM=.build/release/seam python Tests/Fixtures/formats/make_formats.py FOLDER

FOLDER is a new folder, named after the version, and what is new in its formats where none was released between. A folder is written once and then kept: later versions must read it
(Tests/python/test_abi_formats.py). Needs transformers, for the model alone, which is in no format of ours.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import T5Config, T5ForConditionalGeneration

WORDS = ["<unk>", "<pad>", "</s>", *"a b c d good bad film it was".split()]
PAIRS = [("a b", "b a"), ("c d", "d c"), ("a d", "d a"), ("b c", "c b")]
# The classifier of the comparison.
ADAPTER = "fewshot/adapters/shots-2/seed-0"
# Of the run that is stopped and goes on.
STEPS = "200"
REVIEWS = [("good film", "positive"), ("bad film", "negative"), ("it was good", "positive"), ("it was bad", "negative")]


def write_model(path: Path) -> None:
    """A T5 of 12 words and 8 features."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(WORDS),
        d_model=8,
        d_kv=4,
        d_ff=8,
        num_layers=1,
        num_decoder_layers=1,
        num_heads=2,
        relative_attention_num_buckets=4,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    T5ForConditionalGeneration(config).save_pretrained(path)
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tokenizer.add_special_tokens(WORDS[:3])
    tokenizer.save(str(path / "tokenizer.json"))


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    # Relative paths, so that no file names a folder of this machine.
    folder = Path(sys.argv[1])
    program = str(Path(os.environ["SEAM"]).resolve())
    folder.mkdir()
    os.chdir(folder)

    def seam(*arguments: str) -> None:
        subprocess.run([program, *arguments], check=True)

    write_model(Path("model"))
    write_lines(Path("pairs.jsonl"), [{"source": source, "target": target} for source, target in PAIRS])
    write_lines(Path("reviews.jsonl"), [{"text": text, "label": label} for text, label in REVIEWS])
    Path("words.json").write_text(json.dumps({"negative": ["bad"], "positive": ["good"]}) + "\n")

    # Two adapters of a run that was stopped: its checkpoint, and the folder of adapters of one that went on to the end.
    run = [
        "train",
        "--model",
        "model",
        "--train",
        "pairs.jsonl",
        "--batch-size",
        "2",
        "--adapter",
        "repcali+prefix-tuning",
        "--learning-rate",
        "0.1",
        "--option",
        "prefix-tuning.prefix_length=2",
        "--option",
        "prefix-tuning.mlp_hidden_size=2",
    ]
    stopped = subprocess.Popen([program, *run, "--steps", STEPS, "--checkpoint-every", "5", "--output", "stopped"])
    while not Path("stopped/checkpoint/trainer_state.json").exists():
        time.sleep(0.001)
    stopped.send_signal(signal.SIGKILL)
    stopped.wait()
    seam(*run, "--steps", "20", "--output", "pair")
    # An adapter alone.
    seam(
        "train",
        "--model",
        "model",
        "--train",
        "pairs.jsonl",
        "--adapter",
        "repcali",
        "--learning-rate",
        "0.1",
        "--steps",
        "20",
        "--output",
        "one",
    )
    # One inside the layers, at points of its own.
    seam(
        "train",
        "--model",
        "model",
        "--train",
        "pairs.jsonl",
        "--adapter",
        "lora",
        "--option",
        "r=1",
        "--learning-rate",
        "0.1",
        "--steps",
        "20",
        "--output",
        "inside",
    )
    # A classifier with its task, and the cache of the model's answers.
    seam(
        "fewshot",
        "--model",
        "model",
        "--train",
        "reviews.jsonl",
        "--test",
        "reviews.jsonl",
        "--verbalizer",
        "words.json",
        "--template",
        "{text} it was [MASK]",
        "--option",
        "projection_width=2",
        "--shots",
        "2",
        "--seeds",
        "1",
        "--output",
        "fewshot",
    )
    for unneeded in ("*.svg", ".*.tmp-*", "results.*", ".seam-lock"):
        for path in Path().rglob(unneeded):
            path.unlink()

    # What they give, as this version sees it.
    def answers(*arguments: str) -> Any:
        return json.loads(subprocess.run([program, *arguments, "--json"], check=True, capture_output=True).stdout)

    shutil.copytree("stopped", "resumed")
    seam(*run, "--steps", STEPS, "--output", "resumed", "--resume")
    expected = {
        "one": answers("evaluate", "--model", "model", "--adapter", "one/adapter", "--data", "pairs.jsonl"),
        "pair": answers("evaluate", "--model", "model", "--adapter", "pair/adapter", "--data", "pairs.jsonl"),
        "inside": answers("evaluate", "--model", "model", "--adapter", "inside/adapter", "--data", "pairs.jsonl"),
        "resumed": answers("evaluate", "--model", "model", "--adapter", "resumed/adapter", "--data", "pairs.jsonl"),
        "classes": answers("classify", "--model", "model", "--adapter", ADAPTER, "--data", "reviews.jsonl"),
    }
    shutil.rmtree("resumed")
    Path("expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
