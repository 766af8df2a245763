"""The table of families in docs/model-families.md, made from what opens and what adapters attach to.

    python Tests/python/families_table.py            writes it
    python Tests/python/families_table.py --check    says whether it is as it should be

A family that the native engine lists needs a tiny model in tiny_models.py, single_stack.py or whisper_models.py, by which it
is opened here; one that only PyTorch knows has one in python/tests/family_models.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / each) for each in ("python", "python/tests", "Tests/python")]

import gguf  # noqa: E402

import family_models  # noqa: E402
import seamkit  # noqa: E402
import single_stack  # noqa: E402
import tiny_models  # noqa: E402
import whisper_models  # noqa: E402
from seam_abi import SeamError, library_path  # noqa: E402
from seam_objects import Runtime  # noqa: E402
from seamkit.torch import Site  # noqa: E402

PAGE = ROOT / "docs" / "model-families.md"
BEGIN = "<!-- made by Tests/python/families_table.py: -->\n"
END = "<!-- end -->\n"

# What llama.cpp calls otherwise than transformers, but for "-" and "_".
GGUF_NAMES = {"gemma3": "gemma3_text"}
SEAMS = ("encoder.output", "layer.output", "projection", "prompt.embedding", "attention.prefix")
ATTENTIONS = ("encoder", "decoder", "cross")
KINDS = ("encoder-decoder", "encoder", "decoder")


class Places(NamedTuple):
    """Where adapters attach in one engine: by seam, for prefixes by attention."""

    seams: tuple[str, ...]
    prefixes: tuple[str, ...]


def opened(folder: Path, runtime: Runtime) -> list[str]:
    """The list that the plugin refuses another family with, which it makes of its table."""
    single_stack.save("bert-no-head", folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "unheard-of"}))
    return refused(lambda: runtime.open(folder, id="transformer"), "expected ").replace(" or ", ", ").split(", ")


def read_from_gguf(folder: Path, runtime: Runtime) -> list[str]:
    """The architectures that a file of another one is refused with, by the names of transformers."""
    file = folder / "model.gguf"
    writer = gguf.GGUFWriter(file, "unheard-of")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    names = refused(lambda: runtime.open(file, id="transformer"), "read are ").split(", ")
    return [GGUF_NAMES.get(each, each) for each in names]


def refused(call: Callable[[], Any], before: str) -> str:
    """What a sentence of refusal says behind these words, up to a semicolon."""
    try:
        call()
    except SeamError as error:
        assert before in error.message, error.message
        return error.message.rpartition(before)[2].partition(";")[0]
    raise AssertionError("a model of no family was opened")


def models() -> Iterator[tuple[str, Any, Callable[[Path], Any]]]:
    """The name of every family, a model of it, and what saves it."""
    seen: set[str] = set()
    made = [
        *(each.build for each in tiny_models.VARIANTS.values()),
        whisper_models.whisper,
        *single_stack.ENCODERS.values(),
        *single_stack.DECODERS.values(),
        *family_models.MODELS.values(),
    ]
    for build in made:
        model = build().eval()
        if (family := spelled(model.config.model_type)) not in seen:
            seen.add(family)
            yield model.config.model_type, model, model.save_pretrained


def spelled(name: str) -> str:
    return name.replace("-", "_")


def places(info: Any) -> Places:
    """Of a native backbone's description, or of a model's site in PyTorch."""
    counts = zip(ATTENTIONS, info.prefix_layers, strict=True)
    return Places(tuple(each for each in SEAMS if each in info.seams), tuple(name for name, count in counts if count))


def in_torch(model: Any) -> Places | None:
    """Where adapters attach, some of which are attached to see it; nothing for a family that is refused."""
    try:
        found = places(Site.of(model))
    except seamkit.SeamError:
        return None
    if "encoder.output" in found.seams:
        attaches(model, "repcali")
    if "projection" in found.seams:
        attaches(model, "lora", targets=[next(each.name for each in Site.of(model).points if each.name)])
    sizes = {"prefix_length": 2, "reparameterization": "none"}
    taken = []
    for each in found.prefixes:
        try:
            attaches(model, "prefix-tuning", attention=each, **sizes)
            taken.append(each)
        except seamkit.UnsupportedError:
            continue
    return Places(found.seams, tuple(taken))


def attaches(model: Any, method: str, **options: Any) -> None:
    seamkit.attach(model, method, **options)
    seamkit.detach(model)


def rows() -> list[tuple[str, str, Places | None, Places | None, bool]]:
    """Of each family: name, kind, where adapters attach natively and in PyTorch, and whether GGUF files are read."""
    runtime = Runtime([library_path().parent / "libTransformer.so"])
    found = []
    with TemporaryDirectory() as scratch:
        listed = {spelled(each): each for each in opened(Path(scratch) / "unheard-of", runtime)}
        from_gguf = {spelled(each) for each in read_from_gguf(Path(scratch), runtime)}
        for family, model, save in models():
            native = None
            if spelled(family) in listed:
                folder = Path(scratch) / listed.pop(spelled(family))
                save(folder)
                native = places(runtime.open(folder).info)
            torch = in_torch(model)
            both = native or torch
            kind = kind_of(model, both) if both else "other"
            found.append((family, kind, native, torch, spelled(family) in from_gguf))
            from_gguf.discard(spelled(family))
    assert not listed, f"no tiny model of {', '.join(listed)}: add one where the other families have theirs"
    assert not from_gguf, f"GGUF files of {', '.join(from_gguf)} are read, and no family is called so"
    return found


def kind_of(model: Any, found: Places) -> str:
    if getattr(model.config, "is_encoder_decoder", False):
        return "encoder-decoder"
    return "encoder" if "encoder.output" in found.seams else "decoder"


def both(native: bool, torch: bool) -> str:
    return {(True, True): "both", (True, False): "native", (False, True): "PyTorch"}.get((native, torch), "–")


def prefixes(native: Places | None, torch: Places | None) -> str:
    """Which attentions take a prefix; by engine where they differ."""
    lists = [", ".join(each.prefixes) if each else "" for each in (native, torch)]
    if native is None or torch is None or lists[0] == lists[1]:
        return lists[0] or lists[1] or "–"
    return "; ".join(f"{engine}: {each or '–'}" for engine, each in zip(("native", "PyTorch"), lists, strict=True))


def table() -> str:
    lines = [
        "| family | kind | native | PyTorch | GGUF | " + " | ".join(f"`{each}`" for each in SEAMS) + " |",
        "|" + "---|" * (5 + len(SEAMS)),
    ]
    order = {each: index for index, each in enumerate((*KINDS, "other"))}
    for family, kind, native, torch, has_gguf in sorted(rows(), key=lambda each: (order[each[1]], each[0])):
        cells = [f"`{family}`", kind, *("yes" if each else "–" for each in (native, torch, has_gguf))]
        for seam in SEAMS[:-1]:
            cells.append(both(bool(native and seam in native.seams), bool(torch and seam in torch.seams)))
        lines.append("| " + " | ".join([*cells, prefixes(native, torch)]) + " |")
    return "\n".join(lines) + "\n"


def parts(page: str) -> tuple[str, str, str]:
    """What stands before the table, the table, and what stands behind it."""
    before, begin, rest = page.partition(BEGIN)
    found, end, behind = rest.partition(END)
    assert begin and end, f"{PAGE} lacks the lines {BEGIN!r} and {END!r}"
    return before, found, behind


def main(arguments: list[str]) -> int:
    page = PAGE.read_text()
    before, found, behind = parts(page)
    wanted = table()
    if arguments == ["--check"]:
        if found != wanted:
            print(f"{PAGE.name}: the table of families is not what opens: run python {Path(__file__).name}")
        return int(found != wanted)
    PAGE.write_text(before + BEGIN + wanted + END + behind)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
