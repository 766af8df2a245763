"""Adapters on decoder.output that read the answers to several prompts about each text (Tests/Fixtures/prompts-plugin)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.special

import seamkit
from command_line import run, seam
from fewshot_models import LABELS, WORDS, Model, write_reviews
from plugins_in_c import built

TEMPLATES = ["{text} In summary, it was [MASK].", "{text} a [MASK] film", "it was [MASK] and {text}"]
TASK = {"templates": TEMPLATES, "labels": WORDS}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model("bert", tmp_path_factory.mktemp("bert") / "model")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("prompts-plugin/prompts.c", tmp_path_factory.mktemp("plugin") / "libPrompts.so")


@pytest.fixture
def backbone(model: Model, library: Path) -> seamkit.Backbone:
    runtime = seamkit.Runtime()
    runtime.load_plugin(library)
    return runtime.open(model.folder)


def answers(model: Model, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Class scores [prompts, classes] and hidden states [prompts, d_model] of a text, by transformers."""
    scores, hidden = [], []
    for template in TEMPLATES:
        answer = model.answer(template.replace("{text}", text).replace("[MASK]", model.family.mask))
        assert answer.logits is not None
        words = model.word_scores(answer.logits)
        scores.append([words[:2].max(), *words[2:]])
        hidden.append(answer.hidden.numpy())
    return np.array(scores, np.float64), np.array(hidden, np.float64)


def test_the_mean_of_transformers_answers(backbone: seamkit.Backbone, model: Model, tmp_path: Path) -> None:
    """Of the largest: all compute in f32, with sums in another order."""
    texts = [each["text"] for each in write_reviews(tmp_path / "texts.jsonl", 2, 3)]
    asked = np.array([answers(model, each)[0] for each in texts])
    with seamkit.Classifier(backbone, TASK, seamkit.Tokenizer(model.folder), tmp_path / "cache") as classifier:
        found = classifier.scores(texts)
        assert np.abs(found - asked.mean(1)).max() <= 1e-5 * np.abs(asked).max()
        assert classifier.query_count == len(TEMPLATES) * len(texts)
        classifier.attach(backbone.classifier("test-prompt-mean", len(LABELS), prompts=len(TEMPLATES)))
        found = classifier.scores(texts)
        expected = scipy.special.log_softmax(asked, -1).mean(1)
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    # A task of other prompts asks with those that are new.
    other = TASK | {"templates": [TEMPLATES[1], "{text} so [MASK]"]}
    with seamkit.Classifier(backbone, other, seamkit.Tokenizer(model.folder), tmp_path / "cache") as classifier:
        classifier.scores(texts)
        assert classifier.query_count == len(texts)


def test_training_and_saving(backbone: seamkit.Backbone, model: Model, tmp_path: Path) -> None:
    rows = write_reviews(tmp_path / "train.jsonl", 4, 1)
    texts, labels = [each["text"] for each in rows], [each["label"] for each in rows]
    adapter = backbone.classifier("test-prompt-weights", len(LABELS), prompts=len(TEMPLATES))
    classifier = seamkit.Classifier(backbone, TASK, seamkit.Tokenizer(model.folder))
    classifier.attach(adapter)
    losses = classifier.fit(texts, labels, epochs=40, learning_rate=0.05)
    assert losses[-1] < losses[0]
    both = [answers(model, each) for each in texts]
    weights = scipy.special.softmax(adapter.parameters["weights"].astype(np.float64))
    scores = np.array([(weights[:, None] * scipy.special.log_softmax(each, -1)).sum(0) for each, _ in both])
    scores += np.array([hidden.mean(0) for _, hidden in both]) @ adapter.parameters["projection"].T
    assert np.abs(classifier.scores(texts) - scores).max() <= 1e-4 * np.abs(scores).max()
    adapter.save(tmp_path / "head")
    loaded = backbone.load(tmp_path / "head")
    assert loaded.task is not None and loaded.task["templates"] == TEMPLATES and "template" not in loaded.task
    again = seamkit.Classifier(backbone, loaded.task, seamkit.Tokenizer(model.folder))
    again.attach(loaded)
    assert np.abs(again.scores(texts) - scores).max() <= 1e-4 * np.abs(scores).max()


