#!/usr/bin/env python3
"""Convert the SMILES-to-SMILES Transformer of the PyPI package ``annalog`` into a Marian folder.

    pip download --no-deps annalog==1.0.6
    python convert_annalog.py --source annalog-1.0.6-py3-none-any.whl models/annalog

The output folder holds ``config.json``, ``generation_config.json``, ``model.safetensors``,
``tokenizer.json`` and ``tokenizer_config.json``. ``MarianMTModel.from_pretrained`` and
``PreTrainedTokenizerFast.from_pretrained`` load it as it is.

The package ships a ``torch.save`` archive and a pickled vocabulary. Neither is executed: both are
read by an unpickler that knows the three globals of a float32 state dict, replaces each of them
with an inert stand-in, and refuses every other global. Neither torch nor annalog is imported.

What the original (``annalog/model_files/seq2seq_attention.py``) computes, and where it goes:

* post-norm encoder and decoder layers, ReLU, biases everywhere, LayerNorm eps 1e-5, scores
  divided by sqrt(head size): these are Marian's layers;
* token embeddings times sqrt(d_model): ``scale_embedding``;
* *learned* positions counted from 0: stored as ``embed_positions.weight``. Marian creates that
  tensor as a sinusoidal table, but it is an ordinary weight that a checkpoint overrides;
* three separate matrices for source tokens, target tokens and output, so nothing is tied;
* an output bias: ``final_logits_bias``.

Sources are ``<sos> tokens <eos>``, and so are targets: the decoder starts from ``<sos>``. Marian
puts that start token in front of the labels by itself, so training labels are the tokenizer's
output *without* its first id.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import json
import math
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors.numpy import save_file

CHECKPOINT = "annalog/ckpt_and_vocab/Lev_extended.pt"
VOCABULARY = "annalog/ckpt_and_vocab/stereo_experiment_vocab_ttf.pkl"

# Not recoverable from tensor shapes; annalog/model_handler.py sets them in code.
ATTENTION_HEADS = 8
DROPOUT = 0.1

UNK, PAD, BOS, EOS = "<unk>", "<pad>", "<sos>", "<eos>"

# annalog's SMILESTokenizer splits by bracket atoms, then by two-digit ring closures, then by
# two-letter halogens, then into characters. None of the three can overlap another, so one
# left-to-right alternation gives the same tokens.
SMILES_TOKEN = r"\[[^\]]*\]|%\d{2}|Br|Cl|."

# annalog's module names (below ``encoder.`` or ``decoder.``) and Marian's (below ``model.``).
MODULE_NAMES = {
    "tok_embedding": "embed_tokens",
    "pos_embedding": "embed_positions",
    "self_attn_layer_norm": "self_attn_layer_norm",
    "enc_attn_layer_norm": "encoder_attn_layer_norm",
    "ff_layer_norm": "final_layer_norm",
    "self_attention": "self_attn",
    "encoder_attention": "encoder_attn",
    "fc_q": "q_proj",
    "fc_k": "k_proj",
    "fc_v": "v_proj",
    "fc_o": "out_proj",
    "positionwise_feedforward.fc_1": "fc1",
    "positionwise_feedforward.fc_2": "fc2",
}


class ConversionError(Exception):
    """The package's files are not what this converter was written for."""


class StateDict(dict[str, np.ndarray]):
    """Stand-in for ``collections.OrderedDict``; drops the module versions torch attaches."""

    def __setstate__(self, state: object) -> None:
        pass


class FloatStorage:
    """Stand-in for the marker ``torch.FloatStorage``; never instantiated."""


def rebuild_tensor(
    storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_gradient_and_hooks: object
) -> np.ndarray:
    """Stand-in for ``torch._utils._rebuild_tensor_v2``, for contiguous tensors."""
    contiguous = tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))
    end = offset + math.prod(size)
    if tuple(stride) != contiguous or not 0 <= offset <= end <= storage.size:
        raise ConversionError(f"{CHECKPOINT}: a tensor of shape {tuple(size)} is not a contiguous part of a storage.")
    return storage[offset:end].reshape(size)


