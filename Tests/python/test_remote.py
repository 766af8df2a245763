"""The remote backbone against a server that counts and misbehaves: what is asked, repetitions, refusals."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from remote_backbone import PROMPTS, check, code, environment, open_at, remote, server, slowed  # noqa: F401, fixtures
from seam_abi import constant
from seam_objects import Runtime
from unreliable_server import ANSWERS, WIDTH, Reply, Request, Server, completion, embedding, running

# ---- What is asked and answered


def test_a_query(remote: Runtime, server: Server) -> None:
    backbone = open_at(remote, server, model="tiny", embedding_model="tiny-embeddings", logprobs=7)
    assert (backbone.info.d_model, backbone.info.architecture) == (WIDTH, "text")
    found = backbone.query(PROMPTS, ANSWERS)
    check(found)
    assert found.requests == len(server.requests) == 2 * len(PROMPTS)
    bodies = {(each.path, each.texts[0]): each.body for each in server.requests}
    assert bodies["/v1/completions", "prompt 3"] == {
        "model": "tiny",
        "prompt": "prompt 3",
        "max_tokens": 1,
        "logprobs": 7,
        "temperature": 0,
    }
    assert bodies["/v1/embeddings", "prompt 3"] == {"model": "tiny-embeddings", "input": "prompt 3"}
    assert not any("Authorization" in each.headers for each in server.requests)


def test_opening_costs_one_request(remote: Runtime, server: Server) -> None:
    remote.open(id="remote", options={"base_url": server.url})
    assert [each.path for each in server.requests] == ["/v1/embeddings"]


def test_the_same_answers_in_any_order_of_arrival(remote: Runtime, server: Server) -> None:
    """Earlier prompts take longer, so that later ones overtake them."""
    backbone = open_at(remote, server, concurrency=8)
    server.misbehave = lambda request: slowed(request, 0.05 * (1 - int(request.texts[0].split()[1]) / len(PROMPTS)))
    check(backbone.query(PROMPTS, ANSWERS))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_concurrency_is_bounded(remote: Runtime, server: Server, concurrency: int) -> None:
    backbone = open_at(remote, server, concurrency=concurrency)
    server.misbehave = lambda request: slowed(request, 0.01)
    check(backbone.query(PROMPTS, ANSWERS))
    assert server.most_in_flight == concurrency
    assert server.connections <= concurrency, "connections must be kept open"


def test_a_forked_child_has_connections_of_its_own(remote: Runtime, server: Server) -> None:
    """It would read the answers to its parent's questions."""
    backbone = open_at(remote, server, concurrency=1)
    check(backbone.query(PROMPTS, ANSWERS))
    connections = server.connections
    pid = os.fork()
    if pid == 0:
        failed = 1
        try:
            check(backbone.query(PROMPTS, ANSWERS))
            failed = 0
        finally:
            os._exit(failed)
    check(backbone.query(PROMPTS, ANSWERS))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    check(backbone.query(PROMPTS, ANSWERS))
    assert server.connections == connections + 1


@pytest.mark.parametrize("batch_size, requests", [(5, 10), (24, 2), (100, 2)])
def test_several_prompts_in_a_request(remote: Runtime, server: Server, batch_size: int, requests: int) -> None:
    backbone = open_at(remote, server, batch_size=batch_size)
    check(backbone.query(PROMPTS, ANSWERS))
    assert len(server.requests) == requests


def test_replies_out_of_order(remote: Runtime, server: Server) -> None:
    """The index of an entry says whose it is, not its place."""
    backbone = open_at(remote, server, batch_size=4)

    def backwards(request: Request) -> Reply:
        body = json.loads(completion(request.texts) if request.asks_scores else embedding(request.texts))
        return Reply(body=json.dumps({name: entries[::-1] for name, entries in body.items()}))

    server.misbehave = backwards
    check(backbone.query(PROMPTS, ANSWERS))


def test_no_prompts_cost_nothing(remote: Runtime, server: Server) -> None:
    found = open_at(remote, server).query([], ANSWERS)
    assert (found.answered, found.requests, found.failure, server.requests) == (0, 0, None, [])


def test_without_hidden_states(remote: Runtime, server: Server) -> None:
    backbone = open_at(remote, server, hidden="none")
    found = backbone.query(PROMPTS, ANSWERS)
    assert found.answered == len(PROMPTS) and found.hidden.shape == (len(PROMPTS), 1) and not found.hidden.any()
    assert all(each.asks_scores for each in server.requests)


def test_embeddings_of_another_server(remote: Runtime, server: Server) -> None:
    with running() as other:
        backbone = open_at(remote, server, embeddings_url=other.url + "/")
        check(backbone.query(PROMPTS, ANSWERS))
        assert all(each.asks_scores for each in server.requests)
        assert len(other.requests) == 1 + len(PROMPTS)


