"""What is sent beside the observations, and what comes back beside the actions."""

import asyncio
import pickle
import time

import httpx
import numpy as np
import pytest
from conftest import ANSWER, METADATA

from carla_rl_client import (
    AsyncRemotePolicy,
    DeadlineExceeded,
    ObservationError,
    RemotePolicy,
    StaleAnswer,
    State,
    TimedOut,
)
from carla_rl_client import budget

ROWS = np.zeros((2, 2), np.float32)
RECURRENT = METADATA | {"state": {"width": 4, "parts": [{"name": "h", "shape": [4]}]}}
MASKED = METADATA | {
    "action": [{"shape": [], "low": 0, "high": 2, "discrete": True}],
    "masks": {"width": 3, "parts": [3]},
}


def answer(rows=1, **more):
    return ANSWER | {"actions": ANSWER["actions"] * rows} | more


@pytest.fixture
def policy(script):
    with RemotePolicy(script.url) as made:
        yield made


def sent(script):
    return {name: value for name, value in script.told[-1].items() if name != "observations"}


def test_a_policy_without_state_sends_none(script, policy):
    script.answers = [answer(2)]
    assert policy.predict(ROWS, episode_start=np.ones(2, bool), deterministic=True)[1] is None
    assert sent(script) == {"deterministic": True}


def test_the_state_goes_back_as_it_came(script, policy):
    script.metadata = [RECURRENT]
    script.answers = [answer(2, state="a-token")]
    starts = np.ones(2, bool)
    _, state = policy.predict(ROWS, episode_start=starts)
    assert sent(script) == {"deterministic": False, "state": None, "episode_start": [True, True]}
    assert state == State("a-token", 2, "m", "v1")
    assert "a-token" not in repr(state)
    starts[:] = [False, True]
    script.answers = [answer(2, state="another")]
    _, after = policy.predict(ROWS, state=pickle.loads(pickle.dumps(state)), episode_start=starts)
    assert sent(script) == {"deterministic": False, "state": "a-token", "episode_start": [False, True]}
    assert after.token == "another"
    script.answers = [answer(1, state="single")]
    assert policy.predict(ROWS[0], episode_start=True)[1].rows == 1
    assert sent(script)["episode_start"] == [True]
    with pytest.raises(ObservationError, match="episode_start: expected 2 values, got 3"):
        policy.predict(ROWS, episode_start=np.ones(3))
    with pytest.raises(TypeError, match="the state that predict returned, got tuple"):
        policy.predict(ROWS, state=(np.zeros(1),))


def test_masks(script, policy):
    script.metadata = [MASKED]
    script.answers = [ANSWER | {"actions": [1, 2]}]
    actions, _ = policy.predict(ROWS, action_masks=np.array([[True, False, True], [False, False, True]]))
    assert actions.tolist() == [1, 2]
    assert sent(script)["action_masks"] == [[1, 0, 1], [0, 0, 1]]
    with pytest.raises(ObservationError, match="action_masks: expected 2 rows of 3 values, got .2, 2."):
        policy.predict(ROWS, action_masks=np.ones((2, 2)))
    script.answers = [ANSWER | {"actions": [1]}]
    policy.predict(ROWS[0], action_masks=[0, 1, 0])
    assert sent(script)["action_masks"] == [[0, 1, 0]]


def test_seeds_are_counted_from_where_they_were_set(script):
    with RemotePolicy(script.url, seed=7) as policy:
        for i in range(3):
            policy.predict(ROWS[0])
            assert (sent(script)["seed"], sent(script)["step"]) == (7, i)
        policy.act(ROWS[0], seed=9, step=4, row=2)
        assert [sent(script)[name] for name in ("seed", "step", "row")] == [9, 4, 2]
        copy = pickle.loads(pickle.dumps(policy))
        copy.predict(ROWS[0])
        assert sent(script)["step"] == 3
        copy.close()
        policy.set_random_seed(7)
        policy.predict(ROWS[0])
        assert sent(script)["step"] == 0
        policy.set_random_seed(None)
        policy.predict(ROWS[0])
        assert "seed" not in sent(script)
        for wrong in (-1, 2**53):
            with pytest.raises(ValueError, match="seed: expected a whole number"):
                policy.set_random_seed(wrong)
            with pytest.raises(ValueError, match="seed: expected a whole number"):
                policy.act(ROWS[0], seed=wrong)


