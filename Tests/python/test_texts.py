"""Texts as the command line reads them: from standard input, and from columns whose names Unicode takes for one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from command_line import command, seam
from tiny_models import add_tokenizer, save


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save("marian", tmp_path_factory.mktemp("model"))
    add_tokenizer(folder)
    return folder


def generate(model: Path, given: bytes) -> tuple[int, bytes, str]:
    wanted = command("generate", "--model", model) | {"text": False, "input": given}
    del wanted["stdin"]
    done = subprocess.run(**wanted, timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


def test_standard_input_is_read_as_files_are(model: Path) -> None:
    status, plain, _ = generate(model, b"C C O\nN\n")
    assert status == 0 and plain.count(b"\n") == 2
    for same in (b"\xef\xbb\xbfC C O\nN\n", b"C C O\r\nN\r\n", b"C C O\nN"):
        assert generate(model, same) == (0, plain, "")
    status, said, sentence = generate(model, b"C\nC \xff\n")
    assert (status, said) == (1, b"")
    assert sentence == ("Error: standard input, line 2: expected UTF-8 text, found the byte 0xff which is not UTF-8\n")
    assert "there is no source text" in generate(model, b"")[2]


def test_columns_of_other_scalars_are_others(model: Path, tmp_path: Path) -> None:
    one, two = "cl\u00e9", "cle\u0301"
    rows = [{two: "N N", one: "C", "target": "O"}, {one: "C C", "target": "O"}, {one: "O", "target": "O"}]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    seam(
        "evaluate",
        "--model",
        model,
        "--data",
        tmp_path / "data.jsonl",
        "--source-column",
        one,
        "--predictions",
        tmp_path / "said.jsonl",
    )
    said = [json.loads(line)["source"] for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert said == ["C", "C C", "O"]
