"""What the files of sentence-transformers in a model's folder say of a text's vector: as the native engine reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamkit.errors import FormatError, UnsupportedError
from seamkit.torch.model_folder import source_folder

_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_OFFERED = ("cls", "mean", "max")
# In the order in which they are looked for; all but the first are of models of before version 1.
_TRANSFORMER_FILES = [
    f"sentence_{each}_config.json"
    for each in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
]
# What the file of the transformer may say: the pooling takes the last states of a model without a head.
_USUAL: dict[str, Any] = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "processing_kwargs": {},
    "modality_config": {"method": "forward", "method_output_name": "last_hidden_state"},
}
# transformers writes 10^30 where no length is set.
_NO_LENGTH = 10**9


@dataclass
class SentenceEncoder:
    """pooling: as the option of that name calls it; None where nothing is said. refusal: why the vector cannot be had as
    the files say, as a sentence; None where it can. max_length: where texts are cut; None where nothing is said.
    lowercases: the file that has texts made lower case; None where none does."""

    pooling: str | None = None
    refusal: str | None = None
    max_length: int | None = None
    lowercases: Path | None = None

    @staticmethod
    def of(model: Any) -> SentenceEncoder:
        """Of a model of transformers that was loaded from a folder.

        Raises FormatError, and what Python says of files that cannot be read.
        """
        found, folder = SentenceEncoder(), source_folder(model)
        # What ModernBERT's own classifiers take, where no file of sentence-transformers says it.
        own = getattr(getattr(model, "config", None), "classifier_pooling", None)
        if folder is None or not (folder / "modules.json").is_file():
            found.pooling = own if own in _OFFERED else None
        if folder is None:
            return found
        settings = next((folder / each for each in _TRANSFORMER_FILES if (folder / each).is_file()), None)
        content = _read(settings, dict) if settings else {}
        found.max_length = content.get("max_seq_length")
        found.lowercases = settings if content.get("do_lower_case") is True else None
        if (modules := folder / "modules.json").is_file():
            if found.max_length is None and (tokenizer := folder / "tokenizer_config.json").is_file():
                length = _read(tokenizer, dict).get("model_max_length")
                found.max_length = length if length is not None and length < _NO_LENGTH else None
            found._read_modules(folder, _read(modules, list))
            if settings:
                found._read_transformer(settings.name, content)
        return found

    def resolved(self) -> str:
        """What pooling "auto" comes to. Raises UnsupportedError where it is none that is offered."""
        if self.refusal:
            raise UnsupportedError(self.refusal)
        return self.pooling or "mean"

    def check_case(self, tokenizer: Any) -> None:
        """Raises UnsupportedError where texts are to be made lower case and the tokenizer of transformers does not."""
        if self.lowercases is None:
            return
        if (backend := getattr(tokenizer, "backend_tokenizer", None)) is not None:
            keeps = backend.normalizer is None or "A" in backend.normalizer.normalize_str("A")
        else:
            keeps = not getattr(tokenizer, "do_lower_case", False)
        if keeps:
            raise UnsupportedError(
                f'{self.lowercases} has "do_lower_case": true, and the tokenizer keeps capitals: write the texts in lower '
                "case and set it to false"
            )

    def _read_modules(self, folder: Path, modules: list[Any]) -> None:
        for module in modules:
            # A class of another package is code of whoever made the model, whatever its name.
            package, _, kind = str(module.get("type", "")).rpartition(".")
            if not f"{package}.".startswith("sentence_transformers."):
                kind = ""
            if kind == "Pooling":
                self._read_pooling(folder, f"{module.get('path', '')}/config.json")
            elif kind not in ("Transformer", "Dropout", "Normalize"):
                self._refuse(f"modules.json lists a module of the type {module.get('type')}")
        if self.pooling is None:
            self._refuse("modules.json lists no pooling")
        prompts = folder / "config_sentence_transformers.json"
        content = _read(prompts, dict) if prompts.is_file() else {}
        if (name := content.get("default_prompt_name")) is not None:
            self._refuse(
                f"{prompts.name} puts the prompt {json.dumps(name)} before every text, which a caller has to do"
            )
        if (width := content.get("truncate_dim")) is not None:
            self._refuse(f'{prompts.name} cuts the vector to {json.dumps(width)} numbers ("truncate_dim")')

    def _read_transformer(self, name: str, content: dict[str, Any]) -> None:
        for key, expected in _USUAL.items():
            value = content.get(key)
            if key == "modality_config" and isinstance(value, dict):
                value = value.get("text", value)
            if value is not None and value != expected:
                self._refuse(
                    f'{name} has {json.dumps(value)} as "{key}", where only {json.dumps(expected)} is followed'
                )

    def _read_pooling(self, folder: Path, name: str) -> None:
        config = _read(folder / name, dict)
        if (mode := config.get("pooling_mode")) is not None:
            modes = [str(mode).lower()]
        else:
            # The mean is taken where nothing is said of it.
            modes = [mode for key, mode in _POOLINGS.items() if config.get(key, mode == "mean")]
        if len(modes) == 1 and modes[0] in _OFFERED and self.pooling is None:
            self.pooling = modes[0]
            return
        self._refuse(f"{name} asks for {'the pooling ' + ' + '.join(modes) if modes else 'no pooling'}")

    def _refuse(self, what: str) -> None:
        self.refusal = self.refusal or (
            f"{what}: the vector of sentence-transformers cannot be given; the option pooling={self.pooling or 'mean'} "
            "gives the one without it"
        )


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from error
    if not isinstance(found, kind):
        raise FormatError(f"{path}: expected a JSON {'array' if kind is list else 'object'}")
    return found
