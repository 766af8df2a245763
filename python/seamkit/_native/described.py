"""Models that another engine runs: libSeam makes, keeps, folds and saves their adapters, and the engine computes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

from seamkit import _declarations as c
from seamkit._native.adapter import Adapter
from seamkit._native.handles import Handle, made
from seamkit._native.library import Options, adapter_options, checked, library, taken_error, utf8
from seamkit._native.runtime import Runtime
from seamkit.texts import check_integer


class DescribedModel(Handle):
    """The description of a model (seam_backbone_create).

    info: what it is. path: the folder of its weights, by which saved adapters know them again, or None.
    Raises InvalidArgumentError for a description that no backbone may give of itself.
    """

    _kind = "seam_backbone"

    def __init__(self, runtime: Runtime, info: c.seam_backbone_info, path: str | Path | None = None):
        super().__init__(made("seam_backbone_create", runtime.handle, ctypes.byref(info), utf8(path)))

    def adapter(
        self,
        id: str,
        options: Options | None = None,
        *,
        seam: str | None = None,
        frozen: bool = True,
        classes: int = 0,
        prefix_length: Sequence[int] = (0, 0, 0),
        points: Sequence[str] | None = None,
        score_kind: str = "unknown",
        prompts: int = 1,
        seed: int = 0,
    ) -> Adapter:
        """Makes an adapter: seam_adapter_options says what the arguments mean.

        Raises NotFoundError for an unknown id, InvalidArgumentError for wrong options, UnsupportedError where the model
        has no such seam, and what the plugin fails with.
        """
        wanted = adapter_options(options, seam, frozen, classes, seed, score_kind, prompts)
        for each in prefix_length:
            check_integer(each, ctypes.c_int64, "the tokens of a prefix")
        wanted.prefix_length = type(wanted.prefix_length)(*prefix_length)
        if points is not None:
            names = [utf8(each) for each in points]
            wanted.points, wanted.point_count = (ctypes.c_char_p * len(names))(*names), len(names)
        return Adapter(made("seam_adapter_create", self.handle, utf8(id), ctypes.byref(wanted)))

    def load(self, path: str | Path) -> list[Adapter]:
        """Reads the saved adapters of a folder, one or several, in their order: all or none.

        Raises NotFoundError, FormatError, IncompatibleError for adapters of another model.
        """
        room, count = 1, ctypes.c_uint64()
        while True:
            out = (ctypes.c_void_p * room)()
            checked("seam_adapters_load", self.handle, utf8(path), out, room, ctypes.byref(count))
            if count.value <= room:
                return [Adapter(each) for each in out[: count.value] if each is not None]
            room = count.value


def save_all(
    adapters: Sequence[Adapter], path: str | Path, backbone_path: str | Path | None = None, notes: str | None = None
) -> None:
    """Writes adapters of one model as one folder, in the order in which they run; the old folder or the new one.

    Raises as `Adapter.save`.
    """
    handles = (ctypes.c_void_p * len(adapters))(*[each.handle for each in adapters])
    checked("seam_adapters_save", handles, len(adapters), utf8(path), utf8(backbone_path), utf8(notes))


def forward(adapter: Adapter, pass_: c.seam_pass, io: c.seam_forward) -> None:
    """Runs an adapter's forward on the compute table and the tensors of a pass (seam_adapter_forward).

    Raises ShapeError for inputs that are not those of the seam, PluginError for outputs that are not; where an operation
    has failed, an error with its code.
    """
    error = ctypes.c_void_p()
    if library().seam_adapter_forward(adapter.handle, ctypes.byref(pass_), ctypes.byref(io), ctypes.byref(error)):
        raise taken_error(error)
