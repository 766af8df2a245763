"""The compute table as ONNX operations: the same mathematics as seamkit.torch.operations, valid from opset 18 on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seamkit import _declarations as c
from seamkit.onnx.graph import TYPES, Graph
from seamkit.onnx.sizes import Size
from seamkit.torch.operations import runs

# The least f32, in place of minus infinity, as in the torch engine.
_HIDDEN = -3.4028234663852886e38


@dataclass(frozen=True)
class Value:
    """A result in the graph."""

    name: str
    shape: tuple[Size, ...]
    kind: str = "f32"

    @property
    def rank(self) -> int:
        return len(self.shape)


def affine(g: Graph, x: Value, scale: Any, shift: Any) -> str:
    scaled = x.name if scale == Size(1) else g.add("Mul", x.name, g.number(scale, "f32"))
    return scaled if shift == Size(0) else g.add("Add", scaled, g.number(shift, "f32"))


def where(g: Graph, condition: Value, a: Value, b: Value) -> str:
    return g.add("Where", _flag(g, condition), a.name, b.name)


def _flag(g: Graph, x: Value) -> str:
    return g.once("Cast", x.name, to=TYPES["bool"])


def rsqrt(g: Graph, x: Value) -> str:
    return g.add("Reciprocal", g.add("Sqrt", x.name))


def gelu(g: Graph, x: Value) -> str:
    """x/2 (1 + erf(x / sqrt 2))"""
    inner = g.add("Erf", g.add("Mul", x.name, g.constant(math.sqrt(0.5), "f32")))
    return _half_of(g, x, inner)


def gelu_tanh(g: Graph, x: Value) -> str:
    """x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))"""
    cube = g.add("Mul", g.add("Mul", g.add("Mul", x.name, x.name), x.name), g.constant(0.044715, "f32"))
    inner = g.add("Mul", g.add("Add", x.name, cube), g.constant(math.sqrt(2 / math.pi), "f32"))
    return _half_of(g, x, g.add("Tanh", inner))


def _half_of(g: Graph, x: Value, inner: str) -> str:
    return g.add("Mul", g.add("Mul", x.name, g.constant(0.5, "f32")), g.add("Add", inner, g.constant(1, "f32")))


def silu(g: Graph, x: Value) -> str:
    return g.add("Mul", x.name, g.add("Sigmoid", x.name))


def cast(g: Graph, x: Value, dtype: str) -> str:
    return g.add("Cast", x.name, to=TYPES["i32" if dtype == "torch.int32" else "f32"])


# ---- Matrix products


def matmul(g: Graph, a: Value, b: Value, transpose_a: bool, transpose_b: bool) -> str:
    return g.add("MatMul", _turned(g, a) if transpose_a else a.name, _turned(g, b) if transpose_b else b.name)


def _turned(g: Graph, x: Value) -> str:
    """The last two axes exchanged."""
    axes = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
    return g.once("Transpose", x.name, perm=tuple(axes))


def linear(g: Graph, x: Value, weight: Value, bias: Value | None) -> str:
    if x.rank == 2:
        return g.add("Gemm", x.name, weight.name, *([] if bias is None else [bias.name]), transB=1)
    product = g.add("MatMul", x.name, _turned(g, weight))
    return product if bias is None else g.add("Add", product, bias.name)


def linear_low_rank(g: Graph, y: Value, x: Value, a: Value, b: Value, scale: Any) -> str:
    product = g.add("MatMul", g.add("MatMul", x.name, _turned(g, a)), _turned(g, b))
    return g.add("Add", y.name, g.add("Mul", product, g.number(scale, "f32")))


def attention(
    g: Graph, query: Value, key: Value, value: Value, bias: Value | None, mask: Value | None, scale: Any, causal: bool
) -> str:
    values = _repeated(g, value, query)
    scores = _scores(g, query, key, bias, scale)
    seen = _seen(g, query, key, mask, causal)
    if seen is None:
        return g.add("MatMul", g.add("Softmax", scores, axis=-1), values)
    # The factor makes the row of a query that sees no key zeros.
    weights = g.add("Softmax", g.add("Where", seen, scores, g.constant(_HIDDEN, "f32")), axis=-1)
    return g.add("MatMul", g.add("Mul", weights, g.add("Cast", seen, to=TYPES["f32"])), values)


def _scores(g: Graph, query: Value, key: Value, bias: Value | None, scale: Any) -> str:
    turned = g.add("Transpose", _repeated(g, key, query), perm=(0, 1, 3, 2))
    scores = g.add("Mul", g.add("MatMul", query.name, turned), g.number(scale, "f32"))
    return scores if bias is None else g.add("Add", scores, bias.name)


def attention_with_prefix(
    g: Graph,
    query: Value,
    key: Value,
    value: Value,
    prefixes: tuple[Value, ...],
    places: tuple[Size, ...],
    biases: tuple[Value, ...],
    bias_places: tuple[Size, ...],
    routes: tuple[Size, ...] | None,
    bias: Value | None,
    mask: Value | None,
    scale: Any,
    causal: bool,
) -> str:
    def attended(route: int, rows: slice | None) -> str:
        def own(x: Value) -> Value:
            if rows is None:
                return x
            count = Size(rows.stop - rows.start)
            return Value(slice_(g, x, Size(0), Size(rows.start), count), (count, *x.shape[1:]), x.kind)

        def own_bias(x: Value | None) -> Value | None:
            """It may be one for all rows."""
            return x if x is None or x.rank < 4 or x.shape[0] == Size(1) else own(x)

        of_query, of_key, of_value = (own(each) for each in (query, key, value))
        of_bias, of_mask = own_bias(bias), None if mask is None else own(mask)
        if places[route].constant < 0:
            return attention(g, of_query, of_key, of_value, of_bias, of_mask, scale, causal)
        prefix, place = prefixes[places[route].constant], bias_places[route].constant
        keys, values = (_of_all_rows(g, prefix, part, of_query) for part in (0, 1))
        before = _scores(g, of_query, keys, None if place < 0 else own_bias(biases[place]), scale)
        scores = _scores(g, of_query, of_key, of_bias, scale)
        seen = _seen(g, of_query, of_key, of_mask, causal)
        if seen is not None:
            # The prefix is seen, so that what is hidden gets a weight of 0.
            scores = g.add("Where", seen, scores, g.constant(_HIDDEN, "f32"))
        weights = g.add("Softmax", g.add("Concat", before, scores, axis=-1), axis=-1)
        both = g.add("Concat", *(_repeated(g, each, of_query) for each in (values, of_value)), axis=2)
        return g.add("MatMul", weights, both)

    if routes is None:
        return attended(0, None)
    numbers = [each.constant for each in routes]
    return g.add("Concat", *(attended(numbers[rows.start], rows) for rows in runs(numbers)), axis=0)


def _of_all_rows(g: Graph, prefix: Value, part: int, query: Value) -> Value:
    """The keys, part 0, or the values of a prefix, before those of every row."""
    shape = (query.shape[0], *prefix.shape[1:])
    own = g.add("Slice", prefix.name, g.axes(part), g.axes(part + 1), g.axes(0))
    return Value(g.add("Expand", own, g.sizes(shape)), shape)


def _repeated(g: Graph, x: Value, query: Value) -> str:
    """Each head as often as there are queries for it."""
    share = query.shape[1].constant // x.shape[1].constant
    if share == 1:
        return x.name
    one = Size(1)
    batch, heads, length, width = x.shape
    apart = g.add("Unsqueeze", x.name, g.axes(2))
    wide = g.add("Expand", apart, g.sizes([one, one, Size(share), one, one]))
    return g.add("Reshape", wide, g.sizes([batch, Size(heads.constant * share), length, width]))


def _seen(g: Graph, query: Value, key: Value, mask: Value | None, causal: bool) -> str | None:
    """Which keys a query sees, to be broadcast to the scores; None: all."""
    found = None
    if causal:
        queries, keys = query.shape[2], key.shape[2]
        of_query = g.once("Range", *(g.number(each, "i64") for each in (Size(0), queries, Size(1))))
        of_key = g.once("Range", *(g.number(each, "i64") for each in (Size(0), keys, Size(1))))
        last = g.add("Add", of_query, g.add("Sub", g.number(keys, "i64"), g.number(queries, "i64")))
        found = g.add("LessOrEqual", of_key, g.add("Unsqueeze", last, g.axes(1)))
    if mask is not None:
        visible = g.add("Unsqueeze", _flag(g, mask), g.axes(1, 2))
        found = visible if found is None else g.add("And", found, visible)
    return found


# ---- Normalisation


def layer_norm(g: Graph, x: Value, weight: Value | None, bias: Value | None, epsilon: Any) -> str:
    scale = _ones(g, x.shape[-1]) if weight is None else weight.name
    rest = [] if bias is None else [bias.name]
    return g.add("LayerNormalization", x.name, scale, *rest, axis=-1, epsilon=_plain(epsilon))


def _ones(g: Graph, size: Size) -> str:
    if size.is_constant:
        return g.constant([1.0] * size.constant, "f32")
    return g.once("Expand", g.constant(1, "f32"), g.sizes([size]))


def rms_norm(g: Graph, x: Value, weight: Value | None, epsilon: Any) -> str:
    mean = g.add("ReduceMean", g.add("Mul", x.name, x.name), g.axes(-1), keepdims=1)
    root = g.add("Sqrt", g.add("Add", mean, g.number(epsilon, "f32")))
    normal = g.add("Div", x.name, root)
    return normal if weight is None else g.add("Mul", normal, weight.name)


def l2_normalize(g: Graph, x: Value, epsilon: Any) -> str:
    length = g.add("ReduceL2", x.name, g.axes(-1), keepdims=1)
    return g.add("Div", x.name, g.add("Max", length, g.number(epsilon, "f32")))


def _plain(number: Any) -> float:
    return float(number.constant) if isinstance(number, Size) else number


# ---- Reductions


def reduction(operation: str) -> Callable[..., str]:
    def reduced(g: Graph, x: Value, axis: Size, keep: bool) -> str:
        return g.add(operation, x.name, g.axes(axis.constant), keepdims=int(keep))

    return reduced


def argmax(g: Graph, x: Value, axis: Size, keep: bool) -> str:
    return g.add("Cast", g.add("ArgMax", x.name, axis=axis.constant, keepdims=int(keep)), to=TYPES["i32"])


def along(operation: str) -> Callable[..., str]:
    return lambda g, x, axis: g.add(operation, x.name, axis=axis.constant)


# ---- Shapes and indices


def reshape(g: Graph, x: Value, shape: tuple[Size, ...]) -> str:
    return g.add("Reshape", x.name, g.sizes(shape), **({"allowzero": 1} if Size(0) in shape else {}))


def permute(g: Graph, x: Value, axes: tuple[Size, ...]) -> str:
    return g.add("Transpose", x.name, perm=[each.constant for each in axes]) if axes else x.name


def expand(g: Graph, x: Value, shape: tuple[Size, ...]) -> str:
    return g.add("Expand", x.name, g.sizes(shape))


def concat(g: Graph, parts: tuple[Value, ...], axis: Size) -> str:
    return g.add("Concat", *(each.name for each in parts), axis=axis.constant)


def slice_(g: Graph, x: Value, axis: Size, start: Size, length: Size) -> str:
    return g.add("Slice", x.name, g.sizes([start]), g.sizes([start + length]), g.axes(axis.constant))


def embedding(g: Graph, weight: Value, ids: Value, dtype: str) -> str:
    return g.add("Gather", weight.name, ids.name, axis=0)


def index_select(g: Graph, x: Value, axis: Size, index: Value) -> str:
    return g.add("Gather", x.name, index.name, axis=axis.constant)


def gather(g: Graph, x: Value, axis: Size, index: Value) -> str:
    return g.add("GatherElements", x.name, index.name, axis=axis.constant)


def rotary(g: Graph, x: Value, cosine: Value, sine: Value) -> str:
    low, high = g.several("Split", 2, x.name, axis=-1, num_outputs=2)
    cos, sin = (g.add("Unsqueeze", each.name, g.axes(1)) for each in (cosine, sine))
    first = g.add("Sub", g.add("Mul", low, cos), g.add("Mul", high, sin))
    second = g.add("Add", g.add("Mul", high, cos), g.add("Mul", low, sin))
    return g.add("Concat", first, second, axis=-1)


# ---- Loss


def cross_entropy(g: Graph, logits: Value, targets: Value, ignored: Size, smoothing: Any, reduction: Size) -> str:
    """ONNX's own knows no smoothing."""
    logs = g.add("LogSoftmax", logits.name, axis=-1)
    hidden = g.add("Equal", targets.name, g.number(ignored, "i32"))
    known = g.add("Unsqueeze", g.add("Where", hidden, g.constant(0, "i32"), targets.name), g.axes(-1))
    right = g.add("Squeeze", g.add("GatherElements", logs, known, axis=-1), g.axes(-1))
    mean = g.add("ReduceMean", logs, g.axes(-1), keepdims=0)
    weight = _plain(smoothing)
    parts = [g.add("Mul", part, g.constant(share, "f32")) for part, share in ((right, weight - 1), (mean, -weight))]
    loss = g.add("Where", hidden, g.constant(0, "f32"), g.add("Add", *parts))
    if reduction.constant == c.SEAM_REDUCTION_NONE:
        return loss
    total = g.add("ReduceSum", loss, keepdims=0)
    if reduction.constant == c.SEAM_REDUCTION_SUM:
        return total
    counted = g.add("Cast", g.add("Not", hidden), to=TYPES["f32"])
    return g.add("Div", total, g.add("ReduceSum", counted, keepdims=0))


