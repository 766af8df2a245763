"""Writes tokenizer_fixtures.jsonl: tokenizer.json files of several shapes with what `tokenizers` makes of texts.

    python make_tokenizer_fixtures.py > tokenizer_fixtures.jsonl

The first line holds the texts and the vocabularies (a token's id is its place), by kind. Each other line is a
tokenizer: its name, its file, whose vocabulary is the name of a kind, its vocabulary size, the ids of the
texts of that kind (with and without special tokens), and lists of ids with their texts (special tokens skipped
and kept).
"""

import json
import os
import random
from importlib.metadata import version

from rdkit import RDConfig
from tokenizers import Tokenizer

rng = random.Random(7)
SMILES_PATTERN = r"\[[^\]]*\]|%\d{2}|Br|Cl|."


def molecules(count):
    with open(os.path.join(RDConfig.RDDataDir, "NCI", "first_5K.smi")) as file:
        lines = [line.split()[0] for line in file if line.strip()]
    # The longest one, and some from everywhere.
    return [max(lines, key=len)] + rng.sample(lines, count - 1)


MOLECULES = molecules(16)
SMILES_ODD = [
    "",
    " ",
    "C",
    "<sos>",
    "<eos>C<sos>",
    "C<unk>C",
    "CC<eos",
    "<<pad>>",
    "<PAD>",
    "C <sos> C",
    "[Zz]",
    "[unclosed",
    "]",
    "%1",
    "%123",
    "BrCl",
    "BCl",
    "Brr",
    "C\nC",
    "C\r\nC",
    "\n",
    "C\tC",
    "\u00e9",
    "e\u0301",
    "\u212b\u00c5A\u030a",
    "\u65e5\u672c",
    "\U0001f600\U0001f468\u200d\U0001f469",
    "%\u0661\u0662",
    "%\uff11\uff12",
    "[\u00e9\n]C",
    "\u0000",
    "C\u0000C",
    "[]",
    "\u2028",
    "\ufeffC",
    "<sos><sos><eos><eos>",
    "\\/",
    "[[C]]",
    "x" * 60,
    "C" * 400,
    "[" * 300,
]
TEXTS = [
    "",
    " ",
    "a",
    "a b",
    " a  b ",
    "Hello world",
    "hello, World!",
    "the cat's  hat",
    "a.b.c",
    "a..b",
    "..a",
    "a--b-c-",
    "---",
    "tab\there\nline",
    "\u00a0nbsp\u3000wide\u2003",
    "caf\u00e9 cafe\u0301",
    "\u0130stanbul STRASSE \u1e9e \u03a3\u03a3",
    "x_y z\u203fw",
    "1,234.5 \u0661\u0662 \u00bd \u2167",
    "a\u200db\u200cc",
    "\u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4",
    "\U0001f600 ok\U0001f468\u200d\U0001f469",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e44\u0e17\u0e22",
    "[X]",
    "a [X] b",
    "a[X]b",
    "  [X]  [X] ",
    "[x] [X]",
    "a [L] b",
    "a   [R]   b",
    "[R] [L] [R]",
    "[R]   [L]",
    "word Word wordy sword",
    "word.word word",
    "sp\u00e9cial \u00c9special",
    "<s>a</s>",
    "</s></s>",
    "[XY] [XYZ]",
    "[XYZ[X]",
    "LOWER lower Lower",
    "a\x85b\x1cc\x0bd",
    "\u1680\u2028\u2029\u202f\u205f",
    "\u180e\u200b",
    "e\u0301e \u24b6\u24d0 \u2102",
    "hello " * 30,
    "#&-~ \\ ^$ (a|b)* {2}",
    "\u0000 nul",
    "a\u00adb",
    "\ufffd",
    "\U000e0001 tag",
    "\u0345\u0363 \u093f",
]


def vocabulary(tokens):
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def token(id, content, special=True, **flags):
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": id, "content": content, **plain, "special": special, **flags}


