"""Adapters to a file in the ONNX format."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from onnx import checker, defs, helper

import seamkit
from seamkit.errors import InternalError, InvalidArgumentError, UnsupportedError
from seamkit.onnx import seams
from seamkit.torch.adapter import Adapter
from seamkit.torch.atomic import atomic_file
from seamkit.torch.attachment import attached
from seamkit.torch.folder import read_adapters
from seamkit.torch.seams import is_prefix
from seamkit.torch.writing import checked_values

_LOG = logging.getLogger("seamkit")
# The first that has the operations which are used, and what exported encoders and decoders commonly have.
OPSET = 18
_PRODUCER = "seamkit"
# Bytes of parameters: what is left of 2 GiB is for the graph.
_LARGEST = (1 << 31) - (1 << 24)
# As the file begins: the version of the format in two bytes, and the producer.
_MARKER = b"\x12\x07seamkit"


def export(
    source: Adapter | Sequence[Adapter] | torch.nn.Module | str | Path,
    path: str | Path,
    model: Any,
    seam: str | None,
    opset: int,
) -> None:
    _check_opset(opset)
    adapters = _chosen(_adapters(source, model), seam)
    seams.check(adapters)
    for each in adapters:
        checked_values(each, "exported")
        if not each.backbone_frozen:
            _LOG.warning(
                'adapter "%s" was trained together with its model: it belongs between encoder and decoder of the model '
                "that came out of that",
                each.id,
            )
    made = _model(adapters, opset)
    with atomic_file(Path(path), _is_own, "SeamKit did not export") as temporary:
        temporary.write_bytes(made)


def _check_opset(opset: Any) -> None:
    newest = defs.onnx_opset_version()
    if type(opset) is not int or not OPSET <= opset <= newest:
        raise InvalidArgumentError(
            f"opset must be {OPSET} to {newest}, which this version of onnx has, found {opset!r}"
        )


def _adapters(source: Any, model: Any) -> list[Adapter]:
    if isinstance(source, str | Path):
        return read_adapters(source, model)
    if model is not None:
        raise InvalidArgumentError("model is for the folder of an adapter: an adapter in memory knows its own")
    if isinstance(source, Adapter):
        return [source]
    if isinstance(source, torch.nn.Module):
        if not (found := attached(source)):
            raise InvalidArgumentError(f"no adapter is attached to the {type(source).__name__} that is to be exported")
        return found
    if isinstance(source, Sequence) and source and all(isinstance(each, Adapter) for each in source):
        return list(source)
    raise InvalidArgumentError(
        "what is exported must be an adapter, several of them, a model that adapters are attached to or the folder of "
        f"a saved adapter, found {_described(source)}"
    )


def _described(source: Any) -> str:
    if not isinstance(source, Sequence):
        return type(source).__name__
    return f"a list of {', '.join(type(each).__name__ for each in source)}" if source else "an empty list"


def _chosen(adapters: list[Adapter], seam: str | None) -> list[Adapter]:
    if seam is None:
        return adapters
    found = [each for each in adapters if each.seam == seam or (is_prefix(seam) and is_prefix(each.seam))]
    if not found:
        there = ", ".join(dict.fromkeys(each.seam for each in adapters))
        raise InvalidArgumentError(f'no adapter is on seam "{seam}"; there are adapters on {there}')
    return found


def _model(adapters: Sequence[Adapter], opset: int) -> bytes:
    """Checked, and the same bytes for the same adapters."""
    ready = [copy.deepcopy(each).to("cpu", torch.float32).folded().eval() for each in adapters]
    size = sum(4 * place.tensor.numel() for each in ready for place in each._places)
    if size > _LARGEST:
        raise UnsupportedError(f"the parameters have {size} bytes, and one ONNX file holds at most 2 GiB")
    imports = [helper.make_opsetid("", opset)]
    made = helper.make_model(
        seams.graph(ready),
        opset_imports=imports,
        ir_version=helper.find_min_ir_version_for(imports),
        producer_name=_PRODUCER,
        producer_version=seamkit.__version__,
        doc_string=" ".join(each.factory.summary for each in adapters),
    )
    helper.set_model_props(made, _properties(adapters))
    try:
        checker.check_model(made, full_check=True)
    except Exception as error:
        raise InternalError(f"the exported graph is not valid: {str(error).strip().splitlines()[0]}") from error
    return bytes(made.SerializeToString(deterministic=True))


def _properties(adapters: Sequence[Adapter]) -> dict[str, str]:
    """The properties of the adapters as they were given: what they compute is folded in the file."""
    first = adapters[0]
    site = first.site
    listed = []
    for each in adapters:
        plugin = each.factory.plugin
        entry: dict[str, Any] = {
            "adapter": each.id,
            "seam": each.seam,
            "plugin": {"id": plugin.id, "version": plugin.version},
            "options": each.options,
        }
        listed.append(entry | ({} if each.task is None else {"task": each.task}))
    backbone = {
        "family": site.family,
        "d_model": site.d_model,
        "encoder_layers": site.encoder_layers,
        "decoder_layers": site.decoder_layers,
        "kv_heads": site.kv_heads,
        "head_dim": site.head_dim,
        "trained": not first.backbone_frozen,
    }
    return {
        "seamkit.version": seamkit.__version__,
        "seamkit.seam": first.seam,
        "seamkit.adapters": json.dumps(listed, ensure_ascii=False),
        "seamkit.backbone": json.dumps(backbone),
    }


def _is_own(path: Path) -> bool:
    """Whether a file is one that was exported here, by how it begins."""
    with path.open("rb") as file:
        start = file.read(2 + len(_MARKER))
    return not start or start[2:] == _MARKER
