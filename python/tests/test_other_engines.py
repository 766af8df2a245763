"""Adapters on an engine that is neither libSeam's nor torch: NumPy alone, by the same calls of client.h. And libSeam
without OpenBLAS, which only its own products need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import numpy_engine
import seamkit
import seamkit.torch as engine
from numpy_engine import described, run, run_all
from plugins_in_c import built
from seamkit import _declarations as c
from seamkit._native.described import DescribedModel
from seamkit.point import ENCODER, Point

WIDTH = 24
SITE = engine.Site("numpy", WIDTH, 2, 0, 0, 0, 0, 0, 0, 0)
# f32 against f32 with sums in another order, of the largest value.
TOLERANCE = 1e-6
H = np.random.default_rng(1).standard_normal((2, 5, WIDTH)).astype(np.float32)
MASK = np.ones((2, 5), np.int32)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    built("layers-plugin/tiny_layers.c", folder / "libTinyLayers.so")
    built("prompt-plugin/wrong_prompts.c", folder / "libWrongPrompts.so")
    return folder


def disturbed(adapter: seamkit.Adapter, torches: engine.Adapter) -> list[np.ndarray[Any, Any]]:
    """Other values than those at the start, the same in both."""
    random, values = np.random.default_rng(0), adapter.parameters
    for each in values.values():
        each += 0.3 * random.standard_normal(each.shape).astype(np.float32)
    torches.load_state_dict({name: torch.from_numpy(each.copy()) for name, each in values.items()})
    return list(values.values())


def close(mine: Any, expected: Any) -> bool:
    return bool(np.abs(mine - expected).max() <= TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize(
    "options", [{}, {"seed": "positions", "max_positions": 7, "lambda": 0.3}, {"norm": "none"}], ids=str
)
def test_repcali(runtime: seamkit.Runtime, options: dict[str, Any], tmp_path: Path) -> None:
    adapter = DescribedModel(runtime, described(WIDTH)).adapter("repcali", options, seed=3)
    torches = engine.Adapter("repcali", SITE, options, seed=3)
    for name, value in adapter.parameters.items():
        assert np.array_equal(torches.state_dict()[name].numpy(), value)
    values = disturbed(adapter, torches)
    expected = torches(torch.from_numpy(H), torch.from_numpy(MASK)).detach().numpy()
    assert close(run(adapter, values, [H, MASK]), expected)
    assert not close(H, expected)
    # Both write the same files.
    adapter.save(tmp_path / "numpy")
    torches.save(tmp_path / "torch")
    for name in ("adapter_config.json", "adapter_model.safetensors", "README.md"):
        assert (tmp_path / "numpy" / name).read_bytes() == (tmp_path / "torch" / name).read_bytes()
    [back] = DescribedModel(runtime, described(WIDTH)).load(tmp_path / "torch")
    assert close(run(back, list(back.parameters.values()), [H, MASK]), expected)


def test_lora(runtime: seamkit.Runtime) -> None:
    """At a projection, and the points by their names."""
    points = tuple(Point(ENCODER, c.SEAM_PROJECTION, layer, name, WIDTH, 16) for layer in (0, 1) for name in "qv")
    model = DescribedModel(runtime, described(WIDTH, [each.struct() for each in points]))
    names = ["encoder.0.q", "encoder.1.v"]
    adapter = model.adapter("lora", {"r": 3}, points=names)
    site = engine.Site("numpy", WIDTH, 2, 0, 0, 0, 0, 0, 0, 0, points=points)
    torches = engine.Adapter("lora", site, {"r": 3}, points=names)
    disturbed(adapter, torches)
    random = np.random.default_rng(2)
    weight, y = random.standard_normal((16, WIDTH), np.float32), random.standard_normal((2, 5, 16), np.float32)
    described_parameters = adapter.describe()["parameters"]
    for index in range(2):
        own = [adapter.parameters[each["name"]] for each in described_parameters if each["point"] in (-1, index)]
        found = run(adapter, own, [H, weight, None, y], point=index, phase=c.SEAM_PHASE_AFTER)
        given = [None if each is None else torch.from_numpy(each) for each in (H, weight, None, y)]
        expected = torches.visit(engine.Visit(index), *given).detach().numpy()
        assert close(found, expected) and not close(y, expected)


def test_prompt_tuning(runtime: seamkit.Runtime) -> None:
    """Two outputs, of which one may be left out."""
    point = Point(ENCODER, c.SEAM_PROMPT_EMBEDDING, 0, "", WIDTH, WIDTH)
    adapter = DescribedModel(runtime, described(WIDTH, [point.struct()])).adapter("prompt-tuning", {"prompt_length": 3})
    site = engine.Site("numpy", WIDTH, 2, 0, 0, 0, 0, 0, 0, 0, points=(point,))
    torches = engine.Adapter("prompt-tuning", site, {"prompt_length": 3})
    values = disturbed(adapter, torches)
    vectors, changed = run_all(adapter, values, [H, MASK], 2, point=0, phase=c.SEAM_PHASE_AFTER)
    expected, same = torches.prompt(engine.Visit(0), torch.from_numpy(H), torch.from_numpy(MASK))
    assert expected is not None and changed is None and np.array_equal(same, H)
    assert close(vectors, expected.detach().numpy())
    with pytest.raises(seamkit.ShapeError, match=r"encoder.embedding. takes x \[batch, n, 24\] and mask \[batch, n\]"):
        run_all(adapter, values, [H, MASK[:1]], 2, point=0, phase=c.SEAM_PHASE_AFTER)
    with pytest.raises(seamkit.InvalidArgumentError, match="takes 2 outputs, found 1"):
        run(adapter, values, [H, MASK], point=0, phase=c.SEAM_PHASE_AFTER)


def test_prefix_tuning(runtime: seamkit.Runtime) -> None:
    """An output for each layer; what gives all layers one size is refused where they differ."""
    options = {"prefix_length": 3}
    adapter = DescribedModel(runtime, described(WIDTH, kv_heads=(2, 2))).adapter("prefix-tuning", options)
    site = engine.Site("numpy", WIDTH, 2, 0, 0, 2, 4, 0, 0, 0, (2, 0, 0))
    torches = engine.Adapter("prefix-tuning", site, options)
    values = disturbed(adapter, torches)
    found = run_all(adapter, values, [None, None], 2)
    for mine, expected in zip(found, torches(), strict=True):
        assert mine is not None and mine.shape == (2, 2, 3, 4) and close(mine, expected.detach().numpy())
    for inputs in ([None], [None, np.ones((2, 2, 3), np.float32)]):
        with pytest.raises(
            seamkit.ShapeError, match=r"takes 2 prefixes, for each layer of each attention \[2, kv_heads"
        ):
            run_all(adapter, values, inputs, 2)
    with pytest.raises(seamkit.UnsupportedError, match="has kv_heads 2 in layer 0 and 3 in layer 1"):
        DescribedModel(runtime, described(WIDTH, kv_heads=(2, 3))).adapter("prefix-tuning", options)


@pytest.mark.parametrize(
    "fault, sentence",
    [
        ("first", "in layer 1 as NULL, as in layer 0, found f32 [2, 2, 3, 4]"),
        ("last", "in layer 1 as f32 [2, 2, 3, 4], found NULL"),
        ("length", "in layer 1 as f32 [2, 2, 3, 4], found f32 [2, 2, 2, 4]"),
        ("heads", "in layer 1 as f32 [2, 2, 3, 4], found f32 [2, 1, 3, 4]"),
    ],
)
def test_what_is_no_prefix(libraries: Path, fault: str, sentence: str) -> None:
    """Where layers differ; the sentences are those of the native engine (LayerPrefixTests)."""
    engine.load_plugin(libraries / "libTinyLayers.so")
    sizes: Any = {"prefix_kv_heads": ((1, 2), (), ()), "prefix_head_dim": ((8, 4), (), ())}
    site = engine.Site("numpy", 8, 2, 0, 0, 0, 0, 0, 0, 0, (2, 0, 0), **sizes)
    assert [None if each is None else list(each.shape) for each in engine.Adapter("layer-prefix", site)()] == [
        [2, 1, 3, 8],
        [2, 2, 3, 4],
    ]
    with pytest.raises(seamkit.PluginError) as found:
        engine.Adapter("layer-prefix", site, {"fault": fault})()
    assert found.value.message == f'adapter "layer-prefix" must return the prefix of encoder attention {sentence}'
    assert found.value.origin == "org.seamkit.test.tiny-layers"


@pytest.mark.parametrize(
    "mode, sentence",
    [
        ("wide", "the vectors at the point {} as f32 [1 or 2, prompt, 24], found f32 [1, 2, 25]"),
        ("empty", "the vectors at the point {} as f32 [1 or 2, prompt, 24], found f32 [1, 0, 24]"),
        ("the-mask", "the vectors at the point {} as f32 [1 or 2, prompt, 24], found i32 [2, 5]"),
        ("other-x", "x at the point {} as f32 [2, 5, 24], found f32 [2, 5, 1]"),
    ],
)
def test_what_is_no_prompt(libraries: Path, mode: str, sentence: str) -> None:
    """The sentences of the native engine (WrongPromptsTests)."""
    engine.load_plugin(libraries / "libWrongPrompts.so")
    point = Point(ENCODER, c.SEAM_PROMPT_EMBEDDING, 0, "", WIDTH, WIDTH)
    site = engine.Site("numpy", WIDTH, 2, 0, 0, 0, 0, 0, 0, 0, points=(point,))
    adapter = engine.Adapter("wrong-prompts", site, {"mode": mode})
    with pytest.raises(seamkit.PluginError) as found:
        adapter.prompt(engine.Visit(0), torch.from_numpy(H), torch.from_numpy(MASK))
    wanted = sentence.format('"encoder.embedding"')
    assert found.value.message == f'adapter "wrong-prompts" must return {wanted}'
    assert found.value.origin == "org.seamkit.test.wrong-prompts"


def test_mistakes_are_sentences(runtime: seamkit.Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DescribedModel(runtime, described(WIDTH))
    adapter = model.adapter("repcali")
    values = list(adapter.parameters.values())
    for inputs in ([H], [H[..., :5], MASK], [H, MASK[:1]], [None, MASK]):
        with pytest.raises(seamkit.ShapeError, match=r"on encoder.output takes hidden \[batch, source, 24\] and mask"):
            run(adapter, values, inputs)
    with pytest.raises(seamkit.InvalidArgumentError, match=r"takes 3 parameters, found 2"):
        run(adapter, values[:2], [H, MASK])
    with pytest.raises(seamkit.InvalidArgumentError, match="is on encoder.output, which has no points, found 0"):
        run(adapter, values, [H, MASK], point=0)
    monkeypatch.delitem(numpy_engine._OPERATIONS, "layer_norm")
    monkeypatch.setattr(numpy_engine, "_TABLE", numpy_engine._table())
    with pytest.raises(ValueError, match="layer_norm: this engine does not have it"):
        run(adapter, values, [H, MASK])
    with pytest.raises(seamkit.UnsupportedError, match="the model .numpy. is run by an engine of the caller's"):
        seamkit._native.handles.made("seam_session_create", model.handle)
    info = described(0)
    with pytest.raises(seamkit.InvalidArgumentError, match="describes itself with d_model 0"):
        DescribedModel(runtime, info)
    with pytest.raises(seamkit.ShapeError, match=r"takes scores \[batch, 3\] and hidden \[batch, 24\], found \[4, 2\]"):
        model.adapter("dect", classes=3).prepare(np.ones((4, 2), np.float32), np.ones((4, WIDTH), np.float32))


# ---- Without OpenBLAS

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
void *dlopen(const char *name, int flags) {
  void *(*next)(const char *, int) = dlsym(RTLD_NEXT, "dlopen");
  return next(name && strstr(name, "libopenblas.so.0") ? "/there/is/no/OpenBLAS" : name, flags);
}
"""


