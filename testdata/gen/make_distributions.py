"""Write networks that give the parameters of a distribution, with a card that says which, and what torch makes of them.

    python make_distributions.py OUT

makes OUT/<case>/ with the model, model_card.yaml and cases.json: observations, the action without a draw, and of that action
the log_prob, beside entropy and parameters, as torch.distributions has them. The checkpoints of rsl_rl are built here after the
layout that its runner saves and the formulas of its distributions; the library itself is not run.
"""

import json
import pathlib
import shutil
import sys
import zipfile

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.distributions import Bernoulli, Beta, Categorical, Normal

torch.set_num_threads(1)
ROWS = 5


def mlp(*sizes, activation=nn.Tanh):
    layers = []
    for n, m in zip(sizes, sizes[1:]):
        layers += [nn.Linear(n, m), activation()]
    return nn.Sequential(*layers[:-1])


class Heads(nn.Module):
    """A body and several heads, as a tuple."""

    def __init__(self, *widths):
        super().__init__()
        self.body, self.heads = mlp(4, 8, activation=nn.ReLU), nn.ModuleList([nn.Linear(8, n) for n in widths])
        self.log_std = nn.Parameter(torch.randn(widths[0]) * 0.3)

    def latent(self, x):
        return torch.relu(self.body(x))

    def values(self, x):
        h = self.latent(x)
        return [head(h) for head in self.heads]


class MeanAndLogStd(Heads):
    def forward(self, x):
        h = self.latent(x)
        a, b = [head(h) for head in self.heads]
        return a, b


class MeanAlone(Heads):
    def forward(self, x):
        h = self.latent(x)
        for head in self.heads:
            h = head(h)
        return h


class Named(Heads):
    def forward(self, x):
        h = self.latent(x)
        a, b, c = [head(h) for head in self.heads]
        return {"gear": a, "lane": b, "value": c}


class Concentrations(Heads):
    def forward(self, x):
        h = self.latent(x)
        a, b = [F.softplus(head(h)) + 0.5 for head in self.heads]
        return a, b


def gaussian(mean, std):
    d = Normal(mean, std)
    return {"action": mean, "distribution.mean": mean, "distribution.std": std + 0 * mean, "log_prob": d.log_prob(mean).sum(1), "entropy": (d.entropy() + 0 * mean).sum(1)}


def squashed(mean, std):
    y = torch.tanh(mean)
    return {"action": y, "distribution.mean": mean, "distribution.std": std,
            "log_prob": Normal(mean, std).log_prob(mean).sum(1) - torch.log(1 - y * y + 1e-6).sum(1)}


def categories(*logits, probs=None):
    ds = [Categorical(probs=probs)] if probs is not None else [Categorical(logits=x) for x in logits]
    a = [d.logits.argmax(1) for d in ds]
    return {"action": torch.stack(a, 1), "distribution.logits": torch.cat([d.logits for d in ds], 1), "distribution.probs": torch.cat([d.probs for d in ds], 1),
            "log_prob": sum(d.log_prob(x) for d, x in zip(ds, a)), "entropy": sum(d.entropy() for d in ds)}


def bernoulli(p):
    d = Bernoulli(probs=p)
    a = (p > 0.5).float()
    return {"action": a, "distribution.logits": d.logits, "distribution.probs": p, "log_prob": d.log_prob(a).sum(1), "entropy": d.entropy().sum(1)}


def beta(alpha, b, low, high, mode=False):
    d, span = Beta(alpha, b), high - low
    x = (alpha - 1) / (alpha + b - 2) if mode else d.mean
    return {"action": low + span * x, "distribution.mean": low + span * d.mean, "distribution.std": span * d.stddev, "distribution.alpha": alpha,
            "distribution.beta": b, "log_prob": d.log_prob(x).sum(1) - (torch.log(span) + 0 * x).sum(1), "entropy": (d.entropy() + torch.log(span)).sum(1)}


def write(out, name, save, card, answer, seed, file="model.pt", width=4):
    folder = out / name
    folder.mkdir(parents=True)
    save(folder / file)
    (folder / "model_card.yaml").write_text(
        f"model_name: {name}\nversion: v0.0.1\nmodel_type: pytorch\nmodel_filename: {file}\n{card}\n")
    torch.manual_seed(seed)
    x = torch.randn(ROWS, width)
    with torch.no_grad():
        expect = {k: v.tolist() for k, v in answer(x).items()}
    source = f"PyTorch {torch.__version__.split('+')[0]}"
    (folder / "cases.json").write_text(json.dumps({"source": source, "atol": 2e-5, "input": x.tolist(), "expect": expect}) + "\n")


