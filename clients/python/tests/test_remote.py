import asyncio
import concurrent.futures
import dataclasses
import gc
import logging
import pickle
import socket
import struct
import threading

import httpx
import numpy as np
import pytest
from conftest import ANSWER, METADATA, corpus_cases, recorded

from carla_rl_client import (
    AsyncRemotePolicy,
    Intervention,
    ObservationError,
    PolicyError,
    RemotePolicy,
    RequestError,
    ServerError,
    TimedOut,
    Unavailable,
    Unreachable,
)

OBSERVATION = {"speed": 25.5, "steering": 0.1, "sensors": [0.8, 0.2, 0.5, 0.9, 0.1]}
FLAT = np.array([25.5, 0.1, 0.8, 0.2, 0.5, 0.9, 0.1], np.float32)


@pytest.fixture
def policy(demo):
    with RemotePolicy(demo) as made:
        yield made


def test_actions_are_those_that_the_server_sends(demo, policy):
    body = httpx.post(f"{demo}/predict", json={"observations": [OBSERVATION], "deterministic": True}).json()
    named = body["actions"][0]
    action, state = policy.predict(OBSERVATION, deterministic=True)
    assert state is None
    assert (action.shape, action.dtype) == ((3,), np.float32)
    assert np.array_equal(action, np.array([named["throttle"], named["brake"], named["steer"]], np.float32))
    assert policy.contract.action_names == ("throttle", "brake", "steer")
    answer = policy.act(OBSERVATION)
    assert answer.named() == [named]
    assert (answer.model, answer.version, answer.deterministic) == ("carla-ppo", "v0.1.0", True)
    assert answer.request_id
    assert answer.infer_ms > 0


def test_a_batch_answers_as_its_rows_do(policy):
    rows = np.random.default_rng(3).uniform(0, 1, (7, 7)).astype(np.float32)
    batch, _ = policy.predict(rows, episode_start=np.ones(7, bool), deterministic=True)
    assert batch.shape == (7, 3)
    assert np.array_equal(batch, [policy.predict(row, deterministic=True)[0] for row in rows])
    named = {"speed": rows[:, 0], "steering": rows[:, 1], "sensors": rows[:, 2:]}
    assert np.array_equal(batch, policy.predict(named, deterministic=True)[0])


def test_pickled_without_connections(policy):
    want, _ = policy.predict(FLAT, deterministic=True)
    with pickle.loads(pickle.dumps(policy)) as copy:
        assert np.array_equal(copy.predict(FLAT, deterministic=True)[0], want)


def test_threads_share_one(policy):
    rows = np.random.default_rng(4).uniform(0, 1, (64, 7)).astype(np.float32)
    want, _ = policy.predict(rows, deterministic=True)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda row: policy.predict(row, deterministic=True)[0], np.tile(rows, (4, 1))))
    assert np.array_equal(got, np.tile(want, (4, 1)))


def test_a_connection_is_kept(policy):
    policy.predict(FLAT)
    connections = policy._open()._transport._pool.connections
    for _ in range(5):
        policy.predict(FLAT)
    assert policy._open()._transport._pool.connections == connections
    assert len(connections) == 1


def test_async_twin(demo, policy):
    rows = np.random.default_rng(5).uniform(0, 1, (16, 7)).astype(np.float32)
    want, _ = policy.predict(rows, deterministic=True)

    async def ask():
        async with AsyncRemotePolicy(demo) as twin:
            assert (await twin.contract()) == policy.contract
            answers = await asyncio.gather(*(twin.predict(row, deterministic=True) for row in rows))
            with pytest.raises(ObservationError):
                await twin.predict(rows[0, :3])
            with pytest.raises(ObservationError, match="action_masks"):
                await twin.predict(rows[0], action_masks=np.ones(3))
        return [action for action, _ in answers]

    assert np.array_equal(asyncio.run(ask()), want)


def test_what_the_server_refuses_names_the_field(policy):
    with pytest.raises(ObservationError, match="speed: expected 0 to 200 km/h, got 250") as caught:
        policy.predict(OBSERVATION | {"speed": 250.0})
    assert caught.value.status == 422
    assert caught.value.code == "VALIDATION_ERROR"
    assert caught.value.fields == ["body.observations.0.speed"]
    assert caught.value.request_id
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.fields) == (str(caught.value), caught.value.fields)


