"""Folders of pyreft: pyreft itself writes and reads them (pyreft_peer.py), values equal."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seamkit
import seamkit.torch as engine
from layer_models import TOLERANCE, disturb, opened
from prefix_reference import save
from pyreft_peer import CASES, LAYERS, RANK

IDS = np.random.default_rng(4).integers(4, 50, (2, 7))
POSITIONS = {"loreft": "f2+l2"}


@pytest.fixture(scope="module")
def wheels() -> Path:
    """Those that scripts/test fetches, which fails a run that skips a test."""
    if not (folder := os.environ.get("SEAM_PYREFT")):
        pytest.skip("SEAM_PYREFT names no folder with wheels of pyreft and pyvene")
    return Path(folder)


def peer(wheels: Path, action: str, model: Path, folder: Path) -> dict[str, Any]:
    """The logits of pyreft by case."""
    np.savez(folder / "inputs.npz", input_ids=IDS)
    script = Path(__file__).with_name("pyreft_peer.py")
    done = subprocess.run([sys.executable, script, wheels, action, model, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {each.stem: np.load(each) for each in folder.glob("*.npy")}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llama", tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(scope="module")
def written(wheels: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("written")
    return folder, peer(wheels, "write", model, folder)


def logits(model: Any) -> Any:
    """With labels for the last token, so that the prompt is known."""
    ids = torch.from_numpy(IDS)
    labels = torch.full_like(ids, -100)
    labels[:, -1] = ids[:, -1]
    with torch.no_grad():
        return model(ids, labels=labels).logits.numpy()


def assert_same(found: Any, expected: Any) -> None:
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("case", CASES)
def test_what_pyreft_saves_is_run(
    runtime: seamkit.Runtime, model: Path, written: tuple[Path, dict[str, Any]], tmp_path: Path, case: str
) -> None:
    """With its logits, in PyTorch and natively."""
    folder, expected = written
    ours = opened("llama", model)
    plain = logits(ours)
    found = engine.load_pyreft(folder / case, ours, positions=POSITIONS.get(case, "all"))
    adapters = found if isinstance(found, list) else [found]
    assert [each.id for each in adapters] == {"loreft": ["loreft"] * 2, "noreft": ["noreft"]}.get(case, ["direft"])
    assert [str(each) for each in adapters[0].points] == [f"decoder.{layer}" for layer in LAYERS]
    assert_same(logits(ours), expected[case])
    assert np.abs(plain - expected[case]).max() > 0.01 * np.abs(plain).max()
    engine.save(ours, tmp_path / "adapters")
    session = runtime.open(model).session()
    session.load(tmp_path / "adapters")
    labels = np.where(np.arange(IDS.shape[1]) == IDS.shape[1] - 1, IDS, -100)
    assert_same(session.forward(seamkit.Batch(IDS, labels=labels)), expected[case])


def test_a_loreft_trains_on(model: Path, written: tuple[Path, dict[str, Any]]) -> None:
    """The directions, too, which stay orthonormal."""
    ours = opened("llama", model)
    adapters = engine.load_pyreft(written[0] / "loreft", ours, positions="f2+l2")
    assert isinstance(adapters, list)
    before = adapters[0].folded().state_dict()
    optimizer = torch.optim.SGD(ours.parameters(), lr=1.0)
    ids = torch.from_numpy(IDS)
    labels = torch.full_like(ids, -100)
    labels[:, -1] = ids[:, -1]
    ours(ids, labels=labels).loss.backward()
    optimizer.step()
    after = adapters[0].folded().state_dict()
    name = "decoder.0.rotate_layer.weight"
    assert (after[name] - before[name]).abs().max() > 1e-4
    assert (after[name] @ after[name].T - torch.eye(RANK)).abs().max() <= 1e-5


def test_pyreft_runs_what_is_saved(wheels: Path, model: Path, tmp_path: Path) -> None:
    expected, points = {}, [f"decoder.{layer}" for layer in LAYERS]
    for case, id in (("loreft", "loreft"), ("noreft", "noreft"), ("nodireft", "direft")):
        ours = opened("llama", model)
        for text in POSITIONS.get(case, "all").split("+"):
            layers = ",".join(map(str, LAYERS))
            adapter = seamkit.attach(ours, id, rank=RANK, positions=text, layers=layers, random_seed=len(text))
            assert [str(each) for each in adapter.points] == points
        disturb(engine.attached(ours))
        expected[case] = logits(ours)
        engine.save_pyreft(ours, tmp_path / case)
        # And it comes back.
        again = opened("llama", model)
        engine.load_pyreft(tmp_path / case, again, positions=POSITIONS.get(case, "all"))
        assert_same(logits(again), expected[case])
    # Its own NoReFT has a bias that ours has within b.
    state = next((tmp_path / "noreft").glob("*.bin"))
    for file in state.parent.glob("*.bin"):
        values = torch.load(file, weights_only=True)
        assert "proj_layer.bias" not in values
        torch.save(values | {"proj_layer.bias": torch.zeros(RANK)}, file)
    found = peer(wheels, "run", model, tmp_path)
    assert found.keys() == expected.keys()
    for case, value in found.items():
        assert_same(value, expected[case])


def test_layers_by_their_paths(tmp_path: Path) -> None:
    """Where pyvene knows no name for a layer: of an encoder, and of either half of a model with both."""
    for name, first in (("bert", "bert.encoder.layer[1].output"), ("t5", "encoder.block[1].output")):
        folder = save(name, tmp_path / name)
        ours = opened(name, folder)
        seamkit.attach(ours, "noreft", rank=2, layers="1")
        disturb(engine.attached(ours))
        engine.save_pyreft(ours, tmp_path / f"{name}-pyreft")
        config = json.loads((tmp_path / f"{name}-pyreft" / "config.json").read_text())
        assert config["representations"][0][1] == first
        key = f"comp_{first.replace('.', '_')}_unit_pos_nunit_1#0"
        assert config["sorted_keys"][0] == key
        assert (tmp_path / f"{name}-pyreft" / f"intkey_{key}.bin").exists()
        again = opened(name, folder)
        back = engine.load_pyreft(tmp_path / f"{name}-pyreft", again, positions="all")
        assert isinstance(back, engine.Adapter)
        for own, other in zip(back.parameters(), engine.attached(ours)[0].parameters(), strict=True):
            assert torch.equal(own, other)


# ---- What is refused


@pytest.fixture
def small(model: Path, tmp_path: Path) -> Path:
    """A folder in the layout of pyreft."""
    ours = opened("llama", model)
    seamkit.attach(ours, "noreft", rank=2, layers="0,1")
    engine.save_pyreft(ours, tmp_path / "pyreft")
    return tmp_path / "pyreft"


def edited(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def field(index: int, value: Any) -> Callable[[Path], None]:
    return lambda folder: edited(folder, lambda config: config["representations"][1].__setitem__(index, value))


def tensors(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        file = next(folder.glob("*layer_1*.bin"))
        values = dict(torch.load(file, weights_only=True))
        change(values)
        torch.save(values, file)

    return changed


class Executed:
    """A pickle that would make a folder."""

    def __init__(self, made: Path):
        self.made = made

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.made),)


def hostile(folder: Path) -> None:
    next(folder.glob("*.bin")).write_bytes(pickle.dumps(Executed(folder / "executed"), protocol=2))


def other_class(name: str) -> Callable[[Path], None]:
    return lambda folder: edited(folder, lambda config: config["intervention_types"].__setitem__(1, name))


BAD: dict[str, tuple[Callable[[Path], None], type[seamkit.SeamError], str]] = {
    "config": (lambda path: (path / "config.json").unlink(), seamkit.NotFoundError, "has no config.json"),
    "json": (lambda path: (path / "config.json").write_text("{"), seamkit.FormatError, "config.json: "),
    "model": (lambda path: (path / "config.json").write_text("{}"), seamkit.FormatError, "must have representations"),
    "file": (lambda path: next(path.glob("*.bin")).unlink(), seamkit.NotFoundError, "there is no such file"),
    "pickle": (hostile, seamkit.FormatError, "without executing it"),
    "trained": (lambda path: (path / "pytorch_model.bin").touch(), seamkit.UnsupportedError, "holds pytorch_model.bin"),
    "layer": (field(0, 9), seamkit.IncompatibleError, "layer must be 0 ... 2 for this model, found 9"),
    "no-layer": (field(0, "one"), seamkit.FormatError, "a number as layer"),
    "component": (field(1, "mlp_output"), seamkit.UnsupportedError, 'component must be "block_output" or .*mlp_output'),
    "unit": (field(2, "h.pos"), seamkit.UnsupportedError, "unit must be 'pos', found 'h.pos'"),
    "units": (field(3, 2), seamkit.UnsupportedError, "max_number_of_units must be 1, found 2"),
    "subspace": (field(7, [[0, 1]]), seamkit.UnsupportedError, "subspace_partition is not followed"),
    "link": (field(9, 0), seamkit.UnsupportedError, "intervention_link_key is not followed, found 0"),
    "mode": (
        lambda path: edited(path, lambda config: config.update(mode="serial")),
        seamkit.UnsupportedError,
        "mode must be \"parallel\", found 'serial'",
    ),
    "class": (
        other_class("<class 'pyreft.interventions.ConsreftIntervention'>"),
        seamkit.UnsupportedError,
        "ConsreftIntervention.*LoreftIntervention",
    ),
    "foreign": (other_class("<class 'mine.LoreftIntervention'>"), seamkit.UnsupportedError, "mine.LoreftIntervention"),
    "missing": (
        tensors(lambda values: values.pop("proj_layer.weight")),
        seamkit.FormatError,
        "must hold .*proj_layer.weight of a NoreftIntervention",
    ),
    "shape": (
        tensors(lambda values: values.update({"proj_layer.weight": torch.ones(2, 5)})),
        seamkit.ShapeError,
        r'"proj_layer.weight" must be \[2, 24\], found \[2, 5\]',
    ),
    "nan": (
        tensors(lambda values: values["learned_source.bias"].fill_(float("nan"))),
        seamkit.NumericError,
        '"learned_source.bias" holds NaN or infinity',
    ),
    "integers": (
        tensors(lambda values: values.update({"learned_source.bias": torch.ones(2, dtype=torch.int32)})),
        seamkit.FormatError,
        "must be of real numbers",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_folders_that_are_refused(model: Path, small: Path, case: str) -> None:
    change, error, sentence = BAD[case]
    change(small)
    ours = opened("llama", model)
    with pytest.raises(error, match=sentence):
        engine.load_pyreft(small, ours, positions="all")
    assert not engine.attached(ours)
    assert not (small / "executed").exists()


def test_other_things_that_are_refused(model: Path, small: Path, tmp_path: Path) -> None:
    ours = opened("llama", model)
    with pytest.raises(seamkit.NotFoundError, match="there is no such folder"):
        engine.load_pyreft(tmp_path / "nowhere", ours, positions="all")
    with pytest.raises(
        seamkit.InvalidArgumentError, match='positions must be a text such as "all" or "f2\\+l1", found 2'
    ):
        engine.load_pyreft(small, ours, positions=2)  # type: ignore[arg-type]
    with pytest.raises(seamkit.InvalidArgumentError, match="'positions' must be all"):
        engine.load_pyreft(small, ours, positions="2")
    with pytest.raises(seamkit.InvalidArgumentError, match="none is attached"):
        engine.save_pyreft(ours, tmp_path / "new")
    seamkit.attach(ours, "lora")
    with pytest.raises(seamkit.UnsupportedError, match='adapter "lora" has no counterpart in pyreft'):
        engine.save_pyreft(ours, tmp_path / "new")
    seamkit.detach(ours)
    for text in ("f1", "l1"):
        seamkit.attach(ours, "loreft", positions=text)
    with pytest.raises(seamkit.AlreadyExistsError, match="something is there"):
        engine.save_pyreft(ours, small)
    engine.save_pyreft(ours, tmp_path / "two")
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]
    seamkit.detach(ours)
    with pytest.raises(seamkit.InvalidArgumentError, match="two interventions at each layer.*found 'all'"):
        engine.load_pyreft(tmp_path / "two", ours, positions="all")
    edited(tmp_path / "two", lambda config: [config[each].pop() for each in ("representations", "intervention_types")])
    with pytest.raises(seamkit.UnsupportedError, match='has 2 interventions at "decoder.0"'):
        engine.load_pyreft(tmp_path / "two", ours, positions="f1+l1")
