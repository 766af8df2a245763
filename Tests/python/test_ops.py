"""Every operation of the native engine's compute table against torch in float64, values and gradients.

The engine computes in f32: the largest difference may be 2e-5 of the largest entry expected, or what a row says.
Every row runs with its float inputs as they are, as permuted views and as slices of something larger.
"""
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine import Pass, axes, enums, sizes

TOLERANCE = 2e-5
NONE, SUM, MEAN = (enums["SEAM_REDUCTION_" + n] for n in ("NONE", "SUM", "MEAN"))


class Integers:
    """An i32 input, the same in both worlds."""

    def __init__(self, values):
        self.values = np.asarray(values, np.int32)


class Half:
    """A weight in bf16 or f16, without gradient; rounded values are what the reference uses."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, dtype


def positive(*shape):
    return lambda generator: generator.uniform(0.2, 3, shape)


def fixed(values):
    return lambda generator: np.asarray(values, np.float64)


ROWS = []


def row(name, operation, reference, *inputs, tolerance=TOLERANCE, differentiable=True):
    """`operation(p, handles...)` must be `reference(tensors...)`. An input is a shape (normal numbers), a function of a
    random generator, Integers or Half."""
    ROWS.append(pytest.param(operation, reference, inputs, tolerance, differentiable, id=name))


# ---- Element-wise

for _name, _reference in {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "maximum": torch.maximum, "minimum": torch.minimum,
}.items():
    for _shapes in [((3, 5), (3, 5)), ((2, 3, 5), (5,)), ((4, 1, 3), (5, 1)), ((), (7, 3)), ((1, 1), (6, 7))]:
        row(f"{_name} {_shapes}", lambda p, a, b, n=_name: getattr(p, n)(a, b), _reference, *_shapes)
row("maximum tie", lambda p, a, b: p.maximum(a, b), torch.maximum, fixed([1, 2, 3, -4]), fixed([1, 5, 3, -6]))
row("minimum tie", lambda p, a, b: p.minimum(a, b), torch.minimum, fixed([1, 2, 3, -4]), fixed([1, 5, 3, -6]))
row("div", lambda p, a, b: p.div(a, b), torch.div, (3, 4, 5), positive(4, 1))
row("div same", lambda p, a, b: p.div(a, b), torch.div, (33,), positive(33))
row("add itself", lambda p, a: p.add(a, a), lambda a: a + a, (3, 5))
row("mul itself", lambda p, a: p.mul(a, a), lambda a: a * a, (3, 5))
row("affine", lambda p, x: p.affine(x, -2.5, 0.75), lambda x: -2.5 * x + 0.75, (3, 5, 7))
row("where", lambda p, c, a, b: p.where(c, a, b), lambda c, a, b: torch.where(c != 0, a, b),
    Integers([[1], [0], [-3]]), (3, 5), (5,))
row("where scalars", lambda p, c, a, b: p.where(c, a, b), lambda c, a, b: torch.where(c != 0, a, b),
    Integers(np.arange(12).reshape(2, 2, 3) % 3), (), (2, 1, 3))
for _name, _reference, _kind in [
    ("neg", torch.neg, None), ("exp", torch.exp, None), ("log", torch.log, positive), ("sqrt", torch.sqrt, positive),
    ("rsqrt", torch.rsqrt, positive), ("square", torch.square, None), ("abs", torch.abs, None),
    ("reciprocal", torch.reciprocal, positive), ("tanh", torch.tanh, None), ("sigmoid", torch.sigmoid, None),
    ("relu", torch.relu, None), ("gelu", F.gelu, None),
    ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), None), ("silu", F.silu, None),
]:
    for _shape in [(), (1,), (3, 5, 7), (129,)]:
        _input = _kind(*_shape) if _kind else _shape
        row(f"{_name} {_shape}", lambda p, x, n=_name: getattr(p, n)(x), _reference, _input)
_wide = fixed([-100, -30, -9, -1e-4, 0, 1e-4, 9, 30, 100])
for _name, _reference in {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "gelu": F.gelu, "silu": F.silu,
                          "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "relu": torch.relu}.items():
    row(f"{_name} saturated", lambda p, x, n=_name: getattr(p, n)(x), _reference, _wide)

# ---- Matrix products

for _a, _b, _ta, _tb in [
    ((3, 5), (5, 7), 0, 0), ((5, 3), (5, 7), 1, 0), ((3, 5), (7, 5), 0, 1), ((5, 3), (7, 5), 1, 1),
    ((2, 3, 5), (2, 5, 4), 0, 0), ((2, 1, 3, 5), (4, 5, 6), 0, 0), ((4, 3, 5), (5, 6), 0, 0), ((1, 7), (7, 1), 0, 0),
    ((3, 5), (2, 5, 4), 0, 0), ((2, 5, 3), (7, 5), 1, 1), ((33, 65), (65, 17), 0, 0), ((2, 3, 0), (0, 4), 0, 0),
]:
    row(f"matmul {_a} {_b} {_ta}{_tb}", lambda p, a, b, ta=_ta, tb=_tb: p.matmul(a, b, ta, tb),
        lambda a, b, ta=_ta, tb=_tb: (a.mT if ta else a) @ (b.mT if tb else b), _a, _b)
row("linear", lambda p, x, w, b: p.linear(x, w, b), F.linear, (2, 3, 5), (7, 5), (7,))
row("linear without bias", lambda p, x, w: p.linear(x, w, None), F.linear, (4, 33), (17, 33))
row("linear vector", lambda p, x, w, b: p.linear(x, w, b), F.linear, (5,), (7, 5), (7,))
row("linear from nothing", lambda p, x, w, b: p.linear(x, w, b), F.linear, (2, 0), (3, 0), (3,))
for _half in (torch.bfloat16, torch.float16):
    row(f"linear {_half}", lambda p, x, w, b: p.linear(x, w, b), F.linear, (2, 3, 33), Half((17, 33), _half), (17,))
    row(f"linear one row {_half}", lambda p, x, w: p.linear(x, w, None), F.linear, (1, 64), Half((9, 64), _half))
    row(f"embedding {_half}", lambda p, w, i: p.embedding(w, i), lambda w, i: w[i.long()], Half((11, 5), _half),
        Integers([[0, 10, 3], [3, 3, 7]]), differentiable=False)
    row(f"cast {_half}", lambda p, x: p.cast(x, enums["SEAM_F32"]), lambda x: x, Half((3, 7), _half),
        differentiable=False)


def attention(query, key, value, bias=None, mask=None, scale=1.0, causal=False):
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = scale * query @ key.mT
    if bias is not None:
        scores = scores + bias
    hidden = torch.zeros(scores.shape, dtype=torch.bool)
    if mask is not None:
        hidden |= (mask == 0)[:, None, None, :]
    if causal:
        last = torch.arange(query.shape[2])[:, None] + key.shape[2] - query.shape[2]
        hidden |= torch.arange(key.shape[2])[None, :] > last
    weights = torch.softmax(scores.masked_fill(hidden, -1e30), -1).masked_fill(hidden, 0)
    return weights @ value


_mask = Integers([[1, 1, 0, 1, 0], [0, 0, 1, 1, 1]])
_blind = Integers([[0, 0, 0, 0, 0], [1, 0, 1, 1, 1]])
row("attention", lambda p, q, k, v: p.attention(q, k, v, None, None, 0.5, 0),
    lambda q, k, v: attention(q, k, v, scale=0.5), (2, 3, 4, 6), (2, 3, 5, 6), (2, 3, 5, 7))
row("attention grouped heads", lambda p, q, k, v: p.attention(q, k, v, None, None, 0.3, 0),
    lambda q, k, v: attention(q, k, v, scale=0.3), (2, 6, 4, 5), (2, 2, 5, 5), (2, 2, 5, 3))
row("attention causal", lambda p, q, k, v: p.attention(q, k, v, None, None, 0.4, 1),
    lambda q, k, v: attention(q, k, v, scale=0.4, causal=True), (2, 3, 5, 6), (2, 3, 5, 6), (2, 3, 5, 7))
row("attention causal, longer keys", lambda p, q, k, v: p.attention(q, k, v, None, None, 0.4, 1),
    lambda q, k, v: attention(q, k, v, scale=0.4, causal=True), (1, 2, 3, 6), (1, 2, 7, 6), (1, 2, 7, 6))
row("attention causal, shorter keys", lambda p, q, k, v: p.attention(q, k, v, None, None, 0.4, 1),
    lambda q, k, v: attention(q, k, v, scale=0.4, causal=True), (1, 2, 5, 6), (1, 2, 3, 6), (1, 2, 3, 6))
row("attention mask", lambda p, q, k, v, m: p.attention(q, k, v, None, m, 0.5, 0),
    lambda q, k, v, m: attention(q, k, v, mask=m, scale=0.5), (2, 3, 4, 6), (2, 3, 5, 6), (2, 3, 5, 7), _mask)
row("attention that sees nothing", lambda p, q, k, v, m: p.attention(q, k, v, None, m, 0.5, 0),
    lambda q, k, v, m: attention(q, k, v, mask=m, scale=0.5), (2, 3, 4, 6), (2, 3, 5, 6), (2, 3, 5, 7), _blind)
for _shape in [(2, 6, 4, 5), (1, 6, 4, 5), (6, 4, 5), (4, 5), (2, 1, 1, 5), (5,)]:
    row(f"attention bias {_shape}", lambda p, q, k, v, b: p.attention(q, k, v, b, None, 1.0, 0),
        lambda q, k, v, b: attention(q, k, v, bias=b), (2, 6, 4, 5), (2, 3, 5, 5), (2, 3, 5, 4), _shape)
row("attention with everything", lambda p, q, k, v, b, m: p.attention(q, k, v, b, m, 0.7, 1),
    lambda q, k, v, b, m: attention(q, k, v, b, m, 0.7, True), (2, 4, 5, 6), (2, 2, 5, 6), (2, 2, 5, 6), (1, 4, 5, 5),
    _mask)

# ---- Normalisation

for _shape, _axis in [((3, 5), -1), ((3, 5), 0), ((2, 3, 5), 1), ((129,), 0), ((4, 1), -1)]:
    row(f"softmax {_shape} {_axis}", lambda p, x, a=_axis: p.softmax(x, a),
        lambda x, a=_axis: torch.softmax(x, a), _shape)
    row(f"log_softmax {_shape} {_axis}", lambda p, x, a=_axis: p.log_softmax(x, a),
        lambda x, a=_axis: torch.log_softmax(x, a), _shape)
row("softmax large", lambda p, x: p.softmax(x, -1), lambda x: torch.softmax(x, -1), fixed([[1e4, 1e4 - 1, -1e4]]))
row("log_softmax large", lambda p, x: p.log_softmax(x, 0), lambda x: torch.log_softmax(x, 0), fixed([88, 500, -3e3]))
for _shape in [(3, 7), (2, 3, 33), (5,)]:
    _last = _shape[-1:]
    row(f"layer_norm {_shape}", lambda p, x, w, b: p.layer_norm(x, w, b, 1e-5),
        lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b, 1e-5), _shape, _last, _last)
    row(f"layer_norm plain {_shape}", lambda p, x: p.layer_norm(x, None, None, 1e-3),
        lambda x: F.layer_norm(x, x.shape[-1:], eps=1e-3), _shape)
    row(f"rms_norm {_shape}", lambda p, x, w: p.rms_norm(x, w, 1e-6),
        lambda x, w: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * w, _shape, _last)
    row(f"rms_norm plain {_shape}", lambda p, x: p.rms_norm(x, None, 1e-2),
        lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-2), _shape)
    row(f"l2_normalize {_shape}", lambda p, x: p.l2_normalize(x, 1e-12),
        lambda x: x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12), _shape)
row("layer_norm weight only", lambda p, x, w: p.layer_norm(x, w, None, 1e-5),
    lambda x, w: F.layer_norm(x, x.shape[-1:], w, None, 1e-5), (3, 7), (7,))
row("layer_norm bias only", lambda p, x, b: p.layer_norm(x, None, b, 1e-5),
    lambda x, b: F.layer_norm(x, x.shape[-1:], None, b, 1e-5), (3, 7), (7,))
row("l2_normalize below epsilon", lambda p, x: p.l2_normalize(x, 0.5),
    lambda x: x / x.norm(dim=-1, keepdim=True).clamp_min(0.5), fixed([[3, 4], [0.1, 0.2], [0, 0]]))

# ---- Reductions


def first_maximum(x, axis, keep):
    index = torch.from_numpy(np.expand_dims(x.detach().numpy().argmax(axis), axis))
    chosen = x.gather(axis, index)
    return chosen if keep else chosen.squeeze(axis)


for _shape, _axis, _keep in [((3, 5), -1, 0), ((3, 5), 0, 1), ((2, 3, 5), 1, 0), ((2, 3, 5), -3, 1), ((7,), 0, 0)]:
    _id = f"{_shape} {_axis} {_keep}"
    row(f"sum {_id}", lambda p, x, a=_axis, k=_keep: p.sum(x, a, k), lambda x, a=_axis, k=_keep: x.sum(a, bool(k)), _shape)
    row(f"mean {_id}", lambda p, x, a=_axis, k=_keep: p.mean(x, a, k), lambda x, a=_axis, k=_keep: x.mean(a, bool(k)),
        _shape)
    row(f"max {_id}", lambda p, x, a=_axis, k=_keep: p.max(x, a, k), lambda x, a=_axis, k=_keep: first_maximum(x, a, k),
        _shape)
    row(f"argmax {_id}", lambda p, x, a=_axis, k=_keep: p.argmax(x, a, k),
        lambda x, a=_axis, k=_keep: x.argmax(a, bool(k)), _shape, differentiable=False)
row("max tie", lambda p, x: p.max(x, 1, 0), lambda x: first_maximum(x, 1, 0), fixed([[1, 3, 3, 2], [5, 5, 5, 5]]))
row("argmax tie", lambda p, x: p.argmax(x, 1, 0), lambda x: x.argmax(1), fixed([[1, 3, 3, 2], [5, 5, 5, 5]]),
    differentiable=False)

# ---- Shape

row("reshape", lambda p, x: p.reshape(x, sizes([6, -1]), 2), lambda x: x.reshape(6, -1), (2, 3, 5))
row("reshape to a scalar", lambda p, x: p.reshape(x, sizes([]), 0), lambda x: x.reshape(()), (1, 1))
row("reshape flat", lambda p, x: p.reshape(x, sizes([-1]), 1), lambda x: x.reshape(-1), (2, 3, 5))
row("reshape with ones", lambda p, x: p.reshape(x, sizes([1, 3, 1, 5, 1]), 5), lambda x: x.reshape(1, 3, 1, 5, 1), (3, 5))
row("permute", lambda p, x: p.permute(x, axes([2, 0, 1]), 3), lambda x: x.permute(2, 0, 1), (2, 3, 5))
row("permute 4", lambda p, x: p.permute(x, axes([0, 2, 1, 3]), 4), lambda x: x.permute(0, 2, 1, 3), (2, 3, 5, 4))
row("expand", lambda p, x: p.expand(x, sizes([4, 3, 5]), 3), lambda x: x.expand(4, 3, 5), (3, 1))
row("expand a scalar", lambda p, x: p.expand(x, sizes([2, 3]), 2), lambda x: x.expand(2, 3), ())
row("expand and use", lambda p, x, y: p.mul(p.expand(x, sizes([4, 3, 5]), 3), y),
    lambda x, y: x.expand(4, 3, 5) * y, (3, 1), (4, 3, 5))


def concatenated(p, axis, *parts):
    import ctypes

    return p.concat((ctypes.c_void_p * len(parts))(*parts), len(parts), axis)


row("concat", lambda p, a, b, c: concatenated(p, 1, a, b, c), lambda a, b, c: torch.cat([a, b, c], 1), (2, 3, 4),
    (2, 1, 4), (2, 5, 4))
row("concat last", lambda p, a, b: concatenated(p, -1, a, b), lambda a, b: torch.cat([a, b], -1), (3, 2), (3, 7))
row("concat one", lambda p, a: concatenated(p, 0, a), lambda a: a * 1, (3, 2))
row("concat twice the same", lambda p, a: concatenated(p, 0, a, a), lambda a: torch.cat([a, a]), (3, 2))
row("concat empty", lambda p, a, b: concatenated(p, 0, a, b), lambda a, b: torch.cat([a, b]), (0, 2), (3, 2))
row("slice", lambda p, x: p.slice(x, 1, 2, 3), lambda x: x[:, 2:5], (2, 7, 3))
row("slice last", lambda p, x: p.slice(x, -1, 0, 2), lambda x: x[..., :2], (2, 4, 3))
row("slice nothing", lambda p, x: p.slice(x, 0, 2, 0), lambda x: x[2:2], (3, 4))
row("views of views", lambda p, x: p.slice(p.permute(p.slice(x, 0, 1, 3), axes([1, 2, 0]), 3), 2, 1, 2),
    lambda x: x[1:4].permute(1, 2, 0)[:, :, 1:3], (5, 3, 4))

# ---- By index

row("embedding", lambda p, w, i: p.embedding(w, i), lambda w, i: w[i.long()], (11, 5), Integers([[0, 10, 3], [3, 3, 7]]))
row("embedding one", lambda p, w, i: p.embedding(w, i), lambda w, i: w[i.long()], (4, 33), Integers(2))
for _axis in (0, 1, -1):
    row(f"index_select {_axis}", lambda p, x, i, a=_axis: p.index_select(x, a, i),
        lambda x, i, a=_axis: x.index_select(a, i.long()), (3, 4, 5), Integers([2, 0, 2, 1]))
row("gather", lambda p, x, i: p.gather(x, 1, i), lambda x, i: x.gather(1, i.long()), (2, 5),
    Integers([[4, 0, 0], [1, 2, 1]]))
row("gather first axis", lambda p, x, i: p.gather(x, 0, i), lambda x, i: x.gather(0, i.long()), (4, 3),
    Integers([[3, 0, 1], [3, 3, 3]]))
row("gather middle", lambda p, x, i: p.gather(x, -2, i), lambda x, i: x.gather(1, i.long()), (2, 5, 3),
    Integers(np.arange(12).reshape(2, 2, 3) % 5))

# ---- Loss

for _reduction, _torch in [(NONE, "none"), (SUM, "sum"), (MEAN, "mean")]:
    for _smoothing in (0.0, 0.1):
        row(f"cross_entropy {_torch} {_smoothing}",
            lambda p, x, t, r=_reduction, s=_smoothing: p.cross_entropy(x, t, -100, s, r),
            lambda x, t, r=_torch, s=_smoothing: F.cross_entropy(
                x.reshape(-1, 7), t.long().reshape(-1), ignore_index=-100, label_smoothing=s, reduction=r
            ).reshape(t.shape if r == "none" else ()),
            (2, 3, 7), Integers([[0, 6, -100], [3, -100, 3]]))
row("cross_entropy other ignore_index", lambda p, x, t: p.cross_entropy(x, t, 2, 0.0, MEAN),
    lambda x, t: F.cross_entropy(x, t.long(), ignore_index=2), (4, 5), Integers([2, 1, 2, 0]))
row("cross_entropy all ignored, summed", lambda p, x, t: p.cross_entropy(x, t, -100, 0.0, SUM),
    lambda x, t: (x * 0).sum(), (2, 5), Integers([-100, -100]))

# ---- Gradients stop and gather

row("stop_gradient", lambda p, x, y: p.mul(p.stop_gradient(x), y), lambda x, y: x.detach() * y, (3, 5), (3, 5))
row("used often", lambda p, x: p.add(p.mul(p.tanh(x), x), p.permute(p.permute(x, axes([1, 0]), 2), axes([1, 0]), 2)),
    lambda x: x.tanh() * x + x, (3, 5))


# ---- Running the rows

LAYOUTS = ["plain", "permuted", "sliced"]


def lay_out(p, values, layout):
    """(leaf, the input as a view of it, the same in torch): the reference follows the same path."""
    if layout == "permuted" and values.ndim > 1:
        order = list(reversed(range(values.ndim)))
        base = np.ascontiguousarray(values.transpose(order))
        leaf, reference = p.leaf(base), torch.tensor(base, dtype=torch.float64, requires_grad=True)
        return leaf, reference, p.permute(leaf, axes(order), values.ndim), reference.permute(order)
    if layout == "sliced" and values.ndim > 0:
        base = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(2, 1)], constant_values=9)
        leaf, reference = p.leaf(base), torch.tensor(base, dtype=torch.float64, requires_grad=True)
        length = values.shape[-1]
        return leaf, reference, p.slice(leaf, -1, 2, length), reference[..., 2 : 2 + length]
    leaf, reference = p.leaf(values), torch.tensor(values, dtype=torch.float64, requires_grad=True)
    return leaf, reference, leaf, reference


def close(found, expected, tolerance, what):
    assert found.shape == expected.shape, what
    if expected.size == 0:
        return
    largest = max(np.abs(expected).max(), 1e-3)
    difference = np.abs(found - expected).max()
    assert difference <= tolerance * largest, f"{what}: off by {difference} where the largest entry is {largest}"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operation, reference, inputs, tolerance, differentiable", ROWS)
def test_operation(operation, reference, inputs, tolerance, differentiable, layout):
    generator = np.random.default_rng(5)
    with Pass() as p:
        handles, tensors, leaves = [], [], []
        for source in inputs:
            if isinstance(source, Integers):
                handles.append(p.constant(source.values))
                tensors.append(torch.tensor(source.values))
            elif isinstance(source, Half):
                rounded = torch.tensor(generator.normal(size=source.shape), dtype=source.dtype)
                handles.append(p.half(rounded))
                tensors.append(rounded.double())
            else:
                values = source(generator) if callable(source) else generator.normal(size=source)
                values = np.asarray(values, np.float32)
                leaf, base, handle, tensor = lay_out(p, values, layout)
                leaves.append((leaf, base))
                handles.append(handle)
                tensors.append(tensor)
        result, expected = operation(p, *handles), reference(*tensors)
        p.check()
        close(p.array(result), expected.detach().numpy(), tolerance, "value")
        if not differentiable:
            return
        seed = generator.normal(size=tuple(expected.shape)).astype(np.float32)
        p.backward(result, seed)
        wanted = torch.autograd.grad(
            expected, [base for _, base in leaves], torch.tensor(seed, dtype=torch.float64), allow_unused=True)
        for number, ((leaf, base), gradient) in enumerate(zip(leaves, wanted)):
            found = p.gradient(leaf)
            if gradient is None or found is None:
                assert gradient is None or not gradient.abs().max() > 0, f"no gradient reached input {number}"
                assert found is None or not np.abs(found).max() > 0, f"a gradient reached input {number}"
            else:
                close(found, gradient.numpy(), tolerance, f"gradient of input {number}")
