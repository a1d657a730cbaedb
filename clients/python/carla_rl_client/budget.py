"""How long an answer may take, told to whatever asks within: the watchdog's deadline reaches the server so, be the policy wrapped or not."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """``ends`` is a reading of ``time.monotonic``. ``observed_at`` (Unix seconds) is sent where the server's clock agrees with this one."""

    ends: float
    observed_at: float | None = None

    def remaining(self) -> float:
        """Seconds until the end; below 0 after it."""
        return self.ends - time.monotonic()


_current: contextvars.ContextVar[Budget | None] = contextvars.ContextVar("carla_rl_budget", default=None)


def current() -> Budget | None:
    """The budget of the block that this is called in, None without one."""
    return _current.get()


@contextlib.contextmanager
def within(budget: Budget) -> Iterator[None]:
    """Questions asked in the block are of no use after the budget's end."""
    token = _current.set(budget)
    try:
        yield
    finally:
        _current.reset(token)
