"""Write small graphs in the text form, one file for each operator, with what torch answers.

    python make_conformance.py OUT

makes OUT/<operator>.json: cases of one graph each, the inputs of some runs and the answers. A run has a number of rows; what
has a batch axis has its rows one after another. The random numbers of `normal` and `beta` and the paths of `if` and `loop`, which torch
does not have in this form, are computed here in plain Python.
"""

import json
import math
import pathlib
import shutil
import sys
import zlib

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)

TYPES = {
    torch.float32: "f32", torch.float64: "f64", torch.float16: "f16", torch.bfloat16: "bf16", torch.int64: "i64",
    torch.int32: "i32", torch.int16: "i16", torch.int8: "i8", torch.uint8: "u8", torch.bool: "bool",
}
ROWS = 3
CASES = {}


def text(x):
    """A number as the text form has it."""
    if isinstance(x, bool):
        return "true" if x else "false"
    if isinstance(x, int):
        return str(x)
    if math.isnan(x):
        return "nan"
    if math.isinf(x):
        return "inf" if x > 0 else "-inf"
    return repr(x)


def plain(t):
    """The elements of a tensor, floating point ones by the shortest decimals."""
    t = t.detach()
    if t.dtype in (torch.float16, torch.bfloat16):
        t = t.float()
    if t.dtype == torch.float32:
        return [float(str(x)) for x in t.numpy().ravel()]
    return t.reshape(-1).tolist()


def loose(t):
    """The elements for JSON, in which NaN and infinities are strings."""
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return [names.get(str(x), x) if isinstance(x, float) else int(x) for x in plain(t)]


class Operand:
    def __init__(self, kind, tensor):
        self.kind, self.tensor = kind, tensor  # "rows" has the batch axis first, "whole" none, "const" is a constant

    def type(self):
        dims = list(map(str, self.tensor.shape))
        if self.kind == "rows":
            dims[0] = "B"
        return f"{TYPES[self.tensor.dtype]}[{','.join(dims)}]"


def rows(t):
    return Operand("rows", t)


def whole(t):
    return Operand("whole", t)


def const(t):
    assert t.numel() <= 16, "the text form has no longer constants"
    return Operand("const", t)


def shape_text(dims, batch):
    dims = list(dims)
    out = []
    for i, d in enumerate(dims):
        if i == batch:
            out.append("B" if d == ROWS else f"{d // ROWS}B")
        else:
            out.append(str(d))
    return "[" + ",".join(out) + "]"


def attr_text(v):
    if isinstance(v, torch.dtype):
        return TYPES[v]
    if isinstance(v, (list, tuple)):
        return "[" + ",".join(map(str, v)) + "]"
    if isinstance(v, str) and not v.startswith("["):
        return json.dumps(v)
    return v if isinstance(v, str) else text(v)


def case(op, name, operands, fn, attrs=None, batch=0, atol=1e-6, rtol=1e-5, other=None, one=True):
    """One node: operands, and the function of torch that answers. batch is the position of the batch axis in the result,
    None for none; other says why an engine is left out; one adds a run of the first row alone."""
    torch.manual_seed(zlib.crc32(f"{op}/{name}".encode()))
    operands = operands() if callable(operands) else operands
    lines, names, inputs = [f'graph {json.dumps(op + " " + name)}'], [], {}
    for i, o in enumerate(operands):
        if o.kind == "const":
            items = ",".join("true" if x is True else text(x) for x in plain(o.tensor))
            lines.append(f'%{i} = const "c{i}" {o.type()} {{{items}}}')
        else:
            lines.append(f'%{i} = input "x{i}" {o.type()}')
            inputs[f"x{i}"] = o
    # Inputs come before constants.
    order = sorted(range(len(operands)), key=lambda i: operands[i].kind == "const")
    number = {i: k for k, i in enumerate(order)}
    body = [lines[1 + i].replace(f"%{i} =", f"%{number[i]} =", 1) for i in order]
    results = fn(*[o.tensor for o in operands])
    any_rows = any(o.kind == "rows" for o in operands)
    result = f"{TYPES[results.dtype]}{shape_text(results.shape, batch if any_rows else None)}"
    extra = "".join(f" {k}={attr_text(v)}" for k, v in (attrs or {}).items())
    node = f"%{len(operands)} = {op}({','.join(f'%{number[i]}' for i in range(len(operands)))}){extra} {result}"
    lines = lines[:1] + body + [node, f'output "y" %{len(operands)}']
    runs = [run(ROWS if any_rows else 1, operands, inputs, results)]
    if any_rows and one:
        first = [Operand(o.kind, o.tensor[:1] if o.kind == "rows" else o.tensor) for o in operands]
        runs.append(run(1, first, {k: first[int(k[1:])] for k in inputs}, fn(*[o.tensor for o in first])))
    add(op, name, lines, runs, atol, rtol, other)


