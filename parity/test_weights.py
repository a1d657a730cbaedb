"""Narrow weights: what `carla-rl convert --weights` writes is what ONNX Runtime reads, and what other tools write with
integers and scales is computed as ONNX Runtime computes it, or refused.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn as nn
from onnx import helper, numpy_helper

from conftest import assert_close, carla_rl, predict, rows


class Recurrent(nn.Module):
    """One step of an LSTM whose state goes in and comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(24, 96)
        self.out = nn.Linear(96, 4)

    def forward(self, obs, h_in, c_in):
        y, (h, c) = self.lstm(obs.unsqueeze(0), (h_in, c_in))
        return torch.tanh(self.out(y.squeeze(0))), h, c


def mlp():
    return nn.Sequential(nn.Linear(40, 256), nn.ReLU(), nn.Linear(256, 130), nn.Tanh(), nn.Linear(130, 3))


def pixels():
    return nn.Sequential(nn.Conv2d(2, 8, 4, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 13 * 13, 64), nn.ReLU(), nn.Linear(64, 5))


def session(path):
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("kind", ["bf16", "int8"])
@pytest.mark.parametrize("make,shape", [(mlp, (40,)), (pixels, (2, 28, 28))])
def test_convert(tmp_path, rng, make, shape, kind):
    module = make().eval()
    x = torch.from_numpy(rng.normal(0, 1, (9, *shape)).astype(np.float32))
    torch.jit.trace(module, x[:2]).save(str(tmp_path / "model.pt"))
    said = carla_rl("convert", tmp_path / "model.pt", tmp_path / "narrow.onnx", "--weights", kind, "--tolerance", "0.1", "--input-shape=" + ",".join(map(str, shape)))
    assert f"weights {kind} in" in said and "error   action" in said
    s = session(tmp_path / "narrow.onnx")
    types = {t.data_type for t in onnx.load(str(tmp_path / "narrow.onnx")).graph.initializer}
    assert {"bf16": onnx.TensorProto.BFLOAT16, "int8": onnx.TensorProto.INT8}[kind] in types
    name = s.get_inputs()[0].name
    want = s.run(None, {name: x.numpy()})[0]
    for part in (x[:1], x):  # one row, and more than are multiplied alone
        got = predict(tmp_path / "narrow.onnx", {"inputs": {name: rows(part.numpy())}})["outputs"]
        assert_close(np.asarray(next(iter(got.values()))), want[: len(part)], 2e-5, 2e-5)
    with torch.no_grad():
        assert_close(want, module(x).numpy(), 0.1, 0.1)


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_recurrent(tmp_path, rng, kind):
    module = Recurrent().eval()
    args = tuple(torch.from_numpy(rng.normal(0, 0.5, s).astype(np.float32)) for s in [(1, 24), (1, 1, 96), (1, 1, 96)])
    torch.onnx.export(module, args, str(tmp_path / "model.onnx"), input_names=["obs", "h_in", "c_in"], output_names=["actions", "h_out", "c_out"], dynamo=False)
    carla_rl("convert", tmp_path / "model.onnx", tmp_path / "narrow.onnx", "--weights", kind, "--tolerance", "0.1")
    s = session(tmp_path / "narrow.onnx")
    feed = dict(zip([i.name for i in s.get_inputs()], [a.numpy().reshape(i.shape if all(isinstance(d, int) for d in i.shape) else [d if isinstance(d, int) else 1 for d in i.shape]) for i, a in zip(s.get_inputs(), args)]))
    want = dict(zip([o.name for o in s.get_outputs()], s.run(None, feed)))
    got = predict(tmp_path / "narrow.onnx", {"inputs": {k: rows(v) for k, v in feed.items()}})["outputs"]
    for name, value in got.items():
        assert_close(np.asarray(value), want[name], 2e-5, 2e-5)


def scales(rng, n, kind):
    s = rng.uniform(1e-3, 2e-2, n).astype(np.float32)
    odd = {"usual": None, "negative": -s[0], "zero": 0.0, "nan": np.nan, "infinite": np.inf, "denormal": 1e-42, "huge": 1e38}[kind]
    if odd is not None:
        s[rng.integers(n)] = odd
    return s


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("zero", ["absent", "zeros", "others"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("kind", ["usual", "negative", "zero", "nan", "infinite", "denormal", "huge"])
def test_dequantized(tmp_path, rng, kind, axis, zero, turned):
    """x·W of int8 with a scale for each index of an axis, as anybody may have written it."""
    shape = (100, 90) if turned else (90, 100)
    n = shape[axis]
    constants = {"q": rng.integers(-128, 128, shape).astype(np.int8), "s": scales(rng, n, kind)}
    if zero != "absent":
        constants["z"] = np.zeros(n, np.int8) if zero == "zeros" else rng.integers(-9, 9, n).astype(np.int8)
    nodes = [helper.make_node("DequantizeLinear", list(constants), ["w"], axis=axis)]
    nodes.append(helper.make_node("MatMul", ["x", "w"], ["y"]) if turned else helper.make_node("Gemm", ["x", "w"], ["y"], transB=1))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 100])], [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 9
    onnx.save(model, str(tmp_path / "model.onnx"))
    x = rng.normal(0, 1, (3, 100)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    want = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    got = predict(tmp_path / "model.onnx", {"inputs": {"x": rows(x)}})["outputs"]["y"]
    got = np.array([[float({"Infinity": "inf", "-Infinity": "-inf"}.get(v, v)) for v in row] for row in got], np.float32)
    large = ~np.isfinite(want) | (np.abs(want) > 1e37)  # infinity or NaN by the order of the sum
    assert_close(np.where(large, 0, got), np.where(large, 0, want), 1e-4, 1e-4)
    assert not (np.isfinite(got) & ~np.isfinite(want)).any()
