"""What the server's safety envelope changed in an answer, and how it reaches the log and the watchdog."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger("carla_rl_client")
# A policy that is clipped is clipped at every step; the log says so this often.
LOG_SECONDS = 10.0


@dataclass(frozen=True)
class Intervention:
    """One value that the envelope changed.

    ``row`` is that of the request, from 0; ``action`` names the value, as ``steer``
    or ``wheels[2]``; ``kind`` is ``bound``, ``rate``, ``jerk``, ``not_finite`` or
    ``out_of_distribution``. ``from_`` is what the policy gave (None where it was not
    finite) and ``to`` what is in the actions. ``fallback`` tells what replaced the
    whole row, None where one value moved to its limit. ``feature`` and ``score`` are
    those of ``out_of_distribution``.
    """

    row: int
    action: str
    kind: str
    from_: float | None
    to: float
    fallback: str | None = None
    feature: str | None = None
    score: float | None = None

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Intervention:
        """Read one member of the list ``interventions``."""
        before, score = value["from"], value.get("score")
        return cls(
            row=int(value["row"]),
            action=str(value["action"]),
            kind=str(value["kind"]),
            from_=None if before is None else float(before),
            to=float(value["to"]),
            fallback=None if value.get("fallback") is None else str(value["fallback"]),
            feature=None if value.get("feature") is None else str(value["feature"]),
            score=None if score is None else float(score),
        )

    def __str__(self) -> str:
        why = self.kind if self.fallback is None else f"{self.kind}, fallback {self.fallback}"
        return f"row {self.row} {self.action}: {self.from_} became {self.to} ({why})"


class Seldom:
    """At most one line every so many seconds; the next one tells how many were left out."""

    def __init__(self, seconds: float = LOG_SECONDS) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()  # guards _next and _left_out
        self._next = 0.0
        self._left_out = 0

    def turn(self) -> int | None:
        """None where the line is to be left out, else how many were since the last."""
        now = time.monotonic()
        with self._lock:
            if now < self._next:
                self._left_out += 1
                return None
            left_out, self._left_out, self._next = self._left_out, 0, now + self.seconds
            return left_out


def warn(seldom: Seldom, who: str, interventions: Sequence[Intervention]) -> None:
    """A warning for an answer that the envelope changed."""
    if interventions and (left_out := seldom.turn()) is not None:
        _log.warning(
            "%s: the safety envelope changed %d values of the answer, the first: %s (%d such answers since the last warning)",
            who,
            len(interventions),
            interventions[0],
            left_out,
        )


_found: contextvars.ContextVar[list[Intervention] | None] = contextvars.ContextVar("carla_rl_interventions", default=None)


@contextlib.contextmanager
def collected() -> Iterator[list[Intervention]]:
    """The interventions of the answers within the block, be the policy wrapped or not."""
    found: list[Intervention] = []
    token = _found.set(found)
    try:
        yield found
    finally:
        _found.reset(token)


def tell(interventions: Sequence[Intervention]) -> None:
    """Give an answer's interventions to the block that collects them, if there is one."""
    found = _found.get()
    if found is not None:
        found.extend(interventions)
