"""Train the demo policy and export it.

    python train.py --artifact ../internal/demo/artifact --episodes ../internal/demo/testdata/episodes.json

PPO on two CPU cores from a fixed seed; a few minutes. What is written is
measured on 200 roads that training never saw, and nothing is written unless
the policy drives and the baselines do not.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import evaluate
from carla_rl_client import Action, Feature, export
from driving_env import OBSERVATION_HIGH, OBSERVATION_LOW, DrivingEnv

SEED = 7
ENVIRONMENTS = 8
STEPS = 600_000
SUCCESS_MIN = 0.95
BASELINE_MAX = 0.3
EPISODES_RECORDED = 5


def train(steps: int) -> tuple[PPO, VecNormalize]:
    torch.set_num_threads(1)  # the same sums in the same order on every machine; the network is too small for more
    env = VecNormalize(DummyVecEnv([DrivingEnv] * ENVIRONMENTS), gamma=0.99)
    model = PPO(
        "MlpPolicy",
        env,
        learning_rate=lambda remaining: 3e-4 * remaining,
        n_steps=512,
        batch_size=512,
        n_epochs=8,
        gamma=0.99,
        gae_lambda=0.95,
        ent_coef=0.0,
        policy_kwargs={
            "net_arch": {"pi": [64, 64], "vf": [64, 64]},
            "activation_fn": torch.nn.Tanh,
            "log_std_init": -0.7,
        },
        seed=SEED,
        device="cpu",
        verbose=1,
    )
    model.learn(steps, log_interval=20)
    env.training = False
    env.norm_reward = False
    return model, env


def policy_of(model: PPO, env: VecNormalize) -> evaluate.Policy:
    """The agent as its framework runs it: normalise, predict, clip."""

    def act(observation: np.ndarray) -> np.ndarray:
        action, _ = model.predict(env.normalize_obs(observation), deterministic=True)
        return action

    return act


def golden_observations(episodes: list[list[np.ndarray]]) -> np.ndarray:
    """The guide's observation, the corners of the bounds, and rows met on the road."""
    guide = [25.5, 0.1, 0.8, 0.2, 0.5, 0.9, 0.1]
    met = [row for observations in episodes[:4] for row in observations[7 : 7 + 40 * 4 : 40]]
    return np.array([guide, OBSERVATION_LOW, OBSERVATION_HIGH, *met], np.float32)


def record(policy: evaluate.Policy) -> list[dict]:
    """Whole episodes, each with the seed of its road."""
    env = DrivingEnv()
    episodes = []
    for i in range(EPISODES_RECORDED):
        seed = evaluate.EVALUATION_SEED + i
        success, reward, observations, actions = evaluate.drive(env, policy, seed)
        episodes.append(
            {
                "seed": seed,
                "success": success,
                "reward": reward,
                "observations": [[float(str(v)) for v in row] for row in observations],
                "actions": [[float(str(v)) for v in row] for row in actions],
            }
        )
    return episodes


def write_episodes(path: pathlib.Path, episodes: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for episode in episodes:
        rows = {name: ",\n".join(json.dumps(row) for row in episode[name]) for name in ("observations", "actions")}
        head = json.dumps({key: episode[key] for key in ("seed", "success", "reward")})[1:-1]
        lines.append(f'{{{head},\n"observations": [\n{rows["observations"]}],\n"actions": [\n{rows["actions"]}]}}')
    path.write_text('{"episodes": [\n' + ",\n".join(lines) + "]}\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=pathlib.Path, required=True, help="folder to write the artifact to")
    parser.add_argument("--episodes", type=pathlib.Path, required=True, help="file to write recorded episodes to")
    parser.add_argument("--agent", type=pathlib.Path, help="folder to keep the agent as Stable-Baselines3 saves it")
    parser.add_argument("--steps", type=int, default=STEPS, help="environment steps to train for (default %(default)s)")
    args = parser.parse_args()

    started = time.monotonic()
    model, env = train(args.steps)
    trained_seconds = time.monotonic() - started
    policy = policy_of(model, env)
    scores = evaluate.score_all(policy)
    for name, score in scores.items():
        print(f"{name:17} success {score.success_rate:.3f}  reward {score.reward_mean:7.2f} ± {score.reward_std:.2f}")
    print(f"trained in {trained_seconds:.0f} s")

    if args.agent:
        args.agent.mkdir(parents=True, exist_ok=True)
        model.save(args.agent / "agent.zip")
        env.save(args.agent / "vecnormalize.pkl")

    baseline = max(score.success_rate for name, score in scores.items() if name != "trained")
    if scores["trained"].success_rate < SUCCESS_MIN or baseline > BASELINE_MAX:
        print(f"train.py: not exported: success must be at least {SUCCESS_MIN}, baselines at most {BASELINE_MAX}", file=sys.stderr)
        return 1

    episodes = record(policy)
    export(
        actor(model),
        args.artifact,
        model_name="carla-ppo",
        version="v0.1.0",
        description="PPO driving policy of the demo: follows a narrow, winding road past blocks by five range sensors.",
        normalizer=env,
        observation=[
            Feature("speed", unit="km/h", low=0, high=200),
            Feature("steering", low=-1, high=1),
            Feature("sensors", shape=[5], low=0, high=1),
        ],
        action=[Action("throttle", 0, 1), Action("brake", 0, 1), Action("steer", -1, 1)],
        performance_metrics=metrics(scores),
        golden_observations=golden_observations([[np.array(row) for row in e["observations"]] for e in episodes]),
    )
    write_episodes(args.episodes, episodes)
    return 0


def actor(model: PPO) -> torch.nn.Module:
    """The deterministic network alone: the artifact is one of TorchScript, as anyone's would be."""
    return torch.nn.Sequential(*model.policy.mlp_extractor.policy_net, model.policy.action_net)


def metrics(scores: dict[str, evaluate.Score]) -> dict:
    trained = scores["trained"]
    return {
        "reward": round(trained.reward_mean, 3),
        "success_rate": trained.success_rate,
        "reward_std": round(trained.reward_std, 3),
        "speed_mean_kmh": round(trained.speed_mean, 1),
        "episodes": evaluate.EPISODES,
        "baseline_success_rate": {name: s.success_rate for name, s in scores.items() if name != "trained"},
        "baseline_reward_mean": {name: round(s.reward_mean, 3) for name, s in scores.items() if name != "trained"},
    }


if __name__ == "__main__":
    sys.exit(main())
