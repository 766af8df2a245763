"""What --overwrite may remove: what a run wrote, and neither what the command reads nor anything of the user's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from command_line import seam
from test_output import contents, fewshot, good, refusal, sweep, training  # noqa: F401


@pytest.fixture
def project(good: Path, tmp_path: Path) -> Path:
    """A folder with a run that trained the model, too."""
    seam(*training(good, tmp_path / "run", "--train-backbone"))
    return tmp_path / "run"


def test_a_trained_model_is_replaced(good: Path, project: Path) -> None:
    saved = json.loads((project / "log.jsonl").read_text().splitlines()[-1])
    assert saved["event"] == "saved"
    assert saved["backbone"]["files"] == sorted(each.name for each in (project / "backbone").iterdir())
    seam(*training(good, project, "--overwrite"))
    assert {each.name for each in project.iterdir()} == {"adapter", "log.jsonl", "loss.svg"}


def test_a_model_of_the_users_is_kept(good: Path, tmp_path: Path) -> None:
    """Beside a run that saved none, and in the place of the one that it saved."""
    output = tmp_path / "run"
    seam(*training(good, output))
    shutil.copytree(good / "model", output / "backbone")
    before = contents(output)
    assert "a model that SeamKit did not write" in refusal(*training(good, output, "--overwrite"))
    assert contents(output) == before


def test_notes_beside_a_trained_model_are_kept(good: Path, project: Path) -> None:
    (project / "backbone" / "thesis.txt").write_text("mine")
    before = contents(project)
    assert "did not save it" in refusal(*training(good, project, "--overwrite"))
    assert contents(project) == before


def test_an_adapter_without_a_run_is_kept(good: Path, project: Path) -> None:
    (project / "log.jsonl").unlink()
    before = contents(project)
    assert "no log.jsonl of a run" in refusal(*training(good, project, "--overwrite"))
    assert contents(project) == before


def test_a_merged_model_replaces_none_of_another_program(good: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "run" / "adapter"
    seam(*training(good, tmp_path / "run", adapter="lora"))
    merge = ["merge", "--model", good / "model", "--adapter", adapter, "--output"]
    seam(*merge, tmp_path / "merged")
    seam(*merge, tmp_path / "merged", "--overwrite")
    foreign = tmp_path / "foreign"
    shutil.copytree(good / "model", foreign)
    before = contents(foreign)
    assert "a model that SeamKit did not write" in refusal(*merge, foreign, "--overwrite")
    assert contents(foreign) == before


def test_what_is_read_is_not_replaced(good: Path, project: Path) -> None:
    before = contents(project)
    arguments = training(good, project, "--overwrite")
    arguments[arguments.index("--model") + 1] = project / "backbone"
    assert "is read by this command" in refusal(*arguments)
    assert "is read by this command" in refusal(
        *training(good, project, "--overwrite", "--init-adapter", str(project / "adapter"))
    )
    assert contents(project) == before
    shutil.copy(good / "pairs.jsonl", project / "log.jsonl")
    (project / "link").symlink_to("log.jsonl")
    before = contents(project)
    for flag in ("--train", "--dev"):
        for name in ("log.jsonl", "link"):
            arguments = training(good, project, "--overwrite", "--dev", str(good / "pairs.jsonl"))
            arguments[arguments.index(flag) + 1] = project / name
            assert "is read by this command" in refusal(*arguments)
    assert contents(project) == before


def test_a_folder_with_the_name_of_a_file(good: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    (output / "loss.svg").mkdir(parents=True)
    (output / "loss.svg" / "thesis.txt").write_text("mine")
    assert "loss.svg" in refusal(*training(good, output, "--overwrite"))
    assert (output / "loss.svg" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("config", ['{"schema": 1}', '{"peft_type": "LORA"}'])
def test_folders_in_an_adapters_folder(good: Path, tmp_path: Path, config: str) -> None:
    output = tmp_path / "run"
    seam(*training(good, output))
    notes = output / "adapter" / "2024-notes"
    notes.mkdir()
    (notes / "adapter_config.json").write_text(config)
    before = contents(output)
    assert "other files (2024-notes)" in refusal(*training(good, output, "--overwrite"))
    assert contents(output) == before
    shutil.rmtree(output)
    seam(*training(good, output, "--option", "prefix_length=2", adapter="prefix-tuning+gate"))
    (output / "adapter" / "2-gate" / "thesis.txt").write_text("mine")
    before = contents(output)
    assert "other files (2-gate)" in refusal(*training(good, output, "--overwrite"))
    assert contents(output) == before
    (output / "adapter" / "2-gate" / "thesis.txt").unlink()
    seam(*training(good, output, "--overwrite"))
    assert not (output / "adapter" / "2-gate").exists()


def test_another_programs_adapter_is_kept(good: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    seam(*training(good, output))
    (output / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    before = contents(output)
    assert "another program's adapter" in refusal(*training(good, output, "--overwrite"))
    assert contents(output) == before


def test_a_foreign_sweep_json(good: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text('{"method": "grid"}')
    assert "is not as a sweep writes it" in refusal(*sweep(good, tmp_path))
    assert contents(tmp_path) == {"sweep.json": b'{"method": "grid"}'}


def test_a_second_sweep_keeps_the_results_of_the_first(good: Path, tmp_path: Path) -> None:
    seam(*sweep(good, tmp_path))
    before = contents(tmp_path)
    other = [
        each.replace("length=2,3", "length=2,4") if isinstance(each, str) else each for each in sweep(good, tmp_path)
    ]
    assert "holds a result of" in refusal(*other)
    assert contents(tmp_path) == before
    more = [
        each.replace("length=2,3", "length=2,3,4") if isinstance(each, str) else each for each in sweep(good, tmp_path)
    ]
    seam(*more)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 3


def test_heads_of_fewshot_are_kept(good: Path, tmp_path: Path) -> None:
    seam(*fewshot(good, tmp_path / "first", shots=1))
    output = tmp_path / "run"
    shutil.copytree(tmp_path / "first" / "adapters" / "shots-1" / "seed-0", output / "adapters" / "shots-1" / "seed-7")
    before = contents(output)
    assert "holds the adapters/shots-1/seed-7 of another run" in refusal(*fewshot(good, output))
    assert contents(output) == before
    seam(*fewshot(good, output, "--overwrite"))
    assert not (output / "adapters" / "shots-1").exists()
    (output / "results.md").unlink()
    (output / "results.md").mkdir()
    (output / "results.md" / "thesis.txt").write_text("mine")
    before = contents(output)
    assert "which no run wrote" in refusal(*fewshot(good, output, "--overwrite"))
    assert contents(output) == before


@pytest.mark.parametrize("with_routes", [True, False])
def test_files_beside_the_adapters_of_routes_are_kept(good: Path, tmp_path: Path, with_routes: bool) -> None:
    """Where the next run has routes and where it has none."""
    pairs = [{"source": "w5 w6", "target": "w7", "route": name} for name in ("fr", "de") * 4]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in pairs))
    output = tmp_path / "run"
    routed = training(good, output, "--adapter", "de=lora", adapter="fr=lora", steps=1)
    routed[routed.index("--train") + 1] = tmp_path / "pairs.jsonl"
    again = routed if with_routes else training(good, output, steps=1)
    seam(*routed)
    seam(*again, "--overwrite")
    assert (output / "routes").exists() == with_routes
    if not with_routes:
        seam(*routed, "--overwrite")
    (output / "routes" / "fr" / "note.txt").write_text("mine")
    before = contents(output)
    assert "other files (fr)" in refusal(*again, "--overwrite")
    assert contents(output) == before
