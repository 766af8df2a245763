"""Ids and texts of tokenizers against Hugging Face tokenizers and SentencePiece, on many thousand odd strings."""

from __future__ import annotations

import functools
import io
import json
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gguf
import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Reference

from seam_abi import SeamError
from seam_objects import Tokenizer
from varied_texts import corpus, varied_texts

COUNT = 20_000
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
GPT = ["<|endoftext|>", "<|im_start|>"]
SCORED = ["<unk>", "<s>", "</s>"]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def trained(model: Any, trainer: Any, **parts: Any) -> Reference:
    tokenizer = Reference(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.train_from_iterator(corpus(5), trainer)
    return tokenizer


def wordpiece() -> Reference:
    return trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=6000, special_tokens=BERT, show_progress=False),
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        post_processor=processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
        decoder=decoders.WordPiece(),
    )


def wordpiece_cased(**options: bool) -> Reference:
    tokenizer = wordpiece()
    tokenizer.normalizer = normalizers.BertNormalizer(**options)
    return tokenizer


def byte_level(pre_tokenizer: Any, specials: list[str], **parts: Any) -> Reference:
    trainer = trainers.BpeTrainer(
        vocab_size=6000,
        special_tokens=specials,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    return trained(models.BPE(), trainer, pre_tokenizer=pre_tokenizer, decoder=decoders.ByteLevel(), **parts)


def roberta(add_prefix_space: bool) -> Reference:
    tokenizer = byte_level(
        pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space),
        ROBERTA,
        post_processor=processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=add_prefix_space),
    )
    file = json.loads(tokenizer.to_str())
    # As Hugging Face has it: the mask takes the space before it.
    next(each for each in file["added_tokens"] if each["content"] == "<mask>")["lstrip"] = True
    return Reference.from_str(json.dumps(file))


def llama3() -> Reference:
    split = pre_tokenizers.Split(Regex(LLAMA3 % r"\p{N}{1,3}"), "isolated")
    template = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    tokenizer = byte_level(
        pre_tokenizers.Sequence([split, BYTES]),
        GPT,
        post_processor=processors.Sequence([processors.ByteLevel(trim_offsets=False), template]),
    )
    file = json.loads(tokenizer.to_str())
    file["model"]["ignore_merges"] = True
    # Merges as older files write them, and a word that no merge makes.
    file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]
    file["model"]["vocab"]["\u0120keycap"] = len(file["model"]["vocab"])
    return Reference.from_str(json.dumps(file))


def qwen2() -> Reference:
    split = pre_tokenizers.Split(Regex(LLAMA3 % r"\p{N}"), "isolated")
    return byte_level(pre_tokenizers.Sequence([split, BYTES]), GPT, normalizer=normalizers.NFC())


def smollm() -> Reference:
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words]), GPT)


def unknown_pattern() -> Reference:
    """One that goes through Oniguruma, and white space removed from the ends."""
    split = pre_tokenizers.Split(Regex(r"[a-z]+|[0-9]{2}"), "merged_with_previous", invert=True)
    strip = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Strip(), normalizers.Lowercase()]
    )
    return byte_level(pre_tokenizers.Sequence([split, BYTES]), GPT, normalizer=strip)


def llama2() -> Reference:
    """Byte fallback without a pre-tokenizer."""
    trainer = trainers.BpeTrainer(
        vocab_size=5000,
        special_tokens=SCORED + [f"<0x{byte:02X}>" for byte in range(256)],
        show_progress=False,
        limit_alphabet=300,
    )
    metaspace = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer = trained(
        models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True),
        trainer,
        pre_tokenizer=pre_tokenizers.Metaspace(),
        decoder=decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        ),
        post_processor=processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)]),
    )
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = metaspace
    file = json.loads(tokenizer.to_str())
    # The tokens of bytes are ordinary ones in the models that have them.
    file["added_tokens"] = file["added_tokens"][:3]
    return Reference.from_str(json.dumps(file))


@functools.cache
def unigram_file() -> str:
    trainer = trainers.UnigramTrainer(vocab_size=4000, special_tokens=SCORED, unk_token="<unk>", show_progress=False)
    return trained(
        models.Unigram(), trainer, normalizer=normalizers.NFKC(), pre_tokenizer=pre_tokenizers.Metaspace()
    ).to_str()


def unigram(scheme: str, normalizer: Any = None) -> Reference:
    tokenizer = Reference.from_str(unigram_file())
    steps = [normalizer or normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=scheme != "never")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return tokenizer


