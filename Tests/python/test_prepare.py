"""Adapters that start from examples (Tests/Fixtures/prepare-plugin), prepared in a session: what they are given on each
seam, in each family, against transformers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prefix_reference import DECODERS, ENCODER_DECODERS, Reference, of, save, texts
from seam_abi import ROOT, Array, SeamError
from seam_objects import Adapter, Backbone, Batch, Runtime, Session
from seamkit import Progress
from single_stack import places as token_places

# Of the largest value. Both sides compute in f32 with sums in another order; another token's state is a thousand times
# farther away (test_the_last_token_matters).
TOLERANCE = 1e-5

# The layers of each stack of a model in transformers.
STACKS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "llama": {"decoder": lambda model: model.model.layers},
    "gpt2": {"decoder": lambda model: model.transformer.h},
    "t5": {"encoder": lambda model: model.encoder.block, "decoder": lambda model: model.decoder.block},
    "bart": {"encoder": lambda model: model.model.encoder.layers, "decoder": lambda model: model.model.decoder.layers},
    "bert": {"encoder": lambda model: model.bert.encoder.layer},
}
PLACES = [(name, stack) for name, stacks in STACKS.items() for stack in stacks]

# A projection of each family: its name among the points, and the module of a layer that it is.
PROJECTIONS: list[tuple[str, str, str, Callable[[Any], Any]]] = [
    ("llama", "decoder", "down", lambda layer: layer.mlp.down_proj),
    ("gpt2", "decoder", "qkv", lambda layer: layer.attn.c_attn),
    ("t5", "encoder", "q", lambda layer: layer.layer[0].SelfAttention.q),
    ("t5", "decoder", "cross_v", lambda layer: layer.layer[1].EncDecAttention.v),
    ("bart", "decoder", "cross_k", lambda layer: layer.encoder_attn.k_proj),
    ("bert", "encoder", "up", lambda layer: layer.intermediate.dense),
]

CLASSES = np.array([1, 0, 0, 1, 0], np.int32)


class Model:
    def __init__(self, name: str, folder: Path, runtime: Runtime):
        path = save(name, folder)
        self.name = name
        self.reference: Any = Reference(name, path).model
        self.backbone: Backbone = runtime.open(path)

    def recorded(self, modules: list[Any], given: Batch) -> list[tuple[Array, Array]]:
        """What goes into each module and what it gives, when transformers reads the batch."""
        found: list[tuple[Array, Array]] = []

        def note(_: Any, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            found.append((inputs[0].numpy().copy() if inputs else np.empty(0), first.numpy().copy()))

        hooks = [each.register_forward_hook(note) for each in modules]
        more: dict[str, Any] = {}
        if given.labels is not None:
            more["decoder_input_ids"] = of(shifted(given, self.reference.config))
        if self.name in DECODERS:
            more["position_ids"] = of(token_places(given.attention_mask))
        with torch.no_grad():
            self.reference(input_ids=of(given.input_ids), attention_mask=of(given.attention_mask), **more)
        for each in hooks:
            each.remove()
        return found


def shifted(given: Batch, config: Any) -> Array:
    labels = given.labels
    assert labels is not None
    ids = np.roll(labels, 1, 1)
    ids[:, 0] = config.decoder_start_token_id
    ids[ids == -100] = config.pad_token_id
    return ids


def examples(name: str) -> Batch:
    """Five texts of several lengths; of an encoder-decoder with targets of several."""
    given = texts(name, 3, len(CLASSES), "behind")
    labels = given.labels if name in ENCODER_DECODERS else None
    return Batch(given.input_ids, given.attention_mask, labels, classes=CLASSES)


def halves(given: Batch) -> list[Batch]:
    """The same examples in two batches, the second without the columns that are padding in all its rows."""

    def part(rows: slice) -> Batch:
        mask = given.attention_mask[rows]
        source = int(mask.any(0).nonzero()[0].max()) + 1
        labels = None
        if given.labels is not None:
            labels = given.labels[rows]
            labels = labels[:, : int((labels != -100).any(0).nonzero()[0].max()) + 1]
        return Batch(given.input_ids[rows, :source], mask[:, :source], labels, classes=given.classes[rows])

    return [part(slice(0, 3)), part(slice(3, None))]


def last(given: Batch, of_target: bool) -> Array:
    """The place of each row's last token."""
    mask = given.labels != -100 if of_target else given.attention_mask == 1
    return mask.shape[1] - 1 - np.argmax(mask[:, ::-1], 1)


