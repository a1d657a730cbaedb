"""Writes torch.json: operators of package graph with torch's own answers.

Run with torch 2.x on the CPU: python gen.py > torch.json
A tensor is its type, its shape and its elements in row-major order. Numbers
are decimal text that reads back exactly; f16 and bf16 are widened.
"""
import json
import math
import random

import torch
import torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(1)
DTYPES = {
    "f32": torch.float32, "f64": torch.float64, "f16": torch.float16, "bf16": torch.bfloat16,
    "i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool,
}
NAMES = {v: k for k, v in DTYPES.items()}
FLOATS = ["f32", "f64", "bf16", "f16"]
SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-6, -1e-6, 0.5, -0.5, 1.5, 2.5, -2.5, 3.5, 1.0, -1.0, 2.0, 3.0, -3.0,
           6.0, -6.0, 9.9375, -9.9375, 10.0, 19.5, 20.0, 20.25, 30.0, -30.0, 88.0, -88.0, 100.0, -100.0, 0.1, -0.7, 0.3, 4.7]
cases = []


def text(x):
    if isinstance(x, bool):
        return "true" if x else "false"
    if isinstance(x, float):
        return "nan" if math.isnan(x) else repr(x).removesuffix(".0")
    return str(x)


def dump(t):
    flat = t.detach().contiguous().reshape(-1)
    flat = flat.double() if flat.is_floating_point() else flat
    shape = ",".join(map(str, t.shape))
    return " ".join(["%s[%s]" % (NAMES[t.dtype], shape)] + [text(v) for v in flat.tolist()])


def case(op, attrs, operands, result):
    cases.append({"op": op, "attrs": attrs, "in": [dump(o) for o in operands], "out": dump(result)})


def tensor(data, dt):
    return torch.tensor(data, dtype=DTYPES[dt])


def normal(shape, dt, scale=2.0):
    return (torch.randn(shape, dtype=torch.float64) * scale).to(DTYPES[dt])


UNARY = {
    "relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "silu": F.silu, "selu": F.selu, "mish": F.mish,
    "softsign": F.softsign, "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid, "log_sigmoid": F.logsigmoid,
    "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt, "reciprocal": torch.reciprocal, "abs": torch.abs, "neg": torch.neg, "sign": torch.sign,
    "floor": torch.floor, "ceil": torch.ceil, "round": torch.round, "sin": torch.sin, "cos": torch.cos, "erf": torch.erf,
}
for dt in FLOATS:
    x = tensor(SPECIAL, dt)
    for op, f in UNARY.items():
        case(op, {}, [x], f(x))
    for a in (1.0, 0.5):
        case("elu", {"alpha": str(a)}, [x], F.elu(x, a))
        case("celu", {"alpha": str(a)}, [x], F.celu(x, a))
        case("leaky_relu", {"alpha": str(a / 10)}, [x], F.leaky_relu(x, a / 10))
    for a in ("none", "tanh"):
        g = x[x != math.inf]  # where torch's vector code for "none" gives NaN and its scalar code infinity
        case("gelu", {"approximate": json.dumps(a)}, [g], F.gelu(g, approximate=a))
    for beta, th in ((1.0, 20.0), (2.0, 20.0), (0.5, 5.0)):
        case("softplus", {"beta": str(beta), "threshold": str(th)}, [x], F.softplus(x, beta, th))
    for lo, hi in ((-1.0, 1.0), (None, 0.3), (0.1, None), (2.0, 1.0)):
        attrs = {k: str(v) for k, v in (("min", lo), ("max", hi)) if v is not None}
        case("clamp", attrs, [x], torch.clamp(x, lo, hi))
for dt in ("i64", "i32", "u8", "i8"):
    x = tensor([0, 1, 2, 3, 100, 127] + ([] if dt == "u8" else [-1, -128, -7]), dt)
    for op in ("relu", "abs", "neg", "sign", "floor", "ceil", "round", "tanh", "sigmoid", "exp", "sqrt"):
        case(op, {}, [x], UNARY[op](x))
    case("clamp", {"min": "0", "max": "2"}, [x], torch.clamp(x, 0, 2))