TOKENS = {
    "spaces": [(" good", -1.0), (" go", -0.5), (" ", -0.1), ("good", -0.2), (" bad", -2.0)],
    "byte-level marks": [("Ġgood", -1.0), ("Ġgo", -0.5), ("good", -0.2), ("Ġbad", -2.0)],
    "SentencePiece marks": [("▁good", -1.0), ("▁go", -0.5), ("▁", -0.1), ("▁bad", -2.0)],
    "spaces left out": [("good", -1.0), ("go", -0.5), ("", -0.1), ("bad", -2.0)],
}


@pytest.mark.parametrize("form", ["legacy", "content", "bytes"])
@pytest.mark.parametrize("tokens", TOKENS)
def test_tokens_as_servers_write_them(remote: Runtime, server: Server, tokens: str, form: str) -> None:
    """The whole word, or the longest token that it starts with; the floor without; sentinels are not probabilities."""
    whole, prefix = (open_at(remote, server, hidden="none", match=match) for match in ("whole", "prefix"))
    listed = [*TOKENS[tokens], ("else", -9999.0)]
    entries: list[dict[str, Any]] = [{"token": token, "logprob": value} for token, value in listed]
    if form == "bytes":
        # The text of a token that ends within a character is not valid, its bytes are.
        entries = [each | {"bytes": list(each["token"].encode()), "token": ""} for each in entries]
    legacy = {"top_logprobs": [dict(listed)]}
    content = {"content": [{"token": "x", "logprob": -3, "top_logprobs": entries}]}
    reply = {"choices": [{"index": 0, "logprobs": legacy if form == "legacy" else content}]}
    server.misbehave = lambda _: Reply(body=json.dumps(reply))
    words = [" good", " goal", " bad", " terrible"]
    assert whole.query(["text"], words).scores[0].tolist() == [-1.0, -2.0, -2.0, -2.0]
    assert prefix.query(["text"], words).scores[0].tolist() == [-1.0, -0.5, -2.0, -2.0]


@pytest.mark.parametrize("form", ["legacy", "content"])
@pytest.mark.parametrize("odd", ["\0", "\ud83d", "\udc00\ud83d", "\\u0000", "\U0001f600"])
def test_a_token_that_is_no_text_costs_no_other(remote: Runtime, server: Server, odd: str, form: str) -> None:
    """U+0000 as a key, and halves of surrogate pairs, as servers write tokens that end within a character."""
    listed = {" good": -1.0, odd: -9.0, " bad": -2.0}
    legacy = {"top_logprobs": [listed]}
    content = {"content": [{"top_logprobs": [{"token": each, "logprob": value} for each, value in listed.items()]}]}
    reply = {"choices": [{"index": 0, "logprobs": legacy if form == "legacy" else content}]}
    backbone = open_at(remote, server, hidden="none")
    server.misbehave = lambda _: Reply(body=json.dumps(reply))
    # A word that is not listed has the lowest score there is.
    assert backbone.query(["text"], [" good", " bad", " so so"]).scores[0].tolist() == [-1.0, -2.0, -9.0]


def test_a_word_that_is_never_listed_is_told(remote: Runtime, server: Server) -> None:
    backbone = open_at(remote, server)
    found = backbone.query(PROMPTS, [*ANSWERS, " never"])
    assert (found.scores[:, 3] == found.scores[:, :3].min(-1)).all()
    warnings = [text for level, text in remote.messages if level == constant("SEAM_LOG_WARNING")]
    assert len(warnings) == 1 and 'no reply lists a token for the answer " never"' in warnings[0]


# ---- Failures that pass


@pytest.mark.parametrize(
    "trouble",
    [
        Reply(500, "oops"),
        Reply(503, '{"error": {"message": "Loading model"}}'),
        Reply(429),
        Reply(408),
        Reply(body='{"choices": [{"ind'),
        Reply(body="<html>"),
        Reply(body=completion(["x"]), cut=True),
    ],
    ids=["500", "503", "429", "408", "half JSON", "no JSON", "cut"],
)
def test_passing_trouble_is_repeated(remote: Runtime, server: Server, trouble: Reply) -> None:
    backbone = open_at(remote, server)
    troubled: set[tuple[str, str]] = set()

    def once(request: Request) -> Reply | None:
        """Every third prompt, the first time that it is asked about on a path: which request that is, threads decide."""
        asked = (request.path, request.texts[0])
        if int(request.texts[0].split()[1]) % 3 or asked in troubled:
            return None
        troubled.add(asked)
        return trouble

    server.misbehave = once
    found = backbone.query(PROMPTS, ANSWERS)
    check(found)
    assert len(troubled) > 10
    assert found.requests == len(server.requests) == 2 * len(PROMPTS) + len(troubled)


