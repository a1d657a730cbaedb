"""What the clients share: everything but waiting. What they do is written in steps, each a request that is given its response."""

from __future__ import annotations

import collections
import itertools
import os
import secrets
import threading
from collections.abc import Callable, Generator
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

import httpx

from .answer import MISREAD, Answer
from .contract import Contract
from .errors import ObservationError, PolicyError, ServerError, StaleAnswer, TimedOut, Unreachable, from_answer
from .interventions import Seldom, tell, warn
from .question import MAX_SEED, Question

# How the URL of a Unix domain socket begins; the rest is its path.
SOCKET_SCHEME = "unix://"
DEFAULT_TIMEOUT = 5.0
# Below the server's idle_timeout, so that the client is the one that closes.
KEEPALIVE_SECONDS = 30.0
# Answers whose ids are remembered: one of them again is a duplicate.
REMEMBERED = 1024

# A connection that ended before an answer began: the server closed or reset a kept one.
ENDED = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)

_Client = TypeVar("_Client", httpx.Client, httpx.AsyncClient)
Result = TypeVar("Result")


class Call(NamedTuple):
    """One HTTP request. ``again`` tells that it may be sent once more where a kept connection was closed."""

    method: str
    path: str
    body: bytes | None = None
    again: bool = True


# What both clients do, in steps: each yields a request and is given its response.
Steps = Generator[Call, httpx.Response, Result]


