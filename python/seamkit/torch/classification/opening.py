"""Opening a model of transformers with the head that a classification asks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from seamkit.errors import NotFoundError, UnsupportedError
from seamkit.torch.site import Site


def open_model(path: str | Path, device: torch.device | str | None = None) -> tuple[Any, Any]:
    """The model, in f32, and the tokenizer of a folder or GGUF file.

    The model is a causal or sequence-to-sequence one by its family; an encoder is one with a masked-LM head where its
    config.json names that, else without a head.
    Raises NotFoundError where nothing is, UnsupportedError for a family that SeamKit does not know and for a GGUF file
    without the packages that transformers reads it with, and what transformers says of other files.
    """
    folder, named = Path(path), {}
    if not folder.exists():
        raise NotFoundError(f'cannot open "{path}", there is no such file or folder')
    if folder.is_file():
        if missing := [each for each in ("accelerate", "gguf") if importlib.util.find_spec(each) is None]:
            raise UnsupportedError(
                f'transformers reads "{path}" with the package {missing[0]}: pip install "seamkit[gguf]"'
            )
        folder, named = folder.parent, {"gguf_file": folder.name}
    config = hf.AutoConfig.from_pretrained(folder, **named)
    is_masked = any(each.endswith("ForMaskedLM") for each in config.architectures or ())
    site = Site.of(config)
    if site.decoder_layers:
        kind = hf.AutoModelForSeq2SeqLM if site.encoder_layers else hf.AutoModelForCausalLM
    else:
        kind = hf.AutoModelForMaskedLM if is_masked else hf.AutoModel
    model = kind.from_pretrained(folder, dtype=torch.float32, **named)
    return model.to(device), hf.AutoTokenizer.from_pretrained(folder, **named)
