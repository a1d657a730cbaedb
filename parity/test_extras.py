"""What a policy gives beside its action, as Stable-Baselines3 and sb3-contrib compute it.

Each agent is asked for drawn actions; the library then says of the very same
actions how likely they were, and what else it knows of the observations.
"""

from itertools import product

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from sb3_contrib import TQC, CrossQ, MaskablePPO, QRDQN, RecurrentPPO
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from conftest import assert_close, numbers, predict, rows

RETURN = ("--return", "value,log_prob,entropy,distribution,raw_action,normalized_observation")
ROWS = 12
ENGINES = ("plan", "reference")


class Env(gymnasium.Env):
    """Random observations of given spaces."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}

    def action_masks(self):
        return np.ones(sum(choices(self.action_space)), bool)


def choices(space):
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        return [int(n) for n in space.nvec]
    return [2] * int(np.prod(space.shape))


BOX = spaces.Box(-4, 4, (5,), np.float32)
DICT = spaces.Dict({"near": spaces.Box(-4, 4, (3,), np.float32), "far": spaces.Box(-2, 2, (2,), np.float32)})
ACTIONS = {
    "box": spaces.Box(np.array([-1, 0, -3], np.float32), np.array([1, 1, 2], np.float32)),
    "discrete": spaces.Discrete(4),
    "multidiscrete": spaces.MultiDiscrete([3, 2, 4]),
    "multibinary": spaces.MultiBinary(5),
}


def agent(rng, algorithm, observation_space, action_space, normalized=False, **policy_kwargs):
    """An agent whose weights are drawn large enough for its answers to differ."""
    env = DummyVecEnv([lambda: Env(observation_space, action_space)])
    if normalized:
        env = VecNormalize(env, clip_obs=3.0)
        for statistics in [env.obs_rms] if isinstance(observation_space, spaces.Box) else env.obs_rms.values():
            statistics.mean = rng.normal(0, 1, statistics.mean.shape)
            statistics.var = rng.uniform(0.2, 4, statistics.mean.shape)
        env.training = False
    kind = {
        spaces.Box: "MlpPolicy",
        spaces.Dict: "MultiInputPolicy",
    }[type(observation_space)]
    if algorithm is RecurrentPPO:
        kind = kind.replace("Policy", "LstmPolicy")
    options = {"use_sde": True} if policy_kwargs.pop("gsde", False) else {}
    made = algorithm(kind, env, policy_kwargs={"net_arch": [24, 16], **policy_kwargs}, device="cpu", seed=int(rng.integers(1000)), **options)
    with torch.no_grad():
        for name, parameter in made.policy.named_parameters():
            if name.endswith("log_std") and "actor" not in name:
                parameter.copy_(torch.from_numpy(rng.uniform(-1.5, 0.3, parameter.shape)))
            elif "action_net" in name or name.startswith("actor.mu"):
                parameter.mul_(3 if "weight" in name else 1).add_(torch.from_numpy(rng.normal(0, 0.2, parameter.shape)))
            else:
                parameter.add_(torch.from_numpy(rng.normal(0, 0.1, parameter.shape)))
    made.policy.set_training_mode(False)
    return made, env if normalized else None


def observations(rng, space):
    if isinstance(space, spaces.Dict):
        return {key: observations(rng, part) for key, part in space.spaces.items()}
    return rng.uniform(space.low, space.high, (ROWS, *space.shape)).astype(np.float32)


def question(observed, **more):
    if isinstance(observed, dict):
        observed = {key: rows(part) for key, part in observed.items()}
    else:
        observed = rows(observed)
    return {"observations": observed, **more}


def ask(tmp_path, made, normalizer, observed, engine, **more):
    """The answers of the command, and the observations as the agent's network sees them."""
    made.save(tmp_path / "model.zip")
    arguments = ["--engine", engine, *RETURN]
    if normalizer is not None:
        normalizer.save(str(tmp_path / "vecnormalize.pkl"))
        arguments += ["--vecnormalize", tmp_path / "vecnormalize.pkl"]
    answer = predict(tmp_path / "model.zip", question(observed, **more), *arguments)
    seen = observed if normalizer is None else normalizer.normalize_obs(observed)
    outputs = answer["outputs"]
    if isinstance(seen, dict):
        for key, part in seen.items():
            assert_close(outputs["normalized_observation." + key], part)
    else:
        assert_close(outputs["normalized_observation"], seen)
    return answer["actions"], outputs, obs_as_tensor(seen, "cpu")


def as_tensor(space, actions, masked=False):
    floats = isinstance(space, spaces.Box) or isinstance(space, spaces.MultiBinary) and not masked
    kind = torch.float32 if floats else torch.int64
    return torch.as_tensor(numbers(actions), dtype=kind)


