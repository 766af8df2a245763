"""A seam that the model goes around, or whose value nobody reads, is noticed in the first forward, wherever that runs."""

from __future__ import annotations

import copy
import io
import pickle
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import transformers as hf

import seamkit
from prefix_reference import PAST
from seamkit.torch import families, register_family
from single_stack import bert, llama
from test_attach import disturb
from tiny_models import bart

IDS = torch.tensor([[4, 5, 6, 7, 8, 9], [5, 9, 8, 4, 6, 7]])
ENTER: dict[str, Callable[[], Any]] = {
    "gradients": nullcontext,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
}


class Unread(hf.BertForMaskedLM):  # type: ignore[misc]
    """Its head reads the embeddings, and leaves what the encoder gives."""

    def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
        self.bert(input_ids, attention_mask=attention_mask)
        return self.cls(self.bert.embeddings(input_ids))


def unread() -> Any:
    return bert(model=Unread, max_position_embeddings=80)


def around() -> Any:
    """OPT's head calls the decoder inside of the model that the head's base_model is."""
    return hf.OPTForCausalLM(
        hf.OPTConfig(
            vocab_size=61,
            hidden_size=24,
            num_hidden_layers=2,
            ffn_dim=40,
            num_attention_heads=4,
            word_embed_proj_dim=24,
            max_position_embeddings=80,
            dropout=0.0,
        )
    )


# The modules that were wrongly registered.
FOUND: dict[str, dict[str, Callable[[Any], Any]]] = {
    "unread": {"encoder": lambda model: model.base_model.encoder},
    "around": {"past": lambda model: model.base_model},
    "aside": {"encoder": lambda model: model.aside},
}


def aside() -> Any:
    """A module that nothing calls."""
    model: Any = bert(max_position_embeddings=80)
    model.aside = torch.nn.Linear(2, 2)
    return model


WRONG: dict[str, tuple[Callable[[], Any], str, str, str]] = {
    "unread": (
        unread,
        "bert",
        "repcali",
        "nothing in Unread reads what adapters give behind the "
        'BertEncoder that "encoder" of family "wrong" finds.*encoder=lambda model',
    ),
    "around": (
        around,
        "llama",
        "residual-prefix",
        "forward of OPTForCausalLM does not call the OPTModel that "
        '"past" of family "wrong" finds.*called with the past, one of model.decoder, seamkit.*past=lambda model',
    ),
    "aside": (
        aside,
        "bert",
        "repcali",
        'forward of BertForMaskedLM does not call the Linear that "encoder" of family "wrong" finds',
    ),
}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "_families", dict(families.BUILT_IN))


def wrong(what: str) -> Any:
    make, like, id, _ = WRONG[what]
    model = make().eval()
    model.config.model_type = "wrong"
    register_family("wrong", like, **FOUND[what])
    adapter = seamkit.attach(model, id, **({} if id == "repcali" else {"prefix_length": 4, "mlp_hidden_size": 7}))
    return model, adapter


@pytest.mark.parametrize("mode", ENTER)
@pytest.mark.parametrize("what", WRONG)
def test_it_is_said(what: str, mode: str) -> None:
    model, adapter = wrong(what)
    with ENTER[mode]():
        for _ in range(2):
            with pytest.raises(seamkit.UnsupportedError, match=WRONG[what][3]):
                model(input_ids=IDS, attention_mask=torch.ones_like(IDS))
    seamkit.detach(model, adapter)
    model(input_ids=IDS)


def test_it_is_said_in_generation() -> None:
    model, _ = wrong("around")
    with pytest.raises(seamkit.UnsupportedError, match="does not call the OPTModel"):
        model.generate(IDS, max_new_tokens=2)


@pytest.mark.parametrize("what", WRONG)
def test_it_is_said_of_a_compiled_model(what: str) -> None:
    """By the graph of autograd: without gradients a compiled model shows calls alone."""
    model, _ = wrong(what)
    with pytest.raises(seamkit.UnsupportedError, match=WRONG[what][3]):
        torch.compile(model, backend="eager")(input_ids=IDS)


@pytest.mark.parametrize("mode", ["gradients", "no_grad"])
def test_compiled_layers(mode: str) -> None:
    """What is right is no error where a part of the model is compiled; the whole is compiled in test_training_tools.py."""
    model = bart(max_position_embeddings=80).eval()
    adapter = seamkit.attach(model, "repcali")
    disturb(adapter)
    with ENTER[mode]():
        expected = model(input_ids=IDS, decoder_input_ids=IDS).logits
        seamkit.detach(model)
        seamkit.attach(model, adapter)
        for each in model.get_decoder().layers:
            each.compile(backend="aot_eager")
        found = [model(input_ids=IDS, decoder_input_ids=IDS).logits for _ in range(2)]
    for each in found:
        assert type(each) is torch.Tensor and (each - expected).abs().max() <= 1e-5 * expected.abs().max()


