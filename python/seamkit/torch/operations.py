"""The mathematics of the compute table (include/seam/ops.h), each operation as torch calls.

Everything computes in the dtype of its real operands, f32 (or f64, for a module that was made `double`): under autocast
the products run in half precision and come back in that dtype. Weights in bf16 or f16 are widened. Nothing is checked
here: `checks` does that when an adapter is traced, so that a traced step pays for nothing but its operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seamkit import _declarations as c


def affine(x: Tensor, scale: float, shift: float) -> Tensor:
    scaled = x if scale == 1 else x * scale
    return scaled if shift == 0 else scaled + shift


def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition != 0, a, b)


def gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def dropout(x: Tensor, p: float) -> Tensor:
    """Of a pass in training; in others there is no operation at all."""
    return F.dropout(x, p)


def stop_gradient(x: Tensor) -> Tensor:
    return x.detach()


def to_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype)


def matmul(a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> Tensor:
    return torch.matmul(a.mT if transpose_a else a, b.mT if transpose_b else b).to(a.dtype)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype)).to(x.dtype)


def linear_low_rank(y: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    return y + scale * linear(linear(x, a, None), b, None)


def attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, mask: Tensor | None, scale: float, causal: bool
) -> Tensor:
    """Written out, since torch's fused attention leaves open what a query gives that sees no key."""
    value = _repeated(value, query)
    scores, seen = _scores(query, key, bias, mask, scale, causal)
    weights = torch.softmax(scores, -1)
    # The factor makes the row of a query that sees no key zeros.
    return torch.matmul(weights if seen is None else weights * seen, value).to(query.dtype)


def _repeated(x: Tensor, query: Tensor) -> Tensor:
    """Each head as often as there are queries for it."""
    share = query.shape[1] // x.shape[1]
    return x.repeat_interleave(share, 1) if share > 1 else x


def _scores(
    query: Tensor, key: Tensor, bias: Tensor | None, mask: Tensor | None, scale: float, causal: bool
) -> tuple[Tensor, Tensor | None]:
    """And which of them are seen; None: all."""
    scores = torch.matmul(query, _repeated(key, query).mT).to(query.dtype) * scale
    if bias is not None:
        scores = scores + bias
    if mask is None and not causal:
        return scores, None
    queries, keys = scores.shape[-2:]
    seen = torch.ones(queries, keys, dtype=torch.bool, device=scores.device)
    if causal:
        seen = seen.tril(keys - queries)
    if mask is not None:
        seen = seen & (mask != 0)[:, None, None, :]
    # The least number in place of minus infinity keeps a row without any key free of NaN.
    return scores.masked_fill(~seen, torch.finfo(scores.dtype).min), seen


def attention_with_prefix(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefixes: list[Tensor],
    places: list[int],
    biases: list[Tensor],
    bias_places: list[int],
    routes: list[int] | None,
    bias: Tensor | None,
    mask: Tensor | None,
    scale: float,
    causal: bool,
) -> Tensor:
    """places, bias_places: for each route where its prefix and its bias are, -1 for none. routes: of each row; None: all
    rows take the first."""

    def attended(route: int, rows: slice) -> Tensor:
        def own(x: Tensor | None) -> Tensor | None:
            """Of these rows; a bias may be one for all."""
            return x if x is None or x.dim() < 4 or len(x) == 1 else x[rows]

        visible = None if mask is None else mask[rows]
        if places[route] < 0:
            return attention(query[rows], key[rows], value[rows], own(bias), visible, scale, causal)
        added = None if bias_places[route] < 0 else biases[bias_places[route]]
        return _over_both(
            query[rows], key[rows], value[rows], prefixes[places[route]], own(added), own(bias), visible, scale, causal
        )

    if routes is None:
        return attended(0, slice(None))
    return torch.cat([attended(routes[rows.start], rows) for rows in runs(routes)])


def runs(routes: list[int]) -> list[slice]:
    """The rows that stand next to each other and take the same route."""
    starts = [row for row in range(len(routes)) if row == 0 or routes[row] != routes[row - 1]]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(routes)], strict=True)]


def _over_both(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix: Tensor,
    prefix_bias: Tensor | None,
    bias: Tensor | None,
    mask: Tensor | None,
    scale: float,
    causal: bool,
) -> Tensor:
    """One softmax over the keys of a prefix [2, kv_heads, prefix, head_dim], which all rows share, and their own."""
    groups, length = prefix.shape[1:3]
    shape = [len(query), groups, query.shape[1] // groups, query.shape[2]]
    grouped = query.reshape(*shape, query.shape[3])
    before = torch.einsum("bgsqd,gpd->bgsqp", grouped, prefix[0]).flatten(1, 2).to(query.dtype) * scale
    if prefix_bias is not None:
        before = before + prefix_bias
    scores, _ = _scores(query, key, bias, mask, scale, causal)
    weights = torch.softmax(torch.cat([before, scores], -1), -1)
    shared = weights[..., :length].reshape(*shape, length)
    first = torch.einsum("bgsqp,gpd->bgsqd", shared, prefix[1]).flatten(1, 2)
    return (first + torch.matmul(weights[..., length:], _repeated(value, query))).to(query.dtype)


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], _as(weight, x), _as(bias, x), epsilon)


