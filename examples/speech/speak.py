#!/usr/bin/env python3
"""Sentences, spoken by espeak-ng: training, development and test examples for a model of speech.

    speak.py OUTPUT [--voice en-gb-scotland] [--train 192] [--dev 48] [--test 80]

Writes OUTPUT/train.tsv, dev.tsv and test.tsv with the columns "audio" and "text", and the sound beside them. The
sentences are those of sentences.txt, in its order, none in two of the files.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--voice", default="en-gb-scotland", help="of espeak-ng --voices")
    for name, count in (("train", 192), ("dev", 48), ("test", 80)):
        parser.add_argument(f"--{name}", type=int, default=count, help=f"sentences in {name}.tsv")
    options = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        print("speak.py: no espeak-ng command found; on Debian: sudo apt-get install espeak-ng", file=sys.stderr)
        return 1
    sentences = Path(__file__).with_name("sentences.txt").read_text().splitlines()
    counts = {name: getattr(options, name) for name in ("train", "dev", "test")}
    if min(counts.values()) < 1 or sum(counts.values()) > len(sentences):
        print(
            f"speak.py: --train, --dev and --test must be 1 or more, together at most {len(sentences)} sentences, found "
            f"{', '.join(map(str, counts.values()))}",
            file=sys.stderr,
        )
        return 1
    start = 0
    for name, count in counts.items():
        folder = options.output / name
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for number, text in enumerate(sentences[start : start + count]):
            path = folder / f"{number:03}.wav"
            subprocess.run(["espeak-ng", "-v", options.voice, "-w", path, text], check=True)
            lines.append(f"{name}/{path.name}\t{text}\n")
        (options.output / f"{name}.tsv").write_text("audio\ttext\n" + "".join(lines))
        start += count
    return 0


if __name__ == "__main__":
    sys.exit(main())
