"""Damaged files and wrong arguments: one sentence, the same through C and the command line, and nothing half written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from command_line import run
from seam_abi import SeamError, constant
from seam_objects import Backbone, Batch, Runtime
from tiny_models import VOCABULARY, add_tokenizer, save

Tensors = dict[str, torch.Tensor]
MODEL, ADAPTER = "model.safetensors", "adapter_model.safetensors"
FIRST = "model.encoder.layers.0.fc1.weight"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Path:
    """A folder with a model and an adapter for it, nothing wrong with either."""
    folder = tmp_path_factory.mktemp("good")
    add_tokenizer(save("marian", folder / "model"))
    runtime.open(folder / "model").adapter("repcali").save(folder / "adapter")
    return folder


@pytest.fixture(scope="module")
def backbone(good: Path, runtime: Runtime) -> Backbone:
    return runtime.open(good / "model")


def failure(call: Callable[[], Any]) -> SeamError:
    with pytest.raises(SeamError) as caught:
        call()
    return caught.value


def command_failure(*arguments: str | Path) -> str:
    """The sentence of a command that fails as it should: not by a crash, and with nothing else said."""
    done = run(*arguments)
    assert done.returncode == 1 and done.stdout == "", done
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("Error: ").rstrip("\n")


def assert_sentence(error: SeamError, command_says: str, code: str, parts: list[str]) -> None:
    assert command_says == (f"{error.origin}: " if error.origin else "") + error.message
    assert error.code == constant("SEAM_" + code), error.message
    assert all(part in error.message for part in parts), error.message
    assert "\n" not in error.message


# ---- How a folder is damaged


def config(file: str, **changes: Any) -> Callable[[Path], None]:
    """Changes members of a JSON file; a double underscore goes one level down, None removes."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        for key, value in changes.items():
            *parents, last = key.split("__")
            target = content
            for parent in parents:
                target = target[parent]
            target[last] = value
            if value is None:
                del target[last]
        (folder / file).write_text(json.dumps(content))

    return damage


def tensors(file: str, change: Callable[[Tensors], Tensors]) -> Callable[[Path], None]:
    return lambda folder: save_file(change(load_file(folder / file)), folder / file, {"format": "pt"})


