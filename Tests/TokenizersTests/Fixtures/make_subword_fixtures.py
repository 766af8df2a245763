"""Writes subword_fixtures.jsonl: small trained tokenizer.json files with what `tokenizers` makes of texts.

    python make_subword_fixtures.py > subword_fixtures.jsonl

and sentencepiece.model, a small model of that library, whose tokens are in the last line, as a GGUF file has them.

The first line holds the texts. Each other line is a tokenizer: its name, its file, the ids of the texts, and what
every other list of ids decodes to (special tokens skipped).
"""

import io
import json
from importlib.metadata import version

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "",
    " ",
    "a",
    "The cat can't sit, and it's sad.",
    "  two  spaces \n\n and lines\r\n",
    "naïve café Éa ß ǅ İ ſ",
    "e\u0301e\u0323\u0301",
    "1 22 333 4444 12345 ١٢٣ Ⅷ½",
    "日本語の文 한국어 ไทย",
    "👩‍👩‍👧 🇩🇪 👍🏽",
    "שָׁלוֹם مُحَمَّد",
    "[MASK] a[SEP]b <s>x</s> <mask>",
    "they'RE We'Ll 'ſ 'x",
    "\u00a0\u3000\u2028\u200b\ufeff x",
    "a" * 120,
    "ab" * 60 + " b",
    "\x01\x7f\x85\x1c tab\tend",
    "\U00011de0\u1acf\U0001fae9",
    "x_y-z+1=2 (a|b)*",
    "\u0000nul",
    "...a!?b--c",
    "\ufffd",
    "\u1734\u166d\ua9bd",
    "ﬁ ㎏ ① Å",
    "<0x0A>",
    "##a a##",
    "\u2581a \u2581",
    "a\u0928\u094d b",
]
CORPUS = [text for text in TEXTS for _ in range(3)] + [
    "the cat sat on the mat and the dog sat on the log",
    "it can't be that they're sad",
    "the end of the line is the start of the next one",
] * 5
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def trained(model, trainer, **parts):
    tokenizer = Tokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def bpe(specials, size=330, alphabet=True, **options):
    letters = pre_tokenizers.ByteLevel.alphabet() if alphabet else []
    return trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, show_progress=False, initial_alphabet=letters, **options
    )


def tokenizers():
    bert = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    wordpiece = trained(
        models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100),
        trainers.WordPieceTrainer(vocab_size=220, special_tokens=bert, show_progress=False),
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        post_processor=processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
        decoder=decoders.WordPiece(),
    )
    wordpiece.enable_truncation(20)
    yield "wordpiece", wordpiece
    wordpiece.normalizer = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=True, strip_accents=True, lowercase=False
    )
    wordpiece.no_truncation()
    yield "wordpiece cased", wordpiece
    roberta = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    yield (
        "roberta",
        trained(
            models.BPE(),
            bpe(roberta),
            pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True),
            decoder=decoders.ByteLevel(),
            post_processor=processors.RobertaProcessing(("</s>", 2), ("<s>", 0)),
        ),
    )
    gpt = ["<|endoftext|>", "<s>"]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    yield "gpt-2", trained(models.BPE(), bpe(gpt), pre_tokenizer=words, decoder=decoders.ByteLevel())
    yield (
        "smollm",
        trained(
            models.BPE(),
            bpe(gpt),
            pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Digits(True), words]),
            decoder=decoders.ByteLevel(),
        ),
    )
    for name, numbers, normalizer in [("llama-bpe", r"\p{N}{1,3}", None), ("qwen2", r"\p{N}", normalizers.NFC())]:
        split = pre_tokenizers.Split(Regex(LLAMA3 % numbers), "isolated")
        parts = {"normalizer": normalizer} if normalizer else {}
        yield (
            name,
            trained(
                models.BPE(ignore_merges=name == "llama-bpe"),
                bpe(gpt),
                pre_tokenizer=pre_tokenizers.Sequence([split, byte_level]),
                decoder=decoders.ByteLevel(),
                **parts,
            ),
        )
    scored = ["<unk>", "<s>", "</s>"]
    llama2 = trained(
        models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True),
        bpe(scored + [f"<0x{byte:02X}>" for byte in range(256)], size=400, alphabet=False, limit_alphabet=60),
        pre_tokenizer=pre_tokenizers.Metaspace(),
        normalizer=normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]),
        decoder=decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        ),
    )
    llama2.pre_tokenizer = None
    yield "llama", llama2
    for form in ["NFC", "NFD", "NFKC", "NFKD"]:
        steps = [getattr(normalizers, form)(), *([normalizers.StripAccents()] if form == "NFD" else [])]
        yield (
            "unigram " + form,
            trained(
                models.Unigram(),
                trainers.UnigramTrainer(vocab_size=150, special_tokens=scored, unk_token="<unk>", show_progress=False),
                normalizer=normalizers.Sequence(steps),
                pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first" if form == "NFC" else "always"),
                decoder=decoders.Metaspace(),
                post_processor=processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)]),
            ),
        )
    cut = [
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Punctuation("merged_with_next"),
        pre_tokenizers.Digits(False),
    ]
    yield (
        "unknown",
        trained(
            models.BPE(unk_token="<unk>"),
            bpe(["<unk>"], size=80, alphabet=False, limit_alphabet=30),
            pre_tokenizer=pre_tokenizers.Sequence(cut),
        ),
    )


def scored():
    """Byte pair encoding by SentencePiece, with the settings of Llama 2."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS[-15:] + TEXTS[3:6]),
        model_writer=model,
        model_type="bpe",
        vocab_size=380,
        byte_fallback=True,
        minloglevel=2,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=1.0,
        num_threads=1,
    )
    with open("sentencepiece.model", "wb") as file:
        file.write(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    every = range(processor.get_piece_size())
    kinds = [(processor.is_unknown, 2), (processor.is_control, 3), (processor.is_unused, 5), (processor.is_byte, 6)]
    ids = [processor.encode(text) for text in TEXTS]
    return {
        "name": "scored",
        "tokens": [processor.id_to_piece(id) for id in every],
        "scores": [processor.get_score(id) for id in every],
        "types": [next((kind for test, kind in kinds if test(id)), 1) for id in every],
        "ids": ids,
        "decoded": [processor.decode(each) for each in ids[::2]],
    }


def main():
    generated = f"by make_subword_fixtures.py with tokenizers {version('tokenizers')}; do not edit"
    lines = [{"generated": generated, "texts": TEXTS}]
    for name, tokenizer in tokenizers():
        ids = [tokenizer.encode(text).ids for text in TEXTS]
        decoded = [tokenizer.decode(each) for each in ids[::2]]
        file = json.loads(tokenizer.to_str())
        if name == "llama":
            # The tokens of bytes are ordinary ones in the models that have them.
            file["added_tokens"] = file["added_tokens"][:3]
            tokenizer = Tokenizer.from_str(json.dumps(file))
            ids = [tokenizer.encode(text).ids for text in TEXTS]
            decoded = [tokenizer.decode(each) for each in ids[::2]]
        lines.append({"name": name, "file": file, "ids": ids, "decoded": decoded})
    lines.append(scored())
    for line in lines:
        print(json.dumps(line, separators=(",", ":")))


main()
