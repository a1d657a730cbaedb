import http.server
import json
import logging
import signal
import socket
import threading
import time

import numpy as np
import pytest
from conftest import ANSWER

from carla_rl_client import DeadlineExceeded, Intervention, ObservationError, RemotePolicy, Unreachable, Watchdog

FLAT = np.array([25.5, 0.1, 0.8, 0.2, 0.5, 0.9, 0.1], np.float32)
BRAKE = np.array([0.0, 1.0, 0.0], np.float32)
DEADLINE = 0.1
# One period of a 10 Hz loop.
PERIOD = 0.1


def assert_in_time(seconds, deadline):
    """Half of them soon after the deadline: a busy machine may hold up any one, for longer than a test can know."""
    assert sorted(seconds)[(len(seconds) - 1) // 2] <= deadline + 3 * PERIOD


def ended(watchdog):
    """Close it and wait for the questions under way, whose sockets would outlive their test."""
    threads = watchdog._threads
    watchdog.close()
    for thread in threads:
        thread.join(30)


class Scripted:
    """Answers with the observation, after as long as the script says for it."""

    def __init__(self, seconds=()):
        self.seconds = dict(seconds)
        self.error = None

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        time.sleep(self.seconds.get(observation, 0))
        if self.error is not None:
            raise self.error
        return observation, state


def test_answers_in_time_are_the_policys():
    watchdog = Watchdog(Scripted(), 5.0, -1)
    assert [watchdog.predict(i, state=("s",)) for i in range(20)] == [(i, ("s",)) for i in range(20)]
    assert (watchdog.steps, watchdog.fallbacks, watchdog.dropped) == (20, 0, 0)
    assert watchdog.last.fallback is False
    ended(watchdog)


def test_late_answers_are_dropped_and_never_given_later():
    seen = []
    watchdog = Watchdog(Scripted({0: 0.5, 1: 0.3}), DEADLINE, -1, on_step=seen.append)
    got = [watchdog.predict(i)[0] for i in range(2)]
    assert_in_time([step.seconds for step in seen], DEADLINE)
    assert got == [-1, -1]
    # Both answers arrive, the second before the first, while newer observations are asked.
    for i in range(2, 30):
        action, _ = watchdog.predict(i)
        assert action in (i, -1)
        time.sleep(0.02)
    watchdog.deadline = 5.0
    assert watchdog.predict(30)[0] == 30
    end = time.monotonic() + 60.0
    while watchdog.dropped < watchdog.fallbacks and time.monotonic() < end:
        time.sleep(0.01)
    assert watchdog.dropped == sum(step.fallback for step in seen) == watchdog.fallbacks >= 2
    assert seen[0].fallback
    assert seen[0].reason.startswith("late")
    assert watchdog.last.number == watchdog.steps == len(seen)
    ended(watchdog)


def test_many_stalled_questions_do_not_hold_up_the_loop():
    policy = Scripted(dict.fromkeys(range(8), 2.0))
    watchdog = Watchdog(policy, 0.05, -1)
    seconds = []
    for i in range(8):
        begun = time.monotonic()
        assert watchdog.predict(i)[0] == -1
        seconds.append(time.monotonic() - begun)
    assert_in_time(seconds, 0.05)
    assert watchdog.fallbacks == 8
    assert "earlier questions" in watchdog.last.reason
    assert sum(thread.name == "carla-rl-watchdog" for thread in threading.enumerate()) <= 16
    ended(watchdog)


def test_errors_of_the_server_lead_to_the_fallback_and_others_are_raised(caplog):
    policy = Scripted()
    watchdog = Watchdog(policy, 5.0, lambda observation: -observation)
    policy.error = Unreachable("gone")
    with caplog.at_level(logging.WARNING):
        assert [watchdog.predict(i)[0] for i in (1, 2, 3)] == [-1, -2, -3]
        assert watchdog.last.reason == "error: gone"
        policy.error = None
        assert watchdog.predict(4)[0] == 4
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]  # when it began and when it ended
    policy.error = TypeError("no such argument")
    with pytest.raises(TypeError, match="no such argument"):
        watchdog.predict(5)
    policy.error = ObservationError("observation: expected the shape [3]")
    with pytest.raises(ObservationError, match="expected the shape"):
        watchdog.predict(6)
    policy.error = ObservationError("out of range", 422, "VALIDATION_ERROR")
    assert watchdog.predict(7)[0] == -7
    assert watchdog.fallbacks == 4
    ended(watchdog)


