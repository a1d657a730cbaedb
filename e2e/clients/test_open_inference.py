"""Triton's and KServe's own HTTP clients, unchanged, against a running server.

CARLA_RL_URL is the server's address and API_KEY its key. The answers of its own
/predict are what the clients' answers are held to, bit for bit.
"""

import asyncio
import json
import os
import urllib.request

import numpy as np
import pytest
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferOutput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from tritonclient.utils import InferenceServerException

URL = os.environ["CARLA_RL_URL"]
NUMPY = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "FP16": np.float16}
ROWS = 3


def key():
    """Headers with the key: new ones each time, as both clients write into what they are given."""
    return {"X-API-Key": os.environ["API_KEY"]} if os.environ.get("API_KEY") else {}


def call(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Content-Type": "application/json", **key()})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def metadata():
    return call("/metadata")


@pytest.fixture(scope="module")
def model(metadata):
    return metadata["modelName"]


@pytest.fixture(scope="module")
def rows(metadata):
    """A value within the range of each feature, one array a feature."""
    random = np.random.default_rng(7)
    given = {}
    for f in metadata["observation"]:
        low, high = (-1 if f["low"] is None else f["low"]), (1 if f["high"] is None else f["high"])
        name = f["name"] if metadata["named"] else "observation"
        given[name] = random.uniform(low, high, [ROWS, *f["shape"]]).astype(np.float32)
        if f["space"]["type"] != "Box":  # a choice
            given[name] = np.rint(given[name])
    return given


@pytest.fixture(scope="module")
def wanted(rows, metadata):
    """The actions that /predict gives."""
    if metadata["named"]:
        observations = [{name: values[i].tolist() for name, values in rows.items()} for i in range(ROWS)]
    else:
        observations = rows["observation"].reshape(ROWS, -1).tolist()
    actions = call("/predict", {"observations": observations, "deterministic": True})["actions"]
    kinds = [np.int64 if a["discrete"] else np.float32 for a in metadata["action"]]
    if "name" in metadata["action"][0]:
        return {a["name"]: np.array([row[a["name"]] for row in actions], k) for a, k in zip(metadata["action"], kinds)}
    if len(kinds) == 1:
        return {"action": np.array(actions, kinds[0])}
    return {f"action_{i}": np.array([row[i] for row in actions], k) for i, k in enumerate(kinds)}


@pytest.fixture
def client():
    with triton.InferenceServerClient(URL.removeprefix("http://")) as c:
        yield c


def triton_inputs(rows, datatype="FP32", **how):
    inputs = []
    for name, values in rows.items():
        values = values.astype(NUMPY[datatype])
        tensor = triton.InferInput(name, values.shape, datatype)
        inputs.append(tensor.set_data_from_numpy(values, **how))
    return inputs


def test_triton_health_and_metadata(client, model, rows, wanted):
    assert client.is_server_live(headers=key())
    assert client.is_server_ready(headers=key())
    assert client.get_server_metadata(headers=key())["name"] == "carla-rl-serving"
    assert client.is_model_ready(model, headers=key())
    assert not client.is_model_ready("nobody", headers=key())
    told = client.get_model_metadata(model, headers=key())
    assert {t["name"]: t["shape"][1:] for t in told["inputs"]} == {n: list(v.shape[1:]) for n, v in rows.items()}
    assert [t["name"] for t in told["outputs"]] == list(wanted)
    version = told["versions"][0]
    assert client.is_model_ready(model, version, headers=key())
    assert client.get_model_metadata(model, version, headers=key())["versions"] == [version]


@pytest.mark.parametrize("how", [{}, {"binary_data": True}, {"binary_data": False}])
@pytest.mark.parametrize("outputs", [None, True, False])
def test_triton_infer(client, model, rows, wanted, how, outputs):
    """Every way to send and to ask: with nothing said the client sends binary
    tensors and asks for binary outputs."""
    asked = None
    if outputs is not None:
        asked = [triton.InferRequestedOutput(name, binary_data=outputs) for name in reversed(wanted)]
    got = client.infer(
        model, triton_inputs(rows, **how), outputs=asked, request_id="robot-7", headers=key(),
        parameters={"deterministic": True},
    )
    answer = got.get_response()
    assert answer["id"] == "robot-7" and answer["model_name"] == model and answer["model_version"]
    assert answer["parameters"]["deterministic"] is True
    names = [o["name"] for o in answer["outputs"]]
    assert names == (list(wanted) if asked is None else list(reversed(wanted)))
    for output in answer["outputs"]:
        assert ("data" in output) == (outputs is False)
    for name, values in wanted.items():
        np.testing.assert_array_equal(got.as_numpy(name), values)


def test_triton_selects_outputs(client, model, rows, wanted):
    name = list(wanted)[-1]
    got = client.infer(
        model, triton_inputs(rows), outputs=[triton.InferRequestedOutput(name)], headers=key(),
        model_version=client.get_model_metadata(model, headers=key())["versions"][0],
        parameters={"deterministic": True},
    )
    assert [o["name"] for o in got.get_response()["outputs"]] == [name]
    np.testing.assert_array_equal(got.as_numpy(name), wanted[name])


def test_triton_datatypes(client, model, rows, wanted):
    for binary in (True, False):
        got = client.infer(
            model, triton_inputs(rows, "FP64", binary_data=binary), headers=key(), parameters={"deterministic": True}
        )
        for name, values in wanted.items():
            np.testing.assert_array_equal(got.as_numpy(name), values)
    halves = {name: values.astype(np.float16) for name, values in rows.items()}
    half = client.infer(model, triton_inputs(halves, "FP16"), headers=key(), parameters={"deterministic": True})
    single = client.infer(model, triton_inputs(halves), headers=key(), parameters={"deterministic": True})
    for name in wanted:
        np.testing.assert_array_equal(half.as_numpy(name), single.as_numpy(name))


def test_triton_async(client, model, rows, wanted):
    calls = [
        client.async_infer(model, triton_inputs(rows), headers=key(), parameters={"deterministic": True})
        for _ in range(8)
    ]
    for c in calls:
        got = c.get_result()
        for name, values in wanted.items():
            np.testing.assert_array_equal(got.as_numpy(name), values)


def test_triton_seed(client, model, rows, wanted, metadata):
    def draw(**parameters):
        got = client.infer(
            model, triton_inputs(rows), headers=key(), parameters={"deterministic": False, **parameters}
        )
        return got.get_response()["parameters"], {name: got.as_numpy(name) for name in wanted}

    if not metadata["stochastic"]:
        parameters, actions = draw(seed=42)
        assert parameters == {"deterministic": False}
        for name in wanted:
            np.testing.assert_array_equal(actions[name], wanted[name])
        return
    parameters, first = draw(seed=42)
    assert parameters == {"deterministic": False, "seed": 42}
    parameters, second = draw()  # what was drawn without a seed can be drawn again
    _, again = draw(seed=42)
    _, replayed = draw(seed=parameters["seed"])
    for name in wanted:
        np.testing.assert_array_equal(again[name], first[name])
        np.testing.assert_array_equal(replayed[name], second[name])
    assert any((first[name] != second[name]).any() for name in wanted)


@pytest.mark.parametrize("priority", [1, 2])
def test_triton_priority(client, model, rows, wanted, priority):
    got = client.infer(model, triton_inputs(rows), headers=key(), priority=priority, parameters={"deterministic": True})
    for name in wanted:
        np.testing.assert_array_equal(got.as_numpy(name), wanted[name])


def test_triton_errors(client, model, rows):
    def refused(status, words, inputs=None, name=model, **arguments):
        with pytest.raises(InferenceServerException) as error:
            client.infer(name, triton_inputs(rows) if inputs is None else inputs, headers=key(), **arguments)
        assert error.value.status() == status and words in error.value.message()

    refused("404", "nobody", name="nobody")
    refused("404", "v9.9.9", model_version="v9.9.9")
    refused("400", "one row in a sequence", sequence_id=7, sequence_start=True)
    refused("400", "seed", parameters={"seed": -1})
    refused("400", "outputs.0.name", outputs=[triton.InferRequestedOutput("nobody")])
    refused("400", "inputs", inputs=triton_inputs(rows)[1:])
    name, values = next(iter(rows.items()))
    for bad in (np.nan, np.inf, -np.inf):
        refused("400", "inputs.0.data.0", inputs=triton_inputs({**rows, name: np.full_like(values, bad)}))


def kserve_inputs(rows, binary):
    inputs = []
    for name, values in rows.items():
        tensor = InferInput(name, list(values.shape), "FP32")
        tensor.set_data_from_numpy(values, binary_data=binary)
        inputs.append(tensor)
    return inputs


def kserve(use):
    async def run():
        async with InferenceRESTClient(RESTConfig(protocol="v2")) as c:
            await use(c)

    asyncio.run(run())


def test_kserve_health(model):
    async def use(c):
        assert await c.is_server_live(URL, headers=key()) is True
        assert await c.is_server_ready(URL, headers=key()) is True
        assert await c.is_model_ready(URL, model, headers=key()) is True
        assert await c.is_model_ready(URL, "nobody", headers=key()) is False

    kserve(use)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("outputs", [None, True, False])
def test_kserve_infer(model, rows, wanted, binary, outputs):
    async def use(c):
        asked = None
        if outputs is not None:
            asked = [RequestedOutput(name, {"binary_data": outputs}) for name in wanted]
        request = InferRequest(
            model, kserve_inputs(rows, binary), request_id="robot-7", parameters={"deterministic": True},
            request_outputs=asked,
        )
        got = await c.infer(URL, request, model_name=model, headers=key())
        assert got.id == "robot-7" and got.model_name == model
        assert [o.name for o in got.outputs] == list(wanted)
        for o in got.outputs:
            assert isinstance(o, InferOutput)
            np.testing.assert_array_equal(o.as_numpy(), wanted[o.name])

    kserve(use)


def test_kserve_errors(model, rows):
    async def use(c):
        with pytest.raises(Exception, match="inputs.*400 Bad Request"):
            await c.infer(URL, InferRequest(model, kserve_inputs(rows, True)[1:]), model_name=model, headers=key())
        with pytest.raises(Exception, match="404 Not Found"):
            await c.infer(URL, InferRequest("nobody", kserve_inputs(rows, False)), model_name="nobody", headers=key())

    kserve(use)