def without_openblas(folder: Path) -> None:
    """In a process that cannot load it: both other engines go on, and a product of libSeam's is refused."""
    torches = engine.Adapter("repcali", SITE)
    torches(torch.from_numpy(H), torch.from_numpy(MASK)).sum().backward()
    torches.save(folder / "torch")
    runtime = seamkit.Runtime()
    adapter = DescribedModel(runtime, described(WIDTH)).adapter("repcali")
    run(adapter, list(adapter.parameters.values()), [H, MASK])
    adapter.save(folder / "adapter")
    assert adapter.call("shift").shape == (1, WIDTH)  # no product
    head = DescribedModel(runtime, described(WIDTH)).adapter("dect", classes=2)
    with pytest.raises(seamkit.NotFoundError, match="OpenBLAS could not be loaded: /there/is/no/OpenBLAS"):
        head.call("project", np.ones((4, WIDTH), np.float32))


def test_without_openblas(tmp_path: Path) -> None:
    (tmp_path / "shim.c").write_text(SHIM)
    shim = tmp_path / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-w", tmp_path / "shim.c", "-o", shim, "-ldl"], check=True)
    program = "import pathlib, sys, test_other_engines as t; t.without_openblas(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ
        | {"LD_PRELOAD": str(shim), "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    assert done.returncode == 0, done.stderr
