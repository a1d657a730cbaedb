"""Fresh networks through `carla-rl convert`: what ONNX Runtime answers for the file, and what torch answers.

Without the packages onnx and onnxruntime the files are read back by the
command itself, which reads ONNX of any origin.
"""

import numpy as np
import pytest
import torch
import torch.nn as nn

from conftest import assert_close, carla_rl, predict, rows

try:
    import onnx
    import onnxruntime
except ImportError:  # the lock of the training environment has neither
    onnx = onnxruntime = None


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
    """The outputs of a file by ONNX Runtime, by the command where it is not there."""
    if onnx is None:
        question = {"inputs": {name: rows(x) for name, x in zip(names, inputs)}}
        return [np.asarray(v) for v in predict(path, question)["outputs"].values()]
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
