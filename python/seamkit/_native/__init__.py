"""The native engine: libSeam.so by its public headers alone."""

from seamkit._native.adapter import Adapter
from seamkit._native.batch import Batch
from seamkit._native.classifier import Classifier
from seamkit._native.continuous import ContinuousGeneration, RowStep
from seamkit._native.info import BackboneInfo
from seamkit._native.progress import Progress
from seamkit._native.results import Generated, Score, Segment, Step
from seamkit._native.runtime import Backbone, PluginInfo, Runtime, set_thread_count
from seamkit._native.session import Session
from seamkit._native.sound import FeatureExtractor
from seamkit._native.tokenizer import Tokenizer

__all__ = [
    "Adapter",
    "Backbone",
    "BackboneInfo",
    "Batch",
    "Classifier",
    "ContinuousGeneration",
    "FeatureExtractor",
    "Generated",
    "PluginInfo",
    "Progress",
    "RowStep",
    "Runtime",
    "Score",
    "Segment",
    "Session",
    "Step",
    "Tokenizer",
    "set_thread_count",
]
