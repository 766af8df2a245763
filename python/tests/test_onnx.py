"""Adapters as ONNX files: the numbers of the torch adapter and of the native engine, in ONNX Runtime, for sizes that
were not traced; what a file says of itself; and what is refused."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import AutoConfig

import seamkit
import seamkit.torch as engine
from prefix_reference import save
from seamkit import locations
from seamkit.onnx.graph import Graph
from seamkit.onnx.operations import Value
from seamkit.onnx.recording import record
from seamkit.onnx.sizes import Size
from seamkit.onnx.writing import Writer
from seamkit.torch.prefixes import computed
from test_attach import disturb, opened
from test_torch_adapter import DOUBLES, READS, build

# Of the largest number. What is asked for is 1e-4; both compute in f32, and sum in another order.
TOLERANCE = 1e-5
SITE = engine.Site("bart", 24, 2, 3, 4, 4, 6, 40, 40, 61, (2, 3, 3), (0, 39, 0))
# Neither one has positions of its own, so that there is no greatest length.
UNLIMITED = engine.Site("t5", 24, 3, 2, 4, 4, 5, 0, 0, 61, (3, 2, 2), (0, 0, 0))
DECODER = engine.Site("llama", 24, 0, 3, 4, 2, 6, 80, 80, 61, (0, 3, 0), (0, 79, 0))
SHAPES = [(1, 1), (1, 40), (2, 6), (2, 7), (3, 13), (4, 30), (7, 5)]

ENCODER_OUTPUT: dict[str, dict[str, Any]] = {
    "identity": {},
    "paper": {"initialization": "paper"},
    "no norm": {"norm": "none", "lambda": 0.3},
    "positions": {"seed": "positions", "lambda": 0.3},
    "few positions": {"seed": "positions", "max_positions": 6},
    "one position": {"seed": "positions", "max_positions": 1, "initialization": "paper"},
}
PREFIXES: dict[str, tuple[str, dict[str, Any]]] = {
    "prefix-tuning": ("prefix-tuning", {"prefix_length": 5}),
    "plain": ("prefix-tuning", {"prefix_length": 3, "reparameterization": "none"}),
    **{
        f"residual {mode}": ("residual-prefix", {"prefix_length": 3, "residual": mode, **more})
        for mode, more in {
            "output": {"mlp_hidden_size": 7, "layer_norm": True},
            "hidden": {},
            "both": {},
            "none": {},
        }.items()
    },
}
GATES: dict[str, dict[str, Any] | None] = {
    "no gate": None,
    "token": {},
    "token-layer": {"scope": "token-layer"},
    "values": {"applied_to": "v"},
}
HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "dect": ("dect", {"projection_width": 16}),
    "dect without scores": ("dect", {"model_scores": False}),
    "dect without radii": ("dect", {"radii": False, "lambda": 0.7}),
    "dect uncalibrated": ("dect", {"calibration": False, "train_prototypes": True}),
    "linear-head": ("linear-head", {}),
    "batch-calibration": ("batch-calibration", {}),
    "ridge-head": ("ridge-head", {}),
    "multi-prompting-decoder": ("multi-prompting-decoder", {"projection_width": 8}),
}


def session(path: Path) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_close(found: np.ndarray[Any, Any], expected: Any) -> None:
    wanted = expected.detach().numpy() if isinstance(expected, torch.Tensor) else expected
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= TOLERANCE * np.abs(wanted).max()


def states(path: Path, hidden: torch.Tensor, mask: torch.Tensor | None = None) -> np.ndarray[Any, Any]:
    mask = torch.ones(hidden.shape[:2], dtype=torch.int64) if mask is None else mask
    found: list[Any] = session(path).run(
        ["last_hidden_state"], {"hidden_states": hidden.numpy(), "attention_mask": mask.numpy()}
    )
    return np.asarray(found[0])


# ---- The numbers


@pytest.mark.parametrize("site", [SITE, UNLIMITED], ids=["bart", "t5"])
@pytest.mark.parametrize("name", ENCODER_OUTPUT)
def test_encoder_output(tmp_path: Path, name: str, site: engine.Site) -> None:
    options = ENCODER_OUTPUT[name]
    if site is UNLIMITED and options.get("seed") and "max_positions" not in options:
        options = options | {"max_positions": 37}
    adapter = engine.Adapter("repcali", site, options)
    disturb(adapter)
    adapter.export_onnx(tmp_path / "adapter.onnx")
    file = session(tmp_path / "adapter.onnx")
    for seed, (batch, sequence) in enumerate(SHAPES):
        hidden, mask = random(seed, batch, sequence, 24), torch.ones(batch, sequence, dtype=torch.int64)
        [found] = file.run(None, {"hidden_states": hidden.numpy(), "attention_mask": mask.numpy()})
        assert_close(np.asarray(found), adapter(hidden, mask))


def test_several_on_the_encoder(tmp_path: Path) -> None:
    adapters = [
        engine.Adapter("repcali", UNLIMITED, options)
        for options in ({"norm": "none"}, {"initialization": "paper"}, {"seed": "positions", "max_positions": 6})
    ]
    for seed, each in enumerate(adapters):
        disturb(each, seed)
    seamkit.export_onnx(adapters, tmp_path / "adapters.onnx")
    for sequence in (4, 9):
        expected = hidden = random(1, 3, sequence, 24)
        for each in adapters:
            expected = each(expected, torch.ones(3, sequence))
        assert_close(states(tmp_path / "adapters.onnx", hidden), expected)
    names = [each.name for each in onnx.load(tmp_path / "adapters.onnx").graph.initializer]
    assert {f"{index}.embedding.weight" for index in range(3)} <= set(names)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("name", PREFIXES)
def test_prefixes(tmp_path: Path, name: str, gate: str) -> None:
    id, options = PREFIXES[name]
    for site in (SITE, DECODER):
        adapters = [engine.Adapter(id, site, options)]
        if (of_gate := GATES[gate]) is not None:
            tokens = options["prefix_length"]
            lengths = tuple(tokens if layers else 0 for layers in site.prefix_layers)
            adapters.append(engine.Adapter("gate", site, of_gate, prefix_length=lengths))  # type: ignore[arg-type]
        for each in adapters:
            disturb(each)
        seamkit.export_onnx(adapters, tmp_path / "prefix.onnx")
        with torch.no_grad():
            expected = computed(adapters)
        file = session(tmp_path / "prefix.onnx")
        for batch, sequence in SHAPES:
            outputs = [each.name for each in file.get_outputs()]
            feeds = {"input_ids": np.zeros((batch, sequence), np.int64)}
            found = dict(zip(outputs, file.run(None, feeds), strict=True))
            names = (
                ["past_key_values.{}.{}"] * 3
                if site is DECODER
                else ["encoder_past_key_values.{}.{}", "past_key_values.{}.decoder.{}", "past_key_values.{}.encoder.{}"]
            )
            for attention, numbers in zip(names, expected, strict=True):
                for layer, pair in enumerate(numbers):
                    assert pair is not None
                    for kind, values in zip(("key", "value"), pair, strict=True):
                        wanted = values.detach().expand(batch, -1, -1, -1).numpy()
                        # What libSeam folds is summed in another order than torch sums.
                        far = np.abs(found.pop(attention.format(layer, kind)) - wanted).max()
                        assert far <= 2e-6 * np.abs(wanted).max()
            assert not found


@pytest.mark.parametrize("name", HEADS)
def test_heads(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    """Against the native engine, too."""
    id, options = HEADS[name]
    folder = save("bart", tmp_path / "model")
    adapter = engine.Adapter(id, engine.Site.of(AutoConfig.from_pretrained(folder)), options, classes=3)
    labels = torch.arange(12) % 3
    adapter.prepare(
        random(1, 12, 3).exp(), random(2, 12, 24), labels=labels, empty_scores=torch.tensor([[0.9, 1.4, 0.7]])
    )
    disturb(adapter.eval())
    adapter.save(tmp_path / "adapter", opened("bart", folder))
    native = runtime.open(folder).load(tmp_path / "adapter")
    adapter.export_onnx(tmp_path / "adapter.onnx")
    file = session(tmp_path / "adapter.onnx")
    for batch in (1, 2, 3, 8):
        scores, hidden = random(batch, batch, 3).exp(), random(batch + 9, batch, 24)
        [found] = file.run(["logits"], {"scores": scores.numpy(), "hidden_states": hidden.numpy()})
        assert_close(np.asarray(found), adapter(scores, hidden))
        assert_close(np.asarray(found), native.classify(scores.numpy(), hidden.numpy()))


def test_it_is_what_inference_computes(tmp_path: Path) -> None:
    """Of an adapter in training, in half precision or f64; and it stays as it was."""
    adapter = engine.Adapter("repcali", SITE)
    disturb(adapter)
    hidden, mask = random(1, 2, 5, 24), torch.ones(2, 5)
    expected = adapter(hidden, mask)
    adapter.double().train()
    adapter.export_onnx(tmp_path / "double.onnx")
    assert adapter.training and adapter.embedding.weight.dtype == torch.float64
    assert_close(states(tmp_path / "double.onnx", hidden), expected)


# ---- The file


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    adapter = engine.Adapter("repcali", SITE, {"lambda": 0.5})
    adapter.export_onnx(tmp_path / "adapter.onnx", opset=20)
    model = onnx.load(tmp_path / "adapter.onnx")
    properties = {each.key: each.value for each in model.metadata_props}
    assert set(properties) == {"seamkit.version", "seamkit.seam", "seamkit.adapters", "seamkit.backbone"}
    assert properties["seamkit.version"] == model.producer_version == seamkit.__version__
    assert properties["seamkit.seam"] == "encoder.output"
    [entry] = json.loads(properties["seamkit.adapters"])
    plugin = adapter.factory.plugin
    assert entry == {
        "adapter": "repcali",
        "seam": "encoder.output",
        "options": adapter.options,
        "plugin": {"id": plugin.id, "version": plugin.version},
    }
    backbone = json.loads(properties["seamkit.backbone"])
    assert (backbone["family"], backbone["d_model"], backbone["trained"]) == ("bart", 24, False)
    assert [each.version for each in model.opset_import] == [20]
    parameters = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    for name, value in adapter.state_dict().items():
        assert np.array_equal(parameters[name], value.numpy())
    sizes = [
        [each.dim_param or each.dim_value for each in entry.type.tensor_type.shape.dim]
        for entry in (*model.graph.input, *model.graph.output)
    ]
    assert sizes == [["batch", "sequence", 24], ["batch", "sequence"], ["batch", "sequence", 24]]
    assert len(model.graph.node) == 15


def test_a_parameter_called_as_an_input(tmp_path: Path) -> None:
    """By a plugin of somebody else's; here by changing what its copies declare."""
    adapter = engine.Adapter("repcali", SITE)
    disturb(adapter)
    for place, name in zip(adapter._places, ("hidden_states", "last_hidden_state", "constant_0"), strict=True):
        place.name = name
    [recording] = record(adapter.eval(), inputs_of_encoder, 40)
    values = [Value("hidden_states", (Size(0, 1), Size(0, 0, 1), Size(24)))]
    graph = Graph("hidden_states")
    Writer(graph, adapter, values).write([recording])
    assert list(graph._initializers)[:2] == ["repcali.hidden_states", "repcali.last_hidden_state"]


