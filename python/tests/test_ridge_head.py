"""The ridge head on both engines, against leaving out each example in turn in NumPy, every fit solved by itself."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.special
import torch

import seamkit
import seamkit.torch as engine
from dect_models import Folder
from seamkit.torch.classification import heads

CLASSES = 3
PENALTIES = (np.inf, 10, 1, 0.1, 0.01, 0.001)
ALPHAS = (0, 0.125, 0.25, 0.5, 1, 2, 4)
SCALES = tuple(2 ** (each / 2 - 2) for each in range(21))
Array = np.ndarray[Any, Any]


class Examples(NamedTuple):
    scores: Array
    hidden: Array
    labels: Array
    empty: Array


def examples(width: int, count: int, of_scores: float, of_hidden: float, seed: int = 1) -> Examples:
    """The two numbers: how much the scores, and the hidden states, tell of the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    directions = np.random.default_rng(7).normal(size=(CLASSES, width)) / np.sqrt(width)
    hidden = random.normal(size=(count, width)) + of_hidden * directions[labels] + 3
    bias = np.array([2.0, 1, 1.5])
    scores = (random.normal(size=(count, CLASSES)) + of_scores * np.eye(CLASSES)[labels] + 8) * bias
    return Examples(*(each.astype(np.float32) for each in (scores, hidden)), labels.astype(np.int32), 8 * bias)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder("bert", tmp_path_factory.mktemp("bert") / "model")


@pytest.fixture(scope="module")
def width(folder: Folder) -> int:
    return engine.Site.of(folder.model).d_model


def native(runtime: seamkit.Runtime, folder: Folder, **options: Any) -> seamkit.Adapter:
    return runtime.open(folder.path).classifier("ridge-head", CLASSES, options)


# ---- The same in NumPy


def scaled(scores: Array, calibration: Array) -> tuple[Array, float]:
    """S, and its unit."""
    values = scores / calibration
    values = values - values.mean(1, keepdims=True)
    unit = np.sqrt(len(scores) * (1 - 1 / CLASSES) / (values**2).sum())
    return values * unit, float(unit)


def fitted(hidden: Array, targets: Array, penalty: float) -> tuple[Array, Array]:
    """W and the mean that it is fitted around; the targets' own mean is the intercept's."""
    mean = hidden.mean(0)
    x = hidden - mean
    matrix = x.T @ x + penalty * np.eye(x.shape[1])
    return np.linalg.solve(matrix, x.T @ (targets - targets.mean(0))).T, mean


def losses(said: Array, labels: Array) -> list[float]:
    rows = np.arange(len(labels))
    return [float(np.mean(scipy.special.logsumexp(s * said, 1) - s * said[rows, labels])) for s in SCALES]


class Chosen(NamedTuple):
    calibration: Array
    penalty: float
    alpha: float
    scale: float


def chosen(given: Examples, calibrations: list[Array]) -> Chosen:
    """The best of all in the plugin's order, of which a later one must be better by 1e-6."""
    scores, hidden, labels = given.scores.astype(np.float64), given.hidden.astype(np.float64), given.labels
    targets = np.eye(CLASSES)[labels] - 1 / CLASSES
    unit = ((hidden - hidden.mean(0)) ** 2).sum(1).mean()
    least, best = np.inf, Chosen(calibrations[0], np.inf, 1, 1)
    for penalty, calibration in itertools.product(PENALTIES, calibrations):
        own, _ = scaled(scores, calibration)
        for alpha in ALPHAS if np.isfinite(penalty) else (1,):
            said = alpha * own
            if np.isfinite(penalty):
                for row in range(len(labels)):
                    others = np.arange(len(labels)) != row
                    weight, mean = fitted(hidden[others], (targets - alpha * own)[others], penalty * unit)
                    said[row] += weight @ (hidden[row] - mean)
            for loss, scale in zip(losses(said, labels), SCALES, strict=True):
                if loss < least - 1e-6:
                    least, best = loss, Chosen(calibration, penalty, alpha, scale)
    return best


def expected(given: Examples, choice: Chosen, asked: Examples) -> Array:
    own, unit = scaled(given.scores.astype(np.float64), choice.calibration)
    result = choice.alpha * unit * asked.scores / choice.calibration
    if np.isfinite(choice.penalty):
        hidden = given.hidden.astype(np.float64)
        scale = ((hidden - hidden.mean(0)) ** 2).sum(1).mean()
        targets = np.eye(CLASSES)[given.labels] - 1 / CLASSES
        weight, mean = fitted(hidden, targets - choice.alpha * own, choice.penalty * scale)
        result = result + (asked.hidden - mean) @ weight.T
    return np.asarray(choice.scale * result)


# ---- The tests


