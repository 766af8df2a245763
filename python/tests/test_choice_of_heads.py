"""The choice of a head by leaving out examples: on answers of which each candidate is right about one kind, against NumPy,
and in the estimator and the command."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

import seamkit
import test_ridge_head as ridge
from command_line import run, seam
from dect_models import Folder
from fewshot_models import LABELS, WORDS, write_reviews
from seamkit.classification import choice
from seamkit.classification.engines import Head, Texts

CLASSES = 3
NAMES = ["ridge-head", "dect", "the scores alone"]
Array = np.ndarray[Any, Any]


class Answers:
    """An engine whose texts are the numbers of rows of answers that were made up."""

    kind, query_count = "masked", 0

    def __init__(self, backbone: seamkit.Backbone, scores: Array, hidden: Array):
        self.lock = threading.RLock()
        self._backbone, self._scores, self._hidden = backbone, scores.astype(np.float32), hidden.astype(np.float32)

    def fitted(self, head: Head, seed: int, texts: Texts, labels: Array, **training: Any) -> Any:
        adapter = self._backbone.classifier(head.id, CLASSES, head.options, seed=seed)
        rows = [int(each) for each in texts[0]]
        return adapter, adapter.fit(self._scores[rows], self._hidden[rows], labels, np.ones(CLASSES), **training)

    def scores(self, adapter: Any, task: Mapping[str, Any], texts: Texts) -> Array:
        rows = [int(each) for each in texts[0]]
        return np.asarray(adapter.classify(self._scores[rows], self._hidden[rows]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder("bert", tmp_path_factory.mktemp("bert") / "model")


@pytest.fixture(scope="module")
def backbone(folder: Folder) -> seamkit.Backbone:
    return seamkit.Runtime().open(folder.path)


def answers(kind: str, width: int, count: int, seed: int = 3) -> tuple[Array, Array, Array]:
    """Scores, hidden states and labels. "scores": they tell the class, and the states are noise. "linear": a small part of
    the states does, the same in all whatever their direction, which a large common part makes. "directions": the
    direction of a state does, and its length, small, is anything."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    scores, hidden = random.normal(size=(count, CLASSES)), random.normal(size=(count, width))
    centres = np.random.default_rng(9).normal(size=(CLASSES, width))
    if kind == "scores":
        scores += 4 * np.eye(CLASSES)[labels]
    if kind == "linear":
        hidden = 0.5 * hidden + centres[labels] + 100
    if kind == "directions":
        hidden = (hidden + 1.5 * centres[labels]) * 0.01 * np.exp(random.normal(size=(count, 1)))
    return scores, hidden, labels.astype(np.int32)


def chosen(backbone: seamkit.Backbone, kind: str, count: int) -> tuple[Head, list[float], tuple[Array, Array, Array]]:
    given = answers(kind, backbone.info.d_model, count)
    head = Head("auto", {}, {"labels": dict.fromkeys(map(str, range(CLASSES)))})
    texts = [str(each) for each in range(count)]
    found, losses = choice.choose(Answers(backbone, *given[:2]), head, 0, (texts, None), given[2], epochs=30)
    return found, losses, given


@pytest.mark.parametrize("count", [24, 90], ids=["one at a time", "in groups"])
@pytest.mark.parametrize("kind, best", [("linear", 0), ("directions", 1), ("scores", 2)])
def test_each_candidate_is_the_best_of_some(backbone: seamkit.Backbone, kind: str, best: int, count: int) -> None:
    found, losses, _ = chosen(backbone, kind, count)
    assert (found.id, dict(found.options)) == choice.CANDIDATES[best]
    assert losses[best] <= min(losses) + 1e-6


@pytest.mark.parametrize("kind", ["linear", "scores"])
def test_the_losses_are_those_of_numpy(backbone: seamkit.Backbone, kind: str) -> None:
    """Of the two candidates in closed form: each example is left out, all is chosen and fitted anew in NumPy."""
    count = 9
    _, losses, (scores, hidden, labels) = chosen(backbone, kind, count)
    ones = [np.ones(CLASSES)]
    for place, is_ridge in ((0, True), (2, False)):
        rows = []
        for row in range(count):
            others = np.arange(count) != row
            states = hidden if is_ridge else 0 * hidden
            known = ridge.Examples(scores[others], states[others], labels[others], ones[0])
            asked = ridge.Examples(scores[[row]], states[[row]], labels[[row]], ones[0])
            best = ridge.chosen(known, ones) if is_ridge else scores_alone(known)
            rows.append(ridge.expected(known, best, asked)[0])
        said = np.array(rows)
        wanted = min(
            -log_softmax(scale * said, 1)[np.arange(count), labels].mean() for scale in 2.0 ** np.arange(-8, 8.5, 0.5)
        )
        assert losses[place] == pytest.approx(wanted, rel=1e-4, abs=1e-7)


def scores_alone(known: ridge.Examples) -> ridge.Chosen:
    own = ridge.scaled(known.scores, np.ones(CLASSES))[0]
    least, best = np.inf, 0.0
    for loss, scale in zip(ridge.losses(own, known.labels), ridge.SCALES, strict=True):
        if loss < least - 1e-6:
            least, best = loss, scale
    return ridge.Chosen(np.ones(CLASSES), np.inf, 1, best)


