"""Prefixes exchanged with PEFT: what `seam export` writes PEFT runs to the same scores, `seam import` the reverse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers as hf
from peft import CartridgeConfig, PeftModel, PrefixTuningConfig, get_peft_model
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedModel

from command_line import run, seam
from prefix_reference import for_peft
from seam_abi import Array
from seam_objects import Adapter, Backbone, Batch, Runtime
from single_stack import bert, gpt2, llama, padded
from tiny_models import END, bart, marian, randomise, t5, tokens, until

# Of the largest score: f32 on both sides, sums in another order (as in test_backbones.py). A prefix in a wrong layer or
# place is off by more than a tenth.
TOLERANCE = 1e-5

CAUSAL, PAIR, ENCODER = "CAUSAL_LM", "SEQ_2_SEQ_LM", "FEATURE_EXTRACTION"


@dataclass(frozen=True)
class Family:
    build: Callable[[], PreTrainedModel]
    task: str
    # What PEFT has to be told of a model whose config does not say it in the words that PEFT looks for.
    told: tuple[tuple[str, int], ...] = ()
    # Whether PEFT reads all that it saves; of an encoder-decoder with an even number of layers it does not.
    is_read_whole: bool = True


FAMILIES = {
    "gpt2": Family(lambda: gpt2(), CAUSAL),
    "llama": Family(lambda: llama(), CAUSAL),
    "llama-head-dim": Family(lambda: llama(num_key_value_heads=1, head_dim=10), CAUSAL),
    "mistral": Family(lambda: llama(hf.MistralConfig, hf.MistralForCausalLM, sliding_window=None), CAUSAL),
    "qwen2": Family(lambda: llama(hf.Qwen2Config, hf.Qwen2ForCausalLM), CAUSAL),
    "bert": Family(lambda: bert(), ENCODER),
    "roberta": Family(lambda: bert(hf.RobertaConfig, hf.RobertaForMaskedLM, type_vocab_size=1), ENCODER),
    # Three layers in the encoder and two in the decoder; two and three; two, three and four in both.
    "t5": Family(lambda: t5(), PAIR, (("token_dim", 20), ("num_attention_heads", 4)), is_read_whole=False),
    "t5-even": Family(
        lambda: t5(num_layers=2),
        PAIR,
        (("token_dim", 20), ("num_attention_heads", 4), ("num_layers", 2)),
        is_read_whole=False,
    ),
    "bart": Family(lambda: bart(), PAIR, (("num_layers", 3),)),
    "marian": Family(lambda: marian(encoder_layers=3), PAIR),
    "marian-even": Family(lambda: marian(encoder_layers=4, decoder_layers=4), PAIR, is_read_whole=False),
}

largest: dict[str, float] = {}


@pytest.fixture(scope="module")
def runtime(plugin_folder: Path) -> Runtime:
    names = ("Cartridge", "Gate", "PrefixTuning", "RepCali", "ResidualPrefix", "Transformer")
    return Runtime([plugin_folder / f"lib{name}.so" for name in names])


@pytest.fixture(scope="module", autouse=True)
def report() -> Iterator[None]:
    yield
    for name, error in largest.items():
        print(f"\n{name}: scores within {error:.1e} of the largest", end="")


@dataclass(frozen=True)
class Model:
    """A tiny model of a family in a folder, as SeamKit opens it and, each time anew, as transformers does."""

    name: str
    path: Path
    backbone: Backbone

    @property
    def family(self) -> Family:
        return FAMILIES[self.name]

    @property
    def attention(self) -> str:
        return "encoder" if self.family.task == ENCODER else "decoder"

    def hugging_face(self) -> PreTrainedModel:
        kind = type(self.family.build())
        return kind.from_pretrained(self.path, dtype=torch.float32, attn_implementation="eager").eval()


def make(name: str, path: Path, runtime: Runtime) -> Model:
    model = FAMILIES[name].build()
    randomise(model, 0)
    model.save_pretrained(path)
    return Model(name, path, runtime.open(path))


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Model:
    return make(request.param, tmp_path_factory.mktemp(request.param), runtime)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Model:
    return make("llama", tmp_path_factory.mktemp("small"), runtime)


# ---- Adapters and passes


def chain(model: Model, folder: Path) -> list[Path]:
    """Saved adapters: a network's prefix, a plain one behind it, and a gate over the tokens of both."""
    options = {"attention": model.attention, "mlp_hidden_size": 7}
    first = model.backbone.adapter("residual-prefix", options | {"prefix_length": 3}, seed=1)
    second = model.backbone.adapter("prefix-tuning", options | {"prefix_length": 2}, seed=2)
    first.save(folder / "first")
    second.save(folder / "second")
    return [folder / "first", folder / "second", gate(folder, model)]


