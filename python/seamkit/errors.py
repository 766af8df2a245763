"""The errors of the library as exceptions: one sentence for people, a code for programs, and where it arose."""

from __future__ import annotations

import re

from seamkit import _declarations as c

# As the core does: what would end the line, steer a terminal or reorder what stands beside it (C0, DEL, C1, line and
# paragraph separators, Unicode's Bidi_Control); and what no terminal can print, the halves of surrogate pairs that stand
# for bad bytes in file names.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    """A text as part of a sentence: control characters, of a file's names for instance, as \\u and four digits."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04X}", text)


class SeamError(Exception):
    """What the core or a plugin reports.

    message: one sentence that names the argument or file, what was expected and what was found; one line, in which
    control characters are escaped.
    code: one of the SEAM_ status codes of include/seam/base.h.
    origin: the id of the plugin that failed, "" for SeamKit itself.
    """

    code: int = c.SEAM_INTERNAL

    def __init__(self, message: str, origin: str = "", code: int | None = None):
        message = one_line(message)
        super().__init__(message)
        self.message, self.origin = message, one_line(origin)
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.origin}: {self.message}" if self.origin else self.message

    @staticmethod
    def of(code: int, message: str, origin: str = "") -> SeamError:
        """The exception of a status code; a code that this version does not know is kept as it is."""
        kind = _KINDS.get(code, SeamError)
        return kind(message, origin, code)


class InvalidArgumentError(SeamError, ValueError):
    """A value outside what is accepted."""

    code = c.SEAM_INVALID_ARGUMENT


class NotFoundError(SeamError, LookupError):
    """No such file, plugin, tensor, parameter or method."""

    code = c.SEAM_NOT_FOUND


class AlreadyExistsError(SeamError):
    """A second registration of an id, or a folder that holds something else."""

    code = c.SEAM_ALREADY_EXISTS


class IncompatibleError(SeamError):
    """Another ABI major version, or an adapter made for another backbone."""

    code = c.SEAM_INCOMPATIBLE


class ShapeError(SeamError, ValueError):
    """Tensor shapes or dtypes that do not fit together."""

    code = c.SEAM_SHAPE


class FileError(SeamError):
    """The operating system or a server refused an operation on a file or a connection."""

    code = c.SEAM_IO


class FormatError(SeamError, ValueError):
    """A file whose content is not what its format promises."""

    code = c.SEAM_FORMAT


class UnsupportedError(SeamError):
    """Valid, but not offered by this backbone, engine or build."""

    code = c.SEAM_UNSUPPORTED


class NumericError(SeamError, ArithmeticError):
    """NaN or infinity where a number is needed."""

    code = c.SEAM_NUMERIC


class OutOfMemoryError(SeamError, MemoryError):
    """Memory that the system refused."""

    code = c.SEAM_OUT_OF_MEMORY


class CancelledError(SeamError):
    """A callback, or a limit set beforehand, asked to stop."""

    code = c.SEAM_CANCELLED


class PluginError(SeamError):
    """A plugin failed or broke its contract."""

    code = c.SEAM_PLUGIN


class InternalError(SeamError):
    """A defect in SeamKit: please report it."""

    code = c.SEAM_INTERNAL


_KINDS: dict[int, type[SeamError]] = {
    kind.code: kind
    for kind in (
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        IncompatibleError,
        ShapeError,
        FileError,
        FormatError,
        UnsupportedError,
        NumericError,
        OutOfMemoryError,
        CancelledError,
        PluginError,
        InternalError,
    )
}
