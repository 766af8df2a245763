"""Sound that is longer than a model hears at once, against transformers: its features, and what `seam generate` writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tokenizers import Tokenizer
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

import ctranslate2_files
import seamkit
import whisper_models
from command_line import run, seam

RATE = 16000
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> seamkit.FeatureExtractor:
    folder = tmp_path_factory.mktemp("model")
    WhisperFeatureExtractor().save_pretrained(folder)
    return seamkit.FeatureExtractor(folder)


def transformers_features(folder: Path | None, samples: Any) -> Any:
    """[1, feature_size, frames], as the pipelines of transformers ask for them where sound is longer than a chunk."""
    reference = WhisperFeatureExtractor.from_pretrained(folder) if folder else WhisperFeatureExtractor()
    found = reference(
        samples,
        sampling_rate=RATE,
        truncation=False,
        padding="longest",
        return_attention_mask=True,
        return_tensors="pt",
    )
    assert found.attention_mask.all()
    return found.input_features


def noise(count: int, seed: int = 0) -> Any:
    """Faint, and loud in the last second: what is heard at its loudest decides how the whole is scaled."""
    random = np.random.default_rng(seed)
    samples = random.normal(0, 1e-4, count)
    samples[-RATE:] *= 3000
    return samples.astype(np.float32)


# The last two leave a rest of a frame, the last is no longer than a chunk in frames.
@pytest.mark.parametrize("count", [45 * RATE, 31 * RATE + 77, 30 * RATE + 5])
def test_the_whole_equals_transformers(extractor: seamkit.FeatureExtractor, tmp_path: Path, count: int) -> None:
    samples = noise(count)
    expected = transformers_features(None, samples)[0].T.numpy()
    found = extractor(samples, sampling_rate=RATE, whole=True)
    assert found.shape == (count // 160, 80)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    soundfile.write(tmp_path / "long.wav", samples, RATE, "FLOAT")
    np.testing.assert_array_equal(extractor(tmp_path / "long.wav", whole=True), found)


def test_what_the_whole_is_not(extractor: seamkit.FeatureExtractor, tmp_path: Path) -> None:
    short = noise(2 * RATE)
    found = extractor(short, sampling_rate=RATE, whole=True)
    np.testing.assert_array_equal(found, extractor(short, sampling_rate=RATE))
    with pytest.raises(seamkit.InvalidArgumentError, match="truncation leaves out what whole asks for"):
        extractor(short, sampling_rate=RATE, whole=True, truncation=True)
    # At another rate, in parts of a file with several channels and in one piece.
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, (31 * 8000 + 1, 3))
    soundfile.write(tmp_path / "slow.wav", samples, 8000, "PCM_16")
    mixed = soundfile.read(tmp_path / "slow.wav", dtype="float32")[0].mean(1)
    found = extractor(tmp_path / "slow.wav", whole=True)
    assert found.shape == (3100, 80)
    np.testing.assert_allclose(found, extractor(mixed, sampling_rate=8000, whole=True), rtol=0, atol=1e-5)
    soundfile.write(tmp_path / "whole.flac", samples, 8000)
    content = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "half.flac").write_bytes(content[:90000])
    with pytest.raises(seamkit.FormatError, match="ends before the sound that its header tells of"):
        extractor(tmp_path / "half.flac", whole=True)
    # The last 36 bits of these count the samples; a program that writes into a pipe does not know them.
    assert int.from_bytes(content[21:26], "big") % 2**36 == len(samples)
    (tmp_path / "piped.flac").write_bytes(content[:21] + bytes([content[21] & 0xF0, 0, 0, 0, 0]) + content[26:])
    told, counted = (extractor(tmp_path / name, whole=True) for name in ("whole.flac", "piped.flac"))
    np.testing.assert_array_equal(told, counted)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Whisper with times that hears a second at once, 24 frames."""
    path = whisper_models.save(tmp_path_factory.mktemp("whisper"), seed=4, settings=whisper_models.MULTILINGUAL)
    WhisperFeatureExtractor(whisper_models.MELS, hop_length=666, chunk_length=1).save_pretrained(path)
    words = [f"t{number}" for number in range(whisper_models.END)]
    marks = [f"<|{number}|>" for number in range(whisper_models.END, whisper_models.VOCABULARY)]
    content = ctranslate2_files.tokenizer(words + marks)
    for token in content["added_tokens"]:
        token["special"] = token["id"] not in whisper_models.TIMES
    (path / "tokenizer.json").write_text(json.dumps(content))
    return path


def written_by_transformers(folder: Path, model: Any, samples: Any, **options: Any) -> tuple[str, list[str]]:
    """The text of a longer sound, and the lines of its parts."""
    features = transformers_features(folder, samples)
    segments = model.generate(features, return_timestamps=True, return_segments=True, **options)["segments"][0]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    first = model.generation_config.no_timestamps_token_id

    def text(tokens: list[int]) -> str:
        return str(tokenizer.decode([token for token in tokens if token <= first])).strip()

    parts = [(each["start"].item(), each["end"].item(), each["tokens"].tolist()) for each in segments]
    lines = [f"[{start:.2f} --> {end:.2f}] {text(tokens)}" for start, end, tokens in parts]
    return text([token for _, _, tokens in parts for token in tokens]), lines


