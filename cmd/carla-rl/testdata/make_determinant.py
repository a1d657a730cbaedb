"""Write determinant.onnx: y = det(x) + 1, with an operator that this program
does not know. Needs the package onnx."""

import pathlib

import onnx
from onnx import TensorProto, helper

graph = helper.make_graph(
    [helper.make_node("Det", ["x"], ["d"]), helper.make_node("Add", ["d", "one"], ["y"])],
    "det",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 2])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
    [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="", ir_version=8)
onnx.checker.check_model(model)
(pathlib.Path(__file__).parent / "determinant.onnx").write_bytes(model.SerializeToString())