RIGHT: dict[str, tuple[Callable[[], Any], str]] = {
    "bart": (lambda: bart(max_position_embeddings=80), "repcali"),
    "bert": (lambda: bert(max_position_embeddings=80), "repcali"),
    "bert without a head": (lambda: bert(hf.BertConfig, hf.BertModel, max_position_embeddings=80), "repcali"),
    "llama": (lambda: llama(max_position_embeddings=80), "residual-prefix"),
}


@pytest.mark.parametrize("mode", ENTER)
@pytest.mark.parametrize("what", RIGHT)
def test_an_adapter_that_changes_nothing_yet_is_read(what: str, mode: str) -> None:
    """The identity that RepCali starts as, and what comes out is an ordinary tensor, the same in every forward."""
    make, id = RIGHT[what]
    model = make().eval()
    options = {} if id == "repcali" else {"prefix_length": 4, "mlp_hidden_size": 7}
    more = {"decoder_input_ids": IDS} if what == "bart" else {}
    with ENTER[mode]():
        plain = model(input_ids=IDS, **more)[0]
        seamkit.attach(model, id, **options)
        first, second = (model(input_ids=IDS, **more) for _ in range(2))
    for each in (first, second):
        assert all(type(value) is torch.Tensor for value in each.values() if isinstance(value, torch.Tensor))
    torch.testing.assert_close(first[0], second[0], rtol=0, atol=0)
    if id == "repcali":
        assert (first[0] - plain).abs().max() <= 1e-5 * plain.abs().max()


def test_an_encoder_whose_states_are_only_handed_out() -> None:
    """An encoder-decoder gives the encoder's states out beside its scores: that does not mean that they are read."""
    model = bart(max_position_embeddings=80).eval()
    seamkit.attach(model, "repcali")
    with pytest.raises(seamkit.UnsupportedError, match="nothing in BartForConditionalGeneration reads"):
        _with_other_states(model)
    model(input_ids=IDS, decoder_input_ids=IDS)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_hook_on_the_encoder_is_no_reader(is_first: bool) -> None:
    """It sees ordinary tensors, the same in every forward."""
    model, seen = bart(max_position_embeddings=80).eval(), []

    def look(_: Any, args: Any, output: Any) -> None:
        seen.append((type(output[0]), output[0].norm().item()))

    if is_first:
        model.get_encoder().register_forward_hook(look)
    adapter = seamkit.attach(model, "repcali")
    disturb(adapter)
    if not is_first:
        model.get_encoder().register_forward_hook(look)
    hooks = len(model.get_encoder()._forward_hooks)
    with pytest.raises(seamkit.UnsupportedError, match="nothing in BartForConditionalGeneration reads"):
        _with_other_states(model)
    for _ in range(2):
        model(input_ids=IDS, decoder_input_ids=IDS)
    assert len(seen) == 3 and set(seen) == {(torch.Tensor, seen[0][1])}
    assert len(model.get_encoder()._forward_hooks) == hooks


def test_a_hook_on_a_model_that_is_its_encoder() -> None:
    model, seen = bert(hf.DistilBertConfig, hf.DistilBertModel, max_position_embeddings=80).eval(), []
    register_family("distilbert", "bert", encoder=lambda model: model, past=None)
    seamkit.attach(model, "repcali")
    model.register_forward_hook(lambda _, args, output: seen.append(type(output[0])))
    for _ in range(2):
        model(input_ids=IDS)
    assert seen == [torch.Tensor] * 2


def test_first_forwards_in_threads() -> None:
    model = bart(max_position_embeddings=80).eval()
    seamkit.attach(model, "repcali")
    start = threading.Barrier(4)

    def forward(_: int) -> torch.Tensor:
        start.wait()
        return model(input_ids=IDS, decoder_input_ids=IDS).encoder_last_hidden_state  # type: ignore[no-any-return]

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(forward, range(4)))
    assert all(type(each) is torch.Tensor and torch.equal(each, found[0]) for each in found)


class Through(torch.autograd.Function):
    """Hands its inputs on, as those of fully_shard do, which takes the watch off them."""

    @staticmethod
    def forward(_: Any, *inputs: Any) -> Any:
        return inputs

    @staticmethod
    def backward(_: Any, *gradients: Any) -> Any:
        return gradients


