"""The reference of the API: every public name says what it is, and what it refers to is there."""

from __future__ import annotations

import html
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import seamkit
import seamkit.torch
from documents import ROOT

MODULES = (seamkit, seamkit.torch)


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class offers of the package's own, inherited or not."""
    for name, member in inspect.getmembers_static(kind):
        owner = next(each for each in kind.__mro__ if name in each.__dict__)
        if not name.startswith("_") and owner.__module__.startswith("seamkit"):
            yield name, getattr(member, "__func__", member)


def documented(module: ModuleType) -> Iterator[tuple[str, str | None]]:
    """Names and docstrings; those of data, such as the fields of a dataclass, stand with their class."""
    yield module.__name__, module.__doc__
    for name in module.__all__:
        value = getattr(module, name)
        yield f"{module.__name__}.{name}", value.__doc__
        if inspect.isclass(value):
            for member, function in members(value):
                if isinstance(function, property) or inspect.isfunction(function):
                    yield f"{module.__name__}.{name}.{member}", function.__doc__


EVERYTHING = {name: text for module in MODULES for name, text in documented(module)}


def test_every_public_name_has_a_docstring() -> None:
    assert len(EVERYTHING) > 100 and "seamkit.torch.Adapter.prepare" in EVERYTHING
    # A dataclass without one is given its signature.
    empty = [name for name, text in EVERYTHING.items() if not text or text.startswith(f"{name.split('.')[-1]}(")]
    assert empty == []


@pytest.mark.parametrize("name", [name for name, text in EVERYTHING.items() if "`" in (text or "")])
def test_names_in_docstrings_exist(name: str) -> None:
    """`Backbone.load`, `seamkit.load`, `forward` of the same class, what its methods set, or a parameter."""
    module = seamkit.torch if name.startswith("seamkit.torch") else seamkit
    known: list[Any] = [module, seamkit, torch.nn.Module]  # an adapter is one
    for each in name.removeprefix(module.__name__).split(".")[1:]:
        known.insert(0, (getattr if known[0] is module else inspect.getattr_static)(known[0], each))
    here = [each for each in known[:-3] if callable(each)]
    own = {parameter for each in here for parameter in inspect.signature(each).parameters}
    for each in filter(inspect.isclass, here):
        own |= set(re.findall(r"self\.(\w+)", inspect.getsource(each)))
    for given in re.findall(r"(?<!`)`([A-Za-z_][\w.]*)`", EVERYTHING[name] or ""):
        first, *rest = given.removeprefix("seamkit.").split(".")
        if first in own:
            continue
        places = [seamkit] if given.startswith("seamkit.") else known
        found = next((getattr(each, first) for each in places if hasattr(each, first)), None)
        assert found is not None, f"`{given}`"
        for each in rest:
            assert hasattr(found, each), f"`{given}`"
            found = getattr(found, each)


@pytest.mark.parametrize("name", [name for name, text in EVERYTHING.items() if "/" in (text or "")])
def test_files_in_docstrings_exist(name: str) -> None:
    for path in re.findall(r"\b(?:docs|include|examples|python)/[\w./-]*\w", EVERYTHING[name] or ""):
        assert (ROOT / path).exists(), path


def test_the_reference_is_built(tmp_path: Path) -> None:
    """Without a warning; each page has an anchor for each name, and every link leads somewhere."""
    built = subprocess.run(
        [ROOT / "python/build-docs", tmp_path],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHON": sys.executable},
    )
    assert "Warn" not in built.stdout + built.stderr, built.stderr
    pages = {path: path.read_text() for path in tmp_path.rglob("*.html")}
    anchors = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    for module in MODULES:
        page = tmp_path / (module.__name__.replace(".", "/") + ".html")
        assert set(module.__all__) <= anchors[page]
    for path, text in pages.items():
        # Not addresses, nor what the page's script makes.
        for link in re.findall(r'href="([^":$]+)"', text):
            file, _, anchor = html.unescape(link).partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.exists(), f"{path.name}: {link}"
            assert not anchor or anchor in anchors[target], f"{path.name}: {link}"
