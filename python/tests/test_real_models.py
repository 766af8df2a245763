"""The same adapter files both ways on published models: trained natively and read by torch, trained on there and read
back, and measured by the program `seam`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

import seamkit
import seamkit.torch as engine
from command_line import seam
from single_stack import places

# Of the largest: what is promised is 1e-4. Thirty layers in f32, summed in another order, leave 1.3e-5.
TOLERANCE = 5e-5
PREFIX = {"prefix_length": 4, "mlp_hidden_size": 16}


@dataclass
class Real:
    path: Path
    model: Any
    backbone: seamkit.Backbone
    tokenizer: seamkit.Tokenizer


def named(variable: str) -> Path:
    if not (path := os.environ.get(variable)):
        pytest.skip(f"{variable} names no model: adapters are not tried on it")
    return Path(path)


@pytest.fixture(scope="module")
def annalog(runtime: seamkit.Runtime) -> Real:
    path = named("SEAM_REAL_MODEL")
    model = hf.AutoModelForSeq2SeqLM.from_pretrained(path, dtype=torch.float32).eval()
    return Real(path, model, runtime.open(path), seamkit.Tokenizer(path))


@pytest.fixture(scope="module")
def minilm(runtime: seamkit.Runtime) -> Real:
    path = named("SEAM_MINILM")
    model = hf.AutoModel.from_pretrained(path, dtype=torch.float32).eval()
    return Real(path, model, runtime.open(path), seamkit.Tokenizer(path))


@pytest.fixture(scope="module")
def smollm(runtime: seamkit.Runtime) -> Real:
    path = named("SEAM_SMOLLM")
    model = hf.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    return Real(path, model, runtime.open(path), seamkit.Tokenizer(path))


@pytest.fixture(autouse=True)
def detached(request: pytest.FixtureRequest) -> Any:
    """The models are shared by the tests."""
    yield
    for name in {"annalog", "minilm", "smollm"} & set(request.fixturenames):
        seamkit.detach(request.getfixturevalue(name).model)


def rows(lists: list[list[int]], pad: int, front: bool = False) -> np.ndarray[Any, Any]:
    width = max(map(len, lists))
    return np.array(
        [[pad] * (width - len(each)) * front + each + [pad] * (width - len(each)) * (not front) for each in lists],
        np.int32,
    )


def long(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array)).long()


def assert_close(found: Any, expected: Any, mask: Any = None) -> None:
    found, expected = (each.detach().numpy() if isinstance(each, torch.Tensor) else each for each in (found, expected))
    if mask is not None:
        found, expected = found[np.asarray(mask) == 1], expected[np.asarray(mask) == 1]
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def train(adapters: list[Any], loss: Any, steps: int = 3, learning_rate: float = 1e-2) -> list[float]:
    optimizer = torch.optim.AdamW([each for one in adapters for each in one.parameters()], learning_rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


# ---- RepCali in an encoder-decoder

PAIRS = [
    ("Oc1ccccc1", "COc1ccccc1"),
    ("CCO", "CCOC"),
    ("CC(=O)O", "COC(C)=O"),
    ("Nc1ccccc1", "CN(C)c1ccccc1"),
    ("CCN", "CCN(C)C"),
    ("OCCO", "COCCOC"),
    ("O=C(O)c1ccccc1", "COC(=O)c1ccccc1"),
    ("CCCO", "CCCOC"),
]


def pairs(real: Real) -> tuple[seamkit.Batch, dict[str, torch.Tensor]]:
    config = real.model.config
    sources = [real.tokenizer.encode(source) for source, _ in PAIRS]
    # The tokenizer puts the start token before a text; the decoder is given it as its first input.
    targets = [real.tokenizer.encode(target)[1:] for _, target in PAIRS]
    ids, labels = rows(sources, config.pad_token_id), rows(targets, -100)
    mask = rows([[1] * len(each) for each in sources], 0)
    given = np.roll(np.where(labels == -100, config.pad_token_id, labels), 1, 1)
    given[:, 0] = config.decoder_start_token_id
    batch = seamkit.Batch(ids, mask, labels, given)
    return batch, {"input_ids": long(ids), "attention_mask": long(mask), "labels": long(labels)}


def test_repcali(annalog: Real, tmp_path: Path) -> None:
    batch, given = pairs(annalog)
    session = annalog.backbone.session()
    native = session.add("repcali", {"lambda": 0.5}, seed=3)
    session.begin_training(learning_rate=1e-2)
    for _ in range(5):
        session.train_step(batch)
    session.end_training()
    native.save(tmp_path / "native")
    with torch.no_grad():
        plain = annalog.model(**given).logits
    adapter = seamkit.load(tmp_path / "native", annalog.model)
    assert isinstance(adapter, engine.Adapter)
    logits = annalog.model(**given).logits
    assert_close(logits, session.forward(batch))
    assert (logits - plain).abs().max() > 0.1, "five steps did something"
    train([adapter], lambda: annalog.model(**given).loss)
    adapter.save(tmp_path / "torch")
    back = annalog.backbone.session(annalog.backbone.load(tmp_path / "torch"))
    trained = annalog.model(**given).logits
    assert (trained - logits).abs().max() > 0.1
    assert_close(trained, back.forward(batch))


def test_repcali_is_measured_alike(annalog: Real, tmp_path: Path) -> None:
    """Twenty steps in torch, then `seam evaluate`: the same loss, the same texts and so the same metric."""
    _, given = pairs(annalog)
    adapter = seamkit.attach(annalog.model, "repcali", random_seed=1)
    losses = train([adapter], lambda: annalog.model(**given).loss, 20, 3e-3)
    assert losses[-1] < losses[0] / 1.5
    adapter.save(tmp_path / "adapter")
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps({"source": a, "target": b}) + "\n" for a, b in PAIRS))
    found = json.loads(
        seam(
            "evaluate",
            "--model",
            annalog.path,
            "--adapter",
            tmp_path / "adapter",
            "--data",
            data,
            "--json",
            "--beams",
            "3",
            "--predictions",
            tmp_path / "predictions.jsonl",
        )
    )
    with torch.no_grad():
        output = annalog.model(**given)
        texts = annalog.model.generate(
            input_ids=given["input_ids"], attention_mask=given["attention_mask"], num_beams=3, do_sample=False
        )
    counted = given["labels"] != -100
    right = (output.logits.argmax(-1) == given["labels"])[counted].float().mean().item() * 100
    predictions = [annalog.tokenizer.decode(each) for each in texts.tolist()]
    written = [json.loads(line)["prediction"] for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert written == predictions
    exact = 100 * np.mean([text == target for text, (_, target) in zip(predictions, PAIRS, strict=True)])
    assert 0 < exact < 100, "a metric that tells something"
    assert found["loss"] == pytest.approx(output.loss.item(), rel=1e-5)
    assert found["token_accuracy"] == pytest.approx(right) and found["exact_match"] == pytest.approx(exact)


# ---- A prefix and a gate in a decoder and in an encoder

SENTENCES = [
    ("a gripping, funny and tender film", 1),
    ("dull from its first minute to the last", 0),
    ("the best performance of the year", 1),
    ("nobody in it seems to be awake", 0),
    ("i left with a smile", 1),
    ("a mess without a single idea", 0),
]


def add(session: seamkit.Session, classes: int = 0) -> list[seamkit.Adapter]:
    made = [session.add("residual-prefix", PREFIX, seed=2), session.add("gate", {"scope": "token-layer"}, seed=2)]
    return made + ([session.add("linear-head", classes=classes, seed=2)] if classes else [])


def test_a_prefix_and_a_gate_in_a_decoder(smollm: Real, tmp_path: Path) -> None:
    lists = [smollm.tokenizer.encode(text) for text, _ in SENTENCES[:3]]
    mask = rows([[1] * len(each) for each in lists], 0, front=True)
    ids = rows(lists, smollm.model.config.eos_token_id, front=True)
    labels = np.where((mask == 1) & (np.roll(mask, 1, 1) == 1), ids, -100).astype(np.int32)
    batch = seamkit.Batch(ids, mask, labels)
    given = {"input_ids": long(ids), "attention_mask": long(mask), "position_ids": long(places(mask))}
    session = smollm.backbone.session()
    natives = add(session)
    session.begin_training(learning_rate=1e-2)
    for _ in range(3):
        session.train_step(batch)
    session.end_training()
    for index, each in enumerate(natives):
        each.save(tmp_path / f"native-{index}")
        seamkit.load(tmp_path / f"native-{index}", smollm.model)
    with torch.no_grad():
        logits = smollm.model(**given).logits
    assert_close(logits, session.forward(batch), mask)
    attached = engine.attached(smollm.model)
    train(attached, lambda: smollm.model(**given, labels=long(labels)).loss)
    seamkit.save(smollm.model, tmp_path / "torch")
    back = smollm.backbone.session()
    back.load(tmp_path / "torch")
    with torch.no_grad():
        trained = smollm.model(**given).logits
    assert (trained - logits).abs()[mask == 1].max() > 0.1
    assert_close(trained, back.forward(batch), mask)
    # And a generation, greedy, from prompts padded in front.
    found = smollm.model.generate(
        input_ids=given["input_ids"], attention_mask=given["attention_mask"], max_new_tokens=6, do_sample=False
    )
    expected = back.generate(seamkit.Batch(ids, mask), smollm.backbone.generate_options(max_new_tokens=6, num_beams=1))
    for mine, [theirs] in zip(found[:, ids.shape[1] :].tolist(), expected, strict=True):
        assert mine[: len(theirs.tokens)] == theirs.tokens


def test_a_prefix_and_a_gate_in_an_encoder(minilm: Real, tmp_path: Path) -> None:
    """Trained by `seam train` with a linear head, which is called on the mean of the hidden states."""
    data = tmp_path / "texts.tsv"
    data.write_text("text\tlabel\n" + "".join(f"{text}\t{('bad', 'good')[label]}\n" for text, label in SENTENCES))
    seam(
        "train",
        "--model",
        minilm.path,
        "--task",
        "classification",
        "--adapter",
        "residual-prefix+gate",
        "--option",
        "prefix_length=4",
        "--option",
        "mlp_hidden_size=16",
        "--train",
        data,
        "--dev",
        data,
        "--steps",
        "4",
        "--batch-size",
        "6",
        "--learning-rate",
        "1e-2",
        "--keep-reparameterization",
        "--output",
        tmp_path / "run",
    )
    folder = tmp_path / "run/adapter"
    names = json.loads((folder / "adapter_config.json").read_text())["adapters"]
    assert names == ["1-residual-prefix", "2-gate", "3-linear-head"]
    loaded = seamkit.load(folder, minilm.model)
    assert isinstance(loaded, list) and engine.attached(minilm.model) == loaded[:2]
    head = loaded[2]
    lists = [minilm.tokenizer.encode(text) for text, _ in SENTENCES]
    ids, mask = rows(lists, 0), rows([[1] * len(each) for each in lists], 0)
    labels = torch.tensor([label for _, label in SENTENCES])

    def states() -> torch.Tensor:
        found: torch.Tensor = minilm.model(input_ids=long(ids), attention_mask=long(mask)).last_hidden_state
        return found

    def scores() -> torch.Tensor:
        weights = torch.from_numpy(mask)[..., None].float()
        pooled = (states() * weights).sum(1) / weights.sum(1)
        result: torch.Tensor = head(torch.zeros(len(ids), 2), pooled)
        return result

    found = scores()
    told = json.loads(seam("evaluate", "--model", minilm.path, "--adapter", folder, "--data", data, "--json"))
    assert told["loss"] == pytest.approx(torch.nn.functional.cross_entropy(found, labels).item(), rel=1e-5)
    assert told["accuracy"] == pytest.approx(100 * (found.argmax(1) == labels).float().mean().item())
    parts = [*engine.attached(minilm.model), head]
    train(parts, lambda: torch.nn.functional.cross_entropy(scores(), labels))
    seamkit.save(minilm.model, tmp_path / "torch", heads=[head], labels=["poor", "fine"])
    session = minilm.backbone.session()
    session.load(tmp_path / "torch")
    answers = seam(
        "classify", "--model", minilm.path, "--adapter", tmp_path / "torch", *[text for text, _ in SENTENCES]
    )
    batch, trained = seamkit.Batch(ids, mask), scores()
    assert (trained - found).abs().max() > 0.01
    assert_close(states(), session.encode(batch), mask)
    assert_close(trained, session.classify(batch, 2))
    wanted = [("poor", "fine")[each] for each in trained.argmax(1)]
    assert all(name in line for name, line in zip(wanted, answers.splitlines(), strict=True)), answers
    with pytest.raises(seamkit.InvalidArgumentError, match="must name the 2 classes"):
        seamkit.save(minilm.model, tmp_path / "none", heads=[head], labels=["poor"])
    with pytest.raises(seamkit.InvalidArgumentError, match='found adapter "gate" on prefix.tokens'):
        seamkit.save(minilm.model, tmp_path / "none", heads=parts[1:2])
    with pytest.raises(seamkit.InvalidArgumentError, match="labels are for heads"):
        seamkit.save(minilm.model, tmp_path / "none", labels=["poor", "fine"])


# ---- DecT on a decoder's features


def test_dect(smollm: Real, tmp_path: Path) -> None:
    """Features of transformers: the states that the head reads at the last token, and probabilities of two words."""
    words = [smollm.tokenizer.encode(" bad")[-1], smollm.tokenizer.encode(" good")[-1]]

    def features(text: str) -> tuple[torch.Tensor, torch.Tensor]:
        ids = long([smollm.tokenizer.encode(f"Review: {text} The film was")])
        output = smollm.model(input_ids=ids, output_hidden_states=True)
        return output.logits[0, -1].softmax(-1)[words], output.hidden_states[-1][0, -1]

    with torch.no_grad():
        every = [features(text) for text, _ in SENTENCES]
        empty = features("")[0][None]
    scores, hidden = (torch.stack([each[part] for each in every]) for part in (0, 1))
    labels = torch.tensor([label for _, label in SENTENCES])
    native = smollm.backbone.classifier("dect", 2, seed=1)
    losses = native.fit(scores.numpy(), hidden.numpy(), labels.numpy(), empty.numpy()[0], epochs=5)
    assert losses[-1] < losses[0]
    native.save(tmp_path / "native")
    adapter = engine.read_adapter(tmp_path / "native", smollm.model)
    found = adapter(scores, hidden)
    assert_close(found, native.classify(scores.numpy(), hidden.numpy()))
    train([adapter], lambda: torch.nn.functional.cross_entropy(adapter(scores, hidden), labels))
    adapter.save(tmp_path / "torch", smollm.model)
    trained, back = adapter(scores, hidden), smollm.backbone.load(tmp_path / "torch")
    assert (trained - found).abs().max() > 1e-3
    assert_close(trained, back.classify(scores.numpy(), hidden.numpy()))
