"""An action in time, whatever the server does."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import budget
from .errors import ObservationError, PolicyError
from .interventions import Intervention, collected

_log = logging.getLogger("carla_rl_client.watchdog")
# A server that stalls holds a request until the policy's own timeout. Others go
# ahead of it meanwhile, so that the first one after the stall is answered.
MAX_PENDING = 4


@dataclass(frozen=True)
class Step:
    """What the last call of ``predict`` did.

    ``fallback`` tells that its action is not the policy's, ``reason`` why.
    ``interventions`` are the values of the action that the server's safety envelope changed.
    """

    number: int
    fallback: bool
    reason: str
    seconds: float
    interventions: tuple[Intervention, ...] = ()


class _Ticket:
    """One question to the policy. Its answer counts only while it has not been given up."""

    def __init__(self, call: Callable[[], Any], limit: budget.Budget) -> None:
        self.call = call
        self.limit = limit
        self.lock = threading.Lock()  # guards given_up, late, result, error and interventions
        self.done = threading.Event()
        self.given_up = False
        self.late = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.interventions: tuple[Intervention, ...] = ()


class Watchdog:
    """Ask a policy, and give the fallback action when its answer is not there in ``deadline`` seconds.

    ``policy`` is a ``RemotePolicy`` or anything with its ``predict``; one watchdog
    belongs to one control loop. ``fallback`` is the action to give (for a batch, of
    the batch's shape), or a function of the observation. An answer that comes later
    is dropped and counted: it never becomes the action of a later observation.

    A ``RemotePolicy`` tells the server how much of the deadline is left when it sends
    the question, so that what would be late is not started. With ``shared_clock`` it
    tells when the observation was made instead, so that the time on the way counts
    too: for a robot whose clock agrees with the server's, by NTP or PTP, to within a
    small part of the deadline.

    An error of the server or the connection leads to the fallback too, and so does an
    observation that the server refuses. Other errors (an argument that the policy does
    not take, an observation that does not fit its contract) are the caller's and are raised.
    ``on_step`` is called with each ``Step``, so that steps with ``fallback`` can be
    counted and kept out of recorded experience.
    """

    def __init__(
        self,
        policy: Any,
        deadline: float,
        fallback: Any,
        on_step: Callable[[Step], None] | None = None,
        shared_clock: bool = False,
    ) -> None:
        if not deadline > 0:
            raise ValueError(f"deadline: expected seconds above 0, got {deadline}")
        self.policy = policy
        self.deadline = deadline
        self.shared_clock = shared_clock
        self.last: Step | None = None
        self.steps = 0
        self.fallbacks = 0
        self._fallback = fallback
        self._on_step = on_step
        self._queue: queue.SimpleQueue[_Ticket | None] = queue.SimpleQueue()
        self._free = threading.Semaphore(MAX_PENDING)
        self._lock = threading.Lock()  # guards _dropped
        self._dropped = 0
        self._threads: list[threading.Thread] = []
        self._failing = False

    @property
    def dropped(self) -> int:
        """How many answers came after their deadline."""
        with self._lock:
            return self._dropped

    @property
    def observation_space(self) -> Any:
        return self.policy.observation_space

    @property
    def action_space(self) -> Any:
        return self.policy.action_space

    def predict(self, observation: Any, *arguments: Any, observed_at: float | None = None, **options: Any) -> tuple[Any, Any]:
        """As the policy's, no later than the deadline.

        The deadline counts from ``observed_at`` (``time.time()`` when the sensors were
        read) where that is given, else from this call: an action for an observation
        that is older than it is never given.
        """
        begun = time.monotonic()
        age = 0.0 if observed_at is None else max(0.0, time.time() - observed_at)
        limit = budget.Budget(begun + self.deadline - age, (observed_at or time.time()) if self.shared_clock else None)
        ticket = _Ticket(lambda: self.policy.predict(observation, *arguments, **options), limit)
        reason = ""
        if age >= self.deadline:
            reason = f"late: the observation was {age:.3f} s old"
        elif not self._free.acquire(timeout=max(0.0, limit.remaining())):
            reason = f"late: {MAX_PENDING} earlier questions have no answer"
        else:
            self._hand_over(ticket)
            if not ticket.done.wait(max(0.0, limit.remaining())):
                with ticket.lock:
                    ticket.given_up = not ticket.done.is_set()
            if ticket.given_up or ticket.late:
                reason = f"late: no answer within {self.deadline} s"
            elif _not_the_callers(ticket.error):
                reason = f"error: {ticket.error}"
            elif ticket.error is not None:
                raise ticket.error
        self._note(reason, time.monotonic() - begun, () if reason else ticket.interventions)
        if not reason:
            return ticket.result  # type: ignore[no-any-return]
        state = options.get("state", arguments[0] if arguments else None)
        return self._safe(observation), state

    def close(self) -> None:
        """End the threads once their questions are answered."""
        for _ in self._threads:
            self._queue.put(None)
        self._threads = []

    def _safe(self, observation: Any) -> Any:
        if callable(self._fallback):
            return self._fallback(observation)
        return np.array(self._fallback)

    def _note(self, reason: str, seconds: float, interventions: tuple[Intervention, ...]) -> None:
        self.steps += 1
        if reason:
            self.fallbacks += 1
        if reason and not self._failing:
            _log.warning("step %d: fallback action: %s", self.steps, reason)
        elif self._failing and not reason:
            _log.warning("step %d: the policy answers again", self.steps)
        self._failing = bool(reason)
        self.last = Step(self.steps, bool(reason), reason, seconds, interventions)
        if self._on_step is not None:
            self._on_step(self.last)

    def _hand_over(self, ticket: _Ticket) -> None:
        if len(self._threads) < MAX_PENDING:
            thread = threading.Thread(target=self._work, name="carla-rl-watchdog", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._queue.put(ticket)

    def _work(self) -> None:
        while (ticket := self._queue.get()) is not None:
            result, error = None, None
            with collected() as found, budget.within(ticket.limit):
                try:
                    result = ticket.call()
                except BaseException as caught:  # raised again in the caller's thread
                    error = caught
            with ticket.lock:
                ticket.result, ticket.error, ticket.interventions = result, error, tuple(found)
                ticket.late = ticket.limit.remaining() < 0
                ticket.done.set()
                late = ticket.given_up or ticket.late
            if late and error is None:
                with self._lock:
                    self._dropped += 1
            self._free.release()


def _not_the_callers(error: BaseException | None) -> bool:
    """Whether the server or the way to it failed. An observation that was refused before it was sent is the caller's."""
    if isinstance(error, ObservationError):
        return error.status is not None
    return isinstance(error, PolicyError)
