"""The compute table in ONNX: the cases of the native engine's tests, recorded as a plugin's would be and run by ONNX
Runtime, against PyTorch in double precision with the same tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from op_cases import CASES, Case, Operand
from seamkit.onnx.graph import TYPES, Graph
from seamkit.onnx.operations import LOWERED, Value
from seamkit.onnx.recording import Entry, entries_of
from seamkit.onnx.sizes import Size, generalised
from seamkit.onnx.writing import Writer
from seamkit.torch.operations import OPERATIONS
from test_ops import assert_close, exact
from torch_pass import TorchPass

NEWEST = 24  # that the ONNX Runtime of these tests runs


class Recorder(TorchPass):
    """A pass that keeps a graph. Half precision comes in as constants, all else as inputs."""

    def __init__(self) -> None:
        super().__init__(record_graph=True)
        self.inputs: list[torch.Tensor] = []

    def given(self, operand: Operand) -> Any:
        if not isinstance(operand, np.ndarray):
            return self.constant(operand)
        tensor = torch.from_numpy(operand.copy())
        handle = self.pass_.placeholder(f"input_{len(self.inputs)}", tensor)
        self.inputs.append(tensor)
        return handle

    def entries(self, result: Any) -> list[Entry]:
        trace = self.pass_.trace([result])
        assert trace is not None
        found = entries_of(trace.module.graph, dict(trace.module.named_buffers()))
        self.pass_.close()
        at = (1, 1)
        return [Entry(*each) for each in generalised({at: found}, [at, at])]


def exported(case: Case, opset: int) -> tuple[onnx.ModelProto, dict[str, Any]]:
    recorder = Recorder()
    handle = case.run(recorder, *[recorder.given(each) for each in case.operands])
    recorder.check()
    expected = recorder.tensor(handle)
    entries = recorder.entries(handle)
    graph, values, infos, feeds = Graph("input_0"), [], [], {}
    for index, each in enumerate(recorder.inputs):
        kind = "f32" if each.is_floating_point() else "i32"
        values.append(Value(f"input_{index}", tuple(Size(size) for size in each.shape), kind))
        infos.append(helper.make_tensor_value_info(f"input_{index}", TYPES[kind], each.shape))
        feeds[f"input_{index}"] = each.numpy()
    adapter: Any = None  # there are no parameters
    result = Writer(graph, adapter, values)._entries(entries)
    kind = "f32" if expected.is_floating_point() else "i32"
    output = helper.make_tensor_value_info("result", TYPES[kind], expected.shape)
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        graph.finished("case", infos, [(result, output)]),
        opset_imports=imports,
        ir_version=helper.find_min_ir_version_for(imports),
    )
    return model, feeds


def test_every_operation_is_there() -> None:
    assert set(LOWERED) == {*OPERATIONS, "attention_with_prefix", "cast", "embedding"} == {each.op for each in CASES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operation(case: Case) -> None:
    model, feeds = exported(case, 18)
    onnx.checker.check_model(model, full_check=True)
    [found] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    assert_close(found, case.reference(*[exact(each) for each in case.operands]).detach().numpy(), str(case))


@pytest.mark.parametrize("case", {each.op: each for each in CASES}.values(), ids=str)
def test_newer_opsets_mean_the_same(case: Case) -> None:
    results = []
    for opset in (18, NEWEST):
        model, feeds = exported(case, opset)
        onnx.checker.check_model(model, full_check=True)
        results.append(onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)[0])
    assert_close(results[1], results[0], str(case))