def test_features(backbone: seamkit.Backbone) -> None:
    width = backbone.info.d_model
    adapter = backbone.classifier("test-prompt-mean", 2, prompts=3)
    assert adapter.describe()["prompts"] == 3
    scores = np.random.default_rng(1).normal(size=(4, 3, 2))
    found = adapter.classify(scores, np.zeros((4, 3, width)))
    assert np.abs(found - scipy.special.log_softmax(scores, -1).mean(1)).max() < 1e-6
    with pytest.raises(seamkit.ShapeError, match=rf"scores \[examples, 3, 2\] and hidden \[examples, 3, {width}\]"):
        adapter.classify(scores[:, 0], np.zeros((4, width)))
    with pytest.raises(seamkit.ShapeError, match="found"):
        adapter.classify(scores[:, :2], np.zeros((4, 2, width)))
    with pytest.raises(seamkit.UnsupportedError, match='"dect" on decoder.output reads one prompt about each text'):
        backbone.classifier("dect", 2, prompts=2)


def test_an_adapter_of_one_prompt_is_refused(backbone: seamkit.Backbone, model: Model) -> None:
    classifier = seamkit.Classifier(backbone, TASK, seamkit.Tokenizer(model.folder))
    with pytest.raises(seamkit.IncompatibleError, match="made for 1 prompt about each text, the task has 3"):
        classifier.attach(backbone.classifier("dect", len(LABELS)))


def test_in_a_session_there_is_one(backbone: seamkit.Backbone) -> None:
    """The scores that enter are 0 there, so that each class has the same probability."""
    session = backbone.session()
    session.add("test-prompt-mean", classes=4)
    found = session.classify(seamkit.Batch([[4, 5, 6], [7, 8, 9]]), 4)
    assert np.abs(found + np.log(4)).max() < 1e-6
    with pytest.raises(seamkit.UnsupportedError, match="was made for 2 prompts, and a text in a session has one"):
        session.attach(backbone.classifier("test-prompt-mean", 4, prompts=2))


def test_a_start_from_examples_of_the_callers(backbone: seamkit.Backbone) -> None:
    """The weights become the mean of each prompt's scores, and the scores of an empty text have the axis of prompts."""
    adapter = backbone.classifier("test-prompt-weights", 2, prompts=3)
    random = np.random.default_rng(4)
    scores, empty = random.normal(size=(5, 3, 2)), random.normal(size=(1, 3, 2))
    hidden = np.zeros((5, 3, backbone.info.d_model))
    adapter.prepare(scores, hidden, labels=[0, 1, 0, 1, 1], empty_scores=empty)
    found = list(adapter.parameters.values())
    assert any(each.shape == (3,) and np.allclose(each, scores.mean((0, 2)), atol=1e-6) for each in found)
    assert any(each.shape == (3, 2) and np.allclose(each, empty[0], atol=1e-6) for each in found)
    with pytest.raises(seamkit.ShapeError, match=r"empty_scores must be f32 \[1, 3, 2\], found f32 \[1, 2\]"):
        adapter.prepare(scores, hidden, labels=[0, 1, 0, 1, 1], empty_scores=empty[:, 0])


def test_the_estimator(model: Model, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAM_PLUGIN_PATH", str(library.parent))
    rows = write_reviews(tmp_path / "train.jsonl", 4, 1)
    texts, labels = [each["text"] for each in rows], [each["label"] for each in rows]
    found = seamkit.DecTClassifier(
        str(model.folder), adapter="test-prompt-weights", template=TEMPLATES, verbalizer=WORDS
    ).fit(texts, labels)
    assert found.task_["templates"] == TEMPLATES
    found.save(tmp_path / "head")
    again = seamkit.DecTClassifier.load(tmp_path / "head", str(model.folder))
    assert again.template == TEMPLATES
    assert np.abs(again.decision_function(texts) - found.decision_function(texts)).max() < 1e-5


def test_the_command_line(model: Model, library: Path, tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    write_reviews(tmp_path / "train.jsonl", 6, 1)
    tested = write_reviews(tmp_path / "test.jsonl", 3, 2)
    given = ["--model", model.folder, "--plugin", library]
    asked = ["--train", tmp_path / "train.jsonl", "--test", tmp_path / "test.jsonl", "--shots", "4", "--seeds", "1"]
    asked += ["--verbalizer", tmp_path / "words.json", *(part for each in TEMPLATES for part in ("--template", each))]
    text = seam("fewshot", *given, *asked, "--adapter", "test-prompt-weights", "--output", tmp_path / "run")
    assert "test-prompt-weights" in text
    head = tmp_path / "run/adapters/shots-4/seed-0"
    line = seam("classify", *given, "--adapter", head, "--json", tested[0]["text"])
    assert set(json.loads(line)["scores"]) == set(LABELS)
    refused = run("fewshot", *given, *asked, "--adapter", "dect", "--output", tmp_path / "other")
    assert refused.returncode != 0
    assert 'adapter "dect" on decoder.output reads one prompt about each text, found 3' in refused.stderr
