"""Prefixes that do not fit: more tokens than positions, a text too long behind them, another model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefix_reference import DECODERS, ENCODER_DECODERS, ENCODERS, FAMILIES, POSITIONS, Reference, save, session
from seam_abi import SeamError, constant
from seam_objects import Batch, Runtime
from single_stack import llama
from tiny_models import randomise, t5

LIMITED = [name for name in FAMILIES if name not in ("t5", "mt5", "umt5", "mistral-window")]
PLAIN = {"reparameterization": "none"}


def refusal(code: str, call: Any) -> str:
    with pytest.raises(SeamError) as caught:
        call()
    message = caught.value.message
    assert caught.value.code == constant(code)
    assert "\n" not in message and ". " not in message, "one sentence"
    return message


@pytest.mark.parametrize("name", LIMITED)
def test_a_prefix_as_long_as_the_positions(runtime: Runtime, tmp_path: Path, name: str) -> None:
    backbone = runtime.open(save(name, tmp_path))
    where = "encoder" if name in ENCODERS else "decoder"

    def made(length: int) -> Any:
        return backbone.adapter("prefix-tuning", PLAIN | {"attention": where, "prefix_length": length})

    message = refusal("SEAM_INVALID_ARGUMENT", lambda: made(POSITIONS))
    assert f"takes a prefix of at most {POSITIONS - 1} tokens, found prefix_length {POSITIONS}" in message
    # Two that fit alone do not fit together.
    running = backbone.session(made(POSITIONS - 1))
    second = made(1)
    message = refusal("SEAM_INVALID_ARGUMENT", lambda: running.attach(second))
    assert f"the prefix of {where} attention has {POSITIONS} tokens" in message
    assert f"leaves room for at most {POSITIONS - 1}" in message
    # The longest leaves one token of text, and the session as it was.
    batch = Batch([[5]], decoder_input_ids=[[5]] if name in ENCODER_DECODERS else None)
    assert np.isfinite(running.forward(batch)).all()


@pytest.mark.parametrize("name", LIMITED)
def test_a_text_too_long_behind_a_prefix(runtime: Runtime, tmp_path: Path, name: str) -> None:
    path = save(name, tmp_path)
    reference, backbone = Reference(name, path), runtime.open(path)
    running = session(backbone, reference.prefix(40, 1, "encoder" if name in ENCODERS else "decoder"))

    def forward(length: int) -> Any:
        text = np.full((1, length), 9)
        return running.forward(Batch([[5]], decoder_input_ids=text) if name in ENCODER_DECODERS else Batch(text))

    assert np.isfinite(forward(POSITIONS - 40)).all()
    message = refusal("SEAM_SHAPE", lambda: forward(POSITIONS - 39))
    assert f"has {POSITIONS - 39} tokens behind a prefix of 40 and this model" in message
    assert f"at most {POSITIONS}" in message
    # The refusal leaves nothing behind.
    assert np.isfinite(forward(POSITIONS - 40)).all()


def test_the_encoder_of_an_encoder_decoder_keeps_its_positions(runtime: Runtime, tmp_path: Path) -> None:
    path = save("bart", tmp_path)
    reference, backbone = Reference("bart", path), runtime.open(path)
    running = session(backbone, reference.prefix(100, 1, "encoder", "cross"))
    assert np.isfinite(running.forward(Batch(np.full((1, POSITIONS), 9), decoder_input_ids=[[5]]))).all()


OTHERS: dict[str, tuple[Any, Any, str]] = {
    "kv heads": (lambda: llama(), lambda: llama(num_key_value_heads=4), "kv_heads 2, this one has 4"),
    "width of a head": (lambda: llama(), lambda: llama(head_dim=10), "head_dim 6, this one has 10"),
    "layers": (lambda: llama(), lambda: llama(num_hidden_layers=2), "decoder_layers 3, this one has 2"),
    "layers of the encoder": (lambda: t5(), lambda: t5(num_layers=2), "encoder_layers 3, this one has 2"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_prefix_of_another_model(runtime: Runtime, tmp_path: Path, case: str) -> None:
    own, other, part = OTHERS[case]
    opened = []
    for index, build in enumerate((own, other)):
        model = build()
        randomise(model, 0)
        model.save_pretrained(tmp_path / str(index))
        opened.append(runtime.open(tmp_path / str(index)))
    adapter = opened[0].adapter("prefix-tuning", PLAIN | {"prefix_length": 3})
    assert part in refusal("SEAM_INCOMPATIBLE", lambda: opened[1].session(adapter))
    adapter.save(tmp_path / "adapter")
    assert part in refusal("SEAM_INCOMPATIBLE", lambda: opened[1].session(opened[1].load(tmp_path / "adapter")))


@pytest.mark.parametrize("name", DECODERS)
def test_a_saved_prefix_gives_the_same(runtime: Runtime, tmp_path: Path, name: str) -> None:
    """To the last bit, after the folder was read again."""
    path = save(name, tmp_path / "model")
    backbone = runtime.open(path)
    made = backbone.adapter("prefix-tuning", {"prefix_length": 6, "mlp_hidden_size": 9}, seed=4)
    batch = Batch(np.arange(4, 34).reshape(3, 10))
    expected = backbone.session(made).forward(batch)
    made.save(tmp_path / "adapter")
    loaded = runtime.open(path)
    assert np.array_equal(loaded.session(loaded.load(tmp_path / "adapter")).forward(batch), expected)
