"""generation_config.json: each setting gives what `generate` of transformers gives with the same file, or is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

import single_stack
import tiny_models
from command_line import run, seam
from seam_objects import Batch, Runtime, SeamError
from tiny_models import END, PAD, SPECIAL, VOCABULARY, add_tokenizer

DECODER = "llama"
MODELS = (DECODER, "bart")
# An encoder-decoder continues one start token, a decoder prompts of these lengths.
LENGTHS = (4, 1, 9)
WORDS = range(4, VOCABULARY)

SETTINGS: dict[str, dict[str, Any]] = {
    "max_length": {"max_length": 13},
    "max_new_tokens before max_length": {"max_length": 15, "max_new_tokens": 7},
    "min_length": {"min_length": 12, "max_length": 20},
    "min_new_tokens before min_length": {"min_new_tokens": 9, "min_length": 2},
    "repetition_penalty": {"repetition_penalty": 1.7},
    "a reward for repetition": {"repetition_penalty": 0.6},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
    "single tokens are no n-gram twice": {"no_repeat_ngram_size": 1},
    "bad_words_ids": {"bad_words_ids": [[each, other] for each in WORDS for other in range(20, 40)] + [[7], [END]]},
    "sequence_bias": {
        "sequence_bias": [[[9], 2.5], [[12], -3.0], *([[each, other], 3.5] for each in WORDS for other in (8, 30))]
    },
    "suppress_tokens": {"suppress_tokens": list(range(10, 40))},
    "begin_suppress_tokens": {"begin_suppress_tokens": list(range(20, VOCABULARY)) + [END]},
    "a first token": {"forced_bos_token_id": 11, "begin_suppress_tokens": list(range(20, VOCABULARY)) + [END]},
    "a last token": {"forced_eos_token_id": END, "max_new_tokens": 6},
    "one of two last tokens": {"forced_eos_token_id": [33, END], "max_new_tokens": 6},
    "several ends": {"eos_token_id": [END, 9, 12, 40]},
    "length_penalty": {"length_penalty": -1.5},
    "early_stopping": {"early_stopping": True, "length_penalty": 2.0},
    "no early_stopping": {"early_stopping": "never", "length_penalty": 0.5},
    "renormalize_logits": {"renormalize_logits": True, "suppress_tokens": list(range(10, 30))},
    "together": {
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 3,
        "min_length": 8,
        "max_length": 18,
        "bad_words_ids": [[each, 30] for each in WORDS],
        "begin_suppress_tokens": [END],
    },
}

ONLY_BEAMS = {"length_penalty", "early_stopping", "no early_stopping", "renormalize_logits"}


def folder(path: Path, name: str, **settings: Any) -> Path:
    if name == DECODER:
        single_stack.save(name, path)
    else:
        tiny_models.save(name, path)
    return configured(path, **settings)


def configured(path: Path, **settings: Any) -> Path:
    ids = {key: value for key, value in SPECIAL.items() if value is not None}
    length = {} if "max_length" in settings else {"max_new_tokens": 14}
    (path / "generation_config.json").write_text(json.dumps(ids | length | settings))
    return path


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    path = folder(tmp_path_factory.mktemp(request.param) / "model", request.param)
    return request.param, path, opened(request.param, path)


def opened(name: str, path: Path) -> Any:
    return single_stack.reference(name, path) if name == DECODER else tiny_models.reference(path)


def prompts(name: str) -> list[list[int]]:
    random = np.random.default_rng(5)
    lengths = LENGTHS if name == DECODER else (7, 3, 11)
    return [random.integers(4, VOCABULARY, length).tolist() for length in lengths]


def reference(model: Any, name: str, path: Path, rows: list[list[int]] | None = None) -> list[list[int]]:
    """What transformers generates for each prompt alone, with the settings that are in the folder now."""
    model.generation_config = GenerationConfig.from_pretrained(path)
    found = []
    for row in rows or prompts(name):
        ids = torch.tensor([row])
        with torch.no_grad():
            tokens = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids))[0].tolist()
        found.append(tokens[len(row) if name == DECODER else 1 :])
    return found


# The last tokens of a list have the same score: greedy search takes the first, torch.topk either.
SEARCHES = [(case, beams) for case in SETTINGS for beams in (1, 4) if (case, beams) != ("one of two last tokens", 4)]


@pytest.mark.parametrize(("case", "beams"), SEARCHES)
def test_a_setting_is_that_of_transformers(runtime: Runtime, model: Any, case: str, beams: int) -> None:
    """Texts of several lengths at once give what each gives alone: transformers counts padding, which depends on the
    texts that happen to be beside one."""
    name, path, hugging_face = model
    configured(path, num_beams=beams)
    plain = generated(runtime, path, prompts(name))
    configured(path, num_beams=beams, **SETTINGS[case])
    found = generated(runtime, path, prompts(name))
    assert found == reference(hugging_face, name, path)
    if beams == 1 and case not in ONLY_BEAMS:
        assert found != plain, "the setting changes nothing here"


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("size", [1, 2])
def test_runs_of_a_source_are_not_written(runtime: Runtime, model: Any, size: int, beams: int) -> None:
    """In sources of what the model likes to write."""
    name, path, hugging_face = model
    liked = sum(generated(runtime, configured(path), prompts(name)), [])
    rows = [liked[:12], liked[5:14]]
    plain = generated(runtime, configured(path, num_beams=beams), rows)
    found = generated(runtime, configured(path, num_beams=beams, encoder_no_repeat_ngram_size=size), rows)
    assert found == reference(hugging_face, name, path, rows)
    assert size > 1 or beams > 1 or found != plain


def generated(runtime: Runtime, path: Path, rows: list[list[int]], **changes: Any) -> list[list[int]]:
    backbone = runtime.open(path)
    length = max(map(len, rows))
    ids = np.array([row + [PAD] * (length - len(row)) for row in rows], np.int32)
    mask = np.array([[1] * len(row) + [0] * (length - len(row)) for row in rows], np.int32)
    options = backbone.generate_options(**changes) if changes else None
    return [each[0].tokens for each in backbone.session().generate(Batch(ids, mask), options)]


@pytest.mark.parametrize("name", MODELS)
def test_settings_of_config_json_hold_without_the_file(runtime: Runtime, tmp_path: Path, name: str) -> None:
    """As models of before transformers 4.26 have them."""
    path = folder(tmp_path / "model", name)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"repetition_penalty": 1.7, "max_length": 16}))
    plain = generated(runtime, path, prompts(name))
    assert plain == reference(opened(name, path), name, path)
    (path / "generation_config.json").unlink()
    hugging_face = opened(name, path)
    hugging_face.generation_config.save_pretrained(tmp_path / "derived")
    found = generated(runtime, path, prompts(name))
    assert found == reference(hugging_face, name, tmp_path / "derived") and found != plain


@pytest.mark.parametrize("name", MODELS)
def test_a_caller_switches_settings_off(runtime: Runtime, tmp_path: Path, name: str) -> None:
    rules = {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2, "min_new_tokens": 9}
    off = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_new_tokens": 0}
    path, plain = folder(tmp_path / "model", name, **rules), folder(tmp_path / "plain", name)
    rows = prompts(name)
    assert generated(runtime, path, rows, **off) == generated(runtime, plain, rows) != generated(runtime, path, rows)
    for each in (path, plain):
        add_tokenizer(each)
    flags = [part for key, value in off.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    expected = seam("generate", "--model", plain, "w5 w9 w30", "--max-new-tokens", "14")
    assert seam("generate", "--model", path, "w5 w9 w30", *flags) == expected
    ignoring = ("--ignore-generation-config", "--max-new-tokens", "14")
    assert seam("generate", "--model", path, "w5 w9 w30", *ignoring) == expected


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "case", ["bad_words_ids", "sequence_bias", "suppress_tokens", "begin_suppress_tokens", "together"]
)
def test_a_caller_ignores_the_file(runtime: Runtime, tmp_path: Path, name: str, case: str) -> None:
    """Rules without a member of seam_generate_options, and those with one, as transformers without the file."""
    path, rows = folder(tmp_path / "model", name, **SETTINGS[case]), prompts(name)
    ruled = generated(runtime, path, rows, max_new_tokens=14)
    found = generated(runtime, path, rows, ignore_generation_config=1, max_new_tokens=14)
    configured(path)
    assert found == reference(opened(name, path), name, path) != ruled


def test_what_is_set_beside_the_ignored_file_holds(runtime: Runtime, tmp_path: Path) -> None:
    rules = {"repetition_penalty": 1.7, "bad_words_ids": [[9]], "forced_eos_token_id": END}
    path, rows = folder(tmp_path / "model", DECODER, **rules), prompts(DECODER)
    found = generated(runtime, path, rows, ignore_generation_config=1, no_repeat_ngram_size=2)
    configured(path, no_repeat_ngram_size=2, max_new_tokens=20)
    assert found == reference(opened(DECODER, path), DECODER, path)


def test_lengths_that_count_the_prompt(runtime: Runtime, tmp_path: Path) -> None:
    path = folder(tmp_path / "model", DECODER, max_length=12, min_length=11)
    options = runtime.open(path).generate_options()
    assert (options.max_new_tokens, options.min_new_tokens) == (-1, -1)
    assert [len(each) for each in generated(runtime, path, prompts(DECODER), max_new_tokens=3)] == [3, 3, 3]
    with pytest.raises(SeamError, match="max_length, which counts the prompt, is 12, and a prompt has 12 tokens"):
        generated(runtime, path, [[5] * 12])
    with pytest.raises(SeamError, match="max_new_tokens: expected 1 or more, found -1"):
        generated(runtime, folder(tmp_path / "plain", DECODER), prompts(DECODER), max_new_tokens=-1)


def test_a_prompt_that_leaves_no_room(runtime: Runtime, tmp_path: Path) -> None:
    backbone = runtime.open(folder(tmp_path / "model", DECODER))
    session = backbone.session(backbone.adapter("prefix-tuning", {"prefix_length": 4}))
    sentence = (
        "there is no room for new tokens: of the backbone's 60 positions the longest prompt takes 58 and the prefix 4"
    )
    with pytest.raises(SeamError, match=sentence):
        session.generate(Batch(np.full((1, 58), 5)))


def test_a_number_of_the_file_gets_the_room_there_is(runtime: Runtime, tmp_path: Path) -> None:
    """As transformers does with its own default; a caller's number must fit."""
    path = folder(tmp_path / "model", DECODER, max_new_tokens=200, eos_token_id=None)
    rows = prompts(DECODER)
    assert [len(each) for each in generated(runtime, path, rows)] == [60 - max(map(len, rows))] * 3
    assert [len(generated(runtime, path, [row])[0]) + len(row) for row in rows] == [60, 60, 60]
    with pytest.raises(SeamError, match="max_new_tokens must be at most .*, found 58"):
        generated(runtime, path, rows, max_new_tokens=58)
    # Nothing is set: 20 new tokens, or as many as there is room for.
    (path / "generation_config.json").write_text("{}")
    assert [len(generated(runtime, path, [row])[0]) for row in ([5] * 50, [7] * 3)] == [10, 20]
    session = runtime.open(path).session()
    assert len(session.generate(Batch(np.full((1, 50), 5)), None)[0][0].tokens) == 10
    add_tokenizer(path)
    text = " ".join(["w5"] * 50)
    # A special token among them is not written.
    assert 0 < len(seam("generate", "--model", path, text).split()) <= 10
    assert "max_new_tokens must be at most" in run("generate", "--model", path, text, "--max-new-tokens", "20").stderr
    fixed = folder(tmp_path / "bart", "bart", max_new_tokens=200, eos_token_id=None)
    assert len(generated(runtime, fixed, prompts("bart"))[0]) > 20


