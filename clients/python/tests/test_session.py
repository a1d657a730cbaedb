"""Sessions: against a server whose answers a test writes, and against the real one."""

import asyncio
import concurrent.futures
import signal
import time

import numpy as np
import pytest
from conftest import ANSWER, METADATA, corpus_cases, recorded

from carla_rl_client import (
    AsyncRemotePolicy,
    ObservationError,
    RemotePolicy,
    RequestError,
    ServerError,
    Session,
    SessionBusy,
    SessionExists,
    SessionLost,
    StepMismatch,
    TimedOut,
    Unavailable,
    Watchdog,
)

FLAT = np.array([25.5, 0.1, 0.8, 0.2, 0.5, 0.9, 0.1], np.float32)
OPENED = {
    "session_id": "robot-7", "model": "m", "version": "v1", "digest": "sha256:0", "step": 0, "episode": 0,
    "seed": 3, "deterministic": False, "ttl_s": 600, "expires_at": 1795000000.5,
}  # fmt: skip
PLAIN = np.zeros(2, np.float32)


def acted(step, episode=0, **more):
    return ANSWER | {"session_id": "robot-7", "step": step, "episode": episode} | more


def refused(status, code):
    return status, {"error": code, "message": "no", "details": {"expected": 5, "got": 1}}


@pytest.fixture
def policy(script):
    with RemotePolicy(script.url) as made:
        yield made


def test_what_a_session_sends(script, policy):
    script.answers = [(201, OPENED), acted(0), acted(1), OPENED | {"seed": 9}]
    with policy.session(id="robot-7", seed=3, deterministic=False, ttl=600) as session:
        assert script.told == [{"id": "robot-7", "seed": 3, "deterministic": False, "ttl_s": 600}]
        assert (session.id, session.model, session.version, session.seed, session.ttl) == ("robot-7", "m", "v1", 3, 600)
        assert (session.step, session.episode, session.expires_at, session.deterministic) == (0, 0, 1795000000.5, False)
        answer = session.act(PLAIN, True, episode_start=True, returns=["value"], deadline=0.5)
        assert script.told[-1] == {
            "observations": [[0.0, 0.0]], "deterministic": True, "episode_start": True, "return": ["value"], "step": 0, "deadline_ms": 500.0,
        }  # fmt: skip
        assert (answer.session, answer.step, answer.episode, answer.reset) == ("robot-7", 0, 0, None)
        actions, state = session.predict(PLAIN[None], episode_start=np.array([False]))
        assert actions.shape == (1, 3)
        assert state is None
        assert script.told[-1] == {"observations": [[0.0, 0.0]], "deterministic": False, "step": 1}
        assert session.step == 2
        session.reset(seed=9)
        assert script.told[-1] == {"seed": 9}
        assert (session.step, session.seed) == (0, 9)
        with pytest.raises(ObservationError, match="a session is of one robot, got a batch of 2"):
            session.act(np.zeros((2, 2)))
    own = "/v1/sessions/robot-7"
    assert script.asked == ["/v1/sessions", "/v1/models/m/versions/v1", own + "/act", own + "/act", own + "/reset", own]
    session.close()
    with pytest.raises(SessionLost, match="not open"):
        session.info()


def test_the_contract_is_that_of_the_sessions_version(script, policy):
    """A session stays on its version while another one is the default."""
    script.answers = [(201, OPENED), acted(0), acted(1, version="v2", reset="version"), acted(2, version="v2")]
    script.metadata = [METADATA, METADATA | {"version": "v2"}]
    session = policy.session()
    session.act(PLAIN)
    answer = session.act(PLAIN)
    assert (answer.reset, answer.contract.version, session.version) == ("version", "v2", "v2")
    session.act(PLAIN)
    assert [path for path in script.asked if path.startswith("/v1/models")] == ["/v1/models/m/versions/v1", "/v1/models/m/versions/v2"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "SESSION_NOT_FOUND", SessionLost),
        (409, "SESSION_BUSY", SessionBusy),
        (409, "STEP_MISMATCH", StepMismatch),
        (409, "SESSION_EXISTS", SessionExists),
        (429, "TOO_MANY_SESSIONS", Unavailable),
    ],
)
def test_errors_are_told_apart(script, policy, status, code, kind):
    script.answers = [(201, OPENED), refused(status, code)]
    session = policy.session().open()
    with pytest.raises(kind) as caught:
        session.act(PLAIN)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert isinstance(caught.value, RequestError) == (kind is not Unavailable)


def test_an_act_that_may_have_been_done_leaves_the_step_to_the_server(script, policy):
    script.answers = [(201, OPENED), acted(0), b"<html></html>", acted(2), acted(3)]
    session = policy.session()
    session.act(PLAIN)
    with pytest.raises(ServerError):
        session.act(PLAIN)
    assert script.told[-1]["step"] == 1
    session.act(PLAIN)
    assert "step" not in script.told[-1]
    session.act(PLAIN)
    assert script.told[-1]["step"] == 3
    script.answers = [refused(409, "STEP_MISMATCH"), acted(7), acted(8)]
    with pytest.raises(StepMismatch) as caught:
        session.act(PLAIN)
    assert caught.value.details["expected"] == 5
    session.act(PLAIN)
    assert "step" not in script.told[-1]
    session.act(PLAIN)
    assert script.told[-1]["step"] == 8
    # What was refused was not done.
    script.answers = [refused(422, "VALIDATION_ERROR"), acted(9)]
    with pytest.raises(ObservationError):
        session.act(PLAIN)
    session.act(PLAIN)
    assert script.told[-1]["step"] == 9


