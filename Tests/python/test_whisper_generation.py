"""What the native Whisper writes against `generate` of transformers: beginnings, rules, times, beams, and rows that join."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

import seamkit
import tiny_models
from seam_abi import SeamError
from seam_objects import Batch, Runtime
from tiny_models import until
from whisper_models import END, ENGLISH, FRAMES, MULTILINGUAL, NO_TIMES, START, TARGETS, features, reference, save

# Of a random model some searches end at once: these many rows, of which some do not.
ROWS = 6

# Settings of the file, arguments of both sides, and how many tokens stand before the written ones.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "one language": (ENGLISH, {}, 2),
    "one language and times": (ENGLISH, {"return_timestamps": True}, 1),
    "a language": (MULTILINGUAL, {"language": "de"}, 4),
    "a language by its token": (MULTILINGUAL, {"language": "<|hu|>", "task": "translate"}, 4),
    "a task alone": (MULTILINGUAL, {"task": "translate"}, 4),
    "languages found out": (MULTILINGUAL, {}, 3),
    "languages found out, and times": (MULTILINGUAL, {"return_timestamps": True}, 2),
    "times": (MULTILINGUAL, {"language": "en", "return_timestamps": True}, 3),
    "times of the file": (MULTILINGUAL | {"return_timestamps": True, "language": "en", "task": "translate"}, {}, 3),
    "times that begin anywhere": (
        MULTILINGUAL | {"max_initial_timestamp_index": None},
        {"language": "en", "return_timestamps": True},
        3,
    ),
    "forced": (MULTILINGUAL | {"forced_decoder_ids": [[1, None], [2, 45]]}, {}, 4),
    "forced language": (MULTILINGUAL | {"forced_decoder_ids": [[1, 44], [2, 45], [3, NO_TIMES]]}, {}, 4),
    "forced, and chosen": (MULTILINGUAL | {"forced_decoder_ids": [[1, 44], [2, 45]]}, {"language": "de"}, 4),
    "no settings": ({}, {}, 1),
    "lengths": (MULTILINGUAL | {"max_length": 9, "min_length": 7}, {"language": "en"}, 4),
    "new tokens": (ENGLISH | {"max_new_tokens": 5, "min_new_tokens": 4}, {}, 2),
    "repetition": (MULTILINGUAL | {"repetition_penalty": 1.8, "no_repeat_ngram_size": 2}, {"language": "en"}, 4),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = save(tmp_path_factory.mktemp("whisper"), seed=36)
    return path, reference(path)


def configured(path: Path, **settings: Any) -> None:
    ids = {"pad_token_id": END, "bos_token_id": END, "eos_token_id": END, "decoder_start_token_id": START}
    (path / "generation_config.json").write_text(json.dumps(ids | settings))


def expected(model: Any, path: Path, frames: Any, before: int, **arguments: Any) -> list[list[int]]:
    """What transformers writes behind the first tokens, without what follows the end. One call alone: with times it
    otherwise goes on behind the last of them, in a window of its own."""
    model.generation_config = GenerationConfig.from_pretrained(path)
    given = torch.from_numpy(frames).transpose(1, 2)
    with torch.no_grad():
        found = model.generate(given, force_unique_generate_call=True, **arguments)
    return [until(END, row[before:]) for row in found.tolist()]


def written(runtime: Runtime, path: Path, frames: Any, **arguments: Any) -> list[list[int]]:
    backbone = runtime.open(path)
    arguments = {name: int(value) if value is True else value for name, value in arguments.items()}
    options = backbone.generate_options(**arguments)
    return [each.tokens for item in backbone.session().generate(Batch(input_features=frames), options) for each in item]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_tokens_are_those_of_transformers(runtime: Runtime, model: Any, case: str, beams: int) -> None:
    path, hugging_face = model
    settings, arguments, before = CASES[case]
    configured(path, **settings, num_beams=beams)
    given = features(7, count=ROWS)
    found = written(runtime, path, given, **arguments)
    assert found == expected(hugging_face, path, given, before, **arguments)
    assert len({tuple(row) for row in found}) > 1
    assert beams > 1 or case == "new tokens" or len({len(row) for row in found}) > 1


def test_rows_that_join(runtime: Runtime, model: Any) -> None:
    """Each row begins with the language that it is found to be of, whoever is there already."""
    path, hugging_face = model
    configured(path, **MULTILINGUAL)
    settings = GenerationConfig.from_pretrained(path)
    backbone, given = runtime.open(path), features(7, count=4)
    options = backbone.generate_options()
    generation, texts = backbone.session().continuous_generation(TARGETS), {}
    rows = generation.add_batch(Batch(input_features=given[:1]), options)
    done = []
    while generation.rows or len(rows) < 4:
        if len(rows) < 4:
            rows += generation.add_batch(Batch(input_features=given[len(rows) : len(rows) + 1]), options)
        for step in generation.step():
            texts.setdefault(step.row, []).append(step.token)
            done += [step.row] if step.finish_reason else []
    assert sorted(done) == sorted(rows)
    languages = hugging_face.detect_language(torch.from_numpy(given).transpose(1, 2), generation_config=settings)
    assert len(set(languages.tolist())) > 1
    assert [texts[row] for row in rows] == expected(hugging_face, path, given, 3)


def test_what_the_model_does_not_know(runtime: Runtime, model: Any) -> None:
    path, _ = model
    configured(path, **MULTILINGUAL)
    given = features(1, count=1)
    with pytest.raises(SeamError, match='option language: the model does not know "fr"; give one of de, en, hu'):
        written(runtime, path, given, language="fr")
    with pytest.raises(
        SeamError, match='option task: the model does not know "sing"; give one of transcribe, translate'
    ):
        written(runtime, path, given, task="sing")
    with pytest.raises(SeamError, match="max_new_tokens must be at most 36 positions, which the prompts leave"):
        written(runtime, path, given, language="en", max_new_tokens=37)
    configured(path, **ENGLISH)
    with pytest.raises(SeamError, match="option language: the model's settings name no languages to choose among"):
        written(runtime, path, given, language="en")
    configured(path)
    for name, value in {"language": "en", "task": "translate", "return_timestamps": 1}.items():
        with pytest.raises(SeamError, match=f"option {name}: the model's settings of a generation.*name no languages"):
            written(runtime, path, given, **{name: value})
    for settings, sentence in [
        ({"no_speech_threshold": 0.6}, '"no_speech_threshold" is 0.6, which is not offered'),
        ({"forced_decoder_ids": [[2, 45]]}, '"forced_decoder_ids" must be a list of pairs of a place'),
        ({"lang_to_id": {"<|en|>": "a"}}, '"lang_to_id" must be an object of names and token ids'),
        ({"lang_to_id": {"<|en|>": 1000}}, "option lang_to_id: expected a token in 0..<63, found 1000"),
        ({"return_timestamps": True, "no_timestamps_token_id": None}, "option return_timestamps"),
    ]:
        configured(path, **(MULTILINGUAL | settings))
        with pytest.raises(SeamError, match=sentence):
            written(runtime, path, given)


# ---- Sounds of any length


@torch.no_grad()
@pytest.mark.parametrize(
    ("language", "frames"),
    [("de", 7), ("de", FRAMES), ("de", 2 * FRAMES + 3), (None, 2 * FRAMES + 3), (None, 5 * FRAMES)],
)
def test_windows_are_those_of_transformers(runtime: Runtime, model: Any, language: str | None, frames: int) -> None:
    path, hugging_face = model
    configured(path, **MULTILINGUAL)
    hugging_face.generation_config = GenerationConfig.from_pretrained(path)
    backbone, cut = runtime.open(path), 0
    options = backbone.generate_options(language=language, return_timestamps=1)
    for seed in range(4):
        given = features(seed, count=1, frames=frames)
        expected = hugging_face.generate(
            torch.from_numpy(given).transpose(1, 2), language=language, return_timestamps=True, return_segments=True
        )["segments"][0]
        seen: list[seamkit.Progress] = []
        found = backbone.session().transcribe(given[0], options, progress=seen.append)
        assert [each.tokens for each in found] == [each["tokens"].tolist() for each in expected]
        for mine, theirs in zip(found, expected, strict=True):
            assert (mine.start, mine.end) == pytest.approx((theirs["start"].item(), theirs["end"].item()), abs=1e-6)
        assert (seen[0].activity, seen[0].done, seen[-1].done, seen[0].total) == ("transcribe", 0, frames, frames)
        cut += len({each.done for each in seen}) - 1
    # Some windows begin within the one before.
    assert cut > 4 * -(-frames // FRAMES) or frames < 5 * FRAMES


def test_sounds_that_are_refused(runtime: Runtime, model: Any) -> None:
    path, _ = model
    configured(path, **MULTILINGUAL)
    session, given = runtime.open(path).session(), features(1, count=1, frames=FRAMES + 1)[0]
    with pytest.raises(SeamError, match=f"the sound has {FRAMES + 1} frames and the model reads {FRAMES} at once"):
        session.transcribe(given)
    with pytest.raises(
        SeamError, match=rf"features must be \[frames, 5\] for this model, found \[1, {FRAMES + 1}, 5\]"
    ):
        session.transcribe(given[None])
    with pytest.raises(SeamError, match="NaN or infinity in row 0, frame 3"):
        session.transcribe(np.where(np.arange(FRAMES)[:, None] == 3, np.nan, given[:FRAMES]))
    with pytest.raises(SeamError, match="a positive number of seconds for each, found 5 numbers and 0.0 seconds"):
        session.transcribe(given[:1], seconds_per_frame=0.0)
    with pytest.raises(SeamError, match="a sound is frames of 5 numbers"):
        session.transcribe(given[:0])
    with pytest.raises(seamkit.CancelledError):
        session.transcribe(given[:FRAMES], progress=lambda _: False)
    text = runtime.open(tiny_models.save("marian", path.parent / "text"))
    with pytest.raises(SeamError, match="only a backbone that reads features"):
        text.session().transcribe(np.zeros((3, 5)))
