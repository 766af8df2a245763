"""Batch calibration on both engines and over a server, against its formula in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seamkit
import seamkit.torch as engine
from layer_models import opened
from prefix_reference import save
from seamkit.torch.classification import heads
from unreliable_server import running

CLASSES, WIDTH, COUNT = 4, 24, 60
KINDS = ("unknown", "logits", "log_probabilities", "probabilities")
Array = np.ndarray[Any, Any]


def examples(kind: str, seed: int = 1) -> tuple[Array, Array, Array]:
    """Scores of a model that prefers some classes, hidden states that are not read, and labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(COUNT) % CLASSES
    scores = random.normal(size=(COUNT, CLASSES)) + 1.2 * np.eye(CLASSES)[labels] + [0, 1.5, -1, 0.5]
    if kind == "log_probabilities":
        scores -= 5
    if kind == "probabilities":
        scores = np.exp(scores) / np.exp(scores).sum(1, keepdims=True) / 2
        scores[0, 2] = 0
    return scores.astype(np.float32), np.zeros((COUNT, WIDTH), np.float32), labels.astype(np.int32)


def logarithms(scores: Array, kind: str) -> Array:
    values = np.log(np.maximum(scores.astype(np.float64), 2.0**-126)) if kind == "probabilities" else scores
    return np.asarray(values - np.log(np.exp(values).sum(1, keepdims=True)))


def calibrated(scores: Array, fitted_to: Array, gamma: float) -> Array:
    return np.asarray(scores - gamma * np.log(np.exp(fitted_to).mean(0)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("t5", tmp_path_factory.mktemp("t5"))


def in_torch(model: Any, options: dict[str, Any], kind: str) -> engine.Adapter:
    return engine.Adapter(
        "batch-calibration", engine.Site.of(model), options, classes=CLASSES, score_kind=kind, seam="decoder.output"
    )


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return opened("t5", folder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"gamma": 0.4}, {"gamma": -2}])
def test_the_formula(
    runtime: seamkit.Runtime, folder: Path, model: Any, tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    scores, hidden, labels = examples(kind)
    asked = examples(kind, 2)[0]
    backbone = runtime.open(folder)
    native = backbone.classifier("batch-calibration", CLASSES, options, score_kind=kind)
    # What nobody has fitted takes nothing off.
    assert np.abs(native.classify(asked, hidden) - logarithms(asked, kind)).max() <= 1e-4
    native.fit(scores, hidden, labels)
    expected = calibrated(logarithms(asked, kind), logarithms(scores, kind), options.get("gamma", 1))
    # Logarithms down to -87 in f32.
    assert np.abs(native.classify(asked, hidden) - expected).max() <= 1e-4
    native.save(tmp_path / "adapter")
    assert np.array_equal(backbone.load(tmp_path / "adapter").classify(asked, hidden), native.classify(asked, hidden))
    adapter = in_torch(model, options, kind)
    heads.fit([adapter], torch.from_numpy(scores), torch.from_numpy(hidden), torch.from_numpy(labels).long())
    found = heads.class_scores([adapter], torch.from_numpy(asked), torch.from_numpy(hidden)).numpy()
    assert np.abs(found - expected).max() <= 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [0.0, 3.0, 9.0])
def test_gamma_is_searched(runtime: seamkit.Runtime, folder: Path, model: Any, kind: str, start: float) -> None:
    """The best of -5 ... 5 and of where it starts; of several the one nearest to that."""
    scores, hidden, labels = examples(kind)
    own = logarithms(scores, kind)

    def right(gamma: float) -> int:
        return int((calibrated(own, own, gamma).argmax(1) == labels).sum())

    best = max((right(each), -abs(each - start), each) for each in [start, *(np.arange(-50, 51) / 10)])[2]
    assert right(best) > right(0) and best != start
    options = {"search_gamma": True, "gamma": start}
    native = runtime.open(folder).classifier("batch-calibration", CLASSES, options, score_kind=kind)
    native.fit(scores, hidden, labels)
    assert native.parameters["gamma"] == pytest.approx([best])
    assert np.abs(native.classify(scores, hidden) - calibrated(own, own, best)).max() <= 2e-4
    adapter = in_torch(model, options, kind)
    heads.fit([adapter], torch.from_numpy(scores), torch.from_numpy(hidden), torch.from_numpy(labels).long())
    assert adapter.state_dict()["gamma"].tolist() == pytest.approx([best])


def test_what_is_refused(runtime: seamkit.Runtime, folder: Path, model: Any) -> None:
    sentence = "it calibrates probabilities, and the scores here are similarities"
    with pytest.raises(seamkit.UnsupportedError, match=sentence):
        runtime.open(folder).classifier("batch-calibration", CLASSES, score_kind="similarities")
    with pytest.raises(seamkit.UnsupportedError, match=sentence):
        in_torch(model, {}, "similarities")
    with pytest.raises(seamkit.InvalidArgumentError):
        runtime.open(folder).adapter("batch-calibration")


def test_over_a_server(runtime: seamkit.Runtime) -> None:
    """Fitted to what a server answers, of which it reads the logarithms of probabilities alone."""
    texts = [f"text {row}" for row in range(12)]
    labels = ["good", "bad", "middling"] * 4
    words = {"good": "good", "bad": "bad", "middling": "so so"}
    with running() as server:
        backbone = runtime.open(id="remote", options={"base_url": server.url, "backoff": 0.01})
        task = {"template": "{text} It was ", "labels": {label: [word] for label, word in words.items()}}
        with seamkit.Classifier(backbone, task) as plain:
            own = logarithms(plain.scores(texts), "log_probabilities")
        classifier = seamkit.DecTClassifier(backbone, "{text} It was ", words, adapter="batch-calibration")
        classifier.fit(texts, labels)
        found = classifier.decision_function(texts)
    # Its classes are in the order of the alphabet.
    order = [list(words).index(each) for each in classifier.classes_]
    assert np.abs(found - calibrated(own, own, 1)[:, order]).max() <= 1e-5