def test_a_length_without_room_behind_the_start_token(runtime: Runtime, tmp_path: Path) -> None:
    path = folder(tmp_path / "model", "bart", max_length=1)
    with pytest.raises(ValueError, match="`max_length` is set to 1"):
        reference(opened("bart", path), "bart", path)
    with pytest.raises(
        SeamError, match="max_length, which counts the start token, is 1: there is no room for new ones"
    ):
        generated(runtime, path, prompts("bart"))
    assert [len(each) for each in generated(runtime, path, prompts("bart"), max_new_tokens=1)] == [1, 1, 1]


# ---- Token ids


def ids(path: Path, changes: dict[str, Any], kind: str) -> None:
    """Changes a file's token ids; a key whose value is "absent" is removed."""
    file = path / kind
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in content.items() if value != "absent"}))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("end", [None, [], "absent", -1])
def test_without_an_end_token_nothing_ends(runtime: Runtime, tmp_path: Path, name: str, end: Any) -> None:
    """config.json's end token is not asked where there is a generation_config.json."""
    path = folder(tmp_path / "model", name)
    # The first token of the first text, so that it would end at once.
    first = generated(runtime, path, prompts(name))[0][0]
    ids(path, {"eos_token_id": first}, "config.json")
    ids(path, {"eos_token_id": end}, "generation_config.json")
    found = generated(runtime, path, prompts(name))
    assert [len(each) for each in found] == [14, 14, 14]
    assert found == reference(opened(name, path), name, path)
    (path / "generation_config.json").unlink()
    assert generated(runtime, path, prompts(name))[0] == [first]


