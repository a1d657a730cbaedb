"""Write small modules of torch.nn with the PyTorch that runs this, and what they answer.

    python make_modules.py OUT

makes OUT/<version of PyTorch>/<case>/: the whole module as torch.save writes it, its state_dict, the tensors as
safetensors where that library is installed, the program of torch.export where this version writes it as a .pt2 archive of
JSON, and cases.json with inputs, outputs and the `architecture:` of a model card for the weights alone.
"""

import collections
import json
import pathlib
import sys
import warnings
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

try:
    from safetensors.torch import save_file
except ImportError:
    save_file = None

warnings.filterwarnings("ignore")
torch.set_num_threads(1)

BATCHES = (3, 1)


class Driver(nn.Module):
    """A class of a user's program: its forward is code that no file holds."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(5))
        self.register_buffer("var", torch.ones(5))
        self.body = nn.Sequential(nn.Linear(5, 8), nn.ReLU())
        self.head = nn.Linear(8, 2)
        self.value = nn.Linear(8, 1)

    def forward(self, x):
        h = self.body(torch.clamp((x - self.mean) / torch.sqrt(self.var + 1e-5), -5.0, 5.0))
        return torch.tanh(self.head(h)), self.value(h)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Conv2d(1, 2, 3, stride=2)
        self.vec = nn.Linear(3, 4)
        self.out = nn.Linear(12, 2)

    def forward(self, image, state):
        features = torch.cat((torch.relu(self.cnn(image / 255.0)).flatten(1), torch.tanh(self.vec(state))), 1)
        return self.out(features) + 0.5


class Dueling(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(4, 6)
        self.v = nn.Linear(6, 1)
        self.a = nn.Linear(6, 3)

    def forward(self, x):
        h = torch.relu(self.f(x))
        a = self.a(h)
        return self.v(h) + a - a.mean(dim=1, keepdim=True)


class Normed(nn.Module):
    """Weights that are put together of two, in the old and the new way."""

    def __init__(self):
        super().__init__()
        self.old = nn.utils.weight_norm(nn.Linear(4, 5))
        self.new = nn.utils.parametrizations.weight_norm(nn.Linear(5, 4)) if hasattr(nn.utils.parametrizations, "weight_norm") else nn.Linear(5, 4)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))

    def forward(self, x):
        return self.spectral(torch.relu(self.new(torch.relu(self.old(x)))))


class Program(nn.Module):
    """What torch.export keeps of a forward: constants, changes in place, several results of one operator, a dict."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(5, 6)
        self.register_buffer("scale", torch.ones(6), persistent=False)

    def forward(self, x, goal):
        h = torch.addmm(self.a.bias, x, self.a.weight.t(), beta=0.5, alpha=2.0)
        h = h * self.scale + torch.tensor([1.0, 2.0, 3.0, -1.0, -2.0, -3.0])
        h.add_(1.0).mul_(0.5)
        best, where = h.max(dim=1, keepdim=True)
        low, high = torch.split(h, [2, 4], dim=1)
        y = torch.where(low > 0, low, 0.1 * low)
        z = high.clone()
        z[:, 1:3] = goal
        q = (y.unsqueeze(2) * z.unsqueeze(1)).flatten(1).view(x.shape[0], -1)
        s = torch.std(q, dim=1, correction=0, keepdim=True)
        with torch.no_grad():
            n = F.gelu(q, approximate="tanh") / (s + 1e-3)
        return {"action": torch.cat([n, best], 1), "index": where, "stacked": torch.stack([y, y.double().float()], dim=1)}


def activations():
    layers = [nn.Linear(4, 6)]
    for a in (
        nn.ReLU(), nn.ELU(0.7), nn.LeakyReLU(0.2), nn.SELU(), nn.SiLU(), nn.GELU(), nn.GELU(approximate="tanh"), nn.CELU(1.3), nn.Softplus(2, 10),
        nn.Mish(), nn.Softsign(), nn.Hardswish(), nn.Hardsigmoid(), nn.LogSigmoid(), nn.Hardtanh(-0.5, 0.8), nn.ReLU6(), nn.PReLU(), nn.PReLU(6),
        nn.Threshold(0.1, -0.2), nn.Tanhshrink(), nn.Hardshrink(0.1), nn.Softshrink(0.1), nn.RReLU(), nn.Softmin(dim=-1), nn.Sigmoid(), nn.Tanh(),
        nn.Dropout(0.3), nn.AlphaDropout(0.2), nn.Identity(),
    ):
        layers += [a, nn.Linear(6, 6)]
    return nn.Sequential(*layers, nn.LogSoftmax(dim=-1))


