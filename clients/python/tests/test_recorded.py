"""Exports of recorded steps, written by the real server's own command."""

import asyncio
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from conftest import BINARY

from carla_rl_client import AsyncRemotePolicy, RemotePolicy, RequestError, StepMismatch, read_export

OBSERVATION = {"speed": 25.5, "steering": 0.1, "sensors": [0.8, 0.2, 0.5, 0.9, 0.1]}


def export(log, file, *arguments):
    run = subprocess.run([str(BINARY), "experience", "export", str(file), "--from", str(log), *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return file


@pytest.fixture(scope="module")
def drive(serve, tmp_path_factory):
    """A log of two episodes of one session, of one of another, and of a step of none; and what was done."""
    folder = tmp_path_factory.mktemp("drive")
    log = folder / "experience.db"
    url = serve(DATABASE_URL=str(log), CARLA_RL_EXPERIENCE_MODE="durable").url
    actions = []
    with RemotePolicy(url) as policy:
        with policy.session(id="robot-7") as session:
            for step in range(6):
                actions.append(session.act(OBSERVATION | {"speed": float(step)}, True, episode_start=step == 4).actions)
                assert session.outcome(reward=step / 2) == step
            assert session.outcome(terminated=True, info={"lap": 1}, step=3) == 3
            assert session.outcome(terminated=True, info={"lap": 1}, step=3) == 3  # again
            with pytest.raises(StepMismatch):
                session.outcome(reward=1, step=6)
            with pytest.raises(RequestError):
                session.outcome()
        with policy.session(id="other") as session:
            for _ in range(2):
                session.act(OBSERVATION, True)
            session.outcome(truncated=True)
        policy.predict(OBSERVATION, deterministic=True)
    export(log, folder / "steps.npz")
    return folder, np.array(actions, np.float32)


def test_arrays(drive):
    folder, actions = drive
    steps = read_export(folder / "steps.npz")
    assert len(steps) == 9
    assert list(steps.observations) == ["speed", "steering", "sensors"]
    assert steps.observations["speed"][:6].tolist() == [0, 1, 2, 3, 4, 5]
    assert steps["observation.sensors"].shape == (9, 5)
    assert steps.actions.dtype == np.float32 and np.array_equal(steps.actions[:6], actions.reshape(6, 3))
    assert np.array_equal(steps.raw_actions, steps.actions)
    assert steps["reward"][:6].tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert np.isnan(steps["reward"][6:]).all()
    assert steps["terminated"].tolist() == [False] * 3 + [True] + [False] * 5
    assert json.loads(steps["info"][3]) == {"lap": 1}
    assert steps["session"].tolist() == ["robot-7"] * 6 + ["other"] * 2 + [""]
    assert steps["time"].dtype == np.dtype("datetime64[us]") and (np.diff(steps["sequence"].astype(int)) == 1).all()
    assert [part["name"] for part in steps.layout["features"]] == ["speed", "steering", "sensors"]


def test_episodes(drive):
    episodes = list(read_export(drive[0] / "steps.npz").episodes())
    assert [(e.session, e.number, len(e), e.terminated, e.truncated) for e in episodes] == [
        ("robot-7", 0, 4, True, False),
        ("robot-7", 1, 2, False, False),
        ("other", 0, 2, False, True),
    ]
    assert episodes[1].observations["speed"].tolist() == [4, 5]
    assert episodes[1].rewards.tolist() == [2, 2.5]


def test_every_format_says_the_same(drive, tmp_path):
    folder, _ = drive
    want = read_export(folder / "steps.npz")
    got = read_export(export(folder / "experience.db", tmp_path / "steps.jsonl"))
    assert sorted(got.columns) == sorted(want.columns)
    for name, column in want.columns.items():
        if name == "info":
            assert [v and json.loads(v) for v in got[name]] == [v and json.loads(v) for v in column]
            continue
        assert got[name].dtype.kind == column.dtype.kind, name
        np.testing.assert_array_equal(got[name], column, name)
    with pytest.raises(ValueError, match=r"\.npz, \.parquet or \.jsonl"):
        read_export(tmp_path / "steps.csv")


def test_parquet_and_minari(drive, tmp_path):
    """With pyarrow and Minari, which the client does not need, in a process that has them."""
    packages = os.environ.get("CARLA_RL_RECORDED_PACKAGES")
    if packages is None:
        pytest.skip("CARLA_RL_RECORDED_PACKAGES names no folder with pyarrow and minari; test.sh makes one")
    folder, _ = drive
    export(folder / "experience.db", tmp_path / "steps.parquet")
    check = pathlib.Path(__file__).with_name("recorded_check.py")
    path = os.pathsep.join([str(check.parents[1]), *filter(None, sys.path), packages])
    run = subprocess.run(
        [sys.executable, str(check), str(folder / "steps.npz"), str(tmp_path / "steps.parquet")],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path, "MINARI_DATASETS_PATH": str(tmp_path / "minari")},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("all of it\n")


def test_what_is_missing_is_named(drive):
    steps = read_export(drive[0] / "steps.npz")
    try:
        import minari  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="pip install minari"):
            steps.to_minari("drive/none-v0")


def test_without_a_log(demo):
    with RemotePolicy(demo) as policy, policy.session() as session:
        session.act(OBSERVATION)
        with pytest.raises(RequestError) as error:
            session.outcome(1.0)
        assert (error.value.status, error.value.code) == (409, "EXPERIENCE_OFF")


def test_asynchronous(serve, tmp_path):
    url = serve(DATABASE_URL=str(tmp_path / "e.db")).url

    async def drive():
        async with AsyncRemotePolicy(url) as policy, policy.session() as session:
            await session.act(OBSERVATION)
            return await session.outcome(1.0, truncated=True)

    assert asyncio.run(drive()) == 0
