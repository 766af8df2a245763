"""DecT on published models: SmolLM2 through torch and through the `seam` tool, a sentence encoder; and the programs of
the documentation."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

import seamkit
from command_line import run, seam
from seamkit.torch import open_model
from test_fewshot_real import REVIEWS, TOPICS, published, write

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = "Review: {text}\nThe movie was [MASK]"
WORDS = {"negative": ["terrible", "bad"], "positive": ["great", "good"]}
# Of the largest score: f32 through thirty layers, then 30 steps of training.
TOLERANCE = 1e-4


def parts(given: dict[str, list[str]], part: slice) -> tuple[list[str], list[str]]:
    rows = [(text, label) for label, texts in given.items() for text in texts[part]]
    return [text for text, _ in rows], [label for _, label in rows]


TRAIN, TEST = parts(REVIEWS, slice(0, 2)), parts(REVIEWS, slice(2, 4))


@pytest.fixture(scope="module")
def smollm() -> Iterator[tuple[Any, Any]]:
    yield open_model(published("SEAM_SMOLLM"))


def answered(path: Path, adapter: Path, texts: list[str]) -> Any:
    """The scores that the tool prints."""
    done = seam("classify", "--model", path, "--adapter", adapter, "--json", *texts)
    return [json.loads(line) for line in done.splitlines()]


def test_a_head_trained_through_torch_in_the_tool(smollm: tuple[Any, Any], tmp_path: Path) -> None:
    path = published("SEAM_SMOLLM")
    classifier = seamkit.DecTClassifier(smollm, TEMPLATE, WORDS).fit(*TRAIN)
    native = seamkit.DecTClassifier(path, TEMPLATE, WORDS).fit(*TRAIN)
    assert classifier.losses_ == pytest.approx(native.losses_, rel=1e-4)
    scores = classifier.decision_function(TEST[0])
    assert np.abs(native.decision_function(TEST[0]) - scores).max() <= TOLERANCE * np.abs(scores).max()
    classifier.save(tmp_path / "head")
    rows = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in zip(*TEST, strict=True))
    (tmp_path / "test.jsonl").write_text(rows)
    measured = json.loads(
        seam("classify", "--model", path, "--adapter", tmp_path / "head", "--data", tmp_path / "test.jsonl", "--json")
    )
    assert measured["accuracy"] == pytest.approx(100 * classifier.score(*TEST))
    for row, score, label in zip(
        answered(path, tmp_path / "head", TEST[0]), scores, classifier.predict(TEST[0]), strict=True
    ):
        assert row["label"] == label
        assert abs(row["scores"]["positive"] - row["scores"]["negative"] - score) <= TOLERANCE * np.abs(scores).max()


def test_a_head_of_the_tool_through_torch(smollm: tuple[Any, Any], tmp_path: Path) -> None:
    path = published("SEAM_SMOLLM")
    seam(
        "fewshot",
        "--model",
        path,
        "--template",
        TEMPLATE,
        *write(tmp_path, REVIEWS, {label: words[0] for label, words in WORDS.items()}),
    )
    head = tmp_path / "run/adapters/shots-2/seed-0"
    classifier = seamkit.DecTClassifier.load(head, smollm)
    [row] = [
        each for each in json.loads((tmp_path / "run/results.json").read_text())["results"] if each["method"] == "dect"
    ]
    assert accuracy_score(TEST[1], classifier.predict(TEST[0])) == pytest.approx(row["accuracy"]["mean"])
    expected = np.array([[each["scores"][label] for label in WORDS] for each in answered(path, head, TEST[0])])
    found = classifier.decision_function(TEST[0])
    assert np.abs(found - (expected[:, 1] - expected[:, 0])).max() <= TOLERANCE * np.abs(expected).max()


def test_a_sentence_encoder(tmp_path: Path) -> None:
    """Opened from its path by both engines; its tokenizer cuts texts to 128 tokens."""
    path = published("SEAM_MINILM")
    words = {"sport": "sports", "money": "finance", "weather": "weather"}
    X, y = parts(TOPICS, slice(0, 2))
    long = " ".join(TOPICS["sport"]) * 20
    found = [seamkit.DecTClassifier(path, verbalizer=words, engine=each).fit(X, y) for each in ("native", "torch")]
    scores = [each.decision_function([*parts(TOPICS, slice(2, 4))[0], long]) for each in found]
    assert np.abs(scores[0] - scores[1]).max() <= TOLERANCE * np.abs(scores[0]).max()
    assert [each.score(*parts(TOPICS, slice(2, 4))) for each in found] == [1, 1]
    assert found[1].predict([long]).tolist() == ["sport"]


def test_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its programs run as they stand, in their order."""
    path = published("SEAM_SMOLLM")
    monkeypatch.chdir(tmp_path)
    (tmp_path / path.name).symlink_to(path)
    text = (ROOT / "docs/python-classification.md").read_text()
    names: dict[str, Any] = {"texts": TRAIN[0], "labels": TRAIN[1], "test_texts": TEST[0], "test_labels": TEST[1]}
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "python-classification.md", "exec"), names)
    assert names["losses"][-1] < names["losses"][0]
    commands = [line for line in text.splitlines() if line.startswith("seam classify")]
    assert len(commands) == 1
    done = run(*[each.strip('"') for each in re.findall(r'"[^"]*"|\S+', commands[0])[1:]])
    assert done.returncode == 0 and done.stdout.strip() in WORDS, done
    assert os.listdir(tmp_path / "head")