def rms_norm(x: Tensor, weight: Tensor | None, epsilon: float) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], _as(weight, x), epsilon)


def l2_normalize(x: Tensor, epsilon: float) -> Tensor:
    return F.normalize(x, dim=-1, eps=epsilon)


def argmax(x: Tensor, axis: int, keep: bool) -> Tensor:
    return torch.argmax(x, axis, keep).to(torch.int32)


def maximum_along(x: Tensor, axis: int, keep: bool) -> Tensor:
    """torch leaves open which of several maxima gets the gradient; the table says the first."""
    found = torch.gather(x, axis, torch.argmax(x, axis, True))
    return found if keep else found.squeeze(axis)


def expand(x: Tensor, shape: list[int]) -> Tensor:
    return x.expand(shape)


def concat(parts: list[Tensor], axis: int) -> Tensor:
    return torch.cat(parts, axis)


def embedding(weight: Tensor, ids: Tensor, dtype: torch.dtype) -> Tensor:
    return F.embedding(ids, weight).to(dtype)


def index_select(x: Tensor, axis: int, index: Tensor) -> Tensor:
    return torch.index_select(x, axis, index)


def gather(x: Tensor, axis: int, index: Tensor) -> Tensor:
    return torch.gather(x, axis, index.long())


def cross_entropy(logits: Tensor, targets: Tensor, ignore_index: int, label_smoothing: float, reduction: int) -> Tensor:
    """torch's own smoothing, whose mean over the classes is the table's, on rows."""
    rows, classes = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1).long()
    loss = F.cross_entropy(
        rows, classes, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=_REDUCTIONS[reduction]
    )
    return loss.reshape(targets.shape) if reduction == c.SEAM_REDUCTION_NONE else loss


def rotary(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    low, high = x.chunk(2, -1)
    cosine, sine = cosine.detach()[:, None], sine.detach()[:, None]
    return torch.cat([low * cosine - high * sine, high * cosine + low * sine], -1)


def _as(weight: Tensor | None, x: Tensor) -> Tensor | None:
    return None if weight is None else weight.to(x.dtype)


_REDUCTIONS = {c.SEAM_REDUCTION_NONE: "none", c.SEAM_REDUCTION_SUM: "sum", c.SEAM_REDUCTION_MEAN: "mean"}

# By name in the table, with how the C arguments behind the context are read: t a tensor, n one that may be NULL,
# i an integer, b a flag, d a double, s sizes and their count, a axes and their count, p tensors and their count.
OPERATIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "stop_gradient": (stop_gradient, "t"),
    "add": (torch.add, "tt"),
    "sub": (torch.sub, "tt"),
    "mul": (torch.mul, "tt"),
    "div": (torch.div, "tt"),
    "maximum": (torch.maximum, "tt"),
    "minimum": (torch.minimum, "tt"),
    "affine": (affine, "tdd"),
    "where": (where, "ttt"),
    "neg": (torch.neg, "t"),
    "exp": (torch.exp, "t"),
    "log": (torch.log, "t"),
    "sqrt": (torch.sqrt, "t"),
    "rsqrt": (torch.rsqrt, "t"),
    "square": (torch.square, "t"),
    "abs": (torch.abs, "t"),
    "reciprocal": (torch.reciprocal, "t"),
    "tanh": (torch.tanh, "t"),
    "sigmoid": (torch.sigmoid, "t"),
    "relu": (torch.relu, "t"),
    "gelu": (F.gelu, "t"),
    "gelu_tanh": (gelu_tanh, "t"),
    "silu": (F.silu, "t"),
    "matmul": (matmul, "ttbb"),
    "linear": (linear, "ttn"),
    "linear_low_rank": (linear_low_rank, "ttttd"),
    "attention": (attention, "tttnndb"),
    "softmax": (torch.softmax, "ti"),
    "log_softmax": (torch.log_softmax, "ti"),
    "layer_norm": (layer_norm, "tnnd"),
    "rms_norm": (rms_norm, "tnd"),
    "l2_normalize": (l2_normalize, "td"),
    "sum": (torch.sum, "tib"),
    "mean": (torch.mean, "tib"),
    "max": (maximum_along, "tib"),
    "argmax": (argmax, "tib"),
    "reshape": (torch.reshape, "ts"),
    "permute": (torch.permute, "ta"),
    "expand": (expand, "ts"),
    "concat": (concat, "pi"),
    "slice": (torch.narrow, "tiii"),
    "index_select": (index_select, "tit"),
    "gather": (gather, "tit"),
    "cross_entropy": (cross_entropy, "ttidi"),
    "rotary": (rotary, "ttt"),
}
