"""DecT against its formulas in PyTorch: scores, starting values, training, options, saving, errors."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dect_reference import DecT, Features, features
from seam_abi import Array, SeamError, c, checked, constant, pointer
from seam_objects import Adapter, Backbone, Runtime
from tiny_models import save

CLASSES = [2, 4, 14]


@pytest.fixture(scope="module")
def backbone(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """Only its width counts."""
    return runtime.open(save("t5-1.0", tmp_path_factory.mktemp("model")))


def examples(backbone: Backbone, classes: int = 4, shots: int = 16) -> Features:
    return features(classes, shots, backbone.info.d_model, noise=2.0)


def twin(adapter: Adapter, given: Features, calibrated: bool = True) -> DecT:
    """The reference with the adapter's values."""
    values = adapter.parameters
    model = DecT(given.scores.shape[1], given.hidden.shape[1], len(values["projection"]), calibrated)
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor(values["projection"]))
        model.prototypes.copy_(torch.tensor(values["prototypes"]))
    return model


def expected_scores(model: DecT, given: Features) -> Array:
    with torch.no_grad():
        return model(torch.tensor(given.scores), torch.tensor(given.hidden)).numpy()


def fit(adapter: Adapter, given: Features, **changes: Any) -> list[float]:
    return adapter.fit(given.scores, given.hidden, given.labels, given.empty, **changes)


@pytest.mark.parametrize("classes", CLASSES)
def test_scores_before_training(backbone: Backbone, classes: int) -> None:
    given = examples(backbone, classes)
    adapter = backbone.classifier("dect", classes, seed=3)
    model = twin(adapter, given)
    found = adapter.classify(given.scores, given.hidden)
    assert np.abs(found - expected_scores(model, given)).max() <= 1e-5
    random = np.random.default_rng(1)
    values = adapter.parameters
    for name in ("radii", "calibration"):
        values[name][:] = random.normal(1, 0.2, values[name].shape)
    values["model_weight"][0] = model.weight = 0.3
    model.radii.data[:] = torch.tensor(values["radii"])
    model.scale = torch.tensor(values["calibration"])[0]
    moved = adapter.classify(given.scores, given.hidden)
    assert np.abs(moved - expected_scores(model, given)).max() <= 1e-5
    assert np.abs(moved - found).max() > 0.1, "the values must change something for the comparison to count"


def assert_same(adapter: Adapter, model: DecT, given: Features, found: list[float], expected: list[float]) -> None:
    """The same losses, values and scores. f32 rounding differs in the order of sums, and Adam carries it on; an element
    of W whose gradient nearly vanishes takes steps of a size that rounding decides."""
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[-1] < found[0] - 0.1
    values = adapter.parameters
    difference = np.abs(values["projection"] - model.head.weight.detach().numpy())
    assert difference.mean() <= 1e-5 and difference.max() <= 1e-3
    assert np.abs(adapter.classify(given.scores, given.hidden) - expected_scores(model, given)).max() <= 1e-3
    assert np.abs(values["radii"] - model.radii.detach().numpy()).max() <= 1e-4


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("calibration", [True, False])
def test_training(backbone: Backbone, classes: int, calibration: bool) -> None:
    given = examples(backbone, classes)
    adapter = backbone.classifier("dect", classes, {"calibration": calibration}, seed=classes)
    model = twin(adapter, given, calibrated=calibration)
    prototypes = np.array(adapter.parameters["prototypes"])
    model.prepare(given)
    found, expected = fit(adapter, given), model.fit(given)
    assert_same(adapter, model, given, found, expected)
    values = adapter.parameters
    assert np.array_equal(values["prototypes"], prototypes), "they are frozen"
    assert values["model_weight"][0] == 1 / 16, "one over the shots"
    assert np.abs(values["calibration"][0] - model.scale.numpy()).max() <= 1e-6
    assert (np.abs(values["calibration"] - 1).max() > 0.01) == calibration


@pytest.mark.parametrize("options", [{"lambda": 0.5}, {"projection_width": 16}, {"train_prototypes": True}])
def test_options(backbone: Backbone, options: dict[str, Any]) -> None:
    given = examples(backbone)
    adapter = backbone.classifier("dect", 4, options, seed=1)
    model = twin(adapter, given)
    model.prototypes.requires_grad_(options.get("train_prototypes", False))
    model.prepare(given, weight=options.get("lambda"))
    assert_same(adapter, model, given, fit(adapter, given), model.fit(given))
    assert np.abs(adapter.parameters["prototypes"] - model.prototypes.detach().numpy()).max() <= 1e-3


def test_without_radii_or_scores(backbone: Backbone) -> None:
    given = examples(backbone)
    adapter = backbone.classifier("dect", 4, {"radii": False, "model_scores": False}, seed=1)
    model = twin(adapter, given)
    model.weight = 0
    model.radii.requires_grad_(False)
    assert fit(adapter, given) == pytest.approx(model.fit(given), abs=1e-5)
    assert np.abs(adapter.classify(given.scores, given.hidden) - expected_scores(model, given)).max() <= 1e-3
    assert "radii" not in adapter.parameters and adapter.parameters["model_weight"][0] == 0


def test_fit_options(backbone: Backbone) -> None:
    given = examples(backbone)
    adapter = backbone.classifier("dect", 4, seed=1)
    model = twin(adapter, given)
    model.prepare(given)
    found = fit(adapter, given, epochs=12, learning_rate=0.02, max_grad_norm=0.02)
    assert len(found) == 12
    assert_same(adapter, model, given, found, model.fit(given, epochs=12, rate=0.02, clip=0.02))


