"""SeamKit: small trainable adapters on the seams of pretrained models.

The native engine (Runtime, Backbone, Session ...) runs models by itself. `attach`, `detach`, `load` and `save` put
adapters into a Hugging Face model in PyTorch, `export_onnx` writes them for ONNX Runtime; they import torch when they
are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from seamkit._native import (
    Adapter,
    Backbone,
    BackboneInfo,
    Batch,
    Classifier,
    ContinuousGeneration,
    FeatureExtractor,
    Generated,
    PluginInfo,
    Progress,
    RowStep,
    Runtime,
    Score,
    Segment,
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
    from seamkit.onnx import export_onnx
    from seamkit.torch import attach, detach, load, save

__all__ = [
    "Adapter",
    "AlreadyExistsError",
    "Backbone",
    "BackboneInfo",
    "Batch",
    "CancelledError",
    "Classifier",
    "ContinuousGeneration",
    "DecTClassifier",
    "FeatureExtractor",
    "FileError",
    "FormatError",
    "Generated",
    "IncompatibleError",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "NumericError",
    "OutOfMemoryError",
    "PluginError",
    "PluginInfo",
    "Progress",
    "RowStep",
    "Runtime",
    "Score",
    "Segment",
    "SeamError",
    "Session",
    "ShapeError",
    "Step",
    "Tokenizer",
    "UnsupportedError",
    "attach",
    "detach",
    "export_onnx",
    "load",
    "save",
    "set_thread_count",
]
# That of libSeam.so, too.
__version__ = "0.1.0"


# What needs a package that not everyone has, and where it is.
_LATE = {"DecTClassifier": "seamkit.classification", "export_onnx": "seamkit.onnx"} | dict.fromkeys(
    ("attach", "detach", "load", "save"), "seamkit.torch"
)


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'seamkit' has no attribute {name!r}")
