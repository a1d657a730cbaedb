"""Whole policies: normaliser, network and postprocessing, as their libraries run them."""

import pickle

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
import torch.nn as nn
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from carla_rl_client import Action, Feature, export, normalize, postprocess
from conftest import assert_close, carla_rl, numbers, predict, rows


class Env(gymnasium.Env):
    """Random observations of random spaces."""

    def __init__(self, observations, actions):
        self.observation_space = gymnasium.spaces.Box(-10, 10, (observations,), np.float32)
        self.action_space = gymnasium.spaces.Box(
            np.array([-(i % 3) for i in range(actions)], np.float32), np.array([1 + i % 2 for i in range(actions)], np.float32)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def actions_of(env):
    space = env.action_space
    return [Action(f"a{i}", float(low), float(high)) for i, (low, high) in enumerate(zip(space.low, space.high))]


def ask(directory, observations, names, *arguments):
    question = {"observations": [{"state": rows(row)} for row in observations], "deterministic": True}
    answer = predict(directory, question, *arguments)["actions"]
    return np.array([[row[name] for name in names] for row in answer])


@pytest.mark.parametrize("algorithm", ["PPO", "A2C"])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.ELU])
def test_stable_baselines3_with_vec_normalize(tmp_path, rng, algorithm, activation):
    width, outputs = int(rng.integers(1, 30)), int(rng.integers(1, 6))
    env = VecNormalize(DummyVecEnv([lambda: Env(width, outputs)]), clip_obs=float(rng.uniform(0.5, 10)))
    env.obs_rms.mean = rng.normal(0, 3, width)
    env.obs_rms.var = rng.uniform(0.01, 20, width)
    env.training = False
    layers = [int(rng.integers(4, 70)) for _ in range(int(rng.integers(1, 4)))]
    agent = getattr(stable_baselines3, algorithm)(
        "MlpPolicy", env, policy_kwargs={"net_arch": layers, "activation_fn": activation}, device="cpu", seed=int(rng.integers(1000))
    )
    with torch.no_grad():  # an untrained head gives almost nothing
        agent.policy.action_net.weight.mul_(100)

    actions = actions_of(env)
    export(
        agent,
        tmp_path,
        model_name="random",
        version="v0.0.1",
        normalizer=env,
        observation=[Feature("state", shape=[width], low=-1000, high=1000)],
        action=actions,
    )
    observations = rng.normal(0, 8, (20, width)).astype(np.float32)
    want, _ = agent.predict(env.normalize_obs(observations), deterministic=True)
    names = [a.name for a in actions]
    assert_close(ask(tmp_path, observations, names), want)
    assert_close(ask(tmp_path, observations, names, "--engine", "reference"), want)


def scalers():
    return {
        "standard": StandardScaler(),
        "standard_nomean": StandardScaler(with_mean=False),
        "minmax": MinMaxScaler(feature_range=(-1, 1)),
        "minmax_clip": MinMaxScaler(clip=True),
        "robust": RobustScaler(),
        "pipeline": Pipeline([("robust", RobustScaler()), ("minmax", MinMaxScaler())]),
        "statistics": None,
    }


def fitted(rng, name, width):
    sample = rng.normal(rng.normal(0, 5, width), rng.uniform(0.1, 30, width), (200, width))
    if name == "statistics":
        return {"mean": sample.mean(axis=0), "std": sample.std(axis=0)}, sample
    return scalers()[name].fit(sample), sample


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", scalers())
def test_scaler_alone(tmp_path, rng, name, protocol):
    scaler, sample = fitted(rng, name, 6)
    path = tmp_path / "preprocessor.pkl"
    path.write_bytes(pickle.dumps(scaler, protocol=protocol))
    x = sample[:9].astype(np.float32)
    got = predict(path, {"transform": rows(x)})["outputs"]["out"]
    assert_close(got, normalize(scaler, x))


