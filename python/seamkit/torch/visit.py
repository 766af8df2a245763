"""One call of an adapter at a point inside the layers, what is known of the tokens there, and what an adapter starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from seamkit import _declarations as c
from seamkit.torch.quantised import Quantised


@dataclass(frozen=True)
class Visit:
    """point: index in the adapter's own points. phase: before a projection or after it; elsewhere after. mask, positions,
    generated: of the tokens there, [batch, n]; None where they are not known (include/seam/plugin.h, seam_pass).
    quantised: what stands for the matrix of a projection that no operation can read, in the place of a weight; else
    None."""

    point: int
    phase: int = c.SEAM_PHASE_AFTER
    mask: Tensor | None = None
    positions: Tensor | None = None
    generated: Tensor | None = None
    quantised: Quantised | None = None

    @property
    def is_before(self) -> bool:
        """Whether it is before the product."""
        return self.phase == c.SEAM_PHASE_BEFORE


@dataclass(frozen=True)
class Flowing:
    """What flows into an adapter's seam for all examples, or at one of its points (-1: it has none), from which it starts.
    mask, generated: of the tokens at a point, [examples, n]; None where they are not known."""

    point: int
    inputs: Sequence[Tensor | None]
    mask: Tensor | None = None
    generated: Tensor | None = None
