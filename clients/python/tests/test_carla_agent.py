import gc
import logging
import signal
import sys
import types

import numpy as np
import pytest
import yaml
from conftest import ANSWER, METADATA, corpus_cases, recorded

from carla_rl_client import RemotePolicy
from carla_rl_client.carla_agent import RemoteAgent


class VehicleControl:
    """Stands in for carla.VehicleControl: its members and their defaults."""

    def __init__(self):
        self.throttle = self.steer = self.brake = 0.0
        self.hand_brake = self.reverse = self.manual_gear_shift = False
        self.gear = 0


@pytest.fixture(autouse=True)
def carla(monkeypatch):
    monkeypatch.setitem(sys.modules, "carla", types.SimpleNamespace(VehicleControl=VehicleControl))


class Driver(RemoteAgent):
    def observe(self, input_data, timestamp):
        return {"speed": input_data["speed"][1]["speed"] * 3.6, "steering": self._steer, "sensors": input_data["ranges"][1]}


DATA = {"speed": (1, {"speed": 7.0}), "ranges": (1, [0.8, 0.2, 0.5, 0.9, 0.1])}


def agent(tmp_path, kind, **content):
    path = tmp_path / "agent.yaml"
    path.write_text(yaml.safe_dump(content))
    made = kind()
    made.setup(str(path))
    return made


def test_drives_with_the_policys_actions(demo, tmp_path):
    driver = agent(tmp_path, Driver, url=demo, deadline=5.0)
    with RemotePolicy(demo) as policy:
        steer = 0.0
        for step in range(5):
            control = driver.run_step(DATA, step * 0.05)
            observation = {"speed": 7.0 * 3.6, "steering": steer, "sensors": DATA["ranges"][1]}
            want = policy.act(observation, deterministic=True).named()[0]
            assert isinstance(control, VehicleControl)
            got = {name: getattr(control, name) for name in want}
            assert np.allclose(list(got.values()), list(want.values()), rtol=0, atol=1e-7)
            assert (control.hand_brake, control.reverse) == (False, False)
            steer = control.steer
    assert driver.watchdog.fallbacks == 0
    assert driver.sensors()[0]["type"] == "sensor.speedometer"
    driver.destroy()


def test_brakes_when_the_server_stalls(serve, tmp_path):
    server = serve()
    driver = agent(tmp_path, Driver, url=server.url, deadline=5.0)
    driver.run_step(DATA, 0.0)
    driver.watchdog.deadline = 0.1
    server.pause()
    try:
        control = driver.run_step(DATA, 0.05)
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert (control.throttle, control.brake, control.steer) == (0.0, 1.0, 0.0)
    assert driver.watchdog.last.fallback
    driver.destroy()


def test_own_fallback(tmp_path):
    driver = agent(tmp_path, Driver, url="http://127.0.0.1:9", deadline=5.0, fallback={"brake": 0.4, "hand_brake": 1})
    control = driver.run_step(DATA, 0.0)
    assert (control.throttle, control.brake, control.hand_brake) == (0.0, 0.4, True)
    driver.destroy()


def test_values_of_an_action_by_given_names(tmp_path):
    driver = agent(tmp_path, Driver, url="http://127.0.0.1:9", actions=["steer", "throttle"])
    assert driver._by_name(np.array([0.5, 2.0], np.float32)) == {"steer": 0.5, "throttle": 2.0}
    assert driver._control({"steer": 0.5, "throttle": 2.0}).throttle == 1.0
    with pytest.raises(ValueError, match="gives 3 values"):
        driver._by_name(np.zeros(3))
    with pytest.raises(ValueError, match="not finite"):
        driver._by_name(np.array([np.nan, 0.0]))
    driver.destroy()


def braked(driver, data=DATA):
    control = driver.run_step(data, 0.0)
    assert (control.throttle, control.brake, control.steer) == (0.0, 1.0, 0.0)
    assert driver.watchdog.last.fallback
    return driver.watchdog.last.reason


def test_an_observation_it_cannot_give_is_named(demo, tmp_path, caplog):
    driver = agent(tmp_path, RemoteAgent, url=demo, deadline=5.0)
    assert "the policy takes sensors; override observe" in braked(driver)
    braked(driver)
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert "override observe" in caplog.text
    driver.destroy()


def test_brakes_whatever_fails(demo, script, tmp_path):
    driver = agent(tmp_path, Driver, url=demo, deadline=5.0)
    assert "KeyError" in braked(driver, {})
    assert "ObservationError" in braked(driver, DATA | {"ranges": (1, [0.5])})
    driver.destroy()
    driver = agent(tmp_path, Driver, url=script.url, deadline=5.0, actions=["steer", "throttle"])
    driver.observe = lambda data, timestamp: np.zeros(2)
    assert "gives 3 values" in braked(driver)
    script.answers = [b"<html></html>"]
    assert "ServerError" in braked(driver)
    driver.destroy()


def test_the_contract_is_asked_for_within_the_deadline(serve, tmp_path):
    """The first step of an agent whose server takes the connection and says nothing."""
    server = serve()
    server.pause()
    drivers = [agent(tmp_path, kind, url=server.url, deadline=1.0, timeout=20.0) for kind in (Driver, RemoteAgent)]
    try:
        for driver in drivers:
            assert braked(driver).startswith("late")
            assert driver.watchdog.last.seconds < 20.0  # the time limit of the client
    finally:
        server.process.send_signal(signal.SIGCONT)
    for driver in drivers:
        threads = driver.watchdog._threads
        driver.watchdog.close()
        for thread in threads:
            thread.join(10)
        driver.destroy()