def named():
    return nn.Sequential(collections.OrderedDict(
        body=nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.1)),
        neck=nn.Sequential(nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8), nn.ELU(0.5)),
        head=nn.Linear(8, 2),
    ))


def images():
    return nn.Sequential(
        nn.ZeroPad2d((1, 0, 0, 1)), nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2, stride=1),
        nn.Conv2d(4, 4, 3, padding="same", groups=2, dilation=1, bias=False), nn.GroupNorm(2, 4), nn.LeakyReLU(0.1), nn.AvgPool2d(2, ceil_mode=True),
        nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(), nn.Linear(8, 3), nn.Softmax(dim=1),
    )


def signals():
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, stride=2, padding=1), nn.SiLU(), nn.MaxPool1d(2), nn.AvgPool1d(2, 1), nn.InstanceNorm1d(4, affine=True), nn.Flatten(start_dim=1),
        nn.Linear(12, 6), nn.GLU(), nn.Unflatten(1, (3, 1)), nn.Flatten(), nn.Linear(3, 2),
    )


def transposed():
    return nn.Sequential(
        nn.ReflectionPad2d((1, 0, 1, 1)), nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2), nn.ReLU(), nn.ReplicationPad2d(1),
        nn.ConvTranspose2d(4, 1, 2, bias=False), nn.Flatten(),
    )


def decoder():
    return nn.Sequential(nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2), nn.ReLU(), nn.ConvTranspose2d(4, 1, 2), nn.Flatten())


def shared():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(4, 2, bias=False))


def recurrent(kind, **more):
    return lambda: kind(4, 5, num_layers=2, batch_first=True, **more)


def transformer():
    """A transformer over six steps, as a policy with a window of observations has it."""
    first = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    second = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, activation="gelu", norm_first=True)
    return nn.Sequential(nn.Linear(5, 8), nn.TransformerEncoder(first, 2, norm=nn.LayerNorm(8), **NOT_NESTED), second, nn.Flatten(), nn.Linear(48, 2))


NOT_NESTED = {"enable_nested_tensor": False}


def spectral():
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 5)), nn.Tanh(), nn.utils.weight_norm(nn.Linear(5, 4)), nn.ELU(), nn.utils.spectral_norm(nn.Linear(4, 3)))


def pools():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.LocalResponseNorm(3), nn.LPPool2d(2, 2), nn.ChannelShuffle(2),
        nn.Conv2d(4, 4, 3, padding=(1, 0), padding_mode="reflect"), nn.AdaptiveMaxPool2d((2, None)), nn.Softmax2d(), nn.BatchNorm2d(4),
        nn.Conv2d(4, 2, 2, padding="same", padding_mode="replicate"), nn.Flatten(2), nn.AdaptiveMaxPool1d(2), nn.Flatten(),
    )


def classes_of_numbers():
    return nn.Sequential(nn.Embedding(7, 4, padding_idx=0), nn.Flatten(), nn.Linear(12, 3))


def resized():
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.PixelShuffle(2), nn.Upsample(scale_factor=0.5, mode="bilinear"), nn.ReLU(),
        nn.Upsample(size=(6, 5), mode="bicubic", align_corners=True), nn.UpsamplingNearest2d(scale_factor=2), nn.PixelUnshuffle(2), nn.Flatten(2),
        nn.Upsample(scale_factor=1.5, mode="linear"), nn.Upsample(size=7), nn.Flatten(), nn.Linear(56, 2),
    )


