"""Where the shared libraries of SeamKit are: libSeam.so and the plugins."""

from __future__ import annotations

import os
from pathlib import Path

from seamkit import _declarations as c
from seamkit.errors import NotFoundError

VARIABLE = "SEAMKIT_LIBRARY_PATH"
PLUGIN_VARIABLE = "SEAM_PLUGIN_PATH"
PACKAGED = Path(__file__).resolve().parent / "lib"
# Where `swift build -c release` puts them, for a package that runs from a clone, such as an editable install.
CLONE = Path(__file__).resolve().parents[2]
BUILT = CLONE / ".build" / "release"


def library_folders() -> list[Path]:
    """The folders of SEAMKIT_LIBRARY_PATH (joined by ':'), then the package's own, which a wheel fills, and that of a
    clone's release build.

    Raises NotFoundError where SEAMKIT_LIBRARY_PATH names something that is not a folder.
    """
    given = [Path(each) for each in os.environ.get(VARIABLE, "").split(":") if each]
    for folder in given:
        if not folder.is_dir():
            raise NotFoundError(f'{VARIABLE}: "{folder}" is not a folder')
    own = [PACKAGED, *([BUILT] if (CLONE / "Package.swift").is_file() else [])]
    return [*given, *(each for each in own if each.is_dir())]


def library(name: str) -> Path:
    """The first library of that file name.

    Raises NotFoundError, with the places that were searched.
    """
    folders = library_folders()
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    searched = ", ".join(f'"{each}"' for each in folders) or "no folder"
    raise NotFoundError(
        f"{name} is in none of the folders of SeamKit (searched {searched}): install the package from a clone of "
        f"SeamKit with Swift (pip install ./python), or set {VARIABLE} to the folder that holds it"
    )


def plugin_libraries() -> list[Path]:
    """Files that may be plugins: lib*.so that name the entry, in the folders of SEAM_PLUGIN_PATH and of the libraries.

    Of several with one file name the first counts. Scanning opens no foreign library: only bytes are read.
    """
    folders = [Path(each) for each in os.environ.get(PLUGIN_VARIABLE, "").split(":") if each] + library_folders()
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("lib*.so")):
            if path.name not in found and path.name != "libSeam.so" and is_plugin(path):
                found[path.name] = path
    return list(found.values())


def is_plugin(path: Path) -> bool:
    """Whether a library names the entry of plugins; only its bytes are read."""
    return c.SEAM_PLUGIN_ENTRY.encode() in path.read_bytes()