def test_the_best() -> None:
    """More right answers, then a lower loss, then the last; the one in the middle only beyond a standard error."""

    def best(*measured: tuple[int, list[float]]) -> int:
        return choice.best([(right, np.array(losses)) for right, losses in measured], 1)

    even = [1.0, 1.0, 1.0, 1.0]
    assert best((3, even), (0, even), (2, [0.1] * 4)) == 0
    assert best((3, even), (0, even), (3, [0.9] * 4)) == 2
    assert best((3, even), (0, even), (3, [1.1] * 4)) == 0
    assert best((3, even), (0, even), (3, even)) == 2
    # The differences from the first are 0.2 on average, with standard errors of 0 and of 0.29.
    assert best((3, even), (3, [0.8] * 4), (0, even)) == 1
    assert best((3, even), (4, [0.3, 0.3, 1.3, 1.3]), (0, even)) == 0
    assert best((3, even), (2, [0.8] * 4), (0, even)) == 0


def test_groups() -> None:
    """One at a time up to 64 examples; a class with one example is never left out, and no group takes a whole class."""
    alone = choice.groups(np.array([1, 0, 1, 2, 0]))
    assert [each.tolist() for each in alone] == [[1], [4], [0], [2]]
    assert choice.groups(np.arange(5)) == []
    for labels in (np.arange(130) % 65, np.sort(np.arange(200) % 3), np.repeat([0, 1], [2, 90])):
        found = choice.groups(labels)
        assert len(found) == 16
        assert sorted(np.concatenate(found).tolist()) == list(range(len(labels)))
        for group in found:
            assert (np.bincount(labels[group], minlength=labels.max() + 1) < np.bincount(labels)).all()


def test_one_example_of_each_class(backbone: seamkit.Backbone) -> None:
    found, losses, _ = chosen(backbone, "scores", CLASSES)
    assert (found.id, losses) == ("ridge-head", [])


# ---- In use


def test_the_estimator_and_the_command(folder: Folder, tmp_path: Path) -> None:
    """Both engines choose alike without asking the model again, and as the command does on the same examples."""
    rows = write_reviews(tmp_path / "train.jsonl", 5, 1)
    tested = write_reviews(tmp_path / "test.jsonl", 4, 2)
    texts, labels = [each["text"] for each in rows], [each["label"] for each in rows]
    others = [each["text"] for each in tested]
    given = {"template": folder.template, "verbalizer": WORDS, "head": "auto"}
    native = seamkit.DecTClassifier(str(folder.path), **given).fit(texts, labels)
    assert native.query_count_ == len(texts) + 1
    assert len(native.left_out_losses_) == len(choice.CANDIDATES) and native.choice_ in choice.CANDIDATES
    own = seamkit.DecTClassifier((folder.model, folder.tokenizer), **given).fit(texts, labels)
    assert own.query_count_ == len(texts) + 1
    assert own.left_out_losses_ == pytest.approx(native.left_out_losses_, rel=1e-3)
    assert own.choice_ == native.choice_
    values = native.decision_function(others)
    assert np.abs(own.decision_function(others) - values).max() <= 1e-4 * np.abs(values).max()
    native.save(tmp_path / "head")
    again = seamkit.DecTClassifier.load(tmp_path / "head", str(folder.path))
    assert np.array_equal(again.decision_function(others), values) and again.adapter == native.choice_[0]

    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    asked = ["--model", folder.path, "--train", tmp_path / "train.jsonl", "--test", tmp_path / "test.jsonl"]
    asked += ["--verbalizer", tmp_path / "words.json", "--template", folder.template, "--shots", "5", "--seeds", "1"]
    result = run("fewshot", *asked, "--adapter", "auto", "--output", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    name = NAMES[choice.CANDIDATES.index(native.choice_)]
    assert f"5 shots, seed 0: auto ({name}) accuracy" in result.stderr
    assert f"The model was asked {len(texts) + len(tested) + 1} times" in result.stdout
    head = tmp_path / "run/adapters/shots-5/seed-0"
    line = seam("classify", "--model", folder.path, "--adapter", head, "--json", others[0])
    found = json.loads(line)["scores"]
    wanted = dict(zip(native.classes_, values[0], strict=True))
    assert all(found[each] == pytest.approx(wanted[each], rel=1e-4, abs=1e-4) for each in LABELS)
    refused = run("fewshot", *asked, "--adapter", "auto", "--option", "radii=false", "--output", tmp_path / "other")
    assert refused.returncode != 0
    assert (
        '--option is for one adapter, and --adapter auto chooses among several, found "radii=false"' in refused.stderr
    )


def test_what_is_refused(folder: Folder) -> None:
    texts, labels = ["good", "bad", "long"], LABELS
    for wrong, sentence in (
        ({"head": "best"}, "head must be \"auto\" or None, for the head that adapter names, found 'best'"),
        ({"head": "auto", "lambda_": 2}, 'options are for one adapter, and "auto" chooses among several, found lambda'),
        ({"adapter": "auto", "options": {"radii": False}}, "chooses among several, found radii"),
    ):
        with pytest.raises(seamkit.InvalidArgumentError, match=sentence):
            seamkit.DecTClassifier(str(folder.path), folder.template, WORDS, **wrong).fit(texts, labels)
