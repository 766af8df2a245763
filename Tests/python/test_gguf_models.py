"""GGUF files of every architecture against transformers: values, scores, generation, adapters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from command_line import run, seam
from gguf_models import ARCHITECTURES, written
from seam_abi import Array, SeamError
from seam_objects import Adapter, Backbone, Batch, Runtime
from single_stack import padded, places
from tiny_models import END, START, tokens, until

# Of the largest value: f32 on both sides, sums in another order (as in test_backbones.py).
TOLERANCE = 1e-5
ENCODERS = ("bert", "nomic-bert")
WRITERS = tuple(each for each in ARCHITECTURES if each not in ENCODERS)
OF_DECODERS = tuple(each for each in WRITERS if "t5" not in each)


@dataclass(frozen=True)
class Model:
    name: str
    path: Path
    backbone: Backbone
    reference: PreTrainedModel

    @property
    def is_decoder(self) -> bool:
        return self.backbone.info.architecture == "decoder-only"


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Model:
    path = written(request.param, tmp_path_factory.mktemp(request.param))
    kind = type(ARCHITECTURES[request.param].build())
    reference = kind.from_pretrained(path.parent / "hf", dtype=torch.float32, attn_implementation="eager").eval()
    return Model(request.param, path, runtime.open(path), reference)


def assert_close(found: Array, expected: Array, visible: Array | slice = slice(None)) -> None:
    assert found.shape == expected.shape and np.isfinite(found).all()
    assert np.abs(found - expected)[visible].max() <= TOLERANCE * np.abs(expected[visible]).max()


def given(**arrays: Array) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(each).long() for name, each in arrays.items()}


def test_a_saved_folder_is_the_model_of_transformers(model: Model, tmp_path: Path) -> None:
    """Names, shapes, the order of rows and columns, of blocks and of plain numbers; and the configuration."""
    assert model.backbone.info.family == model.reference.config.model_type
    model.backbone.save(tmp_path / "saved")
    found = load_file(tmp_path / "saved" / "model.safetensors")
    expected = load_file(model.path.parent / "hf" / "model.safetensors")
    expected = {name: values for name, values in expected.items() if not name.startswith("pooler.")}
    assert found.keys() == expected.keys()
    for name, values in found.items():
        # The last bit: 1 is added to norms and taken away again.
        assert (values.float() - expected[name]).abs().max() <= 2e-7, name
    kind = type(model.reference)
    other = kind.from_pretrained(tmp_path / "saved", dtype=torch.float32, attn_implementation="eager").eval()
    ids = {"input_ids": torch.arange(4, 34)[None]}
    if model.backbone.info.architecture == "encoder-decoder":
        ids["decoder_input_ids"] = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert_close(other(**ids)[0].numpy(), model.reference(**ids)[0].numpy())


def test_scores_are_those_of_transformers(model: Model) -> None:
    session, reference = model.backbone.session(), model.reference
    if model.backbone.info.architecture == "encoder-decoder":
        batch = tokens(1)
        with torch.no_grad():
            expected = reference(**batch.inputs).logits.numpy()
        assert_close(session.forward(batch.batch), expected)
        return
    ids, mask = padded(1, front=False)
    arrays = {"input_ids": ids, "attention_mask": mask}
    with torch.no_grad():
        if model.is_decoder:
            expected = reference(**given(**arrays, position_ids=places(mask))).logits.numpy()
            found = session.forward(Batch(ids, mask))
        else:
            expected = reference(**given(**arrays)).last_hidden_state.numpy()
            found = session.encode(Batch(ids, mask))
    assert_close(found, expected, mask == 1)


# Windows and scaled rotations are theirs.
@pytest.mark.parametrize("model", OF_DECODERS, indirect=True)
def test_a_text_longer_than_windows_and_first_contexts(model: Model) -> None:
    assert model.is_decoder
    ids = np.random.default_rng(5).integers(4, 60, (1, 40)).astype(np.int32)
    with torch.no_grad():
        expected = model.reference(**given(input_ids=ids)).logits.numpy()
    assert_close(model.backbone.session().forward(Batch(ids)), expected)


@pytest.mark.parametrize("model", WRITERS, indirect=True)
def test_greedy_texts_are_those_of_transformers(model: Model) -> None:
    info = model.backbone.info
    ids = np.array([[7, 8, 9, 10], [11, 12, 13, 14]], np.int32)
    options = model.backbone.generate_options(max_new_tokens=12, num_beams=1)
    found = [item[0].tokens for item in model.backbone.session().generate(Batch(ids), options)]
    more = {"decoder_start_token_id": START} if not model.is_decoder else {}
    with torch.no_grad():
        rows = model.reference.generate(
            **given(input_ids=ids, attention_mask=np.ones_like(ids)), max_new_tokens=12, do_sample=False, **more
        )
    first = ids.shape[1] if model.is_decoder else 1
    assert found == [until(END, row[first:]) for row in rows.tolist()]
    assert info.eos_token_ids == (END,)


@pytest.mark.parametrize("model", ENCODERS, indirect=True)
def test_a_vector_as_the_file_asks_for(model: Model, runtime: Runtime, tmp_path: Path) -> None:
    batch = Batch(np.array([[7, 8, 9]], np.int32))
    states, session = model.backbone.session().encode(batch), model.backbone.session()
    assert_close(session.pool(batch), states[:, 0])
    last = written(model.name, tmp_path, pooling_type=int(gguf.PoolingType.LAST))
    with pytest.raises(SeamError, match='asks for the pooling "last"'):
        runtime.open(last)


# Of layers without a matrix of each: all points, by the names that they have.
EVERY = "q,k,v,o,gate,up,down"
TARGETS = {
    "phi3": "qkv,o,gate_up,down",
    "gpt2": "qkv,o,up,down",
    "bert": "q,k,v,o,up,down",
    "nomic-bert": "qkv,o,gate,up,down",
    "t5": "q,k,v,o,cross_q,cross_k,cross_v,cross_o,up,down",
    "t5-1.1": f"{EVERY},cross_q,cross_k,cross_v,cross_o",
    "umt5": f"{EVERY},cross_q,cross_k,cross_v,cross_o",
}


def lora(model: Model, path: Path) -> Adapter:
    adapter: Adapter = model.backbone.adapter(
        "lora", {"r": 3, "lora_alpha": 5, "targets": TARGETS.get(model.name, EVERY)}, seed=1
    )
    random = np.random.default_rng(2)
    for name, values in adapter.parameters.items():
        if name.endswith("lora_B.weight"):
            values[...] = random.normal(0, 0.1, values.shape)
    adapter.save(path)
    return adapter


def test_lora_there_and_back(model: Model, tmp_path: Path) -> None:
    """Under ggml's names, A [r, in] and B [out, r] of the matrices as the file has them."""
    adapter = lora(model, tmp_path / "adapter")
    file, name = tmp_path / "lora.gguf", ARCHITECTURES[model.name].name
    common = ("--model", model.path, "--format", "gguf")
    seam("export", *common, "--adapter", tmp_path / "adapter", "--output", file)
    reader = gguf.GGUFReader(file)
    assert reader.fields["general.architecture"].contents() == name
    matrices = {tensor.name: tensor.shape for tensor in gguf.GGUFReader(model.path).tensors}
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(found) == len(adapter.parameters)
    for each, values in found.items():
        # The reader gives the contiguous axis first: inputs, outputs.
        inputs, outputs = matrices[each[: each.rindex(".lora_")]]
        assert values.shape == ((3, inputs) if each.endswith("lora_a") else (outputs, 3))
    seam("import", *common, "--input", file, "--output", tmp_path / "back")
    back = model.backbone.load(tmp_path / "back")
    assert back.parameters.keys() == adapter.parameters.keys()
    assert all(np.array_equal(values, back.parameters[key]) for key, values in adapter.parameters.items())


