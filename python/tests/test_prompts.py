"""Prompt tuning: vectors before the embedded tokens, in PyTorch and natively, against PEFT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from peft import PeftModelForFeatureExtraction, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from torch import Tensor

import seamkit
import seamkit.torch
from prefix_reference import PAST, for_peft
from seamkit.onnx import export_onnx
from single_stack import bert, gpt2, llama
from tiny_models import PAD, VOCABULARY, bart, marian, randomise, t5

# Of the largest: f32 on both sides, sums in another order. A vector in a wrong place is off by more than a tenth.
TOLERANCE = 1e-5
LENGTH = 4

MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: gpt2(),
    "llama": lambda: llama(),
    "t5": lambda: t5(),
    "bart": lambda: bart(scale_embedding=True),
    "marian": lambda: marian(),
    "bert": lambda: bert(),
    "roberta": lambda: bert(hf.RobertaConfig, hf.RobertaForMaskedLM, type_vocab_size=1),
}
PAIRS, DECODERS, ENCODERS = ("t5", "bart", "marian"), ("gpt2", "llama"), ("bert", "roberta")
TASKS = {
    **dict.fromkeys(PAIRS, "SEQ_2_SEQ_LM"),
    **dict.fromkeys(DECODERS, "CAUSAL_LM"),
    **dict.fromkeys(ENCODERS, "FEATURE_EXTRACTION"),
}


def stack(name: str) -> str:
    """Before whose text vectors stand where nothing is said."""
    return "decoder" if name in DECODERS else "encoder"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("prompts")
    for name, build in MODELS.items():
        model = build()
        randomise(model, 0)
        model.save_pretrained(root / name)
    return {name: root / name for name in MODELS}


def opened(name: str, path: Path) -> Any:
    return type(MODELS[name]()).from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def texts(name: str, seed: int = 0, lengths: tuple[int, ...] = (7, 3, 5)) -> tuple[dict[str, Tensor], seamkit.Batch]:
    """The same batch, padded behind the tokens, for transformers and for the native engine."""
    random = np.random.default_rng(seed)
    rows, longest = len(lengths), max(lengths)
    ids, mask = np.full((rows, longest), PAD), np.zeros((rows, longest), int)
    for row, length in enumerate(lengths):
        ids[row, :length] = random.integers(4, VOCABULARY, length)
        mask[row, :length] = 1
    given = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    labels = random.integers(4, VOCABULARY, (rows, 5)) if name in PAIRS else np.where(mask, ids, -100)
    given["labels"] = torch.tensor(labels)
    if name in DECODERS:  # in PEFT's loss the last vector tells the first token, which nobody else does
        labels[:, 0] = -100
        given["labels"] = torch.tensor(labels)
    if name == "bert":
        given["token_type_ids"] = torch.tensor(random.integers(0, 2, ids.shape))
    types = given.get("token_type_ids")
    batch = seamkit.Batch(ids, mask, labels, token_type_ids=None if types is None else types.numpy())
    return given, batch


def peft_config(name: str, network: bool) -> Any:
    told = {"token_dim": 24, "num_attention_heads": 4, "num_layers": 2, "num_transformer_submodules": 1}
    if network:
        return PromptEncoderConfig(task_type=TASKS[name], num_virtual_tokens=LENGTH, encoder_hidden_size=10, **told)
    return PromptTuningConfig(task_type=TASKS[name], num_virtual_tokens=LENGTH, **told)


OPTIONS: dict[bool, dict[str, Any]] = {
    False: {"prompt_length": LENGTH},
    True: {"prompt_length": LENGTH, "reparameterization": "mlp", "mlp_hidden_size": 10},
}


def like_peft(name: str, path: Path, network: bool) -> tuple[Any, Any, seamkit.torch.Adapter]:
    """PEFT's model and ours with the same values."""
    torch.manual_seed(3)
    theirs = get_peft_model(opened(name, path), peft_config(name, network)).eval()
    ours = opened(name, path)
    adapter = seamkit.attach(ours, "prompt-tuning", **OPTIONS[network])
    values = dict(theirs.prompt_encoder["default"].named_parameters())
    found = {key.split(".", 2)[2]: key for key in adapter.state_dict()}
    names = {key: "embedding.weight" if key == "prompt_embeddings" else key for key in found}
    assert sorted(names.values()) == sorted(values)
    adapter.load_state_dict({found[key]: values[own].detach() for key, own in names.items()})
    return theirs, ours, adapter


