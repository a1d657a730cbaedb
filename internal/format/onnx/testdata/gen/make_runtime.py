"""Makes runtime.json.gz: small models of the operators that ONNX Runtime writes
into models which it optimises or quantises, with its own answers.

    pip install onnx==1.23.2 onnxruntime==1.32.0
    python make_runtime.py
"""

import base64
import gzip
import json
import pathlib

import numpy as np
import onnxruntime
from onnx import helper, numpy_helper

OUT = pathlib.Path(__file__).parent.parent / "runtime.json.gz"
rng = np.random.default_rng(17)
onnxruntime.set_default_logger_severity(4)
cases = []


def f(*shape):
    return rng.normal(0, 1, shape).astype(np.float32)


def whole(dtype, *shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, endpoint=True).astype(dtype)


def array(a):
    numbers = a.astype(np.float64).ravel().tolist() if a.dtype.kind == "f" else a.astype(np.int64).ravel().tolist()
    return [a.dtype.name, list(a.shape), numbers]


def make(name, nodes, inputs, consts, outs=("y",), opset=17):
    """Nodes are (op, inputs, outputs, attributes), an op with its domain before a colon."""
    body = []
    for op, ins, out, attrs in nodes:
        domain, _, kind = op.rpartition(":")
        body.append(helper.make_node(kind, ins, out, domain=domain, **attrs))
    values = [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in inputs.items()]
    graph = helper.make_graph(body, name, values, [helper.make_empty_tensor_value_info(o) for o in outs],
                              [numpy_helper.from_array(np.asarray(v), k) for k, v in consts.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)])
    model.ir_version = 8
    data = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    answers = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, inputs)
    cases.append({
        "name": name, "ops": sorted({op.rpartition(":")[2] for op, *_ in nodes}), "model": base64.b64encode(data).decode(),
        "in": [array(v) for v in inputs.values()], "out": [array(np.asarray(v)) for v in answers],
    })


MS = "com.microsoft:"
x = f(3, 4)
make("gelus", [(MS + "Gelu", ["x"], ["a"], {}), (MS + "FastGelu", ["x", "b"], ["c"], {}), (MS + "FastGelu", ["x"], ["d"], {}),
               (MS + "BiasGelu", ["x", "b"], ["e"], {}), (MS + "QuickGelu", ["x"], ["g"], {"alpha": 1.5})], {"x": x}, {"b": f(4)}, "acdeg")
make("fused_matmul", [(MS + "FusedMatMul", ["x", "w"], ["y"], {"alpha": 0.5, "transB": 1})], {"x": x}, {"w": f(3, 4)})
make("fused_matmul_left", [(MS + "FusedMatMul", ["w", "x"], ["y"], {"transA": 1})], {"x": x}, {"w": f(3, 2)})
for activation, more in {"Relu": {}, "Tanh": {}, "Sigmoid": {}, "LeakyRelu": {"activation_alpha": 0.1}, "Elu": {"activation_alpha": 0.7}, "Softplus": {}, "Softsign": {}}.items():
    make("fused_gemm_" + activation, [(MS + "FusedGemm", ["x", "w", "b"], ["y"], {"transB": 1, "activation": activation, **more})], {"x": x}, {"w": f(3, 4), "b": f(3)})
for activation, params in {"Relu": [], "Clip": [-0.5, 0.75], "HardSigmoid": [0.2, 0.5]}.items():
    more = {"activation_params": params} if params else {}
    make("fused_conv_" + activation, [(MS + "FusedConv", ["x", "w", "b"], ["y"], {"activation": activation, "pads": [1, 1, 1, 1], **more})],
         {"x": f(1, 2, 3, 3)}, {"w": f(3, 2, 3, 3), "b": f(3)})
make("skip_layer_norm", [(MS + "SkipLayerNormalization", ["x", "s", "g", "e", "i"], ["y", "", "", "u"], {"epsilon": 1e-5})],
     {"x": f(2, 3, 4), "s": f(2, 3, 4)}, {"g": f(4), "e": f(4), "i": f(4)}, "yu")
make("skip_rms_norm", [(MS + "SkipSimplifiedLayerNormalization", ["x", "s", "g"], ["y"], {"epsilon": 1e-5})], {"x": f(2, 3, 4), "s": f(2, 3, 4)}, {"g": f(4)})
make("rms_norm", [("SimplifiedLayerNormalization", ["x", "g"], ["y"], {"axis": -1, "epsilon": 1e-5})], {"x": x}, {"g": f(4)})

scale, zero = np.float32(0.02), np.uint8(128)
make("quantized_matmul", [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), ("QLinearMatMul", ["q", "s", "z", "w", "ws", "wz", "ys", "z"], ["p"], {}),
                          ("DequantizeLinear", ["p", "ys", "z"], ["y"], {})],
     {"x": x}, {"s": scale, "z": zero, "w": whole(np.int8, 4, 3), "ws": np.float32(0.013), "wz": np.int8(-3), "ys": np.float32(0.037)})
