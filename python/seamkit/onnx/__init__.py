"""Adapters as files for ONNX Runtime, which run without SeamKit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seamkit.errors import UnsupportedError

if TYPE_CHECKING:
    import torch

    from seamkit.torch import Adapter

__all__ = ["export_onnx"]


def export_onnx(
    source: Adapter | Sequence[Adapter] | torch.nn.Module | str | Path,
    path: str | Path,
    *,
    model: Any = None,
    seam: str | None = None,
    opset: int = 18,
) -> None:
    """Writes what adapters compute, in inference, as one ONNX file, for a batch and a sequence of any size.

    source: an adapter; several that run one after another; a model of transformers that they are attached to; or the
    folder of saved adapters. path: the file; one that was exported before is replaced, as a whole. model: for a folder,
    where it does not say enough of its model: a model of transformers, its configuration or its folder. seam: which
    adapters, where source has some on several seams: a file holds those of one. opset: of ONNX, 18 or newer.
    The adapters are read and stay as they are; any thread may call it while none trains them.

    What goes in and out, all f32 but for tokens and masks, which are int64:
    encoder.output: hidden_states [batch, sequence, d_model] and attention_mask [batch, sequence]; last_hidden_state.
    attention.prefix, with the gates behind it: input_ids [batch, sequence]; past_key_values.{layer}.key and .value
    [batch, kv_heads, prefix, head_dim], in an encoder-decoder past_key_values.{layer}.decoder.key and so on.
    decoder.output: scores [batch, classes] and hidden_states [batch, d_model], with an axis of prompts behind the batch
    where the first adapter was made for several; logits [batch, classes].

    Raises UnsupportedError where a package is missing or a plugin computes what is no graph for all sizes,
    InvalidArgumentError for wrong arguments, NumericError for parameters that are not finite, IncompatibleError for
    adapters of different models, AlreadyExistsError where another file is there, FileError when the disk fails.
    """
    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise UnsupportedError(f'exporting needs the package {error.name}: pip install "seamkit[onnx]"') from None
    from seamkit.onnx.export import export

    export(source, path, model, seam, opset)
