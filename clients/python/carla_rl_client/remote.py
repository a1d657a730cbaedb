"""A served policy in place of a model: ``RemotePolicy`` and its asynchronous twin."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import numpy as np

from .contract import Contract
from .errors import OtherVersion, PolicyError, ServerError, TimedOut, Unreachable, from_answer
from .interventions import Intervention, Seldom, tell, warn

DEFAULT_TIMEOUT = 5.0
# Below the server's idle_timeout, so that the client is the one that closes.
KEEPALIVE_SECONDS = 30.0

# A connection that ended before an answer began: the server closed or reset a kept one.
_ENDED = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
# What reading a body of another shape raises.
_MISREAD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

_Client = TypeVar("_Client", httpx.Client, httpx.AsyncClient)


@dataclass(frozen=True)
class Answer:
    """What the server said: ``actions`` as ``predict`` gives them, and what they came from.

    ``infer_ms`` is the time that the policy ran, in milliseconds. ``interventions``
    are the values that the card's safety envelope changed; without any, ``actions``
    is what the policy gave.
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


class _Remote(Generic[_Client]):
    """What both clients share: everything but waiting."""

    def __init__(
        self,
        url: str,
        model: str | None = None,
        version: str | None = None,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url: expected http://host:port or https://host, got {url!r}")
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

    def _reset(self) -> None:
        self._lock = threading.Lock()  # guards _http, _pid and _contract
        self._http: _Client | None = None
        self._pid = 0
        self._contract: Contract | None = None
        self._seldom = Seldom()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_http", "_pid", "_contract", "_seldom")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __repr__(self) -> str:
        which = "".join(f", {name}={value!r}" for name in ("model", "version") if (value := getattr(self, name)) is not None)
        return f"{type(self).__name__}({self.url!r}{which})"

    def _settings(self) -> dict[str, Any]:
        headers = {"User-Agent": "carla-rl-client", "Accept": "application/json"}
        if self._api_key is not None:
            headers["X-API-Key"] = self._api_key
        return {
            "base_url": self.url,
            "headers": headers,
            "timeout": self.timeout,
            # One connection for each request under way, that is for each thread.
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=KEEPALIVE_SECONDS),
        }

    def _make(self) -> _Client:
        raise NotImplementedError

    def _open(self) -> _Client:
        """The HTTP client of this process: connections must not be shared with a forked one."""
        with self._lock:
            if self._http is None or self._pid != os.getpid():
                self._http, self._pid = self._make(), os.getpid()
            return self._http

    @property
    def _path(self) -> str:
        if self.model is None:
            return "/predict"
        path = f"/v1/models/{quote(self.model, safe='')}"
        if self.version is not None:
            path += f"/versions/{quote(self.version, safe='')}"
        return path + "/predict"

    def _known(self) -> Contract | None:
        with self._lock:
            return self._contract

    def _learn(self, metadata: Any) -> Contract:
        try:
            contract = Contract.parse(metadata)
        except _MISREAD as error:
            raise self._misread("/metadata", error) from error
        if self.model not in (None, contract.model) or self.version not in (None, contract.version):
            wanted = self.model if self.version is None else f"{self.model} {self.version}"
            raise OtherVersion(
                f"the server tells the contract of its default version only, which is {contract.model} {contract.version} "
                f"and not {wanted}; serve {wanted} as the default"
            )
        with self._lock:
            self._contract = contract
        return contract

    def _forget(self) -> None:
        with self._lock:
            self._contract = None

    @staticmethod
    def _body(rows: list[Any], deterministic: bool | None) -> bytes:
        question: dict[str, Any] = {"observations": rows}
        if deterministic is not None:
            question["deterministic"] = bool(deterministic)
        return json.dumps(question, separators=(",", ":"), allow_nan=False).encode()

    @staticmethod
    def _read(response: httpx.Response) -> Any:
        try:
            body = response.json()
        except (ValueError, RecursionError):
            body = None
        if response.status_code != 200 or not isinstance(body, dict):
            raise from_answer(response.status_code, body, response.headers.get("Retry-After"))
        return body

    def _unreachable(self, error: httpx.HTTPError) -> PolicyError:
        if isinstance(error, httpx.TimeoutException):
            return TimedOut(f"{self.url}: no answer within {self.timeout} s ({type(error).__name__})")
        return Unreachable(f"{self.url}: {error or type(error).__name__}")

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

    def _answer(self, contract: Contract, body: dict[str, Any], response: httpx.Response, rows: list[Any], batched: bool) -> Answer:
        try:
            if len(body["actions"]) != len(rows):
                raise ValueError(f"{len(body['actions'])} actions for {len(rows)} observations")
            answer = Answer(
                actions=contract.unpack(body["actions"], batched),
                contract=contract,
                model=str(body["model"]),
                version=str(body["version"]),
                deterministic=bool(body["deterministic"]),
                infer_ms=float(body["timingMs"]),
                request_id=response.headers.get("X-Request-ID"),
                raw=body["actions"],
                interventions=tuple(Intervention.parse(one) for one in body.get("interventions") or ()),
            )
        except _MISREAD as error:
            raise self._misread(self._path, error) from error
        warn(self._seldom, f"{answer.model} {answer.version}", answer.interventions)
        tell(answer.interventions)
        return answer


