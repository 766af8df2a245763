"""Encoders of today against transformers: gradients of all weights, and adapters at each seam."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy, relu
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention

import single_stack
from command_line import seam
from prefix_reference import _joined, adapter, attentions, joined_attention
from repcali_reference import RepCali
from seam_abi import Array, SeamError
from seam_objects import Adapter, Backbone, Batch, Runtime
from single_stack import ENCODERS, electra, modernbert, padded, save
from test_training import EPSILON, RATE
from tiny_models import randomise

# Of the largest value: f32 on both sides, sums in another order (as in test_encoders.py).
TOLERANCE = 1e-5

# Each with the matrices of a layer as transformers names them, by the names of their points.
BERT = {"o": "attention.output.dense", "up": "intermediate.dense", "down": "output.dense"}
DEBERTA = BERT | {"q": "query_proj", "k": "key_proj", "v": "value_proj"}
MODERN = {"qkv": "Wqkv", "o": "attn.Wo", "gate_up": "Wi", "down": "mlp.Wo"}
FAMILIES: dict[str, dict[str, str]] = {
    "distilbert": {"q": "q_lin", "k": "k_lin", "v": "v_lin", "o": "out_lin", "up": "lin1", "down": "lin2"},
    "electra": BERT | {"q": "query", "k": "key", "v": "value"},
    "mpnet": {
        "q": "attn.q",
        "k": "attn.k",
        "v": "attn.v",
        "o": "attn.o",
        "up": "intermediate.dense",
        "down": "output.dense",
    },
    "modernbert": MODERN,
    "modernbert-biases": MODERN,
    "deberta-v3": DEBERTA,
    "deberta-own-projections": DEBERTA,
}
# Their models know no past in transformers: a prefix has no position there.
UNMOVED = [name for name in FAMILIES if name != "electra"]


class Model:
    """A saved model, and what transformers makes of it, each time anew."""

    def __init__(self, name: str, path: Path, runtime: Runtime):
        self.name, self.path = name, save(name, path)
        self.backbone: Backbone = runtime.open(self.path)

    def hugging_face(self, attention: str = "eager") -> Any:
        kind = type(ENCODERS[self.name]())
        return kind.from_pretrained(self.path, dtype=torch.float32, attn_implementation=attention).eval()

    def layers(self, model: Any) -> list[torch.nn.Module]:
        [found] = [each for each in model.modules() if isinstance(each, torch.nn.ModuleList)]
        return list(found)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Model:
    return Model(request.param, tmp_path_factory.mktemp(request.param), runtime)


def given(seed: int, front: bool = False) -> tuple[Batch, dict[str, torch.Tensor], Array]:
    ids, mask = padded(seed, front)
    inputs = {"input_ids": torch.from_numpy(ids).long(), "attention_mask": torch.from_numpy(mask).long()}
    return Batch(ids, mask), inputs, mask == 1


def assert_same(model: Model, adapters: list[Adapter], expected: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """States and scores, of texts padded on either side; and the adapters matter to them."""
    for front in (False, True):
        batch, inputs, visible = given(3, front)
        logits, hidden = model.backbone.session(*adapters).forward_with_hidden(batch)
        with torch.no_grad():
            output = expected(inputs)
        for found, wanted in ((logits, output.logits), (hidden, output.hidden_states[-1])):
            difference = np.abs(found - wanted.numpy())[visible]
            assert difference.max() <= TOLERANCE * wanted.abs().max()
        plain = model.backbone.session().forward(batch)
        assert np.abs(plain - logits)[visible].max() > 0.01 * np.abs(plain).max()


def disturbed(made: Adapter) -> Adapter:
    random = np.random.default_rng(5)
    for view in made.parameters.values():
        view += random.normal(0, 0.3, view.shape).astype(np.float32)
    return made


def test_gradients_of_all_weights(model: Model, runtime: Runtime, tmp_path: Path) -> None:
    """With an epsilon far above every gradient the first step of Adam is the gradient, times rate / epsilon."""
    before, backbone = load_file(model.path / "model.safetensors"), runtime.open(model.path)
    ids, mask = padded(1, False)
    labels = np.where(mask == 1, np.roll(ids, 1), -100).astype(np.int32)
    session = backbone.session()
    session.begin_training(
        train_backbone=1, backbone_learning_rate=RATE, epsilon=EPSILON, weight_decay=0, max_grad_norm=0
    )
    report = session.train_step(Batch(ids, mask, labels))
    session.end_training()
    backbone.save(tmp_path / "trained")
    after = load_file(tmp_path / "trained" / "model.safetensors")
    reference = model.hugging_face()
    logits = reference(
        **{name: torch.from_numpy(each).long() for name, each in (("input_ids", ids), ("attention_mask", mask))}
    ).logits
    loss = cross_entropy(logits.flatten(0, 1), torch.from_numpy(labels).long().flatten())
    loss.backward()
    expected = {key: each.grad for key, each in reference.named_parameters() if each.grad is not None}
    norm = torch.stack([each.norm() for each in expected.values()]).norm().item()
    assert report.loss == pytest.approx(loss.item(), rel=1e-5)
    assert report.gradient_norm == pytest.approx(norm, rel=1e-4)
    for key, gradient in expected.items():
        found = (before[key] - after[key]) * (EPSILON / RATE)
        # Of the tensor's largest, and of all: a key's bias may have no gradient but rounding noise.
        assert (found - gradient).abs().max().item() <= 1e-4 * gradient.abs().max().item() + 1e-6 * norm, key


def test_lora_from_peft(model: Model, tmp_path: Path) -> None:
    """On every matrix of the layers: PEFT's is on distances, too, where these share the matrices of tokens."""
    targets, points = list(FAMILIES[model.name].values()), set(FAMILIES[model.name])
    torch.manual_seed(0)
    there = peft.get_peft_model(model.hugging_face(), peft.LoraConfig(r=3, lora_alpha=5, target_modules=targets)).eval()
    with torch.no_grad():
        for name, each in there.named_parameters():
            if "lora_" in name:
                each.normal_(0, 0.2)
    there.save_pretrained(tmp_path / "peft")
    seam(
        "import", "--model", model.path, "--format", "peft", "--input", tmp_path / "peft", "--output", tmp_path / "own"
    )
    lora = model.backbone.load(tmp_path / "own")
    assert {name.split(".")[2] for name in lora.parameters} == points
    assert_same(model, [lora], lambda inputs: there(**inputs, output_hidden_states=True))
    # Written again it is for the bare model, whose head is none of PEFT's matters.
    seam(
        "export",
        "--model",
        model.path,
        "--adapter",
        tmp_path / "own",
        "--format",
        "peft",
        "--output",
        tmp_path / "again",
    )
    whole = model.hugging_face()
    peft.PeftModel.from_pretrained(whole.base_model, tmp_path / "again")
    assert_same(model, [lora], lambda inputs: whole(**inputs, output_hidden_states=True))
    # Merged, and rows of one batch with and without it.
    batch, _, visible = given(3)
    session = model.backbone.session(lora)
    found = session.forward(batch)
    session.merge(lora)
    assert np.abs(session.forward(batch) - found)[visible].max() <= TOLERANCE * np.abs(found).max()
    session.unmerge(lora)


