"""The compute table at its edges: other dtypes than an operation is for, tensors without elements, sizes that overflow."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from op_cases import CASES, Case, Operand, case, normal
from seam_abi import Half, SeamError, c, constant, handles
from seam_objects import Pass, Runtime, integers, sizes
from test_ops import Operands, assert_close, exact, failure

CONVERSIONS: dict[str, Callable[[Any], Operand]] = {
    "bf16": Half.bf16,
    "f16": Half.f16,
    "i32": lambda values: np.asarray(np.rint(3 * values), np.int32),
}


@pytest.mark.parametrize("strided", [False, True], ids=["contiguous", "strided"])
@pytest.mark.parametrize("kind", CONVERSIONS)
def test_another_dtype_is_right_or_refused(runtime: Runtime, kind: str, strided: bool) -> None:
    """Every f32 operand of every case, one at a time, given as another dtype: the right values or a sentence, never
    memory read as something else."""
    refusals = {constant(name) for name in ("SEAM_SHAPE", "SEAM_UNSUPPORTED")}
    for each in CASES:
        for index, operand in enumerate(each.operands):
            if isinstance(operand, Half) or operand.dtype != np.float32:
                continue
            operands = [*each.operands]
            operands[index] = CONVERSIONS[kind](operand)
            references = [exact(x) for x in operands]
            references[index] = references[index].double()
            given = Operands(Pass(runtime, record_gradients=False), tuple(operands), strided)
            check_right_or_refused(each, given, references, refusals, f"{each}, operand {index} as {kind}")


def check_right_or_refused(
    each: Case, given: Operands, references: list[torch.Tensor], refusals: set[int], what: str
) -> None:
    p = given.pass_
    result = each.run(p, *given.handles)
    if not result:
        with pytest.raises(SeamError) as caught:
            p.check()
        assert caught.value.code in refusals, f"{what}: {caught.value.message}"
        return
    if p.op("dtype", result) in (constant("SEAM_BF16"), constant("SEAM_F16")):
        result = p.op("cast", result, constant("SEAM_F32"))
    assert_close(p.numpy(result), each.reference(*references).detach().numpy(), what)


EMPTY = [
    case("matmul", "no inner size", (normal(2, 3, 0), normal(0, 4)), torch.matmul, 0, 0),
    case("matmul", "no inner size, flat", (normal(3, 0), normal(0, 4)), torch.matmul, 0, 0),
    case("linear", "no inputs", (normal(2, 0), normal(3, 0), normal(3)), torch.nn.functional.linear),
    case(
        "linear_low_rank",
        "no rank",
        (normal(2, 3), normal(2, 4), normal(0, 4), normal(3, 0)),
        lambda y, x, a, b: y + (x @ a.T) @ b.T,
        2.0,
    ),
    case(
        "concat",
        "an empty part",
        (normal(0, 2), normal(3, 2)),
        lambda *x: torch.cat(x),
        run=lambda p, *x: p.op("concat", handles(x), 2, 0),
    ),
    case("slice", "nothing", (normal(3, 4),), lambda x: x[2:2], 0, 2, 0),
    case("reshape", "of nothing", (normal(0, 4),), lambda x: x.reshape(2, 0), sizes([2, -1]), 2),
    case("add", "nothing", (normal(0, 3), normal(3)), torch.add),
]


@pytest.mark.parametrize("each", EMPTY, ids=str)
def test_no_elements(runtime: Runtime, each: Case) -> None:
    p = Pass(runtime)
    operands = Operands(p, each.operands, False)
    result = each.run(p, *operands.handles)
    references = [exact(x) for x in each.operands]
    expected = each.reference(*references)
    assert_close(p.numpy(result), expected.detach().numpy(), "forward")
    p.backward(result, p.constant(np.ones(expected.shape, np.float32)))
    expected.sum().backward()
    for index, reference in enumerate(references):
        found = operands.gradient(index)
        assert_close(np.zeros(reference.shape) if found is None else found, reference.grad.numpy(), f"operand {index}")


def huge(p: Pass, *shape: int) -> Any:
    one = p.op("reshape", p.constant(normal(1)), sizes([1] * len(shape)), len(shape))
    return p.op("expand", one, sizes(shape), len(shape))


def in_buffer(p: Pass, use: Callable[[Any], Any], *shape: int) -> None:
    shape = shape or (4,)
    buffer = p.op("buffer_create", 0, sizes(shape), len(shape))
    use(buffer)
    p.table.buffer_release(buffer)


LIMITS: dict[str, tuple[Callable[[Pass, Any], Any], str]] = {
    "expand to a negative size": (lambda p, x: p.op("expand", x, sizes([-4]), 1), "expand"),
    "expand beyond counting": (lambda p, x: huge(p, 1 << 40, 1 << 40), "expand"),
    "reshape to negative sizes": (lambda p, x: p.op("reshape", x, sizes([-2, -3]), 2), "reshape"),
    "reshape beyond counting": (lambda p, x: p.op("reshape", x, sizes([1 << 40, 1 << 40]), 2), "reshape"),
    "broadcast beyond counting": (lambda p, x: p.op("add", huge(p, 1 << 38, 1), huge(p, 1, 1 << 38)), "too large"),
    "broadcast beyond memory": (lambda p, x: p.op("add", huge(p, 1 << 20, 1), huge(p, 1, 1 << 19)), "memory"),
    "full beyond counting": (lambda p, x: p.op("full", 0.0, 0, sizes([1 << 40, 1 << 40]), 2), "full"),
    "slice beyond counting": (lambda p, x: p.op("slice", x, 0, 1, (1 << 63) - 1), "slice"),
    "slice before the start": (lambda p, x: p.op("slice", x, 0, -1, 1), "slice"),
    "permute by other axes": (lambda p, x: p.op("permute", x, integers([3]), 1), "permute"),
    "sum of nothing": (lambda p, x: p.op("sum", p.constant(normal(2, 0)), 1, 0), "empty"),
    "maximum of nothing": (lambda p, x: p.op("max", p.constant(normal(2, 0)), 1, 0), "max"),
    "first maximum of nothing": (lambda p, x: p.op("argmax", p.constant(normal(0)), 0, 0), "argmax"),
    "concat of nothing": (lambda p, x: p.op("concat", None, 0, 0), "concat"),
    "nine axes by embedding": (
        lambda p, x: p.op("embedding", p.constant(normal(2, 2)), p.constant(np.zeros([1] * 8, np.int32))),
        "embedding",
    ),
    "an id below zero": (
        lambda p, x: p.op("embedding", p.constant(normal(2, 2)), p.constant(np.array([-1], np.int32))),
        "-1",
    ),
    "sizes beside none": (lambda p, x: p.op("full", 0.0, 0, sizes([0, 1 << 62, 1 << 62]), 3), "too many elements"),
    "a constant beyond memory": (
        lambda p, x: p.op("constant_f32", (ctypes.c_float * 1)(), sizes([10**11]), 1),
        "memory",
    ),
    "no number as i32": (lambda p, x: p.op("full", float("nan"), 3, sizes([1]), 1), "does not fit i32"),
    "a number beyond i32": (lambda p, x: p.op("full", 1e10, 3, sizes([1]), 1), "does not fit i32"),
    "parts beyond counting": (
        lambda p, x: p.op("concat", handles([x]), (1 << 64) - 1, 0),
        "concat: the number of parts must be at most 1048576, found 18446744073709551615",
    ),
    "kept tensors beyond counting": (
        lambda p, x: (p.op("scope_begin"), p.op("scope_end", handles([x]), (1 << 64) - 1))[1],
        "scope_end: the number of kept tensors must be at most 1048576, found 18446744073709551615",
    ),
    "a buffer beyond memory": (lambda p, x: p.op("buffer_create", 0, sizes([10**11]), 1), "memory"),
    "written behind a buffer": (
        lambda p, x: in_buffer(p, lambda buffer: p.op("buffer_write", buffer, 0, (1 << 63) - 1, x)),
        "buffer_write",
    ),
    "read behind a buffer": (
        lambda p, x: in_buffer(p, lambda buffer: p.op("buffer_read", buffer, 0, (1 << 63) - 1)),
        "buffer_read",
    ),
    "rows beyond counting": (
        lambda p, x: in_buffer(p, lambda buffer: p.op("buffer_select", buffer, integers([0]), (1 << 63) - 1)),
        "buffer_select: the number of rows must be at most 1048576, found 9223372036854775807",
    ),
    "starts behind a buffer": (
        lambda p, x: in_buffer(
            p,
            lambda buffer: p.op("buffer_write_rows", buffer, 1, sizes([0, (1 << 63) - 1]), 2, p.constant(normal(2, 1))),
            *(2, 3),
        ),
        "9223372036854775807",
    ),
    "starts beyond counting": (
        lambda p, x: in_buffer(
            p,
            lambda buffer: p.op("buffer_write_rows", buffer, 1, sizes([0]), (1 << 63) - 1, p.constant(normal(2, 1))),
            *(2, 3),
        ),
        "buffer_write_rows: the number of rows must be at most 1048576, found 9223372036854775807",
    ),
    "starts for fewer rows": (
        lambda p, x: in_buffer(
            p, lambda buffer: p.op("buffer_write_rows", buffer, 1, sizes([0]), 1, p.constant(normal(2, 1))), *(2, 3)
        ),
        "which has 2 rows",
    ),
    "starts along the rows": (
        lambda p, x: in_buffer(
            p, lambda buffer: p.op("buffer_write_rows", buffer, 0, sizes([0, 0]), 2, p.constant(normal(1, 3))), *(2, 3)
        ),
        "buffer_write_rows: the axis must not be 0",
    ),
    "rows of another buffer along the rows": (
        lambda p, x: in_buffer(p, lambda buffer: p.op("buffer_append", buffer, 0, buffer), *(2, 3)),
        "buffer_append",
    ),
    "rows of another type": (
        lambda p, x: in_buffer(
            p, lambda buffer: p.op("buffer_append", buffer, 1, p.op("buffer_create", 3, sizes([2, 3]), 2)), *(2, 3)
        ),
        "does not fit behind",
    ),
    "rows of no buffer": (
        lambda p, x: in_buffer(p, lambda buffer: p.op("buffer_append", buffer, 1, None), *(2, 3)),
        "NULL",
    ),
    "low-rank matrices of two ranks": (
        lambda p, x: p.op("linear_low_rank", x, x, p.constant(normal(2, 1)), p.constant(normal(1, 3)), 1.0),
        "linear_low_rank: a [rank, in] and b [out, rank] do not fit each other: found [2, 1] f32 and [1, 3] f32",
    ),
    "a low-rank update of another width": (
        lambda p, x: p.op("linear_low_rank", x, x, p.constant(normal(2, 1)), p.constant(normal(3, 2)), 1.0),
        "linear_low_rank: y [1] and x [1] do not fit a [2, 1] and b [3, 2]",
    ),
    "no classes": (
        lambda p, x: p.op("cross_entropy", p.constant(normal(2, 0)), p.constant(np.zeros(2, np.int32)), -100, 0.0, 1),
        "cross_entropy",
    ),
    "a scope that was not begun": (lambda p, x: p.op("scope_end", None, 0), "no open scope"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_gives_a_sentence(runtime: Runtime, name: str) -> None:
    run, part = LIMITS[name]
    p = Pass(runtime)
    assert not run(p, p.constant(normal(1)))
    assert part in failure(p)


def test_no_context(runtime: Runtime) -> None:
    """Nothing crashes without a context."""
    table = Pass(runtime).table
    for name, kind in c.seam_ops._fields_:
        if not issubclass(kind, ctypes._CFuncPtr):
            continue
        function = getattr(table, name)
        arguments = [each(0) if issubclass(each, ctypes._SimpleCData) else None for each in function.argtypes]
        assert not function(*arguments) or function(*arguments) in (-1, constant("SEAM_PLUGIN")), name
