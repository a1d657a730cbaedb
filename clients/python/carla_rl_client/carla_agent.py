"""A served policy as an agent of the CARLA leaderboard.

    from carla_rl_client.carla_agent import RemoteAgent

    def get_entry_point():
        return "MyAgent"

    class MyAgent(RemoteAgent):
        def sensors(self): ...
        def observe(self, input_data, timestamp): ...

Neither CARLA nor the leaderboard is needed to import this module: the leaderboard's
``AutonomousAgent`` is the base class where it is installed, and ``carla`` is imported
when the first control is made.
"""

from __future__ import annotations

import logging
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from .answer import State
from .errors import ObservationError, PolicyError
from .interventions import Seldom
from .remote import RemotePolicy
from .watchdog import Watchdog

if TYPE_CHECKING:
    _Base = object
else:
    try:
        from leaderboard.autoagents.autonomous_agent import AutonomousAgent as _Base
    except ImportError:
        _Base = object

_log = logging.getLogger("carla_rl_client.carla_agent")
# Stop, straight ahead: what the agent does when the policy's action is not there in time.
FULL_BRAKE = {"throttle": 0.0, "brake": 1.0, "steer": 0.0}
# The ranges of carla.VehicleControl.
RANGES = {"throttle": (0.0, 1.0), "brake": (0.0, 1.0), "steer": (-1.0, 1.0)}
SWITCHES = ("hand_brake", "reverse", "manual_gear_shift")
_KEYS = {"url", "model", "version", "api_key_file", "timeout", "deadline", "deterministic", "fallback", "actions"}


class RemoteAgent(_Base):  # type: ignore[misc,unused-ignore]
    """Drives with the actions of a served policy.

    The file given to ``setup`` is YAML: ``url``; ``model``, ``version``,
    ``api_key_file``, ``timeout`` as of ``RemotePolicy``; ``deadline`` in seconds
    (0.1 unless given); ``deterministic`` (true unless given); ``fallback``, the
    control for when no action is there in time (full brake unless given);
    ``actions``, the names of the action's values for a policy that has none.

    A recurrent policy's state goes from step to step with the agent; each agent begins
    with none, as the leaderboard makes one for each route.

    Whatever fails between the sensors and the action, ``observe`` included, leads to
    the fallback and is logged; ``run_step`` does not raise for it. What the server's
    safety envelope changed is logged too, and is in ``watchdog.last.interventions``.
    """

    policy: RemotePolicy
    watchdog: Watchdog

    def setup(self, path_to_conf_file: str) -> None:
        """Read the configuration; called by the leaderboard."""
        content = yaml.safe_load(pathlib.Path(path_to_conf_file).read_text(encoding="utf-8"))
        if not isinstance(content, Mapping) or "url" not in content:
            raise ValueError(f"{path_to_conf_file}: expected a mapping with url")
        if unknown := set(content) - _KEYS:
            raise ValueError(f"{path_to_conf_file}: unknown {', '.join(sorted(map(str, unknown)))}; known: {', '.join(sorted(_KEYS))}")
        track = _sensors_track()
        if track is not None:
            self.track = track
        settings = _Settings(path_to_conf_file, content)
        key_file = settings.text("api_key_file")
        self.policy = RemotePolicy(
            settings.text("url") or "",
            model=settings.text("model"),
            version=settings.text("version"),
            api_key=None if key_file is None else pathlib.Path(key_file).read_text(encoding="utf-8").strip(),
            timeout=settings.number("timeout", 1.0),
        )
        self._deterministic = settings.truth("deterministic", True)
        self._fallback = settings.control("fallback", FULL_BRAKE)
        self._names = settings.names("actions")
        self._steer = 0.0
        self._state: State | None = None
        # None as the action stands for the fallback control.
        self.watchdog = Watchdog(_Watched(self), settings.number("deadline", 0.1), lambda observation: None)

    def sensors(self) -> list[dict[str, Any]]:
        """The sensors of the vehicle: a speedometer. An agent that observes more overrides this."""
        return [{"type": "sensor.speedometer", "reading_frequency": 20, "id": "speed"}]

    def observe(self, input_data: Mapping[str, Any], timestamp: float) -> Any:
        """The policy's raw observation from the data of the sensors, as ``{id: (frame, data)}``.

        Gives ``speed`` in the unit of the contract and ``steering``, the last
        control's. An agent whose policy observes more overrides this. It is called
        within the deadline, on a thread of the watchdog: after a late step it may
        still run beside the call of the next.
        """
        features = self.policy.contract.observation
        observation: dict[str, Any] = {}
        for feature in features:
            if feature.name == "speed" and "speed" in input_data:
                metres_per_second = float(input_data["speed"][1]["speed"])
                speed = metres_per_second * 3.6 if feature.unit == "km/h" else metres_per_second
                observation["speed"] = min(max(speed, feature.low), feature.high)
            elif feature.name == "steering":
                observation["steering"] = self._steer
            else:
                raise NotImplementedError(f"observe: the policy takes {feature.name or 'an array'}; override observe() to give it")
        return observation

    def run_step(self, input_data: Mapping[str, Any], timestamp: float) -> Any:
        """A ``carla.VehicleControl`` for this moment; called by the leaderboard."""
        # After a late step the state is that of the one before.
        values, self._state = self.watchdog.predict((input_data, timestamp), state=self._state)
        if values is None:
            values = self._fallback
        control = self._control(values)
        self._steer = float(control.steer)
        return control

    def destroy(self) -> None:
        """Close the connections; called by the leaderboard."""
        if hasattr(self, "watchdog"):
            self.watchdog.close()
            self.policy.close()

    def _decide(self, input_data: Mapping[str, Any], timestamp: float, state: State | None) -> tuple[dict[str, float], State | None]:
        """The policy's action by its names, and its state, None of a policy without."""
        observation = self.observe(input_data, timestamp)
        try:
            answer = self.policy.act(observation, self._deterministic, state=state)
        except ObservationError as error:
            # Of a version that does not answer any more, or too old: the memory begins anew.
            if state is None or "body.state" not in error.fields:
                raise
            _log.warning("run_step: the policy's state begins anew: %s", error)
            answer = self.policy.act(observation, self._deterministic)
        return self._by_name(answer.actions, answer.contract.action_names), answer.state

    def _by_name(self, action: Any, names: Sequence[str] = ()) -> dict[str, float]:
        if isinstance(action, Mapping):
            return _checked({name: float(value) for name, value in action.items()})
        names = self._names or names
        flat = [float(value) for value in action.reshape(-1)]
        if len(flat) != len(names):
            raise ValueError(f"actions: the policy gives {len(flat)} values, their names are {', '.join(names)}; name each in actions")
        return _checked(dict(zip(names, flat)))

    @staticmethod
    def _control(values: Mapping[str, float]) -> Any:
        import carla

        control = carla.VehicleControl()
        for name, (low, high) in RANGES.items():
            # The policy's own bounds hold already; these are the vehicle's.
            setattr(control, name, min(max(values.get(name, 0.0), low), high))
        for name in SWITCHES:
            setattr(control, name, values.get(name, 0.0) >= 0.5)
        return control


