"""Says in one sentence what the torch engine lacks, before an import deep inside does."""

from importlib.util import find_spec

_missing = [each for each in ("torch", "transformers", "xxhash") if find_spec(each) is None]
if _missing:
    raise ModuleNotFoundError(
        f'the torch engine of seamkit needs {", ".join(_missing)}: pip install "./python[torch]" in a clone of SeamKit '
        "(the native engine works without)",
        name=_missing[0],
    )
