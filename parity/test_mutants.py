"""Files that were changed: what the command reads of one, the Python library of its format reads too.

Valid files of testdata, and of CARLA_RL_CORPUS where it is set, are cut, flipped and
given other sizes. parity/values says what our readers see, parity/read_file.py, in
a process of its own without a network, what Python sees. For each file ours either
refuses, or sees the same values.

CARLA_RL_MUTANTS is how many files are made (twenty of each kind without it);
CARLA_RL_MUTANTS_REPORT names a file for the counts.
"""

import collections
import io
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest

from conftest import ROOT, SEED

COUNT = int(os.environ.get("CARLA_RL_MUTANTS", "140"))
# The small share is the same in every run; a large one draws its own, which a failure names.
DRAWN = SEED if {"CARLA_RL_MUTANTS", "CARLA_RL_PARITY_SEED"} & set(os.environ) else 20
LARGEST = 128 << 10

# The files of each kind, below testdata and below the large corpus.
SOURCES = {
    "safetensors": (["modules/*/*/model.safetensors"], ["torch/*/*.safetensors"]),
    "torch weights": (["torch/*/*/state_dict*.pth", "modules/*/*/state_dict.pth", "libraries/*/*"], ["torch/*/*state_dict*.pth", "torch/*/checkpoint.pth", "other_libs/*/*"]),
    "torchscript": (["torch/*/*/model_*.pt", "scripts/*/*/*.pt"], ["torch/*/model_*.pt", "rsl_rl/*/*.pt"]),
    "torch.export": (["modules/2.15.0/*/model.pt2", "programs/2.15.0/*/model.pt2"], ["torch/*/*.pt2"]),
    "onnx": ([], ["torch/*/*.onnx", "rsl_rl/*/*.onnx"]),
    "stable-baselines3": (["../internal/format/sb3/testdata/*/model.zip"], ["sb3_gen/*/*.zip"]),
    "preprocessor": (["preprocess/*/*.pkl", "preprocess/*/*.joblib"], ["sklearn/*/*.pkl", "sklearn/*/*.joblib"]),
}


def sources(kind):
    ours, corpus = SOURCES[kind]
    found = [p for pattern in ours for p in (ROOT / "testdata").glob(pattern)]
    if kind == "onnx":
        found += (ROOT / "internal" / "format" / "onnx" / "testdata").glob("*.onnx")
    if root := os.environ.get("CARLA_RL_CORPUS"):
        found += [p for pattern in corpus for p in pathlib.Path(root).glob(pattern)]
    return sorted(p for p in found if p.is_file() and p.suffix not in (".json", ".npy", ".yaml", ".md") and p.stat().st_size <= LARGEST)


def bits(r, data):
    data = bytearray(data)
    for _ in range(r.choice([1, 1, 1, 2, 4])):
        data[r.randrange(len(data))] ^= 1 << r.randrange(8)
    return bytes(data)


