"""Sound files in the place of source texts: `seam train` and `seam evaluate` against the same steps in PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import soundfile
import torch
from tokenizers import Tokenizer
from transformers import WhisperForConditionalGeneration

import seamkit
from command_line import run, seam
from ctranslate2_files import tiny_whisper, variables, write_folder

RATE, STEPS = 16000, 6
TEXTS = ["t7 t8 t9", "t10", "t11 t12 t13 t7", "t9 t9"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Whisper of one-second chunks, and sounds with texts."""
    place = tmp_path_factory.mktemp("speech")
    source = write_folder(place / "source", variables(tiny_whisper(encoder_attention_heads=3), "float32"))
    seam("convert", "--model", source, "--output", place / "model")
    random = np.random.default_rng(4)
    lines = []
    (place / "sounds").mkdir()
    for number, text in enumerate(TEXTS):
        soundfile.write(place / f"sounds/{number}.wav", random.normal(0, 0.2, 3000 * (number + 2)), RATE)
        lines.append(json.dumps({"audio": f"sounds/{number}.wav", "text": text}) + "\n")
    (place / "train.jsonl").write_text("".join(lines))
    return place


def given(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [batch, width, frames], and labels: the token of no times, the text, the end."""
    extractor, tokenizer = (
        seamkit.FeatureExtractor(folder / "model"),
        Tokenizer.from_file(str(folder / "model/tokenizer.json")),
    )
    features = np.stack([extractor(folder / f"sounds/{number}.wav") for number in range(len(TEXTS))])
    settings = json.loads((folder / "model/generation_config.json").read_text())
    end = json.loads((folder / "model/config.json").read_text())["eos_token_id"]
    rows = [[settings["no_timestamps_token_id"], *tokenizer.encode(text).ids, end] for text in TEXTS]
    labels = torch.full((len(rows), max(map(len, rows))), -100)
    for row, tokens in zip(labels, rows, strict=True):
        row[: len(tokens)] = torch.tensor(tokens)
    return torch.from_numpy(features).transpose(1, 2), labels


def reference(folder: Path) -> Any:
    return WhisperForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.float32).eval()


def test_it_trains_like_pytorch(folder: Path, tmp_path: Path) -> None:
    """Losses of six steps of all examples, with the encoder run once for each."""
    common = ["--model", folder / "model", "--adapter", "repcali", "--option", "norm=none"]
    more = ["--train", folder / "train.jsonl", "--steps", str(STEPS), "--batch-size", "4", "--learning-rate", "0.05"]
    seam(
        "train",
        *common,
        *more,
        "--schedule",
        "constant",
        "--weight-decay",
        "0",
        "--max-grad-norm",
        "0",
        "--output",
        tmp_path / "run",
    )
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    found = [line["loss"] for line in lines if "loss" in line]

    model, (features, labels) = reference(folder), given(folder)
    adapter = seamkit.attach(model, "repcali", norm="none")
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.05, weight_decay=0)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model(input_features=features, labels=labels).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert found == pytest.approx(losses, rel=1e-4) and losses[-1] < losses[0]


def test_it_is_measured_as_jiwer_measures(folder: Path, tmp_path: Path) -> None:
    asked = ["--model", folder / "model", "--data", folder / "train.jsonl", "--predictions", tmp_path / "texts.jsonl"]
    found = json.loads(seam("evaluate", *asked, "--json"))
    model, (features, labels) = reference(folder), given(folder)
    with torch.no_grad():
        assert found["loss"] == pytest.approx(model(input_features=features, labels=labels).loss.item(), rel=1e-5)
        tokens = model.generate(features)
    tokenizer = Tokenizer.from_file(str(folder / "model/tokenizer.json"))
    written = [tokenizer.decode(row) for row in tokens.tolist()]
    lines = [json.loads(line) for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    assert [line["prediction"] for line in lines] == written
    assert [line["source"] for line in lines] == [str(folder / f"sounds/{number}.wav") for number in range(len(TEXTS))]
    assert found["wer"] == pytest.approx(100 * jiwer.wer(TEXTS, written))
    assert found["cer"] == pytest.approx(100 * jiwer.cer(TEXTS, written))


def test_no_sound_is_written_over(folder: Path, tmp_path: Path) -> None:
    sound = folder / "sounds/0.wav"
    before = sound.read_bytes()
    done = run("evaluate", "--model", folder / "model", "--data", folder / "train.jsonl", "--predictions", sound)
    assert done.returncode == 1 and str(sound) in done.stderr and sound.read_bytes() == before
    done = run("evaluate", "--model", folder / "model", "--data", folder / "train.jsonl", "--truncate")
    assert done.returncode == 1 and "--truncate is for adapters that classify; of sound" in done.stderr


def test_what_is_refused(folder: Path, real_model: Path, tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds/long.wav", np.zeros(2 * RATE), RATE)
    (tmp_path / "sounds/text.wav").write_text("no sound")

    def refused(sentence: str, *more: str | Path, sound: str = "", model: Path = folder / "model") -> None:
        data = folder / "train.jsonl"
        if sound:
            good = json.dumps({"audio": str(folder / "sounds/0.wav"), "text": "t7"})
            data = tmp_path / "data.jsonl"
            data.write_text(f"{good}\n{json.dumps({'audio': sound, 'text': 't8'})}\n")
        common = ["--model", model, "--adapter", "repcali", "--train", data, "--steps", "1"]
        done = run("train", *common, "--output", tmp_path / "out", *more)
        assert done.returncode == 1 and sentence in done.stderr, done.stderr
        assert not (tmp_path / "out").exists()

    refused('line 2: "audio" must name a sound file, found', sound="sounds/none.wav")
    refused("data.jsonl, line 2: ", sound="sounds/text.wav")
    refused("is 2.0 s long, and the model hears 1 s at once", sound="sounds/long.wav")
    refused("--source-format text is for models that read texts", "--source-format", "text")
    refused("--source-prefix is of texts, and the sources are sound", "--source-prefix", "a")
    refused("option language: the model's settings name no languages", "--language", "de")
    refused("--truncation is of sound, and the sources are texts", "--truncation", model=real_model)
    refused("--source-format audio is for models that read sound", "--source-format", "audio", model=real_model)
