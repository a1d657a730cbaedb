"""Write preprocessors as their libraries pickle them, and what they answer.

    python make_preprocess.py OUT

makes OUT/<case>/ with the files and cases.json: raw rows in ``input``, what the
preprocessor makes of them in ``expect`` (computed in float64) and in
``expect_float32_input`` (given float32 rows, as a server gives them). With
NumPy 1 only the cases that differ there are written.
"""

import json
import pathlib
import pickle
import sys
import types

import numpy as np

ROWS = 12


def data(width=5, rows=400, seed=5):
    """Columns of different scales, the first one the largest."""
    random = np.random.RandomState(seed)
    return random.normal(np.linspace(3, -2, width), np.linspace(20, 0.2, width), (rows, width))


def write(out, name, objects, expect, source, rows=None, extra=None):
    """``objects`` is {file key: (file name, bytes)}; ``expect`` maps rows to rows."""
    directory = out / name
    directory.mkdir(parents=True, exist_ok=True)
    rows = data(seed=6)[:ROWS] if rows is None else rows
    for file, content in objects.values():
        (directory / file).write_bytes(content)
    case = {
        "schema": 1,
        "name": "preprocess/" + name,
        "format": "preprocessor",
        "source": source,
        "files": {key: file for key, (file, _) in objects.items()},
        "input": np.asarray(rows, np.float64).tolist(),
        "expect": np.asarray(expect(np.asarray(rows, np.float64)), np.float64).tolist(),
        "expect_float32_input": np.asarray(expect(np.asarray(rows, np.float32)), np.float64).tolist(),
    }
    case.update(extra or {})
    (directory / "cases.json").write_text(json.dumps(case) + "\n", encoding="utf-8")


def protocols(value, *numbers):
    return {f"p{n}": (f"preprocessor_p{n}.pkl", pickle.dumps(value, protocol=n)) for n in numbers}


def write_scalers(out):
    import sklearn
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

    source = f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}"
    constant = data()
    constant[:, 2] = 7.0  # a column without spread is divided by one
    cases = {
        "standard": (StandardScaler(), data()),
        "standard_constant_column": (StandardScaler(), constant),
        "standard_nostd": (StandardScaler(with_std=False), data()),
        "standard_float32": (StandardScaler(), data().astype(np.float32)),
        "minmax": (MinMaxScaler(), data()),
        "minmax_range_clip": (MinMaxScaler(feature_range=(-1, 2), clip=True), data()[:30]),
        "robust": (RobustScaler(), data()),
        "robust_nocenter": (RobustScaler(with_centering=False, quantile_range=(5, 95)), data()),
        "robust_unit_variance": (RobustScaler(unit_variance=True), data()),
        "pipeline": (Pipeline([("robust", RobustScaler()), ("range", MinMaxScaler((-1, 1)))]), data()),
        "pipeline_nested": (
            Pipeline([("inner", Pipeline([("standard", StandardScaler())])), ("skip", "passthrough")]),
            data(),
        ),
    }
    for name, (scaler, fitted) in cases.items():
        scaler.fit(fitted)
        write(out, name, protocols(scaler, 2, 4, 5), scaler.transform, source)


def write_vec_normalize(out):
    import gymnasium
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    class Env(gymnasium.Env):
        """Gives the rows of data, one a step."""

        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)
        action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

        def __init__(self):
            self.rows = data().astype(np.float32)
            self.at = 0

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.rows[0], {}

        def step(self, action):
            self.at += 1
            return self.rows[self.at % len(self.rows)], 1.0, False, False, {}

    source = f"Stable-Baselines3 {stable_baselines3.__version__}, NumPy {np.__version__}"
    rows = data(seed=6)[:ROWS]
    rows[0] *= 40  # far enough to be clipped
    for name, options, seeded in (
        ("vecnormalize", {}, False),
        ("vecnormalize_clip_seeded", {"clip_obs": 1.5, "epsilon": 1e-4}, True),
        ("vecnormalize_reward_only", {"norm_obs": False}, False),
    ):
        env = VecNormalize(DummyVecEnv([Env]), **options)
        if seeded:
            env.action_space.seed(3)  # the space then carries its generator along
        env.reset()
        for _ in range(300):
            env.step(np.zeros((1, 2), np.float32))
        env.training = False
        write(out, name, protocols(env, 2, 4, 5), env.normalize_obs, source, rows)


