"""Puts libSeam.so and the plugins into the wheel, so that `pip install ./python` gives a package that runs.

They are taken from the folders of SEAMKIT_LIBRARY_PATH, else from .build/release of the clone, else they are built
there by `swift build`. An editable install copies nothing: the package finds .build/release by itself. With
SEAMKIT_NO_LIBRARIES=1 the wheel is Python alone. Nothing is left in the source folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / ".build" / "release"
CORE = "libSeam.so"
# What python/build-wheel puts beside the libraries: OpenBLAS, which libSeam.so looks for there first, and the licenses
# of all that is bundled.
BLAS, LICENSES = "libopenblas.so.0", "licenses"


def fail(sentence: str) -> None:
    """Ends the build without a trace of Python's."""
    raise SystemExit(f"seamkit: {sentence}")


def is_plain() -> bool:
    return os.environ.get("SEAMKIT_NO_LIBRARIES", "") not in ("", "0")


def folders() -> list[Path]:
    """Where the libraries are: the folders that the environment names, or that of `swift build`."""
    given = [Path(each) for each in os.environ.get("SEAMKIT_LIBRARY_PATH", "").split(":") if each]
    for each in given:
        if not each.is_absolute():
            fail(f'SEAMKIT_LIBRARY_PATH must hold absolute paths while the package is built, found "{each}"')
        if not each.is_dir():
            fail(f'SEAMKIT_LIBRARY_PATH: "{each}" is not a folder')
    if given and not any((each / CORE).is_file() for each in given):
        fail(f"SEAMKIT_LIBRARY_PATH names no folder with a {CORE}: {', '.join(map(str, given))}")
    return given or [BUILT]


def is_built() -> bool:
    return any((each / CORE).is_file() for each in folders())


def lacks_plugins() -> bool:
    """Whether a build of the clone was one of some products, as that of scripts/quickstart."""
    names = [each.name for each in (ROOT / "Plugins").glob("*") if each.is_dir()]
    return folders() == [BUILT] and not all((BUILT / f"lib{name}.so").is_file() for name in names)


def check() -> None:
    """Before pip downloads anything: that the libraries are there or can be built."""
    if is_plain() or is_built():
        return
    if not (ROOT / "Package.swift").is_file():
        fail(
            f"there is no {CORE} in {BUILT} and no Package.swift in {ROOT} to build it: install from a clone of "
            "SeamKit, set SEAMKIT_LIBRARY_PATH to the folder of the libraries, or SEAMKIT_NO_LIBRARIES=1 to install "
            "without them"
        )
    if not shutil.which("swift"):
        fail(
            f"there is no {CORE} in {BUILT} and no swift command to build it: install Swift 6.2 or newer "
            "(https://www.swift.org/install/linux), set SEAMKIT_LIBRARY_PATH to the folder of the libraries, or "
            "SEAMKIT_NO_LIBRARIES=1 to install without them"
        )


def libraries() -> list[Path]:
    """libSeam.so, the plugins and, if a folder holds it, OpenBLAS: of each name the first."""
    if not is_built() or (lacks_plugins() and shutil.which("swift")):
        print("seamkit: swift build -c release (some minutes)", file=sys.stderr, flush=True)
        if subprocess.run(["swift", "build", "-c", "release"], cwd=ROOT, check=False).returncode:
            fail(f"swift build -c release failed in {ROOT}, see above; scripts/setup installs what it needs")
    found: dict[str, Path] = {}
    for path in (path for folder in folders() for path in sorted(folder.glob("lib*.so*"))):
        if path.name in (CORE, BLAS) or (path.suffix == ".so" and b"seam_plugin_entry" in path.read_bytes()):
            found.setdefault(path.name, path)
    return list(found.values())


class Build(build_py):
    def run(self) -> None:
        super().run()
        if is_plain():
            return
        found = libraries()
        if not self.editable_mode:
            target = Path(self.build_lib) / "seamkit" / "lib"
            target.mkdir(parents=True)
            for path in found:
                shutil.copy(path, target / path.name)
            for folder in folders():
                if (folder / LICENSES).is_dir():
                    shutil.copytree(folder / LICENSES, target / LICENSES)


class Platform(Distribution):
    """A wheel that carries libraries is for their platform ..."""

    def has_ext_modules(self) -> bool:
        return not is_plain()


class Wheel(bdist_wheel):
    """... and for every Python: they know nothing of it."""

    def get_tag(self) -> tuple[str, str, str]:
        _, _, platform = super().get_tag()
        return "py3", "none", platform


check()
with tempfile.TemporaryDirectory(prefix="seamkit-") as scratch:
    # pip builds where the sources are: a folder `build` left there would end up in the next wheel.
    setup(
        distclass=Platform,
        cmdclass={"bdist_wheel": Wheel, "build_py": Build},
        options={"build": {"build_base": scratch}, "egg_info": {"egg_base": scratch}},
    )
