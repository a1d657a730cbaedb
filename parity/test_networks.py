"""Bare networks: what torch answers and what the command answers."""

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from conftest import assert_close, carla_rl, numbers, predict, rows

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "hardtanh": nn.Hardtanh,
    "relu6": nn.ReLU6,
    "selu": nn.SELU,
}


def mlp(rng, activation, last=None):
    """An MLP of random depth and widths."""
    widths = [int(rng.integers(1, 40)) for _ in range(int(rng.integers(2, 6)))]
    layers = []
    for i, (n, m) in enumerate(zip(widths, widths[1:])):
        layers.append(nn.Linear(n, m, bias=bool(rng.integers(0, 4))))
        if i < len(widths) - 2:
            layers.append(activation())
    if last is not None:
        layers.append(last())
    return nn.Sequential(*layers).eval(), widths[0]


def save(module, example, form, path):
    with torch.no_grad():
        if form == "trace":
            torch.jit.trace(module, example).save(str(path))
        elif form == "script":
            torch.jit.script(module).save(str(path))
        else:
            torch.jit.freeze(torch.jit.script(module)).save(str(path))
    return path


def ask(path, *inputs, names=("x",), arguments=()):
    """The outputs of a network in their order."""
    question = {"inputs": {name: rows(value.float().numpy()) for name, value in zip(names, inputs)}}
    return list(predict(path, question, *arguments)["outputs"].values())


@pytest.mark.parametrize("form", ["trace", "script", "frozen"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp(tmp_path, rng, activation, form):
    for i in range(3):
        module, width = mlp(rng, ACTIVATIONS[activation], nn.Tanh if i == 1 else None)
        x = torch.from_numpy(rng.normal(0, 2, (int(rng.integers(1, 40)), width)).astype(np.float32))
        path = save(module, x[:2], form, tmp_path / f"model{i}.pt")
        with torch.no_grad():
            want = module(x).numpy()
        assert_close(ask(path, x)[0], want)
        assert_close(ask(path, x, arguments=("--engine", "reference"))[0], want)


@pytest.mark.parametrize("rows_count", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 64, 100, 1000])
def test_batches_are_rows(tmp_path, rng, rows_count):
    module, width = mlp(rng, nn.ReLU)
    x = torch.from_numpy(rng.normal(0, 1, (rows_count, width)).astype(np.float32))
    path = save(module, x[:1], "trace", tmp_path / "model.pt")
    got = numbers(ask(path, x)[0])
    with torch.no_grad():
        assert_close(got, module(x).numpy())
    for i in rng.integers(0, rows_count, 3):
        assert np.array_equal(numbers(ask(path, x[i : i + 1])[0]), got[i : i + 1]), f"row {i} depends on its neighbours"


@pytest.mark.parametrize("form", ["trace", "script", "frozen"])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-5), (torch.bfloat16, 0.03)])
def test_other_precisions(tmp_path, rng, dtype, atol, form):
    module, width = mlp(rng, nn.Tanh, nn.Tanh)
    module = module.to(dtype)
    x = torch.from_numpy(rng.normal(0, 1, (9, width)).astype(np.float32)).to(dtype)
    path = save(module, x[:2], form, tmp_path / "model.pt")
    with torch.no_grad():
        want = module(x).double().numpy()
    assert_close(ask(path, x)[0], want, atol)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "elu", "silu", "softplus", "gelu"])
def test_extreme_inputs(tmp_path, rng, activation):
    values = [0.0, -0.0, 1e-45, -1e-40, 1e-8, 88.7, -88.8, 104.0, -104.0, 1e10, -1e10]
    if activation != "gelu":  # torch's GELU overflows to infinity where x itself is the answer
        values += [3e38, -3e38]
    module = nn.Sequential(ACTIVATIONS[activation]())
    x = torch.tensor(values, dtype=torch.float32).reshape(-1, 1)
    path = save(module, x, "trace", tmp_path / "model.pt")
    assert_close(ask(path, x)[0], module(x).numpy())


class Norm(nn.Module):
    """Statistics in buffers, clipped or not, before an actor."""

    def __init__(self, rng, width: int, clip: bool) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.from_numpy(rng.normal(0, 3, (1, width)).astype(np.float32)))
        self.register_buffer("std", torch.from_numpy(rng.uniform(0.1, 4, (1, width)).astype(np.float32)))
        self.actor = nn.Sequential(nn.Linear(width, 16), nn.ELU(), nn.Linear(16, 4))

    def forward(self, x):
        x = (x - self.mean) / (self.std + 1e-2)
        if self.clip:
            x = torch.clamp(x, -5.0, 5.0)
        return self.actor(x)

    @torch.jit.export
    def reset(self):
        pass


@pytest.mark.parametrize("form", ["trace", "script"])
@pytest.mark.parametrize("clip", [False, True])
def test_normaliser_inside(tmp_path, rng, clip, form):
    module = Norm(rng, 12, clip).eval()
    x = torch.from_numpy(rng.normal(0, 20, (11, 12)).astype(np.float32))
    path = save(module, x[:2], form, tmp_path / "policy.pt")
    with torch.no_grad():
        assert_close(ask(path, x)[0], module(x).numpy())


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = self.first
        self.tied = nn.Linear(6, 6, bias=False)
        self.tied.weight = self.first.weight

    def forward(self, x):
        return self.tied(F.relu(self.second(F.relu(self.first(x)))))


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 12), nn.SiLU())
        self.head = nn.Linear(12, 6)

    def forward(self, x):
        mean, log_std = self.head(self.body(x)).chunk(2, dim=-1)
        return torch.tanh(mean), torch.clamp(log_std, -5.0, 2.0).exp()


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(1, 4, 3, stride=2)
        self.vector = nn.Linear(3, 8)
        self.out = nn.Linear(44, 2)

    def forward(self, image, vec):
        seen = F.relu(self.image(image)).flatten(1)
        return self.out(torch.cat((seen, torch.tanh(self.vector(vec))), 1))


@pytest.mark.parametrize("form", ["trace", "script"])
@pytest.mark.parametrize("network", [Shared, TwoHeads, TwoInputs])
def test_other_shapes(tmp_path, rng, network, form):
    module = network().eval()
    shapes = {Shared: [(6,)], TwoHeads: [(5,)], TwoInputs: [(1, 7, 7), (3,)]}[network]
    inputs = [torch.from_numpy(rng.normal(0, 1, (5, *shape)).astype(np.float32)) for shape in shapes]
    path = save(module, tuple(inputs), form, tmp_path / "model.pt")
    got = ask(path, *inputs, names=("image", "vec") if network is TwoInputs else ("x",))
    with torch.no_grad():
        want = module(*inputs)
    want = want if isinstance(want, tuple) else (want,)
    assert len(got) == len(want)
    for g, w in zip(got, want):
        assert_close(g, w.numpy())


def test_weights_alone_are_named_as_such(tmp_path, rng):
    module, width = mlp(rng, nn.ReLU)
    torch.save(module.state_dict(), tmp_path / "state.pth")
    message = carla_rl(
        "predict", "--model", tmp_path / "state.pth", "--input", "-", question={"inputs": {"x": [[0.0] * width]}}, fails=True
    )
    assert "weights only" in message
