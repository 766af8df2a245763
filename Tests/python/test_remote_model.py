"""The remote backbone on a real server of llama.cpp, against transformers on the same file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import llama_server
from seam_abi import Array
from seam_objects import Answered, Runtime
from unreliable_server import Reply, Request, running

# The file holds weights of four bits, which both sides read. transformers multiplies them in f32; llama.cpp rounds the
# activations of every product to eight bits. Seen, over log-probabilities from 0 to -21: 0.51 at most, in the mean
# 0.11, and cosines of hidden states from 0.9992. A wrong token, position or pooling gives differences of several units
# and cosines below 0.9.
LARGEST, MEAN, COSINE = 0.8, 0.2, 0.998

PROMPTS = [
    "The capital of France is",
    "The opposite of hot is",
    "One, two, three, four,",
    "Review: I loved it. Sentiment:",
    "Review: a boring mess, two hours of my life. Sentiment:",
    "She opened the door and",
    "2 + 2 =",
    "Water boils at a temperature of",
    "Grüße aus",
    "The story is about a young girl who",
]
ANSWERS = [" Paris", " London", " cold", " five", " the", " positive", " negative", " a"]


@pytest.fixture(scope="module")
def model() -> Path:
    if not (path := os.environ.get("SEAM_SMOLLM")):
        pytest.skip("SEAM_SMOLLM names no GGUF file: no real server is asked")
    return Path(path)


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[str]:
    with llama_server.running(model) as url:
        yield url


@pytest.fixture(scope="module")
def remote(plugin_folder: Path) -> Runtime:
    return Runtime([plugin_folder / "libRemote.so"])


@pytest.fixture(scope="module")
def expected(model: Path) -> tuple[Array, Array]:
    """Log-probabilities of the answers' first tokens [prompts, answers] and last hidden states of length 1."""
    where: dict[str, Any] = {"pretrained_model_name_or_path": model.parent, "gguf_file": model.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    network = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    first = [tokenizer.encode(answer, add_special_tokens=False)[0] for answer in ANSWERS]
    scores, states = [], []
    for prompt in PROMPTS:
        with torch.no_grad():
            found = network(**tokenizer(prompt, return_tensors="pt"), output_hidden_states=True)
        scores.append(torch.log_softmax(found.logits[0, -1].double(), -1)[first].numpy())
        states.append(torch.nn.functional.normalize(found.hidden_states[-1][0, -1], dim=0).numpy())
    return np.stack(scores), np.stack(states)


def test_scores_and_states(remote: Runtime, server: str, expected: tuple[Array, Array]) -> None:
    # The whole vocabulary is listed, so that no word has a bound instead of a score.
    found = remote.open(id="remote", options={"base_url": server, "logprobs": 60000}).query(PROMPTS, ANSWERS)
    assert found.failure is None and found.answered == len(PROMPTS)
    scores, states = expected
    off = np.abs(found.scores - scores)
    cosine = (found.hidden * states).sum(-1).min()
    print(f"\nlog-probabilities within {off.max():.2f}, mean {off.mean():.2f}; cosines from {cosine:.4f}", end="")
    assert off.max() <= LARGEST and off.mean() <= MEAN
    assert cosine >= COSINE
    assert np.abs(np.linalg.norm(found.hidden, axis=-1) - 1).max() < 1e-5


def test_requests_of_any_form_give_the_same(remote: Runtime, server: str) -> None:
    one, *others = [
        remote.open(id="remote", options={"base_url": server} | options).query(PROMPTS, ANSWERS)
        for options in ({"concurrency": 1}, {"concurrency": 4}, {"batch_size": 4, "concurrency": 2}, {"batch_size": 10})
    ]
    assert one.failure is None
    for other in others:
        assert other.failure is None
        assert_close(other, one)


def assert_close(found: Answered, expected: Answered) -> None:
    """The server computes prompts together in other ways: sums in another order, rounded to eight bits."""
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.05)
    np.testing.assert_allclose(found.hidden, expected.hidden, atol=0.02)


def test_a_word_that_is_not_listed_has_a_bound(remote: Runtime, server: str, expected: tuple[Array, Array]) -> None:
    backbone = remote.open(id="remote", options={"base_url": server, "logprobs": 5, "hidden": "none"})
    found, scores = backbone.query(PROMPTS, ANSWERS).scores, expected[0]
    assert (found >= scores - LARGEST).all()
    assert (found > scores + 1).any()


def test_the_same_answers_through_trouble(remote: Runtime, server: str) -> None:
    """Every third request fails in some way; in the end nothing is lost, doubled or out of place."""
    calm = remote.open(id="remote", options={"base_url": server}).query(PROMPTS, ANSWERS)
    troubles = [Reply(500), Reply(429, headers={"Retry-After": "0"}), Reply(body="{"), Reply(body="x" * 100, cut=True)]

    def misbehave(request: Request) -> Reply | None:
        return troubles[request.number // 3 % len(troubles)] if request.number % 3 == 1 else None

    with running(upstream=server) as proxy:
        backbone = remote.open(id="remote", options={"base_url": proxy.url, "backoff": 0.01, "concurrency": 3})
        proxy.misbehave = misbehave
        found = backbone.query(PROMPTS, ANSWERS)
        assert found.failure is None and found.requests == len(proxy.requests) - 1 > 2 * len(PROMPTS)
        assert proxy.most_in_flight <= 3
    assert_close(found, calm)


def test_an_empty_prompt_is_refused_by_the_server(remote: Runtime, server: str) -> None:
    found = remote.open(id="remote", options={"base_url": server, "hidden": "none"}).query(["text", ""], ANSWERS)
    assert found.answered == 1
    assert "/completions sent no log-probabilities" in found.failure.message