make("quantized_conv", [("QuantizeLinear", ["x", "s", "z"], ["q"], {}),
                        ("QLinearConv", ["q", "s", "z", "w", "ws", "wz", "ys", "z", "b"], ["p"], {"pads": [1, 0, 1, 0], "strides": [2, 1]}),
                        ("DequantizeLinear", ["p", "ys", "z"], ["y"], {})],
     {"x": f(1, 2, 4, 4)}, {"s": scale, "z": zero, "w": whole(np.int8, 3, 2, 3, 3), "ws": np.array([0.011, 0.007, 0.019], np.float32), "wz": np.zeros(3, np.int8),
                            "ys": np.float32(0.041), "b": np.array([5, -300, 100], np.int32)})
make("dynamic", [("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], {}), ("MatMulInteger", ["q", "w", "z", "wz"], ["i"], {}), ("Cast", ["i"], ["c"], {"to": 1}),
                 ("Mul", ["s", "ws"], ["m"], {}), ("Mul", ["c", "m"], ["y"], {})], {"x": f(1, 4)}, {"w": whole(np.int8, 4, 3), "wz": np.int8(2), "ws": np.float32(0.011)})
make("dynamic_fused", [(MS + "DynamicQuantizeMatMul", ["x", "w", "ws", "wz", "b"], ["y"], {})], {"x": f(1, 4)},
     {"w": whole(np.int8, 4, 3), "wz": np.int8(0), "ws": np.array([0.011], np.float32), "b": f(3)})
make("integer_to_float", [("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], {}), (MS + "MatMulIntegerToFloat", ["q", "w", "s", "ws", "z", "wz"], ["y"], {})],
     {"x": f(1, 4)}, {"w": whole(np.uint8, 4, 3), "wz": np.uint8(120), "ws": np.array([0.011], np.float32)})
make("quantized_pairs", [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), (MS + "QLinearAdd", ["q", "s", "z", "w", "ws", "wz", "ys", "z"], ["a"], {}),
                         (MS + "QLinearMul", ["q", "s", "z", "w", "ws", "wz", "ys", "z"], ["m"], {}),
                         ("DequantizeLinear", ["a", "ys", "z"], ["y"], {}), ("DequantizeLinear", ["m", "ys", "z"], ["u"], {})],
     {"x": x}, {"s": scale, "z": zero, "w": whole(np.uint8, 4), "ws": np.float32(0.013), "wz": np.uint8(100), "ys": np.float32(0.037)}, "yu")
make("quantized_gemm", [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), (MS + "QGemm", ["q", "s", "z", "w", "ws", "wz", "c", "ys", "z"], ["g"], {"transB": 1}),
                        ("DequantizeLinear", ["g", "ys", "z"], ["y"], {}), (MS + "QGemm", ["q", "s", "z", "v", "vs", "vz", "", "", ""], ["u"], {"alpha": 0.5})],
     {"x": x}, {"s": scale, "z": zero, "w": whole(np.int8, 3, 4), "ws": np.array([0.011, 0.007, 0.019], np.float32), "wz": np.zeros(3, np.int8),
                "c": np.array([50, -300, 1000], np.int32), "ys": np.float32(0.05), "v": whole(np.uint8, 4, 3), "vs": np.float32(0.01), "vz": np.uint8(130)}, "yu")
make("quantized_functions", [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), (MS + "QLinearSigmoid", ["q", "s", "z", "u", "n"], ["a"], {}),
                             (MS + "QLinearLeakyRelu", ["q", "s", "z", "ys", "z"], ["b"], {"alpha": 0.2}),
                             (MS + "QLinearSoftmax", ["q", "s", "z", "u", "n"], ["c"], {"axis": 1, "opset": 13}),
                             (MS + "QLinearConcat", ["ys", "z", "a", "u", "n", "b", "ys", "z"], ["d"], {"axis": 1}),
                             ("DequantizeLinear", ["a", "u", "n"], ["e"], {}), ("DequantizeLinear", ["b", "ys", "z"], ["f"], {}),
                             ("DequantizeLinear", ["c", "u", "n"], ["g"], {}), ("DequantizeLinear", ["d", "ys", "z"], ["h"], {})],
     {"x": x}, {"s": scale, "z": zero, "u": np.float32(1 / 256), "n": np.uint8(0), "ys": np.float32(0.037)}, "efgh")
make("quantized_pool", [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), (MS + "QLinearGlobalAveragePool", ["q", "s", "z", "ys", "z"], ["a"], {}),
                        ("DequantizeLinear", ["a", "ys", "z"], ["y"], {})], {"x": f(1, 2, 3, 3)}, {"s": scale, "z": zero, "ys": np.float32(0.01)})
make("pairs_of_linear", [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), ("DequantizeLinear", ["q", "s", "z"], ["d"], {}), ("DequantizeLinear", ["w", "ws", "wz"], ["v"], {"axis": 0}),
                         ("Gemm", ["d", "v", "b"], ["h"], {"transB": 1}), ("QuantizeLinear", ["h", "hs", "z"], ["hq"], {}), ("DequantizeLinear", ["hq", "hs", "z"], ["y"], {})],
     {"x": x}, {"s": scale, "z": zero, "w": whole(np.int8, 3, 4), "ws": np.array([0.011, 0.007, 0.019], np.float32), "wz": np.zeros(3, np.int8), "b": f(3), "hs": np.float32(0.05)})

body = json.dumps(cases, separators=(",", ":")).encode() + b"\n"
OUT.write_bytes(gzip.compress(body, 9, mtime=0))
print(f"{len(cases)} models, {OUT.stat().st_size} bytes")
