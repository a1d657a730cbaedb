"""What the server said to one question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .contract import Contract
from .interventions import Intervention

# What an answer can have beside its actions, as the server names it.
EXTRAS = ("value", "log_prob", "entropy", "distribution", "raw_action", "normalized_observation")


@dataclass(frozen=True)
class State:
    """What a recurrent policy remembers, to be given back with the next observation.

    It is sealed by the server: any replica can go on from it, and it fits the model
    that gave it alone. ``rows`` is the number of observations that it is of.
    """

    token: str = field(repr=False)
    rows: int
    model: str
    version: str


@dataclass(frozen=True)
class Timing:
    """Where the server's time went, in milliseconds.

    ``queue`` is waiting for a lane, ``preprocess`` decoding and checking, ``infer`` the
    policy and ``postprocess`` the envelope and encoding.
    """

    queue: float
    preprocess: float
    infer: float
    postprocess: float

    @property
    def total(self) -> float:
        return self.queue + self.preprocess + self.infer + self.postprocess

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Timing:
        return cls(*(float(value[f"{name}_ms"]) for name in ("queue", "preprocess", "infer", "postprocess")))


@dataclass(frozen=True)
class Answer:
    """What the server said: ``actions`` as ``predict`` gives them, and what they came from.

    ``infer_ms`` is the time that the policy ran, in milliseconds. ``interventions``
    are the values that the card's safety envelope changed; without any, ``actions``
    is what the policy gave. ``state`` is what to give back with the next observation
    (None of a policy without). ``seed`` is what drawn actions were drawn with, None
    where nothing was drawn: with it, ``step`` and ``row`` the same action is drawn again.

    What was asked for with ``returns`` is in the members of these names, None
    otherwise: one entry a row, without the first axis for a single observation.
    ``distribution`` has its ``kind`` and arrays of its parameters; what is not finite,
    as the log of a probability of 0, is NaN.
    ``age_ms`` is the age of the observation where ``observed_at`` was given.
    ``session``, ``step``, ``episode`` and ``reset`` are those of a session's act.
    """

    actions: Any
    contract: Contract
    model: str
    version: str
    deterministic: bool
    infer_ms: float
    request_id: str | None
    raw: list[Any]
    interventions: tuple[Intervention, ...] = ()
    state: State | None = None
    seed: int | None = None
    timing: Timing | None = None
    age_ms: float | None = None
    value: Any = None
    log_prob: Any = None
    entropy: Any = None
    distribution: dict[str, Any] | None = None
    raw_action: Any = None
    normalized_observation: Any = None
    session: str | None = None
    step: int | None = None
    episode: int | None = None
    reset: str | None = None

    @classmethod
    def parse(cls, contract: Contract, body: Mapping[str, Any], request_id: str | None, rows: int, batched: bool) -> Answer:
        """Read the body of an answer to ``rows`` observations; another shape is an error of those in ``MISREAD``."""
        if len(body["actions"]) != rows:
            raise ValueError(f"{len(body['actions'])} actions for {rows} observations")
        model, version = str(body["model"]), str(body["version"])
        token, timing, age = body.get("state"), body.get("timing"), body.get("age_ms")
        return cls(
            actions=contract.unpack(body["actions"], batched),
            contract=contract,
            model=model,
            version=version,
            deterministic=bool(body["deterministic"]),
            infer_ms=float(body["timingMs"]),
            request_id=request_id,
            raw=body["actions"],
            interventions=tuple(Intervention.parse(one) for one in body.get("interventions") or ()),
            state=None if token is None else State(str(token), rows, model, version),
            seed=_whole(body.get("seed")),
            timing=None if timing is None else Timing.parse(timing),
            age_ms=None if age is None else float(age),
            session=None if body.get("session_id") is None else str(body["session_id"]),
            step=_whole(body.get("step")),
            episode=_whole(body.get("episode")),
            reset=None if body.get("reset") is None else str(body["reset"]),
            **{name: _extra(name, body[name], rows, batched) for name in EXTRAS if body.get(name) is not None},
        )

    def named(self) -> list[dict[str, Any]]:
        """One dict a row, an action by its name."""
        names = self.contract.action_names
        rows = []
        for row in self.raw:
            if isinstance(row, dict):
                rows.append(dict(row))
            elif len(names) == 1:
                rows.append({names[0]: row})
            else:
                rows.append(dict(zip(names, row)))
        return rows


# What reading a body of another shape raises.
MISREAD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _extra(name: str, values: Sequence[Any], rows: int, batched: bool) -> Any:
    """One entry a row; mappings as a mapping of arrays, kinds as they are."""
    if not isinstance(values, list) or len(values) != rows:
        raise ValueError(f"{name}: expected a list of {rows}")
    if isinstance(values[0], dict):
        return {key: _column([row[key] for row in values], batched) for key in values[0]}
    return _column(values, batched)


def _column(values: list[Any], batched: bool) -> Any:
    if isinstance(values[0], str):
        return values[0]
    array = np.asarray([_number(value) for value in values], np.float32)
    return array if batched else array[0]


def _number(value: Any) -> Any:
    """Numbers, with null for one that is not finite."""
    if isinstance(value, list):
        return [_number(one) for one in value]
    return np.nan if value is None else value