def test_a_callers_wrong_shape_is_raised_and_a_wrong_answer_is_not(script):
    with RemotePolicy(script.url) as policy:
        watchdog = Watchdog(policy, 5.0, BRAKE)
        with pytest.raises(ObservationError, match="expected the shape"):
            watchdog.predict(np.zeros(5))
        for bad in (b"<html></html>", ANSWER | {"actions": [{}]}, ANSWER | {"version": "v9"}):
            script.answers = [bad]
            assert np.array_equal(watchdog.predict(np.zeros(2))[0], BRAKE)
            assert watchdog.last.reason.startswith("error: ")
        ended(watchdog)


def test_interventions_belong_to_their_step(script):
    steps = []
    moved = {"row": 0, "action": "steer", "kind": "bound", "from": 0.85, "to": 0.75}
    with RemotePolicy(script.url) as policy:
        watchdog = Watchdog(policy, 5.0, BRAKE, on_step=steps.append)
        for answer in (ANSWER, ANSWER | {"interventions": [moved]}, ANSWER, {}):
            script.answers = [answer]
            watchdog.predict(np.zeros(2))
        ended(watchdog)
    assert [step.interventions for step in steps] == [(), (Intervention(0, "steer", "bound", 0.85, 0.75),), (), ()]
    assert [step.fallback for step in steps] == [False, False, False, True]


def test_the_fallback_cannot_be_changed_through_an_answer():
    watchdog = Watchdog(Scripted({0: 1.0, 1: 1.0}), 0.01, BRAKE)
    first, _ = watchdog.predict(0)
    first[:] = 7
    assert np.array_equal(watchdog.predict(1)[0], BRAKE)
    ended(watchdog)


def test_refuses_a_deadline_of_nothing():
    with pytest.raises(ValueError, match="deadline"):
        Watchdog(Scripted(), 0, BRAKE)


def test_a_server_that_is_stopped_for_seconds(serve):
    """A process under SIGSTOP takes connections and answers nothing."""
    server = serve()
    with RemotePolicy(server.url, timeout=10) as policy:
        want, _ = policy.predict(FLAT, deterministic=True)
        watchdog = Watchdog(policy, DEADLINE, BRAKE)
        watchdog.predict(FLAT, deterministic=True)
        server.pause()
        try:
            end, seconds = time.monotonic() + 5, []
            while time.monotonic() < end:
                begun = time.monotonic()
                action, _ = watchdog.predict(FLAT, deterministic=True)
                seconds.append(time.monotonic() - begun)
                assert watchdog.last.fallback
                assert np.array_equal(action, BRAKE)
            assert_in_time(seconds, DEADLINE)
        finally:
            server.process.send_signal(signal.SIGCONT)
        stalled = watchdog.fallbacks
        assert stalled >= 5
        for _ in range(50):
            action, _ = watchdog.predict(FLAT, deterministic=True)
            if not watchdog.last.fallback:
                break
        assert np.array_equal(action, want)
        assert watchdog.dropped > 0
        ended(watchdog)


class _Proxy:
    """Between a client and a server: bytes of the server are held back for as long as ``delays`` says, in turn.

    A delay of None is a black hole: the connection stays open and nothing comes.
    """

    def __init__(self, url, delays):
        self.target = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        self.delays = iter(delays)
        self.lock = threading.Lock()
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(self.target)
            self.sockets += [near, far]
            threading.Thread(target=self._copy, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._copy, args=(far, near, True), daemon=True).start()

    def _copy(self, source, target, hold):
        try:
            while data := source.recv(65536):
                if hold:
                    with self.lock:
                        delay = next(self.delays, 0)
                    if delay is None:
                        return
                    time.sleep(delay)
                target.sendall(data)
        except OSError:
            pass  # a side gave up, which is what the proxy is for

    def close(self):
        # shutdown wakes the threads that wait in accept and recv; close alone does not.
        for end in [self.listener, *self.sockets]:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was first
            end.close()


