"""An HTTP server for tests of the remote backbone: it counts what arrives, and misbehaves when told to.

It passes requests on to a real server, or makes up answers that depend on the prompt alone.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WIDTH = 4


@dataclass(frozen=True)
class Reply:
    """What to send instead of the right answer; `cut`: only half of it, and then nothing."""

    status: int = 200
    body: str | bytes = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    cut: bool = False


@dataclass(frozen=True)
class Request:
    number: int
    path: str
    body: Any
    headers: dict[str, str]
    time: float

    @property
    def texts(self) -> list[str]:
        given = self.body.get("prompt", self.body.get("input"))
        return given if isinstance(given, list) else [given]

    @property
    def asks_scores(self) -> bool:
        return self.path.endswith("/completions")


# Instead of the answer; None: the answer.
Misbehaviour = Callable[[Request], Reply | None]


def number(text: str) -> float:
    """A number of a text's own, between 0 and 1."""
    return zlib.crc32(text.encode()) / 2**32


def scores(prompt: str, answers: list[str]) -> list[float]:
    """The made-up log-probabilities."""
    return [-0.1 - number(prompt + answer) for answer in answers]


def vector(prompt: str) -> list[float]:
    """The made-up hidden state."""
    return [number(f"{prompt}{place}") - 0.5 for place in range(WIDTH)]


ANSWERS = [" good", " bad", " so so"]


def completion(texts: list[str], answers: list[str] = ANSWERS) -> str:
    return json.dumps(
        {
            "choices": [
                {"index": place, "text": "", "logprobs": {"top_logprobs": [dict(zip(answers, scores(text, answers)))]}}
                for place, text in enumerate(texts)
            ]
        }
    )


def embedding(texts: list[str]) -> str:
    return json.dumps({"data": [{"index": place, "embedding": vector(text)} for place, text in enumerate(texts)]})


class Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away is what some tests are about.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Server:
    def __init__(self, upstream: str | None = None):
        self.upstream = upstream
        self.misbehave: Misbehaviour = lambda _: None
        self.requests: list[Request] = []
        self.in_flight = self.most_in_flight = self.connections = 0
        self.lock = threading.Lock()
        handler = type("Bound", (Handler,), {"owner": self})
        self.http = Listener(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def answer(self, request: Request) -> Reply:
        if self.upstream is None:
            return Reply(body=completion(request.texts) if request.asks_scores else embedding(request.texts))
        url = self.upstream + request.path.removeprefix("/v1")
        ask = urllib.request.Request(url, json.dumps(request.body).encode())
        try:
            with urllib.request.urlopen(ask, timeout=120) as reply:
                return Reply(reply.status, reply.read())
        except urllib.error.HTTPError as refusal:
            return Reply(refusal.code, refusal.read())

    @property
    def scoring(self) -> list[Request]:
        return [each for each in self.requests if each.asks_scores]


class Handler(BaseHTTPRequestHandler):
    owner: Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.owner.lock:
            self.owner.connections += 1

    def do_POST(self) -> None:
        owner = self.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with owner.lock:
            request = Request(len(owner.requests), self.path, body, dict(self.headers), time.monotonic())
            owner.requests.append(request)
            owner.in_flight += 1
            owner.most_in_flight = max(owner.most_in_flight, owner.in_flight)
        try:
            reply = owner.misbehave(request) or owner.answer(request)
            time.sleep(reply.delay)
        finally:
            # Before the answer: the client may ask again as soon as it has it.
            with owner.lock:
                owner.in_flight -= 1
        self.send(reply)

    def send(self, reply: Reply) -> None:
        body = reply.body if isinstance(reply.body, bytes) else reply.body.encode()
        try:
            self.send_response(reply.status)
            for name, value in ({"Content-Length": str(len(body))} | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if reply.cut else body)
            if reply.cut:
                self.close_connection = True
        except OSError:
            self.close_connection = True  # the client went away

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def running(upstream: str | None = None) -> Iterator[Server]:
    server = Server(upstream)
    # The default is half a second of waiting at the end of every test.
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
