"""`seam fewshot` over a server, and Ctrl-C: what was answered is kept, and asked once."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from command_line import run, seam, start
from fewshot_models import WORDS, Model, cached, write_reviews
from remote_backbone import environment, server, slowed  # noqa: F401
from unreliable_server import ANSWERS, Reply, Server, scores, vector

KEY = "sk-very-secret-0123456789"
SAID = {"good": "good", "bad": "bad", "middling": "so so"}
TEMPLATE = "{text} It was "


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "words.json").write_text(json.dumps(SAID))
    for name, count in (("train", 12), ("test", 30)):
        lines = [{"text": f"{name} {row}", "label": list(SAID)[row % 3]} for row in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def arguments(data: Path, server: Server, *more: str | Path, template: str = TEMPLATE) -> list[str | Path]:
    return [
        "fewshot",
        "--base-url",
        server.url,
        "--api-model",
        "some-model",
        "--train",
        data / "train.jsonl",
        "--test",
        data / "test.jsonl",
        "--verbalizer",
        data / "words.json",
        "--template",
        template,
        "--shots",
        "4",
        "--seeds",
        "1",
        "--output",
        data / "run",
        *more,
    ]


def prompts(server: Server) -> list[str]:
    """Those that scores were asked for, but for that of the opening."""
    return [text for each in server.scoring for text in each.texts if text.endswith("It was")]


def written(folder: Path) -> str:
    return "".join(path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_a_server_from_end_to_end(data: Path, server: Server) -> None:
    done = seam(*arguments(data, server))
    assert "test.jsonl, 30 texts, some-model" in done
    texts = [""] + [f"{name} {row}" for name, count in (("train", 12), ("test", 30)) for row in range(count)]
    asked = {text: f"{text} It was" for text in texts}
    assert sorted(prompts(server)) == sorted(asked.values())
    assert {each.body["model"] for each in server.requests} == {"some-model"}
    found = cached(data / "run" / "cache")
    for text, prompt in asked.items():
        np.testing.assert_array_equal(found[text][0], np.float32(scores(prompt, ANSWERS)))
        np.testing.assert_array_equal(found[text][1], np.float32(vector(prompt)))
    best = [int(np.argmax(scores(asked[f"test {row}"], ANSWERS))) for row in range(30)]
    [zero] = [
        row
        for row in json.loads((data / "run" / "results.json").read_text())["results"]
        if row["method"] == "zero-shot"
    ]
    assert zero["accuracy"]["mean"] == pytest.approx(np.mean([one == row % 3 for row, one in enumerate(best)]))
    server.requests.clear()
    assert "The model was asked 0 times" in seam(*arguments(data, server, "--overwrite"))
    assert not prompts(server)
    labels = seam(
        "classify",
        "--base-url",
        server.url,
        "--api-model",
        "some-model",
        "--cache",
        data / "run" / "cache",
        "--adapter",
        data / "run" / "adapters" / "shots-4" / "seed-0",
        "train 0",
        "train 1",
    ).splitlines()
    assert len(labels) == 2 and set(labels) <= set(SAID) and not prompts(server)


def test_a_budget(data: Path, server: Server) -> None:
    done = run(*arguments(data, server, "--max-queries", "40"))
    assert (done.returncode, done.stdout) == (1, "") and len(server.requests) <= 40
    assert done.stderr.splitlines()[-1] == (
        "Error: org.seamkit.remote: the limit max_queries = 40 leaves no room for more requests"
    )
    assert [path.name for path in (data / "run").iterdir()] == ["cache"]
    first = len(cached(data / "run" / "cache"))
    assert first >= 15
    server.requests.clear()
    asked = seam(*arguments(data, server))
    # A score and a vector for each, and none a second time.
    assert len(prompts(server)) == len(set(prompts(server))) == 43 - first
    assert f"The model was asked {2 * (43 - first)} times" in asked


@pytest.mark.parametrize("by_option", [True, False])
def test_the_key_is_nowhere(data: Path, server: Server, monkeypatch: pytest.MonkeyPatch, by_option: bool) -> None:
    if not by_option:
        monkeypatch.setenv("SEAM_API_KEY", KEY)
    key = ["--api-key", KEY] if by_option else []
    said = seam(*arguments(data, server, *key))
    assert {each.headers["Authorization"] for each in server.requests} == {f"Bearer {KEY}"}
    server.misbehave = lambda _: Reply(401, json.dumps({"error": {"message": f"wrong key {KEY}!"}}))
    done = run(*arguments(data, server, *key, "--overwrite", "--template", "{text} is "))
    assert done.returncode == 1 and "wrong key [key]!" in done.stderr
    assert "some-model" in written(data / "run")
    for text in (said, done.stdout, done.stderr, written(data / "run")):
        assert KEY not in text and "sk-very" not in text


def test_what_is_refused(data: Path, server: Server) -> None:
    def sentence(*more: str, template: str = TEMPLATE) -> str:
        done = run(*arguments(data, server, *more, template=template))
        assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1, done
        assert not (data / "run").exists()
        return done.stderr

    assert "has text after [MASK]" in sentence(template="{text} [MASK].")
    assert "is behind a server" in sentence("--method", "in-context")
    assert "--max-queries must be 0 or more, found -1" in sentence("--max-queries=-1")
    assert 'backbone "remote", found --backbone transformer' in sentence("--backbone", "transformer")
    assert not prompts(server)


# ---- Ctrl-C


def interrupted(arguments: list[str | Path], is_time: Callable[[str], bool]) -> subprocess.CompletedProcess[str]:
    """Stopped when it is time, by what it has said on standard error so far."""
    program = start(*arguments)
    assert program.stderr and program.stdout
    first = program.stderr.readline()
    deadline = time.monotonic() + 30
    while not is_time(first) and time.monotonic() < deadline:
        time.sleep(0.01)
    program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=30)
    return subprocess.CompletedProcess(program.args, program.returncode, output, first + errors)


def check_stopped(done: subprocess.CompletedProcess[str], output: Path) -> int:
    """How much was kept."""
    assert (done.returncode, done.stdout) == (130, ""), done
    assert done.stderr.splitlines()[-1] == (
        f"stopped; the model's answers so far are in {output / 'cache'}, where the same command goes on from them"
    )
    assert [path.name for path in output.iterdir()] == ["cache"]
    return len(cached(output / "cache"))


def test_stopping_a_local_model(tmp_path: Path) -> None:
    Model("bert", tmp_path / "model")
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    train = write_reviews(tmp_path / "train.jsonl", 2, 1)
    test = write_reviews(tmp_path / "test.jsonl", 4000, 2)
    arguments: list[str | Path] = [
        "fewshot",
        "--model",
        tmp_path / "model",
        "--train",
        tmp_path / "train.jsonl",
        "--test",
        tmp_path / "test.jsonl",
        "--verbalizer",
        tmp_path / "words.json",
        "--shots",
        "2",
        "--seeds",
        "1",
        "--output",
        tmp_path / "run",
        "--threads",
        "1",
    ]
    kept = check_stopped(interrupted(arguments, lambda said: "asking the model, test: " in said), tmp_path / "run")
    texts = {each["text"] for each in train + test} | {""}
    assert 0 < kept < len(test)
    assert f"The model was asked {len(texts) - kept} times" in seam(*arguments)


def test_stopping_a_server(data: Path, server: Server) -> None:
    program = arguments(data, server, "--backbone-option", "concurrency=1", "--backbone", "remote")
    (data / "test.jsonl").write_text(
        "".join(json.dumps({"text": f"test {row}", "label": list(SAID)[row % 3]}) + "\n" for row in range(100))
    )
    # The first 64 are one query: it is stopped within the second, and keeps what that has answered.
    server.misbehave = lambda request: slowed(request, 0.3) if len(prompts(server)) > 66 else None
    kept = check_stopped(interrupted(program, lambda _: len(prompts(server)) > 68), data / "run")
    assert 64 < kept < 80
    server.misbehave = lambda _: None
    server.requests.clear()
    assert f"The model was asked {2 * (113 - kept)} times" in seam(*program)


def test_stopping_classify(data: Path, server: Server) -> None:
    seam(*arguments(data, server))
    adapter = data / "run" / "adapters" / "shots-4" / "seed-0"
    (data / "more.jsonl").write_text(
        "".join(json.dumps({"text": f"more {row}", "label": "good"}) + "\n" for row in range(100))
    )
    server.requests.clear()
    server.misbehave = lambda request: slowed(request, 0.3) if len(prompts(server)) > 66 else None
    done = interrupted(
        [
            "classify",
            "--base-url",
            server.url,
            "--api-model",
            "some-model",
            "--adapter",
            adapter,
            "--data",
            data / "more.jsonl",
        ],
        lambda _: len(prompts(server)) > 68,
    )
    assert (done.returncode, done.stdout) == (130, "") and done.stderr.endswith("\nstopped\n")