@pytest.mark.parametrize("kind", ["clip", "unscale", "none"])
@pytest.mark.parametrize("name", scalers())
def test_scaler_before_a_network(tmp_path, rng, name, kind):
    scaler, sample = fitted(rng, name, 6)
    network = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3), nn.Tanh())
    actions = [Action("throttle", 0, 1), Action("brake", 0, 1), Action("steer", -1, 1)]
    if kind == "none":
        actions = [Action("a", -1, 1), Action("b", -1, 1), Action("c", -1, 1)]
    export(
        network,
        tmp_path,
        model_name="random",
        version="v0.0.1",
        normalizer=scaler,
        postprocess=kind,
        observation=[Feature("state", shape=[6])],
        action=actions,
        golden_observations=sample[:16],
    )
    x = sample[20:40].astype(np.float32)
    with torch.no_grad():
        raw = network(torch.from_numpy(normalize(scaler, x))).numpy()
    assert_close(ask(tmp_path, x, [a.name for a in actions]), postprocess(kind, actions, raw))


def test_tampered_network_is_refused(tmp_path, rng):
    network = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 1))
    options = {"model_name": "random", "version": "v0.0.1", "observation": [Feature("state", shape=[6])], "action": [Action("a", -1, 1)]}
    export(network, tmp_path, **options)
    card = (tmp_path / "model_card.yaml").read_text()
    with torch.no_grad():
        network[0].weight[0, 0] += 0.5
    export(network, tmp_path, **options)
    (tmp_path / "model_card.yaml").write_text(card)
    question = {"observations": [{"state": [0.0] * 6}]}
    message = carla_rl("predict", "--model", tmp_path, "--input", "-", question=question, fails=True)
    assert "sha256" in message

    # With its hashes taken out, the golden vectors are what notices.
    lines = card.splitlines(keepends=True)
    (tmp_path / "model_card.yaml").write_text("".join(l for l in lines if "sha256:" not in l and "artifact_hashes" not in l))
    message = carla_rl("predict", "--model", tmp_path, "--input", "-", question=question, fails=True)
    assert "golden" in message


class Sampling(nn.Module):
    """Asked by act; draws when it is not deterministic."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Linear(width, 8)
        self.mean = nn.Linear(8, outputs)
        self.log_std = nn.Parameter(torch.linspace(-2, 0, outputs))

    def forward(self, x):
        return self.mean(torch.tanh(self.body(x)))

    @torch.jit.export
    def act(self, x, deterministic: bool = True):
        action = self.mean(torch.tanh(self.body(x)))
        if not deterministic:
            action = action + torch.exp(self.log_std) * torch.randn_like(action)
        return action


def test_sampling_has_torchs_distribution(tmp_path, rng):
    module = Sampling(7, 3).eval()
    torch.jit.script(module).save(str(tmp_path / "model.pt"))
    (tmp_path / "model_card.yaml").write_text(
        "model_name: sampling\nversion: v0.0.1\nmodel_type: torchscript\npostprocess: none\n"
        "observation: [{name: state, shape: [7]}]\naction: [{name: a}, {name: b}, {name: c}]\n"
    )
    x = rng.normal(0, 1, 7).astype(np.float32)
    with torch.no_grad():
        mean = module(torch.from_numpy(x[None])).numpy()[0]
    n = 5000

    def draw(deterministic, *arguments):
        question = {"observations": [{"state": rows(x)}] * n, "deterministic": deterministic}
        answer = predict(tmp_path, question, *arguments)["actions"]
        return np.array([[row[name] for name in "abc"] for row in answer])

    assert_close(draw(True), np.tile(mean, (n, 1)))
    drawn = draw(False, "--seed", "1")
    std = np.exp(module.log_std.detach().numpy())
    assert np.all(np.abs(drawn.mean(axis=0) - mean) < 5 * std / np.sqrt(n))
    assert np.all(np.abs(drawn.std(axis=0) / std - 1) < 5 / np.sqrt(2 * n))
    assert np.array_equal(draw(False, "--seed", "1"), drawn)
    assert not np.array_equal(draw(False, "--seed", "2"), drawn)
