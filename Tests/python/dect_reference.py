"""DecT (Cui et al., ACL 2023) in PyTorch, written from its formulas, and random features to train it on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from seam_abi import Array


@dataclass(frozen=True)
class Features:
    """What a backbone says of each example, as numpy arrays."""

    scores: Array
    hidden: Array
    labels: Array
    empty: Array


def features(classes: int, shots: int, width: int, seed: int = 0, noise: float = 1.0) -> Features:
    """Examples around a centre of their class, with scores that favour the right one a little; classes are shuffled."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(classes, dtype=np.int32), shots))
    centres = random.normal(0, 1, (classes, width))
    hidden = centres[labels] + random.normal(0, noise, (len(labels), width))
    scores = random.normal(-4, 1, (len(labels), classes)) + (labels[:, None] == np.arange(classes))
    empty = random.normal(-4, 0.5, classes)
    return Features(scores.astype(np.float32), hidden.astype(np.float32), labels, empty.astype(np.float32))


class DecT(nn.Module):
    """The decoder, with its distances taken from a tensor of differences."""

    def __init__(self, classes: int, d_model: int, width: int = 128, calibrated: bool = True):
        super().__init__()
        self.head = nn.Linear(d_model, width, bias=False)
        self.prototypes = nn.Parameter(nn.init.xavier_uniform_(torch.empty(classes, width)), requires_grad=False)
        self.radii = nn.Parameter(torch.zeros(classes))
        self.calibrated = calibrated
        self.weight = 1.0
        self.scale = torch.ones(classes)

    def prepare(self, given: Features, weight: float | None = None) -> None:
        hidden, labels, classes = torch.tensor(given.hidden), torch.tensor(given.labels), len(self.radii)
        self.weight = classes / len(labels) if weight is None else weight
        if self.calibrated:
            empty = torch.tensor(given.empty)
            self.scale = empty / empty.mean()
        with torch.no_grad():
            for k in range(classes):
                own = hidden[labels == k]
                self.radii[k] = (self.head(own) - self.head(own.mean(0))).norm(dim=-1).mean()

    def forward(self, scores: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        v = nn.functional.normalize(self.head(hidden), dim=-1)
        distances = (v[:, None] - self.prototypes).norm(dim=-1)
        return -(distances - self.weight * scores / self.scale - self.radii)

    def fit(self, given: Features, epochs: int = 30, rate: float = 0.01, clip: float = 0.0) -> list[float]:
        trained = [each for each in self.parameters() if each.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=rate)
        scores, hidden = torch.tensor(given.scores), torch.tensor(given.hidden)
        labels = torch.tensor(given.labels, dtype=torch.long)
        losses = []
        for _ in range(epochs):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self(scores, hidden), labels)
            loss.backward()
            if clip > 0:
                nn.utils.clip_grad_norm_(trained, clip)
            optimizer.step()
            losses.append(loss.item())
        return losses
