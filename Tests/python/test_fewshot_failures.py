"""What `seam fewshot` and `seam classify` refuse: one sentence, and nothing half written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from command_line import run, seam
from fewshot_models import MASKED, WORDS, Model, write_reviews

SHOTS = 2


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, data and an adapter of each model, nothing wrong with any."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "words.json").write_text(json.dumps(WORDS))
    for seed, name in enumerate(("train", "test")):
        write_reviews(folder / f"{name}.jsonl", 4, seed)
    for name in ("bert", "bert-no-head", "gpt2", "t5"):
        Model(name, folder / name)
    Model("bert", folder / "wide", hidden_size=32)
    Model("bert", folder / "deep", num_hidden_layers=2)
    seam(*arguments(folder), "--method", "adapters", "--output", folder / "run")
    return folder


def arguments(good: Path, model: str = "bert") -> list[str | Path]:
    data = [part for name in ("train", "test") for part in (f"--{name}", good / f"{name}.jsonl")]
    return [
        "fewshot",
        "--model",
        good / model,
        *data,
        "--verbalizer",
        good / "words.json",
        "--shots",
        str(SHOTS),
        "--seeds",
        "2",
    ]


def refusal(*command: str | Path, status: int = 1) -> str:
    """The sentence of a command that fails as it should: not by a crash, and with nothing else said."""
    done = run(*command)
    assert done.returncode == status and done.stdout == "", done
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("Error: ").rstrip("\n")


# ---- seam fewshot


@dataclass(frozen=True)
class Case:
    """Arguments that replace the good ones, files that are written before, and what the sentence says."""

    says: list[str]
    more: list[str] = field(default_factory=list)
    model: str = "bert"
    words: Any = None
    train: str | bytes | None = None
    test: str | bytes | None = None


def rows(*pairs: tuple[str, Any], **more: Any) -> str:
    return "".join(json.dumps({"text": text, "label": label} | more) + "\n" for text, label in pairs)


ONE_EACH = [("it was bad", "negative"), ("it was good", "positive"), ("it was odd", "mixed")]
TWO_EACH = ONE_EACH + [("so bad", "negative"), ("so good", "positive"), ("so odd", "mixed")]
CASES = {
    "a label without words": Case(["words.json", 'label "mixed" has no words'], words=WORDS | {"mixed": []}),
    "an empty word": Case(["words.json", 'label "mixed" has an empty word'], words=WORDS | {"mixed": [""]}),
    "an unknown word": Case(
        ['"日本" of label "mixed" is not in the model\'s vocabulary'], words=WORDS | {"mixed": "日本"}
    ),
    "the same first token": Case(
        ['"unbelievable"', '"unbeliever"', '"mixed"', '"positive"', "same first token", 'multi-token "mean" may'],
        words=WORDS | {"positive": "unbeliever"},
    ),
    "one label": Case(["words.json", "expected 2 labels or more, found 1"], words={"negative": "bad"}),
    "words that are no JSON": Case(["words.json", "line 1"], words="{"),
    "a class without an example": Case(
        ["train.jsonl", 'class "mixed" has 0 examples, too few for 2 shots'], train=rows(*ONE_EACH[:2] * 4)
    ),
    "too few examples": Case(
        ["train.jsonl", '"negative" has 4 examples, too few for 5 shots'], more=["--shots", "1", "5"]
    ),
    "no {text}": Case(["there is no {text} in it"], more=["--template", "It was [MASK]."]),
    "an unknown placeholder": Case(["{title} is unknown"], more=["--template", "{title} {text} [MASK]"]),
    "two masks": Case(["at most one [MASK], found 2"], more=["--template", "{text} [MASK] [MASK]"]),
    "no mask": Case(["has no [MASK], where this model gives its answer"], more=["--template", "{text} It was"]),
    "text behind the mask": Case(["has text after [MASK]"], model="gpt2", more=["--template", MASKED]),
    "a mask without a head": Case(
        ["no language-model head to fill it"], model="bert-no-head", more=["--template", MASKED]
    ),
    "no mask token": Case(["tokenizer has no mask token"], model="gpt2-as-bert"),
    "a template too long": Case(
        ["without its text is longer than the 40 tokens"], more=["--template", "{text} [MASK]" + " was" * 40]
    ),
    "a text that spells the mask": Case(
        ['"it was [MASK] bad', '"[MASK]" once, found it 2 times'], test=rows(("it was [MASK] bad", "negative"))
    ),
    "a text twice": Case(
        ["train.jsonl: lines 1 and 4 hold the same text", "allow duplicates"],
        train=rows(*TWO_EACH[:3], TWO_EACH[0], *TWO_EACH[4:]),
    ),
    "a text with two labels": Case(
        ["train.jsonl: lines 1 and 5", 'with the labels "negative" and "positive"'],
        more=["--allow-duplicates"],
        train=rows(*TWO_EACH[:4], ("it was bad", "positive"), TWO_EACH[5]),
    ),
    "an unknown label": Case(
        ["test.jsonl, line 2", 'the label "so" is unknown, known are "negative", "positive", "mixed"'],
        test=rows(ONE_EACH[0], ("it was", "so")),
    ),
    "a label that is no text": Case(["test.jsonl, line 1", "found an array"], test=rows(("it was", ["so"]))),
    "bytes that are no UTF-8": Case(["test.jsonl", "line 1", "UTF-8"], test=b'{"text": "\xff", "label": "mixed"}\n'),
    "a missing column": Case(["train.jsonl", "sentence"], more=["--text-column", "sentence"]),
    "no second text": Case(
        ["train.jsonl", "has {text_b}, but there is no column of second texts"],
        more=["--template", "{text} [MASK] {text_b}"],
    ),
    "a second text too many": Case(
        ["test.jsonl", "has no {text_b}, but there is a column of second texts"],
        test=rows(*ONE_EACH, text_b="and more"),
    ),
    "an empty text": Case(['test.jsonl, line 1: "text" must be a text, found an empty one'], test=rows((" ", "mixed"))),
    "an empty file": Case(["test.jsonl"], test=""),
    "no file": Case(["nowhere.jsonl"], more=["--test", "nowhere.jsonl"]),
    "no shots": Case(["--shots must be positive, found 0"], more=["--shots", "4", "0"]),
    "no seeds": Case(["--seeds must be positive, found 0"], more=["--seeds", "0"]),
    "no epochs": Case(["epochs must be 1 or more, found 0"], more=["--epochs", "0"]),
    "a negative limit": Case(["--test-limit must be 0 or more, found -1"], more=["--test-limit=-1"]),
    "a learning rate that is no number": Case(
        ["learning_rate must be 0 or more, found nan"], more=["--learning-rate", "nan"]
    ),
    "a method twice": Case(["--method zero-shot is given twice"], more=["--method", "zero-shot"] * 2),
    "in-context on a masked model": Case(["decoder-only"], more=["--method", "in-context"]),
    "in-context on an encoder-decoder": Case(["decoder-only"], model="t5", more=["--method", "in-context"]),
    "an unknown option": Case(["lamda", "dect"], more=["--option", "lamda=1"]),
    "an option out of range": Case(["lambda"], more=["--option", "lambda=-1"]),
    "no adapter": Case(["--adapter must name one"], more=["--adapter", ""]),
    "an unknown adapter": Case(['"decd"'], more=["--adapter", "decd"]),
    "an adapter of another seam": Case(["encoder.output", "decoder.output"], more=["--adapter", "repcali"]),
    "NaN": Case(["model.safetensors", "NaN"], model="nan"),
    "an option for a server": Case(["are for a server: give --base-url"], more=["--api-model", "m"]),
    "a model and a server": Case(
        ["is a local model, and a server is to be asked"], more=["--base-url", "http://127.0.0.1:1/v1"]
    ),
}


@pytest.fixture
def broken(good: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Models that are not good."""

    def make(name: str) -> Path:
        folder = shutil.copytree(good / ("gpt2" if name == "gpt2-as-bert" else "bert"), tmp_path / name)
        if name == "nan":
            weights = load_file(folder / "model.safetensors")
            weights["bert.encoder.layer.1.output.dense.weight"][2, 3] = float("nan")
            save_file(weights, folder / "model.safetensors", {"format": "pt"})
        else:
            # A masked model with the tokenizer of another one.
            for each in ("model.safetensors", "config.json"):
                shutil.copy(good / "bert" / each, folder)
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(config | {"mask_token_id": None}))
        return folder

    return make


