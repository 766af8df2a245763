"""`seam fewshot` and `seam classify` against transformers' answers and scikit-learn's classifiers."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from command_line import run, seam
from fewshot_models import FAMILIES, LABELS, MASKED, WORDS, Model, cached, write_reviews
from seam_abi import Array

SHOTS, TESTED = 12, 14
# The class of each word's column.
OWNERS = np.array([place for place, words in enumerate(WORDS.values()) for _ in words])


@dataclass
class Data:
    folder: Path
    train: list[dict[str, str]]
    test: list[dict[str, str]]

    @property
    def texts(self) -> set[str]:
        return {each["text"] for each in self.train + self.test}

    @property
    def arguments(self) -> list[str | Path]:
        names = {"train": "train.jsonl", "test": "test.jsonl", "verbalizer": "words.json"}
        return [part for name, file in names.items() for part in (f"--{name}", self.folder / file)]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("reviews")
    (folder / "words.json").write_text(json.dumps(WORDS))
    return Data(
        folder, write_reviews(folder / "train.jsonl", SHOTS, 1), write_reviews(folder / "test.jsonl", TESTED, 2)
    )


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    folder, made = tmp_path_factory.mktemp("models"), dict[str, Model]()

    def model(name: str) -> Model:
        if name not in made:
            made[name] = Model(name, folder / name)
        return made[name]

    return model


@dataclass
class Experiment:
    model: Model
    data: Data
    folder: Path

    def run(self, *more: str | Path, output: str = "run", shots: str = str(SHOTS), seeds: int = 1) -> str:
        return seam(
            "fewshot",
            "--model",
            self.model.folder,
            *self.data.arguments,
            "--cache",
            self.folder / "cache",
            "--output",
            self.folder / output,
            "--overwrite",
            "--seeds",
            str(seeds),
            *more,
            "--shots",
            *shots.split(),
        )

    def results(self, output: str = "run") -> dict[tuple[str, int], Any]:
        rows = json.loads((self.folder / output / "results.json").read_text())["results"]
        return {(row["method"], row["shots"]): row for row in rows}


@pytest.fixture(scope="module", params=FAMILIES)
def experiment(
    request: pytest.FixtureRequest, data: Data, models: Callable[[str], Model], tmp_path_factory: pytest.TempPathFactory
) -> Experiment:
    """Run once with all examples of every class, so that there is one draw only."""
    made = Experiment(models(request.param), data, tmp_path_factory.mktemp("run"))
    made.run("--template", made.model.family.template)
    return made


@pytest.fixture
def bert(data: Data, models: Callable[[str], Model], tmp_path: Path) -> Experiment:
    return Experiment(models("bert"), data, tmp_path)


def close(found: Array, expected: Array) -> None:
    """f32 on both sides, in another order of additions."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def metrics(predicted: Array, rows: list[dict[str, str]]) -> tuple[float, float]:
    """Accuracy, and macro-F1 as scikit-learn defines it: the mean of 2 tp / (2 tp + fp + fn)."""
    actual = np.array([LABELS.index(each["label"]) for each in rows])
    f1 = [
        2 * ((predicted == label) & (actual == label)).sum() / ((predicted == label).sum() + (actual == label).sum())
        for label in range(len(LABELS))
    ]
    return float((predicted == actual).mean()), float(np.mean(f1))


def check(row: dict[str, Any], predicted: Array, rows: list[dict[str, str]]) -> None:
    found = (row["accuracy"]["mean"], row["macro_f1"]["mean"])
    assert found == pytest.approx(metrics(predicted, rows), abs=1e-9)


# ---- Features


