"""Adapters that start from examples in a model of transformers: as in the native engine, seam by seam."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seamkit
import seamkit.torch as engine
from layer_models import TOLERANCE, disturb, opened
from prefix_reference import DECODERS, ENCODER_DECODERS, save, texts

CLASSES = [1, 0, 0, 1, 0]
Given = tuple[list[seamkit.Batch], list[dict[str, torch.Tensor]]]


def mapping(name: str, batch: seamkit.Batch) -> dict[str, torch.Tensor]:
    found = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if batch.labels is not None:
        found["labels"] = batch.labels
    given = {key: torch.from_numpy(np.array(value)).long() for key, value in found.items()}
    if name in DECODERS:
        given["position_ids"] = (given["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return given


def examples(name: str) -> Given:
    """Five texts of several lengths in two batches, the second without the columns that are padding in all its rows; of an
    encoder-decoder with targets."""
    given, batches = texts(name, 3, len(CLASSES), "behind"), []
    for rows in (slice(0, 3), slice(3, None)):
        mask = given.attention_mask[rows]
        longest = int(mask.any(0).nonzero()[0].max()) + 1
        labels = given.labels[rows] if name in ENCODER_DECODERS else None
        classes = np.array(CLASSES, np.int32)[rows]
        batches.append(seamkit.Batch(given.input_ids[rows, :longest], mask[:, :longest], labels, classes=classes))
    return batches, [mapping(name, each) for each in batches]


def text(name: str, has_target: bool = True) -> Given:
    ids = np.random.default_rng(8).integers(4, 50, (2, 1, 9)).astype(np.int32)
    labels = ids[1, :, :6] if name in ENCODER_DECODERS and has_target else None
    batch = seamkit.Batch(ids[0], np.ones_like(ids[0]), labels)
    return [batch], [mapping(name, batch)]


def compare(
    runtime: seamkit.Runtime,
    folder: Path,
    name: str,
    id: str,
    options: dict[str, Any],
    given: Given,
    seam: str | None = None,
    before: tuple[tuple[str, dict[str, Any]], ...] = (),
    behind: bool = False,
) -> engine.Adapter:
    """What an adapter starts with in PyTorch and natively, behind others with numbers of their own. behind: one more
    behind it in PyTorch, which must not run."""
    model = opened(name, save(name, folder / "model"))
    for each, own in before:
        seamkit.attach(model, each, **own)
    disturb(engine.attached(model))
    session = runtime.open(folder / "model").session()
    if before:
        engine.save(model, folder / "before")
        session.load(folder / "before")
    native, adapter = session.add(id, options, seam=seam), seamkit.attach(model, id, seam, **options)
    if behind:
        seamkit.attach(model, "bottleneck-adapter")
        disturb(engine.attached(model)[-1:])
    batches, mappings = given
    session.prepare(native, batches)
    model.train()
    labels = None if batches and batches[0].classes is None or not batches else CLASSES
    engine.prepare(model, adapter, mappings, labels=labels)
    assert all(each.training for each in model.modules())
    expected, found = dict(native.parameters), adapter.state_dict()
    assert expected and expected.keys() == found.keys()
    for key, value in expected.items():
        assert np.abs(value).max() > 1e-3, key
        assert np.abs(found[key].numpy() - value).max() <= TOLERANCE * np.abs(value).max(), key
    return adapter


POINTS: list[tuple[str, str | None, dict[str, Any]]] = [
    ("llama", None, {}),
    ("t5", None, {"stack": "encoder"}),
    ("t5", None, {"stack": "decoder"}),
    ("bart", None, {}),
    ("bert", None, {}),
    ("llama", "projection", {"targets": "q,down"}),
    ("t5", "projection", {"targets": "cross_v,o"}),
    ("bart", "projection", {"targets": "cross_k"}),
    ("bert", "projection", {"targets": "up"}),
    ("llama", "prompt.embedding", {}),
    ("t5", "prompt.embedding", {}),
    ("t5", "encoder.output", {}),
    ("bert", "encoder.output", {}),
]


@pytest.mark.parametrize("name, seam, options", POINTS, ids=[f"{name}-{seam}" for name, seam, _ in POINTS])
def test_what_flows_at_a_place(
    starting: seamkit.Runtime, tmp_path: Path, name: str, seam: str | None, options: dict[str, Any]
) -> None:
    compare(starting, tmp_path, name, "mean-difference", options, examples(name), seam)


@pytest.mark.parametrize("method", ["pca", "in-context"])
def test_control_vectors_behind_another_adapter(runtime: seamkit.Runtime, tmp_path: Path, method: str) -> None:
    """The first of which needs what flows at all points, point by point; a layer's own change is not part of it."""
    given, mappings = examples("llama")
    # As many of each class.
    pairs = [1, 0, 0, 1]
    ids = [each.input_ids[:2] for each in given]
    batches = [
        seamkit.Batch(own, classes=np.array(pairs[2 * place : 2 * place + 2], np.int32))
        for place, own in enumerate(ids)
    ]
    model = opened("llama", save("llama", tmp_path / "model"))
    seamkit.attach(model, "lora", targets="q,down")
    disturb(engine.attached(model))
    engine.save(model, tmp_path / "before")
    session = runtime.open(tmp_path / "model").session()
    session.load(tmp_path / "before")
    native, adapter = (
        session.add("control-vector", {"method": method}),
        seamkit.attach(model, "control-vector", method=method),
    )
    session.prepare(native, batches)
    seen: list[tuple[int, int]] = []
    engine.prepare(
        model,
        adapter,
        [{"input_ids": torch.from_numpy(own).long()} for own in ids],
        labels=torch.tensor(pairs),
        progress=lambda state: seen.append((state.done, state.total)),
    )
    assert seen == [(0, 2), (1, 2), (2, 2)]
    for key, value in native.parameters.items():
        assert np.abs(adapter.state_dict()[key].numpy() - value).max() <= 1e-4 * np.abs(value).max(), key
    # It changes what the model says, as natively.
    found = model(torch.from_numpy(ids[0]).long()).logits.detach().numpy()
    expected = session.forward(seamkit.Batch(ids[0]))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_through_those_before_and_none_behind(starting: seamkit.Runtime, tmp_path: Path) -> None:
    prefix = {"prefix_length": 3, "attention": "decoder", "reparameterization": "none"}
    before = (("prefix-tuning", prefix), ("prompt-tuning", {"prompt_length": 2}), ("lora", {"targets": "q,v"}))
    compare(
        starting, tmp_path, "llama", "mean-difference", {}, examples("llama"), "projection", before=before, behind=True
    )


