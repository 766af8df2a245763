"""Control vectors of llama.cpp: direction.k is added to what leaves layer k."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from command_line import run, seam
from seam_objects import Adapter, Batch, Runtime
from test_peft import Model, make

# Both compute in f32.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def runtime(plugin_folder: Path) -> Runtime:
    return Runtime([plugin_folder / f"lib{name}.so" for name in ("ControlVector", "LoRA", "Transformer")])


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: Any, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Model:
    return make(request.param, tmp_path_factory.mktemp(request.param), runtime)


def vectors(count: int, width: int, seed: int = 2) -> dict[int, Any]:
    random = np.random.default_rng(seed)
    return {layer: random.normal(size=width).astype(np.float32) for layer in range(1, count)}


def written(path: Path, directions: dict[Any, Any], architecture: str = "controlvector", hint: str = "llama") -> Path:
    """As cvector-generator and repeng write them."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("controlvector.model_hint", hint)
    writer.add_uint32("controlvector.layer_count", len(directions))
    for layer, values in directions.items():
        writer.add_tensor(f"direction.{layer}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def steered(model: Model, directions: dict[int, Any], ids: Any) -> Any:
    """Logits of transformers with the vectors added where the layers end."""
    network: Any = model.hugging_face()
    layers = network.model.layers if hasattr(network, "model") else network.transformer.h

    def moved(values: Any) -> Any:
        def hook(_: Any, __: Any, found: Any) -> Any:
            added = torch.from_numpy(values)
            return (found[0] + added, *found[1:]) if isinstance(found, tuple) else found + added

        return hook

    hooks = [layers[layer].register_forward_hook(moved(values)) for layer, values in directions.items()]
    try:
        with torch.no_grad():
            return network(torch.from_numpy(ids).long()).logits.numpy()
    finally:
        for each in hooks:
            each.remove()


def test_what_others_write(model: Model, tmp_path: Path) -> None:
    info = model.backbone.info
    directions = vectors(info.decoder_layers, info.d_model)
    del directions[1]
    file = written(tmp_path / "vector.gguf", directions, hint=info.family)
    seam("import", "--model", model.path, "--format", "gguf", "--input", file, "--output", tmp_path / "adapter")
    adapter = model.backbone.load(tmp_path / "adapter")
    assert list(adapter.parameters) == [f"decoder.{layer}.direction" for layer in directions]
    ids = np.array([[5, 6, 7, 8]], np.int32)
    expected = steered(model, directions, ids)
    found = model.backbone.session(adapter).forward(Batch(ids))
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()
    assert np.abs(found - model.backbone.session().forward(Batch(ids))).max() > 0.01 * np.abs(expected).max()


def prepared(model: Model, path: Path, **options: Any) -> Adapter:
    adapter = model.backbone.adapter("control-vector", options)
    random = np.random.default_rng(4)
    for values in adapter.parameters.values():
        values[...] = random.normal(size=values.shape)
    adapter.save(path)
    return adapter


def export(model: Model, adapter: Path, output: Path, *more: str) -> Path:
    seam("export", "--model", model.path, "--adapter", adapter, "--format", "gguf", "--output", output, *more)
    return output


def test_there_and_back(model: Model, tmp_path: Path) -> None:
    info = model.backbone.info
    adapter = prepared(model, tmp_path / "adapter", layers=f"1-{info.decoder_layers - 1}", strength=-0.5)
    file = export(model, tmp_path / "adapter", tmp_path / "vector.gguf")
    reader = gguf.GGUFReader(file)
    fields = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert fields == {
        "general.architecture": "controlvector",
        "controlvector.model_hint": info.family,
        "controlvector.layer_count": info.decoder_layers - 1,
    }
    found = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    values = adapter.parameters
    assert list(found) == [f"direction.{layer}" for layer in range(1, info.decoder_layers)]
    assert all(np.array_equal(each, -0.5 * values[f"decoder.{name[10:]}.direction"]) for name, each in found.items())
    seam("import", "--model", model.path, "--format", "gguf", "--input", file, "--output", tmp_path / "back")
    back = model.backbone.load(tmp_path / "back")
    assert back.options["strength"] == 1 and back.options["keep_norm"] is False
    batch = Batch(np.array([[5, 6, 7, 8]], np.int32))
    assert np.array_equal(*(model.backbone.session(each).forward(batch) for each in (adapter, back)))
    before = file.read_bytes()
    assert export(model, tmp_path / "back", file, "--overwrite").read_bytes() == before


BAD: dict[str, tuple[dict[Any, Any], str]] = {
    "first layer": ({0: np.ones(24, np.float32)}, 'tensor "direction.0" must be direction.1, direction.2'),
    "digits": ({"01": np.ones(24, np.float32)}, 'tensor "direction.01" must be direction.1'),
    "name": ({"x": np.ones(24, np.float32)}, 'tensor "direction.x" must be direction.1'),
    "layer": ({9: np.ones(24, np.float32)}, 'tensor "direction.9" is for layer 9, and the layers of this model are 0'),
    "width": ({1: np.ones(23, np.float32)}, "must be [24] for this model, found [23]"),
    "nan": ({1: np.full(24, np.nan, np.float32)}, "NaN or infinity at element 0"),
    "nothing": ({}, "holds no tensors"),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_are_refused(model: Model, tmp_path: Path, case: str) -> None:
    directions, part = BAD[case]
    file, output = written(tmp_path / "vector.gguf", directions), tmp_path / "adapter"
    done = run("import", "--model", model.path, "--format", "gguf", "--input", file, "--output", output)
    assert done.returncode == 1 and not output.exists()
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert part in done.stderr, done.stderr


def test_what_is_not_written(model: Model, tmp_path: Path, runtime: Runtime) -> None:
    prepared(model, tmp_path / "all")
    prepared(model, tmp_path / "norm", layers="1", keep_norm=True)
    prepared(model, tmp_path / "first", layers="0", strength=1)
    large = prepared(model, tmp_path / "large", layers="1", strength=1e6)
    large.parameters["decoder.1.direction"][...] = 1e35
    large.save(tmp_path / "large")
    (tmp_path / "kept.gguf").write_text("somebody's")

    def refused(adapter: str, output: str, *more: str) -> str:
        path = tmp_path / output
        done = run(
            *("export", "--model", model.path, "--adapter", tmp_path / adapter, "--format", "gguf"),
            *("--output", path, *more),
        )
        assert done.returncode == 1 and done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
        return done.stderr

    assert "adds no vector to the first layer's states" in refused("all", "out.gguf")
    assert "adds no vector to the first layer's states" in refused("first", "out.gguf")
    assert "times the strength 1000000.0 leaves f32" in refused("large", "out.gguf")
    assert "has keep_norm" in refused("norm", "out.gguf")
    assert "is no adapter of llama.cpp's" in refused("all", "kept.gguf", "--overwrite")
    assert (tmp_path / "kept.gguf").read_text() == "somebody's" and not (tmp_path / "out.gguf").exists()


def test_another_architecture_is_told(model: Model, tmp_path: Path) -> None:
    info = model.backbone.info
    file = written(tmp_path / "vector.gguf", vectors(info.decoder_layers, info.d_model), hint="gemma2")
    done = run("import", "--model", model.path, "--format", "gguf", "--input", file, "--output", tmp_path / "adapter")
    assert done.returncode == 0 and 'made for a model of the architecture "gemma2"' in done.stderr
