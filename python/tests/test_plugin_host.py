"""What both hosts give a plugin outside its passes, the same from each: orthonormal starts, options as JSON, and tables
of functions beyond the headers."""

from __future__ import annotations

import ctypes
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest

import seamkit
import seamkit.torch as engine
from documents import ROOT
from prefix_reference import save
from seamkit import locations

SOURCE = """
#include <seam/seam.h>
static const char *const seams[] = {SEAM_ENCODER_OUTPUT};
static const seam_option text = {.struct_size = sizeof text, .kind = SEAM_OPTION_STRING, .name = "key",
  .default_value = "\\"\\"", .doc = "What is told."};
static const seam_option number = {.struct_size = sizeof number, .kind = SEAM_OPTION_DOUBLE, .name = "a.b",
  .default_value = "0.5", .doc = "A number."};
static const seam_option *const options[] = {&text, &number};
static seam_status create(const seam_host *h, seam_config *o, const seam_site *s, void **self, seam_error **e) {
  const char *key = "", *json = "";
  int64_t count = -1;
  *self = (void *)s->backbone->family;
  h->config_string(o, "key", &key);
  if (key[0] == 0) return SEAM_OK;
  if (h->extension(h, key) != 0) return h->set_error(e, SEAM_INTERNAL, "there is such an extension");
  if (h->config_count(o, key, &count) != SEAM_INVALID_ARGUMENT && key[0] != '-')
    return h->set_error(e, SEAM_INTERNAL, "there is no text to be refused");
  return h->set_error(e, SEAM_CANCELLED, h->config_json(o, key[0] == '-' ? key + 1 : key, &json) ? "none" : json);
}
static void destroy(void *self) { (void)self; }
static size_t count(void *self) { (void)self; return 4; }
static void parameter(void *self, size_t i, seam_parameter *out) {
  static const char *const names[] = {"wide", "tall", "deep", "square"};
  static const int64_t shapes[][3] = {{3, 5, 1}, {7, 4, 1}, {4, 2, 3}, {6, 6, 1}};
  (void)self;
  if (out->point != -1) out->rank = -1;
  out->name = names[i];
  out->init = SEAM_INIT_ORTHOGONAL;
  out->a = i == 2 ? 1.5 : 1.0;
  out->rank = i == 2 ? 3 : 2;
  for (int axis = 0; axis < out->rank; axis++) out->shape[axis] = shapes[i][axis];
}
static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self;
  io->outputs[0] = io->point == -1 && pass->parameter_count == 4 ? io->inputs[0] : 0;
}
static const seam_adapter_factory factory = {.struct_size = sizeof factory, .id = "test-orthogonal", .summary = "",
  .seams = seams, .seam_count = 1, .options = options, .option_count = 2, .create = create, .destroy = destroy,
  .parameter_count = count, .parameter = parameter, .forward = forward};
static const seam_adapter_factory *const adapters[] = {&factory};
static const int answer = 42;
static const void *extension(const char *id) {
  for (const char *own = "org.example.answer/1"; *own == *id; own++, id++) if (*own == 0) return &answer;
  return 0;
}
static const seam_plugin plugin = {.struct_size = sizeof plugin, .abi_major = 1, .id = "org.example.orthogonal",
  .version = "1", .license = "MIT", .summary = "", .adapters = adapters, .adapter_count = 1, .extension = extension};
const seam_plugin *seam_plugin_entry(void) { return &plugin; }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "orthogonal.c").write_text(SOURCE)
    found = folder / "libOrthogonal.so"
    subprocess.run(
        ["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-I", ROOT / "include", folder / "orthogonal.c", "-o", found],
        check=True,
    )
    return found


@pytest.fixture(scope="module")
def hosts(
    library: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[seamkit.Backbone, engine.Plugin, engine.Site]:
    runtime = seamkit.Runtime([locations.library("libTransformer.so"), library])
    backbone = runtime.open(save("t5", tmp_path_factory.mktemp("model")))
    return backbone, engine.load_plugin(library), engine.Site("t5", 24, 3, 2, 4, 4, 5, 0, 0, 61)


def test_orthonormal_starts(hosts: tuple[seamkit.Backbone, engine.Plugin, engine.Site]) -> None:
    """The rows are orthonormal or, of a tall matrix, the columns; in both engines the same numbers."""
    backbone, _, site = hosts
    native = backbone.adapter("test-orthogonal", seed=11).parameters
    state = engine.Adapter("test-orthogonal", site, seed=11).state_dict()
    values = {name: each.numpy() for name, each in state.items()}
    for name, value in values.items():
        # f64 until the last rounding; sums in another order may change its last bit.
        np.testing.assert_allclose(value, native[name], rtol=1e-6, atol=1e-7)
        rows, gain = value.reshape(len(value), math.prod(value.shape[1:])), 1.5 if name == "deep" else 1.0
        short = rows if len(rows) <= rows.shape[1] else rows.T
        np.testing.assert_allclose(short @ short.T, gain**2 * np.eye(len(short)), atol=1e-6)
    assert np.abs(values["wide"]).min() > 1e-4


@pytest.mark.parametrize(
    "key, told", [("key", '"key"'), ("a.b", "0.5"), ("-", '{"key":"-","a.b":0.5}'), ("nothing", "none")]
)
def test_options_as_json(hosts: tuple[seamkit.Backbone, engine.Plugin, engine.Site], key: str, told: str) -> None:
    backbone, _, site = hosts
    with pytest.raises(seamkit.SeamError) as native:
        backbone.adapter("test-orthogonal", {"key": key})
    with pytest.raises(seamkit.SeamError) as torches:
        engine.Adapter("test-orthogonal", site, {"key": key})
    if key == "nothing":
        assert native.value.message == torches.value.message == "there is no text to be refused"
    else:
        assert native.value.message == torches.value.message == told


def test_extensions(hosts: tuple[seamkit.Backbone, engine.Plugin, engine.Site]) -> None:
    backbone, plugin, _ = hosts
    id = "org.example.answer/1"
    for address in (plugin.extension(id), backbone.runtime.extension("org.example.orthogonal", id)):
        assert ctypes.c_int.from_address(address or 0).value == 42
    assert plugin.extension("org.example.answer/2") is None
    with pytest.raises(seamkit.NotFoundError):
        backbone.runtime.extension("org.example.orthogonal", "org.example.answer/2")