class InertUnpickler(pickle.Unpickler):
    """Reads plain containers plus an explicit list of stand-ins, and refuses all other globals."""

    def __init__(
        self,
        stream: BinaryIO,
        filename: str,
        stand_ins: Mapping[tuple[str, str], Any],
        read_storage: Callable[[str], bytes] | None = None,
    ) -> None:
        super().__init__(stream)
        self._filename = filename
        self._stand_ins = stand_ins
        self._read_storage = read_storage

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._stand_ins[module, name]
        except KeyError:
            raise ConversionError(
                f"{self._filename}: the pickle asks for the global {module}.{name}, "
                "which is not needed to read this file, so it was refused."
            ) from None

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Resolve ``("storage", type, key, device, element count)`` to a flat array."""
        match pid:
            case ("storage", storage_type, str(key), str(), int(count)) if (
                storage_type is FloatStorage and self._read_storage and re.fullmatch(r"\d+", key)
            ):
                array = np.frombuffer(self._read_storage(key), dtype="<f4")
                if array.size == count:
                    return array
        raise ConversionError(f"{self._filename}: cannot read the storage {pid!r}.")


STATE_DICT_STAND_INS = {
    ("collections", "OrderedDict"): StateDict,
    ("torch", "FloatStorage"): FloatStorage,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
}


def load(unpickler: InertUnpickler, filename: str) -> Any:
    """Run an unpickler, naming the file when the pickle itself is malformed."""
    try:
        return unpickler.load()
    except ConversionError:
        raise
    except Exception as error:  # "other exceptions may also be raised", says pickle's manual
        raise ConversionError(f"{filename}: not a readable pickle ({error}).") from error


def read_state_dict(data: bytes) -> dict[str, np.ndarray]:
    """Read the float32 tensors of a ``torch.save`` archive without executing its pickle."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
            (index,) = [name for name in names if name.endswith("/data.pkl")]
            root = index.removesuffix("data.pkl")
            if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
                raise ConversionError(f"{CHECKPOINT}: the tensors are not little-endian.")
            unpickler = InertUnpickler(
                io.BytesIO(archive.read(index)),
                CHECKPOINT,
                STATE_DICT_STAND_INS,
                lambda key: archive.read(f"{root}data/{key}"),
            )
            state = load(unpickler, CHECKPOINT)
    except (zipfile.BadZipFile, ValueError, KeyError) as error:
        raise ConversionError(f"{CHECKPOINT}: not a torch.save archive ({error}).") from error
    if not isinstance(state, StateDict) or not all(
        isinstance(name, str) and isinstance(tensor, np.ndarray) for name, tensor in state.items()
    ):
        raise ConversionError(f"{CHECKPOINT}: not a dictionary of named tensors.")
    return state


def read_vocabulary(data: bytes) -> list[str]:
    """Read the token list from ``{"itos": [...], "stoi": {...}}``, which needs no global at all."""
    payload = load(InertUnpickler(io.BytesIO(data), VOCABULARY, {}), VOCABULARY)
    match payload:
        case {"itos": list(tokens), "stoi": dict(ids)} if (
            all(isinstance(token, str) for token in tokens)
            and ids == {token: index for index, token in enumerate(tokens)}
            and {UNK, PAD, BOS, EOS} <= ids.keys()
        ):
            return tokens
    raise ConversionError(f"{VOCABULARY}: expected 'itos' and 'stoi' that agree and hold {UNK}, {PAD}, {BOS}, {EOS}.")


def marian_name(name: str) -> str:
    """Translate one annalog parameter name, e.g. ``decoder.layers.0.self_attention.fc_q.bias``."""
    if name == "decoder.fc_out.weight":
        return "lm_head.weight"
    if name == "decoder.fc_out.bias":
        return "final_logits_bias"
    matched = re.fullmatch(
        r"(?P<stack>encoder|decoder)(?P<layer>\.layers\.\d+)?\.(?P<path>.+)\.(?P<kind>weight|bias)", name
    )
    if matched:
        path = matched["path"]
        modules = [path] if path in MODULE_NAMES else path.split(".")
        if all(module in MODULE_NAMES for module in modules):
            translated = ".".join(MODULE_NAMES[module] for module in modules)
            layer = matched["layer"] or ""
            return f"model.{matched['stack']}{layer}.{translated}.{matched['kind']}"
    raise ConversionError(f"{CHECKPOINT}: unexpected tensor {name}.")