def assert_same(mine: Any, wanted: Any, of: float = 0) -> None:
    mine, wanted = (each.detach().numpy() if isinstance(each, Tensor) else each for each in (mine, wanted))
    assert mine.shape == wanted.shape
    assert np.abs(mine - wanted).max() <= TOLERANCE * max(np.abs(wanted).max(), of)


def scores(model: Any, given: dict[str, Tensor]) -> Tensor:
    """Of the text's own tokens."""
    text = given["labels"].shape[1]
    if isinstance(model, PeftModelForFeatureExtraction):  # it does not make the labels longer
        given = {key: value for key, value in given.items() if key != "labels"}
    states: Tensor = model(**given).logits
    return states[:, states.shape[1] - text :]


def native(path: Path, runtime: seamkit.Runtime, network: bool, values: dict[str, Any]) -> seamkit.Session:
    """A session with the adapter, whose values are those of ours."""
    session = runtime.open(path).session()
    adapter = session.add("prompt-tuning", OPTIONS[network])
    assert sorted(adapter.parameters) == sorted(values)
    for key, value in values.items():
        adapter.parameters[key][...] = value.numpy()
    return session


@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_peft(folders: dict[str, Path], runtime: seamkit.Runtime, name: str, network: bool) -> None:
    """Of padded rows, with the network and without it, in PyTorch and natively."""
    theirs, ours, adapter = like_peft(name, folders[name], network)
    given, batch = texts(name)
    if name == "bert":  # PEFT leaves out which of two texts a token is of
        del given["token_type_ids"]
        batch = seamkit.Batch(given["input_ids"].numpy(), given["attention_mask"].numpy(), given["labels"].numpy())
    mine, wanted, labels = scores(ours, given), scores(theirs, given), given["labels"]
    counted = torch.ones_like(labels, dtype=torch.bool) if name in PAIRS else given["attention_mask"] == 1
    assert_same(mine[counted], wanted[counted])
    plain = scores(opened(name, folders[name]), given)
    assert (plain - mine)[counted].abs().max() > 0.01 * mine[counted].abs().max()
    session = native(folders[name], runtime, network, adapter.state_dict())
    assert_same(session.forward(batch)[counted], wanted[counted])
    if name not in ENCODERS:
        loss = theirs(**given).loss.item()
        assert ours(**given).loss.item() == pytest.approx(loss, rel=1e-5)
        found = session.score(batch)
        count = sum(each.token_count for each in found)
        assert -sum(each.log_probability for each in found) / count == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_losses_are_those_of_peft(folders: dict[str, Path], runtime: seamkit.Runtime, name: str, network: bool) -> None:
    """Over 20 steps of AdamW, from the same start."""
    theirs, ours, adapter = like_peft(name, folders[name], network)
    (given, batch), losses = texts(name), []
    session = native(folders[name], runtime, network, adapter.state_dict())
    # The same rate in all: what is learned early changes what comes later.
    rate = 0.01
    for model in (theirs, ours):
        optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=rate)
        found = []
        for _ in range(20):
            loss = model(**given).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
    session.begin_training(learning_rate=rate, weight_decay=0.01, warmup_steps=0, max_grad_norm=0)
    losses.append([session.train_step(batch).loss for _ in range(20)])
    assert losses[0][-1] < 0.98 * losses[0][0]
    for found in losses[1:]:
        assert found == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "bart"])
