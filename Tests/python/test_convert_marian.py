"""`seam convert`: Marian models of CTranslate2 against those of transformers that they were made from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from transformers import AutoTokenizer, MarianMTModel

from command_line import run, seam
from ctranslate2_files import Variables, binary, marian_variables, quantised
from seam_objects import Batch, Runtime
from tiny_models import marian, randomise, until

ALIASES = {f"decoder/{each}/weight": "encoder/embeddings_0/weight" for each in ("embeddings", "projection")}
CONFIG = {
    "add_source_bos": False,
    "add_source_eos": False,
    "bos_token": "<s>",
    "decoder_start_token": "</s>",
    "eos_token": "</s>",
    "layer_norm_epsilon": None,
    "multi_query_attention": False,
    "unk_token": "<unk>",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its tokenizer, as Marian's are in transformers: the last token is padding, whose vector is zero."""
    folder = tmp_path_factory.mktemp("original")
    words = [a + b for a in "abcdefgh" for b in "aeiou"]
    random = np.random.default_rng(0)
    text = folder / "text.txt"
    text.write_text("\n".join(" ".join(random.choice(words, 6)) for _ in range(300)))
    for side in ("source", "target"):
        sentencepiece.SentencePieceTrainer.train(
            input=str(text),
            model_prefix=str(folder / side),
            vocab_size=50,
            hard_vocab_limit=False,
            bos_id=-1,
            minloglevel=2,
        )
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
    pieces = sentencepiece.SentencePieceProcessor(str(folder / "source.spm"))
    names = [pieces.id_to_piece(number) for number in range(pieces.get_piece_size())]
    names = ["</s>", "<unk>", *(each for each in names if each not in ("</s>", "<unk>")), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MarianTokenizer"}))
    padding = len(names) - 1
    model = marian(
        vocab_size=len(names),
        scale_embedding=True,
        pad_token_id=padding,
        decoder_start_token_id=padding,
        eos_token_id=0,
        forced_eos_token_id=0,
    )
    randomise(model, 0)
    with torch.no_grad():
        model.model.shared.weight[padding] = 0
        model.final_logits_bias[0, padding] = 0
    model.generation_config.bad_words_ids = [[padding]]
    model.save_pretrained(folder)
    return folder


def write(folder: Path, original: Path, content: Variables, aliases: dict[str, str] = ALIASES, **header: Any) -> Path:
    folder.mkdir()
    header = {"specification": "TransformerSpec", "revision": 7} | header
    (folder / "model.bin").write_bytes(binary(content, aliases, **header))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tokens = list(json.loads((original / "vocab.json").read_text()))[:-1]
    (folder / "shared_vocabulary.json").write_text(json.dumps(tokens))
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes((original / name).read_bytes())
    return folder


def loaded(folder: Path) -> MarianMTModel:
    model, told = MarianMTModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(told.values()), told
    return model.eval()


@pytest.mark.parametrize("weights", ["float32", "float16", "bfloat16", "int8"])
def test_weights_are_those_of_the_model(original: Path, tmp_path: Path, weights: str) -> None:
    model = loaded(original)
    source = write(tmp_path / "source", original, marian_variables(model, weights))
    seam("convert", "--model", source, "--output", tmp_path / "output")
    found = loaded(tmp_path / "output").state_dict()
    for name, value in model.state_dict().items():
        expected = value.numpy()
        if weights == "int8" and value.ndim == 2 and "positions" not in name and "bias" not in name:
            # Padding has no row there, and is zero again.
            values, scale = quantised(np.where(expected.any(1, keepdims=True), expected, 1))
            expected = np.where(expected.any(1, keepdims=True), values / scale[:, None], 0).astype(np.float32)
        elif weights != "int8":
            expected = value.to(getattr(torch, weights)).float().numpy()
        np.testing.assert_array_equal(found[name].numpy(), expected, err_msg=name)


def test_tokens_are_those_of_the_model(original: Path, tmp_path: Path, runtime: Runtime) -> None:
    """Those that the tokenizer of the folder makes of texts, and those that are written."""
    model, texts = loaded(original), ["ba be ga", "hu", "ei bi ca gi go"]
    source = write(tmp_path / "source", original, marian_variables(model, "float32"))
    seam("convert", "--model", source, "--output", tmp_path / "output")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "output")
    config = json.loads((tmp_path / "output/config.json").read_text())
    settings = json.loads((tmp_path / "output/generation_config.json").read_text())
    padding = config["vocab_size"] - 1
    assert settings["bad_words_ids"] == [[padding]] and settings["max_length"] == 40
    assert config["decoder_start_token_id"] == config["pad_token_id"] == padding and config["eos_token_id"] == 0
    given = tokenizer(texts, return_tensors="pt", padding=True)
    assert given.input_ids.tolist() == AutoTokenizer.from_pretrained(original)(texts, padding=True).input_ids
    with torch.no_grad():
        written = model.generate(**given, do_sample=False, max_new_tokens=9)
    backbone = runtime.open(tmp_path / "output")
    batch = Batch(given.input_ids.int().numpy(), given.attention_mask.int().numpy())
    found = backbone.session().generate(batch, backbone.generate_options(max_new_tokens=9))
    assert [each.tokens for (each,) in found] == [until(0, row[1:]) for row in written.tolist()]


