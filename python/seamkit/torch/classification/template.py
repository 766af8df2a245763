"""Prompts with places for the texts and for the answer: `{text} In summary, it was [MASK].`"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from seamkit.errors import FormatError, IncompatibleError, InvalidArgumentError

_PIECES = re.compile(r"(\{\{|\}\}|\[MASK\]|\{[^}]*\}|\{|\})")
_TEXT, _TEXT_B, _MASK = 1, 2, 3


@dataclass(frozen=True)
class Prompt:
    """A text as a model gets it, in two halves around the place of the answer.

    before: ends without a space when the answer is at the end. after: what stands behind the mask; None when the answer
    continues the text. word_prefix: what a label word begins with at this place, " " or "".
    """

    before: str
    after: str | None
    word_prefix: str


class Template:
    """`{text}` is the text, `{text_b}` the second of a pair; `[MASK]`, at most once, is where the answer stands;
    without it the answer continues the prompt. `{{` and `}}` are braces. What the texts hold is never looked at.

    Raises FormatError for anything else.
    """

    def __init__(self, source: str):
        self.source = source
        self._pieces: list[str | int] = []
        letters = ""
        for part in _PIECES.split(source):
            special = {"{text}": _TEXT, "{text_b}": _TEXT_B, "[MASK]": _MASK}.get(part)
            if special is None:
                letters += self._literal(part)
                continue
            self._pieces += [letters, special] if letters else [special]
            letters = ""
        self._pieces += [letters] if letters else []
        if _TEXT not in self._pieces:
            raise self._error("there is no {text} in it")
        if self._pieces.count(_MASK) > 1:
            raise self._error(f"expected at most one [MASK], found {self._pieces.count(_MASK)}")

    def _literal(self, part: str) -> str:
        if part in ("{{", "}}"):
            return part[0]
        if part == "{":
            raise self._error("it has a { without a }; a brace itself is written {{")
        if part == "}":
            raise self._error("it has a } without a {; a brace itself is written }}")
        if part.startswith("{"):
            raise self._error(f"{part} is unknown, known are {{text}} and {{text_b}}")
        return part

    def _error(self, sentence: str) -> FormatError:
        return FormatError(f"the template {self} cannot be used, {sentence}")

    def __str__(self) -> str:
        return json.dumps(self.source, ensure_ascii=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self._pieces == other._pieces

    def __hash__(self) -> int:
        return hash(tuple(self._pieces))

    @property
    def needs_text_b(self) -> bool:
        return _TEXT_B in self._pieces

    @property
    def has_mask(self) -> bool:
        return _MASK in self._pieces

    @property
    def word_prefix(self) -> str:
        """What label words begin with, from the template's own letters: the same tokens for all texts."""
        end = self._pieces.index(_MASK) if self.has_mask else len(self._pieces)
        last = self._pieces[end - 1] if end else ""
        return " " if isinstance(last, str) and last.endswith(" ") else ""

    def answering_at_end(self) -> Template:
        """For a model that continues the text: a `[MASK]` at the end goes.

        Raises IncompatibleError when anything follows the mask, which such a model cannot see.
        """
        if not self.has_mask:
            return self
        if self._pieces[-1] != _MASK:
            raise IncompatibleError(
                f"the template {self} has text after [MASK], but this model continues the prompt, so that the answer "
                "must stand at its end"
            )
        shorter = Template(self.source)
        shorter._pieces = self._pieces[:-1]
        return shorter

    def render(self, text: str, text_b: str | None = None) -> Prompt:
        """The prompt for a text or, where the template has `{text_b}`, a pair.

        Without a mask, spaces at the end are cut; those of the template come back as `word_prefix`.
        Raises InvalidArgumentError for a second text that is missing or has no place.
        """
        if self.needs_text_b != (text_b is not None):
            has, given = ("", "no ") if self.needs_text_b else ("no ", "a ")
            raise InvalidArgumentError(f"the template {self} has {has}{{text_b}}, but the text has {given}second text")

        def joined(pieces: list[str | int]) -> str:
            return "".join(
                {_TEXT: text, _TEXT_B: text_b or ""}[each] if isinstance(each, int) else each for each in pieces
            )

        if self.has_mask:
            place = self._pieces.index(_MASK)
            return Prompt(joined(self._pieces[:place]), joined(self._pieces[place + 1 :]), self.word_prefix)
        return Prompt(joined(self._pieces).rstrip(" "), None, self.word_prefix)
