"""scripts/check-abi fails on what breaks compiled programs, and on additions without a higher minor version."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MINOR = ("base.h", "SEAM_ABI_MINOR 0u", "SEAM_ABI_MINOR 1u")
ADDED_FUNCTION = ("client.h", "/* ---- Tokenizers */", "SEAM_API int32_t seam_added(seam_session *session);")
ADDED_MEMBER = ("client.h", "} seam_generate_options;", "  double added;\n} seam_generate_options;")

BREAKING = {
    "a function is gone": ("client.h", "SEAM_API const char *seam_version(void);", ""),
    "a function takes something else": (
        "client.h", "seam_set_thread_count(int32_t count)", "seam_set_thread_count(int64_t count)"),
    "a function gives something else": (
        "client.h", "SEAM_API size_t seam_plugin_count(", "SEAM_API int32_t seam_plugin_count("),
    "members change places": ("plugin.h", "int64_t encoder_layers, decoder_layers;", "int64_t decoder_layers, encoder_layers;"),
    "a member is gone": ("ops.h", "  seam_tensor *(*neg)(seam_context *ctx, seam_tensor *x);\n", ""),
    "a member is inserted": ("ops.h", "  seam_tensor *(*neg)(", "  void (*inserted)(void);\n  seam_tensor *(*neg)("),
    "a member changes its type": ("client.h", "  double label_smoothing;", "  float label_smoothing;"),
    "a struct without struct_size grows": ("client.h", "  int64_t correct_count;", "  int64_t correct_count, added;"),
    "an enum value changes": ("base.h", "SEAM_PLUGIN = 12", "SEAM_PLUGIN = 14"),
    "a constant changes": ("base.h", "SEAM_MAX_RANK 8", "SEAM_MAX_RANK 9"),
    "a type changes": ("base.h", "typedef int32_t seam_dtype;", "typedef int64_t seam_dtype;"),
    "another major version": ("base.h", "SEAM_ABI_MAJOR 1u", "SEAM_ABI_MAJOR 2u"),
}


def check(tmp_path: Path, *changes: tuple[str, str, str], arguments: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    include, description = tmp_path / "include", tmp_path / "abi.txt"
    shutil.copytree(ROOT / "include", include)
    shutil.copy(ROOT / "Tests/ABI/abi-1.txt", description)
    for header, before, after in changes:
        path = include / "seam" / header
        text = path.read_text()
        assert before in text, f"{before!r} is no longer in {header}"
        path.write_text(text.replace(before, after))
    command = [ROOT / "scripts/check-abi", "--include", include, "--description", description, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def test_unchanged(tmp_path: Path) -> None:
    assert check(tmp_path).returncode == 0


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_fails(tmp_path: Path, name: str) -> None:
    for arguments in [(), ("--update",)]:
        folder = tmp_path / str(len(arguments))
        folder.mkdir()
        result = check(folder, BREAKING[name], MINOR, arguments=arguments)
        assert result.returncode == 1 and "incompatible" in result.stderr, result


@pytest.mark.parametrize("change", [ADDED_FUNCTION, ADDED_MEMBER])
def test_an_addition_needs_a_higher_minor_version(tmp_path: Path, change: tuple[str, str, str]) -> None:
    for number, (changes, arguments, code) in enumerate([
        ([change], (), 1), ([change, MINOR], (), 0), ([change, MINOR], ("--update",), 0),
    ]):
        folder = tmp_path / str(number)
        folder.mkdir()
        result = check(folder, *changes, arguments=arguments)
        assert result.returncode == code, result
        assert code == 0 or "without a higher SEAM_ABI_MINOR" in result.stderr
    assert "added" in (tmp_path / "2/abi.txt").read_text()
