"""The torch engine: adapters of plugins as torch modules, inside autograd and on the device of their inputs."""

from seamkit.point import Point
from seamkit.torch import requirements  # noqa: F401 (first: it says what is missing)
from seamkit.torch.adapter import Adapter
from seamkit.torch.attachment import attach, attached, detach
from seamkit.torch.classification import Classifier, FeatureExtractor, Features, open_model
from seamkit.torch.families import register_family
from seamkit.torch.family import Family
from seamkit.torch.folder import load, read_adapter
from seamkit.torch.folder import save_attached as save
from seamkit.torch.plugins import Plugin, load_plugin
from seamkit.torch.preparation import prepare
from seamkit.torch.pyreft import load_pyreft, save_pyreft
from seamkit.torch.site import Site
from seamkit.torch.visit import Visit

__all__ = [
    "Adapter",
    "Classifier",
    "Family",
    "FeatureExtractor",
    "Features",
    "Plugin",
    "Point",
    "Site",
    "Visit",
    "attach",
    "attached",
    "detach",
    "load",
    "load_plugin",
    "load_pyreft",
    "open_model",
    "prepare",
    "read_adapter",
    "register_family",
    "save",
    "save_pyreft",
]
