"""Draws of the server against torch: 100,000 of each kind of distribution, and the same ones again in other batches.

Seeds are fixed here, whatever CARLA_RL_PARITY_SEED says, so that the statistics are the same in every run. Each bound is
passed by chance less than once in ten thousand runs; a run that is repeated has the same draws.
"""

import contextlib
import json
import os
import re
import subprocess
import threading
import urllib.request

import gymnasium
import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn as nn
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3 import A2C, PPO, SAC
from torch.distributions import Bernoulli, Beta, Categorical, Normal

from conftest import BINARY

N, BATCH, SEED = 100_000, 1000, 2026
LEAST_P = 1e-4


class World(gymnasium.Env):
    """An environment that is nothing but its spaces."""

    def __init__(self, actions):
        self.observation_space, self.action_space = spaces.Box(-2, 2, (4,)), actions

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


class Heads(nn.Module):
    """Parameters of a distribution as several outputs."""

    def __init__(self, *widths: int, positive: bool = False) -> None:
        super().__init__()
        self.body, self.first, self.second = nn.Linear(4, 8), nn.Linear(8, widths[0]), nn.Linear(8, widths[-1])
        self.positive = positive

    def forward(self, x: torch.Tensor):
        h = torch.tanh(self.body(x))
        a, b = self.first(h), self.second(h)
        if self.positive:
            a, b = F.softplus(a) + 0.4, F.softplus(b) + 0.4
        return a, b


@contextlib.contextmanager
def serving(path):
    """The address of a server of its own process."""
    process = subprocess.Popen(
        [BINARY, "serve", str(path), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"LOG_LEVEL": "error"}
    )
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"serving .* at (http://[0-9.:]+)", line):
                threading.Thread(target=process.stdout.read, daemon=True).start()  # so that the pipe never fills
                yield found[1]
                break
        else:
            raise AssertionError("".join(lines))
    finally:
        timer.cancel()
        process.terminate()
        process.wait(30)