@pytest.mark.parametrize("name", CASES)
def test_what_fewshot_refuses(good: Path, tmp_path: Path, broken: Callable[[str], Path], name: str) -> None:
    case = CASES[name]
    files = {"words.json": case.words, "train.jsonl": case.train, "test.jsonl": case.test}
    for file, content in files.items():
        if content is None:
            shutil.copy(good / file, tmp_path)
        else:
            data = content if isinstance(content, str | bytes) else json.dumps(content)
            (tmp_path / file).write_bytes(data if isinstance(data, bytes) else data.encode())
    model = good / case.model if (good / case.model).exists() else broken(case.model)
    sentence = refusal(
        *arguments(tmp_path, str(model)), "--output", tmp_path / "run", "--cache", tmp_path / "cache", *case.more
    )
    assert all(part in sentence for part in case.says), sentence
    assert not (tmp_path / "run").exists() or list((tmp_path / "run").rglob("*")) == []
    # Of texts that were asked before one that cannot be asked, answers may be kept.
    written = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert written == [] and ((tmp_path / "cache").exists() <= (name in ASKED))


# Found only when the texts are read: there is an empty folder for the cache by then.
ASKED = ["a template too long", "a text that spells the mask"]


def test_a_damaged_cache(good: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    seam(*arguments(good), "--output", tmp_path / "one", "--cache", cache)
    file = next(path for path in cache.rglob("*") if path.is_file())
    whole = file.read_bytes()
    for damaged in (whole[:-9], whole[:100], b"", whole[:-9] + b"123456789"):
        file.write_bytes(damaged)
        sentence = refusal(*arguments(good), "--output", tmp_path / "two", "--cache", cache)
        assert str(file) in sentence and not (tmp_path / "two").exists()
    file.write_bytes(whole)
    assert "asked 0 times" in seam(*arguments(good), "--output", tmp_path / "two", "--cache", cache)


def test_an_output_that_is_a_file(good: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    assert str(tmp_path / "run") in refusal(*arguments(good), "--output", tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


# ---- seam classify


def classify(
    good: Path, *more: str | Path, model: str = "bert", adapter: str = "run/adapters/shots-2/seed-0"
) -> list[str | Path]:
    return ["classify", "--model", good / model, "--adapter", good / adapter, *more]


def test_what_classify_refuses(good: Path, tmp_path: Path) -> None:
    def says(sentence: str, *parts: str) -> None:
        assert all(part in sentence for part in parts), sentence

    says(refusal("classify", "--model", good / "bert", "text"), "--adapter is needed")
    says(refusal(*classify(good, "text", model="wide")), "d_model", "24", "32")
    says(refusal(*classify(good, "text", model="deep")), "encoder_layers", "3", "2")
    says(refusal(*classify(good, "text", model="gpt2")), "encoder_layers")
    says(refusal(*classify(good, "text", " ")), "text 2 must be a text to classify, found an empty one")
    says(refusal(*classify(good)), "there is no text to classify")
    says(refusal(*classify(good, "--data", good / "test.jsonl", "text")), "with --data", '"text"')
    says(refusal(*classify(good, "text", adapter="bert")), "adapter_config.json")
    cache = tmp_path / "cache"
    says(refusal(*classify(good, "text", "--cache", cache, model="wide")), "d_model")
    assert not cache.exists()
    (tmp_path / "data.jsonl").write_text(rows(("it was", "so")))
    says(refusal(*classify(good, "--data", tmp_path / "data.jsonl")), "data.jsonl, line 1", '"so" is unknown')
    broken = shutil.copytree(good / "run", tmp_path / "run") / "adapters" / "shots-2"
    config = json.loads((broken / "seed-0" / "adapter_config.json").read_text())
    (broken / "seed-0" / "adapter_config.json").write_text(json.dumps(config | {"task": None}))
    says(refusal(*classify(good, "text", adapter=str(broken / "seed-0"))), "holds no classification task")
    task = config["task"] | {"template": "{text}: [MASK]"}
    (broken / "seed-0" / "adapter_config.json").write_text(json.dumps(config | {"task": task}))
    both = classify(good, "--adapter", broken / "seed-1", "text", adapter=str(broken / "seed-0"))
    says(refusal(*both), str(broken / "seed-0"), str(broken / "seed-1"), "trained for different tasks")
    (broken / "seed-0" / "adapter_config.json").write_text(json.dumps(config | {"task": task | {"colour": 1}}))
    says(refusal(*classify(good, "text", adapter=str(broken / "seed-0"))), "adapter_config.json", '"colour"')


def test_a_classifier_is_nothing_to_train_on_pairs(good: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"source": "it was bad", "target": "good"}\n')
    sentence = refusal(
        "train",
        "--model",
        good / "t5",
        "--adapter",
        "dect",
        "--train",
        pairs,
        "--steps",
        "1",
        "--output",
        tmp_path / "run",
    )
    assert "decoder.output" in sentence and "classification" in sentence, sentence
    assert not (tmp_path / "run").exists()
    seam(*arguments(good, "t5"), "--method", "adapters", "--output", tmp_path / "few")
    adapter = tmp_path / "few" / "adapters" / "shots-2" / "seed-0"
    for command in (["evaluate", "--data", pairs], ["generate", "it was"]):
        sentence = refusal(command[0], "--model", good / "t5", "--adapter", adapter, *command[1:])
        assert "decoder.output" in sentence, sentence


def test_duplicates_may_be_allowed(good: Path, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(rows(*TWO_EACH[:3], TWO_EACH[0], *TWO_EACH[4:]))
    seam(*arguments(good), "--train", tmp_path / "train.jsonl", "--allow-duplicates", "--output", tmp_path / "run")
    assert (tmp_path / "run" / "adapters" / "shots-2" / "seed-1").is_dir()