@pytest.mark.parametrize("answer", [{}, OPENED | {"step": None}, b"", {"session_id": "x"}])
def test_an_answer_of_another_shape_is_an_error_of_the_server(script, policy, answer):
    script.answers = [(201, answer)]
    with pytest.raises(ServerError):
        policy.session().open()


def test_a_session_that_ran_out_is_closed_quietly(serve):
    with RemotePolicy(serve().url) as policy:
        session = policy.session(ttl=0.2).open()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            time.sleep(0.3)
            try:
                session.info()
            except SessionLost:
                break
        with pytest.raises(SessionLost):
            session.act(FLAT)
        session.close()
        session.close()


def test_a_session_of_the_demo(demo):
    with RemotePolicy(demo) as policy:
        want, _ = policy.predict(FLAT, deterministic=True)
        with policy.session(id="robot-1", seed=5) as session:
            assert np.array_equal(session.predict(FLAT, deterministic=True)[0], want)
            drawn = session.act(FLAT, False)
            assert (drawn.step, session.step) == (1, 2)
            assert session.info()["step"] == 2
            with pytest.raises(SessionExists):
                policy.session(id="robot-1").open()
            second = Session(policy)
            second.id, second.model, second.version, second.step = "robot-1", session.model, session.version, 0
            with pytest.raises(StepMismatch):
                second.act(FLAT)
            second.act(FLAT)
            with pytest.raises(StepMismatch):
                session.act(FLAT)
            session.reset(5)
            session.act(FLAT, True)
            again = session.act(FLAT, False)
            assert np.array_equal(again.actions, drawn.actions)
        with pytest.raises(SessionLost):
            second.info()
        with pytest.raises(ObservationError):
            policy.session(ttl=-1).open()


def test_the_asynchronous_twin(demo):
    with RemotePolicy(demo) as policy:
        want, _ = policy.predict(FLAT, deterministic=True)

    async def ask():
        async with AsyncRemotePolicy(demo) as policy:
            async with policy.session(seed=1) as session:
                for step in range(3):
                    answer = await session.act(FLAT, True)
                    assert answer.step == step
                    assert np.array_equal(answer.actions, want)
                assert np.array_equal((await session.predict(FLAT, deterministic=True))[0], want)
                assert (await session.info())["step"] == 4
                await session.reset()
                assert session.step == 0
            with pytest.raises(SessionLost):
                await session.info()

    asyncio.run(ask())


@pytest.mark.parametrize("folder", corpus_cases("sb3_gen/rppo_mlp_lstm", "sb3_gen/rppo_lstm_nocritic", "sb3_gen/rppo_cnn_lstm"))
def test_recorded_sequences(serve, folder):
    """Several robots at once, each in a thread and a session of its own; each gets the recorded sequence."""
    case, observations, want = recorded(folder)
    server = serve(folder)
    with RemotePolicy(server.url) as policy:

        def drive(robot):
            got = []
            with policy.session(id=f"robot-{robot}", deterministic=True) as session:
                for observation, start in zip(observations, case["episode_start"]):
                    got.append(session.act(observation, episode_start=start).actions)
            return np.array(got)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for got in pool.map(drive, range(8)):
                assert np.allclose(got, want, rtol=1e-5, atol=case.get("atol", 1e-5))
    server.stop()


def test_a_watchdog_over_a_session_that_stalls(serve):
    server = serve()
    with RemotePolicy(server.url, timeout=10) as policy, policy.session(deterministic=True) as session:
        want, _ = policy.predict(FLAT, deterministic=True)
        brake = np.array([0.0, 1.0, 0.0], np.float32)
        watchdog = Watchdog(session, 5.0, brake)
        assert np.array_equal(watchdog.predict(FLAT, deterministic=True)[0], want)
        watchdog.deadline = 0.1
        server.pause()
        try:
            for _ in range(6):
                assert np.array_equal(watchdog.predict(FLAT, deterministic=True)[0], brake)
        finally:
            server.process.send_signal(signal.SIGCONT)
        watchdog.deadline = 1.0
        for _ in range(50):
            action, _ = watchdog.predict(FLAT, deterministic=True)
            if not watchdog.last.fallback:
                break
        assert np.array_equal(action, want)
        watchdog.close()


def test_a_server_that_does_not_answer_an_act(serve):
    server = serve()
    with RemotePolicy(server.url, timeout=2.0) as policy:
        session = policy.session(deterministic=True).open()
        session.act(FLAT)
        server.pause()
        try:
            with pytest.raises(TimedOut):
                session.act(FLAT)
        finally:
            server.process.send_signal(signal.SIGCONT)
        policy.close()
        policy.timeout = 10
        # The act may have been done or not; either way the next one is.
        answer = session.act(FLAT)
        assert answer.step in (1, 2)
        assert session.act(FLAT).step == answer.step + 1