def gate(folder: Path, model: Model) -> Path:
    """The folder of a gate for five tokens, with another weight for each layer and token."""
    config = json.loads((folder / "second" / "adapter_config.json").read_text())
    layers = config["backbone"][f"{model.attention}_layers"]
    config |= {
        "plugin": {"id": "org.seamkit.gate", "version": "1.0.0"},
        "adapter": "gate",
        "seam": "prefix.tokens",
        "options": {"scope": "token-layer"},
        "prefix_length": [5, 0, 0] if model.attention == "encoder" else [0, 5, 0],
    }
    path = folder / "gate"
    path.mkdir()
    (path / "adapter_config.json").write_text(json.dumps(config))
    weights = np.random.default_rng(0).normal(size=(layers, 5)).astype(np.float32)
    save_file({f"{model.attention}.gate": weights}, path / "adapter_model.safetensors")
    return path


def export(model: Model, output: Path, *adapters: Path, overwrite: bool = False) -> Path:
    each = [part for path in adapters for part in ("--adapter", path)]
    more = ["--overwrite"] if overwrite else []
    seam("export", "--model", model.path, *each, "--format", "peft", "--output", output, *more)
    return output


def imported(model: Model, folder: Path, output: Path) -> Adapter:
    seam("import", "--model", model.path, "--format", "peft", "--input", folder, "--output", output)
    return model.backbone.load(output)


def peft_model(model: Model, folder: Path) -> PeftModel:
    return PeftModel.from_pretrained(model.hugging_face(), folder).eval()


def assert_same_scores(model: Model, adapters: list[Adapter], expected: Any, least_effect: float = 0.1) -> None:
    """Of texts of one length and of several, padded behind; and the prefix matters to them."""
    session, errors = model.backbone.session(*adapters), []
    plain = model.backbone.session()
    for seed, whole in [(0, True), (1, False), (2, False)]:
        given = tokens(seed)
        ids, mask = padded(seed, False)
        if whole:
            mask = np.ones_like(mask)
        names: dict[str, Array] = {"input_ids": ids, "attention_mask": mask}
        batch, visible = Batch(ids, mask), mask == 1
        if model.family.task == PAIR:
            names["decoder_input_ids"] = given.decoder_input_ids
            batch = Batch(ids, mask, decoder_input_ids=given.decoder_input_ids)
            visible = np.ones_like(given.decoder_input_ids, dtype=bool)
        with torch.no_grad():
            inputs = {name: torch.from_numpy(value).long() for name, value in names.items()}
            wanted = expected(**inputs)[0].numpy()[visible]
        found = session.forward(batch)[visible]
        errors.append(float(np.abs(found - wanted).max() / np.abs(wanted).max()))
        assert np.abs(plain.forward(batch)[visible] - wanted).max() > least_effect * np.abs(wanted).max()
    largest[model.name] = max(errors + [largest.get(model.name, 0)])
    assert max(errors) <= TOLERANCE


def assert_same_texts(model: Model, adapters: list[Adapter], expected: Any) -> None:
    """Greedy, whole batches on both sides: a decoder's texts are padded in front."""
    if model.family.task == ENCODER:
        return
    is_causal = model.family.task == CAUSAL
    ids, mask = padded(5, is_causal, length=9)
    options = model.backbone.generate_options(max_new_tokens=10, num_beams=1)
    found = [item[0].tokens for item in model.backbone.session(*adapters).generate(Batch(ids, mask), options)]
    with torch.no_grad():
        whole = (
            for_peft(expected)
            .generate(
                input_ids=torch.from_numpy(ids).long(),
                attention_mask=torch.from_numpy(mask).long(),
                max_new_tokens=10,
                num_beams=1,
                do_sample=False,
            )
            .tolist()
        )
    assert found == [until(END, row[ids.shape[1] if is_causal else 1 :]) for row in whole]


# ---- There and back


