"""What the tool writes: through links and into pipes, to full disks, over earlier runs, and when a signal or a NaN ends it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import single_stack
from command_line import command, run, seam, start
from tiny_models import add_tokenizer, save

LIMIT = 60


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and data, nothing wrong with any."""
    folder = tmp_path_factory.mktemp("good")
    add_tokenizer(save("marian", folder / "model"))
    for name in ("bert", "bert-no-head", "llama"):
        add_tokenizer(single_stack.save(name, folder / name))
    pairs = [{"source": f"w{5 + each} w6 w7", "target": f"w8 w{9 + each}"} for each in range(12)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in pairs))
    texts = [{"text": f"w{5 + each} w6 w7", "label": "w8" if each % 2 else "w9"} for each in range(12)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in texts))
    return folder


def refusal(*arguments: str | Path) -> str:
    """The sentence of a command that fails as it should: not by a crash, and with nothing else said."""
    done = run(*arguments)
    assert done.returncode == 1 and done.stdout == "", done
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("Error: ").rstrip("\n")


def evaluation(good: Path, predictions: str | Path, *more: str | Path) -> list[str | Path]:
    return [
        "evaluate",
        "--model",
        good / "model",
        "--data",
        good / "pairs.jsonl",
        "--max-new-tokens",
        "4",
        "--predictions",
        predictions,
        *more,
    ]


def training(good: Path, output: Path, *more: str, adapter: str = "repcali", steps: int = 4) -> list[str | Path]:
    return [
        "train",
        "--model",
        good / "model",
        "--train",
        good / "pairs.jsonl",
        "--adapter",
        adapter,
        "--batch-size",
        "4",
        "--steps",
        str(steps),
        "--output",
        output,
        *more,
    ]


def fewshot(good: Path, output: Path, *more: str, shots: int = 2) -> list[str | Path]:
    return [
        "fewshot",
        "--model",
        good / "llama",
        "--train",
        good / "texts.jsonl",
        "--test",
        good / "texts.jsonl",
        "--template",
        "{text} w5",
        "--shots",
        str(shots),
        "--seeds",
        "1",
        "--method",
        "adapters",
        "--output",
        output,
        *more,
    ]


def sweep(good: Path, output: Path, *more: str, steps: int = 3) -> list[str | Path]:
    return [
        "sweep",
        "--model",
        good / "model",
        "--train",
        good / "pairs.jsonl",
        "--dev",
        good / "pairs.jsonl",
        "--variant",
        "plain=prefix-tuning:mlp_hidden_size=8",
        "--vary",
        "prefix_length=2,3",
        "--steps",
        str(steps),
        "--output",
        output,
        *more,
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file()}


