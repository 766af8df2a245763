"""Adapters on the encoder's output of transformers models, against the native engine on the same folder."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import seamkit
from prefix_reference import ENCODER_DECODERS, ENCODERS, FAMILIES, save, texts
from seamkit.torch import attached

# Of the largest logit; what the issue asks is 1e-4, and both engines compute in f32.
TOLERANCE = 1e-5
NAMES = [*ENCODER_DECODERS, *ENCODERS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save(name, tmp_path_factory.mktemp(name)) for name in NAMES}


def opened(name: str, path: Path, **options: Any) -> Any:
    return type(FAMILIES[name]()).from_pretrained(path, dtype=torch.float32, **options).eval()


def inputs(name: str, seed: int = 1, labels: bool = True) -> tuple[seamkit.Batch, dict[str, torch.Tensor]]:
    given = texts(name, seed, 3, "behind", labels)
    names = ("input_ids", "attention_mask", "decoder_input_ids")
    arrays = {each: getattr(given, each) for each in names if getattr(given, each) is not None}
    batch = seamkit.Batch(given.input_ids, given.attention_mask, given.labels, given.decoder_input_ids)
    return batch, {each: torch.from_numpy(value).long() for each, value in arrays.items()}


def disturb(module: torch.nn.Module, seed: int = 3) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in module.parameters():
            each += 0.3 * torch.randn(each.shape, generator=generator)


def assert_close(found: torch.Tensor, expected: np.ndarray[Any, Any], mask: Any = None) -> None:
    difference = np.abs(found.detach().numpy() - expected)
    if mask is not None:
        difference = difference[np.asarray(mask) == 1]
    assert difference.max() <= TOLERANCE * np.abs(expected).max()


def places(name: str, batch: seamkit.Batch) -> Any:
    """Where logits count: in an encoder, not at padding."""
    return None if name in ENCODER_DECODERS else batch.attention_mask


@pytest.mark.parametrize("name", NAMES)
def test_from_torch_to_the_native_engine_and_back(
    runtime: seamkit.Runtime, folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    model, (batch, given) = opened(name, folders[name]), inputs(name)
    with torch.no_grad():  # torch takes another attention kernel where weights want gradients
        plain = model(**given).logits
        adapter = seamkit.attach(model, "repcali", lambda_=0.5)
        assert torch.equal(model(**given).logits, plain), "it starts as the identity, to the last bit"
    disturb(adapter)
    logits = model(**given).logits
    assert (logits - plain).abs().max() > 1e-2
    adapter.save(tmp_path / "adapter", model)
    backbone = runtime.open(folders[name])
    loaded = backbone.load(tmp_path / "adapter")
    assert loaded.options == adapter.options
    assert_close(logits, backbone.session(loaded).forward(batch), places(name, batch))
    # And back: written by the native engine, read into another torch model.
    loaded.save(tmp_path / "native")
    configs = [json.loads((tmp_path / each / "adapter_config.json").read_text()) for each in ("adapter", "native")]
    assert configs[0] == configs[1], "fingerprint included"
    cards = [(tmp_path / each / "README.md").read_text() for each in ("adapter", "native")]
    assert cards[0] == cards[1]
    other = opened(name, folders[name])
    assert isinstance(seamkit.load(tmp_path / "native", other), torch.nn.Module)
    assert torch.equal(other(**given).logits, logits)


@pytest.mark.parametrize("name", NAMES)
def test_detaching_restores_the_model(folders: dict[str, Path], name: str) -> None:
    model, (_, given) = opened(name, folders[name]), inputs(name)
    flags = {key: each.requires_grad for key, each in model.named_parameters()}
    state, plain = list(model.state_dict()), model(**given).logits
    adapter = seamkit.attach(model, "repcali")
    disturb(adapter)
    trained = [key for key, each in model.named_parameters() if each.requires_grad]
    assert trained == ["seamkit.0.embedding.weight", "seamkit.0.norm.weight", "seamkit.0.norm.bias"]
    assert not torch.equal(model(**given).logits, plain)
    seamkit.detach(model, adapter)
    assert torch.equal(model(**given).logits, plain)
    assert list(model.state_dict()) == state and attached(model) == []
    assert {key: each.requires_grad for key, each in model.named_parameters()} == flags
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())


@pytest.mark.parametrize("name", ["t5", "bart", "marian"])
@pytest.mark.parametrize("beams", [1, 3])
def test_generation_is_the_native_one(
    runtime: seamkit.Runtime, folders: dict[str, Path], tmp_path: Path, name: str, beams: int
) -> None:
    model, (batch, given) = opened(name, folders[name]), inputs(name, 4, labels=False)
    adapter = seamkit.attach(model, "repcali")
    disturb(adapter)
    adapter.save(tmp_path / "adapter")
    found = model.generate(
        input_ids=given["input_ids"],
        attention_mask=given["attention_mask"],
        num_beams=beams,
        max_new_tokens=8,
        do_sample=False,
    )
    backbone = runtime.open(folders[name])
    session = backbone.session(backbone.load(tmp_path / "adapter"))
    expected = session.generate(batch, backbone.generate_options(num_beams=beams, max_new_tokens=8))
    for mine, [theirs, *_] in zip(found[:, 1:].tolist(), expected, strict=True):
        assert mine[: len(theirs.tokens)] == theirs.tokens


@pytest.mark.parametrize("name", ["t5", "bart", "bert"])
def test_training_follows_the_native_engine(runtime: seamkit.Runtime, folders: dict[str, Path], name: str) -> None:
    """Ten steps of AdamW in the user's loop; losses within 1e-4, relative."""
    batch, given = inputs(name, 6)
    model = opened(name, folders[name])
    adapter = seamkit.attach(model, "repcali", random_seed=1)
    backbone = runtime.open(folders[name])
    session = backbone.session(backbone.adapter("repcali", seed=1))
    session.begin_training(learning_rate=1e-2, max_grad_norm=0)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-2, weight_decay=0.01)
    labels = torch.from_numpy(batch.labels).long()
    found, expected = [], []
    for _ in range(10):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(**given).logits.flatten(0, 1), labels.flatten())
        loss.backward()
        optimizer.step()
        found.append(loss.item())
        expected.append(session.train_step(batch).loss)
    assert found == pytest.approx(expected, rel=1e-4) and found[-1] < found[0]
    assert all(each.grad is None for key, each in model.named_parameters() if not key.startswith("seamkit."))


