"""A car on a narrow road, as a Gymnasium environment.

The observation is that of the deployment guide: speed in km/h, the angle of
the wheels and five range sensors. The action is throttle, brake and steer. A
road is drawn from the seed alone (see ``SplitMix64``) and the physics is plain
float64 arithmetic, so that any language can drive the same episodes: a test of
the server ports this file to Go and lets the Go engine drive it.

An episode succeeds when the car reaches the end of the road. It fails when the
car touches an edge of the road or a block that stands into it, or when time
runs out.
"""

from __future__ import annotations

import math

import gymnasium
import numpy as np

# Road, in metres.
POINT_SPACING = 2.0
ROAD_POINTS = 111  # 220 m of centre line
HALF_WIDTH = 4.0
START_POINT = 5  # the car starts here, with the road closed behind it
STRAIGHT_POINTS = 10  # no curve before this point
BLOCK_DEPTH = (1.8, 2.6)  # how far a block stands into the road
BLOCK_POINTS = 5  # length of a block, ramps included
CURVE_POINTS = (8, 16)  # length of a curve
CURVE_RADIUS = (14.0, 40.0)

# Car. The body is a circle, the motion that of a bicycle.
BODY_RADIUS = 0.9
WHEEL_BASE = 2.6
WHEEL_ANGLE_MAX = 0.5  # radians at |steering| = 1
WHEEL_RATE = 4.0  # change of steering a second
THROTTLE_ACCELERATION = 4.0  # m/s2 at full throttle
BRAKE_ACCELERATION = 7.0
DRAG = 0.02  # 1/s2 per m/s squared of speed is DRAG*v*v
GRIP = 6.0  # largest lateral acceleration, m/s2; beyond it the car slides outwards
SPEED_START = (4.0, 9.0)
SPEED_MAX = 200.0 / 3.6

# Sensors.
SENSOR_ANGLES = (math.pi * 70 / 180, math.pi * 30 / 180, 0.0, -math.pi * 30 / 180, -math.pi * 70 / 180)
SENSOR_RANGE = 30.0  # metres; a reading of 1 is this far or farther

TIME_STEP = 0.1  # seconds
MAX_STEPS = 450
REWARD_SPEED = 10.0  # m/s beyond which progress earns nothing more

OBSERVATION_LOW = (0.0, -1.0) + (0.0,) * 5
OBSERVATION_HIGH = (200.0, 1.0) + (1.0,) * 5
ACTION_LOW = (0.0, 0.0, -1.0)
ACTION_HIGH = (1.0, 1.0, 1.0)

_MASK = (1 << 64) - 1