def run(n, operands, inputs, results):
    return {"rows": n, "inputs": {k: loose(o.tensor) for k, o in inputs.items()}, "outputs": {"y": loose(results)}}


def add(op, name, lines, runs, atol=1e-6, rtol=1e-5, other=None, **more):
    c = {"name": name, "graph": lines, "runs": runs, "atol": atol, "rtol": rtol, **more}
    if other:
        c["without"] = other
    CASES.setdefault(op, []).append(c)


def linear_cases():
    case("linear", "with bias", lambda: [rows(torch.randn(ROWS, 5)), const(torch.randn(3, 5)), const(torch.randn(3))], F.linear)
    case("linear", "without bias", lambda: [rows(torch.randn(ROWS, 4)), const(torch.randn(4, 4))], F.linear)
    case("linear", "in a sequence", lambda: [rows(torch.randn(ROWS, 6, 3)), const(torch.randn(5, 3)), const(torch.randn(5))], F.linear)
    case("linear", "one output", lambda: [rows(torch.randn(ROWS, 16)), const(torch.randn(1, 16)), const(torch.randn(1))], F.linear)
    case("linear", "without rows", lambda: [whole(torch.randn(2, 5)), const(torch.randn(3, 5))], F.linear)
    case("matmul", "rows by rows", lambda: [rows(torch.randn(ROWS, 4, 5)), rows(torch.randn(ROWS, 5, 3))], torch.matmul)
    case("matmul", "by a constant", lambda: [rows(torch.randn(ROWS, 4)), const(torch.randn(4, 4))], torch.matmul)
    case("matmul", "heads", lambda: [rows(torch.randn(ROWS, 2, 7, 4)), rows(torch.randn(ROWS, 2, 4, 7))], torch.matmul)
    case("matmul", "large", lambda: [rows(torch.randn(ROWS, 13, 20)), rows(torch.randn(ROWS, 20, 19))], torch.matmul, atol=1e-5)
    case("matmul", "a row for all", lambda: [rows(torch.randn(ROWS, 2, 3, 4)), whole(torch.randn(4, 5))], torch.matmul)


def conv_cases():
    def conv(dim):
        return getattr(F, f"conv{dim}d")

    def turned(dim):
        return getattr(F, f"conv_transpose{dim}d")

    def both(op, fn, dim, name, x, w, bias, **a):
        n = lambda k, d: [a.get(k, d)] * dim if isinstance(a.get(k, d), int) else list(a.get(k, d))
        attrs = {"stride": n("stride", 1), "padding": n("padding", 0)}
        if op == "conv_transpose":
            attrs["output_padding"] = n("output_padding", 0)
        attrs["dilation"] = n("dilation", 1)
        attrs["groups"] = a.get("groups", 1)
        f = lambda x, w, b=None: fn(dim)(x, w, b, **{k: (tuple(v) if isinstance(v, list) else v) for k, v in attrs.items()})
        case(op, name, lambda: [rows(torch.randn(ROWS, *x)), whole(torch.randn(*w))] + ([whole(torch.randn(bias))] if bias else []),
             f, attrs, atol=1e-5)

    both("conv", conv, 1, "1d", (3, 11), (4, 3, 3), 4)
    both("conv", conv, 1, "1d with stride, padding and dilation", (3, 11), (4, 3, 3), 4, stride=2, padding=2, dilation=2)
    both("conv", conv, 2, "3 by 3", (3, 9, 8), (5, 3, 3, 3), 5, padding=1)
    both("conv", conv, 2, "1 by 1", (6, 5, 4), (9, 6, 1, 1), 9)
    both("conv", conv, 2, "with stride", (2, 12, 12), (3, 2, 8, 8), 3, stride=4)
    both("conv", conv, 2, "uneven", (2, 9, 7), (3, 2, 3, 2), None, stride=(2, 1), padding=(1, 0), dilation=(1, 2))
    both("conv", conv, 2, "groups", (6, 6, 6), (4, 3, 3, 3), 4, groups=2)
    both("conv", conv, 2, "each channel alone", (5, 6, 6), (5, 1, 3, 3), 5, groups=5, padding=1)
    both("conv", conv, 2, "wide", (9, 5, 5), (17, 9, 3, 3), 17)
    both("conv", conv, 3, "3d", (2, 4, 5, 6), (3, 2, 2, 2, 2), 3)
    case("conv", "constant weights", lambda: [rows(torch.randn(ROWS, 2, 6, 5)), const(torch.randn(2, 2, 2, 2)), const(torch.randn(2))], F.conv2d,
         {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}, atol=1e-5)
    both("conv_transpose", turned, 1, "1d", (3, 7), (3, 4, 3), 4, stride=2)
    both("conv_transpose", turned, 2, "2d", (3, 5, 5), (3, 4, 4, 4), 4, stride=2, padding=1)
    both("conv_transpose", turned, 2, "output padding and groups", (4, 4, 4), (4, 3, 3, 3), None, stride=3, padding=1, output_padding=(2, 1), groups=2)
    both("conv_transpose", turned, 2, "dilation", (2, 4, 5), (2, 3, 3, 2), 3, dilation=2)
    case("conv_transpose", "constant weights", lambda: [rows(torch.randn(ROWS, 2, 5, 4)), const(torch.randn(2, 2, 2, 2)), const(torch.randn(2))],
         lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2),
         {"stride": [2, 2], "padding": [0, 0], "output_padding": [0, 0], "dilation": [1, 1], "groups": 1}, atol=1e-5)


