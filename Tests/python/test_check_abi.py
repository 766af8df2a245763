"""scripts/check-abi fails on what breaks compiled programs, and on additions without a higher minor version."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from abi_headers import headers

ROOT = Path(__file__).resolve().parents[2]
MINOR = ("base.h", "SEAM_ABI_MINOR 0u", "SEAM_ABI_MINOR 1u")
ADDED_FUNCTION = ("client.h", "/* ---- Tokenizers */", "SEAM_API int32_t seam_added(seam_session *session);")
ADDED_MEMBER = ("client.h", "} seam_generate_options;", "  double added;\n} seam_generate_options;")

BREAKING = {
    "a function is gone": ("client.h", "SEAM_API const char *seam_version(void);", ""),
    "a function takes something else": (
        "client.h",
        "seam_set_thread_count(int32_t count)",
        "seam_set_thread_count(int64_t count)",
    ),
    "a function gives something else": (
        "client.h",
        "SEAM_API size_t seam_runtime_plugin_count(",
        "SEAM_API int32_t seam_runtime_plugin_count(",
    ),
    "members change places": (
        "plugin.h",
        "int64_t encoder_layers, decoder_layers;",
        "int64_t decoder_layers, encoder_layers;",
    ),
    "a member is gone": ("ops.h", "  seam_tensor *(*neg)(seam_context *ctx, seam_tensor *x);\n", ""),
    "a member is inserted": ("ops.h", "  seam_tensor *(*neg)(", "  void (*inserted)(void);\n  seam_tensor *(*neg)("),
    "a member changes its type": ("client.h", "  double label_smoothing;", "  float label_smoothing;"),
    "a struct without struct_size grows": ("client.h", "  int64_t correct_count;", "  int64_t correct_count, added;"),
    "an enum value changes": ("base.h", "SEAM_PLUGIN = 12", "SEAM_PLUGIN = 14"),
    "a constant changes": ("base.h", "SEAM_MAX_RANK 8", "SEAM_MAX_RANK 9"),
    "a type changes": ("base.h", "typedef int32_t seam_dtype;", "typedef int64_t seam_dtype;"),
    "another major version": ("base.h", "SEAM_ABI_MAJOR 1u", "SEAM_ABI_MAJOR 2u"),
}


# What no header may have, whether or not it was so before.
MISPLACED = {
    "bytes of no member at the end": (
        "client.h",
        "} seam_generate_options;",
        "  int32_t odd;\n} seam_generate_options;",
        "4 bytes of no member behind odd",
    ),
    "struct_size is not the first member": (
        "client.h",
        "  int64_t token_count;",
        "  uint32_t struct_size;\n  int64_t token_count;",
        "must be its first member",
    ),
    "struct_size of another type": (
        "client.h",
        "  uint32_t struct_size; /* set by the caller */\n  int64_t step;",
        "  uint64_t struct_size;\n  int64_t step;",
        "must be its first member",
    ),
}


class Copy:
    """A copy of the headers and of their descriptions that tests may change."""

    def __init__(self, folder: Path):
        self.include, self.descriptions = folder / "include", folder / "ABI"
        shutil.copytree(ROOT / "include", self.include)
        shutil.copytree(ROOT / "Tests/ABI", self.descriptions)

    def change(self, header: str, before: str, after: str) -> None:
        path = self.include / "seam" / header
        text = path.read_text()
        assert before in text, f"{before!r} is no longer in {header}"
        path.write_text(text.replace(before, after))

    def check(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            str(ROOT / "scripts/check-abi"),
            "--include",
            str(self.include),
            "--descriptions",
            str(self.descriptions),
            *arguments,
        ]
        return subprocess.run(command, capture_output=True, text=True)

    def sizes(self) -> str:
        return (self.include / "seam/sizes.h").read_text()


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_unchanged(copy: Copy) -> None:
    assert copy.check().returncode == 0


@pytest.mark.parametrize("arguments", [(), ("--update",)])
@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_fails(copy: Copy, name: str, arguments: tuple[str, ...]) -> None:
    copy.change(*BREAKING[name])
    copy.change(*MINOR)
    result = copy.check(*arguments)
    assert result.returncode == 1 and "incompatible with 1.0" in result.stderr, result


@pytest.mark.parametrize("name", MISPLACED)
def test_a_struct_that_could_not_grow_safely_fails(copy: Copy, name: str) -> None:
    header, before, after, sentence = MISPLACED[name]
    copy.change(header, before, after)
    shutil.rmtree(copy.descriptions / "1.0")
    result = copy.check("--update")
    assert result.returncode == 1 and sentence in result.stderr, result


@pytest.mark.parametrize("change", [ADDED_FUNCTION, ADDED_MEMBER])
def test_an_addition_needs_a_higher_minor_version(copy: Copy, change: tuple[str, str, str]) -> None:
    copy.change(*change)
    result = copy.check()
    assert result.returncode == 1 and "without a higher SEAM_ABI_MINOR" in result.stderr, result
    copy.change(*MINOR)
    result = copy.check()
    assert result.returncode == 1 and "version 1.1 is not described" in result.stderr, result
    assert copy.check("--update").returncode == 0
    assert "added" in (copy.descriptions / "1.1/abi.txt").read_text()
    assert "added" not in (copy.descriptions / "1.0/abi.txt").read_text()
    assert copy.check().returncode == 0


def test_sizes_stay_those_of_the_first_version(copy: Copy) -> None:
    before = copy.sizes()
    copy.change(*ADDED_MEMBER)
    copy.change(
        "client.h",
        "/* ---- Tokenizers */",
        "typedef struct seam_later {\n  uint32_t struct_size;\n  uint32_t flags;\n} seam_later;",
    )
    copy.change(*MINOR)
    assert copy.check("--update").returncode == 0
    grown = [
        line
        for line in (copy.descriptions / "1.1/abi.txt").read_text().splitlines()
        if line.startswith("struct seam_generate_options ")
    ]
    assert grown == ["struct seam_generate_options size 120"]
    added = "#define SEAM_LATER_SIZE_1_1 8u\n"
    assert copy.sizes().replace(added, "") == before != copy.sizes()


def test_sizes_must_be_current(copy: Copy) -> None:
    copy.change("sizes.h", "SEAM_BATCH_SIZE_1_0 96u", "SEAM_BATCH_SIZE_1_0 88u")
    result = copy.check()
    assert result.returncode == 1 and "sizes.h is not what the descriptions give" in result.stderr, result
    assert copy.check("--update").returncode == 0
    assert copy.check().returncode == 0


def test_a_frozen_version_is_not_written_anew(copy: Copy) -> None:
    shutil.copytree(copy.include, copy.descriptions / "1.0/include", dirs_exist_ok=True)
    copy.change(*ADDED_FUNCTION)
    result = copy.check("--update")
    assert result.returncode == 1 and "version 1.0 is frozen" in result.stderr, result
    description = copy.descriptions / "1.0/abi.txt"
    description.write_text(description.read_text().replace("struct seam_batch size 96", "struct seam_batch size 88"))
    result = copy.check()
    assert result.returncode == 1 and "is not what the frozen headers beside it give" in result.stderr, result


def test_the_kept_plugins_use_everything() -> None:
    """Each member of a struct and each value of the headers for plugins stands in a plugin of the version that is kept."""
    kept = ROOT / "Tests/ABI/1.0"
    declared = headers.read(kept / "include")
    text = "".join((kept / "include/seam" / name).read_text() for name in ("ops.h", "plugin.h"))
    used = set(re.findall(r"\w+", "".join(each.read_text() for each in (kept / "plugins").glob("*.c"))))
    # The host's own, which plugins leave alone.
    own = {"seam_ops.engine", "seam_host.runtime"}
    structs = {name: each for name, each in declared.structs.items() if re.search(rf"\b{name} {{|}} {name};", text)}
    members = {f"{name}.{each.name}" for name, struct in structs.items() for each in struct.members} - own
    values = {name for name in declared.enums if re.search(rf"\b{name}\b", text)}
    assert len(structs) > 20 and len(members) > 200 and len(values) > 40
    assert not sorted(each for each in members | values if each.split(".")[-1] not in used)


def test_older_headers_than_described(copy: Copy) -> None:
    shutil.copytree(copy.descriptions / "1.0", copy.descriptions / "1.3")
    description = copy.descriptions / "1.3/abi.txt"
    description.write_text(description.read_text().replace("abi 1.0", "abi 1.3"))
    result = copy.check()
    assert result.returncode == 1 and "the headers are version 1.0, described is 1.3" in result.stderr, result
