"""The multi-prompting decoder on both engines, against its formula in NumPy, exact transport and finite differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch

import seamkit
import seamkit.torch as engine
from dect_models import Folder
from fewshot_models import LABELS, WORDS, write_reviews
from seamkit.torch.classification import heads

ID = "multi-prompting-decoder"
PROMPTS, CLASSES, COUNT = 4, 3, 18
SMALL = {"projection_width": 8}
OPTIONS: list[dict[str, Any]] = [
    SMALL,
    SMALL | {"prototypes": 1},
    SMALL | {"prototypes": 5, "epsilon": 0.02, "iterations": 50},
    SMALL | {"epsilon": 10, "iterations": 1},
    SMALL | {"beta": 0.7, "calibration": False},
    SMALL | {"model_scores": False},
]
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder("bert", tmp_path_factory.mktemp("bert") / "model")


def examples(folder: Folder, seed: int = 1) -> tuple[Array, Array, Array, Array]:
    """Scores, hidden states in which a class shows in some prompts, labels, and scores of an empty text."""
    random = np.random.default_rng(seed)
    width, labels = engine.Site.of(folder.model).d_model, np.arange(COUNT) % CLASSES
    of_classes = np.random.default_rng(7).normal(size=(PROMPTS, CLASSES, width))
    hidden = random.normal(size=(COUNT, PROMPTS, width)) + of_classes[:, labels].transpose(1, 0, 2)
    scores = random.normal(size=(COUNT, PROMPTS, CLASSES)) + 5
    empty = random.uniform(1, 3, size=(PROMPTS, CLASSES))
    return scores.astype(np.float32), hidden.astype(np.float32), labels.astype(np.int32), empty.astype(np.float32)


def normalised(x: Array) -> Array:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def similarities(hidden: Array, values: dict[str, Array]) -> Array:
    """[n, classes, prompts, prototypes]."""
    v = normalised(hidden.astype(np.float64) @ values["projection"].T)
    return np.einsum("npw,kqw->nkpq", v, normalised(values["prototypes"]))


def plan(alike: Array, epsilon: float, iterations: int) -> Array:
    """Sinkhorn's iterations with equal shares (Cuturi 2013, algorithm 1)."""
    kernel = np.exp(-(1 - alike) / epsilon)
    prompts, prototypes = kernel.shape[-2:]
    columns = np.ones((*kernel.shape[:-2], prototypes))
    for _ in range(iterations):
        rows = 1 / prompts / np.einsum("...pq,...q->...p", kernel, columns)
        columns = 1 / prototypes / np.einsum("...pq,...p->...q", kernel, rows)
    return np.asarray(rows[..., None] * kernel * columns[..., None, :])


def matched(hidden: Array, values: dict[str, Array], options: dict[str, Any], given: Array | None = None) -> Array:
    alike = similarities(hidden, values)
    if given is None:
        given = plan(alike, options.get("epsilon", 0.1), options.get("iterations", 20))
    return np.asarray((given * alike).sum((-1, -2)))


def expected(scores: Array, hidden: Array, values: dict[str, Array], options: dict[str, Any]) -> Array:
    own = (scores / values["calibration"]).mean(1) * values["score_weight"]
    return matched(hidden, values, options) + own


def values_of(adapter: seamkit.Adapter) -> dict[str, Array]:
    return {name: each.astype(np.float64) for name, each in adapter.parameters.items()}


def native(runtime: seamkit.Runtime, folder: Folder, options: dict[str, Any], prompts: int = PROMPTS) -> Any:
    return runtime.open(folder.path).classifier(ID, CLASSES, options, seed=3, prompts=prompts)


