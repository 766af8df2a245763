"""Adapters at projections whose matrix is quantised. The classes here keep their numbers as bitsandbytes, torchao and GPTQ
do: packed into bytes of another shape, in a tensor class of their own, in a module that is no Linear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seamkit
import seamkit.torch as engine
from plugins_in_c import built
from prefix_reference import save

IDS = torch.tensor([[5, 6, 7, 8]])


def rounded(weight: Tensor) -> tuple[Tensor, float]:
    """Eight bits and a scale for the whole matrix."""
    scale = float(weight.abs().max()) / 127
    return torch.round(weight / scale).to(torch.int8), scale


class PackedLinear(nn.Linear):
    """As bitsandbytes: the numbers are a column of bytes."""

    def __init__(self, linear: nn.Linear):
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        numbers, self.scale = rounded(linear.weight.detach())
        self.weight = nn.Parameter(numbers.reshape(-1, 1).view(torch.uint8), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        numbers = self.weight.view(torch.int8).reshape(self.out_features, self.in_features)
        return nn.functional.linear(x, numbers.to(x.dtype) * self.scale, self.bias)


class Bytes(Tensor):
    """As torchao: a tensor that looks like the matrix and is none."""

    numbers: Tensor
    scale: float

    @staticmethod
    def __new__(cls, numbers: Tensor, scale: float) -> Bytes:
        return Tensor._make_wrapper_subclass(cls, numbers.shape, dtype=torch.float32)  # type: ignore[no-any-return]

    def __init__(self, numbers: Tensor, scale: float):
        self.numbers, self.scale = numbers, scale

    def __tensor_flatten__(self) -> tuple[list[str], float]:
        return ["numbers"], self.scale

    @classmethod
    def __tensor_unflatten__(cls, inner: dict[str, Tensor], scale: float, *_: Any) -> Bytes:
        return cls(inner["numbers"], scale)

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten.detach.default:
            return cls(args[0].numbers, args[0].scale)
        raise NotImplementedError(f"{function} of a quantised tensor")


class WrappedLinear(nn.Linear):
    def __init__(self, linear: nn.Linear):
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None)
        self.weight = nn.Parameter(Bytes(*rounded(linear.weight.detach())), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        kept: Any = self.weight
        return nn.functional.linear(x, kept.numbers.to(x.dtype) * kept.scale, self.bias)


class BufferLinear(nn.Module):
    """As GPTQ: no parameter named weight at all."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        numbers, self.scale = rounded(linear.weight.detach())
        self.register_buffer("qweight", numbers.T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        numbers: Any = self.qweight
        return nn.functional.linear(x, numbers.T.to(x.dtype) * self.scale, self.bias)


KINDS = [PackedLinear, WrappedLinear, BufferLinear]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module", autouse=True)
def plugins(low_rank: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    engine.load_plugin(built("low-rank-plugin/wrong_points.c", tmp_path_factory.mktemp("plugin") / "libWrongPoints.so"))


def model_of(folder: Path, kind: type[nn.Module] | None = None) -> Any:
    """A model whose projections q and v are quantised; None: hold what the quantised ones compute with."""
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for layer in model.model.layers:
        for name in ("q_proj", "v_proj"):
            linear = getattr(layer.self_attn, name)
            if kind is not None:
                setattr(layer.self_attn, name, kind(linear))
            else:
                numbers, scale = rounded(linear.weight.detach())
                linear.weight = nn.Parameter(numbers.float() * scale)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("id", ["low-rank", "scale-input"])
def test_what_flows_by_is_enough(folder: Path, kind: type[nn.Module], id: str) -> None:
    """Of both phases; the same numbers and gradients as on the matrix that is not quantised."""
    found = []
    for model in (model_of(folder, kind), model_of(folder)):
        adapter = engine.attach(model, id, targets="q,v")
        torch.manual_seed(3)
        for each in adapter.parameters():
            nn.init.normal_(each, 1, 0.2)
        logits = model(IDS).logits
        logits.square().mean().backward()
        found.append([logits.detach(), *(each.grad for each in adapter.parameters())])
    assert len(found[0]) > 2
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_the_matrix_itself_is_refused(folder: Path, kind: type[nn.Module]) -> None:
    model = model_of(folder, kind)
    plain = model(IDS).logits
    adapter = engine.attach(model, "wrong-points", mode="reads-weight", targets="q", layers=[1])
    sentence = (
        f'adapter "wrong-points" reads the weight at the point "decoder.1.q", which {kind.__name__} keeps quantised: '
        "choose other targets, or load the model without quantisation"
    )
    with pytest.raises(seamkit.UnsupportedError) as caught:
        model(IDS)
    assert caught.value.message == sentence and caught.value.origin == "org.seamkit.test.wrong-points"
    engine.detach(model, adapter)
    assert torch.equal(model(IDS).logits, plain)
    # Where nothing is quantised it is read.
    engine.attach(model, "wrong-points", mode="reads-weight", targets="k", layers=[1])
    assert torch.allclose(model(IDS).logits, plain, atol=1e-6)