def inputs_of_encoder(batch: int, sequence: int) -> list[torch.Tensor | None]:
    return [torch.zeros(batch, sequence, 24), torch.ones(batch, sequence, dtype=torch.int32)]


def test_the_same_bytes_again(tmp_path: Path) -> None:
    """And a file that was exported before is replaced, through a link, too."""
    adapter = engine.Adapter("repcali", SITE)
    adapter.export_onnx(tmp_path / "adapter.onnx")
    first = (tmp_path / "adapter.onnx").read_bytes()
    (tmp_path / "link.onnx").symlink_to(tmp_path / "adapter.onnx")
    adapter.export_onnx(tmp_path / "link.onnx")
    assert (tmp_path / "adapter.onnx").read_bytes() == first
    disturb(adapter)
    adapter.export_onnx(tmp_path / "link.onnx")
    assert (tmp_path / "link.onnx").is_symlink() and (tmp_path / "adapter.onnx").read_bytes() != first
    assert sorted(each.name for each in tmp_path.iterdir()) == ["adapter.onnx", "link.onnx"]


def test_the_version_is_the_library_s() -> None:
    library = ctypes.CDLL(str(locations.library("libSeam.so")))
    library.seam_version.restype = ctypes.c_char_p
    assert library.seam_version().decode() == seamkit.__version__


