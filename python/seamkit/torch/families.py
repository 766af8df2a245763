"""The families of models that adapters are attached to: their sizes, and the modules that the seams lie at.

What is built in and what `register_family` adds stand in one table, by the `model_type` of transformers. Any other
family is described by what transformers and the model's own modules say of it (`kinds`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from seamkit.errors import AlreadyExistsError, InvalidArgumentError, SeamError, UnsupportedError
from seamkit.point import DECODER as DECODER_STACK
from seamkit.point import ENCODER as ENCODER_STACK
from seamkit.torch.calls import spelled
from seamkit.torch.family import Family, Find
from seamkit.torch.kinds import DECODER, ENCODER, PAIR, check_heads, described, why_no_prefix
from seamkit.torch.names import EMBEDDED, IDS, IS_DECODER, IS_ENCODER_DECODER, MASK, PAST, Name
from seamkit.torch.points import Located, halves
from seamkit.torch.seams import is_prefix
from seamkit.torch.site import NO_PREFIX, Site, found_by
from seamkit.torch.sizes import vocabulary


def register_family(model_type: str, family: Family | str, *, replaces: bool = False, **changes: Any) -> Family:
    """Makes a family of transformers known, for `attach`, `load` and `Site.of`, and returns its entry.

    Most families need no such call: it is for those that transformers says too little of, and for other seams than
    those that are found. model_type: that of the configuration. family: its description, or the name of a family that
    is like it, built in or registered. replaces: takes the place of an earlier registration of the name, if there is
    one. changes: fields of `Family` that differ, as in

        register_family("distilbert", "bert", encoder=lambda model: model.base_model.transformer, past=None)

    A registration goes before what SeamKit finds out itself; those built in stay as they are. The native engine does
    not know such a family: its adapters are saved and loaded in PyTorch alone. To be called before models are worked
    with, from one thread.

    Raises AlreadyExistsError for a name that is built in, or registered and not to be replaced, UnsupportedError for one
    that it is to be like and that is unknown, InvalidArgumentError for what is no description. The families are then as
    before.
    """
    if not isinstance(model_type, str) or not model_type:
        raise InvalidArgumentError(f"register_family: model_type must be a name, found {model_type!r}")
    if model_type in BUILT_IN:
        raise AlreadyExistsError(f'register_family: the family "{model_type}" is built in')
    if model_type in _families and not replaces:
        raise AlreadyExistsError(
            f'register_family: the family "{model_type}" is registered already: expected a name that is free, or '
            "replaces=True"
        )
    given = named(family) if isinstance(family, str) else family
    if not isinstance(given, Family):
        raise InvalidArgumentError(
            f"register_family: family must be a Family or the name of one, found {type(family).__name__}"
        )
    fields = Family.__dataclass_fields__
    if stranger := [name for name in changes if name not in fields]:
        raise InvalidArgumentError(f'register_family: unknown field "{stranger[0]}"; there are {", ".join(fields)}')
    entry = replace(given, **changes)
    for name in ("site", "encoder", "masked", "past"):
        function = getattr(entry, name)
        if not callable(function) and (function is not None or name == "site"):
            raise InvalidArgumentError(
                f"register_family: {name} must be a function{'' if name == 'site' else ' or None'}, found "
                f"{type(function).__name__}"
            )
    if entry.attention not in ("encoder", "decoder"):
        raise InvalidArgumentError(
            f'register_family: attention must be "decoder" or "encoder", found {entry.attention!r}'
        )
    _families[model_type] = entry
    return entry


def named(model_type: str) -> Family:
    """The entry of a family. Raises UnsupportedError for one that has none."""
    found = _families.get(model_type)
    if found is None:
        raise UnsupportedError(
            f'there is no family "{model_type}" to be like: expected one of {", ".join(_families)}, such as "bert" for '
            'an encoder, "llama" for a decoder and "bart" for both'
        )
    return found


def _family_of(model: Any) -> Family:
    """Of a model or a configuration."""
    config = getattr(model, "config", model)
    registered = _families.get(config.model_type)
    # One half of a pair is a model of its own under the name of the pair.
    is_half = registered is PAIR and IS_DECODER.field(config) and not IS_ENCODER_DECODER.field(config)
    return described(model) if registered is None or is_half else registered


def check_seam(model: Any, site: Site, id: str, seam: str) -> None:
    """Raises one sentence unless a model has the seam that an adapter is to be attached to."""
    if seam in site.seams:
        return
    why = ""
    if is_prefix(seam) and _family_of(model) is not _families.get(site.family):
        why = why_no_prefix(model)
    raise UnsupportedError(
        f'the model ({site.family}) has no seam "{seam}", which adapter "{id}" needs; it has {", ".join(site.seams)}'
        f"{', since ' if why else ''}{why}"
    )


def attention_of(site: Site) -> str:
    """Whose keys and values the past holds in models with this site."""
    registered = _families.get(site.family)
    if registered is not None:
        return registered.attention
    return "decoder" if site.decoder_layers else "encoder"


@found_by
def site_of(model: Any) -> Site:
    config = getattr(model, "config", model)
    family = getattr(config, "model_type", None)
    if not isinstance(family, str):
        inner = getattr(model, "module", None)
        hint = ", so give its .module" if hasattr(inner, "config") else ""
        raise InvalidArgumentError(
            f"model must be a model of transformers, with a config; found {type(model).__name__}{hint}"
        )
    entry = _family_of(model)
    try:
        site = entry.site(config)
    except SeamError:
        raise
    except Exception as error:
        raise InvalidArgumentError(
            f'the site of family "{family}" cannot be made of this configuration: {type(error).__name__}: {error}'
        ) from error
    if not isinstance(site, Site):
        raise InvalidArgumentError(f'the site of family "{family}" must be a Site, found {type(site).__name__}')
    site = site if entry.encoder is not None else replace(site, encoder_layers=0)
    if entry.past is None:
        site = replace(site, prefix_layers=NO_PREFIX, max_prefix_length=NO_PREFIX)
    if not isinstance(model, torch.nn.Module):
        return replace(site, vocabulary=vocabulary(config, has_head=True))
    head = getattr(model, "get_output_embeddings", lambda: None)()
    return replace(
        site,
        points=tuple(each.point for each in located_points(model, site)),
        vocabulary=vocabulary(config, head is not None),
    )


def located_points(model: Any, site: Site | None = None) -> list[Located]:
    """The points of a model with their modules; none in a half whose modules are not found."""
    entry, width = _family_of(model), (site or site_of(model.config)).d_model
    encoder = None if entry.encoder is None else _found_or_none(model, entry.encoder, "encoder")
    decoder = None if not _has_decoder(entry) else _found_or_none(model, entry.past, "past")
    return halves({ENCODER_STACK: encoder, DECODER_STACK: decoder}, stack_modules(model), width)


def stack_modules(model: Any) -> dict[str, torch.nn.Module]:
    """By stack, the module that is called with its tokens and their mask."""
    entry = _family_of(model)
    found: dict[str, torch.nn.Module | None] = {}
    if entry.encoder is not None:
        found[ENCODER_STACK] = _found_or_none(model, entry.masked or entry.encoder, "masked")
    if _has_decoder(entry):
        found[DECODER_STACK] = _found_or_none(model, entry.past, "past")
    return {name: module for name, module in found.items() if module is not None}


def _has_decoder(entry: Family) -> bool:
    return entry.past is not None and entry.attention == "decoder"


def _found_or_none(model: Any, find: Find | None, name: str) -> torch.nn.Module | None:
    try:
        return _found(model, find, name)
    except SeamError:
        return None


def encoder_modules(model: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The module that is called with the mask, and the one whose output is adapted."""
    entry = _family_of(model)
    encoder = _found(model, entry.encoder, "encoder")
    return encoder if entry.masked is None else _found(model, entry.masked, "masked", MASK), encoder


