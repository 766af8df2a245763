"""Loaded plugins, and pretrained models opened with them."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamkit import _declarations as c
from seamkit._native.adapter import Adapter
from seamkit._native.handles import Handle, made
from seamkit._native.library import Options, changed, checked, library, options_json, sized, taken_json, utf8
from seamkit._native.session import Session

_LOG = logging.getLogger("seamkit")
_LEVELS = {
    c.SEAM_LOG_DEBUG: logging.DEBUG, c.SEAM_LOG_INFO: logging.INFO, c.SEAM_LOG_WARNING: logging.WARNING,
    c.SEAM_LOG_ERROR: logging.ERROR}


def _log(_: int | None, level: int, message: bytes | None) -> None:
    _LOG.log(_LEVELS.get(level, logging.INFO), "%s", (message or b"").decode(errors="replace"))


_report = c.seam_log_callback(_log)


@dataclass(frozen=True)
class PluginInfo:
    id: str
    version: str
    license: str
    summary: str
    path: str
    abi: tuple[int, int]


class Runtime(Handle):
    """The native engine with its plugins; what it reports goes to the logger "seamkit".

    plugins: libraries to load; None for every plugin of SEAM_PLUGIN_PATH and of the folder of libSeam.so.
    """

    _kind = "seam_runtime"

    def __init__(self, plugins: Iterable[str | Path] | None = None):
        super().__init__(made("seam_runtime_create"))
        library().seam_runtime_set_log(self.handle, _report, None)
        if plugins is None:
            checked("seam_load_plugins", self.handle, None, None)
        for path in plugins or ():
            self.load_plugin(path)

    def load_plugin(self, path: str | Path) -> None:
        checked("seam_load_plugin", self.handle, utf8(path))

    def unload_plugin(self, id: str) -> None:
        """Raises InvalidArgumentError while one of its adapters or backbones is alive."""
        checked("seam_unload_plugin", self.handle, utf8(id))

    @property
    def plugins(self) -> list[PluginInfo]:
        found = []
        for index in range(library().seam_plugin_count(self.handle)):
            info = sized(c.seam_plugin_info())
            checked("seam_plugin_get", self.handle, index, ctypes.byref(info))
            id, version, license, summary, path = (
                getattr(info, name).decode() for name in ("id", "version", "license", "summary", "path"))
            found.append(PluginInfo(id, version, license, summary, path, (info.abi_major, info.abi_minor)))
        return found

    def describe(self, id: str) -> dict[str, Any]:
        """A plugin, an adapter or a backbone: what it is, its seams, options and methods."""
        described: dict[str, Any] = taken_json("seam_describe", self.handle, utf8(id))
        return described

    def open(self, path: str | Path | None = None, id: str | None = None, options: Options | None = None) -> Backbone:
        """Opens a Hugging Face folder or a GGUF file.

        id: of the backbone; None asks the loaded ones which of them accepts the model.
        """
        return Backbone(self, path, id, options)


def set_thread_count(count: int) -> None:
    """Threads of the native engine in this process; 0: one per core. Not while anything runs."""
    library().seam_set_thread_count(count)


class Backbone(Handle):
    """A pretrained model, made by `Runtime.open`."""

    _kind = "seam_backbone"

    def __init__(self, runtime: Runtime, path: str | Path | None, id: str | None, options: Options | None):
        super().__init__(made("seam_backbone_open", runtime.handle, utf8(id), utf8(path), options_json(options)))
        self.runtime = runtime
        # Where its files are; None for a model without any.
        self.path = None if path is None else Path(path)

    @property
    def info(self) -> c.seam_backbone_info:
        """The description of include/seam/plugin.h; its strings live as long as the backbone."""
        info = sized(c.seam_backbone_info())
        library().seam_backbone_get_info(self.handle, ctypes.byref(info))
        return info  # type: ignore[no-any-return]

    @property
    def seams(self) -> list[str]:
        info = self.info
        return [(info.seams[index] or b"").decode() for index in range(info.seam_count)]

    def save(self, path: str | Path) -> None:
        """Writes a Hugging Face folder with the trained weights; the old folder or the new one."""
        checked("seam_backbone_save", self.handle, utf8(path))

    def adapter(
        self, id: str, options: Options | None = None, *, seam: str | None = None, frozen: bool = True, seed: int = 0
    ) -> Adapter:
        """Makes an adapter. frozen: False when the backbone will be trained with it."""
        arguments = (self.handle, utf8(id), utf8(seam), options_json(options), int(frozen), seed)
        return Adapter(made("seam_adapter_create", *arguments))

    def classifier(self, id: str, classes: int, options: Options | None = None, *, seed: int = 0) -> Adapter:
        """Makes an adapter on decoder.output for that many classes."""
        arguments = (self.handle, utf8(id), options_json(options), classes, seed)
        return Adapter(made("seam_adapter_create_classifier", *arguments))

    def load(self, path: str | Path) -> Adapter:
        """Reads the folder of one saved adapter."""
        return Adapter(made("seam_adapter_load", self.handle, utf8(path)))

    def session(self, *adapters: Adapter) -> Session:
        session = Session(self.handle)
        for adapter in adapters:
            session.attach(adapter)
        return session

    def generate_options(self, **changes: Any) -> c.seam_generate_options:
        """The model's own settings of a generation, with changes by the names of seam_generate_options."""
        options = sized(c.seam_generate_options())
        checked("seam_generate_options_init", self.handle, ctypes.byref(options))
        return changed(options, changes)  # type: ignore[no-any-return]
