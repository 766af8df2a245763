"""scripts/check: what it names is there, and a name that is not is answered with those that are."""

from __future__ import annotations

import subprocess
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / "scripts/check"


def script() -> Any:
    loader = SourceFileLoader("check", str(CHECK))
    spec = spec_from_loader("check", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_what_it_names_is_there() -> None:
    check = script()
    targets = check.targets()
    assert {*check.COVERED_BY, *check.COVERED_BY.values()} <= targets.keys()
    assert not [name for name in check.COVERED_BY if f"{name}Tests" in targets]
    for package, names in check.PYTHON.items():
        assert (ROOT / "python" / package.replace(".", "/") / "__init__.py").exists()
        assert [name for name in names if not (ROOT / f"python/tests/test_{name}.py").exists()] == []


def test_a_module_is_tested_with_what_lies_below_it() -> None:
    check = script()
    below = check.below(["FilesTests"], check.targets())
    assert {"FilesTests", "Files", "Support", "CJansson", "TestSupport", "SeamHost"} <= below
    assert not below & {"Trainer", "CAPI", "seam", "RepCali"}


def test_an_unknown_name_is_answered_with_those_that_are_known() -> None:
    done = subprocess.run([CHECK, "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        'check: there is no part "nonsense"; there are modules: AdapterFormats, Audio, CAPI, '
    )
    for name in ("Files", "plugins: ", "DecT, ", "RepCali", "Python packages: seamkit._native, "):
        assert name in done.stderr
    assert done.stderr.count("\n") == 1
