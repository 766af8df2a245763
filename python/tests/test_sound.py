"""Features of sound against transformers' WhisperFeatureExtractor, and sound that cannot be read."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tokenizers import Tokenizer
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

import seamkit
from command_line import run, seam
from ctranslate2_files import tiny_whisper, variables, write_folder

RATE = 16000
# Features are of the size of 1: four powers of ten are one.
TOLERANCE = 1e-4
SETTINGS = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 80,
    "sampling_rate": RATE,
    "hop_length": 160,
    "n_fft": 400,
    "chunk_length": 30,
}


def folder_of(place: Path, name: str = "preprocessor_config.json", **settings: Any) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(json.dumps(SETTINGS | settings))
    return place


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> seamkit.FeatureExtractor:
    return seamkit.FeatureExtractor(folder_of(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence by espeak-ng, 16 bits at 22,050 Hz."""
    path = tmp_path_factory.mktemp("speech") / "sentence.wav"
    sentence = "The quick brown fox jumps over the lazy dog near the river bank."
    subprocess.run(["espeak-ng", "-v", "en-us", "-w", path, sentence], check=True)
    return path


def transformers_features(samples: Any, **settings: Any) -> Any:
    reference = WhisperFeatureExtractor(**{k: v for k, v in (SETTINGS | settings).items() if "type" not in k})
    return reference(samples, sampling_rate=RATE, return_tensors="np").input_features[0].T


def sounds() -> dict[str, Any]:
    random = np.random.default_rng(0)
    time = np.arange(10 * RATE) / RATE
    return {
        "a sweep": 0.9 * np.sin(2 * np.pi * (50 * time + 790 * time**2 / 2)),
        "noise": random.normal(0, 0.1, 4 * RATE),
        "silence": np.zeros(RATE),
        "a faint tone": 1e-4 * np.sin(2 * np.pi * 440 * time),
        "a click": np.eye(1, 300, 7)[0],
        "one sample": np.ones(1),
        "a whole chunk": random.normal(0, 0.3, 30 * RATE),
    }


@pytest.mark.parametrize("name", sounds())
def test_equals_transformers(extractor: seamkit.FeatureExtractor, name: str) -> None:
    samples = sounds()[name].astype(np.float32)
    found = extractor(samples, sampling_rate=RATE)
    assert found.shape == (3000, 80) and found.dtype == np.float32
    np.testing.assert_allclose(found, transformers_features(samples), rtol=0, atol=TOLERANCE)


def test_speech_equals_transformers(extractor: seamkit.FeatureExtractor, speech: Path, tmp_path: Path) -> None:
    samples, _ = soundfile.read(speech, dtype="float32")
    soundfile.write(tmp_path / "speech.wav", samples, RATE, "FLOAT")
    expected = transformers_features(samples)
    np.testing.assert_allclose(extractor(tmp_path / "speech.wav"), expected, rtol=0, atol=TOLERANCE)
    wide = seamkit.FeatureExtractor(folder_of(tmp_path / "wide", feature_size=128))
    np.testing.assert_allclose(
        wide(samples, sampling_rate=RATE), transformers_features(samples, feature_size=128), rtol=0, atol=TOLERANCE
    )


