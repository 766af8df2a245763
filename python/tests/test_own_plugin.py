"""docs/your-own-plugin.md: its blocks are the files of examples/bottleneck, and its commands build and run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

import seamkit
import seamkit.torch
import tiny_models
from documents import ROOT, blocks
from seamkit import locations

DOCUMENT, EXAMPLE = "your-own-plugin.md", ROOT / "examples/bottleneck"
# f32 against f32 with sums in another order, of the largest value.
TOLERANCE = 1e-5


def test_the_blocks_are_the_files() -> None:
    assert blocks(DOCUMENT, "c") == [(EXAMPLE / "bottleneck.c").read_text()]
    assert len((EXAMPLE / "bottleneck.c").read_text().splitlines()) <= 60
    assert blocks(DOCUMENT, "swift") == [
        (EXAMPLE / "Sources/Bottleneck/Bottleneck.swift").read_text(),
        (EXAMPLE / "Package.swift").read_text(),
    ]
    assert blocks(DOCUMENT, "python") == [(EXAMPLE / "train.py").read_text()]


def shell(command: str) -> str:
    """A command of the document, in the root of the clone."""
    found = subprocess.run(
        command,
        shell=True,
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "python"), "OMP_NUM_THREADS": "1"},
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    in_c, in_swift, _ = blocks(DOCUMENT, "bash")
    library = tmp_path_factory.mktemp("c") / "libBottleneck.so"
    assert in_c.rstrip().endswith("-o libBottleneck.so")
    shell(in_c.replace("-o libBottleneck.so", f"-Werror -o {library}"))
    shell(in_swift)
    return {"c": library, "swift": EXAMPLE / ".build/release/libBottleneck.so"}


def test_trained_from_pytorch_run_natively(libraries: dict[str, Path], real_model: Path, tmp_path: Path) -> None:
    seam = locations.library("libSeam.so").parent.resolve() / "seam"
    losses = {}
    for language, library in libraries.items():
        adapter = tmp_path / language
        printed = shell(f"{sys.executable} {EXAMPLE / 'train.py'} {library} {real_model} {adapter}")
        losses[language] = [float(each.split()[1]) for each in printed.splitlines()]
        assert len(losses[language]) == 20 and losses[language][-1] < 0.7 * losses[language][0]
        assert (adapter / "adapter_model.safetensors").read_bytes() == (
            tmp_path / "c" / "adapter_model.safetensors"
        ).read_bytes()
        for line in blocks(DOCUMENT, "bash")[2].splitlines():
            known = {
                "seam ": f"{seam} ",
                "./libBottleneck.so": library,
                "--model model": f"--model {real_model}",
                "--adapter adapter": f"--adapter {adapter}",
            }
            for word, meant in known.items():
                line = line.replace(word, str(meant), 1)
            assert shell(line)
    assert losses["c"] == losses["swift"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreTrainedModel, Path]:
    found, path = tiny_models.t5(), tmp_path_factory.mktemp("model")
    tiny_models.randomise(found, 0)
    found.save_pretrained(path)
    return type(found).from_pretrained(path).eval(), path


def test_it_computes_what_it_says(
    libraries: dict[str, Path], model: tuple[PreTrainedModel, Path], tmp_path: Path
) -> None:
    """Outputs and gradients against the same formula in torch, and the native engine's scores against both."""
    seamkit.torch.load_plugin(libraries["c"])
    network, path = model
    adapter = seamkit.attach(network, "bottleneck", rank=3)
    try:
        assert {name: tuple(each.shape) for name, each in adapter.named_parameters()} == {
            "down.weight": (network.config.d_model, 3),
            "up.weight": (3, network.config.d_model),
        }
        assert not adapter.state_dict()["up.weight"].any()
        generator = torch.Generator().manual_seed(0)
        down, up = (torch.randn(each.shape, generator=generator, requires_grad=True) for each in adapter.parameters())
        adapter.load_state_dict({"down.weight": down, "up.weight": up})
        hidden = torch.randn(2, 4, network.config.d_model, generator=generator)
        mask = torch.ones(2, 4, dtype=torch.int32)
        found, wanted = adapter(hidden, mask), hidden + torch.relu(hidden @ down) @ up
        torch.testing.assert_close(found, wanted)
        found.square().sum().backward()
        wanted.square().sum().backward()
        for name, each in (("down.weight", down), ("up.weight", up)):
            torch.testing.assert_close(adapter.get_parameter(name).grad, each.grad)
        ids, labels = torch.tensor([[4, 5, 6, 1]]), torch.tensor([[7, 8, 1]])
        with torch.no_grad():
            scores = network(input_ids=ids, labels=labels).logits.numpy()
        adapter.save(tmp_path / "adapter", network)
    finally:
        seamkit.detach(network)
    runtime = seamkit.Runtime([locations.library("libTransformer.so"), libraries["swift"]])
    backbone = runtime.open(path)
    session = backbone.session(backbone.load(tmp_path / "adapter"))
    native = session.forward(seamkit.Batch(ids, labels=labels))
    assert np.abs(native - scores).max() <= TOLERANCE * np.abs(scores).max()


def test_mistakes_are_sentences(libraries: dict[str, Path], model: tuple[PreTrainedModel, Path]) -> None:
    seamkit.torch.load_plugin(libraries["c"])
    with pytest.raises(seamkit.InvalidArgumentError, match="rank"):
        seamkit.attach(model[0], "bottleneck", rank=0)
