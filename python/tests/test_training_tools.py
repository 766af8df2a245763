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
from accelerate import Accelerator
from safetensors.torch import load_file
from transformers import Trainer, TrainingArguments

import seamkit
from prefix_reference import save
from test_attach import disturb, inputs, opened
from test_prefixes import inputs as prefix_inputs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("bart", tmp_path_factory.mktemp("bart"))


def rows() -> list[dict[str, torch.Tensor]]:
    _, given = inputs("bart")
    return [
        {key: value[row % 3] for key, value in given.items() if key != "decoder_input_ids"}
        | {"labels": given["decoder_input_ids"][row % 3]}
        for row in range(8)
    ]


def trainer(model: Any, output: Path, **changes: Any) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(output),
        max_steps=6,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **changes,
    )
    return Trainer(model=model, args=arguments, train_dataset=rows(), eval_dataset=rows())


def assert_equal(adapter: torch.nn.Module, expected: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(value, expected[key]) for key, value in adapter.state_dict().items())


def values(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def test_trainer(folder: Path, tmp_path: Path) -> None:
    """The model stays, the adapter learns; a run that goes on from a checkpoint ends with the same bits."""
    model = opened("bart", folder)
    before = values(model)
    adapter = seamkit.attach(model, "repcali")
    start = values(adapter)
    trainer(model, tmp_path / "run", save_steps=3).train()
    assert all(not torch.equal(value, start[key]) for key, value in adapter.state_dict().items())
    other = opened("bart", folder)
    resumed = seamkit.attach(other, "repcali", random_seed=9)
    trainer(other, tmp_path / "run").train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-3"))
    assert_equal(resumed, values(adapter))
    seamkit.detach(model)
    assert_equal(model, before)


def test_trainer_loads_the_best(folder: Path, tmp_path: Path) -> None:
    """By the largest loss, which is that of the first checkpoint."""
    model = opened("bart", folder)
    adapter = seamkit.attach(model, "repcali")
    run = trainer(
        model,
        tmp_path / "run",
        save_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        load_best_model_at_end=True,
        lr_scheduler_type="constant",
        metric_for_best_model="eval_loss",
        greater_is_better=True,
    )
    run.train()
    best = run.state.best_model_checkpoint
    assert best is not None and best.endswith("checkpoint-1")
    saved = load_file(Path(best) / "model.safetensors")
    assert_equal(adapter, {key: saved[f"seamkit.0.{key}"] for key in adapter.state_dict()})


def test_accelerate(folder: Path, tmp_path: Path) -> None:
    """A state that is saved and read again goes on as it did."""
    accelerator, [given] = Accelerator(cpu=True), [inputs("bart")[1]]
    plain = opened("bart", folder)
    adapter = seamkit.attach(plain, "repcali")
    model, optimizer = accelerator.prepare(plain, torch.optim.AdamW(adapter.parameters(), lr=1e-2))

    def step() -> dict[str, torch.Tensor]:
        optimizer.zero_grad()
        accelerator.backward(model(**given).logits.square().mean())
        optimizer.step()
        return values(adapter)

    first = step()
    accelerator.save_state(str(tmp_path / "state"))
    second = step()
    accelerator.load_state(str(tmp_path / "state"))
    assert_equal(adapter, first)
    step()
    assert_equal(adapter, second)
    seamkit.save(accelerator.unwrap_model(model), tmp_path / "adapter")


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
        # Both before the group ends, or torch's reducer, with the interpreter's lock, waits for a thread that wants it.
        torch.distributed.barrier()
        del wrapped
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("kind", ["replicated", "sharded"])
def test_data_parallelism(folder: Path, tmp_path: Path, kind: str) -> None:
    """DistributedDataParallel and fully_shard, over gloo."""
    torch.multiprocessing.spawn(distributed, (folder, tmp_path, kind), nprocs=2)
    assert (tmp_path / "adapter/adapter_config.json").exists() == (kind == "sharded")


@pytest.mark.parametrize("name", ["bart", "bert", "llama"])
def test_compile(tmp_path: Path, name: str) -> None:
    """With dynamo in front: before the adapters are traced the model breaks at what calls the plugin, then it is one
    graph."""
    model = opened(name, save(name, tmp_path / "model"))
    _, given = (prefix_inputs if name == "llama" else inputs)(name)
    for each in ("residual-prefix", "gate") if name == "llama" else ("repcali",):
        disturb(seamkit.attach(model, each))
    with torch.no_grad():
        compiled: Any = torch.compile(model, backend="eager")
        broken = [compiled(**given).logits for _ in range(2)]
        expected = model(**given).logits
        torch._dynamo.reset()
        whole: Any = torch.compile(model, backend="eager", fullgraph=True)
        for each in (*broken, whole(**given).logits):
            assert torch.equal(each, expected)


def test_compile_with_inductor() -> None:
    """One adapter, forward and backward as one graph; the kernels sum in another order."""
    adapter = seamkit.torch.Adapter(
        "residual-prefix",
        seamkit.torch.Site("llama", 24, 0, 3, 4, 2, 6, 80, 80, 61, (0, 3, 0), (0, 79, 0)),
        {"prefix_length": 4, "mlp_hidden_size": 7},
    )
    disturb(adapter)

    def run(module: Any) -> list[torch.Tensor]:
        adapter.zero_grad()
        prefix = torch.stack(module())
        prefix.square().mean().backward()
        return [prefix.detach(), *(each.grad.clone() for each in adapter.parameters() if each.grad is not None)]

    expected = [run(adapter) for _ in range(2)][1]
    found = run(torch.compile(adapter, fullgraph=True))
    assert len(found) == len(expected) == 1 + len(list(adapter.parameters()))
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine - theirs).abs().max() <= 1e-5 * theirs.abs().max()


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