def binary_cases():
    ops = {
        "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "minimum": torch.minimum, "maximum": torch.maximum,
        "atan2": torch.atan2, "fmod": torch.fmod, "remainder": torch.remainder, "floor_div": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    }
    for op, fn in ops.items():
        case(op, "same shape", lambda: [rows(torch.randn(ROWS, 7)), rows(torch.randn(ROWS, 7))], fn)
        case(op, "a row of constants", lambda: [rows(torch.randn(ROWS, 4, 7)), const(torch.randn(7))], fn)
        case(op, "a number", lambda: [rows(torch.randn(ROWS, 19)), const(torch.tensor([0.75]))], fn)
        case(op, "of a number", lambda: [const(torch.tensor([-1.5])), rows(torch.randn(ROWS, 19))], fn)
        case(op, "columns", lambda: [rows(torch.randn(ROWS, 4, 1)), rows(torch.randn(ROWS, 1, 5))], fn)
        if op not in ("div", "atan2"):
            whole_numbers = lambda *s: torch.randint(1, 9, s) * (torch.randint(0, 2, s) * 2 - 1)
            case(op, "integers", lambda: [rows(whole_numbers(ROWS, 9)), rows(whole_numbers(ROWS, 9))], fn)
    # A base above 0: powers of negative numbers are a matter of their own.
    case("pow", "positive", lambda: [rows(torch.rand(ROWS, 7) + 0.1), rows(torch.randn(ROWS, 7))], torch.pow)
    case("pow", "square", lambda: [rows(torch.randn(ROWS, 7)), const(torch.tensor([2.0]))], torch.pow)
    case("pow", "root", lambda: [rows(torch.rand(ROWS, 7)), const(torch.tensor([0.5]))], torch.pow)
    nan = lambda: torch.tensor([[float("nan"), 1.0, float("inf"), -float("inf")]] * ROWS)
    finite = lambda: torch.tensor([[0.5, float("nan"), 2.0, 1.0]] * ROWS)
    for op in ("add", "mul", "minimum", "maximum"):
        case(op, "what is not finite", lambda: [rows(nan()), rows(finite())], ops[op])
    pairs = lambda: [rows(torch.randint(-2, 3, (ROWS, 8)).float()), rows(torch.randint(-2, 3, (ROWS, 8)).float())]
    compare = {"eq": torch.eq, "ne": torch.ne, "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge}
    for op, fn in compare.items():
        case(op, "floating point", pairs, fn)
        case(op, "a number", lambda: [rows(torch.randint(-2, 3, (ROWS, 8)).float()), const(torch.tensor([1.0]))], fn)
        case(op, "integers", lambda: [rows(torch.randint(-2, 3, (ROWS, 8))), const(torch.tensor([1]))], fn)
        case(op, "NaN", lambda: [rows(nan()), rows(finite())], fn)
    bits = lambda *s: torch.randint(0, 2, s).bool()
    case("and", "rows", lambda: [rows(bits(ROWS, 9)), rows(bits(ROWS, 9))], torch.logical_and)
    case("or", "rows", lambda: [rows(bits(ROWS, 9)), rows(bits(ROWS, 9))], torch.logical_or)
    case("not", "rows", lambda: [rows(bits(ROWS, 9))], torch.logical_not)
    case("where", "rows", lambda: [rows(bits(ROWS, 9)), rows(torch.randn(ROWS, 9)), rows(torch.randn(ROWS, 9))], torch.where)
    case("where", "a number", lambda: [rows(bits(ROWS, 9)), rows(torch.randn(ROWS, 9)), const(torch.tensor([-3.5]))], torch.where)
    case("where", "columns", lambda: [rows(bits(ROWS, 4, 1)), rows(torch.randn(ROWS, 1, 5)), rows(torch.randn(ROWS, 4, 5))], torch.where)
    case("where", "NaN that is not taken", lambda: [rows(bits(ROWS, 4)), rows(torch.ones(ROWS, 4)), rows(torch.full((ROWS, 4), float("nan")))], torch.where)


def unary_cases():
    wide = torch.cat([torch.linspace(-9, 9, 37), torch.tensor([0.0, 1e-8, -1e-8, 50.0, -50.0])]).repeat(ROWS, 1)
    positive = torch.cat([torch.linspace(0.01, 9, 37), torch.tensor([1e-8, 1e8])]).repeat(ROWS, 1)
    unit = torch.linspace(-0.99, 0.99, 37).repeat(ROWS, 1)
    odd = torch.tensor([[float("nan"), float("inf"), -float("inf"), 0.0]] * ROWS)
    halves = torch.tensor([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.4, -0.4, 3.0, 1e6]] * ROWS)
    plain_ops = {
        "relu": F.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "silu": F.silu, "selu": F.selu, "mish": F.mish,
        "softsign": F.softsign, "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid, "log_sigmoid": F.logsigmoid,
        "exp": torch.exp, "expm1": torch.expm1, "abs": torch.abs, "neg": torch.neg, "sign": torch.sign, "floor": torch.floor,
        "ceil": torch.ceil, "round": torch.round, "trunc": torch.trunc, "sin": torch.sin, "cos": torch.cos, "atan": torch.atan,
        "asinh": torch.asinh, "erf": torch.erf,
    }
    # Beyond these arguments the result is out of the range of float32.
    small = torch.linspace(-9, 9, 37).repeat(ROWS, 1)
    for op, fn in plain_ops.items():
        x = small if op in ("exp", "expm1") else wide
        case(op, "a range", [rows(x)], fn)
        if op not in ("sign", "sin", "cos", "hardswish", "softsign", "mish", "silu", "log_sigmoid"):
            case(op, "what is not finite", [rows(odd)], fn)
    for op in ("floor", "ceil", "round", "trunc"):
        case(op, "halves", [rows(halves)], plain_ops[op])
    case("sin", "large arguments", [rows(torch.linspace(-1000, 1000, 41).repeat(ROWS, 1))], torch.sin)
    case("cos", "large arguments", [rows(torch.linspace(-1000, 1000, 41).repeat(ROWS, 1))], torch.cos)
    for op, fn in {"log": torch.log, "log1p": torch.log1p, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt, "reciprocal": torch.reciprocal}.items():
        case(op, "a range", [rows(positive)], fn)
        case(op, "at the edges", [rows(torch.tensor([[0.0, float("inf"), float("nan")]] * ROWS))], fn)
    for op, fn in {"asin": torch.asin, "acos": torch.acos, "atanh": torch.atanh, "tan": torch.tan}.items():
        case(op, "a range", [rows(unit)], fn)
    case("acosh", "a range", [rows(torch.linspace(1, 9, 33).repeat(ROWS, 1))], torch.acosh)
    case("sinh", "a range", [rows(small)], torch.sinh)
    case("cosh", "a range", [rows(small)], torch.cosh)
    case("elu", "a range", [rows(wide)], F.elu, {"alpha": 1.0})
    case("elu", "alpha", [rows(wide)], lambda x: F.elu(x, 0.3), {"alpha": 0.3})
    case("celu", "alpha", [rows(wide)], lambda x: F.celu(x, 0.7), {"alpha": 0.7})
    case("leaky_relu", "alpha", [rows(wide)], lambda x: F.leaky_relu(x, 0.02), {"alpha": 0.02})
    case("gelu", "exact", [rows(wide)], F.gelu, {"approximate": "none"})
    case("gelu", "by tanh", [rows(wide)], lambda x: F.gelu(x, approximate="tanh"), {"approximate": "tanh"})
    case("softplus", "a range", [rows(wide)], F.softplus, {"beta": 1.0, "threshold": 20.0})
    case("softplus", "beta and threshold", [rows(wide)], lambda x: F.softplus(x, 2.5, 8), {"beta": 2.5, "threshold": 8.0})
    case("clamp", "both bounds", [rows(wide)], lambda x: torch.clamp(x, -1.5, 2), {"min": -1.5, "max": 2.0})
    case("clamp", "from below", [rows(wide)], lambda x: torch.clamp(x, min=0.25), {"min": 0.25})
    case("clamp", "from above", [rows(wide)], lambda x: torch.clamp(x, max=0.25), {"max": 0.25})
    case("clamp", "what is not finite", [rows(odd)], lambda x: torch.clamp(x, -1.5, 2), {"min": -1.5, "max": 2.0})
    integers = torch.randint(-9, 9, (ROWS, 11))
    for op in ("abs", "neg", "sign"):
        case(op, "integers", [rows(integers)], plain_ops[op])