class Remote(Generic[_Client]):
    """What both clients share: everything but waiting."""

    def __init__(
        self,
        url: str,
        model: str | None = None,
        version: str | None = None,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        seed: int | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://", SOCKET_SCHEME + "/")):
            raise ValueError(f"url: expected http://host:port, https://host or unix:///path, got {url!r}")
        if version is not None and model is None:
            raise ValueError("version: a version is one of a model; give model too")
        if not timeout > 0:
            raise ValueError(f"timeout: expected seconds above 0, got {timeout}")
        self.url = url.rstrip("/")
        self.model = model
        self.version = version
        self.timeout = timeout
        self._api_key = api_key
        self._reset()
        self.set_random_seed(seed)

    def _reset(self) -> None:
        self._lock = threading.Lock()  # guards _http, _pid, _contract, _seen and _draws
        self._http: _Client | None = None
        self._pid = 0
        self._contract: Contract | None = None
        self._seldom = Seldom()
        self._prefix = secrets.token_hex(8) + "-"
        self._count = itertools.count()
        self._seen: collections.OrderedDict[str, None] = collections.OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        made = ("_lock", "_http", "_pid", "_contract", "_seldom", "_prefix", "_count", "_seen")
        return {name: value for name, value in self.__dict__.items() if name not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __repr__(self) -> str:
        which = "".join(f", {name}={value!r}" for name in ("model", "version") if (value := getattr(self, name)) is not None)
        return f"{type(self).__name__}({self.url!r}{which})"

    def set_random_seed(self, seed: int | None = None) -> None:
        """Draw actions from a seed from here on: the same questions in the same order draw the same again.

        Question ``i`` from now is sent with ``seed`` and ``step=i``. None leaves the seed
        to the server, which tells it in each answer.
        """
        if seed is not None and not 0 <= seed <= MAX_SEED:
            raise ValueError(f"seed: expected a whole number from 0 to {MAX_SEED}, got {seed}")
        with self._lock:
            self._seed, self._draws = seed, 0

    def _keys(self, seed: int | None, step: int | None) -> tuple[int | None, int | None]:
        """The seed and the step of the next question."""
        with self._lock:
            if seed is not None or self._seed is None:
                return seed, step
            step, self._draws = (self._draws if step is None else step), self._draws + 1
            return self._seed, step

    def _settings(self, transport: Callable[..., Any]) -> dict[str, Any]:
        headers = {"User-Agent": "carla-rl-client", "Accept": "application/json"}
        if self._api_key is not None:
            headers["X-API-Key"] = self._api_key
        # One connection for each request under way, that is for each thread.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=KEEPALIVE_SECONDS)
        settings = {"base_url": self.url, "headers": headers, "timeout": self.timeout, "limits": limits}
        if self.url.startswith(SOCKET_SCHEME):
            settings["base_url"] = "http://localhost"
            settings["transport"] = transport(uds=self.url.removeprefix(SOCKET_SCHEME), limits=limits)
        return settings

    def _make(self) -> _Client:
        raise NotImplementedError

    def _open(self) -> _Client:
        """The HTTP client of this process: connections must not be shared with a forked one."""
        with self._lock:
            if self._http is None or self._pid != os.getpid():
                self._http, self._pid = self._make(), os.getpid()
            return self._http

    @property
    def _base(self) -> str:
        """The path of the model or version, "" for the default one."""
        if self.model is None:
            return ""
        path = f"/v1/models/{quote(self.model, safe='')}"
        if self.version is not None:
            path += f"/versions/{quote(self.version, safe='')}"
        return path

    @property
    def _path(self) -> str:
        return self._base + "/predict"

    def _known(self) -> Contract | None:
        with self._lock:
            return self._contract

    def _telling(self) -> Steps[dict[str, Any]]:
        body: dict[str, Any] = self._read((yield Call("GET", self._base or "/metadata")))
        return body

    def _learning(self) -> Steps[Contract]:
        """The contract as it is now, remembered."""
        metadata = yield from self._telling()
        try:
            contract = Contract.parse(metadata)
        except MISREAD as error:
            raise self._misread(self._base or "/metadata", error) from error
        with self._lock:
            self._contract = contract
        return contract

    def _asking(self, question: Question) -> Steps[Answer]:
        """The question, and its answer read with the contract of the version that gave it."""
        contract = self._known() or (yield from self._learning())
        for attempt in range(2):
            data, rows, batched = question.encode(contract)
            response = yield Call("POST", self._path, data)
            try:
                body = self._read(response)
            except ObservationError:
                # The contract may be that of a version before. Where it is not, the observation is at fault.
                told, contract = contract, (yield from self._learning())
                if attempt or contract == told:
                    raise
                continue
            if self._whose(body) != _identity(contract):
                # Another version went live; its contract may be another one. Where yet
                # another did meanwhile, the question is asked again.
                contract = yield from self._learning()
            if self._whose(body) == _identity(contract):
                return self._answer(contract, body, response, rows, batched)
        raise self._moved(contract, body)

    @staticmethod
    def _read(response: httpx.Response, status: int = 200) -> Any:
        try:
            body = response.json()
        except (ValueError, RecursionError):
            body = None
        if response.status_code != status or not isinstance(body, dict):
            raise from_answer(response.status_code, body, response.headers.get("Retry-After"))
        return body

    def _next_id(self) -> str:
        return self._prefix + str(next(self._count))

    def _fresh(self, response: httpx.Response, request_id: str) -> None:
        """Refuse an answer to another question.

        The server echoes the id of a request. Where something between gives ids of its
        own, the same one twice is still a duplicate.
        """
        got = response.headers.get("X-Request-ID")
        if got is None:
            return
        with self._lock:
            again = got in self._seen
            self._seen[got] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        if again or (got != request_id and got.startswith(self._prefix)):
            raise StaleAnswer(f"{self.url}: an answer to request {got} came for {request_id}; it was dropped")

    def _unreachable(self, error: httpx.HTTPError) -> PolicyError:
        if isinstance(error, httpx.TimeoutException):
            return TimedOut(f"{self.url}: no answer within {self.timeout} s ({type(error).__name__})")
        return Unreachable(f"{self.url}: {error or type(error).__name__}")

    def _closed(self) -> Unreachable:
        return Unreachable(f"{self.url}: closed by close() while a request was under way")

    def _misread(self, path: str, error: Exception) -> ServerError:
        return ServerError(f"{self.url}{path}: the answer is not one of carla-rl: {type(error).__name__}: {error}")

    def _whose(self, body: dict[str, Any]) -> tuple[str, str]:
        """The model and the version that answered."""
        try:
            return str(body["model"]), str(body["version"])
        except KeyError as error:
            raise self._misread(self._path, error) from error

    def _moved(self, contract: Contract, body: dict[str, Any]) -> ServerError:
        model, version = self._whose(body)
        return ServerError(
            f"{self.url}: {model} {version} answered and /metadata tells the contract of {contract.model} {contract.version}, twice"
        )

    def _answer(self, contract: Contract, body: dict[str, Any], response: httpx.Response, rows: int, batched: bool) -> Answer:
        try:
            answer = Answer.parse(contract, body, response.headers.get("X-Request-ID"), rows, batched)
        except MISREAD as error:
            raise self._misread(self._path, error) from error
        warn(self._seldom, f"{answer.model} {answer.version}", answer.interventions)
        tell(answer.interventions)
        return answer


def _identity(contract: Contract) -> tuple[str, str]:
    return contract.model, contract.version


def request(http: httpx.Client | httpx.AsyncClient, call: Call, request_id: str) -> httpx.Request:
    headers = {"X-Request-ID": request_id}
    if call.body is not None:
        headers["Content-Type"] = "application/json"
    return http.build_request(call.method, call.path, content=call.body, headers=headers)
