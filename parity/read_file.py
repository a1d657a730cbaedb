"""What the Python libraries see in files: the other side of parity/values.

Lines of JSON enter, as for that command, and for a network with the inputs that it
was asked for; a line leaves for each. The process gives up what it does not need
before it reads the first file: it writes no large files, and takes no more time
than a file may take. Pickles are read with the names of a list, and torch's
own reader with weights_only.
"""

import bz2
import gzip
import hashlib
import io
import json
import os
import pickle
import resource
import sys
import types
import zipfile
import zlib

import joblib.numpy_pickle
import numpy as np
import torch
import torch.export

torch.set_num_threads(1)

# What a pickled preprocessor may name here. It is data and the classes of
# scikit-learn: a mutant that names anything else is one that both sides refuse.
ALLOWED = (
    "numpy.", "sklearn.", "collections.OrderedDict", "_codecs.encode", "copyreg._reconstructor", "joblib.numpy_pickle.NumpyArrayWrapper",
    "stable_baselines3.common.vec_env.vec_normalize.VecNormalize", "stable_baselines3.common.running_mean_std.RunningMeanStd", "gymnasium.spaces.",
)
BUILTINS = ("object", "set", "frozenset", "slice", "list", "dict", "tuple", "bytearray", "bytes", "float", "int")
FORBIDDEN = ("numpy.f2py", "numpy.testing", "numpy.distutils", "numpy.lib", "numpy.load", "numpy.fromfile", "numpy.memmap", "numpy.save", "numpy.genfromtxt", "numpy.ctypeslib", "sklearn.externals", "sklearn.datasets", "sklearn.utils")


def found(module, name):
    """Refuses a name that is not on the list."""
    full = f"{module}.{name}"
    plain = module in ("builtins", "__builtin__") and name in BUILTINS
    if "." in name or not (plain or full.startswith(ALLOWED)) or full.startswith(FORBIDDEN):
        raise NotOnTheList(f"{full} is not on the list")


class NotOnTheList(pickle.UnpicklingError):
    pass


class Restricted(pickle.Unpickler):
    def find_class(self, module, name):
        found(module, name)
        return super().find_class(module, name)


class RestrictedJoblib(joblib.numpy_pickle.NumpyUnpickler):
    """The reader of joblib, whose arrays lie between the opcodes."""

    def __init__(self, stream):
        super().__init__("", stream, ensure_native_byte_order=True)

    def find_class(self, module, name):
        found(module, name)
        return super().find_class(module, name)


# It reads an array of objects by pickle itself.
joblib.numpy_pickle.pickle = types.SimpleNamespace(**{**vars(pickle), "load": lambda stream, **_: Restricted(stream).load()})


def given(k):
    return (k * 37 % 101 - 50) / 64


def rows(shape, dtype=np.float32):
    return np.array([given(k) for k in range(int(np.prod(shape)))], dtype).reshape(shape)


def value(array):
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        if array.dtype in (torch.bfloat16, torch.float16):
            array = array.to(torch.float32)
        array = array.contiguous().numpy()
    wide = np.ascontiguousarray(array, np.float64).reshape(-1)
    bits = np.where(np.isnan(wide), np.uint64(0x7FF8000000000000), wide.view(np.uint64))
    return {"shape": list(array.shape), "digest": hashlib.sha256(bits.astype("<u8").tobytes()).hexdigest()}


def named(thing, name=""):
    """The tensors in nested containers, under the way to each."""
    if isinstance(thing, torch.Tensor):
        yield name, thing
    elif isinstance(thing, dict):
        for k, v in thing.items():
            if name == "" and "optimizer" in str(k):
                continue
            yield from named(v, f"{name}.{k}" if name else str(k))
    elif isinstance(thing, (list, tuple)):
        for i, v in enumerate(thing):
            yield from named(v, f"{name}.{i}" if name else str(i))


def numbers(array):
    flat = np.asarray(array, np.float64).reshape(-1)
    return [float(v) if np.isfinite(v) else str(v) for v in flat]


def port(name, array):
    if isinstance(array, torch.Tensor):
        array = array.detach().to(torch.float64).numpy()
    return {"name": name, "shape": list(np.shape(array)), "numbers": numbers(array)}


def outputs(answer, name="out"):
    """The tensors of an answer in their order, those inside each other too."""
    if isinstance(answer, dict):
        return [p for k, v in answer.items() for p in outputs(v, str(k))]
    if isinstance(answer, (list, tuple)):
        return [p for i, v in enumerate(answer) for p in outputs(v, f"{name}{i}")]
    return [port(name, answer)]


