"""What every object of the library has in common: it owns a handle, and gives it back at a known moment."""

from __future__ import annotations

import ctypes
import weakref
from types import TracebackType
from typing import Any, NoReturn, Self

from seamkit._native.library import checked, library


class Handle:
    """Owns an object of the library until `close`, the end of a `with`, or the end of the Python object.

    An object keeps alive what it was made from, so the order in which objects are closed does not matter. Calls on one
    object, and on objects made from it, must not overlap; they release the interpreter's lock.
    """

    _kind: str

    def __init__(self, pointer: int):
        self._pointer = pointer
        self._release = weakref.finalize(self, getattr(library(), f"{self._kind}_release"), pointer)

    @property
    def handle(self) -> int:
        """The pointer, for functions of the C ABI."""
        if not self._release.alive:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._pointer

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self._release.alive

    def close(self) -> None:
        """Releases the object now; a second call does nothing."""
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied: it owns memory of libSeam.so in this process; save "
            "what you need to a folder and open that in the other process"
        )


def made(function: str, *arguments: Any) -> int:
    """The object that a function writes to its last output."""
    pointer = ctypes.c_void_p()
    checked(function, *arguments, ctypes.byref(pointer))
    assert pointer.value is not None
    return pointer.value