def test_states_behind_a_function_of_autograd() -> None:
    model = bart(max_position_embeddings=80)
    seamkit.attach(model, "repcali")
    model.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: (
            args,
            kwargs | {"encoder_hidden_states": Through.apply(kwargs["encoder_hidden_states"])[0]},
        ),
        with_kwargs=True,
    )
    model(input_ids=IDS, decoder_input_ids=IDS)


def test_layers_that_are_dropped_in_training() -> None:
    """Where layerdrop leaves every reader out nothing is said, and a later forward is looked at."""
    model = bart(max_position_embeddings=80, decoder_layerdrop=1.0).train()
    seamkit.attach(model, "repcali")
    model(input_ids=IDS, decoder_input_ids=IDS)
    with pytest.raises(seamkit.UnsupportedError, match="nothing in BartForConditionalGeneration reads"):
        # Zero in evaluation; the layers that are called here read other states.
        _with_other_states(model.eval())
    model = bart(max_position_embeddings=80, encoder_layerdrop=0.5).train()
    seamkit.attach(model, "repcali")
    with pytest.raises(seamkit.UnsupportedError, match="nothing in BartForConditionalGeneration reads"):
        _with_other_states(model)


def _with_other_states(model: Any) -> None:
    handle = model.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: (args, kwargs | {"encoder_hidden_states": torch.zeros(2, 6, 24)}), with_kwargs=True
    )
    try:
        model(input_ids=IDS, decoder_input_ids=IDS)
    finally:
        handle.remove()


def test_the_output_of_an_encoder_that_is_given(caplog: pytest.LogCaptureFixture) -> None:
    model = bart(max_position_embeddings=80).eval()
    adapter = seamkit.attach(model, "repcali")
    disturb(adapter)
    adapted = model.get_encoder()(input_ids=IDS)
    expected = model(input_ids=IDS, decoder_input_ids=IDS).logits
    # The encoder has run: nothing is said.
    assert torch.equal(model(encoder_outputs=adapted, decoder_input_ids=IDS).logits, expected)
    seamkit.detach(model)
    seamkit.attach(model, adapter)
    assert not caplog.messages
    for _ in range(2):
        assert torch.equal(model(encoder_outputs=adapted, decoder_input_ids=IDS).logits, expected)
    (said,) = caplog.messages
    assert re.fullmatch(
        'encoder_outputs was given and the encoder that "encoder" of family "bart" finds has not run since an adapter was '
        "attached to it: the adapter changes nothing in this forward, unless .*",
        said,
    )


def test_a_layer_without_a_past() -> None:
    model = llama(max_position_embeddings=80).eval()
    attention = model.model.layers[1].self_attn
    forward = attention.forward
    attention.forward = lambda *args, **kwargs: forward(*args, **(kwargs | {PAST: None, "attention_mask": None}))
    seamkit.attach(model, "residual-prefix", prefix_length=4, mlp_hidden_size=7)
    with pytest.raises(seamkit.UnsupportedError, match="attention 1 of LlamaModel does not read the past"):
        model(input_ids=IDS)


def test_once_is_enough() -> None:
    """Behind the first forward nothing is watched, also with another adapter on the same seam."""
    model, seen = bert(max_position_embeddings=80).eval(), []
    seamkit.attach(model, "repcali")
    model.cls.register_forward_pre_hook(lambda _, args: seen.append(type(args[0])))
    for _ in range(2):
        model(input_ids=IDS)
    seamkit.attach(model, "repcali")
    model(input_ids=IDS)
    assert seen[0] is not torch.Tensor and seen[1:] == [torch.Tensor] * 2


@pytest.mark.parametrize(
    "use", [lambda states: torch.load(_saved(states)), lambda states: pickle.loads(pickle.dumps(states)), copy.deepcopy]
)
def test_the_watched_states_are_copied_as_ordinary_ones(use: Callable[[torch.Tensor], torch.Tensor]) -> None:
    model, seen = bert(max_position_embeddings=80).eval(), []
    seamkit.attach(model, "repcali")
    model.cls.register_forward_pre_hook(lambda _, args: seen.extend([args[0], use(args[0])]))
    with torch.no_grad():
        model(input_ids=IDS)
    assert type(seen[0]) is type(seen[1]) is torch.Tensor and torch.equal(*seen)


def _saved(states: torch.Tensor) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(states, file)
    file.seek(0)
    return file