@pytest.mark.parametrize("kind", ["generation_config.json", "config.json"])
def test_a_padding_token_below_zero_is_none(runtime: Runtime, tmp_path: Path, kind: str) -> None:
    path = folder(tmp_path / "model", DECODER)
    plain = generated(runtime, path, prompts(DECODER))
    ids(path, {"pad_token_id": "absent"}, "generation_config.json")
    ids(path, {"pad_token_id": -1}, kind)
    assert generated(runtime, path, prompts(DECODER)) == plain
    if kind == "generation_config.json":
        assert reference(opened(DECODER, path), DECODER, path) == plain
    ids(path, {"pad_token_id": VOCABULARY}, "generation_config.json")
    with pytest.raises(SeamError, match="option pad_token_id: expected a token in"):
        generated(runtime, path, prompts(DECODER))


def test_the_begin_token_starts_a_decoder_that_names_no_other(runtime: Runtime, tmp_path: Path) -> None:
    path = folder(tmp_path / "model", "bart")
    plain = generated(runtime, path, prompts("bart"))
    ids(path, {"decoder_start_token_id": "absent", "bos_token_id": 17}, "generation_config.json")
    found = generated(runtime, path, prompts("bart"))
    assert found == reference(opened("bart", path), "bart", path) != plain


# ---- Sampling: the distribution is compared in Swift; here, which settings of the file reach it.


