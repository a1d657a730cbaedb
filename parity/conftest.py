"""Runs the built command on freshly made files.

CARLA_RL_BIN names the command (bin/carla-rl without it). Each run draws new
networks; CARLA_RL_PARITY_SEED repeats the run whose seed it names.
"""

import json
import math
import os
import pathlib
import random
import subprocess

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("CARLA_RL_BIN", str(ROOT / "bin" / "carla-rl"))
SEED = int(os.environ.get("CARLA_RL_PARITY_SEED", random.SystemRandom().randrange(2**31)))


def pytest_report_header():
    import torch

    return [f"parity: {BINARY}, torch {torch.__version__}, CARLA_RL_PARITY_SEED={SEED}"]


@pytest.fixture
def rng(request):
    """A generator of its own for each test, from the run's seed and the test's name."""
    import torch

    seed = np.random.SeedSequence([SEED, *request.node.nodeid.encode()])
    torch.manual_seed(int(seed.generate_state(1)[0]))
    return np.random.default_rng(seed)


def carla_rl(*arguments, question=None, fails=False):
    """The command's standard output; with fails, its standard error."""
    done = subprocess.run(
        [BINARY, *map(str, arguments)],
        input=None if question is None else json.dumps(question),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if fails:
        assert done.returncode != 0, f"{arguments} succeeded: {done.stdout[:500]}"
        return done.stderr
    assert done.returncode == 0, f"{arguments}: {done.stderr[:2000]}"
    return done.stdout


def predict(model, question, *arguments):
    return json.loads(carla_rl("predict", "--model", model, "--input", "-", *arguments, question=question))


def numbers(values):
    """JSON values as an array; NaN and infinities are strings there."""
    if isinstance(values, list):
        return np.array([numbers(v) for v in values])
    return np.float64(values)


def rows(array):
    """An array as JSON values, in the shortest decimals that read back as the same float32."""
    array = np.asarray(array)
    if array.ndim:
        return [rows(v) for v in array]
    value = float(str(np.float32(array)))
    return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")


def assert_close(got, want, atol=1e-5, rtol=1e-5):
    got, want = numbers(got) if isinstance(got, list) else np.asarray(got), np.asarray(want, np.float64)
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    assert np.array_equal(np.isnan(got), np.isnan(want)), "NaN in other places"
    with np.errstate(invalid="ignore"):
        off = np.abs(got - want) - (atol + rtol * np.abs(want))
    off[(got == want) | np.isnan(want)] = -1
    worst = np.unravel_index(np.argmax(off), off.shape)
    assert off[worst] <= 0, f"at {worst}: got {got[worst]!r}, expected {want[worst]!r}"
