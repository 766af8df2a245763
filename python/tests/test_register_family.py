"""Families that a user registers: what SeamKit finds out itself gives way to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

import seamkit
from family_models import inputs, made
from seamkit.torch import Family, Site, attached, families, register_family
from single_stack import llama
from test_attach import disturb


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of one test is left for the next."""
    monkeypatch.setattr(families, "_families", dict(families.BUILT_IN))


def led_site(config: Any) -> Site:
    """Other limits for the two stacks."""
    source, target = config.max_encoder_position_embeddings, config.max_decoder_position_embeddings
    layers, heads = (config.encoder_layers, config.decoder_layers), config.decoder_attention_heads
    return Site(
        "led",
        config.d_model,
        *layers,
        heads,
        heads,
        config.d_model // heads,
        source,
        target,
        config.vocab_size,
        prefix_layers=(*layers, layers[1]),
        max_prefix_length=(0, target - 1, 0),
    )


def attach(model: Any, id: str, **options: Any) -> seamkit.torch.Adapter:
    adapter = seamkit.attach(model, id, random_seed=2, **options)
    disturb(adapter)
    return adapter


# Of an encoder without prefixes.
SEAMS = ("encoder.output", "layer.output", "projection", "prompt.embedding", "decoder.output")


@torch.no_grad()
def test_a_registration_goes_before_what_is_found() -> None:
    """The same modules, named by the user; and a site of the user's own."""
    model, given = made("distilbert"), inputs("distilbert")
    adapter = attach(model, "repcali")
    logits = model(**given).logits
    seamkit.detach(model)
    register_family("distilbert", "bert", encoder=lambda model: model.base_model.transformer, past=None)
    seamkit.attach(model, adapter)
    assert torch.equal(model(**given).logits, logits)
    assert Site.of(model).seams == SEAMS
    led = made("led")
    assert Site.of(led) == led_site(led.config)
    register_family("led", "bart", site=lambda config: Site("led", 24, 1, 0, 4, 4, 6, 0, 0, 61))
    assert Site.of(led).encoder_layers == 1
    assert Site.of(made("gemma").config).head_dim == 10
    register_family("gemma", "llama", past=None)
    assert Site.of(made("gemma").config).seams == ("decoder.output",)


def test_the_documentation() -> None:
    """Its programs run as they stand, and make the same sites."""
    text = (Path(__file__).resolve().parents[2] / "docs/python.md").read_text()
    blocks = [each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "register_family" in each]
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "python.md", "exec"), {})
    model = made("led")
    assert Site.of(model) == led_site(model.config)
    assert Site.of(made("distilbert")).seams == SEAMS


def test_a_model_of_the_users_own() -> None:
    """No class of transformers: a configuration with a model_type is enough."""

    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = hf.PretrainedConfig()
            self.config.model_type = "own"
            self.embedding, self.head = torch.nn.Embedding(11, 6), torch.nn.Linear(6, 2)

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.head(self.embedding(input_ids))
            return result

    register_family(
        "own",
        Family(site=lambda config: Site("own", 6, 1, 0, 1, 1, 6, 0, 0, 11), encoder=lambda model: model.embedding),
    )
    model, ids = Own(), torch.ones(2, 3, dtype=torch.long)
    adapter = attach(model, "repcali")
    expected = model.head(adapter(model.embedding.weight[ids], torch.ones(2, 3)))
    assert torch.equal(model(ids), expected)


def test_a_second_of_one_name_is_refused_and_changes_nothing() -> None:
    first = register_family("x", "bert")
    with pytest.raises(seamkit.AlreadyExistsError):
        register_family("x", "llama")
    assert families.named("x") is first
    assert register_family("x", "llama", replaces=True) is families.named("x") is not first
    assert register_family("y", "bert", replaces=True) is families.named("y")


class Named:
    def __init__(self, model_type: str, **fields: Any):
        self.__dict__ |= {"model_type": model_type, **fields}


def fails(_: Any) -> Any:
    raise KeyError("layers")


