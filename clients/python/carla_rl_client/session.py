"""A session: a policy that the server remembers one robot's state for, from step to step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx

from .answer import MISREAD, Answer
from .contract import Contract
from .core import Call, Steps
from .errors import PolicyError, RequestError, SessionLost, StepMismatch
from .question import Question
from .remote import AsyncRemotePolicy, RemotePolicy


class _Session:
    """What both kinds share: everything but waiting."""

    policy: RemotePolicy | AsyncRemotePolicy

    def __init__(
        self,
        policy: Any,
        id: str | None = None,
        seed: int | None = None,
        deterministic: bool | None = None,
        ttl: float | None = None,
    ) -> None:
        self.policy = policy
        self.id: str | None = None
        self.model: str | None = None
        self.version: str | None = None
        self.seed: int | None = None
        self.deterministic: bool | None = None
        self.ttl: float | None = None
        self.expires_at: float | None = None
        self.step = 0
        self.episode = 0
        self._asked = {"id": id, "seed": seed, "deterministic": deterministic, "ttl_s": ttl}
        self._contract: Contract | None = None
        # Whether an act may have been done whose answer was not read.
        self._unsure = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.policy!r}, id={self.id or self._asked['id']!r}, step={self.step})"

    @property
    def _path(self) -> str:
        if self.id is None:
            raise SessionLost("the session is not open")
        return f"/v1/sessions/{quote(self.id, safe='')}"

    def _opening(self) -> Steps[None]:
        if self.id is not None:
            return
        wanted = {"model": self.policy.model, "version": self.policy.version} | self._asked
        body = _encoded({name: value for name, value in wanted.items() if value is not None})
        # Sent once: a session that was opened unheard would stay until its time runs out.
        response = yield Call("POST", "/v1/sessions", body, again=False)
        self._learn(self.policy._read(response, 201))

    def _reading(self) -> Steps[dict[str, Any]]:
        body: dict[str, Any] = self.policy._read((yield Call("GET", self._path)))
        self._learn(body)
        return body

    def _resetting(self, seed: int | None) -> Steps[None]:
        body = _encoded({} if seed is None else {"seed": seed})
        self._learn(self.policy._read((yield Call("POST", self._path + "/reset", body))))

    def _telling(self, outcome: dict[str, Any]) -> Steps[int]:
        body = _encoded({name: value for name, value in outcome.items() if value is not None and value is not False})
        # The server knows an outcome that it has, so that it can be sent again.
        answer: dict[str, Any] = self.policy._read((yield Call("POST", self._path + "/outcome", body)))
        try:
            return int(answer["step"])
        except MISREAD as error:
            raise self.policy._misread("/v1/sessions", error) from error

    def _closing(self) -> Steps[None]:
        if self.id is None:
            return
        path, self.id = self._path, None
        try:
            response = yield Call("DELETE", path)
            if response.status_code != 204:
                self.policy._read(response)
        except SessionLost:
            pass  # its time ran out, which is as good

    def _learn(self, body: Mapping[str, Any]) -> None:
        try:
            self.id = str(body["session_id"])
            self.model, self.version = str(body["model"]), str(body["version"])
            self.step, self.episode = int(body["step"]), int(body["episode"])
            self.seed = None if body.get("seed") is None else int(body["seed"])
            self.deterministic = None if body.get("deterministic") is None else bool(body["deterministic"])
            self.ttl = None if body.get("ttl_s") is None else float(body["ttl_s"])
            self.expires_at = None if body.get("expires_at") is None else float(body["expires_at"])
        except MISREAD as error:
            raise self.policy._misread("/v1/sessions", error) from error
        self._unsure = False

    def _contracted(self, model: str, version: str) -> Steps[Contract]:
        """The contract of the version that the session is of, which need not be the default one any more."""
        for known in (self._contract, self.policy._known()):
            if known is not None and (known.model, known.version) == (model, version):
                self._contract = known
                return known
        path = f"/v1/models/{quote(model, safe='')}/versions/{quote(version, safe='')}"
        body = self.policy._read((yield Call("GET", path)))
        try:
            self._contract = Contract.parse(body)
        except MISREAD as error:
            raise self.policy._misread(path, error) from error
        return self._contract

    def _acting(self, question: Question) -> Steps[Answer]:
        yield from self._opening()
        contract = yield from self._contracted(str(self.model), str(self.version))
        data, rows, batched = question.encode(contract, session=True, step=None if self._unsure else self.step)
        # With its step an act is done once, however often it is sent.
        call = Call("POST", self._path + "/act", data, again=not self._unsure)
        self._unsure = True
        try:
            response: httpx.Response = yield call
            body = self.policy._read(response)
        except PolicyError as error:
            # What was refused was not done. A session at another step is followed from there.
            self._unsure = not isinstance(error, RequestError) or isinstance(error, StepMismatch)
            raise
        model, version = self.policy._whose(body)
        contract = yield from self._contracted(model, version)
        answer = self.policy._answer(contract, body, response, rows, batched)
        if answer.step is None or answer.episode is None:
            raise self.policy._misread("/v1/sessions", ValueError("an act without step and episode"))
        self.model, self.version = model, version
        self.step, self.episode, self._unsure = answer.step + 1, answer.episode, False
        return answer


def _encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def _outcome(reward: float | None, terminated: bool, truncated: bool, info: Any, step: int | None) -> dict[str, Any]:
    return {
        "step": None if step is None else int(step),
        "reward": None if reward is None else float(reward),
        "terminated": bool(terminated),
        "truncated": bool(truncated),
        "info": info,
    }


class Session(_Session):
    """One robot's episodes with a policy, whose state the server keeps.

    ``policy`` is the ``RemotePolicy`` to act with, ``id`` a name of your choice,
    ``seed`` what actions are drawn from, ``deterministic`` the default of the acts
    and ``ttl`` after how many seconds without an act the server forgets it; what is
    not given is the server's choice. It is opened with ``open``, ``with`` or the
    first act. One session belongs to one control loop.

    ``id``, ``model``, ``version``, ``seed``, ``deterministic``, ``ttl``, ``expires_at``
    (Unix seconds), ``step`` (the next act's) and ``episode`` are as the server told.
    """

    policy: RemotePolicy

    def open(self) -> Session:
        """Open it now."""
        self.policy._run(self._opening())
        return self

    def predict(
        self,
        observation: Any,
        state: None = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[Any, None]:
        """As ``RemotePolicy.predict``, for one environment; the state is the server's, so that None comes back."""
        return self.act(observation, deterministic, episode_start=episode_start, action_masks=action_masks).actions, None

    def act(
        self,
        observation: Any,
        deterministic: bool | None = None,
        *,
        episode_start: Any = None,
        action_masks: Any = None,
        returns: Sequence[str] = (),
        deadline: float | None = None,
        observed_at: float | None = None,
    ) -> Answer:
        """One step; a true ``episode_start`` forgets what was before. The rest is as of ``RemotePolicy.act``.

        An act is sent with its step, so that none is done twice. After an answer that
        did not come, and after a ``StepMismatch``, the next act goes on from wherever
        the server is.
        """
        question = Question(
            observation, deterministic, None, episode_start, action_masks, returns, deadline=deadline, observed_at=observed_at
        )
        return self.policy._run(self._acting(question))

    def reset(self, seed: int | None = None) -> None:
        """Begin a new episode, from a new seed where one is given."""
        self.policy._run(self._opening())
        self.policy._run(self._resetting(seed))

    def info(self) -> dict[str, Any]:
        """The session as the server tells it."""
        return self.policy._run(self._reading())

    def outcome(
        self,
        reward: float | None = None,
        *,
        terminated: bool = False,
        truncated: bool = False,
        info: Any = None,
        step: int | None = None,
    ) -> int:
        """Tell what came of a step, the last one unless ``step`` says which, into the server's experience log.

        ``info`` is anything that JSON holds. At least one of the others has to be said. Returns the step. A server
        without a log refuses it (409, ``EXPERIENCE_OFF``).
        """
        return self.policy._run(self._telling(_outcome(reward, terminated, truncated, info, step)))

    def close(self) -> None:
        """End it on the server. The policy's connections stay."""
        self.policy._run(self._closing())

    def __enter__(self) -> Session:
        return self.open()

    def __exit__(self, *exception: object) -> None:
        self.close()


class AsyncSession(_Session):
    """The asynchronous twin of ``Session``, of an ``AsyncRemotePolicy``."""

    policy: AsyncRemotePolicy

    async def open(self) -> AsyncSession:
        """Open it now."""
        await self.policy._run(self._opening())
        return self

    async def predict(
        self,
        observation: Any,
        state: None = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[Any, None]:
        """As ``Session.predict``."""
        answer = await self.act(observation, deterministic, episode_start=episode_start, action_masks=action_masks)
        return answer.actions, None

    async def act(
        self,
        observation: Any,
        deterministic: bool | None = None,
        *,
        episode_start: Any = None,
        action_masks: Any = None,
        returns: Sequence[str] = (),
        deadline: float | None = None,
        observed_at: float | None = None,
    ) -> Answer:
        """As ``Session.act``."""
        question = Question(
            observation, deterministic, None, episode_start, action_masks, returns, deadline=deadline, observed_at=observed_at
        )
        return await self.policy._run(self._acting(question))

    async def reset(self, seed: int | None = None) -> None:
        """Begin a new episode, from a new seed where one is given."""
        await self.policy._run(self._opening())
        await self.policy._run(self._resetting(seed))

    async def info(self) -> dict[str, Any]:
        """The session as the server tells it."""
        return await self.policy._run(self._reading())

    async def outcome(
        self,
        reward: float | None = None,
        *,
        terminated: bool = False,
        truncated: bool = False,
        info: Any = None,
        step: int | None = None,
    ) -> int:
        """As ``Session.outcome``."""
        return await self.policy._run(self._telling(_outcome(reward, terminated, truncated, info, step)))

    async def close(self) -> None:
        """End it on the server. The policy's connections stay."""
        await self.policy._run(self._closing())

    async def __aenter__(self) -> AsyncSession:
        return await self.open()

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
