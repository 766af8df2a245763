"""Tiny models with tokenizers, as both engines see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

import seamkit
from fewshot_models import WORDS, Model
from seamkit.torch import Classifier


class Folder:
    """A tiny model of a family as both engines see it."""

    def __init__(self, name: str, path: Path):
        self.made = Model(name, path)
        self.model = self.made.reference
        self.path, self.template = path, self.made.family.template
        special = {
            f"{key}_token": token
            for key, choices in (
                ("unk", "[UNK] <unk>"),
                ("mask", "[MASK] <mask>"),
                ("bos", "<s>"),
                ("eos", "</s>"),
                ("cls", "[CLS]"),
            )
            for token in choices.split()
            if token in self.made.tokenizer.get_vocab()
        }
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path / "tokenizer.json"), **special)

    def task(self, **changes: Any) -> dict[str, Any]:
        return {"template": self.template, "labels": WORDS} | changes

    def torch(self, **changes: Any) -> Classifier:
        return Classifier(self.model, self.tokenizer, self.task(**changes), batch_size=5)

    def native(self, runtime: seamkit.Runtime, cache: Path | None = None, **changes: Any) -> seamkit.Classifier:
        tokenizer = seamkit.Tokenizer(self.path)
        return seamkit.Classifier(runtime.open(self.path), self.task(**changes), tokenizer, cache)