def test_a_file_that_samples(runtime: Runtime, tmp_path: Path) -> None:
    """The single token that top_k, top_p or min_p leaves is the best one: drawing it is greedy search."""
    rows = prompts(DECODER)
    greedy = generated(runtime, folder(tmp_path / "greedy", DECODER), rows)
    hot = {"do_sample": True, "temperature": 50.0}
    drawn = folder(tmp_path / "drawn", DECODER, **hot)
    assert generated(runtime, drawn, rows) != greedy
    assert generated(runtime, drawn, rows, do_sample=0) == greedy
    for name, value in {"top_k": 1, "top_p": 0.0, "min_p": 1.0}.items():
        assert generated(runtime, folder(tmp_path / name, DECODER, **hot, **{name: value}), rows) == greedy, name
    add_tokenizer(drawn)
    texts = ("generate", "--model", drawn, "w5 w9 w30")
    assert seam(*texts) == seam(*texts) != seam(*texts, "--no-sample")
    failed = run(*texts, "--beams", "2")
    assert failed.returncode == 1 and "sampling with 2 beams is not offered: give --no-sample" in failed.stderr


@pytest.mark.parametrize("unused", [{"temperature": 0.0}, {"top_p": 1.1}, {"top_k": -1}, {"min_p": 2.0}])
def test_settings_of_sampling_decide_nothing_without_it(
    runtime: Runtime, tmp_path: Path, unused: dict[str, float]
) -> None:
    plain = generated(runtime, folder(tmp_path / "plain", DECODER), prompts(DECODER))
    path = folder(tmp_path / "model", DECODER, do_sample=False, **unused)
    assert generated(runtime, path, prompts(DECODER)) == plain
    with pytest.raises(SeamError, match=f"option {next(iter(unused))}: expected "):
        generated(runtime, path, prompts(DECODER), do_sample=1)


@pytest.mark.parametrize("temperature", ["1e-45", "1e-40"])
def test_scores_that_a_temperature_makes_infinite(runtime: Runtime, tmp_path: Path, temperature: str) -> None:
    path = folder(tmp_path / "model", DECODER)
    sentence = "divided by a temperature of .* is infinite, so no token can be drawn: raise temperature"
    with pytest.raises(SeamError, match=sentence):
        generated(runtime, path, prompts(DECODER), do_sample=1, temperature=float(temperature))
    add_tokenizer(path)
    failed = run("generate", "--model", path, "w5", "--sample", "--temperature", temperature)
    assert failed.returncode == 1 and failed.stdout == "" and "raise temperature" in failed.stderr


