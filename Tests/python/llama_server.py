"""A real server of llama.cpp in a process of its own.

python llama_server.py MODEL.gguf [LORA.gguf]   serves it on a free port until it is killed, and prints the URL
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Loading the model; the machine may be busy.
PATIENCE = 180.0


def serve(model: str, *loras: str) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in loras]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx, params.n_parallel = 2048, 4
    # Completions beside embeddings, those of the last token: what llama-server does with `--embeddings --pooling last`.
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    params.warmup = params.fit_params = False
    # A prompt computed from cached states differs in the last bits from one computed anew.
    params.cache_prompt = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


@contextmanager
def running(model: Path, *loras: Path) -> Iterator[str]:
    """Yields the base URL once the model, with LoRA adapters of llama.cpp's, is loaded."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(model), *map(str, loras)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout
        address = process.stdout.readline().strip()
        assert address.startswith("http"), f"the server of llama.cpp did not start: it said {address!r}"
        wait(address)
        yield address + "/v1"
    finally:
        process.kill()
        process.wait()


def wait(address: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address + "/health", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            assert time.monotonic() < end, "the server of llama.cpp did not load its model"
            time.sleep(0.1)


if __name__ == "__main__":
    serve(*sys.argv[1:])
