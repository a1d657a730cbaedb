import pickle
import subprocess
import zipfile

import numpy as np
import pytest
from conftest import BINARY

from carla_rl_client import Action, Feature, RemotePolicy, export, read_card, sha256_hex

torch = pytest.importorskip("torch")

OBSERVATION = [Feature("speed", low=0, high=200), Feature("sensors", shape=[3], low=0, high=1)]
ACTION = [Action("throttle", 0, 1), Action("steer", -1, 1)]
NAMES = {"model_name": "demo", "version": "v1.2.3", "observation": OBSERVATION, "action": ACTION}


@pytest.fixture
def network():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))


def golden_rows(directory):
    vectors = read_card(directory)["golden"]["vectors"]
    observations = [[v["observation"]["speed"], *v["observation"]["sensors"]] for v in vectors]
    actions = [list(v["action"].values()) for v in vectors]
    return np.array(observations, np.float32), np.array(actions, np.float32)


def test_module_with_plain_statistics(tmp_path, network):
    statistics = {"mean": np.array([50.0, 0.5, 0.5, 0.5]), "std": np.array([30.0, 0.2, 0.2, 0.2])}
    assert export(network, tmp_path / "v1.2.3", normalizer=statistics, **NAMES) == tmp_path / "v1.2.3"
    directory = tmp_path / "v1.2.3"

    card = read_card(directory)
    assert card["model_type"] == "torchscript"
    assert card["framework_version"].startswith("torch ")
    for name in ("model.pt", "preprocessor.pkl"):
        assert card["artifact_hashes"][name] == "sha256:" + sha256_hex(directory / name)

    observations, actions = golden_rows(directory)
    assert len(observations) >= 16
    loaded = torch.jit.load(str(directory / "model.pt"))
    with torch.no_grad():
        rows = ((observations - statistics["mean"]) / statistics["std"]).astype(np.float32)
        want = np.clip(loaded(torch.from_numpy(rows)).numpy(), [0, -1], [1, 1])
    assert np.abs(actions - want).max() < 1e-6
    assert (actions.min(axis=0) >= [0, -1]).all()


def test_preprocessor_is_written_as_trained(tmp_path, network):
    statistics = {"mean": np.zeros(4), "std": np.ones(4)}
    export(network, tmp_path, normalizer=statistics, **NAMES)
    data = (tmp_path / "preprocessor.pkl").read_bytes()
    assert data[:2] == b"\x80\x04"
    assert pickle.loads(data).keys() == statistics.keys()


def test_without_normalizer_a_stale_file_goes(tmp_path, network):
    (tmp_path / "preprocessor.pkl").write_bytes(b"stale")
    export(network, tmp_path, **NAMES)
    assert not (tmp_path / "preprocessor.pkl").exists()
    assert list(read_card(tmp_path)["artifact_hashes"]) == ["model.pt"]


def test_network_carries_no_debug_records(tmp_path, network):
    export(network, tmp_path, **NAMES)
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        assert archive.testzip() is None
        assert not [name for name in archive.namelist() if name.endswith(".debug_pkl")]


def test_given_golden_observations_are_used(tmp_path, network):
    rows = np.random.default_rng(0).uniform(0, 1, (20, 4)).astype(np.float32)
    export(network, tmp_path, golden_observations=rows, **NAMES)
    assert np.array_equal(golden_rows(tmp_path)[0], rows)


