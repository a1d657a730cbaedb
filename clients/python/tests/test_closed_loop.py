"""Stable-Baselines3's own evaluate_policy: an agent in this process against the same agent in the server.

The server gets the raw observations and normalises them itself. Environments are
Gymnasium's, or here for images and for named parts; both runs start from the same seeds.
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
import torch  # noqa: E402
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3  # noqa: E402
from stable_baselines3.common.evaluation import evaluate_policy  # noqa: E402
from stable_baselines3.common.monitor import Monitor  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize  # noqa: E402

# Networks this small only wait for each other's threads.
torch.set_num_threads(1)

EPISODES = 20
ENVIRONMENTS = 5
SEED = 1234
# What float32 rounding grows to over an episode of a smooth environment.
RELATIVE = 1e-3


class Pictures(gymnasium.Env):
    """Images of a bright square on noise; the action that names its quarter is rewarded."""

    action_space = gymnasium.spaces.Discrete(4)
    observation_space = gymnasium.spaces.Box(0, 255, (36, 36, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.draw(), {}

    def draw(self):
        image = self.np_random.integers(0, 200, (36, 36, 3), dtype=np.uint8)
        self.quarter = int(self.np_random.integers(4))
        row, column = divmod(self.quarter, 2)
        image[row * 18 : row * 18 + 18, column * 18 : column * 18 + 18] += 55
        return image

    def step(self, action):
        reward = float(action == self.quarter)
        self.steps += 1
        return self.draw(), reward, self.steps >= 25, False, {}


class Parts(gymnasium.Env):
    """An observation of two named parts; the action is rewarded for pointing from one to the other."""

    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    observation_space = gymnasium.spaces.Dict(
        {"here": gymnasium.spaces.Box(-1, 1, (2,), np.float32), "goal": gymnasium.spaces.Box(-1, 1, (2,), np.float32)}
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.here, self.goal = self.np_random.uniform(-1, 1, (2, 2)).astype(np.float32)
        self.steps = 0
        return {"here": self.here, "goal": self.goal}, {}

    def step(self, action):
        self.here = np.clip(self.here + 0.1 * action, -1, 1).astype(np.float32)
        self.steps += 1
        reward = -float(np.linalg.norm(self.here - self.goal))
        return {"here": self.here, "goal": self.goal}, reward, self.steps >= 25, False, {}


OWN = {"Pictures": Pictures, "Parts": Parts}


def make(name):
    return OWN[name]() if name in OWN else gymnasium.make(name)


def environments(name, n=ENVIRONMENTS):
    env = DummyVecEnv([lambda: Monitor(make(name)) for _ in range(n)])
    env.seed(SEED)
    return env


def trained(kind, name, folder, normalize, steps, **options):
    """A short training: the policy need not be good, its numbers must be the trainer's."""
    env = environments(name)
    if normalize:
        env = VecNormalize(env, norm_reward=False)
    # The library writes into policy_kwargs.
    agent = kind({"Pictures": "CnnPolicy", "Parts": "MultiInputPolicy"}.get(name, "MlpPolicy"), env, seed=SEED, device="cpu", **copy.deepcopy(options))
    agent.learn(steps)
    folder.mkdir()
    agent.save(folder / "model.zip")
    if normalize:
        env.save(str(folder / "vecnormalize.pkl"))
    env.close()
    return agent


def evaluate(model, env, episodes):
    """Returns and lengths of the episodes, and the actions of each step of each environment."""
    actions = []

    def note(of_step, _):
        actions.append(np.array(of_step["actions"]))

    return evaluate_policy(model, env, episodes, deterministic=True, return_episode_rewards=True, callback=note), actions


def compare(serve, folder, agent, name, discrete, n=ENVIRONMENTS, episodes=EPISODES):
    local = environments(name, n)
    statistics = folder / "vecnormalize.pkl"
    if statistics.exists():
        local = VecNormalize.load(str(statistics), local)
        local.training = local.norm_reward = False
    want, expected = evaluate(agent, local, episodes)
    local.close()

    server = serve(folder)
    raw = environments(name, n)
    with RemotePolicy(server.url) as policy:
        space = make(name).action_space
        assert type(policy.action_space) is type(space)
        assert (policy.action_space.shape, policy.action_space.dtype) == (space.shape, space.dtype)
        assert type(policy.observation_space) is type(raw.observation_space)
        assert policy.observation_space.shape == raw.observation_space.shape
        assert policy.observation_space.dtype == raw.observation_space.dtype
        got, actions = evaluate(policy, raw, episodes)
    raw.close()
    server.stop()
    assert len(got[0]) == len(want[0]) == episodes
    if discrete:
        assert got == want
        assert actions[0].dtype == np.int64
        assert np.array_equal(actions, expected)
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
        pytest.param(PPO, "Pictures", False, 1000, {"n_steps": 50, "n_epochs": 2, "batch_size": 50}, id="ppo-cnn"),
        pytest.param(PPO, "Parts", True, 1000, {"n_steps": 64}, id="ppo-vecnormalize-dict"),
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