def content(file: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(change((folder / file).read_bytes())) and None


def with_nan(weights: Tensors, name: str) -> Tensors:
    weights[name].view(-1)[3] = float("nan")
    return weights


def without(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda weights: {name: value for name, value in weights.items() if name not in names}


MISSING = (FIRST, "model.encoder.layers.1.fc2.bias", "model.decoder.layers.0.fc1.weight")
Case = tuple[Callable[[Path], Any], str, list[str]]

MODELS: dict[str, Case] = {
    "unknown type": (config("config.json", model_type="gptj"), "UNSUPPORTED", ["config.json", '"gptj"', "transformer"]),
    "no type": (config("config.json", model_type=None), "UNSUPPORTED", ["config.json", "absent"]),
    "a number for a type": (config("config.json", model_type=3), "UNSUPPORTED", ["config.json", "3"]),
    "activation": (
        config("config.json", activation_function="mish"),
        "UNSUPPORTED",
        ["/model/config.json", "mish", "gelu"],
    ),
    "heads": (config("config.json", encoder_attention_heads=5), "UNSUPPORTED", ["/model/config.json", "5", "24"]),
    "width": (config("config.json", d_model=48), "SHAPE", ["/model/config.json", "48", "24"]),
    "vocabulary": (config("config.json", vocab_size=70), "SHAPE", ["/model/model.safetensors", "[70, 24]", "[61, 24]"]),
    "a text for a number": (
        config("config.json", vocab_size="many"),
        "INVALID_ARGUMENT",
        ["/model/config.json", "vocab_size"],
    ),
    "not JSON": (content("config.json", lambda text: text[:-3]), "FORMAT", ["config.json", "line"]),
    "no config": (lambda folder: (folder / "config.json").unlink(), "NOT_FOUND", ["/model", "config.json"]),
    "missing tensors": (tensors(MODEL, without(*MISSING)), "NOT_FOUND", ["/model", *MISSING]),
    "many missing": (config("config.json", encoder_layers=5), "NOT_FOUND", ["encoder.layers.2", "and 38 more"]),
    "shape": (
        tensors(MODEL, lambda weights: weights | {FIRST: torch.zeros(3, 24)}),
        "SHAPE",
        [FIRST, MODEL, "[40, 24]", "[3, 24]"],
    ),
    "rank above the engine's": (
        tensors(MODEL, lambda weights: weights | {FIRST: weights[FIRST].reshape(*[1] * 7, 40, 24)}),
        "SHAPE",
        [FIRST, MODEL, "[40, 24]", "[1, 1, 1, 1, 1, 1, 1, 40, 24]"],
    ),
    "unsigned integers": (
        tensors(MODEL, lambda weights: weights | {FIRST: weights[FIRST].to(torch.uint16)}),
        "UNSUPPORTED",
        [FIRST, MODEL, "F32, BF16 or F16", "U16"],
    ),
    "a width below 0": (config("config.json", d_model=-1), "INVALID_ARGUMENT", ["/model/config.json", "d_model", "-1"]),
    "as many layers as atoms": (
        config("config.json", encoder_layers=10**18),
        "INVALID_ARGUMENT",
        ["/model/config.json", "encoder_layers", "1000"],
    ),
    "as many positions": (
        config("config.json", max_position_embeddings=2**20, d_model=2**20),
        "INVALID_ARGUMENT",
        ["/model/config.json", "max_position_embeddings", "d_model"],
    ),
    "controls in a text": (
        config("config.json", activation_function="me\x1b[31m\nsh\u202e"),
        "UNSUPPORTED",
        ["/model/config.json", "me\\u001B[31m\\u000Ash\\u202E"],
    ),
    "double precision": (
        tensors(MODEL, lambda weights: weights | {FIRST: weights[FIRST].double()}),
        "UNSUPPORTED",
        [FIRST, MODEL, "F64"],
    ),
    "NaN": (tensors(MODEL, lambda weights: with_nan(weights, FIRST)), "NUMERIC", [FIRST, MODEL, "NaN", "3"]),
    "truncated": (content(MODEL, lambda data: data[:20000]), "FORMAT", [MODEL, "beyond the file", "download"]),
    "header beyond the file": (content(MODEL, lambda data: data[:300]), "FORMAT", [MODEL, "header", "300"]),
    "header of a gigabyte": (
        content(MODEL, lambda data: (10**9).to_bytes(8, "little") + data[8:]),
        "FORMAT",
        [MODEL, "1000000000"],
    ),
    "five bytes": (content(MODEL, lambda data: data[:5]), "FORMAT", [MODEL, "found 5"]),
    "empty file": (content(MODEL, lambda _: b""), "FORMAT", [MODEL, "empty"]),
    "pickle only": (
        lambda folder: (folder / MODEL).rename(folder / "pytorch_model.bin"),
        "UNSUPPORTED",
        ["/model", "pytorch_model.bin", "pickle"],
    ),
    "no folder": (shutil.rmtree, "NOT_FOUND", ["/model", "no such folder"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_damaged_model(good: Path, runtime: Runtime, tmp_path: Path, name: str) -> None:
    damage, code, parts = MODELS[name]
    folder = shutil.copytree(good / "model", tmp_path / "model")
    damage(folder)
    error = failure(lambda: runtime.open(folder))
    assert_sentence(error, command_failure("generate", "--model", folder, "w5 w6"), code, parts)


KEY = "adapter_config.json"
ADAPTERS: dict[str, Case] = {
    "another width": (config(KEY, backbone__d_model=48), "INCOMPATIBLE", ["/adapter", "48", "24"]),
    "more layers": (config(KEY, backbone__encoder_layers=6), "INCOMPATIBLE", ["/adapter", "encoder_layers", "6", "2"]),
    "unknown key": (config(KEY, lamda=1), "FORMAT", [KEY, "lamda", "schema"]),
    "unknown key inside": (config(KEY, backbone__colour=1), "FORMAT", [KEY, "backbone.colour"]),
    "unknown option": (config(KEY, options__lamda=1), "INVALID_ARGUMENT", [KEY, "lamda", "lambda"]),
    "wrong option": (config(KEY, options__seed="two"), "INVALID_ARGUMENT", [KEY, "seed", "ones", "two"]),
    "no key": (config(KEY, seam=None), "FORMAT", [KEY, "seam", "missing"]),
    "newer schema": (config(KEY, schema=3), "INCOMPATIBLE", [KEY, "schema", "3"]),
    "no schema": (config(KEY, schema=0), "INCOMPATIBLE", [KEY, "schema", "0"]),
    "no such adapter": (config(KEY, adapter="unheard-of"), "NOT_FOUND", [KEY, "unheard-of", "repcali"]),
    "another adapter": (config(KEY, adapter="dect"), "INVALID_ARGUMENT", [KEY, "dect", "decoder.output"]),
    "not JSON": (content(KEY, lambda _: b"{"), "FORMAT", [KEY, "line 1"]),
    "no config": (lambda folder: (folder / KEY).unlink(), "NOT_FOUND", [KEY]),
    "no weights": (lambda folder: (folder / ADAPTER).unlink(), "NOT_FOUND", [ADAPTER]),
    "truncated": (content(ADAPTER, lambda data: data[:-10]), "FORMAT", [ADAPTER, "10 bytes beyond", "download"]),
    "five bytes": (content(ADAPTER, lambda data: data[:5]), "FORMAT", [ADAPTER, "found 5"]),
    "missing tensor": (tensors(ADAPTER, without("norm.bias")), "FORMAT", [ADAPTER, "norm.bias"]),
    "extra tensor": (tensors(ADAPTER, lambda weights: weights | {"x": torch.zeros(2)}), "FORMAT", [ADAPTER, '"x"']),
    "shape": (
        tensors(ADAPTER, lambda weights: weights | {"norm.bias": torch.zeros(7)}),
        "SHAPE",
        [ADAPTER, "[24]", "[7]"],
    ),
    "rank above the engine's": (
        tensors(ADAPTER, lambda weights: weights | {"norm.bias": torch.zeros(*[1] * 8, 24)}),
        "SHAPE",
        [ADAPTER, "[24]", "[1, 1, 1, 1, 1, 1, 1, 1, 24]"],
    ),
    "control characters": (
        tensors(ADAPTER, lambda weights: weights | {"x\x1b]0;\x07\n": torch.zeros(2)}),
        "FORMAT",
        [ADAPTER, '"x\\u001B]0;\\u0007\\u000A"'],
    ),
    "dtype": (
        tensors(ADAPTER, lambda weights: {name: value.bfloat16() for name, value in weights.items()}),
        "SHAPE",
        [ADAPTER, "F32", "BF16"],
    ),
    "NaN": (tensors(ADAPTER, lambda weights: with_nan(weights, "norm.bias")), "NUMERIC", [ADAPTER, "norm.bias", "3"]),
    "no folder": (shutil.rmtree, "NOT_FOUND", ["/adapter", "no such folder"]),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_damaged_adapter(good: Path, backbone: Backbone, tmp_path: Path, name: str) -> None:
    damage, code, parts = ADAPTERS[name]
    folder = shutil.copytree(good / "adapter", tmp_path / "adapter")
    damage(folder)
    error = failure(lambda: backbone.load(folder))
    said = command_failure("generate", "--model", good / "model", "--adapter", folder, "w5 w6")
    assert_sentence(error, said, code, parts)


def test_a_string_that_c_would_cut(good: Path, runtime: Runtime, tmp_path: Path) -> None:
    shutil.copytree(good / "model", tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"activation_function": "gelu\0_new"}))
    error = failure(lambda: runtime.open(tmp_path / "model"))
    said = command_failure("generate", "--model", tmp_path / "model", "w5")
    parts = [str(file), '"activation_function" must be a string without the character U+0000', r'"gelu\u0000_new"']
    assert_sentence(error, said, "FORMAT", parts)


# ---- Wrong arguments

OPTIONS: dict[str, tuple[str, Any, list[str]]] = {
    "unknown": ("lamda", 1, ["lamda", "lambda", "epsilon"]),
    "a text for a number": ("lambda", "x", ["lambda", "number", '"x"']),
    "another choice": ("seed", "two", ["seed", "ones, positions", '"two"']),
    "out of range": ("epsilon", 0, ["epsilon", "1e-12", "found 0"]),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_wrong_adapter_option(good: Path, backbone: Backbone, tmp_path: Path, name: str) -> None:
    key, value, parts = OPTIONS[name]
    error = failure(lambda: backbone.adapter("repcali", {key: value}))
    said = command_failure(*training(good, tmp_path), "--option", f"{key}={value}")
    assert_sentence(error, said, "INVALID_ARGUMENT", parts)
    assert not (tmp_path / "output").exists()


def training(good: Path, folder: Path, adapter: str = "repcali", pairs: str = "") -> list[str | Path]:
    data = folder / "pairs.jsonl"
    data.write_text(pairs or json.dumps({"source": "w5 w6", "target": "w7"}) + "\n")
    files = ["--model", good / "model", "--train", data, "--output", folder / "output"]
    return ["train", *files, "--adapter", adapter, "--steps", "2"]


def test_unknown_adapter(good: Path, backbone: Backbone, tmp_path: Path) -> None:
    error = failure(lambda: backbone.adapter("repcalli"))
    assert_sentence(error, command_failure(*training(good, tmp_path, "repcalli")), "NOT_FOUND", ["repcalli", "repcali"])


def test_a_seam_cache_is_kept_or_not(good: Path, tmp_path: Path) -> None:
    said = command_failure(*training(good, tmp_path), "--no-seam-cache", "--seam-cache-memory", "64")
    assert "--no-seam-cache keeps nothing, so --seam-cache-memory has no use" in said
    assert not (tmp_path / "output").exists()


def test_a_damaged_data_file_writes_nothing(good: Path, tmp_path: Path) -> None:
    pairs = '{"source": "w5", "target": "w6"}\n{"source": "w5"}\n'
    said = command_failure(*training(good, tmp_path, pairs=pairs))
    assert "pairs.jsonl, line 2" in said and '"target"' in said
    assert not (tmp_path / "output").exists()


LIMIT = 40
ONE = np.full((1, 4), 5)
BATCHES: dict[str, tuple[Callable[[], Batch], list[str]]] = {
    "id beyond the vocabulary": (
        lambda: Batch([[5, VOCABULARY]], labels=ONE[:1]),
        ["input_ids", "61", "row 0", "0 ... 60"],
    ),
    "negative id": (lambda: Batch(ONE - 6, labels=ONE), ["input_ids", "-1"]),
    "label beyond the vocabulary": (lambda: Batch(ONE, labels=ONE + 60), ["labels", "65"]),
    "label that is no token": (lambda: Batch(ONE, labels=ONE - 20), ["labels", "-15"]),
    "decoder id": (lambda: Batch(ONE, labels=ONE, decoder_input_ids=ONE + 60), ["decoder_input_ids", "65"]),
    "no rows": (lambda: Batch(ONE[:0], labels=ONE[:0]), ["empty", "batch size 0"]),
    "no tokens": (lambda: Batch(ONE[:, :0], labels=ONE), ["empty", "source length 0"]),
    "mask value": (lambda: Batch(ONE, ONE, ONE), ["attention_mask", "0 and 1", "5"]),
    "all hidden": (lambda: Batch(ONE, ONE * 0, ONE), ["attention_mask", "row 0"]),
    "long source": (lambda: Batch(np.full((1, LIMIT + 1), 5), labels=ONE), ["source", "41", "40"]),
    "long target": (lambda: Batch(ONE, labels=np.full((1, LIMIT + 1), 5)), ["target", "41", "40"]),
    "no target": (lambda: Batch(ONE), ["targets", "labels"]),
}


@pytest.mark.parametrize("name", BATCHES)
def test_wrong_batch(backbone: Backbone, name: str) -> None:
    """Every function that takes a batch with targets refuses it alike, and training is as it was."""
    batch, parts = BATCHES[name]
    adapter = backbone.adapter("repcali")
    session = backbone.session(adapter)
    session.begin_training()
    before = {key: view.copy() for key, view in adapter.parameters.items()}
    for call in (session.score, session.forward, session.train_step):
        error = failure(lambda: call(batch()))
        assert error.code == constant("SEAM_INVALID_ARGUMENT")
        assert all(part in error.message for part in parts), error.message
    assert all(np.array_equal(before[key], view) for key, view in adapter.parameters.items())
    assert session.train_step(Batch(ONE, labels=ONE)).step == 1


def test_a_long_text(good: Path, backbone: Backbone) -> None:
    error = failure(lambda: backbone.session().generate(Batch(np.full((1, 61), 5))))
    said = command_failure("generate", "--model", good / "model", " ".join(["w5"] * 60))
    assert_sentence(error, said.removeprefix("text 1: "), "INVALID_ARGUMENT", ["61", "40"])


GENERATION = {
    "num_beams": ("--beams", 0),
    "max_new_tokens": ("--max-new-tokens", 4000),
    "length_penalty": ("--length-penalty", float("nan")),
}


@pytest.mark.parametrize("name", GENERATION)
def test_wrong_generation_option(good: Path, backbone: Backbone, name: str) -> None:
    flag, value = GENERATION[name]
    options = backbone.generate_options(**{name: value})
    error = failure(lambda: backbone.session().generate(Batch(ONE), options))
    said = command_failure("generate", "--model", good / "model", flag, str(value), "w5")
    assert_sentence(error, said, "INVALID_ARGUMENT", [name, str(value)])


TRAINING = {
    "learning_rate": -1.0,
    "beta1": 1.0,
    "epsilon": 0.0,
    "max_grad_norm": -1.0,
    "label_smoothing": 1.0,
    "warmup_steps": -1,
    "schedule": 9,
    "optimizer": 9,
}


@pytest.mark.parametrize("name", TRAINING)
def test_wrong_training_option(backbone: Backbone, name: str) -> None:
    value = TRAINING[name]
    session = backbone.session(backbone.adapter("repcali"))
    error = failure(lambda: session.begin_training(**{name: value}))
    assert error.code == constant("SEAM_INVALID_ARGUMENT") and name in error.message and str(value) in error.message
    session.begin_training()


# ---- Nothing half written


def test_diverged_training_changes_nothing_more(backbone: Backbone, tmp_path: Path) -> None:
    adapter = backbone.adapter("repcali")
    session, batch = backbone.session(adapter), Batch(ONE, labels=ONE)
    adapter.save(tmp_path / "adapter")
    kept = {each.name: each.read_bytes() for each in (tmp_path / "adapter").iterdir()}
    session.begin_training()
    session.train_step(batch)
    adapter.parameters["norm.bias"][3] = np.inf
    before = {key: view.copy() for key, view in adapter.parameters.items()}
    error = failure(lambda: session.train_step(batch))
    assert error.code == constant("SEAM_NUMERIC") and "step 2" in error.message
    assert all(np.array_equal(before[key], view) for key, view in adapter.parameters.items())
    refused = failure(lambda: adapter.save(tmp_path / "adapter"))
    assert refused.code == constant("SEAM_NUMERIC") and "norm.bias" in refused.message and "3" in refused.message
    assert {each.name: each.read_bytes() for each in (tmp_path / "adapter").iterdir()} == kept
    assert [each.name for each in tmp_path.iterdir()] == ["adapter"]


def test_a_file_in_the_way(backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a letter")
    error = failure(lambda: backbone.adapter("repcali").save(tmp_path / "taken"))
    assert error.code == constant("SEAM_ALREADY_EXISTS") and "taken" in error.message
    assert (tmp_path / "taken").read_text() == "a letter"
