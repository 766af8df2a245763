"""What this machine can hold, asked before memory is taken whose size a plugin chose."""

from __future__ import annotations

import os

from seamkit.errors import OutOfMemoryError

MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def require_memory(size: int, purpose: str, origin: str = "") -> None:
    """Raises OutOfMemoryError for more bytes than the machine has, which a system that overcommits would promise."""
    if size > MEMORY:
        raise OutOfMemoryError(
            f"{purpose} needs {size / 1e9:.1f} GB of memory, this machine has {MEMORY / 1e9:.1f} GB", origin
        )
