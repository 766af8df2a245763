"""What trains models in PyTorch finds the adapters: Trainer, data parallelism of both kinds, torch.compile; and the
README."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.fsdp
import torch.multiprocessing
from prefix_reference import save
from test_attach import disturb, inputs, opened
from transformers import Trainer, TrainingArguments

import seamkit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("bart", tmp_path_factory.mktemp("bart"))


def test_trainer(folder: Path, tmp_path: Path) -> None:
    model, (_, given) = opened("bart", folder), inputs("bart")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    adapter = seamkit.attach(model, "repcali")
    start = {key: value.clone() for key, value in adapter.state_dict().items()}
    examples = [{key: value[row % 3] for key, value in given.items() if key != "decoder_input_ids"}
                | {"labels": given["decoder_input_ids"][row % 3]} for row in range(8)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=6, per_device_train_batch_size=4, learning_rate=1e-2, report_to=[],
        save_strategy="no", use_cpu=True, disable_tqdm=True)
    Trainer(model=model, args=arguments, train_dataset=examples).train()
    assert all(not torch.equal(value, start[key]) for key, value in adapter.state_dict().items())
    seamkit.detach(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def distributed(rank: int, folder: Path, output: Path, kind: str) -> None:
    """Each of two processes has half of the rows; the gradient on both is that of all."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{output}/meeting", rank=rank, world_size=2)
    try:
        _, given = inputs("bart")
        rows = {key: value[:2] for key, value in given.items()}
        model = opened("bart", folder)
        adapter = seamkit.attach(model, "repcali")
        disturb(adapter)
        model(**rows).logits.square().mean().backward()
        expected = [each.grad.clone() for each in adapter.parameters() if each.grad is not None]
        model.zero_grad()
        if kind == "sharded":
            mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (2,))
            wrapped: Any = torch.distributed.fsdp.fully_shard(model, mesh=mesh)
        else:
            wrapped = torch.nn.parallel.DistributedDataParallel(model)
        wrapped(**{key: value[rank : rank + 1] for key, value in rows.items()}).logits.square().mean().backward()
        grads: list[Any] = [each.grad for each in adapter.parameters()]
        found = [each.full_tensor() if kind == "sharded" else each for each in grads]
        assert len(found) == len(expected) == 3
        for mine, whole in zip(found, expected, strict=True):
            # f32 sums in another order.
            assert (mine - whole).abs().max() <= 1e-5 * whole.abs().max()
        if kind == "sharded":
            with pytest.raises(seamkit.UnsupportedError, match="spread over processes"):
                adapter.save(output / "adapter")
            wrapped.unshard()
            if rank == 0:
                adapter.save(output / "adapter")
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("kind", ["replicated", "sharded"])
def test_data_parallelism(folder: Path, tmp_path: Path, kind: str) -> None:
    """DistributedDataParallel and fully_shard, over gloo."""
    torch.multiprocessing.spawn(distributed, (folder, tmp_path, kind), nprocs=2)
    assert (tmp_path / "adapter/adapter_config.json").exists() == (kind == "sharded")


def test_compile(folder: Path) -> None:
    """With dynamo in front: the model with breaks at what calls the plugin, a traced adapter as one graph."""
    model, (_, given) = opened("bart", folder), inputs("bart")
    adapter = seamkit.attach(model, "repcali")
    disturb(adapter)
    with torch.no_grad():
        expected = model(**given).logits
        compiled: Any = torch.compile(model, backend="eager")
        for _ in range(2):
            assert torch.equal(compiled(**given).logits, expected)
    hidden, mask = torch.randn(2, 5, 24), torch.ones(2, 5, dtype=torch.int32)
    adapter(hidden, mask)
    whole: Any = torch.compile(adapter, backend="eager", fullgraph=True)
    assert torch.equal(adapter(hidden, mask), whole(hidden, mask))


def test_a_model_with_adapters_is_not_copied(folder: Path) -> None:
    model = opened("bart", folder)
    seamkit.attach(model, "repcali")
    with pytest.raises(TypeError, match="detach them first"):
        copy.deepcopy(model)


def test_the_readme(real_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its programs run as they stand, on a real model."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "python/README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(real_model)
    printed: list[Any] = []
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {"print": lambda *values: printed.append(values[-1])})
    *losses, molecule = printed
    assert len(losses) == 20 and losses[-1] < 0.8 * losses[0]
    # In SMILES: carbon and oxygen, bonds and rings.
    assert re.fullmatch(r"[CcO=()123]+", molecule)