def test_an_agent_may_end_while_a_question_is_under_way(serve, tmp_path, caplog):
    server = serve()
    driver = agent(tmp_path, Driver, url=server.url, deadline=1.0, timeout=20.0)
    server.pause()
    try:
        assert braked(driver).startswith("late")
        threads = driver.watchdog._threads
        driver.destroy()
    finally:
        server.process.send_signal(signal.SIGCONT)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    gc.collect()


def test_interventions_are_told(script, tmp_path, caplog):
    moved = {"row": 0, "action": "steer", "kind": "bound", "from": 0.85, "to": 0.75}
    script.answers = [ANSWER | {"interventions": [moved]}]
    driver = agent(tmp_path, Driver, url=script.url, deadline=5.0)
    driver.observe = lambda data, timestamp: np.zeros(2)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert driver.run_step(DATA, 0.0).steer == 0.75
            assert [(one.action, one.from_, one.to) for one in driver.watchdog.last.interventions] == [("steer", 0.85, 0.75)]
    assert caplog.text.count("the safety envelope changed") == 1
    driver.destroy()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": "m"}, "expected a mapping with url"),
        ({"url": "http://127.0.0.1:9", "speed": 1}, "unknown speed"),
        ({"url": "http://127.0.0.1:9", "fallback": {"clutch": 1}}, "has no clutch"),
        ({"url": "http://127.0.0.1:9", "fallback": {}}, "fallback: expected at least one control"),
        ({"url": "http://127.0.0.1:9", "fallback": None}, "fallback: expected at least one control"),
        ({"url": "http://127.0.0.1:9", "fallback": {"brake": "full"}}, "fallback: expected a number for brake"),
        ({"url": "http://127.0.0.1:9", "fallback": {"brake": True}}, "fallback: expected a number for brake"),
        ({"url": "http://127.0.0.1:9", "deterministic": "false"}, "deterministic: expected true or false, got 'false'"),
        ({"url": "http://127.0.0.1:9", "deadline": None}, "deadline: expected seconds above 0, got None"),
        ({"url": "http://127.0.0.1:9", "timeout": "1"}, "timeout: expected seconds above 0"),
        ({"url": "http://127.0.0.1:9", "model": "m", "version": 1.0}, "version: expected a text"),
        ({"url": None}, "url: expected a text"),
        ({"url": "http://127.0.0.1:9", "actions": "steer"}, "actions: expected a list"),
        ({"url": "http://127.0.0.1:9", "actions": ["clutch"]}, "has no clutch"),
    ],
)
def test_refuses_a_configuration(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        agent(tmp_path, RemoteAgent, **content)


RECURRENT = METADATA | {"state": {"width": 4, "parts": [{"name": "h", "shape": [4]}]}}


class Blind(RemoteAgent):
    """Observes nothing but that there is a step."""

    def observe(self, input_data, timestamp):
        if timestamp < 0:
            raise ValueError("no such time")
        return [0.0, timestamp]


def test_the_state_of_a_recurrent_policy_goes_from_step_to_step(script, tmp_path, caplog):
    script.metadata = [RECURRENT]
    script.answers = [ANSWER | {"state": f"token-{i}"} for i in range(3)]
    driver = agent(tmp_path, Blind, url=script.url, deadline=5.0)
    for step in range(3):
        assert driver.run_step(DATA, step).steer == 0.75
    assert [told["state"] for told in script.told] == [None, "token-0", "token-1"]
    # A step without an action leaves the state as it is.
    assert driver.run_step(DATA, -1).brake == 1.0
    # A state that the server does not take any more begins anew, in the same step.
    refused = {
        "error": "VALIDATION_ERROR",
        "message": "state: is of version v0",
        "details": {"validation_errors": [{"field": "body.state", "message": "is of version v0", "type": "value_error"}]},
    }
    script.answers, script.told = [(422, refused), ANSWER | {"state": "fresh"}], []
    assert driver.run_step(DATA, 3).steer == 0.75
    assert [told["state"] for told in script.told] == ["token-2", None]
    assert "begins anew: 422 VALIDATION_ERROR: state: is of version v0" in caplog.text
    assert driver.watchdog.last.fallback is False
    driver.run_step(DATA, 4)
    assert script.told[-1]["state"] == "fresh"
    driver.destroy()


@pytest.mark.parametrize("folder", corpus_cases("sb3_gen/rppo_mlp_lstm"))
def test_drives_with_a_recorded_recurrent_policy(serve, tmp_path, folder):
    case, observations, want = recorded(folder)

    class Recorded(RemoteAgent):
        def observe(self, input_data, timestamp):
            return observations[timestamp]

    driver = agent(tmp_path, Recorded, url=serve(folder).url, deadline=5.0, actions=["throttle", "steer"])
    end = next((i for i, start in enumerate(case["episode_start"]) if start and i), len(want))
    assert end > 1
    for i in range(end):
        control = driver.run_step(DATA, i)
        assert abs(control.steer - want[i][1]) <= 1e-5
        assert abs(control.throttle - max(want[i][0], 0)) <= 1e-5
    assert driver.watchdog.fallbacks == 0
    driver.destroy()
