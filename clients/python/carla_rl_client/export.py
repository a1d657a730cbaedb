"""Write a trained policy as an artifact that the server opens."""

from __future__ import annotations

import pathlib
import pickle
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import pipeline
from .card import Action, Feature, GoldenVector, card, sha256_hex, write_card

MODEL_NAME = "model.pt"
PREPROCESSOR_NAME = "preprocessor.pkl"
GOLDEN_VECTORS = 16
PICKLE_PROTOCOL = 4


def export(
    policy: Any,
    directory: str | pathlib.Path,
    *,
    model_name: str,
    version: str,
    observation: Sequence[Feature],
    action: Sequence[Action],
    normalizer: Any = None,
    postprocess: str = "clip",
    deterministic_default: bool = True,
    description: str | None = None,
    performance_metrics: Mapping[str, Any] | None = None,
    golden_observations: np.ndarray | None = None,
    atol: float = 1e-5,
    rtol: float = 1e-5,
) -> pathlib.Path:
    """Write ``model.pt``, ``preprocessor.pkl`` (with a normaliser) and ``model_card.yaml``.

    ``policy`` is a Stable-Baselines3 agent whose policy is an actor-critic (PPO,
    A2C) with a Box action, or a ``torch.nn.Module`` that maps normalised rows
    ``[B, N]`` to action rows ``[B, M]``. ``normalizer`` is written as it is; see
    ``carla_rl_client.normalize`` for the kinds.

    ``golden_observations`` are raw rows; without them they are drawn from the
    bounds of the features. The written network, read back from its file, gives
    the golden actions. Returns the directory.
    """
    import torch

    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    width = sum(feature.size for feature in observation)
    if golden_observations is None:
        golden_observations = _draw(observation, GOLDEN_VECTORS)
    rows = np.ascontiguousarray(golden_observations, np.float32)
    if rows.ndim != 2 or rows.shape[1] != width or len(rows) < GOLDEN_VECTORS:
        raise ValueError(
            f"golden_observations: expected at least {GOLDEN_VECTORS} rows of {width} values, got shape {list(rows.shape)}"
        )
    inputs = torch.from_numpy(pipeline.normalize(normalizer, rows))

    module = _actor(policy)
    hashes = {}
    with torch.no_grad(), warnings.catch_warnings():
        # TorchScript is the form that every PyTorch since 1.13 writes and reads alike.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
        example = inputs[:2].clone()
        traced = torch.jit.trace(module, example)
        traced.save(str(directory / MODEL_NAME))
        _drop_debug_records(directory / MODEL_NAME)
        hashes[MODEL_NAME] = sha256_hex(directory / MODEL_NAME)
        written = torch.jit.load(str(directory / MODEL_NAME))
        # One row at a time, as a driving loop asks.
        raw = torch.cat([written(inputs[i : i + 1]) for i in range(len(inputs))]).numpy()
        own = module(inputs).numpy()
    if raw.shape != (len(rows), len(action)):
        raise ValueError(f"policy: gave shape {list(raw.shape)} for {len(rows)} rows, expected {[len(rows), len(action)]}")
    if not np.allclose(raw, own, rtol=rtol, atol=atol):
        raise ValueError("policy: the written network does not compute what the given one does; is its forward data-dependent?")

    if normalizer is not None:
        with open(directory / PREPROCESSOR_NAME, "wb") as file:
            pickle.dump(normalizer, file, protocol=PICKLE_PROTOCOL)
        hashes[PREPROCESSOR_NAME] = sha256_hex(directory / PREPROCESSOR_NAME)
    else:
        (directory / PREPROCESSOR_NAME).unlink(missing_ok=True)

    actions = pipeline.postprocess(postprocess, action, raw)
    write_card(
        directory,
        card(
            model_name=model_name,
            version=version,
            model_type="torchscript",
            description=description,
            framework_version=f"torch {torch.__version__.split('+')[0]}",
            performance_metrics=performance_metrics,
            artifact_hashes=hashes,
            observation=observation,
            action=action,
            postprocess=postprocess,
            deterministic_default=deterministic_default,
            golden=[GoldenVector(o, a) for o, a in zip(rows, actions)],
            atol=atol,
            rtol=rtol,
        ),
    )
    return directory


def _actor(policy: Any) -> Any:
    """The deterministic network alone, on the CPU, for inference."""
    import copy

    import torch

    if isinstance(policy, torch.nn.Module):
        module = copy.deepcopy(policy)
    else:
        inner = getattr(policy, "policy", None)
        needed = ("features_extractor", "mlp_extractor", "action_net")
        if inner is None or not all(hasattr(inner, name) for name in needed):
            raise TypeError(
                f"policy: {type(policy).__name__} is neither a torch module nor an agent with an actor-critic policy; "
                "give the network that maps rows to actions as a torch.nn.Module"
            )
        if not hasattr(inner, "log_std"):
            raise TypeError("policy: its actions are discrete; export takes continuous ones")
        if getattr(inner, "squash_output", False):
            raise TypeError("policy: it squashes its actions; give the whole network as a torch.nn.Module")
        if type(inner.features_extractor).__name__ != "FlattenExtractor":
            raise TypeError(
                f"policy: its features extractor is {type(inner.features_extractor).__name__}, expected FlattenExtractor; "
                "give the whole network as a torch.nn.Module"
            )
        module = torch.nn.Sequential(*copy.deepcopy(inner.mlp_extractor.policy_net), copy.deepcopy(inner.action_net))
    return module.to("cpu").eval().requires_grad_(False)


def _drop_debug_records(path: pathlib.Path) -> None:
    """Write the archive again without its ``.debug_pkl`` members.

    They hold the source lines and file names of the machine that traced the
    network; nothing that runs it reads them. PyTorch's own reader and writer
    are used, so the archive keeps its form. Versions without them keep the
    records.
    """
    import torch

    reader_type: Any = getattr(torch._C, "PyTorchFileReader", None)
    if not hasattr(reader_type, "get_all_records"):
        return
    reader = reader_type(str(path))
    records = [(name, reader.get_record(name)) for name in reader.get_all_records() if _is_kept(name)]
    del reader
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, data in records:
        writer.write_record(name, data, len(data))
    writer.write_end_of_file()


def _is_kept(record: str) -> bool:
    # The writer adds version and .data itself.
    return not (record.endswith(".debug_pkl") or record == "version" or record.startswith(".data/"))


def _draw(features: Sequence[Feature], rows: int) -> np.ndarray:
    """Rows spread over the features' bounds; the first two are the bounds themselves."""
    low = np.concatenate([np.full(f.size, -1.0 if f.low is None else f.low) for f in features])
    high = np.concatenate([np.full(f.size, 1.0 if f.high is None else f.high) for f in features])
    generator = np.random.default_rng(0)
    drawn = generator.uniform(low, high, (rows - 2, len(low)))
    return np.concatenate([low[None], high[None], drawn]).astype(np.float32)