def past_module(model: Any) -> torch.nn.Module:
    """The module that is given the past. Raises UnsupportedError where its attention has other heads than the site."""
    module = _found(model, _family_of(model).past, "past", PAST, MASK)
    if not any(spelled(type(module), each) for each in (IDS, EMBEDDED)):
        raise InvalidArgumentError(
            f'"past" of family "{model.config.model_type}" must give a module that takes {IDS} or {EMBEDDED}, the one '
            f"that makes masks and positions of its past, found {type(module).__name__}: register the module around it"
        )
    site = site_of(model)
    check_heads(module, site.family, site.kv_heads * site.head_dim)
    return module


def _found(model: Any, find: Find | None, name: str, *arguments: Name) -> torch.nn.Module:
    kind, family = type(model).__name__, model.config.model_type
    assert find is not None  # the site has no such seam then
    try:
        module = find(model)
    except SeamError:
        raise
    except Exception as error:
        raise UnsupportedError(
            f'{kind} has no module that "{name}" of family "{family}" finds: {type(error).__name__}: {error}'
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise InvalidArgumentError(
            f'"{name}" of family "{family}" must give a module of {kind}, found {type(module).__name__}'
        )
    for argument in arguments:
        if spelled(type(module), argument) is None:
            raise InvalidArgumentError(
                f'"{name}" of family "{family}" must give a module that takes {argument}, found {type(module).__name__}'
            )
    return module


# Those of the native engine.
BUILT_IN = {
    **dict.fromkeys(("t5", "mt5", "bart", "mbart", "marian", "pegasus", "whisper"), PAIR),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta"), ENCODER),
    **dict.fromkeys(("gpt2", "llama", "mistral", "qwen2"), DECODER),
}
_families = dict(BUILT_IN)
