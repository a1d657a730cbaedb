"""Fresh networks through `carla-rl convert`: what ONNX Runtime answers for the file, and what torch answers; and
fresh models of ONNX through `carla-rl predict`: what ONNX Runtime answers for them.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn as nn
from onnx import helper, numpy_helper

from conftest import assert_close, carla_rl, predict, rows


class Gaussian(nn.Module):
    """A mean and a standard deviation, of a vector that is normalised first."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(width))
        self.register_buffer("var", torch.rand(width) + 0.1)
        self.body = nn.Sequential(nn.Linear(width, 24), nn.LayerNorm(24), nn.ELU(), nn.Linear(24, outputs))
        self.log_std = nn.Parameter(torch.randn(outputs) * 0.3)

    def forward(self, obs):
        obs = torch.clamp((obs - self.mean) / torch.sqrt(self.var + 1e-8), -10.0, 10.0)
        mean = self.body(obs)
        return torch.tanh(mean), torch.exp(self.log_std).expand_as(mean)


def nature():
    """Convolutions over two images, and probabilities."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.Softmax(-1),
    )


class Attention(nn.Module):
    """One block of attention over the steps of a window."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 3)

    def forward(self, obs):
        q, k, v = self.qkv(obs).split(8, dim=2)
        seen = torch.softmax(torch.matmul(q, k.transpose(1, 2)) * 0.35, dim=-1)
        return self.out(torch.matmul(seen, v)).mean(1)


NETWORKS = {
    "tanh": (lambda: nn.Sequential(nn.Linear(7, 32), nn.Tanh(), nn.Linear(32, 2)), (7,)),
    "activations": (lambda: nn.Sequential(nn.Linear(5, 12), nn.SiLU(), nn.GELU(), nn.Softplus(), nn.SELU(), nn.Linear(12, 4)), (5,)),
    "gaussian": (lambda: Gaussian(9, 3), (9,)),
    "convolutions": (nature, (2, 14, 14)),
    "attention": (Attention, (6, 8)),
}


def run(path, names, *inputs):
    """The outputs of a file by ONNX Runtime."""
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == list(names)
    return session.run(None, dict(zip(names, inputs)))


@pytest.mark.parametrize("form", ["trace", "script"])
@pytest.mark.parametrize("network", NETWORKS)
def test_convert(tmp_path, rng, network, form):
    make, shape = NETWORKS[network]
    module = make().eval()
    x = torch.from_numpy(rng.normal(0, 1, (int(rng.integers(2, 9)), *shape)).astype(np.float32))
    with torch.no_grad():
        made = torch.jit.trace(module, x[:2]) if form == "trace" else torch.jit.script(module)
        want = module(x)
    made.save(str(tmp_path / "model.pt"))
    told = "--input-shape=" + ",".join(map(str, shape))  # a scripted module does not tell it
    carla_rl("convert", tmp_path / "model.pt", tmp_path / "model.onnx", told)
    name = list(made.graph.inputs())[1].debugName().split(".")[0]
    got = run(tmp_path / "model.onnx", [name], x.numpy())
    want = want if isinstance(want, tuple) else (want,)
    assert len(got) == len(want)
    for g, w in zip(got, want):
        assert_close(g, w.numpy(), 2e-5, 2e-5)


def quantised(rng):
    """A layer as static quantisation writes it: integers with scales, one for each output of the weight."""
    w = rng.normal(0, 1, (6, 4)).astype(np.float32)
    scale = (np.abs(w).max(1) / 127).astype(np.float32)
    constants = {
        "xs": np.float32(0.03), "z": np.uint8(128), "w": np.clip(np.round(w / scale[:, None]), -128, 127).astype(np.int8), "ws": scale,
        "wz": np.zeros(6, np.int8), "b": rng.normal(0, 1, 6).astype(np.float32), "hs": np.float32(0.07),
    }
    nodes = [
        ("QuantizeLinear", ["x", "xs", "z"], ["q"], {}), ("DequantizeLinear", ["q", "xs", "z"], ["d"], {}),
        ("DequantizeLinear", ["w", "ws", "wz"], ["v"], {"axis": 0}), ("Gemm", ["d", "v", "b"], ["h"], {"transB": 1}),
        ("QuantizeLinear", ["h", "hs", "z"], ["hq"], {}), ("DequantizeLinear", ["hq", "hs", "z"], ["e"], {}), ("Relu", ["e"], ["y"], {}),
    ]
    return nodes, constants, (4,), ["y"]


def shapes(rng):
    """Sizes and amounts that are computed of the shape of the input, in floating point too."""
    constants = {"i0": np.array([0]), "i2": np.array([2]), "i4": np.array([4]), "twice": np.array([2.0, 2.0], np.float32), "p": np.array([0, 0, 1, 0]),
                 "fill": np.float32(rng.normal())}
    nodes = [
        ("Shape", ["x"], ["s"], {}), ("Slice", ["s", "i2", "i4", "i0"], ["hw"], {}), ("Cast", ["hw"], ["f"], {"to": 1}), ("Mul", ["f", "twice"], ["m"], {}),
        ("Floor", ["m"], ["fl"], {}), ("Cast", ["fl"], ["size"], {"to": 7}), ("Slice", ["s", "i0", "i2", "i0"], ["nc"], {}),
        ("Concat", ["nc", "size"], ["sizes"], {"axis": 0}), ("Resize", ["x", "", "", "sizes"], ["r"], {"mode": "linear"}),
        ("ConstantOfShape", ["i4"], ["z"], {"value": numpy_helper.from_array(np.array([0], np.int64))}), ("Concat", ["p", "z"], ["pads"], {"axis": 0}),
        ("Pad", ["r", "pads", "fill"], ["y"], {}),
    ]
    return nodes, constants, (2, 3, 4), ["y"]


def agent(rng):
    """A graph as ML-Agents exports it: constants among the outputs, masks that push logits down."""
    f = lambda *s: rng.normal(0, 0.7, s).astype(np.float32)  # noqa: E731
    constants = {"w": f(8, 5), "b": f(8), "m": f(2, 8), "mb": f(2), "three": np.float32(3), "low": np.float32(-3), "version": np.array([3], np.float32)}
    nodes = [
        ("Gemm", ["obs_0", "w", "b"], ["h"], {"transB": 1}), ("Sigmoid", ["h"], ["g"], {}), ("Mul", ["h", "g"], ["a"], {}),
        ("Gemm", ["a", "m", "mb"], ["mu"], {"transB": 1}), ("Clip", ["mu", "low", "three"], ["c"], {}), ("Div", ["c", "three"], ["continuous_actions"], {}),
        ("Identity", ["version"], ["version_number"], {}),
    ]
    return nodes, constants, (5,), ["version_number", "continuous_actions"]


MODELS = {"quantised": quantised, "shapes": shapes, "agent": agent}


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("name", MODELS)
def test_predict(tmp_path, rng, name, opset):
    nodes, constants, shape, outs = MODELS[name](rng)
    entry = nodes[0][1][0]
    graph = helper.make_graph(
        [helper.make_node(op, ins, out, **attrs) for op, ins, out, attrs in nodes], name,
        [helper.make_tensor_value_info(entry, onnx.TensorProto.FLOAT, ["batch", *shape])], [helper.make_empty_tensor_value_info(o) for o in outs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    x = rng.normal(0, 1, (3, *shape)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    want = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(outs, {entry: x})
    got = predict(path, {"inputs": {entry: rows(x)}})["outputs"]
    assert list(got) == outs
    for o, w in zip(outs, want):
        assert_close(np.asarray(got[o]), w, 2e-5, 2e-5)
