#!/usr/bin/env python3
"""Write train.csv, dev.csv and test.csv of the E2E challenge from its development and test sets.

    python split_e2e.py FOLDER OUTPUT

FOLDER holds devset.csv and testset_w_refs.csv, as published. The development set is split by meaning representation, so
that no representation is in two files: every 20th in the order of their hashes is for development, the others are for
training. test.csv is of the published test set, by default all of it; --test-limit takes the first so many meaning
representations in the order of their hashes. A row is one reference, as there.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from pathlib import Path


def rows_of(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [(row["mr"], row["ref"]) for row in csv.DictReader(file)]


def ordered(rows: list[tuple[str, str]]) -> list[str]:
    """Meaning representations in the order of their hashes."""
    return sorted({mr for mr, _ in rows}, key=lambda mr: hashlib.sha256(mr.encode()).hexdigest())


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["mr", "ref"])
        writer.writerows(rows)
    print(f"{path}: {len(rows)} references of {len({mr for mr, _ in rows})} meaning representations")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="devset.csv and testset_w_refs.csv")
    parser.add_argument("output", type=Path, help="folder of the files to write")
    parser.add_argument("--test-limit", type=int, default=0, help="meaning representations to test on; 0: all")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    published = rows_of(arguments.folder / "devset.csv")
    held_out = set(ordered(published)[::20])
    write(arguments.output / "train.csv", [row for row in published if row[0] not in held_out])
    write(arguments.output / "dev.csv", [row for row in published if row[0] in held_out])
    test = rows_of(arguments.folder / "testset_w_refs.csv")
    kept = set(ordered(test)[: arguments.test_limit or None])
    write(arguments.output / "test.csv", [row for row in test if row[0] in kept])


if __name__ == "__main__":
    main()
