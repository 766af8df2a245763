"""Small valid inputs of every reader, what reads each, and how they are mutated (see fuzz_readers.py)."""

from __future__ import annotations

import base64
import copy
import json
import random
import shutil
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import seamkit
from command_line import seam, start
from ctranslate2_files import tiny_whisper, variables, write_folder
from fewshot_models import byte_level, sentence_piece_bpe, unigram, wordpiece
from single_stack import save as save_one_stack
from tiny_models import add_tokenizer
from tiny_models import save as save_pairs

TEXT = "w5 w9 the film was good, 12 times!"


@dataclass(frozen=True)
class Subject:
    """A valid folder, the files of it that are mutated, and what is done with it: a function of the folder, or the
    arguments of the program `seam`, in which {} stands for the folder."""

    name: str
    files: tuple[str, ...]
    use: Callable[[Path], None] | list[str]


# ---- What is done with an input


class Uses:
    """What opens inputs. The runtime is made before the process that opens damaged ones is forked off."""

    def __init__(self, good: Path):
        self.good = good
        self.runtime = seamkit.Runtime()
        self.pairs = self.runtime.open(good / "pairs")

    def model(self, folder: Path) -> None:
        """Opens a model and computes with it."""
        backbone = self.runtime.open(folder)
        info = backbone.info
        session = backbone.session()
        ids = [[4, 5, 6], [7, 8, 9]]
        if info.architecture == "encoder-only":
            session.pool(seamkit.Batch(ids))
            return
        options = backbone.generate_options(max_new_tokens=3)
        session.generate(seamkit.Batch(ids), options)

    def tokenizer(self, folder: Path) -> None:
        tokenizer = seamkit.Tokenizer(next(folder.glob("*.gguf"), folder))
        tokenizer.decode(tokenizer.encode(TEXT))

    def gguf(self, folder: Path) -> None:
        try:
            self.tokenizer(folder)
        except seamkit.SeamError:
            # The model is read all the same.
            pass
        self.model(next(folder.glob("*.gguf")))

    def adapter(self, folder: Path) -> None:
        session = self.pairs.session()
        session.load(folder / "adapter")
        session.generate(seamkit.Batch([[4, 5, 6]]), self.pairs.generate_options(max_new_tokens=2))

    def sound(self, folder: Path) -> None:
        """Files of three kinds; that one is damaged is no reason to leave the others."""
        extractor = seamkit.FeatureExtractor(folder)
        refused = None
        for name in ("sound.wav", "sound.flac", "sound.ogg"):
            try:
                extractor(folder / name, whole=True)
            except seamkit.SeamError as error:
                refused = error
        if refused is not None:
            raise refused

    def classifier(self, folder: Path) -> None:
        """Cached answers of a model; the task with its label words is read from task.json."""
        try:
            task = json.loads((folder / "task.json").read_bytes())
        except (ValueError, RecursionError):
            return
        if not isinstance(task, dict) or not isinstance(task.get("labels"), dict):
            return
        tokenizer = seamkit.Tokenizer(self.good / "pairs")
        seamkit.Classifier(self.pairs, task, tokenizer, folder / "cache").scores(["w5 w6", "w7"])


# ---- The valid inputs