def test_repcali(model: Model) -> None:
    made = disturbed(model.backbone.adapter("repcali"))
    block, reference = RepCali(made), model.hugging_face()

    def calibrate(_: Any, __: Any, output: Any) -> Any:
        output.last_hidden_state = block(output.last_hidden_state)
        return output

    reference.base_model.register_forward_hook(calibrate)

    def expected(inputs: dict[str, torch.Tensor]) -> Any:
        output = reference(**inputs, output_hidden_states=True)
        output.hidden_states = (reference.base_model(**inputs).last_hidden_state,)
        return output

    assert_same(model, [made], expected)


def test_layer_outputs(model: Model) -> None:
    made = disturbed(model.backbone.adapter("bottleneck-adapter", {"bottleneck_size": 5, "layers": "0,2"}))
    values = {name: torch.from_numpy(view.copy()) for name, view in made.parameters.items()}
    reference = model.hugging_face()

    def behind(index: int) -> Callable[..., Any]:
        down, first, up, second = (
            values[f"encoder.{index}.adapter_{each}"]
            for each in ("down.0.weight", "down.0.bias", "up.weight", "up.bias")
        )

        def hook(_: Any, __: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            hidden = hidden + relu(hidden @ down.T + first) @ up.T + second
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        return hook

    for index in (0, 2):
        model.layers(reference)[index].register_forward_hook(behind(index))
    assert_same(model, [made], lambda inputs: reference(**inputs, output_hidden_states=True))


# ---- Prefixes, where transformers knows no past


def mpnet(self: Any, hidden: torch.Tensor, mask: torch.Tensor, bias: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
    parts = (
        each(hidden).unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2) for each in (self.q, self.k, self.v)
    )
    scale = 1 / math.sqrt(self.attention_head_size)
    return (self.o(joined_attention(self, *parts, mask, scaling=scale, position_bias=bias)[0].flatten(2)),)


def deberta(
    self: Any, hidden: torch.Tensor, mask: torch.Tensor, _: Any, relative_pos: Any, rel_embeddings: Any, **__: Any
) -> tuple[torch.Tensor, None]:
    heads, factor = self.num_attention_heads, 1 + len(self.pos_att_type)
    parts = [
        self.transpose_for_scores(each(hidden), heads) for each in (self.query_proj, self.key_proj, self.value_proj)
    ]
    bias = self.disentangled_attention_bias(*parts[:2], relative_pos, rel_embeddings, factor).unflatten(0, (-1, heads))
    scale = 1 / math.sqrt(self.attention_head_size * factor)
    split = (each.unflatten(0, (-1, heads)) for each in parts)
    return joined_attention(self, *split, (mask - 1) * 1e30, scaling=scale, position_bias=bias)[0].flatten(2), None


@contextmanager
def prefixed(model: Model, numbers: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(MPNetSelfAttention, "forward", mpnet)
    monkeypatch.setattr(DisentangledSelfAttention, "forward", deberta)
    own = model.name.startswith(("mpnet", "deberta"))
    reference = model.hugging_face("eager" if own else "joined")
    name = {"distilbert": "attention", "deberta": "self"}.get(model.name.partition("-")[0], "attn")
    modules = attentions(reference.base_model, name)
    assert len(modules) == len(numbers)
    _joined.update(zip(modules, numbers, strict=True))
    try:
        yield reference
    finally:
        _joined.clear()


def test_a_prefix_has_no_position(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    if model.name not in UNMOVED:
        return  # test_prefix.py has it
    info = model.backbone.info
    assert info.max_prefix_length[0] == 0
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randn(info.encoder_layers, 2, info.kv_heads, 5, info.head_dim, generator=generator)
    adapters = adapter(model.backbone, {"encoder": numbers})
    with prefixed(model, numbers, monkeypatch) as reference:
        assert_same(model, adapters, lambda inputs: reference(**inputs, output_hidden_states=True))


# ---- What is not followed

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "convolution": ("deberta-v3", {"conv_kernel_size": 3}, "'conv_kernel_size' is 3; expected 0"),
    "scores": ("deberta-v3", {"pos_att_type": ["c2p", "p2p"]}, "'pos_att_type' lists 'p2p'; expected c2p and p2c"),
    "score names": ("deberta-v3", {"pos_att_type": "c2p+p2c"}, "'pos_att_type' is 'c2p+p2c'"),
    "norm of distances": ("deberta-v3", {"norm_rel_ebd": "rms_norm"}, "'norm_rel_ebd' is 'rms_norm'; expected none or"),
    "buckets": (
        "deberta-v3",
        {"position_buckets": 60},
        "'position_buckets' is 60 and the farthest relative position 20",
    ),
    "heads": ("deberta-v3", {"attention_head_size": 8}, "'attention_head_size' is 8; expected 6"),
    "head": ("deberta-own-projections", {"legacy": False}, "'legacy' is false and 'embedding_size' 12; expected"),
    "mpnet buckets": ("mpnet", {"relative_attention_num_buckets": 16}, "'relative_attention_num_buckets' is 16"),
    "mpnet positions": (
        "mpnet",
        {"max_position_embeddings": 2},
        "'max_position_embeddings' is 2; expected more than 2",
    ),
    "pooling": ("modernbert", {"classifier_pooling": "max"}, "'classifier_pooling' is 'max'; expected cls or mean"),
    "layers": ("modernbert", {"layer_types": ["full_attention"]}, "'layer_types' has 1 layers; expected the 3"),
    "local positions": (
        "modernbert",
        {"rope_parameters": {"sliding_attention": {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 2.0}}},
        "the rotary positions of 'sliding_attention' depend on the text's length",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_config_is_one_sentence(runtime: Runtime, tmp_path: Path, case: str) -> None:
    name, changes, sentence = REFUSED[case]
    path = save(name, tmp_path / "model")
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(SeamError) as caught:
        runtime.open(path)
    assert sentence in caught.value.message


def test_a_pooler_that_the_family_lacks(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(SeamError, match="'pooling' is 'pooler', but 'distilbert' has no tanh layer"):
        runtime.open(save("distilbert", tmp_path / "model"), options={"pooling": "pooler"})


@pytest.mark.parametrize("kind", ["cls", "mean"])
def test_modernbert_pools_as_its_classifier(runtime: Runtime, tmp_path: Path, kind: str) -> None:
    model = modernbert(classifier_pooling=kind)
    model.save_pretrained(tmp_path)
    batch, _, visible = given(2)
    states = runtime.open(tmp_path).session().encode(batch)
    expected = [
        row[shown][0] if kind == "cls" else row[shown].mean(0) for row, shown in zip(states, visible, strict=True)
    ]
    assert runtime.open(tmp_path).session().pool(batch) == pytest.approx(np.stack(expected), abs=1e-5)


def test_a_sentence_encoder_of_mpnet(runtime: Runtime, tmp_path: Path) -> None:
    """The layout of all-mpnet-base-v2, whose files go before what a family takes."""
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {"idx": index, "path": f"{index}_{kind}" if index else "", "type": f"sentence_transformers.models.{kind}"}
        for index, kind in enumerate(kinds)
    ]
    modes = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}
    for name, make in (("mpnet", ENCODERS["mpnet"]), ("modernbert", modernbert)):
        path = tmp_path / name
        make().save_pretrained(path)
        (path / "1_Pooling").mkdir()
        (path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 24} | modes))
        (path / "modules.json").write_text(json.dumps(modules))
        (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 30, "do_lower_case": False}))
        batch, _, visible = given(2)
        states = runtime.open(path).session().encode(batch)
        mean = np.stack([row[shown].mean(0) for row, shown in zip(states, visible, strict=True)])
        expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        found = runtime.open(path, options={"normalize": True}).session().pool(batch)
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "kind", [hf.ElectraForPreTraining, hf.ModernBertForSequenceClassification, hf.DebertaV2ForTokenClassification]
)
def test_heads_of_other_tasks_are_none(runtime: Runtime, tmp_path: Path, kind: Any) -> None:
    """A discriminator, and classifiers: their states are read, their heads are not taken for the vocabulary's."""
    make = {"Electra": electra, "ModernBert": modernbert, "DebertaV2": single_stack.deberta}
    model = next(each for name, each in make.items() if kind.__name__.startswith(name))(kind)
    randomise(model, 0)
    model.save_pretrained(tmp_path)
    backbone = runtime.open(tmp_path)
    assert not backbone.info.has_head
    batch, inputs, visible = given(1)
    with torch.no_grad():
        expected = kind.from_pretrained(tmp_path).eval().base_model(**inputs).last_hidden_state.numpy()
    assert np.abs(backbone.session().encode(batch) - expected)[visible].max() <= TOLERANCE * np.abs(expected).max()


def test_modernbert_of_transformers_4(runtime: Runtime, tmp_path: Path) -> None:
    """Which layers see all, and the two bases, as its configurations said it."""
    model = modernbert(
        num_hidden_layers=4,
        layer_types=[f"{'sliding' if layer % 2 else 'full'}_attention" for layer in range(4)],
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 300.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
        },
    )
    randomise(model, 0)
    model.save_pretrained(tmp_path)
    batch, _, visible = given(1)
    expected = runtime.open(tmp_path).session().forward(batch)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    del config["layer_types"], config["rope_parameters"]
    older = {"global_attn_every_n_layers": 2, "global_rope_theta": 300.0, "local_rope_theta": 20.0}
    file.write_text(json.dumps(config | older))
    assert np.array_equal(runtime.open(tmp_path).session().forward(batch), expected)
    with torch.no_grad():
        found = hf.ModernBertForMaskedLM.from_pretrained(tmp_path, attn_implementation="eager")(**given(1)[1]).logits
    assert np.abs(expected - found.numpy())[visible].max() <= TOLERANCE * np.abs(expected).max()
