"""Tiny models with tokenizers made from invented reviews, and what transformers says where the answer stands."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from safetensors.numpy import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedModel

from seam_abi import Array
from single_stack import bert, gpt2, llama
from tiny_models import bart, randomise, t5

NOUNS = "film plot actor scene story music ending camera dialogue pace".split()
OPINIONS = {
    "negative": "bad dull awful".split(),
    "positive": "good great lovely".split(),
    "mixed": "odd long plain".split(),
}
LABELS = list(OPINIONS)
# "unbelievable" is not among the texts that vocabularies are made from: it has several tokens.
WORDS = {"negative": ["bad", "awful"], "positive": ["great"], "mixed": ["unbelievable"]}
MASKED, CAUSAL, WHOLE = "{text} In summary, it was [MASK].", "{text} In summary, it was ", "{text}"


def review(rng: random.Random, label: str) -> str:
    def clause() -> str:
        return f"the {rng.choice(NOUNS)} was {rng.choice(OPINIONS[rng.choice(LABELS + [label] * 3)])}"

    return " and ".join(clause() for _ in range(rng.randint(1, 3))) + "."


def write_reviews(path: Path, per_class: int, seed: int) -> list[dict[str, str]]:
    """Different texts, classes in turn."""
    rng, rows = random.Random(seed), {}
    while len(rows) < per_class * len(LABELS):
        label = LABELS[len(rows) % len(LABELS)]
        rows.setdefault(review(rng, label), label)
    lines = [{"text": text, "label": label} for text, label in rows.items()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines


# ---- Tokenizers

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def corpus() -> list[str]:
    rng = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyz"
    # Every letter at the beginning and in the middle of a word, so that all words can be spelled.
    return [f"{letters} {letters[::-1]}"] + [
        f"{review(rng, label)} In summary, it was {rng.choice(OPINIONS[label])}." for label in LABELS * 60
    ]


def surrounded(tokenizer: Tokenizer, single: str) -> Tokenizer:
    names = {part for part in single.split() if part != "$A"}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(name, tokenizer.token_to_id(name)) for name in names]
    )
    return tokenizer


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=160, special_tokens=special))
    return surrounded(tokenizer, "[CLS] $A [SEP]")


def byte_level(single: str, mask: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    if mask:
        # As RoBERTa's: it takes the space in front of it.
        tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return surrounded(tokenizer, single)


def sentence_piece_bpe() -> Tokenizer:
    """Llama 2's way: a space is put in front of every text, one that begins with a space too."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=160, special_tokens=SPECIAL))
    content = json.loads(tokenizer.to_str())
    content["pre_tokenizer"] = None
    content["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    return surrounded(Tokenizer.from_str(json.dumps(content)), "<s> $A")


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    special = [*SPECIAL, "<extra_id_0>"]
    tokenizer.train_from_iterator(
        corpus(), trainers.UnigramTrainer(vocab_size=160, special_tokens=special, unk_token="<unk>")
    )
    return surrounded(tokenizer, "$A </s>")


# ---- Families


@dataclass(frozen=True)
class Answer:
    """What transformers says where the answer stands; no logits without a head."""

    logits: torch.Tensor | None
    hidden: torch.Tensor


@dataclass(frozen=True)
class Family:
    tokenizer: Callable[[], Tokenizer]
    build: Callable[..., PreTrainedModel]
    template: str
    ask: Callable[[PreTrainedModel, Tokenizer, str], Answer]
    mask: str = ""
    # What stands before a label word; "" where the tokenizer puts a space there by itself.
    prefix: str = " "


def row(ids: Iterable[int]) -> torch.Tensor:
    return torch.tensor([list(ids)])


def at(output: Any, states: Sequence[torch.Tensor], place: int) -> Answer:
    return Answer(output.logits[0, place], states[-1][0, place])


def fill(model: PreTrainedModel, tokenizer: Tokenizer, prompt: str) -> Answer:
    """At the mask."""
    ids = tokenizer.encode(prompt).ids
    output = model(input_ids=row(ids), output_hidden_states=True)
    return at(output, output.hidden_states, ids.index(model.config.mask_token_id))


def pool(model: PreTrainedModel, tokenizer: Tokenizer, prompt: str) -> Answer:
    """The mean over all tokens."""
    return Answer(None, model(input_ids=row(tokenizer.encode(prompt).ids)).last_hidden_state[0].mean(0))


def go_on(model: PreTrainedModel, tokenizer: Tokenizer, prompt: str) -> Answer:
    """Behind the last token."""
    output = model(input_ids=row(tokenizer.encode(prompt.rstrip(" ")).ids), output_hidden_states=True)
    return at(output, output.hidden_states, -1)


def decoded(model: PreTrainedModel, ids: list[int], decoder: list[int], place: int) -> Answer:
    output = model(input_ids=row(ids), decoder_input_ids=row(decoder), output_hidden_states=True)
    # What the head reads: T5 scales the states for a head that is the table of embeddings.
    scale = model.config.d_model**-0.5 if isinstance(model, hf.T5ForConditionalGeneration) else 1
    return at(output, [scale * output.decoder_hidden_states[-1]], place)


def decode_first(model: PreTrainedModel, tokenizer: Tokenizer, prompt: str) -> Answer:
    """The decoder's first word."""
    return decoded(model, tokenizer.encode(prompt.rstrip(" ")).ids, [model.config.decoder_start_token_id], 0)


def decode_sentinel(model: PreTrainedModel, tokenizer: Tokenizer, prompt: str) -> Answer:
    """What the decoder writes behind the first sentinel."""
    sentinel = tokenizer.token_to_id("<extra_id_0>")
    return decoded(model, tokenizer.encode(prompt).ids, [model.config.decoder_start_token_id, sentinel], 1)


def reconstruct(model: PreTrainedModel, tokenizer: Tokenizer, prompt: str) -> Answer:
    """Where the decoder, writing the text again, comes to the mask."""
    ids = tokenizer.encode(prompt).ids
    place = ids.index(tokenizer.token_to_id("<mask>"))
    return decoded(model, ids, [model.config.decoder_start_token_id, *ids[:-1]], place)


def roberta(**changes: Any) -> PreTrainedModel:
    # Two positions more than tokens: they run from behind the padding's row.
    sizes = {"type_vocab_size": 1, "max_position_embeddings": 42}
    return bert(hf.RobertaConfig, hf.RobertaForMaskedLM, **(sizes | changes))


ROBERTA = "<s> $A </s>"
FAMILIES = {
    "bert": Family(wordpiece, bert, MASKED, fill, "[MASK]"),
    "bert-no-head": Family(wordpiece, lambda **sizes: bert(model=hf.BertModel, **sizes), WHOLE, pool),
    "roberta": Family(lambda: byte_level(ROBERTA, mask=True), roberta, MASKED, fill, "<mask>"),
    "gpt2": Family(lambda: byte_level("$A"), gpt2, CAUSAL, go_on),
    "llama": Family(lambda: byte_level("<s> $A"), llama, CAUSAL, go_on),
    "llama-sentencepiece": Family(sentence_piece_bpe, llama, CAUSAL, go_on, prefix=""),
    "t5": Family(unigram, t5, CAUSAL, decode_first),
    "t5-mask": Family(unigram, t5, MASKED, decode_sentinel, "<extra_id_0>"),
    "bart-mask": Family(lambda: byte_level(ROBERTA, mask=True), bart, MASKED, reconstruct, "<mask>"),
}


class Model:
    """A saved model of a family, and its reference."""

    def __init__(self, name: str, folder: Path, seed: int = 0, **sizes: Any):
        self.family = FAMILIES[name]
        self.folder = folder
        self.tokenizer = self.family.tokenizer()
        mask = self.tokenizer.token_to_id(self.family.mask) if self.family.mask else None
        changes: dict[str, Any] = {"vocab_size": self.tokenizer.get_vocab_size()} | sizes
        if self.family.ask is fill:
            changes["mask_token_id"] = mask
        model = self.family.build(**changes)
        randomise(model, seed)
        model.save_pretrained(folder)
        # Read again, as buffers that are not saved were randomised too.
        self.reference = type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        self.tokenizer.save(str(folder / "tokenizer.json"))
        names = {"unk": "[UNK] <unk>", "mask": "[MASK] <mask>", "bos": "<s>", "eos": "</s>", "cls": "[CLS]"}
        vocabulary = self.tokenizer.get_vocab()
        known = {
            f"{key}_token": name for key, choices in names.items() for name in choices.split() if name in vocabulary
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(known))

    def prompt(self, text: str, template: str | None = None) -> str:
        return (template or self.family.template).replace("[MASK]", self.family.mask).replace("{text}", text)

    @torch.no_grad()
    def answer(self, prompt: str) -> Answer:
        return self.family.ask(self.reference, self.tokenizer, prompt)

    def tokens(self, word: str) -> list[int]:
        return self.tokenizer.encode(self.family.prefix + word, add_special_tokens=False).ids

    def word_scores(self, logits: torch.Tensor, multi_token: str = "first") -> Array:
        """One for each label word."""
        ids = [self.tokens(word) for words in WORDS.values() for word in words]
        return np.array([logits[each[:1] if multi_token == "first" else each].mean().item() for each in ids])


def cached(cache: Path) -> dict[str, tuple[Array, Array]]:
    """Scores and hidden state of every text in the one folder of a cache."""
    [folder] = cache.iterdir()
    found: dict[str, tuple[Array, Array]] = {}
    for path in folder.iterdir():
        rows = load_file(path)
        texts, offsets = rows["texts"].tobytes(), rows["offsets"]
        assert sorted(rows) == ["hashes", "hidden", "offsets", "scores", "texts"]
        for place in range(len(rows["hashes"])):
            text = texts[offsets[place] : offsets[place + 1]].decode()
            assert text not in found
            found[text] = rows["scores"][place], rows["hidden"][place]
    return found
