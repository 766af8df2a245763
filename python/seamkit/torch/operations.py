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
    share = query.shape[1] // key.shape[1]
    if share > 1:
        key, value = key.repeat_interleave(share, 1), value.repeat_interleave(share, 1)
    scores = torch.matmul(query, key.mT).to(query.dtype) * scale
    if bias is not None:
        scores = scores + bias
    if mask is None and not causal:
        return torch.matmul(torch.softmax(scores, -1), value).to(query.dtype)
    queries, keys = scores.shape[-2:]
    seen = torch.ones(queries, keys, dtype=torch.bool, device=scores.device)
    if causal:
        seen = seen.tril(keys - queries)
    if mask is not None:
        seen = seen & (mask != 0)[:, None, None, :]
    # The least number in place of minus infinity keeps a row without any key free of NaN; the factor makes it zeros.
    hidden = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    return torch.matmul(torch.softmax(hidden, -1) * seen, value).to(query.dtype)


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