def sizes(r, data):
    """Another number where a small one stands, of 1, 2, 4 or 8 bytes."""
    data = bytearray(data)
    for _ in range(200):
        width = r.choice([1, 2, 4, 8])
        if len(data) <= width:
            break
        at = r.randrange(len(data) - width)
        n = int.from_bytes(data[at : at + width], "little")
        if 0 < n < min(1 << 20, 1 << 8 * width):
            other = r.choice([n + 1, n - 1, n * 2, n // 2, n + 4, 0, n ^ 8, (1 << 8 * width) - 1])
            data[at : at + width] = (other % (1 << 8 * width)).to_bytes(width, "little")
            break
    return bytes(data)


def cut(r, data):
    return data[: r.randrange(len(data))]


def digits(r, data):
    """Another digit where a text has one."""
    places = [i for i, c in enumerate(data) if 48 <= c < 58]
    if not places:
        return bits(r, data)
    data = bytearray(data)
    data[r.choice(places)] = 48 + r.randrange(10)
    return bytes(data)


def moved(r, data):
    """A stretch left out, or twice."""
    at, n = r.randrange(len(data)), r.choice([1, 2, 4, 8, 64])
    return data[:at] + (data[at + n :] if r.random() < 0.5 else data[at : at + n] + data[at:])


CHANGES = [bits, bits, bits, sizes, sizes, cut, digits, moved]


def change(r, data):
    """A changed file, and how it was changed. Members of an archive are mostly changed inside, with checksums that fit."""
    how = r.choice(CHANGES)
    if data[:2] == b"PK" and r.random() < 0.75:
        with zipfile.ZipFile(io.BytesIO(data)) as z:
            members = [(i, z.read(i)) for i in z.infolist()]
        full = [k for k, (i, b) in enumerate(members) if b and not i.filename.endswith((".debug_pkl", "serialization_id"))]
        which = r.choice(full)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as z:
            for k, (info, content) in enumerate(members):
                z.writestr(zipfile.ZipInfo(info.filename), how(r, content) if k == which else content)
        return out.getvalue(), f"{how.__name__} of {members[which][0].filename}"
    if data[:1] == b"\x78" and r.random() < 0.75:  # zlib of joblib
        return zlib.compress(how(r, zlib.decompress(data))), f"{how.__name__} of what is compressed"
    return how(r, data), how.__name__


@pytest.fixture(scope="module")
def values():
    binary = ROOT / "bin" / "values"
    subprocess.run(["go", "build", "-o", binary, "./parity/values"], cwd=ROOT, check=True, env={**os.environ, "CGO_ENABLED": "0"})
    return binary


def ours(binary, questions):
    """The answers of our readers. They may refuse but neither crash nor hang."""
    text = "".join(json.dumps(q) + "\n" for q in questions)
    done = subprocess.run([binary], input=text, capture_output=True, text=True, timeout=60 + len(questions))
    assert done.returncode == 0, done.stderr[-4000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a["path"] for a in answers] == [q["path"] for q in questions]
    return answers


def theirs(questions):
    """The answers of the Python libraries, of which a file may take a process down."""
    alone = ["unshare", "--net", "--map-root-user"] if shutil.which("unshare") and subprocess.run(["unshare", "--net", "--map-root-user", "true"], capture_output=True).returncode == 0 else []
    answers = []
    while len(answers) < len(questions):
        rest = questions[len(answers) :]
        done = subprocess.run(
            [*alone, sys.executable, "-W", "ignore", str(ROOT / "parity" / "read_file.py")], input="".join(json.dumps(q) + "\n" for q in rest),
            capture_output=True, text=True, timeout=600 + 5 * len(rest),
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        answers += [json.loads(line) for line in lines]
        if len(answers) < len(questions):
            assert done.returncode != 0, done.stderr[-4000:]
            answers.append({"crashed": done.returncode})
    return answers


def difference(mine, other, kind):
    """What differs between two answers, in words."""
    for name, v in mine.get("values", {}).items():
        want = other.get("values", {}).get(name)
        if want is None:
            if kind in ("torchscript", "torch.export"):
                continue  # constants and attributes that torch does not list
            return f"{name} is there for us only"
        if v != want:
            return f"{name}: {v}, Python {want}"
    if kind == "zip" and set(mine["values"]) != set(other["values"]):
        return f"members {sorted(set(mine['values']) ^ set(other['values']))}"
    if "outputs" not in mine or "outputs" not in other:
        return None
    if len(mine["outputs"]) != len(other["outputs"]):
        return f"{len(mine['outputs'])} outputs, Python has {len(other['outputs'])}"
    for a, b in zip(mine["outputs"], other["outputs"]):
        got = np.array([float(v) for v in a.get("numbers", [])])
        want = np.array([float(v) for v in b["numbers"]])
        if got.shape != want.shape:
            return f"output {a['name']} has {len(got)} numbers, Python {len(want)}"
        # Float32 ends somewhere, and sums of numbers that large have no one order.
        small = np.isfinite(want) & (np.abs(want) < 1e6) & np.isfinite(got)
        scale = max(1.0, float(np.abs(want[small]).max(initial=0)))
        off = np.abs(got - want)
        if small.all() and (off > 1e-4 * scale).any():
            return f"output {a['name']} is {got[off.argmax()]}, Python {want[off.argmax()]}"
        if (np.isfinite(want) & (np.abs(want) < 1e6) & ~np.isfinite(got)).any() or (np.isfinite(got) & np.isnan(want)).any():
            return f"output {a['name']} is {got}, Python {want}"
    return None


@pytest.mark.parametrize("kind", SOURCES)
def test_mutants(tmp_path, values, kind):
    r = random.Random(f"{DRAWN} {kind}")
    files = sources(kind)
    assert files, "no files"
    count = -(-COUNT // len(SOURCES))
    questions, notes = [], {}
    for n in range(count + 3):
        source = r.choice(files)
        data, how = source.read_bytes(), "as it is"
        if n >= 3:  # the first are unchanged, so that it is seen that both sides read
            data, how = change(r, data)
        path = tmp_path / f"{n}{source.suffix}"
        path.write_bytes(data)
        notes[str(path)] = f"{how} of {source}"
        questions.append({"path": str(path), "as": "preprocessor" if kind == "preprocessor" else "model"})
        if data[:2] == b"PK":
            questions.append({"path": str(path), "as": "zip"})
    mine = ours(values, questions)
    read = [(q, a) for q, a in zip(questions, mine) if not a.get("error") and a["kind"] in ("zip", kind)]
    answers = theirs([{"path": a["path"], "kind": a["kind"], "inputs": a.get("inputs")} for _, a in read])
    counts, wrong = collections.Counter(files=count, refused=sum(bool(a.get("error")) for a in mine)), []
    alone = []
    for (_, a), b in zip(read, answers):
        if "skipped" in b:
            counts["not held against Python"] += 1
        elif "crashed" in b:
            counts["Python crashed"] += 1
        elif "error" in b:
            # No other value: a library that checks what we do not use, or cannot
            # run what it read.
            counts["refused by Python alone"] += 1
            alone.append(f"{notes[a['path']]} ({a['kind']}): {b['error']}")
        elif said := difference(a, b, a["kind"]):
            wrong.append(f"{notes[a['path']]} ({a['kind']}): {said}")
        else:
            counts["the same"] += 1
    if report := os.environ.get("CARLA_RL_MUTANTS_REPORT"):
        with open(report, "a") as f:
            f.write(json.dumps({"kind": kind, "wrong": len(wrong), **counts}) + "\n")
    print(kind, dict(counts), *alone, sep="\n  ")
    assert not wrong, f"CARLA_RL_PARITY_SEED={DRAWN}\n" + "\n".join(wrong[:20])
    assert counts["the same"] > 0
