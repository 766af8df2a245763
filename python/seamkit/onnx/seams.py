"""What the file of a seam takes and gives, under the names that exported encoders and decoders have."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import torch
from onnx import helper

from seamkit import _declarations as c
from seamkit.errors import IncompatibleError, InvalidArgumentError, UnsupportedError
from seamkit.onnx.graph import TYPES, Graph
from seamkit.onnx.operations import Value
from seamkit.onnx.recording import record
from seamkit.onnx.sizes import Size
from seamkit.onnx.writing import Writer
from seamkit.torch.adapter import Adapter
from seamkit.torch.prefixes import computed
from seamkit.torch.seams import ATTENTIONS, is_prefix

_BATCH, _SEQUENCE = Size(0, batch=1), Size(0, sequence=1)
_SIZES = ("d_model", "encoder_layers", "decoder_layers", "kv_heads", "head_dim")


def check(adapters: Sequence[Adapter]) -> None:
    """Raises one sentence unless the adapters run one after another on one seam of one model."""
    first = adapters[0]
    if inside := next((each for each in adapters if each.points), None):
        raise UnsupportedError(
            f'adapter "{inside.id}" cannot be exported: it is on {inside.seam}, {_place(inside)} of its model, so that it '
            "has no file of its own beside that of the model"
        )
    for each in adapters:
        for name in _SIZES:
            one, other = getattr(first.site, name), getattr(each.site, name)
            if one != other:
                raise IncompatibleError(
                    f'adapter "{each.id}" was made for a model with {name} {other}, adapter "{first.id}" for one with '
                    f"{one}"
                )
    seams = [c.SEAM_ATTENTION_PREFIX if is_prefix(each.seam) else each.seam for each in adapters]
    if len(set(seams)) > 1:
        raise InvalidArgumentError(
            f"a file holds the adapters of one seam, found {' and '.join(dict.fromkeys(seams))}: choose one with seam"
        )
    if other := next((each for each in adapters if each.classes != first.classes), None):
        raise IncompatibleError(
            f'adapter "{other.id}" was made for {other.classes} classes, adapter "{first.id}" for {first.classes}'
        )
    if other := next((each for each in adapters[1:] if each.prompts > 1), None):
        raise IncompatibleError(
            f'adapter "{other.id}" was made for {other.prompts} prompts, and behind the first adapter there is one'
        )
    if all(each.seam == c.SEAM_PREFIX_TOKENS for each in adapters):
        raise InvalidArgumentError(
            f'adapter "{first.id}" weights the tokens of a prefix and none is exported with it: give the prefix and it '
            "as a list"
        )


def _place(adapter: Adapter) -> str:
    return "before the layers" if adapter.seam == c.SEAM_PROMPT_EMBEDDING else "inside the layers"


def graph(adapters: Sequence[Adapter]) -> onnx.GraphProto:
    """The graph of adapters on one seam, in the order in which they run; they are folded and not in training."""
    if adapters[0].seam == c.SEAM_ENCODER_OUTPUT:
        return _encoder_output(adapters)
    return _decoder_output(adapters) if adapters[0].seam == c.SEAM_DECODER_OUTPUT else _prefix(adapters)


def _encoder_output(adapters: Sequence[Adapter]) -> onnx.GraphProto:
    width = adapters[0].site.d_model
    hidden, mask = "hidden_states", Value("attention_mask", (_BATCH, _SEQUENCE), "i64")

    def inputs(batch: int, sequence: int) -> list[torch.Tensor | None]:
        return [torch.zeros(batch, sequence, width), torch.ones(batch, sequence, dtype=torch.int32)]

    g = Graph(hidden)
    result = hidden
    for adapter, names in _named(g, adapters):
        given = [Value(result, (_BATCH, _SEQUENCE, Size(width))), mask]
        result = Writer(g, adapter, given, names).write(record(adapter, inputs, adapter.site.max_source_positions))
    states: list[str | int] = ["batch", "sequence", width]
    return g.finished(
        "encoder_output",
        [_info(hidden, "f32", states), _info(mask.name, "i64", ["batch", "sequence"])],
        [(result, _info("last_hidden_state", "f32", states))],
    )


def _decoder_output(adapters: Sequence[Adapter]) -> onnx.GraphProto:
    width, classes = adapters[0].site.d_model, adapters[0].classes
    prompts = [each for each in adapters[0].prompt_axis if each > 1]
    hidden, result = "hidden_states", "scores"
    g = Graph(hidden)
    states = hidden
    for adapter, names in _named(g, adapters):
        axis = adapter.prompt_axis
        sizes = [Size(each) for each in axis]

        def inputs(batch: int, _: int, axis: list[int] = axis) -> list[torch.Tensor | None]:
            return [torch.ones(batch, *axis, classes), torch.ones(batch, *axis, width)]

        ones = [g.add("Unsqueeze", each, g.axes(1)) if axis == [1] else each for each in (result, states)]
        given = [Value(each, (_BATCH, *sizes, Size(count))) for each, count in zip(ones, (classes, width), strict=True)]
        result = Writer(g, adapter, given, names).write(record(adapter, inputs, None))
        if prompts and adapter is adapters[0] and adapter is not adapters[-1]:
            # The adapters behind it read the answer to one prompt.
            states = g.add("ReduceMean", states, g.axes(1), keepdims=0)
    return g.finished(
        "decoder_output",
        [_info("scores", "f32", ["batch", *prompts, classes]), _info(hidden, "f32", ["batch", *prompts, width])],
        [(result, _info("logits", "f32", ["batch", classes]))],
    )


def _named(g: Graph, adapters: Sequence[Adapter]) -> list[tuple[Adapter, str]]:
    """Each with what stands before the names of its parameters, which several have in common."""
    g.scope = adapters[0].id if len(adapters) == 1 else "seamkit"
    return [(each, "" if len(adapters) == 1 else f"{index}.") for index, each in enumerate(adapters)]


@torch.no_grad()
def _prefix(adapters: Sequence[Adapter]) -> onnx.GraphProto:
    """Keys and values depend on nothing but parameters, so they are computed here, once for all. The input gives the
    batch alone."""
    tokens = "input_ids"
    g = Graph(tokens)
    g.scope = "seamkit"
    outputs = []
    for attention, numbers in zip(ATTENTIONS, computed(adapters), strict=True):
        shape = g.sizes([_BATCH, Size(1), Size(1), Size(1)])
        for layer, pair in enumerate(numbers):
            if pair is None:
                continue
            _, heads, length, width = pair.shape
            for kind, values in zip(("key", "value"), pair, strict=True):
                own = g.initializer(f"{attention}.prefix.{layer}.{kind}", values[None].numpy())
                name = _past(adapters[0], attention).format(layer=layer, kind=kind)
                outputs.append((g.add("Expand", own, shape), _info(name, "f32", ["batch", heads, length, width])))
    return g.finished("attention_prefix", [_info(tokens, "i64", ["batch", "sequence"])], outputs)


def _past(adapter: Adapter, attention: str) -> str:
    """The name in an exported decoder of a past, which calls that of cross-attention the encoder's."""
    site = adapter.site
    if not (site.encoder_layers and site.decoder_layers):
        return "past_key_values.{layer}.{kind}"
    return {
        "encoder": "encoder_past_key_values.{layer}.{kind}",
        "decoder": "past_key_values.{layer}.decoder.{kind}",
        "cross": "past_key_values.{layer}.encoder.{kind}",
    }[attention]


def _info(name: str, kind: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TYPES[kind], shape)
