#!/usr/bin/env python3
"""Writes a model of transformers as ONNX files with the names, inputs and outputs that Hugging Face's Optimum gives:

  python examples/onnx/export_model.py MODEL OUTPUT

An encoder-decoder becomes encoder_model.onnx, decoder_model.onnx and decoder_with_past_model.onnx, a decoder-only model
model.onnx. It needs torch, transformers and onnxscript. The files of `optimum-cli export onnx --task
text2text-generation-with-past` serve as well; optimum-onnx 0.1 wants transformers 4, in an environment of its own.
"""

import shutil
import sys
import warnings
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache

OPSET = 18
BATCH, SOURCE, TARGET, PAST = "batch_size", "encoder_sequence_length", "sequence_length", "past_sequence_length"
COPIED = ("config.json", "generation_config.json", "tokenizer.json")


class Encoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.encoder = model.get_encoder()

    def forward(self, input_ids, attention_mask):
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


class Decoder(torch.nn.Module):
    """The first step, which also gives the keys and values of cross-attention."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, encoder_attention_mask, input_ids, encoder_hidden_states):
        found = self.model(
            attention_mask=encoder_attention_mask,
            encoder_outputs=(encoder_hidden_states,),
            decoder_input_ids=input_ids,
            use_cache=True,
            past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
        )
        own, cross = found.past_key_values.self_attention_cache, found.past_key_values.cross_attention_cache
        pairs = zip(own.layers, cross.layers, strict=True)
        return found.logits, *(each for one, other in pairs for layer in (one, other) for each in both(layer))


class DecoderWithPast(torch.nn.Module):
    """Later steps. past: for each layer keys and values of its own, and those of cross-attention."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, encoder_attention_mask, input_ids, past):
        own, cross = DynamicCache(), DynamicCache()
        for layer in range(len(past) // 4):
            own.update(*past[4 * layer : 4 * layer + 2], layer)
            cross.update(*past[4 * layer + 2 : 4 * layer + 4], layer)
        cache = EncoderDecoderCache(own, cross)
        cache.is_updated = dict.fromkeys(range(len(past) // 4), True)
        # Nothing reads its values: cross-attention has its keys and values.
        hidden = past[2].new_zeros(*encoder_attention_mask.shape, self.model.config.d_model)
        found = self.model(
            attention_mask=encoder_attention_mask,
            encoder_outputs=(hidden,),
            decoder_input_ids=input_ids,
            past_key_values=cache,
            use_cache=True,
        )
        return found.logits, *(each for layer in own.layers for each in both(layer))


class CausalWithPast(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, position_ids, past):
        cache = DynamicCache()
        for layer in range(len(past) // 2):
            cache.update(*past[2 * layer : 2 * layer + 2], layer)
        found = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        return found.logits, *(each for layer in cache.layers for each in both(layer))


def both(layer):
    return layer.keys, layer.values


def write(module, path, inputs, axes, outputs):
    """inputs, axes: by name, a tuple of tensors being a past."""
    names = [name for name, each in inputs.items() if not isinstance(each, tuple)]
    if "past" in inputs:
        names += [name.replace("present", "past_key_values") for name in axes["past"]]
        axes = axes | {"past": tuple(axes["past"].values())}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            path,
            input_names=names,
            output_names=outputs,
            dynamic_shapes=tuple(axes[name] for name in inputs),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def write_encoder_decoder(model, folder):
    ids = torch.tensor([[5, 6, 7, 2], [8, 9, 2, 1]])
    mask, start = torch.ones_like(ids), torch.tensor([[3, 4, 5], [3, 5, 4]])
    tokens, source = {0: BATCH, 1: TARGET}, {0: BATCH, 1: SOURCE}
    write(
        Encoder(model),
        folder / "encoder_model.onnx",
        {"input_ids": ids, "attention_mask": mask},
        {"input_ids": source, "attention_mask": source},
        ["last_hidden_state"],
    )
    with torch.no_grad():
        hidden = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        present = Decoder(model)(mask, start, hidden)[1:]
    layers = range(len(present) // 4)
    parts = [f"{part}.{kind}" for part in ("decoder", "encoder") for kind in ("key", "value")]
    names = [f"present.{layer}.{part}" for layer in layers for part in parts]
    write(
        Decoder(model),
        folder / "decoder_model.onnx",
        {"encoder_attention_mask": mask, "input_ids": start, "encoder_hidden_states": hidden},
        {"encoder_attention_mask": source, "input_ids": tokens, "encoder_hidden_states": source},
        ["logits", *names],
    )
    past = {name: {0: BATCH, 2: PAST if ".decoder." in name else SOURCE} for name in names}
    write(
        DecoderWithPast(model),
        folder / "decoder_with_past_model.onnx",
        {"encoder_attention_mask": mask, "input_ids": start[:, :1], "past": present},
        {"encoder_attention_mask": source, "input_ids": {0: BATCH}, "past": past},
        ["logits", *(name for name in names if ".decoder." in name)],
    )


def write_decoder(model, folder):
    ids = torch.tensor([[5, 6, 7], [8, 9, 2]])
    with torch.no_grad():
        cache = model(input_ids=ids, use_cache=True).past_key_values
    present = tuple(each for layer in cache.layers for each in both(layer))
    names = [f"present.{n}.{kind}" for n in range(len(cache.layers)) for kind in ("key", "value")]
    tokens = {0: BATCH, 1: TARGET}
    # As many again behind the past, which the mask covers too.
    places, mask = torch.arange(3, 6).expand(2, 3), torch.ones(2, 6, dtype=torch.int64)
    write(
        CausalWithPast(model),
        folder / "model.onnx",
        {"input_ids": ids, "attention_mask": mask, "position_ids": places, "past": present},
        {
            "input_ids": tokens,
            "attention_mask": {0: BATCH, 1: "total_sequence_length"},
            "position_ids": tokens,
            "past": {name: {0: BATCH, 2: PAST} for name in names},
        },
        ["logits", *names],
    )


def export_model(source, output):
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    is_encoder_decoder = AutoConfig.from_pretrained(source).is_encoder_decoder
    kind = AutoModelForSeq2SeqLM if is_encoder_decoder else AutoModelForCausalLM
    # The attention that is written out, which every runtime has.
    model = kind.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    (write_encoder_decoder if is_encoder_decoder else write_decoder)(model, folder)
    for name in COPIED:
        if (Path(source) / name).is_file():
            shutil.copy(Path(source) / name, folder / name)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: export_model.py MODEL OUTPUT")
    export_model(*sys.argv[1:])