def test_generation_is_that_of_peft(folders: dict[str, Path], runtime: seamkit.Runtime, name: str) -> None:
    """Greedy, one text at a time by PEFT, padded together by us."""
    theirs, ours, adapter = like_peft(name, folders[name], False)
    lengths = (6, 3, 4)
    given, _ = texts(name, 5, lengths)
    rows = [row[:length] for row, length in zip(given["input_ids"], lengths, strict=True)]
    settings = {"max_new_tokens": 7, "min_new_tokens": 7, "do_sample": False}
    wanted = []
    for row in rows:
        alone = {"input_ids": row[None], "attention_mask": torch.ones_like(row[None])}
        wanted.append(for_peft(theirs).generate(**alone, **settings)[0, -7:].tolist())
    front = torch.full((3, 6), PAD)
    for row, (text, length) in enumerate(zip(rows, lengths, strict=True)):
        front[row, 6 - length :] = text
    padded = front if name in DECODERS else given["input_ids"]
    together = {"input_ids": padded, "attention_mask": (padded != PAD).long()}
    assert ours.generate(**together, **settings)[:, -7:].tolist() == wanted
    session = native(folders[name], runtime, False, adapter.state_dict())
    options = runtime.open(folders[name]).generate_options(max_new_tokens=7, min_new_tokens=7)
    found = session.generate(seamkit.Batch(given["input_ids"].numpy(), given["attention_mask"].numpy()), options)
    assert [each[0].tokens for each in found] == wanted


@pytest.mark.parametrize("name", MODELS)
def test_all_stacks_and_other_adapters(
    folders: dict[str, Path], runtime: seamkit.Runtime, tmp_path: Path, name: str
) -> None:
    """Vectors in both stacks, LoRA and a prefix in one model: PyTorch and the native engine agree, and so do a whole text
    and one that goes on from a cache."""
    ours, (given, batch) = opened(name, folders[name]), texts(name)
    attention = "encoder" if name in ENCODERS else "decoder"
    seamkit.attach(ours, "lora", r=2)
    prompts = [
        seamkit.attach(ours, "prompt-tuning", prompt_length=3, deviation=0.5, stack="both", random_seed=1),
        seamkit.attach(ours, "prompt-tuning", prompt_length=2, deviation=0.5, random_seed=2),
    ]
    seamkit.attach(ours, "prefix-tuning", prefix_length=3, attention=attention, deviation=0.5)
    assert len(prompts[0].points) == (2 if name in PAIRS else 1)
    with torch.no_grad():
        for key, each in ours.seamkit.named_parameters():
            if "lora_B" in key:
                each.normal_(0, 0.2)
    mine = scores(ours, given)
    counted = np.ones(mine.shape[:2], bool) if name in PAIRS else given["attention_mask"].numpy() == 1
    seamkit.save(ours, tmp_path / "adapters")
    session = runtime.open(folders[name]).session()
    session.load(tmp_path / "adapters")
    assert_same(session.forward(batch)[counted], mine.detach().numpy()[counted])
    if name in ENCODERS:
        return
    settings = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    text = {each: given[each] for each in ("input_ids", "attention_mask")}
    if name in DECODERS:
        text = {each: value[:1] for each, value in text.items()}
    wanted = ours.generate(**text, **settings)
    assert ours.generate(**text, **settings, use_cache=False).tolist() == wanted.tolist()
    options = runtime.open(folders[name]).generate_options(max_new_tokens=6, min_new_tokens=6)
    found = session.generate(seamkit.Batch(text["input_ids"].numpy(), text["attention_mask"].numpy()), options)
    assert [each[0].tokens for each in found] == wanted[:, -6:].tolist()
    seamkit.detach(ours)
    plain = scores(opened(name, folders[name]), given)
    assert torch.equal(scores(ours, given), plain)


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_several_routes(folders: dict[str, Path], runtime: seamkit.Runtime, name: str) -> None:
    """Rows with no, two and five vectors before them, and rows that are alone: the same."""
    session = runtime.open(folders[name]).session()
    for route, length in (("two", 2), ("five", 5)):
        session.add("prompt-tuning", {"prompt_length": length, "deviation": 0.5, "stack": "both"}, route=route)
    given, _ = texts(name, 3, (5, 7, 3, 7))
    ids, mask, labels = (given[each].numpy() for each in ("input_ids", "attention_mask", "labels"))
    routes = ["five", None, "two", "five"]
    together = session.forward(seamkit.Batch(ids, mask, labels, routes=routes))
    counted = np.ones(labels.shape, bool) if name in PAIRS else mask == 1
    for row, route in enumerate(routes):
        part = slice(row, row + 1)
        alone = session.forward(seamkit.Batch(ids[part], mask[part], labels[part], routes=[route]))
        assert_same(together[part][counted[part]], alone[counted[part]], np.abs(together).max())
    if name in ENCODERS:
        return
    options = runtime.open(folders[name]).generate_options(max_new_tokens=6, min_new_tokens=6)
    found = session.generate(seamkit.Batch(ids, mask, routes=routes), options)
    for row, route in enumerate(routes):
        length = mask[row].sum()
        one = seamkit.Batch(ids[row : row + 1, :length], routes=[route])
        assert found[row][0].tokens == session.generate(one, options)[0][0].tokens


