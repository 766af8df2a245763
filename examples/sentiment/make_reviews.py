#!/usr/bin/env python3
"""Write sentences of film reviews with their sentiment, as JSONL files to train and test on.

    python make_reviews.py [--source vaderSentiment-3.3.2.tar.gz] data/reviews

The sentences are the 10,604 movie-review snippets that come with the vaderSentiment package (Hutto and Gilbert 2014),
each with a mean rating by ten people from -4 to 4. Kept are those that people agree have a sentiment, with a rating of
at least 1 or at most -1. ``test.jsonl`` and ``dev.jsonl`` hold 1000 sentences each, ``train.jsonl`` the rest, as lines
``{"text": ..., "label": "positive"}``. The split depends on the sentences alone.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "vaderSentiment==3.3.2"
ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"
SNIPPETS = "movieReviewSnippets_GroundTruth.txt"
HELD_OUT = 1000


def download(folder: Path) -> Path:
    """The package's source distribution, by pip."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # The built wheel leaves the data out; building nothing keeps pip from running the package's own setup.
    command += ["--no-binary", ":all:", "--no-build-isolation", "--dest", str(folder), PACKAGE]
    subprocess.run(command, check=True)
    return next(folder.glob("*.tar.gz"))


def read_snippets(source: Path) -> list[tuple[float, str]]:
    """Ratings and sentences of the archive inside the source distribution."""
    with tarfile.open(source) as outer:
        member = next(name for name in outer.getnames() if name.endswith(ARCHIVE))
        inner = tarfile.open(fileobj=io.BytesIO(outer.extractfile(member).read()))
    name = next(name for name in inner.getnames() if name.endswith("/" + SNIPPETS))
    lines = inner.extractfile(name).read().decode("utf-8", errors="replace").splitlines()
    rows = [line.split("\t", 2) for line in lines if line.strip()]
    return [(float(rating), " ".join(text.replace("''", '"').split())) for _, rating, text in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder of the files to write")
    parser.add_argument("--source", type=Path, help="the source distribution; default: downloaded by pip")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        snippets = read_snippets(arguments.source or download(Path(folder)))
    labelled = {text: "positive" if rating > 0 else "negative" for rating, text in snippets if abs(rating) >= 1}
    order = sorted(labelled, key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    arguments.output.mkdir(parents=True, exist_ok=True)
    splits = {"test": order[:HELD_OUT], "dev": order[HELD_OUT : 2 * HELD_OUT], "train": order[2 * HELD_OUT :]}
    for split, texts in splits.items():
        lines = [json.dumps({"text": text, "label": labelled[text]}, ensure_ascii=False) + "\n" for text in texts]
        (arguments.output / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{arguments.output / split}.jsonl: {len(texts)} sentences")


if __name__ == "__main__":
    main()
