"""Write one module with a method for every operation that TorchScript code may call, and what torch answers.

    python make_ops.py OUT

makes OUT/<version of PyTorch>/: ops_script.pt, ops_trace.pt and cases.json with one case a method, and, by the oldest
version and the newest, the same in the folder rare/ below it. Operations that this version of PyTorch does not have are left out.
"""

import importlib.util
import inspect
import json
import pathlib
import re
import shutil
import sys
import warnings

import numpy as np
import torch

import ops_more
import ops_rare

warnings.filterwarnings("ignore")
torch.set_num_threads(1)

# Inputs by name: x is a row of features, y another one, im a small image, seq a
# sequence, ids are classes.
INPUTS = {"x": (6,), "y": (6,), "im": (4, 6, 6), "seq": (5, 6), "ids": (), **ops_more.INPUTS}

# name: inputs, body of the method
OPS = {
    # arithmetic and promotion
    "add_alpha": ("x y", "return torch.add(x, y, alpha=2.5)"),
    "sub_alpha": ("x y", "return torch.sub(x, y, alpha=3)"),
    "rsub": ("x", "return 1.5 - x"),
    "mul_int": ("x", "return x * 3"),
    "div_int": ("x", "return x / 7"),
    "rdiv": ("x", "return 2.0 / (x.abs() + 1)"),
    "div_floor": ("x", "return torch.div(x, 0.3, rounding_mode='floor')"),
    "div_trunc": ("x", "return torch.div(x, 0.3, rounding_mode='trunc')"),
    "floor_divide": ("x", "return x // 0.7"),
    "remainder": ("x", "return torch.remainder(x, 0.7)"),
    "remainder_negative": ("x", "return x % -0.6"),
    "pow_square": ("x", "return x ** 2"),
    "pow_half": ("x", "return x.abs() ** 0.5"),
    "pow_base": ("x", "return 2.0 ** x"),
    "pow_tensor": ("x y", "return torch.pow(x.abs(), y)"),
    "double_promotion": ("x", "return x.double() + x"),
    "int_promotion": ("ids x", "return ids.unsqueeze(1) * x"),
    "bool_arithmetic": ("x", "return (x > 0) * x"),
    "bool_sum": ("x", "return (x > 0).sum(1)"),
    "int_div": ("ids", "return ids / 2"),
    "minimum": ("x y", "return torch.minimum(x, y)"),
    "maximum": ("x y", "return torch.maximum(x, y)"),
    "max_other": ("x y", "return torch.max(x, y)"),
    "addcmul": ("x y", "return torch.addcmul(x, x, y, value=0.5)"),
    "addcdiv": ("x y", "return torch.addcdiv(x, x, y.abs() + 1, value=2.0)"),
    "lerp": ("x y", "return torch.lerp(x, y, 0.25)"),
    "broadcast_column": ("x", "return x - x[:, :1]"),
    "scalar_chain": ("x", "n = 3\n        k = (n * 2 + 1) // 2 - n % 2\n        return x * float(k) + n ** 2"),
    # element by element
    "exp": ("x", "return torch.exp(x)"),
    "expm1": ("x", "return torch.expm1(x)"),
    "exp2": ("x", "return torch.exp2(x)"),
    "log": ("x", "return torch.log(x.abs() + 0.1)"),
    "log1p": ("x", "return torch.log1p(x.abs())"),
    "log2": ("x", "return torch.log2(x.abs() + 0.1)"),
    "log10": ("x", "return torch.log10(x.abs() + 0.1)"),
    "sqrt": ("x", "return torch.sqrt(x.abs())"),
    "rsqrt": ("x", "return torch.rsqrt(x.abs() + 0.1)"),
    "reciprocal": ("x", "return torch.reciprocal(x.abs() + 0.1)"),
    "square": ("x", "return torch.square(x)"),
    "abs": ("x", "return x.abs()"),
    "neg": ("x", "return -x"),
    "sign": ("x", "return torch.sign(x)"),
    "floor": ("x", "return torch.floor(x * 3)"),
    "ceil": ("x", "return torch.ceil(x * 3)"),
    "round": ("x", "return torch.round(x * 3)"),
    "trunc": ("x", "return torch.trunc(x * 3)"),
    "frac": ("x", "return torch.frac(x * 3)"),
    "sin": ("x", "return torch.sin(x)"),
    "cos": ("x", "return torch.cos(x)"),
    "tan": ("x", "return torch.tan(x * 0.5)"),
    "erf": ("x", "return torch.erf(x)"),
    "clamp": ("x", "return torch.clamp(x, -0.5, 0.5)"),
    "clamp_low": ("x", "return torch.clamp(x, min=0.1)"),
    "clamp_high": ("x", "return torch.clamp(x, max=0.1)"),
    "clamp_min": ("x", "return x.clamp_min(0.2)"),
    "clamp_max": ("x", "return x.clamp_max(0.2)"),
    "clamp_tensors": ("x y", "return torch.clamp(x, y - 1, y + 0.5)"),
    "clamp_int": ("x", "return torch.clamp(x, -1, 1)"),
    "clip": ("x", "return torch.clip(x, -0.3, 0.4)"),
    "isnan_where": ("x", "z = x / (x - x)\n        return torch.where(torch.isnan(z), x, z)"),
    "nan_to_num": ("x", "return torch.nan_to_num(x / torch.zeros_like(x), nan=1.0, posinf=2.0, neginf=-2.0)"),
    "isfinite": ("x", "return torch.isfinite(torch.log(x)).float()"),
    # comparison and choice
    "comparisons": ("x y", "return (x > y).float() + 2 * (x <= y).float() + 4 * (x != 0).float() + 8 * (x >= 0.5).float() + 16 * (x < -0.5).float() + 32 * (x == x).float()"),
    "logic": ("x y", "return torch.logical_and(x > 0, y > 0).float() + 2 * torch.logical_or(x > 0, y > 0).float() + 4 * torch.logical_xor(x > 0, y > 0).float() + 8 * torch.logical_not(x > 0).float()"),
    "bitwise": ("x y", "return ((x > 0) & (y > 0)).float() + 2 * ((x > 0) | (y > 0)).float() + 4 * (~(x > 0)).float()"),
    "where": ("x y", "return torch.where(x > y, x, y)"),
    "masked_fill": ("x", "return x.masked_fill(x < 0, -7.0)"),
    # activations
    "relu": ("x", "return torch.relu(x)"),
    "relu6": ("x", "return F.relu6(x * 10)"),
    "tanh": ("x", "return torch.tanh(x)"),
    "sigmoid": ("x", "return torch.sigmoid(x)"),
    "silu": ("x", "return F.silu(x)"),
    "mish": ("x", "return F.mish(x)"),
    "elu": ("x", "return F.elu(x, 0.7)"),
    "celu": ("x", "return F.celu(x, 1.3)"),
    "selu": ("x", "return F.selu(x)"),
    "leaky_relu": ("x", "return F.leaky_relu(x, 0.02)"),
    "prelu": ("x", "return F.prelu(x, torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))"),
    "rrelu": ("x", "return F.rrelu(x, 0.1, 0.3, training=False)"),
    "gelu": ("x", "return F.gelu(x)"),
    "gelu_tanh": ("x", "return F.gelu(x, approximate='tanh')"),
    "softplus": ("x", "return F.softplus(x)"),
    "softplus_beta": ("x", "return F.softplus(x * 5, 2.0, 8.0)"),
    "softsign": ("x", "return F.softsign(x)"),
    "hardswish": ("x", "return F.hardswish(x * 4)"),
    "hardsigmoid": ("x", "return F.hardsigmoid(x * 4)"),
    "hardtanh": ("x", "return F.hardtanh(x, -0.5, 0.8)"),
    "logsigmoid": ("x", "return F.logsigmoid(x)"),
    "threshold": ("x", "return F.threshold(x, 0.1, -0.2)"),
    "hardshrink": ("x", "return F.hardshrink(x, 0.4)"),
    "softshrink": ("x", "return F.softshrink(x, 0.4)"),
    "tanhshrink": ("x", "return F.tanhshrink(x)"),
    "glu": ("x", "return F.glu(x, -1)"),
    "softmax": ("x", "return torch.softmax(x, -1)"),
    "softmax_function": ("x", "return F.softmax(x, dim=1)"),
    "softmin": ("x", "return F.softmin(x, dim=1)"),
    "log_softmax": ("x", "return F.log_softmax(x, dim=1)"),
    "dropout_eval": ("x", "return F.dropout(x, 0.5, False)"),
    # linear algebra
    "linear": ("x", "return F.linear(x, self.w, self.b)"),
    "linear_plain": ("x", "return F.linear(x, self.w)"),
    "addmm": ("x", "return torch.addmm(self.b, x, self.w.t(), beta=0.5, alpha=2.0)"),
    "mm": ("x", "return torch.mm(x, self.w.t())"),
    "matmul": ("x", "return torch.matmul(x, self.w.t())"),
    "matmul_operator": ("x", "return x @ self.w.t() + self.b"),
    "matmul_vector": ("x", "return torch.matmul(x, self.w[0])"),
    "bmm": ("seq", "return torch.bmm(seq, seq.transpose(1, 2))"),
    "baddbmm": ("seq", "return torch.baddbmm(torch.ones(1, 5, 5), seq, seq.transpose(1, 2), beta=0.5, alpha=0.1)"),
    "bilinear": ("x y", "return F.bilinear(x, y, self.w3, self.b)"),
    "attention": ("seq", "return F.scaled_dot_product_attention(seq, seq, seq)"),
    "attention_causal": ("seq", "return F.scaled_dot_product_attention(seq, seq, seq, is_causal=True)"),
    # convolution and padding
    "conv2d": ("im", "return F.conv2d(im, self.k, self.b, stride=2, padding=1)"),
    "conv2d_groups": ("im", "return F.conv2d(im, self.kg, None, groups=2, dilation=2)"),
    "conv2d_same": ("im", "return F.conv2d(im, self.k, None, padding='same')"),
    "conv1d": ("seq", "return F.conv1d(seq, self.k1, self.b, padding=1)"),
    "pad": ("im", "return F.pad(im, (1, 2, 0, 1), value=0.5)"),
    "pad_negative": ("im", "return F.pad(im, (-1, 0, 1, -2))"),
    "max_pool2d": ("im", "return F.max_pool2d(im, 2)"),
    "max_pool2d_padding": ("im", "return F.max_pool2d(im, 3, stride=2, padding=1)"),
    "max_pool2d_dilation": ("im", "return F.max_pool2d(im, 2, stride=1, dilation=2)"),
    "max_pool2d_ceil": ("im", "return F.max_pool2d(im, 4, stride=3, ceil_mode=True)"),
    "avg_pool2d": ("im", "return F.avg_pool2d(im, 2, stride=1)"),
    "avg_pool2d_padding": ("im", "return F.avg_pool2d(im, 3, stride=2, padding=1)"),
    "avg_pool2d_no_pad_count": ("im", "return F.avg_pool2d(im, 3, stride=2, padding=1, count_include_pad=False)"),
    "adaptive_avg_pool2d": ("im", "return F.adaptive_avg_pool2d(im, (2, 4))"),
    "adaptive_max_pool2d": ("im", "return F.adaptive_max_pool2d(im, (2, 4))"),
    "max_pool1d": ("seq", "return F.max_pool1d(seq, 2)"),
    "avg_pool1d": ("seq", "return F.avg_pool1d(seq, 3)"),
    # shapes
    "view_batch": ("im", "return im.view(im.size(0), -1)"),
    "view_shape": ("im", "return im.view(im.shape[0], 4, -1)"),
    "view_infer_batch": ("im", "return im.view(-1, 4 * 6 * 6)"),
    "reshape_merge": ("seq", "return (seq.reshape(-1, 6) * 2).reshape(-1, 5, 6)"),
    "flatten": ("im", "return torch.flatten(im, 1)"),
    "flatten_range": ("im", "return torch.flatten(im, 1, 2)"),
    "unflatten": ("x", "return torch.unflatten(x, 1, [2, 3])"),
    "squeeze": ("x", "return x.unsqueeze(1).squeeze(1)"),
    "unsqueeze_last": ("x", "return x.unsqueeze(-1)"),
    "permute": ("im", "return im.permute(0, 2, 3, 1)"),
    "transpose": ("seq", "return seq.transpose(1, 2)"),
    "expand": ("x", "return x[:, :1].expand(-1, 4)"),
    "expand_as": ("x", "return x[:, :1].expand_as(x) + x"),
    "repeat": ("x", "return x.repeat(1, 3)"),
    "cat": ("x y", "return torch.cat([x, y], dim=1)"),
    "cat_last": ("x y", "return torch.cat((x, y, x), -1)"),
    "stack": ("x y", "return torch.stack([x, y], dim=1)"),
    "stack_last": ("x y", "return torch.stack([x, y], -1)"),
    "chunk": ("x", "a, b = x.chunk(2, dim=-1)\n        return a - b"),
    "chunk_uneven": ("x", "a, b, c = x.chunk(4, 1)[0], x.chunk(4, 1)[1], x.chunk(4, 1)[2]\n        return a + b * 2 + c * 3"),
    "split": ("x", "a, b = torch.split(x, 4, 1)\n        return torch.cat([b, a], 1)"),
    "split_sizes": ("x", "a, b, c = torch.split(x, [1, 2, 3], 1)\n        return torch.cat([c, b, a], 1)"),
    "unbind": ("seq", "a, b, c, d, e = seq.unbind(1)\n        return a + b * 2 + c * 3 + d * 4 + e * 5"),
    "select": ("seq", "return seq[:, -1]"),
    "slice": ("x", "return x[:, 1:5:2]"),
    "slice_end": ("seq", "return seq[:, :-1, 2:]"),
    "narrow": ("x", "return x.narrow(1, 2, 3)"),
    "index_select": ("x", "return torch.index_select(x, 1, torch.tensor([5, 0, 0, 3]))"),
    "index_list": ("x", "return x[:, [3, 4, 1]]"),
    "flip": ("x", "return torch.flip(x, [1])"),
    "one_hot": ("ids", "return F.one_hot(ids, 4)"),
    "embedding": ("ids", "return F.embedding(ids, self.w)"),
    # reductions
    "sum": ("im", "return im.sum(dim=[2, 3])"),
    "sum_keep": ("x", "return x.sum(1, keepdim=True)"),
    "mean": ("im", "return im.mean(dim=(2, 3))"),
    "mean_keep": ("x", "return x - x.mean(-1, keepdim=True)"),
    "amax": ("x", "return x.amax(1)"),
    "amin": ("x", "return torch.amin(x, dim=[1], keepdim=True)"),
    "max_dim": ("x", "v, i = x.max(1)\n        return v + i"),
    "min_dim": ("x", "v, i = x.min(dim=1, keepdim=True)\n        return v + i"),
    "argmax": ("x", "return x.argmax(dim=1)"),
    "argmin": ("x", "return x.argmin(dim=-1, keepdim=True)"),
    "any_all": ("x", "return torch.any(x > 1, 1).float() + 2 * torch.all(x > -1, dim=1).float()"),
    "logsumexp": ("x", "return torch.logsumexp(x, 1)"),
    "var": ("x", "return x.var(1)"),
    "var_biased": ("x", "return torch.var(x, 1, unbiased=False)"),
    "std": ("x", "return x.std(dim=1, keepdim=True)"),
    "norm": ("x", "return torch.norm(x, 2.0, [1])"),
    "norm_one": ("x", "return torch.norm(x, 1.0, [1])"),
    "normalize": ("x", "return F.normalize(x, dim=1)"),
    # normalisation
    "layer_norm": ("x", "return F.layer_norm(x, [6], self.g, self.h)"),
    "layer_norm_plain": ("seq", "return F.layer_norm(seq, (6,), eps=1e-3)"),
    "rms_norm": ("x", "return F.rms_norm(x, [6], self.g)"),
    "group_norm": ("im", "return F.group_norm(im, 2, self.b, self.b)"),
    "batch_norm": ("x", "return F.batch_norm(x, self.g, self.h.abs(), self.h, self.g, False, 0.1, 1e-5)"),
    "batch_norm_image": ("im", "return F.batch_norm(im, self.b, self.b.abs())"),
    # layers of sequences
    "lstm_layer": ("seq", "y, (h, c) = self.lstm(seq)\n        return torch.cat([y.flatten(1), h.transpose(0, 1).flatten(1), c.transpose(0, 1).flatten(1)], 1)"),
    "gru_layer": ("seq", "y, h = self.gru(seq.transpose(0, 1))\n        return torch.cat([y.transpose(0, 1).flatten(1), h.transpose(0, 1).flatten(1)], 1)"),
    "rnn_layer": ("seq", "return self.rnn(seq)[0]"),
    "lstm_cell": ("x", "h, c = self.lstm_cell_(x)\n        h, c = self.lstm_cell_(x, (h, c))\n        return torch.cat([h, c], 1)"),
    "gru_cell": ("x", "return self.gru_cell_(x, self.gru_cell_(x))"),
    "rnn_cell": ("x", "return self.rnn_cell_(x, self.rnn_cell_(x))"),
    "multi_head": ("seq", "return self.heads(seq, seq, seq)[0]"),
    "multi_head_mask": ("seq", "return self.heads(seq, seq, seq, attn_mask=torch.triu(torch.ones(5, 5), 1) > 0, need_weights=False)[0]"),
    "multi_head_cross": ("seq", "return self.heads(seq[:, :2], seq, seq)[0]"),
    "encoder_layer": ("seq", "return self.encoder(seq)"),
    "encoder_layer_first": ("seq", "return self.encoder_first(seq)"),
    # types and creation
    "to_double": ("x", "return x.to(torch.float64) / 3"),
    "to_half": ("x", "return x.half().float()"),
    "type_as": ("x ids", "return ids.type_as(x)"),
    "zeros_like": ("x", "return torch.zeros_like(x) + torch.ones_like(x) * x"),
    "zeros_batch": ("x", "return torch.cat([x, torch.zeros(x.size(0), 2)], 1)"),
    "new_full": ("x", "return x.new_ones([6]) * x + torch.full([6], 0.5)"),
    "arange": ("x", "return x * torch.arange(6)"),
    "arange_step": ("x", "return x * torch.arange(0.0, 3.0, 0.5)"),
    "linspace": ("x", "return x * torch.linspace(-1, 1, 6)"),
    "eye": ("x", "return x @ torch.eye(6)"),
    "tril": ("seq", "return torch.tril(seq) + torch.triu(seq, 2)"),
    "tensor_literal": ("x", "return x * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])"),
    # in place, and views
    "inplace_add": ("x", "z = x * 1\n        z += 2\n        z.mul_(3)\n        return z"),
    "inplace_relu": ("x", "return F.relu_(x * 1)"),
    "inplace_view": ("x", "z = x * 1\n        v = z[:, 2:4]\n        v.mul_(10)\n        return z"),
    "inplace_view_read_later": ("x", "z = x * 1\n        v = z[:, 2:4]\n        z.add_(1)\n        return v"),
    "inplace_select": ("seq", "z = seq * 1\n        z[:, 1] = 0.0\n        z[:, 2, 3:] = z[:, 0, 3:]\n        return z"),
    "inplace_transposed": ("seq", "z = seq * 1\n        t = z.transpose(1, 2)\n        t[:, 0] += 1\n        return z * 2 + t.transpose(1, 2)"),
    "inplace_alias": ("x", "z = x * 1\n        a = z\n        a.clamp_(-0.1, 0.1)\n        return z"),
    "inplace_two_views": ("x", "z = x * 1\n        a, b = z[:, :3], z[:, 2:5]\n        a.fill_(1.0)\n        b.add_(1)\n        return torch.cat([z, a, b], 1)"),
    # Python
    "loop": ("x", "for i in range(3):\n            x = x * 0.5 + i\n        return x"),
    "loop_while": ("x", "n = 0\n        while n < 4:\n            x = torch.tanh(x)\n            n += 1\n        return x"),
    "loop_break": ("x", "for i in range(10):\n            if i == 3:\n                break\n            x = x + i\n        return x"),
    "list_of_tensors": ("x", "outs: List[Tensor] = []\n        for i in range(3):\n            outs.append(x * i)\n        return torch.cat(outs, 1)"),
    "condition_on_shape": ("x", "if x.dim() == 2 and x.size(1) == 6:\n            return x + 1\n        return x - 1"),
    "condition_on_attribute": ("x", "if self.flag:\n            return x * self.scale\n        return x"),
    "dict_literal": ("x", "d = {'a': x, 'b': x * 2}\n        return d['a'] + d['b']"),
    "optional": ("x", "return self.maybe(x, None) + self.maybe(x, x)"),
    "early_return": ("x", "if len(self.names) > 1:\n            return x\n        return x * 2"),
    "string_choice": ("x", "if self.mode == 'tanh':\n            return torch.tanh(x)\n        elif self.mode == 'relu':\n            return torch.relu(x)\n        else:\n            return x"),
}