def shape_cases():
    x = lambda *s: lambda: [rows(torch.arange(ROWS * math.prod(s)).float().reshape(ROWS, *s))]
    case("cast", "to integers", [rows(torch.tensor([[-2.7, -0.5, 0.5, 2.7]] * ROWS))], lambda x: x.to(torch.int64), {"dtype": torch.int64})
    case("cast", "to bool", [rows(torch.tensor([[-2.7, 0.0, 0.5, 2.7]] * ROWS))], lambda x: x.to(torch.bool), {"dtype": torch.bool})
    case("cast", "from bool", [rows(torch.tensor([[True, False]] * ROWS))], lambda x: x.to(torch.float32), {"dtype": torch.float32})
    case("cast", "from bytes", [rows(torch.tensor([[0, 7, 255]] * ROWS, dtype=torch.uint8))], lambda x: x.to(torch.float32), {"dtype": torch.float32})
    case("reshape", "split", x(12), lambda x: x.reshape(-1, 3, 4), {"shape": "[B,3,4]"})
    case("reshape", "merge with the rows", x(4, 3), lambda x: x.reshape(-1, 3), {"shape": "[4B,3]"})
    case("transpose", "matrix", x(3, 5), lambda x: x.permute(0, 2, 1), {"perm": [0, 2, 1]})
    case("transpose", "rows in the middle", x(3, 5), lambda x: x.permute(1, 0, 2), {"perm": [1, 0, 2]}, batch=1)
    case("transpose", "four dimensions", x(2, 3, 4), lambda x: x.permute(0, 3, 1, 2), {"perm": [0, 3, 1, 2]})
    case("expand", "columns", x(3, 1), lambda x: x.expand(-1, 3, 4), {"shape": "[B,3,4]"})
    case("expand", "in front", x(1, 5), lambda x: x.expand(-1, 2, 5), {"shape": "[B,2,5]"})
    two = lambda a, b: lambda: [rows(torch.randn(ROWS, *a)), rows(torch.randn(ROWS, *b))]
    case("concat", "features", two((3,), (4,)), lambda a, b: torch.cat([a, b], 1), {"axis": 1})
    case("concat", "in the middle", two((2, 3, 2), (2, 1, 2)), lambda a, b: torch.cat([a, b], 2), {"axis": 2})
    case("concat", "the same twice and another", lambda: [rows(torch.randn(ROWS, 2)), rows(torch.randn(ROWS, 2)), rows(torch.randn(ROWS, 5))],
         lambda a, b, c: torch.cat([a, b, c], 1), {"axis": 1})
    case("slice", "some", x(9), lambda x: x[:, 2:7], {"axis": 1, "start": 2, "end": 7, "step": 1})
    case("slice", "every second", x(9), lambda x: x[:, 1::2], {"axis": 1, "start": 1, "end": 9, "step": 2})
    case("slice", "in the middle", x(4, 6, 2), lambda x: x[:, :, 1:5:3], {"axis": 2, "start": 1, "end": 5, "step": 3})


