"""Writing a file so that a crash leaves the old one or the new one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from seamkit.errors import AlreadyExistsError, FileError


@contextlib.contextmanager
def atomic_file(path: Path, is_own: Callable[[Path], bool], stranger: str) -> Iterator[Path]:
    """Gives an empty file beside `path`, which takes its name when the block ends without an error.

    A file that is already there is replaced only where `is_own` says so; `stranger` says what is wrong with another:
    "SeamKit did not write". A link is followed and stays.

    Raises AlreadyExistsError when something else is there, FileError when the disk fails; `path` is then as before.
    """
    temporary: Path | None = None
    lock = -1
    try:
        # A pipe or a device is not followed: what it is called by resolves to no path.
        target = path.resolve() if path.is_file() or not path.exists() else path
        if target.exists() and not (target.is_file() and is_own(target)):
            what = (
                "a folder is there"
                if target.is_dir()
                else f"a file is there that {stranger}"
                if target.is_file()
                else "a pipe or a device is there"
            )
            raise AlreadyExistsError(f'cannot write "{path}", {what}')
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.tmp-{os.getpid()}-", dir=target.parent)
        os.close(descriptor)
        temporary = Path(name)
        lock = _locked(temporary)
        # mkstemp makes it for its owner alone.
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        _synchronize(temporary)
        temporary.rename(target)
        _synchronize(target.parent)
    except OSError as error:
        raise FileError(f'cannot write "{path}": {error.strerror or error}') from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if lock >= 0:
            os.close(lock)


def _locked(temporary: Path) -> int:
    """A descriptor whose lock, which ends with the process, tells a temporary name from what a killed writer left."""
    descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
    # Without locks on this disk, nothing is ever taken for abandoned.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _remove_abandoned(target: Path) -> None:
    """Removes what killed writers of `target` left, SeamKit's in any language: `.NAME.tmp-PID-...`, where neither the
    process lives nor its lock. What cannot be removed stays."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.tmp-([1-9][0-9]*)-[a-z0-9_]+")
    for each in list(target.parent.iterdir()):
        found = pattern.fullmatch(each.name)
        if found is None or _lives(int(found[1])):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(each, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(each) if each.is_dir() else each.unlink()
            finally:
                os.close(descriptor)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _synchronize(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """Only setting it tells it."""
    current = os.umask(0o022)
    os.umask(current)
    return current