def scripted(module):
    def save(path):
        torch.jit.script(module).save(path)
        with zipfile.ZipFile(path) as archive:
            # What is left out are positions in the sources, with the paths of the machine.
            members = [(i, archive.read(i)) for i in archive.infolist() if not i.filename.endswith(".debug_pkl")]
        with zipfile.ZipFile(path, "w") as archive:
            for info, data in members:
                info.extra = b""  # padding, for the place that it had
                archive.writestr(info, data)

    return save


def exported(module):
    def save(path):
        example = torch.zeros(3, 4)
        rows = torch.export.Dim("rows", min=1, max=4096)
        program = torch.export.export(module, (example,), dynamic_shapes=[{0: rows}])
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it has the paths of the machine
        torch.export.save(program, path)

    return save


def runner(outputs):
    """The actor of a checkpoint of rsl_rl 5 whose distribution has no parameter, and its function."""
    net, mean, std = mlp(5, 12, 6, 2 * outputs, activation=nn.ELU), torch.randn(1, 5), torch.rand(1, 5) + 0.3
    actor = {f"mlp.{k}": v for k, v in net.state_dict().items()}
    actor |= {"obs_normalizer._mean": mean, "obs_normalizer._var": std**2, "obs_normalizer._std": std, "obs_normalizer.count": torch.tensor(10)}
    critic = {f"mlp.{k}": v for k, v in mlp(5, 4, 1, activation=nn.ELU).state_dict().items()}
    file = {"actor_state_dict": actor, "critic_state_dict": critic, "optimizer_state_dict": {"state": {}, "param_groups": []}, "iter": 3, "infos": None}

    def halves(x):
        return net((x - mean) / (std + 1e-2)).view(-1, 2, outputs).unbind(1)

    return (lambda path: torch.save(file, path)), halves


def main():
    out = pathlib.Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    torch.manual_seed(0)
    box = "action: [{name: a, low: -1, high: 1}, {name: b, low: 0, high: 2}]"
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 2.0])

    m = MeanAndLogStd(2, 2)
    write(out, "script_outputs", scripted(m), "postprocess: none\ndistribution: {kind: gaussian, mean: {output: 0}, log_std: {output: 1}}",
          lambda x, m=m: gaussian(m(x)[0], m(x)[1].exp()), 1)
    m = MeanAlone(3)
    write(out, "script_parameter", scripted(m), "postprocess: none\ndistribution: gaussian\nobservation: [{name: x, shape: [4]}]",
          lambda x, m=m: gaussian(m(x), m.log_std.exp()), 2)
    m = MeanAlone(4)
    write(out, "export_categorical", exported(m), "distribution: categorical", lambda x, m=m: categories(m(x)), 3, file="model.pt2")
    m = MeanAndLogStd(2, 2)
    write(out, "state_dict_squashed", lambda path, m=m: torch.save(m.state_dict(), path), """distribution: squashed_gaussian
architecture:
  layers:
    - {linear: body.0}
    - {relu: , as: latent}
    - {linear: heads.0, as: mean}
    - {linear: heads.1, from: latent}
    - {clamp: {min: -2.0, max: 0.5}, as: log_std}
  outputs: [mean, log_std]""", lambda x, m=m: squashed(m(x)[0], m(x)[1].clamp(-2, 0.5).exp()), 4)
    m = Named(3, 2, 1)
    write(out, "script_choices", scripted(m), "distribution: multi_categorical", lambda x, m=m: categories(*m.values(x)[:2]), 5)
    m = nn.Sequential(mlp(4, 8, 3), nn.Softmax(1))
    write(out, "module_softmax", lambda path, m=m: torch.save(m, path), "distribution: categorical", lambda x, m=m: categories(probs=m(x)), 6)
    m = nn.Sequential(mlp(4, 8, 3), nn.Sigmoid())
    write(out, "export_bernoulli", exported(m), "distribution: bernoulli", lambda x, m=m: bernoulli(m(x)), 7, file="model.pt2")
    m = Concentrations(2, 2)
    write(out, "script_beta", scripted(m), f"{box}\ndistribution: beta", lambda x, m=m: beta(*m(x), low, high), 8)
    save, halves = runner(2)
    write(out, "rsl_rl_beta", save, f"{box}\ndistribution: {{kind: beta, deterministic: mode}}",
          lambda x, f=halves: beta(F.softplus(f(x)[0]) + 1, F.softplus(f(x)[1]) + 1, low, high, mode=True), 9, file="model_3.pt", width=5)
    save, halves = runner(3)
    write(out, "rsl_rl_heteroscedastic", save, "postprocess: none\nobservation: [{name: obs, shape: [5]}]\ndistribution: {kind: gaussian, std: {output: spread, min: 1.0e-06}}",
          lambda x, f=halves: gaussian(f(x)[0], f(x)[1].clamp(min=1e-6)), 10, file="model_3.pt", width=5)


if __name__ == "__main__":
    main()