def reduce_cases():
    x = lambda *s: lambda: [rows(torch.randn(ROWS, *s))]
    ops = {"sum": torch.sum, "mean": torch.mean, "amax": torch.amax, "amin": torch.amin}
    for op, fn in ops.items():
        case(op, "last", x(7), lambda x: fn(x, dim=1), {"axes": [1], "keepdim": False})
        case(op, "kept", x(4, 7), lambda x: fn(x, dim=2, keepdim=True), {"axes": [2], "keepdim": True})
        case(op, "in the middle", x(4, 5, 3), lambda x: fn(x, dim=2), {"axes": [2], "keepdim": False})
        case(op, "two", x(4, 5, 3), lambda x: fn(x, dim=(1, 3)), {"axes": [1, 3], "keepdim": False})
        case(op, "long", x(200), lambda x: fn(x, dim=1), {"axes": [1], "keepdim": False}, atol=1e-5)
        if op != "mean":
            case(op, "integers", lambda: [rows(torch.randint(-9, 9, (ROWS, 6)))], lambda x: fn(x, dim=1), {"axes": [1], "keepdim": False})
    case("prod", "last", x(7), lambda x: torch.prod(x, 1), {"axes": [1], "keepdim": False})
    case("prod", "kept", x(4, 5), lambda x: torch.prod(x, 1, keepdim=True), {"axes": [1], "keepdim": True})
    case("cumsum", "last", x(9), lambda x: torch.cumsum(x, 1), {"axis": 1})
    case("cumsum", "in the middle", x(5, 3), lambda x: torch.cumsum(x, 1), {"axis": 1})
    case("cumprod", "last", x(9), lambda x: torch.cumprod(x, 1), {"axis": 1})
    case("cumprod", "in the middle", x(5, 3), lambda x: torch.cumprod(x, 1), {"axis": 1})
    case("argmax", "last", x(9), lambda x: torch.argmax(x, 1), {"axis": 1, "keepdim": False})
    case("argmax", "kept", x(9, 4), lambda x: torch.argmax(x, 1, keepdim=True), {"axis": 1, "keepdim": True})
    case("argmax", "the first of equal ones", [rows(torch.tensor([[1.0, 3, 3, 2]] * ROWS))], lambda x: torch.argmax(x, 1), {"axis": 1, "keepdim": False})
    for op, fn in {"softmax": torch.softmax, "log_softmax": torch.log_softmax}.items():
        case(op, "last", x(9), lambda x: fn(x, 1), {"axis": 1})
        case(op, "in the middle", x(5, 3), lambda x: fn(x, 1), {"axis": 1})
        case(op, "long", x(200), lambda x: fn(x, 1), {"axis": 1})
        case(op, "far apart", [rows(torch.tensor([[1000.0, -1000, 999, 0]] * ROWS))], lambda x: fn(x, 1), {"axis": 1})
        case(op, "masked", [rows(torch.tensor([[1.0, -float("inf"), 2, -float("inf")]] * ROWS))], lambda x: fn(x, 1), {"axis": 1})


