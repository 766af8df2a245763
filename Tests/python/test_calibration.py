"""An adapter that `prepare` alone fits, through the tool: contextual calibration of Tests/Fixtures/calibration-plugin,
against its formula on the answers that the tool kept."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np

from command_line import run, seam
from fewshot_models import LABELS, WORDS, Model, cached, write_reviews
from seam_abi import ROOT

# The class of each word's column.
OWNERS = np.array([place for place, words in enumerate(WORDS.values()) for _ in words])


def test_fewshot_fits_and_classify_uses_it(tmp_path: Path) -> None:
    library = tmp_path / "libCalibration.so"
    subprocess.run(
        [
            "cc",
            "-std=c11",
            "-shared",
            "-fPIC",
            f"-I{ROOT / 'include'}",
            str(ROOT / "Tests/Fixtures/calibration-plugin/calibration.c"),
            "-o",
            str(library),
        ],
        check=True,
    )
    model = Model("bert", tmp_path / "model")
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    write_reviews(tmp_path / "train.jsonl", 4, 1)
    test = write_reviews(tmp_path / "test.jsonl", 10, 2)
    common = ["--plugin", library, "--model", model.folder, "--cache", tmp_path / "cache"]
    task = [
        "--train",
        tmp_path / "train.jsonl",
        "--test",
        tmp_path / "test.jsonl",
        "--verbalizer",
        tmp_path / "words.json",
        "--template",
        model.family.template,
        "--shots",
        "4",
        "--seeds",
        "1",
    ]
    seam(
        "fewshot", *common, *task, "--adapter", "test-calibration", "--method", "adapters", "--output", tmp_path / "run"
    )

    answers = cached(tmp_path / "cache")

    def scores(text: str) -> np.ndarray:
        words = answers[text][0]
        return np.array([words[OWNERS == label].max() for label in range(len(LABELS))])

    expected = [int((scores(each["text"]) - scores("")).argmax()) for each in test]
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["results"]
    found = next(each for each in rows if each["shots"] == 4)["accuracy"]["mean"]
    assert found == np.mean([LABELS[label] == each["label"] for label, each in zip(expected, test, strict=True)])
    adapter = tmp_path / "run" / "adapters" / "shots-4" / "seed-0"
    printed = seam("classify", *common, "--adapter", adapter, *[each["text"] for each in test])
    assert [line.split("\t")[0] for line in printed.splitlines()] == [LABELS[label] for label in expected]

    refused = run(
        "fewshot", *common, *task, "--adapter", "test-constant", "--method", "adapters", "--output", tmp_path / "other"
    )
    assert refused.returncode == 1
    assert "there is nothing to train: no adapter has a parameter that is not frozen, or starts from the examples" in (
        refused.stderr
    )
