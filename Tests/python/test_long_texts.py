"""LongT5's encoder, which works in blocks: texts of many lengths against transformers, and prefixes, which transformers has no
place for there, against the same attention with all pairs of tokens."""

from __future__ import annotations

from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.longt5 import modeling_longt5 as longt5

from prefix_reference import Prefix, session
from seam_abi import Array
from seam_objects import Batch, Runtime
from tiny_models import PAD, START, VOCABULARY, reference, save

VARIANTS = ("longt5", "longt5-global")
# Of the largest, as in test_backbones.py.
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=VARIANTS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Any:
    path = save(request.param, tmp_path_factory.mktemp(request.param), seed=4)
    return reference(path), runtime.open(path)


def given(length: int) -> Batch:
    """A whole text, one that is half as long, one with a hidden token, and one of a single token."""
    random = np.random.default_rng(length)
    ids = random.integers(4, VOCABULARY, (4, length)).astype(np.int32)
    mask = np.ones_like(ids)
    for row, end in ((1, (length + 1) // 2), (3, 1)):
        ids[row, end:], mask[row, end:] = PAD, 0
    mask[2, length // 2] = length == 1
    targets = np.hstack([np.full((4, 1), START), random.integers(4, VOCABULARY, (4, 4))]).astype(np.int32)
    return Batch(ids, mask, targets, targets)


def inputs(batch: Batch) -> dict[str, torch.Tensor]:
    names = ("input_ids", "attention_mask", "decoder_input_ids")
    return {name: torch.from_numpy(np.asarray(getattr(batch, name))).long() for name in names}


def assert_close(found: Array, expected: torch.Tensor) -> None:
    assert np.abs(found - expected.numpy()).max() <= TOLERANCE * expected.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 9, 31, 64])
def test_lengths(model: Any, length: int) -> None:
    hugging_face, backbone = model
    batch = given(length)
    assert_close(backbone.session().forward(batch), hugging_face(**inputs(batch)).logits)


def attend(
    self: Any, states: torch.Tensor, mask: Any = None, position_bias: Any = None, output_attentions: bool = False
) -> Any:
    """Between all pairs of tokens, those that are too far apart hidden, behind a prefix that has neither place nor bias."""
    shown, prefix = self.given
    count = states.shape[1]

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(len(x), -1, self.n_heads, self.key_value_proj_dim).transpose(1, 2)

    keys, values = heads(self.k(states)), heads(self.v(states))
    sums = isinstance(self, longt5.LongT5TransientGlobalAttention)
    if sums:
        blocks, segments = longt5._make_global_fixed_block_ids(shown, self.global_block_size)
        far = longt5._create_global_aggregates(states, blocks, segments.shape[-1])
        far = self.global_input_layer_norm(far)
        keys, values = torch.cat([keys, heads(self.k(far))], 2), torch.cat([values, heads(self.v(far))], 2)
    if position_bias is None:
        apart = torch.arange(count)[None, :] - torch.arange(count)[:, None]
        sizes = {
            "num_buckets": self.relative_attention_num_buckets,
            "max_distance": self.relative_attention_max_distance,
        }
        near = self.relative_attention_bias(self._relative_position_bucket(apart, **sizes)).permute(2, 0, 1)[None]
        near = near + torch.where((apart.abs() <= self.local_radius) & (shown[:, None, None] > 0), 0, -1e10)
        position_bias = torch.cat([near, self.compute_side_bias(shown, segments)], -1) if sums else near
    bias = position_bias
    if prefix is not None:
        keys = torch.cat([prefix[0].expand(len(states), -1, -1, -1), keys], 2)
        values = torch.cat([prefix[1].expand(len(states), -1, -1, -1), values], 2)
        bias = torch.nn.functional.pad(bias, (prefix.shape[2], 0))
    weights = torch.softmax(heads(self.q(states)) @ keys.transpose(2, 3) + bias, -1)
    return self.o((weights @ values).transpose(1, 2).flatten(2)), position_bias


def of_all_pairs(model: Any, batch: Batch, prefix: torch.Tensor | None) -> torch.Tensor:
    """Logits with the attention above in the encoder."""
    found = inputs(batch)
    kinds = (longt5.LongT5LocalAttention, longt5.LongT5TransientGlobalAttention)
    modules = [each for each in model.get_encoder().modules() if isinstance(each, kinds)]
    for index, module in enumerate(modules):
        module.given = found["attention_mask"], None if prefix is None else prefix[index]
        module.forward = MethodType(attend, module)
    try:
        logits: torch.Tensor = model(**found).logits
    finally:
        for module in modules:
            del module.forward, module.given
    return logits


@torch.no_grad()
@pytest.mark.parametrize("length", [3, 5, 17])
def test_a_prefix_is_seen_from_every_block(model: Any, length: int) -> None:
    hugging_face, backbone = model
    batch = given(length)
    plain = of_all_pairs(hugging_face, batch, None)
    assert_close(plain.numpy(), hugging_face(**inputs(batch)).logits)
    shape = (hugging_face.config.num_layers, 2, hugging_face.config.num_heads, 5, hugging_face.config.d_kv)
    prefix: Prefix = {"encoder": torch.randn(shape, generator=torch.Generator().manual_seed(length))}
    expected = of_all_pairs(hugging_face, batch, prefix["encoder"])
    assert (expected - plain).abs().max() > 1e3 * TOLERANCE
    assert_close(session(backbone, prefix).forward(batch), expected)


@torch.no_grad()
def test_rows_take_prefixes_of_their_routes(model: Any) -> None:
    """In blocks a row is several: each keeps the prefix of its route."""
    hugging_face, backbone = model
    batch = given(17)
    shape = (hugging_face.config.num_layers, 2, hugging_face.config.num_heads, 3, hugging_face.config.d_kv)
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    adapter = backbone.adapter(
        "prefix-tuning", {"attention": "encoder", "prefix_length": 3, "reparameterization": "none"}
    )
    adapter.parameters["encoder.prefix"][...] = numbers.numpy()
    one = backbone.session()
    one.attach(adapter, route="with")
    routes = ["with", None, None, "with"]
    found = one.forward(
        Batch(batch.input_ids, batch.attention_mask, batch.labels, batch.decoder_input_ids, routes=routes)
    )
    expected = of_all_pairs(hugging_face, batch, None)
    changed = of_all_pairs(hugging_face, batch, numbers)
    for row, route in enumerate(routes):
        assert_close(found[row], changed[row] if route else expected[row])