def _identity(contract: Contract) -> tuple[str, str]:
    return contract.model, contract.version


def _refuse(state: Any, action_masks: Any) -> None:
    if state is not None:
        raise NotImplementedError("state: the server has no sessions yet, so it serves policies without recurrent state only")
    if action_masks is not None:
        raise NotImplementedError("action_masks: the server does not take action masks yet")


class RemotePolicy(_Remote[httpx.Client]):
    """A policy that a server runs, to be used where Stable-Baselines3 takes a model.

    ``url`` is that of the server. ``model`` and ``version`` choose one where the
    server has several. ``timeout`` is how many seconds connecting, sending and
    each wait for data may take. Nothing is sent before the first use.

    Threads may share one: each request has a connection of its own while it is
    under way, and connections are kept. It can be pickled, without connections.
    """

    def _make(self) -> httpx.Client:
        return httpx.Client(**self._settings())

    @property
    def contract(self) -> Contract:
        """The policy's contract, asked for once and again when another version answers."""
        return self._known() or self._learn(self.metadata())

    @property
    def observation_space(self) -> Any:
        """Gymnasium's space of a raw observation, or a spec of the same attributes where Gymnasium is not installed."""
        return self.contract.observation_space

    @property
    def action_space(self) -> Any:
        """The same for an action."""
        return self.contract.action_space

    def metadata(self) -> dict[str, Any]:
        """The body of ``/metadata`` as it is."""
        body: dict[str, Any] = self._read(self._send("GET", "/metadata"))
        return body

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: np.ndarray | None = None,
    ) -> tuple[Any, tuple[np.ndarray, ...] | None]:
        """The actions for raw observations, and the state, which is None.

        ``observation`` is one observation or a batch ``[n, ...]``, a mapping of
        arrays for a policy with named features (or flat rows, the features in the
        contract's order). The answer has the shape and dtype of the action space,
        with ``n`` in front for a batch. ``episode_start`` matters to recurrent
        policies only.
        """
        _refuse(state, action_masks)
        return self.act(observation, deterministic).actions, None

    def act(self, observation: Any, deterministic: bool | None = None) -> Answer:
        """The same with what came beside the actions; ``deterministic`` None takes the policy's default."""
        contract = self.contract
        for _ in range(2):
            rows, batched = contract.pack(observation)
            response = self._send("POST", self._path, self._body(rows, deterministic))
            body = self._read(response)
            if self._whose(body) != _identity(contract):
                # Another version went live; its contract may be another one. Where yet
                # another did meanwhile, the question is asked again.
                self._forget()
                contract = self.contract
            if self._whose(body) == _identity(contract):
                return self._answer(contract, body, response, rows, batched)
        raise self._moved(contract, body)

    def _send(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        headers = {} if body is None else {"Content-Type": "application/json"}
        http = self._open()
        try:
            try:
                response = http.send(http.build_request(method, path, content=body, headers=headers), stream=True)
            except _ENDED:
                # A kept connection that the server has closed or reset. Nothing of an answer
                # was read, and to ask the same twice changes nothing.
                response = http.send(http.build_request(method, path, content=body, headers=headers), stream=True)
            try:
                response.read()
            finally:
                response.close()
            return response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        except RuntimeError as error:
            if not http.is_closed:
                raise
            raise Unreachable(f"{self.url}: closed by close() while a request was under way") from error

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def __enter__(self) -> RemotePolicy:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class AsyncRemotePolicy(_Remote[httpx.AsyncClient]):
    """The asynchronous twin: the same names, of which those that ask the server are awaited.

    One belongs to one event loop.
    """

    def _make(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._settings())

    async def contract(self) -> Contract:
        """The policy's contract, asked for once and again when another version answers."""
        return self._known() or self._learn(await self.metadata())

    async def metadata(self) -> dict[str, Any]:
        """The body of ``/metadata`` as it is."""
        body: dict[str, Any] = self._read(await self._send("GET", "/metadata"))
        return body

    async def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: np.ndarray | None = None,
    ) -> tuple[Any, tuple[np.ndarray, ...] | None]:
        """As ``RemotePolicy.predict``."""
        _refuse(state, action_masks)
        return (await self.act(observation, deterministic)).actions, None

    async def act(self, observation: Any, deterministic: bool | None = None) -> Answer:
        """As ``RemotePolicy.act``."""
        contract = await self.contract()
        for _ in range(2):
            rows, batched = contract.pack(observation)
            response = await self._send("POST", self._path, self._body(rows, deterministic))
            body = self._read(response)
            if self._whose(body) != _identity(contract):
                self._forget()
                contract = await self.contract()
            if self._whose(body) == _identity(contract):
                return self._answer(contract, body, response, rows, batched)
        raise self._moved(contract, body)

    async def _send(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        headers = {} if body is None else {"Content-Type": "application/json"}
        http = self._open()
        try:
            try:
                response = await http.send(http.build_request(method, path, content=body, headers=headers), stream=True)
            except _ENDED:
                response = await http.send(http.build_request(method, path, content=body, headers=headers), stream=True)
            try:
                await response.aread()
            finally:
                await response.aclose()
            return response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        except RuntimeError as error:
            if not http.is_closed:
                raise
            raise Unreachable(f"{self.url}: closed by close() while a request was under way") from error

    async def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def __aenter__(self) -> AsyncRemotePolicy:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
