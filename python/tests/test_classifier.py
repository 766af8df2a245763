"""Classification of texts by label words and DecT, from Python."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

import seamkit
from fewshot_models import LABELS, WORDS, Model, write_reviews


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model("bert", tmp_path_factory.mktemp("bert") / "model")


def test_a_classifier(runtime: seamkit.Runtime, model: Model, tmp_path: Path) -> None:
    rows = write_reviews(tmp_path / "train.jsonl", 8, 1)
    texts, labels = [each["text"] for each in rows], [each["label"] for each in rows]
    task = {"template": model.family.template, "labels": WORDS}
    backbone = runtime.open(model.folder)
    with seamkit.Classifier(backbone, task, seamkit.Tokenizer(model.folder), tmp_path / "cache") as plain:
        assert plain.labels == LABELS
        logits = model.answer(model.prompt(texts[0])).logits
        assert logits is not None
        words = model.word_scores(logits)
        expected = [words[:2].max(), *words[2:]]
        # Of the largest: both compute in f32, with sums in another order.
        assert np.abs(plain.scores(texts[:1])[0] - expected).max() <= 1e-5 * np.abs(expected).max()
        assert plain.query_count == 1
    head = backbone.classifier("dect", len(LABELS), seed=1)
    classifier = seamkit.Classifier(backbone, task, seamkit.Tokenizer(model.folder), tmp_path / "cache")
    classifier.attach(head)
    assert head.task is None
    losses = classifier.fit(texts, labels, epochs=60, learning_rate=0.03)
    assert len(losses) == 60 and losses[-1] < losses[0]
    # One text was asked before and is in the cache; DecT asks the empty text, too.
    assert classifier.query_count == len(set(texts))
    scores = classifier.scores(texts)
    assert classifier.predict(texts) == [LABELS[each] for each in scores.argmax(1)]
    # The loss of a further epoch, from the scores themselves.
    exact = scores.astype(np.float64)
    right = exact[np.arange(len(labels)), [LABELS.index(each) for each in labels]]
    loss = (np.log(np.exp(exact).sum(1)) - right).mean()
    assert loss < losses[0] and loss == pytest.approx(losses[-1], rel=0.05)
    head.save(tmp_path / "head")
    loaded = backbone.load(tmp_path / "head")
    assert loaded.task is not None and loaded.task["template"] == task["template"]
    again = seamkit.Classifier(backbone, loaded.task, seamkit.Tokenizer(model.folder))
    again.attach(loaded)
    # Asked in other batches: sums in another order.
    assert np.abs(again.scores(texts) - scores).max() <= 1e-5 * np.abs(scores).max()


def test_interruption(runtime: seamkit.Runtime, model: Model) -> None:
    """Ctrl-C is heard between the batches that the model is asked in, and what was answered stays."""
    backbone = runtime.open(model.folder)
    classifier = seamkit.Classifier(
        backbone, {"template": model.family.template, "labels": WORDS}, seamkit.Tokenizer(model.folder)
    )
    classifier.attach(backbone.classifier("dect", len(LABELS)))
    texts = [f"w{index}" for index in range(2000)]
    labels = [index % 3 for index in range(len(texts))]
    seen: list[seamkit.Progress] = []

    def interrupt(state: seamkit.Progress) -> None:
        seen.append(state)
        if state.done:
            signal.raise_signal(signal.SIGINT)

    # A shell starts what runs in the background with SIGINT ignored.
    before_it = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            classifier.fit(texts, labels, progress=interrupt)
    finally:
        signal.signal(signal.SIGINT, before_it)
    before = classifier.query_count
    assert 0 < before < len(texts) and {each.activity for each in seen} == {"classify"}
    seen.clear()
    assert len(classifier.fit(texts, labels, epochs=3, progress=seen.append)) == 3  # None goes on
    assert classifier.query_count <= len(texts) + 1  # the empty text
    assert [each.done for each in seen if each.activity == "fit"] == [0, 1, 2, 3]
    assert seen[-1].total == 3 and seen[-1].loss > 0
    with pytest.raises(seamkit.CancelledError):
        classifier.fit(texts, labels, epochs=3, progress=lambda state: state.done < 2)


def test_wrong_texts_and_labels(runtime: seamkit.Runtime, model: Model) -> None:
    task = {"template": model.family.template, "labels": WORDS}
    backbone = runtime.open(model.folder)
    classifier = seamkit.Classifier(backbone, task, seamkit.Tokenizer(model.folder))
    with pytest.raises(seamkit.InvalidArgumentError, match='no label "fine"; there are negative'):
        classifier.fit(["a"], ["fine"])
    with pytest.raises(seamkit.ShapeError, match="a label for each of 2 texts, found 1"):
        classifier.fit(["a", "b"], [0])
    with pytest.raises(seamkit.InvalidArgumentError, match="every class needs an example, and class 2 has none"):
        classifier.fit(["a", "b"], [0, 1])
    with pytest.raises(seamkit.InvalidArgumentError, match="the label of example 1 must be 0 ... 2, found 3"):
        classifier.fit(["a", "b"], [0, 3])
    assert classifier.query_count == 0
    with pytest.raises(seamkit.SeamError):
        seamkit.Classifier(backbone, {"template": "no place", "labels": WORDS}, seamkit.Tokenizer(model.folder))


def test_integers_are_names_where_there_are_such(runtime: seamkit.Runtime, model: Model, tmp_path: Path) -> None:
    """What `seam classify` reads from a file: a label 1 is that of the name "1", wherever it stands."""
    rows = write_reviews(tmp_path / "train.jsonl", 4, 1)
    texts, places = [each["text"] for each in rows], [LABELS.index(each["label"]) for each in rows]
    names = [str(each) for each in reversed(range(len(LABELS)))]
    task = {"template": model.family.template, "labels": dict(zip(names, WORDS.values(), strict=True))}
    backbone, losses = runtime.open(model.folder), []
    for given in ([names[each] for each in places], [int(names[each]) for each in places]):
        with seamkit.Classifier(backbone, task, seamkit.Tokenizer(model.folder), tmp_path / "cache") as classifier:
            classifier.attach(backbone.classifier("dect", len(LABELS), seed=1))
            losses.append(classifier.fit(texts, given, epochs=3))
            for wrong, sentence in (
                ([len(names), *places[1:]], "is the name of a label and .* is not"),
                ([0.5, *places[1:]], "found 0.5"),
                ([True, *places[1:]], "found True"),
                (["other", *places[1:]], 'no label "other"'),
            ):
                with pytest.raises(seamkit.InvalidArgumentError, match=sentence):
                    classifier.fit(texts, wrong)
    assert losses[0] == losses[1]
