"""Loaded plugins, and pretrained models opened with them."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamkit import _declarations as c
from seamkit._native.adapter import Adapter, HeadSizes, of_backbone
from seamkit._native.batch import Batch
from seamkit._native.handles import Handle, made
from seamkit._native.info import BackboneInfo
from seamkit._native.library import (
    Options,
    adapter_options,
    changed,
    checked,
    library,
    options_json,
    sized,
    taken_json,
    utf8,
)
from seamkit._native.session import Session
from seamkit.texts import check_integer

_LOG = logging.getLogger("seamkit")
_LEVELS = {
    c.SEAM_LOG_DEBUG: logging.DEBUG,
    c.SEAM_LOG_INFO: logging.INFO,
    c.SEAM_LOG_WARNING: logging.WARNING,
    c.SEAM_LOG_ERROR: logging.ERROR,
}


def _log(_: int | None, level: int, message: bytes | None) -> None:
    _LOG.log(_LEVELS.get(level, logging.INFO), "%s", (message or b"").decode(errors="replace"))


_report = c.seam_log_callback(_log)


@dataclass(frozen=True)
class PluginInfo:
    """A loaded plugin, as `Runtime.plugins` lists it. path: of its library. license: an SPDX expression. abi: the major
    and minor version of the headers that it was compiled with."""

    id: str
    version: str
    license: str
    summary: str
    path: str
    abi: tuple[int, int]


class Runtime(Handle):
    """The native engine with its plugins; what it reports goes to the logger "seamkit".

    plugins: libraries to load; None for every plugin of SEAM_PLUGIN_PATH and of the folder of libSeam.so. Of these, one
    that cannot be loaded is reported as a warning and passed over.

    Plugins are loaded and unloaded while nothing else runs. Of what was made from it, calls on one object must not
    overlap; a backbone that is not trained may be read by many sessions at once, each on a thread of its own.

    Raises NotFoundError where libSeam.so or a plugin is missing, and what `load_plugin` raises.
    """

    _kind = "seam_runtime"

    def __init__(self, plugins: Iterable[str | Path] | None = None):
        super().__init__(made("seam_runtime_create"))
        library().seam_runtime_set_log(self.handle, _report, None)
        if plugins is None:
            checked("seam_runtime_load_plugins", self.handle, None, None)
        for path in plugins or ():
            self.load_plugin(path)

    def load_plugin(self, path: str | Path) -> None:
        """Loads a plugin's library.

        Raises NotFoundError, FormatError for a file that is no library, PluginError for a library that is no plugin,
        IncompatibleError for another ABI major version, AlreadyExistsError for an id that is taken.
        """
        checked("seam_runtime_load_plugin", self.handle, utf8(path))

    def unload_plugin(self, id: str) -> None:
        """Unloads a plugin by its id ("org.seamkit.repcali").

        Raises NotFoundError, and InvalidArgumentError while one of its adapters or backbones is alive.
        """
        checked("seam_runtime_unload_plugin", self.handle, utf8(id))

    @property
    def plugins(self) -> list[PluginInfo]:
        """The loaded plugins, in the order in which they were loaded."""
        found = []
        for index in range(library().seam_runtime_plugin_count(self.handle)):
            info = sized(c.seam_plugin_info())
            checked("seam_runtime_get_plugin", self.handle, index, ctypes.byref(info))
            id, version, license, summary, path = (
                getattr(info, name).decode() for name in ("id", "version", "license", "summary", "path")
            )
            found.append(PluginInfo(id, version, license, summary, path, (info.abi_major, info.abi_minor)))
        return found

    def describe(self, id: str) -> dict[str, Any]:
        """A plugin, an adapter or a backbone: what it is, its seams, options and methods.

        Raises NotFoundError for an unknown id.
        """
        described: dict[str, Any] = taken_json("seam_runtime_describe", self.handle, utf8(id))
        return described

    def extension(self, plugin: str, id: str) -> int:
        """The address of a table of functions that a plugin offers beyond the headers of SeamKit, by its id
        ("org.example.trace/1"); it is valid until the plugin is unloaded.

        Raises NotFoundError where there is no such plugin, or it has none of that id.
        """
        return made("seam_runtime_get_extension", self.handle, utf8(plugin), utf8(id))

    def open(self, path: str | Path | None = None, id: str | None = None, options: Options | None = None) -> Backbone:
        """Opens a Hugging Face folder or a GGUF file.

        path: None for a backbone without files, such as "remote". id: of the backbone; None asks the loaded ones which
        of them accepts the model. options: of the backbone.

        Raises NotFoundError where the folder or a file in it is missing, FormatError for files that are not what they
        should be, UnsupportedError for a family that no backbone knows, InvalidArgumentError for wrong options.
        """
        return Backbone(self, path, id, options)


def set_thread_count(count: int) -> None:
    """Threads of the native engine in this process; 0: one per core. Not while anything runs.

    Raises InvalidArgumentError for a number beyond 32 bits.
    """
    check_integer(count, ctypes.c_int32, "count")
    library().seam_set_thread_count(count)


class Backbone(Handle):
    """A pretrained model, made by `Runtime.open`. Its weights are mapped from the files, and change only in a training
    that names them. While it is not trained, many sessions may read it at once, each on a thread of its own."""

    _kind = "seam_backbone"

    def __init__(self, runtime: Runtime, path: str | Path | None, id: str | None, options: Options | None):
        super().__init__(made("seam_backbone_open", runtime.handle, utf8(id), utf8(path), options_json(options)))
        self.runtime = runtime
        self._info: BackboneInfo | None = None
        # Where its files are; None for a model without any.
        self.path = None if path is None else Path(path)

    @property
    def info(self) -> BackboneInfo:
        """What the model is: its sizes, special tokens, seams and points."""
        if self._info is None:
            info = sized(c.seam_backbone_info())
            checked("seam_backbone_get_info", self.handle, ctypes.byref(info))
            self._info = BackboneInfo.of(info)
        return self._info

    @property
    def seams(self) -> list[str]:
        """Where adapters can be attached: "encoder.output", "attention.prefix" ..."""
        return list(self.info.seams)

    def save(self, path: str | Path) -> None:
        """Writes a Hugging Face folder with the trained weights; the old folder or the new one.

        Raises AlreadyExistsError for a folder that holds something else or another program's model, NotFoundError or FileError where it cannot be
        written.
        """
        checked("seam_backbone_save", self.handle, utf8(path))

    def adapter(
        self, id: str, options: Options | None = None, *, seam: str | None = None, frozen: bool = True, seed: int = 0
    ) -> Adapter:
        """Makes an adapter, which is not attached yet.

        id: "repcali". options: by their declared names (`Runtime.describe`). seam: None for the adapter's first.
        frozen: False when the backbone will be trained with it. seed: of the initial values.

        Raises NotFoundError for an unknown id, InvalidArgumentError for wrong options, UnsupportedError where the model
        has no such seam.
        """
        wanted = adapter_options(options, seam, frozen, 0, seed, "unknown")
        return Adapter(made("seam_adapter_create", self.handle, utf8(id), ctypes.byref(wanted)))

    def classifier(
        self,
        id: str,
        classes: int,
        options: Options | None = None,
        *,
        seed: int = 0,
        score_kind: str = "unknown",
        prompts: int = 1,
    ) -> Adapter:
        """Makes an adapter on decoder.output for that many classes, 2 or more; the rest as for `adapter`.

        score_kind: what the scores are, "logits", "log_probabilities", "probabilities" or "similarities", for adapters
        that compute with them otherwise. prompts: those about each text, several only of an adapter that reads them
        (UnsupportedError).
        """
        wanted = adapter_options(options, c.SEAM_DECODER_OUTPUT, True, classes, seed, score_kind, prompts)
        pointer = made("seam_adapter_create", self.handle, utf8(id), ctypes.byref(wanted))
        return Adapter(pointer, HeadSizes(classes, self.info.d_model, prompts))

    def load(self, path: str | Path) -> Adapter:
        """Reads the folder of one saved adapter, from whichever engine.

        Raises NotFoundError, FormatError, IncompatibleError for an adapter of another model.
        """
        return of_backbone(made("seam_adapter_load", self.handle, utf8(path)), self.info.d_model)

    def session(self, *adapters: Adapter) -> Session:
        """Makes a session with these adapters attached, in this order. Sessions of one model are independent.

        Raises what `Session.attach` raises.
        """
        info = self.info
        session = Session(self.handle, info.d_model, info.feature_width)
        for adapter in adapters:
            session.attach(adapter)
        return session

    def batch(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]] | None = None) -> Batch:
        """Rows of token ids of several lengths, filled up as `Batch.padded` does: with the model's padding token, or
        token 0 where it has none."""
        return Batch.padded(sources, targets, pad_token_id=self.info.pad_token_id or 0)

    def generate_options(self, *, ignore_generation_config: bool = False, **changes: Any) -> c.seam_generate_options:
        """The model's own settings of a generation, with changes by the names of seam_generate_options.

        ignore_generation_config: take nothing of generation_config.json but its token ids; the rest is as transformers
        has it without the file.

        Raises TypeError for a name that is none of them, UnsupportedError for a file that sets what is not offered.
        """
        options = sized(c.seam_generate_options(ignore_generation_config=int(ignore_generation_config)))
        checked("seam_generate_options_init", self.handle, ctypes.byref(options))
        return changed(options, changes)  # type: ignore[no-any-return]
