"""What a model says of texts: each is asked once, in batches, by all processes together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seamkit.errors import InvalidArgumentError, NotFoundError, ShapeError
from seamkit.torch.classification.answers import POOLINGS, answers, evaluating
from seamkit.torch.classification.kinds import Kind
from seamkit.torch.classification.processes import shared
from seamkit.torch.classification.prompts import EncodedPrompt, PromptEncoder
from seamkit.torch.classification.sentence_encoder import SentenceEncoder
from seamkit.torch.classification.task import ClassificationTask
from seamkit.torch.classification.words import label_tokens

_LOG = logging.getLogger("seamkit")
# What similarities of sentence encoders are multiplied by (Reimers and Gurevych 2019, in their training code).
_SIMILARITY_SCALE = 20

# A text and, for a template with {text_b}, the second.
Input = tuple[str, str | None]


@dataclass(frozen=True)
class Features:
    """Of texts, on the CPU, f32: scores [texts, classes] and hidden [texts, d_model]."""

    scores: Tensor
    hidden: Tensor


class FeatureExtractor:
    """Asks a model of transformers about texts, each distinct one once, and keeps the answers in memory.

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
        self.model, self.task, self.batch_size, self.pooling, self._group = model, task, batch_size, pooling, group
        self._max_length = files.max_length
        self._tokenizer = tokenizer
        self._answers: dict[Input, Tensor] = {}
        self._weights: list[tuple[Tensor, int]] = []
        self._renew()
        if self.kind.is_sentence_encoder and pooling == "pooler" and getattr(model.base_model, "pooler", None) is None:
            raise NotFoundError('pooling is "pooler", but the model has no pooler')
        self._words = label_tokens(task, self._encoder.template.word_prefix, tokenizer) if self.kind.has_head else []
        # Prompts that this process has asked, and texts that were too long for the model.
        self.query_count = self.shortened_count = 0

    def features(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Features:
        """Of texts, or of pairs with their second texts, in their order.

        Raises InvalidArgumentError for no text, what is no string, and prompts that do not fit the model.
        """
        found = self._answered(_inputs(texts, pairs))
        hidden = found[:, len(self._words) :].contiguous()
        words = found[:, : len(self._words)] if self.kind.has_head else self._similarities(hidden)
        return Features(self.task.class_scores(words), hidden)

    def empty_scores(self) -> Tensor:
        """The scores of an empty text [classes], which calibration divides by."""
        return self.features([""], [""] if self.task.template.needs_text_b else None).scores[0]

    def _renew(self) -> None:
        """Starts anew where the model is no longer the one that was asked: other weights, other adapters."""
        tensors = (*self.model.parameters(), *self.model.buffers())
        weights = [(each, 0 if each.is_inference() else each._version) for each in tensors]
        if len(weights) == len(self._weights) and all(
            one is other and version == known
            for (one, version), (other, known) in zip(weights, self._weights, strict=True)
        ):
            return
        self._weights = weights
        self.kind = Kind.of(self.model)
        self._encoder = PromptEncoder(self.task.template, self._tokenizer, self.kind, self._max_length)
        self._answers.clear()

    def _answered(self, inputs: Sequence[Input]) -> Tensor:
        """[texts, words + d_model], on the CPU, f32: scores of the label words, none without a head, and the state."""
        self._renew()
        missing = list(dict.fromkeys(each for each in inputs if each not in self._answers))
        # Long and short ones to every process alike.
        missing.sort(key=lambda each: len(each[0]) + len(each[1] or ""), reverse=True)
        if missing:
            with evaluating(self.model):
                found = shared(missing, self._asked, self._group)
            self._answers.update(zip(missing, found, strict=True))
        return torch.stack([self._answers[each] for each in inputs])

    def _asked(self, inputs: Sequence[Input]) -> Tensor:
        before = self.shortened_count
        prompts = [self._prompt(each) for each in inputs]
        if self.shortened_count > before:
            _LOG.warning(
                "%d of %d texts were shortened: their prompts were longer than the %d tokens that the model reads",
                self.shortened_count - before,
                len(inputs),
                self._encoder.limit,
            )
        # By length, longest first: the memory that a batch needs only falls.
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].ids))
        found = torch.empty(len(inputs), len(self._words) + self.kind.site.d_model)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            logits, hidden = answers(self.kind, [prompts[each] for each in rows], self.pooling)
            if logits is not None:
                found[rows, : len(self._words)] = self._word_scores(logits).cpu()
            found[rows, len(self._words) :] = hidden.cpu()
            self.query_count += len(rows)
        return found

    def _prompt(self, given: Input) -> EncodedPrompt:
        text, text_b = given
        fitted = self._encoder.fitted(text, text_b)
        self.shortened_count += fitted != text
        return self._encoder.encode(fitted, text_b)

    def _word_scores(self, logits: Tensor) -> Tensor:
        """The mean logit of each word's tokens, [texts, words]."""
        return torch.stack([logits[:, each].mean(1) for each in self._words], 1)

    def _similarities(self, hidden: Tensor) -> Tensor:
        """Scaled cosines [texts, words] with the label words, which are asked as texts in the same template."""
        second = "" if self.task.template.needs_text_b else None
        words = self._answered([(word, second) for word in self.task.all_words])
        unit = torch.nn.functional.normalize
        return _SIMILARITY_SCALE * (unit(hidden.double()) @ unit(words.double()).T).float()


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
