"""Plugin libraries loaded without the native engine: their tables, validated before anything of them runs."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seamkit import _declarations as c
from seamkit import locations
from seamkit.errors import AlreadyExistsError, FormatError, IncompatibleError, NotFoundError, PluginError, SeamError
from seamkit.texts import c_string
from seamkit.torch import point_choice
from seamkit.torch.methods import Method
from seamkit.torch.options import Option
from seamkit.torch.plugin_names import checked, copied, entries, refuse_twice, text
from seamkit.torch.required import check_requirements

_LOG = logging.getLogger("seamkit")
FOLDED = "folded"


@dataclass(frozen=True)
class Plugin:
    """A loaded library; it is never unloaded, since modules of any age may run its code."""

    path: Path
    id: str
    version: str
    abi: tuple[int, int]
    summary: str
    _extension: Any = field(default=None, repr=False, compare=False)

    def extension(self, id: str) -> int | None:
        """The address of a table of functions that the plugin offers beyond the headers, by its id
        ("org.example.trace/1"); None where it has none of that id."""
        found = self._extension(c_string(id, "the id of an extension")) if self._extension else None
        return None if found is None else int(found)


@dataclass(frozen=True)
class Factory:
    """An adapter that a plugin offers."""

    plugin: Plugin
    id: str
    summary: str
    seams: tuple[str, ...]
    options: list[Option]
    methods: dict[str, Method]
    # Projections that it attaches to where nothing else is asked for; empty for all.
    default_targets: tuple[str, ...]
    table: Any

    def has(self, member: str) -> bool:
        """Whether the table has a member that may be NULL, or that a later version has added."""
        return bool(getattr(self.table, member))


_lock = threading.RLock()
_factories: dict[str, Factory] = {}
_loaded: dict[Path, Plugin] = {}
_scanned: set[Path] = set()


def _renew_lock() -> None:
    """In a forked child, where the thread that held it may be missing."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


def load_plugin(path: str | Path) -> Plugin:
    """Loads a plugin library for the torch engine; one that is loaded already is given again.

    Raises NotFoundError, FormatError for no library, PluginError for no plugin or broken tables, IncompatibleError for
    another ABI major version, AlreadyExistsError for an adapter that another plugin offers.
    """
    where = Path(path)
    if not where.exists():
        raise NotFoundError(f'plugin "{path}": there is no such file')
    where = where.resolve()
    with _lock:
        if where in _loaded:
            return _loaded[where]
        plugin, factories = _read(where)
        for factory in factories:
            if other := _factories.get(factory.id):
                raise AlreadyExistsError(
                    f'adapter "{factory.id}" of plugin {plugin.id} is already offered by {other.plugin.id}, loaded '
                    f'from "{other.plugin.path}"'
                )
        _factories.update({each.id: each for each in factories})
        _loaded[where] = plugin
        return plugin


def factory(id: str) -> Factory:
    """The adapter of that name, from the loaded plugins or else from those in the folders of `locations`.

    Raises NotFoundError with the known names.
    """
    with _lock:
        if id not in _factories:
            _scan()
        if found := _factories.get(id):
            return found
        known = ", ".join(sorted(_factories)) or "none"
        raise NotFoundError(f'no plugin offers an adapter "{id}"; there are {known}')


def _scan() -> None:
    for path in locations.plugin_libraries():
        if path.resolve() not in _scanned:
            _scanned.add(path.resolve())
            try:
                load_plugin(path)
            except AlreadyExistsError:
                continue  # an earlier folder offered it
            except SeamError as error:
                _LOG.warning("%s", error)


def _read(path: Path) -> tuple[Plugin, list[Factory]]:
    try:
        library = ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        raise FormatError(f'plugin "{path}" cannot be loaded as a dynamic library: {error}') from None
    entry = getattr(library, c.SEAM_PLUGIN_ENTRY, None)
    if entry is None:
        raise PluginError(f'plugin "{path}" is a library but no plugin: it does not export {c.SEAM_PLUGIN_ENTRY}')
    entry.restype, entry.argtypes = ctypes.POINTER(c.seam_plugin), ()
    table = entry()
    if not table:
        raise PluginError(f'plugin "{path}": {c.SEAM_PLUGIN_ENTRY} returned NULL')
    # First, since of the description in another major version these members are all that is known, and it may be shorter.
    last = getattr(c.seam_plugin, "abi_minor")  # noqa: B009, a member for ctypes alone
    has_version = table.contents.struct_size >= last.offset + last.size
    if has_version and table.contents.abi_major != c.SEAM_ABI_MAJOR:
        raise IncompatibleError(
            f'plugin "{path}" was built for ABI {table.contents.abi_major}.{table.contents.abi_minor}, this package has '
            f"{c.SEAM_ABI_MAJOR}.{c.SEAM_ABI_MINOR}: the major versions must be equal"
        )
    source = copied(table, "seam_plugin", what=f'plugin "{path}": ')
    plugin = Plugin(
        path,
        checked(source.id, f'plugin "{path}": the id'),
        text(source.version),
        (source.abi_major, source.abi_minor),
        text(source.summary),
        source.extension,
    )
    check_requirements(source, plugin.id, path)
    adapters = entries(source.adapters, source.adapter_count, "adapter", "the plugin", plugin.id)
    factories = [_factory(each, plugin) for each in adapters]
    # They are of no use here, and a plugin that the native host refuses is refused.
    entries(source.backbones, source.backbone_count, "backbone", "the plugin", plugin.id)
    return plugin, factories


def _factory(pointer: Any, plugin: Plugin) -> Factory:
    table = copied(pointer, "seam_adapter_factory", plugin.id)
    id = checked(table.id, "an adapter id", plugin.id)
    name = f'adapter "{id}"'
    missing = [
        each for each in ("create", "destroy", "parameter_count", "parameter", "forward") if not getattr(table, each)
    ]
    if missing:
        raise PluginError(
            f"{name} lacks the required function{'s' if len(missing) > 1 else ''} {', '.join(missing)}", plugin.id
        )
    named = entries(table.seams, table.seam_count, "seam", name, plugin.id)
    seams = tuple(checked(each, f"a seam of {name}", plugin.id) for each in named)
    if not seams:
        raise PluginError(f"{name} names no seam", plugin.id)
    refuse_twice(seams, f"{name}: the seam", plugin.id)
    pointers = entries(table.options, table.option_count, "option", name, plugin.id)
    options = [Option.read(each, name, plugin.id) for each in pointers]
    refuse_twice((each.name for each in options), f"{name}: the option", plugin.id)
    taken = next((each.name for each in options if each.name in point_choice.OPTIONS), None)
    if taken is not None and any(each in point_choice.SEAMS for each in seams):
        raise PluginError(
            f'{name} must not declare an option "{taken}": every adapter on a seam inside the layers has it from the host',
            plugin.id,
        )
    pointers = entries(table.methods, table.method_count, "method", name, plugin.id)
    methods = [Method.read(each, name, plugin.id) for each in pointers]
    refuse_twice((each.name for each in methods), f"{name}: the method", plugin.id)
    found = Factory(
        plugin,
        id,
        text(table.summary),
        seams,
        options,
        {each.name: each for each in methods},
        tuple(each for each in text(table.default_targets).split("|") if each),
        table,
    )
    folded = next((each for each in options if each.name == FOLDED), None)
    if found.has("fold") and (folded is None or folded.default is not False):
        raise PluginError(
            f'{name} folds and must declare the boolean option "{FOLDED}" with the default false, found '
            f"{'none' if folded is None else 'another'}",
            plugin.id,
        )
    return found