TIMING = {"queue_ms": 0.25, "preprocess_ms": 0.5, "infer_ms": 1.0, "postprocess_ms": 0.125}
EXTRAS = {
    "value": [0.5, 1.5],
    "log_prob": [-1.0, None],
    "entropy": [0.1, 0.2],
    "distribution": [{"kind": "gaussian", "mean": [1.0, 2.0], "std": [0.5, 0.5]}] * 2,
    "raw_action": [[1.0, 2.0], [3.0, 4.0]],
    "normalized_observation": [{"speed": [0.5], "grid": [[1.0, 2.0], [3.0, 4.0]]}] * 2,
}


def test_everything_that_an_answer_tells(script, policy):
    script.answers = [answer(2, seed=11, timing=TIMING, age_ms=2.5, **EXTRAS)]
    got = policy.act(ROWS, returns=tuple(EXTRAS), observed_at=1.5e9, deadline=0.25)
    assert sent(script) == {"return": list(EXTRAS), "observed_at": 1.5e9, "deadline_ms": 250.0}
    assert (got.seed, got.age_ms, got.timing.infer, got.timing.total) == (11, 2.5, 1.0, 1.875)
    assert got.value.tolist() == [0.5, 1.5]
    assert got.log_prob[0] == -1
    assert np.isnan(got.log_prob[1])
    assert got.distribution["kind"] == "gaussian"
    assert got.distribution["mean"].tolist() == [[1, 2], [1, 2]]
    assert got.raw_action.tolist() == [[1, 2], [3, 4]]
    assert got.normalized_observation["grid"].shape == (2, 2, 2)
    script.answers = [answer(1, **{name: value[:1] for name, value in EXTRAS.items()})]
    one = policy.act(ROWS[0], returns=("value", "distribution"))
    assert one.value == 0.5
    assert one.distribution["std"].tolist() == [0.5, 0.5]
    assert policy.predict_values(ROWS[0]).tolist() == [[0.5]]
    assert sent(script) == {"deterministic": True, "return": ["value"]}
    with pytest.raises(ValueError, match="returns: 'values' is none of value, log_prob"):
        policy.act(ROWS[0], returns=["values"])
    with pytest.raises(ValueError, match="deadline: expected seconds above 0"):
        policy.act(ROWS[0], deadline=0)


def test_the_asynchronous_twin_asks_the_same(script):
    script.metadata = [RECURRENT]
    script.answers = [answer(1, state="t", value=[2.0])]

    async def ask():
        async with AsyncRemotePolicy(script.url, seed=3) as policy:
            _, state = await policy.predict(ROWS[0], episode_start=True, deterministic=True)
            values = await policy.predict_values(ROWS[0], state=state)
            return await policy.act(ROWS[0], state=state, returns=["value"], deadline=1.0), values

    got, values = asyncio.run(ask())
    assert script.told[0] == {
        "observations": [[0.0, 0.0]], "deterministic": True, "state": None, "episode_start": [True], "seed": 3, "step": 0,
    }
    assert sent(script) == {"state": "t", "return": ["value"], "seed": 3, "step": 2, "deadline_ms": 1000.0}
    assert (got.value, values.tolist()) == (2.0, [[2.0]])


def test_a_deadline_that_cannot_be_kept_is_told_apart(script, policy):
    late = {"error": "DEADLINE_EXCEEDED", "message": "late", "details": {}}
    script.answers = [(504, late)]
    with pytest.raises(DeadlineExceeded) as caught:
        policy.act(ROWS[0], deadline=0.001)
    assert isinstance(caught.value, TimeoutError)


