"""Plugins of the torch engine: libSeam is their host, and one runtime of it serves all adapters of a process."""

from __future__ import annotations

import functools
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamkit import locations
from seamkit._native import PluginInfo, Runtime
from seamkit.errors import AlreadyExistsError, NotFoundError, SeamError

_LOG = logging.getLogger("seamkit")


@dataclass(frozen=True)
class Plugin:
    """A loaded library; it is never unloaded, since modules of any age may run its code."""

    path: Path
    id: str
    version: str
    abi: tuple[int, int]
    summary: str

    def extension(self, id: str) -> int | None:
        """The address of a table of functions that the plugin offers beyond the headers, by its id
        ("org.example.trace/1"); None where it has none of that id."""
        try:
            return runtime().extension(self.id, id)
        except NotFoundError:
            return None


@dataclass(frozen=True)
class Factory:
    """An adapter that a plugin offers. options: the JSON names of their types, by their own."""

    plugin: Plugin
    id: str
    summary: str
    seams: tuple[str, ...]
    options: dict[str, str]
    methods: tuple[str, ...]
    # At decoder.output: whether it reads several prompts about each text.
    reads_prompts: bool


# Whoever loads a plugin, or makes an adapter of one, holds it.
lock = threading.RLock()
_factories: dict[str, Factory] = {}
_loaded: dict[Path, Plugin] = {}
_scanned: set[Path] = set()


def _renew_lock() -> None:
    """In a forked child, where the thread that held it may be missing."""
    global lock
    lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


@functools.cache
def runtime() -> Runtime:
    """The host of all plugins of the torch engine."""
    return Runtime([])


def load_plugin(path: str | Path) -> Plugin:
    """Loads a plugin library for the torch engine; one that is loaded already is given again.

    Raises NotFoundError, FormatError for no library, PluginError for no plugin or broken tables, IncompatibleError for
    another ABI major version, AlreadyExistsError for an adapter that another plugin offers.
    """
    where = Path(path)
    if not where.exists():
        raise NotFoundError(f'plugin "{path}": there is no such file')
    where = where.resolve()
    with lock:
        if where in _loaded:
            return _loaded[where]
        runtime().load_plugin(where)
        plugin = _plugin(runtime().plugins[-1])
        for id in runtime().describe(plugin.id)["adapters"]:
            _factories[id] = _factory(plugin, runtime().describe(id))
        _loaded[where] = plugin
        return plugin


def _plugin(info: PluginInfo) -> Plugin:
    return Plugin(Path(info.path), info.id, info.version, info.abi, info.summary)


def _factory(plugin: Plugin, described: dict[str, Any]) -> Factory:
    return Factory(
        plugin,
        described["id"],
        described["summary"],
        tuple(described["seams"]),
        {each["name"]: each["type"] for each in described["options"]},
        tuple(each["name"] for each in described["methods"]),
        described.get("reads_prompts", False),
    )


def factory(id: str) -> Factory:
    """The adapter of that name, from the loaded plugins or else from those in the folders of `locations`.

    Raises NotFoundError with the known names.
    """
    with lock:
        if id not in _factories:
            scan()
        if found := _factories.get(id):
            return found
        known = ", ".join(sorted(_factories)) or "none"
        raise NotFoundError(f'no plugin offers an adapter "{id}"; there are {known}')


def scan() -> None:
    """Loads what the folders of `locations` offer and is not loaded; of what cannot be, a warning tells."""
    for path in locations.plugin_libraries():
        if path.resolve() not in _scanned:
            _scanned.add(path.resolve())
            try:
                load_plugin(path)
            except AlreadyExistsError:
                continue  # an earlier folder offered it
            except SeamError as error:
                _LOG.warning("%s", error)
