"""MB/s of tokenizers in one thread: SeamKit through libSeam.so, Hugging Face tokenizers, SentencePiece.

    python benchmarks/tokenizer_speed.py [--text FILE] [FOLDER ...]

Each FOLDER holds a tokenizer.json. Without one, the kinds of Tests/python/test_tokenizers.py are trained first, on the
Python manual, which also is the text unless FILE is given. Lines are encoded one by one, as a data set is; the best of
five runs counts. Needs Tests/python/requirements.txt.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "Tests" / "python")]

import sentencepiece  # noqa: E402
from tokenizers import Tokenizer as Reference  # noqa: E402

from seam_objects import Tokenizer  # noqa: E402
from test_tokenizers import KINDS, sentencepiece_model  # noqa: E402
from varied_texts import english  # noqa: E402

TRAINED = ["BERT", "RoBERTa", "Llama 3", "Qwen 2", "SmolLM", "Llama 2", "Unigram", "another pattern"]


def speed(encode: Callable[[str], Any], lines: list[str]) -> float:
    """Megabytes of text a second of processor time, which other work on the machine disturbs little."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for line in lines:
            encode(line)
        best = min(best, time.process_time() - start)
    return sum(len(line.encode()) for line in lines) / best / 1e6


def compare(name: str, lines: list[str], ours: Tokenizer, theirs: Callable[[str], Any]) -> None:
    mine, other = speed(ours.encode, lines), speed(theirs, lines)
    found = (theirs(line) for line in lines)
    different = sum(ours.encode(line) != list(getattr(ids, "ids", ids)) for line, ids in zip(lines, found))
    print(f"{name:24} {mine:8.1f} {other:10.1f} {mine / other:6.1f}x {different:10}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path)
    parser.add_argument("folders", nargs="*", type=Path)
    arguments = parser.parse_args()
    lines = arguments.text.read_text().splitlines() if arguments.text else english()
    print(f"{'MB/s':24} {'SeamKit':>8} {'reference':>10} {'':7} lines that differ, of {len(lines)}")
    for folder in arguments.folders:
        reference = Reference.from_file(str(folder / "tokenizer.json"))
        reference.no_padding()
        compare(folder.name, lines, Tokenizer(folder), reference.encode)
    if arguments.folders:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in TRAINED:
            reference = KINDS[kind]()
            reference.save(str(folder / "tokenizer.json"))
            compare(kind, lines, Tokenizer(folder), reference.encode)
        (folder / "tokenizer.json").unlink()
        processor: sentencepiece.SentencePieceProcessor = sentencepiece_model(folder, "spiece.model")
        compare("SentencePiece", lines, Tokenizer(folder), processor.encode)


main()