def file(vocab, unk="<unk>", **parts):
    base = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
    }
    return {**base, **parts, "model": {"type": "WordLevel", "vocab": vocab, "unk_token": unk}}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def template(vocab, *pieces):
    single = [
        {"Sequence": {"id": "A", "type_id": 0}} if piece == "$A" else {"SpecialToken": {"id": piece, "type_id": 0}}
        for piece in pieces
    ]
    specials = {piece: {"id": piece, "ids": [vocab[piece]], "tokens": [piece]} for piece in pieces if piece != "$A"}
    pair = single + [{"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": specials}


SMILES_VOCAB = vocabulary(
    [
        "<unk>",
        "<pad>",
        "<sos>",
        "<eos>",
        *"CNOFPSIBcnosp()[]=#-+\\/.:123456789%",
        "Br",
        "Cl",
        "[C@H]",
        "[C@@H]",
        "[nH]",
        "[O-]",
        "[N+]",
        "[Na+]",
        "[Cl-]",
        "[C@]",
        "[C@@]",
        "%10",
        "%11",
        "%12",
        "\u00e9",
        "e",
        "\u0301",
        "\u00c5",
        "\u212b",
        "[]",
    ]
)
SMILES_SPECIALS = [token(n, name) for n, name in enumerate(["<unk>", "<pad>", "<sos>", "<eos>"])]
SMILES_TEMPLATE = template(SMILES_VOCAB, "<sos>", "$A", "<eos>")

# Whole words, so that every cut shows in the ids; "e\u0301" and "\u00e9" are both there.
WORDS = vocabulary(
    [
        "<unk>",
        "<s>",
        "</s>",
        "[X]",
        *"abcdefghijklmnopqrstuvwxyz.,-!'_ \u00e9\u0301[]",
        "e\u0301",
        " a",
        "a ",
        " b",
        "b ",
        "--",
        "..",
        ".a",
        ".b",
        "a.",
        "b.",
        "Hello",
        "hello",
        "world",
        "World",
        "the",
        "cat",
        "hat",
        "word",
        "caf\u00e9",
        "cafe\u0301",
        "tab",
        "here",
        "line",
        "nbsp",
        "wide",
        "istanbul",
        "i\u0307stanbul",
        "strasse",
        "\u00df",
        "\u03c3\u03c3",
        "x_y",
        "z\u203fw",
        "1,234.5",
        "\u0661\u0662",
        "\u65e5\u672c\u8a9e",
        "\ud55c\uad6d\uc5b4",
        "\U0001f600",
        "a\u200db\u200cc",
        "ok",
        "lower",
        "LOWER",
        "Lower",
        ",",
        "  ",
        "a  b",
        "a b",
        "hello,",
        "world!",
        "a..b",
        "\u0928\u092e\u0938\u094d\u0924\u0947",
    ]
)
AT_END = len(WORDS)
FLAGGED = [
    token(3, "[X]"),
    token(AT_END, "[L]", lstrip=True),
    token(AT_END + 1, "[R]", rstrip=True),
    token(AT_END + 2, "[XY]", special=False),
    token(AT_END + 3, "[XYZ]", special=False, lstrip=True, rstrip=True),
    token(AT_END + 4, "word.", special=False, single_word=True),
    token(AT_END + 5, "wor", special=False, single_word=True),
    token(AT_END + 6, "\u00c9sp", special=True, normalized=True),
    token(AT_END + 7, "LOW", special=False, normalized=True),
]

BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def files():
    yield (
        "smiles",
        file(
            SMILES_VOCAB,
            added_tokens=SMILES_SPECIALS,
            pre_tokenizer=split(SMILES_PATTERN),
            post_processor=SMILES_TEMPLATE,
        ),
    )
    yield (
        "smiles fused",
        file(
            SMILES_VOCAB,
            added_tokens=SMILES_SPECIALS,
            pre_tokenizer=split(SMILES_PATTERN, "Removed", True),
            post_processor=template(SMILES_VOCAB, "$A", "<eos>"),
            decoder={"type": "Fuse"},
            normalizer={"type": "Strip", "strip_left": True, "strip_right": True},
        ),
    )
    for direction in ["Right", "Left"]:
        yield (
            f"smiles truncated {direction}",
            file(
                SMILES_VOCAB,
                added_tokens=SMILES_SPECIALS,
                pre_tokenizer=split(SMILES_PATTERN),
                post_processor=SMILES_TEMPLATE,
                truncation={"direction": direction, "max_length": 12, "strategy": "LongestFirst", "stride": 0},
                padding={
                    "strategy": "BatchLongest",
                    "direction": "Right",
                    "pad_to_multiple_of": None,
                    "pad_id": 1,
                    "pad_type_id": 0,
                    "pad_token": "<pad>",
                },
            ),
        )
    yield (
        "smiles room for none",
        file(
            SMILES_VOCAB,
            pre_tokenizer=split(SMILES_PATTERN),
            post_processor=SMILES_TEMPLATE,
            truncation={"direction": "Right", "max_length": 2, "strategy": "OnlyFirst", "stride": 0},
        ),
    )
    yield "whole text", file(WORDS)
    for behavior in BEHAVIORS:
        for invert in [False, True]:
            yield f"regex {behavior} {invert}", file(WORDS, pre_tokenizer=split(r"[-.\s]", behavior, invert))
        yield f"string {behavior}", file(WORDS, pre_tokenizer=split(".", behavior, kind="String"))
    yield "empty matches", file(WORDS, pre_tokenizer=split("b*", "Isolated"))
    yield "empty string", file(WORDS, pre_tokenizer=split("", "MergedWithPrevious", kind="String"))
    yield (
        "look around",
        file(WORDS, pre_tokenizer=split(r"(?<=\w)\b|^(?=\s)|(?i:HELLO)|\p{L}+(?!\p{L})|\h", "Isolated")),
    )
    yield "literal signs", file(WORDS, pre_tokenizer=split("#&-~ \\ ^$ (a|b)* {2}", "Removed", kind="String"))
    yield (
        "whitespace",
        file(
            WORDS,
            pre_tokenizer={"type": "Whitespace"},
            decoder={
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"Regex": "^h"}, "content": "H"},
                    {"type": "Replace", "pattern": {"String": "."}, "content": ""},
                    {"type": "Fuse"},
                ],
            },
        ),
    )
    yield "whitespace split", file(WORDS, pre_tokenizer={"type": "WhitespaceSplit"})
    yield "char delimiter", file(WORDS, pre_tokenizer={"type": "CharDelimiterSplit", "delimiter": "."})
    yield (
        "sequence",
        file(
            WORDS,
            pre_tokenizer={
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "WhitespaceSplit"},
                    split("^a|b$", "Isolated"),
                    split("e", "MergedWithNext", kind="String"),
                    {"type": "CharDelimiterSplit", "delimiter": "-"},
                ],
            },
        ),
    )
    lower = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Lowercase"},
            {"type": "Strip", "strip_left": True, "strip_right": False},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
            {"type": "Replace", "pattern": {"String": "!"}, "content": ""},
        ],
    }
    yield "normalized", file(WORDS, normalizer=lower, pre_tokenizer={"type": "Whitespace"})
    yield (
        "prepended",
        file(
            WORDS,
            normalizer={"type": "Prepend", "prepend": " "},
            pre_tokenizer=split(" ", "MergedWithNext", kind="String"),
            added_tokens=FLAGGED[:2],
        ),
    )
    yield "flags", file(WORDS, added_tokens=FLAGGED, pre_tokenizer={"type": "Whitespace"}, decoder={"type": "Fuse"})
    yield (
        "flags normalized",
        file(
            WORDS,
            added_tokens=FLAGGED,
            normalizer=lower,
            pre_tokenizer={"type": "Whitespace"},
            post_processor=template(WORDS, "<s>", "$A", "</s>", "</s>"),
        ),
    )


