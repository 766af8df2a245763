"""The compute table of the torch engine: the very tests of the native one, through the same C struct.

Tolerances are theirs: 5e-6 of the largest element, against PyTorch in double precision.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import test_ops
import test_ops_limits
from seamkit.torch import passes
from torch_pass import TorchPass

LIMITS = {
    name: limit
    for name, limit in test_ops_limits.LIMITS.items()
    # torch asks the system for the memory, and a system may promise it.
    if name != "broadcast beyond memory"
}


@pytest.fixture(autouse=True)
def torch_pass(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (test_ops, test_ops_limits):
        monkeypatch.setattr(module, "Pass", TorchPass)
    yield
    # A native pass ends when nothing refers to it, and the tests leave many to that; the torch engine closes its own.
    for each in list(passes._passes.values()):
        each.close()


@pytest.fixture
def runtime() -> None:
    """The torch engine needs none."""


test_operation = test_ops.test_operation
test_constants = test_ops.test_constants
test_dlpack_borrows_and_gives_back = test_ops.test_dlpack_borrows_and_gives_back
test_dlpack_is_given_back_on_failure = test_ops.test_dlpack_is_given_back_on_failure
test_scopes_keep_what_is_asked = test_ops.test_scopes_keep_what_is_asked
test_buffers_outlive_a_pass = test_ops.test_buffers_outlive_a_pass
test_rows_join_a_buffer = test_ops.test_rows_join_a_buffer
test_dropout_where_nothing_is_trained = test_ops.test_dropout_where_nothing_is_trained
test_the_first_failure_is_kept = test_ops.test_the_first_failure_is_kept
test_a_null_operand_gives_null = test_ops.test_a_null_operand_gives_null
test_wrong_operands_give_a_sentence = test_ops.test_wrong_operands_give_a_sentence
test_half_precision_is_lent_as_it_is = test_ops.test_half_precision_is_lent_as_it_is
test_another_dtype_is_right_or_refused = test_ops_limits.test_another_dtype_is_right_or_refused
test_no_elements = test_ops_limits.test_no_elements
test_no_context = test_ops_limits.test_no_context


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_gives_a_sentence(name: str) -> None:
    run, part = LIMITS[name]
    p = TorchPass()
    assert not run(p, p.constant(test_ops.normal(1)))
    assert part in test_ops.failure(p)
