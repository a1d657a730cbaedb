"""Stable-Baselines3's own evaluate_policy: an agent in this process against the same agent in the server.

The loops are those of loops.py, which prints them as a table too.
"""

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="closed loops need Stable-Baselines3: run test.sh --torch")
pytest.importorskip("sb3_contrib", reason="closed loops need sb3-contrib: run test.sh --torch")

import gymnasium  # noqa: E402
import loops  # noqa: E402
from stable_baselines3.common.evaluation import evaluate_policy  # noqa: E402
from stable_baselines3.common.monitor import Monitor  # noqa: E402

from carla_rl_client import RemotePolicy  # noqa: E402

# One of each kind; the others take minutes and are in the table alone.
NAMES = (
    "ppo-vecnormalize",
    "ppo-framestack-vecnormalize",
    "dqn",
    "recurrent-ppo",
    "recurrent-ppo-continuous",
    "maskable-ppo",
    "ppo-cnn",
    "ppo-dict-vecnormalize",
    "sac",
    "dqn-highway",
    "published-dqn",
    "published-ppo-vecnormalize",
    "published-sac",
)


@pytest.mark.parametrize("name", [name for name in NAMES if name in loops.available()])
@pytest.mark.filterwarnings("ignore")
def test_returns_are_those_of_the_agent_in_process(tmp_path, name):
    result = loops.run(name, tmp_path / "policy")
    assert len(result.own) == len(result.served) == result.loop.episodes >= 20
    assert result.holds, (result.said, result.own, result.served, result.replayed, result.choices)


def test_an_environment_that_is_not_vectorised(serve, tmp_path):
    """As in Gymnasium's own loop: one observation, one action that the environment takes as it is."""
    folder = tmp_path / "policy"
    agent = loops.trained(loops.LOOPS["dqn"], folder)
    server = serve(folder)
    env = loops.make("Doors")
    with RemotePolicy(server.url) as policy:
        observation, _ = env.reset(seed=loops.SEED)
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
        assert steps >= 1
        mean, _ = evaluate_policy(policy, Monitor(loops.make("Doors")), 2)
        assert np.isfinite(mean)
    env.close()


def test_a_session_in_place_of_a_recurrent_model(serve, tmp_path):
    """evaluate_policy with one environment and a session, whose state is in the server."""
    folder = tmp_path / "policy"
    loop = loops.LOOPS["recurrent-ppo"]
    agent = loops.trained(loop, folder)
    returns = []
    with RemotePolicy(serve(folder).url) as policy, policy.session() as session:
        for model in (agent, session):
            env = loops.environments(loop.environment, 1)
            returns.append(evaluate_policy(model, env, 5, deterministic=True, return_episode_rewards=True))
        assert session.episode >= 4
    assert returns[0] == returns[1]


def test_spaces_are_those_of_the_training(serve, tmp_path):
    folder = tmp_path / "policy"
    loops.trained(loops.LOOPS["dqn"], folder)
    with RemotePolicy(serve(folder).url) as policy:
        assert policy.observation_space == gymnasium.spaces.Box(-1, 1, (6,), np.float32)
        assert policy.action_space == gymnasium.spaces.Discrete(6)
