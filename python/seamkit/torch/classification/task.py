"""A classification as a question to a model: the prompt, and the words that answer it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seamkit.errors import FormatError, IncompatibleError, InvalidArgumentError
from seamkit.torch.classification.template import Template

_CHOICES = {"multi_token": ("first", "mean"), "scores": ("logit", "probability")}
# The revision of a task; a newer one is refused.
SCHEMA = 1
_KNOWN = ("schema", "template", "templates", "labels", *_CHOICES)
_MOST_TEMPLATES = 1000


@dataclass(frozen=True)
class ClassificationTask:
    """The task of docs/fewshot.md, as the native engine reads it and saves it with an adapter.

    templates: the prompts about each text, one or more. labels: in the order of the classes. words: those of each class,
    one or more. multi_token: the score of a word is
    that of its "first" token or the "mean" of all. scores: of a class its "logit", or its "probability" among the
    words.
    """

    templates: tuple[Template, ...]
    labels: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    multi_token: str = "first"
    scores: str = "logit"

    @staticmethod
    def of(task: Mapping[str, Any]) -> ClassificationTask:
        """Reads {"template", "labels": {label: word or words}, "multi_token", "scores"}; the last two may be missing, and
        "templates", a list of several, may stand in the place of "template".

        Raises IncompatibleError for a "schema" that is newer, InvalidArgumentError for templates that do not go together,
        FormatError, which names the key, for anything else.
        """
        revision = task.get("schema", SCHEMA)
        if not isinstance(revision, int) or isinstance(revision, bool):
            raise FormatError(f'task: "schema" must be an integer, found {_shown(revision)}')
        if revision != SCHEMA:
            raise IncompatibleError(
                f"task: schema of a task must be {SCHEMA}, which this version reads, found {revision}"
            )
        if stranger := [each for each in task if each not in _KNOWN]:
            raise FormatError(f'task: unknown key "{stranger[0]}"; known are {", ".join(_KNOWN)}')
        templates, given = _templates(task), task.get("labels")
        if not isinstance(given, Mapping):
            raise FormatError(f'task: "labels" must be an object of labels and their words, found {_shown(given)}')
        labels, words = _verbalizer(given)
        choices = {}
        for key, known in _CHOICES.items():
            choices[key] = task.get(key, known[0])
            if choices[key] not in known:
                raise FormatError(f'task: "{key}" must be one of {", ".join(known)}, found {_shown(choices[key])}')
        return ClassificationTask(templates, labels, words, **choices)

    @property
    def needs_text_b(self) -> bool:
        """Whether a text is asked about together with a second one."""
        return self.templates[0].needs_text_b

    @property
    def all_words(self) -> list[str]:
        """Class after class: the columns of word scores."""
        return [word for words in self.words for word in words]

    @property
    def json(self) -> dict[str, Any]:
        """As it is saved with an adapter."""
        sources = [each.source for each in self.templates]
        prompts: dict[str, Any] = {"template": sources[0]} if len(sources) == 1 else {"templates": sources}
        return {
            "schema": SCHEMA,
            **prompts,
            "multi_token": self.multi_token,
            "scores": self.scores,
            "labels": {label: list(words) for label, words in zip(self.labels, self.words, strict=True)},
        }

    def class_scores(self, words: Tensor, kind: str | None = None) -> Tensor:
        """[texts, classes] from the logits of the label words [texts, words]: of several words the greatest.

        kind: "logit" or "probability"; None for the task's own.
        """
        scores = words.softmax(1) if (kind or self.scores) == "probability" else words
        parts = torch.split(scores, [len(each) for each in self.words], 1)
        return torch.stack([each.amax(1) for each in parts], 1)


def _templates(task: Mapping[str, Any]) -> tuple[Template, ...]:
    if "templates" not in task:
        source = task.get("template")
        if not isinstance(source, str):
            raise FormatError(f'task: "template" must be a string, found {_shown(source)}')
        return (Template(source),)
    if "template" in task:
        raise FormatError('task: "template" and "templates" are both there, and one of them is needed')
    given = task["templates"]
    if not isinstance(given, (list, tuple)):
        raise FormatError(f'task: "templates" must be an array of strings, found {_shown(given)}')
    for source in given:
        if not isinstance(source, str):
            raise FormatError(f'task: "templates" must be strings, found {_shown(source)}')
    if not 1 <= len(given) <= _MOST_TEMPLATES:
        raise InvalidArgumentError(f"a task must have 1 ... {_MOST_TEMPLATES} templates, found {len(given)}")
    found = tuple(map(Template, given))
    for index, template in enumerate(found):
        if template.source in given[:index]:
            raise InvalidArgumentError(f"the template {template} is given twice")
        if template.needs_text_b != found[0].needs_text_b:
            raise InvalidArgumentError(
                f"all templates of a task must have {{text_b}} or none, found {found[0]} and {template}"
            )
    return found


def _verbalizer(given: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    if len(given) < 2:
        raise FormatError(f"task: expected 2 labels or more, found {len(given)}")
    owners: dict[str, str] = {}
    found = []
    for label, value in given.items():
        if not isinstance(label, str):
            raise FormatError(f"task: a label must be a string, found {_shown(label)}")
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, (list, tuple)):
            raise FormatError(f'task: label "{label}" must have a word or an array of words, found {_shown(value)}')
        if not words:
            raise FormatError(f'task: label "{label}" has no words')
        for word in words:
            _check_word(word, label)
            if word in owners:
                own = owners[word] == label
                where = f'twice for label "{label}"' if own else f'for "{owners[word]}" and for "{label}"'
                raise FormatError(f'task: the word "{word}" stands {where}')
            owners[word] = label
        found.append(tuple(words))
    return tuple(given), tuple(found)


def _check_word(word: Any, label: str) -> None:
    if not isinstance(word, str):
        raise FormatError(f'task: label "{label}" must have a word or an array of words, found {_shown(word)}')
    if not word:
        raise FormatError(f'task: label "{label}" has an empty word')
    if word != word.strip():
        raise FormatError(
            f'task: the word {json.dumps(word)} of label "{label}" begins or ends with white space; the template says '
            "whether a space comes before it"
        )


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)
