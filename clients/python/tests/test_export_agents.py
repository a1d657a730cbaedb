"""Agents of every algorithm and space, exported, verified by the command and served: the answers are the trainer's."""

import copy
import subprocess

import numpy as np
import pytest
from conftest import BINARY

pytest.importorskip("stable_baselines3", reason="agents need Stable-Baselines3: run test.sh --torch")
pytest.importorskip("sb3_contrib", reason="agents need sb3-contrib: run test.sh --torch")

import gymnasium  # noqa: E402
import sb3_contrib  # noqa: E402
import stable_baselines3 as sb3  # noqa: E402
import torch  # noqa: E402
from gymnasium import spaces  # noqa: E402
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize  # noqa: E402

from carla_rl_client import Action, Feature, RemotePolicy, export, read_card, sha256_hex  # noqa: E402

torch.set_num_threads(1)
NAMES = {"model_name": "agent", "version": "v1.0.0"}
ROWS = 12

BOX = spaces.Box(-2, 3, (5,), np.float32)
IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
DICT = spaces.Dict({"image": IMAGE, "speed": spaces.Box(0, 50, (2,), np.float32), "gear": spaces.Discrete(4)})
TURN = spaces.Box(np.array([-1, 0], np.float32), np.array([1, 3], np.float32))
CHOICE = spaces.Discrete(4)


class Fixed(gymnasium.Env):
    """An environment of given spaces; what it shows is drawn."""

    def __init__(self, observation, action):
        self.observation_space, self.action_space = copy.deepcopy(observation), copy.deepcopy(action)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}

    def action_masks(self):
        return [True] * self.action_space.n


def environment(observation, action, *wrappers):
    env = DummyVecEnv([lambda: Fixed(observation, action)])
    for wrapper in wrappers:
        env = wrapper(env)
    env.seed(3)
    return env


def normalized(env):
    wrapped = VecNormalize(env, norm_obs_keys=["speed"] if hasattr(env.observation_space, "spaces") else None)
    wrapped.seed(1)
    wrapped.reset()
    for _ in range(50):
        wrapped.step(np.array([wrapped.action_space.sample()]))
    wrapped.training = False
    return wrapped


def stacked(env):
    return VecFrameStack(env, 3)


def made(kind, policy, env, **options):
    """An agent that was not trained, with weights large enough for its choices to differ."""
    if kind is not sb3_contrib.ARS:
        options = {"seed": 1, **options}
    if policy != "LinearPolicy":
        options.setdefault("policy_kwargs", {"net_arch": [16, 16]})
    if issubclass(kind, sb3.common.off_policy_algorithm.OffPolicyAlgorithm):
        options["buffer_size"] = 10
    elif kind is not sb3_contrib.ARS:
        options["n_steps"] = 128
    agent = kind(policy, env, device="cpu", **options)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(5)
        spread = 0.05 if "Cnn" in policy else 0.2
        for name, parameter in agent.policy.named_parameters():
            if "log_std" not in name:
                parameter += spread * torch.randn(parameter.shape, generator=generator)
    if hasattr(agent.policy, "actor_target") and agent.policy.actor_target is not None:
        agent.policy.actor_target.load_state_dict(agent.policy.actor.state_dict())
    return agent


