"""Stable-Baselines3's own evaluate_policy: an agent in this process against the same agent in the server.

The server gets the raw observations and normalises them itself. Environments are
Gymnasium's, both runs from the same seeds.
"""

import copy
import pathlib
import shutil
import sys
import warnings

import numpy as np
import pytest
from conftest import CORPUS, corpus_cases

from carla_rl_client import RemotePolicy

pytest.importorskip("stable_baselines3", reason="closed loops need Stable-Baselines3: run test.sh --torch")

import gymnasium  # noqa: E402
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3  # noqa: E402
from stable_baselines3.common.evaluation import evaluate_policy  # noqa: E402
from stable_baselines3.common.monitor import Monitor  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize  # noqa: E402

EPISODES = 20
ENVIRONMENTS = 5
SEED = 1234
# What float32 rounding grows to over an episode of a smooth environment.
RELATIVE = 1e-3


def environments(name, n=ENVIRONMENTS):
    env = DummyVecEnv([lambda: Monitor(gymnasium.make(name)) for _ in range(n)])
    env.seed(SEED)
    return env


def trained(kind, name, folder, normalize, steps, **options):
    """A short training: the policy need not be good, its numbers must be the trainer's."""
    env = environments(name)
    if normalize:
        env = VecNormalize(env, norm_reward=False)
    # The library writes into policy_kwargs.
    agent = kind("MlpPolicy", env, seed=SEED, device="cpu", **copy.deepcopy(options))
    agent.learn(steps)
    folder.mkdir()
    agent.save(folder / "model.zip")
    if normalize:
        env.save(str(folder / "vecnormalize.pkl"))
    env.close()
    return agent


def compare(serve, folder, agent, name, discrete, n=ENVIRONMENTS, episodes=EPISODES):
    local = environments(name, n)
    statistics = folder / "vecnormalize.pkl"
    if statistics.exists():
        local = VecNormalize.load(str(statistics), local)
        local.training = local.norm_reward = False
    want = evaluate_policy(agent, local, episodes, deterministic=True, return_episode_rewards=True)
    local.close()

    server = serve(folder)
    raw = environments(name, n)
    actions = []
    with RemotePolicy(server.url) as policy:
        space = gymnasium.make(name).action_space
        assert type(policy.action_space) is type(space)
        assert (policy.action_space.shape, policy.action_space.dtype) == (space.shape, space.dtype)
        assert policy.observation_space.shape == raw.observation_space.shape
        got = evaluate_policy(
            policy,
            raw,
            episodes,
            deterministic=True,
            return_episode_rewards=True,
            callback=lambda local_, _: actions.append(np.array(local_["actions"])),
        )
    raw.close()
    server.stop()
    assert len(got[0]) == len(want[0]) == episodes
    if discrete:
        assert got == want
        assert actions[0].dtype == np.int64
    else:
        assert got[1] == want[1]
        assert np.allclose(got[0], want[0], rtol=RELATIVE, atol=0)
        assert actions[0].dtype == np.float32


FAST = {"learning_starts": 100, "policy_kwargs": {"net_arch": [32, 32]}}


@pytest.mark.parametrize(
    ("kind", "name", "normalize", "steps", "options"),
    [
        pytest.param(PPO, "CartPole-v1", True, 2000, {"n_steps": 128}, id="ppo-vecnormalize-CartPole"),
        pytest.param(DQN, "CartPole-v1", False, 1500, FAST, id="dqn-CartPole"),
        pytest.param(A2C, "Acrobot-v1", True, 2000, {}, id="a2c-vecnormalize-Acrobot"),
        pytest.param(PPO, "Pendulum-v1", True, 2000, {"n_steps": 128}, id="ppo-vecnormalize-Pendulum"),
        pytest.param(SAC, "Pendulum-v1", False, 1000, FAST, id="sac-Pendulum"),
        pytest.param(TD3, "Pendulum-v1", False, 1000, FAST, id="td3-Pendulum"),
    ],
)
def test_returns_are_those_of_the_agent_in_process(serve, tmp_path, kind, name, normalize, steps, options):
    folder = tmp_path / "policy"
    agent = trained(kind, name, folder, normalize, steps, **options)
    discrete = isinstance(agent.action_space, gymnasium.spaces.Discrete)
    compare(serve, folder, agent, name, discrete)
    if name == "CartPole-v1" and normalize:
        compare(serve, folder, agent, name, discrete, n=1, episodes=3)


def test_an_environment_that_is_not_vectorised(serve, tmp_path):
    """As in Gymnasium's own loop: one observation, one action that the environment takes as it is."""
    folder = tmp_path / "policy"
    agent = trained(DQN, "CartPole-v1", folder, False, 500, **FAST)
    server = serve(folder)
    env = gymnasium.make("CartPole-v1")
    with RemotePolicy(server.url) as policy:
        observation, _ = env.reset(seed=SEED)
        done, steps = False, 0
        while not done:
            action, state = policy.predict(observation, deterministic=True)
            want, _ = agent.predict(observation, deterministic=True)
            assert state is None
            assert (action.shape, action.dtype) == (want.shape, want.dtype)
            assert np.array_equal(action, want)
            assert env.action_space.contains(action)
            observation, _, terminated, truncated, _ = env.step(action)
            done, steps = terminated or truncated, steps + 1
        assert steps > 1
        env_again = Monitor(gymnasium.make("CartPole-v1"))
        mean, _ = evaluate_policy(policy, env_again, 2)
        assert mean > 0
        env_again.close()
    env.close()


@pytest.fixture
def old_gym(monkeypatch):
    """Files of old agents name Gym's spaces, which Gymnasium's stand in for."""
    for name, module in list(sys.modules.items()):
        if name == "gymnasium" or name.startswith("gymnasium.spaces"):
            monkeypatch.setitem(sys.modules, "gym" + name.removeprefix("gymnasium"), module)


PUBLISHED = {
    "dqn_CartPole-v1": (DQN, "CartPole-v1"),
    "a2c_MountainCar-v0": (A2C, "MountainCar-v0"),
    "ppo_Acrobot-v1": (PPO, "Acrobot-v1"),
    "sac_MountainCarContinuous-v0": (SAC, "MountainCarContinuous-v0"),
    "ppo_Pendulum-v1": (PPO, "Pendulum-v1"),
}


@pytest.mark.skipif(not CORPUS, reason="CARLA_RL_CORPUS is not set: published agents are not run")
@pytest.mark.parametrize("folder", corpus_cases(*(f"sb3_real/{name}" for name in PUBLISHED)))
def test_published_agents(serve, tmp_path, old_gym, folder):
    kind, name = PUBLISHED[folder.name]
    env = gymnasium.make(name)
    own = tmp_path / "policy"
    own.mkdir()
    for part in ("model.zip", "vecnormalize.pkl"):
        if (folder / part).exists():
            shutil.copy(folder / part, pathlib.Path(own) / part)
    with warnings.catch_warnings():
        # Schedules are code of an old Python, and arrays of an old NumPy.
        warnings.simplefilter("ignore")
        agent = kind.load(
            own / "model.zip",
            device="cpu",
            custom_objects={
                "observation_space": env.observation_space,
                "action_space": env.action_space,
                "learning_rate": 0.0,
                "lr_schedule": lambda _: 0.0,
                "clip_range": lambda _: 0.0,
                "exploration_schedule": lambda _: 0.0,
            },
        )
        compare(serve, own, agent, name, isinstance(env.action_space, gymnasium.spaces.Discrete))
    env.close()
