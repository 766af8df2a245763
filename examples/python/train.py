#!/usr/bin/env python3
"""Trains a RepCali adapter on a pretrained sequence-to-sequence model: open the model, attach the adapter, train, score,
save, read it back and score again. It calls the C functions of include/seam/client.h through ctypes and needs no package;
examples/c and examples/swift do the same and print the same numbers.

Build and run, from the root of the repository:
  swift build -c release
  python3 examples/python/train.py .build/release/libSeam.so MODEL train.jsonl dev.jsonl adapter 100

MODEL is a folder in the Hugging Face layout with a tokenizer.json; each line of the data is a JSON object with the
strings "source" and "target"; `adapter` is the folder to write; 100 is the number of steps.
"""
import ctypes
import json
import sys
from ctypes import POINTER, byref, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

BATCH_SIZE, REPORT_EVERY, MAX_TOKENS, IGNORED = 8, 10, 1024, -100

# ---- The structs that are used, as the header has them


class Structure(ctypes.Structure):
    """A struct that starts with its own size."""

    def __init__(self, **members):
        super().__init__(ctypes.sizeof(self), **members)


class BackboneInfo(Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("kind", c_int32), ("family", c_char_p), ("seams", POINTER(c_char_p)),
        ("seam_count", c_size_t), ("d_model", c_int64), ("encoder_layers", c_int64), ("decoder_layers", c_int64),
        ("heads", c_int64), ("kv_heads", c_int64), ("head_dim", c_int64), ("max_source_positions", c_int64),
        ("max_target_positions", c_int64), ("vocab_size", c_int64), ("decoder_start_token_id", c_int64),
        ("eos_token_id", c_int64), ("pad_token_id", c_int64),
    ]


class Batch(Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("batch", c_int64), ("source_length", c_int64), ("target_length", c_int64),
        ("input_ids", POINTER(c_int32)), ("attention_mask", POINTER(c_int32)), ("labels", POINTER(c_int32)),
        ("decoder_input_ids", POINTER(c_int32)),
    ]


class TrainOptions(Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("optimizer", c_int32), ("schedule", c_int32), ("train_backbone", c_int32),
        ("learning_rate", c_double), ("backbone_learning_rate", c_double), ("beta1", c_double), ("beta2", c_double),
        ("epsilon", c_double), ("weight_decay", c_double), ("max_grad_norm", c_double), ("label_smoothing", c_double),
        ("warmup_steps", c_int64), ("total_steps", c_int64),
    ]


class Score(ctypes.Structure):
    _fields_ = [("log_probability", c_double), ("token_count", c_int64), ("correct_count", c_int64)]


class Step(Structure):
    _fields_ = [
        ("struct_size", c_uint32), ("step", c_int64), ("loss", c_double), ("gradient_norm", c_double),
        ("learning_rate", c_double),
    ]


# ---- Calls: a status other than 0 comes with an error object that holds a sentence


def load(path):
    seam = ctypes.CDLL(path)
    for name in ("runtime", "backbone", "adapter", "session", "tokenizer", "error"):
        getattr(seam, f"seam_{name}_release").argtypes = [c_void_p]
        getattr(seam, f"seam_{name}_release").restype = None
    for name in ("message", "origin"):
        getattr(seam, f"seam_error_{name}").argtypes = [c_void_p]
        getattr(seam, f"seam_error_{name}").restype = c_char_p
    return seam


def call(function, *arguments):
    """Calls a function whose last parameter is the error slot. Handles must be c_void_p."""
    error = c_void_p()
    if function(*arguments, byref(error)) != 0:
        origin, message = seam.seam_error_origin(error).decode(), seam.seam_error_message(error).decode()
        seam.seam_error_release(error)
        sys.exit(f"error: {origin + ': ' if origin else ''}{message}")


def make(function, *arguments):
    """As `call`, for a function that gives a new object."""
    out = c_void_p()
    call(function, *arguments, byref(out))
    return out


# ---- Data and batches


def encode(tokenizer, text):
    ids, count = (c_int32 * MAX_TOKENS)(), c_size_t()
    call(seam.seam_tokenizer_encode, tokenizer, c_char_p(text.encode()), ids, c_size_t(MAX_TOKENS), byref(count))
    return ids[: count.value]


