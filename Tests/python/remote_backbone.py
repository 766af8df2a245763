"""What the tests of the remote backbone share: a server, a runtime, and a look at what a query filled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seam_abi import SeamError, constant
from seam_objects import Answered, Backbone, Runtime
from unreliable_server import ANSWERS, WIDTH, Reply, Request, Server, completion, embedding, running, scores, vector

PROMPTS = [f"prompt {row}" for row in range(24)]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SEAM_BASE_URL", "OPENAI_BASE_URL", "SEAM_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def remote(plugin_folder: Path) -> Runtime:
    """A runtime of its own: its messages are those of one test."""
    return Runtime([plugin_folder / "libRemote.so", plugin_folder / "libRepCali.so"])


def open_at(remote: Runtime, server: Server, **options: Any) -> Backbone:
    """Opened before the server misbehaves; its requests so far are forgotten."""
    backbone = remote.open(id="remote", options={"base_url": server.url, "backoff": 0.01} | options)
    server.requests.clear()
    return backbone


def refusal(remote: Runtime, **options: Any) -> SeamError:
    with pytest.raises(SeamError) as caught:
        remote.open(id="remote", options=options)
    return caught.value


def check(found: Answered, prompts: list[str] = PROMPTS, answered: int | None = None) -> None:
    """The first rows are those of their prompts; nothing was written behind them."""
    count = len(prompts) if answered is None else answered
    assert found.answered == count
    expected = np.array([scores(each, ANSWERS) for each in prompts[:count]], np.float32)
    np.testing.assert_array_equal(found.scores[:count], expected.reshape(count, len(ANSWERS)))
    expected = np.array([vector(each) for each in prompts[:count]], np.float32)
    np.testing.assert_array_equal(found.hidden[:count], expected.reshape(count, WIDTH))
    assert np.isnan(found.scores[count:]).all() and np.isnan(found.hidden[count:]).all()


def code(name: str) -> int:
    return constant("SEAM_" + name)


def slowed(request: Request, delay: float) -> Reply:
    return Reply(body=completion(request.texts) if request.asks_scores else embedding(request.texts), delay=delay)