def until(holds: Callable[[], bool], program: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ---- One file


def test_predictions_through_links(good: Path, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old\n")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("made")
    for name, real in (("link", "real"), ("dangling", "made")):
        seam(*evaluation(good, tmp_path / name))
        assert (tmp_path / name).is_symlink() and not (tmp_path / real).is_symlink()
        assert len((tmp_path / real).read_text().splitlines()) == 12
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["dangling", "link", "made", "real"]


def test_predictions_into_a_pipe(good: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.extend((tmp_path / "pipe").read_text().splitlines()))
    reader.start()
    seam(*evaluation(good, tmp_path / "pipe"))
    reader.join()
    assert len(read) == 12 and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_predictions_to_standard_output(good: Path, tmp_path: Path, kind: str) -> None:
    """They come before the figures, which do not overwrite them; the device is what it was."""
    before = os.lstat("/dev/stdout")
    if kind == "pipe":
        output = seam(*evaluation(good, "/dev/stdout", "--json"))
    else:
        with open(tmp_path / "out", "w") as file:
            subprocess.run(**command(*evaluation(good, "/dev/stdout", "--json")) | {"stdout": file}, check=True)
        output = (tmp_path / "out").read_text()
    lines = output.splitlines()
    assert all(json.loads(each)["prediction"] is not None for each in lines[:12])
    assert json.loads("\n".join(lines[12:]))["examples"] == 12
    after = os.lstat("/dev/stdout")
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)


def test_predictions_that_cannot_be_written(good: Path, tmp_path: Path) -> None:
    """Said before anything is computed, and nothing is replaced."""
    (tmp_path / "folder").mkdir()
    assert "found a folder" in refusal(*evaluation(good, tmp_path / "folder"))
    assert "there is no folder" in refusal(*evaluation(good, tmp_path / "none" / "p.jsonl"))
    done = run(*evaluation(good, "/dev/full"))
    assert done.returncode == 1 and 'cannot write "/dev/full", the disk is full' in done.stderr
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_what_needs_generated_texts(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    assert "--predictions is of generated texts, and --loss-only" in refusal(*evaluation(good, path, "--loss-only"))
    plain = ["evaluate", "--model", good / "model", "--data", good / "pairs.jsonl", "--loss-only"]
    assert "--metric is of generated" in refusal(*plain, "--metric", "chrf")
    assert "--multi-reference is of generated" in refusal(*plain, "--multi-reference")
    for flag in (
        ["--beams", "3"],
        ["--max-new-tokens", "3"],
        ["--no-sample"],
        ["--top-k", "3"],
        ["--sample-seed", "0"],
        ["--ignore-generation-config"],
    ):
        assert f"{flag[0]} is of generated texts, and --loss-only generates none" in refusal(*plain, *flag)
    sweep = [
        "sweep",
        "--model",
        good / "model",
        "--train",
        good / "pairs.jsonl",
        "--dev",
        good / "pairs.jsonl",
        "--steps",
        "1",
        "--variant",
        "a=repcali",
        "--output",
        tmp_path / "sweep",
        "--beams",
        "3",
    ]
    assert "--beams is of generated texts, and without --metric none are generated" in refusal(*sweep)
    assert not path.exists() and not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["plugins"],
        ["describe", "repcali"],
        ["describe", "repcali", "--json"],
        ["--help"],
        ["train", "--help"],
        ["--version"],
        ["generate"],
    ],
    ids=" ".join,
)
def test_standard_output_on_a_full_disk(good: Path, arguments: list[str]) -> None:
    if arguments == ["generate"]:
        arguments = ["generate", "--model", str(good / "model"), "--max-new-tokens", "4", "w5 w6"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(**command(*arguments) | {"stdout": full}, timeout=LIMIT)
    assert done.returncode == 1
    assert done.stderr == 'Error: cannot write "standard output", the disk is full\n'


def test_closed_standard_output(good: Path, tmp_path: Path) -> None:
    """What is printed does not end up in the first file that is opened."""
    arguments = training(good, tmp_path / "run")
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" >&-', "bash", *command(*arguments)["args"]],
        stderr=subprocess.PIPE,
        text=True,
        env=command()["env"],
        timeout=LIMIT,
    )
    assert done.returncode == 1 and 'cannot write "standard output"' in done.stderr
    assert all("event" in json.loads(each) for each in (tmp_path / "run" / "log.jsonl").read_text().splitlines())


def test_a_reader_that_leaves(good: Path) -> None:
    """As other programs in a pipeline: ended by the signal, without a word."""
    program = start("plugins")
    program.stdout.close()  # type: ignore[union-attr]
    assert program.wait(LIMIT) == -signal.SIGPIPE
    assert program.stderr.read() == ""  # type: ignore[union-attr]


# ---- Folders of runs


