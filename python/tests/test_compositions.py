"""Several methods on one model (docs/compositions.md): what stands with what, and in which order it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seamkit
import seamkit.torch as engine
from layer_models import Training, assert_close, disturb, inputs, opened, places
from prefix_reference import save

PREFIX = {"prefix_length": 3, "mlp_hidden_size": 7}
# Everything at once, in the order in which it is attached: seams against the order in which they are run.
TOGETHER: dict[str, dict[str, dict[str, Any]]] = {
    "t5": {
        "repcali": {},
        "bottleneck-adapter": {},
        "lora": {},
        "residual-prefix": PREFIX,
        "gate": {},
        "prompt-tuning": {},
    },
    "bart": {"lora": {}, "residual-prefix": PREFIX, "gate": {}, "repcali": {}},
    "bert": {"repcali": {}, "loreft": {}, "bias": {}, "lora": {}, "residual-prefix": PREFIX, "gate": {}},
    "llama": {"loreft": {}, "lora": {}, "ia3": {}, "residual-prefix": PREFIX, "gate": {}, "prompt-tuning": {}},
}


def attached(name: str, model: Any, chain: dict[str, dict[str, Any]]) -> list[engine.Adapter]:
    return [seamkit.attach(model, id, random_seed=2, **options) for id, options in chain.items()]


@pytest.mark.parametrize("name", TOGETHER)
def test_they_train_together(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    """Losses of both engines, to 1e-4: rounding of 20 steps through up to six adapters. All of them are trained."""
    folder, training = save(name, tmp_path / "model"), Training(name)
    model = opened(name, folder)
    adapters = attached(name, model, TOGETHER[name])
    seamkit.save(model, tmp_path / "start")
    before = [each.clone() for adapter in adapters for each in adapter.parameters()]
    session = runtime.open(folder).session()
    session.load(tmp_path / "start")
    losses = training.torch(model)
    assert losses[-1] < losses[0]
    assert training.native(session) == pytest.approx(losses, rel=1e-4)
    for old, new in zip(before, (each for adapter in adapters for each in adapter.parameters()), strict=True):
        assert not new.requires_grad or not torch.equal(old, new)
    seamkit.save(model, tmp_path / "trained")
    session = runtime.open(folder).session()
    session.load(tmp_path / "trained")
    assert_close(model(**training.given).logits, session.forward(training.batch), places(name, training.batch))


@pytest.mark.parametrize("name", TOGETHER)
def test_seams_run_in_the_order_of_the_model(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    """Adapters of different seams give the same, to the last bit, whatever the order in which they are attached."""
    folder, (batch, _) = save(name, tmp_path / "model"), inputs(name)
    model = opened(name, folder)
    disturb(attached(name, model, TOGETHER[name]))
    for place, adapter in enumerate(engine.attached(model)):
        adapter.save(tmp_path / str(place))
    backbone, count = runtime.open(folder), len(TOGETHER[name])
    seams = [adapter.seam for adapter in engine.attached(model)]
    orders = [list(range(count)), sorted(range(count), key=lambda place: seams[place] != "attention.prefix")]
    # Those of one seam keep their order.
    orders.append(sorted(range(count), key=lambda place: (seams[place] != "attention.prefix", seams[place])))
    assert len({tuple(order) for order in orders}) > 1
    found = []
    for order in orders:
        session = backbone.session()
        for place in order:
            session.attach(backbone.load(tmp_path / str(place)))
        found.append(session.forward(batch))
    assert all(np.array_equal(found[0], each) for each in found[1:])


@pytest.mark.parametrize(
    "name, first, second",
    [
        ("t5", ("repcali", {}), ("repcali", {})),
        ("bert", ("loreft", {}), ("bottleneck-adapter", {})),
        ("llama", ("lora", {"targets": ["k", "v"]}), ("ia3", {})),
        ("gpt2", ("bias", {"targets": ["qkv"]}), ("ia3", {"targets": ["qkv"]})),
    ],
)
def test_one_seam_runs_in_the_order_attached(
    runtime: seamkit.Runtime, tmp_path: Path, name: str, first: tuple[str, Any], second: tuple[str, Any]
) -> None:
    """Each reads what the one before it gave: another order is another model, the same one in both engines."""
    folder, (batch, given) = save(name, tmp_path / "model"), inputs(name)
    model = opened(name, folder)
    both = [
        seamkit.attach(model, id, random_seed=seed, **options) for seed, (id, options) in enumerate((first, second))
    ]
    disturb(both)
    backbone, found = runtime.open(folder), []
    for order in (both, both[::-1]):
        seamkit.detach(model)
        for each in order:
            seamkit.attach(model, each)
        logits = model(**given).logits
        seamkit.save(model, tmp_path / "adapters")
        session = backbone.session()
        session.load(tmp_path / "adapters")
        assert_close(logits, session.forward(batch), places(name, batch))
        found.append(logits.detach())
    assert (found[0] - found[1]).abs().max() > 1e-3 * found[0].abs().max()


def test_one_of_them_goes(runtime: seamkit.Runtime, tmp_path: Path) -> None:
    """What is left computes what it would have computed alone, to the last bit."""
    folder, (batch, _) = save("t5", tmp_path / "model"), inputs("t5")
    model = opened("t5", folder)
    disturb(attached("t5", model, TOGETHER["t5"]))
    seamkit.save(model, tmp_path / "all")
    for place, adapter in enumerate(engine.attached(model)):
        adapter.save(tmp_path / str(place))
    backbone = runtime.open(folder)
    session, without = backbone.session(), backbone.session()
    session.load(tmp_path / "all")
    for adapter in session.adapters:
        if adapter.describe()["id"] in ("lora", "gate"):
            session.detach(adapter)
    for place, id in enumerate(TOGETHER["t5"]):
        if id not in ("lora", "gate"):
            without.attach(backbone.load(tmp_path / str(place)))
    assert np.array_equal(session.forward(batch), without.forward(batch))


def test_a_prefix_goes_after_what_weights_it(runtime: seamkit.Runtime, tmp_path: Path) -> None:
    backbone = runtime.open(save("llama", tmp_path / "model"))
    session = backbone.session()
    with pytest.raises(seamkit.SeamError, match="there are none here: attach a prefix adapter before it"):
        session.add("gate")
    prefix = session.add("residual-prefix", PREFIX)
    session.add("gate")
    with pytest.raises(seamkit.InvalidArgumentError, match="weights the tokens of a prefix and none is attached"):
        session.detach(prefix)
    with pytest.raises(seamkit.IncompatibleError, match="was made for a prefix of 3 tokens, the one attached has 6"):
        session.attach(backbone.adapter("prefix-tuning", PREFIX))


@pytest.mark.parametrize("head", ["linear-head", "dect", "batch-calibration", "ridge-head"])
def test_a_head_on_top(runtime: seamkit.Runtime, tmp_path: Path, head: str) -> None:
    """What leaves the adapters inside an encoder is pooled and given to the head: the head alone, on the vectors of the
    session without it, gives the same."""
    folder, (batch, _) = save("bert", tmp_path / "model"), inputs("bert")
    model = opened("bert", folder)
    disturb(attached("bert", model, TOGETHER["bert"]))
    seamkit.save(model, tmp_path / "inside")
    backbone = runtime.open(folder)
    session = backbone.session()
    session.load(tmp_path / "inside")
    vectors = session.pool(batch)
    assert np.abs(vectors - backbone.session().pool(batch)).max() > 1e-3 * np.abs(vectors).max()
    classifier = backbone.classifier(head, 2)
    generator = np.random.default_rng(3)
    for value in classifier.parameters.values():
        value[...] = generator.normal(size=value.shape)
    expected = classifier.classify(np.zeros((len(vectors), 2), np.float32), vectors)
    session.attach(classifier)
    # The same numbers through one call or two.
    assert np.array_equal(session.classify(batch, 2), expected)
