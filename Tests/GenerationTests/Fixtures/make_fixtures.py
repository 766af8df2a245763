"""Writes fixtures.txt: what Hugging Face generate() and its samplers give for a language model whose
logits follow from an integer hash, so that Swift computes the same floats (HashModel.swift).

    python make_fixtures.py > fixtures.txt
"""

import random
import sys
import warnings

import numpy as np
import torch
import transformers
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
MASK = 0xFFFFFFFF


def mix(x):
    """The finaliser of MurmurHash3, 32 bits."""
    x ^= x >> 16
    x = x * 0x85EBCA6B & MASK
    x ^= x >> 13
    x = x * 0xC2B2AE35 & MASK
    return x ^ x >> 16


def state_of(item, tokens):
    state = mix(item + 1)
    for token in tokens:
        state = mix(state ^ (token + 0x9E3779B9) & MASK)
    return state


def logits_of(state, vocabulary, scale, bonus, bonus_token):
    out = np.empty(vocabulary, dtype=np.float32)
    for token in range(vocabulary):
        unit = np.float32((mix(state ^ (token * 0x27D4EB2F & MASK)) >> 8) / 16777216.0)
        out[token] = unit * unit * np.float32(scale)
    out[bonus_token] += np.float32(bonus)
    return out


class HashConfig(PretrainedConfig):
    model_type = "hash"

    def __init__(self, vocab_size=32, scale=8.0, bonus=0.0, bonus_token=1, **kwargs):
        kwargs["is_encoder_decoder"] = True
        super().__init__(**kwargs)
        self.vocab_size, self.scale, self.bonus, self.bonus_token = vocab_size, scale, bonus, bonus_token


class Encoder(torch.nn.Module):
    main_input_name = "input_ids"

    def forward(self, input_ids=None, **kwargs):
        return BaseModelOutput(last_hidden_state=input_ids[:, :, None].float())


class HashModel(PreTrainedModel, GenerationMixin):
    config_class = HashConfig
    main_input_name = "input_ids"

    def __init__(self, config):
        super().__init__(config)
        self.encoder = Encoder()
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.post_init()

    def get_encoder(self, *args, **kwargs):
        return self.encoder

    def prepare_inputs_for_generation(self, decoder_input_ids, encoder_outputs=None, **kwargs):
        return {"decoder_input_ids": decoder_input_ids, "encoder_outputs": encoder_outputs}

    def forward(self, input_ids=None, decoder_input_ids=None, encoder_outputs=None, **kwargs):
        c = self.config
        items = encoder_outputs.last_hidden_state[:, 0, 0].long().tolist()
        rows = [
            logits_of(state_of(item, tokens), c.vocab_size, c.scale, c.bonus, c.bonus_token)
            for item, tokens in zip(items, decoder_input_ids.tolist())
        ]
        return Seq2SeqLMOutput(logits=torch.from_numpy(np.stack(rows))[:, None, :])


def model_for(case):
    config = HashConfig(
        vocab_size=case["vocabulary"],
        scale=case["scale"],
        bonus=case["bonus"],
        bonus_token=case["eos"][0] if case["eos"] else 1,
    )
    return HashModel(config).eval()


def length_of(row, eos):
    """Tokens of a greedy row up to its first end token."""
    for position, token in enumerate(row):
        if eos and token in eos:
            return position + 1
    return len(row)


EARLY = {"heuristic": False, "whenFull": True, "never": "never"}


def run(case):
    eos = list(case["eos"]) or None
    settings = dict(
        max_new_tokens=case["maxNew"],
        min_new_tokens=case["minNew"],
        num_beams=case["beams"],
        do_sample=False,
        length_penalty=case["lengthPenalty"],
        early_stopping=EARLY[case["early"]],
        repetition_penalty=case["repetition"],
        no_repeat_ngram_size=case["ngram"],
        num_return_sequences=case["returns"],
        decoder_start_token_id=0,
        eos_token_id=eos,
        pad_token_id=case["pad"],
        forced_bos_token_id=case["forcedBos"],
        forced_eos_token_id=case["forcedEos"],
        bad_words_ids=[[t] for t in case["bad"]] or None,
        use_cache=False,
        bos_token_id=None,
        return_dict_in_generate=True,
        output_scores=True,
    )
    if case["beams"] == 1:
        del settings["length_penalty"], settings["early_stopping"]
    model = model_for(case)
    items = torch.arange(case["batch"])[:, None]
    out = model.generate(items, generation_config=GenerationConfig(**settings))
    if case["beams"] > 1:
        lengths = (out.beam_indices >= 0).sum(1).tolist()
    else:
        lengths = [length_of(row, eos) for row in out.sequences[:, 1:].tolist()]
    steps = model.compute_transition_scores(
        out.sequences, out.scores, getattr(out, "beam_indices", None), normalize_logits=case["beams"] == 1
    )
    for index, row in enumerate(out.sequences[:, 1:].tolist()):
        tokens = row[: lengths[index]]
        log_probabilities = steps[index, : lengths[index]].tolist()
        score = out.sequences_scores[index].item() if case["beams"] > 1 else float(np.sum(log_probabilities))
        # Where rules leave fewer sequences than were asked for, Hugging Face fills up with copies, with empty
        # sequences and with sequences that run past their end, all marked by -1e9. SeamKit leaves them out.
        if case["beams"] > 1 and score * max(1, lengths[index]) ** case["lengthPenalty"] < -1e8:
            continue
        print("sequence", repr(score), ",".join(map(str, tokens)), ",".join(f"{p:.9g}" for p in log_probabilities))