def main():
    texts = {"smiles": SMILES_ODD + MOLECULES, "words": TEXTS}
    vocabularies = {"smiles": list(SMILES_VOCAB), "words": list(WORDS)}
    generated = f"by make_tokenizer_fixtures.py with tokenizers {version('tokenizers')}; do not edit"
    lines = [{"generated": generated, "texts": texts, "vocabularies": vocabularies}]
    for name, content in files():
        tokenizer = Tokenizer.from_str(json.dumps(content))
        kind = "smiles" if name.startswith("smiles") else "words"
        size = tokenizer.get_vocab_size()
        encoded = [
            [tokenizer.encode(text, add_special_tokens=special).ids for special in [True, False]]
            for text in texts[kind]
        ]
        lists = [[], [size, size + 5, 1], [0, 0]] + [
            [rng.randrange(size) for _ in range(rng.randint(1, 20))] for _ in range(4)
        ]
        decoded = [[ids, tokenizer.decode(ids), tokenizer.decode(ids, skip_special_tokens=False)] for ids in lists]
        content["model"]["vocab"] = kind
        # Ids that do not differ are written once.
        encoded = [[ids] if ids == plain else [ids, plain] for ids, plain in encoded]
        lines.append({"name": name, "size": size, "file": content, "encoded": encoded, "decoded": decoded})
    for line in lines:
        print(json.dumps(line, separators=(",", ":")))


main()
