"""The native engine from Python: every object, its errors, what it owns, and that nothing leaks."""

from __future__ import annotations

import gc
import json
import pickle
import shutil
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seamkit
from resident import growth
from seamkit import Batch
from seamkit._native.dlpack import lent_count
from single_stack import bert
from tiny_models import add_tokenizer, reference, save, tokens

# Of the largest logit: both sides compute in f32 with sums in another order (as Tests/python/test_backbones.py).
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = save("marian", tmp_path_factory.mktemp("marian"))
    add_tokenizer(path)
    return path


@pytest.fixture
def backbone(runtime: seamkit.Runtime, folder: Path) -> seamkit.Backbone:
    return runtime.open(folder)


@pytest.fixture(scope="module")
def encoder(runtime: seamkit.Runtime, tmp_path_factory: pytest.TempPathFactory) -> seamkit.Backbone:
    path = tmp_path_factory.mktemp("bert")
    bert().save_pretrained(path)
    return runtime.open(path)


def batch(seed: int = 1) -> Batch:
    given = tokens(seed)
    return Batch(given.input_ids, given.attention_mask, given.labels)


def test_plugins_and_descriptions(runtime: seamkit.Runtime) -> None:
    ids = {each.id: each for each in runtime.plugins}
    assert ids["org.seamkit.repcali"].license == "Apache-2.0" and ids["org.seamkit.repcali"].abi == (1, 0)
    assert runtime.describe("repcali")["options"][0]["name"] == "lambda"


def test_forward_is_that_of_transformers(backbone: seamkit.Backbone, folder: Path) -> None:
    given = tokens(1)
    with torch.no_grad():
        expected = reference(folder)(**given.inputs).logits.numpy()
    logits, hidden = backbone.session().forward_with_hidden(batch())
    assert np.abs(logits - expected).max() <= TOLERANCE * np.abs(expected).max()
    assert hidden.shape == (*given.labels.shape, backbone.info.d_model)
    assert "encoder.output" in backbone.seams


def test_rows_of_several_lengths(backbone: seamkit.Backbone) -> None:
    """A row scores the same alone and filled up beside a longer one."""
    sources, targets = [[5, 6, 7, 2], [8, 2]], [[9, 2], [4, 5, 6, 2]]
    together = backbone.session().score(backbone.batch(sources, targets))
    for index, each in enumerate(together):
        [alone] = backbone.session().score(backbone.batch(sources[index : index + 1], targets[index : index + 1]))
        assert alone.token_count == each.token_count == len(targets[index])
        assert abs(alone.log_probability - each.log_probability) <= TOLERANCE * abs(alone.log_probability)
    with pytest.raises(seamkit.ShapeError, match="targets must be 2 rows"):
        backbone.batch(sources, targets[:1])
    with pytest.raises(seamkit.InvalidArgumentError, match="the batch is empty"):
        backbone.session().encode(backbone.batch([]))


def test_training_scoring_saving(backbone: seamkit.Backbone, tmp_path: Path) -> None:
    session = backbone.session()
    adapter = session.add("repcali", {"lambda": 0.5})
    before = session.score(batch())
    session.begin_training(learning_rate=1e-2)
    steps = [session.train_step(batch()) for _ in range(6)]
    session.end_training()
    assert steps[-1].loss < steps[0].loss and steps[-1].step == 6
    assert sum(each.log_probability for each in session.score(batch())) > sum(e.log_probability for e in before)
    adapter.save(tmp_path / "adapter", notes="- made by a test")
    loaded = backbone.load(tmp_path / "adapter")
    assert loaded.options == adapter.options and loaded.options["lambda"] == 0.5
    expected = session.forward(batch())
    assert np.array_equal(backbone.session(loaded).forward(batch()), expected)
    session.detach(adapter)
    session.load(tmp_path / "adapter")
    assert np.array_equal(session.forward(batch()), expected)
    assert np.array_equal(adapter.call("shift"), adapter.parameters["embedding.weight"] * np.float32(0.5))
    assert adapter.call("lambda") == 0.5


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_training_from_an_upper_layer(backbone: seamkit.Backbone, tmp_path: Path, stack: str) -> None:
    """What flows into the layer is computed once for each example, which is known beside other rows and padding, too."""
    assert backbone.info.encodes_layer_ranges and backbone.info.decodes_layer_ranges
    sources, targets = [[5, 6, 7, 2], [8, 2], [9, 4, 2]], [[9, 2], [4, 5, 6, 2], [7, 2]]
    batches = [[0, 1, 2], [1, 2], [0, 2], [2, 1, 0], [0, 0]]

    def losses(**cache: Any) -> list[float]:
        session = backbone.session(backbone.adapter("lora", {"layers": "1", "stack": stack}, seed=5))
        session.begin_training(learning_rate=1e-2, **cache)
        steps = [
            session.train_step(backbone.batch([sources[row] for row in rows], [targets[row] for row in rows]))
            for rows in batches * 2
        ]
        session.end_training()
        return [each.loss for each in steps]

    expected = losses()
    kept, in_file = losses(seam_cache_bytes=-1), losses(seam_cache_bytes=1, seam_cache_folder=tmp_path)
    assert np.allclose(kept, expected, rtol=0, atol=1e-5) and kept == in_file and not list(tmp_path.iterdir())
    session = backbone.session(backbone.adapter("lora"))
    with pytest.raises(seamkit.InvalidArgumentError, match="seam_cache_bytes must be a number of bytes"):
        session.begin_training(seam_cache_bytes=-2)
    with pytest.raises(seamkit.NotFoundError, match="seam_cache_folder must be a folder"):
        backbone.session(backbone.adapter("lora", {"layers": "1"})).begin_training(
            seam_cache_bytes=1, seam_cache_folder=tmp_path / "none"
        )


