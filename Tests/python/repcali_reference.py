"""RepCali in PyTorch, written from its formulas alone, between the encoder and the decoder of a transformers model."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from seam_objects import Adapter
from tiny_models import Tokens


class RepCali(torch.nn.Module):
    """p = LayerNorm(h + lambda d); in the identity form each state gets its own mean and deviation back."""

    def __init__(self, adapter: Adapter):
        super().__init__()
        self.options: dict[str, Any] = adapter.options
        values = {name: torch.from_numpy(view.copy()) for name, view in adapter.parameters.items()}
        self.embedding = torch.nn.Parameter(values["embedding.weight"])
        has_norm = self.options["norm"] == "layer"
        self.gain = torch.nn.Parameter(values["norm.weight"]) if has_norm else None
        self.bias = torch.nn.Parameter(values["norm.bias"]) if has_norm else None

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        moved = hidden + self.options["lambda"] * self.vectors(hidden.shape[1])
        if self.gain is None:
            return moved
        epsilon = self.options["epsilon"]
        if self.options["initialization"] == "paper":
            return torch.nn.functional.layer_norm(moved, moved.shape[-1:], self.gain, self.bias, epsilon)
        normalised = torch.nn.functional.layer_norm(moved, moved.shape[-1:], eps=epsilon)
        deviation = (hidden.var(-1, correction=0, keepdim=True) + epsilon).sqrt()
        return self.gain * normalised * deviation + hidden.mean(-1, keepdim=True) + self.bias

    def vectors(self, length: int) -> torch.Tensor:
        """One vector for all positions, or one each; positions beyond the table are not moved."""
        if self.options["seed"] == "ones":
            return self.embedding
        rows = self.embedding[:length]
        return torch.cat([rows, rows.new_zeros(length - len(rows), rows.shape[1])])

    def named(self) -> dict[str, torch.nn.Parameter]:
        """The parameters by their names in a saved adapter."""
        found = {"embedding.weight": self.embedding, "norm.weight": self.gain, "norm.bias": self.bias}
        return {name: value for name, value in found.items() if value is not None}


def calibrated_logits(model: PreTrainedModel, block: RepCali, given: Tokens) -> torch.Tensor:
    inputs = given.inputs
    encoded = model.get_encoder()(inputs["input_ids"], inputs["attention_mask"]).last_hidden_state
    return model(
        encoder_outputs=BaseModelOutput(last_hidden_state=block(encoded)),
        attention_mask=inputs["attention_mask"],
        decoder_input_ids=inputs["decoder_input_ids"],
    ).logits


def calibrated_loss(model: PreTrainedModel, block: RepCali, given: Tokens, smoothing: float = 0) -> torch.Tensor:
    logits = calibrated_logits(model, block, given)
    labels = torch.from_numpy(given.labels).long()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing)
