"""Texts that find differences between tokenizers: sentences of many scripts, and everything that is hardly one."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from pydoc_data import topics

SENTENCES = [
    "The quick brown fox can't jump over 1,234.5 lazy dogs; isn't that sad?  (They'd've liked it!)",
    "Der Übermut tut selten gut: Straße, Größe, ÄÖÜ – „Anführung“ und ‚mehr‘.",
    "L'été, à Noël, où ça? Cœur d’Œuvre naïve… «déjà vu»",
    "El pingüino Wenceslao hizo kilómetros; ¿qué tal, niño?",
    "Příliš žluťoučký kůň úpěl ďábelské ódy. Zażółć gęślą jaźń.",
    "İstanbul'da ılık bir şey, IĞDIR ve iğne. ŞĞÜÖÇ",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Київ, Їжак, ґудзик",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία, ΟΔΥΣΣΕΥΣ ς. ἄνθρωπος ᾧ",
    "أبجد هوز حطي كلمن سعفص قرشت، هل هذا نص؟ ٠١٢٣ مُحَمَّد",
    "דג סקרן שט בים מאוכזב ולפתע מצא לו חברה. שָׁלוֹם",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का १२३४ क्षत्रिय",
    "নববর্ষের শুভেচ্ছা বাংলা ভাষা। தமிழ் மொழி மிக அழகு. ภาษาไทยง่ายนิดเดียว ๑๒๓",
    "いろはにほへと ちりぬるを、カタカナ・ﾊﾝｶｸ。日本語の文章です「はい」",
    "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。𠮷野家 𪚥 龘",
    "모든 인류 구성원의 천부의 존엄성과 동등하고 양도할 수 없는 권리. ᄒᆞᆫ글",
    "Tiếng Việt có dấu: Nguyễn, Phở, đường, Ước mơ",
    "x₁² + y³ ≤ ½·∑ ∫ ≈ ∞ ℵ₀ Ⅻ ⑳ ㎏ ﬁn ﬄ ™ № ℃ Å Å",
    "👩‍👩‍👧‍👦 family, 🏳️‍🌈 🇩🇪🇫🇷🇧 flags, 👍🏽 skin, 1️⃣ keycap, ❤️ ☺ 🧑🏿‍🚀",
    "user@example.com https://example.org/a_b?c=d&e=%20#f  C:\\dir\\file.txt  foo_bar-baz.qux() -> {x: [1, 2]}",
    "\tdef f(x):\r\n\t\treturn x ** 2  # comment\n\n\n    # more\n",
]
SPECIALS = [
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "[UNK]",
    "[PAD]",
    "<s>",
    "</s>",
    "<unk>",
    "<mask>",
    "<pad>",
    "<extra_id_0>",
    "<extra_id_99>",
    "<|endoftext|>",
    "<|im_start|>",
    "<0x0A>",
    "##",
    "\u2581",
    "[MASK",
    "<s",
]
SPACES = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\n\n",
    "\u00a0",
    "\u3000",
    "\u2003",
    "\u200b",
    "\u2028",
    "\u2029",
    "\u0085",
    "\x0b",
    "\x0c",
    "\x1c",
    "\u1680",
    "\u202f",
    "\ufeff",
]
PARTS = (
    "'s 's 'T 't 're 'Re 'VE 've 'm 'M 'll 'LL 'd 'D 'ſ ' '' ’s . , ... -- ! ?! 1 12 123 1234 1234567 ١٢ ½ Ⅷ".split()
)


@cache
def english() -> list[str]:
    """Sentences of the Python manual, which comes with Python."""
    text = "\n".join(topics.topics.values())
    return [part for part in re.split(r"(?<=[.:])\s{1,}", text) if 10 < len(part) < 600]


def scalar(rng: random.Random, low: int, high: int) -> str:
    value = rng.randrange(low, high)
    # Surrogates are no characters.
    return chr(value - 0x800 if 0xD800 <= value < 0xE000 else value)


def from_ranges(rng: random.Random, ranges: list[tuple[int, int]], count: int) -> str:
    return "".join(scalar(rng, *rng.choice(ranges)) for _ in range(count))


ANY = [(1, 0x80), (0x80, 0x800), (0x800, 0x3000), (0x3000, 0x10000), (0x10000, 0x20000), (0x20000, 0x110000)]
MARKS = [
    (0x300, 0x370),
    (0x483, 0x488),
    (0x591, 0x5C8),
    (0x610, 0x61B),
    (0x64B, 0x660),
    (0x900, 0xE00),
    (0x1AB0, 0x1B00),
    (0x1DC0, 0x1E00),
    (0x20D0, 0x20F1),
    (0x302A, 0x3030),
    (0xFE20, 0xFE30),
    (0x1E130, 0x1E137),
]
EMOJI = [(0x1F300, 0x1FB00), (0x2600, 0x27C0), (0x1F1E6, 0x1F200), (0x1F3FB, 0x1F400)]


def marked(rng: random.Random) -> str:
    letters = [(0x41, 0x7B), (0xC0, 0x250), (0x370, 0x530), (0x1E00, 0x2000), (0xAC00, 0xD7A4), (0x1100, 0x1200)]
    return "".join(
        from_ranges(rng, letters, 1) + from_ranges(rng, MARKS, rng.randrange(5)) for _ in range(rng.randint(1, 12))
    )


def emoji(rng: random.Random) -> str:
    return "".join(
        from_ranges(rng, EMOJI, 1) + rng.choice(["", "\u200d", "\ufe0f", "\u200d\ufe0f", " ", "\u20e3"])
        for _ in range(rng.randint(1, 10))
    )


def mixed(rng: random.Random) -> str:
    makers: list[Callable[[], str]] = [
        lambda: rng.choice(SPACES),
        lambda: rng.choice(PARTS),
        lambda: rng.choice(SPECIALS),
        lambda: rng.choice(rng.choice(SENTENCES).split() or [""]),
        lambda: from_ranges(rng, ANY, rng.randint(1, 3)),
        lambda: rng.choice(rng.choice(english()).split()),
        lambda: " " + rng.choice(PARTS),
        lambda: marked(rng)[:4],
    ]
    return "".join(rng.choice(makers)() for _ in range(rng.randint(1, 16)))


def long_word(rng: random.Random) -> str:
    unit = rng.choice(["a", "ab", "word", "é", "ü", "字", "𝒳", "अ", "👍", "1", "-", " ", "\n", "'s"])
    return unit * rng.randint(60, 400) + rng.choice(["", "x", " tail"])


def stitched(rng: random.Random) -> str:
    sentence = rng.choice(SENTENCES)
    start = rng.randrange(len(sentence))
    return (
        sentence[start : start + rng.randint(1, 60)] + rng.choice(SPACES) + rng.choice(SENTENCES)[: rng.randint(0, 40)]
    )


KINDS: list[Callable[[random.Random], str]] = [
    lambda rng: rng.choice(english()),
    stitched,
    mixed,
    mixed,
    marked,
    emoji,
    long_word,
    lambda rng: from_ranges(rng, ANY, rng.randint(1, 24)),
    lambda rng: from_ranges(rng, [rng.choice(ANY)], rng.randint(1, 24)),
    lambda rng: from_ranges(rng, [(1, 0x20), (0x7F, 0xA1), (0x2000, 0x2070), (0x20, 0x7F)], rng.randint(1, 30)),
    lambda rng: " ".join(
        from_ranges(rng, [(base := rng.randrange(0x100, 0x1F000) & ~0x7F, base + 128)], rng.randint(1, 9))
        for _ in range(3)
    ),
]


def varied_texts(count: int, seed: int) -> list[str]:
    """`count` texts without NUL, which ends a C string, the empty one and every assigned plane among them."""
    rng = random.Random(seed)
    fixed = ["", *SENTENCES, *SPECIALS, *SPACES, *PARTS]
    return (fixed + [KINDS[number % len(KINDS)](rng) for number in range(count - len(fixed))])[:count]


def corpus(seed: int) -> Iterator[str]:
    """Text to train small vocabularies on."""
    rng = random.Random(seed)
    yield from english()
    for _ in range(1500):
        yield from (rng.choice(SENTENCES), stitched(rng))
