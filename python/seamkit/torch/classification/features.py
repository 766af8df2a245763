"""What a model says of texts: each is asked once with each prompt, in batches, by all processes together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seamkit.errors import InvalidArgumentError, NotFoundError, ShapeError
from seamkit.torch.classification.answers import POOLINGS
from seamkit.torch.classification.kinds import Kind
from seamkit.torch.classification.prompt_answers import Asked, Input, PromptAnswers
from seamkit.torch.classification.sentence_encoder import SentenceEncoder
from seamkit.torch.classification.task import ClassificationTask


@dataclass(frozen=True)
class Features:
    """Of texts, on the CPU, f32: scores [texts, classes] and hidden [texts, d_model]; of a task of several prompts
    [texts, prompts, classes] and [texts, prompts, d_model]."""

    scores: Tensor
    hidden: Tensor


class FeatureExtractor:
    """Asks a model of transformers about texts, each distinct one once with each prompt of a task, and keeps the answers
    in memory.

    model: decoder-only, masked-LM, encoder-decoder, or an encoder without a head; adapters attached to it take part.
    Training it, or attaching an adapter, makes the answers forgotten. tokenizer: the model's. batch_size: texts asked
    at once. pooling: of an encoder without a head, "mean", "cls", "max" or "pooler"; "auto": as modules.json says in the
    folder that the model was loaded from, or else the mean; UnsupportedError where that asks for another vector.

    In a torch.distributed process group the texts are shared out, and all processes get all answers; all must ask about
    the same texts, and none waits for the others about texts that were asked before. One thread at a time, also among
    extractors of one model.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Any,
        task: ClassificationTask,
        *,
        batch_size: int = 32,
        pooling: str = "auto",
        group: Any = None,
    ):
        if batch_size < 1:
            raise InvalidArgumentError(f"batch_size must be 1 or more, found {batch_size}")
        if pooling not in ("auto", *POOLINGS):
            raise InvalidArgumentError(f'pooling must be one of auto, {", ".join(POOLINGS)}, found "{pooling}"')
        files = SentenceEncoder.of(model)
        files.check_case(tokenizer)
        if pooling == "auto":
            pooling = files.resolved() if Kind.of(model).is_encoder_only else "mean"
        self.model, self.task, self.batch_size, self.pooling = model, task, batch_size, pooling
        self._weights = self._current_weights()
        self.kind = Kind.of(model)
        if self.kind.is_sentence_encoder and pooling == "pooler" and getattr(model.base_model, "pooler", None) is None:
            raise NotFoundError('pooling is "pooler", but the model has no pooler')
        asked = Asked(model, tokenizer, batch_size, pooling, group, files.max_length)
        self._prompts = [PromptAnswers(each, task, asked, self.kind) for each in task.templates]

    @property
    def query_count(self) -> int:
        """Prompts that this process has asked."""
        return sum(each.query_count for each in self._prompts)

    @property
    def shortened_count(self) -> int:
        """Texts that were too long for the model, with each prompt that they were too long with."""
        return sum(each.shortened_count for each in self._prompts)

    def features(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Features:
        """Of texts, or of pairs with their second texts, in their order.

        Raises InvalidArgumentError for no text, what is no string, and prompts that do not fit the model.
        """
        inputs = _inputs(texts, pairs)
        self._renew()
        parts = [each.answers(inputs) for each in self._prompts]
        scores = [self.task.class_scores(words) for words, _ in parts]
        if len(parts) == 1:
            return Features(scores[0], parts[0][1])
        return Features(torch.stack(scores, 1), torch.stack([hidden for _, hidden in parts], 1))

    def empty_scores(self) -> Tensor:
        """The scores of an empty text [classes], of several prompts [prompts, classes], which calibration divides by."""
        return self.features([""], [""] if self.task.needs_text_b else None).scores[0]

    def _current_weights(self) -> list[tuple[Tensor, int]]:
        """The model's tensors, each with a number that changes with its values."""
        tensors = (*self.model.parameters(), *self.model.buffers())
        return [(each, 0 if each.is_inference() else each._version) for each in tensors]

    def _renew(self) -> None:
        """Starts anew where the model is no longer the one that was asked: other weights, other adapters."""
        weights = self._current_weights()
        if len(weights) == len(self._weights) and all(
            one is other and version == known
            for (one, version), (other, known) in zip(weights, self._weights, strict=True)
        ):
            return
        self._weights = weights
        self.kind = Kind.of(self.model)
        for each in self._prompts:
            each.renew(self.kind)


def _inputs(texts: Sequence[str], pairs: Sequence[str] | None) -> list[Input]:
    if isinstance(texts, str) or isinstance(pairs, str):
        raise InvalidArgumentError("texts must be a list of strings, found a single string")
    if pairs is not None and len(pairs) != len(texts):
        raise ShapeError(f"pairs must be {len(texts)} texts, found {len(pairs)}")
    if not len(texts):
        raise InvalidArgumentError("there are no texts")
    for name, given in (("text", texts), ("second text", () if pairs is None else pairs)):
        for index, each in enumerate(given):
            if not isinstance(each, str):
                raise InvalidArgumentError(f"{name} {index} must be a string, found {each!r}")
    return list(zip(map(str, texts), [None] * len(texts) if pairs is None else map(str, pairs), strict=True))
