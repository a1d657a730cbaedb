"""Write programs of torch.export that keep state in buffers, or whose control
flow depends on data, each with what torch answers step after step."""

import json
import pathlib
import sys

import torch
from torch import nn


class Cell(nn.Module):
    """A recurrent cell whose state is a buffer."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        self.out = nn.Linear(4, 2)
        self.register_buffer("hidden", torch.full((1, 4), 0.25))

    def forward(self, obs):
        self.hidden.copy_(self.cell(obs, self.hidden))
        return self.out(self.hidden)


class Frames(nn.Module):
    """The last three observations, in a buffer that is copied to."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(9, 2)
        self.register_buffer("frames", torch.zeros(1, 3, 3))

    def forward(self, obs):
        self.frames.copy_(torch.cat([self.frames[:, 1:], obs.unsqueeze(1)], 1))
        return self.out(self.frames.flatten(1))


class Views(nn.Module):
    """Buffers that are changed through views, beside one that is not."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("memory", torch.zeros(2, 4))
        self.register_buffer("scale", torch.ones(3) * 0.5)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, obs):
        self.memory[0, :2] = self.layer(obs * self.scale)[0] + self.memory[0, 2:]
        self.memory[0, 2:] += 1.0
        self.memory[1].mul_(0.5).add_(1)
        self.count += 1
        return self.memory.sum() + obs * 0, self.count * 2


class Branch(nn.Module):
    """One of two layers, by the sum of the observation."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 2)
        self.b = nn.Linear(3, 2)

    def forward(self, obs):
        return torch.cond(obs.sum() > 0, lambda x: torch.relu(self.a(x)), lambda x: torch.tanh(self.b(x)), (obs,))


class Loop(nn.Module):
    """A layer that is applied until its result is small."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, obs):
        from torch._higher_order_ops.while_loop import while_loop

        def holds(i, x):
            return (i < 5) & (x.abs().max() > 0.3)

        def body(i, x):
            return i + 1, torch.tanh(self.layer(x)) * 0.5

        return while_loop(holds, body, (torch.zeros((), dtype=torch.int64), obs))[1]


class Decide(nn.Module):
    """What is computed depends on how often it was asked, and, within one way, on the observation."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 2)
        self.b = nn.Linear(3, 2)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, obs):
        self.count.add_(1)

        def late(x):
            return torch.cond(x.max() > 1.0, lambda x: self.a(x) * 2, lambda x: self.b(x) - 1, (x,))

        return torch.cond(self.count.sum() > 2.5, late, lambda x: torch.tanh(self.a(x)), (obs,))


class Descent(nn.Module):
    """Several values that a loop carries, beside one that it only looks at."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, obs):
        from torch._higher_order_ops.while_loop import while_loop

        target = torch.tanh(self.layer(obs))

        def holds(x, step, i):
            return (((x - target) ** 2).sum() > 0.01) & (i < 20)

        def body(x, step, i):
            return x - step * (x - target), step * 0.9, i + 1

        x, step, turns = while_loop(holds, body, (obs * 1.0, torch.full((1, 1), 0.7), torch.zeros((), dtype=torch.int64)))
        return x, step


# The classes, and whether the form of core operators is written too.
CASES = {"cell": (Cell, False), "frames": (Frames, True), "views": (Views, False), "branch": (Branch, False), "loop": (Loop, False), "decide": (Decide, False), "descent": (Descent, False)}
OLDER = ("cell", "frames")


def write(out, name, seed):
    torch.manual_seed(seed)
    cls, decomposed = CASES[name]
    module = cls().eval().requires_grad_(False)
    obs = [torch.randn(1, 3) for _ in range(6)]
    program = torch.export.export(module, (obs[0],))
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    files = {"pt2": "model.pt2"}
    torch.export.save(program, folder / "model.pt2")
    if decomposed:
        files["decomposed"] = "model_decomposed.pt2"
        torch.export.save(program.run_decompositions(), folder / "model_decomposed.pt2")
    loaded = torch.export.load(folder / "model.pt2").module()
    steps = []
    for x in obs:
        result = loaded(x)
        if isinstance(result, tuple):
            outputs = {f"out{i}": v.tolist() for i, v in enumerate(result)}
        else:
            outputs = {"out": result.tolist()}
        steps.append({"inputs": {"obs": x.tolist()}, "outputs": outputs})
    case = {"name": name, "torch": torch.__version__.split("+")[0], "files": files, "sequence": True, "atol": 1e-5, "steps": steps}
    (folder / "cases.json").write_text(json.dumps(case) + "\n")


def main():
    version = torch.__version__.split("+")[0]
    out = pathlib.Path(sys.argv[1]) / version
    names = list(CASES) if version == "2.15.0" else OLDER
    for name in names:
        write(out, name, 400 + list(CASES).index(name))
    print(f"torch {version}: {len(names)} programs")


if __name__ == "__main__":
    main()