def test_a_parameter_of_the_watched_states() -> None:
    model, seen = bert(max_position_embeddings=80).eval(), []
    seamkit.attach(model, "repcali")
    model.cls.register_forward_pre_hook(lambda _, args: seen.extend([args[0], torch.nn.Parameter(args[0])]))
    model(input_ids=IDS)
    holder = torch.nn.Module()
    holder.register_parameter("states", seen[1])
    (seen[1] * 2).sum().backward()
    assert isinstance(seen[1], torch.nn.Parameter) and torch.equal(*seen) and seen[1].grad is not None
    assert type(seen[0]) is torch.Tensor and seen[0].grad_fn is not None


class Named(NamedTuple):
    states: torch.Tensor
    pooled: torch.Tensor | None = None


@dataclass
class Object:
    states: torch.Tensor


@pytest.mark.parametrize("make", [Named, Object])
def test_a_kind_of_output_of_a_users_own(make: Callable[[torch.Tensor], Any]) -> None:
    """It is left as it is, and the tensors in it are ordinary ones."""
    model = own(make)
    seamkit.attach(model, "repcali")
    output = model(input_ids=IDS)
    assert type(output) is make and type(output.states) is torch.Tensor


@pytest.mark.parametrize("mode", ENTER)
@pytest.mark.parametrize(
    "make",
    [
        lambda states: (torch.ones(2, 6), states),
        lambda states: {"mask": torch.ones(2, 6), "states": states},
        lambda states: {"out": (states,)},
        lambda states: [None, states.detach()],
        lambda states: (None, states.mul_(0.5)),
        lambda states: Named(torch.ones(2, 6), states),
    ],
)
def test_an_encoder_whose_states_do_not_come_first(make: Callable[[torch.Tensor], Any], mode: str) -> None:
    model = own(make)
    seamkit.attach(model, "repcali")
    with ENTER[mode]():
        for _ in range(2):
            model(input_ids=IDS)


def test_an_output_without_the_states() -> None:
    model = own(lambda states: Named(torch.ones(2, 6), torch.zeros_like(states)))
    seamkit.attach(model, "repcali")
    with pytest.raises(seamkit.UnsupportedError, match="nothing in Own reads"):
        model(input_ids=IDS)


def own(output: Callable[[torch.Tensor], Any]) -> Any:
    class Own(hf.BertPreTrainedModel):  # type: ignore[misc]
        def __init__(self, config: Any):
            super().__init__(config)
            self.bert = hf.BertModel(config, add_pooling_layer=False)
            self.post_init()

        def forward(self, input_ids: torch.Tensor) -> Any:
            return output(self.bert(input_ids)[0])

    return bert(model=Own, max_position_embeddings=80).eval()


def test_a_model_called_by_a_hook_of_its_own_forward() -> None:
    """Both forwards are looked at, and leave nothing behind."""
    model, outputs = bart(max_position_embeddings=80).eval(), []

    def again(*_: Any) -> None:
        if not outputs:
            outputs.append(None)
            outputs.append(model(input_ids=IDS, decoder_input_ids=IDS))

    seamkit.attach(model, "repcali")
    model.get_decoder().register_forward_pre_hook(again)
    outputs.append(model(input_ids=IDS, decoder_input_ids=IDS))
    for each in outputs[1:]:
        assert type(each.encoder_last_hidden_state) is torch.Tensor and torch.equal(each.logits, outputs[1].logits)
    assert not model.seamkit._connection._open


def test_a_forward_that_fails_leaves_no_trace() -> None:
    """The encoder alone, behind a failure in the model, gives an ordinary tensor."""
    model = bart(max_position_embeddings=80).eval()
    seamkit.attach(model, "repcali")
    with pytest.raises(IndexError):
        model(input_ids=IDS, decoder_input_ids=IDS + 1000)
    assert type(model.get_encoder()(input_ids=IDS)[0]) is torch.Tensor


def test_a_configuration_without_use_cache() -> None:
    model = llama(max_position_embeddings=80).eval()
    seamkit.attach(model, "residual-prefix", prefix_length=4, mlp_hidden_size=7)
    wanted = model(input_ids=IDS, use_cache=False).logits
    del model.config.use_cache
    assert torch.equal(model.model(input_ids=IDS, use_cache=False)[0] @ model.lm_head.weight.T, wanted)


def test_a_mask_of_another_length() -> None:
    """As that of speech, whose encoder gives fewer states than it was given frames."""
    model = bert(max_position_embeddings=80).eval()
    model.bert.register_forward_hook(lambda _, args, output: (output[0][:, ::2],))
    seamkit.attach(model, "repcali")
    with pytest.raises(seamkit.UnsupportedError, match=r"first axes are \[2, 3\]; found \[2, 6\]: .*speech"):
        model(input_ids=IDS, attention_mask=torch.ones_like(IDS))