def test_other_sizes_equal_transformers(tmp_path: Path) -> None:
    """A window that no power of two divides, frames that leave a rest, another rate and padding."""
    sizes = {"feature_size": 13, "sampling_rate": 11000, "hop_length": 300, "n_fft": 330, "chunk_length": 3}
    extractor = seamkit.FeatureExtractor(folder_of(tmp_path, padding_value=0.25, **sizes))
    samples = np.random.default_rng(1).normal(0, 0.2, 20000).astype(np.float32)
    reference = WhisperFeatureExtractor(padding_value=0.25, **sizes)
    expected = reference(samples, sampling_rate=11000, return_tensors="np").input_features[0].T
    found = extractor(samples, sampling_rate=11000)
    assert (extractor.frames, extractor.feature_size, extractor.chunk_length) == (110, 13, 3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("kind", "subtype"), [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_16"), ("ogg", "VORBIS")]
)
def test_files_hold_what_was_written(
    extractor: seamkit.FeatureExtractor, tmp_path: Path, kind: str, subtype: str
) -> None:
    """Eight channels of different sound, mixed in equal parts."""
    path = tmp_path / f"sound.{kind}"
    written = np.random.default_rng(2).uniform(-0.5, 0.5, (RATE, 8))
    soundfile.write(path, written, RATE, subtype)
    read, _ = soundfile.read(path, dtype="float32", always_2d=True)
    assert read.shape == (RATE, 8)
    found = extractor(path)
    np.testing.assert_allclose(found, extractor(read.mean(1), sampling_rate=RATE), rtol=0, atol=1e-5)
    # The first channel alone would be other sound.
    assert np.abs(found - extractor(read[:, 0], sampling_rate=RATE)).max() > 0.1


@pytest.mark.parametrize("rate", [8000, 22050, 96000])
def test_other_rates_are_converted(extractor: seamkit.FeatureExtractor, tmp_path: Path, rate: int) -> None:
    """The same tones, sampled at both rates. They begin and end softly, as a jump holds every frequency."""
    random = np.random.default_rng(3)
    tones = [(random.uniform(100, 3500), random.uniform(0, 2 * np.pi), random.uniform(0.01, 0.05)) for _ in range(20)]

    def sampled(rate: int) -> Any:
        time = np.arange(4 * rate) / rate
        swell = np.sin(np.pi * time / 4) ** 2
        return (swell * sum(a * np.sin(2 * np.pi * f * time + p) for f, p, a in tones)).astype(np.float32)

    path = tmp_path / "tones.wav"
    soundfile.write(path, sampled(rate), rate, "FLOAT")
    found, expected = extractor(path), extractor(sampled(RATE), sampling_rate=RATE)
    np.testing.assert_array_equal(found, extractor(sampled(rate), sampling_rate=rate))
    # Below this a filter holds what the window leaks, not the tones.
    loud = expected > expected.max() - 1
    assert loud.sum() > 5000
    np.testing.assert_allclose(found[loud], expected[loud], rtol=0, atol=2e-3)


def test_longer_sound_is_refused_or_cut(extractor: seamkit.FeatureExtractor, tmp_path: Path) -> None:
    samples = np.random.default_rng(4).normal(0, 0.1, 31 * RATE + 1).astype(np.float32)
    path = tmp_path / "long.wav"
    soundfile.write(path, samples, RATE, "FLOAT")
    for sound, rate in ((path, None), (samples, RATE)):
        with pytest.raises(seamkit.InvalidArgumentError, match=r"is 31\.0 s long, .* 30 s at once: cut it, or ask for"):
            extractor(sound, sampling_rate=rate)
        found = extractor(sound, sampling_rate=rate, truncation=True)
        # Transformers cuts off what is too long, unasked.
        np.testing.assert_allclose(found, transformers_features(samples), rtol=0, atol=TOLERANCE)
    # Exactly as long as a chunk at another rate.
    soundfile.write(path, samples[: 30 * 8000], 8000, "FLOAT")
    extractor(path)
    soundfile.write(path, samples[: 30 * 8000 + 1], 8000, "FLOAT")
    with pytest.raises(seamkit.InvalidArgumentError, match="30 s at once"):
        extractor(path)


def write(path: Path, kind: str = "WAV", samples: Any = None, rate: int = RATE) -> bytes:
    samples = np.random.default_rng(5).normal(0, 0.1, RATE) if samples is None else samples
    soundfile.write(path, samples, rate, "FLOAT" if kind == "WAV" else None, format=kind)
    return path.read_bytes()


def with_nan(path: Path) -> None:
    samples = np.zeros((100, 2))
    samples[41, 1] = np.nan
    write(path, samples=samples)


def with_other_length(path: Path, size: int) -> None:
    """A WAV file whose header says another length, as one that was written into a pipe."""
    content = bytearray(write(path))
    content[4:8] = struct.pack("<I", size)
    path.write_bytes(content)


BAD_FILES: dict[str, tuple[Callable[[Path], object], type[seamkit.SeamError], str]] = {
    "missing": (lambda path: None, seamkit.NotFoundError, "there is no such file"),
    "a folder": (lambda path: path.mkdir(), seamkit.InvalidArgumentError, "expected a file, found a folder"),
    "empty": (lambda path: path.write_bytes(b""), seamkit.FormatError, "is empty, expected a file with content"),
    "text": (
        lambda path: path.write_text("hello " * 99),
        seamkit.FormatError,
        "is no sound file that libsndfile reads",
    ),
    "a header": (lambda path: write(path, samples=np.zeros(0)), seamkit.FormatError, "holds no sound, only a header"),
    "half a WAV": (
        lambda path: path.write_bytes(write(path)[:30000]),
        seamkit.FormatError,
        "ends before the sound that its header tells of, after .* samples .* incomplete download",
    ),
    "half a FLAC": (
        lambda path: path.write_bytes(write(path, "FLAC")[:15000]),
        seamkit.FormatError,
        "incomplete download",
    ),
    "NaN": (with_nan, seamkit.NumericError, "holds NaN or infinity at sample 41, where numbers are expected"),
    "too slow": (
        lambda path: write(path, rate=50),
        seamkit.InvalidArgumentError,
        "(must have a sampling rate from 63 to 4096000 Hz, found 50|s long, and the model hears 30 s)",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_cannot_be_read(extractor: seamkit.FeatureExtractor, tmp_path: Path, name: str) -> None:
    make, error, words = BAD_FILES[name]
    path = tmp_path / "sound.wav"
    make(path)
    with pytest.raises(error, match=words) as told:
        extractor(path)
    assert f'"{path}"' in str(told.value)


def test_a_length_that_the_writer_did_not_know(extractor: seamkit.FeatureExtractor, tmp_path: Path) -> None:
    path = tmp_path / "piped.wav"
    write(path)
    expected = extractor(path)
    with_other_length(path, 0x7FFFF024)
    np.testing.assert_array_equal(extractor(path), expected)


def test_samples_that_cannot_be_taken(extractor: seamkit.FeatureExtractor) -> None:
    good = np.zeros(100, np.float32)
    with pytest.raises(seamkit.NumericError, match="argument samples holds NaN or infinity at sample 3"):
        extractor(np.where(np.arange(100) == 3, np.inf, 0), sampling_rate=RATE)
    with pytest.raises(seamkit.InvalidArgumentError, match="argument samples has no samples"):
        extractor(good[:0], sampling_rate=RATE)
    with pytest.raises(seamkit.InvalidArgumentError, match="sampling rate from 63 to 4096000 Hz, found 62"):
        extractor(good, sampling_rate=62)
    with pytest.raises(seamkit.InvalidArgumentError, match="sampling_rate must be given with samples"):
        extractor(good)
    with pytest.raises(seamkit.InvalidArgumentError, match="must be a positive 32-bit integer, found 0"):
        extractor(good, sampling_rate=0)
    with pytest.raises(seamkit.InvalidArgumentError, match="fractions from -1 to 1, found int16"):
        extractor(good.astype(np.int16), sampling_rate=RATE)
    with pytest.raises(seamkit.ShapeError, match="must have 1 axis"):
        extractor(np.zeros((2, 100)), sampling_rate=RATE)
    with pytest.raises(seamkit.InvalidArgumentError, match="a sound file tells its own"):
        extractor("sound.wav", sampling_rate=RATE)


BAD_SETTINGS: dict[str, tuple[dict[str, Any], type[seamkit.SeamError], str]] = {
    "another kind": (
        {"feature_extractor_type": "Wav2Vec2FeatureExtractor"},
        seamkit.UnsupportedError,
        "must be those of WhisperFeatureExtractor, found Wav2Vec2FeatureExtractor",
    ),
    "an unknown one": (
        {"window": "hamming"},
        seamkit.UnsupportedError,
        'the setting "window" of features is not known',
    ),
    "noise": (
        {"dither": 0.1},
        seamkit.UnsupportedError,
        '"dither" must be 0, since it adds noise by chance, found 0.1',
    ),
    "a norm": ({"do_normalize": True}, seamkit.UnsupportedError, '"do_normalize" must be false'),
    "the left": ({"padding_side": "left"}, seamkit.UnsupportedError, '"padding_side" must be "right", found "left"'),
    "no filters": ({"feature_size": 0}, seamkit.FormatError, '"feature_size" must be 1 to 1024, found 0'),
    "an odd window": ({"n_fft": 401}, seamkit.UnsupportedError, '"n_fft" must be even'),
    "too many frames": (
        {"hop_length": 1},
        seamkit.UnsupportedError,
        '"chunk_length" seconds must have at most 65536 frames, found 480000',
    ),
    "a text": ({"hop_length": "160"}, seamkit.FormatError, '"hop_length" must be an integer, found a string'),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_settings_that_are_not_honoured(tmp_path: Path, name: str) -> None:
    settings, error, words = BAD_SETTINGS[name]
    with pytest.raises(error, match=words):
        seamkit.FeatureExtractor(folder_of(tmp_path, **settings))


def test_where_settings_stand(tmp_path: Path) -> None:
    with pytest.raises(seamkit.NotFoundError, match=r"has no preprocessor_config\.json, which says what features"):
        seamkit.FeatureExtractor(tmp_path)
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": SETTINGS | {"feature_size": 7}}))
    assert seamkit.FeatureExtractor(tmp_path).feature_size == 7
    # What transformers itself writes.
    WhisperFeatureExtractor(feature_size=128).save_pretrained(tmp_path)
    assert seamkit.FeatureExtractor(tmp_path).feature_size == 128


@pytest.mark.parametrize(
    ("library", "package", "purpose"),
    [
        ("libsndfile.so.1", "libsndfile1", "to read sound files, libsndfile is needed"),
        ("libsamplerate.so.0", "libsamplerate0", "to change the sampling rate of sound, libsamplerate is needed"),
        ("libkissfft-float.so.131", "libkissfft-float131", "to make features of sound, kissfft is needed"),
    ],
)
def test_a_library_that_is_not_installed(tmp_path: Path, library: str, package: str, purpose: str) -> None:
    (tmp_path / library).write_bytes(b"")
    write(tmp_path / "sound.wav", rate=8000)
    program = (
        "import sys, seamkit\n"
        "extractor = seamkit.FeatureExtractor(sys.argv[1])\n"
        "try:\n    extractor(sys.argv[1] + '/sound.wav')\n"
        "except seamkit.NotFoundError as error:\n    print(error)\n"
    )
    variables = {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, folder_of(tmp_path)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert purpose in done.stdout and f"install Debian's package {package}" in done.stdout, done.stdout


def written_by_transformers(model: Path, sounds: list[Path]) -> list[str]:
    """What `generate` of transformers writes of features made here."""
    extractor = seamkit.FeatureExtractor(model)
    features = torch.from_numpy(np.stack([extractor(sound) for sound in sounds])).transpose(1, 2)
    reference = WhisperForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    return [tokenizer.decode(row).strip() for row in reference.generate(features).tolist()]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Whisper of one-second chunks, by way of CTranslate2's form."""
    place = tmp_path_factory.mktemp("tiny")
    source = write_folder(place / "source", variables(tiny_whisper(encoder_attention_heads=3), "float32"))
    seam("convert", "--model", source, "--output", place / "model")
    return place / "model"


def test_the_program_writes_what_transformers_writes(tiny: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    sounds = [tmp_path / f"{number}.wav" for number in range(3)]
    for number, sound in enumerate(sounds):
        soundfile.write(sound, random.normal(0, 0.1 * (number + 1), 4000 * (number + 2)), RATE)
    found = seam(
        "generate", "--model", tiny, "--batch-size", "2", *(each for sound in sounds for each in ("--audio", sound))
    )
    expected = written_by_transformers(tiny, sounds)
    assert [line.strip() for line in found.splitlines()] == expected
    assert any(expected)


def test_what_the_program_refuses(tiny: Path, real_model: Path, tmp_path: Path) -> None:
    sound = tmp_path / "sound.wav"
    write(sound, samples=np.zeros(2 * RATE))
    heard = ("generate", "--model", tiny, "--audio", sound)
    for arguments, words in (
        (heard, 'sound.wav" is longer than the 1 s that the model hears at once: cut it, or give --truncation'),
        ((*heard, "a text"), '--audio takes the place of texts, and the text "a text" is given'),
        ((*heard, "--truncation", "--language", "de"), "option language: the model's settings name no languages"),
        (("generate", "--model", tiny, "a text"), "reads sound, not texts: give --audio FILE"),
        (("generate", "--model", tiny, "--truncation"), "--truncation is of sound: give --audio"),
        (("generate", "--model", real_model, "--audio", sound), "--audio is for models of speech, and"),
    ):
        done = run(*arguments)
        assert done.returncode == 1 and words in done.stderr and done.stdout == "", done.stderr
    (tiny / "preprocessor_config.json").rename(tmp_path / "kept")
    folder_of(tiny, feature_size=7, chunk_length=1)
    done = run(*heard, "--truncation")
    (tmp_path / "kept").rename(tiny / "preprocessor_config.json")
    assert "reads features of 6 numbers, and its feature extractor makes 7" in done.stderr
    seam(*heard, "--truncation")


def test_a_published_model_writes_what_is_said(speech: Path, tmp_path: Path) -> None:
    """Whisper tiny.en, converted from the folder of CTranslate2 that SEAM_WHISPER names."""
    if not (source := os.environ.get("SEAM_WHISPER")):
        pytest.skip("SEAM_WHISPER names no folder of CTranslate2: no published model hears")
    model = tmp_path / "model"
    seam("convert", "--model", source, "--output", model)
    found = seam("generate", "--model", model, "--audio", speech)
    assert "lazy dog near the river bank." in found
    assert [found.strip()] == written_by_transformers(model, [speech])
