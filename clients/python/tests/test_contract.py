import base64

import numpy as np
import pytest

from carla_rl_client import ObservationError
from carla_rl_client.contract import Contract

CONTINUOUS = {"shape": [2], "low": -1, "high": 1, "discrete": False}
NAMED = [
    {"name": "speed", "shape": [], "unit": "km/h", "low": 0, "high": 200},
    {"name": "grid", "shape": [2, 2], "low": None, "high": None},
]


def contract(observation, action, named=False):
    return Contract.parse(
        {
            "modelName": "m",
            "version": "v1.0.0",
            "observation": observation if isinstance(observation, list) else [{"name": "obs"} | observation],
            "action": action if isinstance(action, list) else [action],
            "named": named,
            "stochastic": True,
            "deterministicDefault": False,
        }
    )


@pytest.mark.parametrize(
    ("shape", "observation", "rows", "batched"),
    [
        ([3], [1, 2, 3], [[1, 2, 3]], False),
        ([3], [[1, 2, 3]], [[1, 2, 3]], True),
        ([3], np.ones((2, 3)), [[1, 1, 1], [1, 1, 1]], True),
        ([2, 2], [[1, 2], [3, 4]], [[1, 2, 3, 4]], False),
        ([], 5, [5], False),
        ([], np.array([5, 6]), [5, 6], True),
        ([2], [True, False], [[1, 0]], False),
        ([0], np.zeros((2, 0)), [[], []], True),
    ],
)
def test_rows_of_an_array(shape, observation, rows, batched):
    assert contract({"shape": shape}, CONTINUOUS).pack(observation) == (rows, batched)


def test_float32_is_sent_as_it_is():
    rows, _ = contract({"shape": [1]}, CONTINUOUS).pack(np.array([0.1], np.float32))
    assert np.float32(rows[0][0]) == np.float32(0.1)
    assert type(rows[0][0]) is float


def test_images_are_taken_with_either_order_of_channels():
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    plain = contract({"shape": [2, 4, 3], "image": True}, CONTINUOUS)
    want = [base64.b64encode(image.tobytes()).decode()]
    assert plain.pack(image) == (want, False)
    assert plain.pack(np.moveaxis(image, -1, 0)) == (want, False)
    assert plain.pack(image[None]) == (want, True)
    assert plain.pack(np.moveaxis(image, -1, 0)[None]) == (want, True)
    named = contract([{"name": "image", "shape": [2, 4, 3], "image": True}], CONTINUOUS, named=True)
    for given in (image, np.moveaxis(image, -1, 0)):
        assert named.pack({"image": given}) == ([{"image": want[0]}], False)
        assert named.pack({"image": given[None]}) == ([{"image": want[0]}], True)
    # Numbers that are bytes are sent as bytes, others as they are, for the server to refuse.
    assert plain.pack(image.astype(np.float64)) == (want, False)
    assert plain.pack(image + 0.5) == ((image + 0.5).reshape(1, -1).tolist(), False)
    assert plain.pack(image.astype(np.int64) + 250)[0] == (image.astype(np.int64) + 250).reshape(1, -1).tolist()


@pytest.mark.parametrize(
    ("dtype", "name"), [(np.float32, "float32"), (np.float64, "float32"), (np.uint8, "uint8"), (np.int64, "float32"), (bool, "uint8")]
)
def test_large_arrays_are_sent_as_their_bytes(dtype, name):
    rows = np.random.default_rng(0).uniform(0, 2, (3, 8, 8)).astype(dtype)
    packed, batched = contract({"shape": [8, 8]}, CONTINUOUS).pack(rows)
    assert batched
    for row, cell in zip(rows, packed):
        assert cell["dtype"] == name
        got = np.frombuffer(base64.b64decode(cell["base64"]), name).reshape(8, 8)
        assert np.array_equal(got, row.astype(np.float32))
    named = contract([{"name": "grid", "shape": [8, 8]}, {"name": "speed", "shape": []}], CONTINUOUS, named=True)
    rows = named.pack({"grid": rows, "speed": np.arange(3)})[0]
    assert rows == [{"grid": cell, "speed": i} for i, cell in enumerate(packed)]


