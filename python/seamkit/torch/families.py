"""The families of models that adapters are attached to: their sizes, and the modules that the seams lie at.

What is built in and what `register_family` adds stand in one table, by the `model_type` of transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from seamkit.errors import AlreadyExistsError, InvalidArgumentError, SeamError, UnsupportedError
from seamkit.torch.calls import spelled
from seamkit.torch.names import MASK, PAST, Name
from seamkit.torch.site import NO_PREFIX, Site

Find = Callable[[Any], torch.nn.Module]


@dataclass(frozen=True)
class Family:
    """How one model_type is read. Each function that takes a model is given the one that `attach` was given.

    site: the sizes, from a configuration.
    encoder: the module whose first output, [batch, source, d_model], is the seam encoder.output; None for no such seam.
    masked: the module that is called with this output's attention_mask [batch, source]; None for the encoder itself.
    past: the module that takes a past (`past_key_values`, since transformers 5.24 `cache`), attention_mask [batch, tokens]
    and positions from behind the past; None where prefixes have no place.
    attention: "decoder" or "encoder", whose keys and values the past holds.
    """

    site: Callable[[Any], Site]
    encoder: Find | None = None
    masked: Find | None = None
    past: Find | None = None
    attention: str = "decoder"


def register_family(model_type: str, family: Family | str, **changes: Any) -> Family:
    """Makes a family of transformers known, for `attach`, `load` and `Site.of`, and returns its entry.

    model_type: that of the configuration. family: its description, or the name of a known family that is like it.
    changes: fields of `Family` that differ, as in

        register_family("distilbert", "bert", encoder=lambda model: model.base_model.transformer, past=None)

    A second registration of a name replaces the first; those built in stay as they are. The native engine does not know
    such a family: its adapters are saved and loaded in PyTorch alone. To be called before models are worked with, from
    one thread.

    Raises AlreadyExistsError for a built-in name, UnsupportedError for one that it is to be like and that is unknown,
    InvalidArgumentError for what is no description.
    """
    if not isinstance(model_type, str) or not model_type:
        raise InvalidArgumentError(f"register_family: model_type must be a name, found {model_type!r}")
    if model_type in BUILT_IN:
        raise AlreadyExistsError(f'register_family: the family "{model_type}" is built in')
    given = named(family) if isinstance(family, str) else family
    if not isinstance(given, Family):
        raise InvalidArgumentError(
            f"register_family: family must be a Family or the name of one, found {type(family).__name__}")
    fields = Family.__dataclass_fields__
    if stranger := [name for name in changes if name not in fields]:
        raise InvalidArgumentError(
            f'register_family: unknown field "{stranger[0]}"; there are {", ".join(fields)}')
    entry = replace(given, **changes)
    for name in ("site", "encoder", "masked", "past"):
        function = getattr(entry, name)
        if not callable(function) and (function is not None or name == "site"):
            raise InvalidArgumentError(
                f"register_family: {name} must be a function{'' if name == 'site' else ' or None'}, found "
                f"{type(function).__name__}")
    if entry.attention not in ("encoder", "decoder"):
        raise InvalidArgumentError(
            f'register_family: attention must be "decoder" or "encoder", found {entry.attention!r}')
    _families[model_type] = entry
    return entry


def named(model_type: str) -> Family:
    """The entry of a family. Raises UnsupportedError for one that is not known."""
    found = _families.get(model_type)
    if found is None:
        raise UnsupportedError(
            f'the model\'s model_type is "{model_type}"; expected one of {", ".join(_families)}, or one that '
            "seamkit.torch.register_family has made known")
    return found


def site_of(model: Any) -> Site:
    config = getattr(model, "config", model)
    family = getattr(config, "model_type", None)
    if not isinstance(family, str):
        inner = getattr(model, "module", None)
        hint = ", so give its .module" if hasattr(inner, "config") else ""
        raise InvalidArgumentError(
            f"model must be a model of transformers, with a config; found {type(model).__name__}{hint}")
    entry = named(family)
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
    return site if entry.past is not None else replace(site, prefix_layers=NO_PREFIX, max_prefix_length=NO_PREFIX)


def encoder_modules(model: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The module that is called with the mask, and the one whose output is adapted."""
    entry = named(model.config.model_type)
    encoder = _found(model, entry.encoder, "encoder")
    return encoder if entry.masked is None else _found(model, entry.masked, "masked", MASK), encoder


