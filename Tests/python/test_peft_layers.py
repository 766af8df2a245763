"""LoRA and IA3 exchanged with PEFT: what it saves is run here, what is written here runs there, values equal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file

from command_line import run
from seam_objects import Adapter, Runtime
from single_stack import padded
from test_peft import (
    ENCODER,
    FAMILIES,
    Model,
    add_tensor,
    assert_same_scores,
    assert_same_texts,
    export,
    imported,
    make,
    peft_model,
    refused_import,
)

# Modules as transformers names them; all that are projections here, once.
MODULES = {
    "gpt2": ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "bert": ["query", "key", "value", "attention.output.dense", "intermediate.dense"],
    "t5": ["q", "k", "v", "o", "wi", "wo"],
    "bart": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
}
FEED_FORWARD = {"gpt2": ["mlp.c_proj"], "llama": ["down_proj"], "bert": ["intermediate.dense"]}
FEED_FORWARD |= {"t5": ["wo"], "bart": ["fc2"]}
LIKE = {"llama-head-dim": "llama", "mistral": "llama", "qwen2": "llama", "roberta": "bert", "t5-even": "t5"}
LIKE |= {"marian": "bart", "marian-even": "bart"}


@pytest.fixture(scope="module")
def runtime(plugin_folder: Path) -> Runtime:
    names = ("IA3", "LoRA", "PrefixTuning", "Transformer")
    return Runtime([plugin_folder / f"lib{name}.so" for name in names])


@pytest.fixture(scope="module", params=[name for name in FAMILIES if not name.endswith("-even")])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Model:
    return make(request.param, tmp_path_factory.mktemp(request.param), runtime)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Model:
    return make("llama", tmp_path_factory.mktemp("small"), runtime)


def modules(model: Model, table: dict[str, list[str]]) -> list[str]:
    found = table[LIKE.get(model.name, model.name)]
    names = [name for name, _ in model.hugging_face().named_modules()]
    return [module for module in found if any(name.endswith("." + module) for name in names)]


def lora(model: Model, **changes: Any) -> LoraConfig:
    settings: dict[str, Any] = {"r": 3, "lora_alpha": 5, "target_modules": modules(model, MODULES)}
    return LoraConfig(task_type=model.family.task, **(settings | changes))


def ia3(model: Model) -> IA3Config:
    return IA3Config(
        task_type=model.family.task,
        target_modules=modules(model, MODULES),
        feedforward_modules=modules(model, FEED_FORWARD),
    )


def trained(model: Model, config: Any) -> PeftModel:
    """A model of PEFT whose numbers are no longer those that it starts with."""
    torch.manual_seed(0)
    result = get_peft_model(model.hugging_face(), config).eval()
    with torch.no_grad():
        for name, parameter in result.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.2)
            elif "ia3_" in name:
                parameter.uniform_(0.5, 1.5)
    return result


CONFIGS: dict[str, Callable[[Model], Any]] = {
    "lora": lora,
    "rslora": lambda model: lora(model, use_rslora=True, lora_dropout=0.1),
    "ia3": ia3,
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_there_and_back(model: Model, tmp_path: Path, kind: str) -> None:
    """What PEFT saves runs here with its scores; written again, bit for bit the same, PEFT runs it with them as well."""
    there = trained(model, CONFIGS[kind](model))
    there.save_pretrained(tmp_path / "peft")
    adapter = imported(model, tmp_path / "peft", tmp_path / "adapter")
    assert_same_scores(model, [adapter], there)
    assert_same_texts(model, [adapter], there)
    again = export(model, tmp_path / "again", tmp_path / "adapter")
    stored, written = (load_file(path / "adapter_model.safetensors") for path in (tmp_path / "peft", again))
    body = f"{model.hugging_face().base_model_prefix}." if model.family.task == ENCODER else ""
    stored = {name.replace(f"base_model.model.{body}", "base_model.model."): each for name, each in stored.items()}
    assert stored.keys() == written.keys()
    assert all(stored[name].tobytes() == written[name].tobytes() for name in stored)
    configs = [json.loads((path / "adapter_config.json").read_text()) for path in (tmp_path / "peft", again)]
    assert configs[0].get("lora_dropout") == configs[1].get("lora_dropout") == {"rslora": 0.1, "lora": 0.0}.get(kind)
    assert_same_scores(model, [adapter], with_exported(model, again))


def with_exported(model: Model, folder: Path) -> Any:
    """A folder for an encoder is for the bare model, the head of which is none of PEFT's matters."""
    if model.family.task != ENCODER:
        return peft_model(model, folder)
    whole = model.hugging_face()
    PeftModel.from_pretrained(getattr(whole, whole.base_model_prefix), folder)
    return whole.eval()