def field(message: bytes, number: int) -> bytes:
    """The field of that number, of the kind with a length, in a message of Protocol Buffers."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(message):
        key = varint()
        if key & 7 == 2:
            length = varint()
            if key >> 3 == number:
                return message[place : place + length]
            place += length
        elif key & 7 == 0:
            varint()
        else:
            place += 4
    raise KeyError(number)


@functools.cache
def charsmap() -> bytes:
    """The replacements that SentencePiece stores in its models: normalizer_spec.precompiled_charsmap."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(3),
        model_writer=model,
        minloglevel=2,
        num_threads=1,
        vocab_size=1000,
        model_type="char",
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc_cf",
    )
    return field(field(model.getvalue(), 3), 2)


def t5() -> Reference:
    return unigram("always", normalizers.Precompiled(charsmap()))


def punctuation() -> Reference:
    """Unknown tokens, fused or not, and the other pre-tokenizers."""
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=["<unk>"], show_progress=False, limit_alphabet=100)
    cut = [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits()]
    return trained(
        models.BPE(unk_token="<unk>"), trainer, normalizer=normalizers.NFD(), pre_tokenizer=pre_tokenizers.Sequence(cut)
    )


def first_behind(normalizer: Any) -> Reference:
    """A character is put before a text only where the normalizer left its first one."""
    tokenizer = Reference.from_str(unigram_file())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return tokenizer


def scripts() -> Reference:
    tokenizer = Reference.from_str(unigram_file())
    tokenizer.normalizer = normalizers.Nmt()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.UnicodeScripts(),
            pre_tokenizers.FixedLength(3),
            pre_tokenizers.Metaspace(prepend_scheme="first"),
        ]
    )
    return tokenizer


def byte_level_normalizer() -> Reference:
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), GPT)
    tokenizer.normalizer = normalizers.ByteLevel()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u0120", prepend_scheme="first")
    return tokenizer


KINDS: dict[str, Callable[[], Reference]] = {
    "BERT": wordpiece,
    "BERT, cased": lambda: wordpiece_cased(lowercase=False),
    "BERT, cased without accents": lambda: wordpiece_cased(
        lowercase=False, strip_accents=True, handle_chinese_chars=False
    ),
    "BERT, not cleaned": lambda: wordpiece_cased(clean_text=False, strip_accents=False),
    "RoBERTa": lambda: roberta(False),
    "RoBERTa, prefix space": lambda: roberta(True),
    "Llama 3": llama3,
    "Qwen 2": qwen2,
    "SmolLM": smollm,
    "another pattern": unknown_pattern,
    "Llama 2": llama2,
    "Unigram": lambda: unigram("always"),
    "Unigram, first": lambda: unigram("first"),
    "Unigram, uncut": lambda: unigram("never"),
    "T5": t5,
    "punctuation": punctuation,
    "first behind strip": lambda: first_behind(
        normalizers.Sequence([normalizers.BertNormalizer(lowercase=False), normalizers.Strip()])
    ),
    "first behind forms": lambda: first_behind(
        normalizers.Sequence(
            [normalizers.NFKD(), normalizers.Replace("f", ""), normalizers.StripAccents(), normalizers.NFC()]
        )
    ),
    "first behind replacements": lambda: first_behind(
        normalizers.Sequence(
            [
                normalizers.Nmt(),
                normalizers.Replace(Regex(r"\s+"), " "),
                normalizers.Prepend("a"),
                normalizers.Lowercase(),
            ]
        )
    ),
    "first behind SentencePiece": lambda: first_behind(normalizers.Precompiled(charsmap())),
    "scripts": scripts,
    "byte-level normalizer": byte_level_normalizer,
}


def assert_equal_ids(
    tokenizer: Tokenizer, texts: list[str], expected: Iterable[list[int]], decode: Callable[[list[int]], str]
) -> None:
    for number, (text, ids) in enumerate(zip(texts, expected, strict=True)):
        found = tokenizer.encode(text)
        assert found == ids, f"text {number}: {text!r} {text.encode('unicode_escape')!r}"
        # Decoding is the same work for every id; every tenth text is enough.
        if number % 10 == 0:
            decoded = decode(ids)
            if "\0" in decoded:
                with pytest.raises(SeamError, match=r"holds U\+0000, which a C string cannot"):
                    tokenizer.decode(ids)
            else:
                assert tokenizer.decode(ids) == decoded, f"text {number}: {ids}"


