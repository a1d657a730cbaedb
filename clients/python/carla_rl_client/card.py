"""The model card: what a policy promises, as ``model_card.yaml``."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

CARD_NAME = "model_card.yaml"
POSTPROCESS = ("clip", "unscale", "none")
_VERSION = re.compile(r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")


@dataclasses.dataclass(frozen=True)
class Feature:
    """One named part of an observation: a number, or an array of ``shape``.

    The bounds hold for each value and are inclusive; None is no bound.
    """

    name: str
    shape: Sequence[int] | None = None
    unit: str | None = None
    low: float | None = None
    high: float | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape) if self.shape is not None else 1


@dataclasses.dataclass(frozen=True)
class Action:
    """One named number of the answer and its inclusive bounds."""

    name: str
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class GoldenVector:
    """An observation and the action that the trainer's framework computed for it, both flat rows."""

    observation: Sequence[float]
    action: Sequence[float]


class _Flow(dict[str, Any]):
    """A mapping written on one line."""


def _represent_flow(dumper: yaml.SafeDumper, value: _Flow) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=True)


class _FlowList(list[Any]):
    """A list written on one line."""


def _flow(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _Flow({name: _flow(part) for name, part in value.items()})
    return _FlowList(_flow(part) for part in value) if isinstance(value, list) else value


def _represent_flow_list(dumper: yaml.SafeDumper, value: _FlowList) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True  # the server refuses aliases


def _represent_sequence(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    flow = not any(isinstance(item, (dict, list)) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flow)


_Dumper.add_representer(_Flow, _represent_flow)
_Dumper.add_representer(_FlowList, _represent_flow_list)
_Dumper.add_representer(list, _represent_sequence)


def card(
    *,
    model_name: str,
    version: str,
    model_type: str,
    observation: Sequence[Feature],
    action: Sequence[Action],
    artifact_hashes: Mapping[str, str],
    golden: Sequence[GoldenVector],
    atol: float = 1e-5,
    rtol: float = 1e-5,
    postprocess: str = "clip",
    deterministic_default: bool = True,
    framework_version: str | None = None,
    description: str | None = None,
    performance_metrics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build a card. Everything is checked; ValueError says the field and what it must be."""
    _check(model_name, version, observation, action, postprocess)
    width = sum(feature.size for feature in observation)
    for i, vector in enumerate(golden):
        if len(vector.observation) != width:
            raise ValueError(f"golden vector {i}: the observation has {len(vector.observation)} values, expected {width}")
        if len(vector.action) != len(action):
            raise ValueError(f"golden vector {i}: the action has {len(vector.action)} values, expected {len(action)}")
        if not (np.isfinite(vector.observation).all() and np.isfinite(vector.action).all()):
            raise ValueError(f"golden vector {i}: a value is not finite")

    result: dict[str, Any] = {"model_name": model_name, "version": version, "model_type": model_type}
    if description:
        result["description"] = description
    result["input_shape"] = [width]
    result["output_shape"] = [len(action)]
    if framework_version:
        result["framework_version"] = framework_version
    if performance_metrics:
        result["performance_metrics"] = dict(performance_metrics)
    result["artifact_hashes"] = {name: f"sha256:{digest}" for name, digest in artifact_hashes.items()}
    result["observation"] = [_Flow(_without_none(dataclasses.asdict(feature))) for feature in observation]
    result["action"] = [_Flow(_without_none(dataclasses.asdict(output))) for output in action]
    result["postprocess"] = postprocess
    result["deterministic_default"] = deterministic_default
    if golden:
        result["golden"] = {
            "atol": float(atol),
            "rtol": float(rtol),
            "vectors": [
                {
                    "observation": _Flow(_named_observation(observation, vector.observation)),
                    "action": _Flow({out.name: _shortest(v) for out, v in zip(action, vector.action)}),
                }
                for vector in golden
            ],
        }
    return result


def agent_card(
    facts: Mapping[str, Any],
    *,
    model_type: str,
    framework_version: str,
    hashes: Mapping[str, str],
    observation: Sequence[Feature] | None,
    action: Sequence[Action] | None,
    postprocess: str | None,
    frame_stack: Any,
    vectors: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Build the card of a file that says its own spaces: what is not given is not written.

    ``facts`` has ``model_name``, ``version``, ``deterministic_default``, ``atol``,
    ``rtol`` and, or None, ``description``, ``performance_metrics`` and ``control_hz``.
    The first of ``hashes`` is the model, a second one the preprocessor.
    """
    _check_names(facts["model_name"], facts["version"], postprocess or "none")
    for field, parts in (("observation", observation), ("action", action)):
        if parts is not None:
            _check_parts(field, parts)
    model, *preprocessor = hashes
    result: dict[str, Any] = {"model_name": facts["model_name"], "version": facts["version"], "model_type": model_type}
    for name in ("description", "performance_metrics", "control_hz"):
        if facts[name] is not None:
            result[name] = dict(facts[name]) if isinstance(facts[name], Mapping) else facts[name]
    result["framework_version"] = framework_version
    result["model_filename"] = model
    if preprocessor:
        result["preprocessor_filename"] = preprocessor[0]
    result["artifact_hashes"] = {name: f"sha256:{digest}" for name, digest in hashes.items()}
    if observation is not None:
        result["observation"] = [_Flow(_without_none(dataclasses.asdict(feature))) for feature in observation]
    if action is not None:
        result["action"] = [_Flow(_without_none(dataclasses.asdict(output))) for output in action]
    if postprocess is not None:
        result["postprocess"] = postprocess
    if frame_stack is not None:
        result["frame_stack"] = frame_stack
    result["deterministic_default"] = facts["deterministic_default"]
    if vectors:
        result["golden"] = {
            "atol": float(facts["atol"]),
            "rtol": float(facts["rtol"]),
            "vectors": [{name: _flow(value) for name, value in vector.items()} for vector in vectors],
        }
    return result


def write_card(directory: str | pathlib.Path, content: Mapping[str, Any]) -> pathlib.Path:
    path = pathlib.Path(directory) / CARD_NAME
    text = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=160)
    path.write_text(text, encoding="utf-8")
    return path


def read_card(directory: str | pathlib.Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((pathlib.Path(directory) / CARD_NAME).read_text(encoding="utf-8"))
    return content


def sha256_hex(path: str | pathlib.Path) -> str:
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def _check(
    model_name: str, version: str, observation: Sequence[Feature], action: Sequence[Action], postprocess: str
) -> None:
    _check_names(model_name, version, postprocess)
    for field, parts in (("observation", observation), ("action", action)):
        _check_parts(field, parts)
    if postprocess != "none":
        for output in action:
            if output.low is None or output.high is None:
                raise ValueError(f"action.{output.name}: postprocess {postprocess} needs low and high")


def _check_names(model_name: str, version: str, postprocess: str) -> None:
    if not model_name:
        raise ValueError("model_name: must not be empty")
    if not _VERSION.fullmatch(version):
        raise ValueError(f"version: {version!r} is not a semantic version such as v0.1.0")
    if postprocess not in POSTPROCESS:
        raise ValueError(f"postprocess: {postprocess!r} is none of {', '.join(POSTPROCESS)}")


def _check_parts(field: str, parts: Sequence[Feature] | Sequence[Action]) -> None:
    if not parts:
        raise ValueError(f"{field}: must not be empty")
    names = [part.name for part in parts]
    if len(set(names)) != len(names) or not all(names):
        raise ValueError(f"{field}: names must be unique and not empty, got {names}")
    for part in parts:
        if part.low is not None and part.high is not None and not part.low <= part.high:
            raise ValueError(f"{field}.{part.name}: low {part.low} is above high {part.high}")
        shape = getattr(part, "shape", None)
        if shape is not None and (not shape or min(shape) < 1):
            raise ValueError(f"{field}.{part.name}: shape {list(shape)} must hold positive sizes")


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in fields.items() if value is not None}
    if "shape" in result:
        result["shape"] = [int(n) for n in result["shape"]]
    return result


def _named_observation(features: Sequence[Feature], row: Sequence[float]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    offset = 0
    for feature in features:
        values = [_shortest(v) for v in row[offset : offset + feature.size]]
        offset += feature.size
        result[feature.name] = values[0] if feature.shape is None else _nested(values, feature.shape)
    return result


def _nested(values: list[float], shape: Sequence[int]) -> list[Any]:
    if len(shape) == 1:
        return values
    step = len(values) // shape[0]
    return [_nested(values[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


def _shortest(value: float) -> float:
    """The shortest decimal that reads back as the same float32."""
    return float(str(np.float32(value)))
