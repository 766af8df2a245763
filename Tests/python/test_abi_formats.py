"""What earlier versions saved loads and gives what it gave: Tests/Fixtures/formats, a folder for each version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from command_line import run, seam

FORMATS = Path(__file__).resolve().parents[1] / "Fixtures" / "formats"
VERSIONS = sorted(path.name for path in FORMATS.iterdir() if path.is_dir())
# The run that was stopped; make_formats.py started it so.
RUN = [
    "--batch-size",
    "2",
    "--adapter",
    "repcali+prefix-tuning",
    "--learning-rate",
    "0.1",
    "--option",
    "prefix-tuning.prefix_length=2",
    "--option",
    "prefix-tuning.mlp_hidden_size=2",
    "--steps",
    "200",
]
CLASSIFIER = "fewshot/adapters/shots-2/seed-0"


@pytest.fixture(params=VERSIONS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the folder of one version."""
    return Path(shutil.copytree(FORMATS / request.param, tmp_path / "saved"))


def expected(saved: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((saved / "expected.json").read_text())[name]
    return found


def measured(saved: Path, adapter: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        seam("evaluate", "--model", saved / "model", "--adapter", adapter, "--data", saved / "pairs.jsonl", "--json")
    )
    return found


def test_there_is_one() -> None:
    assert VERSIONS


def test_adapters(saved: Path) -> None:
    """One adapter, several that were saved together and, of versions that have it, one inside the layers."""
    names = [name for name in ("one", "pair", "inside") if (saved / name).is_dir()]
    assert names[:2] == ["one", "pair"]
    for name in names:
        assert measured(saved, saved / name / "adapter") == pytest.approx(expected(saved, name), rel=1e-5), name


def test_a_checkpoint(saved: Path) -> None:
    """A stopped run goes on, to the same end as with the version that started it."""
    output = saved / "stopped"
    data = ["--model", saved / "model", "--train", saved / "pairs.jsonl"]
    seam("train", *data, *RUN, "--output", output, "--resume")
    # 195 steps of a rounding of their own lie between the two.
    assert measured(saved, output / "adapter") == pytest.approx(expected(saved, "resumed"), rel=1e-3)


def test_a_classifier_with_its_task(saved: Path) -> None:
    model = ["--model", saved / "model", "--adapter", saved / CLASSIFIER]
    found = json.loads(seam("classify", *model, "--data", saved / "reviews.jsonl", "--json"))
    assert found == pytest.approx(expected(saved, "classes"))


def test_kept_answers(saved: Path, tmp_path: Path) -> None:
    """The cache is found again, so that the model is asked nothing; without it, it is asked."""
    for cache, queries in [(saved / "fewshot/cache", 0), (tmp_path / "cache", 5)]:
        output = seam(
            "fewshot",
            "--model",
            saved / "model",
            "--train",
            saved / "reviews.jsonl",
            "--test",
            saved / "reviews.jsonl",
            "--verbalizer",
            saved / "words.json",
            "--template",
            "{text} it was [MASK]",
            "--option",
            "projection_width=2",
            "--shots",
            "2",
            "--seeds",
            "1",
            "--cache",
            cache,
            "--output",
            tmp_path / f"out{queries}",
        )
        assert f"The model was asked {queries} times" in output


def test_a_later_revision_is_refused_with_a_sentence(saved: Path) -> None:
    """Every format says its revision, which a version that does not know it names."""
    for name, newest in [("one", "1 ... 2"), ("pair", "1")]:
        path = saved / name / "adapter/adapter_config.json"
        path.write_text(path.read_text().replace('"schema": 1', '"schema": 99'))
        done = run("evaluate", "--model", saved / "model", "--adapter", path.parent, "--data", saved / "pairs.jsonl")
        sentence = f"schema must be {newest}, which this version reads, found 99"
        assert done.returncode != 0 and sentence in done.stderr, done.stderr
