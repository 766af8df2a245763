"""What is known of a family: how its sizes are read, and how the modules that the seams lie at are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from seamkit.torch.site import Site

Find = Callable[[Any], torch.nn.Module]


@dataclass(frozen=True)
class Family:
    """How one model_type is read. Each function that takes a model is given the one that `attach` was given.

    site: the sizes, from a configuration.
    encoder: the module whose first output, [batch, source, d_model], is the seam encoder.output; None for no such seam.
    masked: the module that is called with this output's attention_mask [batch, source]; None for the encoder itself.
    past: the module that takes past_key_values, attention_mask [batch, tokens] and positions from behind the past; None
    where prefixes have no place.
    attention: "decoder" or "encoder", whose keys and values the past holds.
    """

    site: Callable[[Any], Site]
    encoder: Find | None = None
    masked: Find | None = None
    past: Find | None = None
    attention: str = "decoder"
