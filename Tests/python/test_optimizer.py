"""A hundred steps of Adam and AdamW, with every schedule, against PyTorch.

The model is the opaque backbone of the tests: small and smooth, with all its arithmetic written out here as well, so that
what differs after a hundred steps is the optimiser. Its gradients agree to some 1e-7 of their size; Adam divides by that
size, so parameters of order 1 drift apart by 1e-7 a step at most, and 1e-5 in all bounds the sum.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import get_scheduler

from repcali_reference import RepCali
from seam_abi import ROOT, Array, constant
from seam_objects import Batch, Runtime

STEPS, VOCABULARY, WIDTH = 100, 16, 8


@pytest.fixture(scope="module")
def opaque_runtime(plugin_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    library = tmp_path_factory.mktemp("plugin") / "libTinyOpaque.so"
    source = ROOT / "Tests" / "Fixtures" / "opaque-backbone" / "tiny_opaque.c"
    subprocess.run(
        ["cc", "-std=c11", "-O1", "-shared", "-fPIC", f"-I{ROOT / 'include'}", str(source), "-o", str(library), "-lm"],
        check=True,
    )
    return Runtime([plugin_folder / "libRepCali.so", library])


class TinyOpaque:
    """The backbone's formulas, from the comment of tiny_opaque.c."""

    def __init__(self, seed: int = 1):
        sizes = [(VOCABULARY, WIDTH)] * 3 + [(WIDTH, WIDTH)] * 2
        values = torch.from_numpy(hashed(seed, sum(a * b for a, b in sizes)))
        parts = torch.split(values, [a * b for a, b in sizes])
        self.embedding, self.target, self.head, self.mix, self.attend = (
            part.reshape(size) for part, size in zip(parts, sizes, strict=True)
        )

    def encode(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        embedded = self.embedding[ids]
        return torch.tanh(embedded + masked_mean(embedded, mask) @ self.mix.T)

    def decode(self, hidden: torch.Tensor, mask: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return (self.target[ids] + masked_mean(hidden, mask) @ self.attend.T) @ self.head.T


def hashed(seed: int, count: int) -> Array:
    x = np.arange(count, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(seed * 40503 + 1)
    x ^= x >> np.uint32(16)
    x *= np.uint32(2246822519)
    x ^= x >> np.uint32(13)
    return (x >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)


def masked_mean(rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (rows * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]


@dataclass(frozen=True)
class Setting:
    optimizer: str = "ADAMW"
    schedule: str = "constant"
    warmup: int = 0
    rate: float = 1e-2
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decay: float = 0.01
    clip: float = 1.0

    @property
    def native(self) -> dict[str, Any]:
        return {
            "optimizer": constant("SEAM_OPTIMIZER_" + self.optimizer),
            "total_steps": STEPS,
            "schedule": constant("SEAM_SCHEDULE_" + self.schedule.upper()),
            "warmup_steps": self.warmup,
            "learning_rate": self.rate,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "epsilon": self.epsilon,
            "weight_decay": self.decay,
            "max_grad_norm": self.clip,
        }

    def torch(self, block: RepCali) -> tuple[torch.optim.Optimizer, Any]:
        kind = {"ADAM": torch.optim.Adam, "ADAMW": torch.optim.AdamW}[self.optimizer]
        optimizer = kind(
            block.parameters(), lr=self.rate, betas=(self.beta1, self.beta2), eps=self.epsilon, weight_decay=self.decay
        )
        name = "constant_with_warmup" if self.schedule == "constant" else self.schedule
        return optimizer, get_scheduler(name, optimizer, self.warmup, STEPS)


SETTINGS = {
    "adamw": Setting(),
    "adam": Setting("ADAM"),
    "adam, no decay": Setting("ADAM", decay=0),
    "adamw, strong decay": Setting(decay=0.5),
    "adamw, betas and epsilon": Setting(beta1=0.5, beta2=0.9, epsilon=1e-4),
    "adamw, always clipped": Setting(clip=0.01),
    "adam, never clipped": Setting("ADAM", clip=0),
    "linear": Setting(schedule="linear"),
    "linear with warm-up": Setting(schedule="linear", warmup=20),
    "cosine with warm-up": Setting(schedule="cosine", warmup=7),
    "constant with warm-up": Setting(warmup=30),
}


def batch(step: int) -> tuple[Array, Array, Array, Array]:
    random = np.random.default_rng(step % 8)
    ids, labels = (random.integers(2, VOCABULARY, (3, length)).astype(np.int32) for length in (6, 4))
    mask = np.ones_like(ids)
    mask[1, 4:], mask[2, 1:] = 0, 0
    starts = np.hstack([np.zeros((3, 1), np.int32), labels[:, :-1]])
    return ids, mask, labels, starts


@pytest.mark.parametrize("name", SETTINGS)
def test_a_hundred_steps(opaque_runtime: Runtime, name: str) -> None:
    setting, model = SETTINGS[name], TinyOpaque()
    backbone = opaque_runtime.open(id="tiny-opaque")
    adapter = backbone.adapter("repcali", {"initialization": "paper"}, seed=2)
    block = RepCali(adapter)
    optimizer, schedule = setting.torch(block)
    session = backbone.session(adapter)
    session.begin_training(**setting.native)
    for step in range(STEPS):
        ids, mask, labels, starts = batch(step)
        report = session.train_step(Batch(ids, mask, labels))
        inputs, visible, decoded = (torch.from_numpy(each).long() for each in (ids, mask, starts))
        optimizer.zero_grad()
        logits = model.decode(block(model.encode(inputs, visible)), visible, decoded)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(labels).long().flatten())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(block.parameters(), setting.clip or float("inf"))
        assert report.step == step + 1
        assert report.learning_rate == pytest.approx(schedule.get_last_lr()[0], rel=1e-12)
        assert (report.loss, report.gradient_norm) == pytest.approx((loss.item(), norm.item()), rel=1e-5)
        optimizer.step()
        schedule.step()
    session.end_training()
    for key, value in block.named().items():
        assert np.abs(adapter.parameters[key] - value.detach().numpy()).max() <= 1e-5, key