def ask(url, body):
    request = urllib.request.Request(url + "/predict", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def draws(url, obs, n, batch, wanted, first=0):
    """What is drawn for rows first to first + n - 1 of one seed and step: actions, and what was asked for besides."""
    out = {name: [] for name in ["actions", *wanted]}
    for row in range(first, first + n, batch):
        rows = min(batch, first + n - row)
        answer = ask(url, {"observations": [obs] * rows, "deterministic": False, "seed": SEED, "step": 3, "row": row, "return": wanted})
        assert answer["seed"] == SEED
        for name in out:
            out[name] += answer[name]
    return {name: np.array(v) if name != "distribution" else v for name, v in out.items()}


def save_agent(folder, agent, card=""):
    folder.mkdir(exist_ok=True)
    agent.save(folder / "model.zip")
    (folder / "model_card.yaml").write_text(f"model_name: drawn\nversion: v0.0.1\nmodel_type: sb3\nmodel_filename: model.zip\n{card}\n")


def save_script(folder, module, card):
    folder.mkdir(exist_ok=True)
    torch.jit.script(module).save(folder / "model.pt")
    (folder / "model_card.yaml").write_text(f"model_name: drawn\nversion: v0.0.1\nmodel_type: torchscript\npostprocess: none\n{card}\n")


def trained(algorithm, actions, **kwargs):
    """An agent whose parameters are drawn anew, so that its distributions are not those of a beginning."""
    agent = algorithm("MlpPolicy", World(actions), policy_kwargs={"net_arch": [8]}, device="cpu", seed=0, **kwargs)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, p in sorted(agent.policy.state_dict().items()):
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(0.3 * noise - 0.5 if "log_std" in name else noise / max(1, p[0].numel() if p.dim() > 1 else 4) ** 0.5)
    return agent


def gaussian_agent():
    agent = trained(PPO, spaces.Box(-1, 1, (3,)), n_steps=8)
    return agent, lambda x: agent.policy.get_distribution(x).distribution.sample(), lambda x, a: agent.policy.get_distribution(x).log_prob(a)


def squashed_agent():
    agent = trained(SAC, spaces.Box(-1, 1, (2,)))

    def log_prob(x, a):
        mean, log_std, _ = agent.actor.get_action_dist_params(x)
        return agent.actor.action_dist.proba_distribution(mean, log_std).log_prob(a)

    return agent, lambda x: agent.actor(x, deterministic=False), log_prob


def gsde_agent():
    agent = trained(A2C, spaces.Box(-1, 1, (2,)), use_sde=True)

    def sample(x):
        agent.policy.reset_noise(len(x))  # a matrix for each row
        return agent.policy.get_distribution(x).sample()

    return agent, sample, lambda x, a: agent.policy.get_distribution(x).log_prob(a)


CONTINUOUS = {"gaussian": gaussian_agent, "squashed_gaussian": squashed_agent, "gsde": gsde_agent}


def script_gaussian():
    m = Heads(2, 2)
    card = "distribution: {kind: gaussian, mean: {output: 0}, log_std: {output: 1}}"
    dist = lambda x: Normal(m(x)[0], m(x)[1].exp())  # noqa: E731
    return m, card, lambda x: dist(x).sample(), lambda x, a: dist(x).log_prob(a).sum(1)


def script_squashed():
    m = Heads(2, 2)
    card = "distribution: {kind: squashed_gaussian, mean: {output: 0}, log_std: {output: 1}}"
    dist = lambda x: Normal(m(x)[0], m(x)[1].exp())  # noqa: E731

    def log_prob(x, y):
        return (dist(x).log_prob(torch.atanh(y)) - torch.log(1 - y * y + 1e-6)).sum(1)

    return m, card, lambda x: torch.tanh(dist(x).sample()), log_prob


def script_beta():
    m = Heads(3, 3, positive=True)
    low, span = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([2.0, 1.0, 5.0])
    card = "distribution: {kind: beta, low: [-1, 0, 2], high: [1, 1, 7]}\naction: [{name: a, shape: [3]}]"
    dist = lambda x: Beta(*m(x))  # noqa: E731

    def log_prob(x, a):
        return (dist(x).log_prob((a - low) / span) - torch.log(span)).sum(1)

    return m, card, lambda x: low + span * dist(x).sample(), log_prob


SCRIPTS = {"script_gaussian": script_gaussian, "script_squashed": script_squashed, "script_beta": script_beta}


@pytest.mark.parametrize("kind", [*CONTINUOUS, *SCRIPTS])
def test_continuous(tmp_path, kind):
    torch.manual_seed(SEED)
    if kind in CONTINUOUS:
        agent, sample, log_prob = CONTINUOUS[kind]()
        save_agent(tmp_path / "p", agent)
    else:
        module, card, sample, log_prob = SCRIPTS[kind]()
        save_script(tmp_path / "p", module, card)
    obs = [0.5, -1.0, 0.25, 1.5]
    with serving(tmp_path / "p") as url, torch.no_grad():
        got = draws(url, obs, N, BATCH, ["raw_action", "log_prob"])
        x = torch.tensor([obs]).expand(N, 4)
        want = sample(x).double().numpy()
        have = got["raw_action"].reshape(N, -1)
        assert have.shape == want.shape
        for i in range(want.shape[1]):
            result = scipy.stats.ks_2samp(have[:, i], want[:, i])
            assert result.pvalue > LEAST_P, f"value {i}: {result}"
        scale = want.std(axis=0)
        # The mean of each, and the correlation of each two, to within five standard errors of a difference.
        assert np.all(np.abs(have.mean(axis=0) - want.mean(axis=0)) < 5 * scale * (2 / N) ** 0.5)
        correlation = np.cov(have.T / scale[:, None]) - np.cov(want.T / scale[:, None])
        fourth = (((want - want.mean(axis=0)) / scale) ** 4).mean(axis=0).max()
        assert np.all(np.abs(correlation) < 5 * (2 * fourth / N) ** 0.5)
        # The density at what was drawn is torch's, away from the ends of a range, where an action has lost its digits.
        some = torch.tensor(have[:1000], dtype=torch.float32)
        density = log_prob(x[:1000], some).double().numpy()
        off = np.abs(got["log_prob"][:1000] - density)
        assert np.quantile(off, 0.95) < 1e-3 and np.median(off) < 1e-4, (np.quantile(off, 0.95), np.median(off))


def discrete_agents():
    ppo = trained(PPO, spaces.Discrete(5), n_steps=8)
    multi = trained(A2C, spaces.MultiDiscrete([3, 2]))
    binary = trained(A2C, spaces.MultiBinary(3))
    probs = lambda agent, x: agent.policy.get_distribution(x).distribution  # noqa: E731
    return {
        "categorical": (ppo, lambda x: [probs(ppo, x).probs[0]]),
        "multi_categorical": (multi, lambda x: [d.probs[0] for d in probs(multi, x)]),
        "bernoulli": (binary, lambda x: [torch.stack([1 - p, p]) for p in probs(binary, x).probs[0]]),
    }


def discrete_scripts():
    one, two, three = Heads(5, 1), Heads(3, 2), Heads(3, 1)
    return {
        "script_categorical": (one, "distribution: {kind: categorical, logits: {output: 0}}", lambda x: [Categorical(logits=one(x)[0]).probs[0]]),
        "script_multi_categorical": (two, "distribution: multi_categorical", lambda x: [Categorical(logits=v).probs[0] for v in two(x)]),
        "script_bernoulli": (
            three,
            "distribution: {kind: bernoulli, logits: {output: 0}}",
            lambda x: [torch.stack([1 - p, p]) for p in Bernoulli(logits=three(x)[0]).probs[0]],
        ),
    }


@pytest.mark.parametrize("kind", ["categorical", "multi_categorical", "bernoulli", "script_categorical", "script_multi_categorical", "script_bernoulli"])
def test_discrete(tmp_path, kind):
    torch.manual_seed(SEED)
    if kind.startswith("script"):
        module, card, probabilities = discrete_scripts()[kind]
        save_script(tmp_path / "p", module, card)
    else:
        agent, probabilities = discrete_agents()[kind]
        save_agent(tmp_path / "p", agent)
    obs = [0.5, -1.0, 0.25, 1.5]
    with serving(tmp_path / "p") as url, torch.no_grad():
        got = draws(url, obs, N, BATCH, ["log_prob", "entropy"])
        parts = [p.double().numpy() / p.double().sum().item() for p in probabilities(torch.tensor([obs]))]
        actions = got["actions"].reshape(N, -1).astype(int)
        assert actions.shape[1] == len(parts)
        joint, weights = np.zeros(N, int), np.ones(1)
        for i, p in enumerate(parts):
            counts = np.bincount(actions[:, i], minlength=len(p))
            assert scipy.stats.chisquare(counts, N * p).pvalue > LEAST_P, f"part {i}: {counts} of {p}"
            joint, weights = joint * len(p) + actions[:, i], np.outer(weights, p).ravel()
        # All together, which holds that the parts are drawn independently.
        assert scipy.stats.chisquare(np.bincount(joint, minlength=len(weights)), N * weights).pvalue > LEAST_P
        np.testing.assert_allclose(got["log_prob"], np.log(weights[joint]), atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(got["entropy"], -(weights * np.log(weights)).sum(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [*CONTINUOUS, *SCRIPTS, "categorical", "multi_categorical", "bernoulli"])
def test_replay(tmp_path, kind):
    """The same rows of a seed are drawn alone, in batches of 7 and of 1000, and by another process."""
    torch.manual_seed(SEED)
    if kind in SCRIPTS:
        save_script(tmp_path / "p", *SCRIPTS[kind]()[:2])
    elif kind in CONTINUOUS:
        save_agent(tmp_path / "p", CONTINUOUS[kind]()[0])
    else:
        save_agent(tmp_path / "p", discrete_agents()[kind][0])
    obs, recorded = [0.5, -1.0, 0.25, 1.5], None
    for _ in range(2):
        with serving(tmp_path / "p") as url:
            for batch in (1000, 7, 1):
                n = 1000 if batch > 1 else 50
                got = draws(url, obs, n, batch, ["raw_action", "log_prob"], first=17)
                if recorded is None:
                    recorded = got
                    assert len(np.unique(got["log_prob"])) > 1
                for name in got:
                    assert np.array_equal(got[name], recorded[name][:n]), f"{name} in batches of {batch}"
