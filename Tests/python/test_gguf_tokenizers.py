"""Tokenizers of GGUF files, as the converter of llama.cpp writes them, against those that they were made from."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import gguf
import pytest
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Reference

from seam_abi import SeamError
from seam_objects import Tokenizer
from test_tokenizers import BYTES, GPT, assert_equal_ids, byte_level, qwen2, sentencepiece_model, wordpiece
from varied_texts import varied_texts

COUNT = 4000
KIND = gguf.TokenType
# o200k, of GPT-4o and Phi-4-mini.
O200K = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ]
)


def written(path: Path, model: str, tokens: list[str], kinds: list[int], **values: Any) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    for key, value in values.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string, list: writer.add_array}
        add[type(value)](f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def vocabulary(reference: Reference) -> tuple[list[str], list[int]]:
    tokens = [reference.id_to_token(index) for index in range(reference.get_vocab_size())]
    special = {id for id, token in reference.get_added_tokens_decoder().items() if token.special}
    return tokens, [int(KIND.CONTROL if index in special else KIND.NORMAL) for index in range(len(tokens))]


@pytest.mark.parametrize("named", [True, False], ids=["ids", "no ids"])
def test_words_of_bert(tmp_path: Path, named: bool) -> None:
    reference = wordpiece()
    tokens, kinds = vocabulary(reference)

    def phantom(token: str, kind: int) -> str:
        if kind == KIND.CONTROL:
            return token
        return token[2:] if token.startswith("##") else "\u2581" + token

    ids = {"cls": 2, "seperator": 3, "unknown": 1, "padding": 0, "mask": 4} if named else {}
    path = written(
        tmp_path / "model.gguf",
        "bert",
        list(map(phantom, tokens, kinds)),
        kinds,
        pre="bert-bge",
        token_type_count=2,
        **{f"{name}_token_id": id for name, id in ids.items()},
    )
    tokenizer = Tokenizer(path)
    texts = varied_texts(COUNT, seed=3)
    assert_equal_ids(tokenizer, texts, [each.ids for each in reference.encode_batch(texts)], reference.decode)


def test_unigrams_of_t5(tmp_path: Path) -> None:
    reference = sentencepiece_model(tmp_path, "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    model = sentencepiece_model_pb2.ModelProto.FromString((tmp_path / "spiece.model").read_bytes())
    pieces = [
        *((piece.piece, piece.score, int(piece.type)) for piece in model.pieces),
        ("[PAD4000]", -1e4, KIND.UNUSED),
    ]
    path = written(
        tmp_path / "model.gguf",
        "t5",
        [*(piece[0] for piece in pieces), "<extra_id_0>"],
        [*(int(piece[2]) for piece in pieces), int(KIND.USER_DEFINED)],
        scores=[*(piece[1] for piece in pieces), -1000.0],
        eos_token_id=1,
        padding_token_id=0,
        unknown_token_id=2,
        add_space_prefix=True,
        remove_extra_whitespaces=True,
        precompiled_charsmap=list(model.normalizer_spec.precompiled_charsmap),
    )
    tokenizer = Tokenizer(path)
    texts = [text for text in varied_texts(COUNT, seed=4) if "<" not in text]
    # The library for any language, with the same pieces and rules; it has SentencePiece's ids but for ties and for marks
    # that it takes together with what they stand on.
    twin = Reference(models.Unigram([piece[:2] for piece in pieces[:-1]], unk_id=2))
    twin.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap),
            normalizers.Replace(Regex(r"\A +| +\z"), ""),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    twin.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    found = [tokenizer.encode(text) for text in texts]
    assert found == [[*each.ids, 1] for each in twin.encode_batch(texts)]
    assert sum(ids != [*row, 1] for ids, row in zip(found, reference.encode(texts), strict=True)) < 0.01 * len(texts)
    assert tokenizer.encode("The <extra_id_0>")[-2:] == [4001, 1]
    assert tokenizer.decode(tokenizer.encode("The quick  brown fox")) == "The quick brown fox"
    broken = written(tmp_path / "broken.gguf", "t5", ["a"], [1], scores=[0.0], precompiled_charsmap=[1, 2, 3])
    with pytest.raises(SeamError, match="precompiled_charsmap of 3 bytes that is none of SentencePiece"):
        Tokenizer(broken)


def gpt4o() -> Reference:
    split = pre_tokenizers.Split(Regex(O200K), "isolated")
    return byte_level(pre_tokenizers.Sequence([split, BYTES]), GPT)


@pytest.mark.parametrize(("name", "reference"), [("gpt-4o", gpt4o), ("qwen2", qwen2)])
def test_pieces_are_cut_as_named(tmp_path: Path, name: str, reference: Any) -> None:
    tokenizer = reference()
    tokens, kinds = vocabulary(tokenizer)
    merges = [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    path = written(tmp_path / "model.gguf", "gpt2", tokens, kinds, pre=name, merges=merges)
    # The expression of o200k goes through Oniguruma, which knows characters of Unicode 14, as Python 3.11 does.
    texts = [text for text in varied_texts(COUNT, seed=5) if all(unicodedata.category(each) != "Cn" for each in text)]
    assert_equal_ids(Tokenizer(path), texts, [each.ids for each in tokenizer.encode_batch(texts)], tokenizer.decode)
    other = written(tmp_path / "other.gguf", "gpt2", tokens, kinds, pre="tekken", merges=merges)
    with pytest.raises(
        SeamError, match=r'other.gguf has the pre-tokenizer "tekken", supported are "gpt-2", .*"gpt-4o"'
    ):
        Tokenizer(other)
