"""Exported models and adapters in ONNX Runtime, by the example's server, against transformers with the adapter attached
and, where transformers has no place for a prefix, against the native engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSeq2SeqLM

import seamkit
import seamkit.torch as engine
from prefix_reference import ENCODER_DECODERS, save
from seamkit.torch.folder import read_adapters
from test_attach import disturb, opened
from test_prefixes import inputs

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/onnx"
sys.path.insert(0, str(EXAMPLE))
import serve  # noqa: E402
from export_model import export_model  # noqa: E402

# Of the largest logit, through a whole model; tokens are equal.
TOLERANCE = 1e-4
NAMES = ("t5", "bart", "llama")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """By family: the model's folder, and that of its export."""
    found = {}
    for name in NAMES:
        path = tmp_path_factory.mktemp(name)
        found[name] = (save(name, path / "model"), path / "onnx")
        export_model(*found[name])
    return found


def tokens(name: str) -> tuple[torch.Tensor, torch.Tensor, seamkit.Batch]:
    batch, given = inputs(name, 4, labels=False)
    return given["input_ids"], given["attention_mask"], batch


def assert_same(server: Any, model: Any, ids: torch.Tensor, mask: torch.Tensor, steps: int = 8) -> None:
    """Greedy tokens, and the logits of each step."""
    found = model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        num_beams=1,
        max_new_tokens=steps,
        output_logits=True,
        return_dict_in_generate=True,
    )
    begun = 1 if model.config.is_encoder_decoder else ids.shape[1]
    expected = found.sequences[:, begun:].numpy()
    assert np.array_equal(server.generate(ids.numpy(), mask.numpy(), steps), expected)
    begin = server.begin_encoder_decoder if model.config.is_encoder_decoder else server.begin_decoder
    logits, step = begin(ids.numpy(), mask.numpy())
    for index, each in enumerate(found.logits):
        wanted = each.numpy()
        assert np.abs(logits[:, -1] - wanted).max() <= TOLERANCE * np.abs(wanted).max()
        logits = step(expected[:, index : index + 1])


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_repcali_between_encoder_and_decoder(folders: dict[str, tuple[Path, Path]], tmp_path: Path, name: str) -> None:
    source, exported = folders[name]
    model, (ids, mask, _) = opened(name, source), tokens(name)
    assert_same(serve.Server(exported, threads=1), model, ids, mask)
    for seed, options in enumerate([{"seed": "positions", "max_positions": 6}, {"initialization": "paper"}]):
        disturb(seamkit.attach(model, "repcali", **options), seed)
    seamkit.export_onnx(model, tmp_path / "adapters.onnx")
    with torch.no_grad():
        assert_same(serve.Server(exported, [tmp_path / "adapters.onnx"], threads=1), model, ids, mask)


@pytest.mark.parametrize("name", NAMES)
def test_a_prefix_as_the_past(folders: dict[str, tuple[Path, Path]], tmp_path: Path, name: str) -> None:
    """With a gate; in an encoder-decoder together with RepCali."""
    source, exported = folders[name]
    model, (ids, mask, _) = opened(name, source), tokens(name)
    options: dict[str, Any] = {"prefix_length": 5} | ({"attention": "decoder"} if name in ENCODER_DECODERS else {})
    disturb(seamkit.attach(model, "residual-prefix", **options))
    disturb(seamkit.attach(model, "gate", scope="token-layer"))
    files = [tmp_path / "prefix.onnx"]
    seamkit.export_onnx(model, files[0])
    if name in ENCODER_DECODERS:
        files.append(tmp_path / "repcali.onnx")
        adapter = seamkit.attach(model, "repcali")
        disturb(adapter)
        adapter.export_onnx(files[1])
    assert_same(serve.Server(exported, files, threads=1), model, ids, mask)


@pytest.mark.parametrize("name", ["t5", "bart"])
@pytest.mark.parametrize("attentions", [["cross"], ["decoder", "cross"]], ids="+".join)
def test_a_prefix_of_cross_attention(
    runtime: seamkit.Runtime, folders: dict[str, tuple[Path, Path]], tmp_path: Path, name: str, attentions: list[str]
) -> None:
    source, exported = folders[name]
    backbone, (ids, mask, batch) = runtime.open(source), tokens(name)
    random, adapters = np.random.default_rng(1), []
    for index, attention in enumerate(attentions):
        each = backbone.adapter(
            "prefix-tuning", {"prefix_length": 3 + index, "attention": attention, "reparameterization": "none"}
        )
        for values in each.parameters.values():
            values[...] = random.standard_normal(values.shape)
        each.save(tmp_path / attention)
        adapters.append(each)
    expected = backbone.session(*adapters).generate(batch, backbone.generate_options(max_new_tokens=8))
    read = [each for attention in attentions for each in read_adapters(tmp_path / attention)]
    seamkit.export_onnx(read, tmp_path / "prefix.onnx")
    found = serve.Server(exported, [tmp_path / "prefix.onnx"], threads=1).generate(ids.numpy(), mask.numpy(), 8)
    for mine, [theirs, *_] in zip(found.tolist(), expected, strict=True):
        assert mine[: len(theirs.tokens)] == theirs.tokens


def test_a_prefix_that_has_no_place(folders: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    source, exported = folders["bart"]
    adapter = engine.Adapter("prefix-tuning", engine.Site.of(opened("bart", source)))
    adapter.export_onnx(tmp_path / "prefix.onnx")
    ids, mask, _ = tokens("bart")
    with pytest.raises(ValueError, match=r"takes no encoder_past_key_values\.0\.key"):
        serve.Server(exported, [tmp_path / "prefix.onnx"]).generate(ids.numpy(), mask.numpy())


TEXTS = ["Oc1ccccc1", "CC(=O)Nc1ccccc1"]
PROGRAM = """
import runpy, sys
sys.argv = [{path!r}, *{arguments!r}]
runpy.run_path({path!r}, run_name="__main__")
strangers = [name for name in ("torch", "transformers", "seamkit") if name in sys.modules]
assert not strangers, strangers
"""


def test_the_real_model_in_a_process_of_its_own(tmp_path: Path) -> None:
    """As the documentation has it: the example's program, without PyTorch, transformers and SeamKit."""
    if not (source := os.environ.get("SEAM_REAL_MODEL")):
        pytest.skip("SEAM_REAL_MODEL names no model folder: the published model is not exported")
    export_model(source, tmp_path / "onnx")
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    adapter = seamkit.attach(model, "repcali", initialization="paper")
    adapter.save(tmp_path / "adapter")
    seamkit.export_onnx(tmp_path / "adapter", tmp_path / "repcali.onnx")
    tokenizer = Tokenizer.from_file(f"{source}/tokenizer.json")
    tokenizer.enable_padding(pad_id=model.config.pad_token_id)
    rows = tokenizer.encode_batch(TEXTS)
    ids, mask = (torch.tensor([getattr(each, name) for each in rows]) for name in ("ids", "attention_mask"))
    server = serve.Server(tmp_path / "onnx", [tmp_path / "repcali.onnx"], threads=1)
    assert_same(server, model, ids, mask, 20)
    program = PROGRAM.format(
        path=str(EXAMPLE / "serve.py"),
        arguments=[str(tmp_path / "onnx"), "--adapter", str(tmp_path / "repcali.onnx"), *TEXTS],
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    new = server.generate(ids.numpy(), mask.numpy())
    assert found.stdout.splitlines() == [
        f"{text}\t{tokenizer.decode(row.tolist())}" for text, row in zip(TEXTS, new, strict=True)
    ]