def test_peft_runs_what_is_exported(model: Model, tmp_path: Path) -> None:
    paths = chain(model, tmp_path)
    expected = peft_model(model, export(model, tmp_path / "peft", *paths))
    adapters = [model.backbone.load(path) for path in paths]
    assert_same_scores(model, adapters, expected)
    assert_same_texts(model, adapters, expected)


@pytest.mark.parametrize("projection", [False, True], ids=["plain", "projection"])
def test_what_peft_saves_is_run(model: Model, tmp_path: Path, projection: bool) -> None:
    torch.manual_seed(0)
    config = PrefixTuningConfig(
        task_type=model.family.task, num_virtual_tokens=5, prefix_projection=projection, **dict(model.family.told)
    )
    trained = get_peft_model(model.hugging_face(), config).eval()
    if projection:
        with torch.no_grad():
            trained.prompt_encoder["default"].transform[2].weight.mul_(5)
    trained.save_pretrained(tmp_path / "peft")
    adapter = imported(model, tmp_path / "peft", tmp_path / "adapter")
    assert adapter.options["reparameterization"] == "none" and adapter.options["folded"] is False
    assert_same_scores(model, [adapter], trained, least_effect=0.05)
    assert_same_texts(model, [adapter], trained)
    stored = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    again = load_file(export(model, tmp_path / "again", tmp_path / "adapter") / "adapter_model.safetensors")
    assert stored.keys() == again.keys() == {"prompt_embeddings"}
    same = stored["prompt_embeddings"].tobytes() == again["prompt_embeddings"].tobytes()
    assert same == model.family.is_read_whole


def test_what_is_exported_comes_back(model: Model, tmp_path: Path) -> None:
    """Bit for bit, also where PEFT deals out pairs of layers in an order of its own."""
    options = {"attention": model.attention, "prefix_length": 4, "reparameterization": "none"}
    made = model.backbone.adapter("prefix-tuning", options, seed=3)
    made.save(tmp_path / "adapter")
    export(model, tmp_path / "peft", tmp_path / "adapter")
    back = imported(model, tmp_path / "peft", tmp_path / "back")
    assert back.parameters.keys() == made.parameters.keys()
    for name, values in made.parameters.items():
        assert back.parameters[name].tobytes() == values.tobytes()
    before = (tmp_path / "peft" / "adapter_model.safetensors").read_bytes()
    export(model, tmp_path / "peft", tmp_path / "back", overwrite=True)
    assert (tmp_path / "peft" / "adapter_model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "frozen"), [("llama", 0), ("llama", 2), ("llama", 5), ("t5", 2), ("t5-even", 2), ("bert", 2)]
)
def test_cartridges_there_and_back(runtime: Runtime, tmp_path: Path, name: str, frozen: int) -> None:
    """As PEFT's own, which it can train on: with the tokens that are not trained apart from the others."""
    model = make(name, tmp_path / "model", runtime)
    torch.manual_seed(0)
    config = CartridgeConfig(
        task_type=model.family.task, num_virtual_tokens=5, num_frozen_tokens=frozen, **dict(model.family.told)
    )
    there = get_peft_model(model.hugging_face(), config).eval()
    there.save_pretrained(tmp_path / "peft")
    adapter = imported(model, tmp_path / "peft", tmp_path / "adapter")
    assert adapter.options["frozen_tokens"] == frozen
    tokens = {name.rpartition(".")[2]: each.shape[3] for name, each in adapter.parameters.items()}
    assert tokens == {key: count for key, count in (("frozen", frozen), ("trained", 5 - frozen)) if count}
    assert_same_scores(model, [adapter], there, least_effect=0.05)
    assert_same_texts(model, [adapter], there)
    again = export(model, tmp_path / "again", tmp_path / "adapter")
    kept = CartridgeConfig.from_pretrained(again)
    assert kept.peft_type == "CARTRIDGE" and kept.num_frozen_tokens == frozen
    assert_same_scores(model, [adapter], peft_model(model, again), least_effect=0.05)
    stored, written = (load_file(path / "adapter_model.safetensors") for path in (tmp_path / "peft", again))
    same = stored["prompt_embeddings"].tobytes() == written["prompt_embeddings"].tobytes()
    assert same == model.family.is_read_whole