class Distances(nn.Module):
    """Functions of two sets of points, as exported programs have them."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))

    def forward(self, x, y):
        d = torch.cdist(x, y) * self.scale
        rows, columns = torch.meshgrid(torch.arange(3.0), torch.arange(5.0), indexing="ij")
        near = F.cosine_similarity(x[:, 0], y[:, 0], dim=1)
        p = torch.distributions.Normal(x.mean(1), 0.5, validate_args=False).log_prob(y.mean(1))
        return {"distance": d + rows * 0.1 - columns * 0.2, "near": near, "log_prob": p.sum(1), "channels": F.pixel_shuffle(F.channel_shuffle(d.unsqueeze(1).expand(-1, 4, -1, -1), 2), 2)}


# name: module, input names and shapes, architecture (None where the weights alone make no such network)
CASES = {
    "seq_mlp": (lambda: nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)), {"obs": (5,)},
                "[{linear: 0}, tanh, {linear: 2}, relu, {linear: 4}]"),
    "seq_named": (named, {"obs": (5,)},
                  "[{linear: body.0}, {layer_norm: body.1}, gelu, {linear: neck.0}, {batch_norm: neck.1}, {elu: {alpha: 0.5}}, {linear: head}]"),
    "seq_images": (images, {"obs": (2, 9, 9)}, None),
    "seq_signals": (signals, {"obs": (2, 16)}, None),
    "seq_shared": (shared, {"obs": (4,)}, "[{linear: 0}, tanh, {linear: 0}, tanh, {linear: 4}]"),
    "activations": (activations, {"obs": (4,)}, None),
    "float64": (lambda: nn.Sequential(nn.Linear(4, 6), nn.ELU(), nn.Linear(6, 2)).double(), {"obs": (4,)}, "[{linear: 0}, elu, {linear: 2}]"),
    "driver": (Driver, {"obs": (5,)},
               "{layers: [{normalize: {mean: mean, var: var, eps: 1.0e-5, clip: 5}}, {linear: body.0}, {relu: , as: h}, {linear: head}, "
               "{tanh: , as: action}, {linear: value, from: h, as: value}], outputs: {out0: action, out1: value}}"),
    "two_inputs": (TwoInputs, {"image": (1, 6, 6), "state": (3,)},
                   "{inputs: {image: [1, 6, 6], state: [3]}, layers: [{div: 255.0, from: image}, {conv: cnn, stride: 2}, relu, {flatten: , as: a}, "
                   "{linear: vec, from: state}, {tanh: , as: b}, {concat: [a, b]}, {linear: out}, {add: 0.5}]}"),
    "dueling": (Dueling, {"obs": (4,)},
                "[{linear: f}, {relu: , as: h}, {linear: a, as: a}, {mean: {axes: 1, keepdim: true}, as: m}, {linear: v, from: h}, {add: a}, {sub: m}]"),
    "program": (Program, {"x": (5,), "goal": (2,)}, None),
    "normed": (Normed, {"obs": (4,)}, "[{linear: old}, relu, {linear: new}, relu, {linear: spectral}]"),
    "seq_transposed": (transposed, {"obs": (2, 3, 3)}, None),
    "seq_decoder": (decoder, {"obs": (2, 3, 3)},
                    "{inputs: {obs: [2, 3, 3]}, layers: [{conv_transpose: 0, stride: 2, padding: 1, output_padding: 1, groups: 2}, relu, {conv_transpose: 2}, flatten]}"),
    "lstm": (recurrent(nn.LSTM), {"obs": (3, 4)}, None),
    "lstm_projected": (recurrent(nn.LSTM, proj_size=3, bias=False), {"obs": (3, 4)}, None),
    "gru": (recurrent(nn.GRU, bidirectional=True), {"obs": (3, 4)}, None),
    "rnn": (recurrent(nn.RNN, nonlinearity="relu"), {"obs": (3, 4)}, None),
    "lstm_cell": (lambda: nn.LSTMCell(4, 5), {"obs": (4,)}, None),
    "gru_cell": (lambda: nn.GRUCell(4, 5), {"obs": (4,)}, None),
    "attention": (lambda: nn.MultiheadAttention(8, 2, kdim=5, vdim=6, batch_first=True), {"query": (3, 8), "key": (4, 5), "value": (4, 6)}, None),
    "decoder_layer": (lambda: nn.TransformerDecoderLayer(8, 2, 12, batch_first=True), {"tgt": (3, 8), "memory": (4, 8)}, None),
    "bilinear": (lambda: nn.Bilinear(4, 3, 2), {"input1": (4,), "input2": (3,)}, None),
    "seq_transformer": (transformer, {"obs": (6, 5)},
                        "{inputs: {obs: [6, 5]}, layers: [{linear: 0}, {transformer_encoder: 1, heads: 2}, "
                        "{transformer_encoder: 2, heads: 2, activation: gelu, norm_first: true}, flatten, {linear: 4}]}"),
    "seq_spectral": (spectral, {"obs": (4,)}, None),
    "seq_pools": (pools, {"obs": (3, 8, 8)}, None),
    "embedding": (classes_of_numbers, {"obs": (3,)}, None),
    "embedding_bag": (lambda: nn.EmbeddingBag(7, 4, mode="mean"), {"obs": (3,)}, None),
    "seq_resized": (resized, {"obs": (2, 4, 4)}, None),
    "distances": (Distances, {"x": (3, 4), "y": (5, 4)}, None),
}


def fill(module, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in list(module.parameters()) + list(module.buffers()):
            if value.is_floating_point():
                value.copy_(torch.empty_like(value).uniform_(-0.6, 0.6, generator=generator))
        for name, value in module.named_buffers():
            if name.endswith("var"):
                value.abs_().add_(0.3)
    return module.eval()


INTEGERS = {"embedding": 7, "embedding_bag": 7}  # the classes of an input
ROWS_AS_BAGS = ("embedding_bag",)  # where torch 2.5 exports the number of rows as data
CHECKPOINTS = {"seq_mlp": "model", "lstm": "actor"}  # also saved as one entry of a dict, and in the older container


def flatten(value):
    return [t for v in value for t in flatten(v)] if isinstance(value, tuple) else [value]


def numbers(tensor):
    if tensor.dtype == torch.float64:
        return tensor.tolist()

    def shorten(value):
        return [shorten(v) for v in value] if value.ndim else float(str(value[()]))

    return shorten(tensor.numpy())


def write(out, name, seed):
    make, inputs, architecture = CASES[name]
    module = fill(make(), seed)
    directory = out / name
    directory.mkdir(parents=True, exist_ok=True)
    dtype = next(module.parameters()).dtype
    random = np.random.RandomState(seed)
    if name in INTEGERS:
        batches = [{k: torch.from_numpy(random.randint(0, INTEGERS[name], (rows,) + s)) for k, s in inputs.items()} for rows in BATCHES]
    else:
        batches = [{k: torch.from_numpy(random.normal(0, 1.2, (rows,) + s)).to(dtype) for k, s in inputs.items()} for rows in BATCHES]
    files = {"state": "state_dict.pth"}
    with torch.no_grad():
        module(*batches[0].values())
    torch.save(module.state_dict(), str(directory / files["state"]))
    try:
        torch.save(module, str(directory / "module.pth"))
        files["pickle"] = "module.pth"
        if name in CHECKPOINTS:
            with mock.patch("inspect.getsourcelines", side_effect=OSError):  # that container has the text of the classes, too
                torch.save(module, str(directory / "module_legacy.pth"), _use_new_zipfile_serialization=False)
            files["pickle_legacy"] = "module_legacy.pth"
            torch.save({"epoch": 3, CHECKPOINTS[name]: module, "losses": [0.5, 0.25]}, str(directory / "checkpoint.pth"))
            files["pickle_entry"] = "checkpoint.pth"
    except RuntimeError:  # parametrizations are not pickled
        (directory / "module.pth").unlink(missing_ok=True)
    if save_file is not None:
        files["safetensors"] = "model.safetensors"
        tensors, seen = {}, set()
        for key, value in module.state_dict().items():  # the format keeps no tensor twice
            if value.data_ptr() not in seen:
                seen.add(value.data_ptr())
                tensors[key] = value.contiguous()
        save_file(tensors, str(directory / files["safetensors"]))
    if [int(v) for v in torch.__version__.split("+")[0].split(".")[:2]] >= [2, 5] and name not in ROWS_AS_BAGS:
        batch = torch.export.Dim("batch", min=1, max=1024)
        try:
            program = torch.export.export(module, tuple(batches[0].values()), dynamic_shapes=tuple({0: batch} for _ in inputs))
            torch.export.save(program, str(directory / "model.pt2"))
            files["pt2"] = "model.pt2"
        except ValueError as error:  # torch 2.8 exports no recurrent layers whose weights were touched
            if "_flat_weights" not in str(error):
                raise
    recorded = []
    with torch.no_grad():
        for rows, batch in zip(BATCHES, batches):
            outputs = module(*batch.values())
            if isinstance(outputs, tuple):
                named = {f"out{i}": numbers(v) for i, v in enumerate(flatten(outputs))}
            else:
                named = {k: numbers(v) for k, v in outputs.items()} if isinstance(outputs, dict) else {"out": numbers(outputs)}
            recorded.append({"batch": rows, "inputs": {k: numbers(v) for k, v in batch.items()}, "outputs": named})
    case = {
        "name": name, "torch": torch.__version__.split("+")[0], "class": type(module).__name__, "files": files,
        "architecture": architecture, "atol": 1e-5, "batches": recorded,
    }
    (directory / "cases.json").write_text(json.dumps(case) + "\n", encoding="utf-8")


def main():
    version = torch.__version__.split("+")[0]
    out = pathlib.Path(sys.argv[1]) / version
    for seed, name in enumerate(CASES):
        write(out, name, 300 + seed)
    print(f"torch {version}: {len(CASES)} modules")


if __name__ == "__main__":
    main()