def _gguf(path: Path, kind: str) -> None:
    import gguf

    width, heads, vocabulary = 16, 2, 40
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(32)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(24)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model(kind)
    letters = [chr(ord("a") + number) for number in range(26)]
    space = "\u2581" if kind == "llama" else "\u0120"
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        space,
        *letters,
        "th",
        "the",
        "oo",
        "good",
        space + "g",
        "fi",
        "lm",
        "film",
        "as",
        "wa",
    ]
    writer.add_token_list(tokens)
    if kind == "llama":
        writer.add_token_scores([-float(number) for number in range(len(tokens))])
    else:
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges(["t h", "th e", "o o", "f i", "l m", "fi lm"])
    writer.add_token_types([2, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    generator = np.random.default_rng(0)

    def tensor(name: str, *shape: int) -> None:
        writer.add_tensor(name, generator.standard_normal(shape).astype(np.float32) * 0.2)

    tensor("token_embd.weight", vocabulary, width)
    tensor("output_norm.weight", width)
    for name, shape in {
        "attn_q": (width, width),
        "attn_k": (width, width),
        "attn_v": (width, width),
        "attn_output": (width, width),
        "ffn_gate": (24, width),
        "ffn_up": (24, width),
        "ffn_down": (width, 24),
        "attn_norm": (width,),
        "ffn_norm": (width,),
    }.items():
        tensor(f"blk.0.{name}.weight", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _sentence_piece(folder: Path) -> None:
    import sentencepiece

    folder.mkdir()
    words = ["the film was good", "the food was bad", "a good film of twelve times"] * 20
    with open(folder / "spiece.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(words), model_writer=file, vocab_size=50, hard_vocab_limit=False, minloglevel=2
        )
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", "extra_ids": 5}))


def _charsmap(model: Path) -> str:
    """A SentencePiece model's replacements, as tokenizer.json has them."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.read_bytes())
    return base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()


def _peft(folder: Path) -> None:
    from safetensors.numpy import save_file

    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps(
            {
                "peft_type": "PREFIX_TUNING",
                "task_type": "CAUSAL_LM",
                "num_virtual_tokens": 3,
                "token_dim": 12,
                "num_attention_heads": 2,
                "num_layers": 3,
                "num_transformer_submodules": 1,
            }
        )
    )
    save_file({"prompt_embeddings": np.zeros((3, 3 * 2 * 12), np.float32)}, folder / "adapter_model.safetensors")


def _sounds(folder: Path) -> None:
    import soundfile

    folder.mkdir()
    settings = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80, "chunk_length": 1}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (800, 2))
    for kind in ("wav", "flac", "ogg"):
        soundfile.write(folder / f"sound.{kind}", samples, 8000)


def make(good: Path) -> list[Subject]:
    """Writes the valid inputs below `good`."""
    uses_models = []
    save_pairs("marian", good / "pairs")
    add_tokenizer(good / "pairs")
    for name in ("bert", "gpt2", "llama", "qwen2"):
        save_one_stack(name, good / name)
        uses_models.append(name)
    save_pairs("t5-1.0", good / "t5")
    for name, tokenizer in {
        "bytes": byte_level("$A"),
        "words": wordpiece(),
        "pieces": sentence_piece_bpe(),
        "unigram": unigram(),
    }.items():
        (good / name).mkdir()
        tokenizer.save(str(good / name / "tokenizer.json"))
    pattern = json.loads((good / "bytes" / "tokenizer.json").read_text())
    pattern["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": r"(\p{L}+)+|\s?\d{1,3}|[^\s\p{L}]+"},
                "behavior": "Isolated",
                "invert": False,
            },
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ],
    }
    (good / "pattern").mkdir()
    (good / "pattern" / "tokenizer.json").write_text(json.dumps(pattern))
    _sentence_piece(good / "sentencepiece")
    precompiled = json.loads((good / "unigram" / "tokenizer.json").read_text())
    precompiled["normalizer"] = {
        "type": "Precompiled",
        "precompiled_charsmap": _charsmap(good / "sentencepiece" / "spiece.model"),
    }
    (good / "precompiled").mkdir()
    (good / "precompiled" / "tokenizer.json").write_text(json.dumps(precompiled))
    for kind in ("llama", "gpt2"):
        (good / f"gguf-{kind}").mkdir()
        _gguf(good / f"gguf-{kind}" / "model.gguf", kind)

    uses = Uses(good)
    (good / "adapters").mkdir()
    uses.pairs.adapter("repcali").save(good / "adapters" / "adapter")
    (good / "answers").mkdir()
    (good / "answers" / "task.json").write_text(
        json.dumps({"template": "{text}", "labels": {"n": ["w4"], "p": ["w9", "w10"]}})
    )
    uses.classifier(good / "answers")
    for number, file in enumerate(sorted((good / "answers" / "cache").rglob("*.safetensors"))):
        file.rename(file.with_name(f"{number}.safetensors"))
    (cache,) = {str(file.relative_to(good / "answers")) for file in (good / "answers" / "cache").rglob("*.safetensors")}

    model = str(good / "pairs")
    (good / "data").mkdir()
    rows = [("w5 w6", "w9"), ("w7", "w8 w9"), ("w10 w11", "w12")]
    (good / "data" / "pairs.jsonl").write_text(
        "".join(json.dumps({"source": source, "target": target, "n": 1.5}) + "\n" for source, target in rows)
    )
    (good / "data" / "pairs.csv").write_text("source,target\n" + "".join(f'"{a}",{b}\n' for a, b in rows))
    (good / "data" / "pairs.tsv").write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in rows))
    (good / "labels").mkdir()
    (good / "labels" / "data.jsonl").write_text(
        "".join(json.dumps({"text": a, "label": b}) + "\n" for a, b in (("w5", "n"), ("w6 w7", "p")))
    )
    (good / "labels" / "words.json").write_text(json.dumps({"n": ["w4"], "p": ["w9", "w10"]}))
    _peft(good / "peft")
    write_folder(good / "ctranslate2", variables(tiny_whisper(), "int8"))
    _sounds(good / "sound")
    # Killed behind a checkpoint.
    train = [
        "train",
        "--model",
        model,
        "--adapter",
        "repcali",
        "--train",
        str(good / "data" / "pairs.jsonl"),
        "--threads",
        "1",
        "--batch-size",
        "2",
        "--learning-rate",
        "1e-2",
    ]
    run = start(*train, "--steps", "1000000", "--checkpoint-every", "1", "--output", str(good / "run"))
    while run.poll() is None and not (good / "run/checkpoint/trainer_state.json").exists():
        time.sleep(0.01)
    run.kill()
    _, errors = run.communicate()
    state = good / "run/checkpoint/trainer_state.json"
    assert state.exists(), errors
    # One step before the end.
    state.write_text(json.dumps(json.loads(state.read_text()) | {"step": 999_999}))
    sweep = [
        "sweep",
        "--model",
        model,
        "--train",
        good / "data" / "pairs.jsonl",
        "--dev",
        good / "data" / "pairs.jsonl",
        "--variant",
        "gate=prefix-tuning+gate",
        "--vary",
        "prefix_length=2,3",
        "--steps",
        "2",
        "--batch-size",
        "2",
        "--learning-rate",
        "1e-2",
        "--seeds",
        "0",
        "--threads",
        "1",
    ]
    seam(*sweep, "--output", good / "sweep")

    def files(name: str) -> tuple[str, ...]:
        found = sorted(str(each.relative_to(good / name)) for each in (good / name).rglob("*") if each.is_file())
        return tuple(each for each in found if each.endswith((".json", ".jsonl", ".safetensors")))

    evaluate = ["evaluate", "--model", model, "--loss-only", "--threads", "1", "--data"]
    return [
        *(
            Subject(name, ("config.json", "generation_config.json", "model.safetensors"), uses.model)
            for name in ("pairs", "t5", *uses_models)
            if (good / name / "generation_config.json").exists()
        ),
        *(
            Subject(name, ("config.json", "model.safetensors"), uses.model)
            for name in uses_models
            if not (good / name / "generation_config.json").exists()
        ),
        *(
            Subject(name, ("tokenizer.json",), uses.tokenizer)
            for name in ("bytes", "words", "pieces", "unigram", "precompiled", "pattern", "pairs")
        ),
        Subject("sentencepiece", ("spiece.model", "tokenizer_config.json"), uses.tokenizer),
        Subject("gguf-llama", ("model.gguf",), uses.gguf),
        Subject("gguf-gpt2", ("model.gguf",), uses.gguf),
        Subject("adapters", ("adapter/adapter_config.json", "adapter/adapter_model.safetensors"), uses.adapter),
        Subject("answers", (cache, "task.json"), uses.classifier),
        Subject(
            "peft",
            ("adapter_config.json", "adapter_model.safetensors"),
            ["import", "--model", str(good / "llama"), "--format", "peft", "--input", "{}", "--output", "{}/out"],
        ),
        Subject(
            "ctranslate2",
            ("model.bin", "config.json", "vocabulary.json", "tokenizer.json"),
            ["convert", "--model", "{}", "--output", "{}/out"],
        ),
        Subject("sound", ("sound.wav", "sound.flac", "sound.ogg", "preprocessor_config.json"), uses.sound),
        *(Subject("data", (name,), [*evaluate, "{}/" + name]) for name in ("pairs.jsonl", "pairs.csv", "pairs.tsv")),
        Subject(
            "labels",
            ("data.jsonl", "words.json"),
            [
                "fewshot",
                "--model",
                model,
                "--train",
                "{}/data.jsonl",
                "--test",
                "{}/data.jsonl",
                "--verbalizer",
                "{}/words.json",
                "--shots",
                "1",
                "--seeds",
                "1",
                "--method",
                "zero-shot",
                "--output",
                "{}/out",
                "--threads",
                "1",
            ],
        ),
        Subject(
            "run",
            ("checkpoint/trainer_state.json", "checkpoint/trainer_state.safetensors", "log.jsonl"),
            [*train, "--steps", "1000000", "--resume", "--output", "{}"],
        ),
        Subject("sweep", files("sweep"), ["sweep", "--report-only", "{}"]),
    ]


# ---- How files are mutated

NUMBERS: list[Any] = [
    0,
    1,
    -1,
    2,
    7,
    255,
    65536,
    2**31 - 1,
    2**31,
    2**32,
    2**40,
    2**61,
    2**62,
    2**63 - 1,
    -(2**63),
    2**63,
    2**64,
    10**18,
    10**30,
    0.5,
    -0.0,
    1e-300,
    1e300,
    1.5e308,
]
STRINGS = [
    "",
    "\0",
    "a\0b",
    "\x1b[2J",
    "\u202e",
    "../../x",
    "\U0010ffff",
    "e\u0301",
    "x" * 3000,
    "{text}",
    "<0x41>",
    "\u2581",
    "F8_E4M3",
    "U16",
    "I32",
    "BF16",
    "F64",
    "(a+)+",
    "\\p{L}{1000}",
    "linear",
    "llama3",
    "Sequence",
    "gelu",
    "null",
    "1e99",
    "-1",
]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key in value:
            found += _places(value[key], (*path, key))
    if isinstance(value, list):
        for number, each in enumerate(value):
            found += _places(each, (*path, number))
    return found


def mutated_json(content: Any, rng: random.Random) -> Any:
    """The value with one to three members changed, left out, doubled or taken from elsewhere in it."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = _places(content)
        # Members near the root are few, and matter most.
        chosen = min((rng.choice(places) for _ in range(rng.choice((1, 2)))), key=len)
        if not chosen:
            continue
        target = content
        for step in chosen[:-1]:
            target = target[step]
        key, value = chosen[-1], target[chosen[-1]]
        if key == "shape" and isinstance(value, list) and rng.random() < 0.3:
            # Another shape of as many elements.
            target[key] = [1] * rng.choice((1, 2, 7, 8, 60)) + value
            continue
        match rng.randrange(9):
            case 0 | 1 | 2:
                same = isinstance(value, str) and rng.random() < 0.8
                target[key] = rng.choice(STRINGS if same else NUMBERS)
            case 3:
                target[key] = rng.choice([None, True, False, [], {}, [[]], "", 0, -1])
            case 4:
                del target[key]
            case 5:
                source = content
                for step in rng.choice(places):
                    source = source[step]
                target[key] = copy.deepcopy(source)
            case 6 if isinstance(value, list):
                target[key] = value * rng.choice((0, 2, 3, 9))
            case 7 if isinstance(value, list):
                target[key] = [*value, rng.choice(NUMBERS)]
            case 8 if isinstance(target, dict):
                target[rng.choice(STRINGS)] = value
            case _:
                target[key] = rng.choice(NUMBERS)
    return content


def mutated_bytes(content: bytes, rng: random.Random, reach: int | None = None) -> bytes:
    """Some bytes changed, within the first `reach` or anywhere."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        end = min(len(data), reach or len(data))
        if end == 0:
            return bytes(data)
        place = rng.randrange(end)
        match rng.randrange(7):
            case 0:
                data[place] ^= 1 << rng.randrange(8)
            case 1:
                data[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x5C))
            case 2 | 3:
                width = rng.choice((2, 4, 8))
                number = rng.choice([each for each in NUMBERS if isinstance(each, int)])
                data[place : place + width] = (number % (1 << 8 * width)).to_bytes(width, "little")
            case 4:
                del data[place : place + rng.choice((1, 2, 8, 100))]
            case 5:
                data[place:place] = data[(other := rng.randrange(end)) : other + rng.choice((1, 4, 32))]
            case 6:
                if rng.random() < 0.2:
                    del data[place:]
                else:
                    data[place] = rng.randrange(256)
    return bytes(data)


def mutated(path: str, content: bytes, rng: random.Random) -> bytes:
    """A file's content, changed in its structure or in its bytes."""
    if rng.random() < 0.35:
        return mutated_bytes(content, rng)
    try:
        if path.endswith(".json"):
            return json.dumps(mutated_json(json.loads(content), rng)).encode()
        if path.endswith(".jsonl"):
            lines = [json.loads(line) for line in content.splitlines()]
            return b"".join(json.dumps(each).encode() + b"\n" for each in mutated_json(lines, rng))
        if path.endswith(".safetensors"):
            (length,) = struct.unpack("<Q", content[:8])
            header = json.dumps(mutated_json(json.loads(content[8 : 8 + length]), rng)).encode()
            return struct.pack("<Q", len(header)) + header + content[8 + length :]
    except ValueError:
        pass
    return mutated_bytes(content, rng, 3000 if path.endswith((".gguf", ".model")) else None)


def write_mutant(good: Path, subject: Subject, number: int, seed: int, target: Path) -> None:
    """The folder of mutant `number`, the same for the same seed; -1 is the valid one."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(good / subject.name, target)
    if number < 0:
        return
    rng = random.Random(f"{seed} {subject.name} {subject.files} {number}")
    for name in rng.sample(subject.files, 1 if rng.random() < 0.9 else min(2, len(subject.files))):
        file = target / name
        file.write_bytes(mutated(name, file.read_bytes(), rng))