def test_training_with_the_model(folders: dict[str, Path], tmp_path: Path, runtime: seamkit.Runtime) -> None:
    """frozen=False: the paper's start, gradients everywhere, and a folder that says so."""
    model, (batch, given) = opened("bart", folders["bart"]), inputs("bart")
    adapter = seamkit.attach(model, "repcali", frozen=False)
    assert adapter.options["initialization"] == "paper"
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(3):
        optimizer.zero_grad()
        model(**given).logits.square().mean().backward()
        optimizer.step()
    logits = model(**given).logits
    adapter.save(tmp_path / "adapter", model)
    seamkit.detach(model)
    model.save_pretrained(tmp_path / "backbone")
    assert json.loads((tmp_path / "adapter/adapter_config.json").read_text())["backbone"]["trained"] is True
    backbone = runtime.open(tmp_path / "backbone")
    assert_close(logits, backbone.session(backbone.load(tmp_path / "adapter")).forward(batch))


def test_several_in_order(folders: dict[str, Path], tmp_path: Path, runtime: seamkit.Runtime) -> None:
    model, (batch, given) = opened("t5", folders["t5"]), inputs("t5")
    first = seamkit.attach(model, "repcali", norm="none")
    second = seamkit.attach(model, "repcali", initialization="paper")
    disturb(first, 1)
    disturb(second, 2)
    logits = model(**given).logits
    seamkit.save(model, tmp_path / "both", notes="- made by a test")
    session = runtime.open(folders["t5"]).session()
    session.load(tmp_path / "both")
    assert_close(logits, session.forward(batch))
    other = opened("t5", folders["t5"])
    assert isinstance(loaded := seamkit.load(tmp_path / "both", other), list) and len(loaded) == 2
    assert torch.equal(other(**given).logits, logits)
    seamkit.detach(model, first)
    assert attached(model) == [second] and not torch.equal(model(**given).logits, logits)


