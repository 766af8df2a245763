#!/usr/bin/env python3
"""Write the demo task: cap every hydrogen-bond donor of a molecule with methyl groups.

    python make_pairs.py --tokenizer models/annalog/tokenizer.json data/capping

A source is the canonical SMILES of a molecule; its target is the same molecule with each hydrogen
on a neutral nitrogen, oxygen or sulphur atom replaced by a methyl group (exhaustive methylation:
acids become esters, phenols ethers, amides and pyrroles N-methyl ones). Masking donors this way is
a standard probe of permeability in medicinal chemistry. The target keeps the source's atom order,
so the edit is local in the text: ``O=C(O)c1cccc(N)c1 -> O=C(OC)c1cccc(N(C)C)c1``.

The molecules are the first 5000 of the NCI set that RDKit ships, so RDKit is all this needs. Kept
are single-component molecules with at least one such hydrogen whose source and target fit the
tokenizer's vocabulary and the length limit. No two pairs share a source or a product, and a product
is never a source (it has nothing left to cap), so no molecule is in two splits. Each of
``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` holds lines ``{"source": ..., "target": ...}``.
The same arguments and RDKit version give the same files.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rdkit import Chem, RDConfig, RDLogger

NCI_MOLECULES = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
CAPPED_ELEMENTS = {7, 8, 16}
SMILES_TOKEN = re.compile(r"\[[^\]]*\]|%\d{2}|Br|Cl|.")


def in_written_order(molecule: Chem.Mol) -> Chem.Mol:
    """Renumber the atoms as they appear in the canonical SMILES."""
    Chem.MolToSmiles(molecule)
    order = molecule.GetPropsAsDict(includePrivate=True, includeComputed=True)
    return Chem.RenumberAtoms(molecule, list(order["_smilesAtomOutputOrder"]))


def cap_donors(molecule: Chem.Mol) -> Chem.Mol:
    """Replace the hydrogens of neutral N, O and S by methyl groups, each next to its atom."""
    capped = Chem.RWMol(molecule)
    position = [float(index) for index in range(molecule.GetNumAtoms())]
    for atom in molecule.GetAtoms():
        if atom.GetAtomicNum() not in CAPPED_ELEMENTS or atom.GetFormalCharge() != 0:
            continue
        for _ in range(atom.GetTotalNumHs()):
            capped.AddBond(atom.GetIdx(), capped.AddAtom(Chem.Atom(6)), Chem.BondType.SINGLE)
            position.append(atom.GetIdx() + 0.5)
        capped.GetAtomWithIdx(atom.GetIdx()).SetNumExplicitHs(0)
    result = Chem.RenumberAtoms(capped.GetMol(), sorted(range(len(position)), key=position.__getitem__))
    Chem.SanitizeMol(result)
    return result


def fits(smiles: str, vocabulary: set[str], max_tokens: int) -> bool:
    """Whether the text has at most ``max_tokens`` tokens, all of them in the vocabulary."""
    tokens = SMILES_TOKEN.findall(smiles)
    return len(tokens) <= max_tokens and vocabulary.issuperset(tokens)


def make_pairs(lines: Iterable[str], vocabulary: set[str], max_tokens: int) -> Iterator[tuple[str, str]]:
    """Yield (source, target), no two with the same source molecule or the same product."""
    sources: set[str] = set()
    products: set[str] = set()
    for line in lines:
        molecule = Chem.MolFromSmiles(line.split()[0])
        if molecule is None:
            continue
        molecule = in_written_order(molecule)
        source = Chem.MolToSmiles(molecule)
        target = Chem.MolToSmiles(cap_donors(molecule), canonical=False)
        product = Chem.CanonSmiles(target)
        if source == product or "." in source:
            continue
        if not all(fits(smiles, vocabulary, max_tokens) for smiles in (source, target)):
            continue
        if source in sources or product in products:
            continue
        sources.add(source)
        products.add(product)
        yield source, target


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("destination", type=Path, help="folder to write")
    parser.add_argument("--tokenizer", type=Path, required=True, help="the model's tokenizer.json")
    parser.add_argument("--dev", type=int, default=200, help="pairs for tuning (default: 200)")
    parser.add_argument("--test", type=int, default=400, help="held-out pairs (default: 400)")
    parser.add_argument("--max-tokens", type=int, default=40, help="length limit (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default: 0)")
    arguments = parser.parse_args()

    RDLogger.DisableLog("rdApp.*")
    tokenizer = json.loads(arguments.tokenizer.read_text(encoding="utf-8"))
    vocabulary = set(tokenizer["model"]["vocab"])
    with NCI_MOLECULES.open(encoding="ascii") as lines:
        pairs = list(make_pairs(lines, vocabulary, arguments.max_tokens))
    random.Random(arguments.seed).shuffle(pairs)

    held_out = arguments.dev + arguments.test
    if held_out >= len(pairs):
        parser.error(f"only {len(pairs)} pairs: too few for {held_out} held-out ones")
    splits = {"dev": pairs[: arguments.dev], "test": pairs[arguments.dev : held_out], "train": pairs[held_out:]}
    arguments.destination.mkdir(parents=True, exist_ok=True)
    for name, split in splits.items():
        with (arguments.destination / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for source, target in split:
                file.write(json.dumps({"source": source, "target": target}) + "\n")
        print(f"{name}: {len(split)} pairs")


if __name__ == "__main__":
    main()