@pytest.mark.parametrize("count", [9, 60], ids=["few", "more than the width"])
@pytest.mark.parametrize("strengths", [(0, 6), (3, 0), (2, 4), (0, 0)], ids=str)
def test_leaving_out_each_example(
    runtime: seamkit.Runtime, folder: Folder, width: int, tmp_path: Path, count: int, strengths: tuple[float, float]
) -> None:
    """The choice and the weights, with examples of which the scores, the hidden states, both or none tell the class."""
    given, asked = examples(width, count, *strengths), examples(width, 20, *strengths, seed=2)
    choice = chosen(given, [given.empty / given.empty.mean(), np.ones(CLASSES)])
    adapter = native(runtime, folder)
    adapter.fit(given.scores, given.hidden, given.labels, given.empty)
    assert np.abs(adapter.parameters["calibration"][0] - choice.calibration).max() <= 1e-6
    assert bool(adapter.parameters["weight"].any()) == bool(np.isfinite(choice.penalty))
    assert bool(adapter.parameters["score_weight"][0]) == (choice.alpha > 0)
    wanted = expected(given, choice, asked)
    found = adapter.classify(asked.scores, asked.hidden)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    if strengths == (3, 0) and count == 60:
        assert not np.isfinite(choice.penalty) and choice.calibration[0] > 1
    if strengths == (0, 6):
        assert choice.alpha <= 0.25
    adapter.save(tmp_path / "head")
    again = engine.read_adapter(tmp_path / "head", folder.model)
    tensors = [torch.from_numpy(each) for each in (asked.scores, asked.hidden)]
    assert np.abs(heads.class_scores([again], *tensors).numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()
    own = engine.Adapter("ridge-head", engine.Site.of(folder.model), classes=CLASSES)
    labels = torch.from_numpy(given.labels.astype(np.int64))
    empty = torch.from_numpy(given.empty.astype(np.float32))
    heads.fit([own], torch.from_numpy(given.scores), torch.from_numpy(given.hidden), labels, empty)
    assert np.abs(heads.class_scores([own], *tensors).numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_parts_alone(runtime: seamkit.Runtime, folder: Folder, width: int) -> None:
    given, asked = examples(width, 12, 1, 4), examples(width, 7, 1, 4, seed=2)
    scores = native(runtime, folder, hidden=False)
    scores.fit(given.scores, given.hidden, given.labels, given.empty)
    assert not scores.parameters["weight"].any()
    calibration = np.asarray(scores.parameters["calibration"][0], np.float64)
    found = scores.classify(asked.scores, asked.hidden)
    assert np.abs(found - asked.scores / calibration * scores.parameters["score_weight"]).max() <= 1e-4
    states = native(runtime, folder, model_scores=False)
    states.fit(given.scores, given.hidden, given.labels, given.empty)
    found = states.classify(asked.scores, asked.hidden)
    assert np.array_equal(found, states.classify(0 * asked.scores, asked.hidden)) and found.std() > 1e-2
    plain = native(runtime, folder, calibration=False)
    plain.fit(given.scores, given.hidden, given.labels, given.empty)
    assert (plain.parameters["calibration"] == 1).all()


def test_one_example_of_each_class(runtime: seamkit.Runtime, folder: Folder, width: int) -> None:
    """Nothing can be left out: a penalty of 1 and scores and states of one weight; the scores say how to calibrate."""
    given, asked = examples(width, CLASSES, 3, 3), examples(width, 9, 3, 3, seed=2)
    adapter = native(runtime, folder)
    adapter.fit(given.scores, given.hidden, given.labels, given.empty)
    calibrations = [given.empty / given.empty.mean(), np.ones(CLASSES)]
    least, best = np.inf, Chosen(calibrations[0], 1, 1, 1)
    for each in calibrations:
        for loss, scale in zip(losses(scaled(given.scores, each)[0], given.labels), SCALES, strict=True):
            if loss < least - 1e-6:
                least, best = loss, Chosen(each, 1, 1, scale)
    wanted = expected(given, best, asked)
    found = adapter.classify(asked.scores, asked.hidden)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_what_helps_no_fit(runtime: seamkit.Runtime, folder: Folder, width: int) -> None:
    """States that are all alike, scores that are, scores of an empty text that nothing can be divided by: none is an
    error, and what can be learned is."""
    given = examples(width, 12, 2, 5)
    for scores, hidden, empty in (
        (given.scores, np.ones_like(given.hidden), given.empty),
        (np.ones_like(given.scores), given.hidden, given.empty),
        (given.scores, given.hidden, np.zeros(CLASSES)),
        (np.zeros_like(given.scores), np.zeros_like(given.hidden), None),
    ):
        adapter = native(runtime, folder)
        adapter.fit(scores, hidden, given.labels, empty)
        found = adapter.classify(scores, hidden)
        assert np.isfinite(found).all()
        if scores.any() and len(np.unique(scores)) > 1 or len(np.unique(hidden)) > 1:
            assert (found.argmax(1) == given.labels).mean() > 0.6


def test_what_is_refused(runtime: seamkit.Runtime, folder: Folder, width: int) -> None:
    given = examples(width, 6, 1, 1)
    with pytest.raises(seamkit.InvalidArgumentError, match="one of hidden and model_scores must be true"):
        native(runtime, folder, hidden=False, model_scores=False)
    adapter = native(runtime, folder)
    with pytest.raises(
        seamkit.InvalidArgumentError, match="the ridge head starts from labelled examples, and there are no"
    ):
        adapter.prepare(given.scores, given.hidden)
    labels = given.labels.copy()
    labels[4] = 3
    with pytest.raises(seamkit.InvalidArgumentError, match=r"the label of example 4 must be 0 \.\.\. 2, found 3"):
        adapter.prepare(given.scores, given.hidden, labels=labels)
    with pytest.raises(seamkit.SeamError, match="needs at least 2 classes"):
        runtime.open(folder.path).adapter("ridge-head")