def index_cases():
    x = lambda *s: torch.randn(ROWS, *s)
    case("take", "embedding", lambda: [const(torch.randn(8, 2)), rows(torch.randint(0, 8, (ROWS, 5)))],
         lambda w, i: F.embedding(i, w), {"axis": 0})
    case("take", "columns", lambda: [rows(x(7)), const(torch.tensor([6, 0, 0, 3]))], lambda x, i: x[:, i], {"axis": 1})
    case("take", "from the end", lambda: [rows(x(7, 2)), const(torch.tensor([-1, -7, 2]))], lambda x, i: x[:, i], {"axis": 1})
    case("gather", "q of an action", lambda: [rows(x(6)), rows(torch.randint(0, 6, (ROWS, 1)))], lambda x, i: torch.gather(x, 1, i), {"axis": 1})
    case("gather", "in the middle", lambda: [rows(x(4, 3)), rows(torch.randint(0, 4, (ROWS, 2, 3)))], lambda x, i: torch.gather(x, 1, i), {"axis": 1})
    case("argsort", "rising", lambda: [rows(x(9))], lambda x: torch.argsort(x, dim=1, stable=True), {"axis": 1, "descending": False})
    case("argsort", "falling", lambda: [rows(x(9))], lambda x: torch.argsort(x, dim=1, descending=True, stable=True), {"axis": 1, "descending": True})
    case("argsort", "equal ones", [rows(torch.tensor([[2.0, 1, 2, 1, 2]] * ROWS))], lambda x: torch.argsort(x, dim=1, stable=True), {"axis": 1, "descending": False})


MASK = 0xFFFFFFFF