def in_torch(folder: Folder, options: dict[str, Any], prompts: int = PROMPTS) -> engine.Adapter:
    return engine.Adapter(ID, engine.Site.of(folder.model), options, classes=CLASSES, seed=3, prompts=prompts)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_formula(runtime: seamkit.Runtime, folder: Folder, options: dict[str, Any]) -> None:
    """Prepared, and after a training; the engines train alike."""
    scores, hidden, labels, empty = examples(folder)
    asked = examples(folder, 2)
    adapter, own = native(runtime, folder, options), in_torch(folder, options)
    tensors = [torch.from_numpy(each) for each in (scores, hidden, labels.astype(np.int64), empty)]
    for rate in (0, 0.01):
        losses = adapter.fit(scores, hidden, labels, empty, epochs=10, learning_rate=rate)
        values = values_of(adapter)
        wanted = expected(asked[0], asked[1], values, options)
        assert np.abs(adapter.classify(asked[0], asked[1]) - wanted).max() <= 1e-5
        changes = heads.FitOptions(epochs=10, learning_rate=rate)
        assert heads.fit([own], *tensors, changes) == pytest.approx(losses, rel=1e-5)
        found = heads.class_scores([own], torch.from_numpy(asked[0]), torch.from_numpy(asked[1]))
        assert np.abs(found.numpy() - wanted).max() <= (1e-5 if rate == 0 else 1e-4)
    assert losses[-1] < losses[0] - 1e-2
    # What prepares it.
    with_scores = options.get("model_scores", True)
    is_calibrated = with_scores and options.get("calibration", True)
    wanted = empty / empty.mean(1, keepdims=True) if is_calibrated else np.ones((PROMPTS, CLASSES))
    assert np.abs(values["calibration"] - wanted).max() <= 1e-6
    weight = options.get("beta", CLASSES / COUNT) if with_scores else 0
    assert values["score_weight"] == pytest.approx([weight])


def test_the_loss_is_of_the_matching_alone(runtime: seamkit.Runtime, folder: Folder) -> None:
    scores, hidden, labels, empty = examples(folder)
    adapter = native(runtime, folder, SMALL)
    [loss] = adapter.fit(scores, hidden, labels, empty, epochs=1, learning_rate=0)
    rows = matched(hidden, values_of(adapter), SMALL)
    expected = np.mean(np.log(np.exp(rows).sum(1)) - rows[np.arange(COUNT), labels])
    assert loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("prototypes", [2, 4])
def test_the_plan_is_the_cheapest(runtime: seamkit.Runtime, folder: Folder, prototypes: int) -> None:
    """Against linear programming, with a small epsilon and many iterations; and its rows and columns have their shares."""
    options = SMALL | {"prototypes": prototypes, "epsilon": 0.002, "iterations": 4000}
    adapter = native(runtime, folder, options)
    hidden = examples(folder)[1][:5]
    found = np.asarray(adapter.call("plan", hidden), np.float64)
    alike = similarities(hidden, values_of(adapter))
    assert found.shape == alike.shape == (5, CLASSES, PROMPTS, prototypes)
    assert np.abs(found.sum(-1) - 1 / PROMPTS).max() <= 1e-4
    assert np.abs(found.sum(-2) - 1 / prototypes).max() <= 1e-5
    shares = np.array(
        [np.kron(np.eye(PROMPTS)[each], np.ones(prototypes)) for each in range(PROMPTS)]
        + [np.kron(np.ones(PROMPTS), np.eye(prototypes)[each]) for each in range(prototypes)]
    )
    sums = [1 / PROMPTS] * PROMPTS + [1 / prototypes] * prototypes
    for own, cost in zip(
        found.reshape(-1, PROMPTS * prototypes), 1 - alike.reshape(-1, PROMPTS * prototypes), strict=True
    ):
        best = scipy.optimize.linprog(cost, A_eq=shares, b_eq=sums).fun
        # The entropy of a plan is below log 16, and epsilon times it what the regularised plan costs more.
        assert best - 1e-4 <= own @ cost <= best + 0.002 * np.log(16) + 1e-4
    # An even plan with a large epsilon.
    even = native(runtime, folder, SMALL | {"prototypes": prototypes, "epsilon": 1000})
    assert np.abs(np.asarray(even.call("plan", hidden)) * PROMPTS * prototypes - 1).max() <= 1e-2


