"""The package as pip installs it: which libraries it takes, what it leaves behind, and the wheel for other machines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import tiny_models
from seamkit import locations

ROOT = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
# A child process must not find the libraries by what this one was told.
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith(("SEAM", "PYTHON"))}
# What every Linux has that the wheel's tag names (PEP 600); all else must be in the wheel.
SYSTEM = re.compile(r"(lib(c|m|dl|pthread|rt|util|gcc_s|stdc\+\+)|ld-linux-x86-64)\.so\.\d+")
PLUGINS = {folder.name for folder in (ROOT / "Plugins").iterdir() if folder.is_dir()} - {"Remote"}

NATIVE = """
import sys, numpy, seamkit
site, model = sys.argv[1:]
assert seamkit.__file__.startswith(site), seamkit.__file__
names = {names}
# Not the plugin Remote, which takes the system's libcurl.
runtime = seamkit.Runtime(site + "/seamkit/lib/lib" + each + ".so" for each in names)
backbone = runtime.open(model)
print(backbone.session(backbone.adapter("repcali")).forward(seamkit.Batch([[4, 5, 6]], labels=[[4, 5]])).shape)
"""
TORCH = """
import seamkit.torch
site = seamkit.torch.Site("t5", 8, 1, 1, 2, 2, 4, 0, 0, 9)
print(seamkit.torch.Adapter("repcali", site).factory.plugin.path)
"""


def python(program: str, *arguments: str | Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=False, capture_output=True, text=True, env=CLEAN | variables
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded(trace: Path) -> set[str]:
    """The libraries that a process started, of LD_DEBUG=libs."""
    return set(re.findall(r"calling init: (\S+)", "".join(each.read_text() for each in trace.glob("libs.*"))))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    built = str(locations.library("libSeam.so").parent.resolve())
    subprocess.run(
        [ROOT / "python/build-wheel", folder],
        check=True,
        env=CLEAN | {"PYTHON": sys.executable, "SEAMKIT_LIBRARY_PATH": built},
    )
    [found] = folder.glob("*.whl")
    return found


def test_the_wheel_needs_nothing_of_the_system(wheel: Path, tmp_path: Path) -> None:
    """Beside what its tag names: OpenBLAS, SentencePiece and all others are its own. The loader itself tells."""
    assert re.fullmatch(r"seamkit-[\d.]+-py3-none-manylinux_2_\d+_x86_64\.whl", wheel.name)
    site, trace = tmp_path / "site", tmp_path / "trace"
    subprocess.run([*PIP, "install", "--no-deps", "--target", site, wheel], check=True)
    model = tiny_models.t5()
    model.save_pretrained(tmp_path / "model")
    for name, program in (("before", "import ctypes, numpy"), ("after", NATIVE.format(names=PLUGINS))):
        (trace / name).mkdir(parents=True)
        printed = python(
            program,
            site,
            tmp_path / "model",
            LD_DEBUG="libs",
            LD_DEBUG_OUTPUT=str(trace / name / "libs"),
            PYTHONPATH=str(site),
        )
    assert printed == f"(1, 2, {model.config.vocab_size})"
    added = loaded(trace / "after") - loaded(trace / "before")
    assert {each for each in added if "openblas" in each} == {f"{site}/seamkit/lib/libopenblas.so.0"}
    inside = (str(site), sysconfig.get_path("platlib"), sysconfig.get_path("stdlib"))
    strangers = {each for each in added if not each.startswith(inside) and not SYSTEM.fullmatch(Path(each).name)}
    assert not strangers
    for name in ("libopenblas", "libxxhash"):
        assert list((site / "seamkit/lib/licenses").glob(f"{name}*.txt")), name
    assert python(TORCH, PYTHONPATH=str(site)) == str(site / "seamkit/lib/libRepCali.so")


def files(folder: Path) -> set[Path]:
    return {each for each in folder.rglob("*") if "__pycache__" not in each.parts and ".mypy_cache" not in each.parts}


def test_pip_takes_what_is_built_and_leaves_nothing(tmp_path: Path) -> None:
    before = files(ROOT / "python")
    built = locations.library("libSeam.so").parent.resolve()
    subprocess.run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT / "python"],
        check=True,
        env=CLEAN | {"SEAMKIT_LIBRARY_PATH": str(built)},
    )
    [found] = tmp_path.glob("*.whl")
    assert found.name.endswith("-py3-none-linux_x86_64.whl")
    shutil.unpack_archive(found, tmp_path / "site", "zip")
    assert {each.name for each in (tmp_path / "site/seamkit/lib").iterdir()} == {
        "libSeam.so",
        "libRemote.so",
        *(f"lib{each}.so" for each in PLUGINS),
    }
    assert files(ROOT / "python") == before


def test_an_editable_install_runs_from_the_clone(tmp_path: Path) -> None:
    """And finds the release build there."""
    clone, before = tmp_path / "clone", set[Path]()
    shutil.copytree(ROOT / "python", clone / "python", ignore=shutil.ignore_patterns("__pycache__"))
    (clone / "Package.swift").touch()
    (clone / ".build").mkdir()
    (clone / ".build/release").symlink_to(locations.library("libSeam.so").parent.resolve())
    before = files(clone)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    here = sysconfig.get_path("purelib")  # for setuptools, and NumPy
    subprocess.run(
        [
            *PIP,
            "--python",
            tmp_path / "v/bin/python",
            "install",
            "--no-deps",
            "--no-build-isolation",
            "--editable",
            clone / "python",
        ],
        check=True,
        env=CLEAN | {"PYTHONPATH": here},
    )
    program = "import seamkit; print(seamkit.__file__, len(seamkit.Runtime().plugins))"
    found = subprocess.run(
        [tmp_path / "v/bin/python", "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=CLEAN | {"PYTHONPATH": here},
    )
    assert found.stdout.split() == [str(clone / "python/seamkit/__init__.py"), str(len(PLUGINS) + 1)]
    assert files(clone) == before


@pytest.mark.parametrize(
    ("variables", "has_package", "parts"),
    [
        (
            {},
            True,
            ["no libSeam.so in", ".build/release and no swift command", "install Swift", "SEAMKIT_LIBRARY_PATH"],
        ),
        ({}, False, ["no Package.swift in", "install from a clone"]),
        ({"SEAMKIT_LIBRARY_PATH": "release"}, True, ["must hold absolute paths", 'found "release"']),
        ({"SEAMKIT_LIBRARY_PATH": "/nowhere"}, True, ['"/nowhere" is not a folder']),
        ({"SEAMKIT_LIBRARY_PATH": "/usr"}, True, ["names no folder with a libSeam.so: /usr"]),
    ],
    ids=["no-swift", "no-clone", "relative", "no-folder", "no-library"],
)
def test_what_is_missing_is_one_sentence(
    tmp_path: Path, variables: dict[str, str], has_package: bool, parts: list[str]
) -> None:
    """Before anything is downloaded or built."""
    shutil.copytree(ROOT / "python", tmp_path / "python", ignore=shutil.ignore_patterns("__pycache__"))
    if has_package:
        (tmp_path / "Package.swift").touch()
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [*PIP, "wheel", "--no-build-isolation", "--wheel-dir", tmp_path / "wheels", tmp_path / "python"],
        check=False,
        capture_output=True,
        text=True,
        env=CLEAN | {"PATH": str(tmp_path / "empty")} | variables,
    )
    sentences = [each for each in done.stderr.splitlines() if "seamkit: " in each]
    assert done.returncode and len(sentences) == 1 and all(part in sentences[0] for part in parts), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("has_core", [False, True], ids=["nothing", "without-plugins"])
def test_a_failed_build_ends_the_installation(tmp_path: Path, has_core: bool) -> None:
    """What is missing is built. What the compiler says comes first, and no wheel is made."""
    shutil.copytree(ROOT / "python", tmp_path / "python", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "Package.swift").touch()
    (tmp_path / "Plugins/Gate").mkdir(parents=True)
    if has_core:
        (tmp_path / ".build/release").mkdir(parents=True)
        (tmp_path / ".build/release/libSeam.so").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/swift").write_text('#!/bin/sh\necho "asked: $* in $PWD"\nexit 1\n')
    (tmp_path / "bin/swift").chmod(0o755)
    done = subprocess.run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "wheels", tmp_path / "python"],
        check=False,
        capture_output=True,
        text=True,
        env=CLEAN | {"PATH": f"{tmp_path / 'bin'}:{CLEAN['PATH']}"},
    )
    said = done.stdout + done.stderr
    assert done.returncode and f"asked: build -c release in {tmp_path.resolve()}" in said, said
    assert f"seamkit: swift build -c release failed in {tmp_path.resolve()}, see above" in said
    assert "Traceback" not in said and not list((tmp_path / "wheels").glob("*.whl"))


def test_python_alone(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "python", tmp_path / "python", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, tmp_path / "python"],
        check=True,
        env=CLEAN | {"SEAMKIT_NO_LIBRARIES": "1"},
    )
    [found] = tmp_path.glob("*.whl")
    assert found.name.endswith("-py3-none-any.whl")
    missing = python(
        "import seamkit\ntry: seamkit.Runtime()\nexcept seamkit.NotFoundError as error: print(error)",
        PYTHONPATH=str(found),
    )
    assert missing.startswith("libSeam.so is in none of the folders") and "pip install ./python" in missing