def test_model_and_version(demo):
    with RemotePolicy(demo, model="carla-ppo", version="v0.1.0") as exact:
        assert exact.predict(FLAT)[0].shape == (3,)
    with RemotePolicy(demo, model="other") as other, pytest.raises(RequestError) as caught:
        other.predict(FLAT)
    assert (caught.value.status, caught.value.code) == (404, "MODEL_NOT_FOUND")
    with pytest.raises(ValueError, match="version"):
        RemotePolicy(demo, version="v0.1.0")
    with pytest.raises(ValueError, match="url"):
        RemotePolicy("localhost:8080")
    with pytest.raises(ValueError, match="timeout"):
        RemotePolicy(demo, timeout=0)


def test_a_version_that_went_live_brings_its_contract(policy):
    current = policy.contract
    policy._contract = dataclasses.replace(current, version="v0.0.9")
    assert policy.act(FLAT).contract == current
    assert policy.contract == current


PLAIN = np.zeros(2, np.float32)
MOVED = {"row": 0, "action": "steer", "kind": "bound", "from": 0.85, "to": 0.75}
BRAKED = {"row": 0, "action": "brake", "kind": "out_of_distribution", "fallback": "brake", "feature": "speed", "score": 12.5, "from": None, "to": 1.0}


def asked(kind, script, observation=PLAIN):
    """The answer of a policy of a kind."""

    async def twin():
        async with AsyncRemotePolicy(script.url) as policy:
            return await policy.act(observation)

    if kind is AsyncRemotePolicy:
        return asyncio.run(twin())
    with RemotePolicy(script.url) as policy:
        return policy.act(observation)


both = pytest.mark.parametrize("kind", [RemotePolicy, AsyncRemotePolicy])


@both
def test_interventions_are_told(script, kind):
    script.answers = [ANSWER | {"interventions": [MOVED, BRAKED]}]
    assert asked(kind, script).interventions == (
        Intervention(0, "steer", "bound", 0.85, 0.75),
        Intervention(0, "brake", "out_of_distribution", None, 1.0, "brake", "speed", 12.5),
    )
    script.answers = [ANSWER]
    assert asked(kind, script).interventions == ()


def test_interventions_are_logged_now_and_then(script, caplog):
    script.answers = [ANSWER | {"interventions": [MOVED]}]
    with RemotePolicy(script.url) as policy, caplog.at_level(logging.WARNING):
        for _ in range(5):
            policy.predict(PLAIN)
        assert len(caplog.records) == 1
        assert "row 0 steer: 0.85 became 0.75 (bound)" in caplog.text
        policy._seldom._next = 0.0
        policy.predict(PLAIN)
        assert len(caplog.records) == 2
        assert "4 such answers" in caplog.records[1].getMessage()


@both
@pytest.mark.parametrize(
    "answer",
    [
        b"<html>a proxy</html>",
        [],
        {},
        {"model": "m", "version": "v1"},
        ANSWER | {"actions": None},
        ANSWER | {"actions": []},
        ANSWER | {"actions": ANSWER["actions"] * 2},
        ANSWER | {"actions": [{"throttle": 0.25, "brake": 0.0}]},
        ANSWER | {"actions": [[0.25, 0.0, 0.5]]},
        ANSWER | {"actions": [{"throttle": None, "brake": 0.0, "steer": 0.5}]},
        ANSWER | {"actions": [{"throttle": "0.5", "brake": 0.0, "steer": 0.5}]},
        ANSWER | {"actions": [{"throttle": float("nan"), "brake": 0.0, "steer": 0.5}]},
        ANSWER | {"actions": [{"throttle": 1e300, "brake": 0.0, "steer": 0.5}]},
        ANSWER | {"timingMs": "soon"},
        ANSWER | {"interventions": [{"row": 0}]},
        ANSWER | {"interventions": 5},
    ],
)
def test_an_answer_of_another_shape_is_an_error_of_the_server(script, kind, answer):
    script.answers = [answer]
    with pytest.raises(ServerError, match="not one of carla-rl"):
        asked(kind, script)


