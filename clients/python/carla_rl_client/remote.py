"""A served policy in place of a model: ``RemotePolicy`` and its asynchronous twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from .answer import Answer, State
from .contract import Contract
from .core import ENDED, Call, Remote, Result, Steps, request
from .errors import PolicyError
from .question import Question

if TYPE_CHECKING:
    from .session import AsyncSession, Session


def _values(answer: Answer) -> np.ndarray:
    return np.asarray(answer.value, np.float32).reshape(-1, 1)


class RemotePolicy(Remote[httpx.Client]):
    """A policy that a server runs, to be used where Stable-Baselines3 takes a model.

    ``url`` is that of the server. ``model`` and ``version`` choose one where the
    server has several. ``timeout`` is how many seconds connecting, sending and
    each wait for data may take. ``seed`` is that of ``set_random_seed``. Nothing is
    sent before the first use.

    Threads may share one: each request has a connection of its own while it is
    under way, and connections are kept. It can be pickled, without connections.
    """

    def _make(self) -> httpx.Client:
        return httpx.Client(**self._settings(httpx.HTTPTransport))

    @property
    def contract(self) -> Contract:
        """The policy's contract, asked for once and again when another version answers."""
        return self._known() or self._run(self._learning())

    @property
    def observation_space(self) -> Any:
        """Gymnasium's space of a raw observation, or a spec of the same attributes where Gymnasium is not installed."""
        return self.contract.observation_space

    @property
    def action_space(self) -> Any:
        """The same for an action."""
        return self.contract.action_space

    def metadata(self) -> dict[str, Any]:
        """The contract as the server tells it."""
        return self._run(self._telling())

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[Any, Any]:
        """The actions for raw observations, and the state to give back with the next ones.

        ``observation`` is one observation or a batch ``[n, ...]``, a mapping of
        arrays for a policy with named features (or flat rows, the features in the
        contract's order). The answer has the shape and dtype of the action space,
        with ``n`` in front for a batch.

        The state of a recurrent policy is a ``State``, and None where an episode
        begins; rows with a true ``episode_start`` begin one, as in sb3-contrib.
        Other policies return None. ``action_masks`` is ``[n, choices]``, true for
        the actions that are allowed.
        """
        answer = self.act(observation, deterministic, state=state, episode_start=episode_start, action_masks=action_masks)
        return answer.actions, answer.state

    def act(
        self,
        observation: Any,
        deterministic: bool | None = None,
        *,
        state: State | None = None,
        episode_start: Any = None,
        action_masks: Any = None,
        returns: Sequence[str] = (),
        seed: int | None = None,
        step: int | None = None,
        row: int | None = None,
        deadline: float | None = None,
        observed_at: float | None = None,
    ) -> Answer:
        """The same with what came beside the actions; ``deterministic`` None takes the policy's default.

        ``returns`` names what else to tell: ``value``, ``log_prob``, ``entropy``,
        ``distribution``, ``raw_action``, ``normalized_observation``. Actions are drawn
        from ``seed``, ``step`` and, for the first observation, ``row``. ``deadline`` is
        how many seconds the answer may take, from ``observed_at`` (Unix seconds, by the
        server's clock) or from the arrival of the request; what would be late is
        ``DeadlineExceeded``.
        """
        seed, step = self._keys(seed, step)
        question = Question(
            observation, deterministic, state, episode_start, action_masks, returns, seed, step, row, deadline, observed_at
        )
        return self._run(self._asking(question))

    def predict_values(self, observation: Any, state: State | None = None, episode_start: Any = None) -> np.ndarray:
        """The critic's values ``[n, 1]``, as ``model.policy.predict_values``, of raw observations."""
        return _values(self.act(observation, True, state=state, episode_start=episode_start, returns=("value",)))

    def session(self, **options: Any) -> Session:
        """A ``Session`` of this policy; ``options`` are those of ``Session``."""
        from .session import Session

        return Session(self, **options)

    def _run(self, steps: Steps[Result]) -> Result:
        try:
            call = next(steps)
            while True:
                try:
                    response = self._send(call)
                except PolicyError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(response)
        except StopIteration as stop:
            result: Result = stop.value
            return result

    def _send(self, call: Call) -> httpx.Response:
        http, request_id = self._open(), self._next_id()
        try:
            try:
                response = http.send(request(http, call, request_id), stream=True)
            except ENDED:
                # A kept connection that the server has closed or reset. Nothing of an answer
                # was read, and to ask the same twice changes nothing.
                if not call.again:
                    raise
                response = http.send(request(http, call, request_id), stream=True)
            try:
                # Before the body is read, so that the connection is closed and not kept.
                self._fresh(response, request_id)
                response.read()
            finally:
                response.close()
            return response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        except RuntimeError as error:
            if not http.is_closed:
                raise
            raise self._closed() from error

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


class AsyncRemotePolicy(Remote[httpx.AsyncClient]):
    """The asynchronous twin: the same names, of which those that ask the server are awaited.

    One belongs to one event loop.
    """

    def _make(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._settings(httpx.AsyncHTTPTransport))

    async def contract(self) -> Contract:
        """The policy's contract, asked for once and again when another version answers."""
        known = self._known()
        return await self._run(self._learning()) if known is None else known

    async def metadata(self) -> dict[str, Any]:
        """The contract as the server tells it."""
        return await self._run(self._telling())

    async def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[Any, Any]:
        """As ``RemotePolicy.predict``."""
        answer = await self.act(observation, deterministic, state=state, episode_start=episode_start, action_masks=action_masks)
        return answer.actions, answer.state

    async def act(
        self,
        observation: Any,
        deterministic: bool | None = None,
        *,
        state: State | None = None,
        episode_start: Any = None,
        action_masks: Any = None,
        returns: Sequence[str] = (),
        seed: int | None = None,
        step: int | None = None,
        row: int | None = None,
        deadline: float | None = None,
        observed_at: float | None = None,
    ) -> Answer:
        """As ``RemotePolicy.act``."""
        seed, step = self._keys(seed, step)
        question = Question(
            observation, deterministic, state, episode_start, action_masks, returns, seed, step, row, deadline, observed_at
        )
        return await self._run(self._asking(question))

    async def predict_values(self, observation: Any, state: State | None = None, episode_start: Any = None) -> np.ndarray:
        """As ``RemotePolicy.predict_values``."""
        return _values(await self.act(observation, True, state=state, episode_start=episode_start, returns=("value",)))

    def session(self, **options: Any) -> AsyncSession:
        """An ``AsyncSession`` of this policy; ``options`` are those of ``Session``."""
        from .session import AsyncSession

        return AsyncSession(self, **options)

    async def _run(self, steps: Steps[Result]) -> Result:
        try:
            call = next(steps)
            while True:
                try:
                    response = await self._send(call)
                except PolicyError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(response)
        except StopIteration as stop:
            result: Result = stop.value
            return result

    async def _send(self, call: Call) -> httpx.Response:
        http, request_id = self._open(), self._next_id()
        try:
            try:
                response = await http.send(request(http, call, request_id), stream=True)
            except ENDED:
                if not call.again:
                    raise
                response = await http.send(request(http, call, request_id), stream=True)
            try:
                self._fresh(response, request_id)
                await response.aread()
            finally:
                await response.aclose()
            return response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        except RuntimeError as error:
            if not http.is_closed:
                raise
            raise self._closed() from error

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
