"""DecTClassifier: training and use on both engines, in scikit-learn's tools, saved and pickled, and wrong use."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import seamkit
from dect_models import Folder
from fewshot_models import LABELS, WORDS, write_reviews
from unreliable_server import running

ENGINES = ("native", "torch")
SORTED = sorted(LABELS)
# Between the engines, of decision values: f32 in both, through 30 steps of training.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folder]:
    return {name: Folder(name, tmp_path_factory.mktemp(name) / "model") for name in ("gpt2", "bert-no-head")}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    rows = write_reviews(tmp_path_factory.mktemp("reviews") / "train.jsonl", 8, 1)
    return [each["text"] for each in rows], [each["label"] for each in rows]


def made(folder: Folder, engine: str, **options: Any) -> seamkit.DecTClassifier:
    backbone = str(folder.path) if engine == "native" else (folder.model, folder.tokenizer)
    given = {"template": folder.template, "verbalizer": WORDS, "learning_rate": 0.02} | options
    return seamkit.DecTClassifier(backbone, **given)


@pytest.mark.parametrize("name", ["gpt2", "bert-no-head"])
@pytest.mark.parametrize("adapter", ["dect", "linear-head"])
def test_both_engines_are_one_classifier(
    folders: dict[str, Folder], reviews: tuple[list[str], list[str]], tmp_path: Path, name: str, adapter: str
) -> None:
    X, y = reviews
    found = {each: made(folders[name], each, adapter=adapter).fit(X, y) for each in ENGINES}
    native, torch = found["native"], found["torch"]
    assert native.losses_ == pytest.approx(torch.losses_, rel=1e-4) and native.losses_[-1] < native.losses_[0]
    assert native.task_ == torch.task_
    scores = native.decision_function(X)
    assert scores.shape == (len(X), 3) and native.classes_.tolist() == SORTED
    assert np.abs(scores - torch.decision_function(X)).max() <= TOLERANCE * np.abs(scores).max()
    assert native.predict(X).tolist() == [SORTED[each] for each in scores.argmax(1)]
    probabilities = native.predict_proba(X)
    assert np.allclose(probabilities, np.exp(scores) / np.exp(scores).sum(1, keepdims=True), atol=1e-6)
    assert native.score(X, y) == (native.predict(X) == np.array(y)).mean() > 0.4
    # Each text once, the empty one, and for a sentence encoder the label words.
    assert native.query_count_ == torch.query_count_ == len(set(X)) + 1 + (4 if name == "bert-no-head" else 0)
    for one, other in (("native", "torch"), ("torch", "native")):
        found[one].save(tmp_path / one, notes="- made by a test")
        backbone = made(folders[name], other).backbone
        loaded = seamkit.DecTClassifier.load(tmp_path / one, backbone)
        assert loaded.classes_.tolist() == SORTED and loaded.adapter == adapter
        assert np.abs(loaded.decision_function(X) - scores).max() <= TOLERANCE * np.abs(scores).max()
        # What was loaded can be trained again: the same question, the same options.
        assert loaded.set_params(learning_rate=0.02).fit(X, y).losses_ == pytest.approx(native.losses_, rel=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_seeds(folders: dict[str, Folder], reviews: tuple[list[str], list[str]], engine: str) -> None:
    X, y = reviews
    classifier = made(folders["gpt2"], engine, random_state=3)
    first = classifier.fit(X, y).predict_proba(X)
    assert np.array_equal(classifier.fit(X, y).predict_proba(X), first)
    assert not np.array_equal(classifier.set_params(random_state=4).fit(X, y).predict_proba(X), first)
    states = [clone(classifier).set_params(random_state=np.random.RandomState(5)).fit(X, y).losses_ for _ in range(2)]
    assert states[0] == states[1]
    np.random.seed(1)
    drawn = [clone(classifier).set_params(random_state=None).fit(X, y).losses_ for _ in range(2)]
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_tools_of_scikit_learn(
    folders: dict[str, Folder], reviews: tuple[list[str], list[str]], engine: str
) -> None:
    X, y = reviews
    classifier = made(folders["gpt2"], engine, epochs=5)
    pipeline = make_pipeline(FunctionTransformer(lambda texts: [each.strip() for each in texts]), classifier)
    search = GridSearchCV(pipeline, {"dectclassifier__lambda_": [0.1, 1, 10]}, cv=2).fit([f" {each}" for each in X], y)
    assert set(search.best_params_) == {"dectclassifier__lambda_"}
    scores = cross_val_score(classifier, X, y, cv=3)
    assert scores.shape == (3,)
    # Nine trainings on folds and more: each text was asked once.
    best = search.best_estimator_[-1]
    assert best.query_count_ == len(set(X)) + 1
    assert best.head_.options["lambda"] == search.best_params_["dectclassifier__lambda_"]
    assert "classes_" not in vars(clone(best))
    assert clone(best).get_params() == best.get_params()


def test_several_processes_of_joblib(folders: dict[str, Folder], reviews: tuple[list[str], list[str]]) -> None:
    """Over a path: every process opens the model."""
    X, y = reviews
    expected, found = (
        GridSearchCV(made(folders["gpt2"], "native", epochs=3), {"lambda_": [0.1, 1]}, cv=2, n_jobs=jobs).fit(X, y)
        for jobs in (1, 2)
    )
    assert found.cv_results_["mean_test_score"].tolist() == expected.cv_results_["mean_test_score"].tolist()


@pytest.mark.parametrize("engine", ENGINES)
def test_pickles(folders: dict[str, Folder], reviews: tuple[list[str], list[str]], engine: str) -> None:
    X, y = reviews
    classifier = made(folders["gpt2"], engine).fit(X, y)
    expected = classifier.decision_function(X)
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(classifier))))
    assert np.abs(again.decision_function(X) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert again.classes_.tolist() == SORTED and again.task_ == classifier.task_
    unfitted = pickle.loads(pickle.dumps(clone(classifier)))
    assert unfitted.fit(X, y).losses_ == pytest.approx(classifier.losses_, rel=1e-5)


def test_an_open_backbone(
    runtime: seamkit.Runtime, folders: dict[str, Folder], reviews: tuple[list[str], list[str]]
) -> None:
    X, y = reviews
    backbone = runtime.open(folders["gpt2"].path)
    classifier = seamkit.DecTClassifier(backbone, folders["gpt2"].template, WORDS, learning_rate=0.02).fit(X, y)
    assert classifier.losses_ == made(folders["gpt2"], "native").fit(X, y).losses_
    assert clone(classifier).backbone is backbone
    for refused in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="a Backbone cannot be pickled or copied: it owns memory"):
            refused(classifier)


def test_a_cache_outlives_the_estimator(
    folders: dict[str, Folder], reviews: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    X, y = reviews
    first = made(folders["gpt2"], "native", cache=tmp_path / "cache").fit(X, y)
    second = made(folders["gpt2"], "native", cache=tmp_path / "cache").fit(X, y)
    assert first.query_count_ == len(set(X)) + 1 and second.query_count_ == 0
    assert second.losses_ == first.losses_


@pytest.mark.parametrize("engine", ENGINES)
def test_labels_and_texts_of_many_kinds(
    folders: dict[str, Folder], reviews: tuple[list[str], list[str]], engine: str
) -> None:
    X, y = reviews
    classifier = made(folders["gpt2"], engine)
    expected = classifier.fit(X, y).losses_
    for texts in (np.array(X), np.array(X, dtype=object), tuple(X), pd.Series(X, index=range(5, 5 + len(X)))):
        for labels in (np.array(y), np.array(y, dtype=object), pd.Series(y)):
            assert classifier.fit(texts, labels).losses_ == expected
    # Numbers count the keys of the verbalizer; or are keys themselves.
    numbers = [LABELS.index(each) for each in y]
    assert classifier.fit(X, numbers).losses_ == expected
    assert classifier.classes_.tolist() == [0, 1, 2] and classifier.predict(X).dtype.kind == "i"
    keyed = {7 - index: WORDS[label] for index, label in enumerate(LABELS)}
    classifier.set_params(verbalizer=keyed).fit(X, np.array([7 - each for each in numbers]))
    assert classifier.losses_ == expected and classifier.classes_.tolist() == [5, 6, 7]
    assert list(classifier.task_["labels"]) == ["7", "6", "5"]
    # Integers that are the texts of keys mean those, as where `seam classify` reads labels from a file.
    digits = {str(key): words for key, words in keyed.items()}
    classifier.set_params(verbalizer=digits).fit(X, np.array([7 - each for each in numbers]))
    assert classifier.losses_ == expected and classifier.classes_.tolist() == [5, 6, 7]
    with pytest.raises(seamkit.InvalidArgumentError, match="5 is the name of a label and 4 is not"):
        classifier.fit(X, np.array([6 - each for each in numbers]))
    # Without a verbalizer each label is its own word.
    own = classifier.set_params(verbalizer=None).fit(X, [{"mixed": "so_so"}.get(each, each) for each in y])
    assert own.task_["labels"] == {"negative": ["negative"], "positive": ["positive"], "so_so": ["so so"]}


@pytest.mark.parametrize("engine", ENGINES)
def test_two_classes_and_pairs(folders: dict[str, Folder], reviews: tuple[list[str], list[str]], engine: str) -> None:
    X, y = reviews
    pairs = list(zip(X, X[::-1], strict=True))
    labels = [each == "positive" for each in y]
    words = {"False": "bad", "True": "great"}
    classifier = made(
        folders["gpt2"], engine, template="{text} and {text_b} it was ", verbalizer={False: "bad", True: "great"}
    )
    expected = classifier.fit(pairs, labels).losses_
    assert list(classifier.task_["labels"]) == list(words)
    assert classifier.predict(pairs).dtype == bool
    decision, probabilities = classifier.decision_function(pairs), classifier.predict_proba(pairs)
    assert decision.shape == (len(pairs),) and np.array_equal(decision > 0, classifier.predict(pairs))
    assert np.allclose(1 / (1 + np.exp(-decision)), probabilities[:, 1], atol=1e-6)
    for table in (np.array(pairs), np.array(pairs, dtype=object), pd.DataFrame(pairs)):
        assert classifier.fit(table, labels).losses_ == expected


def test_defaults_suit_the_model(folders: dict[str, Folder], reviews: tuple[list[str], list[str]]) -> None:
    X, y = reviews
    for engine in ENGINES:
        causal = made(folders["gpt2"], engine, template=None).fit(X, y).task_
        assert (causal["template"], causal["scores"]) == ("{text} In summary, it was ", "logit")
        sentences = made(folders["bert-no-head"], engine, template=None).fit(X, y).task_
        assert (sentences["template"], sentences["scores"]) == ("{text}", "probability")
    options = made(folders["gpt2"], "torch", lambda_=2, options={"projection_width": 8, "radii": False}).fit(X, y)
    assert options.head_.options["lambda"] == 2 and options.head_.projection.shape == (8, 24)


def test_pooling(folders: dict[str, Folder], reviews: tuple[list[str], list[str]]) -> None:
    X, y = reviews
    losses = []
    for pooling in ("mean", "cls", "max", "pooler"):
        native, torch = (made(folders["bert-no-head"], each, pooling=pooling).fit(X, y) for each in ENGINES)
        assert native.losses_ == pytest.approx(torch.losses_, rel=1e-4)
        losses.append(native.losses_[-1])
    assert len(set(losses)) == 4


def sentence_encoder(folders: dict[str, Folder], path: Path, pooling: str, *more: str) -> str:
    shutil.copytree(folders["bert-no-head"].path, path)
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_mean_tokens": False, f"pooling_mode_{pooling}": True})
    )
    (path / "modules.json").write_text(
        json.dumps(
            [
                {"idx": index, "name": str(index), "path": "1_Pooling", "type": f"sentence_transformers.models.{each}"}
                for index, each in enumerate(("Transformer", "Pooling", *more))
            ]
        )
    )
    return str(path)


def test_the_pooling_of_the_folder(
    folders: dict[str, Folder], reviews: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    X, y = reviews
    common = {"template": "{text}", "verbalizer": WORDS, "learning_rate": 0.02}
    for mode, pooling in {"cls_token": "cls", "max_tokens": "max", "mean_tokens": "mean"}.items():
        path = sentence_encoder(folders, tmp_path / mode, mode, "Normalize")
        expected = made(folders["bert-no-head"], "native", pooling=pooling).fit(X, y).losses_
        for engine in ENGINES:
            found = seamkit.DecTClassifier(path, engine=engine, **common).fit(X, y).losses_
            assert found == pytest.approx(expected, rel=1e-4), (engine, mode)
    path = sentence_encoder(folders, tmp_path / "dense", "cls_token", "Dense")
    for engine in ENGINES:
        sentence = "modules.json lists a module of the type .*Dense: .*pooling=cls gives the one without it"
        with pytest.raises(seamkit.UnsupportedError, match=sentence):
            seamkit.DecTClassifier(path, engine=engine, **common).fit(X, y)
        seamkit.DecTClassifier(path, engine=engine, pooling="cls", **common).fit(X, y)


@pytest.mark.parametrize(
    "files, sentence",
    [
        ({"modules": [{"path": "", "type": "custom_st.Transformer"}]}, "a module of the type custom_st.Transformer"),
        ({"sentence_roberta_config": {"transformer_task": "fill-mask"}}, 'has "fill-mask" as "transformer_task"'),
        (
            {"sentence_bert_config": {"modality_config": {"text": {"method_output_name": "pooler_output"}}}},
            "pooler_output",
        ),
        ({"config_sentence_transformers": {"truncate_dim": 8}}, "cuts the vector to 8 numbers"),
    ],
)
def test_another_vector_is_refused(
    folders: dict[str, Folder],
    reviews: tuple[list[str], list[str]],
    tmp_path: Path,
    files: dict[str, Any],
    sentence: str,
) -> None:
    path = sentence_encoder(folders, tmp_path / "model", "cls_token")
    for name, content in files.items():
        (tmp_path / "model" / f"{name}.json").write_text(json.dumps(content))
    for engine in ENGINES:
        with pytest.raises(seamkit.UnsupportedError, match=sentence):
            seamkit.DecTClassifier(path, template="{text}", verbalizer=WORDS, engine=engine).fit(*reviews)


def test_texts_end_where_sentence_transformers_cuts_them(
    folders: dict[str, Folder], reviews: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    X, y = reviews
    path = sentence_encoder(folders, tmp_path / "short", "cls_token")
    (tmp_path / "short" / "sentence_bert_config.json").write_text('{"max_seq_length": 5}')
    native, torch = (
        seamkit.DecTClassifier(path, template="{text}", verbalizer=WORDS, engine=each).fit(X, y).losses_
        for each in ENGINES
    )
    assert native == pytest.approx(torch, rel=1e-4)
    (tmp_path / "short" / "sentence_bert_config.json").rename(tmp_path / "short" / "sentence_albert_config.json")
    for each in ENGINES:
        again = seamkit.DecTClassifier(path, template="{text}", verbalizer=WORDS, engine=each).fit(X, y).losses_
        assert again == pytest.approx(native, rel=1e-4)
    (tmp_path / "short" / "sentence_albert_config.json").unlink()
    whole = seamkit.DecTClassifier(path, template="{text}", verbalizer=WORDS).fit(X, y).losses_
    assert native != pytest.approx(whole, rel=1e-4)


def test_texts_that_sentence_transformers_would_lowercase(
    folders: dict[str, Folder], reviews: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    X, y = reviews
    path = sentence_encoder(folders, tmp_path / "lower", "cls_token")
    (tmp_path / "lower" / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    # By its own name transformers gives BERT's tokenizer a normaliser that lowercases, whatever the file has.
    (tmp_path / "lower" / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    file = tmp_path / "lower" / "tokenizer.json"
    content = json.loads(file.read_text())
    for lowercases in (True, False):
        file.write_text(json.dumps(content | {"normalizer": {"type": "Lowercase"} if lowercases else None}))
        for engine in ENGINES:
            classifier = seamkit.DecTClassifier(path, template="{text}", verbalizer=WORDS, engine=engine)
            if lowercases:
                classifier.fit(X, y)
                continue
            sentence = 'sentence_bert_config.json has "do_lower_case": true, and the tokenizer keeps capitals'
            with pytest.raises(seamkit.UnsupportedError, match=sentence):
                classifier.fit(X, y)


# ---- Wrong use


@pytest.mark.parametrize(
    "X, y, kind, message",
    [
        ([], [], seamkit.InvalidArgumentError, "X must hold one text or more"),
        ("a text", ["good"], seamkit.InvalidArgumentError, "X must be a list of texts, found 'a text'"),
        (5, ["good"], seamkit.InvalidArgumentError, "X must be a list of texts, found 5"),
        (["a", None], ["a", "b"], seamkit.InvalidArgumentError, "text 1 must be a string, found None"),
        (["a", float("nan")], ["a", "b"], seamkit.InvalidArgumentError, "text 1 must be a string, found nan"),
        (
            np.ones((2, 3)),
            [0, 1],
            seamkit.ShapeError,
            r"texts \[n\] or pairs of texts \[n, 2\], found 3 columns in row 0",
        ),
        (np.ones((2, 2)), [0, 1], seamkit.InvalidArgumentError, "text 0 must be a string, found 1.0"),
        (np.ones((2, 3, 2)), [0, 1], seamkit.ShapeError, "found 3 axes"),
        ([["a", "b"], ["c"]], [0, 1], seamkit.ShapeError, "found 1 columns in row 1"),
        ([["a", "b"], "c"], [0, 1], seamkit.ShapeError, "found 'c' in row 1"),
        (["a", "b"], ["negative"], seamkit.ShapeError, "y must hold a label for each of 2 texts, found 1"),
        (["a", "b"], None, seamkit.InvalidArgumentError, "y is None"),
        (
            ["a", "b"],
            ["negative", None],
            seamkit.InvalidArgumentError,
            "label 1 must be a string or a number, found None",
        ),
        (
            ["a", "b"],
            [0, float("nan")],
            seamkit.InvalidArgumentError,
            "label 1 must be a string or a number, found nan",
        ),
        (["a", "b"], ["negative"] * 2, seamkit.InvalidArgumentError, "2 classes or more, found one class, 'negative'"),
        (
            ["a", "b"],
            ["negative", "fine"],
            seamkit.InvalidArgumentError,
            "no label 'fine' in the verbalizer; there are 'negative', 'positive', 'mixed'",
        ),
        (["a", "b"], [0, 3], seamkit.InvalidArgumentError, "no label 3 in the verbalizer; there are 0, 1, 2"),
        (["a", "b"], ["negative", "mixed"], seamkit.InvalidArgumentError, "needs an example, and 'positive' has none"),
        (["a", "b"], [0.5, 1.5], ValueError, "continuous"),
        (["a", "b"], [[0, 1], [1, 0]], ValueError, r"1d array"),
    ],
)
def test_wrong_texts_and_labels(
    folders: dict[str, Folder], X: Any, y: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        made(folders["gpt2"], "native").fit(X, y)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "options, kind, message",
    [
        ({"template": "no place"}, seamkit.FormatError, "there is no {text} in it"),
        ({"template": "{text} {other} "}, seamkit.FormatError, "{other} is unknown, known are {text} and {text_b}"),
        ({"template": "{text} [MASK] [MASK]"}, seamkit.FormatError, r"at most one \[MASK\], found 2"),
        ({"template": "{text} {"}, seamkit.FormatError, "a { without a }"),
        ({"template": "{text} }"}, seamkit.FormatError, "a } without a {"),
        (
            {"template": "{text} {text_b}"},
            seamkit.InvalidArgumentError,
            "has {text_b}, but the text has no second text",
        ),
        ({"template": "{text} [MASK] so"}, seamkit.IncompatibleError, r"has text after \[MASK\]"),
        (
            {"verbalizer": {"negative": "bad", "positive": "bad", "mixed": "x"}},
            seamkit.FormatError,
            'the word "bad" stands for "negative" and for "positive"',
        ),
        ({"verbalizer": {"negative": [], "positive": "good", "mixed": "x"}}, seamkit.FormatError, "has no words"),
        ({"verbalizer": {"negative": " bad", "positive": "good", "mixed": "x"}}, seamkit.FormatError, "white space"),
        (
            {"verbalizer": {"negative": [""], "positive": "good", "mixed": "x"}},
            seamkit.FormatError,
            "has an empty word",
        ),
        (
            {"verbalizer": {"negative": [3], "positive": "good", "mixed": "x"}},
            seamkit.FormatError,
            "a word or an array",
        ),
        (
            {"verbalizer": {"negative": "good", "positive": "goody", "mixed": "x"}},
            seamkit.InvalidArgumentError,
            "have the same first token",
        ),
        ({"multi_token": "last"}, seamkit.FormatError, '"multi_token" must be one of first, mean'),
        ({"scores": "rank"}, seamkit.FormatError, '"scores" must be one of logit, probability'),
        ({"adapter": "nothing"}, seamkit.NotFoundError, "nothing"),
        ({"adapter": "repcali"}, seamkit.SeamError, "repcali"),
        ({"lambda_": -1}, seamkit.InvalidArgumentError, "lambda"),
        ({"options": {"width": 3}}, seamkit.InvalidArgumentError, "width"),
        ({"epochs": 0}, seamkit.InvalidArgumentError, "epochs must be 1 or more, found 0"),
        ({"learning_rate": -1.0}, seamkit.InvalidArgumentError, "learning_rate must be 0 or more, found -1.0"),
        ({"learning_rate": 1e38}, seamkit.NumericError, "learning rate may be too high"),
        ({"random_state": -1}, ValueError, "[Ss]eed"),
    ],
    ids=str,
)
@pytest.mark.parametrize("engine", ENGINES)
def test_wrong_parameters(
    folders: dict[str, Folder],
    reviews: tuple[list[str], list[str]],
    engine: str,
    options: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    classifier = made(folders["gpt2"], engine, **options)
    with pytest.raises(kind, match=message):
        classifier.fit(*reviews)
    with pytest.raises(NotFittedError):
        classifier.predict(["a"])


def test_wrong_backbones(folders: dict[str, Folder], reviews: tuple[list[str], list[str]], tmp_path: Path) -> None:
    folder = folders["gpt2"]
    for backbone, options, kind, message in [
        (tmp_path / "none", {}, seamkit.NotFoundError, "none"),
        (tmp_path / "none", {"engine": "torch"}, seamkit.NotFoundError, "no such file or folder"),
        (folder.model, {}, seamkit.InvalidArgumentError, "found .* without a tokenizer"),
        (3, {}, seamkit.InvalidArgumentError, "must be a path, a seamkit.Backbone, or"),
        ((folder.model, folder.tokenizer), {"engine": "native"}, seamkit.InvalidArgumentError, "does not run a tuple"),
        ((folder.model, folder.tokenizer), {"cache": tmp_path}, seamkit.InvalidArgumentError, "cache is for the nat"),
        ((folder.model, folder.tokenizer), {"batch_size": 0}, seamkit.InvalidArgumentError, "batch_size must be 1"),
        ((folder.model, folder.tokenizer), {"pooling": "sum"}, seamkit.InvalidArgumentError, "pooling must be one of"),
        (folder.path, {"engine": "gpu"}, seamkit.InvalidArgumentError, "engine must be one of native, torch"),
    ]:
        with pytest.raises(kind, match=message):
            seamkit.DecTClassifier(backbone, **options).fit(*reviews)


def test_loading_what_is_no_head(folders: dict[str, Folder], tmp_path: Path) -> None:
    backbone = str(folders["gpt2"].path)
    with pytest.raises(seamkit.NotFoundError):
        seamkit.DecTClassifier.load(tmp_path / "none", backbone)
    native = made(folders["gpt2"], "native")
    native._engine().backbone.adapter("prefix-tuning").save(tmp_path / "prefix")  # type: ignore[attr-defined]
    with pytest.raises(seamkit.NotFoundError, match="it holds no classification task"):
        seamkit.DecTClassifier.load(tmp_path / "prefix", backbone)
    with pytest.raises(NotFittedError):
        native.save(tmp_path / "head")


def test_without_scikit_learn() -> None:
    """The rest of the package works, and the estimator says what it needs."""
    program = """
import sys
sys.modules["sklearn"] = None
import seamkit
try:
    seamkit.DecTClassifier
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(seamkit.__file__).parents[1])},
    )
    assert done.stdout == (
        "seamkit.DecTClassifier needs scikit-learn, which is not installed: pip install 'seamkit[sklearn]'\n"
    )


def test_a_model_behind_a_server(runtime: seamkit.Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    X = [f"text {row}" for row in range(12)]
    y = ["good", "bad", "middling"] * 4
    words = {"good": "good", "bad": "bad", "middling": "so so"}
    with running() as server:
        backbone = runtime.open(id="remote", options={"base_url": server.url, "backoff": 0.01})
        classifier = seamkit.DecTClassifier(backbone, "{text} It was ", words).fit(X, y)
        asked = classifier.query_count_
        assert classifier.predict(X).shape == (12,)
        search = GridSearchCV(classifier, {"lambda_": [0.1, 1]}, cv=2).fit(X, y)
        assert search.best_estimator_.query_count_ == asked
