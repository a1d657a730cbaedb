import numpy as np
import pytest

from carla_rl_client import Action, normalize, postprocess

ROWS = np.array([[1.0, 2.0], [3.0, -4.0]], np.float32)


def test_normalize_without_normalizer_is_identity():
    assert np.array_equal(normalize(None, ROWS), ROWS)


def test_normalize_with_plain_statistics():
    got = normalize({"mean": [1.0, 0.0], "std": [2.0, 4.0]}, ROWS)
    assert got.dtype == np.float32
    assert np.array_equal(got, np.array([[0.0, 0.5], [1.0, -1.0]], np.float32))


def test_normalize_asks_the_normalizer_itself():
    class Scaler:
        def transform(self, rows):
            return rows * 2

    class VecNormalize:
        def normalize_obs(self, rows):
            return rows * 3

    assert np.array_equal(normalize(Scaler(), ROWS), ROWS * 2)
    assert np.array_equal(normalize(VecNormalize(), ROWS), ROWS * 3)


def test_normalize_refuses_what_the_server_would_not_understand():
    with pytest.raises(ValueError, match="mean and std alone"):
        normalize({"mean": [0.0], "std": [1.0], "clip": 5.0}, ROWS)
    with pytest.raises(TypeError, match="int has neither"):
        normalize(3, ROWS)


def test_postprocess():
    outputs = [Action("a", 0, 1), Action("b", -2, 2)]
    assert np.array_equal(postprocess("clip", outputs, ROWS), np.array([[1, 2], [1, -2]], np.float32))
    assert np.array_equal(postprocess("none", outputs, ROWS), ROWS)
    half = np.array([[0.0, 0.5]], np.float32)
    assert np.array_equal(postprocess("unscale", outputs, half), np.array([[0.5, 1.0]], np.float32))
