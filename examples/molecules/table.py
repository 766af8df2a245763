#!/usr/bin/env python3
"""Print the results of scripts/quickstart as a table, and write them to results.md.

    python table.py runs/molecules

Reads each setting's ``NAME.json`` (``seam evaluate --json``) and ``NAME.predictions.jsonl``. *Exact* compares molecules:
a prediction counts when RDKit reads it as the same molecule as the target. *Same text* compares the strings. *No donor*
is the share of predictions that are molecules without a hydrogen-bond donor, which needs no target.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from rdkit import Chem, RDLogger
from rdkit.Chem import rdMolDescriptors

SETTINGS = [
    ("before", "untouched model"),
    ("frozen-repcali", "frozen model + RepCali (ones)"),
    ("frozen-repcali-positions", "frozen model + RepCali (positions)"),
    ("backbone", "model trained, no RepCali"),
    ("backbone-repcali", "model trained + RepCali"),
]


def canonical(smiles: str) -> str | None:
    """The canonical SMILES, or None for a text that is no molecule."""
    molecule = Chem.MolFromSmiles(smiles) if smiles else None
    return Chem.MolToSmiles(molecule) if molecule is not None else None


def has_no_donor(smiles: str) -> bool:
    molecule = Chem.MolFromSmiles(smiles) if smiles else None
    return molecule is not None and rdMolDescriptors.CalcNumHBD(molecule) == 0


def trained_parameters(run: Path) -> str:
    """How many numbers were trained, from the headers of the saved files."""
    total = 0
    for file in (run / "adapter" / "adapter_model.safetensors", run / "backbone" / "model.safetensors"):
        if not file.exists():
            continue
        data = file.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        for name, tensor in header.items():
            if name != "__metadata__":
                size = 1
                for extent in tensor["shape"]:
                    size *= extent
                total += size
    return f"{total:,}" if total else "0"


def predictions(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.predictions.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def is_exact(record: dict[str, str]) -> bool:
    return canonical(record["prediction"]) == canonical(record["target"])


def row(folder: Path, name: str, label: str) -> list[str] | None:
    if not (folder / f"{name}.json").exists():
        return None
    scores = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    records = predictions(folder, name)
    exact = sum(map(is_exact, records))
    free = sum(has_no_donor(record["prediction"]) for record in records)
    return [
        label,
        trained_parameters(folder / name),
        f"{scores['loss']:.4f}",
        f"{100 * exact / len(records):.1f} %",
        f"{scores['exact_match']:.1f} %",
        f"{100 * free / len(records):.1f} %",
    ]


def verdict(folder: Path) -> str:
    """Whether RepCali made a difference where the model was trained too, by a sign test on the same molecules."""
    plain, adapted = (predictions(folder, name) for name in ("backbone", "backbone-repcali"))
    pairs = [(is_exact(a), is_exact(b)) for a, b in zip(plain, adapted)]
    gained = sum(b and not a for a, b in pairs)
    lost = sum(a and not b for a, b in pairs)
    changed = gained + lost
    tail = sum(math.comb(changed, k) for k in range(min(gained, lost) + 1)) / 2**changed
    chance = min(1.0, 2 * tail)
    if chance >= 0.05:
        conclusion = "no difference that this many molecules can show"
    else:
        conclusion = "RepCali is better" if gained > lost else "RepCali is worse"
    return (
        f"With the model trained, RepCali gets {gained} molecules right that the model alone gets wrong, and loses "
        f"{lost} (chance of such a split: {chance:.2f}): {conclusion}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what scripts/quickstart wrote")
    folder = parser.parse_args().folder
    RDLogger.DisableLog("rdApp.*")
    header = ["setting", "trained numbers", "loss", "exact", "same text", "no donor"]
    rows = [found for name, label in SETTINGS if (found := row(folder, name, label))]
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]

    def line(cells: list[str]) -> str:
        first = cells[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
        return "| " + " | ".join([first, *rest]) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    table = "\n".join([line(header), rule, *map(line, rows)])
    print(f"\nHeld-out molecules ({folder / 'data' / 'test.jsonl'}):\n\n{table}\n")
    print(verdict(folder) + "\n")
    print(f"adapter: {folder / 'frozen-repcali' / 'adapter'}")
    print(f"loss curve: {folder / 'frozen-repcali' / 'loss.svg'}")
    (folder / "results.md").write_text(f"{table}\n\n{verdict(folder)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
