"""Families that nobody has described to SeamKit: against transformers given the same numbers by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from transformers.modeling_outputs import BaseModelOutput

import seamkit
from family_models import (
    DECODERS,
    ENCODERS,
    MOVED_ENCODERS,
    OWN_ATTENTION,
    PAIRS,
    calibrated,
    inputs,
    joined,
    logits_by_hand,
    made,
    prefixed,
)
from prefix_reference import save
from seamkit import locations
from seamkit.torch import Site, attached
from seamkit.torch.families import BUILT_IN
from test_attach import disturb
from tiny_models import START

# Of the largest: the same operations of torch in the same order, but for attention's kernel.
TOLERANCE = 1e-5
CASES = [(name, "repcali") for name in [*ENCODERS, *PAIRS, "prophetnet"]] + [
    (name, "residual-prefix") for name in [*MOVED_ENCODERS, *DECODERS, *PAIRS]
]
GENERATED = [each for each in CASES if each[0] not in ENCODERS]


def attach(name: str, model: Any, id: str) -> seamkit.torch.Adapter:
    options = {} if id == "repcali" else {"prefix_length": 4, "mlp_hidden_size": 7}
    options |= {"attention": "decoder"} if name in OWN_ATTENTION and id != "repcali" else {}
    return seamkit.attach(model, id, random_seed=2, **options)


def rows(name: str, given: dict[str, Any]) -> Any:
    """What padding gives is nobody's, and differs between kernels."""
    return given["attention_mask"] == 1 if name in ENCODERS or name in DECODERS else slice(None)


def gradients(adapter: torch.nn.Module, logits: torch.Tensor) -> list[torch.Tensor]:
    adapter.zero_grad()
    logits.square().mean().backward()
    return [each.grad.clone() for each in adapter.parameters() if each.grad is not None]


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.mark.parametrize("name, id", CASES)
def test_outputs_and_gradients(name: str, id: str, tmp_path: Path) -> None:
    model, given = made(name), inputs(name)
    assert Site.of(model.config) == Site.of(model)
    flags = {key: each.requires_grad for key, each in model.named_parameters()}
    counted = rows(name, given)
    plain = model(**given).logits
    adapter = attach(name, model, id)
    if id == "repcali":
        assert_close(model(**given).logits[counted], plain[counted])
    disturb(adapter)
    logits = model(**given).logits
    found = gradients(adapter, logits[counted])
    seamkit.save(model, tmp_path / "adapter")
    seamkit.detach(model)
    assert torch.equal(model(**given).logits, plain), "to the last bit"
    assert {key: each.requires_grad for key, each in model.named_parameters()} == flags
    model.requires_grad_(False)
    expected = logits_by_hand(name, model, adapter, given)
    assert (logits - plain)[counted].abs().max() > 1e-2
    assert_close(logits[counted], expected[counted])
    wanted = gradients(adapter, expected[counted])
    assert len(found) == len(wanted) == len(list(adapter.parameters()))
    for mine, theirs in zip(found, wanted, strict=True):
        assert theirs.abs().sum() > 0
        assert_close(mine, theirs)
    other = made(name)
    assert isinstance(seamkit.load(tmp_path / "adapter", other), seamkit.torch.Adapter)
    assert torch.equal(other(**given).logits, logits)


@pytest.mark.parametrize("name, id", [(name, id) for name, id in CASES if name in ("albert", "opt", "whisper")])
def test_a_loss_falls(name: str, id: str) -> None:
    model, given = made(name), inputs(name)
    adapter = attach(name, model, id)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-2)
    losses = []
    for _ in range(5):
        logits = model(**given).logits[rows(name, given)]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), torch.full((logits[..., 0].numel(),), 7))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def without_a_cache(name: str, model: Any, given: dict[str, Any], count: int) -> torch.Tensor:
    """The likeliest token, again and again, each time from the whole text."""
    key = "input_ids" if name in DECODERS else "decoder_input_ids"
    text = dict(given)
    text.setdefault(key, torch.full((len(next(iter(given.values()))), 1), START))
    for _ in range(count):
        if name in DECODERS:
            mask = text["attention_mask"]
            moved = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)} if "position_ids" in inputs(name) else {}
            text["attention_mask"] = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            found = model(input_ids=text[key], attention_mask=mask, use_cache=False, **moved).logits
        else:
            found = model(**text, use_cache=False).logits
        text[key] = torch.cat([text[key], found[:, -1:].argmax(2)], 1)
    return text[key]


@torch.no_grad()
@pytest.mark.parametrize("name, id", GENERATED)
def test_greedy_search_is_a_loop_without_a_cache(name: str, id: str) -> None:
    model, given = made(name), inputs(name, labels=False)
    disturb(attach(name, model, id))
    model.generation_config.eos_token_id = None
    found = model.generate(**given, max_new_tokens=6, do_sample=False)
    # Whisper gives the new tokens alone.
    assert torch.equal(found[:, -6:], without_a_cache(name, model, given, 6)[:, -6:])