@pytest.mark.parametrize("metadata", [b"<html></html>", {}, METADATA | {"action": ["steer"]}, METADATA | {"observation": None}])
def test_a_contract_of_another_shape_is_an_error_of_the_server(script, metadata):
    script.metadata = [metadata]
    with pytest.raises(ServerError, match="not one of carla-rl"):
        asked(RemotePolicy, script)


@both
def test_the_contract_is_that_of_the_answer(script, kind):
    # v2 answers, and is rolled back before its contract is asked for.
    script.answers = [ANSWER | {"version": "v2"}, ANSWER]
    answer = asked(kind, script)
    assert (answer.version, answer.contract.version) == ("v1", "v1")
    assert script.asked == ["/metadata", "/predict", "/metadata", "/predict"]
    # Another model of the same version is another one.
    script.answers = [ANSWER | {"model": "n"}]
    script.metadata, script.asked = [METADATA, METADATA | {"modelName": "n"}], []
    assert asked(kind, script).contract.model == "n"
    assert script.asked == ["/metadata", "/predict", "/metadata"]
    # Replicas that do not agree.
    script.answers, script.metadata, script.asked = [ANSWER | {"version": "v2"}], [METADATA], []
    with pytest.raises(ServerError, match="m v2 answered and /metadata tells the contract of m v1"):
        asked(kind, script)
    assert len(script.asked) == 5


