"""Tokenizers of the encoder families as transformers saves them, and as files of transformers 4 have them, against it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers as hf
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Reference

from seam_objects import Tokenizer
from test_tokenizers import charsmap, trained, wordpiece
from varied_texts import varied_texts

CLS_SEP = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
SPECIAL = {
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
    "mask_token": "[MASK]",
}


@functools.cache
def scores() -> list[tuple[str, float]]:
    """A vocabulary of Unigram with DeBERTa's special tokens first."""
    trainer = trainers.UnigramTrainer(vocab_size=2000, special_tokens=CLS_SEP, unk_token="[UNK]", show_progress=False)
    tokenizer = trained(
        models.Unigram(), trainer, normalizer=normalizers.NFKC(), pre_tokenizer=pre_tokenizers.Metaspace()
    )
    return [(token, score) for token, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


def deberta() -> Any:
    return hf.DebertaV2Tokenizer(vocab=[*scores(), ("[MASK]", 0.0)], unk_id=3)


def deberta_by_punctuation() -> Any:
    return hf.DebertaV2Tokenizer(vocab=[*scores(), ("[MASK]", 0.0)], unk_id=3, do_lower_case=True, split_by_punct=True)


def deberta_of_transformers_4() -> Any:
    """As its converter made it of spm.model."""
    tokenizer = Reference(models.Unigram(scores(), 3, False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Strip(), normalizers.Precompiled(charsmap()), normalizers.Replace(Regex(" {2,}"), "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace("▁", "always")])
    tokenizer.decoder = decoders.Metaspace("▁", "always")
    tokenizer.add_special_tokens([*CLS_SEP, "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def camembert() -> Any:
    own = [("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<unk>", 0.0), ("<unk>NOTUSED", -100.0)]
    words = [each for each in scores() if each[0] not in CLS_SEP]
    return hf.CamembertTokenizer(vocab=[*own, *words, ("<s>", 0.0), ("</s>", 0.0), ("<mask>", 0.0)])


@functools.cache
def words() -> dict[str, int]:
    """BERT's vocabulary."""
    found: dict[str, int] = json.loads(wordpiece().to_str())["model"]["vocab"]
    return found


def mpnet() -> Any:
    """Words as BERT's, special tokens as RoBERTa's."""
    own = ["<s>", "<pad>", "</s>", "<unk>"]
    names = [*own, *(each for each in words() if each not in own), "<mask>"]
    return hf.MPNetTokenizer(vocab={each: index for index, each in enumerate(names)})


def distilbert() -> Any:
    return hf.DistilBertTokenizer(vocab=words())


def modernbert() -> Any:
    """Bytes, with tokens of their own for runs of spaces, and special tokens behind all."""
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["|||IP_ADDRESS|||", "<|padding|>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer = trained(
        models.BPE(),
        trainer,
        normalizer=normalizers.NFC(),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        decoder=decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True),
    )
    added = [hf.AddedToken(" " * length, normalized=True, special=False) for length in range(24, 1, -1)]
    tokenizer.add_tokens(added)
    tokenizer.add_tokens([hf.AddedToken("|||EMAIL_ADDRESS|||", normalized=True, special=False)])
    mask = hf.AddedToken("[MASK]", lstrip=True, normalized=False, special=True)
    tokenizer.add_special_tokens(["<|endoftext|>", "[UNK]", "[CLS]", "[SEP]", "[PAD]", mask])
    ids = {each: tokenizer.token_to_id(each) for each in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0", special_tokens=list(ids.items())
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **SPECIAL, model_input_names=["input_ids", "attention_mask"]
    )


KINDS: dict[str, Callable[[], Any]] = {
    "DeBERTa v3": deberta,
    "DeBERTa v2, lower case": deberta_by_punctuation,
    "DeBERTa v3 of transformers 4": deberta_of_transformers_4,
    "CamemBERT": camembert,
    "MPNet": mpnet,
    "DistilBERT": distilbert,
    "ModernBERT": modernbert,
}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    made = KINDS[kind]()
    made.save_pretrained(tmp_path)
    reference, own = type(made).from_pretrained(tmp_path), Tokenizer(tmp_path)
    mask = reference.mask_token
    texts = varied_texts(1000, len(kind))
    texts += [
        f"{mask}",
        f"a {mask} b",
        f"a{mask}b  c",
        "a  b   c\td\n",
        "   a",
        "a [SEP] b </s> c",
        "  ",
        "|||EMAIL_ADDRESS|||",
    ]
    unknown = reference.unk_token_id
    seen = 0
    for number, text in enumerate(texts):
        ids = reference(text)["input_ids"]
        assert own.encode(text) == ids, f"text {number}: {text!r}"
        seen += sum(each != unknown for each in ids) > 4
        decoded = reference.decode(ids, skip_special_tokens=True) if number % 10 == 0 else ""
        if decoded and "\0" not in decoded:
            assert own.decode(ids) == decoded, f"text {number}: {ids}"
    assert seen > 300, "many texts must be of known tokens for the comparison to count"
