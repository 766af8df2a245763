"""What is wrong gets one sentence of a proper class, and nothing ends the interpreter. Beside this: damaged settings
and saving (test_attach.py), options, failing plugins and callbacks (test_torch_adapter.py), prefixes
(test_prefixes.py), the native engine (test_native.py)."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

import seamkit
import seamkit.torch as engine
import test_prefixes
from prefix_reference import save
from resident import growth
from seamkit._native.dlpack import lent_count
from seamkit.torch import attached, passes
from test_attach import disturb, inputs, opened

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "org.seamkit.repcali"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save(name, tmp_path_factory.mktemp(name)) for name in ("bart", "llama", "bert")}


def given(name: str) -> dict[str, torch.Tensor]:
    return (test_prefixes.inputs if name == "llama" else inputs)(name)[1]


def prepared(name: str, path: Path) -> tuple[Any, list[engine.Adapter]]:
    model = opened(name, path)
    ids = {"llama": ["residual-prefix", "gate"]}.get(name, ["repcali"])
    adapters = [seamkit.attach(model, each) for each in ids]
    for each in adapters:
        disturb(each)
    return model, adapters


# ---- Arguments of another kind

Call = Callable[[Any], Any]
ARGUMENTS: dict[str, tuple[Call, type[Exception], str]] = {
    "no model": (
        lambda m: seamkit.attach(None, "repcali"),
        seamkit.InvalidArgumentError,  # type: ignore[arg-type]
        "must be a model of transformers, with a config; found NoneType",
    ),
    "configuration": (
        lambda m: seamkit.attach(m.config, "repcali"),
        seamkit.InvalidArgumentError,
        "model must be a module of torch, found BartConfig",
    ),
    "wrapped": (
        lambda m: seamkit.attach(torch.nn.DataParallel(m), "repcali"),
        seamkit.InvalidArgumentError,
        "found DataParallel, so give its .module",
    ),
    "number": (
        lambda m: seamkit.attach(m, 3),
        seamkit.InvalidArgumentError,  # type: ignore[arg-type]
        "adapter must be an id, .* found builtins.int",
    ),
    "module": (
        lambda m: seamkit.attach(m, torch.nn.Linear(2, 2)),
        seamkit.InvalidArgumentError,  # type: ignore[arg-type]
        "found torch.nn.modules.linear.Linear",
    ),
    "unknown id": (lambda m: seamkit.attach(m, "repcal"), seamkit.NotFoundError, r"there are .*\brepcali\b"),
    "unknown seam": (
        lambda m: seamkit.attach(m, "repcali", "nowhere"),
        seamkit.InvalidArgumentError,
        'attaches to encoder.output, not to "nowhere"',
    ),
    "frozen": (
        lambda m: seamkit.attach(m, "repcali", frozen="yes"),
        seamkit.InvalidArgumentError,  # type: ignore[arg-type]
        "frozen must be True or False, found 'yes'",
    ),
    "seed": (
        lambda m: seamkit.attach(m, "repcali", random_seed="a"),
        seamkit.InvalidArgumentError,  # type: ignore[arg-type]
        "seed must be an integer, found str",
    ),
    "a wide seed": (
        lambda m: seamkit.attach(m, "repcali", random_seed=2**64 + 1),
        seamkit.InvalidArgumentError,
        "seed must be an integer from 0 to 18446744073709551615, found 18446744073709551617",
    ),
    "object": (
        lambda m: seamkit.attach(m, "repcali", lambda_=object()),
        seamkit.InvalidArgumentError,
        '"lambda" must be a number, found object',
    ),
    "tensor": (
        lambda m: seamkit.attach(m, "repcali", lambda_=torch.tensor(1.0)),
        seamkit.InvalidArgumentError,
        '"lambda" must be a number, found Tensor',
    ),
    "nan": (
        lambda m: seamkit.attach(m, "repcali", lambda_=float("nan")),
        seamkit.InvalidArgumentError,
        '"lambda" must be a finite number, found NaN',
    ),
    "huge": (
        lambda m: seamkit.attach(m, "repcali", seed="positions", max_positions=2**70),
        seamkit.InvalidArgumentError,
        '"max_positions" must be an integer from -9223372036854775808 to',
    ),
    "name of an option": (
        lambda m: engine.Adapter("repcali", engine.Site.of(m), {3: 1}),  # type: ignore[dict-item]
        seamkit.InvalidArgumentError,
        'unknown option "3"',
    ),
    "options": (
        lambda m: engine.Adapter("repcali", engine.Site.of(m), [1]),  # type: ignore[arg-type]
        seamkit.InvalidArgumentError,
        "options must be a mapping .* found list",
    ),
    "site": (
        lambda m: engine.Adapter("repcali", m),
        seamkit.InvalidArgumentError,  # type: ignore[arg-type]
        "site must be a Site, .* found BartForConditionalGeneration",
    ),
    "classes": (
        lambda m: engine.Adapter("dect", engine.Site.of(m), classes="3"),  # type: ignore[arg-type]
        seamkit.InvalidArgumentError,
        "classes must be an integer, found str",
    ),
    "seam": (lambda m: seamkit.attach(m, "repcali", 3), seamkit.InvalidArgumentError, "seam must be .* found 3"),
    "points": (
        lambda m: engine.Adapter("lora", engine.Site.of(m), points="decoder.0.q"),
        seamkit.InvalidArgumentError,
        "points must be a list of names .* found 'decoder.0.q'",
    ),
    "prompts": (
        lambda m: engine.Adapter("dect", engine.Site.of(m), classes=2, prompts="2"),  # type: ignore[arg-type]
        seamkit.InvalidArgumentError,
        "prompts must be an integer, found str",
    ),
    "prefix": (
        lambda m: engine.Adapter("gate", engine.Site.of(m), prefix_length=3),  # type: ignore[arg-type]
        seamkit.InvalidArgumentError,
        "prefix_length must be three numbers of tokens, found 3",
    ),
    "detached": (
        lambda m: seamkit.detach(m, "repcali"),
        seamkit.NotFoundError,  # type: ignore[arg-type]
        "'repcali' is not attached; detach takes what attach returned",
    ),
    "nothing to save": (lambda m: seamkit.save(m, "nowhere"), seamkit.InvalidArgumentError, "none is attached"),
}


@pytest.mark.parametrize("what", ARGUMENTS)
def test_arguments(folders: dict[str, Path], what: str) -> None:
    call, kind, message = ARGUMENTS[what]
    model = opened("bart", folders["bart"])
    with pytest.raises(kind, match=message):
        call(model)
    assert attached(model) == [] and all(each.requires_grad for each in model.parameters())


def test_an_adapter_of_the_native_engine(runtime: seamkit.Runtime, folders: dict[str, Path]) -> None:
    native = runtime.open(folders["bart"]).adapter("repcali")
    with pytest.raises(seamkit.InvalidArgumentError, match="found seamkit._native.adapter.Adapter"):
        seamkit.attach(opened("bart", folders["bart"]), native)  # type: ignore[arg-type]


# ---- Tensors

H, M = torch.ones(1, 2, 24), torch.ones(1, 2)
TENSORS: dict[str, tuple[tuple[Any, Any], type[Exception], str]] = {
    "hidden elsewhere": ((H.to("meta"), M), seamkit.InvalidArgumentError, '"hidden" on meta and "mask" on cpu'),
    "mask elsewhere": ((H, M.to("meta")), seamkit.InvalidArgumentError, '"hidden" on cpu and "mask" on meta'),
    "text": (("x", M), seamkit.ShapeError, "hidden must be a tensor, found str"),
    "numpy": ((H, np.ones((1, 2))), seamkit.ShapeError, "mask must be a tensor, found ndarray"),
    "integers": ((H.long(), M), seamkit.ShapeError, "hidden must be a dense tensor of real numbers, found torch.int64"),
    "complex": ((H.to(torch.complex64), M), seamkit.ShapeError, "hidden must be .* found torch.complex64"),
    "sparse": ((H.to_sparse(), M), seamkit.ShapeError, "hidden must be .* torch.sparse_coo"),
}


@pytest.mark.parametrize("what", TENSORS)
def test_tensors(folders: dict[str, Path], what: str) -> None:
    """Before and after a trace is there."""
    values, kind, message = TENSORS[what]
    adapter = engine.Adapter("repcali", engine.Site.of(AutoConfig.from_pretrained(folders["bart"])))
    for _ in range(2):
        with pytest.raises(kind, match=message) as caught:
            adapter(*values)
        assert caught.value.origin == PLUGIN  # type: ignore[attr-defined]
        adapter(H, M)


@pytest.mark.parametrize(
    "name, message",
    [
        ("bart", '"hidden" on cpu and "embedding.weight" on meta'),
        ("llama", "gives a prefix on meta, but the tokens are on cpu"),
    ],
)
def test_an_adapter_on_another_device(folders: dict[str, Path], tmp_path: Path, name: str, message: str) -> None:
    """No second device is there on every machine: "meta" is one."""
    model, adapters = prepared(name, folders[name])
    model(**given(name))
    for each in adapters:
        each.to("meta")
    with pytest.raises(seamkit.InvalidArgumentError, match=message) as caught:
        model(**given(name))
    assert caught.value.origin.startswith("org.seamkit.")
    with pytest.raises(seamkit.UnsupportedError, match='is on "meta" and has no values'):
        seamkit.save(model, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_a_model_without_values_keeps_them_in_its_adapters(folders: dict[str, Path]) -> None:
    """Such as one whose layers lie on a disk."""
    adapter = seamkit.attach(opened("bart", folders["bart"]).to("meta"), "repcali")
    assert all(each.device.type == "cpu" for each in adapter.parameters())


def test_parameters_that_were_exchanged(folders: dict[str, Path], tmp_path: Path) -> None:
    model, [adapter] = prepared("bart", folders["bart"])
    model(**given("bart"))
    adapter.norm.weight = torch.nn.Parameter(torch.ones(3))
    for call in (lambda: model(**given("bart")), lambda: adapter.save(tmp_path / "adapter")):
        with pytest.raises(seamkit.ShapeError, match=r'parameter "norm.weight" must be \[24\], found \[3\]'):
            call()
    assert not (tmp_path / "adapter").exists()
    del adapter.norm.weight
    with pytest.raises(seamkit.NotFoundError, match='parameter "norm.weight" has been taken out'):
        model(**given("bart"))


# ---- Other precisions work


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["bart", "llama", "bert"])
def test_precisions(folders: dict[str, Path], name: str, dtype: torch.dtype) -> None:
    """Of the adapters alone, and of the model with them; both train. What is left is rounding, of the model's 2^-8 at
    most in each of its layers."""
    model, adapters = prepared(name, folders[name])
    expected = model(**given(name)).logits.detach()
    rows = given(name)["attention_mask"] == 1 if name != "bart" else slice(None)
    for module in (adapters, [model]):
        for each in module:
            each.to(dtype)
        logits = model(**given(name)).logits
        assert logits.dtype == (dtype if module == [model] else torch.float32)
        assert (logits - expected)[rows].abs().max() <= 0.1 * expected.abs().max()
        logits.float().square().mean().backward()
        for each in (p for adapter in adapters for p in adapter.parameters()):
            assert each.grad is not None and each.grad.dtype == dtype and each.grad.isfinite().all()
        model.zero_grad()


@pytest.mark.parametrize("name", ["bart", "llama", "bert"])
def test_autocast(folders: dict[str, Path], name: str) -> None:
    """Recorded, and from the trace: gradients in f32, near those without autocast."""
    model, adapters = prepared(name, folders[name])

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model(**given(name)).logits.float().square().mean().backward()
        return [p.grad.clone() for adapter in adapters for p in adapter.parameters() if p.grad is not None]

    expected = gradients()
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(**given(name)).logits
        model.zero_grad()
        logits.float().square().mean().backward()
        for mine, exact in zip([p.grad for adapter in adapters for p in adapter.parameters()], expected, strict=True):
            assert mine is not None and mine.dtype == torch.float32
            assert torch.linalg.norm(mine - exact) <= 0.1 * torch.linalg.norm(exact)


# ---- Plugins, on both engines

BAD: dict[str, tuple[type[Exception], str]] = {
    "other_major": (seamkit.IncompatibleError, "ABI"),
    "no_entry": (seamkit.PluginError, "seam_plugin_entry"),
    "null_entry": (seamkit.PluginError, "NULL"),
    "small_struct": (seamkit.PluginError, "struct_size"),
    "missing_function": (seamkit.PluginError, "create"),
}


def compiled(source: Path, folder: Path) -> Path:
    library = folder / f"lib{source.stem}.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-I", ROOT / "include", source, "-o", library], check=True)
    return library


@pytest.mark.parametrize("name", BAD)
def test_bad_plugins(tmp_path: Path, name: str) -> None:
    kind, message = BAD[name]
    library = compiled(ROOT / f"Tests/Fixtures/bad-plugins/{name}.c", tmp_path)
    for load in (engine.load_plugin, seamkit.Runtime([]).load_plugin):
        with pytest.raises(kind, match=message):
            load(library)


def test_requirements_that_are_not_met(tmp_path: Path) -> None:
    """One sentence from both engines, with all that is missing."""
    library, sentences = compiled(ROOT / "Tests/Fixtures/bad-plugins/requirements.c", tmp_path), []
    for load in (engine.load_plugin, seamkit.Runtime([]).load_plugin):
        with pytest.raises(seamkit.IncompatibleError) as caught:
            load(library)
        sentences.append(str(caught.value))
    assert sentences[0] == sentences[1] and (
        'needs ABI 1.7, the operation "fourier_transform", the extension "org.seamkit.test.nothing/1", which this core, '
        "ABI 1.0, does not have" in sentences[0]
    )


def test_a_missing_symbol(tmp_path: Path) -> None:
    (tmp_path / "lacks.c").write_text(
        "extern int nowhere(void);\nconst void *seam_plugin_entry(void) { return nowhere() ? 0 : 0; }\n"
    )
    library = compiled(tmp_path / "lacks.c", tmp_path)
    for load in (engine.load_plugin, seamkit.Runtime([]).load_plugin):
        with pytest.raises(seamkit.SeamError, match="undefined symbol: nowhere"):
            load(library)


@pytest.mark.parametrize(
    "name, message",
    [
        ("wrong_shape", r"must return output 0 as f32 \[3, 17, 24\], found f32 \[3, 24\]"),
        ("null_output", "returned NULL for output 0"),
    ],
)
def test_bad_outputs(folders: dict[str, Path], tmp_path: Path, name: str, message: str) -> None:
    """In a model of either engine: the plugin's id, the adapter's and the output; without it the model goes on."""
    library = compiled(ROOT / f"Tests/Fixtures/bad-plugins/{name}.c", tmp_path)
    id = f"test-{name.replace('_', '-')}"
    engine.load_plugin(library)
    model, (batch, tensors) = opened("bart", folders["bart"]), inputs("bart")
    plain = model(**tensors).logits
    adapter = seamkit.attach(model, id)
    native = seamkit.Runtime()
    native.load_plugin(library)
    session = native.open(folders["bart"]).session()
    session.add(id)
    for run in (lambda: model(**tensors), lambda: session.forward(batch)):
        with pytest.raises(seamkit.PluginError, match=message) as caught:
            run()
        assert caught.value.origin == f"org.seamkit.test.{id}" and id in caught.value.message
    seamkit.detach(model, adapter)
    assert torch.equal(model(**tensors).logits, plain)


@pytest.mark.parametrize(
    "error, kind",
    [
        (RuntimeError("of torch"), seamkit.ShapeError),
        (KeyError("bug"), seamkit.InternalError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (SystemExit(3), SystemExit),
    ],
)
def test_an_exception_inside_an_operation(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, error: BaseException, kind: type[BaseException]
) -> None:
    """Of a model with adapters, in a generation; afterwards everything is as before."""
    model, _ = prepared("bart", folders["bart"])
    ids = given("bart")["input_ids"]
    expected = model.generate(ids, max_new_tokens=4)
    attached(model)[0]._traces.clear()

    def fail(*_: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("seamkit.torch.passes.Pass.compute", fail)
        with pytest.raises(kind):
            model.generate(ids, max_new_tokens=4)
    assert torch.equal(model.generate(ids, max_new_tokens=4), expected) and not passes._passes


# ---- Folders

Damage = Callable[[Path], Any]
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def cut(name: str, part: float) -> Damage:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(part * len(data))])

    return damage


def rewritten(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Damage:
    return lambda folder: save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


DAMAGES: dict[str, tuple[Damage, type[Exception], str]] = {
    **{
        f"weights to {part}": (cut(WEIGHTS, part), seamkit.FormatError, sentence)
        for part, sentence in (
            (0, "adapter_model.safetensors. is empty"),
            (0.005, "not a safetensors file, expected at least 8 bytes, found 2"),
            (0.02, "not a safetensors file, its header of 248 bytes reaches beyond the file"),
            (0.5, 'tensor "embedding.weight": its bytes end 80 bytes beyond the file'),
            (0.99, 'tensor "norm.weight": its bytes end 6 bytes beyond the file'),
        )
    },
    **{
        f"settings to {part}": (cut(CONFIG, part), seamkit.FormatError, f"adapter_config.json{sentence}")
        for part, sentence in (
            (0, ": expected JSON, found an empty text"),
            (0.1, ", line 5, column 10: not valid JSON"),
            (0.5, ", line 15, column 18: not valid JSON"),
            (0.99, ", line 29, column 0: not valid JSON"),
        )
    },
    "bytes": (lambda f: (f / CONFIG).write_bytes(b"\xff\xfe\0"), seamkit.FormatError, "line 1: expected UTF-8 text"),
    "depth": (lambda f: (f / CONFIG).write_text("[" * 100_000), seamkit.FormatError, "maximum parsing depth"),
    "a list": (lambda f: (f / CONFIG).write_text("[]"), seamkit.FormatError, "must hold an object, found an array"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), seamkit.NotFoundError, "there is no such file"),
    "header": (lambda f: (f / WEIGHTS).write_bytes(b"\xff" * 64), seamkit.FormatError, "not a safetensors file"),
    "nan": (
        rewritten(lambda v: {k: x * torch.nan for k, x in v.items()}),
        seamkit.NumericError,
        'tensor "embedding.weight" holds NaN or infinity at element 0',
    ),
    "half": (rewritten(lambda v: {k: x.half() for k, x in v.items()}), seamkit.ShapeError, "must be F32"),
    "stranger": (rewritten(lambda v: v | {"more": torch.ones(1)}), seamkit.FormatError, 'holds tensor "more"'),
    "less": (rewritten(lambda v: dict(list(v.items())[1:])), seamkit.FormatError, 'has no tensor "embedding.weight"'),
    "shape": (rewritten(lambda v: {k: torch.ones(3) for k in v}), seamkit.ShapeError, r"found F32 \[3\]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folders(folders: dict[str, Path], tmp_path: Path, damage: str) -> None:
    change, kind, message = DAMAGES[damage]
    model = opened("bart", folders["bart"])
    seamkit.attach(model, "repcali").save(tmp_path / "adapter")
    seamkit.detach(model)
    change(tmp_path / "adapter")
    with pytest.raises(kind, match=message):
        seamkit.load(tmp_path / "adapter", model)
    assert attached(model) == []


def test_one_damaged_of_several(folders: dict[str, Path], tmp_path: Path) -> None:
    """All or none."""
    model, _ = prepared("llama", folders["llama"])
    seamkit.save(model, tmp_path / "adapters")
    seamkit.detach(model)
    shutil.rmtree(tmp_path / "adapters/2-gate")
    with pytest.raises(seamkit.NotFoundError, match="2-gate"):
        seamkit.load(tmp_path / "adapters", model)
    assert attached(model) == []
    names = json.loads((tmp_path / "adapters/adapter_config.json").read_text())
    (tmp_path / "adapters/adapter_config.json").write_text(json.dumps(names | {"adapters": ["../outside"]}))
    with pytest.raises(seamkit.FormatError, match="names of folders beside it"):
        seamkit.load(tmp_path / "adapters", model)


# ---- Nothing stays behind


def test_nothing_leaks_in_ten_thousand_calls(folders: dict[str, Path]) -> None:
    """Of every kind: through the plugin, traced, with gradients, a method, an error, a module made and let go."""
    site = engine.Site.of(AutoConfig.from_pretrained(folders["bart"]))
    adapter = engine.Adapter("repcali", site)
    hidden = torch.ones(1, 2, 24, requires_grad=True)

    def once() -> None:
        adapter._traces.clear()
        for _ in range(2):
            adapter(hidden, M).sum().backward()
        adapter.shift()
        with pytest.raises(seamkit.ShapeError):
            adapter(H, torch.ones(1, 3))
        engine.Adapter("repcali", site)

    once()
    gc.collect()
    lent = lent_count()
    # 1,000 graphs are 37 MB, as many modules 16, and the sources that torch.fx keeps of graphs 2.
    assert growth(once, 1000) < 1024
    assert not passes._passes and lent_count() == lent