@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
def test_gradients(folder: Folder, options: dict[str, Any]) -> None:
    """Against finite differences in f64 with the plan as it is, which is the derivative of the regularised minimum."""
    own = in_torch(folder, options).double().eval()
    scores, hidden, _, _ = examples(folder)
    values = {name: each.detach().numpy().copy() for name, each in own.state_dict().items()}
    fixed = plan(similarities(hidden, values), options.get("epsilon", 0.1), options.get("iterations", 20))
    seed = np.random.default_rng(5).normal(size=(COUNT, CLASSES))

    def total(name: str, index: tuple[int, ...], step: float) -> float:
        changed = {key: each.copy() for key, each in values.items()}
        changed[name][index] += step
        return float((seed * matched(hidden, changed, options, fixed)).sum())

    found = own(torch.from_numpy(scores).double(), torch.from_numpy(hidden).double())
    (found * torch.from_numpy(seed)).sum().backward()
    random = np.random.default_rng(6)
    for name in ("projection", "prototypes"):
        gradient = own.get_parameter(name).grad
        assert gradient is not None and gradient.abs().max() > 1e-2
        for index in zip(*(random.integers(0, each, 20) for each in gradient.shape), strict=True):
            wanted = (total(name, index, 1e-5) - total(name, index, -1e-5)) / 2e-5
            assert abs(gradient[index].item() - wanted) <= 1e-5 * gradient.abs().max()


def test_in_a_classification(runtime: seamkit.Runtime, folder: Folder, tmp_path: Path) -> None:
    """Texts, with both engines; saved by one and read by the other; and with one prompt."""
    rows = write_reviews(tmp_path / "train.jsonl", 6, 1)
    texts, labels = [each["text"] for each in rows], [each["label"] for each in rows]
    for templates in ([folder.template, f"a film {folder.template}", f"so {folder.template}"], [folder.template]):
        given = {"adapter": ID, "template": templates, "verbalizer": WORDS, "options": SMALL}
        found = seamkit.DecTClassifier(str(folder.path), **given).fit(texts, labels)
        own = seamkit.DecTClassifier((folder.model, folder.tokenizer), **given).fit(texts, labels)
        assert found.losses_[-1] < found.losses_[0]
        assert own.losses_ == pytest.approx(found.losses_, rel=1e-4)
        values = found.decision_function(texts)
        assert np.abs(own.decision_function(texts) - values).max() <= 1e-4 * np.abs(values).max()
        found.save(tmp_path / f"head-{len(templates)}")
        again = seamkit.DecTClassifier.load(tmp_path / f"head-{len(templates)}", (folder.model, folder.tokenizer))
        assert np.abs(again.decision_function(texts) - values).max() <= 1e-5 * np.abs(values).max()
        assert set(found.classes_) == set(LABELS)


def test_what_is_refused(runtime: seamkit.Runtime, folder: Folder) -> None:
    scores, hidden, labels, empty = examples(folder)
    adapter = native(runtime, folder, SMALL)
    empty[2, 1] = 0
    sentence = (
        "divides scores by those of an empty text, and that of class 1 of prompt 2 is 0: set calibration to false"
    )
    with pytest.raises(seamkit.NumericError, match=sentence):
        adapter.fit(scores, hidden, labels, empty)
    native(runtime, folder, SMALL | {"calibration": False}).fit(scores, hidden, labels, empty, epochs=1)
    empty[2] = [1, 1, -2]
    with pytest.raises(seamkit.NumericError, match="the scores of an empty text of prompt 2 by their mean, which is 0"):
        adapter.fit(scores, hidden, labels, empty)
    with pytest.raises(seamkit.ShapeError, match=r"plan takes hidden \[n, 4, "):
        adapter.call("plan", hidden[:, 0])
    for name, value in (("prototypes", 0), ("epsilon", 0), ("iterations", 0)):
        with pytest.raises(seamkit.InvalidArgumentError, match=f'option "{name}"'):
            native(runtime, folder, {name: value})
    with pytest.raises(seamkit.SeamError, match="needs at least 2 classes"):
        runtime.open(folder.path).adapter(ID)
