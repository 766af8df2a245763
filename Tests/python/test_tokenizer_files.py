"""Single parts of tokenizer.json, and odd files that Hugging Face tokenizers opens, against it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Reference
from tokenizers import decoders, normalizers, pre_tokenizers, processors

from seam_abi import SeamError
from seam_objects import Tokenizer


def opened(folder: Path, file: dict[str, Any]) -> tuple[Tokenizer, Reference]:
    (folder / "tokenizer.json").write_text(json.dumps(file))
    return Tokenizer(folder), Reference.from_file(str(folder / "tokenizer.json"))


def bpe(vocabulary: dict[str, int], added: Iterable[dict[str, Any]] = (), **parts: Any) -> dict[str, Any]:
    tokens = [
        {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False} | each
        for each in added
    ]
    model = {"type": "BPE", "unk_token": "<unk>", "vocab": vocabulary, "merges": []}
    return {"version": "1.0", "added_tokens": tokens, "model": model} | parts


def test_every_character_has_the_script_of_tokenizers(tmp_path: Path) -> None:
    """Behind a Latin letter and before an Arabic one, so that each is cut off from one of them or both."""
    vocabulary = {"<unk>": 0, "a": 1, "\u0627": 2}
    own, reference = opened(
        tmp_path,
        bpe(vocabulary, pre_tokenizer={"type": "UnicodeScripts"})
        | {"model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": vocabulary}},
    )
    # The planes that have scripts, and samples of those that have none.
    places = [*range(1, 0xD800), *range(0xE000, 0x30000), *range(0xE0000, 0xE0200), 0x31350, 0xF0000, 0x10FFFD]
    texts = [f"a{chr(each)}\u0627" for each in places]
    for start in range(0, len(texts), 4096):
        part = texts[start : start + 4096]
        found = [own.encode(each) for each in part]
        assert found == [each.ids for each in reference.encode_batch(part)], part[0]


ODD = {
    "a token U+0000": (bpe({"<unk>": 0, "a": 1, "b": 2, "\0": 3}), ["ab"]),
    "a gap before an added token": (
        bpe({"<unk>": 0, "a": 1, "z": 9}, [{"id": 9, "content": "z"}, {"id": 10, "content": "[NEW]"}]),
        ["a[NEW]z"],
    ),
    "an added token of white space": (
        bpe(
            {"<unk>": 0, "a": 1, "\n": 2},
            [{"id": 2, "content": "\n", "normalized": True}],
            normalizer={"type": "Strip", "strip_left": True, "strip_right": True},
        ),
        ["a\na", "\n", "a"],
    ),
    "a BPE without its type": (
        bpe({}) | {"model": {"unk_token": "<unk>", "vocab": {"<unk>": 0, "a": 1}, "merges": []}},
        ["aa", "ab"],
    ),
    "a WordPiece without its type": (
        bpe({})
        | {
            "model": {
                "unk_token": "<unk>",
                "vocab": {"<unk>": 0, "a": 1, "##a": 2},
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 3,
            }
        },
        ["aa", "aaaa", "ba"],
    ),
    "a WordLevel without its type": (
        bpe({}) | {"model": {"unk_token": "<unk>", "vocab": {"<unk>": 0, "aa": 1}}},
        ["aa", "a"],
    ),
    "a Unigram without its type": (
        bpe({}) | {"model": {"unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]}},
        ["aa", "ab"],
    ),
    "a Unigram without an unknown token": (
        bpe({})
        | {
            "model": {
                "type": "Unigram",
                "unk_id": None,
                "byte_fallback": False,
                "vocab": [["a", -1.0], ["'", -3.0], ["'s", -1.5], ["b", -2.0]],
            }
        },
        ["ab", "'s", "a's", "'sb"],
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files(name: str, tmp_path: Path) -> None:
    file, texts = ODD[name]
    own, reference = opened(tmp_path, file)
    for text in texts:
        ids = reference.encode(text).ids
        assert own.encode(text) == ids, text
        assert own.decode(ids) == reference.decode(ids)


def test_a_unigram_without_an_unknown_token_refuses_what_it_cannot_cut(tmp_path: Path) -> None:
    own, reference = opened(tmp_path, ODD["a Unigram without an unknown token"][0])
    with pytest.raises(Exception, match="unk_id"):
        reference.encode("as")
    with pytest.raises(SeamError, match='has no token "s", and no "unk_id"'):
        own.encode("as")


DECODERS = {
    "BPEDecoder": {"type": "BPEDecoder", "suffix": "</w>"},
    "CTC": {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
    "CTC, not cleaned up": {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": False},
}


@pytest.mark.parametrize("name", DECODERS)
def test_decoders(name: str, tmp_path: Path) -> None:
    tokens = ["<unk>", "a", "a</w>", "</w>b", "<pad>", "|", " n't", "</w>"]
    own, reference = opened(tmp_path, bpe({each: place for place, each in enumerate(tokens)}, decoder=DECODERS[name]))
    draw = random.Random(name)
    for _ in range(500):
        ids = [draw.randrange(len(tokens)) for _ in range(draw.randrange(1, 9))]
        assert own.decode(ids) == reference.decode(ids), ids


@pytest.mark.parametrize("key", ["normalizer", "pre_tokenizer", "decoder", "post_processor"])
def test_a_kind_that_is_not_known_is_refused_with_those_that_are(key: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(bpe({"<unk>": 0}) | {key: {"type": "Other"}}))
    with pytest.raises(SeamError, match=f'"{key}" is of the type "Other", supported are ') as caught:
        Tokenizer(tmp_path)
    module = {
        "normalizer": normalizers,
        "pre_tokenizer": pre_tokenizers,
        "decoder": decoders,
        "post_processor": processors,
    }
    bases = {"Normalizer", "PreTokenizer", "Decoder", "PostProcessor", "NORMALIZERS", "DecodeStream"}
    for kind in set(dir(module[key])) - bases:
        if kind[0].isupper():
            assert f'"{kind}"' in str(caught.value), "tokenizers has a kind that is not supported here"
