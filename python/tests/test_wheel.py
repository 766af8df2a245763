"""The wheel that carries the libraries works by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from seamkit import locations

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import seamkit, seamkit.torch
assert seamkit.__file__.startswith(r"{site}"), seamkit.__file__
ids = {{each.id for each in seamkit.Runtime().plugins}}
assert {{"org.seamkit.repcali", "org.seamkit.transformer"}} <= ids, ids
site = seamkit.torch.Site("t5", 8, 1, 1, 2, 2, 4, 0, 0, 9)
print(seamkit.torch.Adapter("repcali", site).factory.plugin.path)
"""


def test_the_wheel_needs_nothing_else(tmp_path: Path) -> None:
    folder = locations.library("libSeam.so").parent
    subprocess.run(
        [ROOT / "python/build-wheel", folder, tmp_path], check=True, env=os.environ | {"PYTHON": sys.executable})
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name.startswith("seamkit-") and wheel.name.endswith("-py3-none-linux_x86_64.whl")
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target",
         site, wheel], check=True)
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("SEAM", "PYTHON"))}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(site=site)], check=True, capture_output=True, text=True, cwd=tmp_path,
        env=variables | {"PYTHONPATH": str(site)})
    assert found.stdout.strip() == str(site / "seamkit/lib/libRepCali.so")