def difference(states: Array, places: Array) -> Array:
    rows = states[np.arange(len(places)), places].astype(np.float64)
    return rows[CLASSES == 1].mean(0) - rows[CLASSES == 0].mean(0)


def assert_close(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape and np.abs(expected).max() > 1e-3
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.fixture(scope="module")
def with_plugin(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    library = tmp_path_factory.mktemp("plugin") / "libPrepare.so"
    source = ROOT / "Tests/Fixtures/prepare-plugin/prepare.c"
    options = ["-std=c11", "-shared", "-fPIC", f"-I{ROOT / 'include'}"]
    subprocess.run(["cc", *options, str(source), "-o", str(library)], check=True)
    calibration = library.parent / "libCalibration.so"
    source = ROOT / "Tests/Fixtures/calibration-plugin/calibration.c"
    subprocess.run(["cc", *options, str(source), "-o", str(calibration)], check=True)
    for each in (library, calibration):
        runtime.load_plugin(each)
    return runtime


@pytest.fixture(scope="module")
def models(with_plugin: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    made: dict[str, Model] = {}

    def model(name: str) -> Model:
        if name not in made:
            made[name] = Model(name, tmp_path_factory.mktemp(name), with_plugin)
        return made[name]

    return model


def added(backbone: Backbone, id: str, options: dict[str, Any] | None = None, seam: str | None = None) -> Any:
    session = backbone.session()
    return session, session.add(id, options, seam=seam)


def values(adapter: Adapter) -> dict[str, Array]:
    return {name: each.copy() for name, each in adapter.parameters.items()}


# ---- Points


@pytest.mark.parametrize("several", [False, True], ids=["one batch", "two batches"])
@pytest.mark.parametrize("name, stack", PLACES)
def test_states_of_layers(models: Callable[[str], Model], name: str, stack: str, several: bool) -> None:
    model, given = models(name), examples(name)
    session, adapter = added(model.backbone, "mean-difference", {"stack": stack})
    session.prepare(adapter, halves(given) if several else given)
    layers = list(STACKS[name][stack](model.reference))
    places = last(given, stack == "decoder" and name in ENCODER_DECODERS)
    found = values(adapter)
    assert len(found) == len(layers)
    for index, (_, states) in enumerate(model.recorded(layers, given)):
        assert_close(found[f"{stack}.{index}.direction"], difference(states, places))


@pytest.mark.parametrize("name, stack, point, module", PROJECTIONS)
def test_projections(
    models: Callable[[str], Model], name: str, stack: str, point: str, module: Callable[[Any], Any]
) -> None:
    model, given = models(name), examples(name)
    options = {"stack": stack, "targets": point}
    session, adapter = added(model.backbone, "mean-difference", options, "projection")
    session.prepare(adapter, halves(given))
    layers = [module(each) for each in STACKS[name][stack](model.reference)]
    of_target = stack == "decoder" and name in ENCODER_DECODERS and not point.startswith("cross_")
    places, found = last(given, of_target), values(adapter)
    for index, (x, y) in enumerate(model.recorded(layers, given)):
        assert_close(found[f"{stack}.{index}.{point}.direction"], difference(y, places))
        assert_close(found[f"{stack}.{index}.{point}.input"], difference(x, places))


@pytest.mark.parametrize("name, stack", [("llama", "decoder"), ("t5", "encoder"), ("t5", "decoder")])
def test_embedded_tokens(models: Callable[[str], Model], name: str, stack: str) -> None:
    model, given = models(name), examples(name)
    session, adapter = added(model.backbone, "mean-difference", {"stack": stack}, "prompt.embedding")
    session.prepare(adapter, halves(given))
    of_target = stack == "decoder" and name in ENCODER_DECODERS
    ids = shifted(given, model.reference.config) if of_target else given.input_ids
    embedded = model.reference.get_input_embeddings()(of(ids)).detach().numpy()
    assert_close(adapter.parameters[f"{stack}.embedding.direction"], difference(embedded, last(given, of_target)))


def test_the_last_token_matters(models: Callable[[str], Model]) -> None:
    """Else the comparisons above could not fail."""
    model, given = models("llama"), examples("llama")
    [(_, states), *_] = model.recorded(list(STACKS["llama"]["decoder"](model.reference)), given)
    expected, other = (difference(states, last(given, False) - back) for back in (0, 1))
    assert np.abs(expected - other).max() > 1e3 * TOLERANCE * np.abs(expected).max()


def test_what_comes_before_and_behind(models: Callable[[str], Model]) -> None:
    """Adapters that are attached before are seen, those behind are not, nor the adapter's own values."""
    model, given = models("bart"), examples("bart")
    session, first = added(model.backbone, "mean-difference", {"stack": "encoder"})
    second = session.add("mean-difference", {"stack": "encoder"})
    third = session.add("mean-difference", {"stack": "encoder"})
    session.prepare(second, given)
    alone = values(second)
    session.prepare(third, given)
    assert np.abs(third.parameters["encoder.1.direction"] - alone["encoder.1.direction"]).max() > 1e-3
    session.prepare(second, given)
    assert all(np.array_equal(each, alone[name]) for name, each in second.parameters.items())
    for array in first.parameters.values():
        array[...] = 0.5
    session.prepare(second, given)
    expected = alone["encoder.0.direction"]
    # What is added to every state is in no difference of states of this layer, but of the next.
    assert_close(second.parameters["encoder.0.direction"], expected)
    assert np.abs(second.parameters["encoder.1.direction"] - alone["encoder.1.direction"]).max() > 1e-3


# ---- At the border


@pytest.mark.parametrize("name", ["t5", "bart", "bert"])
def test_encoder_output(models: Callable[[str], Model], name: str) -> None:
    model, given = models(name), examples(name)
    session, adapter = added(model.backbone, "mean-difference", None, "encoder.output")
    session.prepare(adapter, halves(given))
    stack = model.reference.bert.encoder if name == "bert" else model.reference.get_encoder()
    with torch.no_grad():
        base = model.reference.bert if name == "bert" else stack
        states = base(of(given.input_ids), attention_mask=of(given.attention_mask)).last_hidden_state.numpy()
    assert_close(adapter.parameters["direction"], difference(states, last(given, False)))


def test_decoder_output(models: Callable[[str], Model]) -> None:
    """The scores that reach the seam are those of the head before it, of all examples."""
    model, given = models("bert"), examples("bert")
    session = model.backbone.session()
    head = session.add("linear-head", classes=2)
    head.parameters["weight"][...] = np.random.default_rng(0).normal(size=head.parameters["weight"].shape)
    expected = session.classify(given, 2).mean(0)
    calibration = session.add("test-calibration", classes=2)
    session.prepare(calibration, halves(given))
    assert_close(calibration.parameters["shift"], expected)
    assert np.abs(session.classify(given, 2).mean(0)).max() < 1e-4 * np.abs(expected).max()


# ---- Prefixes


def text(name: str, length: int, seed: int = 4) -> Array:
    return np.random.default_rng(seed).integers(4, 50, (1, length)).astype(np.int32)


def heads(projected: Array, width: int) -> Array:
    return projected[0].reshape(projected.shape[1], -1, width).transpose(1, 0, 2)


@pytest.mark.parametrize("name", ["llama", "llama-3", "gpt2", "qwen2"])
def test_a_text_as_a_prefix_of_a_decoder(models: Callable[[str], Model], name: str) -> None:
    """Its keys and values are those of transformers' cache, and what follows it is as behind the text itself."""
    model, ids, rest = models(name), text(name, 9), text(name, 5, 5)
    session, adapter = added(model.backbone, "text-prefix", {"tokens": 9})
    expected = model.backbone.session().forward(Batch(np.concatenate([ids, rest], 1)))[:, 9:]
    session.prepare(adapter, Batch(ids))
    with torch.no_grad():
        cache = model.reference(of(ids), use_cache=True).past_key_values
    for layer, found in enumerate(adapter.parameters.values()):
        keys, own = cache.layers[layer].keys[0].numpy(), cache.layers[layer].values[0].numpy()
        assert_close(found, np.stack([keys, own]))
    assert_close(session.forward(Batch(rest)), expected)


@pytest.mark.parametrize("name", ["t5", "bart"])
@pytest.mark.parametrize("target", [0, 5])
def test_a_text_as_a_prefix_of_an_encoder_decoder(models: Callable[[str], Model], name: str, target: int) -> None:
    model, ids, labels = models(name), text(name, 9), text(name, 5, 5)
    attentions = ["encoder", "cross"] + (["decoder"] if target else [])
    given = Batch(ids, labels=labels) if target else Batch(ids)
    found: dict[str, Array] = {}
    for attention in attentions:
        session, adapter = added(model.backbone, "text-prefix", {"attention": attention, "tokens": 5})
        session.prepare(adapter, given)
        found |= values(adapter)
    reference, width = model.reference, model.backbone.info.head_dim
    start = np.full((1, 1), reference.config.decoder_start_token_id, np.int32)
    with torch.no_grad():
        targets = of(shifted(given, reference.config) if target else start)
        cache = reference(of(ids), decoder_input_ids=targets, use_cache=True).past_key_values
    own, cross = cache.self_attention_cache.layers, cache.cross_attention_cache.layers
    for layer in range(len(own)):
        for attention, each in (("decoder", own[layer]), ("cross", cross[layer])):
            if attention in attentions:
                expected = np.stack([each.keys[0].numpy(), each.values[0].numpy()])[:, :, :5]
                assert_close(found[f"{attention}.{layer}"], expected)
    blocks = STACKS[name]["encoder"](reference)
    modules = [each.layer[0].SelfAttention if name == "t5" else each.self_attn for each in blocks]
    pairs = [(each.k, each.v) if name == "t5" else (each.k_proj, each.v_proj) for each in modules]
    batch = Batch(ids, np.ones_like(ids), labels)
    flat = model.recorded([each for pair in pairs for each in pair], batch)
    for layer in range(len(pairs)):
        expected = np.stack([heads(flat[2 * layer + place][1], width)[:, :5] for place in (0, 1)])
        assert_close(found[f"encoder.{layer}"], expected)


def test_a_text_as_a_prefix_of_an_encoder(models: Callable[[str], Model]) -> None:
    model, ids = models("bert"), text("bert", 7)
    session, adapter = added(model.backbone, "text-prefix", {"tokens": 7})
    session.prepare(adapter, Batch(ids))
    pairs = [
        (each.attention.self.key, each.attention.self.value) for each in STACKS["bert"]["encoder"](model.reference)
    ]
    flat = model.recorded([each for pair in pairs for each in pair], Batch(ids, np.ones_like(ids)))
    for layer in range(len(pairs)):
        expected = np.stack([heads(flat[2 * layer + place][1], model.backbone.info.head_dim) for place in (0, 1)])
        assert_close(adapter.parameters[f"encoder.{layer}"], expected)


def test_a_text_behind_another_prefix(models: Callable[[str], Model]) -> None:
    """The text is read behind what the adapters before give: two halves are the whole."""
    model, ids, rest = models("llama"), text("llama", 8), text("llama", 5, 5)
    expected = model.backbone.session().forward(Batch(np.concatenate([ids, rest], 1)))[:, 8:]
    session, first = added(model.backbone, "text-prefix", {"tokens": 4})
    session.prepare(first, Batch(ids[:, :4]))
    second = session.add("text-prefix", {"tokens": 4})
    session.prepare(second, Batch(ids[:, 4:]))
    assert_close(session.forward(Batch(rest)), expected)


def test_tokens_of_a_prefix(models: Callable[[str], Model]) -> None:
    model = models("gpt2")
    session, prefix = added(model.backbone, "prefix-tuning", {"prefix_length": 3, "reparameterization": "none"})
    mean = session.add("prefix-mean")
    session.prepare(mean)
    [numbers] = prefix.parameters.values()
    assert_close(mean.parameters["mean"], numbers.reshape(len(numbers), -1).astype(np.float64).mean(1))


# ---- Several at once, refusals


def test_progress_and_stop(models: Callable[[str], Model]) -> None:
    model, given = models("gpt2"), halves(examples("gpt2"))
    session, adapter = added(model.backbone, "mean-difference")
    told: list[tuple[str, int, int]] = []

    def note(state: Progress) -> bool:
        told.append((state.activity, state.done, state.total))
        return state.done < 1

    with pytest.raises(SeamError, match="the preparation was stopped after 1 of 2 batches"):
        session.prepare(adapter, given, progress=note)
    assert told == [("prepare", 0, 2), ("prepare", 1, 2)]
    assert all(not each.any() for each in adapter.parameters.values())


def test_an_adapter_that_starts_from_nothing_is_left_alone(models: Callable[[str], Model]) -> None:
    session, adapter = added(models("gpt2").backbone, "lora")
    before = values(adapter)
    session.prepare(adapter, examples("gpt2"))
    assert all(np.array_equal(before[name], each) for name, each in adapter.parameters.items())


def refused(session: Session, adapter: Adapter, batches: Any, sentence: str) -> None:
    before = values(adapter)
    with pytest.raises(SeamError, match=sentence):
        session.prepare(adapter, batches)
    assert all(np.array_equal(before[name], each) for name, each in adapter.parameters.items())


def test_refusals(models: Callable[[str], Model]) -> None:
    backbone, given = models("bart").backbone, examples("bart")
    session, adapter = added(backbone, "mean-difference")
    ids, mask, labels = given.input_ids, given.attention_mask, given.labels
    refused(session, adapter, [], "starts from examples, and there are none")
    refused(
        session, adapter, Batch(ids, mask, labels), "it takes examples of class 1 and of class 0, and there are none"
    )
    refused(session, adapter, Batch(ids, mask, labels, classes=CLASSES * 2), "class 1 has none")
    refused(session, adapter, Batch(ids, mask, labels, classes=CLASSES - 1), "from 0 and each has an example, found -1")
    refused(session, adapter, [given, Batch(ids, mask, labels)], "a class or none, found 5 of 10")
    refused(
        session, adapter, Batch(ids, mask, classes=CLASSES), 'inside the decoder, at "decoder.0": the examples need'
    )
    routed = Batch(ids, mask, labels, classes=CLASSES, routes=["other"] * 5)
    refused(session, adapter, routed, "the examples must be without routes")
    other = backbone.session()
    refused(other, adapter, given, "is not attached")
    session.begin_training()
    refused(session, adapter, given, "cannot be prepared during training")
    session.end_training()


def test_refusals_of_prefixes(models: Callable[[str], Model]) -> None:
    backbone = models("llama").backbone
    session, adapter = added(backbone, "text-prefix", {"tokens": 6})
    ids = text("llama", 8)
    refused(session, adapter, Batch(np.repeat(ids, 2, 0)), "starts from the keys and values of one text, found 2")
    refused(session, adapter, Batch(ids, np.array([[1] * 7 + [0]], np.int32)), "it must be without padding")
    refused(session, adapter, Batch(ids[:, :5]), "the text has 5 tokens, fewer than the prefix")
    mean = session.add("prefix-mean")
    refused(session, mean, Batch(ids), "there must be no examples, found 1")
    bart, whole = added(models("bart").backbone, "text-prefix", {"tokens": 4})
    refused(bart, whole, Batch(ids), "the text has no keys and values at decoder.0")


def test_a_backbone_without_keys_and_values(with_plugin: Runtime, tmp_path: Path) -> None:
    library = tmp_path / "libTinyLayers.so"
    source = next((ROOT / "Tests/Fixtures/layers-plugin").glob("*.c"))
    options = ["-std=c11", "-shared", "-fPIC", f"-I{ROOT / 'include'}"]
    subprocess.run(["cc", *options, str(source), "-o", str(library), "-lm"], check=True)
    with_plugin.load_plugin(library)
    session, adapter = added(with_plugin.open(id="tiny-layers"), "text-prefix", {"tokens": 2})
    refused(session, adapter, Batch([[1, 2, 3]]), "does not hand out the keys and values of a text")


def test_on_a_named_route(models: Callable[[str], Model]) -> None:
    model, given = models("gpt2"), examples("gpt2")
    session, adapter = added(model.backbone, "mean-difference")
    session.prepare(adapter, given)
    named = session.add("mean-difference", route="other")
    session.prepare(named, given, route="other")
    assert all(np.array_equal(each, named.parameters[name]) for name, each in adapter.parameters.items())
