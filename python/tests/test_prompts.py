"""Prompt tuning: vectors before the embedded tokens, in PyTorch and natively, against PEFT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from peft import PromptEncoderConfig, PromptTuningConfig, get_peft_model
from torch import Tensor

import seamkit
import seamkit.torch
from prefix_reference import for_peft
from single_stack import bert, gpt2, llama
from tiny_models import PAD, START, VOCABULARY, bart, marian, randomise, t5

# Of the largest: f32 on both sides, sums in another order. A vector in a wrong place is off by more than a tenth.
TOLERANCE = 1e-5
LENGTH = 4

MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: gpt2(),
    "llama": lambda: llama(),
    "t5": lambda: t5(),
    "bart": lambda: bart(scale_embedding=True),
    "marian": lambda: marian(),
    "bert": lambda: bert(),
    "roberta": lambda: bert(hf.RobertaConfig, hf.RobertaForMaskedLM, type_vocab_size=1),
}
PAIRS, DECODERS, ENCODERS = ("t5", "bart", "marian"), ("gpt2", "llama"), ("bert", "roberta")
TASKS = {
    **dict.fromkeys(PAIRS, "SEQ_2_SEQ_LM"),
    **dict.fromkeys(DECODERS, "CAUSAL_LM"),
    **dict.fromkeys(ENCODERS, "FEATURE_EXTRACTION"),
}


def stack(name: str) -> str:
    """Before whose text vectors stand where nothing is said."""
    return "decoder" if name in DECODERS else "encoder"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("prompts")
    for name, build in MODELS.items():
        model = build()
        randomise(model, 0)
        model.save_pretrained(root / name)
    return {name: root / name for name in MODELS}


def opened(name: str, path: Path) -> Any:
    return type(MODELS[name]()).from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def texts(name: str, seed: int = 0, lengths: tuple[int, ...] = (7, 3, 5)) -> tuple[dict[str, Tensor], seamkit.Batch]:
    """The same batch, padded behind the tokens, for transformers and for the native engine."""
    random = np.random.default_rng(seed)
    rows, longest = len(lengths), max(lengths)
    ids, mask = np.full((rows, longest), PAD), np.zeros((rows, longest), int)
    for row, length in enumerate(lengths):
        ids[row, :length] = random.integers(4, VOCABULARY, length)
        mask[row, :length] = 1
    given = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    labels = random.integers(4, VOCABULARY, (rows, 5)) if name in PAIRS else np.where(mask, ids, -100)
    given["labels"] = torch.tensor(labels)
    if name in DECODERS:  # transformers shifts them itself
        labels = np.concatenate([labels[:, 1:], np.full((rows, 1), -100)], 1)
    if name in ENCODERS:
        given["token_type_ids"] = torch.tensor(random.integers(0, 2 if name == "bert" else 1, ids.shape))
    types = given.get("token_type_ids")
    batch = seamkit.Batch(ids, mask, labels, token_types=None if types is None else types.numpy())
    return given, batch


def peft_config(name: str, network: bool) -> Any:
    told = {"token_dim": 24, "num_attention_heads": 4, "num_layers": 2, "num_transformer_submodules": 1}
    if network:
        return PromptEncoderConfig(
            task_type=TASKS[name], num_virtual_tokens=LENGTH, encoder_hidden_size=10, **told
        )
    return PromptTuningConfig(task_type=TASKS[name], num_virtual_tokens=LENGTH, **told)


OPTIONS: dict[bool, dict[str, Any]] = {
    False: {"prompt_length": LENGTH},
    True: {"prompt_length": LENGTH, "reparameterization": "mlp", "mlp_hidden_size": 10},
}


def like_peft(name: str, path: Path, network: bool) -> tuple[Any, Any, seamkit.torch.Adapter]:
    """PEFT's model and ours with the same values."""
    torch.manual_seed(3)
    theirs = get_peft_model(opened(name, path), peft_config(name, network)).eval()
    ours = opened(name, path)
    adapter = seamkit.attach(ours, "prompt-tuning", **OPTIONS[network])
    values = dict(theirs.prompt_encoder["default"].named_parameters())
    found = {key.split(".", 2)[2]: key for key in adapter.state_dict()}
    names = {key: "embedding.weight" if key == "prompt_embeddings" else key for key in found}
    assert sorted(names.values()) == sorted(values)
    adapter.load_state_dict({found[key]: values[own].detach() for key, own in names.items()})
    return theirs, ours, adapter


def assert_same(mine: Any, wanted: Any, of: float = 0) -> None:
    mine, wanted = (each.detach().numpy() if isinstance(each, Tensor) else each for each in (mine, wanted))
    assert mine.shape == wanted.shape
    assert np.abs(mine - wanted).max() <= TOLERANCE * max(np.abs(wanted).max(), of)


def scores(model: Any, given: dict[str, Tensor]) -> Tensor:
    """Of the text's own tokens."""
    found = model(**given)
    states: Tensor = found.logits if "logits" in found else found.last_hidden_state
    text = given["labels"].shape[1]
    return states[:, states.shape[1] - text :]


@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_peft(folders: dict[str, Path], runtime: seamkit.Runtime, name: str, network: bool) -> None:
    """Of padded rows, with the network and without it, in PyTorch and natively."""
    theirs, ours, adapter = like_peft(name, folders[name], network)
    given, batch = texts(name)
    wanted, mine = scores(theirs, given), scores(ours, given)
    labels = given["labels"]
    counted = torch.ones_like(labels, dtype=torch.bool) if name in PAIRS else given["attention_mask"] == 1
    assert_same(mine[counted], wanted[counted])
    if name not in ENCODERS:
        assert ours(**given).loss.item() == pytest.approx(theirs(**given).loss.item(), rel=1e-5)
