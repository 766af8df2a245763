"""Rows that join and leave a running generation, from Python: each against `session.generate` of it alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seamkit
from seamkit import Batch
from single_stack import gpt2, llama
from tiny_models import END, VOCABULARY, randomise, save

FAMILIES = ["t5", "bart", "gpt2", "llama"]
ROUTES: list[str | None] = ["a", None, "prefix", "b"]


def made(family: str, path: Path) -> Path:
    if family in ("t5", "bart"):
        return save({"t5": "t5-1.0", "bart": "bart"}[family], path)
    model = {"gpt2": gpt2, "llama": llama}[family]()
    randomise(model, 0)
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(
    request: pytest.FixtureRequest, runtime: seamkit.Runtime, tmp_path_factory: pytest.TempPathFactory
) -> seamkit.Backbone:
    return runtime.open(made(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def decoder(runtime: seamkit.Runtime, tmp_path_factory: pytest.TempPathFactory) -> seamkit.Backbone:
    return runtime.open(made("gpt2", tmp_path_factory.mktemp("decoder")))


def routed(backbone: seamkit.Backbone, deviation: float = 0.2) -> seamkit.Session:
    session = backbone.session()
    session.add("lora", {"r": 8}, route="a")
    session.add("lora", {"r": 2}, route="b")
    session.add("prefix-tuning", {"prefix_length": 5}, route="prefix")
    for seed, name in enumerate(session.routes):
        numbers = np.random.default_rng(seed)
        for parameter in session.adapters_of(name)[0].parameters.values():
            parameter[...] = numbers.normal(0, deviation, parameter.shape)
    return session


def requests(backbone: seamkit.Backbone, count: int) -> list[tuple[list[int], str | None, Any]]:
    """Sources of several lengths with a route each, every second one drawn, and of 3 to 9 tokens."""
    numbers = np.random.default_rng(5)
    found = []
    for row in range(count):
        options = backbone.generate_options(
            max_new_tokens=3 + row % 7, num_beams=1, do_sample=row % 2, seed=row, temperature=0.8
        )
        source = numbers.integers(5, 20, 2 + 3 * row % 7).tolist()
        found.append((source, ROUTES[row % len(ROUTES)], options))
    return found


def alone(session: seamkit.Session, source: list[int], route: str | None, options: Any) -> seamkit.Generated:
    return session.generate(Batch([source], routes=[route]), options)[0][0]


def test_rows_get_what_they_get_alone(backbone: seamkit.Backbone) -> None:
    """They join one by one and several at once, in the middle of others, and one leaves early."""
    session = routed(backbone)
    wanted = requests(backbone, 10)
    generation = session.continuous_generation(40)
    assert generation.rows == [] and generation.step() == []
    numbers = {
        generation.add(source, route=route, options=options): row
        for row, (source, route, options) in enumerate(wanted[:2])
    }
    waiting = list(range(2, 10))
    tokens: dict[int, list[int]] = {}
    sums: dict[int, float] = {}
    ended: dict[int, seamkit.RowStep] = {}
    left = -1
    for step in generation:
        assert step.token is not None and step.error is None
        tokens.setdefault(step.row, []).append(step.token)
        assert step.count == len(tokens[step.row])
        assert step.log_probability is not None
        sums[step.row] = sums.get(step.row, 0.0) + step.log_probability
        if step.finish_reason:
            ended[step.row] = step
        if waiting and step.row == min(generation.rows or [step.row]):
            row = waiting.pop(0)
            source, route, options = wanted[row]
            numbers[generation.add(source, route=route, options=options)] = row
            if row == 4:
                left = generation.add(source, route=route, options=options)
        if step.row == left and left in generation.rows:
            generation.remove(left)
    assert left >= 0 and len(generation) == 0 and not waiting
    found = {numbers[row]: tokens[row] for row in numbers}
    assert sorted(found) == list(range(10))
    for row, (source, route, options) in enumerate(wanted):
        expected = alone(session, source, route, options)
        assert found[row] == expected.tokens, f"row {row}, {route}"
        last = ended[next(number for number, each in numbers.items() if each == row)]
        assert last.score == pytest.approx(expected.score, abs=1e-4)
        assert sums[last.row] == pytest.approx(last.score, abs=1e-5)
        ends = expected.tokens[-1] == END and len(expected.tokens) <= options.max_new_tokens
        assert last.finish_reason == ("stop" if ends else "length")
    texts = {tuple(alone(session, wanted[0][0], route, wanted[0][2]).tokens) for route in ROUTES}
    assert len(texts) > 2, "the adapters write something else"


def test_a_batch_joins(decoder: seamkit.Backbone) -> None:
    session = routed(decoder)
    sources: list[list[int]] = [[5, 6, 7], [8], [9, 10, 11, 12]]
    options = decoder.generate_options(max_new_tokens=6)
    generation = session.continuous_generation(20)
    rows = generation.add_batch(Batch.padded(sources, pad_token_id=1, routes=["a", None, "prefix"]), options)
    assert rows == [0, 1, 2] == generation.rows
    found: dict[int, list[int | None]] = {row: [] for row in rows}
    for step in generation:
        found[step.row].append(step.token)
    for row, (source, route) in enumerate(zip(sources, ["a", None, "prefix"], strict=True)):
        assert found[row] == alone(session, source, route, options).tokens
    assert generation.add([5]) == 3


def test_a_published_model(runtime: seamkit.Runtime) -> None:
    if not (path := os.environ.get("SEAM_SMOLLM")):
        pytest.skip("SEAM_SMOLLM names no model")
    backbone = runtime.open(Path(path))
    session = routed(backbone, 0.02)
    options = backbone.generate_options(max_new_tokens=6, do_sample=0)
    numbers = np.random.default_rng(2)
    sources = [numbers.integers(10, backbone.info.vocab_size, length).tolist() for length in (12, 3, 7)]
    generation = session.continuous_generation(40)
    rows = [generation.add(sources[0], route="a", options=options)]
    found: dict[int, list[int | None]] = {0: []}
    for step in generation:
        found.setdefault(step.row, []).append(step.token)
        if len(rows) < 3 and step.row == rows[0]:
            rows.append(generation.add(sources[len(rows)], route=[None, "prefix"][len(rows) - 1], options=options))
    for row, (source, route) in enumerate(zip(sources, ["a", None, "prefix"], strict=True)):
        assert found[rows[row]] == alone(session, source, route, options).tokens


def test_wrong_rows_are_refused(decoder: seamkit.Backbone) -> None:
    session = routed(decoder)
    with pytest.raises(seamkit.InvalidArgumentError, match=r"must be 1 \.\.\. 60, the backbone's positions, found 61"):
        session.continuous_generation(61)
    with pytest.raises(seamkit.InvalidArgumentError, match="capacity must be an integer"):
        session.continuous_generation(1 << 63)
    generation = session.continuous_generation(10)
    options = decoder.generate_options(max_new_tokens=5)
    with pytest.raises(seamkit.NotFoundError, match='no route "c": the session has "a", "b", "prefix" and the default'):
        generation.add([5], route="c", options=options)
    with pytest.raises(
        seamkit.InvalidArgumentError, match="a prompt of 7 tokens and 5 new ones do not fit into the 10"
    ):
        generation.add([5] * 7, options=options)
    with pytest.raises(seamkit.UnsupportedError, match="num_beams and num_return_sequences must be 1, found 2 and 1"):
        generation.add([5], options=decoder.generate_options(num_beams=2, max_new_tokens=5))
    with pytest.raises(seamkit.InvalidArgumentError, match="the batch is empty"):
        generation.add([])
    with pytest.raises(seamkit.InvalidArgumentError, match="token id 99 in row 0 is outside the vocabulary"):
        generation.add([99], options=options)
    assert generation.rows == [] and bool(generation)
    row = generation.add([5, 6], options=options)
    with pytest.raises(seamkit.InvalidArgumentError, match="row 7 is not in the batch, or has left it"):
        generation.remove(7)
    with pytest.raises(seamkit.InvalidArgumentError, match="row must be an integer"):
        generation.remove(1 << 63)
    generation.remove(row)
    with pytest.raises(seamkit.InvalidArgumentError, match="row 0 is not in the batch"):
        generation.remove(row)
    with pytest.raises(TypeError, match="a ContinuousGeneration cannot be pickled or copied"):
        generation.__reduce__()


def test_the_session_changes(decoder: seamkit.Backbone) -> None:
    session = routed(decoder)
    generation = session.continuous_generation(20)
    options = decoder.generate_options(max_new_tokens=8)
    generation.add([5, 6], route="a", options=options)
    other = session.add("lora", {"r": 4}, route="new")
    assert len(generation.step()) == 1
    session.attach(other, route="a")
    words = 'the adapters of route "a" have changed while rows that take it were decoded'
    with pytest.raises(seamkit.InvalidArgumentError, match=words):
        generation.step()
    assert generation.rows == []
    generation.add([5, 6], route="b", options=options)
    session.begin_training(routes=["b"])
    with pytest.raises(seamkit.InvalidArgumentError, match="rows cannot be decoded during training"):
        generation.step()
    with pytest.raises(seamkit.InvalidArgumentError, match="rows cannot be added during training"):
        generation.add([5], options=options)
    session.end_training()
    assert len(generation.step()) == 1
    session.remove_route("b")
    with pytest.raises(seamkit.InvalidArgumentError, match='route "b" has left the session while rows that take it'):
        generation.step()


def test_other_routes_go(decoder: seamkit.Backbone) -> None:
    """Rows go on, and others join them, when routes that stand before theirs have left; each as alone."""
    session = routed(decoder)
    options = decoder.generate_options(max_new_tokens=8)
    expected = {route: alone(session, [5, 6], route, options).tokens for route in ("prefix", "b", None)}
    generation = session.continuous_generation(20)
    routes = {generation.add([5, 6], route=route, options=options): route for route in ("prefix", None)}
    gone = generation.add([7], route="a", options=options)
    tokens: dict[int, list[int]] = {row: [] for row in routes}
    generation.step()
    for row in tokens:
        tokens[row].append(expected[routes[row]][0])
    generation.remove(gone)
    session.remove_route("a")
    for step in generation.step():
        assert step.token is not None
        tokens[step.row].append(step.token)
    row = generation.add([5, 6], route="b", options=options)
    routes[row], tokens[row] = "b", []
    for step in generation:
        assert step.token is not None
        tokens[step.row].append(step.token)
    assert {routes[row]: found for row, found in tokens.items()} == expected


def test_a_row_that_is_let_go_is_told_no_more(decoder: seamkit.Backbone) -> None:
    """Neither in later steps nor in the one in which it was."""
    generation = routed(decoder).continuous_generation(20)
    options = decoder.generate_options(max_new_tokens=8, min_new_tokens=8)
    first, second = (generation.add([5, 6], options=options) for _ in range(2))
    seen = []
    for step in generation:
        seen.append(step.row)
        if step.row == first and step.count == 2:
            generation.remove(second)
    assert seen.count(first) == 8 and seen.count(second) == 1


def test_closing(decoder: seamkit.Backbone) -> None:
    session = routed(decoder)
    options = decoder.generate_options(max_new_tokens=4)
    expected = alone(session, [5, 6], "a", options).tokens
    with session.continuous_generation(20) as generation:
        generation.add([5, 6], route="a", options=options)
        session.close()
        assert [step.token for step in generation] == expected, "it keeps what it needs"
    with pytest.raises(ValueError, match="this ContinuousGeneration is closed"):
        generation.step()
    with pytest.raises(ValueError, match="this Session is closed"):
        session.continuous_generation(20)


def test_a_row_that_may_choose_nothing_leaves_alone(runtime: seamkit.Runtime, tmp_path: Path) -> None:
    """Its rules are those of the model's own settings, which the row beside it does without."""
    path = made("llama", tmp_path / "model")
    settings = {"eos_token_id": END, "suppress_tokens": list(range(VOCABULARY))}
    (path / "generation_config.json").write_text(json.dumps(settings))
    backbone = runtime.open(path)
    generation = backbone.session().continuous_generation(20)
    free = backbone.generate_options(ignore_generation_config=True, max_new_tokens=3)
    kept = generation.add([5, 6], options=free)
    lost = generation.add([7], options=backbone.generate_options(max_new_tokens=3))
    first, second = generation.step()
    assert (first.row, first.finish_reason, first.error, first.count) == (kept, None, None, 1)
    assert (second.row, second.token, second.finish_reason, second.count) == (lost, None, "error", 0)
    assert isinstance(second.error, seamkit.NumericError) and second.score is None
    assert second.log_probability is None
    assert generation.rows == [kept]
    assert [step.count for step in generation] == [2, 3]


@pytest.mark.parametrize("build", [lambda path: made("t5", path), lambda path: made("gpt2", path)])
def test_the_default_options_are_the_models(
    runtime: seamkit.Runtime, tmp_path: Path, build: Callable[[Path], Path]
) -> None:
    backbone = runtime.open(build(tmp_path / "model"))
    session = backbone.session()
    generation = session.continuous_generation(30)
    generation.add([5, 6, 7])
    assert [step.token for step in generation] == session.generate(Batch([[5, 6, 7]]))[0][0].tokens


def test_an_encoder_generates_nothing(runtime: seamkit.Runtime, tmp_path: Path) -> None:
    from single_stack import bert

    bert().save_pretrained(tmp_path)
    backbone = runtime.open(tmp_path)
    assert backbone.info.architecture == "encoder-only"
    with pytest.raises(seamkit.UnsupportedError, match="no decoder to generate with"):
        backbone.session().continuous_generation(8)