def check_distribution(outputs, distribution):
    """Compares parameters with those of a distribution of the library."""
    of = distribution.distribution
    if "mean" in outputs:
        assert_close(outputs["mean"], of.mean)
        assert_close(outputs["std"], of.stddev)
        return
    parts = of if isinstance(of, list) else [of]
    got = {name: [sum(row, []) if isinstance(row[0], list) else row for row in outputs[name]] for name in ("logits", "probs")}
    assert_close(got["logits"], torch.cat([p.logits for p in parts], 1), atol=1e-4)
    assert_close(got["probs"], torch.cat([p.probs for p in parts], 1))


def check_log_prob(got, want, raw, squashed):
    """Where tanh is flat, its last digit moves the density: by 2a/(1-a²+1e-6) for each unit of a."""
    got, want, raw = numbers(got), np.asarray(want, np.float64), np.asarray(raw, np.float64)
    moved = np.sum(4 * 2.0**-23 / (1 - raw**2 + 1e-6), axis=1) if squashed else 0
    off = np.abs(got - want) - (2e-4 + 1e-4 * np.abs(want) + moved)
    assert off.max() <= 0, f"got {got}, expected {want}"


AGENTS = [(stable_baselines3.PPO, name, {}) for name in ACTIONS] + [
    (stable_baselines3.A2C, "box", {"gsde": True}),
    (stable_baselines3.PPO, "box", {"gsde": True, "squash_output": True}),
    (stable_baselines3.PPO, "box", {"gsde": True, "use_expln": True}),
]


@pytest.mark.parametrize("observation_space", [BOX, DICT], ids=["row", "dict"])
@pytest.mark.parametrize("algorithm, actions, options", AGENTS, ids=[f"{a.__name__}-{n}{'-'.join(['', *o])}" for a, n, o in AGENTS])
def test_actor_critic(tmp_path, rng, algorithm, actions, options, observation_space):
    space = ACTIONS[actions]
    if options.get("squash_output"):
        space = spaces.Box(-1, 1, (3,), np.float32)
    made, normalizer = agent(rng, algorithm, observation_space, space, normalized=True, **options)
    for engine, deterministic in product(ENGINES, (False, True)):
        got, outputs, seen = ask(tmp_path, made, normalizer, observations(rng, observation_space), engine, deterministic=deterministic, seed=7)
        raw = as_tensor(space, outputs["raw_action"])
        with torch.no_grad():
            values, log_prob, entropy = made.policy.evaluate_actions(seen, raw)
            check_distribution(outputs, made.policy.get_distribution(seen))
            mode = made.policy.get_distribution(seen).mode()
        assert_close(outputs["value"], values.flatten())
        check_log_prob(outputs["log_prob"], log_prob, raw, made.policy.squash_output)
        assert ("entropy" in outputs) == (entropy is not None)
        if entropy is not None:
            assert_close(outputs["entropy"], entropy, atol=1e-4)
        if deterministic:
            assert_close(outputs["raw_action"], mode)
        elif actions == "box":
            assert not np.allclose(numbers(outputs["raw_action"]), mode, atol=1e-3)
        if isinstance(space, spaces.Box):
            bounded = np.clip(raw.numpy(), space.low, space.high)
            assert_close(got, made.policy.unscale_action(raw.numpy()) if made.policy.squash_output else bounded)
        else:
            assert np.array_equal(got, outputs["raw_action"])


@pytest.mark.parametrize("actions", ["discrete", "multidiscrete", "multibinary"])
def test_masks(tmp_path, rng, actions):
    space = ACTIONS[actions]
    made, _ = agent(rng, MaskablePPO, BOX, space)
    masks = np.concatenate([np.eye(n, dtype=bool)[rng.integers(n, size=ROWS)] | (rng.random((ROWS, n)) < 0.5) for n in choices(space)], axis=1)
    for engine, deterministic, masked in product(ENGINES, (False, True), (False, True)):
        more = {"action_masks": masks.tolist()} if masked else {}
        got, outputs, seen = ask(tmp_path, made, None, observations(rng, BOX), engine, deterministic=deterministic, seed=7, **more)
        raw = as_tensor(space, outputs["raw_action"], True)
        with torch.no_grad():
            values, log_prob, entropy = made.policy.evaluate_actions(seen, raw, action_masks=masks if masked else None)
            distribution = made.policy.get_distribution(seen, action_masks=masks if masked else None)
        assert_close(outputs["value"], values.flatten())
        assert_close(outputs["log_prob"], log_prob, atol=1e-4)
        assert_close(outputs["entropy"], entropy, atol=1e-4)
        parts = distribution.distributions if hasattr(distribution, "distributions") else [distribution.distribution]
        probs = torch.cat([p.probs for p in parts], 1)
        assert_close([sum(row, []) if isinstance(row[0], list) else row for row in outputs["probs"]], probs)
        if masked:
            at = np.cumsum([0, *choices(space)])[:-1]
            taken = np.asarray(got).reshape(ROWS, -1) + at
            assert masks[np.arange(ROWS)[:, None], taken].all()