def test_chunks(backbone: Backbone) -> None:
    """Gradients that are added chunk by chunk are those of all examples: only the order of sums differs."""
    given = examples(backbone, 4, 25)
    whole, parts = (backbone.classifier("dect", 4, seed=2) for _ in range(2))
    assert fit(whole, given) == pytest.approx(fit(parts, given, chunk_size=7), abs=1e-6)
    scores = [each.classify(given.scores, given.hidden) for each in (whole, parts)]
    assert np.abs(scores[0] - scores[1]).max() <= 1e-4


def test_initial_values(backbone: Backbone) -> None:
    width, classes = backbone.info.d_model, 4
    values = backbone.classifier("dect", classes, {"projection_width": 4000}, seed=9).parameters
    bound = 1 / np.sqrt(width)
    assert np.abs(values["projection"]).max() <= bound
    assert values["projection"].std() == pytest.approx(bound / np.sqrt(3), rel=0.01)
    bound = np.sqrt(6 / (classes + 4000))
    assert np.abs(values["prototypes"]).max() <= bound
    assert values["prototypes"].std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
    other = backbone.classifier("dect", classes, {"projection_width": 4000}, seed=10).parameters
    assert not np.array_equal(values["projection"], other["projection"])


def test_methods(backbone: Backbone) -> None:
    given = examples(backbone)
    adapter = backbone.classifier("dect", 4, seed=1)
    fit(adapter, given)
    model = twin(adapter, given)
    with torch.no_grad():
        expected = torch.nn.functional.normalize(model.head(torch.tensor(given.hidden)), dim=-1).numpy()
    assert np.abs(adapter.call("project", given.hidden) - expected).max() <= 1e-6
    assert np.array_equal(adapter.call("prototypes"), adapter.parameters["prototypes"])
    assert np.array_equal(adapter.call("radii"), adapter.parameters["radii"])


def test_a_saved_adapter_gives_the_same(backbone: Backbone, tmp_path: Path) -> None:
    given = examples(backbone)
    adapter = backbone.classifier("dect", 4, {"lambda": 0.25})
    fit(adapter, given)
    adapter.save(tmp_path / "adapter")
    loaded = backbone.load(tmp_path / "adapter")
    assert loaded.options == adapter.options
    assert np.array_equal(loaded.classify(given.scores, given.hidden), adapter.classify(given.scores, given.hidden))
    before = loaded.classify(given.scores, given.hidden)
    fit(loaded, given, prepare=0, learning_rate=0.0)
    assert np.array_equal(loaded.classify(given.scores, given.hidden), before)


def called(adapter: Adapter, given: Any, hidden: Array | None, size: int = ctypes.sizeof(c.seam_fit_options)) -> None:
    """What the package does not pass on to the library."""
    options, labels = c.seam_fit_options(struct_size=size), np.ascontiguousarray(given.labels, np.int32)
    checked(
        "seam_adapter_fit",
        adapter.handle,
        pointer(given.scores, ctypes.c_float),
        pointer(hidden, ctypes.c_float),
        pointer(labels, ctypes.c_int32),
        None,
        len(labels),
        ctypes.byref(options),
        c.seam_progress_callback(),
        None,
        None,
        0,
    )


def test_errors(backbone: Backbone) -> None:
    given = examples(backbone)
    adapter = backbone.classifier("dect", 4)

    def refused(code: str, words: str, call: Any, *arguments: Any, **changes: Any) -> None:
        with pytest.raises(SeamError, match=words) as failure:
            call(*arguments, **changes)
        assert failure.value.code == constant(code)

    refused("SEAM_INVALID_ARGUMENT", "at least 2 classes, found 1", backbone.classifier, "dect", 1)
    refused("SEAM_INVALID_ARGUMENT", "number of classes must be", backbone.classifier, "dect", -(2**62))
    refused("SEAM_INVALID_ARGUMENT", "attaches to encoder.output", backbone.classifier, "repcali", 2)
    refused("SEAM_INVALID_ARGUMENT", "needs at least 2 classes, found 0", backbone.adapter, "dect")
    refused(
        "SEAM_INVALID_ARGUMENT",
        "on encoder.output, not on decoder.output",
        backbone.adapter("repcali").fit,
        given.scores[:, :0],
        given.hidden,
        given.labels,
    )
    refused("SEAM_INVALID_ARGUMENT", "epochs must be 1 or more, found 0", fit, adapter, given, epochs=0)
    refused("SEAM_INVALID_ARGUMENT", "argument hidden is NULL", called, adapter, given, None)
    refused("SEAM_INVALID_ARGUMENT", "struct_size of argument options", called, adapter, given, given.hidden, size=8)
    refused(
        "SEAM_INVALID_ARGUMENT",
        "there are no examples",
        adapter.fit,
        given.scores[:0],
        given.hidden[:0],
        given.labels[:0],
    )
    labels = given.labels.copy()
    labels[5] = 4
    refused(
        "SEAM_INVALID_ARGUMENT",
        "label of example 5 must be 0 ... 3, found 4",
        adapter.fit,
        given.scores,
        given.hidden,
        labels,
    )
    refused("SEAM_INVALID_ARGUMENT", "class 1 has none", adapter.fit, given.scores, given.hidden, labels * 0)
    hidden = given.hidden.copy()
    hidden[7, 2] = np.nan
    refused(
        "SEAM_NUMERIC", "hidden of example 7 must be finite.*column 2", adapter.fit, given.scores, hidden, given.labels
    )
    refused("SEAM_NUMERIC", "hidden of example 7 must be finite", adapter.classify, given.scores, hidden)
    empty = given.empty.copy()
    empty[2] = 0
    with pytest.raises(SeamError, match="that of class 2 is 0") as failure:
        adapter.fit(given.scores, given.hidden, given.labels, empty)
    assert failure.value.origin == "org.seamkit.dect"
