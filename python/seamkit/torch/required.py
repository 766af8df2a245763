"""What a plugin says that it needs of its host beyond version 1.0."""

from __future__ import annotations

from pathlib import Path

from seamkit import _declarations as c
from seamkit.errors import IncompatibleError
from seamkit.torch.plugin_names import copied, entries, text
from seamkit.torch.point_choice import listed

# Members of the compute table that are no operations.
_OTHERS = ("struct_size", "abi_major", "abi_minor", "engine")
# Tables that `seam_host.extension` gives.
EXTENSIONS: tuple[str, ...] = ()


def check_requirements(source: c.seam_plugin, id: str, path: Path) -> None:
    """Raises IncompatibleError, with all that is missing, for a plugin that needs more than there is."""
    if not source.requirements:
        return
    owner = f'the requirements of plugin "{path}"'
    needs = copied(source.requirements, owner, id)
    missing = []
    if needs.abi_minor > c.SEAM_ABI_MINOR:
        missing.append(f"ABI {c.SEAM_ABI_MAJOR}.{needs.abi_minor}")
    operations = {name for name, *_ in c.seam_ops._fields_} - set(_OTHERS)
    for what, array, count, known in (
        ("operation", needs.operations, needs.operation_count, operations),
        ("extension", needs.extensions, needs.extension_count, EXTENSIONS),
    ):
        names = [text(each) for each in entries(array, count, what, owner, id)]
        missing += [f'the {what} "{name}"' for name in names if name not in known]
    if missing:
        raise IncompatibleError(
            f'plugin "{path}" needs {listed(missing)}, which this core, ABI {c.SEAM_ABI_MAJOR}.{c.SEAM_ABI_MINOR}, does '
            "not have",
            id,
        )
