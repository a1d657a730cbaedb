"""Write preprocessors as their libraries pickle them, and what they answer.

    python make_preprocess.py OUT [version]

makes OUT/<case>/ with the files and cases.json: raw rows in ``input``, what the
preprocessor makes of them in ``expect`` (computed in float64) and in
``expect_float32_input`` (given float32 rows, as a server gives them). With
NumPy 1 only the cases that differ there are written, with "version" only those that
differ between versions of scikit-learn.
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


def joblibs(value):
    """The forms of joblib.dump that are read."""
    import io

    import joblib

    forms = {}
    for key, compress in (("joblib", 0), ("joblib_zlib", ("zlib", 3)), ("joblib_gzip", ("gzip", 3))):
        out = io.BytesIO()
        if key == "joblib_gzip":  # whose header would hold the time
            import gzip

            out.write(gzip.compress(forms["joblib"][1], mtime=0))
        else:
            joblib.dump(value, out, compress=compress)
        forms[key] = (f"preprocessor_{key}.joblib", out.getvalue())
    return forms


def write_transformers(out):
    import sklearn
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import PCA
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import (
        Binarizer,
        FunctionTransformer,
        KBinsDiscretizer,
        MaxAbsScaler,
        MinMaxScaler,
        Normalizer,
        PolynomialFeatures,
        PowerTransformer,
        QuantileTransformer,
        StandardScaler,
    )

    def exact(values):  # in float32, as a server gets them
        return np.asarray(values).astype(np.float32).astype(np.float64)

    source = f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}"
    rows = exact(data(seed=6)[:ROWS])
    fitted = data()
    positive = np.abs(fitted) + 0.1
    zeros = rows.copy()
    zeros[0] = 0  # a row without a norm
    holes, hole_rows = fitted.copy(), rows.copy()
    holes[::7, 1] = -1
    holes[::5, 4] = -1
    hole_rows[::3, 1:] = -1
    gaps = holes.copy()
    gaps[gaps == -1] = np.nan
    tied = np.round(fitted * [0.1, 0.2, 1, 1, 3])  # few values, each many times
    tied[:, 3] = 2.0
    tied_rows = np.concatenate([tied[:8], tied[20:30] + 0.25, [tied.min(0), tied.max(0), tied.min(0) - 1, tied.max(0) + 1]])
    edges = np.concatenate([rows, [fitted.min(0) - 1, fitted.max(0) + 1]])
    bins = dict(subsample=None, quantile_method="averaged_inverted_cdf")

    ufuncs = "absolute ceil cos exp expm1 fabs floor log log1p negative reciprocal rint sign sin sqrt tanh positive"
    ufuncs += " square tan trunc cbrt log2 log10 deg2rad radians rad2deg degrees"
    functions = [(name, FunctionTransformer(getattr(np, name)), [i % 2 + 2]) for i, name in enumerate(ufuncs.split())]
    cases = {
        "binarizer": (Binarizer(threshold=-0.25), fitted, rows),
        "normalizer_l1": (Normalizer("l1"), fitted, zeros),
        "normalizer_l2": (Normalizer("l2"), fitted, zeros),
        "normalizer_max": (Normalizer("max"), fitted, zeros),
        "pca": (PCA(), fitted, rows),
        "pca_whiten_two": (PCA(n_components=2, whiten=True), fitted, rows),
        "polynomial": (PolynomialFeatures(), fitted, rows),
        "polynomial_interaction": (PolynomialFeatures(4, interaction_only=True, include_bias=False), fitted, rows),
        "polynomial_two_to_three": (PolynomialFeatures((2, 3)), fitted, rows),
        "quantile": (QuantileTransformer(n_quantiles=400), fitted, edges),
        "quantile_few": (QuantileTransformer(n_quantiles=7), fitted, edges),
        "quantile_ties": (QuantileTransformer(n_quantiles=50), tied, tied_rows),
        "quantile_normal": (QuantileTransformer(n_quantiles=100, output_distribution="normal"), fitted, edges),
        "quantile_normal_ties": (QuantileTransformer(n_quantiles=50, output_distribution="normal"), tied, tied_rows),
        "power": (PowerTransformer(), fitted, rows),
        "power_raw": (PowerTransformer(standardize=False), fitted * [0.1, 1, 1, 1, 1], rows * [0.1, 1, 1, 1, 1]),
        "power_box_cox": (PowerTransformer("box-cox"), positive, np.abs(rows) + 0.1),
        "bins_number": (KBinsDiscretizer([2, 3, 4, 5, 6], encode="ordinal", strategy="uniform", subsample=None), fitted, edges),
        "bins_onehot": (KBinsDiscretizer([2, 3, 4, 5, 6], encode="onehot-dense", **bins), fitted, edges),
        "bins_kmeans": (KBinsDiscretizer(3, encode="onehot-dense", strategy="kmeans", random_state=1), fitted, edges),
        "imputer_number": (SimpleImputer(missing_values=-1, strategy="median"), holes, hole_rows),
        "imputer_constant": (SimpleImputer(missing_values=-1, strategy="constant", fill_value=0.5), holes, hole_rows),
        "imputer_nan": (SimpleImputer(), gaps, rows),
        "maxabs": (MaxAbsScaler(), fitted, rows),
        "function_nothing": (FunctionTransformer(), fitted, rows),
        "functions": (ColumnTransformer(functions), positive, np.abs(rows) + 0.1),
        "union_weights": (
            FeatureUnion(
                [("a", StandardScaler()), ("b", "drop"), ("c", "passthrough"), ("d", PCA(2)), ("e", Normalizer())],
                transformer_weights={"a": 2.0, "d": 0.5},
            ),
            fitted,
            rows,
        ),
        "columns": (
            ColumnTransformer(
                [
                    ("range", MinMaxScaler(), slice(1, 3)),
                    ("gone", "drop", [3]),
                    ("back", StandardScaler(), [-1, 0]),
                    ("squares", PolynomialFeatures(include_bias=False), [True, False, True, False, False]),
                    ("none", StandardScaler(), []),
                ],
                remainder="passthrough",
                transformer_weights={"back": -1.5},
            ),
            fitted,
            rows,
        ),
        "columns_remainder": (
            ColumnTransformer([("keep", "passthrough", [4, 2])], remainder=MaxAbsScaler()),
            fitted,
            rows,
        ),
        "pipeline_mixed": (
            Pipeline(
                [
                    ("fill", SimpleImputer()),
                    ("scale", StandardScaler()),
                    ("both", FeatureUnion([("power", PowerTransformer()), ("squares", PolynomialFeatures(2, include_bias=False))])),
                    ("reduce", PCA(6)),
                    ("range", MinMaxScaler(clip=True)),
                ]
            ),
            gaps,
            rows,
        ),
    }
    for name, (transformer, fitted, rows) in cases.items():
        transformer.fit(fitted)
        extra = {}
        if name.startswith("quantile_normal"):  # a share near 1 in float32 has lost its digits
            extra = {"expect_float32_input": None}
        objects = {**protocols(transformer, 2, 4, 5), **joblibs(transformer)}
        write(out, name, objects, transformer.transform, source, exact(rows), extra)


def write_more(out):
    """Encoders, selections and linear reductions."""
    import sklearn
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import FastICA, IncrementalPCA, TruncatedSVD
    from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, StandardScaler
    from sklearn.random_projection import GaussianRandomProjection

    source = f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}"
    rows = data(seed=6)[:ROWS].astype(np.float32).astype(np.float64)
    fitted = data()
    lamps = np.random.RandomState(7).randint(0, 4, (200, 5)) * [1.0, 2.0, -1.0, 0.5, 1.0]
    lamps[:, 1] = np.minimum(lamps[:, 1], 2)
    lamps[:5, 3] = 7
    known = lamps[np.arange(ROWS) * 7]
    unknown = known.copy()
    unknown[::3, 2] = 9
    holes, hole_rows = fitted.copy(), rows.copy()
    holes[::7, 1] = -1
    holes[::5, 4] = -1
    hole_rows[::3, 1] = -1
    hole_rows[::2, 4] = -1
    cases = {
        "encode_onehot": (OneHotEncoder(sparse_output=False), lamps, known),
        "encode_onehot_sparse_unknown": (OneHotEncoder(handle_unknown="ignore"), lamps, unknown),
        "encode_onehot_drop": (OneHotEncoder(sparse_output=False, drop="first"), lamps, known),
        "encode_onehot_drop_binary": (OneHotEncoder(sparse_output=False, drop="if_binary", handle_unknown="ignore"), lamps, unknown),
        "encode_onehot_rare": (OneHotEncoder(sparse_output=False, min_frequency=45, handle_unknown="infrequent_if_exist"), lamps, unknown),
        "encode_ordinal": (OrdinalEncoder(), lamps, known),
        "encode_ordinal_unknown": (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-2), lamps, unknown),
        "reduce_ica": (FastICA(3, random_state=0), fitted, rows),
        "reduce_incremental": (IncrementalPCA(3, whiten=True), fitted, rows),
        "reduce_svd": (TruncatedSVD(3, random_state=0), fitted, rows),
        "reduce_random": (GaussianRandomProjection(3, random_state=0), fitted, rows),
        "select_variance": (VarianceThreshold(2.0), fitted, rows),
        "select_best": (SelectKBest(f_regression, k=2), fitted, rows),
        "imputer_indicator": (SimpleImputer(missing_values=-1, add_indicator=True), holes, hole_rows),
        "bins_sparse": (KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), fitted, rows),
        "function_clip": (FunctionTransformer(np.clip, kw_args={"a_min": -2.0, "a_max": 3}), fitted, rows),
        "columns_mixed": (
            ColumnTransformer(
                [("lamps", OneHotEncoder(handle_unknown="ignore"), [0, 3]), ("scale", StandardScaler(), slice(1, 3))],
                remainder="passthrough",
            ),
            lamps,
            unknown,
        ),
    }
    arcs = "arctan arcsinh cosh sinh exp2".split()
    small = np.clip(fitted / 40, -0.9, 0.9)
    arc = ColumnTransformer([(name, FunctionTransformer(getattr(np, name)), [i % 2 + 2]) for i, name in enumerate(arcs)])
    cases["functions_arc"] = (arc, small, np.clip(rows / 40, -0.9, 0.9).astype(np.float32))

    def dense(transformer):
        def transform(values):
            result = transformer.transform(values)
            return result.toarray() if hasattr(result, "toarray") else result

        return transform

    target = fitted @ [1, 0.1, 0, 0, 3]
    for name, (transformer, fitted_on, given) in cases.items():
        transformer.fit(fitted_on, target) if name == "select_best" else transformer.fit(fitted_on)
        objects = {**protocols(transformer, 2, 4), "joblib_bz2": ("preprocessor_bz2.joblib", compressed(transformer, "bz2"))}
        write(out, name, objects, dense(transformer), source, given)


def compressed(value, how):
    import io

    import joblib

    out = io.BytesIO()
    joblib.dump(value, out, compress=(how, 3))
    return out.getvalue()


def write_of_version(out):
    """What changed between versions of scikit-learn: names of attributes and modules."""
    import sklearn
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import PCA
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import (
        FunctionTransformer,
        KBinsDiscretizer,
        MinMaxScaler,
        OneHotEncoder,
        PolynomialFeatures,
        PowerTransformer,
        QuantileTransformer,
        RobustScaler,
        StandardScaler,
    )

    source = f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}"
    prefix = "version_" + sklearn.__version__ + "_"
    rows = data(seed=6)[:ROWS].astype(np.float32).astype(np.float64)
    fitted = data()
    lamps = fitted.copy()
    lamps[:, 0] = np.random.RandomState(7).randint(0, 4, len(lamps))
    lamp_rows = rows.copy()
    lamp_rows[:, 0] = lamps[:ROWS, 0]
    cases = {
        "pipeline": (
            Pipeline(
                [
                    ("fill", SimpleImputer(missing_values=-1)),
                    ("scale", StandardScaler()),
                    ("both", FeatureUnion([("power", PowerTransformer()), ("squares", PolynomialFeatures(2, include_bias=False))])),
                    ("reduce", PCA(6)),
                    ("range", MinMaxScaler(clip=True)),
                ]
            ),
            fitted,
            rows,
        ),
        "columns": (
            ColumnTransformer(
                [
                    ("lamp", OneHotEncoder(handle_unknown="ignore"), [0]),
                    ("robust", RobustScaler(), slice(1, 3)),
                    ("bins", KBinsDiscretizer(3, encode="ordinal", strategy="uniform"), [False, False, False, True, False]),
                    ("tanh", FunctionTransformer(np.tanh), [-1]),
                    ("shares", QuantileTransformer(n_quantiles=40), [1, 4]),
                ],
                remainder="passthrough",
            ),
            lamps,
            lamp_rows,
        ),
    }
    for name, (transformer, fitted_on, given) in cases.items():
        transformer.fit(fitted_on)
        objects = {**protocols(transformer, 0, 2, 5), "joblib_zlib": ("preprocessor_zlib.joblib", compressed(transformer, "zlib"))}
        write(out, prefix + name, objects, transformer.transform, source, given)


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


def write_dict_vec_normalize(out):
    """VecNormalize of dict observations: `expect` and `input` are by key."""
    import gymnasium
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    spaces = gymnasium.spaces

    class Env(gymnasium.Env):
        """Draws from a generator, a picture among the rest."""

        observation_space = spaces.Dict(
            {
                "goal": spaces.Box(-np.inf, np.inf, (2,), np.float32),
                "image": spaces.Box(0, 255, (4, 4, 3), np.uint8),
                "lamp": spaces.Discrete(4),
                "speed": spaces.Box(-5, 5, (3,), np.float32),
            }
        )
        action_space = spaces.Discrete(3)

        def __init__(self):
            self.random = np.random.RandomState(4)

        def observe(self):
            r = self.random
            return {
                "goal": r.normal([900, -3], [0.5, 20]).astype(np.float32),
                "image": r.randint(0, 256, (4, 4, 3)).astype(np.uint8),
                "lamp": int(r.randint(4)),
                "speed": r.normal([1, 2, 3], [0.1, 1, 10]).astype(np.float32),
            }

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.observe(), {"lap": 0}

        def step(self, action):
            return self.observe(), 1.0, False, False, {"lap": 1}

    source = f"Stable-Baselines3 {stable_baselines3.__version__}, NumPy {np.__version__}"
    for name, keys, options in (
        ("vecnormalize_dict", ["goal", "image", "speed"], {}),
        ("vecnormalize_dict_some_keys", ["speed"], {"clip_obs": 0.5, "epsilon": 1e-3}),
        ("vecnormalize_dict_reward_only", ["speed"], {"norm_obs": False}),
    ):
        env = VecNormalize(DummyVecEnv([Env]), norm_obs_keys=keys, **options)
        env.reset()
        for _ in range(100):
            env.step(np.zeros(1, np.int64))
        directory = out / name
        directory.mkdir(parents=True, exist_ok=True)
        rows = [Env().observe() for _ in range(ROWS)]
        rows = {key: np.stack([np.asarray(row[key]) for row in rows]) for key in rows[0]}
        rows["goal"] = rows["goal"] + np.linspace(-3, 300, ROWS, dtype=np.float32)[:, None]
        rows["speed"] = rows["speed"] * np.linspace(-1, 2, ROWS, dtype=np.float32)[:, None]
        objects = protocols(env, 2, 4, 5)
        for file, content in objects.values():
            (directory / file).write_bytes(content)

        def flat(values):
            return {key: np.asarray(v, np.float64).reshape(ROWS, -1).tolist() for key, v in values.items()}

        case = {
            "schema": 1,
            "name": "preprocess/" + name,
            "format": "preprocessor",
            "source": source,
            "files": {key: file for key, (file, _) in objects.items()},
            "keys": keys if options.get("norm_obs", True) else [],
            "input_by_key": flat(rows),
            "expect_by_key": flat(env.normalize_obs(rows)),
        }
        (directory / "cases.json").write_text(json.dumps(case) + "\n", encoding="utf-8")


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
    if sys.argv[2:] == ["version"]:
        write_of_version(out)
        return
    if np.__version__.startswith("1."):
        write_plain(out, "plain_numpy1")
        return
    write_plain(out, "plain")
    write_scalers(out)
    write_transformers(out)
    write_more(out)
    write_vec_normalize(out)
    write_dict_vec_normalize(out)
    write_features(out)


if __name__ == "__main__":
    main()