class _Watched:
    """All of a step that can fail or take long, as the policy that the watchdog asks."""

    def __init__(self, agent: RemoteAgent) -> None:
        self._agent = agent
        self._seldom = Seldom()

    @property
    def observation_space(self) -> Any:
        return self._agent.policy.observation_space

    @property
    def action_space(self) -> Any:
        return self._agent.policy.action_space

    def predict(self, data: tuple[Mapping[str, Any], float], state: State | None) -> tuple[dict[str, float], State | None]:
        try:
            return self._agent._decide(*data, state)
        except Exception as error:  # a vehicle brakes rather than being left without control
            if not isinstance(error, PolicyError) and self._seldom.turn() is not None:
                _log.error("run_step: no action of the policy", exc_info=error)
            # Not the same class: to the watchdog an ObservationError is the caller's.
            raise PolicyError(f"{type(error).__name__}: {error}") from error


class _Settings:
    """The members of the configuration file by their kinds; each error names the file and the member."""

    def __init__(self, path: str, content: Mapping[Any, Any]) -> None:
        self._path = path
        self._content = content

    def _wrong(self, name: str, expected: str) -> ValueError:
        return ValueError(f"{self._path}: {name}: expected {expected}, got {self._content[name]!r}")

    def text(self, name: str) -> str | None:
        value = self._content.get(name)
        if not isinstance(value, str) and (value is not None or name == "url"):
            raise self._wrong(name, "a text (in quotes where it looks like a number)")
        return value

    def number(self, name: str, default: float) -> float:
        value = self._content.get(name, default)
        if not _is_number(value) or not 0 < value < math.inf:
            raise self._wrong(name, "seconds above 0")
        return float(value)

    def truth(self, name: str, default: bool) -> bool:
        value = self._content.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def control(self, name: str, default: Mapping[str, float]) -> dict[str, float]:
        values = self._content.get(name, default)
        if not isinstance(values, Mapping) or not values:
            raise self._wrong(name, "at least one control and its value, such as {brake: 1.0}; leave it out for full brake")
        for key, value in values.items():
            if not _is_number(value) and not (key in SWITCHES and isinstance(value, bool)):
                raise self._wrong(name, f"a number for {key}")
        return _checked({str(key): float(value) for key, value in values.items()})

    def names(self, name: str) -> tuple[str, ...] | None:
        if name not in self._content:
            return None
        names = self._content[name]
        if not isinstance(names, list) or not names or not all(isinstance(one, str) for one in names) or len(set(names)) != len(names):
            raise self._wrong(name, "a list of different names, such as [throttle, steer]")
        _checked(dict.fromkeys(names, 0.0))
        return tuple(names)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _checked(values: dict[str, float]) -> dict[str, float]:
    known = {*RANGES, *SWITCHES}
    if unknown := set(values) - known:
        raise ValueError(f"a vehicle has no {', '.join(sorted(unknown))}; it takes {', '.join(sorted(known))}")
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name}: {value} is not finite")
    return values


def _sensors_track() -> Any:
    try:
        from leaderboard.autoagents.autonomous_agent import Track
    except ImportError:
        return None
    return Track.SENSORS