def test_generation(backbone: seamkit.Backbone, folder: Path) -> None:
    given, session = tokens(3), backbone.session()
    options = backbone.generate_options(num_beams=3, max_new_tokens=7, num_return_sequences=2)
    found = session.generate(Batch(given.input_ids, given.attention_mask), options)
    expected = reference(folder).generate(
        input_ids=given.inputs["input_ids"],
        attention_mask=given.inputs["attention_mask"],
        num_beams=3,
        max_new_tokens=7,
        num_return_sequences=2,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    flat = [each for item in found for each in item]
    for mine, row, score in zip(flat, expected.sequences[:, 1:].tolist(), expected.sequences_scores, strict=True):
        assert mine.tokens == row[: len(mine.tokens)]
        assert mine.score == pytest.approx(score.item(), rel=1e-4)
    with pytest.raises(seamkit.CancelledError):
        session.generate(batch(), options, should_continue=lambda tokens: tokens < 2)

    seen: list[seamkit.Progress] = []
    greedy = backbone.generate_options(max_new_tokens=4, min_new_tokens=4)
    [[row]] = session.generate(Batch([[4, 5, 6]]), greedy, lambda tokens: tokens < 4, progress=seen.append)
    assert [(each.activity, each.done, each.total) for each in seen] == [("generate", step, 4) for step in range(5)]
    assert [each.tokens for each in seen] == [[], *([each] for each in row.tokens)]
    with pytest.raises(seamkit.CancelledError):
        session.generate(batch(), options, progress=lambda state: state.done < 2)

    def fail(_: int) -> bool:
        raise KeyError("from the callback")

    with pytest.raises(KeyError, match="from the callback"):
        session.generate(batch(), options, should_continue=fail)
    with pytest.raises(TypeError, match="num_beams"):
        backbone.generate_options(beams=3)


def test_generation_without_the_models_settings(runtime: seamkit.Runtime, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    file = tmp_path / "model" / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_new_tokens": 6}))
    given = tokens(3)
    source = Batch(given.input_ids, given.attention_mask)

    def generated(**changes: Any) -> list[list[int]]:
        backbone = runtime.open(tmp_path / "model")
        found = backbone.session().generate(source, backbone.generate_options(max_new_tokens=6, **changes))
        return [row[0].tokens for row in found]

    plain = generated()
    first = sorted({row[0] for row in plain})
    rules = {"suppress_tokens": first, "repetition_penalty": 3.0}
    file.write_text(json.dumps(json.loads(file.read_text()) | rules))
    assert generated() != plain == generated(ignore_generation_config=True)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"penalty_alpha": 0.6}))
    assert generated(ignore_generation_config=True) == plain
    with pytest.raises(seamkit.UnsupportedError, match='"penalty_alpha" is 0.6, which is not offered'):
        generated()


def test_features(backbone: seamkit.Backbone) -> None:
    random = np.random.default_rng(0)
    hidden = torch.from_numpy(random.standard_normal((12, backbone.info.d_model), np.float32))
    labels = np.arange(12) % 3
    hidden[:, :3] += 4 * torch.eye(3)[labels]
    scores = random.standard_normal((12, 3), np.float32)
    head = backbone.classifier("dect", 3)
    losses = head.fit(scores, hidden, labels, epochs=20)
    assert len(losses) == 20 and losses[-1] < losses[0]
    assert (head.classify(scores, hidden).argmax(1) == labels).mean() > 0.9
    projected = head.call("project", hidden)
    assert isinstance(projected, np.ndarray) and np.allclose((projected**2).sum(1), 1, atol=1e-5)
    with pytest.raises(seamkit.ShapeError, match=r"\[5\]"):
        head.fit(scores, hidden, labels[:5])


