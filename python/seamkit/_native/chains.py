"""The adapters of a session, route by route, in the order in which they run."""

from __future__ import annotations

import ctypes
from pathlib import Path

from seamkit import _declarations as c
from seamkit._native.adapter import Adapter, HeadSizes, of_backbone
from seamkit._native.handles import Handle, made
from seamkit._native.library import Options, adapter_options, checked, library, utf8


class Chains(Handle):
    """What a `Session` does with adapters: which run, in which order, and which are merged into its weights."""

    _kind = "seam_session"

    def __init__(self, backbone: int, width: int):
        super().__init__(made("seam_session_create", backbone))
        self._width = width
        # Classes of the heads that are attached, by route; the library fills as many scores for each row.
        self._classes: dict[str | None, int] = {}

    # ---- Adapters, which run in the order attached

    def attach(self, adapter: Adapter, position: int = -1, *, route: str | None = None) -> None:
        """Attaches an adapter. position: among those of the route; -1: last. route: a name of 1 to 100 characters; one
        that is not there yet is new, and one adapter may be on several.

        Raises AlreadyExistsError for one that is attached, IncompatibleError for one that does not fit those before it,
        InvalidArgumentError during a training, and for a named route while an adapter is merged.
        """
        checked("seam_session_attach", self.handle, utf8(route), adapter.handle, position)
        self._head(adapter._sizes, route)

    def add(
        self,
        id: str,
        options: Options | None = None,
        *,
        classes: int = 0,
        frozen: bool = True,
        seed: int = 0,
        seam: str | None = None,
        score_kind: str = "unknown",
        route: str | None = None,
    ) -> Adapter:
        """Makes an adapter for the place behind those of the route and attaches it: the way for one that depends on those
        before it, such as a gate on the tokens of a prefix. classes: for a head of a classification; the rest, and what
        is raised, as for `Backbone.adapter` and `Backbone.classifier`."""
        wanted = adapter_options(
            options, seam or (c.SEAM_DECODER_OUTPUT if classes else None), frozen, classes, seed, score_kind
        )
        made_here = made("seam_session_add", self.handle, utf8(route), utf8(id), ctypes.byref(wanted))
        adapter = Adapter(made_here, HeadSizes(classes, self._width) if classes else None)
        self._head(adapter._sizes, route)
        return adapter

    def load(self, path: str | Path, *, route: str | None = None) -> None:
        """Attaches the saved adapters of a folder, one or several, behind those of the route in their order: all or none.
        `adapters` and `adapters_of` give them.

        Raises NotFoundError, FormatError, IncompatibleError for adapters of another model.
        """
        checked("seam_session_load", self.handle, utf8(route), utf8(path))
        for each in self.adapters_of(route):
            self._head(each._sizes, route)

    def save(
        self,
        path: str | Path,
        backbone_path: str | Path | None = None,
        notes: str | None = None,
        *,
        route: str | None = None,
    ) -> None:
        """Writes the adapters of the route as one folder, which `load` reads; the rest is as for `Adapter.save`.

        Raises InvalidArgumentError where none is attached, NotFoundError for a route that is not there, and what
        `Adapter.save` raises.
        """
        checked("seam_session_save", self.handle, utf8(route), utf8(path), utf8(backbone_path), utf8(notes))

    @property
    def adapters(self) -> list[Adapter]:
        """The adapters of the default route, in the order in which they run: objects of their own for the same adapters."""
        return self.adapters_of(None)

    def adapters_of(self, route: str | None) -> list[Adapter]:
        """The adapters of a route, in the order in which they run; none for one that is not there."""
        name = utf8(route)
        return [
            of_backbone(made("seam_session_adapter", self.handle, name, index), self._width)
            for index in range(library().seam_session_adapter_count(self.handle, name))
        ]

    @property
    def routes(self) -> list[str]:
        """The routes with a name, in the order in which they came."""
        found = library()
        return [
            found.seam_session_route(self.handle, index).decode()
            for index in range(found.seam_session_route_count(self.handle))
        ]

    def remove_route(self, route: str | None) -> None:
        """Takes all adapters of a route off at once.

        Raises NotFoundError where there is none of that name, InvalidArgumentError during a training.
        """
        checked("seam_session_remove_route", self.handle, utf8(route))
        self._classes.pop(route or None, None)

    def _head(self, sizes: HeadSizes | None, route: str | None) -> None:
        if sizes:
            self._classes[route or None] = sizes.classes

    def detach(self, adapter: Adapter, *, route: str | None = None) -> None:
        """Takes an adapter off its route; the outputs are what they were without it, to the last bit.

        Raises NotFoundError for one that is not attached, InvalidArgumentError during a training.
        """
        checked("seam_session_detach", self.handle, utf8(route), adapter.handle)

    def move(self, adapter: Adapter, position: int, *, route: str | None = None) -> None:
        """Gives an attached adapter another place in the order in which they run; -1: the last.

        Raises as `detach` does.
        """
        checked("seam_session_move", self.handle, utf8(route), adapter.handle, position)

    def merge(self, adapter: Adapter) -> None:
        """Computes an attached adapter on projections into the backbone's weights, for this session alone: its passes
        then cost what the backbone's cost. Training, saving and detaching need it unmerged.

        Raises UnsupportedError for an adapter that is not linear in the weights, InvalidArgumentError where another one
        on the same points runs before it, or the session has routes with a name.
        """
        checked("seam_session_merge", self.handle, adapter.handle)

    def unmerge(self, adapter: Adapter) -> None:
        """Gives the backbone's own weights back, bit for bit.

        Raises InvalidArgumentError for an adapter that is not merged.
        """
        checked("seam_session_unmerge", self.handle, adapter.handle)

    def save_merged(self, path: str | Path, *, dequantize: bool = False) -> None:
        """Writes the model with the merged adapters in its weights, an ordinary folder in the Hugging Face layout: the
        matrices that they change in f32, all else as it was. A model that is at `path` is replaced, other files are not.

        `dequantize` writes weights that are stored as quantised blocks in f32, all of them. Raises UnsupportedError for
        such a model without it, InvalidArgumentError while an adapter of the session is not merged, or none is.
        """
        checked("seam_session_save_merged", self.handle, utf8(path), int(dequantize))
