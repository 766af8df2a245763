"""Prompts as token ids, for each architecture in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import regex

from seamkit.errors import InvalidArgumentError
from seamkit.torch.classification.kinds import Kind
from seamkit.torch.classification.template import Prompt, Template

_SENTINEL = "<extra_id_0>"
_GRAPHEME = regex.compile(r"\X")
NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class EncodedPrompt:
    """ids of a prompt; decoder_ids: what the decoder of an encoder-decoder is given, else empty; answer: where the
    answer stands, in the decoder's ids if there are any; None: the text as a whole is the answer."""

    ids: list[int]
    decoder_ids: list[int]
    answer: int | None


class PromptEncoder:
    """Turns texts into token ids:

    - decoder-only: the answer comes after the last token;
    - encoder-only with a head: at the mask token;
    - encoder-only without a head: the text as a whole;
    - encoder-decoder: with a mask in the template, T5's first sentinel is the mask and the decoder starts with it,
      other families reconstruct the text; without one, or a model that has none, it is the decoder's first token.

    max_length: the most tokens of a prompt, where the model's files name it.
    Raises InvalidArgumentError or IncompatibleError for a template that does not fit the model or the tokenizer.
    """

    def __init__(self, template: Template, tokenizer: Any, kind: Kind, max_length: int | None = None):
        self._tokenizer, self._kind = tokenizer, kind
        vocabulary = tokenizer.get_vocab()
        self._mask: tuple[str, int] | None = None
        if kind.is_encoder_decoder and _SENTINEL in vocabulary:
            self._mask = (_SENTINEL, vocabulary[_SENTINEL])
        else:
            known = [vocabulary[each] for each in ("[MASK]", "<mask>") if each in vocabulary]
            ids = [each for each in (tokenizer.mask_token_id, *known, kind.token("mask")) if each is not None]
            if ids:
                self._mask = (tokenizer.convert_ids_to_tokens(ids[0]), ids[0])
        continues = kind.is_decoder_only or (kind.is_encoder_decoder and self._mask is None)
        self.template = template.answering_at_end() if continues else template
        if kind.is_encoder_only and kind.has_head != template.has_mask:
            raise InvalidArgumentError(
                f"the template {template} has no [MASK], where this model gives its answer"
                if kind.has_head
                else f"the template {template} has a [MASK], and this model has no language-model head to fill it"
            )
        if self.template.has_mask and self._mask is None:
            raise InvalidArgumentError("the tokenizer has no mask token, so the model cannot fill a [MASK]")
        # What sentence-transformers cuts to, or else tokenizer.json itself.
        own = max_length or tokenizer.init_kwargs.get("max_length")
        self.limit = min(kind.max_tokens or NO_LIMIT, own or NO_LIMIT)

    def fitted(self, text: str, text_b: str | None) -> str:
        """The text, of which the end is left out where its prompt would be too long.

        Raises InvalidArgumentError for a template that is too long by itself.
        """

        def fits(shorter: str) -> bool:
            return len(self._encode(self._written(self.template.render(shorter, text_b)))) <= self.limit

        if self.limit == NO_LIMIT or fits(text):
            return text
        if not fits(""):
            second = "" if text_b is None else ", but with the second one,"
            raise InvalidArgumentError(
                f"the template {self.template} without its text{second} is longer than the {self.limit} tokens that "
                "the model reads"
            )
        characters = _GRAPHEME.findall(text)
        # By bisection: the number of tokens grows with the text.
        fitting, exceeding = 0, len(characters)
        while exceeding - fitting > 1:
            middle = (fitting + exceeding) // 2
            if fits("".join(characters[:middle])):
                fitting = middle
            else:
                exceeding = middle
        return "".join(characters[:fitting])

    def encode(self, text: str, text_b: str | None = None) -> EncodedPrompt:
        """The ids of a text's prompt, as long as it is."""
        prompt = self.template.render(text, text_b)
        if self._kind.is_decoder_only:
            ids = self._open_end(self._encode(prompt.before))
            return EncodedPrompt(ids, [], len(ids) - 1)
        if self._kind.is_encoder_only:
            if not self._kind.has_head:
                return EncodedPrompt(self._encode(prompt.before), [], None)
            ids, place = self._masked(prompt)
            return EncodedPrompt(ids, [], place)
        start = self._kind.token("decoder_start")
        if start is None:
            raise InvalidArgumentError("the model names no decoder_start_token_id, so it cannot answer")
        if prompt.after is None:
            return EncodedPrompt(self._encode(prompt.before), [start], 0)
        ids, place = self._masked(prompt)
        if self._mask is not None and self._mask[0] == _SENTINEL:
            return EncodedPrompt(ids, [start, self._mask[1]], 1)
        return EncodedPrompt(ids, [start, *ids[:-1]], place)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def _open_end(self, ids: list[int]) -> list[int]:
        """Without an end token, which would close the text that is to be continued; with a begin token where there is
        nothing else."""
        begin = [each for each in (self._kind.token("bos"), self._tokenizer.bos_token_id) if each is not None]
        end = (self._tokenizer.eos_token_id, self._kind.token("eos"))
        if len(ids) > 1 and ids[-1] in end and ids[-1] not in begin:
            return ids[:-1]
        if not ids and not begin:
            raise InvalidArgumentError("the prompt is empty, and the model names no bos_token_id to start from")
        return ids or begin[:1]

    def _written(self, prompt: Prompt) -> str:
        """A prompt as the tokenizer reads it."""
        if prompt.after is None:
            return prompt.before
        return prompt.before + (self._mask[0] if self._mask else "") + prompt.after

    def _masked(self, prompt: Prompt) -> tuple[list[int], int]:
        name, id = self._mask or ("", -1)
        written = self._written(prompt)
        ids = self._encode(written)
        if ids.count(id) != 1:
            raise InvalidArgumentError(
                f'the prompt "{written[:80]}" must hold the mask token "{name}" once, found it {ids.count(id)} times: '
                "the text itself may spell it"
            )
        return ids, ids.index(id)