# ---- From a folder


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_a_folder_of_the_native_engine(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    """Without a model, by the command, as for an adapter that `seam train` wrote."""
    folder = save(name, tmp_path / "model")
    native = runtime.open(folder).adapter("repcali", {"initialization": "paper", "deviation": 0.4}, seed=3)
    native.save(tmp_path / "adapter")
    subprocess.run(
        [sys.executable, "-m", "seamkit.onnx", tmp_path / "adapter", tmp_path / "adapter.onnx"],
        check=True,
        env=environment(),
    )
    model = opened(name, folder)
    seamkit.load(tmp_path / "adapter", model)
    [adapter] = engine.attached(model)
    hidden = random(4, 3, 11, 24)
    assert_close(states(tmp_path / "adapter.onnx", hidden), adapter(hidden, torch.ones(3, 11)))


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(seamkit.__file__).parents[1])}


def test_a_model_with_adapters_and_the_folder_of_them(tmp_path: Path) -> None:
    model = opened("bart", save("bart", tmp_path / "model"))
    seamkit.attach(model, "repcali", seed="positions")
    seamkit.attach(model, "prefix-tuning", prefix_length=4, attention="decoder")
    seamkit.attach(model, "gate")
    for each in engine.attached(model):
        disturb(each)
    seamkit.save(model, tmp_path / "adapters")
    with pytest.raises(seamkit.InvalidArgumentError, match=r"of one seam, found encoder.output and attention.prefix"):
        seamkit.export_onnx(model, tmp_path / "all.onnx")
    with pytest.raises(seamkit.InvalidArgumentError, match="tells little of the model: give it"):
        seamkit.export_onnx(tmp_path / "adapters", tmp_path / "all.onnx")
    for seam in ("encoder.output", "attention.prefix"):
        seamkit.export_onnx(model, tmp_path / "one.onnx", seam=seam)
        seamkit.export_onnx(tmp_path / "adapters", tmp_path / "other.onnx", seam=seam, model=tmp_path / "model")
        assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "other.onnx").read_bytes()