def asked_for(call, inputs):
    """What a network answers; nothing where it takes its inputs in another form, as a dict."""
    try:
        with torch.no_grad():
            return {"outputs": outputs(call(*tensors(inputs)))}
    except (TypeError, ValueError):
        return {}


TYPES = {"f32": torch.float32, "f64": torch.float64, "f16": torch.float16, "bf16": torch.bfloat16}


def tensors(inputs):
    return [torch.from_numpy(rows(i["shape"])).to(TYPES[i["type"]]) for i in inputs]


def read_zip(path, asked):
    values = {}
    with zipfile.ZipFile(path) as z:
        for info in z.infolist():
            if info.filename.endswith("/"):
                continue
            data = z.read(info)
            if info.filename in values:
                raise ValueError("two members of one name")
            values[info.filename] = {"shape": [len(data)], "digest": hashlib.sha256(data).hexdigest()}
    return {"values": values}


def read_safetensors(path, asked):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as f:
        return {"values": {k: value(f.get_tensor(k)) for k in f.keys()}}


def read_weights(path, asked):
    return {"values": {k: value(v) for k, v in named(torch.load(path, map_location="cpu", weights_only=True))}}


def read_script(path, asked):
    module = torch.jit.load(path, map_location="cpu").eval()
    found = {k: value(v) for k, v in [*module.named_parameters(), *module.named_buffers()]}
    return {"values": found, **(asked_for(module, asked) if asked else {})}


def read_program(path, asked):
    program = torch.export.load(path)
    found = {k: value(v) for k, v in [*program.state_dict.items(), *program.constants.items()] if isinstance(v, torch.Tensor)}
    return {"values": found, **(asked_for(program.module(), asked) if asked else {})}


def read_onnx(path, asked):
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    model = onnx.load(path, load_external_data=False)
    answer = {"values": {}}
    for t in model.graph.initializer:
        array = numpy_helper.to_array(t)
        answer["values"][t.name] = value(array.astype(np.float32) if array.dtype.itemsize <= 2 and array.dtype.kind not in "biu" else array)
    if asked:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feed = {i["name"]: rows(i["shape"], {"f32": np.float32, "f64": np.float64, "f16": np.float16}[i["type"]]) for i in asked}
        answer["outputs"] = [port(o.name, a) for o, a in zip(session.get_outputs(), session.run(None, feed))]
    return answer


def read_agent(path, asked):
    with zipfile.ZipFile(path) as z:
        return {"values": {k: value(v) for k, v in named(torch.load(io.BytesIO(z.read("policy.pth")), map_location="cpu", weights_only=True))}}


def read_preprocessor(path, asked):
    with open(path, "rb") as f:
        data = f.read()
    if data[:2] == b"PK":
        with np.load(path, allow_pickle=False) as z:
            arrays = {k: np.asarray(z[k], np.float64) for k in z.files}
        mean, std = arrays.get("mean"), arrays.get("std")
        if mean is None or std is None or set(arrays) != {"mean", "std"}:
            raise NotImplementedError("statistics of another form")
        raise NotImplementedError("statistics are held against numpy by their arrays")
    if data[:1] == b"\x78":
        data = zlib.decompress(data)
    elif data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    elif data[:3] == b"BZh":
        data = bz2.decompress(data)
    stream = io.BytesIO(data)
    thing = RestrictedJoblib(stream).load() if b"NumpyArrayWrapper" in data else Restricted(stream).load()
    if stream.read(1):
        raise ValueError("bytes behind the pickle")
    x = rows(asked[0]["shape"], np.float64)
    if hasattr(thing, "normalize_obs"):
        out = thing.normalize_obs(x.astype(np.float32))
    elif hasattr(thing, "transform"):
        out = thing.transform(x)
    else:
        raise NotImplementedError(f"{type(thing)} is no transformer")
    if hasattr(out, "toarray"):
        out = out.toarray()
    return {"outputs": [port("out", out)]}


READERS = {
    "zip": read_zip, "safetensors": read_safetensors, "torch weights": read_weights, "torchscript": read_script, "torch.export": read_program,
    "onnx": read_onnx, "stable-baselines3": read_agent, "preprocessor": read_preprocessor,
}


def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))  # torch unpacks what it reads
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stderr.flush()
    for line in sys.stdin:
        question = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_SELF)
        now = int(used.ru_utime + used.ru_stime)
        resource.setrlimit(resource.RLIMIT_CPU, (now + 60, resource.RLIM_INFINITY))
        try:
            answer = READERS[question["kind"]](question["path"], question.get("inputs"))
        except (NotImplementedError, NotOnTheList) as e:
            answer = {"skipped": str(e)}
        except Exception as e:  # whatever a library throws is a refusal
            answer = {"error": f"{type(e).__name__}: {e}"[:300]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
