"""openpi's own client, unchanged from PyPI, against a running server.

CARLA_RL_URL is the server's address and API_KEY its key. The answers of
POST /predict are what the client's answers are held to, bit for bit.
"""

import json
import os
import urllib.request

import numpy as np
import pytest
import websockets.exceptions
from openpi_client import action_chunk_broker
from openpi_client.websocket_client_policy import WebsocketClientPolicy

URL = os.environ["CARLA_RL_URL"]
KEY = os.environ.get("API_KEY")


def call(path, body=None):
    headers = {"Content-Type": "application/json", **({"X-API-Key": KEY} if KEY else {})}
    request = urllib.request.Request(URL + path, None if body is None else json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def connect(key=KEY):
    host, port = URL.removeprefix("http://").split(":")
    return WebsocketClientPolicy(host, int(port), api_key=key)


@pytest.fixture(scope="module")
def metadata():
    return call("/metadata")


@pytest.fixture(scope="module")
def observation(metadata):
    """A value within the range of each feature."""
    random = np.random.default_rng(7)
    given = {}
    for f in metadata["observation"]:
        low, high = (-1 if f["low"] is None else f["low"]), (1 if f["high"] is None else f["high"])
        given[f["name"]] = np.asarray(random.uniform(low, high, f["shape"]), np.float32)
        if f["space"]["type"] != "Box":  # a choice
            given[f["name"]] = np.rint(given[f["name"]])
    return given


@pytest.fixture(scope="module")
def wanted(observation, metadata):
    """The actions that /predict gives for it, in the order of the contract."""
    row = {name: values.tolist() for name, values in observation.items()}
    if not metadata["named"]:
        row = next(iter(observation.values())).reshape(-1).tolist()
    action = call("/predict", {"observations": [row], "deterministic": True})["actions"][0]
    if isinstance(action, dict):
        action = list(action.values())
    return np.array(action, np.float32).reshape(1, -1)


def keyed(observation, metadata, prefix=""):
    """The observation as a client of openpi says it."""
    if not metadata["named"]:
        return {"observation/state": next(iter(observation.values()))}
    return {prefix + name: values for name, values in observation.items()}


def test_metadata(metadata, wanted):
    told = connect().get_server_metadata()
    assert told["server"] == "carla-rl-serving" and told["model"] == metadata["modelName"]
    assert told["version"] == metadata["version"]
    assert told["action_dim"] == wanted.shape[1] and told["action_horizon"] == 1
    assert len(told["action_names"]) == wanted.shape[1]
    assert list(told["observation"].values()) == [f["shape"] for f in metadata["observation"]]


@pytest.mark.parametrize("prefix", ["", "observation/"])
def test_infer(observation, metadata, wanted, prefix):
    policy = connect()
    asked = {**keyed(observation, metadata, prefix), "prompt": "drive", "deterministic": True}
    for step in range(3):
        got = policy.infer(asked)
        assert got["actions"].dtype == np.float32 and got["actions"].shape == wanted.shape
        np.testing.assert_array_equal(got["actions"], wanted)
        assert got["policy_timing"]["infer_ms"] > 0
        assert ("prev_total_ms" in got["server_timing"]) == (step > 0)
    if "name" in metadata["action"][0]:
        assert list(got["action"]) == [a["name"] for a in metadata["action"]]
        np.testing.assert_array_equal(np.hstack(list(got["action"].values())), wanted[0])
    policy.reset()


def test_types_of_numpy(observation, metadata, wanted):
    policy = connect()
    for convert in (
        lambda v: v.astype(np.float64),
        lambda v: v.astype(">f4"),
        lambda v: v[np.newaxis] if v.ndim else v[()],  # an axis of one, and a scalar
        lambda v: v.tolist(),
    ):
        asked = {name: convert(values) for name, values in keyed(observation, metadata).items()}
        np.testing.assert_array_equal(policy.infer({**asked, "deterministic": True})["actions"], wanted)


def test_nested(observation, metadata, wanted):
    inside = {name.removeprefix("observation/"): values for name, values in keyed(observation, metadata).items()}
    got = connect().infer({"observation": inside, "deterministic": True})
    np.testing.assert_array_equal(got["actions"], wanted)


def test_vector(observation, metadata, wanted):
    """A policy whose observation is one vector takes it whole, however it is named."""
    if any(f["space"]["type"] != "Box" for f in metadata["observation"]):  # of a dict, whose parts have no order
        with pytest.raises(RuntimeError, match="expected one of"):
            connect().infer({"observation/state": np.zeros(3), "deterministic": True})
        return
    whole = np.hstack([v.reshape(-1) for v in observation.values()])
    got = connect().infer({"observation/state": whole, "deterministic": True})
    np.testing.assert_array_equal(got["actions"], wanted)


def test_chunk_broker(observation, metadata, wanted):
    """What plays actions of several steps one by one plays those of one step."""
    broker = action_chunk_broker.ActionChunkBroker(connect(), action_horizon=1)
    asked = {**keyed(observation, metadata), "deterministic": True}
    for _ in range(2):
        np.testing.assert_array_equal(broker.infer(asked)["actions"], wanted[0])


def test_errors_and_reconnect(observation, metadata, wanted):
    """An error ends the connection, as the protocol has it; a new one serves."""
    asked = {**keyed(observation, metadata), "deterministic": True}
    name = next(iter(asked))
    missing = {k: v for k, v in asked.items() if k != name}
    for bad, words in (
        (missing, "VALIDATION_ERROR"),
        ({**asked, name: np.full_like(asked[name], np.nan)}, "got NaN"),
        ({**asked, name: np.array(["text"])}, "expected an array of"),
        ({**asked, name: np.zeros([3, 1, 4, 1, 5], np.float32)}, r"expected an array of \[.*\], got one of \[3 1 4 1 5\]"),
        ({**asked, "nonsense": 1}, "nonsense"),
    ):
        policy = connect()
        with pytest.raises(RuntimeError, match="Error in inference server:\n.*" + words) as error:
            policy.infer(bad)
        assert "Traceback" not in str(error.value) and ".go" not in str(error.value)
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
            policy.infer(asked)
        assert closed.value.rcvd.code == 1011
        np.testing.assert_array_equal(connect().infer(asked)["actions"], wanted)


def test_many_connections(observation, metadata, wanted):
    asked = {**keyed(observation, metadata), "deterministic": True}
    policies = [connect() for _ in range(8)]
    for policy in policies + policies:
        np.testing.assert_array_equal(policy.infer(asked)["actions"], wanted)


def test_key():
    if KEY is None:
        pytest.skip("the server asks for no key")
    for key in (None, "wrong"):
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            connect(key)
        assert refused.value.response.status_code == 401


def test_health():
    """openpi's clients look there before they connect."""
    with urllib.request.urlopen(URL + "/healthz") as answer:
        assert answer.status == 200
