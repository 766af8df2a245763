"""The torch engine: adapters of plugins as torch modules, inside autograd and on the device of their inputs."""

from seamkit.torch.adapter import Adapter
from seamkit.torch.plugins import Plugin, load_plugin
from seamkit.torch.site import Site

__all__ = ["Adapter", "Plugin", "Site", "load_plugin"]
