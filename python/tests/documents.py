"""Code in Markdown, so that what the documents show is what the tests run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A heading, or a fenced block with its language.
_PART = re.compile(r"^## (?P<heading>[^\n]+)$|^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


def sections(document: str) -> dict[str, list[tuple[str, str]]]:
    """The languages and fenced blocks of a document of docs/ under each of its headings, in their order."""
    found: dict[str, list[tuple[str, str]]] = {"": []}
    for part in _PART.finditer((ROOT / "docs" / document).read_text()):
        if part["heading"]:
            found[part["heading"]] = []
        else:
            list(found.values())[-1].append((part["language"], part["code"]))
    return found


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a language in a document of docs/, in their order."""
    return [code for each in sections(document).values() for kind, code in each if kind == language]