def test_an_option_called_as_a_parameter(folders: dict[str, Path]) -> None:
    adapter = seamkit.attach(opened("bart", folders["bart"]), "repcali", seed="positions", random_seed=3)
    assert adapter.options["seed"] == "positions" and adapter.embedding.weight.shape == (80, 24)


def test_models_that_take_tuples_and_no_mask(folders: dict[str, Path]) -> None:
    model, (_, given) = opened("bart", folders["bart"]), inputs("bart")
    disturb(seamkit.attach(model, "repcali"))
    expected = model(**given).logits
    assert torch.equal(model(**given, return_dict=False)[0], expected)
    ids = given["input_ids"][:1]
    with_mask = model(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=ids[:, :3]).logits
    assert torch.equal(model(input_ids=ids, decoder_input_ids=ids[:, :3]).logits, with_mask)


# ---- Wrong use


def test_refusals(folders: dict[str, Path]) -> None:
    model = opened("bart", folders["bart"])
    with pytest.raises(seamkit.UnsupportedError, match="called on features"):
        seamkit.attach(model, "dect")
    with pytest.raises(seamkit.InvalidArgumentError, match='unknown option "lamda"'):
        seamkit.attach(model, "repcali", lamda=1.0)
    assert attached(model) == [] and next(model.parameters()).requires_grad
    adapter = seamkit.attach(model, "repcali")
    with pytest.raises(seamkit.AlreadyExistsError, match="already attached"):
        seamkit.attach(model, adapter)
    with pytest.raises(seamkit.InvalidArgumentError, match="frozen must be True"):
        seamkit.attach(model, "repcali", frozen=False)
    with pytest.raises(seamkit.InvalidArgumentError, match="has its own"):
        seamkit.attach(model, adapter, lambda_=2.0)
    other = opened("t5", folders["t5"])
    with pytest.raises(seamkit.NotFoundError, match="is not attached"):
        seamkit.detach(other, adapter)
    with pytest.raises(seamkit.InvalidArgumentError, match="must be a model of transformers, .* found Linear"):
        seamkit.attach(torch.nn.Linear(2, 2), "repcali")


def test_a_compiled_model(folders: dict[str, Path]) -> None:
    """The wrapper is refused; adapters in the model inside reach it, also where it has run before."""
    model = opened("bert", folders["bert"])
    compiled: Any = torch.compile(model, backend="eager")
    ids = torch.tensor([[5, 6, 2]])
    with torch.no_grad():
        plain = compiled(input_ids=ids).logits
    with pytest.raises(seamkit.InvalidArgumentError, match="torch.compile returned: .* model._orig_mod"):
        seamkit.attach(compiled, "repcali")
    assert not hasattr(model, "seamkit") and all(each.requires_grad for each in model.parameters())
    disturb(seamkit.attach(compiled._orig_mod, "repcali"))
    with pytest.raises(seamkit.InvalidArgumentError, match="model._orig_mod"):
        seamkit.detach(compiled)
    with torch.no_grad():
        adapted = compiled(input_ids=ids).logits
        assert torch.equal(adapted, model(input_ids=ids).logits) and not torch.equal(adapted, plain)
    seamkit.detach(model)
    assert all(each.requires_grad for each in model.parameters())
    with torch.no_grad():
        assert torch.equal(compiled(input_ids=ids).logits, plain)


def test_an_error_leaves_the_model_as_it_was(folders: dict[str, Path]) -> None:
    """Where the model has something else under the name of the adapters."""
    model = opened("bert", folders["bert"])
    model.seamkit = "taken"
    hooks = [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules()]
    with pytest.raises(KeyError, match="seamkit"):
        seamkit.attach(model, "repcali")
    assert model.seamkit == "taken" and all(each.requires_grad for each in model.parameters())
    assert hooks == [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules()]


