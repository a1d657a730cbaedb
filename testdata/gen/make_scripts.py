"""Write scripted modules that remember their steps, or whose control flow depends on data, and what torch answers.

    python make_scripts.py OUT

makes OUT/<version of PyTorch>/<case>/: model_script.pt and cases.json with the steps of two episodes of one row each.
"""

import json
import math
import pathlib
import sys
from enum import Enum
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

torch.set_num_threads(1)


class Memory(nn.Module):
    """A recurrent cell whose state is a buffer, which reset() empties."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        self.out = nn.Linear(4, 2)
        self.register_buffer("hidden", torch.full((1, 4), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        self.hidden = self.cell(x, self.hidden)
        return self.out(self.hidden)

    @torch.jit.export
    def reset(self):
        self.hidden = torch.zeros(1, 4)


class InPlace(nn.Module):
    """Buffers that are written in place, and through a view."""

    def __init__(self):
        super().__init__()
        self.register_buffer("frames", torch.zeros(1, 3, 3))
        self.register_buffer("sum", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.frames[:, :2] = self.frames[:, 1:].clone()
        self.frames[0, 2] = x[0]
        self.sum.mul_(0.5).add_(x[0])
        return torch.cat([self.frames.flatten(1), self.sum.unsqueeze(0)], 1)

    @torch.jit.export
    def reset(self):
        self.frames.zero_()
        self.sum.fill_(1.0)


class Counter(nn.Module):
    """An integer, a number and a truth value that decide what is done."""

    def __init__(self):
        super().__init__()
        self.steps: int = 3
        self.gain: float = 1.0
        self.warm: bool = False

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        if self.steps % 3 == 0:
            self.gain = self.gain * 0.5 + 0.25
            self.warm = not self.warm
        y = x * self.gain
        if self.warm:
            y = torch.tanh(y) + self.steps
        return y

    @torch.jit.export
    def reset(self):
        self.steps = 0
        self.gain = 1.0
        self.warm = False


class Last(nn.Module):
    """The last action, which there is not at the first step."""

    last: Optional[Tensor]

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.last = torch.jit.annotate(Optional[Tensor], None)

    def forward(self, x: Tensor) -> Tensor:
        action = torch.tanh(self.layer(x))
        last = self.last
        if last is not None:
            action = 0.8 * last + 0.2 * action
        self.last = action
        return action

    @torch.jit.export
    def reset(self):
        self.last = None


class History(nn.Module):
    """A list of the last observations."""

    history: List[Tensor]

    def __init__(self):
        super().__init__()
        self.history = [torch.zeros(1, 3), torch.ones(1, 3)]

    def forward(self, x: Tensor) -> Tensor:
        self.history.append(x)
        self.history.pop(0)
        return torch.stack(self.history, 1).flatten(1)


class Branches(nn.Module):
    """Nested decisions on data, with early returns."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 2)
        self.b = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 1.0):
            if float(x[0, 0]) > 0.5:
                return torch.relu(self.a(x))
            y = self.b(x)
        else:
            y = self.a(x) - 1
            if bool((x < -1).any()):
                y = y * 3
        if int(y.argmax()) == 0:
            return -y
        return y


class Loops(nn.Module):
    """Loops that data end, by their condition, by break and by continue."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        n = 0
        while bool(x.abs().max() > 0.2):
            x = torch.tanh(self.layer(x)) * 0.7
            n += 1
            if n >= 6:
                break
        total = torch.zeros(1, 3)
        for i in range(5):
            if bool((x * i).sum() > 0.4):
                continue
            if bool(total.sum() > 0.5):
                break
            total = total + x * (i + 1)
        return torch.cat([total, x], 1)


class Stateful(nn.Module):
    """A state that is written in one branch only."""

    def __init__(self):
        super().__init__()
        self.register_buffer("best", torch.zeros(1))
        self.since: int = 0

    def forward(self, x: Tensor) -> Tensor:
        if bool(x[0, 0] > self.best[0]):
            self.best = x[:, 0].clone()
            self.since = 0
        else:
            self.since += 1
        if self.since > 1:
            return x + self.best
        return x * 1

    @torch.jit.export
    def reset(self):
        self.best = torch.full((1,), -0.5)
        self.since = 1


class Ring(nn.Module):
    """A buffer that is written round and round, at a position that is kept."""

    at: int

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.zeros(4, 3))
        self.at = 0

    def forward(self, x: Tensor) -> Tensor:
        self.kept[self.at] = x[0]
        self.at = (self.at + 1) % 4
        return torch.cat([x, self.kept[self.at].unsqueeze(0), self.kept.mean(0, keepdim=True)], 1)

    @torch.jit.export
    def reset(self):
        self.kept.zero_()
        self.at = 0


class Chosen(nn.Module):
    """Elements at positions that the data gives, and numbers of the data as constants."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.arange(12.0).view(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        i = int(x[0].argmax())
        n = 0
        while n < 3 and bool(x[0, n] > 0):
            n += 1
        z = torch.full([1, 3], float(n)) + self.table[i + n // 3]
        z[0, i] = float(x[0, i]) * 2
        return z + torch.tensor([float(i), 0.5, float(x.sum())])


class Twice(NamedTuple):
    plain: Tensor
    double: Optional[Tensor]


class Kind(Enum):
    PLAIN = 1
    SQUASH = 2


class Gain(nn.Module):
    def __init__(self, gain: float):
        super().__init__()
        self.gain = gain
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor, more: Optional[Tensor] = None, gain: float = 1.5, repeat: int = 1) -> Tensor:
        for _ in range(repeat):
            x = self.layer(x) * gain
        if more is not None:
            x = x + more
        return x * self.gain


