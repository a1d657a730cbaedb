"""openpi's client and a policy that keeps state: the connection is the session.

What it answers is held to a session over HTTP, bit for bit.
"""

import numpy as np
import pytest
from test_openpi import call, connect, keyed, metadata  # noqa: F401


@pytest.fixture(scope="module")
def observations(metadata):  # noqa: F811
    random = np.random.default_rng(7)
    steps = []
    for _ in range(6):
        steps.append({f["name"]: random.uniform(0, 1, f["shape"]).astype(np.float32) for f in metadata["observation"]})
    return steps


def test_connection_is_the_session(metadata, observations):  # noqa: F811
    one, other = connect(), connect()
    assert one.get_server_metadata()["recurrent"] is True
    session = call("/v1/sessions", {"deterministic": True})["session_id"]
    other.infer({**keyed(observations[-1], metadata), "deterministic": True})  # has a state of its own
    first = None
    for step, observation in enumerate(observations):
        starts = step == 3
        row = next(iter(observation.values())).reshape(-1).tolist()
        wanted = call(f"/v1/sessions/{session}/act", {"observation": row, "episode_start": starts})["actions"][0]
        wanted = np.array(wanted, np.float32).reshape(1, -1)
        got = one.infer({**keyed(observation, metadata), "deterministic": True, "episode_start": starts})["actions"]
        np.testing.assert_array_equal(got, wanted)
        first = got if step == 0 else first
    # A new connection begins an episode.
    again = connect().infer({**keyed(observations[0], metadata), "deterministic": True})["actions"]
    np.testing.assert_array_equal(again, first)
