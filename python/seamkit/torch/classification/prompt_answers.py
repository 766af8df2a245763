"""The answers to one prompt of a task about texts: each text is asked about once, and its answer kept in memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seamkit.torch.classification.answers import answers, evaluating
from seamkit.torch.classification.kinds import Kind
from seamkit.torch.classification.processes import shared
from seamkit.torch.classification.prompts import EncodedPrompt, PromptEncoder
from seamkit.torch.classification.task import ClassificationTask
from seamkit.torch.classification.template import Template
from seamkit.torch.classification.words import label_tokens

_LOG = logging.getLogger("seamkit")
# What similarities of sentence encoders are multiplied by (Reimers and Gurevych 2019, in their training code).
_SIMILARITY_SCALE = 20

# A text and, for a template with {text_b}, the second.
Input = tuple[str, str | None]


@dataclass(frozen=True)
class Asked:
    """The model that all prompts of a task are put to, and how: the arguments of `FeatureExtractor`. max_length: the
    most tokens of a prompt, where the model's files name it."""

    model: torch.nn.Module
    tokenizer: Any
    batch_size: int
    pooling: str
    group: Any
    max_length: int | None


class PromptAnswers:
    """What a model says of texts when it is asked with one template.

    query_count: prompts that this process has asked. shortened_count: texts among them that were too long for the model.
    """

    def __init__(self, template: Template, task: ClassificationTask, asked: Asked, kind: Kind):
        self._template, self._task, self._asked = template, task, asked
        self._answers: dict[Input, Tensor] = {}
        self.query_count = self.shortened_count = 0
        self.renew(kind)
        prefix = self._encoder.template.word_prefix
        self._words = label_tokens(task, prefix, asked.tokenizer) if kind.has_head else []

    def renew(self, kind: Kind) -> None:
        """Forgets all answers: the model is another one than it was."""
        self._kind = kind
        self._encoder = PromptEncoder(self._template, self._asked.tokenizer, kind, self._asked.max_length)
        self._answers.clear()

    def answers(self, inputs: Sequence[Input]) -> tuple[Tensor, Tensor]:
        """Scores of the label words [texts, words] and hidden states [texts, d_model], on the CPU, f32."""
        found = self._answered(inputs)
        hidden = found[:, len(self._words) :].contiguous()
        return found[:, : len(self._words)] if self._kind.has_head else self._similarities(hidden), hidden

    def _answered(self, inputs: Sequence[Input]) -> Tensor:
        """[texts, words + d_model], on the CPU, f32: scores of the label words, none without a head, and the state."""
        missing = list(dict.fromkeys(each for each in inputs if each not in self._answers))
        # Long and short ones to every process alike.
        missing.sort(key=lambda each: len(each[0]) + len(each[1] or ""), reverse=True)
        if missing:
            with evaluating(self._asked.model):
                found = shared(missing, self._ask, self._asked.group)
            self._answers.update(zip(missing, found, strict=True))
        return torch.stack([self._answers[each] for each in inputs])

    def _ask(self, inputs: Sequence[Input]) -> Tensor:
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
        found = torch.empty(len(inputs), len(self._words) + self._kind.site.d_model)
        for start in range(0, len(order), self._asked.batch_size):
            rows = order[start : start + self._asked.batch_size]
            logits, hidden = answers(self._kind, [prompts[each] for each in rows], self._asked.pooling)
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
        second = "" if self._template.needs_text_b else None
        words = self._answered([(word, second) for word in self._task.all_words])
        unit = torch.nn.functional.normalize
        return _SIMILARITY_SCALE * (unit(hidden.double()) @ unit(words.double()).T).float()