def _reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@both
@pytest.mark.parametrize(("resets", "begun"), [(1, b""), (2, b""), (1, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")])
def test_a_kept_connection_that_is_reset_is_asked_once_more(kind, resets, begun):
    listener = socket.create_server(("127.0.0.1", 0))
    requests, expected = [], 2 if begun else 3

    def answer():
        data = b'{"a":1}'
        for _ in range(resets + 1):
            connection, _ = listener.accept()
            for _ in range(2):
                if not connection.recv(65536):
                    break
                requests.append(1)
                if 0 < len(requests) - 1 <= resets:
                    connection.sendall(begun)
                    if begun:
                        threading.Event().wait(0.2)  # until the client has read it
                    _reset(connection)
                    break
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
            if len(requests) == expected:
                break
        connection.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def twin():
        async with AsyncRemotePolicy(url) as policy:
            await policy.metadata()
            return await policy.metadata()

    def ask():
        if kind is AsyncRemotePolicy:
            return asyncio.run(twin())
        with RemotePolicy(url) as policy:
            policy.metadata()
            return policy.metadata()

    if resets == 1 and not begun:
        assert ask() == {"a": 1}
    else:
        with pytest.raises(Unreachable):
            ask()
    thread.join(10)
    assert not thread.is_alive()
    assert len(requests) == expected
    listener.close()


def test_api_key(serve, tmp_path):
    key = "k" * 40
    url = serve(API_KEY=key).url
    with RemotePolicy(url, api_key=key) as policy:
        assert policy.predict(FLAT)[0].shape == (3,)
        assert key not in repr(policy)
    with RemotePolicy(url) as policy, pytest.raises(RequestError) as caught:
        policy.predict(FLAT)
    assert (caught.value.status, caught.value.code) == (401, "UNAUTHORIZED")


def test_a_server_that_is_not_there():
    with RemotePolicy("http://127.0.0.1:9") as policy, pytest.raises(Unreachable) as caught:
        policy.predict(FLAT)
    assert isinstance(caught.value, PolicyError)
    assert caught.value.status is None


def test_another_server_is_told_as_that(demo):
    with RemotePolicy(demo + "/livez") as policy, pytest.raises(RequestError) as caught:
        policy.predict(FLAT)
    assert caught.value.status == 404


def test_a_server_that_stopped_and_came_back(serve):
    server = serve()
    policy = RemotePolicy(server.url, timeout=2)
    want, _ = policy.predict(FLAT, deterministic=True)
    server.stop()
    with pytest.raises((Unreachable, TimedOut)):
        policy.predict(FLAT)
    again = serve(PORT=server.url.rsplit(":", 1)[1])
    policy.url = again.url
    policy.close()
    assert np.array_equal(policy.predict(FLAT, deterministic=True)[0], want)
    policy.close()
    gc.collect()


@pytest.mark.parametrize(
    "folder",
    corpus_cases(
        "sb3_real/ppo_Acrobot-v1",
        "sb3_real/ppo_BipedalWalker-v3",
        "sb3_real/a2c_MountainCar-v0",
        "sb3_real/dqn_CartPole-v1",
        "sb3_real/sac_MountainCarContinuous-v0",
        "sb3_real/ddpg_LunarLanderContinuous-v2",
        "sb3_real/tqc_FetchReach-v1",
        "sb3_gen/td3_mlp",
        "sb3_gen/dqn_cnn_atari_small",
        "sb3_gen/ppo_cnn_36x36x3_uint8_hwc",
        "sb3_gen/ppo_multiinput_dict",
        "sb3_gen/her_sac_goal_dict",
        "sb3_gen/ppo_discrete_obs_onehot",
        "sb3_gen/ppo_multibinary_obs",
        "sb3_gen/ppo_highway_kinematics",
    ),
)
def test_recorded_actions(serve, folder):
    case, observations, want = recorded(folder)
    server = serve(folder)
    with RemotePolicy(server.url) as policy:
        got, _ = policy.predict(observations, deterministic=True)
        discrete = np.issubdtype(want.dtype, np.integer)
        assert got.dtype == (np.int64 if discrete else np.float32)
        assert got.shape == want.shape
        tolerance = 0 if discrete else case.get("atol", 1e-5) + 1e-5 * np.abs(want)
        assert np.all(np.abs(got - want) <= tolerance)
        for i in range(len(want)):
            row = {name: part[i] for name, part in observations.items()} if isinstance(observations, dict) else observations[i]
            single, _ = policy.predict(row, deterministic=True)
            assert isinstance(single, np.ndarray)
            assert np.array_equal(single, got[i])
        declared = case["action_space"]
        space = policy.action_space
        assert type(space).__name__.removesuffix("Spec") == declared["type"]
        assert list(space.shape) == declared.get("shape", [])
        if "image" in folder.name or "cnn" in folder.name:
            images = policy.observation_space
            assert (images.dtype, images.shape) == (np.uint8, observations.shape[1:])
        if declared["type"] == "Discrete":
            assert space.n == declared["n"]
    server.stop()


def within(case, got, want):
    if np.issubdtype(want.dtype, np.integer):
        return np.array_equal(got, want)
    return bool(np.all(np.abs(got - want) <= case.get("atol", 1e-5) + 1e-5 * np.abs(want)))


@pytest.mark.parametrize("folder", corpus_cases("sb3_gen/rppo_mlp_lstm", "sb3_gen/rppo_lstm_nocritic", "sb3_gen/rppo_cnn_lstm"))
def test_recorded_sequences(serve, folder):
    case, observations, want = recorded(folder)
    starts = np.asarray(case["episode_start"], bool)
    server = serve(folder)
    with RemotePolicy(server.url) as policy, RemotePolicy(server.url) as other:
        assert policy.contract.recurrent
        state, got, values = None, [], []
        for observation, start in zip(observations, starts):
            answer = policy.act(observation, True, state=state, episode_start=start, returns=("value",))
            state = answer.state
            got.append(answer.actions)
            values.append(answer.value)
        assert within(case, np.array(got), want)
        assert within(case, np.array(values), np.asarray(case["expect"]["value"]))
        # Two environments, the second half a sequence behind, and each step asked of another client.
        half, state = len(starts) // 2, None
        for i in range(len(starts)):
            pair = np.stack([observations[i], observations[(i + half) % len(starts)]])
            begins = [starts[i], starts[(i + half) % len(starts)] or i in (0, len(starts) - half)]
            actions, state = (policy, other)[i % 2].predict(pair, state=state, episode_start=np.array(begins), deterministic=True)
            assert within(case, actions[0], want[i])
        assert state.rows == 2
        # The token is of two rows.
        with pytest.raises(RequestError, match="state"):
            policy.predict(observations[0], state=state)
    server.stop()


@pytest.mark.parametrize("folder", corpus_cases("sb3_gen/rppo_mlp_lstm"))
def test_drawn_actions_of_a_sequence_are_replayed_by_their_seed(serve, folder):
    _, observations, _ = recorded(folder)
    runs = []
    with RemotePolicy(serve(folder).url) as policy:
        for seed in (5, 5, 6):
            policy.set_random_seed(seed)
            state, actions = None, []
            for observation in observations:
                action, state = policy.predict(observation, state=state)
                actions.append(action)
            runs.append(np.array(actions))
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize("folder", corpus_cases("sb3_gen/maskable_ppo"))
def test_recorded_masks(serve, folder):
    case, observations, unmasked = recorded(folder)
    masks = np.asarray(case["action_masks"])
    with RemotePolicy(serve(folder).url) as policy:
        assert policy.contract.masks == (policy.action_space.n,)
        assert np.array_equal(policy.predict(observations, deterministic=True)[0], unmasked)
        got, _ = policy.predict(observations, deterministic=True, action_masks=masks)
        assert np.array_equal(got, np.asarray(case["expect_masked"]["action"]))
        for observation, mask, action in zip(observations, masks, got):
            assert policy.predict(observation, deterministic=True, action_masks=mask)[0] == action
        drawn = policy.act(observations, False, action_masks=masks, returns=("distribution", "log_prob"))
        assert masks[np.arange(len(masks)), drawn.actions].all()
        probabilities = drawn.distribution["probs"]
        assert np.allclose(probabilities[~masks.astype(bool)], 0)
        assert np.allclose(drawn.log_prob, np.log(probabilities[np.arange(len(masks)), drawn.actions]), atol=1e-5)


@pytest.mark.parametrize("folder", corpus_cases("sb3_real/ppo_BipedalWalker-v3", "sb3_gen/ppo_multiinput_dict", "sb3_gen/trpo_mlp"))
def test_recorded_values(serve, folder):
    case, observations, want = recorded(folder)
    with RemotePolicy(serve(folder).url) as policy:
        answer = policy.act(observations, True, returns=("value", "log_prob", "raw_action", "distribution", "normalized_observation"))
        for name in ("value", "log_prob", "raw_action"):
            assert within(case, getattr(answer, name), np.asarray(case["expect"][name])), name
        assert within(case, answer.distribution["mean"], np.asarray(case["expect"]["mean"]))
        assert np.array_equal(policy.predict_values(observations)[:, 0], answer.value)
        normalized = case["normalized_obs"]
        if isinstance(normalized, list):
            assert within(case, answer.normalized_observation, np.asarray(normalized))


SPACES = {
    "sb3_gen/rppo_lstm_nocritic": ("MultiDiscrete", "nvec"),
    "sb3_gen/ppo_discrete_obs_onehot": ("Discrete", "n"),
    "sb3_gen/ppo_multibinary_obs": ("Discrete", "n"),
    "sb3_gen/ppo_tanh_default_carla5": ("Box", None),
}


@pytest.mark.parametrize("folder", corpus_cases(*SPACES))
def test_recorded_spaces(serve, folder):
    case, _, _ = recorded(folder)
    with RemotePolicy(serve(folder).url) as policy:
        kind, count = SPACES["/".join(folder.parts[-2:])]
        action = policy.action_space
        assert type(action).__name__.removesuffix("Spec") == kind
        if count:
            assert np.array_equal(getattr(action, count), case["action_space"][count])
        else:
            for bound in ("low", "high"):
                assert np.all(getattr(action, bound) == np.asarray(case["action_space"][bound], np.float32))
        observation, declared = policy.observation_space, case["raw_observation_space"]
        assert type(observation).__name__.removesuffix("Spec") == declared["type"]
        for name in ("n", "shape", "low", "high"):
            if name in declared:
                assert np.all(getattr(observation, name) == np.asarray(declared[name], float)), name


def test_a_unix_socket_is_an_address(serve, tmp_path):
    server = serve(HOST=f"unix://{tmp_path}/s")
    assert server.url == f"unix://{tmp_path}/s"
    with RemotePolicy(server.url) as policy:
        assert policy.predict({"speed": 25.5, "steering": 0.1, "sensors": [0.8, 0.2, 0.5, 0.9, 0.1]})[0].shape

    async def ask():
        async with AsyncRemotePolicy(server.url) as policy:
            return await policy.contract()

    assert asyncio.run(ask()).model
