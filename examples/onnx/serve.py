#!/usr/bin/env python3
"""Generates text with an exported model and exported adapters in ONNX Runtime: no PyTorch, no transformers, no SeamKit
and no plugin in the process.

  python examples/onnx/serve.py MODEL [--adapter ADAPTER.onnx ...] TEXT ...

MODEL is a folder as export_model.py or Optimum writes it, with the model's tokenizer.json. Adapters are what
seamkit.export_onnx writes: RepCali, between encoder and decoder, or a prefix, which is the decoder's past. Greedy.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime

MAX_NEW_TOKENS = 64


class Server:
    """folder: of the model. adapters: files, at most one of each seam. threads: 0 for as many as there are cores."""

    def __init__(self, folder, adapters=(), threads=0):
        self.folder, self.options = Path(folder), onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.config = json.loads((self.folder / "config.json").read_text())
        generation = self.folder / "generation_config.json"
        self.config |= json.loads(generation.read_text()) if generation.is_file() else {}
        self.end, self.padding = self.config["eos_token_id"], self.config.get("pad_token_id") or 0
        if self.config.get("is_encoder_decoder"):
            names = ("encoder_model", "decoder_model", "decoder_with_past_model")
            self.encoder, self.first, self.decoder = (self.opened(self.folder / f"{name}.onnx") for name in names)
        else:
            self.decoder = self.opened(self.folder / "model.onnx")
        opened = [self.opened(each) for each in adapters]
        self.adapters = {each.get_modelmeta().custom_metadata_map["seamkit.seam"]: each for each in opened}

    def opened(self, path):
        return onnxruntime.InferenceSession(str(path), self.options, ["CPUExecutionProvider"])

    def prefix(self, ids):
        """Keys and values that stand before those of the text, by name; none without a prefix."""
        adapter = self.adapters.get("attention.prefix")
        found = {} if adapter is None else run(adapter, {"input_ids": ids})
        known = {each.name for each in self.decoder.get_inputs()}
        if strangers := [name for name in found if name not in known]:
            raise ValueError(f"the exported model takes no {strangers[0]}: train a prefix of another attention")
        return found

    def generate(self, ids, mask, steps=MAX_NEW_TOKENS):
        """The new tokens [batch, new] for token ids and their mask [batch, sequence], int64: an encoder-decoder's
        source padded behind, a prompt padded in front."""
        begin = self.begin_encoder_decoder if self.config.get("is_encoder_decoder") else self.begin_decoder
        logits, step = begin(ids, mask)
        rows, ended = [], np.zeros(len(ids), bool)
        while True:
            token = np.where(ended, self.padding, logits[:, -1].argmax(-1)).astype(np.int64)
            rows.append(token)
            ended |= token == self.end
            if ended.all() or len(rows) == steps:
                return np.stack(rows, 1)
            logits = step(token[:, None])

    def begin_encoder_decoder(self, ids, mask):
        """The logits of the first token, and the function for those that follow."""
        hidden = run(self.encoder, {"input_ids": ids, "attention_mask": mask})["last_hidden_state"]
        if adapter := self.adapters.get("encoder.output"):
            hidden = run(adapter, {"hidden_states": hidden, "attention_mask": mask})["last_hidden_state"]
        start = np.full((len(ids), 1), self.config["decoder_start_token_id"], np.int64)
        given = {"encoder_attention_mask": mask, "input_ids": start, "encoder_hidden_states": hidden}
        found = run(self.first, given)
        prefix = self.prefix(start)
        # Those of cross-attention stay as they are, behind a prefix of their own.
        past = pasts(found)
        for name in [each for each in past if ".encoder." in each and each in prefix]:
            past[name] = np.concatenate([prefix.pop(name), past[name]], 2)
        length = next(each.shape[2] for name, each in past.items() if ".encoder." in name) - mask.shape[1]
        mask = np.concatenate([np.ones((len(ids), length), np.int64), mask], 1)

        def step(token):
            found = run(self.decoder, {"encoder_attention_mask": mask, "input_ids": token} | past)
            past.update(pasts(found))
            return found["logits"]

        if not prefix and not length:
            return found["logits"], step
        # decoder_model.onnx takes no past: the first token goes through the other one again, behind the prefix.
        past |= {name: each[:, :, :0] for name, each in past.items() if ".decoder." in name} | prefix
        return step(start), step

    def begin_decoder(self, ids, mask):
        past = self.prefix(ids) or self.empty_past(len(ids))
        length = next(iter(past.values())).shape[2]
        seen = [np.ones((len(ids), length), np.int64), mask]
        places = mask.cumsum(1) - 1 + length

        def step(token, position=None):
            if position is None:
                seen.append(np.ones_like(token))
                position = np.concatenate(seen, 1).sum(1, keepdims=True) - 1
            found = run(
                self.decoder,
                {"input_ids": token, "attention_mask": np.concatenate(seen, 1), "position_ids": position} | past,
            )
            past.update(pasts(found))
            return found["logits"]

        return step(ids, np.maximum(places, 0)), step

    def empty_past(self, batch):
        shapes = {each.name: each.shape for each in self.decoder.get_inputs() if each.name.startswith("past")}
        return {name: np.zeros((batch, heads, 0, width), np.float32) for name, (_, heads, _, width) in shapes.items()}


def run(session, feeds):
    """Outputs by name."""
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, feeds), strict=True))


def pasts(found):
    """What a step gives, under the names that the next takes it by."""
    return {
        name.replace("present", "past_key_values"): each for name, each in found.items() if name.startswith("present")
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    parser.add_argument("--adapter", action="append", default=[])
    given = parser.parse_args()
    from tokenizers import Tokenizer

    server, tokenizer = Server(given.model, given.adapter), Tokenizer.from_file(f"{given.model}/tokenizer.json")
    side = "right" if server.config.get("is_encoder_decoder") else "left"
    tokenizer.enable_padding(direction=side, pad_id=server.padding)
    rows = tokenizer.encode_batch(given.texts)
    ids, mask = (np.array([getattr(each, name) for each in rows]) for name in ("ids", "attention_mask"))
    for text, new in zip(given.texts, server.generate(ids, mask), strict=True):
        print(f"{text}\t{tokenizer.decode(new.tolist())}")


if __name__ == "__main__":
    main()
