"""A plugin that breaks one rule at a time (Tests/Fixtures/hostile-plugin): the same sentence from both hosts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import seamkit
import seamkit.torch
from plugins_in_c import built
from seamkit.torch import Adapter, Site
from seamkit.torch.classification import FitOptions, class_scores, fit

# Rules of the tables, which loading refuses, and words of each sentence.
TABLES = {
    "plugin without an id": "the id must not be empty",
    "plugin that is a path": 'found "/etc/passwd"',
    "adapter count of SIZE_MAX": "must be at most 1000, found 18446744073709551615",
    "adapter count beyond counting": "must be at most 1000, found 9223372036854775807",
    "adapter of NULL": "adapter 0 of the plugin is NULL",
    "backbone count of SIZE_MAX": "the number of backbones of the plugin must be at most 1000",
    "adapter without an id": "an adapter id must not be empty",
    "adapter that is a path": 'found "x/../../../escaped"',
    "adapter with spaces": 'begin with a letter or a digit, found " test"',
    "adapter with a long id": "an adapter id must have 1 to 100 characters",
    "adapter that is no UTF-8": "an adapter id must have 1 to 100 characters",
    "seam count of SIZE_MAX": 'the number of seams of adapter "test-hostile" must be at most 1000',
    "seam twice": 'the seam "decoder.output" is declared twice',
    "seam of NULL": 'seam 0 of adapter "test-hostile" is NULL',
    "no seam": 'adapter "test-hostile" names no seam',
    "seam that is a path": 'a seam of adapter "test-hostile" must have',
    "option count of SIZE_MAX": 'the number of options of adapter "test-hostile" must be at most 1000',
    "option of NULL": 'option 1 of adapter "test-hostile" is NULL',
    "option twice": 'the option "strength" is declared twice',
    "option without a name": 'an option name of adapter "test-hostile" must not be empty',
    "option with capitals": 'found "Spare"',
    "option of the host's": 'must not declare an option "learning_rate"',
    "option that is small": 'struct_size of an option of adapter "test-hostile" must be at least',
    "option of an unknown kind": "has the unknown kind 9",
    "option without a default": 'option "spare" has no default value',
    "option with a NUL": "must be a string without the character U+0000",
    "option without a range": "which is no range",
    "option that folds as a number": "with the default false, found another",
    "no option that folds": "with the default false, found none",
    "method count of SIZE_MAX": 'the number of methods of adapter "test-hostile" must be at most 1000',
    "method twice": 'the method "first" is declared twice',
    "method that is a path": 'found "a/b"',
    "method that is small": 'struct_size of a method of adapter "test-hostile" must be at least',
    "method without a function": 'method "second" lacks its signature or function',
    "method of another language": 'found "int main(void)"',
}
# Rules of an instance, which making one refuses, with the status of the error.
INSTANCES = {
    "error with SEAM_OK": (seamkit.PluginError, "all went well"),
    "error and success": (seamkit.UnsupportedError, "not on a Sunday"),
    "unknown status": (seamkit.PluginError, "failed with status 77 and no message"),
    "option resolved to what it refuses": (
        seamkit.PluginError,
        'resolves an option wrongly: option "spare" must be one of a, b, found "c"',
    ),
    "unknown status, with an error": (seamkit.PluginError, "out of range"),
    "parameter count of SIZE_MAX": (seamkit.PluginError, "must be at most 1048576, found 18446744073709551615"),
    "parameter count of 1e9": (seamkit.PluginError, "must be at most 1048576, found 1000000000"),
    "parameter twice": (seamkit.PluginError, 'the parameter "Bias" is declared twice'),
    "parameter inside another": (
        seamkit.PluginError,
        'the parameter "Bias" must not be the beginning of "Bias.weight"',
    ),
    "parameter without a name": (seamkit.PluginError, "a parameter name must not be empty"),
    "parameter that is a path": (seamkit.PluginError, "of a-z, A-Z, 0-9, "),
    "parameter with an empty part": (seamkit.PluginError, "on both sides of a '.', found \"scale..weight\""),
    "parameter that ends with a dot": (seamkit.PluginError, "on both sides of a '.', found \"scale.\""),
    "shape of 1e11": (seamkit.OutOfMemoryError, "needs 400.0 GB of memory, this machine has"),
    "shape beyond counting": (seamkit.ShapeError, "has a negative size or too many elements"),
    "shape of nothing beyond counting": (seamkit.ShapeError, "has a negative size or too many elements"),
    "negative shape": (seamkit.ShapeError, "[-9223372036854775808] has a negative size"),
    "rank of 9": (seamkit.ShapeError, "rank must be 0 ... 8 with a shape, found rank 9"),
    "negative rank": (seamkit.ShapeError, "rank must be 0 ... 8 with a shape, found rank -2147483648"),
    "unknown start": (seamkit.PluginError, "has the unknown initialisation 99"),
    "start from a model": (seamkit.PluginError, "comes from a model, but there is no model"),
    "start of NaN": (seamkit.PluginError, "starts with NaN or infinity at element 0"),
    "start beyond f32": (seamkit.PluginError, "starts with NaN or infinity at element 0"),
    "negative deviation": (seamkit.PluginError, "starts with a standard deviation of -0.5, which must be 0 or more"),
    "deviation of infinity": (seamkit.PluginError, "starts with NaN or infinity"),
    "no range": (seamkit.PluginError, "starts with numbers from 1.0 to -1.0, which is no range"),
    "gain of NaN": (seamkit.PluginError, "starts with NaN or infinity"),
    "no data": (seamkit.PluginError, "is initialised from data that is NULL"),
    "data of NaN": (seamkit.PluginError, "starts with NaN or infinity at element 1"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plugins")


@pytest.fixture(scope="module")
def refused(folder: Path) -> Path:
    return built("hostile-plugin/hostile.c", folder / "libRefused.so")


@pytest.mark.parametrize("rule", TABLES)
def test_broken_tables(refused: Path, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEAM_HOSTILE", rule)
    with pytest.raises(seamkit.PluginError) as native:
        seamkit.Runtime([refused])
    with pytest.raises(seamkit.PluginError) as torches:
        seamkit.torch.load_plugin(refused)
    assert TABLES[rule] in native.value.message
    assert str(torches.value) == str(native.value)


@pytest.fixture(scope="module")
def backbone(folder: Path) -> seamkit.Backbone:
    """The native engine's, with the plugin loaded there and in the torch engine."""
    hostile = built("hostile-plugin/hostile.c", folder / "libHostile.so")
    calibration = built("calibration-plugin/calibration.c", folder / "libCalibration.so")
    opaque = built("opaque-backbone/tiny_opaque.c", folder / "libTinyOpaque.so")
    seamkit.torch.load_plugin(hostile)
    seamkit.torch.load_plugin(calibration)
    return seamkit.Runtime([hostile, calibration, opaque]).open(id="tiny-opaque")


