"""Families that SeamKit does not know, registered by a user: against transformers given the same numbers by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from prefix_reference import behind, cache
from single_stack import bert, llama, padded, places
from test_attach import disturb
from tiny_models import bart, randomise, tokens
from transformers import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

import seamkit
from seamkit.torch import Family, Site, attached, families, register_family

# Of the largest: the same operations of torch in the same order, but for attention's kernel.
TOLERANCE = 1e-5
ROOM = {"max_position_embeddings": 80}
LED = {"max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 80, "attention_window": 8}


def led_site(config: Any) -> Site:
    """Other limits for the two stacks."""
    source, target = config.max_encoder_position_embeddings, config.max_decoder_position_embeddings
    layers, heads = (config.encoder_layers, config.decoder_layers), config.decoder_attention_heads
    return Site(
        "led", config.d_model, *layers, heads, heads, config.d_model // heads, source, target, config.vocab_size,
        prefix_layers=(*layers, layers[1]), max_prefix_length=(0, target - 1, 0))


# How each is registered, and a tiny model of it.
REGISTERED: dict[str, tuple[str, dict[str, Any]]] = {
    "distilbert": ("bert", {"encoder": lambda model: model.base_model.transformer, "past": None}),
    "modernbert": ("bert", {"encoder": lambda model: model.base_model.final_norm, "past": None}),
    "electra": ("bert", {}),
    "gpt_neox": ("llama", {}),
    "phi": ("llama", {}),
    "gemma": ("llama", {}),
    "qwen3": ("llama", {}),
    "led": ("bart", {"site": led_site}),
    "m2m_100": ("bart", {}),
}
MODELS: dict[str, Callable[[], Any]] = {
    "distilbert": lambda: bert(hf.DistilBertConfig, hf.DistilBertForMaskedLM, **ROOM),
    "modernbert": lambda: bert(
        hf.ModernBertConfig, hf.ModernBertForMaskedLM, cls_token_id=0, sep_token_id=2, **ROOM),
    "electra": lambda: bert(hf.ElectraConfig, hf.ElectraForMaskedLM, embedding_size=12, **ROOM),
    "gpt_neox": lambda: llama(hf.GPTNeoXConfig, hf.GPTNeoXForCausalLM, num_key_value_heads=4, **ROOM),
    "phi": lambda: llama(hf.PhiConfig, hf.PhiForCausalLM, num_attention_heads=2, **ROOM),
    "gemma": lambda: llama(hf.GemmaConfig, hf.GemmaForCausalLM, head_dim=10, **ROOM),
    "qwen3": lambda: llama(hf.Qwen3Config, hf.Qwen3ForCausalLM, head_dim=10, **ROOM),
    "led": lambda: bart(hf.LEDConfig, hf.LEDForConditionalGeneration, **LED),
    "m2m_100": lambda: bart(hf.M2M100Config, hf.M2M100ForConditionalGeneration, scale_embedding=False, **ROOM),
}
ENCODERS = ("distilbert", "modernbert", "electra")
PAIRS = ("led", "m2m_100")
DECODERS = ("gpt_neox", "phi", "gemma", "qwen3")
CALIBRATED, PREFIXED = [*ENCODERS, *PAIRS], ["electra", *PAIRS, *DECODERS]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "_families", dict(families.BUILT_IN))
    for name, (like, changes) in REGISTERED.items():
        register_family(name, like, **changes)


def made(name: str) -> Any:
    model = MODELS[name]()
    # Positions and rotations stand in buffers.
    buffers = {key: each.clone() for key, each in model.named_buffers()}
    randomise(model, 0)
    for key, each in model.named_buffers():
        each.copy_(buffers[key])
    return model.eval()


def inputs(name: str, labels: bool = True) -> dict[str, torch.Tensor]:
    if name in PAIRS:
        given = tokens(1, count=3)
        names = ["input_ids", "attention_mask", *(["decoder_input_ids"] if labels else [])]
        return {each: torch.from_numpy(getattr(given, each)).long() for each in names}
    ids, mask = padded(1, name in DECODERS, count=3, length=12)
    found = {"input_ids": torch.from_numpy(ids).long(), "attention_mask": torch.from_numpy(mask).long()}
    if name in DECODERS and labels:
        found["position_ids"] = torch.from_numpy(places(mask)).long()
    return found


@contextmanager
def encoded(model: Any, hidden: torch.Tensor) -> Iterator[None]:
    """A model with an encoder alone, whose head reads these states."""
    base = model.base_model
    base.forward = lambda *_, **__: BaseModelOutput(last_hidden_state=hidden)
    try:
        yield
    finally:
        del base.forward


def calibrated(name: str, model: Any, adapter: seamkit.torch.Adapter, given: dict[str, Any]) -> dict[str, Any]:
    """The encoder's output, with the block on it, as what is given to the rest of the model."""
    stack = model.get_encoder() if name in PAIRS else model.base_model
    hidden = stack(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state
    return {"encoder_outputs": BaseModelOutput(last_hidden_state=adapter(hidden, given["attention_mask"]))}


def logits_by_hand(name: str, model: Any, adapter: seamkit.torch.Adapter, given: dict[str, Any]) -> torch.Tensor:
    if adapter.id == "repcali":
        states = calibrated(name, model, adapter, given)
        if name in PAIRS:
            result: torch.Tensor = model(**given, **states).logits
            return result
        with encoded(model, states["encoder_outputs"][0]):
            return model(**given).logits  # type: ignore[no-any-return]
    moved = given | prefixed(name, adapter, given)
    if name in ENCODERS:
        with encoded(model, model.base_model(**moved)[0]):
            return model(**given).logits  # type: ignore[no-any-return]
    return model(**moved).logits  # type: ignore[no-any-return]


def prefixed(name: str, adapter: seamkit.torch.Adapter, given: dict[str, Any], beams: int = 1) -> dict[str, Any]:
    """The past, and what it does to mask and positions."""
    numbers = adapter(None, None, None)[0 if name in ENCODERS else 1]
    length, count = numbers.shape[3], len(given["input_ids"])
    past: Any = cache(numbers, count * beams)
    if name in PAIRS:
        return {"past_key_values": EncoderDecoderCache(past, hf.DynamicCache())}
    moved = {"past_key_values": past, "attention_mask": behind(given["attention_mask"], length)}
    return moved | ({"position_ids": given["position_ids"] + length} if "position_ids" in given else {})


def attach(name: str, model: Any, id: str) -> seamkit.torch.Adapter:
    options = {} if id == "repcali" else {"prefix_length": 4, "mlp_hidden_size": 7}
    options |= {"attention": "decoder"} if name in PAIRS and id != "repcali" else {}
    adapter = seamkit.attach(model, id, random_seed=2, **options)
    disturb(adapter)
    return adapter


def gradients(adapter: torch.nn.Module, logits: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    adapter.zero_grad()
    # What padding gives is nobody's, and differs between kernels.
    kept = logits if logits.shape[:2] != mask.shape else logits[mask == 1]
    kept.square().mean().backward()
    return [each.grad.clone() for each in adapter.parameters() if each.grad is not None]


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


CASES = [(name, "repcali") for name in CALIBRATED] + [(name, "residual-prefix") for name in PREFIXED]


@pytest.mark.parametrize("name, id", CASES)
def test_outputs_and_gradients(name: str, id: str, tmp_path: Path) -> None:
    model, given = made(name), inputs(name)
    flags = {key: each.requires_grad for key, each in model.named_parameters()}
    plain = model(**given).logits
    adapter = attach(name, model, id)
    logits = model(**given).logits
    found = gradients(adapter, logits, given["attention_mask"])
    seamkit.save(model, tmp_path / "adapter")
    seamkit.detach(model)
    assert torch.equal(model(**given).logits, plain), "to the last bit"
    assert {key: each.requires_grad for key, each in model.named_parameters()} == flags
    model.requires_grad_(False)
    expected = logits_by_hand(name, model, adapter, given)
    rows = given["attention_mask"] == 1 if name not in PAIRS else slice(None)
    assert (logits - plain)[rows].abs().max() > 1e-2
    assert_close(logits[rows], expected[rows])
    wanted = gradients(adapter, expected, given["attention_mask"])
    assert len(found) == len(wanted) == len(list(adapter.parameters()))
    for mine, theirs in zip(found, wanted, strict=True):
        assert theirs.abs().sum() > 0
        assert_close(mine, theirs)
    other = made(name)
    assert isinstance(seamkit.load(tmp_path / "adapter", other), seamkit.torch.Adapter)
    assert torch.equal(other(**given).logits, logits)


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name, id", [each for each in CASES if each[0] not in ENCODERS])
def test_generation(name: str, id: str, beams: int) -> None:
    model, given = made(name), inputs(name, labels=False)
    settings: dict[str, Any] = {"num_beams": beams, "max_new_tokens": 8, "do_sample": False, "no_repeat_ngram_size": 1}
    adapter = attach(name, model, id)
    # Tiny models with tied embeddings would say one token again and again.
    found = model.generate(**given, **settings)
    seamkit.detach(model)
    plain = model.generate(**given, **settings)
    if id == "repcali":
        expected = model.generate(**given, **calibrated(name, model, adapter, given), **settings)
    else:
        moved = given | prefixed(name, adapter, given, beams)
        if name in PAIRS:
            # A mask longer than the tokens says that the cache holds others before them.
            start = torch.full((len(given["input_ids"]), 1), model.config.decoder_start_token_id)
            moved |= {"decoder_input_ids": start, "decoder_attention_mask": torch.ones(len(start), 5)}
        expected = model.generate(**moved, **settings)
    assert torch.equal(found, expected) and not torch.equal(found, plain)


def test_sites() -> None:
    assert Site.of(made("distilbert")).seams == ("encoder.output", "decoder.output")
    led = Site.of(made("led"))
    assert (led.family, led.max_source_positions, led.max_target_positions) == ("led", 64, 80)
    assert Site.of(made("gemma").config).head_dim == 10
    register_family("gemma", "llama", past=None)
    assert Site.of(made("gemma").config).seams == ("decoder.output",)


def test_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its programs run as they stand, and make the same sites."""
    monkeypatch.setattr(families, "_families", dict(families.BUILT_IN))
    text = (Path(__file__).resolve().parents[2] / "docs/python.md").read_text()
    blocks = [each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "register_family" in each]
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "python.md", "exec"), {})
    model = made("led")
    assert Site.of(model) == led_site(model.config)
    assert Site.of(made("distilbert")).seams == ("encoder.output", "decoder.output")
    assert Site.of(made("qwen3")).seams == ("attention.prefix", "prefix.tokens", "decoder.output")


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

    register_family("own", Family(
        site=lambda config: Site("own", 6, 1, 0, 1, 1, 6, 0, 0, 11), encoder=lambda model: model.embedding))
    model, ids = Own(), torch.ones(2, 3, dtype=torch.long)
    adapter = attach("own", model, "repcali")
    expected = model.head(adapter(model.embedding.weight[ids], torch.ones(2, 3)))
    assert torch.equal(model(ids), expected)


class Named:
    def __init__(self, model_type: str):
        self.model_type = model_type


def fails(_: Any) -> Any:
    raise KeyError("layers")


SENTENCES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "unknown": (lambda: Site.of(Named("abacus")), seamkit.UnsupportedError,
                'model_type is "abacus"; expected one of t5, .*, or one that seamkit.torch.register_family'),
    "built in": (lambda: register_family("bert", "llama"), seamkit.AlreadyExistsError, '"bert" is built in'),
    "like nothing": (lambda: register_family("x", "abacus"), seamkit.UnsupportedError, '"abacus"'),
    "no name": (lambda: register_family("", "bert"), seamkit.InvalidArgumentError, "must be a name, found ''"),
    "no family": (lambda: register_family("x", 3), seamkit.InvalidArgumentError, "found int"),  # type: ignore[arg-type]
    "field": (lambda: register_family("x", "bert", pats=None), seamkit.InvalidArgumentError, 'unknown field "pats"'),
    "module": (lambda: register_family("x", "bert", past="base_model"), seamkit.InvalidArgumentError,
               "past must be a function or None, found str"),
    "site": (lambda: register_family("x", "bert", site=None), seamkit.InvalidArgumentError, "site must be a function"),
    "attention": (lambda: register_family("x", "bert", attention="cross"), seamkit.InvalidArgumentError, "'cross'"),
    "site fails": (lambda: Site.of(register_family("x", "bert", site=fails) and Named("x")),
                   seamkit.InvalidArgumentError, "site of family \"x\" cannot be made .* KeyError: 'layers'"),
    "site lacks": (lambda: Site.of(register_family("x", "bert") and Named("x")), seamkit.InvalidArgumentError,
                   "no attribute 'max_position_embeddings'"),
    "no site": (lambda: Site.of(register_family("x", "bert", site=lambda _: 1) and Named("x")),
                seamkit.InvalidArgumentError, "must be a Site, found int"),
    "sizes": (lambda: Site("x", 8, 1, 0, 2, 2, 4, -1, 0, 9), seamkit.InvalidArgumentError,
              "max_source_positions must be a number of 0 or more, found -1"),
    "no module": (lambda: attach("x", changed("distilbert", encoder=lambda model: "layers"), "repcali"),
                  seamkit.InvalidArgumentError, '"encoder" of family "distilbert" must give a module .* found str'),
    "fails to find": (lambda: attach("x", changed("distilbert", encoder=lambda model: model.layers), "repcali"),
                      seamkit.UnsupportedError, "DistilBertForMaskedLM has no module that .* 'layers'"),
    "no past": (lambda: attach("x", changed("distilbert", past=lambda model: model.base_model), "residual-prefix"),
                seamkit.InvalidArgumentError, "takes past_key_values, found DistilBertModel"),
    "no mask": (lambda: attach("x", changed("distilbert", masked=lambda model: model.vocab_projector), "repcali"),
                seamkit.InvalidArgumentError, "takes attention_mask, found Linear"),
}


def changed(name: str, **changes: Any) -> Any:
    register_family(name, REGISTERED[name][0], **(REGISTERED[name][1] | changes))
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
