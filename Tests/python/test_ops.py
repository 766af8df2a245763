"""Every function of the compute table, forward and gradient, against PyTorch in double precision."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from op_cases import CASES, Case, Operand, normal, prefix
from seam_abi import Array, Half, SeamError, c, constant, handles, lend, lent_count
from seam_objects import Pass, Runtime, integers, sizes

# Of the largest element. One f32 rounding is 6e-8; the longest sums here have some hundred terms, and the engine's
# exponential is good to 2 units in the last place, so a correct result stays an order of magnitude below this.
TOLERANCE = 5e-6

tested = {each.op for each in CASES}


def covers(*names: str) -> Callable[[Any], Any]:
    """Marks a test as the one of these functions of the table."""
    tested.update(names)
    return lambda test: test


def assert_close(found: Array, expected: Array, what: str) -> None:
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    error = float(np.abs(found - expected).max(initial=0)) / scale
    assert error <= TOLERANCE, f"{what}: off by {error:.2e} of the largest element"


def exact(operand: Operand) -> torch.Tensor:
    """An operand for the reference; f32 ones are leaves in f64."""
    if isinstance(operand, Half):
        return torch.from_numpy(operand.floats().astype(np.float64))
    if operand.dtype == np.int32:
        return torch.from_numpy(operand.copy())
    return torch.from_numpy(operand.astype(np.float64)).requires_grad_()


def reversed_axes(operand: Operand) -> Operand:
    if isinstance(operand, Half):
        return Half(operand.bits.T.copy(), operand.code)
    return operand.T.copy()


class Operands:
    """A case's operands in a pass; strided ones lie in memory with their axes reversed and are permuted back."""

    def __init__(self, pass_: Pass, operands: tuple[Operand, ...], strided: bool):
        self.pass_, self.strided = pass_, strided
        self.sources = [self.source(reversed_axes(each) if strided else each) for each in operands]
        self.handles = [self.viewed(each) for each in self.sources] if strided else self.sources

    def source(self, operand: Operand) -> Any:
        is_float = isinstance(operand, np.ndarray) and operand.dtype == np.float32
        return self.pass_.leaf(operand) if is_float else self.pass_.constant(operand)

    def viewed(self, source: Any) -> Any:
        rank = self.pass_.op("rank", source)
        return self.pass_.op("permute", source, integers(range(rank)[::-1]), rank)

    def gradient(self, index: int) -> Array | None:
        found = self.pass_.gradient(self.sources[index])
        return found if found is None or not self.strided else found.T