def test_control_vectors_are_for_decoders(model: Model, tmp_path: Path) -> None:
    info = model.backbone.info
    writer = gguf.GGUFWriter(tmp_path / "vector.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", ARCHITECTURES[model.name].name)
    writer.add_tensor("direction.1", np.ones(info.d_model, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    done = run(
        *("import", "--model", model.path, "--format", "gguf", "--input", tmp_path / "vector.gguf"),
        *("--output", tmp_path / "adapter"),
    )
    if model.is_decoder:
        assert done.returncode == 0 and "was made for" not in done.stderr
    else:
        assert done.returncode == 1 and "for decoder-only models" in done.stderr


# Beyond what the layers' own names cover.
UNKNOWN: dict[str, dict[str, Any]] = {
    "qwen2": {"attention.sliding_window": 8},
    "gpt2": {"rope.freq_base": 1e4},
    "bert": {"attention.causal": True},
    "gemma2": {"attention.sliding_window_pattern": 0},
    "t5": {"expert_count": 2},
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_settings_that_are_not_followed(name: str, tmp_path: Path, runtime: Runtime) -> None:
    (key,) = UNKNOWN[name]
    path = written(name, tmp_path, **UNKNOWN[name])
    with pytest.raises(SeamError, match=f'model.gguf: .*"{name}.{key}"'):
        runtime.open(path)


def test_every_architecture_is_tried() -> None:
    """The names of ggml and those in the code are one list."""
    file = Path(__file__).parents[2] / "Sources" / "Files" / "GGUF" / "GGUFArchitectures.swift"
    listed = {line.split('"')[1] for line in file.read_text().splitlines() if line.strip().startswith('name: "')}
    assert listed == {case.name for case in ARCHITECTURES.values()}
