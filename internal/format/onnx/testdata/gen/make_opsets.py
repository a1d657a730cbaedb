"""Makes opsets.json.gz: small models in the forms that operators had in each
operator set, with the answers of ONNX Runtime.

    pip install onnx==1.23.2 onnxruntime==1.32.0
    python make_opsets.py
"""

import base64
import gzip
import json
import math
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OUT = pathlib.Path(__file__).parent.parent / "opsets.json.gz"
rng = np.random.default_rng(11)
cases = []
onnxruntime.set_default_logger_severity(4)


def f(*shape):
    return rng.normal(0, 1, shape).astype(np.float32)


def i(*v):
    return np.array(v, dtype=np.int64)


def text(x):
    if isinstance(x, float) and not math.isfinite(x):
        return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"
    return x


def array(a):
    numbers = a.astype(np.float64).ravel().tolist() if a.dtype.kind == "f" else a.astype(np.int64).ravel().tolist()
    return [a.dtype.name, list(a.shape), [text(x) for x in numbers]]


def value(name, a):
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)


def make(name, opsets, nodes, inputs, consts=None, outs=("y",), extra=()):
    """Nodes are (op, inputs, outputs, attributes)."""
    for opset in opsets:
        body = [helper.make_node(op, ins, out, **attrs) for op, ins, out, attrs in nodes]
        graph = helper.make_graph(body, name, [value(k, v) for k, v in inputs.items()], [helper.make_empty_tensor_value_info(o) for o in outs],
                                  [numpy_helper.from_array(np.asarray(v), k) for k, v in (consts or {}).items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), *extra])
        model.ir_version = 4 if opset < 10 else 10
        data = model.SerializeToString()
        try:
            answers = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, inputs)
        except Exception as e:  # what the runtime does not have
            print(f"{name}_{opset}: {str(e).splitlines()[0][:200]}")
            continue
        cases.append({
            "name": f"{name}_{opset}", "ops": sorted({n.op_type for n in body}), "model": base64.b64encode(data).decode(),
            "in": [array(v) for v in inputs.values()], "out": [array(np.asarray(a)) for a in answers],
        })


ALL = [7, 8, 9, 11, 12, 13, 15, 16, 17, 18, 20, 21, 23, 24, 25]


def since(low, high=99):
    return [v for v in ALL if low <= v < high]


x = {"x": f(2, 3, 4)}
image = {"x": f(1, 2, 5, 6)}
flat = {"x": f(3, 4)}

for op in ["Relu", "Tanh", "Sigmoid", "Softplus", "Softsign", "Elu", "Selu", "LeakyRelu", "HardSigmoid", "Exp", "Abs", "Neg", "Floor", "Ceil", "Sin", "Cos", "Tan",
           "Atan", "Identity", "Reciprocal"]:
    make(op.lower(), since(7), [(op, ["x"], ["y"], {})], flat)
for op in ["Sinh", "Cosh", "Asinh", "Erf", "Sign", "IsNaN"]:
    make(op.lower(), since(9), [(op, ["x"], ["y"], {})], flat)
make("inverse", since(9), [("Asin", ["x"], ["a"], {}), ("Acos", ["x"], ["b"], {}), ("Atanh", ["x"], ["c"], {}), ("Cosh", ["x"], ["d"], {}), ("Acosh", ["d"], ["e"], {})],
     {"x": np.linspace(-0.9, 0.9, 7, dtype=np.float32)}, outs=list("abce"))
