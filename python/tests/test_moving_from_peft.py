"""docs/moving-from-peft.md, line by line: its code runs in one process, from heading to heading, and what it says of
the two sides holds."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, PrefixTuningConfig, get_peft_model
from safetensors import safe_open
from torch import Tensor
from transformers import DynamicCache, Trainer, TrainingArguments

import seamkit
import seamkit.torch
from documents import sections
from prefix_reference import PAST, for_peft
from seamkit import locations
from single_stack import llama
from test_attach import disturb
from tiny_models import randomise

CODE = {heading: parts for heading, parts in sections("moving-from-peft.md").items() if parts}
# f32 on both sides, sums in another order: of the largest score.
TOLERANCE = 1e-5
IDS = torch.tensor([[4, 5, 6, 7, 8, 9], [5, 9, 8, 4, 6, 7]])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peft") / "model"
    network = llama()
    randomise(network, 0)
    network.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the document's code has made so far."""
    batch = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "labels": IDS}
    return {
        "batch": batch,
        "batches": [batch] * 3,
        "prompt": {"input_ids": IDS[:1], "attention_mask": torch.ones(1, 6)},
    }


@pytest.fixture(autouse=True)
def folder(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document's code runs beside the model."""
    monkeypatch.chdir(model.parent)


def run(heading: str, names: dict[str, Any], *parts: int) -> None:
    """The blocks of a heading, or some of them."""
    found = CODE[heading]
    for language, code in [found[each] for each in parts] if parts else found:
        if language == "bash":
            tool = locations.library("libSeam.so").parent.resolve() / "seam"
            assert code.startswith("seam ")
            subprocess.run(f"{tool}{code.removeprefix('seam')}", shell=True, check=True)
        else:
            exec(compile(code, heading, "exec"), names)


@torch.no_grad()
def logits(model: Any, ids: Tensor = IDS, **given: Any) -> Tensor:
    found: Tensor = model.eval()(input_ids=ids, **given).logits
    return found


def assert_same(first: Tensor, second: Tensor) -> None:
    assert (first - second).abs().max() <= TOLERANCE * second.abs().max()


def assert_differ(first: Tensor, second: Tensor) -> None:
    assert (first - second).abs().max() > 0.01 * second.abs().max()


def test_headings_are_known() -> None:
    assert list(CODE) == [
        "The same prefix in both",
        "What PEFT saved",
        "Back to PEFT",
        "Switching",
        "Without the network",
        "Parts of the model trained along",
        "LoRA beside a prefix",
    ]


def test_the_same_prefix_in_both(names: dict[str, Any]) -> None:
    heading = "The same prefix in both"
    run(heading, names, 0)
    theirs, ours = names["theirs"], names["ours"]
    assert not any(each.requires_grad for each in theirs.get_base_model().parameters())
    trained = {name for name, each in ours.named_parameters() if each.requires_grad}
    assert trained == {f"seamkit.0.{name}" for name, _ in names["adapter"].named_parameters()}
    with torch.no_grad():
        for each in theirs.prompt_encoder.parameters():  # a prefix that matters
            each.mul_(4)
    assert_differ(logits(ours), logits(theirs))
    run(heading, names, 1)
    assert_same(logits(ours), logits(theirs))
    with torch.no_grad():
        expected = for_peft(theirs).generate(**names["prompt"], max_new_tokens=8, do_sample=False)
        assert torch.equal(ours.generate(**names["prompt"], max_new_tokens=8, do_sample=False), expected)
    before = ours(**names["batch"]).loss.item()
    run(heading, names, 2)
    assert ours(**names["batch"]).loss.item() < before
    assert names["tokens"].shape[1] > 6


def test_what_peft_saved(names: dict[str, Any]) -> None:
    run("What PEFT saved", names)
    assert_same(logits(names["ours"]), logits(names["theirs"]))
    assert names["adapter"].options["reparameterization"] == "none"
    assert all(each.requires_grad for each in names["adapter"].parameters())


def test_back_to_peft(names: dict[str, Any]) -> None:
    run("Back to PEFT", names)
    assert_same(logits(names["theirs"]), logits(names["ours"]))


def test_switching(names: dict[str, Any]) -> None:
    first = logits(names["ours"])
    run("Switching", names)
    ours, theirs, second = names["ours"], names["theirs"], names["second"]
    assert torch.equal(names["plain"], names["without"])
    assert torch.equal(logits(ours), first)
    assert_same(logits(theirs), first)
    # Names of tokens: four of the second behind ten of the first.
    seamkit.attach(ours, second)
    cache = DynamicCache()
    logits(ours, use_cache=True, **{PAST: cache})
    assert cache.get_seq_length() == 14 + IDS.shape[1]
    seamkit.detach(ours, second)


def test_without_the_network(names: dict[str, Any]) -> None:
    run("Without the network", names)
    trained, small = names["trained"], names["small"]
    wanted, found = trained(), small()
    torch.testing.assert_close(found, wanted)
    assert [name for name, _ in small.named_parameters()] == ["decoder.prefix"]


def test_parts_of_the_model(names: dict[str, Any]) -> None:
    heading = "Parts of the model trained along"
    run(heading, names, 0)
    theirs, ours = names["theirs"], names["ours"]
    assert any("lm_head" in name for name, each in theirs.named_parameters() if each.requires_grad)
    disturb(names["adapter"])
    optimizer = torch.optim.AdamW([each for each in ours.parameters() if each.requires_grad], lr=1e-2)
    head, inner = ours.lm_head.weight.clone(), ours.model.layers[0].mlp.up_proj.weight.clone()
    ours(**names["batch"]).loss.backward()
    optimizer.step()
    assert_differ(ours.lm_head.weight, head)
    assert torch.equal(ours.model.layers[0].mlp.up_proj.weight, inner)
    wanted = logits(ours)
    run(heading, names, 1)
    again = type(ours).from_pretrained("model-with-head")
    seamkit.load("prefix-for-it", again)
    assert torch.equal(logits(again), wanted)


def test_lora_beside_a_prefix(names: dict[str, Any]) -> None:
    run("LoRA beside a prefix", names)
    trained = {name for name, each in names["theirs"].named_parameters() if each.requires_grad}
    assert any("lora_A" in name for name in trained) and any("seamkit.0" in name for name in trained)
    assert all(each.grad is not None for each in names["theirs"].parameters() if each.requires_grad)
    with safe_open("lora/adapter_model.safetensors", "pt") as file:
        assert file.keys() and all("lora_" in name for name in file.keys())  # noqa: SIM118, no dict
    assert Path("beside-lora/adapter_model.safetensors").is_file()


# ---- What the table says and no code shows


@pytest.fixture
def both(model: Path) -> tuple[Any, Any]:
    """The same prefix of both kinds."""
    torch.manual_seed(1)
    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    theirs = get_peft_model(type(llama()).from_pretrained(model), config)
    ours = type(llama()).from_pretrained(model)
    adapter = seamkit.attach(ours, "prefix-tuning", prefix_length=5, reparameterization="none", deviation=1.0)
    shape = adapter.state_dict()["decoder.prefix"].shape
    numbers = theirs.prompt_encoder["default"].embedding.weight.detach()
    tokens = numbers.reshape(5, shape[0], 2, shape[2], shape[4]).permute(1, 2, 3, 0, 4)
    adapter.load_state_dict({"decoder.prefix": tokens.contiguous()})
    assert_same(logits(ours), logits(theirs))
    return theirs, ours


def test_a_task_is_needed(model: Path) -> None:
    with pytest.raises(KeyError):
        get_peft_model(type(llama()).from_pretrained(model), PrefixTuningConfig(num_virtual_tokens=5))


def test_a_prefix_is_not_merged(both: tuple[Any, Any]) -> None:
    with pytest.raises(AttributeError, match="merge_and_unload"):
        both[0].merge_and_unload()


def test_masks_and_positions(both: tuple[Any, Any]) -> None:
    theirs, ours = both
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6])
    assert_same(logits(ours, attention_mask=mask)[mask == 1], logits(theirs, attention_mask=mask)[mask == 1])
    positions = torch.arange(6).expand(2, 6)
    assert_same(logits(ours, position_ids=positions), logits(ours))
    assert_differ(logits(ours, position_ids=positions * 2), logits(ours))
    assert_same(logits(ours, position_ids=positions * 2), logits(theirs, position_ids=positions * 2))