@pytest.mark.parametrize("flag", [("--temperature", "2"), ("--top-p", "0.5"), ("--top-k", "3"), ("--sample-seed", "1")])
def test_flags_of_sampling_need_sampling(tmp_path: Path, flag: tuple[str, str]) -> None:
    path, drawn = folder(tmp_path / "model", DECODER), folder(tmp_path / "drawn", DECODER, do_sample=True)
    for each in (path, drawn):
        add_tokenizer(each)
    sentence = f"{flag[0]} is of sampling, and no token is drawn: give --sample, or leave it out"
    for arguments in ((path,), (path, "--no-sample"), (drawn, "--no-sample"), (drawn, "--ignore-generation-config")):
        failed = run("generate", "--model", *arguments, "w5 w9", *flag)
        assert failed.returncode == 1 and failed.stdout == "" and sentence in failed.stderr, arguments
    for arguments in ((path, "--sample"), (drawn,)):
        assert run("generate", "--model", *arguments, "w5 w9", *flag).returncode == 0, arguments


def test_length_penalty_needs_beams(tmp_path: Path) -> None:
    path = folder(tmp_path / "model", DECODER)
    add_tokenizer(path)
    failed = run("generate", "--model", path, "w5 w9", "--length-penalty", "2")
    assert failed.returncode == 1 and "--length-penalty is of a beam search: give --beams" in failed.stderr
    assert run("generate", "--model", path, "w5 w9", "--length-penalty", "2", "--beams", "2").returncode == 0


# ---- GGUF files: settings of llama.cpp

GGUF = Path(__file__).parents[1] / "SeamHostTests" / "Fixtures" / "llama.gguf"
GGUF_TYPES = {int: (5, "<i"), float: (6, "<f")}
LOOKING_BACK = {"general__sampling__penalty_last_n": -1}


def gguf_with(path: Path, **metadata: int | float) -> Path:
    """The file with more metadata in front; "__" stands for the dot. Tensors are aligned to 32 bytes, so that what is
    added is a multiple of them."""
    entries = [("general.description", 8, b"")]
    for name, value in metadata.items():
        kind, form = GGUF_TYPES[type(value)]
        entries.append((name.replace("__", "."), kind, struct.pack(form, value)))
    size = sum(8 + len(key) + 4 + len(value) for key, _, value in entries) + 8
    filler = b" " * (-size % 32)
    entries[0] = ("general.description", 8, struct.pack("<Q", len(filler)) + filler)
    added = b"".join(
        struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value for key, kind, value in entries
    )
    content = GGUF.read_bytes()
    count = struct.unpack_from("<Q", content, 16)[0] + len(entries)
    path.write_bytes(content[:16] + struct.pack("<Q", count) + added + content[24:])
    return path


def test_settings_of_a_gguf_file(runtime: Runtime, tmp_path: Path) -> None:
    """Against the same settings given by the caller, which other tests compare with transformers."""
    rows = [[1, 7, 9], [1, 20, 30]]
    plain = generated(runtime, GGUF, rows, max_new_tokens=8)
    end = plain[0][3]
    cut = [row[: row.index(end) + 1] if end in row else row for row in plain]
    for key in ("eot", "eom", "fim_pad", "fim_rep", "fim_sep"):
        path = gguf_with(tmp_path / f"{key}.gguf", **{f"tokenizer__ggml__{key}_token_id": end})
        found = generated(runtime, path, rows, max_new_tokens=8)
        assert found == cut != plain, key
        assert generated(runtime, path, rows, max_new_tokens=8, ignore_generation_config=1) == cut, (
            "an end is no setting"
        )
        assert runtime.open(path).info.eos_token_ids[0] == 2
    penalised = gguf_with(tmp_path / "penalised.gguf", general__sampling__penalty_repeat=1.75, **LOOKING_BACK)
    found = generated(runtime, penalised, rows, max_new_tokens=8)
    assert found == generated(runtime, GGUF, rows, max_new_tokens=8, repetition_penalty=1.75) != plain
    drawn = gguf_with(tmp_path / "drawn.gguf", general__sampling__top_k=1, general__sampling__temp=50.0)
    options = runtime.open(drawn).generate_options()
    assert (options.do_sample, options.top_k, options.temperature) == (0, 1, 50)
    assert generated(runtime, drawn, rows, max_new_tokens=8, do_sample=1) == plain
    for key, value in {"mirostat": 2, "xtc_probability": 0.5, "penalty_repeat": 1.5}.items():
        path = gguf_with(tmp_path / "refused.gguf", **{f"general__sampling__{key}": value})
        with pytest.raises(
            SeamError, match=rf'refused.gguf: "general.sampling.{key}" is {value}, which is not offered'
        ):
            runtime.open(path).generate_options()
        assert generated(runtime, path, rows, max_new_tokens=8, ignore_generation_config=1) == plain