make("shrink", since(9), [("Shrink", ["x"], ["y"], {"lambd": 0.4, "bias": 0.1})], flat)
make("thresholded", since(11), [("ThresholdedRelu", ["x"], ["y"], {"alpha": 0.3})], flat)
make("celu", since(13), [("Celu", ["x"], ["y"], {"alpha": 0.7})], flat)
make("hardswish", since(15), [("HardSwish", ["x"], ["y"], {})], flat)
make("mish", since(18), [("Mish", ["x"], ["y"], {})], flat)
make("gelu", since(20), [("Gelu", ["x"], ["a"], {}), ("Gelu", ["x"], ["b"], {"approximate": "tanh"})], flat, outs=("a", "b"))
make("special", since(13), [("Relu", ["x"], ["a"], {}), ("Max", ["x", "z"], ["b"], {}), ("Min", ["x", "z"], ["c"], {}), ("IsInf", ["x"], ["d"], {}),
                            ("Sigmoid", ["x"], ["e"], {}), ("Softplus", ["x"], ["g"], {})],
     {"x": np.array([np.nan, np.inf, -np.inf, 0, -1], dtype=np.float32)}, {"z": np.float32(0.5)}, ["b", "c", "d", "e"])
for op in ["Softmax", "LogSoftmax", "Hardmax"]:
    make(op.lower() + "_last", since(7), [(op, ["x"], ["y"], {"axis": 2})], x)
make("softmax_from_one", since(7, 13), [("Softmax", ["x"], ["y"], {})], x)
make("softmax_middle", since(13), [("Softmax", ["x"], ["y"], {"axis": 1})], x)
make("clip", since(7, 11), [("Clip", ["x"], ["y"], {"min": -0.5, "max": 0.25})], flat)
make("clip", since(11), [("Clip", ["x", "lo", "hi"], ["y"], {})], flat, {"lo": np.float32(-0.5), "hi": np.float32(0.25)})
make("clip_above", since(11), [("Clip", ["x", "", "hi"], ["y"], {})], flat, {"hi": np.float32(0.25)})
for op in ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"]:
    early = since(7, 13 if op == "ReduceSum" else 18)
    make(op.lower(), early, [(op, ["x"], ["y"], {"axes": [1], "keepdims": 0})], x)
    make(op.lower(), [v for v in ALL if v not in early], [(op, ["x", "axes"], ["y"], {"keepdims": 0})], x, {"axes": i(-2)})
make("reduce_nothing", since(18), [("ReduceMean", ["x"], ["y"], {"noop_with_empty_axes": 1})], x)
make("squeeze", since(7, 13), [("Unsqueeze", ["x"], ["a"], {"axes": [0, 2]}), ("Squeeze", ["a"], ["b"], {"axes": [2]}), ("Squeeze", ["a"], ["c"], {})], x, outs=list("abc"))
make("squeeze", since(13), [("Unsqueeze", ["x", "p"], ["a"], {}), ("Squeeze", ["a", "q"], ["b"], {}), ("Squeeze", ["a"], ["c"], {})], x, {"p": i(0, -2), "q": i(0)}, list("abc"))
make("split", since(7, 13), [("Split", ["x"], ["a", "b"], {"axis": 2, "split": [1, 3]})], x, outs=("a", "b"))
make("split", since(13), [("Split", ["x", "s"], ["a", "b"], {"axis": 2})], x, {"s": i(1, 3)}, ("a", "b"))
make("split_even", since(18), [("Split", ["x"], ["a", "b", "c"], {"axis": 1, "num_outputs": 3})], x, outs=list("abc"))
make("slice", since(7, 10), [("Slice", ["x"], ["y"], {"axes": [1, 2], "starts": [1, -3], "ends": [9, 4]})], x)
make("slice", since(11), [("Slice", ["x", "s", "e", "a", "t"], ["y"], {})], x, {"s": i(-1, 0), "e": i(-9, 9), "a": i(1, 2), "t": i(-1, 2)})
make("pad", since(7, 11), [("Pad", ["x"], ["y"], {"pads": [0, 1, 0, 0, 0, 2], "value": 0.5})], x)
make("pad_reflect", since(7, 11), [("Pad", ["x"], ["y"], {"pads": [0, 1, 2, 0, 2, 1], "mode": "reflect"})], x)
make("pad", since(11), [("Pad", ["x", "p", "v"], ["y"], {})], x, {"p": i(0, 1, -1, 0, 0, 2), "v": np.float32(0.5)})
make("pad_edge", since(11), [("Pad", ["x", "p"], ["y"], {"mode": "edge"})], x, {"p": i(0, 1, 2, 0, 0, 2)})
make("pad_axes", since(18), [("Pad", ["x", "p", "", "a"], ["y"], {"mode": "reflect"})], x, {"p": i(1, 2), "a": i(-1)})
make("pad_wrap", since(20), [("Pad", ["x", "p"], ["y"], {"mode": "wrap"})], x, {"p": i(0, 1, 2, 0, 1, 3)})
make("upsample", [7], [("Upsample", ["x"], ["y"], {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "nearest"})], image)
make("upsample", [9], [("Upsample", ["x", "s"], ["y"], {"mode": "nearest"})], image, {"s": np.array([1, 1, 2, 1.5], dtype=np.float32)})
make("upsample_linear", [9], [("Upsample", ["x", "s"], ["y"], {"mode": "linear"})], image, {"s": np.array([1, 1, 2, 2], dtype=np.float32)})
make("resize", [10], [("Resize", ["x", "s"], ["y"], {"mode": "linear"})], image, {"s": np.array([1, 1, 2, 2], dtype=np.float32)})
for mode in ["nearest", "linear", "cubic"]:
    for coords in ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]:
        make(f"resize_{mode}_{coords}", [11, 13, 19], [("Resize", ["x", "", "s"], ["y"], {"mode": mode, "coordinate_transformation_mode": coords})], image,
             {"s": np.array([1, 1, 1.6, 0.5], dtype=np.float32)})
    make(f"resize_sizes_{mode}", since(13), [("Resize", ["x", "", "", "n"], ["y"], {"mode": mode})], image, {"n": i(1, 2, 8, 3)})