@pytest.mark.parametrize("name", ["llama", "t5", "gpt2"])
def test_dora_there_and_back(name: str, tmp_path: Path, runtime: Runtime) -> None:
    """With lengths far from those of the model's rows, moved by some steps of training, and a rank of a module's own."""
    model = make(name, tmp_path / "model", runtime)
    module = modules(model, MODULES)[0]
    there = trained(model, lora(model, use_dora=True, rank_pattern={module: 2}))
    lengths = [each for key, each in there.named_parameters() if "magnitude" in key]
    start = [each.detach().clone() for each in lengths]
    optimizer = torch.optim.Adam([each for each in there.parameters() if each.requires_grad], lr=0.02)
    ids = torch.from_numpy(padded(0, False)[0]).long()
    for _ in range(4):
        optimizer.zero_grad()
        there(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    assert all((each - own).abs().max() > 1e-2 for each, own in zip(lengths, start, strict=True))
    there.save_pretrained(tmp_path / "peft")
    adapter = imported(model, tmp_path / "peft", tmp_path / "adapter")
    assert adapter.options["use_dora"] is True
    assert_same_scores(model, [adapter], there)
    again = export(model, tmp_path / "again", tmp_path / "adapter")
    stored, written = (load_file(path / "adapter_model.safetensors") for path in (tmp_path / "peft", again))
    assert stored.keys() == written.keys()
    for key, each in stored.items():
        if key.endswith("lora_magnitude_vector"):
            # Rounded where a row's own length is taken off and added: that is about 1 here.
            assert np.abs(each - written[key]).max() <= 1e-6
    assert_same_scores(model, [adapter], peft_model(model, again))


@pytest.mark.parametrize("name", ["t5-even", "marian-even"])
def test_layers_of_other_numbers(name: str, tmp_path: Path, runtime: Runtime) -> None:
    model = make(name, tmp_path / "model", runtime)
    there = trained(model, lora(model))
    there.save_pretrained(tmp_path / "peft")
    assert_same_scores(model, [imported(model, tmp_path / "peft", tmp_path / "adapter")], there)


def test_some_modules_of_some_layers(small: Model, tmp_path: Path) -> None:
    config = lora(small, target_modules=r"model\.layers\.(0\.self_attn\.q_proj|2\.mlp\.up_proj)")
    there = trained(small, config)
    there.save_pretrained(tmp_path / "peft")
    adapter = imported(small, tmp_path / "peft", tmp_path / "adapter")
    points = {name.rsplit(".", 2)[0] for name in adapter.parameters}
    assert points == {"decoder.0.q", "decoder.2.up"}
    assert_same_scores(small, [adapter], there, least_effect=0.01)


@pytest.mark.parametrize("stabilised", [False, True], ids=["plain", "rslora"])
def test_ranks_and_alphas_of_their_own(small: Model, tmp_path: Path, stabilised: bool) -> None:
    """The product is the same; zeros that fill a rank up get no gradient."""
    patterns = {
        "rank_pattern": {"q_proj": 1, "1.mlp.up_proj": 6, "^model.layers.2.mlp.up_proj": 2},
        "alpha_pattern": {"v_proj": 11, "q_proj": 0.5},
    }
    there = trained(small, lora(small, use_rslora=stabilised, **patterns))
    there.save_pretrained(tmp_path / "peft")
    adapter = imported(small, tmp_path / "peft", tmp_path / "adapter")
    assert adapter.options["r"] == 6
    assert_same_scores(small, [adapter], there)
    written = export(small, tmp_path / "again", tmp_path / "adapter")
    assert_same_scores(small, [adapter], peft_model(small, written))


def test_a_head_is_left_out_with_a_warning(small: Model, tmp_path: Path) -> None:
    folder = saved(small, tmp_path / "peft", task_type="SEQ_CLS", modules_to_save=["classifier", "score"])
    add_tensor(folder, "base_model.model.score.weight")
    done = run("import", "--model", small.path, "--format", "peft", "--input", folder, "--output", tmp_path / "adapter")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("warning: ") and "base_model.model.score.weight" in done.stderr


@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_every_key_of_peft_is_known(small: Model, tmp_path: Path, kind: str) -> None:
    """A key that the installed PEFT has and docs/peft.md does not name is new: look at what it does. With the values that
    PEFT gives them by itself none is refused."""
    page = (Path(__file__).parents[2] / "docs" / "peft.md").read_text()
    assert {key for key in CONFIGS[kind](small).to_dict() if f"`{key}`" not in page} == set()


# ---- What is refused


def saved(model: Model, path: Path, kind: str = "lora", **changes: Any) -> Path:
    """A folder of PEFT's with other members in its config."""
    trained(model, CONFIGS[kind](model)).save_pretrained(path)
    file = path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return path


LORA_CONFIGS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "rank": ({"r": 0}, ["r must be positive", "0"]),
    "other-rank": ({"r": 4}, ["lora_A.weight", "must be [4, 24]", "[3, 24]"]),
    "bias": ({"bias": "all"}, ['bias must be "none"', '"all"']),
    "dora": (
        {"use_dora": True},
        ["lora_B.weight and lora_magnitude_vector once", "found lora_A.weight, lora_B.weight"],
    ),
    "dora-kind": ({"use_dora": "yes"}, ["use_dora", "must be a boolean", "string"]),
    "pissa": ({"init_lora_weights": "pissa_niter_4"}, ["init_lora_weights", "pissa changes the weights of the model"]),
    "modules": ({"modules_to_save": ["lm_head"]}, ["modules_to_save", "lm_head", "only a LoRA adapter alone"]),
    "replicated": ({"layer_replication": [[0, 2], [1, 3]]}, ["layer_replication"]),
    "parameters": ({"target_parameters": ["experts"]}, ["target_parameters"]),
    "tokens": ({"trainable_token_indices": [1]}, ["trainable_token_indices"]),
    "expression": ({"rank_pattern": {"q_.*": 3}}, ["rank_pattern", '"q_.*"', "regular expression"]),
    "pattern": ({"alpha_pattern": {"q_proj": "much"}}, ["alpha_pattern", '"q_proj" must be a number', '"much"']),
    "unheard": ({"mystery": 3}, ["mystery is no key of PEFT's LoRA"]),
    "method": ({"peft_type": "ADALORA"}, ["peft_type", "LORA, IA3", "ADALORA"]),
}


