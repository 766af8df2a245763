"""SeamKit: small trainable adapters on the seams of pretrained models.

The native engine (Runtime, Backbone, Session ...) runs models by itself. `attach`, `detach`, `load` and `save` put
adapters into a Hugging Face model in PyTorch; they import torch when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seamkit._native import (
    Adapter,
    Backbone,
    Batch,
    Classifier,
    Generated,
    PluginInfo,
    Runtime,
    Score,
    Session,
    Step,
    Tokenizer,
    set_thread_count,
)
from seamkit.errors import (
    AlreadyExistsError,
    CancelledError,
    FileError,
    FormatError,
    IncompatibleError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    NumericError,
    OutOfMemoryError,
    PluginError,
    SeamError,
    ShapeError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from seamkit.classification import DecTClassifier
    from seamkit.torch import attach, detach, load, save

__all__ = [
    "Adapter", "AlreadyExistsError", "Backbone", "Batch", "CancelledError", "Classifier", "DecTClassifier", "FileError",
    "FormatError", "Generated", "IncompatibleError", "InternalError", "InvalidArgumentError", "NotFoundError",
    "NumericError", "OutOfMemoryError", "PluginError", "PluginInfo", "Runtime", "Score", "SeamError", "Session",
    "ShapeError", "Step", "Tokenizer", "UnsupportedError", "attach", "detach", "load", "save", "set_thread_count",
]


def __getattr__(name: str) -> Any:
    if name in ("attach", "detach", "load", "save"):
        import seamkit.torch

        return getattr(seamkit.torch, name)
    if name == "DecTClassifier":
        from seamkit.classification import DecTClassifier

        return DecTClassifier
    raise AttributeError(f"module 'seamkit' has no attribute {name!r}")