@pytest.mark.parametrize("options", [{}, {"shared_lstm": True, "enable_critic_lstm": False}, {"enable_critic_lstm": False}, {"n_lstm_layers": 2}])
@pytest.mark.parametrize("actions", ["box", "multidiscrete"])
def test_recurrent(tmp_path, rng, actions, options):
    space = ACTIONS[actions]
    made, _ = agent(rng, RecurrentPPO, BOX, space, lstm_hidden_size=12, **options)
    starts = rng.random(ROWS) < 0.3
    starts[0] = True
    for engine in ENGINES:
        _, outputs, seen = ask(tmp_path, made, None, observations(rng, BOX), engine, deterministic=False, seed=7, episode_start=starts.tolist())
        raw = as_tensor(space, outputs["raw_action"])
        shape = (made.policy.lstm_actor.num_layers, 1, 12)
        pi = vf = (torch.zeros(shape), torch.zeros(shape))
        with torch.no_grad():
            for i in range(ROWS):
                start, row = torch.tensor([float(starts[i])]), seen[i : i + 1]
                features = made.policy.extract_features(row)
                if made.policy.lstm_critic is not None:
                    _, after = made.policy._process_sequence(features, vf, start, made.policy.lstm_critic)
                else:
                    after = pi
                value = made.policy.predict_values(row, pi if made.policy.lstm_critic is None and made.policy.shared_lstm else vf, start)
                distribution, pi = made.policy.get_distribution(row, pi, start)
                vf = after
                assert_close([outputs["value"][i]], value.flatten())
                assert_close([outputs["log_prob"][i]], distribution.log_prob(raw[i : i + 1]), atol=1e-4)
                assert_close([outputs["entropy"][i]], distribution.entropy(), atol=1e-4)


@pytest.mark.parametrize("algorithm, options", [(stable_baselines3.SAC, {}), (stable_baselines3.SAC, {"gsde": True}), (TQC, {}), (CrossQ, {})])
def test_squashed(tmp_path, rng, algorithm, options):
    space = ACTIONS["box"]
    made, normalizer = agent(rng, algorithm, BOX, space, normalized=True, **options)
    for engine, deterministic in product(ENGINES, (False, True)):
        got, outputs, seen = ask(tmp_path, made, normalizer, observations(rng, BOX), engine, deterministic=deterministic, seed=7)
        raw = as_tensor(space, outputs["raw_action"])
        actor = made.policy.actor
        with torch.no_grad():
            mean, log_std, more = actor.get_action_dist_params(seen)
            distribution = actor.action_dist.proba_distribution(mean, log_std, **more)
            log_prob, mode = distribution.log_prob(raw), distribution.mode()
        check_distribution(outputs, distribution)
        assert distribution.entropy() is None and "entropy" not in outputs and "value" not in outputs
        check_log_prob(outputs["log_prob"], log_prob, raw, True)
        assert_close(got, made.policy.unscale_action(raw.numpy()))
        if deterministic:
            assert_close(outputs["raw_action"], mode)
        else:
            assert not np.allclose(raw, mode, atol=1e-3)


@pytest.mark.parametrize("algorithm", [stable_baselines3.DQN, QRDQN, stable_baselines3.TD3, stable_baselines3.DDPG])
def test_without_a_distribution(tmp_path, rng, algorithm):
    continuous = algorithm in (stable_baselines3.TD3, stable_baselines3.DDPG)
    space = ACTIONS["box" if continuous else "discrete"]
    made, _ = agent(rng, algorithm, BOX, space)
    for engine in ENGINES:
        got, outputs, seen = ask(tmp_path, made, None, observations(rng, BOX), engine, deterministic=True)
        assert not {"log_prob", "entropy", "mean", "logits"} & set(outputs)
        with torch.no_grad():
            if continuous:
                assert "value" not in outputs
                assert_close(outputs["raw_action"], made.policy.actor(seen))
                assert_close(got, made.policy.unscale_action(numbers(outputs["raw_action"])))
                continue
            q = made.policy.q_net(seen) if algorithm is stable_baselines3.DQN else made.policy.quantile_net(seen).mean(dim=1)
        assert_close(outputs["value"], q.max(dim=1).values)
        assert got == outputs["raw_action"] == q.argmax(dim=1).tolist()