@pytest.mark.parametrize("value", [1e300, 1 << 25])
def test_large_arrays_of_what_float32_does_not_hold_are_numbers(value):
    row = [value] * 64
    assert contract({"shape": [64]}, CONTINUOUS).pack(row) == ([row], False)


@pytest.mark.parametrize(
    "observation",
    [
        {"speed": 5, "grid": [[1, 2], [3, 4]]},
        {"grid": np.array([[1, 2], [3, 4]]), "speed": np.array([5])},
        [5, 1, 2, 3, 4],
    ],
)
def test_named_features(observation):
    assert contract(NAMED, CONTINUOUS, named=True).pack(observation) == ([{"speed": 5, "grid": [[1, 2], [3, 4]]}], False)


@pytest.mark.parametrize(
    "observation",
    [
        {"speed": [5, 6], "grid": [[[1, 2], [3, 4]]] * 2},
        {"speed": [[5], [6]], "grid": [[[1, 2], [3, 4]]] * 2},
        [{"speed": 5, "grid": [[1, 2], [3, 4]]}, {"speed": 6, "grid": [[1, 2], [3, 4]]}],
        [[5, 1, 2, 3, 4], [6, 1, 2, 3, 4]],
    ],
)
def test_batches_of_named_features(observation):
    rows, batched = contract(NAMED, CONTINUOUS, named=True).pack(observation)
    assert batched
    assert rows == [{"speed": 5, "grid": [[1, 2], [3, 4]]}, {"speed": 6, "grid": [[1, 2], [3, 4]]}]


@pytest.mark.parametrize(
    ("named", "observation", "field", "message"),
    [
        (False, [1, 2], "observation", "expected the shape"),
        (False, [[[1, 2, 3]]], "observation", "expected the shape"),
        (False, [1, float("nan"), 3], "observation", "not finite at .1."),
        (False, ["a", "b", "c"], "observation", "expected numbers"),
        (False, [[1, 2, 3], [1]], "observation", "is no array"),
        (False, {"speed": 1}, "observation", "got a mapping"),
        (False, np.zeros((0, 3)), "observation", "got a batch of 0"),
        (True, {"speed": [], "grid": np.zeros((0, 2, 2))}, "observation", "got a batch of 0"),
        (True, np.zeros((0, 5)), "observation", "got a batch of 0"),
        (True, {"speed": 1}, "observation.grid", "is missing"),
        (True, {"speed": 1, "grid": [[1, 2], [3, 4]], "x": 1}, "observation.x", "is unknown"),
        (True, {"speed": 1, "grid": [1, 2]}, "observation.grid", "expected the shape"),
        (True, {"speed": [1, 2], "grid": [[[1, 2], [3, 4]]]}, "observation.speed", "expected the shape"),
        (True, {"speed": np.inf, "grid": [[1, 2], [3, 4]]}, "observation.speed", "not finite"),
        (True, [1, 2, 3], "observation", "expected a mapping"),
    ],
)
def test_refused_with_the_field(named, observation, field, message):
    made = contract(NAMED, CONTINUOUS, named=True) if named else contract({"shape": [3]}, CONTINUOUS)
    with pytest.raises(ObservationError, match=message) as caught:
        made.pack(observation)
    assert caught.value.fields == [field]


