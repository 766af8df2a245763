"""Classification of texts with a model of transformers: a task, the model that is asked, adapters on decoder.output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seamkit.errors import AlreadyExistsError, IncompatibleError, ShapeError
from seamkit.labels import places
from seamkit.torch.adapter import Adapter
from seamkit.torch.classification.features import FeatureExtractor, Features
from seamkit.torch.classification.heads import FitOptions, class_scores, fit
from seamkit.torch.classification.task import ClassificationTask


class Classifier:
    """The torch engine's counterpart of `seamkit.Classifier`: the same task, the same scores, the same training.

    task: {"template": "{text} It was [MASK]", "labels": {"negative": ["bad"], "positive": ["great", "good"]}}, and what
    docs/fewshot.md says; "templates", a list of several prompts, for an adapter that reads them, in the place of
    "template". The other arguments are those of `FeatureExtractor`.
    """

    def __init__(self, model: torch.nn.Module, tokenizer: Any, task: Mapping[str, Any], **options: Any):
        self.extractor = FeatureExtractor(model, tokenizer, ClassificationTask.of(task), **options)
        self.adapters: list[Adapter] = []

    @property
    def task(self) -> dict[str, Any]:
        """The question, as it is saved with the adapters."""
        return self.extractor.task.json

    @property
    def labels(self) -> list[str]:
        """The names of the classes, in the order of the scores."""
        return list(self.extractor.task.labels)

    @property
    def query_count(self) -> int:
        """How many prompts this process asked the model."""
        return self.extractor.query_count

    def attach(self, adapter: Adapter) -> None:
        """Adds an adapter on decoder.output, `Adapter("dect", Site.of(model), classes=n)`, behind those attached. The first
        one is made for the task's prompts (`prompts=`), one behind it reads what leaves the first as the answer to one.

        Raises IncompatibleError for an adapter of another number of classes or prompts, AlreadyExistsError.
        """
        if adapter.classes != len(self.labels):
            raise IncompatibleError(
                f'adapter "{adapter.id}" was made for {adapter.classes} classes, the task has {len(self.labels)}'
            )
        prompts = 1 if self.adapters else len(self.extractor.task.templates)
        if adapter.prompts != prompts:
            others = "behind another adapter there is" if self.adapters else "the task has"
            raise IncompatibleError(
                f'adapter "{adapter.id}" was made for {adapter.prompts} prompt{"" if adapter.prompts == 1 else "s"} about '
                f"each text, {others} {prompts}"
            )
        if any(each is adapter for each in self.adapters):
            raise AlreadyExistsError(f'adapter "{adapter.id}" is already attached')
        self.adapters.append(adapter)

    def features(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Features:
        """As `FeatureExtractor.features`."""
        return self.extractor.features(texts, pairs)

    def empty_scores(self) -> Tensor:
        """As `FeatureExtractor.empty_scores`."""
        return self.extractor.empty_scores()

    def fit(
        self, texts: Sequence[str], labels: Sequence[str | int], pairs: Sequence[str] | None = None, **changes: Any
    ) -> list[float]:
        """Trains the attached adapters; returns the loss of each epoch.

        labels: of each text, by name or by number; integers that are the text of a label mean that one. pairs: second
        texts, for a template with {text_b}. `changes` are fields of `seamkit.torch.classification.FitOptions`:
        epochs, learning_rate ... The task is saved with the adapters from then on.
        """
        if len(labels) != len(texts):
            raise ShapeError(f"fit needs a label for each of {len(texts)} texts, found {len(labels)}")
        numbers = places(labels, self.labels)
        options = FitOptions(**changes)
        found = self.features(texts, pairs)
        losses = fit(self.adapters, found.scores, found.hidden, numbers, self.empty_scores(), options)
        for adapter in self.adapters:
            adapter.task = self.task
        return losses

    def scores(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tensor:
        """Of each class, [texts, classes]; the largest of a row is the text's class. Without adapters: the model's, of
        several prompts their mean."""
        found = self.features(texts, pairs)
        if self.adapters:
            return class_scores(self.adapters, found.scores, found.hidden)
        return found.scores.mean(1) if found.scores.dim() == 3 else found.scores

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[str]:
        """The label of each text."""
        return [self.labels[each] for each in self.scores(texts, pairs).argmax(1).tolist()]
