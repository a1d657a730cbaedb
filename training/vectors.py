"""Record drives for the other languages that have the environment.

    python training/vectors.py training/drive_vectors.json

The page of the server drives in JavaScript what ``driving_env.py`` drives in
Python. The file has, for a few seeds, the road and a whole drive: the actions,
and after each the state of the car and what its sensors read. Half of the
drives follow the road by a rule, up to its end; the others act at random, up
to an edge, and past the bounds of an action. Everything follows from the seeds,
so the file is the same wherever it is written, but for the last digits that two
mathematical libraries differ in.
"""

from __future__ import annotations

import json
import math
import pathlib
import sys
from collections.abc import Iterable

from driving_env import ROAD_POINTS, DrivingEnv, Road, SplitMix64

SEEDS = (1, 1_000_000, 2**53 - 1, 2**64 - 1)
DIGITS = 10  # behind the point: finer than the tolerance of a comparison


def follow(env: DrivingEnv) -> list[float]:
    """A rule that keeps to the middle of what the sensors see."""
    far_left, left, ahead, right, far_right = env.sensors
    steer = 2.2 * (left - right) + 1.2 * (far_left - far_right)
    target = 3.0 + 9.0 * ahead
    return [0.4 * (target - env.speed), 0.3 * (env.speed - target), steer]


def wander(random: SplitMix64) -> list[float]:
    return [random.uniform(-0.5, 1.5), random.uniform(-1.0, 1.2), random.uniform(-1.5, 1.5)]


def state(env: DrivingEnv) -> list[float]:
    """x, y, heading, speed, steering, distance along the road, then the five sensors."""
    return rounded([env.x, env.y, env.heading, env.speed, env.steering, env.travelled, *env.sensors])


def rounded(values: Iterable[float]) -> list[float]:
    return [round(v, DIGITS) for v in values]


def road(seed: int) -> dict:
    """The centre line as x, y and heading of each point, the edges as x, y of the left and x, y of the right one."""
    road = Road(SplitMix64(seed))
    ends = road.segments[:, -1, :2] + road.segments[:, -1, 2:]
    edges = [[*left, *right] for left, right in zip([*road.segments[0, :, :2], ends[0]], [*road.segments[1, :, :2], ends[1]])]
    return {
        "centre": [rounded([road.x[i], road.y[i], road.heading[i]]) for i in range(ROAD_POINTS)],
        "edges": [rounded(map(float, row)) for row in edges],
    }


def drive(seed: int, rule: bool) -> dict:
    env = DrivingEnv()
    env.reset(seed=seed)
    random = SplitMix64(seed ^ 0x5DEECE66D)
    start = state(env)
    actions, states, points = [], [], []
    while True:
        action = rounded(follow(env) if rule else wander(random))
        _, _, terminated, truncated, info = env.step(action)
        actions.append(action)
        states.append(state(env))
        points.append(env.point)
        if terminated or truncated:
            break
    return {
        "rule": rule,
        "start": start,
        "actions": actions,
        "states": states,
        "points": points,
        "crashed": info["crashed"],
        "success": info["is_success"],
        "truncated": truncated,
    }


def vectors() -> dict:
    # A seed is a text: it may be more than a float64 holds.
    return {"roads": [{"seed": str(seed), **road(seed), "drives": [drive(seed, rule) for rule in (True, False)]} for seed in SEEDS]}


def differences(want: dict, got: dict, tolerance: float = 1e-8) -> list[str]:
    """Where two such files differ by more than tolerance, which is absolute."""
    found = []

    def compare(path: str, a: object, b: object) -> None:
        if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            for key in a:
                compare(f"{path}.{key}", a[key], b[key])
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            for i, (x, y) in enumerate(zip(a, b)):
                compare(f"{path}[{i}]", x, y)
        elif isinstance(a, float) and isinstance(b, float):
            if not math.isclose(a, b, rel_tol=0.0, abs_tol=tolerance):
                found.append(f"{path}: {a} and {b}")
        elif a != b:
            found.append(f"{path}: {a!r} and {b!r}"[:200])

    compare("", want, got)
    return found


def lines(value: object) -> str:
    """JSON with one row a line, so that a change can be read."""
    if isinstance(value, dict):
        return "{" + ",\n".join(f'"{key}": {lines(v)}' for key, v in value.items()) + "}"
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        return "[\n" + ",\n".join(map(lines, value)) + "]"
    return json.dumps(value, separators=(",", ":"))


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: vectors.py FILE", file=sys.stderr)
        return 2
    found = vectors()
    pathlib.Path(sys.argv[1]).write_text(lines(found) + "\n", encoding="utf-8")
    for road in found["roads"]:
        for drive in road["drives"]:
            end = next(name for name in ("success", "crashed", "truncated") if drive[name])
            print(f"seed {road['seed']}: {len(drive['actions'])} steps, {end} after {drive['states'][-1][5]:.1f} m")
    return 0


if __name__ == "__main__":
    sys.exit(main())