def read_pairs(path, tokenizer, start_token):
    """A target that begins with the decoder's start token loses it: the model is given that token."""
    pairs = []
    with open(path, encoding="utf-8") as file:
        for line in filter(str.strip, file):
            record = json.loads(line)
            target = encode(tokenizer, record["target"])
            pairs.append((encode(tokenizer, record["source"]), target[1:] if target[0] == start_token else target))
    return pairs


def rectangle(rows, padding):
    """Rows padded on the right, as one array, and their length."""
    length = max(map(len, rows))
    flat = [value for row in rows for value in row + [padding] * (length - len(row))]
    return (c_int32 * len(flat))(*flat), length


def make_batch(pairs, padding):
    sources, targets = [source for source, _ in pairs], [target for _, target in pairs]
    ids, source_length = rectangle(sources, padding)
    mask, _ = rectangle([[1] * len(source) for source in sources], 0)
    labels, target_length = rectangle(targets, IGNORED)
    return Batch(
        batch=len(pairs), source_length=source_length, target_length=target_length, input_ids=ids, attention_mask=mask,
        labels=labels)


def dev_loss(session, pairs, padding):
    """Mean negative log-likelihood of a token of the targets."""
    total, count = 0.0, 0
    for first in range(0, len(pairs), BATCH_SIZE):
        batch = make_batch(pairs[first : first + BATCH_SIZE], padding)
        scores = (Score * batch.batch)()
        call(seam.seam_session_score, session, byref(batch), scores)
        for score in scores:
            total -= score.log_probability
            count += score.token_count
    return total / count


def main(model, train_path, dev_path, output, steps):
    # The plugins are the libraries beside libSeam.so, or in the folders of SEAM_PLUGIN_PATH.
    runtime = make(seam.seam_runtime_create)
    call(seam.seam_load_plugins, runtime, None, None)
    backbone = make(seam.seam_backbone_open, runtime, None, c_char_p(model.encode()), None)
    tokenizer = make(seam.seam_tokenizer_open, c_char_p(model.encode()))
    info = BackboneInfo()
    seam.seam_backbone_get_info(backbone, byref(info))
    padding = info.pad_token_id
    train = read_pairs(train_path, tokenizer, info.decoder_start_token_id)
    dev = read_pairs(dev_path, tokenizer, info.decoder_start_token_id)

    # The adapter and a session that runs it on the backbone's seam.
    adapter = make(
        seam.seam_adapter_create, backbone, c_char_p(b"repcali"), None, c_char_p(b'{"lambda": 1.0}'), c_int32(1),
        c_uint64(1))
    session = make(seam.seam_session_create, backbone)
    call(seam.seam_session_attach, session, adapter, c_int32(-1))
    print(f"before   dev loss {dev_loss(session, dev, padding):.6f}")

    options = TrainOptions()
    seam.seam_train_options_init(byref(options))
    options.learning_rate = 0.003
    call(seam.seam_session_begin_training, session, byref(options))
    for step in range(steps):
        chosen = [train[(step * BATCH_SIZE + row) % len(train)] for row in range(BATCH_SIZE)]
        batch, report = make_batch(chosen, padding), Step()
        call(seam.seam_session_train_step, session, byref(batch), byref(report))
        if report.step % REPORT_EVERY == 0:
            print(f"step {report.step:3d} loss {report.loss:.6f}")
    seam.seam_session_end_training(session)
    print(f"trained  dev loss {dev_loss(session, dev, padding):.6f}")
    call(seam.seam_adapter_save, adapter, c_char_p(output.encode()), None, c_char_p(b"- data: pairs of the example"))

    # What was saved gives the same numbers.
    call(seam.seam_session_detach, session, adapter)
    loaded = make(seam.seam_adapter_load, backbone, c_char_p(output.encode()))
    call(seam.seam_session_attach, session, loaded, c_int32(-1))
    print(f"reloaded dev loss {dev_loss(session, dev, padding):.6f}")

    # In any order: an object keeps alive what it was made from.
    seam.seam_adapter_release(adapter)
    seam.seam_adapter_release(loaded)
    seam.seam_session_release(session)
    seam.seam_tokenizer_release(tokenizer)
    seam.seam_backbone_release(backbone)
    seam.seam_runtime_release(runtime)


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit("usage: train.py LIBSEAM MODEL TRAIN.jsonl DEV.jsonl ADAPTER STEPS")
    seam = load(sys.argv[1])
    main(*sys.argv[2:6], int(sys.argv[6]))
