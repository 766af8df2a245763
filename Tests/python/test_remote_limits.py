"""The remote backbone's budget, its cancelling, where its key goes, and input that cannot be sent."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from remote_backbone import PROMPTS, check, code, environment, open_at, refusal, remote, server, slowed  # noqa: F401
from seam_abi import SeamError
from seam_objects import Runtime
from unreliable_server import ANSWERS, Reply, Server

KEY = "sk-very-secret-0123456789"


# ---- Limits


@pytest.mark.parametrize("budget, answered", [(1, 0), (12, 5), (13, 6), (49, 24)])
def test_the_budget_is_never_exceeded(remote: Runtime, server: Server, budget: int, answered: int) -> None:
    """One request is spent at the opening, two for each prompt."""
    backbone = open_at(remote, server, max_queries=budget, concurrency=5)
    found = backbone.query(PROMPTS, ANSWERS)
    check(found, answered=answered)
    assert 1 + len(server.requests) <= budget
    assert found.requests == len(server.requests)
    if answered < len(PROMPTS):
        assert found.failure.message == f"the limit max_queries = {budget} leaves no room for more requests"
        assert found.failure.code == code("CANCELLED")
    # The budget is that of the backbone, not of one query.
    again = backbone.query(PROMPTS[:1], ANSWERS)
    assert again.answered == 0 and again.failure and 1 + len(server.requests) <= budget


def test_repetitions_are_part_of_the_budget(remote: Runtime, server: Server) -> None:
    backbone = open_at(remote, server, max_queries=20, max_retries=100, concurrency=4)
    server.misbehave = lambda request: Reply(500) if request.number % 2 else None
    found = backbone.query(PROMPTS, ANSWERS)
    check(found, answered=found.answered)
    # Those of the prompts that were given up at the end may not have arrived.
    assert 17 <= found.requests <= 19 and len(server.requests) <= found.requests
    assert "max_queries" in found.failure.message


def test_cancelling(remote: Runtime, server: Server) -> None:
    backbone = open_at(remote, server, concurrency=1)
    found = backbone.query(PROMPTS, ANSWERS, should_continue=lambda: len(server.requests) < 10)
    assert found.failure.code == code("CANCELLED")
    assert 3 <= found.answered <= 5 and len(server.requests) <= 11
    check(found, answered=found.answered)


def test_cancelling_does_not_wait_for_the_server(remote: Runtime, server: Server) -> None:
    backbone = open_at(remote, server)
    server.misbehave = lambda request: slowed(request, 5)
    started = time.monotonic()
    found = backbone.query(PROMPTS, ANSWERS, should_continue=lambda: time.monotonic() - started < 0.3)
    assert (found.answered, found.failure.code) == (0, code("CANCELLED"))
    assert time.monotonic() - started < 4


# ---- The key


def test_the_key_is_sent_and_never_shown(
    remote: Runtime, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    backbone = open_at(remote, server, api_key_env="MY_KEY", concurrency=1, max_retries=1)
    assert backbone.query(PROMPTS, ANSWERS).failure is None
    assert {each.headers["Authorization"] for each in server.requests} == {f"Bearer {KEY}"}
    # Servers that quote the key, in the middle of a long text too, where shortening could leave a part of it.
    said: list[str] = []
    for body in (json.dumps({"error": {"message": f"wrong key {KEY}!"}}), f"{KEY}{KEY}", "x" * 190 + KEY):
        for status in (401, 500):
            server.misbehave = lambda _, reply=Reply(status, body): reply  # type: ignore[misc]
            said.append(getattr(backbone.query(PROMPTS[:1], ANSWERS).failure, "message", "None"))
    assert said[0].endswith("answered 401: wrong key [key]!")
    said += [text for _, text in remote.messages]
    said += [path.read_text() for path in tmp_path.rglob("*")]
    assert len(said) > 40, "the log tells of every request"
    for text in said:
        assert KEY not in text and "sk-very" not in text, text
    assert not any(KEY in json.dumps(request.body) + request.path for request in server.requests)


def test_which_key_goes_where(remote: Runtime, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's key goes where OPENAI_BASE_URL leads, and not to any other server that happens to be set."""

    def sent(**options: Any) -> str | None:
        server.requests.clear()
        remote.open(id="remote", options=options)
        return server.requests[0].headers.get("Authorization")

    monkeypatch.setenv("OPENAI_API_KEY", "openai")
    assert sent(base_url=server.url) is None
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert sent() == "Bearer openai"
    assert sent(api_key_env="OPENAI_API_KEY", base_url=server.url) == "Bearer openai"
    monkeypatch.setenv("SEAM_API_KEY", "seam")
    assert sent() == sent(base_url=server.url) == "Bearer seam"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("SEAM_BASE_URL", server.url)
    assert sent() == "Bearer seam"
    monkeypatch.setenv("SEAM_API_KEY", "two\r\nlines")
    assert "holds a space or a character" in refusal(remote).message and "two" not in refusal(remote).message
    assert "that the option 'api_key_env' names is not set" in str(refusal(remote, api_key_env="UNSET"))


# ---- Bad input


def test_prompts_that_cannot_be_sent(remote: Runtime, server: Server) -> None:
    backbone = open_at(remote, server)
    for prompts, answers, sentence in [
        ([b"\xff"], ANSWERS, "prompts[0] is not valid UTF-8"),
        (PROMPTS, [], "a query needs answers"),
        (PROMPTS, [""], "none of them empty"),
    ]:
        found = backbone.query(prompts, answers)
        assert (found.answered, found.requests, found.failure.code) == (0, 0, code("INVALID_ARGUMENT"))
        assert sentence in found.failure.message
    assert not server.requests


def test_no_server(remote: Runtime) -> None:
    error = refusal(remote, base_url="http://127.0.0.1:1/v1", max_retries=1, backoff=0)
    assert error.code == code("IO")
    assert error.message.startswith("http://127.0.0.1:1/v1/embeddings cannot be reached: ")
    assert error.message.endswith("(after 2 attempts)")
    assert "no server is named: set the option 'base_url'" in refusal(remote).message


def test_other_seams_are_refused(remote: Runtime, server: Server) -> None:
    with pytest.raises(SeamError) as caught:
        open_at(remote, server).adapter("repcali")
    assert caught.value.message == (
        'backbone "remote" has no seam "encoder.output", which adapter "repcali" needs; it has decoder.output'
    )
