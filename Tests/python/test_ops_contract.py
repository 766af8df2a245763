"""What the compute table promises beside values: errors with a sentence, buffers, scopes, and that every operation has a
test."""
import ctypes

import numpy as np
import pytest
import torch

import test_ops
from engine import OPERATIONS, Pass, axes, enums, sizes, table, take
from seam_abi import SeamError

F32, I32, BF16 = enums["SEAM_F32"], enums["SEAM_I32"], enums["SEAM_BF16"]


class Recorder:
    """Stands for a pass and notes which operations a row calls."""

    def __init__(self):
        self.names = set()

    def __getattr__(self, name):
        self.names.add(name)
        return lambda *_: 1


# Tested by the functions of this file, or by every row (constants, export).
ELSEWHERE = {
    "status", "fail", "rank", "size", "dtype", "scope_begin", "scope_end", "full", "constant_f32", "constant_i32",
    "from_dlpack", "to_dlpack", "buffer_create", "buffer_release", "buffer_write", "buffer_read", "buffer_select",
}


def test_every_operation_has_a_row():
    recorder = Recorder()
    for parameters in test_ops.ROWS:
        operation, _, inputs, _, _ = parameters.values
        operation(recorder, *[1] * len(inputs))
    assert set(OPERATIONS) - recorder.names - ELSEWHERE == set()
    assert ELSEWHERE <= set(OPERATIONS)


def shaped(p, *shape):
    return p.full(1.0, F32, sizes(shape), len(shape))


def whole(p, *values):
    return p.constant(np.asarray(values, np.int32))


