"""Small networks in the shapes that policies are exported in.

Weights come from NumPy's legacy generator, so that every version of PyTorch
writes the same numbers.
"""

from typing import Tuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Driver(nn.Module):
    """A driving network: two hidden layers and a squashed head."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3), nn.Tanh())

    def forward(self, x):
        return self.network(x)


class GaussianHead(nn.Module):
    """Mean and standard deviation from one head, both bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 12), nn.SiLU())
        self.head = nn.Linear(12, 4)
        self.register_buffer("half_range", torch.tensor([0.5, 1.5]))
        self.register_buffer("centre", torch.tensor([0.5, -0.25]))

    def forward(self, x) -> Tuple[torch.Tensor, torch.Tensor]:
        mean, log_std = self.head(self.body(x)).chunk(2, dim=-1)
        log_std = torch.clamp(log_std, -4.0, 1.0)
        return torch.tanh(mean) * self.half_range + self.centre, log_std.exp()


class ActMethod(nn.Module):
    """A network that is asked by its method act, which can sample."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(5, 8)
        self.mean = nn.Linear(8, 3)
        self.log_std = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return self.mean(torch.tanh(self.hidden(x)))

    @torch.jit.export
    def act(self, x, deterministic: bool = True):
        action = self.mean(torch.tanh(self.hidden(x)))
        if not deterministic:
            action = action + torch.exp(self.log_std) * torch.randn_like(action)
        return torch.clamp(action, -1.0, 1.0)


class SharedWeights(nn.Module):
    """One layer under two names, and one weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.again = self.first
        self.tied = nn.Linear(6, 6, bias=False)
        self.tied.weight = self.first.weight

    def forward(self, x):
        return self.tied(F.relu(self.again(F.relu(self.first(x)))))


class LayersLoop(nn.Module):
    """A Python loop over a list of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(5, 5) for _ in range(3)])
        self.out = nn.Linear(5, 2)

    def forward(self, x):
        for layer in self.layers:
            x = F.elu(layer(x))
        return self.out(x)


class RunningNormalizer(nn.Module):
    """An empirical normaliser with its statistics in buffers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.eps = 1e-2
        self.register_buffer("_mean", torch.zeros(1, width))
        self.register_buffer("_std", torch.ones(1, width))
        self.register_buffer("count", torch.tensor(512, dtype=torch.long))

    def forward(self, x):
        return (x - self._mean) / (self._std + self.eps)


class RobotPolicy(nn.Module):
    """An exported legged-robot policy: normaliser, actor, and a reset that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(10, 16), nn.ELU(), nn.Linear(16, 8), nn.ELU(), nn.Linear(8, 4))
        self.normalizer = RunningNormalizer(10)

    def forward(self, x):
        return self.actor(self.normalizer(x))

    @torch.jit.export
    def reset(self):
        pass


class ImageAndState(nn.Module):
    """Two inputs: a small picture and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, stride=2)
        self.state = nn.Linear(4, 6)
        self.out = nn.Linear(3 * 4 + 6, 2)

    def forward(self, image, state):
        seen = F.relu(self.conv(image)).flatten(1)
        return self.out(torch.cat((seen, torch.tanh(self.state(state))), 1))


def sequential() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def fill(module: nn.Module, seed: int) -> nn.Module:
    """Give every parameter and every floating buffer but constants drawn values."""
    random = np.random.RandomState(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            spread = 1.0 / np.sqrt(parameter.shape[-1])
            parameter.copy_(torch.from_numpy(random.uniform(-spread, spread, tuple(parameter.shape))))
        for name, buffer in module.named_buffers():
            if name.endswith("_mean"):
                buffer.copy_(torch.from_numpy(random.normal(0, 1, tuple(buffer.shape))))
            elif name.endswith("_std"):
                buffer.copy_(torch.from_numpy(random.uniform(0.3, 2, tuple(buffer.shape))))
    return module.eval()
