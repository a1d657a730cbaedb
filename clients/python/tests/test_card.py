import numpy as np
import pytest
import yaml

from carla_rl_client import Action, Feature, GoldenVector, card, read_card, sha256_hex, write_card

OBSERVATION = [
    Feature("speed", unit="km/h", low=0, high=200),
    Feature("grid", shape=[2, 2], low=-1, high=1),
]
ACTION = [Action("throttle", 0, 1), Action("steer", -1, 1)]


def make(**changes):
    arguments = {
        "model_name": "carla-ppo",
        "version": "v0.1.0",
        "model_type": "torchscript",
        "observation": OBSERVATION,
        "action": ACTION,
        "artifact_hashes": {"model.pt": "ab" * 32},
        "golden": [GoldenVector([25.5, 0.1, 0.2, 0.3, 0.4], [0.5, -0.25])],
    }
    return card(**(arguments | changes))


def test_card_holds_the_contract():
    content = make(performance_metrics={"success_rate": 1.0}, framework_version="torch 2.15.0")
    assert content["input_shape"] == [5]
    assert content["output_shape"] == [2]
    assert content["artifact_hashes"] == {"model.pt": "sha256:" + "ab" * 32}
    assert content["observation"][0] == {"name": "speed", "unit": "km/h", "low": 0, "high": 200}
    assert content["observation"][1] == {"name": "grid", "shape": [2, 2], "low": -1, "high": 1}
    assert content["action"][1] == {"name": "steer", "low": -1, "high": 1}
    assert content["postprocess"] == "clip"
    assert content["deterministic_default"] is True
    assert content["golden"]["vectors"] == [
        {"observation": {"speed": 25.5, "grid": [[0.1, 0.2], [0.3, 0.4]]}, "action": {"throttle": 0.5, "steer": -0.25}}
    ]


def test_golden_values_read_back_as_the_same_float32(tmp_path):
    row = np.random.default_rng(1).normal(size=5).astype(np.float32) * np.float32(1e-4)
    write_card(tmp_path, make(golden=[GoldenVector(row, row[:2])]))
    vector = read_card(tmp_path)["golden"]["vectors"][0]
    got = [vector["observation"]["speed"], *np.ravel(vector["observation"]["grid"])]
    assert np.array_equal(np.array(got, np.float32), row)
    assert np.array_equal(np.array(list(vector["action"].values()), np.float32), row[:2])


def test_file_has_no_alias_and_no_tag(tmp_path):
    bounds = [0.0, 1.0]
    path = write_card(tmp_path, make(performance_metrics={"a": bounds, "b": bounds}))
    text = path.read_text(encoding="utf-8")
    tokens = {type(token) for token in yaml.scan(text)}
    assert not tokens & {yaml.AliasToken, yaml.AnchorToken, yaml.TagToken}
    assert read_card(tmp_path) == make(performance_metrics={"a": bounds, "b": bounds})


def test_sha256_hex_is_that_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_hex(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_name": ""}, "model_name"),
        ({"version": "1.0"}, "not a semantic version"),
        ({"version": "v01.0.0"}, "not a semantic version"),
        ({"postprocess": "squash"}, "none of clip, unscale, none"),
        ({"observation": []}, "observation: must not be empty"),
        ({"observation": [Feature("a"), Feature("a")]}, "unique"),
        ({"observation": [Feature("a", low=2, high=1)]}, "low 2 is above high 1"),
        ({"observation": [Feature("a", shape=[0])]}, "positive sizes"),
        ({"action": [Action("throttle")], "golden": []}, "postprocess clip needs low and high"),
        ({"golden": [GoldenVector([1.0], [0.0, 0.0])]}, "has 1 values, expected 5"),
        ({"golden": [GoldenVector([0.0] * 5, [0.0])]}, "has 1 values, expected 2"),
        ({"golden": [GoldenVector([float("nan")] * 5, [0.0, 0.0])]}, "not finite"),
    ],
)
def test_card_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)