def past_module(model: Any) -> torch.nn.Module:
    entry = named(model.config.model_type)
    return _found(model, entry.past, "past", PAST, MASK)


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
            f'"{name}" of family "{family}" must give a module of {kind}, found {type(module).__name__}')
    for argument in arguments:
        if spelled(module, argument) is None:
            raise InvalidArgumentError(
                f'"{name}" of family "{family}" must give a module that takes {argument}, found '
                f"{type(module).__name__}")
    return module


# ---- What is built in

def _encoder_of(model: Any) -> torch.nn.Module:
    """`generate` calls it once for all beams."""
    return _part(model, model.get_encoder(), "encoder")


def _decoder_of(model: Any) -> torch.nn.Module:
    return _part(model, model.get_decoder(), "decoder")


def _part(model: Any, module: torch.nn.Module, name: str) -> torch.nn.Module:
    if module is model:
        raise UnsupportedError(f"{type(model).__name__} has no {name} that can be found by get_{name}()")
    return module


def _base(model: Any) -> torch.nn.Module:
    module: torch.nn.Module = model.base_model
    return module


def _below_the_pooler(model: Any) -> torch.nn.Module:
    module: torch.nn.Module = model.base_model.encoder
    return module


def _t5_site(config: Any) -> Site:
    return _two_stacks(
        config, (config.num_layers, config.num_decoder_layers), config.num_heads, config.d_kv, 0, config.vocab_size)


def _bart_site(config: Any) -> Site:
    shared = getattr(config, "share_encoder_decoder_embeddings", True)
    vocabulary = config.vocab_size if shared else getattr(config, "decoder_vocab_size", None) or config.vocab_size
    heads = config.decoder_attention_heads
    return _two_stacks(
        config, (config.encoder_layers, config.decoder_layers), heads, config.d_model // heads,
        config.max_position_embeddings, vocabulary)


def _two_stacks(
    config: Any, layers: tuple[int, int], heads: int, head_dim: int, limit: int, vocabulary: int
) -> Site:
    return Site(
        config.model_type, config.d_model, *layers, heads, heads, head_dim, limit, limit, vocabulary,
        (*layers, layers[1]), (0, max(limit - 1, 0), 0))


def _bert_site(config: Any) -> Site:
    return _one_stack(config, config.max_position_embeddings, is_encoder=True)


def _roberta_site(config: Any) -> Site:
    """Positions begin behind the padding's row."""
    return _one_stack(config, config.max_position_embeddings - config.pad_token_id - 1, is_encoder=True)


def _decoder_site(config: Any) -> Site:
    limit, window = config.max_position_embeddings, getattr(config, "sliding_window", None)
    # A text within the window sees all of itself.
    return _one_stack(config, min(limit, window) if window else limit, is_encoder=False)


def _one_stack(config: Any, limit: int, *, is_encoder: bool) -> Site:
    width, heads, layers = config.hidden_size, config.num_attention_heads, config.num_hidden_layers
    head_dim = getattr(config, "head_dim", None) or width // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    encoder, decoder = (layers, 0) if is_encoder else (0, layers)
    room = limit - 1
    return Site(
        config.model_type, width, encoder, decoder, heads, kv_heads, head_dim, limit, limit, config.vocab_size,
        (encoder, decoder, 0), (room if encoder else 0, room, 0))


_BART = Family(_bart_site, encoder=_encoder_of, past=_decoder_of)
_T5 = replace(_BART, site=_t5_site)
_BERT = Family(_bert_site, encoder=_below_the_pooler, masked=_base, past=_base, attention="encoder")
_ROBERTA = replace(_BERT, site=_roberta_site)
_DECODER = Family(_decoder_site, past=_base)
# Those of the native engine.
BUILT_IN = {
    "t5": _T5, "mt5": _T5, "bart": _BART, "mbart": _BART, "marian": _BART, "pegasus": _BART,
    "bert": _BERT, "roberta": _ROBERTA, "xlm-roberta": _ROBERTA,
    "gpt2": _DECODER, "llama": _DECODER, "mistral": _DECODER, "qwen2": _DECODER,
}
_families = dict(BUILT_IN)
