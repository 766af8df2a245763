"""examples/torch/train_ddp.py under torchrun: two processes take the steps of one with twice the rows."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers

import seamkit
from prefix_reference import save
from tiny_models import VOCABULARY

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples/torch/train_ddp.py"
ADAPTERS: dict[str, tuple[str, list[str]]] = {
    "repcali": ("bart", []),
    "residual-prefix+gate": ("llama", ["--option", "prefix_length=3", "--option", "mlp_hidden_size=8"]),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models with a tokenizer whose words are numbers, without dropout, and pairs of unequal lengths."""
    found = {}
    for name in ("bart", "llama"):
        path = save(name, tmp_path_factory.mktemp(name))
        config = json.loads((path / "config.json").read_text())
        zeros = {each: 0.0 for each in config if each.endswith("dropout")}
        (path / "config.json").write_text(json.dumps(config | zeros))
        tokenizer = Tokenizer(models.WordLevel({str(each): each for each in range(VOCABULARY)}, "4"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(path)
        words = random.Random(1)
        texts = [" ".join(str(words.randrange(4, 50)) for _ in range(words.randrange(1, 12))) for _ in range(48)]
        (path / "pairs.jsonl").write_text(
            "".join(json.dumps({"source": a, "target": b}) + "\n" for a, b in zip(texts[:24], texts[24:], strict=True))
        )
        found[name] = path
    return found


def command(folder: Path, adapter: str, output: Path, *more: str, processes: int = 0) -> list[str | Path]:
    run: list[str | Path] = [sys.executable]
    if processes:
        run += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [
        *run,
        SCRIPT,
        "--model",
        folder,
        "--train",
        folder / "pairs.jsonl",
        "--adapter",
        adapter,
        "--output",
        output,
        *ADAPTERS[adapter][1],
        *more,
    ]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "python"), "CUDA_VISIBLE_DEVICES": ""}


def values(folder: Path) -> dict[str, torch.Tensor]:
    """Of all adapters in it."""
    return {
        f"{each.parent.name}/{name}": value
        for each in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(each).items()
    }


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_two_processes_are_one(folders: dict[str, Path], tmp_path: Path, adapter: str) -> None:
    """Five steps of AdamW. Its epsilon keeps rounding noise of vanishing gradients from becoming whole steps."""
    folder = folders[ADAPTERS[adapter][0]]
    settings = ["--steps", "5", "--learning-rate", "1e-2", "--adam-epsilon", "1e-4"]
    told = {}
    for name, processes, rows, more in (("one", 0, "6", []), ("ddp", 2, "3", []), ("fsdp", 2, "3", ["--fsdp"])):
        done = subprocess.run(
            command(
                folder,
                adapter,
                tmp_path / name / "adapter",
                *settings,
                "--batch-size",
                rows,
                *more,
                processes=processes,
            ),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        told[name] = [float(line.split()[-1]) for line in done.stderr.splitlines() if line.startswith("step ")]
    expected = values(tmp_path / "one")
    model = transformers.AutoModelForCausalLM if adapter != "repcali" else transformers.AutoModelForSeq2SeqLM
    fresh = model.from_pretrained(folder)
    start = seamkit.attach(
        fresh, adapter.split("+")[0], **({} if adapter == "repcali" else {"prefix_length": 3, "mlp_hidden_size": 8})
    )
    before = {name: value.clone() for name, value in start.state_dict().items()}
    for name in ("ddp", "fsdp"):
        found = values(tmp_path / name)
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert (found[key] - value).abs().max() <= 1e-5, (name, key)
        assert told[name] == pytest.approx(told["one"], abs=2e-6)
    moved = [
        value
        for key, value in expected.items()
        if (name := key.split("/")[1]) in before and (value - before[name]).abs().max() > 1e-2
    ]
    assert moved, "five steps of 1e-2"
    seamkit.detach(fresh)
    seamkit.load(tmp_path / "fsdp/adapter", fresh)


def test_stopping(folders: dict[str, Path], tmp_path: Path) -> None:
    """Ctrl-C reaches torchrun and both processes; the adapter is written, and nobody is left."""
    run = command(
        folders["bart"], "repcali", tmp_path / "adapter", "--steps", "100000", "--batch-size", "2", processes=2
    )
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(run, env=environment(), stderr=log, stdout=log, start_new_session=True)
        deadline = time.monotonic() + 120
        while "step 3:" not in (tmp_path / "log").read_text():
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    text = (tmp_path / "log").read_text()
    assert "stopped before step" in text and "saved" in text
    assert (tmp_path / "adapter/adapter_model.safetensors").exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
