"""`seam train` and `seam evaluate` on a file of the E2E challenge, with a decoder-only model, against transformers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import LlamaForCausalLM

from command_line import run, seam
from single_stack import llama
from tiny_models import END, PAD, randomise

BEGIN = 0
ROWS = [
    ("name[Blue Wok], eatType[pub], customer rating[low]", "Blue Wok is a pub."),
    ("name[Café Luna], area[riverside]", "Café Luna, by the river."),
    ("name[Blue Wok], eatType[pub], customer rating[low]", "A poor pub: Blue Wok."),
    ("name[Pier 39], priceRange[£20-25], familyFriendly[no]", "Pier 39 isn't cheap."),
]
PROMPTS = [
    "name : Blue Wok | Type : pub | customer rating : low\n",
    "name : Café Luna | area : riverside\n",
    "name : Pier 39 | price : £20-25 | family friendly : no\n",
]


def add_tokenizer(path: Path) -> Tokenizer:
    """A token for every byte, and a begin in front of every text but no end behind it, as with Llama."""
    names = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE({name: index for index, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False, use_regex=False), ByteLevelDecoder()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BEGIN)])
    tokenizer.add_special_tokens(names[:4])
    tokenizer.save(str(path / "tokenizer.json"))
    return tokenizer


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("e2e")
    model = llama(vocab_size=260, max_position_embeddings=128)
    randomise(model, 3)
    model.save_pretrained(folder / "model")
    add_tokenizer(folder / "model")
    with (folder / "pairs.csv").open("w", encoding="utf8", newline="") as file:
        csv.writer(file).writerows([("mr", "ref"), *ROWS])
    return folder


def evaluate(model: Path, files: Path, *more: str | Path) -> dict[str, Any]:
    return json.loads(
        seam(
            "evaluate",
            "--model",
            model,
            "--data",
            files / "pairs.csv",
            "--source-format",
            "e2e",
            "--json",
            "--max-new-tokens",
            "30",
            *more,
        )
    )


def reference(path: Path) -> tuple[LlamaForCausalLM, Tokenizer]:
    model = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    return model, Tokenizer.from_file(str(path / "tokenizer.json"))


def test_loss_and_texts_are_those_of_transformers(files: Path) -> None:
    predictions = files / "predictions.jsonl"
    found = evaluate(files / "model", files, "--predictions", predictions)
    model, tokenizer = reference(files / "model")
    loss, count, right = 0.0, 0, 0
    for row, prompt in zip(ROWS, [PROMPTS[0], PROMPTS[1], PROMPTS[0], PROMPTS[2]]):
        source = tokenizer.encode(prompt).ids
        target = [*tokenizer.encode(row[1], add_special_tokens=False).ids, END]
        assert source[0] == BEGIN and source.count(BEGIN) == 1
        with torch.no_grad():
            logits = model(torch.tensor([source + target])).logits[0, len(source) - 1 : -1]
        loss += torch.nn.functional.cross_entropy(logits, torch.tensor(target), reduction="sum").item()
        right += (logits.argmax(-1) == torch.tensor(target)).sum().item()
        count += len(target)
    assert (found["examples"], found["sources"]) == (4, 3)
    # f32 on both sides, sums in another order.
    assert found["loss"] == pytest.approx(loss / count, rel=1e-5)
    assert found["token_accuracy"] == pytest.approx(100 * right / count)
    assert {"bleu_mteval", "nist", "rouge_l_coco", "cider"} <= found.keys() and "exact_match" not in found

    lines = [json.loads(line) for line in predictions.read_text().splitlines()]
    assert [line["source"] for line in lines] == PROMPTS
    assert lines[0]["targets"] == [ROWS[0][1], ROWS[2][1]] and lines[1]["target"] == ROWS[1][1]
    for line in lines:
        source = torch.tensor([tokenizer.encode(line["source"]).ids])
        with torch.no_grad():
            ids = model.generate(
                source,
                attention_mask=torch.ones_like(source),
                do_sample=False,
                max_new_tokens=30,
                pad_token_id=PAD,
                eos_token_id=END,
            )
        assert line["prediction"] == tokenizer.decode(ids[0, source.shape[1] :].tolist())


def test_a_trained_model_ends_its_texts(files: Path, tmp_path: Path) -> None:
    seam(
        "train",
        "--model",
        files / "model",
        "--adapter",
        "none",
        "--train-backbone",
        "--train",
        files / "pairs.csv",
        "--source-format",
        "e2e",
        "--steps",
        "120",
        "--batch-size",
        "4",
        "--backbone-learning-rate",
        "1e-2",
        "--output",
        tmp_path / "run",
    )
    found = evaluate(tmp_path / "run" / "backbone", files, "--metric", "exact-match", "--metric", "bleu-mteval")
    assert found["exact_match"] == 100 and found["bleu_mteval"] == pytest.approx(100)


def test_options_of_the_sources(files: Path) -> None:
    (files / "plain.jsonl").write_text(
        "".join(
            json.dumps({"source": text, "target": target}) + "\n"
            for text, target in [("a", "b"), ("c", "b"), ("a", "d")]
        )
    )
    arguments = [
        "evaluate",
        "--model",
        files / "model",
        "--data",
        files / "plain.jsonl",
        "--json",
        "--max-new-tokens",
        "3",
        "--predictions",
        files / "plain.out",
    ]
    found = json.loads(seam(*arguments))
    assert found["examples"] == 3 and "sources" not in found and "exact_match" in found
    assert len((files / "plain.out").read_text().splitlines()) == 3
    found = json.loads(seam(*arguments, "--multi-reference", "--source-prefix", "Q: ", "--source-suffix", " A:"))
    lines = [json.loads(line) for line in (files / "plain.out").read_text().splitlines()]
    assert found["sources"] == 2 and [line["source"] for line in lines] == ["Q: a A:", "Q: c A:"]
    assert [line.get("targets", line.get("target")) for line in lines] == [["b", "d"], "b"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("name[A], area", 'line 3: "mr" must be a meaning representation like'),
        ("name[A] area[b]", 'found "area[b]" behind "name", where a comma should be'),
        ("name[A", 'no closing bracket behind the value of "name"'),
    ],
)
def test_what_is_no_meaning_representation(files: Path, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("mr", "ref"), ("name[A]", "A."), (text, "B.")])
    done = run("evaluate", "--model", files / "model", "--data", path, "--source-format", "e2e")
    assert done.returncode and not done.stdout and done.stderr.count("\n") == 1
    assert f"{path}, line 3" in done.stderr and words in done.stderr, done.stderr


def test_pairs_that_are_too_long_together(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("mr,ref\nname[A],B\nname[A]," + 120 * "x" + "\n")
    done = run("evaluate", "--model", files / "model", "--data", path, "--source-format", "e2e", "--loss-only")
    assert 'line 3: "ref" must leave source and target at most 128 tokens together, found 10 and 121' in done.stderr
