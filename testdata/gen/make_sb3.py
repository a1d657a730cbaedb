"""Write agents as Stable-Baselines3 and sb3-contrib save them, and what they answer.

    python make_sb3.py OUT [large]

makes OUT/<case>/ with model.zip and cases.json: raw observations in ``input``,
and in ``expect`` what the library itself makes of them. Networks are as small as
they can be and their parameters are drawn anew, so that every one matters. With
Stable-Baselines3 1.0 and 1.7 only the cases that differ there are written. ``large``
writes those that are too large to be kept.
"""

import importlib.metadata
import json
import pathlib
import platform
import sys
import types
import warnings

import numpy as np
import torch as th

VERSION = importlib.metadata.version("stable-baselines3")
OLD = VERSION.startswith("1.")
FIRST = VERSION.startswith("1.0")
if OLD:  # it imports what is not used here
    for module in ("pandas", "matplotlib", "matplotlib.pyplot", "matplotlib.figure"):
        sys.modules[module] = types.ModuleType(module)
    sys.modules["pandas"].DataFrame = object
    sys.modules["matplotlib"].pyplot = sys.modules["matplotlib.pyplot"]
    sys.modules["matplotlib.pyplot"].figure = sys.modules["matplotlib"].figure = object

import stable_baselines3  # noqa: E402
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3  # noqa: E402
from stable_baselines3.common.torch_layers import NatureCNN  # noqa: E402

if OLD:
    import gym
    from gym import spaces
else:
    import gymnasium as gym
    from gymnasium import spaces

ROWS = 6

# The system's name goes into system_info.txt; this corpus is that of none.
platform.platform, platform.version = lambda *_, **__: "Linux", lambda: ""