def test_a_finished_training_is_kept(good: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    seam(*training(good, output, "--option", "prefix_length=2", adapter="prefix-tuning+gate"))
    (output / "notes.txt").write_text("mine")
    (output / "mine.svg").write_text("mine")
    before = contents(output)
    assert "gate-weights.svg" in before
    said = refusal(*training(good, output))
    assert "holds the adapter of another run" in said and "--overwrite" in said and str(output) in said
    assert "give one of them" in refusal(*training(good, output, "--overwrite", "--resume"))
    assert contents(output) == before
    # A run that is refused for another reason destroys nothing, asked or not.
    assert "must be 0 or more" in refusal(*training(good, output, "--overwrite", "--learning-rate=-1"))
    assert contents(output) == before
    seam(*training(good, output, "--overwrite"))
    found = {each.name for each in output.iterdir()}
    assert found == {"adapter", "log.jsonl", "loss.svg", "notes.txt", "mine.svg"}
    assert {each.name for each in (output / "adapter").iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert len((output / "log.jsonl").read_text().splitlines()) == 4


def test_a_folder_beside_the_adapter_is_not_overwritten(good: Path, tmp_path: Path) -> None:
    """What somebody keeps in adapter/ is not the run's."""
    output = tmp_path / "run"
    seam(*training(good, output))
    (output / "adapter" / "optimizer.pt").write_text("mine")
    before = contents(output)
    assert "other files (optimizer.pt)" in refusal(*training(good, output, "--overwrite"))
    assert contents(output) == before


def test_two_trainings_at_once(good: Path, tmp_path: Path) -> None:
    first = start(*training(good, tmp_path / "run", steps=1_000_000))
    log = tmp_path / "run" / "log.jsonl"
    until(lambda: log.exists() and log.stat().st_size > 0, first)
    for more in ([], ["--overwrite"]):
        said = refusal(*training(good, tmp_path / "run", *more))
        assert f"another process ({first.pid}) writes into" in said
    # Every line of a log at work can be read.
    for line in log.read_text().splitlines(keepends=True):
        assert not line.endswith("\n") or json.loads(line)["event"] == "step"
    first.kill()
    first.wait(LIMIT)
    # The lock went with its owner; what it wrote stays, and is refused for what it is.
    steps = len(log.read_text().splitlines())
    assert steps > 0
    assert "holds the log.jsonl of another run" in refusal(*training(good, tmp_path / "run"))
    assert "holds no checkpoint" in refusal(*training(good, tmp_path / "run", "--resume"))
    seam(*training(good, tmp_path / "run", "--overwrite"))
    assert {each.name for each in (tmp_path / "run").iterdir()} == {"adapter", "log.jsonl", "loss.svg"}


def test_fewshot_into_a_finished_folder(good: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    seam(*fewshot(good, output))
    before = contents(output)
    assert "holds the results.json of another run" in refusal(*fewshot(good, output, shots=1))
    assert contents(output) == before
    text = seam(*fewshot(good, output, "--overwrite", shots=1))
    assert "asked 0 times" in text
    assert [each.name for each in (output / "adapters").iterdir()] == ["shots-1"]


def test_two_at_once_of_fewshot_and_sweep(good: Path, tmp_path: Path) -> None:
    """The lock is one for all commands."""
    for arguments in (fewshot(good, tmp_path), sweep(good, tmp_path), training(good, tmp_path)):
        with open(tmp_path / ".seam-lock", "w") as lock:
            lock.write("77\n")
            lock.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert "another process (77) writes into" in refusal(*arguments)
        assert not (tmp_path / "adapters").exists() and not (tmp_path / "sweep.json").exists()


def test_a_sweep_overwrites_no_result(good: Path, tmp_path: Path) -> None:
    output = tmp_path / "sweep"
    seam(*sweep(good, output))
    before = contents(output)
    assert "give another --output" in refusal(*sweep(good, output, steps=4))
    seam(*sweep(good, output))
    assert contents(output) == before
    seam(*training(good, tmp_path / "run"))
    before = contents(tmp_path / "run")
    assert "holds loss.svg and no sweep.json" in refusal(*sweep(good, tmp_path / "run"))
    assert contents(tmp_path / "run") == before


def test_export_and_import(good: Path, tmp_path: Path) -> None:
    model = ["--model", good / "llama"]
    seam(
        "train",
        *model,
        "--train",
        good / "pairs.jsonl",
        "--adapter",
        "prefix-tuning",
        "--option",
        "prefix_length=2",
        "--steps",
        "1",
        "--output",
        tmp_path / "run",
    )
    export = [
        "export",
        *model,
        "--adapter",
        tmp_path / "run" / "adapter",
        "--format",
        "peft",
        "--output",
        tmp_path / "peft",
    ]
    back = ["import", *model, "--format", "peft", "--input", tmp_path / "peft", "--output", tmp_path / "back"]
    for arguments in (export, back):
        seam(*arguments)
        before = contents(tmp_path)
        assert "is there already: add --overwrite" in refusal(*arguments)
        assert contents(tmp_path) == before
        seam(*arguments, "--overwrite")
        assert contents(tmp_path) == before
    (tmp_path / "back" / "notes.txt").write_text("mine")
    assert "other files (notes.txt)" in refusal(*back, "--overwrite")
    assert (tmp_path / "back" / "notes.txt").exists()


# ---- The end of a run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_a_signal_leaves_a_checkpoint(good: Path, tmp_path: Path, number: signal.Signals) -> None:
    output, steps = tmp_path / "run", 400
    program = start(*training(good, output, steps=steps))
    until(lambda: (output / "log.jsonl").exists() and (output / "log.jsonl").stat().st_size > 0, program)
    # What stops a whole group sends SIGTERM and SIGHUP twice.
    for _ in range(1 if number == signal.SIGINT else 2):
        program.send_signal(number)
    stdout, stderr = program.communicate(timeout=LIMIT)
    assert program.returncode == 128 + number and stdout == "", stderr
    assert "go on with the same command and --resume" in stderr.splitlines()[-1]
    assert {each.name for each in output.iterdir()} == {"checkpoint", "log.jsonl", "loss.svg"}
    seam(*training(good, output, "--resume", steps=steps))
    seam(*training(good, tmp_path / "whole", steps=steps))
    assert contents(output) == contents(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_a_signal_ends_an_evaluation(good: Path, tmp_path: Path, number: signal.Signals) -> None:
    data = tmp_path / "many.jsonl"
    data.write_text((good / "pairs.jsonl").read_text() * 4000)
    program = start("evaluate", "--model", good / "model", "--data", data, "--batch-size", "1", "--beams", "4")
    until(lambda: b"generated" in os.read(program.stderr.fileno(), 1000), program)  # type: ignore[union-attr]
    program.send_signal(number)
    program.communicate(timeout=LIMIT)
    assert program.returncode == 128 + number


def test_nohup_stays_in_force(good: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    arguments = command(*training(good, output, steps=200))
    program = subprocess.Popen(**arguments, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    until(lambda: (output / "log.jsonl").exists() and (output / "log.jsonl").stat().st_size > 0, program)
    program.send_signal(signal.SIGHUP)
    _, stderr = program.communicate(timeout=LIMIT)
    assert program.returncode == 0, stderr
    assert (output / "adapter").is_dir()


def test_a_loss_that_is_not_finite_keeps_the_log(good: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    done = run(
        *training(good, output, "--option", "norm=none", "--learning-rate", "1e38", "--schedule", "constant", steps=50)
    )
    assert done.returncode == 1 and "the learning rate may be too high" in done.stderr
    log = [json.loads(each) for each in (output / "log.jsonl").read_text().splitlines()]
    assert [each["step"] for each in log] == list(range(1, len(log) + 1)) and len(log) >= 1
    assert (output / "loss.svg").read_text().startswith("<svg")
    assert "holds the log.jsonl of another run" in refusal(*training(good, output))


def test_what_killed_runs_left_is_cleaned(good: Path, tmp_path: Path) -> None:
    """But nothing of a process that lives, by its number or by its lock."""
    output = tmp_path / "run"
    dead = subprocess.Popen(["true"])
    dead.wait()
    output.mkdir()
    for name in (
        f".checkpoint.tmp-{dead.pid}-abc1",
        f".checkpoint.tmp-{os.getpid()}-abc2",
        f".adapter.tmp-{dead.pid}-k",
    ):
        (output / name).mkdir()
        (output / name / "trainer_state.json").write_text("{}")
    for name in (f".loss.svg.tmp-{dead.pid}-xyz", f".mine.tmp-{dead.pid}-ab-cd", ".other.tmp-x-y"):
        (output / name).write_text("x")
    held = os.open(output / f".adapter.tmp-{dead.pid}-k", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        seam(*training(good, output))
    finally:
        os.close(held)
    assert {each.name for each in output.iterdir() if each.name.startswith(".")} == {
        f".checkpoint.tmp-{os.getpid()}-abc2",
        f".adapter.tmp-{dead.pid}-k",
        f".mine.tmp-{dead.pid}-ab-cd",
        ".other.tmp-x-y",
    }
    shutil.rmtree(output)


# ---- Sentences about the data


def test_pairs_on_an_encoder_alone(good: Path, tmp_path: Path) -> None:
    model = ["--model", good / "bert"]
    commands = [
        [
            "train",
            *model,
            "--train",
            good / "pairs.jsonl",
            "--adapter",
            "prefix-tuning",
            "--steps",
            "1",
            "--output",
            tmp_path / "run",
        ],
        ["evaluate", *model, "--data", good / "pairs.jsonl"],
        [
            "sweep",
            *model,
            "--train",
            good / "pairs.jsonl",
            "--dev",
            good / "pairs.jsonl",
            "--variant",
            "a=prefix-tuning",
            "--vary",
            "prefix_length=2",
            "--steps",
            "1",
            "--output",
            tmp_path / "sweep",
        ],
    ]
    for arguments in commands:
        said = refusal(*arguments)
        assert "bert" in said and "an encoder alone" in said and "--task classification" in said
    assert not (tmp_path / "run").exists() and not (tmp_path / "sweep").exists()


def without_end(good: Path, folder: Path, name: str) -> Path:
    """A model whose tokenizer puts nothing around a text, so that a text may have no token."""
    path = shutil.copytree(good / name, folder / name)
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None
    tokenizer["normalizer"] = {"type": "Replace", "pattern": {"String": "~"}, "content": ""}
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    return path


def test_texts_without_a_token_are_named_by_their_line(good: Path, tmp_path: Path) -> None:
    model = without_end(good, tmp_path, "bert-no-head")
    (tmp_path / "texts.csv").write_text('text,label\n"w5\nw6",w8\n~,w9\nw6 w7,w8\nw5 w7,w9\n')
    said = refusal(
        "fewshot",
        "--model",
        model,
        "--train",
        good / "texts.jsonl",
        "--test",
        tmp_path / "texts.csv",
        "--shots",
        "2",
        "--seeds",
        "1",
        "--output",
        tmp_path / "run",
    )
    # The header is line 1, and the first text has two.
    assert f"{tmp_path / 'texts.csv'}, line 4: " in said and "at least 1 token" in said


def test_texts_of_standard_input_are_named_by_their_line(good: Path, tmp_path: Path) -> None:
    model = without_end(good, tmp_path, "model")
    generate = command("generate", "--model", model)
    done = subprocess.run(**generate | {"stdin": None}, input="w5\n~\nw6\n", timeout=LIMIT)
    assert done.stderr == "Error: standard input, line 2: the source must have at least 1 token, found none\n"
    assert "text 2: the source has 41 tokens, the backbone takes at most 40" in refusal(
        "generate", "--model", model, "w5", " ".join(["w5"] * 41)
    )


def test_ids_beyond_the_vocabulary_are_named_by_their_line(good: Path, tmp_path: Path) -> None:
    model = shutil.copytree(good / "model", tmp_path / "model")
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["w99"] = 99
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "pairs.tsv").write_text("source\ttarget\nw5\tw6\nw5 w99\tw6\n")
    said = refusal("evaluate", "--model", model, "--data", tmp_path / "pairs.tsv")
    assert f"{tmp_path / 'pairs.tsv'}, line 3: the source must have token ids of 0 ... 60" in said and "99" in said


def test_a_sweep_names_the_line_of_a_text_that_is_too_long(good: Path, tmp_path: Path) -> None:
    """The data are read before the prefix is known that leaves them no room."""
    (tmp_path / "long.jsonl").write_text(
        '{"source": "w5", "target": "w6"}\n\n' + json.dumps({"source": "w5 " * 25, "target": "w6 " * 18}) + "\n"
    )
    said = refusal(
        "sweep",
        "--model",
        good / "llama",
        "--train",
        tmp_path / "long.jsonl",
        "--dev",
        good / "pairs.jsonl",
        "--variant",
        "a=prefix-tuning",
        "--vary",
        "prefix_length=2,20",
        "--steps",
        "1",
        "--output",
        tmp_path / "sweep",
    )
    assert f"{tmp_path / 'long.jsonl'}, line 3: " in said and "beside the prefix" in said


# ---- Learning rates


@pytest.mark.parametrize("written", ["1e-3", "1E-3", "0.001", ".001", "+1e-3"])
def test_learning_rates_as_they_are_written(good: Path, tmp_path: Path, written: str) -> None:
    more = ["--option", "prefix_length=2", "--option", f"gate.learning_rate={written}", f"--learning-rate={written}"]
    seam(*training(good, tmp_path / "run", *more, "--schedule", "constant", adapter="prefix-tuning+gate", steps=1))
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text())["learning_rate"] == 1e-3


def test_learning_rates_of_a_sweep(good: Path, tmp_path: Path) -> None:
    """Each adapter has the rate that names it, whoever else has one."""
    output = tmp_path / "sweep"
    seam(
        "sweep",
        "--model",
        good / "model",
        "--train",
        good / "pairs.jsonl",
        "--dev",
        good / "pairs.jsonl",
        "--variant",
        "both=prefix-tuning:learning_rate=2e-3:prefix_length=2+gate",
        "--option",
        "gate.learning_rate=5e-2",
        "--vary",
        "learning_rate=1e-3,1e-5",
        "--steps",
        "1",
        "--output",
        output,
    )
    results = [json.loads(each) for each in (output / "results.jsonl").read_text().splitlines()]
    for each, rate in zip(results, [1e-3, 1e-5], strict=True):
        assert [one["learning_rate"] for one in each["settings"]["adapters"]] == [2e-3, 5e-2]
        assert each["settings"]["learning_rate"] == rate
    assert (output / "runs" / "both" / "learning_rate-1e-3" / "seed-0").is_dir()
    assert "1e-5" in (output / "results.md").read_text()
