"""Write a trained policy as an artifact that the server opens."""

from __future__ import annotations

import copy
import pathlib
import pickle
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import pipeline
from .agent import MODEL_NAME, STATISTICS_NAME, Agent, action_value, foreign, is_agent, observation_value, size
from .card import Action, Feature, GoldenVector, agent_card, card, sha256_hex, write_card

TORCHSCRIPT_NAME = "model.pt"
PREPROCESSOR_NAME = "preprocessor.pkl"
GOLDEN_VECTORS = 16
# The numbers of golden vectors are bounded: a card is text that every load reads.
GOLDEN_NUMBERS_MAX = 20_000
GOLDEN_VECTOR_MAX = 100_000
PICKLE_PROTOCOL = 4


def export(
    policy: Any,
    directory: str | pathlib.Path,
    *,
    model_name: str,
    version: str,
    observation: Sequence[Feature] | None = None,
    action: Sequence[Action] | None = None,
    normalizer: Any = None,
    postprocess: str | None = None,
    deterministic_default: bool = True,
    description: str | None = None,
    performance_metrics: Mapping[str, Any] | None = None,
    golden_observations: Any = None,
    atol: float = 1e-5,
    rtol: float = 1e-5,
    env: Any = None,
    control_hz: float | None = None,
    script: bool = False,
) -> pathlib.Path:
    """Write a trained policy as an artifact that ``carla-rl serve`` opens; returns the directory.

    ``policy`` is an agent of Stable-Baselines3 or sb3-contrib, or a ``torch.nn.Module``.

    **An agent** is written as its own zip, with the statistics of its VecNormalize
    beside it. ``env`` is the environment that it was trained in, with its wrappers
    (the agent's own without it): VecNormalize and VecFrameStack become part of the
    served policy, so that raw observations of single frames are sent. ``normalizer``
    is a VecNormalize for an agent that was loaded without one. ``observation`` and
    ``action`` give names to the values of an agent that has none. An agent whose
    network is code of your own is traced to TorchScript instead: it acts
    deterministically then, on one Box of numbers.

    **A module** maps normalised rows ``[B, N]`` to action rows ``[B, M]``, or
    ``[B, *shape]`` where the only feature has a shape of two axes or more. It is
    traced, or compiled with ``script``; a ``ScriptModule`` is written as it is.
    ``observation`` and ``action`` are needed. ``normalizer`` is written as it is; see
    ``carla_rl_client.normalize`` for the kinds. ``postprocess`` is ``clip`` unless given.

    ``golden_observations`` are raw observations, as many as you like; 16 are drawn
    without them, fewer of large ones, none of those of more than 100,000 values. The
    trainer's framework gives the golden actions, one observation at a time, each the
    first of an episode.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    facts = {
        "model_name": model_name,
        "version": version,
        "description": description,
        "performance_metrics": performance_metrics,
        "deterministic_default": deterministic_default,
        "control_hz": control_hz,
        "atol": atol,
        "rtol": rtol,
    }
    if is_agent(policy):
        agent = Agent(policy, env, normalizer)
        if unknown := foreign(policy):
            return _export_traced(agent, unknown, directory, facts, observation, action, golden_observations)
        return _export_agent(agent, directory, facts, observation, action, postprocess, golden_observations)
    module = _module(policy)
    if observation is None or action is None:
        raise TypeError("observation and action: a module does not say what its values are; give both")
    return _export_module(module, directory, facts, observation, action, normalizer, postprocess or "clip", golden_observations, script)


def _export_agent(
    agent: Agent,
    directory: pathlib.Path,
    facts: Mapping[str, Any],
    observation: Sequence[Feature] | None,
    action: Sequence[Action] | None,
    postprocess: str | None,
    golden_observations: Any,
) -> pathlib.Path:
    import stable_baselines3

    vectors = []
    for raw in _rows(golden_observations, agent, observation):
        value = observation_value(raw, observation)
        vectors.append({"observation": value, "action": action_value(agent.action(_read_back(raw)), action)})
    names = agent.save(directory)
    for stale in {TORCHSCRIPT_NAME, PREPROCESSOR_NAME}:
        (directory / stale).unlink(missing_ok=True)
    content = agent_card(
        facts,
        model_type="stable-baselines3",
        framework_version=f"Stable-Baselines3 {stable_baselines3.__version__}",
        hashes={name: sha256_hex(directory / name) for name in names},
        observation=observation,
        action=action,
        postprocess=postprocess,
        frame_stack=agent.frame_stack(),
        vectors=vectors,
    )
    write_card(directory, content)
    return directory


def _export_traced(
    agent: Agent,
    unknown: Sequence[str],
    directory: pathlib.Path,
    facts: Mapping[str, Any],
    observation: Sequence[Feature] | None,
    action: Sequence[Action] | None,
    golden_observations: Any,
) -> pathlib.Path:
    """An agent with code of its own: its deterministic action as TorchScript."""
    import torch

    model = agent.model
    what = f"policy: {', '.join(unknown)} is code of your own"
    space, actions = agent.space, model.action_space
    if type(space).__name__ != "Box" or space.dtype.kind != "f" or agent.frames is not None:
        raise TypeError(f"{what}, which is traced for one Box of numbers without frame stacking, and the observation is {space}")
    if hasattr(model.policy, "lstm_actor"):
        raise TypeError(f"{what}, and it is recurrent: write a module that takes and gives its state")
    if type(actions).__name__ != "Box" or len(actions.shape) != 1:
        raise TypeError(f"{what}, which is traced for a Box of actions [M], and they are {actions}")
    if observation is None:
        observation = [Feature("observation", shape=[int(n) for n in space.shape])]
    low, high = (np.broadcast_to(bound, actions.shape) for bound in (actions.low, actions.high))
    if action is None:
        action = [Action(f"action_{i}", float(low[i]), float(high[i])) for i in range(actions.shape[0])]

    class Actor(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        def __init__(self, policy: Any) -> None:
            super().__init__()
            self.policy = policy

        def forward(self, rows: Any) -> Any:
            return self.policy._predict(rows.reshape(-1, *space.shape), deterministic=True)

    policy = copy.deepcopy(model.policy).to("cpu")
    policy.set_training_mode(False)
    kind = "unscale" if getattr(policy, "squash_output", False) else "clip"
    rows = np.stack([np.asarray(raw, np.float32).reshape(-1) for raw in _rows(golden_observations, agent, observation)])
    return _export_module(Actor(policy), directory, facts, observation, action, agent.normalizer, kind, rows, False)


def _export_module(
    module: Any,
    directory: pathlib.Path,
    facts: Mapping[str, Any],
    observation: Sequence[Feature],
    action: Sequence[Action],
    normalizer: Any,
    postprocess: str,
    golden_observations: Any,
    script: bool,
) -> pathlib.Path:
    import torch

    width = sum(feature.size for feature in observation)
    if golden_observations is None:
        golden_observations = _draw(observation, GOLDEN_VECTORS)
    rows = np.ascontiguousarray(golden_observations, np.float32)
    if rows.ndim != 2 or rows.shape[1] != width or len(rows) < GOLDEN_VECTORS:
        raise ValueError(
            f"golden_observations: expected at least {GOLDEN_VECTORS} rows of {width} values, got shape {list(rows.shape)}"
        )
    inputs = torch.from_numpy(pipeline.normalize(normalizer, rows))
    only = observation[0].shape if len(observation) == 1 else None
    if only is not None and len(only) > 1:
        inputs = inputs.reshape(-1, *(int(n) for n in only))

    atol, rtol = facts["atol"], facts["rtol"]
    with torch.no_grad(), warnings.catch_warnings():
        # TorchScript is the form that every PyTorch since 1.13 writes and reads alike.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        if isinstance(module, torch.jit.ScriptModule):
            made = module
        else:
            made = torch.jit.script(module) if script else torch.jit.trace(module, inputs[:2].clone())
        made.save(str(directory / TORCHSCRIPT_NAME))
        _drop_debug_records(directory / TORCHSCRIPT_NAME)
        written = torch.jit.load(str(directory / TORCHSCRIPT_NAME))
        # One row at a time, as a driving loop asks, each the first of an episode.
        raw = torch.cat([_first(written, inputs[i : i + 1]) for i in range(len(inputs))]).numpy()
        own = torch.cat([_first(module, inputs[i : i + 1]) for i in range(len(inputs))]).numpy()
    if raw.shape != (len(rows), len(action)):
        raise ValueError(f"policy: gave shape {list(raw.shape)} for {len(rows)} rows, expected {[len(rows), len(action)]}")
    if not np.allclose(raw, own, rtol=rtol, atol=atol):
        raise ValueError("policy: the written network does not compute what the given one does; is its forward data-dependent?")

    hashes = {TORCHSCRIPT_NAME: sha256_hex(directory / TORCHSCRIPT_NAME)}
    for stale in {PREPROCESSOR_NAME, MODEL_NAME, STATISTICS_NAME}:
        (directory / stale).unlink(missing_ok=True)
    if normalizer is not None:
        with open(directory / PREPROCESSOR_NAME, "wb") as file:
            pickle.dump(normalizer, file, protocol=PICKLE_PROTOCOL)
        hashes[PREPROCESSOR_NAME] = sha256_hex(directory / PREPROCESSOR_NAME)

    actions = pipeline.postprocess(postprocess, action, raw)
    content = card(
        model_type="torchscript",
        framework_version=f"torch {torch.__version__.split('+')[0]}",
        artifact_hashes=hashes,
        observation=observation,
        action=action,
        postprocess=postprocess,
        golden=[GoldenVector(o, a) for o, a in zip(rows, actions)],
        **{name: value for name, value in facts.items() if name != "control_hz"},
    )
    if only is not None and len(only) > 1:
        content["input_shape"] = [int(n) for n in only]
    if facts["control_hz"] is not None:
        content["control_hz"] = facts["control_hz"]
    write_card(directory, content)
    return directory


def _first(module: Any, row: Any) -> Any:
    """The action for the first observation of an episode: a module with state in its buffers begins anew."""
    if hasattr(module, "reset"):
        module.reset()
    return module(row)


def _rows(given: Any, agent: Agent, features: Sequence[Feature] | None) -> list[Any]:
    """The raw observations of the golden vectors; those that are drawn are within the features' bounds."""
    if given is None:
        width = size(agent.space)
        if width > GOLDEN_VECTOR_MAX:
            warnings.warn(f"the card has no golden vectors: one would have {width} numbers", stacklevel=4)
            return []
        drawn = agent.draw(max(1, min(GOLDEN_VECTORS, GOLDEN_NUMBERS_MAX // max(1, width))))
        if features is None or isinstance(drawn[0], Mapping):
            return drawn
        low, high = _bounds(features, -np.inf, np.inf)
        if len(low) != width:
            raise ValueError(f"observation: the features have {len(low)} values, the agent takes {width}")
        return [np.clip(row, low.reshape(row.shape), high.reshape(row.shape)).astype(row.dtype) for row in drawn]
    if isinstance(given, Mapping):
        return [{key: part[i] for key, part in given.items()} for i in range(len(next(iter(given.values()))))]
    return list(given)


def _read_back(raw: Any) -> Any:
    """The observation as the server reads it: numbers are float32."""
    if isinstance(raw, Mapping):
        return {key: _read_back(part) for key, part in raw.items()}
    array = np.asarray(raw)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _module(policy: Any) -> Any:
    """The module on the CPU, for inference; the one that was given stays as it is."""
    import torch

    if not isinstance(policy, torch.nn.Module):
        raise TypeError(f"policy: {type(policy).__name__} is neither a torch module nor an agent of Stable-Baselines3")
    return copy.deepcopy(policy).to("cpu").eval().requires_grad_(False)


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


def _bounds(features: Sequence[Feature], low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of each value of a row, ``low`` and ``high`` where a feature has none."""
    lows = np.concatenate([np.full(f.size, low if f.low is None else f.low) for f in features])
    highs = np.concatenate([np.full(f.size, high if f.high is None else f.high) for f in features])
    return lows, highs


def _draw(features: Sequence[Feature], rows: int) -> np.ndarray:
    """Rows spread over the features' bounds; the first two are the bounds themselves."""
    low, high = _bounds(features, -1.0, 1.0)
    generator = np.random.default_rng(0)
    drawn = generator.uniform(low, high, (rows - 2, len(low)))
    return np.concatenate([low[None], high[None], drawn]).astype(np.float32)