def test_what_is_left_of_a_budget_is_sent(script, policy):
    with budget.within(budget.Budget(time.monotonic() + 60.0)):
        policy.predict(ROWS[0])
    assert 0 < sent(script)["deadline_ms"] <= 60_000
    assert "observed_at" not in sent(script)
    observed = time.time() - 1.0
    with budget.within(budget.Budget(time.monotonic() + 60.0, observed)):
        policy.predict(ROWS[0])
    assert sent(script)["observed_at"] == observed
    assert 31_000 <= sent(script)["deadline_ms"] <= 61_100
    with budget.within(budget.Budget(time.monotonic() - 1.0)), pytest.raises(TimedOut, match="before the question was sent"):
        policy.predict(ROWS[0])
    policy.predict(ROWS[0])
    assert "deadline_ms" not in sent(script)


def test_a_refusal_may_be_of_a_contract_that_is_no_more(script, policy):
    policy.predict(ROWS[0])
    refused = {"error": "VALIDATION_ERROR", "message": "observations.0: expected 3 numbers, got 2", "details": {}}
    wider = METADATA | {"version": "v2", "observation": [{"name": "obs", "shape": [3]}]}
    script.metadata, script.asked = [wider], []
    script.answers = [(422, refused), ANSWER | {"version": "v2"}]
    # The rows were held to the old contract here; the new one refuses them before anything is sent.
    with pytest.raises(ObservationError, match=r"expected the shape \[3\]"):
        policy.predict(ROWS[0])
    assert script.asked == ["/predict", "/metadata"]
    assert policy.predict(np.zeros(3))[0].shape == (3,)
    # Where the contract is the same, the observation is at fault.
    script.asked, script.answers = [], [(422, refused)]
    with pytest.raises(ObservationError, match="expected 3 numbers") as caught:
        policy.predict(np.zeros(3))
    assert caught.value.status == 422
    assert script.asked == ["/predict", "/metadata"]


def both_ask(kind, script):
    async def twin():
        async with AsyncRemotePolicy(script.url) as policy:
            await policy.act(ROWS[0])
            return await policy.act(ROWS[0])

    if kind is AsyncRemotePolicy:
        return asyncio.run(twin())
    with RemotePolicy(script.url) as policy:
        policy.act(ROWS[0])
        return policy.act(ROWS[0])


@pytest.mark.parametrize("kind", [RemotePolicy, AsyncRemotePolicy])
def test_an_answer_that_came_before_is_not_taken_again(script, kind):
    ids = []

    def duplicated(request_id):
        # The second question is answered with the first one's answer again.
        ids.append(request_id)
        return ids[min(len(ids) - 1, 1)]

    script.echo = duplicated
    with pytest.raises(StaleAnswer, match="an answer to request"):
        both_ask(kind, script)
    assert len(ids) == 3
    # Something between that names requests in its own way: only the same name twice is a duplicate.
    names = iter(["a", "b", "b"])
    script.echo = lambda request_id: next(names)
    with pytest.raises(StaleAnswer):
        both_ask(kind, script)
    names = iter("abc")
    assert both_ask(kind, script).request_id == "c"
    script.echo = lambda request_id: None
    assert both_ask(kind, script).request_id is None


def test_the_connection_of_a_stale_answer_is_closed(script, policy):
    policy.predict(ROWS[0])
    pool = policy._open()._transport._pool
    script.echo = lambda request_id: policy._prefix + "0"
    with pytest.raises(StaleAnswer):
        policy.predict(ROWS[0])
    assert not pool.connections
    script.echo = lambda request_id: request_id
    policy.predict(ROWS[0])
    assert len(pool.connections) == 1


def test_versions_have_contracts_of_their_own(script):
    with RemotePolicy(script.url, model="m", version="v1") as policy:
        policy.predict(ROWS[0])
    assert script.asked == ["/v1/models/m/versions/v1", "/v1/models/m/versions/v1/predict"]


def test_the_ids_that_are_remembered_are_bounded(policy):
    response = httpx.Response(200, headers={"X-Request-ID": "x"})
    for i in range(2000):
        response.headers["X-Request-ID"] = f"other-{i}"
        policy._fresh(response, "mine")
    assert len(policy._seen) == 1024
