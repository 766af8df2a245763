"""What models of transformers say of texts through the torch engine, against the native engine on the same folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dect_models import Folder
from fewshot_models import FAMILIES, cached, write_reviews

import seamkit
from seamkit.torch import Adapter, Site

# Of the largest: the issue asks for 1e-4; both engines compute in f32, with sums in another order.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folder]:
    return {name: Folder(name, tmp_path_factory.mktemp(name) / "model") for name in FAMILIES}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    rows = write_reviews(tmp_path_factory.mktemp("reviews") / "train.jsonl", 8, 1)
    return [each["text"] for each in rows], [each["label"] for each in rows]


def assert_close(found: Any, expected: Any, tolerance: float = TOLERANCE) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("changes", [{}, {"scores": "probability"}, {"multi_token": "mean"}], ids=str)
def test_the_features_of_the_native_engine(
    runtime: seamkit.Runtime, folders: dict[str, Folder], reviews: tuple[list[str], list[str]], tmp_path: Path,
    name: str, changes: dict[str, Any],
) -> None:
    folder, texts = folders[name], reviews[0]
    native = folder.native(runtime, tmp_path / "cache", **changes)
    expected = native.scores(texts)
    classifier = folder.torch(**changes)
    found = classifier.features(texts)
    assert_close(found.scores, expected)
    assert_close(classifier.scores(texts), expected)
    kept = cached(tmp_path / "cache")
    assert_close(found.hidden, np.array([kept[each][1] for each in texts]))
    native.close()


@pytest.mark.parametrize("name", FAMILIES)
def test_training_follows_the_native_engine(
    runtime: seamkit.Runtime, folders: dict[str, Folder], reviews: tuple[list[str], list[str]], tmp_path: Path,
    name: str,
) -> None:
    """The losses of 30 epochs, relative 1e-4; and the heads are the same folder."""
    folder, (texts, labels) = folders[name], reviews
    for id, options in (("dect", {"projection_width": 32}), ("linear-head", {})):
        native, backbone = folder.native(runtime), runtime.open(folder.path)
        head = backbone.classifier(id, 3, options, seed=2)
        native.attach(head)
        classifier = folder.torch()
        own = Adapter(id, Site.of(folder.model), options, classes=3, seed=2)
        classifier.attach(own)
        expected = native.fit(texts, labels, learning_rate=0.003)
        assert classifier.fit(texts, labels, learning_rate=0.003) == pytest.approx(expected, rel=1e-4)
        assert expected[-1] < expected[0]
        assert_close(classifier.scores(texts), native.scores(texts), 1e-4)
        assert own.task == head.task
        own.save(tmp_path / f"{id}-torch", folder.model)
        loaded = backbone.load(tmp_path / f"{id}-torch")
        again = folder.native(runtime)
        again.attach(loaded)
        assert loaded.task == own.task
        assert_close(again.scores(texts), classifier.scores(texts))