def test_the_module_given_stays_as_it_was(tmp_path, network):
    network.train()
    export(network, tmp_path, **NAMES)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_stable_baselines3_agent(tmp_path):
    gymnasium = pytest.importorskip("gymnasium")
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    class Env(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(np.zeros(4, np.float32), np.array([200, 1, 1, 1], np.float32))
        action_space = gymnasium.spaces.Box(np.array([0, -1], np.float32), np.array([1, 1], np.float32))

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

        def step(self, action):
            return self.observation_space.sample(), 0.0, False, False, {}

    env = VecNormalize(DummyVecEnv([Env]))
    agent = sb3.PPO("MlpPolicy", env, n_steps=64, batch_size=64, seed=1, device="cpu").learn(128)
    env.training = False
    export(agent, tmp_path, normalizer=env, **NAMES)

    observations, actions = golden_rows(tmp_path)
    want, _ = agent.predict(env.normalize_obs(observations), deterministic=True)
    assert np.abs(actions - want).max() < 1e-5


def test_refusals(tmp_path, network):
    with pytest.raises(TypeError, match="neither a torch module nor an agent"):
        export(object(), tmp_path, **NAMES)
    with pytest.raises(ValueError, match=r"at least 16 rows of 4 values, got shape \[2, 4\]"):
        export(network, tmp_path, golden_observations=np.zeros((2, 4)), **NAMES)
    with pytest.raises(ValueError, match=r"gave shape \[16, 2\] for 16 rows, expected \[16, 1\]"):
        export(network, tmp_path, **(NAMES | {"action": ACTION[:1]}))


class Convolutional(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(48, 2))

    def forward(self, image):
        return self.layers(image)


class Counting(torch.nn.Module):
    """Keeps state in a buffer; reset begins an episode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("memory", torch.zeros(1, 4))
        self.layer = torch.nn.Linear(8, 2)

    def forward(self, rows):
        self.memory = 0.5 * self.memory + rows
        return self.layer(torch.cat([rows, self.memory], dim=1))

    @torch.jit.export
    def reset(self):
        self.memory = torch.zeros(1, 4)


def served(serve, directory, rows):
    done = subprocess.run([str(BINARY), "verify", str(directory)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    server = serve(directory)
    with RemotePolicy(server.url) as policy:
        got, _ = policy.predict(rows, deterministic=True)
    server.stop()
    return got


@pytest.mark.parametrize("script", [False, True])
def test_modules_are_verified_and_served(serve, tmp_path, network, script):
    pytest.importorskip("httpx")
    statistics = {"mean": np.array([50.0, 0.5, 0.5, 0.5]), "std": np.array([30.0, 0.2, 0.2, 0.2])}
    export(network, tmp_path, normalizer=statistics, script=script, control_hz=20, **NAMES)
    assert read_card(tmp_path)["control_hz"] == 20
    rows = np.random.default_rng(2).uniform([0] * 4, [200, 1, 1, 1], (5, 4)).astype(np.float32)
    with torch.no_grad():
        inputs = torch.from_numpy(((rows - statistics["mean"]) / statistics["std"]).astype(np.float32))
        want = np.clip(network(inputs).numpy(), [0, -1], [1, 1])
    assert np.allclose(served(serve, tmp_path, rows), want, rtol=1e-5, atol=1e-5)


def test_a_module_of_images(serve, tmp_path):
    torch.manual_seed(4)
    network = Convolutional().eval()
    named = {**NAMES, "observation": [Feature("image", shape=[2, 6, 6], low=-1, high=1)]}
    export(network, tmp_path, **named)
    images = np.random.default_rng(3).uniform(-1, 1, (3, 2, 6, 6)).astype(np.float32)
    with torch.no_grad():
        want = np.clip(network(torch.from_numpy(images)).numpy(), [0, -1], [1, 1])
    assert np.allclose(served(serve, tmp_path, {"image": images}), want, rtol=1e-5, atol=1e-5)


def test_a_module_with_state_in_its_buffers(serve, tmp_path):
    torch.manual_seed(5)
    network = Counting().eval()
    rows = np.random.default_rng(4).uniform(0, 1, (6, 4)).astype(np.float32)
    export(network, tmp_path, script=True, **NAMES)
    with RemotePolicy(serve(tmp_path).url) as policy:
        assert policy.contract.recurrent
        state = None
        network.reset()
        for i, row in enumerate(rows):
            got, state = policy.predict(row, state=state, episode_start=i == 0, deterministic=True)
            with torch.no_grad():
                want = np.clip(network(torch.from_numpy(row[None])).numpy()[0], [0, -1], [1, 1])
            assert np.allclose(got, want, rtol=1e-5, atol=1e-5)