DEFAULTS = dict(
    batch=3,
    vocabulary=32,
    scale=8.0,
    bonus=1.0,
    maxNew=12,
    minNew=0,
    beams=1,
    lengthPenalty=1.0,
    early="heuristic",
    repetition=1.0,
    ngram=0,
    returns=1,
    eos=(2,),
    pad=1,
    forcedBos=None,
    forcedEos=None,
    bad=(),
)


def cases():
    chosen = [
        {},
        {"eos": ()},
        {"eos": (2, 7)},
        {"minNew": 6, "bonus": 6.0},
        {"repetition": 1.7},
        {"repetition": 0.6},
        {"ngram": 1},
        {"ngram": 2, "vocabulary": 6, "maxNew": 20},
        {"ngram": 3, "vocabulary": 4, "maxNew": 30},
        {"forcedBos": 5},
        {"forcedEos": 2},
        {"forcedEos": 2, "maxNew": 1},
        {"forcedBos": 5, "forcedEos": 2, "maxNew": 1},
        {"bad": (1,)},
        {"bad": (1, 2, 9, 10, 11)},
        {"bonus": 20.0},
        {"maxNew": 1},
        {"maxNew": 40},
        {"batch": 1},
        {"batch": 7, "bonus": 5.0},
        {"vocabulary": 3, "bonus": 0.0},
        {"vocabulary": 2000, "bonus": 5.0},
        {"scale": 1.0, "bonus": 0.5},
        {"scale": 64.0, "bonus": 10.0},
        {"forcedBos": 2},
    ]
    for case in chosen:
        yield case
    for case in chosen:
        for early in EARLY:
            yield {**case, "beams": 4, "early": early, "returns": 2}
    rng = random.Random(20260)
    for _ in range(140):
        beams = rng.choice([1, 2, 2, 3, 4, 5, 8])
        case = dict(
            batch=rng.choice([1, 2, 3, 5]),
            vocabulary=rng.choice([8, 13, 32, 50, 97]),
            scale=rng.choice([1.0, 4.0, 8.0]),
            bonus=rng.choice([0.0, 1.0, 3.0, 5.0, 8.0]),
            maxNew=rng.choice([2, 5, 9, 15, 25]),
            minNew=rng.choice([0, 0, 3, 6]),
            beams=beams,
            lengthPenalty=rng.choice([1.0, 1.0, 0.0, 0.6, 2.0, -1.0]),
            early=rng.choice(list(EARLY)),
            repetition=rng.choice([1.0, 1.0, 1.2, 2.0]),
            ngram=rng.choice([0, 0, 2, 3]),
            returns=rng.randint(1, beams) if beams > 1 else 1,
            eos=rng.choice([(2,), (2,), (2, 4), (3, 5, 6)]),
            forcedBos=rng.choice([None, None, 4, 6]),
            forcedEos=rng.choice([None, None, 2]),
            bad=rng.choice([(), (1,), (1, 3)]),
        )
        yield case


def filters():
    """The tokens that temperature, top k and top p leave of one row, with their probabilities."""
    rng = random.Random(7)
    for index in range(60):
        vocabulary = rng.choice([5, 17, 64, 300])
        temperature = rng.choice([1.0, 0.7, 1.5, 0.25])
        top_k = rng.choice([0, 1, 5, 50])
        top_p = rng.choice([1.0, 0.9, 0.5, 0.99, 0.0])
        warpers = LogitsProcessorList()
        if temperature != 1.0:
            warpers.append(TemperatureLogitsWarper(temperature))
        if top_k:
            warpers.append(TopKLogitsWarper(top_k))
        if top_p < 1.0:
            warpers.append(TopPLogitsWarper(top_p))
        row = torch.from_numpy(logits_of(state_of(index, [0]), vocabulary, 8.0, 1.0, 1))[None]
        probabilities = torch.softmax(warpers(None, row.clone()), -1)[0]
        kept = [(t, p) for t, p in enumerate(probabilities.tolist()) if p > 0]
        print(
            "filter",
            index,
            vocabulary,
            temperature,
            top_k,
            top_p,
            ",".join(str(t) for t, _ in kept),
            ",".join(f"{p:.9g}" for _, p in kept),
        )


def main():
    print(f"# Generated by make_fixtures.py with transformers {transformers.__version__}; do not edit.")
    for case in cases():
        case = {**DEFAULTS, **case}
        words = []
        for key, value in case.items():
            if isinstance(value, tuple):
                value = ",".join(map(str, value)) or "-"
            words.append(f"{key}={'-' if value is None else value}")
        print("case", *words)
        try:
            run(case)
        except Exception as error:  # a case that HF refuses is a mistake in this list
            sys.exit(f"{case}: {error!r}")
    filters()


main()
