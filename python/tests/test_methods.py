"""Every method on every family: which engines run it, with equal results, as the table of docs/methods/README.md says.

Run as a program it prints that table anew: `PYTHONPATH=python python python/tests/test_methods.py`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "Tests" / "python")]
os.environ.setdefault("SEAMKIT_LIBRARY_PATH", str(ROOT / ".build/release"))

import pytest  # noqa: E402

import seamkit  # noqa: E402
from layer_models import assert_close, disturb, inputs, opened, places  # noqa: E402
from prefix_reference import FAMILIES, save  # noqa: E402
from seamkit.onnx import export_onnx  # noqa: E402

PAGE = ROOT / "docs" / "methods" / "README.md"
SMALL = {"prefix_length": 3, "mlp_hidden_size": 7}
# By the method's id: its options here. A gate weights the tokens of a prefix, which stands before it.
METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "ia3": {},
    "bias": {},
    "bottleneck-adapter": {},
    "loreft": {},
    "noreft": {},
    "direft": {},
    "control-vector": {},
    "repcali": {},
    "prompt-tuning": {"prompt_length": 3},
    "prefix-tuning": SMALL,
    "residual-prefix": SMALL,
    "cartridge": {"prefix_length": 3},
    "gate": {},
}
# Those on decoder.output are part of a classification, which has tests of its own.
HEADS = {"dect", "linear-head", "ridge-head", "batch-calibration", "multi-prompting-decoder"}


def attached(name: str, model: Any, method: str) -> list[Any]:
    ids = [("prefix-tuning", SMALL)] * (method == "gate") + [(method, METHODS[method])]
    return [seamkit.attach(model, id, random_seed=2, **more) for id, more in ids]


def cell(runtime: seamkit.Runtime, method: str, name: str, folder: Path, work: Path) -> str:
    """ "yes" where both engines run the method and give the same logits, which are not the model's own; "" where both
    refuse it. Anything else fails."""
    batch, given = inputs(name)
    backbone, model = runtime.open(folder), opened(name, folder)
    plain = model(**given).logits.detach()
    seam = runtime.describe(method)["seams"][0]
    if seam not in backbone.seams:
        with pytest.raises(seamkit.UnsupportedError, match=f'no seam "{seam}"'):
            backbone.adapter(method, METHODS[method])
        with pytest.raises(seamkit.SeamError):
            attached(name, model, method)
        return ""
    disturb(attached(name, model, method))
    seamkit.save(model, work)
    logits = model(**given).logits.detach()
    counted = places(name, batch)
    difference = (logits - plain).abs()
    assert difference.max() > 1e-3 * plain.abs().max(), "the method changes nothing"
    session = backbone.session()
    session.load(work)
    assert_close(logits, session.forward(batch), counted)
    return "yes"


def exported(method: str, folder: Path, work: Path) -> str:
    """Whether the method has a file of its own as ONNX."""
    model = opened(folder.name, folder)
    attached(folder.name, model, method)
    try:
        export_onnx(model, work / f"{method}.onnx")
    except seamkit.UnsupportedError:
        return ""
    return "yes"


def row(runtime: seamkit.Runtime, method: str, folders: dict[str, Path], work: Path) -> list[str]:
    cells = [cell(runtime, method, name, folder, work / f"{method}-{name}") for name, folder in folders.items()]
    # On the first family that has its seam.
    where = next(name for name, each in zip(folders, cells, strict=True) if each)
    about = runtime.describe(method)
    merged = "yes" if about.get("folds_weight") else ""
    return [f"`{method}`", f"`{about['seams'][0]}`", *cells, exported(method, folders[where], work), merged]


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


# A family once, in whichever of its forms.
NAMES = [name for name in FAMILIES if name not in ("llama-3", "mistral-window")]
HEADER = ["method", "seam", *NAMES, "ONNX", "merges"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: save(name, root / name) for name in NAMES}


def test_every_method_has_a_row(runtime: seamkit.Runtime) -> None:
    ids = {id for plugin in runtime.plugins for id in runtime.describe(plugin.id)["adapters"]}
    assert ids == METHODS.keys() | HEADS
    assert line(HEADER) in PAGE.read_text()


@pytest.mark.parametrize("method", METHODS)
def test_rows(runtime: seamkit.Runtime, folders: dict[str, Path], tmp_path: Path, method: str) -> None:
    expected = line(row(runtime, method, folders, tmp_path))
    assert expected in PAGE.read_text(), f"docs/methods/README.md must have: {expected}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as path:
        work = Path(path)
        models = {name: save(name, work / name) for name in NAMES}
        host = seamkit.Runtime()
        rows = [row(host, method, models, work) for method in METHODS]
        print("\n".join([line(HEADER), line(["---"] * len(HEADER)), *map(line, rows)]))
