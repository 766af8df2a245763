"""Writes metric_fixtures.txt: scores of sacrebleu and rouge-score for lines of every kind.

    python make_metric_fixtures.py > metric_fixtures.txt

Lines: `segment<TAB>hypothesis<TAB>reference...`; then, for the segments since the last `group`,
`group<TAB>name<TAB>value` lines. Tabs, newlines, other controls and backslashes in text are \\uXXXXXX.
"""

import random
import statistics
from importlib.metadata import version

from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

rng = random.Random(13)
WORDS = (
    "the a of to and in is that for it was on are as with they at be this from have or by one had not but what all "
    "were when we there can an your which their said if do will each about how up out them then she many some so "
    "these would other into has more her two like him see time could no make than first been its who now people"
).split()
ODD = [
    "1,234.56",
    "3.14",
    "1990-2000",
    "7-",
    "-7",
    "10%",
    "$5",
    "U.S.",
    "e.g.,",
    "don't",
    "it's",
    "(yes)",
    "[no]",
    "{a|b}",
    '"quoted"',
    "&quot;x&quot;",
    "&amp;lt;",
    "&lt;b&gt;",
    "A&B",
    "<skipped>",
    "end-\nline",
    "a\nb",
    "well-known",
    "...",
    "?!",
    "5.",
    ".5",
    ",,",
    "1.2.3",
    "a.b",
    "a,b",
    "..,.",
    "~tilde^",
    "`code`",
    "x_y",
    "#1",
    "caf\u00e9",
    "cafe\u0301",
    "na\u00efve",
    "\u00dcber",
    "Stra\u00dfe",
    "\u0130stanbul",
    "300\u212a",
    "\u65e5\u672c\u8a9e",
    "\u4e2d\u6587\u3002",
    "\u0645\u0631\u062d\u0628\u0627",
    "\u043f\u0440\u0438\u0432\u0435\u0442,",
    "\U0001f600",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "a\u00a0b",
    "\u3000",
    "x\u2003y",
    "\u200bz",
    "\u201cquote\u201d",
    "\u2026",
    "\u2014",
    "\u0661\u0662\u0663.",
    "\u0e44\u0e17\u0e22",
    "\ud55c\uad6d\uc5b4",
    "tab\there",
    "\x1cfs",
    "\x85nel",
    "Mr.",
    "HELLO",
    "WoRlD",
    "\\back",
    "/slash/",
    "a=b",
    "50:50",
    "x;y",
    "I'm,",
    "'tis",
    "can't.",
    "9-to-5",
    "\uff0c",
    "\u00bd",
]


def sentence():
    words = [rng.choice(ODD) if rng.random() < 0.22 else rng.choice(WORDS) for _ in range(rng.randint(1, 16))]
    words[0] = words[0].capitalize()
    return " ".join(words) + rng.choice([".", "!", "?", " .", "", ",", "  ", "\n"])


def noisy(text, strength):
    words = text.split(" ")
    result = []
    for word in words:
        roll = rng.random()
        if roll < strength * 0.3:
            continue
        if roll < strength * 0.6:
            result.append(rng.choice(WORDS))
        elif roll < strength * 0.7:
            result += [word, word]
        elif roll < strength * 0.8 and len(word) > 2:
            result.append(word[:-1])
        else:
            result.append(word)
    if rng.random() < strength * 0.5:
        rng.shuffle(result)
    return " ".join(result)


def escape(text):
    return "".join(
        f"\\u{ord(c):06X}" if c == "\\" or not c.isprintable() or (c.isspace() and c != " ") else c for c in text
    )


def report(name, value):
    print("group", name, repr(float(value)), sep="\t")


def scores(hypotheses, references):
    for tokenizer in ("13a", "char", "none"):
        for smooth in ("exp", "none"):
            for effective in (False, True):
                bleu = BLEU(tokenize=tokenizer, smooth_method=smooth, effective_order=effective)
                full = bleu.corpus_score(hypotheses, references)
                report(f"bleu {tokenizer} {smooth} {int(effective)}", full.score)
        report(f"bp {tokenizer}", full.bp)
    for word_order in (0, 2):
        report(f"chrf {word_order} 2", CHRF(word_order=word_order).corpus_score(hypotheses, references).score)
    report("chrf 0 1", CHRF(beta=1, char_order=4).corpus_score(hypotheses, references).score)
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    rouge = [
        scorer.score_multi([r for r in refs if r is not None], h)["rougeL"]
        for h, refs in zip(hypotheses, zip(*references))
    ]
    report("rouge precision", statistics.fmean(s.precision for s in rouge))
    report("rouge recall", statistics.fmean(s.recall for s in rouge))
    report("rouge f", statistics.fmean(s.fmeasure for s in rouge))
    exact = [h in refs for h, refs in zip(hypotheses, zip(*references))]
    report("exact", sum(exact) / len(exact))


def group(segments):
    """Segments are (hypothesis, references); sacrebleu wants the transpose, with None for a missing one."""
    for hypothesis, references in segments:
        print("segment", escape(hypothesis), *map(escape, references), sep="\t")
    width = max(len(references) for _, references in segments)
    transposed = [[refs[i] if i < len(refs) else None for _, refs in segments] for i in range(width)]
    scores([hypothesis for hypothesis, _ in segments], transposed)


def segment():
    references = [sentence()]
    while rng.random() < 0.3 and len(references) < 4:
        references.append(noisy(references[0], 0.4) if rng.random() < 0.7 else sentence())
    hypothesis = noisy(rng.choice(references), rng.choice([0.0, 0.1, 0.3, 0.6, 1.0]))
    return hypothesis, references


def main():
    print(
        f"# Generated by make_metric_fixtures.py with sacrebleu {version('sacrebleu')} and rouge-score "
        f"{version('rouge-score')}; do not edit."
    )
    for one in [
        ("", [""]),
        ("", ["a b c"]),
        ("a b c", [""]),
        ("   ", ["\t\n"]),
        ("a", ["a"]),
        ("a b", ["c d"]),
        ("...", ["..."]),
        ("the cat", ["the cat sat on the mat", ""]),
        ("caf\u00e9", ["cafe\u0301"]),
    ]:
        group([one])
    group([("", ["x"]), ("a b c d e", ["a b c d e", "a"]), ("", [""])])
    for _ in range(60):
        group([segment()])
    for _ in range(24):
        group([segment() for _ in range(rng.randint(2, 20))])


main()