def test_padding_in_front(both: tuple[Any, Any]) -> None:
    """Not counted while texts are generated; in a forward as transformers leaves it, to `position_ids`."""
    ids = torch.cat([torch.full((1, 3), 1), IDS[:1]], 1)
    mask = torch.cat([torch.zeros(1, 3), torch.ones(1, 6)], 1).long()
    positions = (mask.cumsum(1) - 1).clamp(0)
    settings = {"max_new_tokens": 6, "do_sample": False, "output_scores": True, "return_dict_in_generate": True}
    for model in (for_peft(both[0]), both[1]):
        alone = model.generate(input_ids=IDS[:1], attention_mask=torch.ones_like(IDS[:1]), **settings)
        behind = model.generate(input_ids=ids, attention_mask=mask, **settings)
        assert_same(torch.stack(behind.scores), torch.stack(alone.scores))
        assert_differ(logits(model, ids, attention_mask=mask)[:, 3:], logits(model, IDS[:1]))
        assert_same(logits(model, ids, attention_mask=mask, position_ids=positions)[:, 3:], logits(model, IDS[:1]))


def test_a_cache_is_continued(both: tuple[Any, Any]) -> None:
    """By PEFT it is not, which knows the older name alone."""
    theirs, ours = both
    for model, name, check in ((theirs, "past_key_values", assert_differ), (ours, PAST, assert_same)):
        with torch.no_grad():
            first = model.eval()(input_ids=IDS[:, :4], use_cache=True)
        check(logits(model, IDS[:, 4:], **{name: first[PAST]}), logits(model)[:, 4:])