def test_tokenizer(folder: Path) -> None:
    tokenizer = seamkit.Tokenizer(folder)
    assert tokenizer.encode("w4 w7") == [4, 7, 2]
    assert tokenizer.decode([4, 7, 2]) == "w4 w7"
    assert len(tokenizer.encode("w4 " * 5000)) == 5001


# ---- Errors


def test_errors_have_code_origin_and_class(
    runtime: seamkit.Runtime, backbone: seamkit.Backbone, tmp_path: Path
) -> None:
    with pytest.raises(seamkit.NotFoundError, match="no loaded plugin offers an adapter") as caught:
        backbone.adapter("nothing")
    assert caught.value.code == 2 and caught.value.origin == "" and isinstance(caught.value, LookupError)
    with pytest.raises(seamkit.InvalidArgumentError, match='option "lambda" must be a number'):
        backbone.adapter("repcali", {"lambda": "much"})
    with pytest.raises(seamkit.SeamError, match="org.seamkit") as caught:
        backbone.adapter("gate")
    assert caught.value.origin == "org.seamkit.gate"
    with pytest.raises(seamkit.NotFoundError):
        runtime.open(tmp_path / "nowhere")
    with pytest.raises(seamkit.ShapeError, match="attention_mask must be"):
        Batch([[1, 2, 3]], [[1, 1]])