make("topk", [7, 9], [("TopK", ["x"], ["y", "n"], {"k": 2, "axis": 1})], flat, outs=("y", "n"))
make("topk", since(11), [("TopK", ["x", "k"], ["y", "n"], {"axis": 1, "largest": 0})], flat, {"k": i(3)}, ("y", "n"))
make("topk_ties", since(11), [("TopK", ["x", "k"], ["y", "n"], {})], {"x": np.array([[1, 3, 3, 2, 1, 3]], dtype=np.float32)}, {"k": i(5)}, ("y", "n"))
stats = {"s": f(2), "b": f(2), "m": f(2), "v": np.abs(f(2)) + np.float32(0.2)}
make("batchnorm", since(7), [("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], {"epsilon": 1e-3})], image, stats)
make("dropout", since(7), [("Dropout", ["x"], ["y"], {})], flat)
make("dropout_ratio", since(13), [("Dropout", ["x", "r", "t"], ["y", "m"], {})], flat, {"r": np.float32(0.5), "t": np.array(False)}, ("y", "m"))
make("gemm", since(7), [("Gemm", ["x", "w", "b"], ["y"], {"alpha": 0.5, "beta": 2.0, "transB": 1})], flat, {"w": f(5, 4), "b": f(5)})
make("gemm_transposed", since(7), [("Gemm", ["x", "w", "b"], ["y"], {"transA": 1})], flat, {"w": f(3, 2), "b": f(4, 1)})
make("matmul", since(7), [("MatMul", ["x", "w"], ["y"], {})], x, {"w": f(4, 2)})
make("matmul_vector", since(7), [("MatMul", ["x", "w"], ["y"], {})], x, {"w": f(4)})
make("maxpool", since(7), [("MaxPool", ["x"], ["y"], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]})], image)
make("maxpool_ceil", since(11), [("MaxPool", ["x"], ["y"], {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1, "dilations": [1, 2]})], image)
make("averagepool", since(7), [("AveragePool", ["x"], ["y"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 1]})], image)
make("averagepool_ceil", since(11), [("AveragePool", ["x"], ["a"], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
                                     ("AveragePool", ["x"], ["b"], {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 1, 1, 1], "count_include_pad": 1})], image, outs=("a", "b"))