def test_settings_of_a_gguf_file_are_saved(runtime: Runtime, tmp_path: Path) -> None:
    rows = [[1, 7, 9]]
    settings = {
        "tokenizer__ggml__eot_token_id": 9,
        "general__sampling__top_p": 0.5,
        "general__sampling__penalty_repeat": 1.75,
    }
    path = gguf_with(tmp_path / "model.gguf", **settings, **LOOKING_BACK)
    runtime.open(path).save(tmp_path / "saved")
    content = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert content == {"eos_token_id": [2, 9], "top_p": 0.5, "repetition_penalty": 1.75}
    assert generated(runtime, tmp_path / "saved", rows) == generated(runtime, path, rows)


# ---- The language to write


def test_the_language_of_a_translator(tmp_path: Path) -> None:
    """Its token is forced behind the start token, as forced_bos_token_id does."""
    path = folder(tmp_path / "model", "m2m100")
    add_tokenizer(path)
    first = ["generate", "--model", path, "w5 w9 w11", "--max-new-tokens", "5"]
    plain = run(*first)
    found = run(*first, "--target-language", "w7")
    assert plain.returncode == found.returncode == 0, plain.stderr + found.stderr
    assert found.stdout.startswith("w7") and not plain.stdout.startswith("w7")
    configured(path, forced_bos_token_id=7)
    assert run(*first).stdout == found.stdout
    unknown = run(*first, "--target-language", "w99")
    assert 'no token "w99" and no "__w99__"; expected the token of a language' in unknown.stderr
    other = folder(tmp_path / "decoder", DECODER)
    add_tokenizer(other)
    refused = run("generate", "--model", other, "w5", "--target-language", "w7")
    assert refused.returncode == unknown.returncode == 1
    assert "--target-language is for translators" in refused.stderr


# ---- Refusals

REFUSED: dict[str, Any] = {
    "constraints": [[5]],
    "diversity_penalty": 0.5,
    "dola_layers": "high",
    "encoder_repetition_penalty": 1.5,
    "epsilon_cutoff": 0.1,
    "eta_cutoff": 0.1,
    "exponential_decay_length_penalty": [5, 1.1],
    "force_words_ids": [[5]],
    "guidance_scale": 2.0,
    "max_time": 1.0,
    "num_beam_groups": 2,
    "penalty_alpha": 0.6,
    "stop_strings": ["."],
    "token_healing": True,
    "top_h": 0.4,
    "typical_p": 0.9,
    "watermarking_config": {"bias": 2.5},
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_not_offered_is_refused(runtime: Runtime, tmp_path: Path, key: str) -> None:
    path = folder(tmp_path / "model", DECODER, **{key: REFUSED[key]})
    with pytest.raises(SeamError, match=rf'generation_config.json: "{key}" is .* is not offered: remove it'):
        runtime.open(path).generate_options()
    assert generated(runtime, path, prompts(DECODER), ignore_generation_config=1)
    add_tokenizer(path)
    done = run("generate", "--model", path, "w5", "--ignore-generation-config")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("key", ["max_length", "num_beams", "top_p", "do_sample", "bad_words_ids", "sequence_bias"])
def test_a_setting_of_another_type_is_a_sentence(runtime: Runtime, tmp_path: Path, key: str) -> None:
    with pytest.raises(SeamError, match=f'generation_config.json: "{key}" must be '):
        runtime.open(folder(tmp_path / "model", DECODER, **{key: {"a": "b"}})).generate_options()


def test_every_setting_of_transformers_is_known(runtime: Runtime, tmp_path: Path) -> None:
    """A key that the installed transformers has and docs/model-folders.md does not name is new: look at what it does."""
    page = (Path(__file__).parents[2] / "docs" / "model-folders.md").read_text()
    keys = {key for key in GenerationConfig().to_dict() if not key.startswith("_")}
    assert {key for key in keys if f"`{key}`" not in page} == set()
    path = folder(tmp_path / "model", DECODER)
    GenerationConfig(**SPECIAL, max_new_tokens=14).save_pretrained(path)
    assert generated(runtime, path, prompts(DECODER)) == reference(opened(DECODER, path), DECODER, path)