# What older versions may not have, or not as code.
NEW = ["attention", "attention_causal", "rms_norm", "multi_head", "multi_head_mask", "multi_head_cross", "encoder_layer", "encoder_layer_first", *ops_more.OPS]
OPS.update(ops_more.OPS)

HEAD = '''
from typing import Dict, List, Optional, Tuple
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class Ops(nn.Module):
    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(7)
        for name, shape in dict(w=(4, 6), b=(4,), w3=(4, 6, 6), k=(4, 4, 3, 3), kg=(4, 2, 2, 2), k1=(4, 5, 3), g=(6,), h=(6,)).items():
            self.register_buffer(name, torch.rand(shape, generator=g) - 0.3)
        self.g.add_(0.5)
        self.b.add_(0.4)
        torch.manual_seed(3)
        self.lstm = nn.LSTM(6, 4, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(6, 4, 2)
        self.rnn = nn.RNN(6, 4, nonlinearity="relu", bias=False, batch_first=True)
        self.lstm_cell_, self.gru_cell_, self.rnn_cell_ = nn.LSTMCell(6, 4), nn.GRUCell(6, 4), nn.RNNCell(6, 4)
        self.heads = nn.MultiheadAttention(6, 2, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
        self.encoder_first = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, norm_first=True, activation="gelu")
        self.lstm_proj = nn.LSTM(6, 5, batch_first=True, proj_size=3)
        self.register_buffer("table", torch.rand(6, 3, generator=g) - 0.5)
        self.register_buffer("kt1", torch.rand(5, 2, 3, generator=g) - 0.5)
        self.flag = True
        self.scale = 1.75
        self.mode = "relu"
        self.names: List[str] = ["a", "b"]

    def maybe(self, x: Tensor, y: Optional[Tensor]) -> Tensor:
        if y is None:
            return x
        return x * y

    def forward(self, x: Tensor) -> Tensor:
        return x
'''