make("globalpool", since(7), [("GlobalAveragePool", ["x"], ["a"], {}), ("GlobalMaxPool", ["x"], ["b"], {}), ("GlobalLpPool", ["x"], ["c"], {"p": 2})], image, outs=list("abc"))
make("lppool", since(7), [("LpPool", ["x"], ["y"], {"kernel_shape": [2, 2], "p": 2})], image)
for mode in ["SAME_UPPER", "SAME_LOWER", "VALID"]:
    make("conv_" + mode.lower(), since(7), [("Conv", ["x", "w"], ["y"], {"auto_pad": mode, "strides": [2, 2]})], image, {"w": f(3, 2, 3, 2)})
make("conv", since(7), [("Conv", ["x", "w", "b"], ["y"], {"pads": [1, 0, 2, 1], "dilations": [1, 2], "group": 2})], image, {"w": f(4, 1, 2, 2), "b": f(4)})
make("conv1d", since(7), [("Conv", ["x", "w"], ["y"], {"pads": [1, 1]})], x, {"w": f(2, 3, 3)})
make("convtranspose", since(7), [("ConvTranspose", ["x", "w", "b"], ["y"], {"strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 2]})], image, {"w": f(2, 3, 3, 2), "b": f(3)})
make("convtranspose_same", since(11), [("ConvTranspose", ["x", "w"], ["y"], {"strides": [2, 2], "auto_pad": "SAME_UPPER"})], image, {"w": f(2, 1, 3, 3)})
make("convtranspose_shape", since(11), [("ConvTranspose", ["x", "w"], ["y"], {"strides": [2, 2], "output_shape": [10, 12], "group": 2})], image, {"w": f(2, 2, 3, 3)})
make("instancenorm", since(7), [("InstanceNormalization", ["x", "s", "b"], ["y"], {})], image, {"s": f(2), "b": f(2)})
make("layernorm", since(17), [("LayerNormalization", ["x", "s", "b"], ["y"], {"axis": -1})], x, {"s": f(4), "b": f(4)})
make("layernorm_two", since(17), [("LayerNormalization", ["x", "s"], ["y", "m", "d"], {"axis": 1})], x, {"s": f(3, 4)}, ("y", "m", "d"))
make("groupnorm", [18, 20], [("GroupNormalization", ["x", "s", "b"], ["y"], {"num_groups": 2})], {"x": f(1, 4, 3)}, {"s": f(2), "b": f(2)})
make("groupnorm", since(21), [("GroupNormalization", ["x", "s", "b"], ["y"], {"num_groups": 2})], {"x": f(1, 4, 3)}, {"s": f(4), "b": f(4)})
make("lpnorm", since(7), [("LpNormalization", ["x"], ["a"], {"axis": -1, "p": 2}), ("LpNormalization", ["x"], ["b"], {"axis": 1, "p": 1})], x, outs=("a", "b"))
make("meanvariance", since(9), [("MeanVarianceNormalization", ["x"], ["y"], {"axes": [2, 3]})], image)
make("lrn", since(7), [("LRN", ["x"], ["y"], {"size": 3, "alpha": 0.1})], image)
make("rmsnorm", since(23), [("RMSNormalization", ["x", "s"], ["y"], {})], x, {"s": f(4)})
make("argmax", since(7), [("ArgMax", ["x"], ["a"], {"axis": 1}), ("ArgMin", ["x"], ["b"], {"axis": -1, "keepdims": 0})], x, outs=("a", "b"))
make("argmax_last", since(13), [("ArgMax", ["x"], ["y"], {"axis": 1, "select_last_index": 1})], {"x": np.array([[1, 2, 2, 0], [3, 1, 3, 3]], dtype=np.float32)})
make("onehot", since(9), [("OneHot", ["n", "d", "v"], ["y"], {"axis": 1})], {"n": i(0, 2, -1, 1)}, {"d": np.int64(4), "v": np.array([-1, 3], dtype=np.float32)})
make("scatter", [9], [("Scatter", ["x", "n", "u"], ["y"], {"axis": 1})], {"x": f(2, 5), "n": np.array([[1, 3], [0, 4]]), "u": f(2, 2)})
make("scatterelements", since(11), [("ScatterElements", ["x", "n", "u"], ["y"], {"axis": 1})], {"x": f(2, 5), "n": np.array([[1, -1], [0, 4]]), "u": f(2, 2)})
make("scatterelements_add", since(18), [("ScatterElements", ["x", "n", "u"], ["y"], {"axis": 1, "reduction": "add"})], {"x": f(2, 5), "n": np.array([[1, 1], [0, 4]]), "u": f(2, 2)})
make("scatternd", since(11), [("ScatterND", ["x", "n", "u"], ["y"], {})], {"x": f(4, 3), "u": f(2, 3)}, {"n": np.array([[2], [0]])})
make("scatternd_max", since(18), [("ScatterND", ["x", "n", "u"], ["y"], {"reduction": "max"})], {"x": f(4, 3), "u": f(3)}, {"n": np.array([[2, 1], [0, 0], [2, 1]])})
make("gather", since(7), [("Gather", ["x", "n"], ["y"], {"axis": 1})], {"x": f(2, 4, 3), "n": np.array([[0, 3], [2, 1]])})
make("gathernd", since(11), [("GatherND", ["x", "n"], ["y"], {})], {"x": f(3, 4), "n": np.array([[0, 3], [2, 1]])})
make("gathernd_batch", since(13), [("GatherND", ["x", "n"], ["y"], {"batch_dims": 1})], {"x": f(2, 3, 2), "n": np.array([[[1]], [[0]]])})
make("gatherelements", since(11), [("GatherElements", ["x", "n"], ["y"], {"axis": 1})], {"x": f(2, 4), "n": np.array([[0, 3, 1], [2, -1, 1]])})
make("constantofshape", since(9), [("Shape", ["x"], ["s"], {}), ("ConstantOfShape", ["s"], ["y"], {"value": helper.make_tensor("v", TensorProto.FLOAT, [1], [1.5])})], flat)
make("shape_part", since(15), [("Shape", ["x"], ["s"], {"start": 1}), ("ConstantOfShape", ["s"], ["c"], {}), ("Add", ["x", "c"], ["y"], {})], x)
make("range", since(11), [("Range", ["a", "b", "c"], ["r"], {}), ("Add", ["x", "r"], ["y"], {})], flat, {"a": np.float32(1), "b": np.float32(3), "c": np.float32(0.5)})
make("cumsum", since(11), [("CumSum", ["x", "a"], ["y"], {"exclusive": 1, "reverse": 1})], flat, {"a": np.int64(1)})
make("trilu", since(15), [("Trilu", ["x", "k"], ["y"], {"upper": 0})], x, {"k": np.int64(1)})
make("eyelike", since(9), [("EyeLike", ["x"], ["e"], {"k": 1}), ("Add", ["x", "e"], ["y"], {})], flat)
make("einsum", since(13), [("Einsum", ["x", "w"], ["y"], {"equation": "bij,jk->bik"})], x, {"w": f(4, 2)})
make("mod", since(11), [("Mod", ["x", "w"], ["a"], {"fmod": 1}), ("Mod", ["n", "m"], ["b"], {})], {"x": f(4), "n": i(-7, 8, -9, 5)}, {"w": f(4), "m": i(3, -3, -4, 4)}, ("a", "b"))
make("expand", since(9), [("Expand", ["x", "s"], ["y"], {})], flat, {"s": i(2, 1, 1)})
make("tile", since(7), [("Tile", ["x", "r"], ["y"], {})], flat, {"r": i(1, 2)})
make("where", since(9), [("Greater", ["x", "z"], ["c"], {}), ("Where", ["c", "x", "z"], ["y"], {})], flat, {"z": f(4)})
make("depth", since(7), [("SpaceToDepth", ["x"], ["a"], {"blocksize": 2}), ("DepthToSpace", ["a"], ["b"], {"blocksize": 2})], {"x": f(1, 2, 4, 6)}, outs=("a", "b"))
make("quantize", since(13), [("QuantizeLinear", ["x", "s", "z"], ["q"], {"axis": 1}), ("DequantizeLinear", ["q", "s", "z"], ["y"], {"axis": 1})], flat,
     {"s": np.array([0.02, 0.1, 0.01, 0.05], dtype=np.float32), "z": np.array([10, 128, 0, 255], dtype=np.uint8)}, ("q", "y"))
make("attention", since(23), [("Attention", ["q", "k", "v"], ["y"], {"is_causal": 1})], {"q": f(1, 2, 3, 4), "k": f(1, 2, 3, 4), "v": f(1, 2, 3, 4)})
make("swish", since(24), [("Swish", ["x"], ["y"], {"alpha": 0.7})], flat)

# Recurrent layers, with all that they may have.
T, B, H, I = 3, 2, 3, 2
for op, gates in [("LSTM", 4), ("GRU", 3), ("RNN", 1)]:
    for direction, d in [("forward", 1), ("reverse", 1), ("bidirectional", 2)]:
        consts = {"w": f(d, gates * H, I), "r": f(d, gates * H, H), "b": f(d, 2 * gates * H)}
        outs = ["y", "yh"] + (["yc"] if op == "LSTM" else [])
        ins = {"x": f(T, B, I), "h": f(d, B, H), **({"c": f(d, B, H)} if op == "LSTM" else {})}
        make(f"{op.lower()}_{direction}", [7, 14, 22], [(op, ["x", "w", "r", "b", "", *list(ins)[1:]], outs, {"hidden_size": H, "direction": direction})], ins, consts, outs)
    base = {"w": f(1, gates * H, I), "r": f(1, gates * H, H)}
    make(f"{op.lower()}_clip", [14], [(op, ["x", "w", "r"], ["y"], {"hidden_size": H, "clip": 0.3})], {"x": f(T, B, I)}, base)
    names = {"LSTM": ["HardSigmoid", "Softsign", "Elu"], "GRU": ["HardSigmoid", "LeakyRelu"], "RNN": ["Affine"]}[op]
    alpha, beta = {"LSTM": ([0.3, 0.8], [0.4]), "GRU": ([0.3, 0.1], [0.4]), "RNN": ([0.5], [0.1])}[op]
    make(f"{op.lower()}_activations", [14], [(op, ["x", "w", "r"], ["y"], {"hidden_size": H, "activations": names, "activation_alpha": alpha, "activation_beta": beta})],
         {"x": f(T, B, I)}, base)
make("gru_linear_before_reset", [7, 14], [("GRU", ["x", "w", "r", "b"], ["y", "h"], {"hidden_size": H, "linear_before_reset": 1})], {"x": f(T, B, I)},
     {"w": f(1, 3 * H, I), "r": f(1, 3 * H, H), "b": f(1, 6 * H)}, ("y", "h"))
make("lstm_peepholes", [14], [("LSTM", ["x", "w", "r", "b", "", "", "", "p"], ["y"], {"hidden_size": H, "input_forget": 1})], {"x": f(T, B, I)},
     {"w": f(1, 4 * H, I), "r": f(1, 4 * H, H), "b": f(1, 8 * H), "p": f(1, 3 * H)})
make("lstm_lengths", [14], [("LSTM", ["x", "w", "r", "", "n"], ["y"], {"hidden_size": H})], {"x": f(T, B, I)},
     {"w": f(1, 4 * H, I), "r": f(1, 4 * H, H), "n": np.array([T, T], dtype=np.int32)})


# Graphs inside nodes.
def inner(name, nodes, inputs, outputs, consts=None):
    return helper.make_graph([helper.make_node(op, ins, out, **attrs) for op, ins, out, attrs in nodes], name, inputs, outputs,
                             [numpy_helper.from_array(np.asarray(v), k) for k, v in (consts or {}).items()])


def port(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


then = inner("then", [("Mul", ["x", "two"], ["t"], {})], [], [port("t", [3, 4])], {"two": np.float32(2)})
other = inner("else", [("Neg", ["x"], ["e"], {})], [], [port("e", [3, 4])])
make("if_known", since(7), [("If", ["c"], ["y"], {"then_branch": then, "else_branch": other})], flat, {"c": np.array(True)})
make("if_data", since(13), [("ReduceSum", ["x"], ["s"], {"keepdims": 0}), ("Greater", ["s", "z"], ["c"], {}),
                            ("If", ["c"], ["y"], {"then_branch": then, "else_branch": other})], flat, {"z": np.float32(0)})
body = inner("body", [("Add", ["v", "x"], ["nv"], {}), ("Identity", ["on"], ["no"], {}), ("Identity", ["nv"], ["each"], {})],
             [port("n", [], TensorProto.INT64), port("on", [], TensorProto.BOOL), port("v", [3, 4])],
             [port("no", [], TensorProto.BOOL), port("nv", [3, 4]), port("each", [3, 4])])
make("loop_known", since(7), [("Loop", ["m", "c", "x"], ["y", "all"], {"body": body})], flat, {"m": np.int64(3), "c": np.array(True)}, ("y", "all"))
body = inner("body", [("Mul", ["v", "half"], ["nv"], {}), ("Abs", ["nv"], ["av"], {}), ("ReduceMax", ["av"], ["top"], {"keepdims": 0}), ("Greater", ["top", "limit"], ["no"], {})],
             [port("n", [], TensorProto.INT64), port("on", [], TensorProto.BOOL), port("v", [3, 4])],
             [port("no", [], TensorProto.BOOL), port("nv", [3, 4])], {"half": np.float32(0.5), "limit": np.float32(0.2)})
make("loop_data", since(11), [("Loop", ["", "c", "x"], ["y"], {"body": body})], flat, {"c": np.array(True)})
make("loop_data_limit", since(11), [("Loop", ["m", "c", "x"], ["y"], {"body": body})], flat, {"m": np.int64(2), "c": np.array(True)})
make("loop_count_of_data", since(11), [("Loop", ["k", "", "x"], ["y"], {"body": inner(
    "body", [("Add", ["v", "one"], ["nv"], {}), ("Identity", ["on"], ["no"], {})],
    [port("n", [], TensorProto.INT64), port("on", [], TensorProto.BOOL), port("v", [3, 4])], [port("no", [], TensorProto.BOOL), port("nv", [3, 4])], {"one": np.float32(1)})})],
    {**flat, "k": np.array(5)})
body = inner("body", [("Add", ["s", "e"], ["ns"], {}), ("Mul", ["ns", "e"], ["o"], {})], [port("s", [4]), port("e", [4])], [port("ns", [4]), port("o", [4])])
make("scan", since(9), [("Scan", ["s", "x"], ["y", "all"], {"body": body, "num_scan_inputs": 1})], {"s": f(4), "x": f(3, 4)}, outs=("y", "all"))
make("scan_back", since(11), [("Scan", ["s", "x"], ["y", "all"], {"body": body, "num_scan_inputs": 1, "scan_input_directions": [1], "scan_input_axes": [1],
                                                                 "scan_output_axes": [1]})], {"s": f(4), "x": f(4, 3)}, outs=("y", "all"))
make("sequence", since(11), [("SequenceConstruct", ["x", "w"], ["s"], {}), ("SequenceInsert", ["s", "x", "p"], ["s2"], {}), ("SequenceAt", ["s2", "p"], ["a"], {}),
                             ("SequenceErase", ["s2", "p"], ["s3"], {}), ("ConcatFromSequence", ["s3"], ["b"], {"axis": 0}),
                             ("SplitToSequence", ["x"], ["s4"], {"axis": 1, "keepdims": 0}), ("ConcatFromSequence", ["s4"], ["c"], {"axis": 0, "new_axis": 1}),
                             ("SequenceEmpty", [], ["s5"], {}), ("SequenceInsert", ["s5", "w"], ["s6"], {}), ("SequenceLength", ["s6"], ["len"], {}),
                             ("Cast", ["len"], ["lf"], {"to": TensorProto.FLOAT}), ("Add", ["x", "lf"], ["d"], {})],
     flat, {"w": f(2, 4), "p": np.int64(1)}, list("abcd"))

# Operators that the file brings along.
fn = helper.make_function("test", "Scaled", ["a", "b"], ["r"], [
    helper.make_node("Constant", [], ["k"]), helper.make_node("Mul", ["a", "k"], ["m"]), helper.make_node("Add", ["m", "b"], ["r"]),
], [helper.make_opsetid("", 18)], ["factor"])
ref = fn.node[0].attribute.add()
ref.name, ref.ref_attr_name, ref.type = "value_float", "factor", onnx.AttributeProto.FLOAT
outer = helper.make_function("test", "Twice", ["a"], ["r"], [
    helper.make_node("Scaled", ["a", "a"], ["m"], domain="test", factor=3.0), helper.make_node("Scaled", ["m", "a"], ["r"], domain="test", factor=-1.0),
], [helper.make_opsetid("", 18), helper.make_opsetid("test", 1)])
graph = helper.make_graph([helper.make_node("Twice", ["x"], ["t"], domain="test"), helper.make_node("Relu", ["t"], ["y"])], "functions", [value("x", flat["x"])],
                          [helper.make_empty_tensor_value_info("y")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("test", 1)], functions=[fn, outer])
model.ir_version = 10
data = model.SerializeToString()
answer = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, flat)
cases.append({"name": "functions_18", "ops": [], "model": base64.b64encode(data).decode(), "in": [array(flat["x"])], "out": [array(answer[0])]})

# Preprocessing.
ml = [helper.make_opsetid("ai.onnx.ml", 3)]


def learn(name, op, inputs, **attrs):
    graph = helper.make_graph([helper.make_node(op, list(inputs), ["y"], domain="ai.onnx.ml", **attrs)], name, [value(k, v) for k, v in inputs.items()],
                              [helper.make_empty_tensor_value_info("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), *ml])
    model.ir_version = 8
    data = model.SerializeToString()
    answer = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, inputs)
    cases.append({"name": name, "ops": [op], "model": base64.b64encode(data).decode(), "in": [array(v) for v in inputs.values()], "out": [array(answer[0])]})


learn("ml_scaler", "Scaler", flat, offset=[0.1, 0.2, 0.3, 0.4], scale=[1.0, 2.0, 0.5, 4.0])
learn("ml_scaler_one", "Scaler", flat, offset=[0.1], scale=[2.0])
for norm in ["MAX", "L1", "L2"]:
    learn("ml_normalizer_" + norm.lower(), "Normalizer", {"x": np.abs(f(3, 4)) * np.array([[1], [0], [2]], dtype=np.float32)}, norm=norm)
learn("ml_imputer", "Imputer", {"x": np.array([[1, np.nan], [np.nan, 4]], dtype=np.float32)}, imputed_value_floats=[7.0, 8.0], replaced_value_float=float("nan"))
learn("ml_binarizer", "Binarizer", flat, threshold=0.25)
learn("ml_regressor", "LinearRegressor", flat, coefficients=[float(v) for v in f(8)], intercepts=[0.5, -0.5], targets=2)
learn("ml_features", "FeatureVectorizer", {"a": f(2, 2), "b": f(2, 3)}, inputdimensions=[2, 3])

body = json.dumps(cases, separators=(",", ":")).encode() + b"\n"
OUT.write_bytes(gzip.compress(body, 9, mtime=0))
print(f"{len(cases)} models, {OUT.stat().st_size} bytes")
