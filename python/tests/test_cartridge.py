"""Cartridges against PEFT's: the start from a text, and a training behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import CartridgeConfig, get_peft_model
from peft.tuners.cartridge.utils import initialize_kv_prefix_from_past_key_values

import seamkit
from layer_models import TOLERANCE, opened
from prefix_reference import save, texts

TOKENS = 5
OPTIONS = {"prefix_length": TOKENS, "frozen_tokens": 2}


def text() -> seamkit.Batch:
    return seamkit.Batch(np.random.default_rng(8).integers(4, 50, (1, 9)))


def peft_model(name: str, folder: Path) -> Any:
    """PEFT's, started from the text."""
    model = opened(name, folder)
    with torch.no_grad():
        cache = model(torch.from_numpy(text().input_ids).long(), use_cache=True).past_key_values
    config = CartridgeConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS, num_frozen_tokens=2)
    theirs = get_peft_model(model, config).eval()
    initialize_kv_prefix_from_past_key_values(
        theirs, past_key_values=[(each.keys, each.values) for each in cache.layers]
    )
    return theirs


def prepared(runtime: seamkit.Runtime, folder: Path) -> tuple[seamkit.Session, seamkit.Adapter]:
    session = runtime.open(folder).session()
    adapter = session.add("cartridge", OPTIONS)
    session.prepare(adapter, text())
    return session, adapter


def numbers(theirs: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """PEFT's rows [tokens, layers * 2 * heads * width] as [layers, 2, heads, tokens, width]."""
    layers, _, heads, _, width = shape
    rows = theirs.prompt_encoder["default"].weight.detach().numpy()
    return rows.reshape(TOKENS, layers, 2, heads, width).transpose(1, 2, 3, 0, 4)


def close(found: Any, expected: Any, tolerance: float = TOLERANCE) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2"])
def test_it_starts_and_trains_as_pefts(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    folder = save(name, tmp_path / "model")
    theirs, (session, adapter) = peft_model(name, folder), prepared(runtime, folder)
    assert list(adapter.parameters) == ["decoder.frozen", "decoder.trained"]
    ours = np.concatenate([each.copy() for each in adapter.parameters.values()], 3)
    close(ours, numbers(theirs, ours.shape))
    given = texts(name, 1, 3, "none")
    ids = torch.from_numpy(given.input_ids).long()

    def losses_of_peft() -> list[float]:
        trained = [each for each in theirs.parameters() if each.requires_grad]
        assert sum(each.numel() for each in trained) == ours[:, :, :, 2:].size
        optimizer, losses = torch.optim.AdamW(trained, lr=1e-2, eps=1e-4, weight_decay=0.01), []
        for _ in range(20):
            optimizer.zero_grad()
            logits = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    expected = losses_of_peft()
    batch = seamkit.Batch(given.input_ids, labels=given.input_ids)
    session.begin_training(max_grad_norm=0, learning_rate=1e-2, epsilon=1e-4, weight_decay=0.01)
    assert [session.train_step(batch).loss for _ in range(20)] == pytest.approx(expected, rel=1e-5)
    session.end_training()
    assert expected[-1] < expected[0]
    found = np.concatenate([each.copy() for each in adapter.parameters.values()], 3)
    assert np.array_equal(found[:, :, :, :2], ours[:, :, :, :2])
    # 20 steps apart.
    close(found, numbers(theirs, ours.shape), 1e-4)
    # And in PyTorch, where it is a past.
    session.save(tmp_path / "saved")
    model = opened(name, folder)
    seamkit.load(tmp_path / "saved", model)
    with torch.no_grad():
        close(model(ids).logits.numpy(), session.forward(batch))


def test_what_it_refuses(runtime: seamkit.Runtime, tmp_path: Path) -> None:
    folder = save("llama", tmp_path / "model")
    session = runtime.open(folder).session()
    with pytest.raises(
        seamkit.InvalidArgumentError, match="'frozen_tokens' must be at most 3, the prefix_length, found 4"
    ):
        session.add("cartridge", {"prefix_length": 3, "frozen_tokens": 4})
    adapter = session.add("cartridge", {"prefix_length": 10})
    with pytest.raises(seamkit.InvalidArgumentError, match="attention as the prefix, 10, or more, found 9"):
        session.prepare(adapter, text())
    whole = runtime.open(save("bart", tmp_path / "bart")).session()
    adapter = whole.add("cartridge", {"prefix_length": 3})
    with pytest.raises(
        seamkit.InvalidArgumentError, match="no keys and values of the decoder attention: it has no target"
    ):
        whole.prepare(adapter, text())