def without(*names: str) -> Callable[[Variables], None]:
    return lambda content: [content.pop(name) for name in names] and None


def changed(name: str, value: Any) -> Callable[[Variables], None]:
    return lambda content: content.update({name: value})


BAD_VARIABLES: dict[str, tuple[Callable[[Variables], None], str]] = {
    "norms first": (changed("encoder/pre_norm", np.int8(1)), '"encoder/pre_norm" must be 0, found 1'),
    "a start token": (
        changed("decoder/start_from_zero_embedding", np.int8(0)),
        '"decoder/start_from_zero_embedding" must be 1, found 0',
    ),
    "an activation": (changed("encoder/activation", np.int8(5)), r'"encoder/activation" must be 0 to 3 .*, found 5'),
    "two activations": (changed("decoder/activation", np.int8(0)), '"decoder/activation" must be 2, found 0'),
    "another scale": (changed("encoder/scale_embeddings", np.float32(2)), "the root of the width 24, found 2.0 and"),
    "a norm of embeddings": (
        changed("encoder/layernorm_embedding/gamma", np.ones(24, np.float32)),
        '"encoder/layernorm_embedding/gamma" has no counterpart',
    ),
    "heads": (changed("decoder/num_heads", np.int16(2)), '"decoder/num_heads" must be 4, found 2'),
    "a missing one": (without("decoder/layer_0/ffn/linear_0/bias"), "is missing, which a model of TransformerSpec has"),
}


def refused(source: Path, output: Path, words: str) -> None:
    done = run("convert", "--model", source, "--output", output)
    assert done.returncode == 1 and done.stdout == "" and not output.exists(), done.stderr
    assert re.fullmatch(rf"Error: [^\n]*{words}[^\n]*\n", done.stderr), done.stderr


@pytest.mark.parametrize("name", BAD_VARIABLES)
def test_variables_that_are_refused(original: Path, tmp_path: Path, name: str) -> None:
    change, words = BAD_VARIABLES[name]
    content = marian_variables(loaded(original), "float32")
    change(content)
    refused(write(tmp_path / "source", original, content), tmp_path / "output", words)


def test_embeddings_of_their_own_are_refused(original: Path, tmp_path: Path) -> None:
    content = marian_variables(loaded(original), "float32")
    content["decoder/embeddings/weight"] = content["encoder/embeddings_0/weight"] * 2
    source = write(tmp_path / "source", original, content, {"decoder/projection/weight": "decoder/embeddings/weight"})
    refused(source, tmp_path / "output", '"decoder/embeddings/weight" is not "encoder/embeddings_0/weight"')


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer": (lambda folder: (folder / "target.spm").unlink(), "has no target.spm, which reads and writes"),
    "no vocabulary": (
        lambda folder: (folder / "shared_vocabulary.json").unlink(),
        "is no folder of a Marian model, it has no shared_vocabulary.json",
    ),
    "two vocabularies": (
        lambda folder: (folder / "shared_vocabulary.json").rename(folder / "source_vocabulary.json"),
        "has a vocabulary for each language",
    ),
    "another vocabulary": (
        lambda folder: (folder / "shared_vocabulary.json").write_text('["</s>"]'),
        "tokens, found 1",
    ),
    "another epsilon": (
        lambda folder: (folder / "config.json").write_text(json.dumps(CONFIG | {"layer_norm_epsilon": 1e-6})),
        'the setting "layer_norm_epsilon" is 1e-06',
    ),
    "an unknown setting": (
        lambda folder: (folder / "config.json").write_text(json.dumps(CONFIG | {"rotary": True})),
        'the setting "rotary" is true, which a Marian model of transformers has no place for',
    ),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_folders_that_are_refused(original: Path, tmp_path: Path, name: str) -> None:
    change, words = BAD_FOLDERS[name]
    source = write(tmp_path / "source", original, marian_variables(loaded(original), "float32"))
    change(source)
    refused(source, tmp_path / "output", words)
