"""Closed loops: evaluate_policy with an agent in this process, and with the same agent in the server.

    ./test.sh --loops [NAME...]

prints the table of all of them. The server gets raw observations: what the agent's
environment is wrapped in runs there. Both runs start from the same seeds. Agents are
trained here, shortly, and exported; those of the folder CARLA_RL_CORPUS are served as
they were published.
"""

import contextlib
import copy
import dataclasses
import os
import pathlib
import shutil
import sys
import tempfile
import time
import warnings

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import gymnasium
import numpy as np
import sb3_contrib
import stable_baselines3 as sb3
import torch
from conftest import CORPUS, Server
from sb3_contrib.common.maskable.evaluation import evaluate_policy as evaluate_masked
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from carla_rl_client import RemotePolicy, export

# Networks this small only wait for each other's threads.
torch.set_num_threads(1)

SEED = 1234
# What float32 rounding grows to over an episode of a smooth environment.
RELATIVE = 1e-3
# Of two computations of one action.
TOLERANCE = 1e-5
# Of two choices that float32 rounding may order either way, relative to the largest.
TIE = 1e-6


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


class Doors(gymnasium.Env):
    """Six doors, of which some are open; the observation says which was best, and a closed one ends the episode."""

    action_space = gymnasium.spaces.Discrete(6)
    observation_space = gymnasium.spaces.Box(-1, 1, (6,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.draw(), {}

    def draw(self):
        self.open = self.np_random.random(6) < 0.5
        self.open[self.np_random.integers(6)] = True
        self.worth = self.np_random.uniform(-1, 1, 6).astype(np.float32)
        return self.worth

    def action_masks(self):
        return self.open

    def step(self, action):
        self.steps += 1
        reward, shut = float(self.worth[action]), not self.open[action]
        return self.draw(), reward, bool(shut) or self.steps >= 25, False, {}


class Recall(gymnasium.Env):
    """Four numbers a step; the action that names the largest of the step before is rewarded."""

    action_space = gymnasium.spaces.Discrete(4)
    observation_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.before = 0, 0
        return self.draw(), {}

    def draw(self):
        self.shown = self.np_random.uniform(-1, 1, 4).astype(np.float32)
        return self.shown

    def step(self, action):
        reward, self.before = float(action == self.before), int(self.shown.argmax())
        self.steps += 1
        return self.draw(), reward, self.steps >= 25 or bool(self.np_random.random() < 0.05), False, {}


class Unsteady(gymnasium.ObservationWrapper):
    """CartPole whose speeds are not seen: only memory tells them."""

    def __init__(self):
        super().__init__(gymnasium.make("CartPole-v1"))
        space = self.env.observation_space
        self.observation_space = gymnasium.spaces.Box(space.low[[0, 2]], space.high[[0, 2]], dtype=np.float32)

    def observation(self, observation):
        return observation[[0, 2]]


OWN = {"Pictures": Pictures, "Parts": Parts, "Doors": Doors, "Recall": Recall, "CartPole without speeds": Unsteady}
SHORT = {"highway-fast-v0": {"duration": 12, "vehicles_count": 12}, "parking-v0": {"duration": 20}}


def make(name):
    if name in OWN:
        return OWN[name]()
    if name in SHORT:
        import highway_env  # noqa: F401  It registers its environments.

        return gymnasium.make(name, config=SHORT[name])
    return gymnasium.make(name)


def environments(name, n):
    env = DummyVecEnv([lambda: Monitor(make(name)) for _ in range(n)])
    env.seed(SEED)
    return env


@dataclasses.dataclass(frozen=True)
class Loop:
    """One agent and its environment.

    ``kind`` is the algorithm. ``steps`` is how long it is trained, 0 for one of the
    corpus in ``folder``. ``normalize`` and ``frames`` are what it is trained in.
    ``contact`` tells that its environment makes much of little: returns are compared
    by their mean. ``sharpen`` makes the choices of a network that learned little
    depend on what it sees.
    """

    kind: type
    environment: str
    steps: int = 0
    policy: str = "MlpPolicy"
    normalize: bool = False
    frames: int = 1
    options: dict = dataclasses.field(default_factory=dict)
    folder: str = ""
    contact: bool = False
    sharpen: bool = False
    episodes: int = 20
    envs: int = 5


FAST = {"learning_starts": 100, "policy_kwargs": {"net_arch": [32, 32]}}
SMALL = {"n_steps": 128}
MEMORY = {"n_steps": 64, "policy_kwargs": {"lstm_hidden_size": 16, "net_arch": [16]}}

LOOPS = {
    "ppo-vecnormalize": Loop(sb3.PPO, "CartPole-v1", 2000, normalize=True, options=SMALL),
    "ppo-framestack-vecnormalize": Loop(sb3.PPO, "CartPole without speeds", 2000, normalize=True, frames=4, options=SMALL),
    "dqn": Loop(sb3.DQN, "Doors", 500, options=FAST, sharpen=True),
    "a2c-vecnormalize": Loop(sb3.A2C, "Acrobot-v1", 2000, normalize=True),
    "recurrent-ppo": Loop(sb3_contrib.RecurrentPPO, "Recall", 640, "MlpLstmPolicy", options=MEMORY, sharpen=True),
    "recurrent-ppo-continuous": Loop(sb3_contrib.RecurrentPPO, "Pendulum-v1", 640, "MlpLstmPolicy", normalize=True, options=MEMORY),
    "maskable-ppo": Loop(sb3_contrib.MaskablePPO, "Doors", 2000, options=SMALL),
    "ppo-cnn": Loop(sb3.PPO, "Pictures", 500, "CnnPolicy", options={"n_steps": 50, "n_epochs": 2, "batch_size": 50}, sharpen=True),
    "ppo-dict-vecnormalize": Loop(sb3.PPO, "Parts", 1000, "MultiInputPolicy", normalize=True, options={"n_steps": 64}),
    "ppo-continuous-vecnormalize": Loop(sb3.PPO, "Pendulum-v1", 2000, normalize=True, options=SMALL),
    "sac": Loop(sb3.SAC, "Pendulum-v1", 1000, options=FAST),
    "td3": Loop(sb3.TD3, "Pendulum-v1", 1000, options=FAST),
    "dqn-highway": Loop(sb3.DQN, "highway-fast-v0", 300, options=FAST, sharpen=True),
    "sac-parking-dict": Loop(sb3.SAC, "parking-v0", 300, "MultiInputPolicy", options=FAST),
    "published-dqn": Loop(sb3.DQN, "CartPole-v1", folder="sb3_real/dqn_CartPole-v1"),
    "published-qrdqn": Loop(sb3_contrib.QRDQN, "MountainCar-v0", folder="sb3_real/qrdqn_MountainCar-v0"),
    "published-a2c-vecnormalize": Loop(sb3.A2C, "MountainCar-v0", folder="sb3_real/a2c_MountainCar-v0"),
    "published-ppo-vecnormalize": Loop(sb3.PPO, "Acrobot-v1", folder="sb3_real/ppo_Acrobot-v1"),
    "published-sac": Loop(sb3.SAC, "MountainCarContinuous-v0", folder="sb3_real/sac_MountainCarContinuous-v0"),
    "published-ppo": Loop(sb3.PPO, "Pendulum-v1", folder="sb3_real/ppo_Pendulum-v1"),
    "published-tqc": Loop(sb3_contrib.TQC, "Pendulum-v1", folder="sb3_real/tqc_Pendulum-v1"),
    "published-ppo-lander": Loop(sb3.PPO, "LunarLander-v3", folder="sb3_real/ppo_LunarLander-v2"),
    "published-ppo-walker": Loop(
        sb3.PPO, "BipedalWalker-v3", folder="sb3_real/ppo_BipedalWalker-v3", contact=True, episodes=50, envs=10
    ),
}


def available():
    """The loops whose agents are here."""
    return {name: loop for name, loop in LOOPS.items() if CORPUS or not loop.folder}


def trained(loop, folder):
    """A short training: the policy need not be good, its numbers must be the trainer's."""
    env = environments(loop.environment, 1 if loop.frames > 1 else loop.envs)
    if loop.frames > 1:
        env = VecFrameStack(env, loop.frames)
    if loop.normalize:
        env = VecNormalize(env, norm_reward=False)
    # The library writes into policy_kwargs.
    agent = loop.kind(loop.policy, env, seed=SEED, device="cpu", **copy.deepcopy(loop.options))
    agent.learn(loop.steps)
    if loop.sharpen:
        sharpen(agent)
    export(agent, folder, model_name="agent", version="v1.0.0", deterministic_default=False)
    env.close()
    return agent


def sharpen(agent):
    """Make the choices far apart, and each the best somewhere in what the environment shows."""
    last = agent.policy.action_net if hasattr(agent.policy, "action_net") else agent.policy.q_net.q_net[-1]
    with torch.no_grad():
        last.weight *= 100
        last.bias.zero_()
        if not hasattr(agent.policy, "lstm_actor"):
            env = agent.get_env()
            shown = [env.reset()]
            for _ in range(20):
                shown.append(env.step(np.array([env.action_space.sample() for _ in range(env.num_envs)]))[0])
            last.bias -= scores(agent, np.concatenate(shown)).mean(dim=0)


def scores(agent, observation):
    """What an agent holds of each of its discrete choices, ``[n, choices]``."""
    with torch.no_grad():
        tensor, _ = agent.policy.obs_to_tensor(observation)
        if hasattr(agent.policy, "quantile_net"):
            return agent.policy.quantile_net(tensor).mean(dim=1)
        if hasattr(agent.policy, "q_net"):
            return agent.policy.q_net(tensor)
        return agent.policy.get_distribution(tensor).distribution.logits


def published(loop, folder):
    """An agent of the corpus: its files as they are, for the server and for its own library."""
    source = pathlib.Path(CORPUS) / loop.folder
    folder.mkdir()
    for part in ("model.zip", "vecnormalize.pkl"):
        if (source / part).exists():
            shutil.copy(source / part, folder / part)
    env = make(loop.environment)
    custom = {
        "observation_space": env.observation_space,
        "action_space": env.action_space,
        "learning_rate": 0.0,
        "lr_schedule": lambda _: 0.0,
        "clip_range": lambda _: 0.0,
        "exploration_schedule": lambda _: 0.0,
    }
    env.close()
    return loop.kind.load(folder / "model.zip", device="cpu", custom_objects=custom)


@contextlib.contextmanager
def old_names():
    """Files of old agents name Gym's spaces, which Gymnasium's stand in for; what is left of that time warns."""
    names = {"gym" + name.removeprefix("gymnasium") for name in sys.modules if name == "gymnasium" or name.startswith("gymnasium.spaces")}
    added = names - set(sys.modules)
    for name in added:
        sys.modules[name] = sys.modules["gymnasium" + name.removeprefix("gym")]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in added:
            del sys.modules[name]


class Watched:
    """A model whose questions and answers are kept."""

    def __init__(self, model):
        self.model, self.asked = model, []

    def predict(self, observation, **options):
        actions, state = self.model.predict(observation, **options)
        self.asked.append((copy.deepcopy(observation), np.array(actions), options.get("action_masks")))
        return actions, state


def evaluate(loop, model, env):
    """Returns and lengths of the episodes, and their actions: those of an environment that is done with its share count no more."""
    actions = []

    def note(of_step, _):
        actions.append(np.array(of_step["actions"][of_step["i"]]))

    torch.manual_seed(SEED)
    judge = evaluate_masked if loop.kind is sb3_contrib.MaskablePPO else evaluate_policy
    returns, lengths = judge(model, env, loop.episodes, deterministic=True, return_episode_rewards=True, callback=note)
    return np.array(returns), lengths, actions


@dataclasses.dataclass
class Result:
    """Of one loop. ``choices`` is how many different actions there were.

    ``replayed`` is the largest difference of an action on the same observation, in
    tolerances, None where state is between them. ``ties`` are the discrete actions that
    differ where the agent holds two choices for equally good but for rounding.
    """

    name: str
    loop: Loop
    steps: int
    own: np.ndarray
    served: np.ndarray
    identical: bool
    choices: int
    replayed: float | None
    ties: int
    normalized: bool
    seconds: float

    @property
    def measure(self):
        """What the two runs are held to."""
        if self.loop.contact:
            return "mean"
        space = make(self.loop.environment).action_space
        return "relative" if isinstance(space, gymnasium.spaces.Box) else "identical"

    @property
    def relative(self):
        """The largest difference of a return, relative to it, or absolute where it is below 1."""
        return float(np.max(np.abs(self.served - self.own) / np.maximum(np.abs(self.own), 1)))

    @property
    def errors(self):
        """How many standard errors the means are apart."""
        error = np.sqrt((self.own.var(ddof=1) + self.served.var(ddof=1)) / len(self.own))
        return float(abs(self.own.mean() - self.served.mean()) / error)

    @property
    def holds(self):
        near = self.replayed is None or self.replayed <= 1
        if self.measure == "identical":
            same = self.identical or (self.ties > 0 and near)
            return same and self.choices > 1 and bool(np.array_equal(self.own, self.served))
        return near and (self.errors <= 1 if self.measure == "mean" else self.relative <= RELATIVE)

    @property
    def said(self):
        if self.measure == "identical":
            if not self.holds:
                return "one action only" if self.identical else "DIFFERS"
            return "actions and returns identical" + (f", but for {self.ties} tie{'s' * (self.ties > 1)}" if self.ties else "")
        by = f"means {self.errors:.2f} standard errors apart" if self.measure == "mean" else (
            f"returns within {self.relative:.1g}" if self.relative else "returns identical"
        )
        return by if self.holds else f"DIFFERS: {by}"


def run(name, folder):
    """Run a loop twice and compare."""
    loop, begun = LOOPS[name], time.monotonic()
    with old_names():
        agent = published(loop, folder) if loop.folder else trained(loop, folder)
        local = environments(loop.environment, loop.envs)
        if loop.frames > 1:
            local = VecFrameStack(local, loop.frames)
        statistics = folder / "vecnormalize.pkl"
        if statistics.exists():
            local = VecNormalize.load(str(statistics), local)
            local.training = local.norm_reward = False
        own_returns, own_lengths, own_actions = evaluate(loop, agent, local)
        local.close()

        server = Server(folder)
        raw = environments(loop.environment, loop.envs)
        try:
            with RemotePolicy(server.url) as policy:
                same_spaces(policy, make(loop.environment))
                served = Watched(policy)
                returns, lengths, actions = evaluate(loop, served, raw)
                state = policy.contract.recurrent
        finally:
            server.stop()
            raw.close()
    identical = list(lengths) == list(own_lengths) and np.array_equal(actions, own_actions)
    replayed, ties = (None, 0) if state else replay(agent, statistics if statistics.exists() else None, loop, served)
    return Result(name, loop, int(sum(lengths)), own_returns, returns, identical, len(np.unique(actions, axis=0)), replayed, ties, statistics.exists(), time.monotonic() - begun)


def replay(agent, statistics, loop, served):
    """What the agent does on each observation that the server answered: the largest difference, in tolerances, and the ties."""
    with old_names():
        normalizer = VecNormalize.load(str(statistics), environments(loop.environment, 1)) if statistics else None
        worst, ties = 0.0, 0
        for observation, action, masks in served.asked:
            if normalizer is not None:
                normalizer.training = False
                observation = normalizer.normalize_obs(observation)
            options = {} if masks is None else {"action_masks": masks}
            want, _ = agent.predict(observation, deterministic=True, **options)
            if np.issubdtype(want.dtype, np.integer):
                for row in np.flatnonzero(action != want):
                    held = scores(agent, observation)[row]
                    near = abs(held[want[row]] - held[action[row]]) <= TIE * held.abs().max()
                    worst, ties = (worst, ties + 1) if near else (np.inf, ties)
            else:
                worst = max(worst, float(np.max(np.abs(action - want) / (TOLERANCE + TOLERANCE * np.abs(want)))))
    return worst, ties


def same_spaces(policy, env):
    """The server tells the spaces of the training."""
    assert policy.action_space == env.action_space, (policy.action_space, env.action_space)
    told, space = policy.observation_space, env.observation_space
    env.close()
    if isinstance(space, gymnasium.spaces.Dict):
        assert told.spaces.keys() == space.spaces.keys()
        pairs = [(told[key], space[key]) for key in space.spaces]
    else:
        pairs = [(told, space)]
    for one, other in pairs:
        assert (type(one), one.shape) == (type(other), other.shape), (one, other)


def table(names):
    """Print a row a loop; returns whether all hold."""
    print("| policy | environment | agent | episodes | steps | return in process | return served | |")
    print("|---|---|---|---|---|---|---|---|")
    held = True
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            result = run(name, pathlib.Path(folder) / "policy")
        loop = result.loop
        held = held and result.holds
        means = [f"{returns.mean():.4f} ± {returns.std():.4f}" for returns in (result.own, result.served)]
        kind = loop.kind.__name__ + (" VecNormalize" if result.normalized else "") + (f" {loop.frames} frames" if loop.frames > 1 else "")
        kind += "" if loop.policy == "MlpPolicy" else f" {loop.policy}"
        whose = "published" if loop.folder else "trained here"
        print(f"| {kind} | {loop.environment} | {whose} | {len(result.own)} | {result.steps} | {' | '.join(means)} | {result.said} |", flush=True)
    return held


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    wanted = sys.argv[1:] or list(available())
    if not CORPUS:
        left_out = sum(1 for loop in LOOPS.values() if loop.folder)
        print(f"CARLA_RL_CORPUS is not set: {left_out} published agents are not run", file=sys.stderr)
    sys.exit(0 if table(wanted) else 1)