def test_a_cartridge_beside_another_prefix_is_one_prefix(small: Model, tmp_path: Path) -> None:
    for name in ("cartridge", "prefix-tuning"):
        small.backbone.adapter(name, {"prefix_length": 2}).save(tmp_path / name)
    folder = export(small, tmp_path / "peft", tmp_path / "cartridge", tmp_path / "prefix-tuning")
    config = PrefixTuningConfig.from_pretrained(folder)
    assert config.peft_type == "PREFIX_TUNING" and config.num_virtual_tokens == 4


def test_every_key_of_pefts_cartridges_is_known(small: Model, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "peft.md").read_text()
    config = CartridgeConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    assert {key for key in config.to_dict() if f"`{key}`" not in page} == set()


def test_what_is_imported_is_trained(small: Model, tmp_path: Path) -> None:
    adapter = imported(small, saved(small, tmp_path / "peft"), tmp_path / "adapter")
    session = small.backbone.session(adapter)
    ids, mask = padded(0, False)
    batch = Batch(ids, mask, labels=np.where(mask == 1, ids, -100))
    session.begin_training(learning_rate=0.05)
    losses = [session.train_step(batch).loss for _ in range(5)]
    session.end_training()
    assert losses[-1] < losses[0]


def test_the_base_model_is_named(small: Model, tmp_path: Path) -> None:
    small.backbone.adapter("prefix-tuning", {"prefix_length": 2}).save(tmp_path / "adapter")
    seam(
        "export",
        "--model",
        small.path,
        "--adapter",
        tmp_path / "adapter",
        "--format",
        "peft",
        "--output",
        tmp_path / "peft",
        "--base-model",
        "someone/llama",
    )
    config = PrefixTuningConfig.from_pretrained(tmp_path / "peft")
    assert config.base_model_name_or_path == "someone/llama"
    assert (config.num_attention_heads, config.token_dim) == (2, 12)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16], ids=["f16", "bf16"])
def test_half_precision(small: Model, tmp_path: Path, kind: torch.dtype) -> None:
    file = saved(small, tmp_path / "peft") / "adapter_model.safetensors"
    halved = torch.from_numpy(load_file(file)["prompt_embeddings"]).to(kind)
    safetensors.torch.save_file({"prompt_embeddings": halved}, file)
    imported(small, tmp_path / "peft", tmp_path / "adapter")
    again = load_file(export(small, tmp_path / "again", tmp_path / "adapter") / "adapter_model.safetensors")
    assert again["prompt_embeddings"].dtype == np.float32
    assert np.array_equal(again["prompt_embeddings"], halved.float().numpy())


def test_a_head_is_left_out_with_a_warning(small: Model, tmp_path: Path) -> None:
    path = saved(small, tmp_path / "peft", task_type="SEQ_CLS", modules_to_save=["classifier", "score"])
    add_tensor(path, "base_model.score.weight")
    done = run("import", "--model", small.path, "--format", "peft", "--input", path, "--output", tmp_path / "adapter")
    assert done.returncode == 0 and (tmp_path / "adapter").exists()
    assert done.stderr.startswith("warning: ") and "base_model.score.weight" in done.stderr


def test_every_key_of_peft_is_known(small: Model, tmp_path: Path) -> None:
    """A key that the installed PEFT has and docs/peft.md does not name is new: look at what it does."""
    page = (Path(__file__).parents[2] / "docs" / "peft.md").read_text()
    keys = set(PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3).to_dict())
    assert {key for key in keys if f"`{key}`" not in page} == set()
    rich = {
        "auto_mapping": {"base_model_class": "A"},
        "base_model_name_or_path": "a",
        "encoder_hidden_size": 7,
        "inference_mode": False,
        "init_weights": "zero",
        "peft_version": "9",
        "prefix_projection": True,
        "revision": "b",
        "modules_to_save": [],
        "new_in_a_later_release": None,
    }
    assert rich.keys() - {"new_in_a_later_release"} < keys
    imported(small, saved(small, tmp_path / "plain"), tmp_path / "first")
    imported(small, saved(small, tmp_path / "rich", **rich), tmp_path / "second")
    first, second = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("first", "second"))
    assert {key: value.shape for key, value in first.items()} == {key: value.shape for key, value in second.items()}


# ---- What is refused


def saved(model: Model, path: Path, **changes: Any) -> Path:
    """A folder in PEFT's layout, with other members in its config: null takes one out."""
    config = PrefixTuningConfig(task_type=model.family.task, num_virtual_tokens=3)
    get_peft_model(model.hugging_face(), config).save_pretrained(path)
    file = path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return path