def test_trained_with_the_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapter = engine.Adapter("repcali", SITE, backbone_frozen=False)
    adapter.export_onnx(tmp_path / "adapter.onnx")
    assert "was trained together with its model" in caplog.text
    properties = {each.key: each.value for each in onnx.load(tmp_path / "adapter.onnx").metadata_props}
    assert json.loads(properties["seamkit.backbone"])["trained"] is True


# ---- Plugins of any kind

LOOKS = """int64_t n = p->ops->size(p->ctx, io->inputs[0], 1), b = p->ops->size(p->ctx, io->inputs[0], 0);
  (void)n; (void)b;"""
FLAT = (
    LOOKS
    + """ int64_t flat[2] = {b * n, 24}, back[3] = {b, n, 24};
  seam_tensor *x = p->ops->reshape(p->ctx, io->inputs[0], flat, 2);
  seam_tensor *rows = p->ops->full(p->ctx, 2.0, SEAM_F32, (int64_t[]){b * n, 1}, 2);
  seam_tensor *count = p->ops->full(p->ctx, (double)n, SEAM_F32, 0, 0);
  x = p->ops->div(p->ctx, p->ops->mul(p->ctx, x, rows), count);
  io->outputs[0] = p->ops->reshape(p->ctx, x, back, 3);"""
)
MEAN = (
    LOOKS
    + """ seam_tensor *mask = p->ops->cast(p->ctx, io->inputs[1], SEAM_F32);
  mask = p->ops->reshape(p->ctx, mask, (int64_t[]){b, n, 1}, 3);
  seam_tensor *sum = p->ops->sum(p->ctx, p->ops->mul(p->ctx, io->inputs[0], mask), 1, 1);
  seam_tensor *mean = p->ops->div(p->ctx, sum, p->ops->sum(p->ctx, mask, 1, 1));
  io->outputs[0] = p->ops->sub(p->ctx, io->inputs[0], p->ops->expand(p->ctx, mean, (int64_t[]){b, n, 24}, 3));"""
)
ATTENDS = (
    LOOKS
    + """ int64_t heads[4] = {b, n, 4, 6}; int32_t turn[4] = {0, 2, 1, 3};
  seam_tensor *x = p->ops->permute(p->ctx, p->ops->reshape(p->ctx, io->inputs[0], heads, 4), turn, 4);
  x = p->ops->attention(p->ctx, x, x, x, 0, io->inputs[1], 0.4, 1);
  io->outputs[0] = p->ops->reshape(p->ctx, p->ops->permute(p->ctx, x, turn, 4), (int64_t[]){b, n, -1}, 3);"""
)
PIECES = (
    LOOKS
    + """ io->outputs[0] = n < 3 ? p->ops->neg(p->ctx, io->inputs[0]) : n < 17
  ? p->ops->affine(p->ctx, io->inputs[0], 3.0, 0.0) : p->ops->square(p->ctx, io->inputs[0]);"""
)
PLUGINS = {
    "flat": FLAT,
    "mean": MEAN,
    "attends": ATTENDS,
    "pieces": PIECES,
    "through": "io->outputs[0] = io->inputs[0];",
    "doubled": DOUBLES,
}


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str, str], engine.Adapter]:
    def make(name: str, forward: str) -> engine.Adapter:
        engine.load_plugin(build(tmp_path, f"onnx-{name}", " ".join(forward.split())))
        return engine.Adapter(f"onnx-{name}", SITE)

    return make


