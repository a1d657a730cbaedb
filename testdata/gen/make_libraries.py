"""Write files of weights in the layouts of training libraries, with what the networks answer.

    python make_libraries.py OUT

makes OUT/<case>/: the file and cases.json. The networks are built here after the layouts that CleanRL's scripts and rsl_rl's
runner save; the libraries themselves are not run.
"""

import json
import pathlib
import shutil
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)


def mlp(sizes, activation):
    layers = []
    for n, m in zip(sizes, sizes[1:]):
        layers += [nn.Linear(n, m), activation()]
    return nn.Sequential(*layers[:-1])


class PPOContinuous(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = mlp([3, 8, 8, 1], nn.Tanh)
        self.actor_mean = mlp([3, 8, 8, 2], nn.Tanh)
        self.actor_logstd = nn.Parameter(torch.randn(1, 2) * 0.3)

    def forward(self, x):
        mean = self.actor_mean(x)
        return {"action": mean, "log_std": self.actor_logstd.expand_as(mean), "value": self.critic(x)}


class PPODiscrete(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = mlp([3, 64, 64, 1], nn.Tanh)
        self.actor = mlp([3, 64, 64, 4], nn.Tanh)

    def forward(self, x):
        logits = self.actor(x)
        return {"action": logits.argmax(1), "logits": logits, "value": self.critic(x)}


class DQN(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = mlp([2, 120, 84, 3], nn.ReLU)

    def forward(self, x):
        q = self.network(x)
        return {"action": q.argmax(1), "q_values": q}


class Actor(nn.Module):
    def __init__(self, squashed):
        super().__init__()
        self.squashed = squashed
        self.fc1, self.fc2 = nn.Linear(4, 16), nn.Linear(16, 16)
        if squashed:
            self.fc_mean, self.fc_logstd = nn.Linear(16, 2), nn.Linear(16, 2)
        else:
            self.fc_mu = nn.Linear(16, 2)
        self.register_buffer("action_scale", torch.tensor([2.0, 0.5]))
        self.register_buffer("action_bias", torch.tensor([0.0, 0.25]))

    def forward(self, x):
        x = F.relu(self.fc2(F.relu(self.fc1(x))))
        if not self.squashed:
            return {"action": torch.tanh(self.fc_mu(x)) * self.action_scale + self.action_bias}
        mean, log_std = self.fc_mean(x), torch.tanh(self.fc_logstd(x))
        return {"action": torch.tanh(mean) * self.action_scale + self.action_bias, "mean": mean, "log_std": -5 + 3.5 * (log_std + 1)}


class Runner(nn.Module):
    """An actor of rsl_rl: statistics, a recurrent part, an MLP."""

    def __init__(self, kind, layers=2):
        super().__init__()
        self.mean, self.std = torch.randn(1, 5), torch.rand(1, 5) + 0.3
        self.rnn = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](5, 7, num_layers=layers) if kind else None
        self.mlp = mlp([7 if kind else 5, 12, 6, 3], nn.ELU)
        self.state = None

    def reset(self):
        self.state = None

    def forward(self, x):
        x = (x - self.mean) / (self.std + 1e-2)
        if self.rnn is not None:
            x, self.state = self.rnn(x.unsqueeze(0), self.state)
            x = x.squeeze(0)
        return {"action": self.mlp(x)}

    def statistics(self, prefix=""):
        return {prefix + "_mean": self.mean, prefix + "_var": self.std**2, prefix + "_std": self.std, prefix + "count": torch.tensor(10)}

    def named(self, mlp_name, rnn_name):
        named = {f"{mlp_name}.{k}": v for k, v in self.mlp.state_dict().items()}
        if self.rnn is not None:
            named |= {f"{rnn_name}.{k}": v for k, v in self.rnn.state_dict().items()}
        return named

    def before5(self, inside):
        """A checkpoint of rsl_rl 1 to 4; the statistics are a part of the model, or beside it."""
        model = {"std": torch.ones(3), **self.named("actor", "memory_a.rnn"), **{f"critic.{k}": v for k, v in mlp([5, 4, 1], nn.ELU).state_dict().items()}}
        file = {"model_state_dict": model, "optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(2)}}}, "iter": 3, "infos": None}
        if inside:
            model |= self.statistics("actor_obs_normalizer.")
        else:
            file["obs_norm_state_dict"] = self.statistics()
        return file

    def since5(self):
        actor = {**self.statistics("obs_normalizer."), "distribution.std_param": torch.ones(3), **self.named("mlp", "rnn.rnn")}
        return {"actor_state_dict": actor, "critic_state_dict": {"mlp.0.weight": torch.zeros(1, 5)}, "optimizer_state_dict": {"state": {}}, "iter": 3, "infos": None}


def answers(module, width, rows=5):
    x = torch.randn(rows, width) * 2
    return [{"inputs": {"obs": x.tolist()}, "outputs": {k: v.tolist() for k, v in module(x).items()}}]


def steps(module, width, count=6, reset=(0, 4)):
    out = []
    for i in range(count):
        if i in reset:
            module.reset()
        x = torch.randn(1, width) * 2
        out.append({"inputs": {"obs": x.tolist()}, "outputs": {k: v.tolist() for k, v in module(x).items()}})
    return {"reset_before_steps": list(reset), "steps": out}


def main(out=None):
    root = pathlib.Path(out or sys.argv[1])
    shutil.rmtree(root, ignore_errors=True)

    def write(name, library, file, value, recorded):
        (root / name).mkdir(parents=True)
        torch.save(value, root / name / file)
        (root / name / "cases.json").write_text(json.dumps({"library": library, "file": file, "torch": torch.__version__.split("+")[0], **recorded}) + "\n")

    torch.manual_seed(11)
    with torch.no_grad():
        for name, library, module, width in [
            ("cleanrl_ppo_continuous", "CleanRL (PPO, continuous actions)", PPOContinuous(), 3),
            ("cleanrl_ppo", "CleanRL (PPO, discrete actions)", PPODiscrete(), 3),
            ("cleanrl_dqn", "CleanRL (DQN)", DQN(), 2),
            ("cleanrl_sac", "CleanRL (SAC)", Actor(True), 4),
        ]:
            write(name, library, name + ".cleanrl_model", module.state_dict(), {"batches": answers(module, width)})
        actor, critic = Actor(False), mlp([6, 16, 16, 1], nn.ReLU)
        write("cleanrl_ddpg", "CleanRL (TD3, DDPG)", "ddpg.cleanrl_model", (actor.state_dict(), critic.state_dict()), {"batches": answers(actor, 4)})
        r = Runner(None)
        write("rsl_rl_3", "rsl_rl", "model_3.pt", r.before5(True), {"batches": answers(r, 5)})
        r = Runner("lstm")
        write("rsl_rl_2_lstm", "rsl_rl 2", "model_3.pt", r.before5(False), steps(r, 5))
        r = Runner("gru", 1)
        write("rsl_rl_5_gru", "rsl_rl 5", "model_3.pt", r.since5(), steps(r, 5))


if __name__ == "__main__":
    main()
