#!/usr/bin/env python3
"""The results of examples/speech/run as a table: table.py FOLDER NAME ..."""

import json
import struct
import sys
from pathlib import Path


def trained_numbers(folder: Path) -> int:
    """Of a saved adapter, by the header of its safetensors file."""
    path = folder / "adapter" / "adapter_model.safetensors"
    if not path.exists():
        return 0
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    count = 0
    for name, tensor in header.items():
        size = 1
        for extent in tensor.get("shape", []):
            size *= extent
        count += 0 if name == "__metadata__" else size
    return count


folder = Path(sys.argv[1])
print(f"{'':<10} {'trained numbers':>15} {'words wrong (%)':>15} {'loss':>8}")
for name in sys.argv[2:]:
    found = json.loads((folder / f"{name}.json").read_text())
    numbers = trained_numbers(folder / name)
    print(f"{name:<10} {numbers:>15,} {found['wer_normalized']:>15.1f} {found['loss']:>8.4f}")
sound = folder / "data" / "test"
print(f"\nwhat each writes: {folder}/NAME.jsonl; the sentences as sound: {sound}")
before, after = (
    [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    for name in ("untouched", "repcali")
)
for one, other in list(zip(before, after, strict=True))[:3]:
    print(
        f"\n{one['source']}\n  said    {one['target']}\n  before  {one['prediction']}\n  after   {other['prediction']}"
    )
