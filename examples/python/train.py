#!/usr/bin/env python3
"""Trains a RepCali adapter on a pretrained sequence-to-sequence model: open the model, attach the adapter, train,
score, save, read it back and score again. examples/c and examples/swift do the same and print the same numbers.

Install and run, from the root of the repository:
  pip install ./python
  python3 examples/python/train.py MODEL train.jsonl dev.jsonl adapter 100

MODEL is a folder in the Hugging Face layout with a tokenizer.json; each line of the data is a JSON object with the
strings "source" and "target"; `adapter` is the folder to write; 100 is the number of steps.
"""

import json
import sys

import seamkit

BATCH_SIZE, REPORT_EVERY = 8, 10


def read_pairs(path, tokenizer, start_token):
    """A target that begins with the decoder's start token loses it: the model is given that token."""
    pairs = []
    with open(path, encoding="utf-8") as file:
        for line in filter(str.strip, file):
            record = json.loads(line)
            target = tokenizer.encode(record["target"])
            pairs.append((tokenizer.encode(record["source"]), target[1:] if target[0] == start_token else target))
    return pairs


def dev_loss(backbone, session, pairs):
    """Mean negative log-likelihood of a token of the targets."""
    scores = []
    for first in range(0, len(pairs), BATCH_SIZE):
        scores += session.score(backbone.batch(*zip(*pairs[first : first + BATCH_SIZE])))
    return -sum(each.log_probability for each in scores) / sum(each.token_count for each in scores)


def main(model, train_path, dev_path, output, steps):
    # The plugins are the libraries beside libSeam.so, or in the folders of SEAM_PLUGIN_PATH.
    backbone = seamkit.Runtime().open(model)
    tokenizer, start_token = seamkit.Tokenizer(model), backbone.info.decoder_start_token_id
    train = read_pairs(train_path, tokenizer, start_token)
    dev = read_pairs(dev_path, tokenizer, start_token)

    # The adapter and a session that runs it on the backbone's seam.
    adapter = backbone.adapter("repcali", {"lambda": 1.0}, seed=1)
    session = backbone.session(adapter)
    print(f"before   dev loss {dev_loss(backbone, session, dev):.6f}")

    session.begin_training(learning_rate=0.003)
    for step in range(steps):
        chosen = [train[(step * BATCH_SIZE + row) % len(train)] for row in range(BATCH_SIZE)]
        report = session.train_step(backbone.batch(*zip(*chosen)))
        if report.step % REPORT_EVERY == 0:
            print(f"step {report.step:3d} loss {report.loss:.6f}")
    session.end_training()
    print(f"trained  dev loss {dev_loss(backbone, session, dev):.6f}")
    adapter.save(output, notes="- data: pairs of the example")

    # What was saved gives the same numbers.
    reloaded = backbone.session(backbone.load(output))
    print(f"reloaded dev loss {dev_loss(backbone, reloaded, dev):.6f}")


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit("usage: train.py MODEL TRAIN.jsonl DEV.jsonl ADAPTER STEPS")
    try:
        main(*sys.argv[1:5], int(sys.argv[5]))
    except (OSError, seamkit.SeamError) as error:
        sys.exit(f"error: {error}")
