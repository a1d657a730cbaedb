"""Time torch's forward of the benchmark's networks in this process.

Reads one command a line and answers each with one line, so that the caller can
take a sample of this process and a sample of another in turn:

    prepare CASE BATCH   -> ok
    sample KIND RUNS     -> seconds of one of RUNS runs; KIND is eager or jit

The first line that is written is the version of torch. One thread, inference
mode; jit is traced, frozen and warm. Weights are torch's own initial ones: they
have no bearing on the time.
"""

import os
import sys
import time


def main() -> None:
    if len(sys.argv) > 1 and int(sys.argv[1]) >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(sys.argv[1])})
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(1)

    def perceptron(activation, *widths):
        layers = []
        for i, (a, b) in enumerate(zip(widths, widths[1:])):
            layers.append(nn.Linear(a, b))
            if i < len(widths) - 2:
                layers.append(activation())
        return nn.Sequential(*layers)

    class Scaled(nn.Module):
        def __init__(self, inner, width):
            super().__init__()
            self.inner = inner
            self.register_buffer("mean", torch.full((width,), 0.5))
            self.register_buffer("std", torch.full((width,), 0.3))

        def forward(self, x):
            return self.inner((x - self.mean) / self.std)

    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(64, 256)

        def forward(self, x, h, c):
            y, (h, c) = self.lstm(x, (h, c))
            return y, h, c

    def nature():
        return nn.Sequential(
            nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 6),
        )

    cases = {
        "driving": (lambda: Scaled(perceptron(nn.ReLU, 5, 64, 64, 3), 5), lambda n: (torch.rand(n, 5),)),
        "mlp256": (lambda: perceptron(nn.ReLU, 17, 256, 256, 6), lambda n: (torch.rand(n, 17),)),
        "mlp256tanh": (lambda: perceptron(nn.Tanh, 17, 256, 256, 6), lambda n: (torch.rand(n, 17),)),
        "lstm256": (Step, lambda n: (torch.rand(1, n, 64), torch.rand(1, n, 256), torch.rand(1, n, 256))),
        "nature": (nature, lambda n: (torch.rand(n, 4, 84, 84),)),
    }
    kinds, inputs = {}, ()
    print(torch.__version__, flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            words = line.split()
            if words[0] == "prepare":
                make, draw = cases[words[1]]
                eager, inputs = make().eval(), draw(int(words[2]))
                traced = torch.jit.freeze(torch.jit.trace(eager, inputs))
                for _ in range(3):
                    traced(*inputs)
                kinds = {"eager": eager, "jit": traced}
                print("ok", flush=True)
            else:
                run, n = kinds[words[1]], int(words[2])
                start = time.perf_counter()
                for _ in range(n):
                    run(*inputs)
                print((time.perf_counter() - start) / n, flush=True)


main()