class Settings(nn.Module):
    """What is known when the module is saved: enumerations, default arguments, dicts, named tuples, blocks without gradients."""

    limits: Dict[str, float]
    order: List[int]

    def __init__(self):
        super().__init__()
        self.kind = Kind.SQUASH
        self.limits = {"low": -0.8, "high": 0.9}
        self.order = [2, 0, 1]
        self.parts = nn.ModuleDict({"a": Gain(0.5), "b": Gain(2.0)})
        self.stack = nn.ModuleList([Gain(1.0), Gain(0.25)])

    def both(self, x: Tensor, double: bool = True) -> Twice:
        y: Optional[Tensor] = None
        if double:
            y = x * 2
        return Twice(x, y)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.parts["a"](x) + self.parts["b"](x, gain=0.5, repeat=2) - self.parts["a"](x, more=x)
        for i, part in enumerate(self.stack):
            y = part(y) * (i + 1) + self.stack[0].gain
        for i in range(len(self.order) - 1, -1, -2):
            y = y + x[:, self.order[i]].unsqueeze(1) * i
        twice = self.both(y)
        double = twice.double
        if double is not None:
            y = twice.plain + double
        if self.kind == Kind.SQUASH:
            y = torch.tanh(y)
        y = y[:, self.order].clamp(self.limits["low"], self.limits["high"])
        return torch.cat([y, self.both(y, double=False).plain[..., None, 0] * math.pi], dim=-1)


class Cell(nn.Module):
    """States in a tuple and in a dict."""

    state: Tuple[Tensor, Tensor]
    seen: Dict[str, Tensor]

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(3, 4)
        self.state = (torch.zeros(1, 4), torch.ones(1, 4))
        self.seen = {"last": torch.zeros(1, 3), "most": torch.zeros(1, 3)}

    def forward(self, x: Tensor) -> Tensor:
        self.state = self.cell(x - self.seen["last"], self.state)
        self.seen["last"] = x
        self.seen["most"] = torch.maximum(self.seen["most"], x)
        return torch.cat([self.state[0], self.seen["most"]], 1)

    @torch.jit.export
    def reset(self):
        self.state = (torch.zeros(1, 4), torch.zeros(1, 4))
        self.seen["last"] = torch.zeros(1, 3)
        self.seen["most"] = torch.zeros(1, 3)


class Blend(nn.Module):
    """A buffer that only the branches of a decision write, in place."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.zeros(1, 3))
        self.register_buffer("step", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.step += 1
        if int(self.step[0]) % 2 == 1:
            self.kept.copy_(torch.lerp(self.kept, x, 0.3))
        else:
            self.kept.mul_(0.9).add_(x, alpha=0.1)
        return self.kept * 2

    @torch.jit.export
    def reset(self):
        self.kept.zero_()
        self.step.fill_(0)


CASES = {
    "memory": Memory, "in_place": InPlace, "counter": Counter, "last": Last, "history": History, "branches": Branches, "loops": Loops,
    "stateful": Stateful, "ring": Ring, "chosen": Chosen, "settings": Settings, "cell": Cell, "blend": Blend,
}
FROZEN = ["memory", "branches", "settings"]  # saved once more by torch.jit.freeze
STEPS = 7


def write(out, name, seed):
    module = CASES[name]().eval()
    random = np.random.RandomState(seed)
    for parameter in module.parameters():
        parameter.data = torch.from_numpy(random.normal(0, 0.6, tuple(parameter.shape)).astype(np.float32))
        parameter.requires_grad_(False)
    scripted = torch.jit.script(module)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    scripted.save(str(folder / "model_script.pt"))
    files = {"script": "model_script.pt"}
    if name in FROZEN:
        files["frozen"] = "model_frozen.pt"
        torch.jit.freeze(scripted, preserved_attrs=["reset"] if hasattr(module, "reset") else None).save(str(folder / files["frozen"]))
    steps = []
    with torch.no_grad():
        for i in range(2 * STEPS):
            if i == STEPS and hasattr(module, "reset"):
                scripted.reset()
            x = torch.from_numpy(random.normal(0, 1, (1, 3)).astype(np.float32))
            steps.append({"batch": 1, "inputs": {"x": x.tolist()}, "outputs": {"out": scripted(x).tolist()}})
    resets = [STEPS] if hasattr(module, "reset") else []
    version = torch.__version__.split("+")[0]
    case = {"name": f"scripts/{name}", "torch": version, "files": files, "sequence": True, "atol": 1e-5}
    case.update(input_names=["x"], input_dtypes={"x": "float32"}, reset_before_steps=resets, steps=steps)
    (folder / "cases.json").write_text(json.dumps(case) + "\n")


def main():
    out = pathlib.Path(sys.argv[-1]) / torch.__version__.split("+")[0]
    for seed, name in enumerate(CASES):
        write(out, name, 900 + seed)


if __name__ == "__main__":
    main()