def write_plain(out, name):
    """Plain statistics: arrays, lists, arrays of other layouts."""
    fitted = data()
    mean, std = fitted.mean(axis=0), fitted.std(axis=0)
    objects = protocols({"mean": mean, "std": std}, 2, 4, 5)
    objects["lists"] = ("preprocessor_lists.pkl", pickle.dumps({"mean": mean.tolist(), "std": std.tolist()}, protocol=4))
    big = {"mean": mean.astype(">f8"), "std": std.astype(">f8")}
    objects["bigendian"] = ("preprocessor_bigendian.pkl", pickle.dumps(big, protocol=4))
    write(out, name, objects, lambda rows: (rows - mean) / std, f"dict of mean and std, NumPy {np.__version__}")


def write_features(out):
    """Preprocessors of the guide's observation, pickled by their class's name."""
    module = types.ModuleType("src.preprocessing")
    sys.modules["src"] = types.ModuleType("src")
    sys.modules["src.preprocessing"] = module

    def make(name, state):
        cls = type(name, (), {"__module__": "src.preprocessing"})
        setattr(module, name, cls)
        value = cls()
        value.__dict__.update(state)
        return value

    names = ["speed", "steering", "sensors"]
    shape = {"feature_names": names, "input_shape": [7], "output_shape": [7]}
    stats = {
        "speed_stats": {"mean": 41.5, "std": 17.25},
        "steering_stats": {"mean": -0.02, "std": 0.31},
        "sensor_stats": {"mean": 0.45, "std": 0.22},
    }

    def standard(**changes):
        state = {"is_fitted": True, **shape, "normalize_speed": True, "normalize_steering": True}
        state.update({"normalize_sensors": True, "sensor_clip_range": (-10.0, 10.0), **stats}, **changes)
        return state

    random = np.random.RandomState(8)
    rows = np.concatenate(
        [random.uniform(0, 200, (ROWS, 1)), random.uniform(-1, 1, (ROWS, 1)), random.normal(0.5, 6, (ROWS, 5))], axis=1
    )
    rows = rows.astype(np.float32).astype(np.float64)
    for name, cls, state in (
        ("features_standard", "StandardFeaturePreprocessor", standard()),
        ("features_clip", "StandardFeaturePreprocessor", standard(sensor_clip_range=(-1.0, 2.0))),
        ("features_speed_alone", "StandardFeaturePreprocessor", standard(normalize_steering=False, normalize_sensors=False)),
        ("features_unfitted", "StandardFeaturePreprocessor", standard(is_fitted=False)),
        ("features_minimal", "MinimalPreprocessor", {"is_fitted": True, **shape}),
    ):
        write(
            out,
            name,
            protocols(make(cls, state), 2, 4, 5),
            lambda values, state=state: transform(values, state),
            "classes named src.preprocessing.*, see make_preprocess.py",
            rows,
            {"feature_names": names},
        )


def transform(rows, state):
    """Speed, steering and sensors each have one mean and deviation; sensors are clipped first."""
    rows = np.array(rows)
    if "normalize_speed" not in state or not state["is_fitted"]:
        return rows
    for flag, stats, columns in (
        ("normalize_speed", "speed_stats", slice(0, 1)),
        ("normalize_steering", "steering_stats", slice(1, 2)),
        ("normalize_sensors", "sensor_stats", slice(2, None)),
    ):
        if not state[flag]:
            continue
        values = rows[:, columns]
        if stats == "sensor_stats":
            values = np.clip(values, *state["sensor_clip_range"])
        rows[:, columns] = (values - state[stats]["mean"]) / state[stats]["std"]
    return rows


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    if np.__version__.startswith("1."):
        write_plain(out, "plain_numpy1")
        return
    write_plain(out, "plain")
    write_scalers(out)
    write_vec_normalize(out)
    write_features(out)


if __name__ == "__main__":
    main()