@pytest.mark.parametrize("case", LORA_CONFIGS)
def test_configs_that_are_refused(small: Model, tmp_path: Path, case: str) -> None:
    changes, parts = LORA_CONFIGS[case]
    sentence = refused_import(small, saved(small, tmp_path / "peft", **changes), tmp_path / "adapter")
    assert all(part in sentence for part in parts), sentence


def rename(path: Path, old: str, new: str | None) -> None:
    """Renames the tensors whose names contain something, or leaves them out."""
    file = path / "adapter_model.safetensors"
    tensors = load_file(file).items()
    save_file({name.replace(old, new or ""): value for name, value in tensors if new or old not in name}, file)


Q = "layers.0.self_attn.q_proj"
FILES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "head": (lambda path: rename(path, "model." + Q, "lm_head"), ['"lm_head" is no projection', "llama"]),
    "layer": (lambda path: rename(path, "layers.2.", "layers.7."), ['"model.layers.7.', "is no projection"]),
    "half": (
        lambda path: rename(path, Q + ".lora_B", None),
        ["lora_A.weight and lora_B.weight", "found lora_A.weight"],
    ),
    "magnitude": (
        lambda path: add_tensor(path, f"base_model.model.model.{Q}.lora_magnitude_vector"),
        ["lora_magnitude_vector", "only a LoRA adapter alone"],
    ),
    "twice": (lambda path: rename(path, "model." + Q, Q.replace("q_proj", "k_proj")), ["once"]),
    "none": (lambda path: rename(path, "lora_", None), ["no tensor of PEFT's LoRA"]),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_refused(small: Model, tmp_path: Path, case: str) -> None:
    change, parts = FILES[case]
    path = saved(small, tmp_path / "peft")
    change(path)
    sentence = refused_import(small, path, tmp_path / "adapter")
    assert all(part in sentence for part in parts), sentence


@pytest.mark.parametrize("shape", [(5,), (24, 1)], ids=["width", "axes"])
def test_lengths_of_another_shape(small: Model, tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "peft"
    trained(small, lora(small, use_dora=True)).save_pretrained(path)
    file = path / "adapter_model.safetensors"
    tensors = load_file(file)
    name = f"base_model.model.model.{Q}.lora_magnitude_vector"
    assert tensors[name].shape == (24,)
    save_file(tensors | {name: np.ones(shape, np.float32)}, file)
    sentence = refused_import(small, path, tmp_path / "adapter")
    wanted = (
        "must be [24] as r and the model say, found [5]" if len(shape) == 1 else "must have one size, found [24, 1]"
    )
    assert "lora_magnitude_vector" in sentence and wanted in sentence, sentence


def test_factors_of_another_width(small: Model, tmp_path: Path) -> None:
    path = saved(small, tmp_path / "peft", kind="ia3")
    file = path / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if Q in name)
    save_file(tensors | {name: np.ones((5, 1), np.float32)}, file)
    sentence = refused_import(small, path, tmp_path / "adapter")
    assert "must be [24, 1]" in sentence and "found [5, 1]" in sentence, sentence