def method(name, export):
    inputs, body = OPS[name]
    parameters = ", ".join(f"{one}: Tensor" for one in inputs.split())
    decorator = "    @torch.jit.export\n" if export else ""
    return f"\n{decorator}    def {name}(self, {parameters}):\n        {body}\n"


def load(names, directory, export=True, counter=[0]):
    """Import a module with the class of these methods, which is the last one of the head; TorchScript wants a source file."""
    counter[0] += 1
    path = pathlib.Path(directory) / f"ops{counter[0]}" / "ops_module.py"
    path.parent.mkdir()
    path.write_text(HEAD + "".join(method(name, export) for name in names))
    spec = importlib.util.spec_from_file_location("ops_module", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["ops_module"] = module
    spec.loader.exec_module(module)
    return (module.Rare if hasattr(module, "Rare") else module.Ops)().eval()


def draw(random, rows):
    made = {}
    for name, shape in INPUTS.items():
        if name == "ids":
            made[name] = torch.tensor(random.randint(0, 4, size=(rows,)))
        elif name == "at":
            made[name] = torch.tensor(random.randint(0, 6, size=(rows, *shape)))
        elif name == "u":
            made[name] = torch.tensor(random.rand(rows, *shape).astype(np.float32))
        else:
            made[name] = torch.tensor(random.randn(rows, *shape).astype(np.float32))
    return made


def numbers(tensor):
    """Nested lists, in which NaN and infinities are strings."""


    def text(value):
        if isinstance(value, list):
            return [text(one) for one in value]
        return float(f"{value:.8g}") if np.isfinite(value) else str(value)

    return text(tensor.double().tolist())


def known(names, directory, sample):
    """Those of the operations that this version runs and has as code. What torch does not compile, its error tells by the line of the source."""
    names = list(names)
    while names:
        module = load(names, directory)
        failed = {}
        for name in names:
            try:
                getattr(module, name)(*[sample[one].clone() for one in OPS[name][0].split()])
            except Exception as error:
                failed[name] = error
        if not failed:
            try:
                torch.jit.script(module)
                return names
            except Exception as error:
                source = inspect.getsource(sys.modules["ops_module"]).splitlines()
                lines = [int(n) for n in re.findall(r'ops_module.py", line (\d+)', str(error))]
                at = [next((m for m in names if f"def {m}(" in text), None) for n in lines for text in [next((t for t in reversed(source[:n]) if "    def " in t), "")]]
                failed = {name: error for name in at if name}
                if not failed:
                    raise
        for name, error in failed.items():
            print(f"{torch.__version__}: {name}: {str(error).strip().splitlines()[0]}", file=sys.stderr)
            names.remove(name)
    return names


def write(out, sample, directory, new):
    out.mkdir(parents=True, exist_ok=True)
    absent = set(new) - set(known(new, directory, sample))
    scripted = [name for name in OPS if name not in absent]
    module = load(scripted, directory)
    torch.jit.script(module).save(str(out / "ops_script.pt"))
    plain = load(scripted, directory, export=False)
    examples = {name: tuple(sample[one] for one in OPS[name][0].split()) for name in scripted}
    torch.jit.trace_module(plain, examples, check_trace=False).save(str(out / "ops_trace.pt"))
    random = np.random.RandomState(2)
    batches = [draw(random, rows) for rows in (2, 1)]
    cases = {}
    with torch.no_grad():
        for name in scripted:
            names = OPS[name][0].split()
            cases[name] = {
                "inputs": names,
                "outputs": [numbers(getattr(module, name)(*[batch[one].clone() for one in names])) for batch in batches],
            }
    inputs = [{name: numbers(value) for name, value in batch.items()} for batch in batches]
    version = torch.__version__.split("+")[0]
    text = json.dumps({"schema": 1, "torch": version, "shapes": {k: list(v) for k, v in INPUTS.items()}, "batches": inputs, "methods": cases})
    (out / "cases.json").write_text(text + "\n")


def main():
    global OPS, HEAD
    out = pathlib.Path(sys.argv[-1]) / torch.__version__.split("+")[0]
    # TorchScript files name the source files of the network: a folder that is the same everywhere.
    directory = pathlib.Path("/tmp/carla-rl-testdata/ops")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    sample = draw(np.random.RandomState(1), 3)
    write(out, sample, directory, NEW)
    if out.name not in ("1.13.1", "2.15.0"):  # the rarer ones by the oldest and the newest
        return
    OPS, HEAD = ops_rare.OPS, HEAD + ops_rare.HEAD
    write(out / "rare", sample, directory, list(OPS))


if __name__ == "__main__":
    main()
