"""Writes data_to_text_fixtures.txt: what the E2E challenge's programs score texts with several references.

    git clone https://github.com/tuetschek/e2e-metrics
    pip install sacrebleu pycocoevalcap future
    python make_data_to_text_fixtures.py e2e-metrics > data_to_text_fixtures.txt

Needs Java for the tokenizer of pycocoevalcap. All sentences are made up here. Lines are those of metric_fixtures.txt,
and `tokens<TAB>text<TAB>token...` with the words that pycocoevalcap compares.
"""

import random
import sys
from importlib.metadata import version

from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
from sacrebleu.metrics import BLEU

sys.path.insert(0, sys.argv[1])
from metrics.pymteval import NISTScore

rng = random.Random(29)
NAMES = [
    "The Copper Kettle",
    "Café Luna",
    "O'Malley's",
    "Anna\u2019s",
    "Salt & Vine",
    "Ängelholm Grill",
    "Pier 39",
    "The Old Mill",
]
KINDS = ["pub", "restaurant", "coffee shop", "bistro"]
FOODS = ["Italian", "Thai", "English", "Peruvian", "sea-food", "Crêpes"]
PRICES = ["cheap", "moderate", "£20-25", "more than £30", "$5.50"]
RATINGS = ["5 out of 5", "low", "3.5 out of 5", "1,234 stars"]
AREAS = ["riverside", "city centre", "old town"]
PATTERNS = [
    "{name} is a {kind} in the {area} that serves {food} food.",
    "{name}, a {price} {kind}, isn't family-friendly; it's rated {rating}.",
    "In the {area} there's a {kind} called {name}. Its customers' rating is {rating}!",
    "You'll find {food} food at {name} - a {kind} with prices of {price}...",
    "Looking for {food} food? {name} ({area}) won't disappoint, and they've got a {rating} rating",
    "{name} cannot be missed: {food} dishes, {price} prices, kid-friendly.",
    'THE {kind} {name} serves "{food}" food near the {area}',
    "{kind}, {area}, {food}, {price}, {rating}: {name}",
    "{name} doesn't serve {food} food anymore, does it?  I'd say it's a {kind}.",
]
TOKENS = [
    "a",
    "b",
    "c",
    "dd",
    "e5",
    "f-g",
    "żółw",
    "привет",
    "日本語",
    "naïve",
    "cafe\u0301",
    "42",
    "3.14",
    "x",
    "y",
    "zz",
]


def meaning():
    return {
        "name": rng.choice(NAMES),
        "kind": rng.choice(KINDS),
        "food": rng.choice(FOODS),
        "price": rng.choice(PRICES),
        "rating": rng.choice(RATINGS),
        "area": rng.choice(AREAS),
    }


def noisy(text, strength):
    words = [word for word in text.split(" ") if rng.random() > strength * 0.4]
    for _ in range(int(strength * 4)):
        if len(words) > 1:
            i = rng.randrange(len(words) - 1)
            words[i : i + 2] = rng.choice([[words[i + 1], words[i]], [words[i], words[i], words[i + 1]]])
    return " ".join(words)


def restaurant():
    facts = meaning()
    references = [p.format(**facts) for p in rng.sample(PATTERNS, rng.choice([1, 2, 3, 5, 8]))]
    hypothesis = rng.choice(PATTERNS).format(**(facts if rng.random() < 0.8 else meaning()))
    return noisy(hypothesis, rng.choice([0.0, 0.2, 0.5])), references


def tokens():
    def line():
        return " ".join(rng.choice(TOKENS) for _ in range(rng.randint(1, 14)))

    references = [line() for _ in range(rng.choice([1, 1, 2, 4, 8]))]
    return (noisy(rng.choice(references), rng.choice([0.0, 0.3, 1.0])) if rng.random() < 0.8 else line()), references


def caption_words(texts):
    """As pycocoevalcap cuts texts. One line more, since the program's answer loses an empty last one."""
    cut = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate([*texts, "end"])})
    return [cut[i][0] for i in range(len(texts))]


def nist(segments):
    """pymteval's, with two corrections that mteval-v13a.pl does not need: a text without words has no word (instead of
    an empty one), and one of fewer than n words has no n-grams (instead of a negative number of them)."""
    score = NISTScore()
    for hypothesis, references in segments:

        def cut(text):
            return [token for token in score.tokenize(text) if token]

        ours = cut(hypothesis)
        score.append(ours, [cut(reference) for reference in references])
        for n in range(score.max_ngram):
            score.cand_lens[n][-1] = max(0, len(ours) - n)
    if not all(sum(lengths) for lengths in score.cand_lens):
        return None  # pymteval divides by zero
    return score.score()


def escape(text):
    return "".join(f"\\u{ord(c):06X}" if c == "\\" or not c.isprintable() else c for c in text)


def report(name, value):
    print("group", name, repr(float(value)), sep="\t")


def group(segments):
    for hypothesis, references in segments:
        print("segment", escape(hypothesis), *map(escape, references), sep="\t")
    width = max(len(references) for _, references in segments)
    transposed = [[refs[i] if i < len(refs) else None for _, refs in segments] for i in range(width)]
    hypotheses = [hypothesis for hypothesis, _ in segments]
    report("bleu-mteval", BLEU(lowercase=True, smooth_method="none").corpus_score(hypotheses, transposed).score)
    report("bleu", BLEU().corpus_score(hypotheses, transposed).score)
    if (score := nist(segments)) is not None:
        report("nist", score)
    flat = iter(caption_words([text for hypothesis, references in segments for text in (hypothesis, *references)]))
    results, truths = {}, {}
    for i, (_, references) in enumerate(segments):
        results[i] = [next(flat)]
        truths[i] = [next(flat) for _ in references]
    report("rouge-l-coco", 100 * Rouge().compute_score(truths, results)[0])
    report("cider", Cider().compute_score(truths, results)[0])


def main():
    print(
        f"# Generated by make_data_to_text_fixtures.py with sacrebleu {version('sacrebleu')}, pycocoevalcap "
        f"{version('pycocoevalcap')} and e2e-metrics 1b9c4d8; do not edit."
    )
    texts = sorted({text for _ in range(40) for text in [restaurant()[0]] if text})
    for text, cut in zip(texts, caption_words(texts)):
        # That program writes £ and brackets by other names.
        cut = cut.replace("#", "£").replace("-lrb-", "(").replace("-rrb-", ")")
        print("tokens", escape(text), *cut.split(), sep="\t")
    same = "The Copper Kettle is a pub in the old town."
    group([(same, [same])])
    group([("", ["a b c"]), (same, [same])])
    group([("", [""]), (same, [same, ""]), ("café cafe\u0301", ["café", "cafe\u0301 CAFÉ"])])
    group([("a b c d e", ["x y", "z"]), ("f g h i j", ["k"])])
    group([("a", ["a"]), ("a b", ["a b", "b a"]), ("a b c d e f", ["a b c d", "e f"])])
    for make in (restaurant, tokens):
        for _ in range(12):
            group([make()])
        for _ in range(12):
            group([make() for _ in range(rng.randint(2, 12))])
    group([restaurant() for _ in range(48)])


main()
