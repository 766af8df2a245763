"""Extracting features in several processes that torchrun starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import seamkit
from dect_models import Folder
from fewshot_models import WORDS, write_reviews

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/torch/extract_features.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder("bert", tmp_path_factory.mktemp("bert") / "model")


def started(command: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python"), "OMP_NUM_THREADS": "1"}
    # A run that hangs is the failure that is looked for.
    return subprocess.run(
        [*command, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_the_example(runtime: seamkit.Runtime, folder: Folder, tmp_path: Path) -> None:
    rows = write_reviews(tmp_path / "train.jsonl", 5, 1)
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    given = [folder.path, tmp_path / "words.json", tmp_path / "train.jsonl"]
    options = ["--template", folder.template, "--batch-size", "4"]
    one = started([sys.executable], EXAMPLE, *given, tmp_path / "one", *options)
    assert one.returncode == 0, one.stderr
    two = started(TORCHRUN, EXAMPLE, *given, tmp_path / "two", *options)
    assert two.returncode == 0, two.stderr
    assert "process 0: asked 16 of 15 texts" in one.stdout
    # The empty text falls to the first process.
    assert "process 0: asked 9 of 15 texts" in two.stdout and "process 1: asked 7 of 15 texts" in two.stdout
    expected, found = (load_file(tmp_path / each / "features.safetensors") for each in ("one", "two"))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # Other batches: sums in another order.
        assert (found[name] - value).abs().max() <= 1e-6 * value.abs().max()
    texts = [each["text"] for each in rows]
    native = folder.native(runtime)
    scores = torch.from_numpy(native.scores(texts))
    assert (found["scores"] - scores).abs().max() <= 1e-5 * scores.abs().max()
    native.attach(runtime.open(folder.path).load(tmp_path / "two/head"))
    assert (
        native.scores(texts).argmax(1).tolist()
        == seamkit.torch.Classifier.scores(trained(folder, tmp_path / "two/head"), texts).argmax(1).tolist()
    )


def trained(folder: Folder, path: Path) -> seamkit.torch.Classifier:
    found = folder.torch()
    found.attach(seamkit.torch.read_adapter(path, folder.model))
    return found


PROGRAM = """
import json
import sys
from pathlib import Path
import torch.distributed as dist
import seamkit
from seamkit.torch import Classifier, open_model
dist.init_process_group("gloo")
rank = dist.get_rank()
classifier = Classifier(*open_model(sys.argv[1]), json.loads(sys.argv[2]))
try:
    {body}
except seamkit.SeamError as error:
    (Path(sys.argv[3]) / f"error-{{rank}}").write_text(str(error))
dist.destroy_process_group()
"""


@pytest.mark.parametrize(
    "body, sentences",
    [
        # The mask token itself in one text, the last by length: the second process's.
        (
            "classifier.features(['the film was bad and dull and long', 'the [MASK] was odd'])",
            ["process 1 of 2: the prompt", "the prompt"],
        ),
        (
            "classifier.features(['the film was bad', f'the plot was {rank}'])",
            ["the 2 processes must ask about the same texts in the same order, and they differ"] * 2,
        ),
    ],
    ids=["a text", "other texts"],
)
def test_an_error_in_one_process_is_raised_in_all(
    folder: Folder, tmp_path: Path, body: str, sentences: list[str]
) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(body=body))
    done = started(TORCHRUN, script, folder.path, json.dumps(folder.task()), tmp_path)
    assert done.returncode == 0, done.stderr
    for rank, each in enumerate(sentences):
        assert (tmp_path / f"error-{rank}").read_text().startswith(each)


def test_a_process_that_dies_ends_the_others(folder: Folder, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(body="sys.exit(3) if rank else classifier.features(['the film was bad'])"))
    done = started(TORCHRUN, script, folder.path, json.dumps(folder.task()), tmp_path)
    assert done.returncode != 0 and "exitcode  : 3" in done.stderr, done.stderr


def test_a_group_of_one_asks_by_itself(folder: Folder, tmp_path: Path) -> None:
    expected = folder.torch().features(["the film was bad"])
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        found = folder.torch().features(["the film was bad"])
    finally:
        torch.distributed.destroy_process_group()
    assert torch.equal(found.scores, expected.scores) and torch.equal(found.hidden, expected.hidden)