for a in DTYPES:
    for b in DTYPES:
        x = tensor([1.75, -2.5, 300.0, 0.0], a) if DTYPES[a].is_floating_point else tensor([1, 0, 3, 100], a)
        y = tensor([0.1, 3.0, 7.0, 2.0], b) if DTYPES[b].is_floating_point else tensor([1, 5, 2, 1], b)
        case("mul", {}, [x, y[:2].reshape(2, 1)], torch.mul(x, y[:2].reshape(2, 1)))
        for yy in (y, y[0]):
            for op, f in (("add", torch.add), ("div", torch.div), ("maximum", torch.maximum)):
                case(op, {}, [x, yy], f(x, yy))
            case("where", {}, [tensor([1, 0, 1, 0], "bool"), x, yy], torch.where(tensor([1, 0, 1, 0], "bool"), x, yy))
            if "bool" not in (a, b):
                case("sub", {}, [x, yy], torch.sub(x, yy))
            case("lt", {}, [x, yy], torch.lt(x, yy))
        case("cast", {"dtype": b}, [x.abs() if b == "u8" and a != "bool" else x], (x.abs() if b == "u8" and a != "bool" else x).to(DTYPES[b]))
        case("concat", {"axis": "0"}, [x, y], torch.cat([x, y]))
PAIRS = [(p, q) for p in (math.nan, math.inf, -math.inf, 0.0, -1.0, 1.0, 2.0, -2.5) for q in (math.nan, math.inf, -math.inf, 0.0, 1.0, -1.0, 0.5, 3.0)]
for dt in FLOATS:
    x, y = tensor([p for p, _ in PAIRS], dt), tensor([q for _, q in PAIRS], dt)
    for op, f in (("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("div", torch.div), ("pow", torch.pow),
                  ("minimum", torch.minimum), ("maximum", torch.maximum), ("eq", torch.eq), ("ne", torch.ne), ("lt", torch.lt),
                  ("le", torch.le), ("gt", torch.gt), ("ge", torch.ge), ("and", torch.logical_and), ("or", torch.logical_or)):
        case(op, {}, [x, y], f(x, y))
    case("not", {}, [x], torch.logical_not(x))
i, j = tensor([2, -2, 1, -1, -1, 3, 0], "i64"), tensor([10, 3, -1, -1, -2, -2, 0], "i64")
case("pow", {}, [i, j], torch.pow(i, j))
big = tensor([2**53 + 1, 2**62, -2**53 - 1], "i64")
case("add", {}, [big, tensor([1, 1, 0], "i64")], big + tensor([1, 1, 0], "i64"))
case("sum", {"axes": "[0]"}, [big], big.sum(0))

for dt in FLOATS:
    x, w, b = normal((2, 3, 5), dt), normal((4, 5), dt), normal((4,), dt)
    case("linear", {}, [x, w, b], F.linear(x, w, b))
    case("linear", {}, [x[0, 0], w], F.linear(x[0, 0], w))
    v = normal((5, 2), dt)
    case("matmul", {}, [x, v], torch.matmul(x, v))
    m, n = normal((2, 1, 3, 5), dt), normal((4, 5, 2), dt)
    case("matmul", {}, [m, n], torch.matmul(m, n))
    for op, f in (("sum", torch.sum), ("mean", torch.mean), ("amax", torch.amax), ("amin", torch.amin)):
        for axes in ((0,), (1, 2), (0, 1, 2)):
            for keep in (False, True):
                case(op, {"axes": json.dumps(axes).replace(" ", ""), "keepdim": text(keep)}, [x], f(x, dim=axes, keepdim=keep))
    for axis in (0, 2, -2):
        case("argmax", {"axis": str(axis)}, [x], torch.argmax(x, axis))
        case("argmax", {"axis": str(axis), "keepdim": "true"}, [x], torch.argmax(x, axis, True))
        case("softmax", {"axis": str(axis)}, [x], torch.softmax(x, axis))
        case("log_softmax", {"axis": str(axis)}, [x], torch.log_softmax(x, axis))
    odd = tensor([[1, math.nan, 2], [-math.inf, -math.inf, -math.inf], [math.inf, 1, 2], [7, 7, 1], [1000, 0, -1000]], dt)
    for op in ("softmax", "log_softmax", "argmax"):
        case(op, {"axis": "1"}, [odd], getattr(torch, op)(odd, 1))
    case("amax", {"axes": "[1]"}, [odd], torch.amax(odd, 1))
    case("amin", {"axes": "[1]"}, [odd], torch.amin(odd, 1))
    case("sum", {"axes": "[1]"}, [odd], torch.sum(odd, 1))
flags = tensor([[1, 0, 1], [1, 1, 1]], "bool")
case("sum", {"axes": "[1]"}, [flags], flags.sum(1))
for dt in ("i64", "u8"):
    x = tensor([[1, 9, 9], [200, 3, 5]], dt)
    case("sum", {"axes": "[0,1]"}, [x], x.sum((0, 1)))
    case("amax", {"axes": "[1]"}, [x], x.amax(1))
    case("argmax", {"axis": "1"}, [x], x.argmax(1))

for dt in ("f32", "f64"):
    for spatial, conv in ((1, F.conv1d), (2, F.conv2d), (3, F.conv3d)):
        for stride, padding, dilation, groups in ((1, 0, 1, 1), (2, 1, 1, 2), (1, 2, 2, 4)):
            x = normal((2, 4) + (4, 5, 3)[:spatial], dt)
            w, b = normal((4, 4 // groups) + (2, 3, 1)[:spatial], dt), normal((4,), dt)
            rep = lambda v: "[" + ",".join([str(v)] * spatial) + "]"
            attrs = {"stride": rep(stride), "padding": rep(padding), "dilation": rep(dilation), "groups": str(groups)}
            case("conv", attrs, [x, w, b], conv(x, w, b, stride, padding, dilation, groups))
            case("conv", attrs, [x, w], conv(x, w, None, stride, padding, dilation, groups))

x = normal((2, 3, 4), "f32")
case("reshape", {"shape": "[6,4]"}, [x], x.reshape(6, 4))
case("reshape", {"shape": "[]"}, [x[0, :1, :1]], x[0, :1, :1].reshape(()))
case("transpose", {"perm": "[2,0,1]"}, [x], x.permute(2, 0, 1))
case("transpose", {"perm": "[-1,1,0]"}, [x], x.permute(2, 1, 0))
case("expand", {"shape": "[5,2,3,4]"}, [x], x.expand(5, 2, 3, 4))
case("expand", {"shape": "[2,3,4]"}, [x[:, :1]], x[:, :1].expand(2, 3, 4))
for axis in (0, 1, -1):
    case("concat", {"axis": str(axis)}, [x, x, x], torch.cat([x, x, x], axis))
for axis, start, end, step in ((0, 1, 2, 1), (1, -2, 9, 1), (2, 0, 4, 3), (2, 3, 1, 1), (-1, 1, -1, 2)):
    dim = axis % 3
    index = [slice(None)] * 3
    index[dim] = slice(start, end, step)
    case("slice", {"axis": str(axis), "start": str(start), "end": str(end), "step": str(step)}, [x], x[tuple(index)])

MORE = {
    "trunc": torch.trunc, "tan": torch.tan, "asin": torch.asin, "acos": torch.acos, "atan": torch.atan, "sinh": torch.sinh,
    "cosh": torch.cosh, "asinh": torch.asinh, "acosh": torch.acosh, "atanh": torch.atanh,
}
DIVISIONS = {"fmod": torch.fmod, "remainder": torch.remainder, "floor_div": torch.floor_divide}
for dt in FLOATS:
    x = tensor(SPECIAL, dt)
    for op, f in MORE.items():
        case(op, {}, [x], f(x))
    x, y = tensor([p for p, _ in PAIRS], dt), tensor([q for _, q in PAIRS], dt)
    case("atan2", {}, [x, y], torch.atan2(x, y))
    for op, f in DIVISIONS.items():
        case(op, {}, [x, y], f(x, y))
        p, q = tensor([7.5, -7.5, 7.5, -7.5, 1.0, -1.0, 6.0, 0.25], dt), tensor([2.0, 2.0, -2.0, -2.0, 0.1, 0.1, -3.0, 7.0], dt)
        case(op, {}, [p, q], f(p, q))
for dt in ("i64", "i32", "i8"):
    x, y = tensor([7, -7, 7, -7, 6, -6, 0, -128, 5], dt), tensor([2, 2, -2, -2, 3, 3, 5, 100, 1], dt)
    for op, f in DIVISIONS.items():
        case(op, {}, [x, y], f(x, y))
    for op in ("trunc", "asin", "sinh"):
        case(op, {}, [x], MORE[op](x))
    case("atan2", {}, [x, y], torch.atan2(x, y))

for dt in FLOATS:
    x = normal((2, 3, 4), dt)
    for axes in (0, 1, -1):
        case("prod", {"axes": "[%d]" % axes}, [x], x.prod(axes))
        case("cumsum", {"axis": str(axes)}, [x], x.cumsum(axes))
        case("cumprod", {"axis": str(axes)}, [x], x.cumprod(axes))
    case("cumsum", {"axis": "0"}, [tensor([1, math.inf, -math.inf, 2, math.nan], dt)], tensor([1, math.inf, -math.inf, 2, math.nan], dt).cumsum(0))
for dt in ("i64", "i32", "u8", "bool"):
    x = tensor([[1, 2, 1], [1, 0, 1]], dt)
    case("prod", {"axes": "[1]", "keepdim": "true"}, [x], x.prod(1, keepdim=True))
    case("cumsum", {"axis": "1"}, [x], x.cumsum(1))
    case("cumprod", {"axis": "1"}, [x], x.cumprod(1))

for dt in FLOATS + ["i64", "u8"]:
    x = normal((3, 4, 2), dt, 9.0) if dt in FLOATS else tensor([[[3, 1], [1, 1], [2, 9], [0, 1]]] * 3, dt)
    for axis in (0, 1, -1):
        for down in (False, True):
            case("argsort", {"axis": str(axis), "descending": text(down)}, [x], torch.argsort(x, dim=axis, descending=down, stable=True))
        index = torch.tensor([[1, 0], [1, 1], [0, 1]])
        case("take", {"axis": str(axis)}, [x, index], torch.stack([torch.stack([x.select(axis, int(k)) for k in row], axis % 3) for row in index], axis % 3))
    odd = tensor([2, 1, 2, 0, 1], dt)
    case("argsort", {"axis": "0"}, [odd], torch.argsort(odd, dim=0, stable=True))
    case("argsort", {"axis": "0", "descending": "true"}, [odd], torch.argsort(odd, dim=0, descending=True, stable=True))
    case("take", {"axis": "0"}, [x, torch.tensor(2)], x[2])
    case("take", {"axis": "0"}, [x, torch.tensor([-1, -3])], x[torch.tensor([-1, -3])])
    g = torch.tensor([[[0, 1], [3, 2]], [[1, 1], [0, 0]], [[2, 3], [3, 3]]])
    case("gather", {"axis": "1"}, [x, g], torch.gather(x, 1, g))
    case("gather", {"axis": "0"}, [x, torch.tensor([[[1, 2], [0, 1], [2, 2], [0, 0]]])], torch.gather(x, 0, torch.tensor([[[1, 2], [0, 1], [2, 2], [0, 0]]])))
odd = tensor([1, math.nan, -math.inf, 0.0, math.nan, math.inf, -0.0], "f32")
case("argsort", {"axis": "0"}, [odd], torch.argsort(odd, dim=0, stable=True))
case("argsort", {"axis": "0", "descending": "true"}, [odd], torch.argsort(odd, dim=0, descending=True, stable=True))

for dt, dims in (("f32", 3), ("f64", 1)):
    for spatial, conv in ((1, F.conv_transpose1d), (2, F.conv_transpose2d), (3, F.conv_transpose3d))[:dims]:
        for stride, padding, extra, dilation, groups in ((1, 0, 0, 1, 1), (2, 1, 1, 1, 2), (1, 1, 1, 2, 4), (3, 0, 2, 2, 1)):
            x = normal((2, 4) + (2, 3, 1)[:spatial], dt)
            w, b = normal((4, 2) + (3, 2, 2)[:spatial], dt), normal((2 * groups,), dt)
            rep = lambda v: "[" + ",".join([str(v)] * spatial) + "]"
            attrs = {"stride": rep(stride), "padding": rep(padding), "output_padding": rep(extra), "dilation": rep(dilation), "groups": str(groups)}
            b = b if stride != 2 else None
            case("conv_transpose", attrs, [x, w] + ([] if b is None else [b]), conv(x, w, b, stride, padding, extra, groups, dilation))

print('{"torch": "%s", "cases": [' % torch.__version__.split("+")[0])
print(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases))
print("]}")
