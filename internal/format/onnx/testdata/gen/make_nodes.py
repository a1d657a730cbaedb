"""Makes nodes.json.gz: models of one operator each with inputs and answers,
which are those of the test data that comes with ONNX.

    pip install onnx==1.23.2
    python make_nodes.py [LARGEST [OUT]]

A model whose operator is as old as operator set 25 but that names a newer set
is made one of set 25. Models of more than LARGEST numbers are left out.
"""

import base64
import gzip
import json
import math
import pathlib
import sys
import warnings

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases
from onnx.defs import get_schema

warnings.filterwarnings("ignore")
LARGEST = int(sys.argv[1]) if len(sys.argv) > 1 else 300
OUT = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parent.parent / "nodes.json.gz")
NEWEST = 25
TYPES = {"float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"}


def text(x):
    """A number, with NaN and infinities as text."""
    if isinstance(x, float) and not math.isfinite(x):
        return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"
    return x


def array(a):
    numbers = a.astype(np.float64).ravel().tolist() if a.dtype.kind == "f" else a.astype(np.int64).ravel().tolist()
    return [a.dtype.name, list(a.shape), [text(x) for x in numbers]]


def operators(graph):
    for n in graph.node:
        yield n
        for a in n.attribute:
            if a.type == onnx.AttributeProto.GRAPH:
                yield from operators(a.g)


def usable(case):
    """The arrays of a case that tensors of the served types can hold."""
    if not case.data_sets:
        return None
    ins, outs = ([np.asarray(x) if isinstance(x, np.generic) else x for x in part] for part in case.data_sets[0])
    if not all(isinstance(x, np.ndarray) and x.dtype.name in TYPES for x in [*ins, *outs]):
        return None
    if sum(x.size for x in [*ins, *outs]) > LARGEST or len(ins) != len(case.model.graph.input):
        return None
    return ins, outs


def main():
    cases = []
    for case in collect_testcases(None):
        arrays = usable(case)
        model = case.model
        if arrays is None or any(o.domain not in ("", "ai.onnx.ml") for o in model.opset_import):
            continue
        nodes = list(operators(model.graph))
        for o in model.opset_import:
            if o.domain == "" and o.version > NEWEST:
                o.version = NEWEST
        try:
            old = all(get_schema(n.op_type, 99, n.domain).since_version <= NEWEST for n in nodes)
        except onnx.defs.SchemaError:
            old = False
        if not old or any(o.domain == "" and o.version < 7 for o in model.opset_import):
            continue
        model.ir_version = 10
        del model.graph.value_info[:]
        cases.append({
            "name": case.name.removeprefix("test_"),
            "ops": sorted({n.op_type for n in nodes}),
            "model": base64.b64encode(model.SerializeToString()).decode(),
            "in": [array(x) for x in arrays[0]],
            "out": [array(x) for x in arrays[1]],
        })
    cases.sort(key=lambda c: c["name"])
    body = json.dumps(cases, separators=(",", ":")).encode() + b"\n"
    OUT.write_bytes(gzip.compress(body, 9, mtime=0))
    print(f"{len(cases)} models, {OUT.stat().st_size} bytes")


main()