def test_gradient_checkpointing(both: tuple[Any, Any], model: Path) -> None:
    _, ours = both
    expected = logits(ours)
    ours.gradient_checkpointing_enable()
    assert_same(ours.train()(input_ids=IDS).logits, expected)
    with pytest.raises(ValueError, match="does not work with gradient checkpointing"):
        get_peft_model(seamkit_free(ours), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5))


def seamkit_free(model: Any) -> Any:
    seamkit.detach(model)
    return model


def test_half_precision(model: Path) -> None:
    half = {"dtype": torch.bfloat16}
    theirs = get_peft_model(
        type(llama()).from_pretrained(model, **half), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    )
    ours = type(llama()).from_pretrained(model, **half)
    adapter = seamkit.attach(ours, "prefix-tuning", prefix_length=5)
    kinds = {each.dtype for each in [*adapter.parameters(), *theirs.prompt_encoder.parameters()]}
    assert kinds == {torch.float32} and logits(ours).dtype == logits(theirs).dtype == torch.bfloat16


def test_defaults(both: tuple[Any, Any], model: Path) -> None:
    theirs, ours = both
    seamkit.detach(ours)
    adapter = seamkit.attach(ours, "prefix-tuning", prefix_length=5)
    assert adapter.options | {"reparameterization": "mlp", "mlp_hidden_size": 512, "deviation": 0.1} == adapter.options
    config = theirs.peft_config["default"]
    assert config.prefix_projection is False
    # The deviation of PEFT's 360 numbers, as its seed gives them.
    assert 0.8 < theirs.prompt_encoder["default"].embedding.weight.std() < 1.2


def test_checkpoints_and_save_pretrained(both: tuple[Any, Any], tmp_path: Path) -> None:
    for name, model in zip(("theirs", "ours"), both, strict=True):
        arguments = TrainingArguments(
            output_dir=str(tmp_path / name), max_steps=2, save_steps=2, report_to=[], use_cpu=True, disable_tqdm=True
        )
        Trainer(model=model, args=arguments, train_dataset=[{"input_ids": IDS[0], "labels": IDS[0]}]).train()
    ours = both[1]
    assert (tmp_path / "theirs/checkpoint-2/adapter_model.safetensors").is_file()
    with safe_open(tmp_path / "ours/checkpoint-2/model.safetensors", "pt") as file:
        assert {"seamkit.0.decoder.prefix", "model.norm.weight"} <= set(file.keys())
    seamkit.detach(ours)
    ours.save_pretrained(tmp_path / "plain")
    with safe_open(tmp_path / "plain/model.safetensors", "pt") as file:
        assert not any("seamkit" in name for name in file.keys())  # noqa: SIM118, no dict


def test_peft_does_not_train_a_saved_prefix_on(both: tuple[Any, Any], model: Path, tmp_path: Path) -> None:
    both[0].save_pretrained(tmp_path / "peft")
    with safe_open(tmp_path / "peft/adapter_model.safetensors", "pt") as file:
        assert list(file.keys()) == ["prompt_embeddings"]
    with pytest.raises(ValueError, match="trainable"):
        PeftModel.from_pretrained(type(llama()).from_pretrained(model), tmp_path / "peft", is_trainable=True)


def test_another_models_adapter_is_refused(both: tuple[Any, Any], tmp_path: Path) -> None:
    _, ours = both
    seamkit.save(ours, tmp_path / "adapter")
    other = llama(num_hidden_layers=2)
    with pytest.raises(seamkit.IncompatibleError, match="decoder_layers 3, this one has 2"):
        seamkit.load(tmp_path / "adapter", other)