def test_answers_that_are_delayed_reordered_or_lost_in_the_network(demo):
    """Each action belongs to its own observation, or is the fallback; both are told apart."""
    rng = np.random.default_rng(11)
    delays = [0.0, 0.0] + [float(rng.choice([0.0, 0.005, 0.15, 0.4])) for _ in range(60)]
    delays[10] = None
    proxy = _Proxy(demo, delays)
    rows = rng.uniform(0, 1, (40, 7)).astype(np.float32)
    with RemotePolicy(demo) as direct:
        want, _ = direct.predict(rows, deterministic=True)
    with RemotePolicy(proxy.url, timeout=1) as policy:
        assert policy.contract
        watchdog = Watchdog(policy, DEADLINE, BRAKE)
        seconds = []
        for i, row in enumerate(rows):
            begun = time.monotonic()
            action, _ = watchdog.predict(row, deterministic=True)
            seconds.append(time.monotonic() - begun)
            assert np.array_equal(action, BRAKE if watchdog.last.fallback else want[i])
        assert_in_time(seconds, DEADLINE)
        assert 0 < watchdog.fallbacks < len(rows)
        ended(watchdog)
    proxy.close()


def test_the_kept_connection_that_was_closed_is_asked_again(demo):
    """A server may close a connection between two requests; that is no error of the second."""
    with RemotePolicy(demo) as policy:
        body = policy.metadata()
    closed = []

    class Closing(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            closed.append(1)  # before the answer: the client may be done with it before this thread goes on
            self.wfile.write(data)
            self.close_connection = True  # without saying so

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Closing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with RemotePolicy(f"http://127.0.0.1:{server.server_port}") as policy:
        for _ in range(3):
            assert policy.metadata() == body
    assert len(closed) == 3
    server.shutdown()
    server.server_close()


def test_the_server_is_told_what_is_left(script):
    with RemotePolicy(script.url) as policy:
        assert policy.contract
        watchdog = Watchdog(policy, 5.0, BRAKE)
        watchdog.predict(np.zeros(2))
        assert 0 < script.told[-1]["deadline_ms"] <= 5000
        assert "observed_at" not in script.told[-1]
        watchdog.predict(np.zeros(2), observed_at=time.time() - 2.0)
        assert 0 < script.told[-1]["deadline_ms"] <= 3000
        watchdog.close()
        # With one clock the server counts from the observation itself.
        watchdog = Watchdog(policy, 5.0, BRAKE, shared_clock=True)
        observed = time.time() - 2.0
        watchdog.predict(np.zeros(2), observed_at=observed)
        assert script.told[-1]["observed_at"] == observed
        assert 4900 <= script.told[-1]["deadline_ms"] <= 5100
        watchdog.predict(np.zeros(2))
        assert abs(script.told[-1]["observed_at"] - time.time()) < 5
        watchdog.close()


def test_an_action_for_an_old_observation_is_never_given():
    asked = []
    policy = Scripted()
    policy.predict = lambda observation, **options: (asked.append(observation) or observation, None)
    watchdog = Watchdog(policy, 0.5, -1)
    assert watchdog.predict(1, observed_at=time.time() - 1.0) == (-1, None)
    assert "the observation was 1.0" in watchdog.last.reason
    assert asked == []
    # A clock that is ahead makes nothing younger than now.
    assert watchdog.predict(2, observed_at=time.time() + 100.0) == (2, None)
    watchdog.close()


def test_what_the_server_finds_late_leads_to_the_fallback(demo):
    """It counts from the observation, which is older there than the deadline allows."""
    with RemotePolicy(demo) as policy:
        assert policy.contract
        watchdog = Watchdog(policy, 30.0, BRAKE, shared_clock=True)
        action, _ = watchdog.predict(FLAT, deterministic=True)
        assert not watchdog.last.fallback
        with pytest.raises(DeadlineExceeded):
            policy.act(FLAT, deadline=0.5, observed_at=time.time() - 2.0)
        answer = policy.act(FLAT, True, deadline=30.0, observed_at=time.time() - 2.0)
        assert answer.age_ms >= 2000
        assert np.array_equal(answer.actions, action)
        watchdog.close()


def test_a_duplicated_answer_never_becomes_an_action(script):
    """An answer that comes a second time, on the same connection, in place of the next one's."""
    ids = []

    def twice(request_id):
        ids.append(request_id)
        return ids[-2] if len(ids) == 4 else request_id

    script.echo = twice
    with RemotePolicy(script.url) as policy:
        watchdog = Watchdog(policy, 5.0, BRAKE)
        reasons = []
        for _ in range(4):
            watchdog.predict(np.zeros(2))
            reasons.append(watchdog.last.reason)
        assert [bool(reason) for reason in reasons] == [False, False, True, False]
        assert "an answer to request" in reasons[2]
        watchdog.close()
