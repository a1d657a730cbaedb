"""Stacked frames: a card's frame_stack against VecFrameStack and VecNormalize, over episodes of random lengths."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from conftest import assert_close, predict, rows

STEPS = 25


class World(gymnasium.Env):
    """Random frames, in episodes of random lengths."""

    def __init__(self, observations, rng):
        self.observation_space, self.action_space = observations, spaces.Box(-1, 1, (2,))
        self.rng = rng
        observations.seed(int(rng.integers(2**31)))

    def frame(self):
        self.last = self.observation_space.sample()
        return self.last

    def reset(self, *, seed=None, options=None):
        self.left = int(self.rng.integers(1, 9))
        return self.frame(), {}

    def step(self, action):
        self.left -= 1
        return self.frame(), 0.0, self.left == 0, False, {}


VECTOR = spaces.Box(-3, 3, (5,))
LAST, FIRST = spaces.Box(0, 255, (36, 40, 3), np.uint8), spaces.Box(0, 255, (1, 36, 40), np.uint8)
CASES = {
    "vector": ("MlpPolicy", VECTOR, None, None),
    "matrix": ("MlpPolicy", spaces.Box(-3, 3, (2, 3)), None, None),
    "image_channels_last": ("CnnPolicy", LAST, None, None),
    "image_channels_first": ("CnnPolicy", FIRST, None, None),
    "image_of_numbers": ("CnnPolicy", spaces.Box(-3, 3, (2, 36, 40)), None, "first"),
    "dict": ("MultiInputPolicy", spaces.Dict({"camera": LAST, "speed": VECTOR}), ["speed"], None),
    "dict_of_two_orders": (
        "MultiInputPolicy",
        spaces.Dict({"a": spaces.Box(-3, 3, (2, 3)), "b": spaces.Box(-3, 3, (2, 3))}),
        ["a", "b"],
        {"a": "first", "b": "last"},
    ),
}


ORDERS = [None, "normalize_then_stack", "stack_then_normalize"]


# VecNormalize makes floating point numbers of bytes, which CnnPolicy does not take.
@pytest.mark.parametrize("case, order", [(c, o) for c in CASES for o in ORDERS if CASES[c][1] not in (LAST, FIRST) or o is None])
def test_frame_stack(tmp_path, rng, case, order):
    policy, space, keys, channels = CASES[case]
    frames = int(rng.integers(2, 5))
    env = base = DummyVecEnv([lambda: World(space, rng)])

    def normalized(env):
        env = VecNormalize(env, training=False, norm_reward=False, clip_obs=float(rng.uniform(0.5, 5)), norm_obs_keys=keys)
        for rms in env.obs_rms.values() if keys else [env.obs_rms]:
            rms.mean = rng.normal(0, 1, rms.mean.shape)
            rms.var = rng.uniform(0.1, 4, rms.var.shape)
        return env

    normalizer = None
    if order == "normalize_then_stack":
        env = normalizer = normalized(env)
    env = VecFrameStack(env, frames, channels_order=channels)
    if order == "stack_then_normalize":
        env = normalizer = normalized(env)
    agent = PPO(policy, env, n_steps=64, device="cpu", seed=int(rng.integers(1000)), policy_kwargs={"net_arch": [16], "normalize_images": case != "image_of_numbers"})

    agent.save(tmp_path / "model.zip")
    if normalizer is not None:
        normalizer.save(tmp_path / "vecnormalize.pkl")
    word = f"frames: {frames}"
    if channels:
        word += f", channels_order: {channels if isinstance(channels, str) else '{a: first, b: last}'}"
    (tmp_path / "model_card.yaml").write_text(
        f"model_name: stacked\nversion: v0.0.1\nmodel_type: sb3\nmodel_filename: model.zip\nframe_stack: {{{word}}}\n")

    raw, begins, want = [], [], []
    obs, done = env.reset(), [True]
    for _ in range(STEPS):
        last = base.envs[0].last
        raw.append({k: rows(v) for k, v in last.items()} if isinstance(last, dict) else rows(last))
        begins.append(bool(done[0]))
        action, _ = agent.predict(obs, deterministic=True)
        want.append(action[0])
        obs, _, done, _ = env.step(action)
    assert sum(begins) > 2
    question = {"observations": raw, "deterministic": True, "episode_start": begins}
    assert_close(predict(tmp_path, question)["actions"], np.array(want))
    assert_close(predict(tmp_path, question, "--engine", "reference")["actions"], np.array(want))
