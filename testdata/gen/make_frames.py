"""Write policies that were trained on stacked frames, and what Stable-Baselines3 answers step by step.

    python make_frames.py OUT

makes OUT/<case>/ with model.zip, model_card.yaml, vecnormalize.pkl where observations are normalised, and cases.json: two
environments side by side, the single frames that they gave, where their episodes began, and the actions of the policy
on what VecFrameStack and VecNormalize of the library made of the frames.
"""

import json
import pathlib
import shutil
import sys

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from make_sb3 import VERSION, box, perturb

STEPS = 12


class World(gym.Env):
    """Random frames, in episodes of a length of its own."""

    def __init__(self, space, actions, seed, length):
        self.observation_space, self.action_space, self.length = space, actions, length
        space.seed(seed)

    def frame(self):
        self.last = self.observation_space.sample()
        return self.last

    def reset(self, *, seed=None, options=None):
        self.left = self.length
        return self.frame(), {}

    def step(self, action):
        self.left -= 1
        return self.frame(), 0.0, self.left == 0, False, {}


def plain(v):
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()}
    return np.asarray(v).tolist()


def write(out, name, policy, space, seed, frames=4, order=None, channels=None, keys=None, card=None, **kwargs):
    actions = box(-1, 1, (2,))
    base = DummyVecEnv([lambda n=n: World(space, actions, seed + n, n) for n in (3, 5)])

    def normalized(env):
        env = VecNormalize(env, training=False, norm_reward=False, clip_obs=2.0, norm_obs_keys=keys)
        rng = np.random.default_rng(seed)
        for rms in env.obs_rms.values() if keys else [env.obs_rms]:
            rms.mean = rng.normal(0, 0.5, rms.mean.shape)
            rms.var = rng.uniform(0.2, 2, rms.var.shape)
        return env

    env, normalizer = base, None
    if order == "normalize_then_stack":
        env = normalizer = normalized(env)
    env = VecFrameStack(env, frames, channels_order=channels)
    if order == "stack_then_normalize":
        env = normalizer = normalized(env)
    model = PPO(policy, env, n_steps=8, device="cpu", seed=seed, **kwargs)
    perturb(model.policy, seed)

    folder = out / name
    folder.mkdir(parents=True)
    model.save(folder / "model.zip")
    if normalizer:
        normalizer.save(folder / "vecnormalize.pkl")
    (folder / "model_card.yaml").write_text(
        f"model_name: {name}\nversion: v0.0.1\nmodel_type: sb3\nmodel_filename: model.zip\nframe_stack: {card or frames}\n")

    steps = []
    obs, begins = env.reset(), [True, True]
    for _ in range(STEPS):
        raw = [plain(e.last) for e in base.envs]
        act, _ = model.predict(obs, deterministic=True)
        steps.append({"frames": raw, "begins": begins, "actions": plain(act)})
        obs, _, done, _ = env.step(act)
        begins = done.tolist()
    source = f"Stable-Baselines3 {VERSION}, PyTorch {th.__version__.split('+')[0]}, NumPy {np.__version__}"
    (folder / "cases.json").write_text(json.dumps({"source": source, "atol": 1e-5, "steps": steps}) + "\n")


def main():
    out = pathlib.Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    small = {"policy_kwargs": {"net_arch": [6]}}
    vector = box(-2, 2, (3,))
    write(out, "plain", "MlpPolicy", vector, 1, **small)
    write(out, "normalize_then_stack", "MlpPolicy", vector, 2, order="normalize_then_stack", **small)
    write(out, "stack_then_normalize", "MlpPolicy", vector, 3, order="stack_then_normalize",
          card="{frames: 4, order: stack_then_normalize}", **small)
    write(out, "matrix_first", "MlpPolicy", box(-2, 2, (2, 3)), 4, frames=3, channels="first", order="normalize_then_stack",
          card="{frames: 3, channels_order: first}", **small)
    write(out, "dict", "MultiInputPolicy", spaces.Dict({"b": vector, "a": box(-1, 1, (2, 2))}), 5, frames=2, keys=["b"],
          order="normalize_then_stack", **small)
    write(out, "image", "MultiInputPolicy", spaces.Dict({"image": box(0, 255, (36, 37, 1), np.uint8), "vec": box(-1, 1, (2,))}), 6, frames=2,
          keys=["vec"], order="stack_then_normalize", card="{frames: 2, order: stack_then_normalize}",
          policy_kwargs={"net_arch": [6], "features_extractor_kwargs": {"cnn_output_dim": 4}})


if __name__ == "__main__":
    main()