def site(backbone: seamkit.Backbone) -> Site:
    sizes = (
        "d_model",
        "encoder_layers",
        "decoder_layers",
        "heads",
        "kv_heads",
        "head_dim",
        "max_source_positions",
        "max_target_positions",
        "vocab_size",
    )
    return Site("tiny-opaque", *(getattr(backbone.info, each) for each in sizes))


@pytest.mark.parametrize("rule", INSTANCES)
def test_broken_instances(backbone: seamkit.Backbone, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, words = INSTANCES[rule]
    monkeypatch.setenv("SEAM_HOSTILE", rule)
    with pytest.raises(kind) as native:
        backbone.classifier("test-hostile", 2)
    with pytest.raises(kind) as torches:
        Adapter("test-hostile", site(backbone), classes=2)
    assert words in native.value.message
    assert str(torches.value) == str(native.value)


def test_without_a_broken_rule(backbone: seamkit.Backbone) -> None:
    native, other = backbone.classifier("test-hostile", 2), Adapter("test-hostile", site(backbone), classes=2)
    assert list(native.parameters) == list(other.state_dict()) == ["Bias", "scale.weight"]


def test_numbers_of_a_site(backbone: seamkit.Backbone) -> None:
    """A plugin computes with them."""
    with pytest.raises(seamkit.InvalidArgumentError, match="site: d_model must be at most 1048576, found 4611686018"):
        dataclasses.replace(site(backbone), d_model=2**62)
    with pytest.raises(seamkit.InvalidArgumentError, match="site: prefix_layers must be three numbers of 0 ... 65536"):
        dataclasses.replace(site(backbone), prefix_layers=(0, 2**62, 0))
    for classes in (2**62, -1, 1):
        with pytest.raises(seamkit.InvalidArgumentError) as native:
            backbone.classifier("test-hostile", classes)
        with pytest.raises(seamkit.InvalidArgumentError) as torches:
            Adapter("test-hostile", site(backbone), classes=classes)
        assert str(torches.value) == str(native.value)


# ---- Scopes of a pass


def test_scopes_that_are_not_matched(backbone: seamkit.Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    native, other = backbone.classifier("test-hostile", 2), Adapter("test-hostile", site(backbone), classes=2)
    features = torch.tensor(SCORES), torch.tensor(HIDDEN)
    monkeypatch.setenv("SEAM_HOSTILE", "end of no scope")
    with pytest.raises(seamkit.PluginError, match="scope_end: there is no open scope") as refused:
        native.classify(SCORES, HIDDEN)
    with pytest.raises(seamkit.PluginError) as torches:
        class_scores([other], *features)
    assert str(torches.value) == str(refused.value) and "org.seamkit.test.hostile" in str(refused.value)
    with pytest.raises(seamkit.PluginError, match="scope_end: there is no open scope"):
        native.call("first")
    monkeypatch.setenv("SEAM_HOSTILE", "scope left open")
    np.testing.assert_array_equal(native.classify(SCORES, HIDDEN), SCORES)
    np.testing.assert_array_equal(class_scores([other], *features).numpy(), SCORES)


# ---- Adapters that `prepare` alone fits

SCORES = np.array([[3, 1], [2, 1], [4, 3], [1, 2]], np.float32)
HIDDEN = np.zeros((4, 8), np.float32)
LABELS = [0, 1, 0, 1]


@pytest.mark.parametrize("empty", [None, [2.0, 0.5]], ids=["by the examples", "by an empty text"])
def test_a_calibration_is_fitted(backbone: seamkit.Backbone, empty: list[float] | None) -> None:
    shift = SCORES.mean(0) if empty is None else np.array(empty, np.float32)
    expected = SCORES - shift
    loss = torch.nn.functional.cross_entropy(torch.tensor(expected), torch.tensor(LABELS)).item()
    native = backbone.classifier("test-calibration", 2)
    losses = native.fit(SCORES, HIDDEN, LABELS, empty_scores=empty, epochs=3)
    np.testing.assert_allclose(losses, [loss] * 3, rtol=1e-6)  # f32, in another order
    np.testing.assert_array_equal(native.classify(SCORES, HIDDEN), expected)

    other = Adapter("test-calibration", site(backbone), classes=2)
    features = torch.tensor(SCORES), torch.tensor(HIDDEN)
    given = None if empty is None else torch.tensor(empty)
    np.testing.assert_allclose(fit([other], *features, LABELS, given, FitOptions(epochs=3)), [loss] * 3, rtol=1e-6)
    np.testing.assert_array_equal(class_scores([other], *features).numpy(), expected)


@pytest.mark.parametrize("id, prepare", [("test-calibration", False), ("test-constant", True)])
def test_nothing_to_fit(backbone: seamkit.Backbone, id: str, prepare: bool) -> None:
    with pytest.raises(seamkit.InvalidArgumentError, match="there is nothing to train") as native:
        backbone.classifier(id, 2).fit(SCORES, HIDDEN, LABELS, prepare=int(prepare))
    with pytest.raises(seamkit.InvalidArgumentError) as torches:
        fit(
            [Adapter(id, site(backbone), classes=2)],
            torch.tensor(SCORES),
            torch.tensor(HIDDEN),
            LABELS,
            options=FitOptions(prepare=prepare),
        )
    assert str(torches.value) == str(native.value)


def test_a_parameter_out_of_reach_is_named(backbone: seamkit.Backbone, caplog: pytest.LogCaptureFixture) -> None:
    expected = (
        'adapter "test-unused": the loss of epoch 1 does not reach the trained parameter "unused", which is not updated'
    )
    backbone.classifier("test-unused", 2).fit(SCORES, HIDDEN, LABELS)
    other = Adapter("test-unused", site(backbone), classes=2)
    fit([other], torch.tensor(SCORES), torch.tensor(HIDDEN), LABELS)
    assert [each.message for each in caplog.records if each.levelname == "WARNING"] == [expected] * 2
    # One that is frozen is none that could be reached.
    caplog.clear()
    other.get_parameter("unused").requires_grad_(False)
    fit([other], torch.tensor(SCORES), torch.tensor(HIDDEN), LABELS)
    assert not caplog.records
