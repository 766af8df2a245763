"""Processes forked after the native engine was used: they compute the same values, and none of them hangs."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import seamkit
from seamkit import Batch
from tiny_models import marian, randomise, tokens

# Large enough to be divided among threads, which a child does not have.
SIZES = {"d_model": 128, "encoder_ffn_dim": 512, "decoder_ffn_dim": 512, "max_position_embeddings": 200}
# Against a child that hangs; it takes less than a second.
SECONDS = 120


@pytest.fixture(scope="module")
def backbone(runtime: seamkit.Runtime, tmp_path_factory: pytest.TempPathFactory) -> seamkit.Backbone:
    folder: Path = tmp_path_factory.mktemp("wide")
    model = marian(**SIZES)
    randomise(model, 0)
    model.save_pretrained(folder)
    seamkit.set_thread_count(4)
    return runtime.open(folder)


@pytest.fixture(autouse=True)
def threads() -> object:
    seamkit.set_thread_count(4)
    yield
    seamkit.set_thread_count(0)


def batch() -> Batch:
    given = tokens(3, count=8, source=100, target=50)
    return Batch(given.input_ids, given.attention_mask, given.labels)


def succeeds(child: Callable[[], bool]) -> bool:
    """Whether a forked child finds it true; one that does not end in time is killed."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if child() else 1
        finally:
            os._exit(code)
    return exit_code(pid) == 0


def exit_code(pid: int) -> int:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the child hangs")


def test_a_child_computes_as_its_parent(backbone: seamkit.Backbone) -> None:
    session, given = backbone.session(), batch()
    expected = session.forward(given)

    def child() -> bool:
        same = np.array_equal(session.forward(given), expected)
        # What it makes itself, and a child of its own.
        return (
            same
            and np.array_equal(backbone.session().forward(given), expected)
            and succeeds(lambda: np.array_equal(session.forward(given), expected))
        )

    assert succeeds(child)
    assert np.array_equal(session.forward(given), expected)


def train_in_a_child(model: str) -> int:
    """How a child ends that trains, and leaves by exit, which runs what libraries do at the end."""
    seamkit.set_thread_count(4)
    backbone = seamkit.Runtime().open(model)
    session, given = backbone.session(), batch()
    session.attach(backbone.adapter("repcali"))
    session.forward(given)
    pid = os.fork()
    if pid == 0:
        session.begin_training()
        session.train_step(given)
        session.end_training()
        ctypes.CDLL(None).exit(0)
    return exit_code(pid)


def test_a_child_that_trains_and_ends_as_any_process(backbone: seamkit.Backbone) -> None:
    """In a process of its own: ONNX Runtime, which other tests load, waits in exit for threads that a child has not."""
    assert backbone.path is not None
    program = "import sys, test_fork; sys.exit(test_fork.train_in_a_child(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(backbone.path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    assert done.returncode == 0, done.stderr


def test_forks_while_other_threads_compute(backbone: seamkit.Backbone, runtime: seamkit.Runtime) -> None:
    """At any moment of their passes: within a product, an allocation, the thread pool."""
    assert backbone.path is not None
    session, given = backbone.session(), batch()
    expected = session.forward(given)
    stop = threading.Event()
    # Sessions on one backbone must not overlap.
    others = [runtime.open(backbone.path).session() for _ in range(2)]
    values = [each.forward(given) for each in others]

    def compute(number: int) -> None:
        while not stop.is_set():
            values[number] = others[number].forward(given)

    running = [threading.Thread(target=compute, args=(number,)) for number in range(2)]
    for thread in running:
        thread.start()
    try:
        for _ in range(30):
            assert succeeds(lambda: np.array_equal(session.forward(given), expected))
    finally:
        stop.set()
        for thread in running:
            thread.join()
    assert all(np.array_equal(each, expected) for each in values)


_shared: tuple[seamkit.Session, Batch] | None = None


def _sum(number: int) -> float:
    assert _shared is not None
    return float(_shared[0].forward(_shared[1])[0, 0, number])


def test_a_pool_of_forked_processes(backbone: seamkit.Backbone) -> None:
    global _shared
    _shared = backbone.session(), batch()
    expected = _shared[0].forward(_shared[1])[0, 0, :6]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert np.allclose(pool.map_async(_sum, range(6)).get(SECONDS), expected)


class Encoded(torch.utils.data.Dataset[torch.Tensor]):
    """A data set that asks the model for what it gives, as workers of a DataLoader do."""

    def __init__(self, session: seamkit.Session):
        self.session = session

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.array(self.session.encode(Batch([[4 + index, 5, 6]]))[0]))


def test_workers_of_a_data_loader(backbone: seamkit.Backbone) -> None:
    data = Encoded(backbone.session())
    expected = torch.stack([data[index] for index in range(4)])
    loader = torch.utils.data.DataLoader(
        data, batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=SECONDS
    )
    assert torch.equal(torch.cat(list(loader)), expected)