def test_a_slow_answer_is_given_up_and_repeated(remote: Runtime, server: Server) -> None:
    backbone = open_at(remote, server, timeout=0.3, hidden="none")
    server.misbehave = lambda request: slowed(request, 5) if request.number == 1 else None
    started = time.monotonic()
    found = backbone.query(["a", "b", "c"], ANSWERS)
    assert (found.answered, found.requests) == (3, 4)
    assert 0.3 <= time.monotonic() - started < 4


def test_retry_after_is_honoured(remote: Runtime, server: Server) -> None:
    """Nothing at all is sent while the server wants rest."""
    backbone = open_at(remote, server, concurrency=1)
    server.misbehave = lambda request: Reply(429, headers={"Retry-After": "1"}) if request.number == 4 else None
    check(backbone.query(PROMPTS, ANSWERS))
    times = [request.time for request in server.requests]
    assert times[5] - times[4] >= 1.0
    assert max(b - a for a, b in zip(times[5:], times[6:])) < 1.0, "once is enough"


def test_a_long_wait_is_not_waited(remote: Runtime, server: Server) -> None:
    backbone = open_at(remote, server, concurrency=1)
    server.misbehave = lambda request: Reply(429, headers={"Retry-After": "3600"}) if request.number == 4 else None
    found = backbone.query(PROMPTS, ANSWERS)
    check(found, answered=2)
    assert "it asks to wait 3600 seconds, more than the 120 allowed" in found.failure.message


def test_waits_grow(remote: Runtime, server: Server) -> None:
    backbone = open_at(remote, server, hidden="none", backoff=0.1, max_retries=3)
    server.misbehave = lambda _: Reply(500)
    found = backbone.query(["text"], ANSWERS)
    times = [request.time for request in server.requests]
    waits = [b - a for a, b in zip(times, times[1:])]
    # Between half of 0.1, 0.2, 0.4 and all of it; the upper ends leave room for a busy machine.
    assert all(0.05 * 2**each <= wait <= 0.1 * 2**each + 1 for each, wait in enumerate(waits)), waits
    assert found.requests == len(times) == 4
    assert found.failure.message == f"{server.url}/completions answered 500 (after 4 attempts)"


# ---- Failures that stay

LASTING = {
    "400": (Reply(400, '{"error": {"message": "too long"}}'), "INVALID_ARGUMENT", "answered 400: too long"),
    "logprobs": (
        Reply(400, '{"error": {"message": "logprobs must be at most 5"}}'),
        "INVALID_ARGUMENT",
        "answered 400: logprobs must be at most 5; lower the option 'logprobs', which is 100",
    ),
    "401": (Reply(401, '{"error": "bad"}'), "IO", "answered 401: bad; no API key was sent (option 'api_key_env')"),
    "403": (Reply(403), "IO", "answered 403; no API key was sent (option 'api_key_env')"),
    "404": (Reply(404, '{"detail": "no such\\nmodel"}'), "NOT_FOUND", "answered 404: no such model"),
    "501": (Reply(501, '{"message": "no embeddings"}'), "UNSUPPORTED", "answered 501: no embeddings"),
    "redirect": (
        Reply(307, headers={"Location": "http://127.0.0.1:1/"}),
        "IO",
        "answered 307; redirects are not followed: set the URL to where the server is",
    ),
    "an error as an answer": (
        Reply(200, '{"error": {"message": "no such model"}}'),
        "IO",
        "answered 200: no such model",
    ),
    "an error with a status": (
        Reply(200, '{"error": {"code": 404, "message": "no such model"}, "choices": []}'),
        "NOT_FOUND",
        "answered 404: no such model",
    ),
    "long": (Reply(400, "ä" * 500), "INVALID_ARGUMENT", "answered 400: " + "ä" * 100 + "..."),
}


@pytest.mark.parametrize("case", LASTING)
def test_refusals_are_not_repeated(remote: Runtime, server: Server, case: str) -> None:
    reply, status, sentence = LASTING[case]
    backbone = open_at(remote, server, concurrency=1)
    server.misbehave = lambda request: reply if request.number >= 6 else None
    found = backbone.query(PROMPTS, ANSWERS)
    check(found, answered=3)
    assert (found.failure.code, found.failure.message) == (code(status), f"{server.url}/completions {sentence}")
    assert found.failure.origin == "org.seamkit.remote"
    assert found.requests == len(server.requests) == 7