SENTENCES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "unknown": (
        lambda: Site.of(Named("abacus")),
        seamkit.UnsupportedError,
        'model_type is "abacus", .* no kind that .* call seamkit.torch.register_family."abacus", "bert"',
    ),
    "without attention": (
        lambda: Site.of(hf.MambaConfig()),
        seamkit.UnsupportedError,
        '"mamba", .* names no attention heads, .*register_family."mamba", "llama", past=None.',
    ),
    "text and pictures": (
        lambda: Site.of(hf.LlavaConfig()),
        seamkit.UnsupportedError,
        'several models in one, .*register_family."llava", "llama".',
    ),
    "sizes with other names": (
        lambda: Site.of(hf.PerceiverConfig()),
        seamkit.UnsupportedError,
        'must give num_hidden_layers .* call .*register_family."perceiver", "bert", site=',
    ),
    "music": (
        lambda: Site.of(
            hf.MusicgenConfig(
                text_encoder=hf.T5Config(), audio_encoder=hf.EncodecConfig(), decoder=hf.MusicgenDecoderConfig()
            )
        ),
        seamkit.UnsupportedError,
        'register_family."musicgen", "bart", site=',
    ),
    "built in": (lambda: register_family("bert", "llama"), seamkit.AlreadyExistsError, '"bert" is built in'),
    "twice": (
        lambda: register_family("x", "bert") and register_family("x", "llama"),
        seamkit.AlreadyExistsError,
        '"x" is registered already: expected a name that is free, or replaces=True',
    ),
    "built in, replaced": (
        lambda: register_family("bert", "llama", replaces=True),
        seamkit.AlreadyExistsError,
        '"bert" is built in',
    ),
    "like nothing": (
        lambda: register_family("x", "abacus"),
        seamkit.UnsupportedError,
        'no family "abacus" to be like: expected one of t5, .*, such as "bert"',
    ),
    "no name": (lambda: register_family("", "bert"), seamkit.InvalidArgumentError, "must be a name, found ''"),
    "no family": (lambda: register_family("x", 3), seamkit.InvalidArgumentError, "found int"),  # type: ignore[arg-type]
    "field": (lambda: register_family("x", "bert", pats=None), seamkit.InvalidArgumentError, 'unknown field "pats"'),
    "module": (
        lambda: register_family("x", "bert", past="base_model"),
        seamkit.InvalidArgumentError,
        "past must be a function or None, found str",
    ),
    "site": (lambda: register_family("x", "bert", site=None), seamkit.InvalidArgumentError, "site must be a function"),
    "attention": (lambda: register_family("x", "bert", attention="cross"), seamkit.InvalidArgumentError, "'cross'"),
    "site fails": (
        lambda: Site.of(register_family("x", "bert", site=fails) and Named("x")),
        seamkit.InvalidArgumentError,
        "site of family \"x\" cannot be made .* KeyError: 'layers'",
    ),
    "site lacks": (
        lambda: Site.of(register_family("x", "bert") and Named("x")),
        seamkit.InvalidArgumentError,
        "must give num_hidden_layers or num_layers as a number above 0, found None",
    ),
    "sizes of each layer": (
        lambda: Site.of(
            register_family("x", "llama") and Named("x", hidden_size=8, num_hidden_layers=2, num_attention_heads=[2, 4])
        ),
        seamkit.InvalidArgumentError,
        r"must give num_attention_heads as a number, found \[2, 4\]",
    ),
    "other heads": (
        lambda: attach(altered("qwen3", kv_heads=4), "prefix-tuning"),
        seamkit.UnsupportedError,
        "heads that are 40 numbers wide together, and layers.0.self_attn.k_proj gives 20: call .*site",
    ),
    "no site": (
        lambda: Site.of(register_family("x", "bert", site=lambda _: 1) and Named("x")),
        seamkit.InvalidArgumentError,
        "must be a Site, found int",
    ),
    "sizes": (
        lambda: Site("x", 8, 1, 0, 2, 2, 4, -1, 0, 9),
        seamkit.InvalidArgumentError,
        "max_source_positions must be a number of 0 or more, found -1",
    ),
    "no module": (
        lambda: attach(changed("distilbert", encoder=lambda model: "layers"), "repcali"),
        seamkit.InvalidArgumentError,
        '"encoder" of family "distilbert" must give a module .* found str',
    ),
    "fails to find": (
        lambda: attach(changed("distilbert", encoder=lambda model: model.layers), "repcali"),
        seamkit.UnsupportedError,
        "DistilBertForMaskedLM has no module that .* 'layers'",
    ),
    "no past": (
        lambda: attach(changed("distilbert", past=lambda model: model.base_model), "residual-prefix"),
        seamkit.InvalidArgumentError,
        "takes cache or past_key_values, found DistilBertModel",
    ),
    "sparse blocks": (
        lambda: attach(llama(hf.BigBirdConfig, hf.BigBirdForMaskedLM, max_position_embeddings=80), "prefix-tuning"),
        seamkit.UnsupportedError,
        'attention_type is "block_sparse", which knows no past: set "original_full"',
    ),
    "no tokens": (
        lambda: attach(
            register_family("qwen3", "llama", past=lambda model: model.model.layers[0]) and made("qwen3"),
            "prefix-tuning",
        ),
        seamkit.InvalidArgumentError,
        "takes input_ids or inputs_embeds, .* found Qwen3DecoderLayer: register the module",
    ),
    "no mask": (
        lambda: attach(changed("distilbert", masked=lambda model: model.vocab_projector), "repcali"),
        seamkit.InvalidArgumentError,
        "takes attention_mask, found Linear",
    ),
}


def altered(name: str, **sizes: int) -> Any:
    """With a site that is wrong."""
    model = made(name)
    site = Site.of(model)
    register_family(name, "llama", site=lambda _: replace(site, **sizes))  # type: ignore[arg-type]
    return model


def changed(name: str, **changes: Any) -> Any:
    register_family(name, "bert", **changes)
    return made(name)


@pytest.mark.parametrize("what", SENTENCES)
def test_one_sentence(what: str) -> None:
    make, kind, message = SENTENCES[what]
    with pytest.raises(kind, match=message):
        make()


def test_nothing_is_attached_after_an_error() -> None:
    model = changed("distilbert", encoder=lambda model: None)
    with pytest.raises(seamkit.InvalidArgumentError, match="found NoneType"):
        seamkit.attach(model, "repcali")
    assert attached(model) == [] and all(each.requires_grad for each in model.parameters())