def marian_tensors(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename the tensors; Marian keeps the output bias as a 1 x vocabulary row."""
    tensors = {marian_name(name): np.ascontiguousarray(tensor) for name, tensor in state.items()}
    if "final_logits_bias" in tensors:
        tensors["final_logits_bias"] = tensors["final_logits_bias"].reshape(1, -1)
    return tensors


def marian_config(tensors: Mapping[str, np.ndarray], tokens: list[str]) -> dict[str, Any]:
    """Derive the configuration from the shapes, and check every shape against it."""

    def layers(stack: str) -> int:
        pattern = re.compile(rf"model\.{stack}\.layers\.(\d+)\.")
        return len({found[1] for found in map(pattern.match, tensors) if found})

    def matrix_shape(name: str) -> tuple[int, int]:
        match tensors.get(name):
            case np.ndarray(shape=(rows, columns)):
                return rows, columns
        raise ConversionError(f"{CHECKPOINT}: the matrix for {name} is missing.")

    vocabulary, width = matrix_shape("model.encoder.embed_tokens.weight")
    positions, _ = matrix_shape("model.encoder.embed_positions.weight")
    inner, _ = matrix_shape("model.encoder.layers.0.fc1.weight")
    depth = {"encoder": layers("encoder"), "decoder": layers("decoder")}

    expected: dict[str, tuple[int, ...]] = {
        "lm_head.weight": (len(tokens), width),
        "final_logits_bias": (1, len(tokens)),
    }
    for stack, attentions in (("encoder", ["self"]), ("decoder", ["self", "encoder"])):
        expected[f"model.{stack}.embed_tokens.weight"] = (len(tokens), width)
        expected[f"model.{stack}.embed_positions.weight"] = (positions, width)
        for layer in range(depth[stack]):
            prefix = f"model.{stack}.layers.{layer}"
            norms = [f"{kind}_attn_layer_norm" for kind in attentions] + ["final_layer_norm"]
            linears = {"fc1": (inner, width), "fc2": (width, inner)}
            for kind in attentions:
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    linears[f"{kind}_attn.{part}"] = (width, width)
            for name, shape in linears.items():
                expected[f"{prefix}.{name}.weight"] = shape
                expected[f"{prefix}.{name}.bias"] = shape[:1]
            for norm in norms:
                expected[f"{prefix}.{norm}.weight"] = (width,)
                expected[f"{prefix}.{norm}.bias"] = (width,)
    for name in sorted(expected.keys() | tensors.keys()):
        found = tensors[name].shape if name in tensors else "absent"
        if found != expected.get(name):
            wanted = expected.get(name, "absent")
            raise ConversionError(f"{CHECKPOINT}: {name} is {found}, expected {wanted}.")

    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "vocab_size": vocabulary,
        "decoder_vocab_size": vocabulary,
        "d_model": width,
        "encoder_layers": depth["encoder"],
        "decoder_layers": depth["decoder"],
        "encoder_attention_heads": ATTENTION_HEADS,
        "decoder_attention_heads": ATTENTION_HEADS,
        "encoder_ffn_dim": inner,
        "decoder_ffn_dim": inner,
        "max_position_embeddings": positions,
        "activation_function": "relu",
        "scale_embedding": True,
        "share_encoder_decoder_embeddings": False,
        "tie_word_embeddings": False,
        "dropout": DROPOUT,
        "attention_dropout": DROPOUT,
        "activation_dropout": DROPOUT,
        "is_encoder_decoder": True,
        "use_cache": True,
        "bos_token_id": tokens.index(BOS),
        "pad_token_id": tokens.index(PAD),
        "eos_token_id": tokens.index(EOS),
        "forced_eos_token_id": None,
        "decoder_start_token_id": tokens.index(BOS),
        "dtype": "float32",
    }


def generation_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Greedy decoding up to the last learned position."""
    ids = ("bos_token_id", "pad_token_id", "eos_token_id", "decoder_start_token_id")
    return {
        **{key: config[key] for key in ids},
        "max_length": config["max_position_embeddings"],
        "num_beams": 1,
        "do_sample": False,
    }


def tokenizer_json(tokens: list[str]) -> dict[str, Any]:
    """Describe annalog's SMILES tokenizer in the format of the ``tokenizers`` library."""
    ids = {token: index for index, token in enumerate(tokens)}
    added = [
        {
            "id": ids[token],
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token in sorted((UNK, PAD, BOS, EOS), key=ids.__getitem__)
    ]

    def special(token: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": 0}}

    def sequence(name: str) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": 0}}

    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": SMILES_TOKEN}, "behavior": "Isolated", "invert": False},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special(BOS), sequence("A"), special(EOS)],
            "pair": [special(BOS), sequence("A"), sequence("B"), special(EOS)],
            "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (BOS, EOS)},
        },
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": UNK},
    }


def tokenizer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Name the special tokens for ``PreTrainedTokenizerFast``."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config["max_position_embeddings"],
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "unk_token": UNK,
        "pad_token": PAD,
        "bos_token": BOS,
        "eos_token": EOS,
    }


def package_reader(source: Path | None) -> Callable[[str], bytes]:
    """Return a function reading the package's files from a wheel, a folder or an installation."""
    if source is not None and source.is_file():
        wheel = zipfile.ZipFile(source)
        return wheel.read
    if source is not None:
        return lambda name: (source / name).read_bytes()
    distribution = importlib.metadata.distribution("annalog")
    return lambda name: Path(str(distribution.locate_file(name))).read_bytes()


def convert(source: Path | None, destination: Path) -> None:
    """Write the Marian folder ``destination`` from the annalog package at ``source``."""
    try:
        read = package_reader(source)
        checkpoint, vocabulary = read(CHECKPOINT), read(VOCABULARY)
    except importlib.metadata.PackageNotFoundError:
        raise ConversionError("annalog is not installed; name its wheel with --source.") from None
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ConversionError(f"{source or 'annalog'}: no annalog package ({error}).") from error

    tokens = read_vocabulary(vocabulary)
    tensors = marian_tensors(read_state_dict(checkpoint))
    config = marian_config(tensors, tokens)
    destination.mkdir(parents=True, exist_ok=True)
    save_file(tensors, destination / "model.safetensors", metadata={"format": "pt"})
    for name, content in {
        "config.json": config,
        "generation_config.json": generation_config(config),
        "tokenizer.json": tokenizer_json(tokens),
        "tokenizer_config.json": tokenizer_config(config),
    }.items():
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (destination / name).write_text(text + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--source", type=Path, help="annalog wheel, or the folder it was unpacked into (default: the installed package)"
    )
    parser.add_argument("destination", type=Path, help="folder to write")
    arguments = parser.parse_args()
    try:
        convert(arguments.source, arguments.destination)
    except ConversionError as error:
        print(f"convert_annalog: {error}", file=sys.stderr)
        return 1
    print(f"wrote {arguments.destination}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
