"""Adapters as torch modules against the native engine: sites, options, initial values, outputs, gradients, methods."""

from __future__ import annotations

import concurrent.futures
import copy
import gc
import pickle
import subprocess
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel

import seamkit
import seamkit.torch as engine
from prefix_reference import FAMILIES, save
from seamkit.torch import passes, plugins

ROOT = Path(__file__).resolve().parents[2]
SITE = engine.Site("bart", 24, 2, 3, 4, 4, 6, 40, 40, 61, (2, 3, 3), (0, 39, 0))
# Of the largest: one f32 rounding is 6e-8, and the engines sum in another order.
TOLERANCE = 2e-6
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "repcali": ("repcali", {}),
    "repcali positions": ("repcali", {"seed": "positions", "max_positions": 6, "lambda": 0.3}),
    "repcali paper": ("repcali", {"initialization": "paper", "seed": "positions"}),
    "repcali no norm": ("repcali", {"norm": "none"}),
    "prefix-tuning": ("prefix-tuning", {"prefix_length": 5}),
    "prefix-tuning plain": ("prefix-tuning", {"reparameterization": "none", "attention": "decoder"}),
    "residual-prefix": ("residual-prefix", {"prefix_length": 3, "mlp_hidden_size": 7, "layer_norm": True}),
    "residual-prefix both": ("residual-prefix", {"prefix_length": 3, "residual": "both", "attention": "cross"}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("bart", tmp_path_factory.mktemp("bart"))


# Fields of a site beside its sizes.
OTHERS = ("family", "points", "vocabulary", "prefix_kv_heads", "prefix_head_dim")


def native_site(backbone: seamkit.Backbone) -> dict[str, Any]:
    info = backbone.info
    names = [name for name in engine.Site.__dataclass_fields__ if name not in OTHERS]
    return {name: getattr(info, name) for name in [*names, "family"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_sites_are_those_of_the_native_host(runtime: seamkit.Runtime, family: str, tmp_path: Path) -> None:
    path = save(family, tmp_path / "model")
    found = engine.Site.of(AutoConfig.from_pretrained(path))
    backbone = runtime.open(path)
    sizes = {name: each for name, each in vars(found).items() if name not in OTHERS}
    assert sizes | {"family": found.family} == native_site(backbone)
    info = backbone.info
    for name in ("prefix_kv_heads", "prefix_head_dim"):
        assert not any(getattr(found, name)) and not any(getattr(info, name)), "alike in all layers"
    for name in ("decoder_start_token_id", "pad_token_id", "bos_token_id", "mask_token_id"):
        native = getattr(info, name)
        assert getattr(found.vocabulary, name) == (-1 if native is None else native), name
    assert tuple(found.vocabulary.eos_token_ids) == info.eos_token_ids
    assert {*found.seams, "layer.output", "projection", "prompt.embedding"} >= set(backbone.seams)


def made(folder: Path, name: str, seed: int = 5) -> engine.Adapter:
    id, options = OPTIONS[name]
    return engine.Adapter(id, engine.Site.of(AutoConfig.from_pretrained(folder)), options, seed=seed)


@pytest.mark.parametrize("name", OPTIONS)
def test_initial_values_are_the_native_ones(runtime: seamkit.Runtime, folder: Path, name: str) -> None:
    """To the last bit, and so are the resolved options."""
    id, options = OPTIONS[name]
    native, adapter = runtime.open(folder).adapter(id, options, seed=5), made(folder, name)
    assert adapter.options == native.options
    state, expected = adapter.state_dict(), native.parameters
    assert list(state) == list(expected)
    for key, value in expected.items():
        assert np.array_equal(state[key].numpy(), value), key


def test_initial_values_of_a_classifier(runtime: seamkit.Runtime, folder: Path) -> None:
    for id in ("dect", "linear-head"):
        native = runtime.open(folder).classifier(id, 3, seed=9)
        adapter = engine.Adapter(id, engine.Site.of(AutoConfig.from_pretrained(folder)), classes=3, seed=9)
        for key, value in native.parameters.items():
            assert np.array_equal(adapter.state_dict()[key].numpy(), value), key
    assert {name for name, _ in adapter.named_parameters()} == {"weight", "bias"}


def disturb(adapter: torch.nn.Module, seed: int = 3) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in adapter.parameters():
            each += 0.3 * torch.randn(each.shape, generator=generator)


def hidden(seed: int = 1, *shape: int) -> torch.Tensor:
    return torch.randn(shape or (2, 9, 24), generator=torch.Generator().manual_seed(seed))


def reference(adapter: engine.Adapter, h: torch.Tensor) -> torch.Tensor:
    """RepCali by its formulas."""
    import repcali_reference

    native: Any = type(
        "Native",
        (),
        {"options": adapter.options, "parameters": {k: v.numpy() for k, v in adapter.state_dict().items()}},
    )
    block = repcali_reference.RepCali(native)
    result: torch.Tensor = block(h)
    return result


@pytest.mark.parametrize("name", [each for each in OPTIONS if each.startswith("repcali")])
def test_traced_and_untraced_are_the_formulas(folder: Path, name: str) -> None:
    adapter = made(folder, name)
    disturb(adapter)
    mask = torch.ones(2, 9, dtype=torch.int64)
    first, second = hidden(1).requires_grad_(), hidden(2).requires_grad_()
    for index, h in enumerate([first, second, first]):
        expected = reference(adapter, h.detach())
        found = adapter(h, mask)
        assert len(adapter._traces) == 1
        assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max(), index
    before = first.grad
    adapter(first, mask).square().sum().backward()
    assert before is None and first.grad is not None
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in adapter.parameters())


def test_gradients_are_those_of_differences(folder: Path) -> None:
    """In f64, by torch.autograd.gradcheck, traced."""
    adapter = made(folder, "repcali paper").double()
    disturb(adapter)
    mask = torch.ones(1, 4)
    adapter(hidden(1, 1, 4, 24).double(), mask)
    torch.autograd.gradcheck(lambda h: adapter(h, mask), hidden(2, 1, 4, 24).double().requires_grad_())


def test_the_steady_state_makes_no_call_to_the_plugin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, mask = made(folder, "repcali"), torch.ones(2, 9)
    expected = adapter(hidden(), mask)
    calls: list[Any] = []
    monkeypatch.setattr(adapter, "_record", lambda *arguments: calls.append(arguments))
    assert torch.equal(adapter(hidden(), mask), expected) and not calls
    with pytest.raises(TypeError):
        adapter.eval()(hidden(), mask)
    assert len(calls) == 1, "training is part of what is traced"


def test_traces_are_bounded(folder: Path) -> None:
    adapter = made(folder, "repcali")
    for length in range(1, 80):
        adapter(hidden(1, 1, length, 24), torch.ones(1, length))
    assert len(adapter._traces) == 64


def test_half_precision_and_autocast(folder: Path) -> None:
    """Inputs in bf16 are widened: only their own rounding, 2^-8, is left. Under autocast products are in bf16."""
    adapter, mask = made(folder, "repcali"), torch.ones(2, 9)
    disturb(adapter)
    expected = adapter(hidden(), mask)
    found = adapter(hidden().bfloat16(), mask)
    assert found.dtype == torch.bfloat16
    assert (found - expected).abs().max() <= 2**-6 * expected.abs().max()
    prefix = made(folder, "prefix-tuning")
    full = prefix()[1]
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):
            rounded = prefix()[1]
            assert rounded.dtype == torch.float32
            assert 0 < (rounded - full).abs().max() <= 2**-5 * full.abs().max()


def test_functional_call_and_compositions(folder: Path) -> None:
    adapter, mask = made(folder, "repcali"), torch.ones(2, 9)
    adapter(hidden(), mask)
    other = {name: torch.ones_like(value) for name, value in adapter.state_dict().items()}
    found = torch.func.functional_call(adapter, other, (hidden(), mask))
    adapter.load_state_dict(other)
    assert torch.equal(found, adapter(hidden(), mask))


def test_classifiers_train_like_the_native_ones(runtime: seamkit.Runtime, folder: Path, tmp_path: Path) -> None:
    """DecT: prepared from the examples, then full-batch Adam; the losses of 10 epochs, relative 1e-4. And saved."""
    backbone = runtime.open(folder)
    random = np.random.default_rng(0)
    h, labels = random.standard_normal((12, 24), np.float32), np.arange(12) % 3
    h[:, :3] += 4 * np.eye(3, dtype=np.float32)[labels]
    scores = random.uniform(0.5, 2, (12, 3)).astype(np.float32)
    empty = np.array([[0.9, 1.4, 0.7]], np.float32)
    native = backbone.classifier("dect", 3, seed=2)
    expected = native.fit(scores, h, labels, empty, epochs=10)
    adapter = engine.Adapter("dect", engine.Site.of(AutoConfig.from_pretrained(folder)), classes=3, seed=2)
    x, y, target = torch.from_numpy(scores), torch.from_numpy(h), torch.from_numpy(labels)
    adapter.prepare(x, y, labels=target, empty_scores=torch.from_numpy(empty))
    optimizer, losses = torch.optim.Adam(adapter.parameters(), 0.01), []
    for _ in range(10):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(adapter(x, y), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(expected, rel=1e-4)
    assert np.allclose(adapter(x, y).detach(), native.classify(scores, h), rtol=1e-4, atol=1e-4)
    assert np.allclose(adapter.project(y).detach(), native.call("project", h), atol=1e-5)
    assert np.allclose(adapter.call("radii").detach(), native.call("radii"), atol=1e-4)
    model = AutoModel.from_pretrained(folder)
    adapter.task = {"template": "{text}"}
    adapter.save(tmp_path / "torch", model)
    loaded = backbone.load(tmp_path / "torch")
    assert np.allclose(loaded.classify(scores, h), adapter(x, y).detach(), rtol=1e-5, atol=1e-5)
    loaded.save(tmp_path / "native")
    back = engine.read_adapter(tmp_path / "native", model)
    assert torch.equal(back(x, y), adapter(x, y)) and back.classes == 3 and back.task == adapter.task
    assert [name for name, _ in back.named_parameters()] == ["projection", "radii"], "the rest is frozen"


def test_folding(folder: Path) -> None:
    adapter = made(folder, "residual-prefix")
    disturb(adapter)
    folded = adapter.folded()
    assert [name for name, _ in folded.named_parameters()] == ["encoder.prefix", "decoder.prefix", "cross.prefix"]
    for mine, expected in zip(folded(), adapter(), strict=True):
        assert (mine - expected).abs().max() <= TOLERANCE * expected.abs().max()
    assert folded.folded() is folded
    assert made(folder, "repcali").folded().id == "repcali"


def test_methods(folder: Path) -> None:
    adapter = made(folder, "repcali positions")
    disturb(adapter)
    assert torch.equal(adapter.shift(), adapter.embedding.weight * 0.3)
    assert adapter.call("lambda") == 0.3
    with pytest.raises(seamkit.NotFoundError, match='no method "weights"; it has shift, lambda'):
        adapter.call("weights")
    with pytest.raises(seamkit.InvalidArgumentError, match="takes 0 arguments"):
        adapter.shift(1)
    with pytest.raises(AttributeError):
        getattr(adapter, "nothing")  # noqa: B009


def test_copies(folder: Path) -> None:
    adapter, mask = made(folder, "repcali positions"), torch.ones(2, 9)
    disturb(adapter)
    adapter.embedding.weight.requires_grad_(False)
    for copied in (copy.deepcopy(adapter), pickle.loads(pickle.dumps(adapter))):
        assert torch.equal(copied(hidden(), mask), adapter(hidden(), mask))
        assert copied.options == adapter.options and not copied.embedding.weight.requires_grad
        assert copied.embedding.weight is not adapter.embedding.weight


# ---- Wrong use: the sentences of the native host


@pytest.mark.parametrize(
    "id, options",
    [
        ("repcali", {"lamda": 1}),
        ("repcali", {"lambda": "1"}),
        ("repcali", {"lambda": True}),
        ("repcali", {"seed": "one"}),
        ("repcali", {"epsilon": 0}),
        ("repcali", {"max_positions": 1.5}),
        ("repcali", {"max_positions": -1}),
        ("repcali", {"deviation": 1e9}),
        ("prefix-tuning", {"prefix_length": 0}),
        ("prefix-tuning", {"prefix_length": 90}),
        ("gate", {}),
        ("prefix-tuning", {"folded": 1}),
        ("residual-prefix", {"residual": "both", "mlp_hidden_size": 7}),
    ],
)
def test_wrong_options_get_the_native_sentence(
    runtime: seamkit.Runtime, folder: Path, id: str, options: dict[str, Any]
) -> None:
    site = engine.Site.of(AutoConfig.from_pretrained(folder))
    with pytest.raises(seamkit.SeamError) as expected:
        runtime.open(folder).adapter(id, options)
    with pytest.raises(seamkit.SeamError) as found:
        engine.Adapter(id, site, options)
    for name in ("message", "code", "origin"):
        assert getattr(found.value, name) == getattr(expected.value, name)


def test_seams_and_shapes() -> None:
    with pytest.raises(seamkit.InvalidArgumentError, match='attaches to encoder.output, not to "decoder.output"'):
        engine.Adapter("repcali", SITE, seam="decoder.output")
    with pytest.raises(seamkit.UnsupportedError, match='no seam "encoder.output"'):
        engine.Adapter("repcali", engine.Site("gpt2", 24, 0, 2, 4, 4, 6, 40, 40, 61))
    with pytest.raises(seamkit.InvalidArgumentError, match="at least 2 classes, found 0"):
        engine.Adapter("dect", SITE)
    with pytest.raises(seamkit.NotFoundError, match="there are .*dect, .*gate"):
        engine.Adapter("nothing", SITE)
    adapter = engine.Adapter("repcali", SITE)
    for inputs in [(hidden(),), (hidden(1, 2, 9, 23), torch.ones(2, 9)), (hidden(), torch.ones(2, 8)), ()]:
        with pytest.raises(seamkit.ShapeError, match=r"takes hidden \[batch, source, 24\]"):
            adapter(*inputs)
    with pytest.raises(seamkit.UnsupportedError, match='model_type is "vit"'):
        engine.Site.of(AutoConfig.for_model("vit"))


# ---- Libraries

FAULTY = """
#include <seam/seam.h>
static const char *const seams[] = {SEAM_ENCODER_OUTPUT};
static seam_status create(const seam_host *h, seam_config *o, const seam_site *s, void **self, seam_error **e)
{ (void)h; (void)o; (void)s; (void)e; *self = 0; return SEAM_OK; }
static void destroy(void *self) { (void)self; }
static size_t count(void *self) { (void)self; return 0; }
static void parameter(void *self, size_t i, seam_parameter *out) { (void)self; (void)i; (void)out; }
static void forward(void *self, const seam_pass *p, seam_forward *io) { (void)self; (void)p; FORWARD }
static const seam_adapter_factory factory = {.struct_size = sizeof factory, .id = NAME, .summary = "", .seams = seams,
  .seam_count = 1, .create = create, .destroy = destroy, .parameter_count = count, .parameter = parameter,
  .forward = forward};
static const seam_adapter_factory *const adapters[] = {&factory};
static const seam_plugin plugin = {.struct_size = sizeof plugin, .abi_major = MAJOR, .abi_minor = 0,
  .id = "org.example." NAME, .version = "1", .license = "MIT", .summary = "", .adapters = adapters, .adapter_count = 1};
const seam_plugin *seam_plugin_entry(void) { return &plugin; }
"""


def build(tmp_path: Path, name: str, forward: str, major: int = 1) -> Path:
    source, library = tmp_path / f"{name}.c", tmp_path / f"lib{name}.so"
    source.write_text(FAULTY)
    subprocess.run(
        [
            "cc",
            "-shared",
            "-fPIC",
            "-I",
            ROOT / "include",
            f'-DNAME="{name}"',
            f"-DFORWARD={forward}",
            f"-DMAJOR={major}",
            source,
            "-o",
            library,
        ],
        check=True,
    )
    return library


@pytest.mark.parametrize(
    "name, forward, kind, message",
    [
        ("nulls", "io->outputs[0] = 0;", seamkit.PluginError, "returned NULL for output 0"),
        (
            "shapes",
            "io->outputs[0] = p->ops->mean(p->ctx, io->inputs[0], 1, 0);",
            seamkit.PluginError,
            "must return output 0",
        ),
        ("stranger", "io->outputs[0] = (seam_tensor *)77;", seamkit.PluginError, "not of this pass"),
        (
            "mismatch",
            "io->outputs[0] = p->ops->matmul(p->ctx, io->inputs[0], io->inputs[0], 0, 0);",
            seamkit.ShapeError,
            r"inner sizes of \[2, 9, 24\]",
        ),
        (
            "says",
            'io->outputs[0] = p->ops->fail(p->ctx, SEAM_NUMERIC, "it says so");',
            seamkit.NumericError,
            "it says so",
        ),
    ],
)
def test_a_failing_plugin(tmp_path: Path, name: str, forward: str, kind: type[Exception], message: str) -> None:
    engine.load_plugin(build(tmp_path, name, forward))
    adapter = engine.Adapter(name, SITE)
    for _ in range(2):
        with pytest.raises(kind, match=message) as caught:
            adapter(hidden(), torch.ones(2, 9))
        assert caught.value.origin == f"org.example.{name}"  # type: ignore[attr-defined]


READS = """{DLManagedTensorVersioned *x = p->ops->to_dlpack(p->ctx, io->inputs[0]);
  double first = ((float *)x->dl_tensor.data)[0]; x->deleter(x);
  io->outputs[0] = p->ops->affine(p->ctx, io->inputs[0], first, 0.0);}""".replace("\n", " ")
DOUBLES = "io->outputs[0] = p->ops->mul(p->ctx, io->inputs[0], p->ops->full(p->ctx, 2.0, SEAM_F32, 0, 0));"


def test_a_plugin_that_reads_values_is_not_traced(tmp_path: Path) -> None:
    engine.load_plugin(build(tmp_path, "reads", READS))
    adapter = engine.Adapter("reads", SITE)
    for seed in (1, 2):
        h = hidden(seed)
        assert torch.allclose(adapter(h, torch.ones(2, 9)), h * h[0, 0, 0])
    assert not adapter._traces


def test_a_trace_made_in_inference_mode_is_trained_later(tmp_path: Path) -> None:
    engine.load_plugin(build(tmp_path, "doubles", DOUBLES))
    adapter, mask = engine.Adapter("doubles", SITE), torch.ones(2, 9)
    with torch.inference_mode():
        adapter(hidden(), mask)
    h = hidden().requires_grad_()
    adapter(h, mask).sum().backward()
    assert len(adapter._traces) == 1 and h.grad is not None and torch.equal(h.grad, torch.full_like(h, 2))


def test_several_threads(folder: Path) -> None:
    adapter, mask = made(folder, "repcali positions"), torch.ones(2, 9)
    disturb(adapter)
    expected = [reference(adapter, hidden(seed)) for seed in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: adapter(hidden(seed), mask), range(8)))
    for mine, wanted in zip(found, expected, strict=True):
        assert (mine - wanted).abs().max() <= TOLERANCE * wanted.abs().max()


def test_nothing_stays_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes and handles end; the plugin's instance ends with the module."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    take = engine.Adapter._take

    def watched(self: engine.Adapter, native: Any, site: engine.Site) -> None:
        alive.add(native)
        take(self, native, site)

    monkeypatch.setattr(engine.Adapter, "_take", watched)
    adapter, mask = made(folder, "repcali"), torch.ones(2, 9)
    for _ in range(50):
        adapter._traces.clear()
        adapter(hidden(), mask)
        adapter.shift()
        with pytest.raises(seamkit.SeamError):
            made(folder, "repcali positions")(hidden())
        with pytest.raises(seamkit.SeamError):
            engine.Adapter("gate", SITE)
    assert not passes._passes
    gc.collect()
    assert len(alive) == 1, "those that failed"
    gone = weakref.ref(adapter)
    del adapter
    gc.collect()
    assert gone() is None and not alive


def test_an_exception_inside_a_callback_is_latched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any kind; Ctrl-C ends the forward and is raised as itself."""

    def failing(error: BaseException) -> Any:
        def fail(*_: Any) -> Any:
            raise error

        return fail

    mask = torch.ones(2, 9)
    for error, kind in [
        (RuntimeError("of torch"), seamkit.ShapeError),
        (KeyError("bug"), seamkit.InternalError),
        (MemoryError(), seamkit.OutOfMemoryError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ]:
        adapter = made(folder, "repcali")
        with monkeypatch.context() as patch:
            patch.setattr("seamkit.torch.passes.Pass.compute", failing(error))
            with pytest.raises(kind) as caught:
                adapter(hidden(), mask)
        if isinstance(caught.value, seamkit.SeamError):
            assert caught.value.origin == "org.seamkit.repcali" and caught.value.__cause__ is error
        assert adapter(hidden(), mask).shape == (2, 9, 24)


def test_what_is_no_plugin(tmp_path: Path) -> None:
    with pytest.raises(seamkit.NotFoundError):
        engine.load_plugin(tmp_path / "nothing.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(seamkit.FormatError, match="cannot be loaded as a dynamic library"):
        engine.load_plugin(tmp_path / "text.so")
    empty = tmp_path / "empty.so"
    subprocess.run(["cc", "-shared", "-x", "c", "/dev/null", "-o", empty], check=True)
    with pytest.raises(seamkit.PluginError, match="does not export seam_plugin_entry"):
        engine.load_plugin(empty)
    with pytest.raises(seamkit.IncompatibleError, match=r"was built for ABI 2\.0"):
        engine.load_plugin(build(tmp_path, "newer", "", major=2))
    (tmp_path / "again").mkdir()
    plugins.factory("repcali")
    with pytest.raises(seamkit.AlreadyExistsError, match="already offered by org.seamkit.repcali"):
        engine.load_plugin(build(tmp_path / "again", "repcali", ""))
    loaded = engine.load_plugin(plugins.factory("repcali").plugin.path)
    assert loaded is plugins.factory("repcali").plugin