def test_where_libraries_are_sought(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from seamkit import locations

    given, clone = tmp_path / "given", tmp_path / "clone"
    given.mkdir()
    (clone / "release").mkdir(parents=True)
    (clone / "release/libSeam.so").touch()
    monkeypatch.setattr(locations, "CLONE", clone)
    monkeypatch.setattr(locations, "BUILT", clone / "release")
    monkeypatch.setenv("SEAMKIT_LIBRARY_PATH", str(given))
    with pytest.raises(seamkit.NotFoundError, match="set SEAMKIT_LIBRARY_PATH"):
        locations.library("libSeam.so")
    # Only a clone of SeamKit has built what lies there.
    (clone / "Package.swift").touch()
    assert locations.library("libSeam.so") == clone / "release/libSeam.so"
    (given / "libSeam.so").touch()
    assert locations.library("libSeam.so") == given / "libSeam.so"
    monkeypatch.setenv("SEAMKIT_LIBRARY_PATH", str(tmp_path / "gone"))
    with pytest.raises(seamkit.NotFoundError, match="is not a folder"):
        locations.library("libSeam.so")


def test_an_object_is_not_pickled(backbone: seamkit.Backbone) -> None:
    for each in (backbone, backbone.session(), backbone.adapter("repcali"), backbone.runtime):
        with pytest.raises(TypeError, match="owns memory of libSeam.so"):
            pickle.dumps(each)


# ---- Ownership


def test_closing(runtime: seamkit.Runtime, folder: Path) -> None:
    backbone = runtime.open(folder)
    adapter = backbone.adapter("repcali")
    with backbone.session(adapter) as session:
        expected = session.forward(batch())
        backbone.close()
        adapter.close()
        assert np.array_equal(session.forward(batch()), expected), "a session keeps what it was made from"
    assert session.closed and backbone.closed
    session.close()
    for call in (lambda: session.forward(batch()), lambda: backbone.adapter("repcali")):
        with pytest.raises(ValueError, match="is closed"):
            call()
    other = runtime.open(folder)
    gone = weakref.ref(other)
    del other
    assert gone() is None


def test_results_are_views_that_outlive_their_session(backbone: seamkit.Backbone) -> None:
    session = backbone.session()
    logits = session.forward(batch())
    copy, shared = logits.copy(), torch.from_dlpack(logits)
    session.close()
    backbone.close()
    assert np.array_equal(logits, copy) and shared.data_ptr() == logits.ctypes.data
    ids = np.ones((2, 3), np.int32)
    assert Batch(ids).input_ids is ids and np.shares_memory(Batch(torch.from_numpy(ids)).input_ids, ids)


def test_parameters_are_the_memory(backbone: seamkit.Backbone) -> None:
    adapter = backbone.adapter("repcali")
    session = backbone.session(adapter)
    before = session.forward(batch())
    adapter.parameters["embedding.weight"][...] = np.linspace(-1, 1, backbone.info.d_model)
    assert np.abs(session.forward(batch()) - before).max() > 1e-3


def test_nothing_leaks(backbone: seamkit.Backbone) -> None:
    """10,000 calls of every kind that hands something over: objects, strings, errors, tensors, DLPack in."""
    head = backbone.classifier("dect", 3)
    hidden = np.ones((1, backbone.info.d_model), np.float32)

    def once() -> None:
        adapter = backbone.adapter("repcali")
        adapter.parameters["norm.weight"]
        adapter.call("shift")
        head.call("project", hidden)
        json.dumps(adapter.options)
        with pytest.raises(seamkit.InvalidArgumentError):
            backbone.adapter("repcali", {"lambda": "much"})

    once()
    gc.collect()
    lent = lent_count()
    # 2,000 errors that are not released are 390 KB, as many adapters 8.6 MB.
    assert growth(once, 2000) < 256
    assert lent_count() == lent


def test_arrays_of_a_head_have_its_sizes(backbone: seamkit.Backbone, tmp_path: Path) -> None:
    """The library is given addresses alone: other sizes would be read and written beyond their ends."""
    width = backbone.info.d_model
    made = backbone.classifier("linear-head", 3)
    made.save(tmp_path / "head")
    for head in (made, backbone.load(tmp_path / "head")):
        assert head.classify(np.zeros((2, 3)), np.zeros((2, width))).shape == (2, 3)
        for scores, hidden in (((2, 2), (2, width)), ((2, 3), (2, width - 1)), ((2, 3), (1, width))):
            with pytest.raises(seamkit.ShapeError, match=rf"examples, 3\] and hidden \[examples, {width}\], found"):
                head.classify(np.zeros(scores), np.zeros(hidden))
            with pytest.raises(seamkit.ShapeError, match="fit needs scores"):
                head.fit(np.zeros(scores), np.zeros(hidden), [0, 1])
        with pytest.raises(seamkit.ShapeError, match="a label for each of 2 examples"):
            head.fit(np.zeros((2, 3)), np.zeros((2, width)), [0, 1, 2])


def test_classes_of_a_session_are_those_of_its_head(encoder: seamkit.Backbone, tmp_path: Path) -> None:
    added, loaded = encoder.session(), encoder.session()
    added.add("linear-head", classes=3).save(tmp_path / "head")
    loaded.load(tmp_path / "head")
    for session in (added, loaded, encoder.session(encoder.load(tmp_path / "head"))):
        assert session.classify(Batch([[4, 5, 6]]), 3).shape == (1, 3)
        with pytest.raises(seamkit.ShapeError, match="classes must be 3, as the attached head has, found 2"):
            session.classify(Batch([[4, 5, 6]]), 2)


def test_calls_release_the_lock(backbone: seamkit.Backbone) -> None:
    """Another Python thread goes on while a generation runs."""
    session, given = backbone.session(), tokens(5, count=16, source=30)
    options = backbone.generate_options(num_beams=8, max_new_tokens=30, min_new_tokens=30)
    started, count, done = threading.Event(), [0], threading.Event()

    def other() -> None:
        started.set()
        while not done.is_set():
            count[0] += 1

    thread = threading.Thread(target=other)
    thread.start()
    started.wait()
    before = count[0]
    session.generate(Batch(given.input_ids, given.attention_mask), options)
    gained = count[0] - before
    done.set()
    thread.join()
    assert gained > 100


# ---- Texts and numbers that C would cut or wrap

WRAPPED: dict[str, tuple[Any, type[Exception], str]] = {
    "ids": (
        lambda b, t: b.batch([[4, 5, 2**32 + 6]]),
        seamkit.InvalidArgumentError,
        "row 0 of sources must be integers",
    ),
    "an array": (lambda b, t: b.batch(np.array([[4, 2**32 + 6]])), seamkit.InvalidArgumentError, "found 4294967302"),
    "floats": (lambda b, t: b.batch([[4, 5, 6.9]]), seamkit.InvalidArgumentError, "must be integers, found float64"),
    "texts": (lambda b, t: b.batch([["4", "5"]]), seamkit.InvalidArgumentError, "must be integers, found <U1"),
    "one row": (lambda b, t: b.batch([4, 5]), seamkit.ShapeError, "row 0 of sources must have 1 axes"),
    "ragged": (lambda b, t: Batch([[4, 5], [6]]), seamkit.ShapeError, "input_ids must be a rectangle of integers"),
    "a mask": (lambda b, t: Batch([[4]], [[0.5]]), seamkit.InvalidArgumentError, "attention_mask must be integers"),
    "labels": (
        lambda b, t: Batch([[4]], labels=torch.tensor([[2**31]])),
        seamkit.InvalidArgumentError,
        "labels must be integers of 32 bits, found 2147483648",
    ),
    "classes": (lambda b, t: Batch([[4]], classes=[1.5]), seamkit.InvalidArgumentError, "classes must be integers"),
    "decode": (lambda b, t: t.decode([4, 2**32 + 5]), seamkit.InvalidArgumentError, "found 4294967301"),
    "decode floats": (lambda b, t: t.decode([4.5]), seamkit.InvalidArgumentError, "ids must be integers"),
    "a seed": (
        lambda b, t: b.adapter("repcali", seed=-1),
        seamkit.InvalidArgumentError,
        "must be an integer from 0 to 18446744073709551615, found -1",
    ),
    "a number of classes": (
        lambda b, t: b.classifier("dect", 2**64 + 2),
        seamkit.InvalidArgumentError,
        "classes must be an integer from",
    ),
    "a place": (
        lambda b, t: b.session().move(b.adapter("repcali"), 2**32),
        seamkit.InvalidArgumentError,
        "argument 4 of seam_session_move must be an integer from -2147483648 to 2147483647, found 4294967296",
    ),
    "threads": (
        lambda b, t: seamkit.set_thread_count(2**32 + 1),
        seamkit.InvalidArgumentError,
        "count must be an integer from -2147483648 to 2147483647, found 4294967297",
    ),
    "an option": (
        lambda b, t: b.generate_options(max_new_tokens=2**70),
        seamkit.InvalidArgumentError,
        "option max_new_tokens must be an integer from",
    ),
    "no text": (
        lambda b, t: b.adapter("repcali", seam=3),
        seamkit.InvalidArgumentError,
        "seam must be a text, found int",
    ),
    "no integer": (
        lambda b, t: b.adapter("repcali", seed=1.5),
        seamkit.InvalidArgumentError,
        "seed must be an integer, found float",
    ),
    "no mapping": (
        lambda b, t: b.adapter("repcali", [1]),
        seamkit.InvalidArgumentError,
        "options must be a mapping from names to values, found list",
    ),
    "no value": (
        lambda b, t: b.adapter("repcali", {"lambda": object()}),
        seamkit.InvalidArgumentError,
        "option 'lambda' must be a value of JSON, found object",
    ),
    "no choice": (
        lambda b, t: b.adapter("repcali", frozen="no"),
        seamkit.InvalidArgumentError,
        "frozen must be True or False, found 'no'",
    ),
    "a text": (lambda b, t: t.encode("good\0bad"), seamkit.InvalidArgumentError, r"U\+0000 at position 4"),
    "half a pair": (lambda b, t: t.encode("good\ud83d"), seamkit.InvalidArgumentError, r"U\+D83D at position 4"),
    "a path": (lambda b, t: b.load("adapter\0"), seamkit.InvalidArgumentError, r"U\+0000"),
    "a string option": (
        lambda b, t: b.adapter("repcali", {"norm": "none\0"}),
        seamkit.InvalidArgumentError,
        'option "norm" must be',
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_c_would_cut_or_wrap_is_refused(backbone: seamkit.Backbone, folder: Path, name: str) -> None:
    call, kind, sentence = WRAPPED[name]
    with pytest.raises(kind, match=sentence):
        call(backbone, seamkit.Tokenizer(folder))


def test_integers_of_any_width_that_fit_are_taken(backbone: seamkit.Backbone) -> None:
    wanted = backbone.session().encode(Batch([[4, 5, 6]]))
    for ids in (np.array([[4, 5, 6]], np.uint64), np.array([[4, 5, 6]], np.int16), torch.tensor([[4, 5, 6]])):
        assert np.array_equal(backbone.session().encode(Batch(ids, [[True, True, True]])), wanted)
    assert Batch.padded([[], [4]], pad_token_id=0).input_ids.tolist() == [[0], [4]]


def test_what_a_model_is(runtime: seamkit.Runtime, tmp_path: Path) -> None:
    """Values that outlive the model."""
    backbone = runtime.open(save("t5-1.0", tmp_path / "t5"))
    info, seams = backbone.info, backbone.seams
    backbone.close()
    assert (info.architecture, info.family, info.kind, info.identity) == ("encoder-decoder", "t5", "traced", None)
    assert "encoder.output" in info.seams and list(info.seams) == seams
    assert info.has_head and info.mask_token_id is None
    assert info.prefix_kv_heads == ((), (), ())
    assert str(info.points[0]) == "encoder.embedding" and f"d_model={info.d_model}" in repr(info)