class SplitMix64:
    """The splitmix64 generator: eight lines in any language."""

    def __init__(self, seed: int) -> None:
        self.state = seed & _MASK

    def next(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & _MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * ((self.next() >> 11) * (1.0 / (1 << 53)))

    def integer(self, low: int, high: int) -> int:
        """A whole number of [low, high]."""
        return low + self.next() % (high - low + 1)


class Road:
    """Centre line and edges as polylines, drawn from a generator."""

    def __init__(self, random: SplitMix64) -> None:
        # Curvature, one value a point: alternating curves without straights
        # between them, so that no constant steering follows a road.
        curvature = [0.0] * ROAD_POINTS
        point = STRAIGHT_POINTS
        side = 1.0 if random.integer(0, 1) == 1 else -1.0
        while point < ROAD_POINTS:
            length = random.integer(*CURVE_POINTS)
            bend = side / random.uniform(*CURVE_RADIUS)
            # A curve turns by at most 75 degrees, so that a road never meets itself.
            limit = 1.3 / (length * POINT_SPACING)
            bend = max(-limit, min(limit, bend))
            for i in range(point, min(point + length, ROAD_POINTS)):
                curvature[i] = bend
            point += length
            side = -side

        # Blocks: one side of the road is narrower for a few points.
        left = [HALF_WIDTH] * ROAD_POINTS
        right = [HALF_WIDTH] * ROAD_POINTS
        point = random.integer(14, 22)
        while point + BLOCK_POINTS < ROAD_POINTS:
            depth = random.uniform(*BLOCK_DEPTH)
            edge = left if random.integer(0, 1) == 1 else right
            for i in range(point + 1, point + BLOCK_POINTS - 1):
                edge[i] = HALF_WIDTH - depth
            point += random.integer(14, 22)

        self.x = [0.0] * ROAD_POINTS
        self.y = [0.0] * ROAD_POINTS
        self.heading = [0.0] * ROAD_POINTS
        for i in range(1, ROAD_POINTS):
            self.heading[i] = self.heading[i - 1] + curvature[i] * POINT_SPACING
            middle = (self.heading[i - 1] + self.heading[i]) / 2
            self.x[i] = self.x[i - 1] + POINT_SPACING * math.cos(middle)
            self.y[i] = self.y[i - 1] + POINT_SPACING * math.sin(middle)

        # Edges as segments (ax, ay, bx-ax, by-ay): row i joins point i to i+1,
        # the left edge in column 0, the right one in column 1.
        edges = np.empty((2, ROAD_POINTS, 2))
        for i in range(ROAD_POINTS):
            sin, cos = math.sin(self.heading[i]), math.cos(self.heading[i])
            edges[0, i] = (self.x[i] - left[i] * sin, self.y[i] + left[i] * cos)
            edges[1, i] = (self.x[i] + right[i] * sin, self.y[i] - right[i] * cos)
        self.segments = np.concatenate([edges[:, :-1], edges[:, 1:] - edges[:, :-1]], axis=2)


class DrivingEnv(gymnasium.Env):
    """Drive a road to its end. Actions are clipped to their bounds."""

    metadata = {"render_modes": []}

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(
            np.array(OBSERVATION_LOW, np.float32), np.array(OBSERVATION_HIGH, np.float32)
        )
        self.action_space = gymnasium.spaces.Box(np.array(ACTION_LOW, np.float32), np.array(ACTION_HIGH, np.float32))

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """With a seed the episode is that of the seed; without, the next one."""
        super().reset(seed=seed)
        if seed is not None:
            self._random = SplitMix64(seed)
        elif not hasattr(self, "_random"):
            self._random = SplitMix64(0)
        random = self._random
        self.road = Road(random)
        side = random.uniform(-1.5, 1.5)
        heading = self.road.heading[START_POINT]
        self.x = self.road.x[START_POINT] - side * math.sin(heading)
        self.y = self.road.y[START_POINT] + side * math.cos(heading)
        self.heading = heading + random.uniform(-0.15, 0.15)
        self.speed = random.uniform(*SPEED_START)
        self.steering = 0.0
        self.point = START_POINT
        self.steps = 0
        self.travelled = self._travelled()
        self.sensors, _ = self._sense()
        return self._observation(), {}

    def step(self, action):
        throttle, brake, steer = (
            min(max(float(a), low), high) for a, low, high in zip(action, ACTION_LOW, ACTION_HIGH)
        )
        change = WHEEL_RATE * TIME_STEP
        self.steering += min(max(steer - self.steering, -change), change)
        acceleration = THROTTLE_ACCELERATION * throttle - BRAKE_ACCELERATION * brake - DRAG * self.speed * self.speed
        self.speed = min(max(self.speed + acceleration * TIME_STEP, 0.0), SPEED_MAX)
        turn = self.speed / WHEEL_BASE * math.tan(self.steering * WHEEL_ANGLE_MAX)
        if self.speed * abs(turn) > GRIP:
            turn = math.copysign(GRIP / self.speed, turn)
        middle = self.heading + turn * TIME_STEP / 2
        self.x += self.speed * TIME_STEP * math.cos(middle)
        self.y += self.speed * TIME_STEP * math.sin(middle)
        self.heading += turn * TIME_STEP
        self.steps += 1

        before = self.travelled
        self.travelled = self._travelled()
        self.sensors, clearance = self._sense()

        crashed = clearance < BODY_RADIUS
        success = not crashed and self.point >= ROAD_POINTS - 2
        progress = self.travelled - before
        reward = 0.1 * min(progress, REWARD_SPEED * TIME_STEP) - 0.02
        # A standing wheel is worth a little; it keeps the drive smooth.
        reward -= 0.01 * abs(steer - self.steering)
        if crashed:
            reward -= 5.0
        if success:
            reward += 5.0
        truncated = not (crashed or success) and self.steps >= MAX_STEPS
        info = {"is_success": success, "crashed": crashed}
        return self._observation(), reward, crashed or success, truncated, info

    def _travelled(self) -> float:
        """Distance along the centre line; moves ``point``, the nearest one, forward or back by at most two."""
        best = math.inf
        at = self.point
        road = self.road
        for i in range(max(self.point - 2, 0), min(self.point + 3, ROAD_POINTS)):
            distance = (road.x[i] - self.x) ** 2 + (road.y[i] - self.y) ** 2
            if distance < best:
                best, at = distance, i
        self.point = at
        along = (self.x - road.x[at]) * math.cos(road.heading[at]) + (self.y - road.y[at]) * math.sin(road.heading[at])
        return at * POINT_SPACING + along

    def _sense(self) -> tuple[list[float], float]:
        """Readings of the sensors, and the distance of the nearest edge."""
        first = max(self.point - 8, 0)
        last = min(self.point + 17, ROAD_POINTS - 1)
        near = self.road.segments[:, first:last].reshape(-1, 4)
        ax, ay = near[:, 0] - self.x, near[:, 1] - self.y
        ex, ey = near[:, 2], near[:, 3]

        # A ray (dx, dy)*t meets a segment a + e*u where t and u solve the two equations.
        angles = [self.heading + angle for angle in SENSOR_ANGLES]
        dx = np.array([[math.cos(angle)] for angle in angles])
        dy = np.array([[math.sin(angle)] for angle in angles])
        cross = dx * ey - dy * ex
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (ax * ey - ay * ex) / cross
            u = (ax * dy - ay * dx) / cross
        hit = (t >= 0) & (u >= 0) & (u <= 1)
        ranges = np.where(hit, t, SENSOR_RANGE).min(axis=1)

        u = np.clip(-(ax * ex + ay * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        clearance = math.sqrt(np.min((ax + u * ex) ** 2 + (ay + u * ey) ** 2))
        return [min(r / SENSOR_RANGE, 1.0) for r in ranges.tolist()], clearance

    def _observation(self) -> np.ndarray:
        return np.array([self.speed * 3.6, self.steering, *self.sensors], np.float32)
