"""`seam fewshot` with published models: all-MiniLM-L6-v2 and SmolLM2, against transformers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from command_line import run, seam
from fewshot_models import cached
from seam_abi import Array

TOPICS = {
    "sport": [
        "The keeper saved a penalty in the last minute.",
        "She won the marathon by two seconds.",
        "Their coach was fired after the third defeat.",
        "The match went into overtime.",
    ],
    "money": [
        "The bank raised its interest rates again.",
        "Shares fell after the company cut its forecast.",
        "Inflation is eating up the savings of pensioners.",
        "The fund invests in government bonds.",
    ],
    "weather": [
        "Heavy rain is expected along the coast tonight.",
        "A cold front brings snow to the mountains.",
        "It will be sunny and dry all week.",
        "The storm tore roofs off several houses.",
    ],
}
REVIEWS = {
    "negative": [
        "A waste of two hours.",
        "I nearly fell asleep, it was so boring.",
        "The worst film of the year.",
        "Poorly acted and badly written.",
    ],
    "positive": [
        "A wonderful film, I loved every minute.",
        "The best acting I have seen in years.",
        "Funny, moving and beautifully shot.",
        "I would watch it again at once.",
    ],
}


def published(variable: str) -> Path:
    if not (path := os.environ.get(variable)):
        pytest.skip(f"{variable} names no model: few-shot classification is not compared on it")
    return Path(path)


def write(folder: Path, texts: dict[str, list[str]], words: dict[str, str]) -> list[str | Path]:
    """Two of each class to learn from, two to measure on."""
    for name, part in (("train", slice(0, 2)), ("test", slice(2, 4))):
        lines = [{"text": text, "label": label} for label in texts for text in texts[label][part]]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "words.json").write_text(json.dumps(words))
    return [
        "--train",
        folder / "train.jsonl",
        "--test",
        folder / "test.jsonl",
        "--verbalizer",
        folder / "words.json",
        "--shots",
        "2",
        "--seeds",
        "1",
        "--output",
        folder / "run",
        "--cache",
        folder / "cache",
    ]


def accuracy(folder: Path) -> dict[str, float]:
    rows = json.loads((folder / "run" / "results.json").read_text())["results"]
    return {row["method"]: row["accuracy"]["mean"] for row in rows}


def share(scores: Array, classes: int) -> float:
    """Of right answers to the test texts."""
    return float((scores.argmax(1) == np.repeat(np.arange(classes), 2)).mean())


@torch.no_grad()
def test_a_sentence_encoder(tmp_path: Path) -> None:
    path = published("SEAM_MINILM")
    words = {"sport": "sports", "money": "finance", "weather": "weather"}
    arguments = write(tmp_path, TOPICS, words)
    seam("fewshot", "--model", path, *arguments)
    tokenizer, model = hf.AutoTokenizer.from_pretrained(path), hf.AutoModel.from_pretrained(path).eval()

    def vector(text: str) -> Array:
        return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy()

    found = cached(tmp_path / "cache")
    expected = {text: vector(text) for text in found}
    assert set(expected) == {text for texts in TOPICS.values() for text in texts} | set(words.values()) | {""}
    largest = np.abs(np.array(list(expected.values()))).max()
    # f32 through six layers in another order of additions.
    assert max(np.abs(found[text][1] - expected[text]).max() for text in found) <= 1e-5 * largest
    rows = {text: each / np.linalg.norm(each) for text, each in expected.items()}
    tested = np.array([rows[text] for texts in TOPICS.values() for text in texts[2:]])
    zero = tested @ np.array([rows[word] for word in words.values()]).T
    results = accuracy(tmp_path)
    assert results["zero-shot"] == share(zero, 3)
    # What a sentence encoder is good at.
    assert results["dect"] == results["logistic-regression"] == 1
    # Its tokenizer cuts to 128 tokens.
    long = " ".join(TOPICS["sport"]) * 20
    done = run("classify", "--model", path, "--adapter", tmp_path / "run/adapters/shots-2/seed-0", long)
    assert (done.returncode, done.stdout) == (0, "sport\n") and done.stderr.startswith("1 text was shortened"), done


@torch.no_grad()
def test_a_language_model_in_one_file(tmp_path: Path) -> None:
    path = published("SEAM_SMOLLM")
    words = {"negative": "terrible", "positive": "great"}
    template = "{text} In summary, it was "
    seam("fewshot", "--model", path, *write(tmp_path, REVIEWS, words), "--template", template)
    named: dict[str, Any] = {"gguf_file": path.name}
    tokenizer = hf.AutoTokenizer.from_pretrained(path.parent, **named)
    model = hf.AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **named).eval()
    ids = [tokenizer(" " + word, add_special_tokens=False).input_ids[0] for word in words.values()]

    def answer(text: str) -> tuple[Array, Array]:
        output = model(
            **tokenizer(template.replace("{text}", text).rstrip(), return_tensors="pt"), output_hidden_states=True
        )
        return output.logits[0, -1, ids].numpy(), output.hidden_states[-1][0, -1].numpy()

    found = cached(tmp_path / "cache")
    assert set(found) == {text for texts in REVIEWS.values() for text in texts} | {""}
    expected = {text: answer(text) for text in found}
    for part in (0, 1):
        largest = max(np.abs(each[part]).max() for each in expected.values())
        # f32 through thirty layers in another order of additions.
        assert max(np.abs(found[text][part] - expected[text][part]).max() for text in found) <= 1e-4 * largest
    zero = np.array([expected[text][0] for texts in REVIEWS.values() for text in texts[2:]])
    assert accuracy(tmp_path)["zero-shot"] == share(zero, 2)