class World(gym.Env):
    """An environment that is nothing but its spaces."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def seed(self, seed=None):  # asked for by version 1
        pass

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


def box(low, high, shape, dtype=np.float32):
    return spaces.Box(low, high, shape, dtype)


def perturb(policy, seed):
    """Draw the parameters and running statistics anew."""
    generator = th.Generator().manual_seed(seed)
    with th.no_grad():
        for name, p in sorted(policy.state_dict().items()):
            if not p.dtype.is_floating_point:
                continue
            noise = th.randn(p.shape, generator=generator)
            if name.endswith("ra_var"):
                p.copy_(0.5 + noise.abs())
            elif "log_std" in name and p.dim() != 2 or name.endswith("log_std"):
                p.copy_(0.3 * noise - 0.5)
            elif name.endswith("bias"):
                p.copy_(0.2 * noise)
            else:
                p.copy_(noise / max(1, p[0].numel()) ** 0.5 if p.dim() > 1 else 1 + 0.2 * noise)


def sample(space, seed):
    """Rows of a space as a vectorized environment gives them."""
    if isinstance(space, spaces.Dict):
        return {key: sample(sub, seed + i) for i, (key, sub) in enumerate(space.spaces.items())}
    space.seed(seed)
    return np.stack([np.asarray(space.sample()) for _ in range(ROWS)])


def tensor_of(policy, obs):
    if not FIRST:
        return policy.obs_to_tensor(obs)[0]
    return th.as_tensor(obs)


def evaluate(policy):
    if FIRST:
        policy.eval()
    else:
        policy.set_training_mode(False)


def floats(x):
    if isinstance(x, th.Tensor):
        x = x.detach().cpu().numpy()
    return np.asarray(x).tolist()


def distribution(policy, obs, masks=None):
    """What an actor-critic policy knows of its deterministic action."""
    out = {}
    kwargs = {} if masks is None else {"action_masks": masks}
    if FIRST:
        latent_pi, latent_vf, latent_sde = policy._get_latent(obs)
        dist, value = policy._get_action_dist_from_latent(latent_pi, latent_sde), policy.value_net(latent_vf)
    else:
        dist, value = policy.get_distribution(obs, **kwargs), policy.predict_values(obs)
    inner = getattr(dist, "distribution", None)
    if inner is None:
        inner = dist.distributions
    if isinstance(inner, list):
        out["logits"] = floats(th.cat([d.logits for d in inner], dim=1))
    elif hasattr(inner, "logits"):
        out["logits"] = floats(inner.logits)
    else:
        out["mean"], out["std"] = floats(inner.mean), floats(inner.stddev)
    action = dist.get_actions(deterministic=True)
    out["log_prob"] = floats(dist.log_prob(action))
    out["value"] = floats(value.flatten())
    return out


def answers(model, obs, masks=None):
    policy = model.policy
    evaluate(policy)
    kwargs = {} if masks is None else {"action_masks": masks}
    out = {"action": floats(policy.predict(obs, deterministic=True, **kwargs)[0])}
    tensor = tensor_of(policy, obs)
    with th.no_grad():
        if hasattr(policy, "mlp_extractor"):
            return {**out, **distribution(policy, tensor, masks)}
        if hasattr(policy, "q_net"):
            return {**out, "q_values": floats(policy.q_net(tensor))}
        if hasattr(policy, "quantile_net"):
            return {**out, "q_values": floats(policy.quantile_net(tensor).mean(dim=1))}
        if not hasattr(policy, "critic"):
            return out
        scaled = policy._predict(tensor, deterministic=True)
        if hasattr(policy.actor, "get_action_dist_params"):
            mean, log_std, more = policy.actor.get_action_dist_params(tensor)
            dist = policy.actor.action_dist.proba_distribution(mean, log_std, **more)
            out.update(mean=floats(mean), log_std=floats(log_std), std=floats(dist.distribution.stddev))
            out["log_prob"] = floats(dist.log_prob(scaled))
        q = policy.critic(tensor, scaled)
        q = q.mean(dim=2) if isinstance(q, th.Tensor) else th.cat(q, dim=1).T
        out["critic_q"] = floats(q)
    return out


def source():
    return f"Stable-Baselines3 {stable_baselines3.__version__}, PyTorch {th.__version__.partition('+')[0]}, NumPy {np.__version__}"


def rows_of(obs, rows):
    if isinstance(obs, dict):
        return {key: sub[rows] for key, sub in obs.items()}
    return obs[rows]


def sequence(model, obs, starts):
    """The answers of a recurrent policy to one observation after the other."""
    from sb3_contrib.common.recurrent.type_aliases import RNNStates

    policy = model.policy
    policy.set_training_mode(False)
    lstm = policy.lstm_actor
    zeros = th.zeros(lstm.num_layers, 1, lstm.hidden_size)
    states, predicted = RNNStates((zeros, zeros), (zeros, zeros)), None
    out = {}

    def keep(name, value):
        out.setdefault(name, []).extend(floats(value))

    for i, start in enumerate(starts):
        row, begins = rows_of(obs, slice(i, i + 1)), np.array([start])
        action, predicted = policy.predict(row, state=predicted, episode_start=begins, deterministic=True)
        keep("action", action)
        with th.no_grad():
            tensor, begin = policy.obs_to_tensor(row)[0], th.tensor(begins, dtype=th.float32)
            dist, _ = policy.get_distribution(tensor, states.pi, begin)
            inner = getattr(dist, "distribution", None)
            if inner is None:
                inner = dist.distributions
            if isinstance(inner, list):
                keep("logits", th.cat([d.logits for d in inner], dim=1))
            elif hasattr(inner, "logits"):
                keep("logits", inner.logits)
            else:
                keep("mean", inner.mean)
                keep("std", inner.stddev)
            _, value, log_prob, states = policy.forward(tensor, states, begin, deterministic=True)
        keep("value", value.flatten())
        keep("log_prob", log_prob)
        for name, state in (("h_pi", states.pi[0]), ("c_pi", states.pi[1])):
            keep(name, state.transpose(0, 1))
        if policy.lstm_critic is not None:
            keep("h_vf", states.vf[0].transpose(0, 1))
            keep("c_vf", states.vf[1].transpose(0, 1))
        assert np.allclose(predicted[0], states.pi[0])
    return out


def write(out, name, algorithm, policy, observation, action, seed, masked=False, asked=True, **kwargs):
    directory = out / name
    directory.mkdir(parents=True, exist_ok=True)
    th.manual_seed(seed)
    if algorithm in (DQN, SAC, TD3, DDPG) or algorithm.__name__ in ("TQC", "CrossQ", "QRDQN"):
        kwargs["buffer_size"] = 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = algorithm(policy, World(observation, action), seed=seed, device="cpu", **kwargs)
    perturb(model.policy, seed)
    model.save(directory / "model.zip")
    if not asked:  # it has no answer
        return
    obs = sample(observation, seed)

    def recorded(x, file):
        if isinstance(x, dict):
            return {key: recorded(sub, f"obs_{key}.npy") for key, sub in x.items()}
        if x.ndim == 4 and x.dtype == np.uint8:
            np.save(directory / file, x)
            return {"npy": file, "shape": list(x.shape), "dtype": "uint8"}
        return floats(x)

    case = {
        "schema": 1,
        "name": "sb3/" + name,
        "format": "sb3_zip",
        "source": source(),
        "algo": algorithm.__name__,
        "policy_class": type(model.policy).__name__,
        "use_sde": bool(model.use_sde),
        "squash_output": bool(model.policy.squash_output),
        "n": ROWS,
        "input": {"obs": recorded(obs, "obs.npy")},
    }
    if algorithm.__name__ == "RecurrentPPO":
        starts = [i % 4 == 0 for i in range(ROWS)]
        case.update(sequence=True, episode_start=starts, expect=sequence(model, obs, starts))
    else:
        case["expect"] = answers(model, obs)
    if masked:
        width = len(case["expect"]["logits"][0])
        masks = np.random.RandomState(seed).rand(ROWS, width) < 0.6
        masks[:, ::2] |= ~masks[:, 1::2] if width % 2 == 0 else masks[:, ::2]
        masks[:, 0] = True
        masks[-1] = False  # nothing is allowed: the library takes all for alike
        case["action_masks"] = masks.tolist()
        case["expect_masked"] = answers(model, obs, masks)
    (directory / "cases.json").write_text(json.dumps(case) + "\n", encoding="utf-8")


def write_first(out):
    """Version 1.0, whose HER is an algorithm around another and whose gSDE may have a network of its own."""
    from stable_baselines3 import HER

    vector, three = box(-2, 2, (5,)), box(-2, 3, (3,))
    write(out, "first_ppo_sde_network", PPO, "MlpPolicy", vector, three, 4, n_steps=8, use_sde=True, policy_kwargs={"net_arch": [8], "sde_net_arch": [6]})
    write(out, "first_sac_sde_features", SAC, "MlpPolicy", vector, three, 5, use_sde=True, policy_kwargs={"net_arch": [8], "sde_net_arch": []})

    goal = spaces.Dict({"observation": vector, "achieved_goal": box(-1, 1, (2,)), "desired_goal": box(-1, 1, (2,))})

    class Goal(World, getattr(gym, "GoalEnv", gym.Env)):
        def reset(self):
            return self.observation_space.sample()

        def step(self, action):
            return self.observation_space.sample(), 0.0, True, {}

        def compute_reward(self, *_):
            return np.zeros(1)

    gym.GoalEnv = getattr(gym, "GoalEnv", gym.Env)
    for name, trained in (("first_her", True), ("first_her_untrained", False)):
        directory = out / name
        directory.mkdir(parents=True, exist_ok=True)
        model = HER("MlpPolicy", Goal(goal, three), model_class=SAC, max_episode_length=1, buffer_size=10, learning_starts=5, seed=6, device="cpu",
                    policy_kwargs={"net_arch": [8]})
        if trained:
            model.learn(3)
        perturb(model.policy, 6)
        model.save(directory / "model.zip")
        obs = sample(goal, 6)
        row = np.concatenate([obs["observation"], obs["desired_goal"]], axis=-1)
        (directory / "cases.json").write_text(json.dumps({
            "schema": 1, "name": "sb3/" + name, "format": "sb3_zip", "source": source(), "algo": "SAC", "policy_class": type(model.policy).__name__,
            "use_sde": False, "squash_output": True, "n": ROWS,
            "input": {"obs": {key: floats(part) for key, part in obs.items()} if trained else floats(row)},
            "expect": answers(model.model, row),
        }) + "\n", encoding="utf-8")


def write_old(out):
    """Version 1.7, whose net_arch has layers that both parts share."""
    from sb3_contrib import ARS, RecurrentPPO

    vector, three = box(-2, 2, (5,)), box(-2, 3, (3,))
    write(out, "old_ppo_shared_layers", PPO, "MlpPolicy", vector, three, 1, n_steps=8,
          policy_kwargs={"net_arch": [8, {"pi": [6], "vf": [4, 4]}]})
    write(out, "old_a2c_shared_alone", A2C, "MlpPolicy", vector, spaces.Discrete(3), 2, policy_kwargs={"net_arch": [8, 6]})
    write(out, "old_sac", SAC, "MlpPolicy", vector, three, 3, policy_kwargs={"net_arch": {"pi": [8], "qf": [6]}})
    write(out, "old_rppo", RecurrentPPO, "MlpLstmPolicy", vector, spaces.MultiDiscrete([3, 2]), 7, n_steps=8,
          policy_kwargs={"net_arch": [6, {"pi": [4]}], "lstm_hidden_size": 4})
    write(out, "old_ars_linear", ARS, "LinearPolicy", vector, spaces.Discrete(3), 8, policy_kwargs={"with_bias": True})


def write_new(out):
    from functools import partial

    from sb3_contrib import ARS, QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
    from stable_baselines3 import HerReplayBuffer

    vector, three = box(-2, 2, (5,)), box(np.array([-2, -1, 0], np.float32), np.array([3, 1, 0.5], np.float32), None)
    nn = th.nn
    small = {"net_arch": [8]}
    write(out, "ppo_box", PPO, "MlpPolicy", vector, three, 11, n_steps=8,
          policy_kwargs={"net_arch": {"pi": [8, 6], "vf": [4]}, "activation_fn": nn.LeakyReLU})
    write(out, "ppo_multidiscrete", PPO, "MlpPolicy", vector, spaces.MultiDiscrete([3, 2, 4]), 12, n_steps=8, policy_kwargs=small)
    write(out, "ppo_multibinary", PPO, "MlpPolicy", spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(4), 13, n_steps=8,
          policy_kwargs={"net_arch": [], "activation_fn": nn.SiLU})
    write(out, "ppo_matrix_actions", PPO, "MlpPolicy", box(-1, 1, (2, 3)), box(-1, 1, (2, 2)), 14, n_steps=8, policy_kwargs=small)
    write(out, "ppo_gsde_squashed", PPO, "MlpPolicy", vector, three, 15, n_steps=8, use_sde=True,
          policy_kwargs={**small, "squash_output": True, "full_std": False, "use_expln": True, "activation_fn": nn.GELU})
    write(out, "ppo_dict", PPO, "MultiInputPolicy",
          spaces.Dict({"b": spaces.Discrete(3), "a": box(-1, 1, (2, 2)), "c": spaces.MultiBinary([2, 2])}), three, 16, n_steps=8, policy_kwargs=small)
    write(out, "ppo_images", PPO, "MultiInputPolicy",
          spaces.Dict({"image": box(0, 255, (36, 37, 1), np.uint8), "vec": box(-1, 1, (2,))}), spaces.Discrete(3), 27, n_steps=8,
          policy_kwargs={**small, "features_extractor_kwargs": {"cnn_output_dim": 4}})
    write(out, "maskable_multidiscrete", MaskablePPO, "MlpPolicy", vector, spaces.MultiDiscrete([3, 3]), 17, n_steps=8, masked=True, policy_kwargs=small)
    write(out, "maskable_multibinary", MaskablePPO, "MlpPolicy", vector, spaces.MultiBinary(3), 18, n_steps=8, masked=True, policy_kwargs=small)
    write(out, "dqn", DQN, "MlpPolicy", spaces.Discrete(4), spaces.Discrete(3), 19, policy_kwargs={**small, "activation_fn": nn.Mish})
    write(out, "qrdqn", QRDQN, "MlpPolicy", vector, spaces.Discrete(3), 20, policy_kwargs={**small, "n_quantiles": 5})
    write(out, "sac_arch_dict", SAC, "MlpPolicy", vector, three, 21, policy_kwargs={"net_arch": {"pi": [8], "qf": [6, 4]}, "n_critics": 3})
    write(out, "sac_gsde_linear", SAC, "MlpPolicy", vector, three, 22, use_sde=True, policy_kwargs={"net_arch": [], "clip_mean": 0.0})
    write(out, "td3", TD3, "MlpPolicy", vector, three, 23, policy_kwargs={**small, "activation_fn": nn.ELU})
    write(out, "tqc", TQC, "MlpPolicy", vector, three, 24, policy_kwargs={**small, "n_quantiles": 3})
    write(out, "crossq", CrossQ, "MlpPolicy", vector, three, 25, policy_kwargs={"net_arch": {"pi": [8, 6], "qf": [6]}, "batch_norm_eps": 0.01})
    write(out, "ars_squashed", ARS, "MlpPolicy", vector, three, 26, policy_kwargs={"net_arch": [6], "with_bias": False})
    write(out, "rppo_two_layers", RecurrentPPO, "MlpLstmPolicy", vector, three, 28, n_steps=8,
          policy_kwargs={**small, "lstm_hidden_size": 4, "n_lstm_layers": 2, "lstm_kwargs": {"dropout": 0.5}})
    write(out, "rppo_shared", RecurrentPPO, "MlpLstmPolicy", vector, three, 29, n_steps=8, use_sde=True,
          policy_kwargs={**small, "lstm_hidden_size": 4, "shared_lstm": True, "enable_critic_lstm": False})
    write(out, "rppo_no_critic", RecurrentPPO, "MultiInputLstmPolicy", spaces.Dict({"b": spaces.Discrete(3), "a": box(-1, 1, (2, 2))}),
          spaces.MultiBinary(2), 30, n_steps=8,
          policy_kwargs={"net_arch": [], "lstm_hidden_size": 4, "enable_critic_lstm": False, "lstm_kwargs": {"bias": False}})
    write(out, "ppo_partial", PPO, "MlpPolicy", vector, three, 52, n_steps=8,
          policy_kwargs={"net_arch": {"pi": [8]}, "activation_fn": partial(nn.LeakyReLU, negative_slope=0.3)})
    write(out, "ppo_prelu", PPO, "MlpPolicy", box(-3, 3, (4,), np.float64), three, 53, n_steps=8,
          policy_kwargs={"net_arch": [8, 6], "activation_fn": nn.PReLU, "optimizer_class": th.optim.RMSprop, "optimizer_kwargs": {"alpha": 0.9}})
    write(out, "trpo_hardshrink", TRPO, "MlpPolicy", vector, spaces.Discrete(3), 54, n_steps=8, policy_kwargs={**small, "activation_fn": nn.Hardshrink})
    write(out, "ddpg", DDPG, "MlpPolicy", vector, three, 55, policy_kwargs={**small, "activation_fn": nn.Softmax})
    write(out, "maskable_discrete", MaskablePPO, "MlpPolicy", vector, spaces.Discrete(4), 56, n_steps=8, masked=True, policy_kwargs=small)
    write(out, "sac_her", SAC, "MultiInputPolicy", spaces.Dict({"observation": vector, "achieved_goal": box(-1, 1, (2,)), "desired_goal": box(-1, 1, (2,))}),
          three, 57, replay_buffer_class=HerReplayBuffer, replay_buffer_kwargs={"n_sampled_goal": 2}, policy_kwargs={**small})
    write(out, "ars_linear", ARS, "LinearPolicy", vector, three, 58)
    tag, th.serialization.location_tag = th.serialization.location_tag, lambda _: "cuda:1"
    write(out, "a2c_cuda", A2C, "MlpPolicy", vector, spaces.Discrete(3, start=5), 59, policy_kwargs={**small})
    th.serialization.location_tag = tag
    write(out, "rppo_bidirectional", RecurrentPPO, "MlpLstmPolicy", vector, three, 51, asked=False, n_steps=8,
          policy_kwargs={**small, "lstm_hidden_size": 2, "lstm_kwargs": {"bidirectional": True}})
    write_custom(out / "ppo_custom_extractor", vector, three)


class Blend(th.nn.Module):
    """A features extractor of the user's own, as one writes it into a script."""

    def __init__(self, observation_space, features_dim=4):
        super().__init__()
        self.features_dim = features_dim
        self.layer = th.nn.Linear(observation_space.shape[0], features_dim)

    def forward(self, obs):
        return th.cos(self.layer(obs))