NAN = '{"choices": [{"index": 0, "logprobs": {"top_logprobs": [{" good": %s}]}}]}'
BAD_SCORES = {
    "NaN": (NAN % "NaN", "NUMERIC", "sent NaN, infinity or a number out of range"),
    "infinity": (NAN % "-Infinity", "NUMERIC", "sent NaN, infinity or a number out of range"),
    "overflow": (NAN % "-1e999", "NUMERIC", "sent NaN, infinity or a number out of range"),
    "null": (NAN % "null", "NUMERIC", "sent a log-probability that is null, NaN or infinite"),
    "a string": (NAN % '"-inf"', "NUMERIC", "sent a log-probability that is null, NaN or infinite"),
    "a probability": (NAN % "0.7", "FORMAT", "sent a log-probability above 0"),
    "no logprobs": ('{"choices": [{"index": 0, "logprobs": null}]}', "FORMAT", "sent no log-probabilities"),
    "only sentinels": (NAN % "-9999", "FORMAT", "sent no log-probabilities"),
    "no choices": ("{}", "FORMAT", 'sent no list "choices"'),
    "too many": (completion(["a", "b"]), "FORMAT", 'sent 2 entries in "choices" for 1 prompts'),
    "wrong index": ('{"choices": [{"index": 7}]}', "FORMAT", 'numbered the entries of "choices" wrongly'),
    "no object": ("[]", "FORMAT", 'sent no list "choices"'),
}
BAD_STATES = {
    "NaN": ('{"data": [{"embedding": [1, NaN, 2, 3]}]}', "NUMERIC", "sent NaN, infinity or a number out of range"),
    "null": ('{"data": [{"embedding": [1, null, 2, 3]}]}', "NUMERIC", "whose value 1 is null, NaN or infinite"),
    "too large": ('{"data": [{"embedding": [1, 1e300, 2, 3]}]}', "NUMERIC", "whose value 1 is null, NaN or infinite"),
    "width": ('{"data": [{"embedding": [1, 2, 3]}]}', "SHAPE", "sent an embedding of 3 values where 4 are expected"),
    "empty": ('{"data": [{"embedding": []}]}', "FORMAT", "sent no list of numbers as an embedding"),
    "base64": ('{"data": [{"embedding": "AAAA"}]}', "FORMAT", "sent no list of numbers as an embedding"),
    "not pooled": ('{"data": [{"embedding": [[1, 2, 3, 4]]}]}', "FORMAT", "sent a vector for each token"),
}


BAD = {"completions": BAD_SCORES, "embeddings": BAD_STATES}


@pytest.mark.parametrize("function, name", [(function, name) for function, cases in BAD.items() for name in cases])
def test_answers_that_are_none(remote: Runtime, server: Server, function: str, name: str) -> None:
    body, status, sentence = BAD[function][name]
    backbone = open_at(remote, server, concurrency=2)

    def is_bad(request: Request) -> bool:
        return request.path.endswith(function) and request.texts == ["prompt 5"]

    server.misbehave = lambda request: Reply(body=body) if is_bad(request) else None
    found = backbone.query(PROMPTS, ANSWERS)
    check(found, answered=5)
    assert found.failure.code == code(status)
    assert found.failure.message.startswith(f"{server.url}/{function} ") and sentence in found.failure.message
    assert sum(map(is_bad, server.requests)) == 1, "asking again would give the same"


def test_malformed_json_to_the_end(remote: Runtime, server: Server) -> None:
    backbone = open_at(remote, server, hidden="none", max_retries=2)
    server.misbehave = lambda _: Reply(body='{"choices": ')
    found = backbone.query(["text"], ANSWERS)
    assert found.failure.code == code("FORMAT") and found.requests == 3
    assert "sent something that is not JSON (at byte 12 of 12) (after 3 attempts)" in found.failure.message


@pytest.mark.parametrize("end", ["", "NaN}"])
def test_malformed_json_behind_many_odd_tokens(remote: Runtime, server: Server, end: str) -> None:
    backbone = open_at(remote, server, hidden="none", max_retries=0)
    server.misbehave = lambda _: Reply(body='{"a": "%s", "b": %s' % ("\\ud83d" * 50, end))
    failure = backbone.query(["text"], ANSWERS).failure
    assert failure.code == code("NUMERIC" if end else "FORMAT")
    assert ("sent NaN" if end else "sent something that is not JSON") in failure.message


def test_what_came_before_a_failure_is_kept(remote: Runtime, server: Server) -> None:
    """Also what came before by its row but later in time: earlier prompts are slow and once refused."""
    backbone = open_at(remote, server, concurrency=6, hidden="embeddings")
    refused: set[str] = set()

    def misbehave(request: Request) -> Reply | None:
        text = request.texts[0]
        if text == "prompt 9":
            return Reply(401)
        if text in PROMPTS[6:9] and text not in refused:
            refused.add(text)
            return Reply(500, delay=0.05)
        return None

    server.misbehave = misbehave
    found = backbone.query(PROMPTS, ANSWERS)
    check(found, answered=9)
    assert found.failure.code == code("IO")
    asked = {text for request in server.requests for text in request.texts}
    assert not asked & set(PROMPTS[16:]), "nothing new is begun"
