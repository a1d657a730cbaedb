"""Drive episodes with a policy and with three that should fail.

The evaluation seeds never occur in training. A policy that beats the baselines
by far has learned to read its sensors: the constant policies, the random one
and the trained one with its sensors shuffled do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from driving_env import ACTION_HIGH, ACTION_LOW, DrivingEnv

EVALUATION_SEED = 1_000_000
EPISODES = 200

Policy = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Score:
    success_rate: float
    reward_mean: float
    reward_std: float
    speed_mean: float  # km/h over all steps
    steps_mean: float


def drive(env: DrivingEnv, policy: Policy, seed: int) -> tuple[bool, float, list[np.ndarray], list[np.ndarray]]:
    """One episode: whether it succeeded, its reward, its observations and its actions."""
    observation, _ = env.reset(seed=seed)
    observations, actions, total = [], [], 0.0
    while True:
        action = policy(observation)
        observations.append(observation)
        actions.append(action)
        observation, reward, terminated, truncated, info = env.step(action)
        total += reward
        if terminated or truncated:
            return info["is_success"], total, observations, actions


def score(policy: Policy, episodes: int = EPISODES) -> Score:
    env = DrivingEnv()
    results = [drive(env, policy, EVALUATION_SEED + i) for i in range(episodes)]
    rewards = [reward for _, reward, _, _ in results]
    return Score(
        success_rate=sum(success for success, _, _, _ in results) / episodes,
        reward_mean=float(np.mean(rewards)),
        reward_std=float(np.std(rewards)),
        speed_mean=float(np.mean([o[0] for _, _, observations, _ in results for o in observations])),
        steps_mean=float(np.mean([len(actions) for _, _, _, actions in results])),
    )


def random_policy(seed: int = 0) -> Policy:
    generator = np.random.default_rng(seed)
    return lambda _: generator.uniform(ACTION_LOW, ACTION_HIGH)


def shuffled(policy: Policy, seed: int = 0) -> Policy:
    """The same policy, its five range sensors in a random order at every step."""
    generator = np.random.default_rng(seed)

    def act(observation: np.ndarray) -> np.ndarray:
        observation = observation.copy()
        generator.shuffle(observation[2:])
        return policy(observation)

    return act


def constant_policies() -> list[Policy]:
    """Gentle and hard, straight and to both sides."""

    def constant(throttle: float, steer: float) -> Policy:
        return lambda _: np.array([throttle, 0.0, steer])

    return [constant(throttle, steer) for throttle in (0.1, 0.3, 1.0) for steer in (-0.1, 0.0, 0.1)]


def score_all(policy: Policy, episodes: int = EPISODES) -> dict[str, Score]:
    """Scores by name; of the constant policies the best one's."""
    return {
        "trained": score(policy, episodes),
        "random": score(random_policy(), episodes),
        "constant": max((score(p, episodes) for p in constant_policies()), key=lambda s: (s.success_rate, s.reward_mean)),
        "shuffled_sensors": score(shuffled(policy), episodes),
    }