def test_one_adapter_alone_is_written(small: Model, tmp_path: Path) -> None:
    for name in ("lora", "prefix-tuning"):
        small.backbone.adapter(name).save(tmp_path / name)
    done = run(
        *("export", "--model", small.path, "--adapter", tmp_path / "lora", "--adapter", tmp_path / "prefix-tuning"),
        *("--format", "peft", "--output", tmp_path / "peft"),
    )
    assert done.returncode == 1 and not (tmp_path / "peft").exists()
    assert 'one LoRA or IA3 adapter alone, found "lora" and "prefix-tuning"' in done.stderr
    assert done.stderr.count("\n") == 1


# ---- Merged


def made(model: Model, folder: Path) -> list[Path]:
    """Adapters of two methods, each with numbers of its own."""
    paths = []
    for name in ("lora", "ia3"):
        trained(model, CONFIGS[name](model)).save_pretrained(folder / f"{name}-peft")
        imported(model, folder / f"{name}-peft", folder / name)
        paths.append(folder / name)
    return paths


def test_a_merged_model_is_an_ordinary_one(model: Model, tmp_path: Path) -> None:
    paths = made(model, tmp_path)
    before = {file.name: file.read_bytes() for file in model.path.iterdir()}
    output = tmp_path / "merged"
    each = [part for path in paths for part in ("--adapter", path)]
    done = run("merge", "--model", model.path, *each, "--output", output)
    assert done.returncode == 0, done.stderr
    kind = type(model.hugging_face())
    merged, report = kind.from_pretrained(
        output, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert_same_scores(model, [model.backbone.load(path) for path in paths], merged.eval())
    assert {file.name: file.read_bytes() for file in model.path.iterdir()} == before
    changed, own = load_file(output / "model.safetensors"), load_file(model.path / "model.safetensors")
    assert changed.keys() == own.keys()
    assert any(changed[name].tobytes() == own[name].tobytes() for name in own), (
        "what no adapter sits on stays as it was"
    )


def test_merging_is_refused(small: Model, tmp_path: Path) -> None:
    adapter = small.backbone.adapter("prefix-tuning", {"prefix_length": 2})
    adapter.save(tmp_path / "prefix")
    small.backbone.adapter("lora").save(tmp_path / "lora")
    model, output = tmp_path / "model", tmp_path / "merged"
    model.symlink_to(small.path)

    def refused(*arguments: str | Path) -> str:
        done = run("merge", *arguments)
        assert done.returncode in (1, 64) and done.stderr.startswith("Error: "), done.stderr
        return done.stderr

    assert "is not linear in the weights" in refused(
        "--model", small.path, "--adapter", tmp_path / "prefix", "--output", output
    )
    assert "--adapter" in refused("--model", small.path, "--output", output)
    assert not output.exists()
    lora = ("--adapter", tmp_path / "lora")
    assert "add --overwrite" in refused("--model", small.path, *lora, "--output", small.path)
    assert "is read by this command" in refused("--model", model, *lora, "--output", small.path, "--overwrite")
    session = small.backbone.session(small.backbone.load(tmp_path / "lora"))
    with pytest.raises(Exception, match='adapter "lora" is not merged'):
        session.save_merged(output)


def test_merged_from_python(small: Model, tmp_path: Path) -> None:
    path = made(small, tmp_path)[0]
    adapter: Adapter = small.backbone.load(path)
    session = small.backbone.session(adapter)
    session.merge(adapter)
    session.save_merged(tmp_path / "one")
    assert run("merge", "--model", small.path, "--adapter", path, "--output", tmp_path / "two").returncode == 0
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_an_encoder_is_written_for_the_bare_model(runtime: Runtime, tmp_path: Path) -> None:
    model = make("bert", tmp_path / "model", runtime)
    assert model.family.task == ENCODER
    model.backbone.adapter("lora").save(tmp_path / "lora")
    config = json.loads((export(model, tmp_path / "peft", tmp_path / "lora") / "adapter_config.json").read_text())
    assert config["target_modules"][0] == "encoder.layer.0.attention.self.query"
    assert config["task_type"] == "FEATURE_EXTRACTION"