@pytest.mark.parametrize(
    ("action", "answer", "dtype", "want"),
    [
        (CONTINUOUS, [[0.5, -0.5]], np.float32, [[0.5, -0.5]]),
        ({"shape": [], "low": 0, "high": 3, "discrete": True}, [2], np.int64, [2]),
        ({"shape": [2], "low": 0, "high": 3, "discrete": True}, [[2, 3]], np.int64, [[2, 3]]),
        ({"shape": [2], "low": 0, "high": 1, "discrete": True}, [[0, 1]], np.int8, [[0, 1]]),
        ([CONTINUOUS | {"name": "a", "shape": []}, CONTINUOUS | {"name": "b"}], [{"a": 1.0, "b": [2.0, 3.0]}], np.float32, [[1, 2, 3]]),
        ([CONTINUOUS | {"shape": []}, CONTINUOUS], [[1.0, [2.0, 3.0]]], np.float32, [[1, 2, 3]]),
    ],
)
def test_actions(action, answer, dtype, want):
    made = contract({"shape": [1]}, action)
    batch = made.unpack(answer, True)
    single = made.unpack(answer, False)
    assert isinstance(batch, np.ndarray)
    assert isinstance(single, np.ndarray)
    assert batch.dtype == single.dtype == dtype
    assert np.array_equal(batch, want)
    assert np.array_equal(single, want[0])
    assert single.shape == np.shape(want)[1:]


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        ({"shape": [], "low": 0, "high": 3, "discrete": True}, [2.5]),
        ({"shape": [2], "low": 0, "high": 1, "discrete": True}, [[0, 300]]),
        ({"shape": [], "low": 0, "high": 3, "discrete": True}, [True]),
        (CONTINUOUS, [[0.5, None]]),
        (CONTINUOUS, [[0.5, float("inf")]]),
        (CONTINUOUS, [[0.5, 0.5, 0.5]]),
    ],
)
def test_actions_of_another_kind_are_refused(action, answer):
    with pytest.raises(ValueError):  # noqa: PT011
        contract({"shape": [1]}, action).unpack(answer, True)


def test_actions_of_two_kinds_are_a_mapping():
    made = contract(
        {"shape": [1]}, [CONTINUOUS | {"name": "steer", "shape": []}, {"name": "gear", "shape": [], "low": 0, "high": 5, "discrete": True}]
    )
    got = made.unpack([{"steer": 0.5, "gear": 3}], False)
    assert {name: (value.dtype, value.item()) for name, value in got.items()} == {
        "steer": (np.dtype(np.float32), 0.5),
        "gear": (np.dtype(np.int64), 3),
    }


def kind(space):
    """A space's class, be it Gymnasium's or a spec."""
    return type(space).__name__.removesuffix("Spec")


@pytest.mark.parametrize(
    ("action", "name", "shape", "dtype"),
    [
        (CONTINUOUS, "Box", (2,), np.float32),
        ({"shape": [], "low": 0, "high": 3, "discrete": True}, "Discrete", (), np.int64),
        ({"shape": [2], "low": 0, "high": 3, "discrete": True}, "MultiDiscrete", (2,), np.int64),
        ({"shape": [2], "low": 0, "high": 1, "discrete": True}, "MultiBinary", (2,), np.int8),
        ([CONTINUOUS | {"name": "a", "shape": []}, CONTINUOUS | {"name": "b"}], "Box", (3,), np.float32),
    ],
)
def test_action_space(action, name, shape, dtype):
    space = contract({"shape": [1]}, action).action_space
    assert (kind(space), space.shape, space.dtype) == (name, shape, dtype)


def test_observation_space():
    space = contract(NAMED, CONTINUOUS, named=True).observation_space
    assert kind(space) == "Dict"
    assert space.spaces["speed"].shape == ()
    assert float(space.spaces["speed"].high) == 200
    assert np.all(space.spaces["grid"].low == -np.inf)
    image = contract({"shape": [2, 4, 3], "image": True}, CONTINUOUS).observation_space
    assert (image.dtype, image.low.min(), image.high.max()) == (np.uint8, 0, 255)


def test_discrete_without_a_count_has_no_space():
    with pytest.raises(NotImplementedError, match="how many categories"):
        contract({"shape": [1]}, {"shape": [], "low": None, "high": None, "discrete": True}).action_space  # noqa: B018
