"""What decides where a model of transformers gives its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seamkit.torch.attachment import attached
from seamkit.torch.prefixes import lengths
from seamkit.torch.site import Site


@dataclass(frozen=True)
class Kind:
    """Of a model: its architecture, whether it scores words, and how many tokens of a text it reads (0: any number)."""

    model: Any
    site: Site
    has_head: bool
    max_tokens: int

    @staticmethod
    def of(model: Any) -> Kind:
        """Raises UnsupportedError for a family that SeamKit does not know."""
        site = Site.of(model)
        limit = site.max_source_positions
        # A prefix stands at the text's first positions.
        taken = max(lengths(attached(model)))
        return Kind(model, site, model.get_output_embeddings() is not None, max(limit - taken, 1) if limit else 0)

    @property
    def is_encoder_decoder(self) -> bool:
        return self.site.encoder_layers > 0 and self.site.decoder_layers > 0

    @property
    def is_decoder_only(self) -> bool:
        return self.site.encoder_layers == 0

    @property
    def is_encoder_only(self) -> bool:
        return self.site.decoder_layers == 0

    @property
    def is_sentence_encoder(self) -> bool:
        """Gives a vector for the text and no words."""
        return self.is_encoder_only and not self.has_head

    def token(self, name: str) -> int | None:
        """The id of the model's own "bos", "eos", "pad", "mask" or "decoder_start" token; None where it names no single
        one."""
        for config in (self.model.config, getattr(self.model, "generation_config", None)):
            found = getattr(config, f"{name}_token_id", None)
            if isinstance(found, int):
                return found
        return None