def verified(directory):
    done = subprocess.run([str(BINARY), "verify", str(directory)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all within tolerance" in done.stdout
    return done.stdout


def raw_rows(space, n=ROWS):
    space = copy.deepcopy(space)
    space.seed(17)
    rows = [space.sample() for _ in range(n)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)


def transposed(agent, rows):
    """As VecTransposeImage does."""
    if isinstance(rows, dict):
        return {key: transposed_part(part, agent.observation_space[key]) for key, part in rows.items()}
    return transposed_part(rows, agent.observation_space)


def transposed_part(rows, space):
    return np.moveaxis(rows, -1, 1) if rows.shape[1:] != space.shape else rows


CASES = {
    "PPO-Box-Box": (sb3.PPO, "MlpPolicy", BOX, TURN),
    "PPO-Box-MultiDiscrete": (sb3.PPO, "MlpPolicy", BOX, spaces.MultiDiscrete([3, 2, 4])),
    "PPO-Box-MultiBinary": (sb3.PPO, "MlpPolicy", BOX, spaces.MultiBinary(3)),
    "PPO-Discrete-Discrete": (sb3.PPO, "MlpPolicy", spaces.Discrete(6), CHOICE),
    "PPO-MultiDiscrete-Discrete": (sb3.PPO, "MlpPolicy", spaces.MultiDiscrete([3, 5]), CHOICE),
    "PPO-MultiBinary-Discrete": (sb3.PPO, "MlpPolicy", spaces.MultiBinary(4), CHOICE),
    "PPO-Dict-Box": (sb3.PPO, "MultiInputPolicy", DICT, TURN),
    "PPO-image-Discrete": (sb3.PPO, "CnnPolicy", IMAGE, CHOICE),
    "A2C-Box-Discrete": (sb3.A2C, "MlpPolicy", BOX, CHOICE),
    "SAC-Box-Box": (sb3.SAC, "MlpPolicy", BOX, TURN),
    "SAC-Dict-Box": (sb3.SAC, "MultiInputPolicy", DICT, TURN),
    "TD3-Box-Box": (sb3.TD3, "MlpPolicy", BOX, TURN),
    "DDPG-Box-Box": (sb3.DDPG, "MlpPolicy", BOX, TURN),
    "DQN-Box-Discrete": (sb3.DQN, "MlpPolicy", BOX, CHOICE),
    "DQN-image-Discrete": (sb3.DQN, "CnnPolicy", IMAGE, CHOICE),
    "TQC-Box-Box": (sb3_contrib.TQC, "MlpPolicy", BOX, TURN),
    "QRDQN-Box-Discrete": (sb3_contrib.QRDQN, "MlpPolicy", BOX, CHOICE),
    "TRPO-Box-Box": (sb3_contrib.TRPO, "MlpPolicy", BOX, TURN),
    "ARS-linear-Box": (sb3_contrib.ARS, "LinearPolicy", BOX, TURN),
    "ARS-Box-Discrete": (sb3_contrib.ARS, "MlpPolicy", BOX, CHOICE),
    "CrossQ-Box-Box": (sb3_contrib.CrossQ, "MlpPolicy", BOX, TURN),
    "MaskablePPO-Box-Discrete": (sb3_contrib.MaskablePPO, "MlpPolicy", BOX, CHOICE),
    "RecurrentPPO-Box-Box": (sb3_contrib.RecurrentPPO, "MlpLstmPolicy", BOX, TURN),
    "RecurrentPPO-image-Discrete": (sb3_contrib.RecurrentPPO, "CnnLstmPolicy", IMAGE, CHOICE),
}


@pytest.mark.parametrize("case", CASES)
def test_every_algorithm(serve, tmp_path, case):
    kind, policy, observation, action = CASES[case]
    options = {}
    if "Lstm" in policy:
        options["policy_kwargs"] = {"net_arch": [16], "lstm_hidden_size": 8}
    elif "image" in case or "Dict" in case:
        options["policy_kwargs"] = {"net_arch": [16], "features_extractor_kwargs": {"features_dim" if "image" in case else "cnn_output_dim": 16}}
    agent = made(kind, policy, environment(observation, action), **options)
    export(agent, tmp_path, deterministic_default=False, **NAMES)
    card = read_card(tmp_path)
    assert card["artifact_hashes"] == {"model.zip": "sha256:" + sha256_hex(tmp_path / "model.zip")}
    assert 1 <= len(card["golden"]["vectors"]) <= 16
    verified(tmp_path)

    rows = raw_rows(observation)
    server = serve(tmp_path)
    with RemotePolicy(server.url) as remote:
        assert type(remote.action_space) is type(action)
        if not isinstance(observation, spaces.Dict):
            assert remote.observation_space.shape == observation.shape
        got, state = remote.predict(rows, episode_start=np.ones(ROWS, bool), deterministic=True)
        want, want_state = agent.predict(transposed(agent, rows), episode_start=np.ones(ROWS, bool), deterministic=True)
        # The agent gives binary actions as float32.
        assert (got.shape, got.dtype) == (want.shape, action.dtype)
        assert np.allclose(got, want, rtol=1e-5, atol=1e-5)
        if want_state is not None:
            got, _ = remote.predict(rows, state=state, deterministic=True)
            want, _ = agent.predict(transposed(agent, rows), state=want_state, deterministic=True)
            assert np.allclose(got, want, rtol=1e-5, atol=1e-5)
    server.stop()
    # The artifact's zip is the agent still.
    again, _ = kind.load(tmp_path / "model.zip", device="cpu").predict(transposed(agent, rows), deterministic=True)
    assert np.array_equal(again, agent.predict(transposed(agent, rows), deterministic=True)[0])


WRAPPED = {
    "normalised": (BOX, [normalized]),
    "stacked": (BOX, [stacked]),
    "normalised-then-stacked": (BOX, [normalized, stacked]),
    "stacked-then-normalised": (BOX, [stacked, normalized]),
    "stacked-images": (IMAGE, [stacked]),
    "dict-normalised": (DICT, [normalized]),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_wrappers_become_part_of_the_policy(serve, tmp_path, case):
    """The server is sent raw single frames of an episode, and answers as the agent in its wrapped environment."""
    space, wrappers = WRAPPED[case]
    env = environment(space, TURN, *wrappers)
    policy = "MultiInputPolicy" if space is DICT else "CnnPolicy" if space is IMAGE else "MlpPolicy"
    options = {}
    if policy != "MlpPolicy":
        options["policy_kwargs"] = {"net_arch": [16], "features_extractor_kwargs": {"features_dim" if space is IMAGE else "cnn_output_dim": 16}}
    agent = made(sb3.PPO, policy, env, **options)
    export(agent, tmp_path, **NAMES)
    card = read_card(tmp_path)
    assert ("vecnormalize.pkl" in card["artifact_hashes"]) == (normalized in wrappers)
    assert ("frame_stack" in card) == (stacked in wrappers)
    verified(tmp_path)

    inner = agent.get_env()
    while hasattr(inner, "venv"):
        inner = inner.venv
    shown = []
    show = inner._obs_from_buf
    inner._obs_from_buf = lambda: shown.append(copy.deepcopy(show())) or show()
    env = agent.get_env()
    env.seed(23)
    observation, state = env.reset(), None
    server = serve(tmp_path)
    with RemotePolicy(server.url) as remote:
        for i in range(8):
            want, _ = agent.predict(observation, deterministic=True)
            got, state = remote.predict(shown[-1], state=state, episode_start=np.array([i == 0]), deterministic=True)
            assert np.allclose(got, want, rtol=1e-5, atol=1e-5)
            observation, _, _, _ = env.step(want)
    server.stop()


def test_names_and_statistics_that_were_loaded(serve, tmp_path):
    env = environment(BOX, TURN, normalized)
    agent = made(sb3.PPO, "MlpPolicy", env)
    agent.save(tmp_path / "agent")
    loaded = sb3.PPO.load(tmp_path / "agent", device="cpu")
    observation = [Feature("speed", low=-2, high=3, unit="m/s"), Feature("rays", shape=[4], low=-2, high=3)]
    action = [Action("steer", -1, 1), Action("throttle", 0, 3)]
    rows = raw_rows(BOX, 16)
    export(
        loaded, tmp_path / "v", normalizer=env, observation=observation, action=action, golden_observations=rows, control_hz=20,
        performance_metrics={"return": 3.5}, description="A test.", **NAMES,
    )
    verified(tmp_path / "v")
    with RemotePolicy(serve(tmp_path / "v").url) as remote:
        assert remote.contract.action_names == ("steer", "throttle")
        assert remote.contract.control_hz == 20
        got, _ = remote.predict({"speed": rows[:, 0], "rays": rows[:, 1:]}, deterministic=True)
        assert np.allclose(got, agent.predict(env.normalize_obs(rows), deterministic=True)[0], atol=1e-5)


class Doubled(BaseFeaturesExtractor):
    """Code of one's own."""

    def __init__(self, observation_space):
        super().__init__(observation_space, 10)

    def forward(self, observations):
        return torch.cat([observations, observations**2], dim=1)


@pytest.mark.parametrize("kind", [sb3.PPO, sb3.SAC])
def test_code_of_ones_own_is_traced(serve, tmp_path, kind):
    env = environment(BOX, TURN, normalized)
    agent = made(kind, "MlpPolicy", env, policy_kwargs={"features_extractor_class": Doubled, "net_arch": [16]})
    export(agent, tmp_path, **NAMES)
    card = read_card(tmp_path)
    assert card["model_type"] == "torchscript"
    assert card["postprocess"] == ("clip" if kind is sb3.PPO else "unscale")
    verified(tmp_path)
    rows = raw_rows(BOX)
    with RemotePolicy(serve(tmp_path).url) as remote:
        got, _ = remote.predict(rows, deterministic=True)
        assert np.allclose(got, agent.predict(env.normalize_obs(rows), deterministic=True)[0], rtol=1e-5, atol=1e-5)


def test_refusals(tmp_path):
    own = {"features_extractor_class": Doubled, "net_arch": [16]}
    choosing = made(sb3.PPO, "MlpPolicy", environment(BOX, CHOICE), policy_kwargs=own)
    with pytest.raises(TypeError, match="Doubled is code of your own, which is traced for a Box of actions"):
        export(choosing, tmp_path, **NAMES)
    stacking = made(sb3.PPO, "MlpPolicy", environment(BOX, TURN, lambda env: VecFrameStack(env, 2)))
    with pytest.raises(ValueError, match="another VecNormalize"):
        export(made(sb3.PPO, "MlpPolicy", environment(BOX, TURN, normalized)), tmp_path, env=environment(BOX, TURN, normalized), normalizer=environment(BOX, TURN, normalized), **NAMES)
    with pytest.raises(TypeError, match="two VecFrameStack"):
        export(stacking, tmp_path, env=environment(BOX, TURN, stacked, stacked), **NAMES)
    with pytest.raises(ValueError, match="1 names for an action of 2 values"):
        export(stacking, tmp_path, action=[Action("steer", -1, 1)], **NAMES)
    with pytest.raises(ValueError, match="not a semantic version"):
        export(stacking, tmp_path, model_name="agent", version="1")
