"""What a client asks: the members of a request beside its observations, checked and written as JSON."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import budget
from .answer import EXTRAS, State
from .contract import Contract
from .errors import ObservationError, TimedOut

MAX_SEED = 2**53 - 1


@dataclass(frozen=True)
class Question:
    """One request for actions, whatever contract it will be held to.

    ``seed``, ``step`` and ``row`` are the keys of the draws; ``deadline`` is in
    seconds, from ``observed_at`` (Unix seconds) where that is given.
    """

    observation: Any
    deterministic: bool | None = None
    state: State | None = None
    episode_start: Any = None
    action_masks: Any = None
    returns: Sequence[str] = ()
    seed: int | None = None
    step: int | None = None
    row: int | None = None
    deadline: float | None = None
    observed_at: float | None = None

    def __post_init__(self) -> None:
        if self.state is not None and not isinstance(self.state, State):
            raise TypeError(f"state: expected None or the state that predict returned, got {type(self.state).__name__}")
        for name in self.returns:
            if name not in EXTRAS:
                raise ValueError(f"returns: {name!r} is none of {', '.join(EXTRAS)}")
        for name in ("seed", "step", "row"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= MAX_SEED:
                raise ValueError(f"{name}: expected a whole number from 0 to {MAX_SEED}, got {value}")
        if self.deadline is not None and not 0 < self.deadline < math.inf:
            raise ValueError(f"deadline: expected seconds above 0, got {self.deadline}")

    def encode(self, contract: Contract, session: bool = False, step: int | None = None) -> tuple[bytes, int, bool]:
        """The body, its number of rows, and whether the observation is a batch.

        Of a session, the state and the keys of the draws are the server's, there is one
        row, and ``step`` is the one that the session is expected at.
        """
        rows, batched = contract.pack(self.observation)
        body: dict[str, Any] = {"observations": rows}
        if self.deterministic is not None:
            body["deterministic"] = bool(self.deterministic)
        if session:
            if len(rows) != 1:
                raise _refused("observation", f"expected a single one: a session is of one robot, got a batch of {len(rows)}")
            if self.episode_start is not None and bool(np.any(self.episode_start)):
                body["episode_start"] = True
        elif contract.recurrent or self.state is not None:
            # A state for a policy that keeps none is the server's to refuse.
            body["state"] = None if self.state is None else self.state.token
            if self.episode_start is not None:
                body["episode_start"] = self._starts(len(rows))
        if self.action_masks is not None:
            body["action_masks"] = self._masks(contract, len(rows))
        if self.returns:
            body["return"] = list(self.returns)
        for name, key in (("seed", self.seed), ("step", self.step if step is None else step), ("row", self.row)):
            if key is not None:
                body[name] = int(key)
        self._times(body)
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode(), len(rows), batched

    def _starts(self, rows: int) -> list[bool]:
        starts = np.asarray(self.episode_start)
        if starts.size != rows and starts.ndim:
            raise _refused("episode_start", f"expected {rows} values, got {starts.size}")
        return [bool(one) for one in np.broadcast_to(starts.reshape(-1), rows)]

    def _masks(self, contract: Contract, rows: int) -> list[list[int]]:
        masks = np.asarray(self.action_masks)
        width = sum(contract.masks) or masks.size // rows
        if masks.dtype.kind not in "biuf" or masks.size != rows * width:
            raise _refused("action_masks", f"expected {rows} rows of {width} values, got {list(masks.shape)}")
        flat: list[list[int]] = (masks.reshape(rows, width) != 0).astype(np.uint8).tolist()
        return flat

    def _times(self, body: dict[str, Any]) -> None:
        if self.deadline is not None:
            body["deadline_ms"] = self.deadline * 1e3
        if self.observed_at is not None:
            body["observed_at"] = float(self.observed_at)
        limit = budget.current()
        if limit is None or self.deadline is not None:
            return
        remaining = limit.remaining()
        if remaining <= 0:
            raise TimedOut("the deadline passed before the question was sent")
        if limit.observed_at is not None and self.observed_at is None:
            body["observed_at"] = limit.observed_at
            # The deadline counts from there.
            remaining += time.time() - limit.observed_at
        body["deadline_ms"] = remaining * 1e3


def _refused(field: str, message: str) -> ObservationError:
    details = {"validation_errors": [{"field": field, "message": message, "type": "value_error"}]}
    return ObservationError(f"{field}: {message}", details=details)
