#!/usr/bin/env python3
"""Teaches a model of speech a voice: the features of sound files, RepCali on the frozen model, and what the model writes of
a sentence that it has not learned, before and after. voice.c and swift/main.swift do the same and print the same.

Install and run, from the root of the repository, after `examples/speech/run` has made model and sentences:
  pip install ./python
  python3 examples/speech/voice.py MODEL train.tsv dev.tsv adapter 48

MODEL is a Whisper folder in the Hugging Face layout; the data have a header line, then the path of a sound file, which
begins at their own folder, a tab and what is said; `adapter` is the folder to write; 48 is the number of steps.
"""

import sys
from pathlib import Path

import numpy as np

import seamkit

BATCH_SIZE, REPORT_EVERY = 16, 4


class Sentences:
    """Sounds as features, [frames, feature_size] each, and the tokens that are to be written of them."""

    def __init__(self, path, extractor, tokenizer, start_token):
        self.features, self.targets = [], []
        for line in Path(path).read_text().splitlines()[1:]:
            audio, text = line.split("\t")
            self.features.append(extractor(Path(path).parent / audio))
            # With a space in front, as Whisper writes. The model is given the start token, and does not predict it.
            target = tokenizer.encode(" " + text)
            self.targets.append(target[1:] if target[0] == start_token else target)

    def batch(self, rows):
        longest = max(len(self.targets[row]) for row in rows)
        labels = [self.targets[row] + [-100] * (longest - len(self.targets[row])) for row in rows]
        return seamkit.Batch(input_features=np.stack([self.features[row] for row in rows]), labels=labels)


def dev_loss(session, sentences):
    """Mean negative log-likelihood of a token of the targets."""
    scores = []
    for first in range(0, len(sentences.targets), BATCH_SIZE):
        scores += session.score(sentences.batch(range(first, min(first + BATCH_SIZE, len(sentences.targets)))))
    return -sum(each.log_probability for each in scores) / sum(each.token_count for each in scores)


def report(name, session, tokenizer, sentences):
    [[text]] = session.generate(seamkit.Batch(input_features=sentences.features[0][None]))
    print(f"{name} dev loss {dev_loss(session, sentences):.5f}, writes:{tokenizer.decode(text.tokens)}")


def main(model, train_path, dev_path, output, steps):
    backbone = seamkit.Runtime().open(model)
    extractor, tokenizer = seamkit.FeatureExtractor(model), seamkit.Tokenizer(model)
    start_token = backbone.info.decoder_start_token_id
    train = Sentences(train_path, extractor, tokenizer, start_token)
    dev = Sentences(dev_path, extractor, tokenizer, start_token)

    # A shift of what the encoder gives, one number for each of its features and one more for its size.
    adapter = backbone.adapter("repcali", {"norm": "none"}, seed=0)
    session = backbone.session(adapter)
    report("before  ", session, tokenizer, dev)
    session.begin_training(learning_rate=3e-2, weight_decay=0, seam_cache_bytes=-1)
    for step in range(steps):
        rows = [(step * BATCH_SIZE + row) % len(train.targets) for row in range(BATCH_SIZE)]
        done = session.train_step(train.batch(rows))
        if done.step % REPORT_EVERY == 0:
            print(f"step {done.step:3d} loss {done.loss:.5f}")
    session.end_training()
    report("trained ", session, tokenizer, dev)
    adapter.save(output, notes="- data: sentences of the example")

    # What was saved gives the same numbers.
    report("reloaded", backbone.session(backbone.load(output)), tokenizer, dev)


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit("usage: voice.py MODEL TRAIN.tsv DEV.tsv ADAPTER STEPS")
    try:
        main(*sys.argv[1:5], int(sys.argv[5]))
    except (OSError, ValueError, seamkit.SeamError) as error:
        sys.exit(f"error: {error}")
