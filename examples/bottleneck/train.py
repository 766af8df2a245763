"""Trains the adapter of a plugin in a model of transformers: train.py LIBRARY MODEL ADAPTER"""

import sys

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import seamkit.torch

library, folder, output = sys.argv[1:]
seamkit.torch.load_plugin(library)
model = AutoModelForSeq2SeqLM.from_pretrained(folder)
adapter = seamkit.attach(model, "bottleneck", rank=4)
optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-2)
batch = AutoTokenizer.from_pretrained(folder)("Oc1ccccc1", text_target="COc1ccccc1", return_tensors="pt")
for step in range(20):
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(step, loss.item())
adapter.save(output)
