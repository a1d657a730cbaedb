"""What can go wrong between a client and the server, one class for each thing that a caller may do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PolicyError(Exception):
    """The server gave no action.

    ``status`` is the HTTP status and ``code`` the server's stable code, None where
    no answer came; ``details`` is what the server says beside the message.
    """

    def __init__(
        self, message: str, status: int | None = None, code: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        # All are arguments, so that the exception survives pickling between processes.
        super().__init__(message, status, code, details)
        self.message = message
        self.status = status
        self.code = code
        self.details: Mapping[str, Any] = details or {}

    @property
    def request_id(self) -> str | None:
        """The id under which the server's log has this request."""
        value = self.details.get("request_id")
        return None if value is None else str(value)

    @property
    def retry_after(self) -> float | None:
        """After how many seconds to try again, where the server says so."""
        value = self.details.get("retry_after")
        return None if value is None else float(value)

    def __str__(self) -> str:
        return self.message if self.status is None else f"{self.status} {self.code}: {self.message}"


class RequestError(PolicyError):
    """The request is at fault (4xx) and will fail again."""


class ObservationError(RequestError, ValueError):
    """The observation does not fit the policy's contract.

    Found here, before anything is sent (``status`` is None), or by the server (422).
    """

    @property
    def violations(self) -> list[Mapping[str, Any]]:
        """What is wrong, each with ``field``, ``message`` and ``type``."""
        return list(self.details.get("validation_errors") or [])

    @property
    def fields(self) -> list[str]:
        """The fields that are wrong, such as ``body.observations.0.speed``."""
        return [str(violation["field"]) for violation in self.violations]


class SessionError(RequestError):
    """The session does not take this act."""


class SessionLost(SessionError, LookupError):
    """The server has no such session: it was closed, its time ran out, or another replica has it (404)."""


class SessionBusy(SessionError):
    """An act of the session is still under way; acts of one session never overlap (409)."""


class StepMismatch(SessionError):
    """The session is at another step than the client expects (409)."""


class SessionExists(SessionError):
    """There is a session of that id already (409)."""


class ServerError(PolicyError):
    """The server is at fault (5xx), or what stands in its place: an answer that is none of carla-rl."""


class StaleAnswer(ServerError):
    """An answer to an earlier question came in place of this one's; the connection was closed."""


class Unavailable(ServerError):
    """No lane, no ready version or too many requests for now (429, 503, 504); ``retry_after`` says when to try again."""


class Unreachable(PolicyError, ConnectionError):
    """The server cannot be reached, or closed the connection without an answer."""


class DeadlineExceeded(Unavailable, TimeoutError):
    """The server could not answer before the deadline of the request, and did not start it (504)."""


class TimedOut(PolicyError, TimeoutError):
    """No answer came in time."""


_BY_CODE: dict[str, type[PolicyError]] = {
    "SESSION_NOT_FOUND": SessionLost,
    "SESSION_BUSY": SessionBusy,
    "SESSION_EXISTS": SessionExists,
    "STEP_MISMATCH": StepMismatch,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}


def from_answer(status: int, body: Any, retry_after: str | None) -> PolicyError:
    """The error that an answer other than 200 stands for. ``body`` is its JSON, or None where it has none."""
    envelope: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
    code = str(envelope.get("error", "UNKNOWN"))
    message = str(envelope.get("message", "the answer is not one of carla-rl; is the URL that of the server?"))
    details = envelope.get("details")
    details = dict(details) if isinstance(details, Mapping) else {}
    if retry_after is not None and retry_after.isdecimal():
        details["retry_after"] = float(retry_after)
    kind: type[PolicyError]
    if code in _BY_CODE:
        kind = _BY_CODE[code]
    elif status in (429, 503, 504):
        kind = Unavailable
    elif status == 422:
        kind = ObservationError
    elif 400 <= status < 500:
        kind = RequestError
    else:
        kind = ServerError
    return kind(message, status, code, details)