def assert_equals_reference(tokenizer: Tokenizer, reference: Reference, seed: int) -> None:
    texts = varied_texts(COUNT, seed)
    expected = [each.ids for each in reference.encode_batch(texts)]
    assert_equal_ids(tokenizer, texts, expected, reference.decode)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_tokenizers(kind: str, tmp_path: Path) -> None:
    reference = KINDS[kind]()
    reference.save(str(tmp_path / "tokenizer.json"))
    assert_equals_reference(Tokenizer(tmp_path), reference, seed=len(kind))


def sentencepiece_model(folder: Path, name: str, **options: Any) -> sentencepiece.SentencePieceProcessor:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(3),
        model_writer=model,
        minloglevel=2,
        num_threads=1,
        vocab_size=4000,
        character_coverage=0.98,
        **options,
    )
    (folder / name).write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_ids_are_those_of_sentencepiece(kind: str, tmp_path: Path) -> None:
    reference = sentencepiece_model(tmp_path, "spiece.model", model_type=kind, byte_fallback=kind == "bpe")
    texts = varied_texts(COUNT, seed=17)
    assert_equal_ids(Tokenizer(tmp_path), texts, reference.encode(texts), reference.decode)


def test_equal_scores_merge_as_in_sentencepiece(tmp_path: Path) -> None:
    """In the vocabulary of a GGUF file, which has nothing but scores to merge by."""
    scores = {
        "<unk>": 0.0,
        "a": -9.0,
        "b": -9.0,
        "c": -9.0,
        "bc": -1.0,
        "ab": -1.0,
        "ca": -1.0,
        "abc": -2.0,
        "aa": -1.0,
    }
    model = sentencepiece_model_pb2.ModelProto()
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.normalizer_spec.name, model.normalizer_spec.add_dummy_prefix = "identity", False
    for number, (token, score) in enumerate(scores.items()):
        model.pieces.add(piece=token, score=score, type=1 if number else 2)
    reference = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(scores))
    writer.add_token_scores(list(scores.values()))
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    draw = random.Random(1)
    texts = ["".join(draw.choices("abc", k=draw.randrange(1, 120))) for _ in range(2000)]
    assert_equal_ids(Tokenizer(tmp_path / "model.gguf"), texts, reference.encode(texts), reference.decode)


def test_t5_adds_its_end_and_its_sentinels(tmp_path: Path) -> None:
    reference = sentencepiece_model(tmp_path, "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 100}')
    tokenizer = Tokenizer(tmp_path)
    text = "The quick brown fox"
    assert tokenizer.encode(text) == reference.encode(text) + [1]
    assert tokenizer.encode("The <extra_id_0> fox</s>") == [
        *reference.encode("The"),
        4099,
        *reference.encode("fox"),
        1,
        1,
    ]
    assert tokenizer.encode("<extra_id_99>") == [4000, 1]
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_llama_begins_with_its_token(tmp_path: Path) -> None:
    reference = sentencepiece_model(tmp_path, "tokenizer.model", model_type="bpe", byte_fallback=True)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer", "add_eos_token": true}')
    assert Tokenizer(tmp_path).encode("A lazy dog") == [1, *reference.encode("A lazy dog"), 2]


def test_minilm() -> None:
    if "SEAM_MINILM" not in os.environ:
        pytest.skip("set SEAM_MINILM to the folder of all-MiniLM-L6-v2 with its tokenizer.json")
    folder = Path(os.environ["SEAM_MINILM"])
    reference = Reference.from_file(str(folder / "tokenizer.json"))
    # The file pads every text to 128 ids; here batches are padded by the caller.
    reference.no_padding()
    # As sentence-transformers opens it: max_seq_length of sentence_bert_config.json goes before the file's truncation.
    reference.enable_truncation(256)
    assert_equals_reference(Tokenizer(folder), reference, seed=1)


def test_smollm2() -> None:
    if "SEAM_SMOLLM" not in os.environ:
        pytest.skip("set SEAM_SMOLLM to a GGUF file of SmolLM2")
    from transformers import AutoTokenizer

    path = Path(os.environ["SEAM_SMOLLM"])
    reference = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).backend_tokenizer
    # Transformers takes no notice of the file's "tokenizer.ggml.pre", here "smollm"; the tokenizer of SmolLM2 cuts
    # every digit off.
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
    assert_equals_reference(Tokenizer(path), reference, seed=2)