def test_features_are_those_of_transformers(experiment: Experiment) -> None:
    model, found = experiment.model, cached(experiment.folder / "cache")
    texts = experiment.data.texts | {""}
    if model.family.ask(model.reference, model.tokenizer, model.prompt("x")).logits is None:
        texts |= {word for words in WORDS.values() for word in words}
    assert set(found) == texts
    answers = {text: model.answer(model.prompt(text)) for text in texts}
    close(np.array([found[text][1] for text in texts]), np.array([answers[text].hidden.numpy() for text in texts]))
    scored = {text: model.word_scores(each.logits) for text, each in answers.items() if each.logits is not None}
    assert all(found[text][0].shape == (len(OWNERS) if text in scored else 0,) for text in texts)
    if scored:
        close(np.array([found[text][0] for text in scored]), np.array(list(scored.values())))


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama-sentencepiece", "t5-mask"])
def test_the_mean_of_several_tokens(name: str, data: Data, models: Callable[[str], Model], tmp_path: Path) -> None:
    model = models(name)
    assert len(model.tokens("unbelievable")) > 1 and len(model.tokens("great")) == 1
    Experiment(model, data, tmp_path).run(
        "--multi-token", "mean", "--method", "zero-shot", "--template", model.family.template
    )
    found = cached(tmp_path / "cache")
    texts = [each["text"] for each in data.test]
    answers = [model.answer(model.prompt(text)).logits for text in texts]
    close(
        np.array([found[text][0] for text in texts]),
        np.array([model.word_scores(logits, "mean") for logits in answers if logits is not None]),
    )


@pytest.mark.parametrize("name", ["bert", "bert-no-head", "roberta", "gpt2", "llama", "bart-mask"])
def test_texts_too_long_are_shortened(name: str, data: Data, tmp_path: Path) -> None:
    """What fits into the model's positions is left of them, and what stands behind the text stays."""
    positions = {"gpt2": {"n_positions": 40}, "roberta": {"max_position_embeddings": 42}}
    model = Model(name, tmp_path / "model", **positions.get(name, {"max_position_embeddings": 40}))
    long = " and ".join(each["text"] for each in data.train)
    adapter = trained(model, data, tmp_path)
    done = run("classify", "--model", model.folder, "--adapter", adapter, "--cache", tmp_path / "one", long, "fine")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "1 text was shortened, as the prompt would be longer than the model reads\n"
    check_shortened(model, long, tmp_path / "one", 40)


def check_shortened(model: Model, text: str, cache: Path, limit: int) -> None:
    """Its answer is that of a beginning of the text that fills the prompt but for a cut word."""
    beginnings = [text[:size] for size in range(300) if limit - 4 <= len(tokens(model, text[:size])) <= limit]
    found = cached(cache)[text][1]
    distances = [np.abs(found - model.answer(model.prompt(each)).hidden.numpy()).max() for each in beginnings]
    assert min(distances) <= 1e-5 * np.abs(found).max()


def tokens(model: Model, text: str) -> list[int]:
    return model.tokenizer.encode(model.prompt(text).rstrip(" ")).ids


def trained(model: Model, data: Data, folder: Path, *more: str) -> Path:
    """The folder of an adapter."""
    experiment = Experiment(model, data, folder)
    experiment.run("--template", model.family.template, "--method", "adapters", *more, shots="2")
    return folder / "run" / "adapters" / "shots-2" / "seed-0"


def test_a_tokenizer_that_cuts(data: Data, tmp_path: Path) -> None:
    """Sentence encoders come with tokenizers that cut texts: what stands behind the text stays all the same."""
    model = Model("bert", tmp_path / "model")
    model.tokenizer.enable_truncation(24)
    model.tokenizer.save(str(model.folder / "tokenizer.json"))
    model.tokenizer.no_truncation()
    long = " and ".join(each["text"] for each in data.train)
    adapter = trained(model, data, tmp_path)
    done = run("classify", "--model", model.folder, "--adapter", adapter, "--cache", tmp_path / "one", long)
    assert done.returncode == 0 and "1 text was shortened" in done.stderr
    check_shortened(model, long, tmp_path / "one", 24)


# ---- Methods