def philox(c, k):
    c, k = list(c), list(k)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & MASK, (a >> 32) ^ c[3] ^ k[1], a & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def draws(seed, step, stream, row, n):
    """The draws of package graph, by the formula in its documentation."""
    key = philox([seed & MASK, seed >> 32, step & MASK, step >> 32], [0x6361726C, 0x612D726C])[:2]
    out = []
    for block in range((n + 3) // 4):
        w = philox([block, stream, row & MASK, row >> 32], key)
        for a, b in ((w[0], w[1]), (w[2], w[3])):
            r, t = math.sqrt(-2 * math.log((a + 1) / 2**32)), 2 * math.pi * b / 2**32
            out += [r * math.cos(t), r * math.sin(t)]
    return out[:n]


def normal_cases():
    lines = ['graph "normal"', '%0 = input "x" f32[B,5]', "%1 = normal(%0) stream=3 f32[B,5]", "%2 = add(%0,%1) f32[B,5]", 'output "y" %2']
    torch.manual_seed(5)
    runs = []
    for n, seed, step in ((3, 0, 0), (1, 12345678901234567, 7), (2, 2**63 + 1, 2**33)):
        x = torch.randn(n, 5)
        noise = torch.tensor([draws(seed, step, 3, row, 5) for row in range(n)])
        runs.append({"rows": n, "seed": str(seed), "step": str(step), "inputs": {"x": loose(x)}, "outputs": {"y": loose(x + noise)}})
    add("normal", "rows", lines, runs)
    lines = ['graph "normal"', '%0 = input "x" f32[6]', "%1 = normal(%0) stream=0 f32[6]", 'output "y" %1']
    add("normal", "without rows", lines, [{"rows": 1, "seed": "9", "step": "2", "inputs": {"x": [0] * 6},
                                           "outputs": {"y": loose(torch.tensor(draws(9, 2, 0, 0, 6)))}}])


def beta_draws(seed, step, stream, row, concentrations):
    """The draws of package graph, by the formula in the documentation of its Beta."""
    run = philox([seed & MASK, seed >> 32, step & MASK, step >> 32], [0x6361726C, 0x612D726C])[:2]

    def log_gamma(counter, a):
        shape = a + 1 if a < 1 else a
        d = shape - 1 / 3
        for turn in range(64):
            key = philox([turn, 0, 0x62657461, 0], run)[:2]
            w = philox([counter, stream, row & MASK, row >> 32], key)
            x = math.sqrt(-2 * math.log((w[0] + 1) / 2**32)) * math.cos(2 * math.pi * w[1] / 2**32)
            root = 1 + x / math.sqrt(9 * d)
            if root > 0 and math.log((w[2] + 1) / 2**32) < x * x / 2 + d - d * root**3 + d * 3 * math.log(root):
                boost = math.log((w[3] + 1) / 2**32) / a if a < 1 else 0
                return math.log(d) + 3 * math.log(root) + boost

    out = []
    for e, (a, b) in enumerate(concentrations):
        lean = log_gamma(2 * e + 1, b) - log_gamma(2 * e, a)
        out.append(min(max(1 / (1 + math.exp(lean)) if lean < 700 else 0, 2.0**-126), 1 - 2.0**-24))
    return out


def beta_cases():
    lines = ['graph "beta"', '%0 = input "a" f32[B,3]', '%1 = input "b" f32[B,3]', "%2 = beta(%0,%1) stream=3 f32[B,3]", 'output "y" %2']
    torch.manual_seed(6)
    runs = []
    for n, seed, step in ((40, 0, 0), (1, 12345678901234567, 7), (20, 2**63 + 1, 2**33)):
        a, b = torch.exp(2 * torch.randn(2, n, 3))
        y = [beta_draws(seed, step, 3, row, list(zip(a[row].tolist(), b[row].tolist()))) for row in range(n)]
        runs.append({"rows": n, "seed": str(seed), "step": str(step), "inputs": {"a": loose(a), "b": loose(b)}, "outputs": {"y": loose(torch.tensor(y))}})
    for run in runs:
        assert len(set(run["outputs"]["y"])) > 2
    without = {"onnxruntime": "ONNX has no Beta distribution"}
    add("beta", "rows", lines, runs, other=without)
    pairs = [(0.02, 0.03), (1, 1), (300, 2), (0.5, 40)]
    lines = ['graph "beta"', '%0 = const "a" f32[4] {0.02,1,300,0.5}', '%1 = const "b" f32[4] {0.03,1,2,40}', "%2 = beta(%0,%1) stream=0 f32[4]", 'output "y" %2']
    add("beta", "without rows", lines, [{"rows": 1, "seed": "9", "step": "2", "inputs": {}, "outputs": {"y": loose(torch.tensor(
        beta_draws(9, 2, 0, 0, [tuple(torch.tensor(p).tolist()) for p in pairs])))}}], other=without)


def control_cases():
    lines = [
        'graph "if"', '%0 = input "x" f32[1,3]', "%1 = sum(%0) axes=[0,1] keepdim=false f32[]", '%2 = const "zero" f32[] {0}',
        "%3 = gt(%1,%2) bool[]", "%4 = if(%3,%0) f32[1,3]", '  then "double"', '  %0 = input "x" f32[1,3]', "  %1 = add(%0,%0) f32[1,3]",
        '  output "y" %1', "  end", '  else "square"', '  %0 = input "x" f32[1,3]', "  %1 = mul(%0,%0) f32[1,3]", '  output "y" %1', "  end",
        'output "y" %4',
    ]
    runs = []
    for x in ([1.0, 2, 3], [-1.0, -2, 0.5], [0.0, 0, 0]):
        y = [2 * v for v in x] if sum(x) > 0 else [v * v for v in x]
        runs.append({"rows": 1, "inputs": {"x": x}, "outputs": {"y": y}})
    add("if", "two ways", lines, runs)
    lines = [
        'graph "loop"', '%0 = input "x" f32[1,2]', '%1 = const "go" bool[] {true}', "%2 = loop(%1,%0) carried=1 limit=100 f32[1,2]",
        '  body "halve"', '  %0 = input "x" f32[1,2]', '  %1 = const "half" f32[1] {0.5}', "  %2 = mul(%0,%1) f32[1,2]",
        "  %3 = abs(%2) f32[1,2]", "  %4 = sum(%3) axes=[0,1] keepdim=false f32[]", '  %5 = const "one" f32[] {1}', "  %6 = gt(%4,%5) bool[]",
        '  output "go" %6', '  output "x" %2', "  end", 'output "y" %2',
    ]
    runs = []
    for x in ([8.0, 4.0], [0.5, 0.25], [-100.0, 3.0]):
        y = list(x)
        while True:
            y = [v * 0.5 for v in y]
            if sum(map(abs, y)) <= 1:
                break
        runs.append({"rows": 1, "inputs": {"x": x}, "outputs": {"y": y}})
    add("loop", "until it is small", lines, runs)
    lines = [
        'graph "counted"', '%0 = input "n" i64[]', '%1 = input "x" f32[3]', '%2 = const "zero" i64[] {0}', "%3 = gt(%0,%2) bool[]",
        "%4,%5 = loop(%3,%2,%1,%0) carried=2 limit=100 i64[],f32[3]", '  body "step"', '  %0 = input "i" i64[]', '  %1 = input "x" f32[3]',
        '  %2 = input "n" i64[]', '  %3 = const "one" i64[] {1}', "  %4 = add(%0,%3) i64[]", "  %5 = lt(%4,%2) bool[]", "  %6 = add(%1,%1) f32[3]",
        '  output "go" %5', '  output "i" %4', '  output "x" %6', "  end", 'output "i" %4', 'output "y" %5',
    ]
    runs = []
    for n in (0, 1, 5):
        x = [1.0, -0.5, 3.0]
        runs.append({"rows": 1, "inputs": {"n": [n], "x": x}, "outputs": {"i": [n], "y": [v * 2**n for v in x]}})
    add("loop", "counted", lines, runs)


def state_cases():
    lines = [
        'graph "average"', '%0 = input "x" f32[B,2]', '%1 = input "h" f32[B,2]', "%2 = add(%0,%1) f32[B,2]", '%3 = const "half" f32[1] {0.5}',
        "%4 = mul(%2,%3) f32[B,2]", 'output "y" %2', 'output "h_out" %4', 'state "h" "h_out" initial f32[1,2] {1,-1} reset f32[1,2] {0,0}',
    ]
    torch.manual_seed(11)
    h, runs = torch.tensor([[1.0, -1.0]] * 2), []
    for i in range(5):
        if reset := i == 3:
            h = torch.zeros(2, 2)
        x = torch.randn(2, 2)
        y = x + h
        h = y * 0.5
        runs.append({"rows": 2, "reset": reset, "inputs": {"x": loose(x)}, "outputs": {"y": loose(y), "h_out": loose(h)}})
    add("state", "a moving average", lines, runs, sequence=True)


def main():
    out = pathlib.Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for make in (linear_cases, conv_cases, binary_cases, unary_cases, shape_cases, reduce_cases, index_cases, normal_cases, beta_cases, control_cases, state_cases):
        make()
    for op, cases in CASES.items():
        names = [c["name"] for c in cases]
        assert len(set(names)) == len(names), f"{op}: {names}"
        body = ",\n".join(json.dumps(c) for c in cases)
        (out / f"{op}.json").write_text(f'{{"source": "PyTorch {torch.__version__.split("+")[0]}", "cases": [\n{body}\n]}}\n')


if __name__ == "__main__":
    main()
