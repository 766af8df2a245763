"""Rows of one batch that take different adapters, from Python: against each row alone, on tiny and on published models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seamkit
from seamkit import Batch
from single_stack import gpt2
from tiny_models import save, tokens

# Of the largest logit: a batch adds the same numbers in another order. In 30 layers that grows: without any adapter the rows
# of a batch of SmolLM2-135M are 1.5e-5 from each row alone, with one adapter for all of them 4e-5.
TOLERANCE, DEEP_TOLERANCE = 1e-5, 1e-4
NAMES = ["b", None, "a", "prefix", "b", None, "a", "prefix"]


@pytest.fixture(scope="module")
def marian(runtime: seamkit.Runtime, tmp_path_factory: pytest.TempPathFactory) -> seamkit.Backbone:
    return runtime.open(save("marian", tmp_path_factory.mktemp("marian")))


@pytest.fixture(scope="module")
def decoder(runtime: seamkit.Runtime, tmp_path_factory: pytest.TempPathFactory) -> seamkit.Backbone:
    path = tmp_path_factory.mktemp("gpt2")
    gpt2().save_pretrained(path)
    return runtime.open(path)


def published(runtime: seamkit.Runtime, name: str) -> seamkit.Backbone:
    if not (path := os.environ.get(name)):
        pytest.skip(f"{name} names no model")
    return runtime.open(Path(path))


def routed(backbone: seamkit.Backbone, deviation: float) -> tuple[seamkit.Session, dict[str | None, Any]]:
    """A session with LoRA on two routes and a prefix on a third, and the adapter of each."""
    session = backbone.session()
    adapters = {
        "a": session.add("lora", {"r": 8}, route="a"),
        "b": session.add("lora", {"r": 2}, route="b"),
        "prefix": session.add("prefix-tuning", {"prefix_length": 5}, route="prefix"),
    }
    for seed, adapter in enumerate(adapters.values()):
        numbers = np.random.default_rng(seed)
        for parameter in adapter.parameters.values():
            parameter[...] = numbers.normal(0, deviation, parameter.shape)
    return session, {None: None, **adapters}


def check(
    backbone: seamkit.Backbone,
    deviation: float,
    sources: list[list[int]],
    targets: list[list[int]],
    tolerance: float = TOLERANCE,
) -> None:
    session, adapters = routed(backbone, deviation)
    names = [NAMES[row % len(NAMES)] for row in range(len(sources))]
    writes_on = backbone.info.architecture == "decoder-only"
    ids = [one + other for one, other in zip(sources, targets, strict=True)] if writes_on else sources
    pad = backbone.info.pad_token_id or 0

    def batch(rows: list[int], routes: list[str | None] | None = None) -> Batch:
        own = None if writes_on else [targets[row] for row in rows]
        return Batch.padded([ids[row] for row in rows], own, pad_token_id=pad, routes=routes)

    every = list(range(len(ids)))
    mixed = np.asarray(session.forward(batch(every, names)))
    options = backbone.generate_options(max_new_tokens=5)
    written = session.generate(batch(every, names), options)
    for row, name in enumerate(names):
        alone = backbone.session(*([adapters[name]] if name else []))
        expected = np.asarray(alone.forward(batch([row])))[0]
        difference = np.abs(mixed[row, : len(expected)] - expected).max()
        assert difference <= tolerance * np.abs(expected).max(), f"row {row}, {name}"
        if name:
            plain = np.asarray(backbone.session().forward(batch([row])))[0]
            assert np.abs(plain - expected).max() > 1e-3 * np.abs(plain).max(), f"{name} does something"
        assert [each.tokens for each in written[row]] == [
            each.tokens for each in alone.generate(batch([row]), options)[0]
        ], f"row {row}, {name}"


def test_an_encoder_decoder(marian: seamkit.Backbone) -> None:
    given = tokens(1)
    sources = [row[mask == 1].tolist() for row, mask in zip(given.input_ids, given.attention_mask, strict=True)]
    targets = [row[row >= 0].tolist() for row in given.labels]
    check(marian, 0.2, sources * 2, targets * 2)


def test_a_decoder(decoder: seamkit.Backbone) -> None:
    numbers = np.random.default_rng(3)
    texts = [numbers.integers(5, 30, 3 + row % 4).tolist() for row in range(8)]
    check(decoder, 0.2, texts, texts[::-1])


@pytest.mark.parametrize("name", ["SEAM_SMOLLM", "SEAM_REAL_MODEL"])
def test_a_published_model(runtime: seamkit.Runtime, name: str) -> None:
    backbone = published(runtime, name)
    numbers = np.random.default_rng(3)
    texts = [numbers.integers(10, backbone.info.vocab_size, 4 + 3 * (row % 3)).tolist() for row in range(8)]
    check(backbone, 0.05, texts, texts[::-1], DEEP_TOLERANCE)


def test_routes_come_and_go(marian: seamkit.Backbone, tmp_path: Path) -> None:
    session = marian.session()
    adapter = session.add("lora", {"r": 2}, route="a")
    session.attach(adapter, route="b")
    gate = session.add("repcali", route="b")
    session.move(gate, 0, route="b")
    assert session.routes == ["a", "b"] and session.adapters == []
    assert [each.describe()["id"] for each in session.adapters_of("b")] == ["repcali", "lora"]
    with pytest.raises(seamkit.AlreadyExistsError):
        session.attach(adapter, route="a")
    with pytest.raises(seamkit.NotFoundError, match='no route "c": the session has "a", "b" and the default one'):
        session.forward(Batch([[4, 5]], labels=[[5]], routes=["c"]))
    with pytest.raises(seamkit.ShapeError, match="routes must be 1 names, one for each row, found 2"):
        Batch([[4, 5]], routes=["a", "b"])
    with pytest.raises(seamkit.InvalidArgumentError, match="must have 1 to 100 characters, found 101"):
        session.attach(adapter, route="x" * 101)
    session.attach(adapter)
    with pytest.raises(seamkit.InvalidArgumentError, match='the session has route "a"'):
        session.merge(adapter)
    session.begin_training()
    with pytest.raises(
        seamkit.InvalidArgumentError, match='a row of route "a", which is not trained: the training is of'
    ):
        session.train_step(Batch([[4, 5]], labels=[[5]], routes=["a"]))
    with pytest.raises(seamkit.InvalidArgumentError, match="during training"):
        session.remove_route("a")
    session.end_training()
    session.save(tmp_path / "b", route="b")
    with pytest.raises(seamkit.NotFoundError):
        session.save(tmp_path / "c", route="c")
    session.load(tmp_path / "b", route="c")
    assert [each.describe()["id"] for each in session.adapters_of("c")] == ["repcali", "lora"]
    session.detach(adapter, route="a")
    session.remove_route("b")
    assert session.routes == ["c"]
    with pytest.raises(seamkit.NotFoundError):
        session.remove_route("b")


def test_routes_train_side_by_side(decoder: seamkit.Backbone) -> None:
    """Every route has the losses and the values that it has where it is trained alone, to the rounding of sums in another
    order."""
    numbers = np.random.default_rng(4)
    texts = [numbers.integers(5, 30, 4 + row % 3).tolist() for row in range(9)]
    names: list[str | None] = ["a", None, "b"] * 3
    pad = decoder.info.pad_token_id or 0

    def batch(rows: list[int], routes: list[str | None] | None) -> Batch:
        own = Batch.padded([texts[row] for row in rows], pad_token_id=pad)
        labels = np.where(own.attention_mask == 1, own.input_ids, -100)
        return Batch(own.input_ids, own.attention_mask, labels, routes=routes)

    def adapter(name: str | None) -> Any:
        options = {"a": {"r": 2}, "b": {"r": 4}, None: {"r": 8}}[name]
        return decoder.adapter("lora", options, seed=len(str(name)))

    together = decoder.session()
    alone = {name: decoder.session(adapter(name)) for name in ("a", None, "b")}
    for name in alone:
        together.attach(adapter(name), route=name)
    options = {"learning_rate": 0.02, "epsilon": 1e-4, "max_grad_norm": 0.5}
    together.begin_training(routes=["a", None, "b"], **options)
    for session in alone.values():
        session.begin_training(**options)
    for step in range(6):
        found = together.train_step(batch(list(range(9)), names))
        losses, counts = [], []
        for name, session in alone.items():
            rows = [row for row in range(9) if names[row] == name]
            losses.append(session.train_step(batch(rows, None)).loss)
            counts.append(sum(len(texts[row]) - 1 for row in rows))
        assert found.step == step + 1
        assert found.loss == pytest.approx(np.average(losses, weights=counts), rel=1e-5)
    together.end_training()
    for name, session in alone.items():
        session.end_training()
        one, other = together.adapters_of(name)[0].parameters, session.adapters[0].parameters
        for key, value in one.items():
            assert np.abs(value - other[key]).max() < 1e-4, f"{name} {key}"
    with pytest.raises(seamkit.NotFoundError, match='no route "c"'):
        together.begin_training(routes=["c"])
    with pytest.raises(seamkit.UnsupportedError, match="a backbone is trained with the default route alone"):
        together.begin_training(routes=["a"], train_backbone=1)
    with pytest.raises(seamkit.InvalidArgumentError, match="one or more, found none"):
        together.begin_training(routes=[])
    together.attach(together.adapters_of("a")[0], route="b")
    with pytest.raises(seamkit.UnsupportedError, match="which are trained apart"):
        together.begin_training(routes=["a", "b"])
