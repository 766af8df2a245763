"""Adapters that read the answers to several prompts about each text, in PyTorch, against the native engine."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import seamkit
import seamkit.torch as engine
from dect_models import Folder
from fewshot_models import FAMILIES, LABELS, WORDS, write_reviews
from plugins_in_c import built
from seamkit.torch.classification import FitOptions, class_scores, fit

# Of the largest: both compute in f32, with sums in another order.
TOLERANCE = 1e-5
# Of what a training changes.
TRAINED = 1e-4
CLASSES, PROMPTS = len(LABELS), 3
Reviews = tuple[list[str], list[str]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = built("prompts-plugin/prompts.c", tmp_path_factory.mktemp("plugin") / "libPrompts.so")
    engine.load_plugin(path)
    return path


@pytest.fixture(scope="module")
def runtime(library: Path) -> seamkit.Runtime:
    found = seamkit.Runtime()
    found.load_plugin(library)
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folder]:
    return {name: Folder(name, tmp_path_factory.mktemp(name) / "model") for name in FAMILIES}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Reviews:
    rows = write_reviews(tmp_path_factory.mktemp("reviews") / "train.jsonl", 6, 1)
    return [each["text"] for each in rows], [each["label"] for each in rows]


@pytest.fixture(scope="module")
def site(folders: dict[str, Folder]) -> engine.Site:
    return engine.Site.of(folders["bert"].model)


def task(folder: Folder) -> dict[str, Any]:
    return {"templates": [folder.template, f"a film {folder.template}", f"so {folder.template}"], "labels": WORDS}


def classifiers(runtime: seamkit.Runtime, folder: Folder) -> tuple[seamkit.Classifier, engine.Classifier]:
    native = seamkit.Classifier(runtime.open(folder.path), task(folder), seamkit.Tokenizer(folder.path))
    return native, engine.Classifier(folder.model, folder.tokenizer, task(folder), batch_size=5)


def assert_close(found: Any, expected: Any, tolerance: float = TOLERANCE) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def head(id: str, site: engine.Site, prompts: int = PROMPTS, **more: Any) -> engine.Adapter:
    return engine.Adapter(id, site, classes=CLASSES, prompts=prompts, **more)


# ---- The numbers of the native engine


@pytest.mark.parametrize("name", FAMILIES)
def test_scores(runtime: seamkit.Runtime, folders: dict[str, Folder], reviews: Reviews, name: str) -> None:
    """Of the model, whose answers to the prompts are averaged, and of an adapter that averages otherwise."""
    folder, texts = folders[name], reviews[0]
    native, own = classifiers(runtime, folder)
    features = own.features(texts)
    assert features.scores.shape == (len(texts), PROMPTS, CLASSES) and features.hidden.shape[1] == PROMPTS
    assert_close(own.scores(texts), native.scores(texts))
    assert own.query_count == native.query_count
    native.attach(runtime.open(folder.path).classifier("test-prompt-mean", CLASSES, prompts=PROMPTS))
    own.attach(head("test-prompt-mean", engine.Site.of(folder.model)))
    assert_close(own.scores(texts), native.scores(texts))


@pytest.mark.parametrize("name", ["bert", "gpt2", "bert-no-head"])
def test_training_and_saving(
    runtime: seamkit.Runtime, folders: dict[str, Folder], reviews: Reviews, tmp_path: Path, name: str
) -> None:
    """Alone, and with DecT behind it, which reads its scores as those of one prompt and the mean of the states."""
    folder, (texts, labels) = folders[name], reviews
    backbone, site = runtime.open(folder.path), engine.Site.of(folder.model)
    native, own = classifiers(runtime, folder)
    heads = [head("test-prompt-weights", site), engine.Adapter("dect", site, classes=CLASSES, seed=2)]
    heads[0].backbone_path = folder.path
    native.attach(backbone.classifier("test-prompt-weights", CLASSES, prompts=PROMPTS))
    own.attach(heads[0])
    expected = native.fit(texts, labels, epochs=20, learning_rate=0.05)
    assert own.fit(texts, labels, epochs=20, learning_rate=0.05) == pytest.approx(expected, rel=TRAINED)
    assert expected[-1] < expected[0]
    assert_close(own.scores(texts), native.scores(texts), TRAINED)

    heads[0].save(tmp_path / "head", folder.model)
    loaded = backbone.load(tmp_path / "head")
    assert loaded.describe()["prompts"] == PROMPTS and loaded.task == heads[0].task == own.task
    again, other = classifiers(runtime, folder)
    again.attach(loaded)
    assert_close(again.scores(texts), own.scores(texts))
    loaded.save(tmp_path / "native")
    other.attach(engine.read_adapter(tmp_path / "native", folder.model))
    assert_close(other.scores(texts), again.scores(texts))

    native.attach(backbone.classifier("dect", CLASSES, seed=2))
    own.attach(heads[1])
    expected = native.fit(texts, labels, epochs=5)
    assert own.fit(texts, labels, epochs=5) == pytest.approx(expected, rel=TRAINED)
    assert_close(own.scores(texts), native.scores(texts), TRAINED)


def test_a_start_from_examples(runtime: seamkit.Runtime, folders: dict[str, Folder], site: engine.Site) -> None:
    scores, empty = normal(1, 5, PROMPTS, CLASSES), normal(2, 1, PROMPTS, CLASSES)
    hidden, labels = normal(3, 5, PROMPTS, site.d_model), torch.tensor([0, 1, 2, 1, 1])
    own = head("test-prompt-weights", site)
    own.prepare(scores, hidden, labels=labels, empty_scores=empty)
    native = runtime.open(folders["bert"].path).classifier("test-prompt-weights", CLASSES, prompts=PROMPTS)
    native.prepare(scores, hidden, labels=labels, empty_scores=empty)
    for name, value in native.parameters.items():
        assert_close(own.state_dict()[name] + 1, value + 1)
    assert_close(own.state_dict()["empty"], empty[0])
    with pytest.raises(seamkit.ShapeError, match=r"empty_scores must be f32 \[1, 3, 3\], found f32 \[1, 3\]"):
        own.prepare(scores, hidden, labels=labels, empty_scores=empty[:, 0])


def test_a_module_of_torch(site: engine.Site) -> None:
    """Gradients reach what flows in, and a copy is for as many prompts."""
    own = head("test-prompt-weights", site)
    with torch.no_grad():
        own.weights += normal(1, PROMPTS)
        own.projection += normal(2, CLASSES, site.d_model)
    scores, hidden = normal(3, 4, PROMPTS, CLASSES).requires_grad_(), normal(4, 4, PROMPTS, site.d_model)
    weights = own.weights.softmax(0)[:, None]
    expected = (scores.log_softmax(-1) * weights).sum(1) + hidden.mean(1) @ own.projection.T
    assert_close(own(scores, hidden).detach(), expected.detach())
    [found] = torch.autograd.grad(own(scores, hidden).square().sum(), [scores])
    [wanted] = torch.autograd.grad(expected.square().sum(), [scores])
    assert_close(found, wanted)
    copy = pickle.loads(pickle.dumps(own))
    assert copy.prompts == PROMPTS
    assert torch.equal(copy(scores, hidden), own(scores, hidden))


def test_one_prompt(runtime: seamkit.Runtime, folders: dict[str, Folder], reviews: Reviews, site: engine.Site) -> None:
    """With the axis of prompts or without, as a task of one prompt gives it."""
    own = head("test-prompt-weights", site, prompts=1)
    scores, hidden = normal(1, 4, CLASSES), normal(2, 4, site.d_model)
    assert torch.equal(own(scores, hidden), own(scores[:, None], hidden[:, None]))
    folder, (texts, labels) = folders["bert"], reviews
    native, classifier = folder.native(runtime), folder.torch()
    native.attach(runtime.open(folder.path).classifier("test-prompt-weights", CLASSES))
    classifier.attach(own)
    assert classifier.fit(texts, labels) == pytest.approx(native.fit(texts, labels), rel=TRAINED)
    assert_close(classifier.scores(texts), native.scores(texts), TRAINED)
    assert own.task is not None and own.task["template"] == folder.template


@pytest.mark.parametrize("prompts", [PROMPTS, 1])
def test_onnx(site: engine.Site, tmp_path: Path, prompts: int) -> None:
    """With an adapter of one prompt behind it, for batches that were not traced."""
    heads = [head("test-prompt-weights", site, prompts), engine.Adapter("linear-head", site, classes=CLASSES)]
    with torch.no_grad():
        heads[0].projection += normal(2, CLASSES, site.d_model)
    for adapters in (heads[:1], heads):
        seamkit.export_onnx(adapters, tmp_path / "heads.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "heads.onnx", providers=["CPUExecutionProvider"])
        axis = [prompts] if prompts > 1 else []
        assert session.get_inputs()[0].shape == ["batch", *axis, CLASSES]
        for batch in (1, 7):
            scores, hidden = normal(3, batch, *axis, CLASSES), normal(4, batch, *axis, site.d_model)
            [found] = session.run(None, {"scores": scores.numpy(), "hidden_states": hidden.numpy()})
            assert_close(found, class_scores(adapters, scores, hidden))


@pytest.mark.parametrize("name", ["gpt2", "bert-no-head"])
def test_the_estimator(
    library: Path,
    folders: dict[str, Folder],
    reviews: Reviews,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv("SEAM_PLUGIN_PATH", str(library.parent))
    folder, (texts, labels) = folders[name], reviews
    given = {"adapter": "test-prompt-weights", "template": task(folder)["templates"], "verbalizer": WORDS}
    native = seamkit.DecTClassifier(str(folder.path), **given).fit(texts, labels)
    found = seamkit.DecTClassifier((folder.model, folder.tokenizer), **given).fit(texts, labels)
    assert found.task_ == native.task_ and found.query_count_ == native.query_count_
    assert found.losses_ == pytest.approx(native.losses_, rel=TRAINED)
    assert_close(found.decision_function(texts), native.decision_function(texts), TRAINED)
    found.save(tmp_path / "head")
    for backbone in (str(folder.path), (folder.model, folder.tokenizer)):
        again = seamkit.DecTClassifier.load(tmp_path / "head", backbone)
        assert again.template == given["template"]
        assert_close(again.decision_function(texts), found.decision_function(texts))


# ---- What does not go together


def test_what_is_refused(folders: dict[str, Folder], site: engine.Site) -> None:
    with pytest.raises(
        seamkit.UnsupportedError, match='"dect" on decoder.output reads one prompt about each text, found 2'
    ):
        head("dect", site, prompts=2)
    with pytest.raises(seamkit.InvalidArgumentError, match="the number of prompts must be 1 ... 1048576, found -1"):
        head("test-prompt-mean", site, prompts=-1)
    own = head("test-prompt-mean", site)
    with pytest.raises(
        seamkit.ShapeError, match=rf"takes scores \[batch, 3, 3\] and hidden \[batch, 3, {site.d_model}\]"
    ):
        own(normal(1, 4, CLASSES), normal(2, 4, site.d_model))
    classifier = engine.Classifier(folders["bert"].model, folders["bert"].tokenizer, task(folders["bert"]))
    with pytest.raises(seamkit.IncompatibleError, match="made for 1 prompt about each text, the task has 3"):
        classifier.attach(head("dect", site, prompts=1))
    classifier.attach(own)
    with pytest.raises(
        seamkit.IncompatibleError, match="made for 3 prompts about each text, behind another adapter there is 1"
    ):
        classifier.attach(head("test-prompt-weights", site))


def test_features_that_are_refused(site: engine.Site) -> None:
    own = head("test-prompt-weights", site)
    scores, hidden, labels = normal(1, 4, PROMPTS, CLASSES), normal(2, 4, PROMPTS, site.d_model), [0, 1, 2, 0]
    with pytest.raises(seamkit.ShapeError, match=r"scores must be \[examples, 3, 3\], found \[4, 3\]"):
        class_scores([own], scores[:, 0], hidden)
    with pytest.raises(
        seamkit.ShapeError, match=rf"hidden must be \[4, 3, {site.d_model}\], found \[4, 2, {site.d_model}\]"
    ):
        class_scores([own], scores, hidden[:, 1:])
    with pytest.raises(seamkit.ShapeError, match="the scores of an empty text must be 9 numbers, found 3"):
        fit([own], scores, hidden, labels, torch.zeros(3), FitOptions(epochs=1))
    scores[1, 2, 0] = torch.nan
    with pytest.raises(
        seamkit.NumericError, match="scores of example 1 must be finite, found .* at column 0 of prompt 2"
    ):
        class_scores([own], scores, hidden)
    with pytest.raises(seamkit.IncompatibleError, match="adapter 1 was made for 3 prompts, and behind the first"):
        class_scores([own, head("test-prompt-mean", site)], scores, hidden)


def test_tasks_that_are_refused(runtime: seamkit.Runtime, folders: dict[str, Folder]) -> None:
    """In the sentences of the native engine but for the name of the task."""
    folder = folders["bert"]
    backbone, tokenizer = runtime.open(folder.path), seamkit.Tokenizer(folder.path)
    first = folder.template
    for templates, more in (
        ([], {}),
        ([first] * 2, {}),
        ([first, 3], {}),
        ([first, first + "{text_b}"], {}),
        ([first], {"template": first}),
        (first, {}),
    ):
        wrong = {"templates": templates, "labels": WORDS} | more
        with pytest.raises(seamkit.SeamError) as native:
            seamkit.Classifier(backbone, wrong, tokenizer)
        with pytest.raises(seamkit.SeamError) as own:
            engine.Classifier(folder.model, folder.tokenizer, wrong)
        assert own.value.code == native.value.code
        words = [each.value.message.split(": ", 1)[-1].split(", found ")[0] for each in (own, native)]
        assert words[0] == words[1] or templates is first
