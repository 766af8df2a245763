"""scripts/check-imports fails, with file and line, on every import that goes the wrong way."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = """// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "Small",
    targets: [
        .systemLibrary(name: "CSeam", path: "include"),
        .target(name: "Low"),
        .target(name: "Middle", dependencies: ["Low"]),
        .target(name: "High", dependencies: ["Middle"]),
        .target(name: "SeamPlugin", dependencies: ["CSeam"]),
        .target(name: "Method", dependencies: ["SeamPlugin", "CSeam"], path: "Plugins/Method"),
    ]
)
"""
FILES = {
    "Sources/Low/Low.swift": 'import Glibc\n\n/*\nimport High\n*/\nlet text = """\n    import High\n    """\n',
    "Sources/Middle/Middle.swift": "@preconcurrency import Low\n",
    "Sources/High/High.swift": "internal import struct Middle.Part\n",
    "Sources/SeamPlugin/Helper.swift": "import CSeam\n",
    "Plugins/Method/Method.swift": "import CSeam\nimport SeamPlugin\n",
    "python/seamkit/__init__.py": "from seamkit.inner import face\nfrom seamkit.inner.face import Face\n",
    "python/seamkit/errors.py": "",
    "python/seamkit/inner/__init__.py": "",
    "python/seamkit/inner/face.py": (
        "from typing import TYPE_CHECKING\nfrom seamkit import errors\nif TYPE_CHECKING:\n"
        "    from seamkit.inner.back import Back\n"
    ),
    "python/seamkit/inner/back.py": "from .face import Face\n",
    "python/seamkit/outer/__init__.py": "",
    "python/seamkit/outer/top.py": "from seamkit.inner import back\n",
}


def check(root: Path, changes: dict[str, str], manifest: str = MANIFEST) -> subprocess.CompletedProcess[str]:
    (root / "Package.swift").write_text(manifest)
    for name, text in (FILES | changes).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "include").mkdir()
    (root / "include/module.modulemap").write_text("module CSeam {}\n")
    return subprocess.run([ROOT / "scripts/check-imports", "--root", root], capture_output=True, text=True, check=False)


def test_imports_that_go_one_way_pass(tmp_path: Path) -> None:
    done = check(tmp_path, {})
    assert (done.stdout, done.stderr, done.returncode) == ("imports go one way\n", "", 0)


MISTAKES = {
    "undeclared": (
        {"Sources/High/High.swift": "import Middle\nimport Low\n"},
        "Sources/High/High.swift:2: High imports Low, which",
    ),
    "upwards": ({"Sources/Low/Low.swift": "import High\n"}, "Sources/Low/Low.swift:1: Low imports High, which"),
    "after a text": (
        {"Sources/Low/Low.swift": 'let text = """\n    x\n    """\nimport High\n'},
        "Sources/Low/Low.swift:4: Low imports",
    ),
    "core on a plugin": (
        {"Sources/High/High.swift": "import Method\n"},
        "Sources/High/High.swift:1: High depends on the plugin Method;",
    ),
    "plugin on the core": (
        {"Plugins/Method/Method.swift": "import Low\n"},
        "Plugins/Method/Method.swift:1: the plugin Method depends on Low; of ours it may have CSeam and SeamPlugin alone",
    ),
    "Python packages": (
        {"python/seamkit/inner/back.py": "def f():\n    from seamkit.outer import top\n"},
        "python/seamkit/inner/back.py:2: seamkit.inner.back imports seamkit.outer; these packages import each other: "
        "seamkit.inner, seamkit.outer",
    ),
    "Python modules": (
        {"python/seamkit/inner/face.py": "from . import back\n"},
        "python/seamkit/inner/face.py:1: seamkit.inner.face imports seamkit.inner.back; these modules import each other",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, name: str) -> None:
    changes, sentence = MISTAKES[name]
    done = check(tmp_path, changes)
    assert done.returncode == 1
    assert sentence in done.stdout, done.stdout + done.stderr


DEPENDENCIES = {
    "core on a plugin": (
        '"Low")',
        '"Low", dependencies: ["Method"])',
        "Package.swift:8: Low depends on the plugin Method",
    ),
    "plugin on the core": (
        '["SeamPlugin", "CSeam"]',
        '["SeamPlugin", "High"]',
        "Package.swift:12: the plugin Method depends on High",
    ),
    "circle": ('"Low")', '"Low", dependencies: ["High"])', "these depend on each other: High, Low, Middle"),
}


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_dependencies_are_checked_too(tmp_path: Path, name: str) -> None:
    before, after, sentence = DEPENDENCIES[name]
    assert MANIFEST.count(before) == 1
    done = check(tmp_path, {}, MANIFEST.replace(before, after))
    assert done.returncode == 1
    assert sentence in done.stdout, done.stdout + done.stderr
