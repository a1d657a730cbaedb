"""Act with served policies, and export trained ones for carla-rl-serving."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .card import Action, Feature, GoldenVector, card, read_card, sha256_hex, write_card
from .errors import (
    DeadlineExceeded,
    ObservationError,
    PolicyError,
    RequestError,
    ServerError,
    SessionBusy,
    SessionError,
    SessionExists,
    SessionLost,
    StaleAnswer,
    StepMismatch,
    TimedOut,
    Unavailable,
    Unreachable,
)
from .export import export
from .interventions import Intervention
from .pipeline import normalize, postprocess
from .recorded import Episode, Recorded, read_export
from .watchdog import Step, Watchdog

if TYPE_CHECKING:
    from .answer import Answer, State, Timing
    from .remote import AsyncRemotePolicy, RemotePolicy
    from .session import AsyncSession, Session

__all__ = [
    "Action",
    "Answer",
    "AsyncRemotePolicy",
    "AsyncSession",
    "DeadlineExceeded",
    "Episode",
    "Feature",
    "GoldenVector",
    "Intervention",
    "ObservationError",
    "PolicyError",
    "Recorded",
    "RemotePolicy",
    "RequestError",
    "ServerError",
    "Session",
    "SessionBusy",
    "SessionError",
    "SessionExists",
    "SessionLost",
    "StaleAnswer",
    "State",
    "Step",
    "StepMismatch",
    "TimedOut",
    "Timing",
    "Unavailable",
    "Unreachable",
    "Watchdog",
    "card",
    "export",
    "normalize",
    "postprocess",
    "read_card",
    "read_export",
    "sha256_hex",
    "write_card",
]


# Those who export only need no HTTP library.
_LATER = {
    "Answer": "answer",
    "AsyncRemotePolicy": "remote",
    "AsyncSession": "session",
    "RemotePolicy": "remote",
    "Session": "session",
    "State": "answer",
    "Timing": "answer",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
