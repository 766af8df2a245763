"""`seam prepare`, and trainings of adapters that start from examples, against what a session gives the same adapters."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from command_line import run, seam
from fewshot_models import LABELS, Model, write_reviews
from seam_abi import ROOT, Array
from seam_objects import Batch, Runtime
from seamkit import Tokenizer

TEXT = "the plot was lovely and the actor was good and the music was bad."


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "libPrepare.so"
    source = ROOT / "Tests/Fixtures/prepare-plugin/prepare.c"
    subprocess.run(["cc", "-std=c11", "-shared", "-fPIC", f"-I{ROOT / 'include'}", source, "-o", path], check=True)
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: Model(name, root / name).folder for name in ("bert", "gpt2")}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two classes."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    rows = [each for each in write_reviews(path, 5, 1) if each["label"] != "mixed"]
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def prepared(
    plugin_folder: Path,
    library: Path,
    folder: Path,
    id: str,
    options: dict[str, Any],
    batches: list[Batch],
    **more: Any,
) -> dict[str, Array]:
    """The values that a session gives."""
    runtime = Runtime([plugin_folder / "libTransformer.so", library])
    session = runtime.open(folder).session()
    adapter = session.add(id, options, **more)
    session.prepare(adapter, batches)
    return {name: each.copy() for name, each in adapter.parameters.items()}


def batch(folder: Path, texts: list[str], classes: list[int] | None = None) -> Batch:
    tokenizer = Tokenizer(folder)
    ids = [tokenizer.encode(each) for each in texts]
    padded = Batch.padded(ids, pad_token_id=1)
    return Batch(padded.input_ids, padded.attention_mask, classes=classes)


def examples(folder: Path, reviews: Path, size: int) -> list[Batch]:
    rows = [json.loads(line) for line in reviews.read_text().splitlines()]
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [
        batch(folder, [each["text"] for each in part], [LABELS.index(each["label"]) for each in part]) for part in parts
    ]


def assert_same(folder: Path, expected: dict[str, Array]) -> None:
    found = load_file(folder / "adapter_model.safetensors")
    assert found.keys() == expected.keys()
    assert max(np.abs(each).max() for each in expected.values()) > 1e-2
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_from_labelled_texts(
    folders: dict[str, Path], library: Path, plugin_folder: Path, reviews: Path, tmp_path: Path, name: str
) -> None:
    given = ["--plugin", library, "--model", folders[name], "--train", reviews, "--batch-size", "4"]
    printed = seam("prepare", *given, "--adapter", "mean-difference", "--output", tmp_path / "out")
    assert printed == f"saved mean-difference to {tmp_path / 'out'}\n"
    expected = prepared(
        plugin_folder, library, folders[name], "mean-difference", {}, examples(folders[name], reviews, 4)
    )
    assert_same(tmp_path / "out", expected)
    # The other way round, at one layer.
    more = ["--labels", "positive,negative", "--option", "layers=1", "--overwrite"]
    seam("prepare", *given, "--adapter", "mean-difference", *more, "--output", tmp_path / "out")
    only = {key: -values for key, values in expected.items() if ".1." in key}
    found = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert found.keys() == only.keys()
    for key, values in found.items():
        np.testing.assert_allclose(values, only[key], rtol=0, atol=1e-6)


@pytest.mark.parametrize("in_a_file", [False, True])
def test_a_text_as_a_prefix(
    folders: dict[str, Path], library: Path, plugin_folder: Path, tmp_path: Path, in_a_file: bool
) -> None:
    folder = folders["gpt2"]
    (tmp_path / "text.txt").write_text(TEXT)
    source = ["--text-file", tmp_path / "text.txt"] if in_a_file else ["--text", TEXT]
    seam(
        "prepare", "--plugin", library, "--model", folder, "--adapter", "text-prefix", *source, "--output",
        tmp_path / "out",
    )  # fmt: skip
    assert_same(tmp_path / "out", prepared(plugin_folder, library, folder, "text-prefix", {}, [batch(folder, [TEXT])]))
    # Trained further from there.
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"source": "the plot was", "target": " good"}) + "\n")
    more = ["--train", tmp_path / "pairs.jsonl", "--steps", "1", "--learning-rate", "0", "--output", tmp_path / "run"]
    common = ["--plugin", library, "--model", folder]
    seam("train", *common, "--init-adapter", tmp_path / "out", *more)
    before, after = (
        load_file(each / "adapter_model.safetensors") for each in (tmp_path / "out", tmp_path / "run/adapter")
    )
    assert all(np.array_equal(before[name], each) for name, each in after.items())
    refused = run("train", *common, "--adapter", "text-prefix", *more, "--overwrite")
    assert refused.returncode == 1
    assert "starts from the keys and values of one text, and a training has examples" in refused.stderr


def test_a_training_begins_with_it(
    folders: dict[str, Path], library: Path, plugin_folder: Path, reviews: Path, tmp_path: Path
) -> None:
    """A learning rate of 0 leaves what was prepared; what is frozen is prepared again by a run that goes on."""
    folder = folders["bert"]
    given = ["--plugin", library, "--model", folder, "--task", "classification", "--train", reviews]
    more = ["--steps", "2", "--learning-rate", "0", "--batch-size", "4", "--output", tmp_path / "run"]
    seam("train", *given, "--adapter", "mean-difference", *more)
    expected = prepared(plugin_folder, library, folder, "mean-difference", {}, examples(folder, reviews, 4))
    assert_same(tmp_path / "run" / "adapter" / "1-mean-difference", expected)


def test_refusals(folders: dict[str, Path], library: Path, reviews: Path, tmp_path: Path) -> None:
    def refused(sentence: str, *more: str | Path, adapter: str = "mean-difference") -> None:
        given = ["--plugin", library, "--model", folders["gpt2"], "--adapter", adapter, "--output", tmp_path / "out"]
        done = run("prepare", *given, *more)
        assert done.returncode == 1 and sentence in done.stderr
        assert not (tmp_path / "out").exists()

    refused("give one of --train, --text and --text-file, found none")
    refused("found --train and --text", "--train", reviews, "--text", TEXT)
    refused("--labels is for the labelled texts of --train", "--text", TEXT, "--labels", "a,b")
    refused("--batch-size must be positive, found 0", "--train", reviews, "--batch-size", "0")
    refused("--adapter lora starts from no examples: it is trained, with seam train", "--text", TEXT, adapter="lora")
    refused("it takes examples of class 1 and of class 0, and there are none", "--text", TEXT)
    refused("starts from the keys and values of one text, found 10", "--train", reviews, adapter="text-prefix")
    more = ["--option", "tokens=1000"]
    refused("leaves room for at most", "--text", TEXT, *more, adapter="text-prefix")