def add_tensor(path: Path, name: str) -> None:
    file = path / "adapter_model.safetensors"
    save_file(load_file(file) | {name: np.zeros((2, 24), np.float32)}, file)


def replace_tensor(path: Path, change: Callable[[Array], Array]) -> None:
    file = path / "adapter_model.safetensors"
    save_file({"prompt_embeddings": np.ascontiguousarray(change(load_file(file)["prompt_embeddings"]))}, file)


def only_pickle(path: Path) -> None:
    (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")


BAD_CONFIGS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "method": ({"peft_type": "ADALORA"}, ["peft_type", "PREFIX_TUNING", "ADALORA"]),
    "no-task": ({"task_type": None}, ["task_type", "none"]),
    "other-task": ({"task_type": "SEQ_2_SEQ_LM"}, ["task_type", "CAUSAL_LM", "SEQ_2_SEQ_LM"]),
    "layers": ({"num_layers": 4}, ["num_layers must be 3", "found 4"]),
    "heads": ({"num_attention_heads": 4}, ["num_attention_heads must be 2", "found 4"]),
    "width": ({"token_dim": 24}, ["token_dim must be 12", "found 24"]),
    "submodules": ({"num_transformer_submodules": 2}, ["num_transformer_submodules must be 1", "found 2"]),
    "tokens": ({"num_virtual_tokens": 4}, ["prompt_embeddings", "[4, 3 * 2 * 12]", "[3, 72]"]),
    "no-tokens": ({"num_virtual_tokens": 0}, ["num_virtual_tokens must be positive", "0"]),
    "kind": ({"num_layers": "three"}, ["num_layers", "integer", "string"]),
    "modules": ({"modules_to_save": ["lm_head"]}, ["modules_to_save", "lm_head", "only a prefix alone"]),
    "modules-kind": ({"modules_to_save": "score"}, ["modules_to_save must be an array of strings", '"score"']),
    "unknown-key": ({"layers_pattern": "h"}, ["layers_pattern", "is no key of PEFT's prefix tuning", '"h"']),
    "huge": ({"num_virtual_tokens": 2**62}, ["prompt_embeddings", "[3, 72]"]),
}
BAD_CARTRIDGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "frozen": ({"num_frozen_tokens": 4}, ["num_frozen_tokens must be 0 ... 3", "found 4"]),
    "negative": ({"num_frozen_tokens": -1}, ["num_frozen_tokens must be 0 ... 3", "found -1"]),
    "kind": ({"num_frozen_tokens": "all"}, ["num_frozen_tokens", "integer", "string"]),
    "projection": ({"prefix_projection": True}, ["prefix_projection", "no key of PEFT's cartridges"]),
}
BAD_FILES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "pickle": (only_pickle, ["adapter_model.bin", "pickle", "never executed"]),
    "no-weights": (lambda path: (path / "adapter_model.safetensors").unlink(), ["no adapter_model.safetensors"]),
    "no-config": (lambda path: (path / "adapter_config.json").unlink(), ["adapter_config.json"]),
    "other-tensor": (lambda path: add_tensor(path, "base_model.lm_head.weight"), ["base_model.lm_head.weight"]),
    "nan": (lambda path: replace_tensor(path, lambda x: x * np.float32("nan")), ["NaN or infinity at element 0"]),
    "integers": (lambda path: replace_tensor(path, lambda x: x.astype(np.int32)), ["F32, F16 or BF16", "I32"]),
    "flat": (lambda path: replace_tensor(path, lambda x: x.reshape(-1)), ["[3, 3 * 2 * 12]", "[216]"]),
    "rank": (
        lambda path: replace_tensor(path, lambda x: x.reshape(*[1] * 8, -1)),
        ["[3, 3 * 2 * 12]", "[1, 1, 1, 1, 1, 1, 1, 1, 216]"],
    ),
    "narrow": (lambda path: replace_tensor(path, lambda x: x[:, 1:]), ["[3, 3 * 2 * 12]", "[3, 71]"]),
}