def test_vectors_take_positions(folders: dict[str, Path], runtime: seamkit.Runtime) -> None:
    """Of models that have a limited number of them."""
    ours, session = opened("gpt2", folders["gpt2"]), runtime.open(folders["gpt2"]).session()
    sentence = "put 60 vectors before the text of the decoder, which take its positions: .* leaves room for at most 59"
    with pytest.raises(seamkit.InvalidArgumentError, match=sentence):
        seamkit.attach(ours, "prompt-tuning", prompt_length=60)
    with pytest.raises(seamkit.InvalidArgumentError, match=sentence):
        session.add("prompt-tuning", {"prompt_length": 60})
    assert not seamkit.torch.attached(ours) and not session.adapters
    session.add("prompt-tuning", {"prompt_length": 55})
    with pytest.raises(seamkit.SeamError, match="8 tokens behind a learned prompt of 55 .* at most 60"):
        session.forward(seamkit.Batch(np.full((1, 8), 5)))
    t5 = runtime.open(folders["t5"]).session()
    t5.add("prompt-tuning", {"prompt_length": 300})


def test_wrong_choices(folders: dict[str, Path], runtime: seamkit.Runtime) -> None:
    backbone, ours = runtime.open(folders["t5"]), opened("t5", folders["t5"])
    for options, sentence in (
        ({"layers": [0]}, 'option "layers" chooses among layers, and prompt.embedding is before the first'),
        ({"targets": "q"}, 'option "targets" chooses among layers'),
        ({"prompt_length": 0}, "prompt_length"),
        ({"reparameterization": "lstm"}, "reparameterization"),
    ):
        with pytest.raises(seamkit.SeamError, match=sentence):
            backbone.adapter("prompt-tuning", options)
        with pytest.raises(seamkit.SeamError, match=sentence):
            seamkit.attach(ours, "prompt-tuning", **options)
    decoder = runtime.open(folders["llama"])
    for model in (decoder, opened("llama", folders["llama"])):
        with pytest.raises(
            seamkit.NotFoundError, match="no points of prompt.embedding in the encoder.*the decoder's embedded"
        ):
            if model is decoder:
                decoder.adapter("prompt-tuning", {"stack": "encoder"})
            else:
                seamkit.attach(model, "prompt-tuning", stack="encoder")


def test_a_cache_of_another_text(folders: dict[str, Path]) -> None:
    ours, (given, _) = opened("llama", folders["llama"]), texts("llama")
    ids = given["input_ids"][:1]
    with torch.no_grad():
        past = ours(input_ids=ids, use_cache=True)[PAST]
    seamkit.attach(ours, "prompt-tuning", prompt_length=3)
    with pytest.raises(
        seamkit.InvalidArgumentError, match="7 tokens that the 3 vectors of the attached adapters were not"
    ):
        ours(input_ids=ids, **{PAST: past})


def test_the_seam_is_not_exported(folders: dict[str, Path], tmp_path: Path) -> None:
    adapter = seamkit.attach(opened("t5", folders["t5"]), "prompt-tuning")
    with pytest.raises(seamkit.UnsupportedError, match="prompt-tuning.*prompt.embedding"):
        export_onnx(adapter, tmp_path / "prompt.onnx")


def test_what_encode_and_pool_give(folders: dict[str, Path], runtime: seamkit.Runtime) -> None:
    """The encoder's states have the vectors' before the text's; a pooled vector is made of all."""
    session = runtime.open(folders["bert"]).session()
    _, batch = texts("bert")
    plain = session.encode(batch).shape[1]
    session.add("prompt-tuning", {"prompt_length": 4})
    hidden, mask = session.encode(batch), np.concatenate([np.ones((3, 4)), batch.attention_mask], 1)[..., None]
    assert hidden.shape[1] == plain + 4
    assert_same(session.pool(batch), (hidden * mask).sum(1) / mask.sum(1))