def similarities(found: dict[str, tuple[Array, Array]], texts: list[str]) -> Array:
    """20 times the cosines with the label words' vectors."""

    def normal(names: list[str]) -> Array:
        rows = np.array([found[name][1] for name in names], np.float64)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return 20 * normal(texts) @ normal([word for words in WORDS.values() for word in words]).T


def probabilities(experiment: Experiment, texts: list[str]) -> Array:
    """Of classes: the greatest of their words, of which all are likely 1 together."""
    found = cached(experiment.folder / "cache")
    scores = np.array([found[text][0] for text in texts], np.float64)
    if scores.shape[1] == 0:
        scores = similarities(found, texts)
    words = np.exp(scores - scores.max(1, keepdims=True))
    words /= words.sum(1, keepdims=True)
    return np.stack([words[:, OWNERS == label].max(1) for label in range(len(LABELS))], 1)


def test_methods(experiment: Experiment) -> None:
    results, test, train = experiment.results(), experiment.data.test, experiment.data.train
    found = cached(experiment.folder / "cache")
    zero = probabilities(experiment, [each["text"] for each in test])
    check(results["zero-shot", 0], zero.argmax(1), test)
    empty = probabilities(experiment, [""])
    check(results["calibrated-zero-shot", 0], (zero / empty).argmax(1), test)
    known, asked = (np.array([found[each["text"]][1] for each in rows], np.float64) for rows in (train, test))
    labels = [LABELS.index(each["label"]) for each in train]
    means = NearestCentroid().fit(known, labels)
    check(results["class-mean", SHOTS], means.predict(asked), test)
    regression = LogisticRegression(tol=1e-8, max_iter=100_000).fit(known, labels)
    check(results["logistic-regression", SHOTS], regression.predict(asked), test)
    assert {(name, row["queries"]) for (name, _), row in results.items()} == {
        ("zero-shot", 0),
        ("calibrated-zero-shot", 1),
        ("class-mean", len(train)),
        ("logistic-regression", len(train)),
        ("dect", len(train) + 1),
    }


def test_a_saved_adapter_gives_the_same_accuracy(experiment: Experiment) -> None:
    adapter = experiment.folder / "run" / "adapters" / f"shots-{SHOTS}" / "seed-0"
    arguments = ["classify", "--model", experiment.model.folder, "--adapter", adapter]
    for cache in ([], ["--cache", experiment.folder / "cache"]):
        found = json.loads(seam(*arguments, *cache, "--data", experiment.data.folder / "test.jsonl", "--json"))
        row = experiment.results()["dect", SHOTS]
        assert found["texts"] == len(experiment.data.test)
        assert found["accuracy"] == pytest.approx(100 * row["accuracy"]["mean"])
        assert found["macro_f1"] == pytest.approx(100 * row["macro_f1"]["mean"])
    texts = [each["text"] for each in experiment.data.test]
    labels = seam(*arguments, *texts).splitlines()
    actual = [each["label"] for each in experiment.data.test]
    assert 100 * np.mean([one == other for one, other in zip(labels, actual, strict=True)]) == pytest.approx(
        found["accuracy"]
    )
    lines = [json.loads(line) for line in seam(*arguments, "--json", *texts[:3]).splitlines()]
    assert [line["label"] for line in lines] == labels[:3] and [line["text"] for line in lines] == texts[:3]
    assert all(max(line["scores"], key=line["scores"].get) == line["label"] for line in lines)