@pytest.mark.parametrize("name", PLUGINS)
def test_any_plugin(compiled: Callable[[str, str], engine.Adapter], tmp_path: Path, name: str) -> None:
    """Sizes in shapes, constants and numbers; a mask; other mathematics for long sequences."""
    adapter = compiled(name, PLUGINS[name])
    adapter.export_onnx(tmp_path / "adapter.onnx")
    for seed, (batch, sequence) in enumerate(SHAPES):
        mask = (random(seed, batch, sequence) > -0.5).long()
        mask[:, 0] = 1
        hidden = random(seed, batch, sequence, 24)
        assert_close(states(tmp_path / "adapter.onnx", hidden, mask), adapter(hidden, mask))


REFUSED = {
    "reads": (READS, "its plugin reads values of tensors"),
    "batches": (
        LOOKS + " io->outputs[0] = p->ops->affine(p->ctx, io->inputs[0], b > 2 ? 1.5 : 2.5, 0.0);",
        "sizes of the batch",
    ),
    "inverse": (
        LOOKS + " io->outputs[0] = p->ops->affine(p->ctx, io->inputs[0], 1.0 / (double)n, 0.0);",
        "sizes of the sequence",
    ),
    "halves": (
        LOOKS
        + """ seam_tensor *x = p->ops->slice(p->ctx, io->inputs[0], 1, n / 2, 1);
      io->outputs[0] = p->ops->add(p->ctx, io->inputs[0], x);""",
        "sizes of the sequence",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_graph_for_all_sizes(
    compiled: Callable[[str, str], engine.Adapter], tmp_path: Path, name: str
) -> None:
    forward, message = REFUSED[name]
    adapter = compiled(f"refused-{name}", forward)
    with pytest.raises(seamkit.UnsupportedError, match=message) as caught:
        adapter.export_onnx(tmp_path / "adapter.onnx")
    assert caught.value.origin == f"org.example.onnx-refused-{name}"
    assert not list(tmp_path.glob("*.onnx"))


# ---- Refusals


def test_wrong_arguments(tmp_path: Path) -> None:
    file, adapter = tmp_path / "adapter.onnx", engine.Adapter("repcali", SITE)
    for opset in (17, 99, True, "18"):
        with pytest.raises(seamkit.InvalidArgumentError, match="opset must be 18 to "):
            adapter.export_onnx(file, opset=opset)  # type: ignore[arg-type]
    for source, found in [([], "an empty list"), ([adapter, 3], "a list of Adapter, int"), (None, "NoneType")]:
        with pytest.raises(seamkit.InvalidArgumentError, match=f"must be an adapter, .* found {found}"):
            seamkit.export_onnx(source, file)  # type: ignore[arg-type]
    with pytest.raises(seamkit.InvalidArgumentError, match="no adapter is attached to the Linear"):
        seamkit.export_onnx(torch.nn.Linear(2, 2), file)
    with pytest.raises(seamkit.InvalidArgumentError, match='on seam "decoder.output"; there are .*encoder.out'):
        seamkit.export_onnx(adapter, file, seam="decoder.output")
    with pytest.raises(seamkit.InvalidArgumentError, match="model is for the folder"):
        seamkit.export_onnx(adapter, file, model=AutoConfig.for_model("bart"))
    with pytest.raises(seamkit.IncompatibleError, match='with encoder_layers 3, adapter "repcali" for one with 2'):
        seamkit.export_onnx([adapter, engine.Adapter("repcali", UNLIMITED)], file)
    heads = [engine.Adapter("linear-head", SITE, classes=classes) for classes in (2, 3)]
    with pytest.raises(seamkit.IncompatibleError, match="made for 3 classes"):
        seamkit.export_onnx(heads, file)
    with pytest.raises(seamkit.InvalidArgumentError, match="of one seam, found decoder.output and encoder.output"):
        seamkit.export_onnx([heads[0], engine.Adapter("repcali", SITE)], file)
    gate = engine.Adapter("gate", DECODER, prefix_length=(0, 5, 0))
    with pytest.raises(seamkit.InvalidArgumentError, match="none is exported with it"):
        seamkit.export_onnx(gate, file)
    with pytest.raises(seamkit.ShapeError, match="for 5 prefix tokens of the decoder attention, found 4"):
        seamkit.export_onnx([engine.Adapter("prefix-tuning", DECODER, {"prefix_length": 4}), gate], file)
    with pytest.raises(seamkit.NotFoundError, match="no such folder"):
        seamkit.export_onnx(tmp_path / "nowhere", file)
    with torch.no_grad():
        adapter.norm.bias[2] = torch.inf
    with pytest.raises(seamkit.NumericError, match='is not exported: parameter "norm.bias" holds NaN or .* element 2'):
        adapter.export_onnx(file)
    assert not list(tmp_path.iterdir())


def test_files_of_others_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = engine.Adapter("repcali", SITE)
    other = onnx.helper.make_model(onnx.helper.make_graph([], "other", [], []), producer_name="pytorch")
    onnx.save(other, tmp_path / "encoder_model.onnx")
    before = (tmp_path / "encoder_model.onnx").read_bytes()
    with pytest.raises(seamkit.AlreadyExistsError, match="a file is there that SeamKit did not export"):
        adapter.export_onnx(tmp_path / "encoder_model.onnx")
    assert (tmp_path / "encoder_model.onnx").read_bytes() == before
    (tmp_path / "folder").mkdir()
    with pytest.raises(seamkit.AlreadyExistsError, match="a folder is there"):
        adapter.export_onnx(tmp_path / "folder")
    adapter.export_onnx(tmp_path / "adapter.onnx")
    before = (tmp_path / "adapter.onnx").read_bytes()
    disturb(adapter)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(seamkit.FileError, match=r'cannot write ".*adapter.onnx": No space left on device'):
        adapter.export_onnx(tmp_path / "adapter.onnx")
    assert (tmp_path / "adapter.onnx").read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["adapter.onnx", "encoder_model.onnx", "folder"]


def test_the_command_fails_in_one_sentence(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "seamkit.onnx", tmp_path / "nowhere", tmp_path / "adapter.onnx"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert found.returncode == 1 and found.stderr == (
        f'error: adapter folder "{tmp_path / "nowhere"}": there is no such folder\n'
    )


def test_the_command_loads_plugins(tmp_path: Path) -> None:
    library = build(tmp_path, "onnx-command", DOUBLES)
    engine.load_plugin(library)
    model = opened("bart", save("bart", tmp_path / "model"))
    seamkit.attach(model, "onnx-command").save(tmp_path / "adapter")
    command = [sys.executable, "-m", "seamkit.onnx", tmp_path / "adapter", tmp_path / "adapter.onnx"]
    found = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert found.returncode == 1 and 'needs the adapter "onnx-command"' in found.stderr
    subprocess.run([*command, "--plugin", library], check=True, env=environment())
    engine.attached(model)[0].export_onnx(tmp_path / "same.onnx")
    assert (tmp_path / "adapter.onnx").read_bytes() == (tmp_path / "same.onnx").read_bytes()


def test_without_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = engine.Adapter("repcali", SITE)
    for name in ("onnx", "torch"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(
                seamkit.UnsupportedError, match=rf'needs the package {name}: pip install "seamkit\[onnx\]"'
            ):
                adapter.export_onnx(tmp_path / "adapter.onnx")


def test_parameters_beyond_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seamkit.onnx.export._LARGEST", 4 * 3 * 24 - 1)
    with pytest.raises(seamkit.UnsupportedError, match="have 288 bytes, and one ONNX file holds at most 2 GiB"):
        engine.Adapter("repcali", SITE).export_onnx(tmp_path / "adapter.onnx")
