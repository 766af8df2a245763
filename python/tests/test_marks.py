"""Which tokens adapters inside the layers are told to be generated, and which to be padding: the same in both engines, with
the adapter of Tests/Fixtures/marking-plugin, which fails with what it was told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import seamkit
import seamkit.torch as engine
from plugins_in_c import built
from prefix_reference import FAMILIES, save
from seamkit import locations

# The first row is the shorter one.
SOURCES = [[5, 6], [7, 8, 9]]
TARGETS = [[10, 11], [12, 13, 14, 15]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = built("marking-plugin/marking.c", tmp_path_factory.mktemp("marking") / "libMarking.so")
    engine.load_plugin(found)
    return found


@pytest.fixture(scope="module")
def runtime(library: Path) -> seamkit.Runtime:
    return seamkit.Runtime([locations.library("libTransformer.so"), library])


@pytest.fixture(scope="module", params=["llama", "gpt2", "t5", "bart"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: seamkit.Runtime) -> Any:
    """A model of each engine."""
    name = str(request.param)
    folder = save(name, tmp_path_factory.mktemp(name))
    model = type(FAMILIES[name]()).from_pretrained(folder, dtype=torch.float32).eval()
    return runtime.open(folder), model, model.config.is_encoder_decoder


def told(backbone: seamkit.Backbone, model: Any, at: int, native: Any, torches: Any) -> str:
    """What both engines tell the adapter when the first row has `at` generated tokens."""
    session = backbone.session()
    session.attach(backbone.adapter("marking", {"at": at, "stack": "decoder"}))
    with pytest.raises(seamkit.UnsupportedError) as first:
        native(session)
    adapter = engine.attach(model, "marking", at=at, stack="decoder")
    try:
        with pytest.raises(seamkit.UnsupportedError) as second, torch.no_grad():
            torches(model)
    finally:
        engine.detach(model, adapter)
    assert first.value.message == second.value.message
    return first.value.message


def test_training(pair: Any) -> None:
    backbone, model, is_pair = pair
    if is_pair:
        # The last label is nobody's token: the row ends before it.
        batch, expected = backbone.batch(SOURCES, TARGETS), "of 4 tokens 1 are generated"
        padding, at = 2, 1
    else:
        rows = [source + target for source, target in zip(SOURCES, TARGETS, strict=True)]
        labels = [[-100] * len(source) + target for source, target in zip(SOURCES, TARGETS, strict=True)]
        width = max(map(len, rows))
        mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        batch = seamkit.Batch(
            [row + [0] * (width - len(row)) for row in rows],
            mask,
            [row + [-100] * (width - len(row)) for row in labels],
        )
        expected, padding, at = "of 7 tokens 2 are generated", 3, 2
    names = ("input_ids", "attention_mask", "labels")
    tensors = {each: torch.from_numpy(getattr(batch, each)).long() for each in names}
    message = told(backbone, model, at, lambda session: session.forward(batch), lambda model: model(**tensors))
    assert message.startswith(expected) and message.endswith(f"padding {padding}")


@pytest.mark.parametrize("pair", ["t5", "bart"], indirect=True)
def test_tokens_without_labels(pair: Any) -> None:
    """A decoder alone is given its padding."""
    backbone, model, _ = pair
    filler = model.config.pad_token_id
    given = {"input_ids": [[5, 6]], "decoder_input_ids": [[model.config.decoder_start_token_id, 8, filler, filler]]}
    tensors = {name: torch.tensor(each) for name, each in given.items()}
    batch = seamkit.Batch(**given)
    message = told(backbone, model, -1, lambda session: session.forward(batch), lambda model: model(**tensors))
    assert message.endswith("padding 2")


@pytest.mark.parametrize("pair", ["t5", "bart"], indirect=True)
def test_padding_before_the_tokens_of_a_decoder(pair: Any) -> None:
    """Nothing would hide it from them; a model whose start token it is may have written it."""
    backbone, model, _ = pair
    start, filler = model.config.decoder_start_token_id, model.config.pad_token_id
    assert start != filler
    batch = seamkit.Batch([[5, 6], [7, 8]], decoder_input_ids=[[start, 8, 9, 10], [filler, filler, start, 8]])
    with pytest.raises(seamkit.UnsupportedError, match="behind the tokens of a row, found 2 before those of row 1"):
        backbone.session().forward(batch)


@pytest.mark.parametrize("cached", [True, False])
def test_generation(pair: Any, cached: bool) -> None:
    backbone, model, is_pair = pair
    batch = backbone.batch(SOURCES if is_pair else [SOURCES[1]])
    tensors = {each: torch.from_numpy(getattr(batch, each)).long() for each in ("input_ids", "attention_mask")}
    options = backbone.generate_options(max_new_tokens=4, min_new_tokens=4)

    def both(at: int) -> str:
        return told(
            backbone,
            model,
            at,
            lambda session: session.generate(batch, options),
            lambda model: model.generate(
                **tensors, max_new_tokens=4, min_new_tokens=4, num_beams=1, do_sample=False, use_cache=True
            ),
        )

    before = model.generate
    if cached:
        assert both(0).startswith(f"of {1 if is_pair else 3} tokens 0 are generated")
        assert both(1).startswith("of 1 tokens 1 are generated")
    else:
        # Every step reads the whole text.
        adapter = engine.attach(model, "marking", at=2, stack="decoder")
        with pytest.raises(seamkit.UnsupportedError, match=f"of {3 if is_pair else 5} tokens 2 are generated"):
            model.generate(**tensors, max_new_tokens=4, min_new_tokens=4, use_cache=False)
        engine.detach(model, adapter)
    assert model.generate == before and "generate" not in model.__dict__


def test_what_is_not_known(library: Path, tmp_path: Path) -> None:
    """Classes of tokens are no tokens, and a call without labels says nothing."""
    model = type(FAMILIES["llama"]()).from_pretrained(save("llama", tmp_path), dtype=torch.float32)
    engine.attach(model, "marking", at=-1)
    with pytest.raises(seamkit.UnsupportedError, match="of 0 tokens -1 are generated"):
        model(torch.tensor([[5, 6, 7]]))