def refused(*arguments: str | Path) -> str:
    done = run(*arguments)
    assert done.returncode == 1 and done.stdout == "", done
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def refused_import(model: Model, folder: Path, output: Path) -> str:
    sentence = refused("import", "--model", model.path, "--format", "peft", "--input", folder, "--output", output)
    assert not (output.exists() and (output / "README.md").exists()), "half written"
    return sentence


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_configs_that_are_refused(small: Model, tmp_path: Path, case: str) -> None:
    changes, parts = BAD_CONFIGS[case]
    sentence = refused_import(small, saved(small, tmp_path / "peft", **changes), tmp_path / "adapter")
    assert all(part in sentence for part in parts), sentence


@pytest.mark.parametrize("case", BAD_CARTRIDGES)
def test_cartridges_that_are_refused(small: Model, tmp_path: Path, case: str) -> None:
    changes, parts = BAD_CARTRIDGES[case]
    own = {"peft_type": "CARTRIDGE", "prefix_projection": None, "encoder_hidden_size": None}
    folder = saved(small, tmp_path / "peft", **(own | changes))
    sentence = refused_import(small, folder, tmp_path / "adapter")
    assert all(part in sentence for part in parts), sentence


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_are_refused(small: Model, tmp_path: Path, case: str) -> None:
    change, parts = BAD_FILES[case]
    path = saved(small, tmp_path / "peft")
    change(path)
    sentence = refused_import(small, path, tmp_path / "adapter")
    assert all(part in sentence for part in parts), sentence


def test_a_folder_of_pyreft_is_read_in_python(small: Model, tmp_path: Path) -> None:
    folder = tmp_path / "pyreft"
    folder.mkdir()
    for name in ("config.json", "intkey_layer_0_comp_block_output_unit_pos_nunit_1#0.bin"):
        (folder / name).write_text("{}")
    sentence = refused_import(small, folder, tmp_path / "adapter")
    assert "holds interventions of pyreft, pickles" in sentence and "seamkit.torch.load_pyreft" in sentence


def test_one_kind_of_folder_does_not_replace_the_other(small: Model, tmp_path: Path) -> None:
    own = tmp_path / "adapter"
    small.backbone.adapter("prefix-tuning", {"prefix_length": 2}).save(own)
    theirs = saved(small, tmp_path / "peft")
    before = {file: file.read_bytes() for file in [*own.iterdir(), *theirs.iterdir()]}
    sentence = refused(
        "export", "--model", small.path, "--adapter", own, "--format", "peft", "--overwrite", "--output", own
    )
    assert "cannot replace" in sentence
    sentence = refused(
        "import", "--model", small.path, "--format", "peft", "--input", theirs, "--overwrite", "--output", theirs
    )
    assert "cannot replace" in sentence
    sentence = refused(
        "import", "--model", small.path, "--format", "peft", "--input", own, "--output", tmp_path / "new"
    )
    assert "SeamKit" in sentence and not (tmp_path / "new").exists()
    sentence = refused(
        "export", "--model", small.path, "--adapter", theirs, "--format", "peft", "--overwrite", "--output", theirs
    )
    assert "PEFT" in sentence and "seam import" in sentence
    assert {file: file.read_bytes() for file in [*own.iterdir(), *theirs.iterdir()]} == before


@pytest.mark.parametrize("attention", ["all", "encoder", "cross"])
def test_prefixes_that_peft_has_no_place_for(runtime: Runtime, tmp_path: Path, attention: str) -> None:
    model = make("bart", tmp_path / "model", runtime)
    model.backbone.adapter("prefix-tuning", {"prefix_length": 2, "attention": attention}).save(tmp_path / "adapter")
    sentence = refused(
        "export",
        "--model",
        model.path,
        "--adapter",
        tmp_path / "adapter",
        "--format",
        "peft",
        "--output",
        tmp_path / "peft",
    )
    assert ("cross" if attention == "cross" else "encoder") in sentence and "attention=decoder" in sentence
    assert not (tmp_path / "peft").exists()


def test_other_adapters_and_none(runtime: Runtime, tmp_path: Path) -> None:
    model = make("bart", tmp_path / "model", runtime)
    model.backbone.adapter("repcali").save(tmp_path / "repcali")
    common = ("export", "--model", model.path, "--format", "peft", "--output", tmp_path / "peft")
    sentence = refused(*common, "--adapter", tmp_path / "repcali")
    assert "repcali" in sentence and "encoder.output" in sentence and "leave it out" in sentence
    assert "no prefix" in refused(*common)
    assert not (tmp_path / "peft").exists()
