"""RepCali against its formulas in PyTorch: scores, training alone and with the backbone, saving, the seam cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from command_line import seam
from repcali_reference import RepCali, calibrated_logits, calibrated_loss
from seam_objects import Adapter, Backbone, Runtime
from tiny_models import VOCABULARY, add_tokenizer, reference, save, tokens

STEPS = 20
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "lambda": {"lambda": 0.3},
    "positions": {"seed": "positions", "max_positions": 40},
    "few positions": {"seed": "positions", "max_positions": 6},
    "no norm": {"norm": "none", "lambda": 2.0},
    "paper": {"initialization": "paper"},
    "paper small": {"initialization": "paper", "deviation": 0.1, "epsilon": 1e-3},
    "paper positions": {"initialization": "paper", "seed": "positions", "max_positions": 40},
    "paper no norm": {"initialization": "paper", "norm": "none"},
}
MODELS = ["t5-1.0", "marian", "bart", "m2m100", "longt5-global"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save(name, tmp_path_factory.mktemp(name)) for name in MODELS}


def disturb(adapter: Adapter) -> None:
    """Other values than the initial ones, for which the identity form is the identity."""
    random = np.random.default_rng(5)
    for view in adapter.parameters.values():
        view += random.normal(0, 0.3, view.shape).astype(np.float32)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", OPTIONS)
def test_logits(runtime: Runtime, folders: dict[str, Path], name: str, options: str) -> None:
    backbone = runtime.open(folders[name])
    adapter = backbone.adapter("repcali", OPTIONS[options])
    disturb(adapter)
    given = tokens(1)
    with torch.no_grad():
        expected = calibrated_logits(reference(folders[name]), RepCali(adapter), given).numpy()
    plain, found = backbone.session().forward(given.batch), backbone.session(adapter).forward(given.batch)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.abs(found - plain).max() > 0.01, "the values must change something for the comparison to count"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", ["default", "lambda", "positions", "few positions", "no norm"])
def test_the_start_is_the_identity(runtime: Runtime, folders: dict[str, Path], name: str, options: str) -> None:
    """To the last bit; and detaching restores the backbone as exactly."""
    backbone = runtime.open(folders[name])
    adapter, given = backbone.adapter("repcali", OPTIONS[options]), tokens(2)
    session = backbone.session()
    plain_hidden, plain = session.encode(given.batch), session.forward(given.batch)
    session.attach(adapter)
    assert np.array_equal(session.encode(given.batch), plain_hidden)
    assert np.array_equal(session.forward(given.batch), plain)
    disturb(adapter)
    assert not np.array_equal(session.forward(given.batch), plain)
    session.detach(adapter)
    assert np.array_equal(session.forward(given.batch), plain)


def test_auto_initialization(runtime: Runtime, folders: dict[str, Path]) -> None:
    backbone = runtime.open(folders["bart"])
    frozen, unfrozen = backbone.adapter("repcali"), backbone.adapter("repcali", frozen=False)
    assert frozen.options["initialization"] == "identity" and unfrozen.options["initialization"] == "paper"
    assert not frozen.parameters["embedding.weight"].any()
    spread = backbone.adapter("repcali", {"seed": "positions", "deviation": 0.5}, frozen=False, seed=3)
    assert spread.parameters["embedding.weight"].std() == pytest.approx(0.5, rel=0.1)


def test_methods(runtime: Runtime, folders: dict[str, Path]) -> None:
    adapter = runtime.open(folders["bart"]).adapter("repcali", {"lambda": 0.25})
    disturb(adapter)
    assert np.array_equal(adapter.call("shift"), adapter.parameters["embedding.weight"] * np.float32(0.25))
    assert adapter.call("lambda") == 0.25


# ---- Training


def train_both(
    backbone: Backbone, path: Path, adapter: Adapter, with_backbone: bool, smoothing: float = 0
) -> tuple[list[float], list[float], RepCali, Any]:
    """The losses of SeamKit and of PyTorch over the same batches, with the trained reference."""
    block, model = RepCali(adapter), reference(path)
    for each in model.parameters():
        each.requires_grad_(with_backbone and each.requires_grad)
    groups: list[dict[str, Any]] = [{"params": block.parameters(), "lr": 1e-2}]
    if with_backbone:
        groups.append({"params": [each for each in model.parameters() if each.requires_grad], "lr": 1e-3})
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    session = backbone.session(adapter)
    session.begin_training(
        train_backbone=int(with_backbone), learning_rate=1e-2, backbone_learning_rate=1e-3, label_smoothing=smoothing
    )
    found, expected = [], []
    for step in range(STEPS):
        given = tokens(step % 4)
        found.append(session.train_step(given.batch).loss)
        optimizer.zero_grad()
        loss = calibrated_loss(model, block, given, smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([each for group in groups for each in group["params"]], 1.0)
        optimizer.step()
        expected.append(loss.item())
    session.end_training()
    return found, expected, block, model


def assert_same_training(found: list[float], expected: list[float], adapter: Adapter, block: RepCali) -> None:
    assert found == pytest.approx(expected, rel=1e-5)
    assert found[-1] < found[3], "four batches in turn: the last one again, later, must fit better"
    for key, value in block.named().items():
        # Adam divides by the gradient's size, so an element whose gradient nearly vanishes takes steps of a size that
        # rounding decides; over all elements the difference stays small.
        difference = np.abs(adapter.parameters[key] - value.detach().numpy())
        assert difference.mean() <= 1e-5 and difference.max() <= 1e-3, key


@pytest.mark.parametrize("options", OPTIONS)
def test_training_the_adapter(runtime: Runtime, folders: dict[str, Path], options: str) -> None:
    path = folders["marian"]
    backbone = runtime.open(path)
    before = backbone.session().forward(tokens(9).batch)
    adapter = backbone.adapter("repcali", OPTIONS[options], seed=1)
    found, expected, block, _ = train_both(backbone, path, adapter, with_backbone=False)
    assert_same_training(found, expected, adapter, block)
    assert np.array_equal(backbone.session().forward(tokens(9).batch), before), "the backbone is frozen"


@pytest.mark.parametrize("name", MODELS)
def test_training_with_the_backbone(runtime: Runtime, folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    backbone = runtime.open(folders[name])
    adapter = backbone.adapter("repcali", frozen=False, seed=1)
    found, expected, block, model = train_both(backbone, folders[name], adapter, True, smoothing=0.1)
    assert_same_training(found, expected, adapter, block)
    backbone.save(tmp_path / "trained")
    weights = load_file(tmp_path / "trained" / "model.safetensors")
    for key, value in model.named_parameters():
        # No score depends on a key's bias: its gradient is nothing but rounding noise.
        if value.grad is not None and not key.endswith("k_proj.bias"):
            assert (weights[key] - value).abs().mean().item() <= 1e-4, key


@pytest.mark.parametrize("options", ["default", "positions", "no norm", "paper"])
def test_a_saved_adapter_gives_the_same(
    runtime: Runtime, folders: dict[str, Path], tmp_path: Path, options: str
) -> None:
    backbone, given = runtime.open(folders["t5-1.0"]), tokens(4)
    adapter = backbone.adapter("repcali", OPTIONS[options])
    disturb(adapter)
    scores = backbone.session(adapter).forward(given.batch)
    adapter.save(tmp_path / "adapter", notes="- made by a test")
    assert "made by a test" in (tmp_path / "adapter" / "README.md").read_text()
    again = runtime.open(folders["t5-1.0"])
    loaded = again.load(tmp_path / "adapter")
    assert loaded.options == adapter.options
    assert np.array_equal(again.session(loaded).forward(given.batch), scores)


def test_the_seam_cache_changes_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    """Through the command line: the encoder run once for every example, kept in memory or in a file, or in every step."""
    model = save("marian", tmp_path / "model")
    add_tokenizer(model)
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(pair) + "\n" for pair in text_pairs(10)))
    logs = []
    flags_of = {"cached": [], "in a file": ["--seam-cache-memory", "0"], "not cached": ["--no-seam-cache"]}
    for name, flags in flags_of.items():
        output = tmp_path / name
        seam(
            "train",
            "--model",
            model,
            "--adapter",
            "repcali",
            "--train",
            pairs,
            "--dev",
            pairs,
            "--steps",
            "12",
            "--batch-size",
            "4",
            "--learning-rate",
            "1e-2",
            "--output",
            output,
            *flags,
        )
        logs.append([json.loads(line)["loss"] for line in (output / "log.jsonl").read_text().splitlines()])
    assert len(logs[0]) == 13 and logs[0] == logs[1] and logs[0] == pytest.approx(logs[2], rel=1e-5)


def text_pairs(count: int) -> list[dict[str, str]]:
    random = np.random.default_rng(8)
    words = [[f"w{word}" for word in random.integers(4, VOCABULARY, random.integers(1, 12))] for _ in range(2 * count)]
    return [{"source": " ".join(a), "target": " ".join(b)} for a, b in zip(words[::2], words[1::2], strict=True)]