Blend.__module__ = "__main__"


class Actor(th.nn.Module):
    """What docs/sb3.md exports of such an agent."""

    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def forward(self, obs):
        return self.policy._predict(obs, deterministic=True)


def write_custom(directory, observation, action):
    """An agent that is refused, and its actor as TorchScript with what the library answers."""
    directory.mkdir(parents=True, exist_ok=True)
    th.manual_seed(60)
    model = PPO("MlpPolicy", World(observation, action), seed=60, device="cpu", n_steps=8,
                policy_kwargs={"net_arch": [8], "features_extractor_class": Blend})
    perturb(model.policy, 60)
    model.save(directory / "model.zip")
    th.jit.trace(Actor(model.policy.eval()), th.zeros(1, 5)).save(directory / "model.pt")
    obs = sample(observation, 60)
    answers = {"input": {"obs": floats(obs)}, "action": floats(model.predict(obs, deterministic=True)[0])}
    (directory / "exported.json").write_text(json.dumps(answers) + "\n")


def write_large(out):
    """Policies on images, which are too large to be kept."""
    from sb3_contrib import QRDQN, TQC, MaskablePPO

    vector, three = box(-2, 2, (5,)), box(-2, 3, (3,))
    image, chw = box(0, 255, (36, 40, 3), np.uint8), box(0, 255, (2, 36, 40), np.uint8)
    dictionary = spaces.Dict({"image": image, "vec": vector, "n": spaces.Discrete(3)})
    small = {"net_arch": [8], "features_extractor_kwargs": {"features_dim": 16}}
    write(out, "a2c_cnn_unshared", A2C, "CnnPolicy", image, three, 31, policy_kwargs={**small, "share_features_extractor": False})
    write(out, "ppo_cnn_default", PPO, "CnnPolicy", image, three, 32, n_steps=8)
    write(out, "ppo_mlp_on_image", PPO, "MlpPolicy", image, three, 33, n_steps=8, policy_kwargs={"net_arch": [8]})
    write(out, "ppo_mlp_naturecnn", PPO, "MlpPolicy", image, three, 34, n_steps=8, policy_kwargs={"features_extractor_class": NatureCNN})
    write(out, "ppo_cnn_normalized", PPO, "CnnPolicy", box(0, 1, (3, 36, 36)), three, 35, n_steps=8, policy_kwargs={**small, "normalize_images": False})
    write(out, "sac_cnn", SAC, "CnnPolicy", image, three, 36, policy_kwargs=small)
    write(out, "sac_cnn_shared", SAC, "CnnPolicy", image, three, 37, policy_kwargs={**small, "share_features_extractor": True})
    write(out, "td3_dict", TD3, "MultiInputPolicy", dictionary, three, 38, policy_kwargs={"net_arch": [8]})
    write(out, "dqn_dict", DQN, "MultiInputPolicy", dictionary, spaces.Discrete(4), 39)
    write(out, "qrdqn_cnn", QRDQN, "CnnPolicy", image, spaces.Discrete(4), 40)
    write(out, "tqc_dict", TQC, "MultiInputPolicy", dictionary, three, 41)
    write(out, "maskable_cnn", MaskablePPO, "CnnPolicy", image, spaces.Discrete(4), 42, n_steps=8, masked=True)
    write(out, "ppo_cnn_channels_first", PPO, "CnnPolicy", chw, three, 43, n_steps=8)
    write(out, "ppo_dict_normalized", PPO, "MultiInputPolicy", spaces.Dict({"x": box(0, 1, (3, 36, 36)), "v": vector}), three, 44, n_steps=8,
          policy_kwargs={"normalize_images": False})


def main():
    out = pathlib.Path(sys.argv[1])
    if FIRST:
        write_first(out)
    elif OLD:
        write_old(out)
    elif sys.argv[2:] == ["large"]:
        write_large(out)
    else:
        write_new(out)


if __name__ == "__main__":
    main()