REFUSED = {
    "add shapes": (lambda p: p.add(shaped(p, 2, 3), shaped(p, 4)), "SEAM_SHAPE", ["add", "[2, 3]", "[4]"]),
    "add i32": (lambda p: p.add(shaped(p, 2), whole(p, 1, 2)), "SEAM_SHAPE", ["add", "i32"]),
    "exp i32": (lambda p: p.exp(whole(p, 1)), "SEAM_SHAPE", ["exp", "i32"]),
    "where condition": (lambda p: p.where(shaped(p, 2), shaped(p, 2), shaped(p, 2)), "SEAM_SHAPE", ["where"]),
    "matmul": (lambda p: p.matmul(shaped(p, 2, 3), shaped(p, 4, 5), 0, 0), "SEAM_SHAPE", ["matmul", "[2, 3]", "[4, 5]"]),
    "matmul vector": (lambda p: p.matmul(shaped(p, 3), shaped(p, 3, 5), 0, 0), "SEAM_SHAPE", ["matmul"]),
    "linear": (lambda p: p.linear(shaped(p, 2, 3), shaped(p, 5, 4), None), "SEAM_SHAPE", ["linear"]),
    "linear bias": (lambda p: p.linear(shaped(p, 2, 3), shaped(p, 5, 3), shaped(p, 4)), "SEAM_SHAPE", ["linear"]),
    "attention heads": (
        lambda p: p.attention(shaped(p, 1, 3, 2, 4), shaped(p, 1, 2, 2, 4), shaped(p, 1, 2, 2, 4), None, None, 1.0, 0),
        "SEAM_SHAPE", ["attention"]),
    "attention bias": (
        lambda p: p.attention(shaped(p, 1, 2, 2, 4), shaped(p, 1, 2, 3, 4), shaped(p, 1, 2, 3, 4), shaped(p, 2, 2), None,
                              1.0, 0), "SEAM_SHAPE", ["attention"]),
    "attention mask": (
        lambda p: p.attention(shaped(p, 1, 2, 2, 4), shaped(p, 1, 2, 3, 4), shaped(p, 1, 2, 3, 4), None,
                              whole(p, 1, 1), 1.0, 0), "SEAM_SHAPE", ["attention"]),
    "softmax axis": (lambda p: p.softmax(shaped(p, 2, 3), 2), "SEAM_SHAPE", ["softmax", "axis"]),
    "layer_norm weight": (lambda p: p.layer_norm(shaped(p, 2, 3), shaped(p, 2), None, 1e-5), "SEAM_SHAPE", ["layer_norm"]),
    "layer_norm scalar": (lambda p: p.layer_norm(shaped(p), None, None, 1e-5), "SEAM_SHAPE", ["layer_norm"]),
    "rms_norm weight": (lambda p: p.rms_norm(shaped(p, 2, 3), shaped(p, 4), 1e-5), "SEAM_SHAPE", ["rms_norm"]),
    "sum axis": (lambda p: p.sum(shaped(p, 2, 3), -3, 0), "SEAM_SHAPE", ["sum", "axis"]),
    "max of nothing": (lambda p: p.max(shaped(p, 2, 0), 1, 0), "SEAM_SHAPE", ["max"]),
    "argmax of nothing": (lambda p: p.argmax(shaped(p, 0), 0, 0), "SEAM_SHAPE", ["argmax"]),
    "reshape": (lambda p: p.reshape(shaped(p, 2, 3), sizes([4, 2]), 2), "SEAM_SHAPE", ["reshape", "[2, 3]", "[4, 2]"]),
    "reshape two unknown": (lambda p: p.reshape(shaped(p, 2, 3), sizes([-1, -1]), 2), "SEAM_SHAPE", ["reshape"]),
    "reshape rank": (lambda p: p.reshape(shaped(p, 1), sizes([1] * 9), 9), "SEAM_SHAPE", ["rank"]),
    "reshape negative": (lambda p: p.reshape(shaped(p, 6), sizes([-2, -3]), 2), "SEAM_SHAPE", ["reshape"]),
    "permute": (lambda p: p.permute(shaped(p, 2, 3), axes([0, 0]), 2), "SEAM_SHAPE", ["permute"]),
    "permute rank": (lambda p: p.permute(shaped(p, 2, 3), axes([0]), 1), "SEAM_SHAPE", ["permute"]),
    "permute range": (lambda p: p.permute(shaped(p, 2, 3), axes([0, 5]), 2), "SEAM_SHAPE", ["permute"]),
    "expand": (lambda p: p.expand(shaped(p, 2, 3), sizes([4, 3]), 2), "SEAM_SHAPE", ["expand"]),
    "expand to nothing real": (lambda p: p.expand(shaped(p, 1), sizes([2**40, 2**40]), 2), "SEAM_SHAPE", ["expand"]),
    "reshape overflow": (lambda p: p.reshape(shaped(p, 1), sizes([2**40, 2**40]), 2), "SEAM_SHAPE", ["reshape"]),
    "broadcast overflow": (
        lambda p: p.add(p.expand(shaped(p, 1, 1), sizes([2**38, 1]), 2), p.expand(shaped(p, 1, 1), sizes([1, 2**38]), 2)),
        "SEAM_OUT_OF_MEMORY", ["too large"]),
    "expand negative": (lambda p: p.expand(shaped(p, 1), sizes([-4]), 1), "SEAM_SHAPE", ["expand"]),
    "concat": (lambda p: test_ops.concatenated(p, 0, shaped(p, 2, 3), shaped(p, 2, 4)), "SEAM_SHAPE", ["concat"]),
    "concat nothing": (lambda p: p.concat(None, 0, 0), "SEAM_INVALID_ARGUMENT", ["concat"]),
    "concat dtypes": (lambda p: test_ops.concatenated(p, 0, shaped(p, 2), whole(p, 1, 2)), "SEAM_SHAPE", ["concat"]),
    "slice": (lambda p: p.slice(shaped(p, 2, 3), 1, 2, 2), "SEAM_SHAPE", ["slice"]),
    "slice negative": (lambda p: p.slice(shaped(p, 2, 3), 1, -1, 1), "SEAM_SHAPE", ["slice"]),
    "slice overflow": (lambda p: p.slice(shaped(p, 2, 3), 1, 1, 2**63 - 1), "SEAM_SHAPE", ["slice"]),
    "embedding id": (lambda p: p.embedding(shaped(p, 4, 2), whole(p, 1, 4)), "SEAM_INVALID_ARGUMENT", ["embedding", "4"]),
    "embedding negative": (lambda p: p.embedding(shaped(p, 4, 2), whole(p, -1)), "SEAM_INVALID_ARGUMENT", ["-1"]),
    "embedding floats": (lambda p: p.embedding(shaped(p, 4, 2), shaped(p, 2)), "SEAM_SHAPE", ["embedding"]),
    "index_select": (lambda p: p.index_select(shaped(p, 2, 3), 1, whole(p, 3)), "SEAM_INVALID_ARGUMENT", ["index_select"]),
    "gather": (lambda p: p.gather(shaped(p, 2, 3), 1, whole(p, 0)), "SEAM_SHAPE", ["gather"]),
    "gather range": (
        lambda p: p.gather(shaped(p, 1, 3), 1, p.constant(np.array([[7]], np.int32))), "SEAM_INVALID_ARGUMENT", ["gather"]),
    "cross_entropy target": (
        lambda p: p.cross_entropy(shaped(p, 1, 3), whole(p, 3), -100, 0.0, 0), "SEAM_INVALID_ARGUMENT", ["cross_entropy", "3"]),
    "cross_entropy shape": (
        lambda p: p.cross_entropy(shaped(p, 2, 3), whole(p, 0), -100, 0.0, 0), "SEAM_SHAPE", ["cross_entropy"]),
    "cross_entropy nothing": (
        lambda p: p.cross_entropy(shaped(p, 1, 3), whole(p, -100), -100, 0.0, 2), "SEAM_INVALID_ARGUMENT", ["cross_entropy"]),
    "cross_entropy reduction": (
        lambda p: p.cross_entropy(shaped(p, 1, 3), whole(p, 0), -100, 0.0, 9), "SEAM_INVALID_ARGUMENT", ["reduction 9"]),
    "full negative": (lambda p: p.full(0.0, F32, sizes([-1]), 1), "SEAM_SHAPE", ["full"]),
    "full huge": (lambda p: p.full(0.0, F32, sizes([2**40, 2**40]), 2), "SEAM_SHAPE", ["full"]),
    "full dtype": (lambda p: p.full(0.0, 77, sizes([1]), 1), "SEAM_INVALID_ARGUMENT", ["dtype 77"]),
    "full bf16": (lambda p: p.full(0.0, BF16, sizes([1]), 1), "SEAM_UNSUPPORTED", ["bf16"]),
    "cast to bf16": (lambda p: p.cast(shaped(p, 1), BF16), "SEAM_UNSUPPORTED", ["cast"]),
    "null operand": (lambda p: p.add(None, shaped(p, 1)), "SEAM_PLUGIN", ["add: an operand is NULL"]),
    "fail": (lambda p: p.fail(enums["SEAM_CANCELLED"], b"enough"), "SEAM_CANCELLED", ["enough"]),
    "scope": (lambda p: p.scope_end(None, 0), "SEAM_PLUGIN", ["no open scope"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    operation, code, parts = REFUSED[name]
    with Pass() as p:
        assert operation(p) is None
        with pytest.raises(SeamError) as caught:
            p.check()
        assert caught.value.status == enums[code], caught.value.message
        for part in parts:
            assert part in caught.value.message
        assert p.status() == enums[code]
        # Latched: later operations do nothing and the first error stays.
        assert shaped(p, 1) is None
        assert p.fail(enums["SEAM_IO"], b"later") is None
        assert p.status() == enums[code]


def test_metadata_and_constants():
    with Pass() as p:
        x = p.full(-2.7, I32, sizes([2, 3]), 2)
        assert (p.rank(x), p.size(x, 0), p.size(x, -1), p.size(x, 2), p.size(x, -3), p.dtype(x)) == (2, 2, 3, -1, -1, I32)
        assert (p.rank(None), p.size(None, 0), p.dtype(None)) == (-1, -1, -1)
        assert p.array(x).tolist() == [[-2] * 3] * 2
        assert p.array(p.cast(x, F32)).tolist() == [[-2.0] * 3] * 2
        assert p.array(p.cast(p.constant(np.array([1.9, -1.9, 0.0], np.float32)), I32)).tolist() == [1, -1, 0]
        half = p.half(torch.tensor([1.5, -2.0], dtype=torch.float16))
        assert p.dtype(half) == enums["SEAM_F16"]
        assert p.array(whole(p, 3)).tolist() == [3]
        assert p.array(p.permute(p.constant(np.arange(6, dtype=np.int32).reshape(2, 3)), axes([1, 0]), 2)).tolist() == [
            [0, 3], [1, 4], [2, 5]]
        assert p.status() == 0


def test_half_weights_through_shape_operations():
    """Shape operations take any dtype."""
    values = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    for dtype in (torch.bfloat16, torch.float16):
        with Pass() as p:
            w = p.half(values.to(dtype))
            pieces = [
                (p.permute(w, axes([1, 0]), 2), values.T), (p.slice(w, 1, 1, 2), values[:, 1:]),
                (p.reshape(p.permute(w, axes([1, 0]), 2), sizes([6]), 1), values.T.reshape(6)),
                (test_ops.concatenated(p, 0, w, w), torch.cat([values, values])),
                (p.expand(p.slice(w, 0, 0, 1), sizes([3, 3]), 2), values[:1].expand(3, 3)),
            ]
            p.check()
            for handle, expected in pieces:
                assert p.array(p.cast(handle, F32)).tolist() == expected.tolist()


def reference_or_refusal(make, convert, layout):
    """Every float input of every row, one at a time, given as another dtype: the right values or a sentence."""
    for parameters in test_ops.ROWS:
        operation, reference, inputs, tolerance, _ = parameters.values
        for replaced, source in enumerate(inputs):
            if not isinstance(source, tuple) or 0 in source:
                continue
            generator = np.random.default_rng(5)
            with Pass(records=False) as p:
                handles, tensors = [], []
                for number, other in enumerate(inputs):
                    if isinstance(other, test_ops.Integers):
                        handles.append(p.constant(other.values))
                        tensors.append(torch.tensor(other.values))
                        continue
                    shape = other if isinstance(other, tuple) else getattr(other, "shape", None)
                    values = generator.normal(size=shape) if shape is not None else other(generator)
                    if number == replaced:
                        values = convert(torch.tensor(2 * np.asarray(values)))
                        turned = values.ndim > 1 and layout == "permuted"
                        order = list(reversed(range(values.ndim)))
                        handle = make(p, values.permute(order).contiguous() if turned else values)
                        handles.append(p.permute(handle, axes(order), values.ndim) if turned else handle)
                        tensors.append(values.double())
                    else:
                        values = np.asarray(values, np.float32)
                        handles.append(p.constant(values))
                        tensors.append(torch.tensor(values, dtype=torch.float64))
                result = operation(p, *handles)
                name = f"{parameters.id}, input {replaced}"
                if result is None:
                    with pytest.raises(SeamError) as caught:
                        p.check()
                    assert caught.value.status in (enums["SEAM_SHAPE"], enums["SEAM_UNSUPPORTED"]), name
                    continue
                expected = reference(*tensors).detach().numpy()
                if p.dtype(result) in (enums["SEAM_BF16"], enums["SEAM_F16"]):
                    result = p.cast(result, F32)
                test_ops.close(p.array(result), expected, 2e-5, name)


@pytest.mark.parametrize("layout", ["plain", "permuted"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_right_or_refused(dtype, layout):
    reference_or_refusal(lambda p, values: p.half(values), lambda values: values.to(dtype), layout)


@pytest.mark.parametrize("layout", ["plain", "permuted"])
def test_integers_are_right_or_refused(layout):
    reference_or_refusal(lambda p, values: p.constant(values.numpy()), lambda values: values.to(torch.int32), layout)


def test_scopes_release_all_but_what_is_kept():
    with Pass() as p:
        p.scope_begin()
        kept = shaped(p, 3)
        for _ in range(10):
            p.exp(kept)
        p.scope_begin()
        inner = p.affine(kept, 2.0, 0.0)
        p.scope_end((ctypes.c_void_p * 2)(inner, None), 2)
        p.scope_end((ctypes.c_void_p * 2)(kept, inner), 2)
        assert p.array(p.add(kept, inner)).tolist() == [3.0, 3.0, 3.0]
        p.check()


def test_buffers():
    with Pass(records=False) as p:
        buffer = p.buffer_create(F32, sizes([2, 4, 3]), 3)
        first = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
        assert p.buffer_write(buffer, 1, 1, p.constant(first)) == 0
        expected = np.zeros((2, 4, 3), np.float32)
        expected[:, 1:3] = first
        assert (p.array(p.buffer_read(buffer, 1, 4)) == expected).all()
        assert (p.array(p.buffer_read(buffer, 1, 2)) == expected[:, :2]).all()
        # Strided sources are written through their strides.
        turned = p.permute(p.constant(np.ascontiguousarray(first.transpose(2, 1, 0))), axes([2, 1, 0]), 3)
        assert p.buffer_write(buffer, 1, 2, turned) == 0
        expected[:, 2:4] = first
        assert (p.array(p.buffer_read(buffer, 1, 4)) == expected).all()
        rows = axes([1, 1, 0])
        assert p.buffer_select(buffer, rows, 3) == 0
        assert (p.array(p.buffer_read(buffer, 1, 4)) == expected[[1, 1, 0]]).all()
        # A buffer outlives its pass.
    with Pass(records=False) as p:
        assert p.array(p.buffer_read(buffer, 1, 4)).shape == (3, 4, 3)
        assert p.buffer_write(buffer, 1, 3, shaped(p, 3, 2, 3)) == enums["SEAM_SHAPE"]
        with pytest.raises(SeamError, match="buffer_write"):
            p.check()
    with Pass(records=False) as p:
        assert p.buffer_select(buffer, axes([3]), 1) == enums["SEAM_INVALID_ARGUMENT"]
    with Pass(records=False) as p:
        assert p.buffer_read(buffer, 1, 5) is None
        with pytest.raises(SeamError, match="buffer_read"):
            p.check()
    with Pass(records=False) as p:
        assert p.buffer_create(BF16, sizes([2]), 1) is None
    table.buffer_release(buffer)


def test_null_context_does_nothing():
    """No operation crashes without a context."""
    for name in OPERATIONS:
        function = getattr(table, name)
        if name == "from_dlpack":
            continue
        arguments = [None if kind in (ctypes.c_void_p, ctypes.c_char_p) else kind(0) for kind in function.argtypes]
        assert function(*arguments) in (None, -1, enums["SEAM_PLUGIN"]), name


def test_exported_tensors_outlive_the_pass():
    with Pass() as p:
        exported = p.to_dlpack(p.constant(np.array([1, 2, 3], np.float32)))
    assert take(exported).tolist() == [1, 2, 3]
