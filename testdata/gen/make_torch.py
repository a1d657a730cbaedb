"""Write small networks with the PyTorch that runs this, and what it answers.

    python make_torch.py OUT

makes OUT/<version of PyTorch>/<case>/: the network traced, scripted and frozen,
its state_dict, and cases.json with inputs and outputs.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import torch

import torch_modules as modules

warnings.filterwarnings("ignore")
torch.set_num_threads(1)

BATCHES = (4, 1, 7)

# name: module, dtype, input names and shapes, absolute tolerance
CASES = {
    "seq_tanh": (modules.sequential, torch.float32, {"x": (4,)}, 1e-5),
    "mlp_relu": (modules.Driver, torch.float32, {"x": (7,)}, 1e-5),
    "mlp_float64": (modules.Driver, torch.float64, {"x": (7,)}, 1e-5),
    # One step of bfloat16 near 1 is 2**-8, and sums are rounded in another order.
    "mlp_bf16": (modules.Driver, torch.bfloat16, {"x": (7,)}, 0.02),
    "gaussian_head": (modules.GaussianHead, torch.float32, {"x": (6,)}, 1e-5),
    "act_method": (modules.ActMethod, torch.float32, {"x": (5,)}, 1e-5),
    "shared_weights": (modules.SharedWeights, torch.float32, {"x": (6,)}, 1e-5),
    "layers_loop": (modules.LayersLoop, torch.float32, {"x": (5,)}, 1e-5),
    "robot_normalizer": (modules.RobotPolicy, torch.float32, {"x": (10,)}, 1e-5),
    "image_and_state": (modules.ImageAndState, torch.float32, {"image": (1, 5, 5), "state": (4,)}, 1e-5),
}


def write(out: pathlib.Path, name: str, seed: int) -> None:
    make, dtype, inputs, atol = CASES[name]
    module = modules.fill(make(), seed).to(dtype)
    directory = out / name
    directory.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(seed + 1)
    batches = [draw(random, inputs, rows, dtype) for rows in BATCHES]

    files = {"trace": "model_trace.pt", "script": "model_script.pt", "frozen": "model_frozen.pt", "state": "state_dict.pth"}
    example = tuple(batches[0].values())
    traced = torch.jit.trace(module, example)
    scripted = torch.jit.script(module)
    frozen = torch.jit.freeze(scripted, preserved_attrs=["act"] if hasattr(module, "act") else [])
    traced.save(str(directory / files["trace"]))
    scripted.save(str(directory / files["script"]))
    frozen.save(str(directory / files["frozen"]))
    torch.save(module.state_dict(), str(directory / files["state"]))
    if name == "seq_tanh":
        files["state_legacy"] = "state_dict_legacy.pth"
        torch.save(module.state_dict(), str(directory / files["state_legacy"]), _use_new_zipfile_serialization=False)

    recorded = []
    with torch.no_grad():
        for rows, batch in zip(BATCHES, batches):
            outputs = module(*batch.values())
            entry = {"batch": rows, "inputs": {key: numbers(value) for key, value in batch.items()}}
            if isinstance(outputs, tuple):
                entry["outputs"] = {f"out{i}": numbers(value) for i, value in enumerate(outputs)}
            else:
                entry["outputs"] = {"out": numbers(outputs)}
            if hasattr(module, "act"):
                entry["act_outputs"] = {"out": numbers(module.act(*batch.values(), True))}
            recorded.append(entry)

    case = {
        "schema": 1,
        "name": f"torch/{name}",
        "format": "torch_multi",
        "torch": torch.__version__.split("+")[0],
        "files": files,
        "sequence": False,
        "input_names": list(inputs),
        "input_dtypes": {key: str(dtype).replace("torch.", "") for key in inputs},
        "atol": atol,
        "parameters": sum(value.numel() for value in module.parameters()),
        "batches": recorded,
    }
    (directory / "cases.json").write_text(json.dumps(case) + "\n", encoding="utf-8")


def draw(random, inputs, rows, dtype):
    return {key: torch.from_numpy(random.normal(0, 1.2, (rows,) + shape)).to(dtype) for key, shape in inputs.items()}


def numbers(tensor):
    """Nested lists in the shortest decimals that read back as the same values."""
    if tensor.dtype == torch.float64:
        return tensor.tolist()
    if tensor.dtype == torch.bfloat16:
        return tensor.float().tolist()

    def shorten(value):
        return [shorten(v) for v in value] if value.ndim else float(str(value[()]))

    return shorten(tensor.numpy())


def main() -> None:
    version = torch.__version__.split("+")[0]
    out = pathlib.Path(sys.argv[1]) / version
    for seed, name in enumerate(CASES):
        write(out, name, 100 + seed)
    print(f"torch {version}: {len(CASES)} cases")


if __name__ == "__main__":
    main()
