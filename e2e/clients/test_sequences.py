"""Triton's own HTTP client with its sequence arguments, unchanged, against a running server.

What each step of a sequence answers is held, bit for bit, to what a session of
/v1/sessions answers at that step.
"""

import json
import os
import urllib.request

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

URL = os.environ["CARLA_RL_URL"]
KEY = {"X-API-Key": os.environ["API_KEY"]} if os.environ.get("API_KEY") else {}
STEPS = 6


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Content-Type": "application/json", **KEY}, method=method)
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
    return json.loads(text) if text else None


@pytest.fixture(scope="module")
def metadata():
    return call("GET", "/metadata")


@pytest.fixture(scope="module")
def streams(metadata):
    """Two streams of observations: for each step the tensors, each of one row."""
    random = np.random.default_rng(11)

    def step():
        given = {}
        for f in metadata["observation"]:
            low, high = (-1 if f["low"] is None else f["low"]), (1 if f["high"] is None else f["high"])
            name = f["name"] if metadata["named"] else "observation"
            values = random.uniform(low, high, [1, *f["shape"]])
            given[name] = (values.round() if f["space"]["type"] != "Box" else values).astype(np.float32)
        return given

    return [[step() for _ in range(STEPS)] for _ in range(2)]


@pytest.fixture(scope="module")
def wanted(metadata, streams):
    """What sessions answer to the streams."""
    answers = []
    for stream in streams:
        session = call("POST", "/v1/sessions", {"deterministic": True})["session_id"]
        actions = []
        for given in stream:
            if metadata["named"]:
                row = {name: values[0].tolist() for name, values in given.items()}
            else:
                row = given["observation"].reshape(-1).tolist()
            actions.append(call("POST", f"/v1/sessions/{session}/act", {"observations": [row]})["actions"][0])
        call("DELETE", f"/v1/sessions/{session}")
        answers.append([flat(metadata, action) for action in actions])
    return answers


def flat(metadata, action):
    parts = metadata["action"]
    if "name" in parts[0]:
        values = [action[p["name"]] for p in parts]
    else:
        values = [action] if len(parts) == 1 else action
    return np.concatenate([np.asarray(v, np.float32).reshape(-1) for v in values])


@pytest.fixture
def client():
    with triton.InferenceServerClient(URL.removeprefix("http://")) as c:
        yield c


def infer(client, metadata, given, sequence, start=False, end=False, version="", **parameters):
    inputs = []
    for name, values in given.items():
        inputs.append(triton.InferInput(name, values.shape, "FP32").set_data_from_numpy(values))
    got = client.infer(
        metadata["modelName"], inputs, model_version=version, headers=dict(KEY), sequence_id=sequence, sequence_start=start, sequence_end=end,
        parameters={"deterministic": True, **parameters},
    )
    names = [output["name"] for output in got.get_response()["outputs"]]
    return np.concatenate([got.as_numpy(name).astype(np.float32).reshape(-1) for name in names]), got.get_response()["parameters"]


def test_extensions(client):
    assert {"sequence", "sequence(string_id)"} <= set(client.get_server_metadata(headers=dict(KEY))["extensions"])


@pytest.mark.parametrize("ids", [(1, 2), ("robot-7", "robot-8"), (7, "7"), (2**64 - 1, 2**63)])
def test_interleaved_sequences(client, metadata, streams, wanted, ids):
    for step in range(STEPS):
        for sequence, stream, want in zip(ids, streams, wanted):
            got, told = infer(client, metadata, stream[step], sequence, start=step == 0, end=step == STEPS - 1)
            assert got.tobytes() == want[step].tobytes(), (sequence, step)
            assert told["sequence_id"] == sequence and told["step"] == step


def test_a_start_is_needed(client, metadata, streams):
    for end in (False, True):
        with pytest.raises(InferenceServerException, match="sequence 41 of model .* is not under way: the first request of a sequence needs sequence_start"):
            infer(client, metadata, streams[0][0], 41, end=end)
    infer(client, metadata, streams[0][0], 41, start=True, end=True)
    with pytest.raises(InferenceServerException, match="is not under way"):
        infer(client, metadata, streams[0][1], 41)


def test_a_start_begins_anew(client, metadata, streams, wanted):
    for step in range(3):
        infer(client, metadata, streams[1][step], 42, start=step == 0)
    for step in range(3):
        got, told = infer(client, metadata, streams[0][step], 42, start=step == 0, end=step == 2)
        assert got.tobytes() == wanted[0][step].tobytes() and told["step"] == step


def test_a_version_has_sequences_of_its_own(client, metadata, streams, wanted):
    for step in range(2):
        for version in ("", metadata["version"]):
            got, _ = infer(client, metadata, streams[0][step], 43, start=step == 0, end=step == 1, version=version)
            assert got.tobytes() == wanted[0][step].tobytes()


def test_seed(client, metadata, streams):
    if not metadata["stochastic"]:
        pytest.skip("the policy does not draw")

    def run(seed):
        drawn = []
        for step in range(3):
            first = {"seed": seed} if step == 0 else {}
            drawn.append(infer(client, metadata, streams[0][step], 44, start=step == 0, end=step == 2, deterministic=False, **first)[0])
        return np.concatenate(drawn).tobytes()

    assert run(5) == run(5)
    with pytest.raises(InferenceServerException, match="expected a seed on the first request"):
        infer(client, metadata, streams[0][0], 45, seed=5)


def test_one_row(client, metadata, streams):
    two = {name: np.repeat(values, 2, axis=0) for name, values in streams[0][0].items()}
    with pytest.raises(InferenceServerException, match="expected one row in a sequence, got 2"):
        infer(client, metadata, two, 46, start=True)


def test_without_a_sequence(client, metadata, streams):
    if not metadata["recurrent"]:
        infer(client, metadata, streams[0][0], 0)
        return
    for none in (0, ""):
        with pytest.raises(InferenceServerException, match="this policy keeps state: send sequence_id"):
            infer(client, metadata, streams[0][0], none)