def test_texts_take_the_adapters_of_their_routes(bert: Experiment, tmp_path: Path) -> None:
    """Each with a prompt of its own, and every text as with its adapter alone."""
    bert.run("--template", "{text} It was [MASK].", output="one")
    bert.run("--template", "{text} [MASK]", "--option", "lambda=0.5", output="two")
    folders = {name: bert.folder / name / "adapters" / f"shots-{SHOTS}" / "seed-0" for name in ("one", "two")}
    rows = [each | {"way": name} for each, name in zip(bert.data.test, ["one", "two", "two"] * 99, strict=False)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    named = [part for name, folder in folders.items() for part in ("--adapter", f"{name}={folder}")]
    common = ["classify", "--model", bert.model.folder, "--cache", bert.folder / "cache"]
    found = json.loads(seam(*common, *named, "--data", tmp_path / "data.jsonl", "--route-column", "way", "--json"))
    assert found["texts"] == len(rows)
    right = 0
    for name, folder in folders.items():
        own = [each for each in rows if each["way"] == name]
        texts = [each["text"] for each in own]
        labels = seam(*common, "--adapter", folder, *texts).splitlines()
        assert seam(*common, *named, "--route", name, *texts).splitlines() == labels
        right += sum(label == each["label"] for label, each in zip(labels, own, strict=True))
    assert found["accuracy"] == pytest.approx(100 * right / len(rows))
    sentence = run(*common, *named, "text").stderr
    assert 'there is no adapter for the default route: --adapter gives those of route "one", route "two"' in sentence
    sentence = run(*common, *named[:2], "--data", tmp_path / "data.jsonl", "--route-column", "way").stderr
    assert 'data.jsonl, line 2: there is no adapter for route "two"' in sentence


def test_a_second_run_asks_nothing(experiment: Experiment) -> None:
    again = experiment.run("--template", experiment.model.family.template, output="again")
    assert "The model was asked 0 times in 0.0 s." in again
    one, other = experiment.results(), experiment.results("again")
    assert {key: row["accuracy"] for key, row in one.items()} == {key: row["accuracy"] for key, row in other.items()}


# ---- The cache


def asked(output: str) -> int:
    [count] = re.findall(r"The model was asked (\d+) times", output)
    return int(count)


def test_what_asks_the_model_again(bert: Experiment) -> None:
    assert asked(bert.run()) == len(bert.data.texts) + 1
    for setting in ("--option lambda=0.5", "--scores probability", "--epochs 3", "--learning-rate 0.1"):
        assert asked(bert.run(*setting.split())) == 0
    assert asked(bert.run(shots="1 4", seeds=3)) == 0
    for more in (["--multi-token", "mean"], ["--template", "{text} It was [MASK]."]):
        assert asked(bert.run(*more)) > 0 and asked(bert.run(*more)) == 0


def test_another_tokenizer_is_another_model(data: Data, tmp_path: Path) -> None:
    experiment = Experiment(Model("bert", tmp_path / "model"), data, tmp_path)
    assert asked(experiment.run()) > 0
    file = tmp_path / "model" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["normalizer"]["strip_accents"] = True
    file.write_text(json.dumps(content))
    assert asked(experiment.run()) > 0


def test_label_words_of_sentence_encoders_belong_to_their_template(
    data: Data, models: Callable[[str], Model], tmp_path: Path
) -> None:
    """The words are put into the template, too: nothing asked with one may serve another."""
    experiment = Experiment(models("bert-no-head"), data, tmp_path)
    experiment.run("--template", "a film: {text}")
    assert asked(experiment.run("--template", "{text}")) == len(data.texts) + 1 + len(OWNERS)
    fresh = Experiment(experiment.model, data, tmp_path / "fresh")
    fresh.run("--template", "{text}")
    for method in (("zero-shot", 0), ("dect", SHOTS)):
        assert fresh.results()[method]["accuracy"] == experiment.results()[method]["accuracy"]


# ---- Draws


def test_seeds_shots_and_a_limit(bert: Experiment) -> None:
    done = bert.run("--test-limit", "20", shots="4 1", seeds=3)
    assert "test.jsonl, 20 texts, bert" in done
    results = bert.results()
    assert {key for key in results if key[1]} == {
        (method, shots) for method in ("class-mean", "logistic-regression", "dect") for shots in (1, 4)
    }
    assert all(row["accuracy"]["n"] == (3 if shots else 1) for (_, shots), row in results.items())
    # Each draw is what its adapter comes to on the same texts.
    limited = bert.folder / "limited.jsonl"
    limited.write_text("".join(json.dumps(each) + "\n" for each in bert.data.test[:20]))
    classify = ["classify", "--model", bert.model.folder, "--data", limited, "--json", "--adapter"]
    for shots in (1, 4):
        adapters = [bert.folder / f"run/adapters/shots-{shots}/seed-{seed}" for seed in range(3)]
        found = [json.loads(seam(*classify, adapter))["accuracy"] / 100 for adapter in adapters]
        row = results["dect", shots]["accuracy"]
        assert (row["mean"], row["sd"]) == pytest.approx((np.mean(found), np.std(found, ddof=1)))
    # The same again, and another draw for another seed.
    bert.run("--test-limit", "20", shots="4 1", seeds=3, output="again")
    weights = {
        output: [
            (bert.folder / output / f"adapters/shots-4/seed-{seed}/adapter_model.safetensors").read_bytes()
            for seed in range(3)
        ]
        for output in ("run", "again")
    }
    assert weights["run"] == weights["again"] and len(set(weights["run"])) == 3


def test_in_context(data: Data, models: Callable[[str], Model], tmp_path: Path) -> None:
    """One example of each class in front of the text, as many of the last ones as fit."""
    model = models("llama")
    experiment = Experiment(model, data, tmp_path)
    rows = [next(each for each in data.train if each["label"] == label and len(each["text"]) < 30) for label in LABELS]
    (tmp_path / "few.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    done = run(
        "fewshot",
        "--model",
        model.folder,
        *data.arguments,
        "--train",
        tmp_path / "few.jsonl",
        "--method",
        "in-context",
        "--shots",
        "1",
        "--seeds",
        "1",
        "--output",
        tmp_path / "run",
    )
    assert done.returncode == 0, done.stderr
    solved = [f"{each['text']} In summary, it was {WORDS[each['label']][0]}" for each in rows]
    scores, crowded = [], 0
    for each in data.test:
        parts = [*solved, f"{each['text']} In summary, it was"]
        while len(model.tokenizer.encode("\n\n".join(parts)).ids) > 60:
            parts.pop(0)
        crowded += len(parts) <= len(solved)
        logits = model.answer("\n\n".join(parts)).logits
        words = model.word_scores(logits) if logits is not None else np.empty(0)
        scores.append([words[OWNERS == label].max() for label in range(len(LABELS))])
    assert 0 < crowded
    assert f"{crowded} prompts in context had no room for all examples: the first ones were left out\n" in done.stderr
    check(experiment.results()["in-context", 1], np.array(scores).argmax(1), data.test)
    # Nothing of it is kept: it was asked once for its own sake, once for the features.
    assert asked(done.stdout) == len(data.test) + len({each["text"] for each in data.test + rows}) + 1


def test_pairs_of_texts(bert: Experiment, tmp_path: Path) -> None:
    rng, pairs = random.Random(3), {}
    for name, rows in (("train", bert.data.train), ("test", bert.data.test)):
        pairs[name] = [each | {"other": rng.choice(bert.data.train)["text"]} for each in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in pairs[name]))
    template = "{text} [MASK] {text_b}"
    bert.run(
        "--train",
        tmp_path / "train.jsonl",
        "--test",
        tmp_path / "test.jsonl",
        "--template",
        template,
        "--text-b-column",
        "other",
        shots="2",
    )
    answers = [
        bert.model.answer(bert.model.prompt(each["text"], template).replace("{text_b}", each["other"]))
        for each in pairs["test"]
    ]
    scores = np.array([bert.model.word_scores(each.logits) for each in answers if each.logits is not None])
    check(bert.results()["zero-shot", 0], OWNERS[scores.argmax(1)], pairs["test"])


def test_the_default_template(bert: Experiment) -> None:
    bert.run(shots="1")
    config = json.loads((bert.folder / "run/adapters/shots-1/seed-0/adapter_config.json").read_text())
    assert config["task"] == {
        "schema": 1,
        "template": MASKED,
        "multi_token": "first",
        "scores": "logit",
        "labels": WORDS,
    }
