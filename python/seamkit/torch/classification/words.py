"""The tokens by which a vocabulary scores the label words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seamkit.errors import InvalidArgumentError
from seamkit.torch.classification.task import ClassificationTask

Encode = Callable[[str], list[int]]


def label_tokens(task: ClassificationTask, prefix: str, tokenizer: Any) -> list[list[int]]:
    """For each of the task's words the tokens whose mean logit is its score.

    prefix: what stands between the prompt and the word, " " or "".
    Raises InvalidArgumentError for a word that the vocabulary cannot spell, and for two labels with the same tokens.
    """

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])

    found: list[list[int]] = []
    owners: dict[tuple[int, ...], tuple[str, str]] = {}
    for label, words in zip(task.labels, task.words, strict=True):
        for word in words:
            tokens = _tokens(prefix + word, encode)
            if not tokens or (tokenizer.unk_token_id is not None and tokenizer.unk_token_id in tokens):
                raise InvalidArgumentError(f'the word "{word}" of label "{label}" is not in the model\'s vocabulary')
            scored = tokens[:1] if task.multi_token == "first" else tokens
            other = owners.get(tuple(scored))
            if other is not None and other[0] != label:
                what, remedy = (
                    ("first token", '; multi-token "mean" may') if task.multi_token == "first" else ("tokens", "")
                )
                raise InvalidArgumentError(
                    f'the words "{other[1]}" of label "{other[0]}" and "{word}" of label "{label}" have the same '
                    f"{what}, so the model's scores cannot tell them apart{remedy}"
                )
            owners[tuple(scored)] = (label, word)
            found.append(scored)
    return found


def _tokens(word: str, encode: Encode) -> list[int]:
    """A word as it is spelled behind other text: some tokenizers put a space in front of a text, which would come on
    top of the word's own."""
    alone = encode(word)
    if not word.startswith(" "):
        return alone
    front, both = encode("a"), encode("a" + word)
    return both[len(front) :] if len(both) > len(front) and both[: len(front)] == front else alone
