"""Makes the small ONNX files of this folder, with the answers of ONNX's own
reference evaluator beside them in answers.json.

    pip install onnx==1.* numpy
    python make_onnx.py
"""

import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OUT = pathlib.Path(__file__).parent.parent
rng = np.random.default_rng(7)
answers = {}


def make(name, opset, shape, nodes, consts=None, outs=("y",), dtype=np.float32, low=-2.0, high=2.0, answer=None):
    """Nodes are (op, inputs, outputs, attributes); the input is x."""
    graph = helper.make_graph(
        [helper.make_node(op, i, o, **a) for op, i, o, a in nodes],
        name,
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["batch", *shape])],
        [helper.make_empty_tensor_value_info(o) for o in outs],
        [numpy_helper.from_array(v, k) for k, v in (consts or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="make_onnx")
    model.ir_version = 8
    x = rng.uniform(low, high, (3, *shape)).astype(dtype)
    got = answer(x) if answer else ReferenceEvaluator(model).run(None, {"x": x})
    onnx.save(model, OUT / f"{name}.onnx")
    answers[name] = {
        "x": [list(x.shape), x.ravel().tolist()],
        "outputs": [[list(y.shape), np.asarray(y, dtype=np.float64).ravel().tolist()] for y in got],
    }


def f(*shape):
    return rng.normal(0, 0.5, shape).astype(np.float32)


def i(*v):
    return np.array(v, dtype=np.int64)


UNARY = [
    ("Relu", {}), ("Tanh", {}), ("Sigmoid", {}), ("Softplus", {}), ("Softsign", {}), ("Selu", {}), ("HardSwish", {}), ("Mish", {}), ("Exp", {}), ("Abs", {}),
    ("Neg", {}), ("Erf", {}), ("Sign", {}), ("Floor", {}), ("Ceil", {}), ("Round", {}), ("Sin", {}), ("Cos", {}), ("Tan", {}), ("Reciprocal", {}),
    ("Elu", {"alpha": 0.7}), ("Celu", {"alpha": 0.6}), ("LeakyRelu", {"alpha": 0.2}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
    ("ThresholdedRelu", {"alpha": 0.5}), ("Gelu", {}), ("Gelu", {"approximate": "tanh"}), ("Identity", {}), ("Softmax", {}), ("LogSoftmax", {"axis": 1}),
]
make("unary", 20, [5], [(op, ["x"], [f"y{k}"], a) for k, (op, a) in enumerate(UNARY)], outs=[f"y{k}" for k in range(len(UNARY))])
make("positive", 18, [4], [("Log", ["x"], ["a"], {}), ("Sqrt", ["x"], ["b"], {}), ("Pow", ["x", "p"], ["c"], {})], {"p": np.float32(1.5)},
     ("a", "b", "c"), low=0.1)
make("binary", 18, [4], [
    ("Add", ["x", "w"], ["a"], {}), ("Sub", ["w", "x"], ["b"], {}), ("Mul", ["x", "w"], ["c"], {}), ("Div", ["x", "w"], ["d"], {}),
    ("Min", ["x", "w", "a"], ["e"], {}), ("Max", ["x", "w"], ["f"], {}), ("Sum", ["x", "w", "a"], ["g"], {}), ("Mean", ["x", "w", "a"], ["h"], {}),
    ("Greater", ["x", "w"], ["gt"], {}), ("LessOrEqual", ["x", "w"], ["le"], {}), ("Xor", ["gt", "le"], ["xo"], {}), ("Not", ["gt"], ["no"], {}),
    ("Less", ["x", "w"], ["lt"], {}), ("GreaterOrEqual", ["x", "w"], ["ge"], {}), ("And", ["gt", "le"], ["an"], {}), ("Or", ["lt", "ge"], ["og"], {}),
    ("Equal", ["x", "x"], ["eq"], {}), ("IsNaN", ["x"], ["na"], {}), ("CastLike", ["lt", "x"], ["n"], {}), ("Dropout", ["x"], ["o"], {}),
    ("Where", ["gt", "x", "w"], ["i"], {}), ("Cast", ["gt"], ["j"], {"to": TensorProto.FLOAT}), ("PRelu", ["x", "w"], ["k"], {}),
    ("Clip", ["x", "lo", "hi"], ["l"], {}), ("Clip", ["x", "", "hi"], ["m"], {}),
], {"w": f(4), "lo": np.float32(-0.5), "hi": np.float32(0.75)}, [*"abcdefghijklmno", "xo", "no", "ge", "an", "og", "eq", "na"])
make("integers", 18, [4], [
    ("Div", ["x", "w"], ["a"], {}), ("Cast", ["x"], ["xs"], {"to": TensorProto.INT16}), ("Cast", ["w"], ["ws"], {"to": TensorProto.INT16}), ("Mod", ["xs", "ws"], ["b"], {}), ("Cast", ["x"], ["c"], {"to": TensorProto.FLOAT}), ("ReduceSum", ["x", "axes"], ["d"], {}),
], {"w": i(2, -3, 5, 4), "axes": i(1)}, list("abcd"), dtype=np.int64, low=-20, high=20)
make("gemm", 13, [4], [
    ("Gemm", ["x", "w", "b"], ["a"], {"transB": 1}), ("Gemm", ["x", "v", "b"], ["b1"], {"alpha": 0.5, "beta": 2.0}), ("Gemm", ["x", "v"], ["c"], {}),
    ("MatMul", ["x", "v"], ["d"], {}), ("Gemm", ["x", "v", "s"], ["e"], {}),
], {"w": f(3, 4), "v": f(4, 3), "b": f(3), "s": f(1)}, ["a", "b1", "c", "d", "e"])
make("clip_attributes", 7, [4], [("Clip", ["x"], ["y"], {"min": -0.5, "max": 0.5})])


def softmax_of_rows(x):
    """Softmax before operator set 13, which the evaluator does not know."""
    e = np.exp(x.reshape(len(x), -1))
    return [(e / e.sum(1, keepdims=True)).reshape(x.shape)]


make("softmax_old", 11, [2, 3], [("Softmax", ["x"], ["y"], {"axis": 1})], answer=softmax_of_rows)
make("shapes", 18, [2, 6], [
    ("Flatten", ["x"], ["a"], {}), ("Transpose", ["x"], ["b"], {"perm": [0, 2, 1]}), ("Split", ["x", "parts"], ["c", "d"], {"axis": 2}),
    ("Split", ["x"], ["e", "f"], {"axis": 2, "num_outputs": 2}), ("Slice", ["x", "s", "e9", "ax", "st"], ["g"], {}), ("Slice", ["x", "m1", "min", "ax", "neg"], ["h"], {}),
    ("Gather", ["x", "idx"], ["j"], {"axis": 2}), ("Gather", ["x", "one"], ["k"], {"axis": 1}), ("Reshape", ["x", "to"], ["l"], {}),
    ("Unsqueeze", ["x", "ax"], ["m"], {}), ("Squeeze", ["m", "ax"], ["n"], {}), ("Concat", ["c", "d", "c"], ["o"], {"axis": -1}), ("Tile", ["x", "rep"], ["p"], {}),
    ("Pad", ["x", "pads", "fill"], ["q"], {}), ("Transpose", ["x"], ["t"], {"perm": [1, 2, 0]}), ("GatherND", ["t", "nd"], ["r"], {}),
    ("Transpose", ["r"], ["u"], {"perm": [1, 0]}), ("Constant", [], ["half"], {"value_float": 0.5}), ("Mul", ["x", "half"], ["v"], {}),
], {"parts": i(2, 4), "s": i(1), "e9": i(6), "ax": i(2), "st": i(2), "m1": i(-1), "min": i(-9), "neg": i(-2), "idx": i(4, 0, -1), "one": np.int64(1),
    "to": i(0, -1, 3), "rep": i(1, 2, 1), "pads": i(0, 1, 0, 0, 0, 2), "fill": np.float32(0.25), "nd": np.array([[0, 2], [1, -1], [1, 0]], dtype=np.int64)}, list("abcdefghjklmnopquv"))
make("shape_arithmetic", 18, [2, 3], [
    ("Shape", ["x"], ["sh"], {}), ("Gather", ["sh", "zero"], ["b"], {}), ("Unsqueeze", ["b", "z1"], ["b1"], {}), ("Concat", ["b1", "six"], ["to"], {"axis": 0}),
    ("Reshape", ["x", "to"], ["a"], {}), ("ConstantOfShape", ["to"], ["ones"], {"value": helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])}),
    ("Add", ["a", "ones"], ["y"], {}), ("Expand", ["row", "to"], ["z"], {}),
], {"zero": np.int64(0), "z1": i(0), "six": i(6), "row": f(1, 6)}, ("y", "z"))
make("reduce", 18, [3, 4], [
    ("ReduceMean", ["x", "last"], ["a"], {"keepdims": 0}), ("ReduceSum", ["x", "both"], ["b"], {}), ("ReduceMax", ["x", "last"], ["c"], {}),
    ("ReduceMin", ["x", "last"], ["d"], {"keepdims": 0}), ("ReduceL2", ["x", "last"], ["e"], {}), ("ReduceL1", ["x", "last"], ["f"], {}),
    ("ReduceSumSquare", ["x", "last"], ["g"], {}), ("ArgMax", ["x"], ["h"], {"axis": 2, "keepdims": 0}), ("ArgMin", ["x"], ["j"], {"axis": -1}),
], {"last": i(-1), "both": i(1, 2)}, list("abcdefghj"))
make("reduce_old", 11, [3, 4], [("ReduceMean", ["x"], ["y"], {"axes": [2], "keepdims": 0})])
make("norms", 21, [4, 6], [
    ("BatchNormalization", ["x", "s", "b", "m", "v"], ["a"], {"epsilon": 1e-3}), ("LayerNormalization", ["x", "w"], ["l"], {}),
    ("GroupNormalization", ["x", "s", "b"], ["g"], {"num_groups": 2}), ("InstanceNormalization", ["x", "s", "b"], ["i"], {}),
], {"s": f(4), "b": f(4), "m": f(4), "v": np.abs(f(4)) + 0.1, "w": f(6)}, list("algi"))
make("conv", 18, [2, 7, 6], [
    ("Conv", ["x", "w", "b"], ["a"], {"pads": [1, 1, 1, 1], "strides": [2, 1]}), ("Conv", ["x", "w", "b"], ["c"], {"pads": [0, 1, 2, 0]}),
    ("Conv", ["x", "g"], ["d"], {"group": 2, "dilations": [2, 2]}), ("Conv", ["x", "w"], ["e"], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("MaxPool", ["x"], ["f"], {"kernel_shape": [2, 2], "strides": [2, 2]}), ("MaxPool", ["x"], ["h"], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", ["x"], ["j"], {"kernel_shape": [2, 3], "strides": [1, 2], "pads": [1, 1, 1, 1]}), ("GlobalAveragePool", ["x"], ["k"], {}),
    ("GlobalMaxPool", ["x"], ["l"], {}),
], {"w": f(3, 2, 3, 3), "b": f(3), "g": f(4, 1, 2, 2)}, list("acdefhjkl"))
T, H, I = 3, 4, 2
for name, op, gates, more in [("lstm", "LSTM", 4, {}), ("gru", "GRU", 3, {"linear_before_reset": 1}), ("rnn", "RNN", 1, {})]:
    make(name, 14, [T, I], [
        ("Transpose", ["x"], ["t"], {"perm": [1, 0, 2]}), (op, ["t", "w", "r", "b"], ["y", "h"], {"hidden_size": H, **more}),
    ], {"w": f(1, gates * H, I), "r": f(1, gates * H, H), "b": f(1, 2 * gates * H)}, ("y", "h"))
make("embedding", 13, [], [("Gather", ["table", "x"], ["e"], {}), ("OneHot", ["x", "depth", "values"], ["h"], {})],
     {"table": f(5, 3), "depth": np.int64(5), "values": np.array([-1, 2], dtype=np.float32)}, ("e", "h"), dtype=np.int64, low=0, high=5)

(OUT / "answers.json").write_text(json.dumps(answers, separators=(",", ":")) + "\n")