def test_points_that_do_not_fit_together(
    starting: seamkit.Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The examples are read once for each."""
    monkeypatch.setattr(engine.preparation, "RECORDED_AT_ONCE", 1)
    adapter = compare(starting, tmp_path, "llama", "mean-difference", {}, examples("llama"))
    model = opened("llama", tmp_path / "model")
    seamkit.attach(model, adapter)
    seen: list[int] = []
    engine.prepare(
        model, adapter, examples("llama")[1], labels=CLASSES, progress=lambda state: seen.append(state.total)
    )
    assert seen == [2 * len(adapter.points)] * (2 * len(adapter.points) + 1)


PREFIXES = [("llama", "decoder"), ("gpt2", "decoder"), ("t5", "all"), ("bart", "all"), ("bert", "encoder")]


@pytest.mark.parametrize("name, attention", PREFIXES)
def test_keys_and_values_of_a_text(runtime: seamkit.Runtime, tmp_path: Path, name: str, attention: str) -> None:
    """A cartridge, and one behind a prefix, whose tokens are not the text's."""
    options = {"prefix_length": 5, "attention": attention}
    compare(runtime, tmp_path / "alone", name, "cartridge", options, text(name))
    before = (("prefix-tuning", {"prefix_length": 3, "attention": attention, "reparameterization": "none"}),)
    compare(runtime, tmp_path / "behind", name, "cartridge", options, text(name), before=before)


def test_a_prefix_of_another(starting: seamkit.Runtime, tmp_path: Path) -> None:
    before = (("prefix-tuning", {"prefix_length": 3, "reparameterization": "none"}),)
    compare(starting, tmp_path, "llama", "prefix-mean", {}, ([], []), before=before)


def test_what_it_refuses(starting: seamkit.Runtime, tmp_path: Path) -> None:
    """And the adapter is as before."""
    model = opened("llama", save("llama", tmp_path / "model"))
    adapter = seamkit.attach(model, "mean-difference")
    prefix = seamkit.attach(model, "cartridge", prefix_length=10)
    given = examples("llama")[1]
    start = {key: value.clone() for key, value in prefix.state_dict().items()}

    def refused(sentence: str, *arguments: Any, **options: Any) -> None:
        with pytest.raises(seamkit.SeamError, match=sentence):
            seamkit.prepare(model, *arguments, **options)

    refused("'mean-difference' is not attached; prepare takes what attach returned", "mean-difference", given)
    refused("starts from examples, and there are none", adapter, labels=CLASSES)
    refused("batches must be mappings with tensors", adapter, [given[0]["input_ids"]], labels=CLASSES)
    refused("it takes examples of class 1 and of class 0, and there are none", adapter, given)
    refused("all examples must have a class or none|labels must be i32 \\[5\\]", adapter, given, labels=CLASSES[:4])
    refused("every class needs an example, and class 1 has none", adapter, given, labels=[0, 0, 2, 2, 0])
    refused("classes are numbered from 0", adapter, given, labels=[0, 1, -1, 0, 1])
    refused("labels must be integers", adapter, given, labels=[0.5] * 5)
    refused("stopped after 1 of 2 batches", adapter, given, labels=CLASSES, progress=lambda state: state.done < 1)
    hidden = given[0] | {"attention_mask": given[0]["attention_mask"] * torch.tensor([[1], [0], [1]])}
    refused("attention_mask hides every token of row 1", adapter, [hidden, given[1]], labels=CLASSES)
    refused("starts from the keys and values of one text, found 3", prefix, given[0])
    one = {"input_ids": given[0]["input_ids"][:1], "attention_mask": torch.tensor([[1, 0]])}
    refused("it must be without padding", prefix, one)
    refused("attention as the prefix, 10, or more, found 2", prefix, {"input_ids": one["input_ids"][:, :2]})
    assert not any(each.any() for each in adapter.state_dict().values())
    assert all(torch.equal(value, start[key]) for key, value in prefix.state_dict().items())
    # All hooks are those of before.
    assert [each.id for each in engine.attached(model)] == ["mean-difference", "cartridge"]
    plain = opened("bart", save("bart", tmp_path / "bart"))
    inner = seamkit.attach(plain, "mean-difference", stack="decoder")
    source = {"input_ids": examples("bart")[1][0]["input_ids"]}
    with pytest.raises(
        seamkit.InvalidArgumentError, match='inside the decoder, at "decoder.0": the examples need targets'
    ):
        seamkit.prepare(plain, inner, source, labels=CLASSES[:3])
    whole = seamkit.attach(plain, "cartridge", prefix_length=3, attention="decoder")
    with pytest.raises(
        seamkit.InvalidArgumentError, match="no keys and values of the decoder attention: it has no target"
    ):
        seamkit.prepare(plain, whole, text("bart", has_target=False)[1])