def test_models_without_a_head_or_a_decoder(folders: dict[str, Path]) -> None:
    ids = torch.tensor([[5, 6, 2]])
    for kind, name in [
        (transformers.T5EncoderModel, "t5"),
        (transformers.BartModel, "bart"),
        (transformers.BertModel, "bert"),
    ]:
        model = kind.from_pretrained(folders[name]).eval()
        with torch.no_grad():
            plain = model(input_ids=ids)[0]
            disturb(seamkit.attach(model, "repcali"))
            assert not torch.equal(model(input_ids=ids)[0], plain)
    with pytest.raises(seamkit.UnsupportedError, match=r"T5EncoderModel has no decoder"):
        seamkit.attach(transformers.T5EncoderModel.from_pretrained(folders["t5"]), "prefix-tuning", attention="decoder")
    bert = transformers.BertModel.from_pretrained(folders["bert"]).eval()
    disturb(seamkit.attach(bert, "repcali"))
    output = bert(input_ids=ids)
    assert torch.equal(output.pooler_output, bert.pooler(output.last_hidden_state)), "the pooler lies behind the seam"


DAMAGES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "schema": ({"schema": 3}, seamkit.IncompatibleError, "schema must be 1 ... 2"),
    "stranger": ({"colour": 1}, seamkit.FormatError, 'unknown key "colour"'),
    "option": ({"options": {"lamda": 1}}, seamkit.InvalidArgumentError, "adapter_config.json: .*unknown option"),
    "adapter": ({"adapter": "nothing"}, seamkit.NotFoundError, 'offers an adapter "nothing"'),
    "type": ({"seam": 3}, seamkit.FormatError, '"seam" must be a string, found an integer'),
    "missing": ({"plugin": None}, seamkit.FormatError, '"plugin" must be an object, found null'),
    "peft": ({"peft_type": "LORA"}, seamkit.FormatError, "of PEFT"),
    "lengths": ({"prefix_length": [1, 2]}, seamkit.FormatError, "3 numbers of tokens"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folders(folders: dict[str, Path], tmp_path: Path, damage: str) -> None:
    changes, kind, message = DAMAGES[damage]
    model = opened("bart", folders["bart"])
    seamkit.attach(model, "repcali").save(tmp_path / "adapter")
    seamkit.detach(model)
    file = tmp_path / "adapter/adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(kind, match=message):
        seamkit.load(tmp_path / "adapter", model)
    assert attached(model) == []


def test_other_models_and_other_weights(
    folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = opened("bart", folders["bart"])
    adapter = seamkit.attach(model, "repcali")
    adapter.save(tmp_path / "adapter")
    with pytest.raises(seamkit.IncompatibleError, match="with encoder_layers 2, this one has 3"):
        seamkit.load(tmp_path / "adapter", opened("t5", folders["t5"]))
    save("bart", tmp_path / "other", seed=9)
    seamkit.load(tmp_path / "adapter", opened("bart", tmp_path / "other"))
    assert "was trained on other weights" in caplog.text
    (tmp_path / "adapter/adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(seamkit.FormatError, match="is not a safetensors file"):
        seamkit.load(tmp_path / "adapter", opened("bart", folders["bart"]))
    with pytest.raises(seamkit.NotFoundError, match="no such folder"):
        seamkit.load(tmp_path / "nowhere", model)


def test_saving_is_atomic(folders: dict[str, Path], tmp_path: Path) -> None:
    adapter = seamkit.attach(opened("bart", folders["bart"]), "repcali")
    adapter.save(tmp_path / "adapter")
    before = sorted((each.name, each.read_bytes()) for each in (tmp_path / "adapter").iterdir())
    with torch.no_grad():
        adapter.embedding.weight[0, 0] = torch.nan
    with pytest.raises(seamkit.NumericError, match='"embedding.weight" holds NaN or infinity at element 0'):
        adapter.save(tmp_path / "adapter")
    with torch.no_grad():
        adapter.embedding.weight[0, 0] = 2
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(seamkit.FileError, match="the file would exceed the size limit"):
            adapter.save(tmp_path / "adapter")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted((each.name, each.read_bytes()) for each in (tmp_path / "adapter").iterdir()) == before
    adapter.save(tmp_path / "adapter")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["adapter"]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/letter.txt").write_text("keep me")
    with pytest.raises(seamkit.AlreadyExistsError, match="letter.txt"):
        adapter.save(tmp_path / "letters")