@torch.no_grad()
@pytest.mark.parametrize(
    "name, id",
    [(name, id) for name, id in GENERATED if name in ("bloom", "gemma3_text", "led", "opt", "phi", "t5gemma", "umt5")],
)
def test_beam_search(name: str, id: str) -> None:
    model, given = made(name), inputs(name, labels=False)
    # Tiny models with tied embeddings would say one token again and again.
    settings: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 8, "do_sample": False, "no_repeat_ngram_size": 1}
    adapter = attach(name, model, id)
    disturb(adapter)
    found = model.generate(**given, **settings)
    seamkit.detach(model)
    plain = model.generate(**given, **settings)
    if id == "repcali":
        states = BaseModelOutput(calibrated(name, model, adapter, given))
        expected = model.generate(**given, encoder_outputs=states, **settings)
    else:
        moved = given | prefixed(name, adapter, given, beams=3)
        if name in PAIRS:
            # A mask longer than the tokens says that the cache holds others before them.
            start = torch.full((len(given["input_ids"]), 1), model.config.decoder_start_token_id)
            moved |= {"decoder_input_ids": start, "decoder_attention_mask": torch.ones(len(start), 5)}
        with joined(name, model, adapter):
            expected = model.generate(**moved, **settings)
    assert torch.equal(found, expected) and not torch.equal(found, plain)


@torch.no_grad()
@pytest.mark.parametrize(
    "name, kind",
    [
        ("albert", hf.AlbertForSequenceClassification),
        ("camembert", hf.CamembertForSequenceClassification),
        ("deberta-v2", hf.DebertaV2ForSequenceClassification),
        ("electra", hf.ElectraForSequenceClassification),
    ],
)
def test_a_pooler_reads_what_the_adapter_gives(name: str, kind: Any) -> None:
    torch.manual_seed(0)
    model, given = kind(made(name).config).eval(), inputs(name)
    plain = model(**given).logits
    hidden = model.base_model(**given)[0]
    adapter = attach(name, model, "repcali")
    disturb(adapter)
    found = model(**given).logits
    seamkit.detach(model)
    states = adapter(hidden, given["attention_mask"])
    if name == "albert":
        expected = model.classifier(torch.tanh(model.albert.pooler(states[:, 0])))
    elif name == "deberta-v2":
        expected = model.classifier(model.pooler(states))
    else:
        expected = model.classifier(states)
    assert (found - plain).abs().max() > 1e-3
    assert_close(found, expected)


@torch.no_grad()
def test_an_encoder_alone_of_a_pair() -> None:
    model = hf.UMT5EncoderModel(made("umt5").config).eval()
    given = {key: value for key, value in inputs("umt5").items() if "decoder" not in key}
    plain = model(**given)[0]
    adapter = attach("umt5", model, "repcali")
    disturb(adapter)
    assert torch.equal(model(**given)[0], adapter(plain, given["attention_mask"]))
    with pytest.raises(seamkit.UnsupportedError, match="UMT5EncoderModel has no decoder"):
        seamkit.attach(model, "prefix-tuning", attention="decoder")


SENTENCES: dict[str, tuple[str, str, str]] = (
    {
        name: (
            name,
            "prefix-tuning",
            'no seam "attention.prefix", which .* it has encoder.output, .*Model takes no keys',
        )
        for name in ENCODERS
        if name not in MOVED_ENCODERS
    }
    | {
        "latent attention": (
            "deepseek_v2",
            "prefix-tuning",
            "since its latent attention .*: 10 for keys, 6 for values",
        ),
        "several tokens at once": ("prophetnet", "prefix-tuning", "since its decoder predicts several tokens at once"),
        "a cache of another kind": ("xlm", "prefix-tuning", "since its cache is of a kind of its own"),
        "no encoder": ("opt", "repcali", 'no seam "encoder.output"'),
    }
    | {
        f"attention of its own: {name}": (
            name,
            "prefix-tuning",
            'the encoder attention of .* does not compute through its attention interface .* set attention to "decoder"',
        )
        for name in OWN_ATTENTION
    }
)


@pytest.mark.parametrize("what", SENTENCES)
def test_what_has_no_place_is_refused_when_it_is_attached(what: str) -> None:
    name, id, message = SENTENCES[what]
    model = made(name)
    with pytest.raises(seamkit.UnsupportedError, match=message):
        seamkit.attach(model, id)
    assert attached(model) == []


@torch.no_grad()
def test_a_mask_of_frames() -> None:
    """Whisper's encoder leaves half of the frames that it is given; a caller may mask these."""
    model, given = made("whisper"), inputs("whisper")
    encoder = model.get_encoder()
    plain = encoder(given["input_features"])[0]
    adapter = attach("whisper", model, "repcali")
    disturb(adapter)
    mask = torch.ones(3, 40, dtype=torch.long)
    mask[1, 9:] = 0
    halved = torch.ones(3, 20, dtype=torch.long)
    halved[1, 5:] = 0
    found = encoder(given["input_features"], attention_mask=mask)[0]
    assert torch.equal(found, adapter(plain, halved))
    with pytest.raises(seamkit.UnsupportedError, match=r"first axes are \[3, 20\]; found \[3, 17\]"):
        encoder(given["input_features"], attention_mask=mask[:, :17])


def test_what_is_built_in_is_what_the_native_engine_opens(tmp_path: Path) -> None:
    """The native engine's list is in its sentence, FamilyList.swift; Python's is `BUILT_IN`, and finds the others itself."""
    path = save("llama", tmp_path) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "unheard-of"}))
    with pytest.raises(seamkit.UnsupportedError) as caught:
        seamkit.Runtime([locations.library("libTransformer.so")]).open(tmp_path, id="transformer")
    listed = caught.value.message.rpartition("expected ")[2].partition(";")[0].replace(" or ", ", ").split(", ")
    assert len(listed) > 30 and set(BUILT_IN) <= set(listed)