def changing(frames: int, seed: int) -> Any:
    """Each frame of another loudness and colour, so that a random model has something to say."""
    random = np.random.default_rng(seed)
    time = np.arange(666) / RATE
    tones = [
        10 ** random.uniform(-3, 0) * np.sin(2 * np.pi * random.uniform(50, 7000) * time) for _ in range(3 * frames)
    ]
    return np.reshape(tones, (frames, 3, 666)).mean(1).reshape(-1).astype(np.float32)


def test_the_program_writes_window_by_window(model: Path, tmp_path: Path) -> None:
    sounds = [changing(frames, seed) for seed, frames in enumerate((9, 52, 7, 60))]
    files = []
    for number, samples in enumerate(sounds):
        soundfile.write(tmp_path / f"{number}.wav", samples, RATE, "FLOAT")
        files += ["--audio", tmp_path / f"{number}.wav"]
    reference = whisper_models.reference(model)
    found = seam("generate", "--model", model, "--language", "de", *files).splitlines()
    expected = {index: written_by_transformers(model, reference, sounds[index], language="de") for index in (1, 3)}
    for index, (text, _) in expected.items():
        assert found[index].strip() == text and text
    # What is heard at once is written without times, as ever, and not as its window would be.
    for index in (0, 2):
        alone = seam("generate", "--model", model, "--language", "de", *files[2 * index : 2 * index + 2])
        assert found[index] == alone.rstrip("\n")
    assert len(found) == 4
    timed = seam("generate", "--model", model, "--language", "de", "--timestamps", *files)
    parts = [each.splitlines() for each in timed.split("\n\n")]
    assert len(parts) == 4 and len(parts[0]) >= 1
    for index, (_, lines) in expected.items():
        # Seconds are frames of 666 samples here, where transformers counts hundredths.
        texts = [line.split("] ")[1:] for line in parts[index]]
        assert texts == [line.split("] ")[1:] for line in lines] and len(lines) > 2
        for mine, theirs in zip(parts[index], lines, strict=True):
            seconds = [[float(x) for x in re.findall(r"\d+\.\d+", line)[:2]] for line in (mine, theirs)]
            np.testing.assert_allclose(seconds[0], np.array(seconds[1]) * 4.1625, rtol=0, atol=0.03)


def test_what_the_program_refuses(model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", noise(2 * RATE), RATE)
    heard = ("generate", "--model", model, "--audio", tmp_path / "long.wav")
    for arguments, words in (
        ((*heard, "--ignore-generation-config"), "to write it window by window takes tokens of times"),
        ((*heard, "--truncation", "--timestamps", "--ignore-generation-config"), "--timestamps takes tokens of times"),
        (("generate", "--model", model, "--timestamps"), "--timestamps is of sound: give --audio"),
    ):
        done = run(*arguments)
        assert done.returncode == 1 and words in done.stderr and done.stdout == "", done.stderr
    cut = seam(*heard, "--truncation", "--timestamps")
    assert all(float(line.split()[2].rstrip("]")) <= 1 for line in cut.splitlines()) and cut


def test_a_published_model_writes_what_is_said(tmp_path: Path) -> None:
    """Whisper tiny.en, converted from the folder of CTranslate2 that SEAM_WHISPER names, hears three quarters of a minute."""
    if not (source := os.environ.get("SEAM_WHISPER")):
        pytest.skip("SEAM_WHISPER names no folder of CTranslate2: no published model hears")
    said = (
        "The quick brown fox jumps over the lazy dog near the river bank. Every morning the old man walks to the market"
        " and buys three apples and a loaf of bread. The weather was cold, but the children played outside until the sun"
        " went down. My sister lives in a small house with a green door, two windows and a garden full of roses. The"
        " train to the city leaves at seven, and it is late on most days. After dinner we read a long story about a"
        " sailor who crossed the ocean in a wooden boat. The teacher asked a question, and nobody in the room knew the"
        " answer."
    )
    speech = tmp_path / "speech.wav"
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "130", "-w", tmp_path / "said.wav", said], check=True)
    # At the model's rate, which transformers asks for.
    samples, rate = soundfile.read(tmp_path / "said.wav", dtype="float32")
    places = np.arange(int(len(samples) * RATE / rate)) * rate / RATE
    samples = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    soundfile.write(speech, samples, RATE, "FLOAT")
    assert 38 < len(samples) / RATE < 50
    model = tmp_path / "model"
    seam("convert", "--model", source, "--output", model)
    reference = WhisperForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
    text, lines = written_by_transformers(model, reference, samples)
    timed = seam("generate", "--model", model, "--audio", speech, "--timestamps")
    assert timed.splitlines() == lines and len(lines) > 3
    assert "lazy dog near the river bank" in text and "in the room knew the answer" in text