@pytest.mark.parametrize("strided", [False, True], ids=["contiguous", "strided"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_operation(runtime: Runtime, case: Case, strided: bool) -> None:
    pass_ = Pass(runtime)
    operands = Operands(pass_, case.operands, strided)
    result = case.run(pass_, *operands.handles)
    references = [exact(each) for each in case.operands]
    expected = case.reference(*references)
    assert_close(pass_.numpy(result), expected.detach().numpy(), "forward")
    if not expected.requires_grad:
        return
    seed = np.asarray(np.random.default_rng(1).standard_normal(expected.shape), np.float32)
    pass_.backward(result, pass_.constant(seed))
    expected.backward(torch.from_numpy(seed.astype(np.float64)))
    for index, reference in enumerate(references):
        if reference.requires_grad:
            found = operands.gradient(index)
            assert found is not None, f"no gradient reached operand {index}"
            assert_close(found, reference.grad.numpy(), f"gradient of operand {index}")


# ---- The rest of the table


@covers("constant_f32", "constant_i32", "full", "rank", "size", "dtype")
def test_constants(runtime: Runtime) -> None:
    p = Pass(runtime)
    floats, ints = (ctypes.c_float * 6)(*range(6)), (ctypes.c_int32 * 3)(7, -8, 9)
    x = p.op("constant_f32", floats, sizes([2, 3]), 2)
    floats[0] = 99  # copied, so later changes do not matter
    assert p.numpy(x).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert p.numpy(p.op("constant_i32", ints, sizes([3]), 1)).tolist() == [7, -8, 9]
    assert p.numpy(p.op("full", 2.5, constant("SEAM_F32"), sizes([]), 0)).tolist() == 2.5
    assert p.numpy(p.op("full", -3.0, constant("SEAM_I32"), sizes([1, 2]), 2)).tolist() == [[-3, -3]]
    assert p.op("rank", x) == 2 and p.op("dtype", x) == constant("SEAM_F32")
    assert [p.op("size", x, axis) for axis in (0, 1, -1, -2, 2, -3)] == [2, 3, 3, 2, -1, -1]
    missing = None
    assert (p.op("rank", missing), p.op("size", missing, 0), p.op("dtype", missing)) == (-1, -1, -1)


@covers("from_dlpack", "to_dlpack")
def test_dlpack_borrows_and_gives_back(runtime: Runtime) -> None:
    before = lent_count()
    values = normal(3, 4)
    p = Pass(runtime)
    x = p.constant(values)
    assert np.shares_memory(p.numpy(x), values), "a contiguous f32 array must not be copied"
    assert p.numpy(p.constant(values[:, ::2])).tolist() == values[:, ::2].tolist()
    kept = p.numpy(p.op("permute", x, integers([1, 0]), 2))
    p.close()
    assert kept.tolist() == values.T.tolist(), "an exported tensor outlives its pass"
    del kept  # in PyTorch it was lent, too
    assert lent_count() == before, "every borrowed tensor is given back"


def test_dlpack_is_given_back_on_failure(runtime: Runtime) -> None:
    before = lent_count()
    p = Pass(runtime)
    assert not p.constant(np.zeros(3, np.float64))
    p.op("fail", constant("SEAM_PLUGIN"), b"x")
    assert not p.constant(normal(3))
    assert lent_count() == before


@covers("scope_begin", "scope_end")
def test_scopes_keep_what_is_asked(runtime: Runtime) -> None:
    for record in (False, True):
        p = Pass(runtime, record)
        x = p.leaf(normal(2, 3))
        p.op("scope_begin")
        inner = p.op("square", x)
        p.op("scope_begin")
        deep = p.op("exp", inner)
        p.op("scope_end", handles([deep, None]), 2)
        kept = p.op("sum", p.op("sum", deep, -1, 0), -1, 0)
        p.op("scope_end", handles([kept]), 1)
        values = p.numpy(x).astype(np.float64)
        assert_close(p.numpy(kept), np.exp(values**2).sum(), "kept")
        if record:
            p.backward(kept)
            assert_close(p.gradient(x), 2 * values * np.exp(values**2), "gradient through scopes")


@covers("buffer_create", "buffer_release", "buffer_write", "buffer_read", "buffer_select")
@pytest.mark.parametrize("kind", ["SEAM_F32", "SEAM_I32"])
def test_buffers_outlive_a_pass(runtime: Runtime, kind: str) -> None:
    first, second = Pass(runtime, False), Pass(runtime, False)
    numpy_kind = np.float32 if kind == "SEAM_F32" else np.int32
    expected = np.zeros((2, 3, 5), numpy_kind)
    buffer = first.op("buffer_create", constant(kind), sizes([2, 3, 5]), 3)
    assert first.numpy(first.op("buffer_read", buffer, 2, 5)).tolist() == expected.tolist(), "zero-filled"
    written = np.arange(12).reshape(2, 3, 2).astype(numpy_kind)
    assert first.op("buffer_write", buffer, -1, 1, first.constant(written)) == 0
    expected[:, :, 1:3] = written
    first.close()
    strided = second.op("permute", second.constant(written), integers([0, 1, 2]), 3)
    second.op("buffer_write", buffer, 2, 3, strided)
    expected[:, :, 3:5] = written
    assert second.numpy(second.op("buffer_read", buffer, 2, 4)).tolist() == expected[:, :, :4].tolist()
    assert second.op("buffer_select", buffer, integers([1, 0, 1]), 3) == 0
    assert second.numpy(second.op("buffer_read", buffer, 0, 3)).tolist() == expected[[1, 0, 1]].tolist()
    assert second.op("buffer_select", buffer, integers([2]), 1) == 0
    assert second.numpy(second.op("buffer_read", buffer, 1, 2)).tolist() == expected[[1], :2].tolist()
    second.op("buffer_write", buffer, 2, 4, second.constant(written[:1]))
    with pytest.raises(SeamError, match="buffer"):
        second.check()
    second.table.buffer_release(buffer)


@covers("buffer_write_rows", "buffer_append")
@pytest.mark.parametrize("kind", ["SEAM_F32", "SEAM_I32"])
def test_rows_join_a_buffer(runtime: Runtime, kind: str) -> None:
    """Each row is written at a start of its own; rows of a shorter and of a longer buffer come behind, filled up with 0."""
    p = Pass(runtime, False)
    numpy_kind = np.float32 if kind == "SEAM_F32" else np.int32

    def made(rows: int, length: int) -> tuple[Any, np.ndarray]:
        buffer = p.op("buffer_create", constant(kind), sizes([rows, 3, length, 2]), 4)
        values = np.arange(1, 1 + rows * 3 * length * 2).reshape(rows, 3, length, 2).astype(numpy_kind)
        assert p.op("buffer_write", buffer, 2, 0, p.constant(values)) == 0
        return buffer, values

    buffer, expected = made(2, 4)
    written = -np.arange(1, 25).reshape(2, 3, 2, 2).astype(numpy_kind)
    turned = p.op("permute", p.constant(written.transpose(2, 1, 0, 3).copy()), integers([2, 1, 0, 3]), 4)
    assert p.op("buffer_write_rows", buffer, -2, sizes([2, 0]), 2, turned) == 0
    expected[0, :, 2:4], expected[1, :, :2] = written[0], written[1]
    assert p.numpy(p.op("buffer_read", buffer, 2, 4)).tolist() == expected.tolist()
    for rows, length in [(1, 3), (3, 6), (1, 6)]:
        other, values = made(rows, length)
        assert p.op("buffer_append", buffer, 2, other) == 0
        long = max(length, expected.shape[2])
        filled = [np.pad(x, [(0, 0), (0, 0), (0, long - x.shape[2]), (0, 0)]) for x in (expected, values)]
        expected = np.concatenate(filled)
        assert p.numpy(p.op("buffer_read", buffer, 2, long)).tolist() == expected.tolist()
        assert p.numpy(p.op("buffer_read", other, 2, length)).tolist() == values.tolist(), "left as it is"
        p.table.buffer_release(other)
    assert p.op("buffer_append", buffer, 2, buffer) == 0
    assert p.numpy(p.op("buffer_read", buffer, 0, 14)).tolist() == [*expected.tolist(), *expected.tolist()]
    p.op("buffer_append", buffer, 0, buffer)
    with pytest.raises(SeamError, match="buffer_append"):
        p.check()
    p.table.buffer_release(buffer)


@covers("status", "fail")
def test_the_first_failure_is_kept(runtime: Runtime) -> None:
    p = Pass(runtime)
    x = p.constant(normal(2, 3))
    assert p.op("status") == constant("SEAM_OK")
    assert not p.op("fail", constant("SEAM_NUMERIC"), b"the first failure")
    assert not p.op("fail", constant("SEAM_SHAPE"), b"the second failure")
    assert not p.op("square", x) and not p.op("matmul", x, x, 0, 0)
    assert p.op("status") == constant("SEAM_NUMERIC")
    with pytest.raises(SeamError) as caught:
        p.check()
    assert (caught.value.code, caught.value.message) == (constant("SEAM_NUMERIC"), "the first failure")


def test_a_null_operand_gives_null(runtime: Runtime) -> None:
    """Every operation takes the NULL of one that failed, and adds no failure of its own."""
    p = Pass(runtime)
    x, missing = p.constant(normal(2, 2)), None
    first = p.op("matmul", x, p.constant(normal(3, 2)), 0, 0)
    assert not first
    message = failure(p)
    assert not p.op("add", x, missing) and not p.op("add", missing, x) and not p.op("softmax", missing, 0)
    assert failure(p) == message


def failure(pass_: Pass) -> str:
    with pytest.raises(SeamError) as caught:
        pass_.check()
    return caught.value.message


def behind(p: Pass, given: Any, biases: Any = None, **members: Any) -> Any:
    """Two rows of three queries of two heads of keys of one, behind a prefix whose struct has these members."""
    for name, value in members.items():
        setattr(given.contents, name, value)
    query, own = p.constant(normal(2, 2, 3, 4)), p.constant(normal(2, 1, 5, 4))
    return p.op("attention_with_prefix", query, own, own, given, biases, None, None, 1.0, 0)


WRONG: dict[str, tuple[Callable[[Pass, Any, Any], Any], list[str]]] = {
    "add": (lambda p, x, i: p.op("add", x, p.constant(normal(4))), ["add", "[2, 3]", "[4]"]),
    "add dtypes": (lambda p, x, i: p.op("add", x, i), ["add", "i32"]),
    "matmul": (lambda p, x, i: p.op("matmul", x, x, 0, 0), ["matmul", "[2, 3]"]),
    "linear": (lambda p, x, i: p.op("linear", x, p.constant(normal(4, 4)), None), ["linear", "[4, 4]"]),
    "softmax": (lambda p, x, i: p.op("softmax", x, 2), ["softmax", "axis"]),
    "embedding": (lambda p, x, i: p.op("embedding", x, p.constant(np.array([0, 2], np.int32))), ["embedding", "2"]),
    "embedding ids": (lambda p, x, i: p.op("embedding", x, x), ["embedding", "i32", "f32"]),
    "reshape": (lambda p, x, i: p.op("reshape", x, sizes([4, 2]), 2), ["reshape", "[2, 3]", "[4, 2]"]),
    "reshape twice unknown": (lambda p, x, i: p.op("reshape", x, sizes([-1, -1]), 2), ["reshape", "-1"]),
    "permute": (lambda p, x, i: p.op("permute", x, integers([0, 0]), 2), ["permute", "[0, 0]"]),
    "slice": (lambda p, x, i: p.op("slice", x, 1, 2, 2), ["slice", "3"]),
    "expand": (lambda p, x, i: p.op("expand", x, sizes([2, 4]), 2), ["expand", "[2, 3]", "[2, 4]"]),
    "concat": (lambda p, x, i: p.op("concat", handles([x, p.constant(normal(3, 2))]), 2, 0), ["concat"]),
    "gather": (lambda p, x, i: p.op("gather", x, 0, i), ["gather"]),
    "index_select": (
        lambda p, x, i: p.op("index_select", x, 0, p.constant(np.array([5], np.int32))),
        ["index_select", "5"],
    ),
    "cross_entropy": (lambda p, x, i: p.op("cross_entropy", x, i, -100, 0.0, 2), ["cross_entropy"]),
    "no target counts": (
        lambda p, x, i: p.op("cross_entropy", x, p.constant(np.full(2, -100, np.int32)), -100, 0.0, 2),
        ["cross_entropy"],
    ),
    "cast": (lambda p, x, i: p.op("cast", x, 17), ["cast", "17"]),
    "rank": (lambda p, x, i: p.op("full", 0.0, 0, sizes([1] * 9), 9), ["full", "9"]),
    "negative size": (lambda p, x, i: p.op("full", 0.0, 0, sizes([-2]), 1), ["full", "-2"]),
    "layer_norm": (lambda p, x, i: p.op("layer_norm", x, p.constant(normal(2)), None, 1e-5), ["layer_norm", "[2]"]),
    "attention": (lambda p, x, i: p.op("attention", x, x, x, None, None, 1.0, 0), ["attention"]),
    "a prefix of another shape": (
        lambda p, x, i: behind(p, prefix([p.constant(normal(2, 1, 3, 5))])),
        ["attention_with_prefix: keys_values of route 0", "[2, 1, prefix, 4]", "[2, 1, 3, 5]"],
    ),
    "a prefix of another rank": (
        lambda p, x, i: behind(p, prefix([x])),
        ["attention_with_prefix: keys_values of route 0", "[2, 3]"],
    ),
    "no routes": (lambda p, x, i: behind(p, prefix([])), ["attention_with_prefix", "one route or more, found 0"]),
    "routes of other rows": (
        lambda p, x, i: behind(p, prefix([None], [0, 0, 0])),
        ["attention_with_prefix", "each of the 2 rows, found 3"],
    ),
    "a route that is not there": (
        lambda p, x, i: behind(p, prefix([None, None], [0, 2])),
        ["attention_with_prefix", "the route of row 1 must be 0 ... 1, found 2"],
    ),
    "a negative route": (
        lambda p, x, i: behind(p, prefix([None, None], [-1, 0])),
        ["attention_with_prefix", "the route of row 0 must be 0 ... 1, found -1"],
    ),
    "a prefix that is NULL": (lambda p, x, i: behind(p, None), ["attention_with_prefix: the prefix is NULL"]),
    "a short seam_prefix": (
        lambda p, x, i: behind(p, prefix([None]), struct_size=24),
        ["struct_size of the seam_prefix of attention_with_prefix must be at least 32, found 24"],
    ),
    "keys_values that are NULL": (
        lambda p, x, i: behind(p, prefix([None]), keys_values=None),
        ["attention_with_prefix: the prefix has 1 routes and gives NULL for keys_values"],
    ),
    "routes that are NULL": (
        lambda p, x, i: behind(p, prefix([None]), row_count=2),
        ["attention_with_prefix: the prefix has 2 rows and gives NULL for routes"],
    ),
    "too many routes": (
        lambda p, x, i: behind(p, prefix([None]), route_count=(1 << 32) - 1),
        ["attention_with_prefix: the number of routes must be at most 1048576, found 4294967295"],
    ),
    "too many rows": (
        lambda p, x, i: behind(p, prefix([None], [0, 0]), row_count=(1 << 64) - 1),
        ["attention_with_prefix: the number of rows must be at most 1048576, found 18446744073709551615"],
    ),
    "a bias of a prefix": (
        lambda p, x, i: behind(p, prefix([p.constant(normal(2, 1, 3, 4))]), handles([x])),
        ["attention_with_prefix: prefix_biases of route 0", "[2, 3]", "[2, 2, 3, 3]"],
    ),
    "dropout": (lambda p, x, i: p.op("dropout", x, 1.5), ["dropout: p", "0 ... 1", "1.5"]),
    "dropout NaN": (lambda p, x, i: p.op("dropout", x, math.nan), ["dropout: p", "0 ... 1", "nan"]),
    "dropout dtype": (lambda p, x, i: p.op("dropout", i, 0.5), ["dropout: dtype must be f32", "i32"]),
    "rotary": (lambda p, x, i: p.op("rotary", x, x, x), ["rotary", "[2, 3]"]),
    "rotary sine": (
        lambda p, x, i: p.op(
            "rotary", p.constant(normal(1, 1, 3, 4)), p.constant(normal(1, 3, 2)), p.constant(normal(3, 2))
        ),
        ["rotary", "[1, 1, 3, 4]", "[1, 3, 2]", "[3, 2]"],
    ),
}


@covers("dropout")
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_dropout_where_nothing_is_trained(runtime: Runtime, p: float) -> None:
    pass_ = Pass(runtime)
    x = normal(3, 5)
    assert (pass_.numpy(pass_.op("dropout", pass_.constant(x), p)) == x).all()


@pytest.mark.parametrize("name", WRONG)
def test_wrong_operands_give_a_sentence(runtime: Runtime, name: str) -> None:
    run, parts = WRONG[name]
    p = Pass(runtime)
    assert not run(p, p.constant(normal(2, 3)), p.constant(np.zeros((3, 2), np.int32)))
    message = failure(p)
    assert all(part in message for part in parts), message


def test_the_whole_table_is_tested() -> None:
    functions = {name for name, kind in c.seam_ops._fields_ if issubclass(kind, ctypes._CFuncPtr)}
    assert functions - tested == set() and tested <= functions


def test_half_precision_is_lent_as_it_is(runtime: Runtime) -> None:
    p = Pass(runtime)
    assert p.op("dtype", p.op("from_dlpack", lend(Half.bf16(normal(3))))) == constant("SEAM_BF16")
    assert p.op("dtype", p.op("from_dlpack", lend(Half.f16(normal(3))))) == constant("SEAM_F16")
