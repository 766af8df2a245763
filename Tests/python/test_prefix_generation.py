"""Generation behind a prefix against transformers' generate from a cache, and against whole passes without a cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from prefix_reference import DECODERS, ENCODER_DECODERS, Reference, save, session, texts
from seam_abi import SeamError, constant
from seam_objects import Batch, Runtime
from test_backbones import until
from tiny_models import END, START

NEW_TOKENS = 14
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"num_beams": 1},
    "beams": {"num_beams": 4},
    "several long beams": {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 2.0},
}


@pytest.fixture(scope="module", params=ENCODER_DECODERS | DECODERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Any:
    path = save(request.param, tmp_path_factory.mktemp(request.param))
    return Reference(request.param, path), runtime.open(path)


def attentions_of(name: str) -> list[tuple[str, ...]]:
    return [("decoder",), ("encoder", "decoder", "cross")] if name in ENCODER_DECODERS else [("decoder",)]


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 5, 40])
@pytest.mark.parametrize("search", SEARCHES)
def test_generation(model: Any, search: str, length: int) -> None:
    """From prompts of several lengths, padded in front where transformers wants them so."""
    hugging_face, backbone = model
    options = {"max_new_tokens": NEW_TOKENS} | SEARCHES[search]
    side = "behind" if hugging_face.name in ENCODER_DECODERS else "front"
    given = texts(hugging_face.name, 11, 5, side, labels=False)
    if hugging_face.name in DECODERS:
        given = Batch(given.input_ids, np.maximum.accumulate(given.attention_mask, 1))  # nothing hidden inside
    for seed, chosen in enumerate(attentions_of(hugging_face.name)):
        prefix = hugging_face.prefix(length, seed, *chosen)
        found = [
            each
            for item in session(backbone, prefix).generate(given, backbone.generate_options(**options))
            for each in item
        ]
        expected, scores = hugging_face.generate(given, prefix, **options)
        assert [each.tokens for each in found] == [until(END, row) for row in expected]
        if scores is not None:
            assert [each.score for each in found] == pytest.approx(scores.tolist(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("length", [1, 5, 40])
def test_steps_are_those_of_whole_passes(model: Any, length: int) -> None:
    """Each generated token is the first choice of a pass over all tokens before it, alone and without a state."""
    hugging_face, backbone = model
    for seed, chosen in enumerate(attentions_of(hugging_face.name)):
        running = session(backbone, hugging_face.prefix(length, seed, *chosen))
        given = texts(hugging_face.name, 5, 4, "behind", labels=False)
        options = backbone.generate_options(max_new_tokens=NEW_TOKENS, num_beams=1)
        for row, [sequence] in enumerate(running.generate(given, options)):
            source, mask = given.input_ids[row : row + 1], given.attention_mask[row : row + 1]
            tokens = np.array([sequence.tokens], np.int32)
            if hugging_face.name in ENCODER_DECODERS:
                read = np.hstack([[[START]], tokens[:, :-1]])
                logits = running.forward(Batch(source, mask, decoder_input_ids=read))[0]
            else:
                prompt = source[mask == 1][None]
                logits = running.forward(Batch(np.hstack([prompt, tokens[:, :-1]])))[0, prompt.shape[1] - 1 :]
            assert logits.argmax(-1).tolist() == sequence.tokens


def test_the_prefix_takes_positions_of_the_new_tokens(model: Any) -> None:
    hugging_face, backbone = model
    limit = backbone.info.max_target_positions
    if limit == 0:
        assert hugging_face.name in ("t5", "mt5", "umt5")  # any length
        return
    running = session(backbone, hugging_face.prefix(40, 1, "decoder"))
    source = Batch(np.full((1, 7), 9))
    room = limit - 40 - (7 if hugging_face.name in DECODERS else 0)
    options = backbone.generate_options(max_new_tokens=room, min_new_tokens=room, num_beams=1)
    assert len(running.generate(source, options)[0][0].tokens) == room
    options.max_new_tokens = options.min_new_tokens = room + 1
    with pytest.raises(SeamError, match=f"max_new_tokens must be at most {room} positions") as caught:
        running.generate(source, options)
    assert caught.value.code == constant("SEAM_INVALID_ARGUMENT")
