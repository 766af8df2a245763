"""LoRA adapters of llama.cpp: files that it runs, and files like those of its converter, values equal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from transformers import AutoTokenizer

import llama_server
from command_line import run, seam
from seam_abi import Array
from seam_objects import Adapter, Batch, Runtime
from test_peft import Model, make
from test_remote_model import ANSWERS, LARGEST, MEAN, PROMPTS


@pytest.fixture(scope="module")
def runtime(plugin_folder: Path) -> Runtime:
    return Runtime([plugin_folder / f"lib{name}.so" for name in ("IA3", "LoRA", "Remote", "Transformer")])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Model:
    return make("llama", tmp_path_factory.mktemp("small"), runtime)


def disturbed(backbone: Any, path: Path, deviation: float = 0.05, **options: Any) -> Adapter:
    """A saved LoRA whose product is not zero."""
    adapter: Adapter = backbone.adapter("lora", options, seed=1)
    random = np.random.default_rng(2)
    for name, values in adapter.parameters.items():
        if name.endswith("lora_B.weight"):
            values[...] = random.normal(0, deviation, values.shape)
    adapter.save(path)
    return adapter


def export(model: Path, adapter: Path, output: Path, *more: str) -> Path:
    seam("export", "--model", model, "--adapter", adapter, "--format", "gguf", "--output", output, *more)
    return output


def test_llama_cpp_runs_what_is_exported(runtime: Runtime, tmp_path: Path) -> None:
    """Log-probabilities of words behind prompts, as close as those of the model alone are, and far from these."""
    if not (name := os.environ.get("SEAM_SMOLLM")):
        pytest.skip("SEAM_SMOLLM names no GGUF file: no real server is asked")
    path = Path(name)
    backbone = runtime.open(path)
    everywhere = "q,k,v,o,gate,up,down"
    adapter = disturbed(backbone, tmp_path / "adapter", 0.07, r=4, targets=everywhere, use_rslora=True)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    first = [tokenizer.encode(answer, add_special_tokens=False)[0] for answer in ANSWERS]

    def scores(*adapters: Adapter) -> Array:
        rows = []
        for prompt in PROMPTS:
            ids = np.array([tokenizer(prompt)["input_ids"]], np.int32)
            logits = backbone.session(*adapters).forward(Batch(ids))[0, -1].astype(np.float64)
            rows.append((logits - np.logaddexp.reduce(logits))[first])
        return np.stack(rows)

    with llama_server.running(path, export(path, tmp_path / "adapter", tmp_path / "lora.gguf")) as url:
        asked = runtime.open(id="remote", options={"base_url": url, "logprobs": 60000}).query(PROMPTS, ANSWERS)
    assert asked.failure is None
    expected, plain = scores(adapter), scores()
    off, effect = np.abs(asked.scores - expected), np.abs(plain - expected)
    print(f"\nlog-probabilities within {off.max():.2f}, mean {off.mean():.2f}; effect {effect.mean():.2f}", end="")
    assert off.max() <= LARGEST and off.mean() <= MEAN
    assert effect.mean() > 5 * MEAN


@pytest.mark.parametrize("stabilised", [False, True], ids=["plain", "rslora"])
def test_names_shapes_and_order(small: Model, tmp_path: Path, stabilised: bool) -> None:
    """As llama.cpp's converter writes them: rows of q and k in pairs of neighbours."""
    adapter = disturbed(
        small.backbone, tmp_path / "adapter", r=3, lora_alpha=5, targets="q,k,up", use_rslora=stabilised
    )
    reader = gguf.GGUFReader(export(small.path, tmp_path / "adapter", tmp_path / "lora.gguf"))
    fields = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert fields == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": pytest.approx(5 * 3**0.5 if stabilised else 5),
    }
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(found) == 3 * 3 * 2
    parameters = adapter.parameters
    for theirs, ours, heads in (("attn_q", "q", 4), ("attn_k", "k", 2), ("ffn_up", "up", 0)):
        a, b = (parameters[f"decoder.1.{ours}.lora_{each}.weight"] for each in "AB")
        if heads:
            b = b.reshape(heads, 2, b.shape[0] // heads // 2, 3).swapaxes(1, 2).reshape(b.shape)
        assert np.array_equal(found[f"blk.1.{theirs}.weight.lora_a"], a)
        assert np.array_equal(found[f"blk.1.{theirs}.weight.lora_b"], b)


def test_there_and_back(small: Model, tmp_path: Path) -> None:
    adapter = disturbed(small.backbone, tmp_path / "adapter", r=3, lora_alpha=5, targets="q,k,v,o,gate,up,down")
    file = export(small.path, tmp_path / "adapter", tmp_path / "lora.gguf")
    before = file.read_bytes()
    seam("import", "--model", small.path, "--format", "gguf", "--input", file, "--output", tmp_path / "back")
    back = small.backbone.load(tmp_path / "back")
    assert back.options["lora_alpha"] == 5 and back.options["r"] == 3
    assert back.parameters.keys() == adapter.parameters.keys()
    assert all(np.array_equal(values, back.parameters[name]) for name, values in adapter.parameters.items())
    assert export(small.path, tmp_path / "back", file, "--overwrite").read_bytes() == before


def written(path: Path, ranks: tuple[int, int] = (2, 2), kind: type = np.float32, **changes: Any) -> Path:
    """A file as others write it, on two projections of the small model: 24 wide, with keys of 12."""
    writer = gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    writer.add_string("general.type", changes.get("type", "adapter"))
    writer.add_string("adapter.type", changes.get("adapter", "lora"))
    if (alpha := changes.get("alpha", 6.0)) is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    for key in changes.get("keys", ()):
        writer.add_uint32(key, 1)
    random = np.random.default_rng(3)
    for name, rank, width in (("attn_q", ranks[0], 24), (changes.get("name", "attn_k"), ranks[1], 12)):
        for ending, shape in (("a", (rank, 24)), ("b", (width, rank))):
            if ending not in changes.get("without", ""):
                values = random.normal(0, changes.get("deviation", 1), shape).astype(kind)
                writer.add_tensor(f"blk.0.{name}.weight.lora_{ending}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("ranks", [(2, 2), (1, 3)], ids=["one rank", "two ranks"])
@pytest.mark.parametrize("alpha", [6.0, 0.0])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_what_others_write(small: Model, tmp_path: Path, ranks: tuple[int, int], alpha: float, kind: type) -> None:
    """The product is alpha / r B A, or B A where alpha is 0."""
    file = written(tmp_path / "lora.gguf", ranks, kind, alpha=alpha)
    seam("import", "--model", small.path, "--format", "gguf", "--input", file, "--output", tmp_path / "adapter")
    adapter = small.backbone.load(tmp_path / "adapter")
    tensors = {tensor.name: np.array(tensor.data, np.float32) for tensor in gguf.GGUFReader(file).tensors}
    for theirs, ours, heads, rank in (("attn_q", "q", 4, ranks[0]), ("attn_k", "k", 2, ranks[1])):
        a, b = (tensors[f"blk.0.{theirs}.weight.lora_{each}"] for each in "ab")
        b = b.reshape(heads, b.shape[0] // heads // 2, 2, rank).swapaxes(1, 2).reshape(b.shape)
        expected = (alpha / rank if alpha else 1) * b @ a
        mine = [adapter.parameters[f"decoder.0.{ours}.lora_{each}.weight"] for each in "BA"]
        found = adapter.options["lora_alpha"] / adapter.options["r"] * mine[0] @ mine[1]
        # Products of f32 numbers, scaled before or behind.
        assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "model": ({"type": "model"}, ['"general.type" must be "adapter"', '"model"']),
    "vector": ({"adapter": "control_vector"}, ['"adapter.type" must be "lora"', '"control_vector"']),
    "architecture": ({"architecture": "qwen2"}, ['"general.architecture" must be "llama"', '"qwen2"']),
    "alpha": ({"alpha": None}, ['"adapter.lora.alpha" is missing']),
    "setting": ({"keys": ["adapter.alora.invocation_tokens"]}, ["adapter.alora.invocation_tokens", "not followed"]),
    "half": ({"without": "b"}, ["must have lora_a [r, in] and lora_b [out, r]"]),
    "part": ({"name": "attn_gate"}, ["blk.0.attn_gate.weight.lora_a", "is no LoRA of a projection of this model"]),
    "width": ({"name": "attn_output"}, ["must be [24, r] for this model", "[12, 2]"]),
    "nan": ({"deviation": np.nan}, ["NaN or infinity at element 0"]),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_are_refused(small: Model, tmp_path: Path, case: str) -> None:
    changes, parts = BAD[case]
    file = written(tmp_path / "lora.gguf", **changes)
    output = tmp_path / "adapter"
    done = run("import", "--model", small.path, "--format", "gguf", "--input", file, "--output", output)
    assert done.returncode == 1 and not output.exists()
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in parts), done.stderr


def test_what_is_not_written(small: Model, tmp_path: Path, runtime: Runtime) -> None:
    disturbed(small.backbone, tmp_path / "lora")
    disturbed(small.backbone, tmp_path / "zero", lora_alpha=0)
    small.backbone.adapter("ia3").save(tmp_path / "ia3")
    other = make("mistral", tmp_path / "mistral", runtime)
    disturbed(other.backbone, tmp_path / "other")
    kept = tmp_path / "kept.gguf"
    kept.write_text("somebody's")

    def refused(model: Path, adapter: str, output: Path, *more: str) -> str:
        done = run(
            *("export", "--model", model, "--adapter", tmp_path / adapter, "--format", "gguf"),
            *("--output", output, *more),
        )
        assert done.returncode == 1 and done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
        return done.stderr

    output = tmp_path / "out.gguf"
    assert 'holds one LoRA adapter or control vector, found "ia3"' in refused(small.path, "ia3", output)
    assert "lora_alpha of 0" in refused(small.path, "zero", output)
    assert 'family "mistral"' in refused(other.path, "other", output)
    assert "--base-model is for --format peft" in refused(small.path, "lora", output, "--base-model", "a")
    assert "is no adapter of llama.cpp's" in refused(small.path, "lora", kept, "--overwrite")
    assert "--overwrite" in refused(small.path, "lora", kept)
    assert kept.read_text() == "somebody's" and not output.exists()