def same(operation: str) -> Callable[..., str]:
    """An operation that ONNX has, element by element."""
    return lambda g, *operands: g.add(operation, *(each.name for each in operands))


LOWERED: dict[str, Callable[..., str]] = {
    "stop_gradient": lambda g, x: x.name,
    "add": same("Add"),
    "sub": same("Sub"),
    "mul": same("Mul"),
    "div": same("Div"),
    "maximum": same("Max"),
    "minimum": same("Min"),
    "affine": affine,
    "where": where,
    "neg": same("Neg"),
    "exp": same("Exp"),
    "log": same("Log"),
    "sqrt": same("Sqrt"),
    "rsqrt": rsqrt,
    "square": lambda g, x: g.add("Mul", x.name, x.name),
    "abs": same("Abs"),
    "reciprocal": same("Reciprocal"),
    "tanh": same("Tanh"),
    "sigmoid": same("Sigmoid"),
    "relu": same("Relu"),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "cast": cast,
    "matmul": matmul,
    "linear": linear,
    "linear_low_rank": linear_low_rank,
    "attention": attention,
    "attention_with_prefix": attention_with_prefix,
    "softmax": along("Softmax"),
    "log_softmax": along("LogSoftmax"),
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "l2_normalize": l2_normalize,
    "sum": reduction("ReduceSum"),
    "mean": reduction("ReduceMean"),
    "max": reduction("ReduceMax"),
    "argmax": argmax,
    "reshape": reshape,
    "permute": permute,
    "expand": expand,
    "concat": concat,
    "slice": slice_,
    "embedding": embedding,
    "index_select": index_select,
    "gather": gather,
    "cross_entropy": cross_entropy,
    "rotary": rotary,
}
