"""The three kinds of models, and which of them one is whose family nobody has described."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import transformers as hf

from seamkit.errors import UnsupportedError
from seamkit.torch import sizes
from seamkit.torch.calls import spelled
from seamkit.torch.family import Family
from seamkit.torch.names import IS_DECODER, IS_ENCODER_DECODER, MASK, PAST
from seamkit.torch.site import Site

# Each text takes in all of itself, though transformers lists it among the causal models alone.
_ENCODERS = ("xlnet",)
# Families that are given a past and use it otherwise than a text that goes on behind it.
_NO_PREFIX = {
    "prophetnet": "its decoder predicts several tokens at once, and its past is not that of one text",
    **dict.fromkeys(("xlm", "flaubert"), "its cache is of a kind of its own"),
}


def described(model: Any) -> Family:
    """The family of a model, or of a configuration, by what transformers and the modules say of it.

    Raises UnsupportedError, with the call of `register_family` to make, where that does not say enough.
    """
    config = getattr(model, "config", model)
    kind = _kind(model, config)
    taker = _past_taker(model, config, kind)
    has_past = not _no_past(config, taker)

    def site(config: Any) -> Site:
        try:
            found = kind.site(config)
        except Exception as error:
            # Configurations have checks of their own, with errors of any class.
            raise UnsupportedError(
                f'{error}: call seamkit.torch.register_family("{config.model_type}", "{_LIKE[kind.site]}", site=...), '
                "with a function that makes the Site of a configuration"
            ) from error
        if not found.heads and kind is DECODER:
            raise UnsupportedError(
                f'the model\'s model_type is "{config.model_type}", and its configuration names no attention heads, so '
                "prefixes have no place in it; for classification on its output call "
                f'seamkit.torch.register_family("{config.model_type}", "llama", past=None)'
            )
        return found

    reads_mask = taker is None or spelled(taker, MASK) is not None
    return replace(kind, site=site, masked=kind.masked if reads_mask else None, past=kind.past if has_past else None)


def why_no_prefix(model: Any) -> str:
    """Why a prefix has no place in a model that nobody has described, as the end of a sentence; empty where it has
    one."""
    config = getattr(model, "config", model)
    return sizes.why_no_prefix(config) or _no_past(config, _past_taker(model, config, _kind(model, config)))


def _kind(model: Any, config: Any) -> Family:
    if IS_ENCODER_DECODER.field(config):
        return PAIR
    if _is_nested(config):
        raise _unknown(config, "is that of several models in one", "llama")
    if config.model_type in _ENCODERS:
        return ENCODER
    if type(config) in hf.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING and not IS_DECODER.field(config):
        return PAIR  # its encoder alone
    named = _model_class_names(model, config)
    is_masked, is_causal = (any(each.endswith(end) for each in named) for end in ("MaskedLM", "CausalLM"))
    if is_masked and not IS_DECODER.field(config):
        return ENCODER
    if is_masked or is_causal:
        return DECODER
    raise _unknown(config, "is of no kind that transformers lists as a model of text", "bert")


def _is_nested(config: Any) -> bool:
    """Whether the text is the matter of a configuration inside of this one."""
    try:
        return hasattr(config, "get_text_config") and config.get_text_config() is not config
    except ValueError:
        return True  # of several


def _model_class_names(model: Any, config: Any) -> list[str]:
    """The heads that transformers, a configuration with code of its own, and the model name."""
    listed = {"MaskedLM": hf.MODEL_FOR_MASKED_LM_MAPPING, "CausalLM": hf.MODEL_FOR_CAUSAL_LM_MAPPING}
    return [
        *(name for name, mapping in listed.items() if type(config) in mapping),
        *(getattr(config, "auto_map", None) or ()),
        type(model).__name__,
    ]


def _past_taker(model: Any, config: Any, kind: Family) -> type[torch.nn.Module] | None:
    """The class of the module that is to be given a past; None where a configuration alone does not tell."""
    if isinstance(model, hf.PreTrainedModel):
        assert kind.past is not None
        try:
            return type(kind.past(model))
        except UnsupportedError:
            return None  # one half of a pair: what asks for a past is told so
    found = None if kind is PAIR else hf.MODEL_MAPPING.get(type(config), None)
    return found[0] if isinstance(found, tuple) else found


def _no_past(config: Any, taker: type[torch.nn.Module] | None) -> str:
    """Why a module has no past for a prefix; empty where it has one."""
    if why := _NO_PREFIX.get(config.model_type):
        return why
    if taker is None:
        return ""
    if getattr(taker, "_is_stateful", False):
        return f"{taker.__name__} keeps a state that is not that of tokens alone"
    for argument, what in ((PAST, "keys and values from before the text"), (MASK, "mask")):
        if spelled(taker, argument) is None:
            return f"{taker.__name__} takes no {what} ({argument})"
    return ""


def _unknown(config: Any, what: str, like: str) -> UnsupportedError:
    name = config.model_type
    return UnsupportedError(
        f'the model\'s model_type is "{name}", and its configuration {what}, so it is not known where adapters lie in '
        f'it: call seamkit.torch.register_family("{name}", "{like}"), with the family that it is like and the fields of '
        "seamkit.torch.Family that differ"
    )


_PROJECTIONS = (("k_proj", "v_proj"), ("key", "value"), ("k", "v"))


def check_heads(module: torch.nn.Module, family: str, width: int) -> None:
    """Raises UnsupportedError where the keys or values of an attention are not as wide as those of a prefix, all heads
    together: found out here, it is no error of torch in the first forward."""
    for place, each in module.named_modules():
        if "attention" not in type(each).__name__.lower():
            continue
        for name in (name for pair in _PROJECTIONS if all(hasattr(each, name) for name in pair) for name in pair):
            found = getattr(getattr(each, name), "out_features", width)
            if found != width:
                raise UnsupportedError(
                    f'a prefix for the family "{family}" has heads that are {width} numbers wide together, and '
                    f"{place}.{name} gives {found}: call seamkit.torch.register_family with the site of this model, "
                    "where all layers have the same heads"
                )


# ---- Where modules are found


def _encoder_of(model: Any) -> torch.nn.Module:
    """`generate` calls it once for all beams."""
    return _part(model, model.get_encoder(), "encoder")


def _decoder_of(model: Any) -> torch.nn.Module:
    return _part(model, _stack_of(model), "decoder")


def _part(model: Any, module: torch.nn.Module, name: str) -> torch.nn.Module:
    if module is model:
        raise UnsupportedError(f"{type(model).__name__} has no {name} that can be found by get_{name}()")
    return module


def _stack_of(model: Any) -> torch.nn.Module:
    """The innermost decoder: models with a head call it past the module that holds it."""
    module = model
    while hasattr(module, "get_decoder"):
        inner = module.get_decoder()
        # A head may be called a decoder, too.
        if inner is module or spelled(type(inner), PAST) is None:
            break
        module = inner
    return _base(model) if module is model else module


def _base(model: Any) -> torch.nn.Module:
    module: torch.nn.Module = model.base_model
    return module


def _below_the_pooler(model: Any) -> torch.nn.Module:
    """The model without its head; or, where a pooler inside of it reads the hidden states, what stands before that."""
    base = _base(model)
    if getattr(base, "pooler", None) is None:
        return base
    names = [name for name, _ in base.named_children()]
    return base.get_submodule(names[names.index("pooler") - 1])


PAIR = Family(sizes.pair, encoder=_encoder_of, past=_decoder_of)
ENCODER = Family(sizes.encoder, encoder=_below_the_pooler, masked=_base, past=_base, attention="encoder")
DECODER = Family(sizes.decoder, past=_stack_of)
_LIKE: dict[Any, str] = {sizes.pair: "bart", sizes.encoder: "bert", sizes.decoder: "llama"}
