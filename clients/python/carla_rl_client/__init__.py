"""Act with served policies, and export trained ones for carla-rl-serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .card import Action, Feature, GoldenVector, card, read_card, sha256_hex, write_card
from .errors import (
    ObservationError,
    OtherVersion,
    PolicyError,
    RequestError,
    ServerError,
    TimedOut,
    Unavailable,
    Unreachable,
)
from .export import export
from .interventions import Intervention
from .pipeline import normalize, postprocess
from .watchdog import Step, Watchdog

if TYPE_CHECKING:
    from .remote import Answer, AsyncRemotePolicy, RemotePolicy

__all__ = [
    "Action",
    "Answer",
    "AsyncRemotePolicy",
    "Feature",
    "GoldenVector",
    "Intervention",
    "ObservationError",
    "OtherVersion",
    "PolicyError",
    "RemotePolicy",
    "RequestError",
    "ServerError",
    "Step",
    "TimedOut",
    "Unavailable",
    "Unreachable",
    "Watchdog",
    "card",
    "export",
    "normalize",
    "postprocess",
    "read_card",
    "sha256_hex",
    "write_card",
]


def __getattr__(name: str) -> Any:
    # Those who export only need no HTTP library.
    if name in ("Answer", "AsyncRemotePolicy", "RemotePolicy"):
        from . import remote

        return getattr(remote, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
