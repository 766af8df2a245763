"""Rows of the compute table's test: an operation, its operands, and the same in PyTorch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from seam_abi import Array, Half, c, constant, handles
from seam_objects import Pass, integers, sizes

random = np.random.default_rng(7)
Operand = Array | Half


@dataclass(frozen=True)
class Case:
    """f32 operands are leaves of the gradient; others are constants."""

    op: str
    detail: str
    operands: tuple[Operand, ...]
    run: Callable[..., Any]
    reference: Callable[..., torch.Tensor]

    def __str__(self) -> str:
        return f"{self.op}-{self.detail}"


def case(op: str, detail: str, operands: tuple[Operand, ...], reference: Any, *rest: Any, run: Any = None) -> Case:
    """`rest`: the arguments that follow the tensors."""
    return Case(op, detail, operands, run or (lambda p, *x: p.op(op, *x, *rest)), reference)


def normal(*shape: int) -> Array:
    return np.asarray(random.standard_normal(shape), np.float32)


def positive(*shape: int) -> Array:
    return np.asarray(random.uniform(0.2, 3, shape), np.float32)


def away_from_zero(*shape: int) -> Array:
    return positive(*shape) * np.asarray(random.choice([-1, 1], shape), np.float32)


def ids(most: int, *shape: int) -> Array:
    return np.asarray(random.integers(0, most, shape), np.int32)


def halves(*shape: int) -> dict[str, Half]:
    return {"bf16": Half.bf16(normal(*shape)), "f16": Half.f16(normal(*shape))}


# ---- Element-wise

BROADCASTS = [((3, 5), (3, 5)), ((2, 1, 7), (5, 1)), ((), (4,)), ((1,), (1,)), ((3, 1), (1, 4)), ((67,), (3, 67))]


def elementwise() -> Iterator[Case]:
    binary = {
        "add": torch.add,
        "sub": torch.sub,
        "mul": torch.mul,
        "div": torch.div,
        "maximum": torch.maximum,
        "minimum": torch.minimum,
    }
    for name, reference in binary.items():
        for a, b in BROADCASTS:
            yield case(name, f"{a}{b}", (normal(*a), away_from_zero(*b)), reference)
        equal = normal(4)
        yield case(name, "equal operands", (equal, equal.copy()), reference)
    yield case("affine", "", (normal(3, 5),), lambda x: x * 0.5 - 2, 0.5, -2.0)
    yield case("affine", "scalar", (normal(),), lambda x: x * -3 + 1, -3.0, 1.0)
    for a, b in BROADCASTS:
        yield case("where", f"{a}{b}", (ids(2, *a), normal(*b), normal(*a)), lambda c, x, y: torch.where(c != 0, x, y))
    yield from unary()


def unary() -> Iterator[Case]:
    anywhere = {
        "neg": torch.neg,
        "exp": torch.exp,
        "square": torch.square,
        "abs": torch.abs,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "relu": torch.relu,
        "gelu": F.gelu,
        "silu": F.silu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    }
    for name, reference in anywhere.items():
        for shape in [(3, 5), (), (1,), (67,)]:
            yield case(name, f"{shape}", (normal(*shape),), reference)
        yield case(name, "zero and large", (np.array([0, 1e-6, -1e-6, 12, -12, 30, -30], np.float32),), reference)
    for name in ("log", "sqrt", "rsqrt"):
        for shape in [(3, 5), (), (67,)]:
            yield case(name, f"{shape}", (positive(*shape),), getattr(torch, name))
    yield case("reciprocal", "", (away_from_zero(3, 5),), torch.reciprocal)


# ---- Matrix products


def matrices() -> Iterator[Case]:
    plain = [((3, 4), (4, 5)), ((1, 1), (1, 1)), ((7, 1), (1, 3)), ((2, 1, 3, 4), (5, 4, 2)), ((4,) * 2, (6, 4, 3))]
    for a, b in plain:
        for flags in [(0, 0), (1, 0), (0, 1), (1, 1)]:
            x, y = normal(*exchanged(a, flags[0])), normal(*exchanged(b, flags[1]))
            yield case("matmul", f"{a}{b}{flags}", (x, y), product(flags), *flags)
    yield case("matmul", "larger than a tile", (normal(65, 130), normal(130, 33)), torch.matmul, 0, 0)
    for shape in [(2, 3, 5), (5,), (1, 5), (40, 5)]:
        yield case("linear", f"{shape}", (normal(*shape), normal(7, 5)), F.linear, None)
        yield case("linear", f"{shape} bias", (normal(*shape), normal(7, 5), normal(7)), F.linear)
    for kind, weight in halves(7, 5).items():
        for rows in (1, 3, 40):
            yield case("linear", f"{kind} {rows}", (normal(rows, 5), weight, normal(7)), F.linear)
    for shape in [(2, 3, 5), (5,), (1, 5), (40, 5)]:
        for rank in (1, 2, 9):
            operands = (normal(*shape[:-1], 7), normal(*shape), normal(rank, 5), normal(7, rank))
            yield case("linear_low_rank", f"{shape} {rank}", operands, low_rank(-1.5), -1.5)
    for (kind, a), b in zip(halves(2, 5).items(), halves(7, 2).values(), strict=True):
        yield case("linear_low_rank", kind, (normal(3, 7), normal(3, 5), a, b), low_rank(0.5), 0.5)


def low_rank(scale: float) -> Callable[..., torch.Tensor]:
    return lambda y, x, a, b: y + scale * F.linear(F.linear(x, a), b)


def exchanged(shape: tuple[int, ...], flag: int) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if flag else shape


def product(flags: tuple[int, int]) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda a, b: (a.mT if flags[0] else a) @ (b.mT if flags[1] else b)


def attention() -> Iterator[Case]:
    b, h, q, k, dk, dv = 2, 4, 3, 5, 6, 7
    mask = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0]], np.int32)
    hidden = np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.int32)
    biases = {"": None, "full": (b, h, q, k), "shared": (1, h, q, k), "row": (1, 1, 1, k), "short": (q, k)}
    for groups in (4, 2, 1):
        heads = (normal(b, h, q, dk), normal(b, groups, k, dk), normal(b, groups, k, dv))
        for bias_name, shape in biases.items():
            for mask_name, visible in {"": None, "mask": mask, "nothing": hidden}.items():
                for causal in (0, 1):
                    bias = None if shape is None else normal(*shape)
                    yield attention_case(f"{groups} {bias_name} {mask_name} {causal}", heads, bias, visible, causal)
    one = (normal(1, 1, 1, 1), normal(1, 1, 1, 1), normal(1, 1, 1, 1))
    yield attention_case("one", one, None, None, 1)
    long = (normal(1, 2, 40, 16), normal(1, 2, 70, 16), normal(1, 2, 70, 16))
    yield attention_case("long", long, normal(1, 2, 40, 70), None, 1)
    more = (normal(1, 1, 5, 4), normal(1, 1, 3, 4), normal(1, 1, 3, 4))
    yield attention_case("more queries than keys", more, None, None, 1)


def positions() -> Iterator[Case]:
    shapes = [(2, 3, 5, 8), (1, 1, 1, 2), (2, 4, 1, 64), (3, 2, 33, 20)]
    for shape in shapes:
        for batch in {1, shape[0]}:
            angle = normal(batch, shape[2], shape[3] // 2)
            yield rotary_case(f"{shape} {batch}", normal(*shape), np.cos(angle), np.sin(angle))


def rotary_case(detail: str, x: Array, cosine: Array, sine: Array) -> Case:
    def reference(x: torch.Tensor) -> torch.Tensor:
        low, high = x.chunk(2, -1)
        c, s = (torch.from_numpy(each.astype(np.float64))[:, None] for each in (cosine, sine))
        return torch.cat([low * c - high * s, high * c + low * s], -1)

    return Case("rotary", detail, (x,), lambda p, x: p.op("rotary", x, p.constant(cosine), p.constant(sine)), reference)


def attention_case(detail: str, heads: tuple[Array, ...], bias: Array | None, mask: Array | None, causal: int) -> Case:
    given = [each for each in (bias, mask) if each is not None]

    def unpack(rest: tuple[Any, ...]) -> tuple[Any, Any]:
        left = list(rest)
        return (left.pop(0) if bias is not None else None), (left.pop(0) if mask is not None else None)

    def run(p: Pass, query: Any, key: Any, value: Any, *rest: Any) -> Any:
        return p.op("attention", query, key, value, *unpack(rest), 0.3, causal)

    def reference(query: Any, key: Any, value: Any, *rest: Any) -> torch.Tensor:
        return attend(query, key, value, *unpack(rest), 0.3, causal)

    return Case("attention", detail, (*heads, *given), run, reference)


def prefixes() -> Iterator[Case]:
    """Attention over a prefix of each row's route and the tokens' own keys."""
    b, h, k, d = 4, 4, 5, 6
    mask = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]], np.int32)
    for groups in (4, 2):
        for q in (1, 3):
            heads = (normal(b, h, q, d), normal(b, groups, k, d), normal(b, groups, k, d))
            for lengths, routes in (([3], None), ([3, 0, 2], [2, 0, 0, 1]), ([2, 4], [1, 0, 1, 0])):
                given = [None if length == 0 else normal(2, groups, length, d) for length in lengths]
                for biased in ("", "shared", "own"):
                    rows = b if biased == "own" else 1
                    bias = normal(rows, h, q, k) if biased else None
                    biases = [normal(rows, h, 1, length) if biased and length else None for length in lengths]
                    for visible, causal in ((None, 0), (mask, 1)):
                        # A row without a prefix whose keys are all hidden is a case of attention's own.
                        detail = f"{groups} {q} {lengths} {routes} {biased} {'mask' if causal else ''}"
                        yield prefix_case(detail, heads, given, routes, biases, bias, visible, causal)


def prefix_case(
    detail: str,
    heads: tuple[Array, ...],
    prefixes: list[Array | None],
    routes: list[int] | None,
    biases: list[Array | None],
    bias: Array | None,
    mask: Array | None,
    causal: int,
) -> Case:
    optional = [*prefixes, *biases, bias, mask]

    def unpack(rest: tuple[Any, ...]) -> tuple[list[Any], list[Any], Any, Any]:
        left = list(rest)
        found = [None if each is None else left.pop(0) for each in optional]
        return found[: len(prefixes)], found[len(prefixes) : -2], found[-2], found[-1]

    def run(p: Pass, query: Any, key: Any, value: Any, *rest: Any) -> Any:
        keys_values, of_prefixes, own, visible = unpack(rest)
        given = prefix(keys_values, routes)
        added = None if all(each is None for each in of_prefixes) else handles(of_prefixes)
        return p.op("attention_with_prefix", query, key, value, given, added, own, visible, 0.3, causal)

    def reference(query: Any, key: Any, value: Any, *rest: Any) -> torch.Tensor:
        """Row by row, each with its prefix before its own keys."""
        keys_values, of_prefixes, own, visible = unpack(rest)

        def row(x: Any, index: int) -> Any:
            return None if x is None else x if len(x) == 1 else x[index : index + 1]

        results = []
        for index in range(len(query)):
            route = 0 if routes is None else routes[index]
            before, added = keys_values[route], of_prefixes[route]
            both = [row(each, index) for each in (key, value)]
            length = 0 if before is None else before.shape[2]
            if before is not None:
                both = [torch.cat([part[None], each], 2) for part, each in zip(before, both, strict=True)]
            scores = row(query, index) @ both[0].repeat_interleave(query.shape[1] // key.shape[1], 1).mT * 0.3
            if own is not None:
                own_part = scores[..., length:] + row(own, index)
                first = scores[..., :length] if added is None else scores[..., :length] + row(added, index)
                scores = torch.cat([first, own_part], -1)
            queries, keys = query.shape[2], key.shape[2]
            seen = torch.ones(queries, keys, dtype=torch.bool)
            if causal:
                seen = seen.tril(keys - queries)
            if visible is not None:
                seen = seen & (visible[index] != 0)
            seen = torch.cat([torch.ones(queries, length, dtype=torch.bool), seen], 1)
            weights = torch.softmax(scores.masked_fill(~seen, -torch.inf), -1)
            results.append(weights @ both[1].repeat_interleave(query.shape[1] // key.shape[1], 1))
        return torch.cat(results)

    return Case(
        "attention_with_prefix", detail, (*heads, *(each for each in optional if each is not None)), run, reference
    )


def prefix(keys_values: list[Any], routes: list[int] | None = None) -> Any:
    """As the table reads it."""
    struct = c.seam_prefix(struct_size=ctypes.sizeof(c.seam_prefix), route_count=len(keys_values))
    struct.keys_values = handles(keys_values)
    if routes is not None:
        struct.routes, struct.row_count = integers(routes), len(routes)
    return ctypes.pointer(struct)


def attend(query: Any, key: Any, value: Any, bias: Any, mask: Any, scale: float, causal: int) -> torch.Tensor:
    """Attention as ops.h defines it, written out."""
    share = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(share, 1).mT * scale
    if bias is not None:
        scores = scores + bias
    queries, keys = scores.shape[-2:]
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries) if causal else torch.ones(queries, keys) > 0
    seen = seen.expand(scores.shape)
    if mask is not None:
        seen = seen & (mask != 0)[:, None, None, :]
    # A large negative number in place of infinity keeps a row without any key free of NaN.
    weights = torch.softmax(scores.masked_fill(~seen, -1e30), -1) * seen
    return weights @ value.repeat_interleave(share, 1)


# ---- Normalisation and reductions


def normalisation() -> Iterator[Case]:
    for name in ("softmax", "log_softmax"):
        for shape, axis in [((3, 5), -1), ((3, 5), 0), ((2, 4, 3), 1), ((7,), 0), ((2, 1), 1), ((3, 67), -1)]:
            yield case(
                name, f"{shape}{axis}", (normal(*shape),), lambda x, n=name, a=axis: getattr(torch, n)(x, a), axis
            )
        yield case(name, "large", (normal(3, 5) * 100,), lambda x, n=name: getattr(torch, n)(x, -1), -1)
    for shape in [(3, 5), (2, 3, 8), (6,), (2, 67)]:
        x, weight, bias, d = normal(*shape) * 3 + 1, normal(shape[-1]), normal(shape[-1]), shape[-1:]
        yield case(
            "layer_norm", f"{shape}", (x, weight, bias), lambda x, w, b, d=d: F.layer_norm(x, d, w, b, 1e-5), 1e-5
        )
        yield case(
            "layer_norm",
            f"{shape} weight",
            (x, weight),
            lambda x, w, d=d: F.layer_norm(x, d, w, None, 1e-5),
            None,
            1e-5,
        )
        yield case("layer_norm", f"{shape} none", (x,), lambda x, d=d: F.layer_norm(x, d, eps=1e-5), None, None, 1e-5)
        yield case(
            "layer_norm",
            f"{shape} bias",
            (x, bias),
            lambda x, b, d=d: F.layer_norm(x, d, None, b, 1e-5),
            run=lambda p, x, b: p.op("layer_norm", x, None, b, 1e-5),
        )
        yield case("rms_norm", f"{shape}", (x, weight), lambda x, w, d=d: F.rms_norm(x, d, w, 1e-6), 1e-6)
        yield case("rms_norm", f"{shape} none", (x,), lambda x, d=d: F.rms_norm(x, d, eps=1e-6), None, 1e-6)
        yield case("l2_normalize", f"{shape}", (x,), lambda x: F.normalize(x, dim=-1, eps=1e-12), 1e-12)
    yield case("l2_normalize", "below epsilon", (normal(2, 3) * 1e-3,), lambda x: F.normalize(x, dim=-1, eps=0.5), 0.5)


def reductions() -> Iterator[Case]:
    for shape, axis in [((3, 5), 0), ((3, 5), -1), ((2, 4, 3), 1), ((7,), 0), ((2, 1), 1), ((3, 130), 1)]:
        for keep in (0, 1):
            x, flag = normal(*shape), bool(keep)
            detail = f"{shape}{axis}{keep}"
            yield case("sum", detail, (x,), lambda x, a=axis, k=flag: x.sum(a, k), axis, keep)
            yield case("mean", detail, (x,), lambda x, a=axis, k=flag: x.mean(a, k), axis, keep)
            yield case("max", detail, (x,), lambda x, a=axis, k=flag: first_maximum(x, a, k), axis, keep)
            yield case("argmax", detail, (x,), lambda x, a=axis, k=flag: first_index(x, a, k), axis, keep)
    tied = np.array([[1, 3, 3], [2, 2, 2]], np.float32)
    yield case("max", "ties", (tied,), lambda x: first_maximum(x, 1, False), 1, 0)
    yield case("argmax", "ties", (tied,), lambda x: first_index(x, 1, False), 1, 0)


def first_index(x: torch.Tensor, axis: int, keep: bool) -> torch.Tensor:
    return torch.from_numpy(np.asarray(np.argmax(x.detach().numpy(), axis, keepdims=keep)))


def first_maximum(x: torch.Tensor, axis: int, keep: bool) -> torch.Tensor:
    """PyTorch leaves open which of several maxima gets the gradient; ops.h says the first."""
    found = x.gather(axis, first_index(x, axis, True))
    return found if keep else found.squeeze(axis)


# ---- Shapes and indices


def shapes() -> Iterator[Case]:
    for source, target in [((3, 4), (2, 6)), ((2, 3, 4), (6, -1)), ((), (1, 1)), ((4,), (-1,)), ((1,), ())]:
        x = normal(*source)
        yield case("reshape", f"{source}{target}", (x,), lambda x, t=target: x.reshape(t), sizes(target), len(target))
    for shape, axes in [((2, 3, 4), (2, 0, 1)), ((3, 5), (1, 0)), ((4,), (0,)), ((), ()), ((2, 1, 3, 2), (0, 2, 1, 3))]:
        yield case("permute", f"{axes}", (normal(*shape),), lambda x, a=axes: x.permute(a), integers(axes), len(axes))
    for source, target in [((1, 4), (3, 4)), ((4,), (2, 3, 4)), ((), (2, 2)), ((2, 1, 3), (2, 5, 3)), ((3,), (3,))]:
        x = normal(*source)
        yield case("expand", f"{source}{target}", (x,), lambda x, t=target: x.expand(t), sizes(target), len(target))
    for first, second, axis in [((2, 3), (2, 5), 1), ((2, 3), (4, 3), 0), ((1, 2, 3), (1, 2, 1), -1), ((2,), (3,), 0)]:
        yield case(
            "concat",
            f"{first}{second}",
            (normal(*first), normal(*second)),
            lambda *x, a=axis: torch.cat(x, a),
            run=lambda p, *x, a=axis: p.op("concat", handles(x), len(x), a),
        )
    for shape, axis, start, length in [((5, 3), 0, 1, 3), ((2, 7), -1, 6, 1), ((4,), 0, 0, 4), ((2, 3, 4), 1, 1, 2)]:
        yield case(
            "slice",
            f"{shape}{axis}{start}{length}",
            (normal(*shape),),
            lambda x, a=axis, s=start, n=length: x.narrow(a, s, n),
            axis,
            start,
            length,
        )
    for kind, x in {"i32": ids(99, 2, 3, 4), **halves(2, 3, 4)}.items():
        yield from shapes_of(kind, x)


def shapes_of(kind: str, x: Operand) -> Iterator[Case]:
    """The shape operations take any dtype; what comes out is compared as f32."""
    to_f32 = constant("SEAM_F32")
    operations: dict[str, tuple[tuple[Any, ...], Any]] = {
        "reshape": ((sizes([4, -1]), 2), lambda x: x.reshape(4, -1)),
        "permute": ((integers([2, 0, 1]), 3), lambda x: x.permute(2, 0, 1)),
        "expand": ((sizes([2, 2, 3, 4]), 4), lambda x: x.expand(2, 2, 3, 4)),
        "slice": ((1, 1, 2), lambda x: x.narrow(1, 1, 2)),
    }
    for name, (arguments, reference) in operations.items():
        yield case(
            name,
            kind,
            (x,),
            lambda x, r=reference: r(x).double(),
            run=lambda p, x, n=name, a=arguments: p.op("cast", p.op(n, x, *a), to_f32),
        )
    yield case(
        "concat",
        kind,
        (x, x),
        lambda *x: torch.cat(x, 1).double(),
        run=lambda p, *x: p.op("cast", p.op("concat", handles(x), 2, 1), to_f32),
    )


def indices() -> Iterator[Case]:
    for shape in [(4,), (2, 3), (), (1, 1), (3, 40)]:
        yield case("embedding", f"{shape}", (normal(6, 5), ids(6, *shape)), lambda w, i: F.embedding(i.long(), w))
    for kind, weight in halves(6, 5).items():
        yield case("embedding", kind, (weight, ids(6, 2, 3)), lambda w, i: F.embedding(i.long(), w))
    for shape, axis in [((4, 3), 0), ((2, 5, 3), 1), ((2, 5), -1), ((6,), 0)]:
        index = np.array([1, 0, 1], np.int32)
        yield case(
            "index_select",
            f"{shape}{axis}",
            (normal(*shape), index),
            lambda x, i, a=axis: x.index_select(a, i),
            run=lambda p, x, i, a=axis: p.op("index_select", x, a, i),
        )
    yield case(
        "index_select",
        "i32",
        (ids(9, 4, 3), ids(4, 5)),
        lambda x, i: x.index_select(0, i),
        run=lambda p, x, i: p.op("index_select", x, 0, i),
    )
    for shape, axis, count in [((4, 3), 0, 2), ((2, 5, 3), 1, 7), ((2, 5), -1, 1), ((6,), 0, 3)]:
        index = ids(2, *[count if i == axis % len(shape) else n for i, n in enumerate(shape)])
        yield case(
            "gather",
            f"{shape}{axis}",
            (normal(*shape), index),
            lambda x, i, a=axis: x.gather(a, i.long()),
            run=lambda p, x, i, a=axis: p.op("gather", x, a, i),
        )


# ---- Loss


def losses() -> Iterator[Case]:
    reductions = [constant("SEAM_REDUCTION_" + name) for name in ("NONE", "SUM", "MEAN")]
    for shape in [(2, 3, 7), (4, 7), (7,), (2, 1, 67)]:
        targets = ids(shape[-1], *shape[:-1])
        ignored = np.where(np.arange(targets.size).reshape(targets.shape) % 2 == 1, np.int32(-100), targets)
        for name, labels in {"all": targets, "ignored": ignored}.items():
            for smoothing in (0.0, 0.1):
                for kind in reductions:
                    arguments = (-100, smoothing, kind)
                    yield case(
                        "cross_entropy",
                        f"{shape} {name} {smoothing} {kind}",
                        (normal(*shape), labels),
                        lambda x, t, a=arguments: cross_entropy(x, t, *a),
                        *arguments,
                    )


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, ignored: int, smoothing: float, kind: int
) -> torch.Tensor:
    """The loss as ops.h defines it, written out."""
    logs = torch.log_softmax(logits, -1)
    counts = targets != ignored
    right = logs.gather(-1, targets.long().clamp(min=0).unsqueeze(-1)).squeeze(-1)
    loss = torch.where(counts, -(1 - smoothing) * right - smoothing * logs.mean(-1), torch.zeros_like(right))
    if kind == constant("SEAM_REDUCTION_NONE"):
        return loss
    return loss.sum() / (counts.sum() if kind == constant("SEAM_REDUCTION_MEAN") else 1)


def transfers() -> Iterator[Case]:
    for kind, values in halves(3, 5).items():
        yield case("cast", f"{kind} to f32", (values,), lambda x: x, constant("SEAM_F32"))
    fractions = np.array([1.9, -1.9, 0.5, 7], np.float32)
    yield case("cast", "f32 to i32", (fractions,), lambda x: x.detach().trunc().int(), constant("SEAM_I32"))
    yield case("cast", "f32 to f32", (normal(3, 5),), lambda x: x, constant("SEAM_F32"))
    yield case("cast", "i32 to f32", (ids(9, 3, 5),), lambda x: x.double(), constant("SEAM_F32"))
    yield case("stop_gradient", "", (normal(3, 5),), lambda x: x.detach())


GROUPS = (
    elementwise,
    matrices,
    attention,
    prefixes,
    positions,
    normalisation,
    reductions,
    shapes,
    indices,
    losses,
    transfers,
)
CASES = [each for group in GROUPS for each in group()]
