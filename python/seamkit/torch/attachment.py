"""Adapters in a model of transformers: which are attached, in which order, and the hooks that run them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from seamkit import _declarations as c
from seamkit.errors import AlreadyExistsError, IncompatibleError, InvalidArgumentError, NotFoundError, UnsupportedError
from seamkit.point import check_same_points
from seamkit.torch import encoder_output, point_hooks, prefixes, prompts
from seamkit.torch.adapter import Adapter
from seamkit.torch.connection import NOT_COPIED, Connection
from seamkit.torch.families import check_seam
from seamkit.torch.marks import Removable
from seamkit.torch.model_folder import source_folder
from seamkit.torch.plugins import factory
from seamkit.torch.seams import is_prefix
from seamkit.torch.site import Site

# Where the attached adapters stand among the model's modules, so that its optimizers, `to` and `train` reach them.
NAME = "seamkit"


class _Chain(Protocol):
    def on(self, seam: str) -> list[Adapter]: ...
    @property
    def adapters(self) -> list[Adapter]: ...


def _put_hooks(model: torch.nn.Module, chain: _Chain, connection: Connection, handles: list[Removable]) -> None:
    """The hooks that the adapters of a chain need, and no others, added to `handles` as they are put."""
    # Masks and positions grow by vectors before a text first: they are of the text for all that follow, also for a prefix.
    if chain.on(c.SEAM_PROMPT_EMBEDDING):
        handles += prompts.hooks(model, chain)
    # They read masks and positions before those of a prefix are added.
    handles += point_hooks.hooks(model, chain)
    handles += connection.begin()
    if chain.on(c.SEAM_ENCODER_OUTPUT):
        handles += encoder_output.hooks(model, chain, connection)
    if chain.on(c.SEAM_ATTENTION_PREFIX):
        handles += prefixes.hooks(model, chain, connection)
    handles += connection.end()


@dataclass
class _Others:
    """Adapters, or what stands in their place, that run in a model for a while."""

    adapters: list[Any]

    def on(self, seam: str) -> list[Any]:
        return [each for each in self.adapters if each.seam == seam]


@contextmanager
def running(model: torch.nn.Module, others: Sequence[Any]) -> Iterator[None]:
    """While it lasts, others run in a model in the place of the adapters that are attached to it."""
    holder: Any = getattr(model, NAME)
    handles: list[Removable] = []
    holder.unhook()
    try:
        _put_hooks(model, _Others(list(others)), Connection(model), handles)
        yield
    finally:
        for each in handles:
            each.remove()
        holder.hook(model)


class Attached(torch.nn.ModuleList):
    """The adapters of a model, in the order in which they run."""

    def __init__(self, model: torch.nn.Module, frozen: bool):
        super().__init__()
        self.frozen = frozen
        self._handles: list[Removable] = []
        self._connection = Connection(model)
        self._trained = [each for each in model.parameters() if each.requires_grad] if frozen else []
        for each in self._trained:
            each.requires_grad_(False)

    def on(self, seam: str) -> list[Adapter]:
        return [each for each in self.adapters if each.seam == seam]

    @property
    def adapters(self) -> list[Adapter]:
        return [each for each in self if isinstance(each, Adapter)]

    def hook(self, model: torch.nn.Module) -> None:
        """The hooks that the attached adapters need, and no others."""
        self.unhook()
        _put_hooks(model, self, self._connection, self._handles)

    def unhook(self) -> None:
        for each in self._handles:
            each.remove()
        self._handles = []
        self._connection.forget()

    def release(self) -> None:
        """The model as it was."""
        self.unhook()
        for each in self._trained:
            each.requires_grad_(True)

    def __reduce__(self) -> Any:
        raise TypeError(NOT_COPIED)


def attached(model: torch.nn.Module) -> list[Adapter]:
    """The adapters that are attached to a model, in the order in which they run."""
    found = getattr(model, NAME, None)
    return found.adapters if isinstance(found, Attached) else []


def attach(
    model: torch.nn.Module,
    adapter: Adapter | str,
    seam: str | None = None,
    *,
    frozen: bool = True,
    random_seed: int = 0,
    **options: Any,
) -> Adapter:
    """Puts an adapter on a seam of a model of transformers, behind those attached, and returns it.

    adapter: an id ("repcali"), or a module made before. seam: None for the adapter's first. options: by their declared
    names; a trailing underscore is dropped, for names that Python keeps for itself (lambda_=0.5).
    frozen: the model's own parameters are not trained, until the adapters are detached; False leaves them as they are.
    random_seed: of the initial values.
    The adapter's parameters become some of the model's, under "seamkit.", so that an optimizer, a Trainer and `to` find
    them. Loss, loop and device are the caller's.

    Raises UnsupportedError where the model has no such seam, IncompatibleError for an adapter of another model,
    AlreadyExistsError for one that is attached, InvalidArgumentError for wrong options. After an error the model is as
    before. Not while a forward of the model runs in another thread.
    """
    site, present = _site(model), attached(model)
    if not isinstance(model, torch.nn.Module):
        raise InvalidArgumentError(f"model must be a module of torch, found {type(model).__name__}")
    if not isinstance(adapter, str | Adapter):
        raise InvalidArgumentError(
            'adapter must be an id, such as "repcali", or a seamkit.torch.Adapter, found '
            f"{type(adapter).__module__}.{type(adapter).__qualname__}"
        )
    if not isinstance(seam, str | None):
        raise InvalidArgumentError(f"seam must be the name of a seam or None, found {seam!r}")
    if not isinstance(frozen, bool):
        raise InvalidArgumentError(f"frozen must be True or False, found {frozen!r}")
    if isinstance(getattr(model, NAME, None), Attached) and getattr(model, NAME).frozen != frozen:
        raise InvalidArgumentError(f"frozen must be {not frozen}, as for the adapters that are attached already")
    if isinstance(adapter, str):
        chosen = seam or factory(adapter).seams[0]
        _check_attachable(adapter, chosen)
        if chosen in factory(adapter).seams:
            check_seam(model, site, adapter, chosen)
        lengths = prefixes.lengths(present) if is_prefix(chosen) else (0, 0, 0)
        given = {name.removesuffix("_"): value for name, value in options.items()}
        made = Adapter(adapter, site, given, seam=seam, backbone_frozen=frozen, prefix_length=lengths, seed=random_seed)
    else:
        if options or seam not in (None, adapter.seam):
            raise InvalidArgumentError("options and seam are for an id: this adapter has its own")
        made = adapter
    _attach(model, site, [made], frozen)
    return made


def attach_all(model: torch.nn.Module, adapters: Sequence[Adapter], frozen: bool) -> None:
    """Attaches adapters made before, all or none."""
    _attach(model, _site(model), adapters, frozen)


def _attach(model: torch.nn.Module, site: Site, new: Sequence[Adapter], frozen: bool) -> None:
    present = attached(model)
    for each in new:
        if any(each is other for other in present):
            raise AlreadyExistsError(f'adapter "{each.id}" is already attached')
        _check_attachable(each.id, each.seam)
        check_same_shape(each, site)
    prefixes.check(model, site, [*present, *new])
    prompts.check(site, [*present, *new])
    # What is on "meta" has no values yet, or lies on a disk.
    device = next((each.device for each in model.parameters() if each.device.type != "meta"), None)
    for each in new:
        each.to(device)
        each.train(model.training)
        each.backbone_path = each.backbone_path or source_folder(model)
    holder: Any = getattr(model, NAME) if present else Attached(model, frozen)
    try:
        if not present:
            model.add_module(NAME, holder)
        holder.extend(new)
        holder.hook(model)
    except BaseException:
        if present:
            _remove(model, new)
        else:
            holder.release()
            if getattr(model, NAME, None) is holder:
                delattr(model, NAME)
        raise


def detach(model: torch.nn.Module, adapter: Adapter | None = None) -> None:
    """Takes an adapter, or all of them, off a model, which then computes exactly what it did before.

    Raises NotFoundError for one that is not attached, InvalidArgumentError while another weights the tokens of its
    prefix.
    """
    present = attached(model)
    if adapter is not None and not any(each is adapter for each in present):
        named = f'adapter "{adapter.id}"' if isinstance(adapter, Adapter) else f"{adapter!r}"
        raise NotFoundError(f"{named} is not attached; detach takes what attach returned")
    left = [each for each in present if adapter is not None and each is not adapter]
    prefixes.check(model, _site(model), left)
    _remove(model, [each for each in present if not any(each is other for other in left)])


def _remove(model: torch.nn.Module, gone: Sequence[Adapter]) -> None:
    holder: Any = getattr(model, NAME, None)
    if not isinstance(holder, Attached):
        return
    left = [each for each in holder if not any(each is other for other in gone)]
    for index in reversed(range(len(holder))):
        del holder[index]
    if left:
        holder.extend(left)
        holder.hook(model)
    else:
        holder.release()
        delattr(model, NAME)


def _site(model: Any) -> Site:
    """Of a model that adapters are attached to or taken off, which torch.compile only wraps: what it returns passes on
    attributes, but not the modules that are added to it."""
    if isinstance(model, torch.nn.Module) and "_orig_mod" in model._modules:
        raise InvalidArgumentError(
            "model is what torch.compile returned: give the model that was compiled, model._orig_mod, which the compiled "
            "one goes on to run"
        )
    return Site.of(model)


def _check_attachable(id: str, seam: str) -> None:
    if seam == c.SEAM_DECODER_OUTPUT:
        raise UnsupportedError(
            f'adapter "{id}" is on decoder.output, where nothing of the model lies behind it: it is not attached but '
            f'called on features, seamkit.torch.Adapter("{id}", Site.of(model), classes=n)(scores, hidden)'
        )


def check_same_shape(adapter: Adapter, site: Site) -> None:
    names = ["d_model"]
    if is_prefix(adapter.seam):
        names += ["encoder_layers", "decoder_layers", "kv_heads", "head_dim"]
    _check_equal(adapter, site, names)
    check_same_points(adapter.points, site.points, adapter.id)
    if adapter.seam not in site.seams:
        raise UnsupportedError(
            f'the model ({site.family}) has no seam "{adapter.seam}"; it has {", ".join(site.seams)}'
        )
    if is_prefix(adapter.seam):
        _check_equal(adapter, site, ["prefix_layers", "prefix_kv_heads", "prefix_head_dim"])


def _check_equal(adapter: Adapter, site: Site, names: Sequence[str]) -> None:
    for name in names:
        made, own = getattr(adapter.site, name), getattr(site, name)
        if made != own:
            raise IncompatibleError(
                f'adapter "{adapter.id}" was made for a model with {name} {made}, this one has {own}'
            )
