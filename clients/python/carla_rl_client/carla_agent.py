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

import math
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from .remote import RemotePolicy
from .watchdog import Watchdog

if TYPE_CHECKING:
    _Base = object
else:
    try:
        from leaderboard.autoagents.autonomous_agent import AutonomousAgent as _Base
    except ImportError:
        _Base = object

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
        key_file = content.get("api_key_file")
        self.policy = RemotePolicy(
            content["url"],
            model=content.get("model"),
            version=content.get("version"),
            api_key=None if key_file is None else pathlib.Path(key_file).read_text(encoding="utf-8").strip(),
            timeout=float(content.get("timeout", 1.0)),
        )
        self._deterministic = bool(content.get("deterministic", True))
        self._fallback = {name: float(value) for name, value in content.get("fallback", FULL_BRAKE).items()}
        _checked(self._fallback)
        self._names = tuple(content["actions"]) if "actions" in content else None
        self._steer = 0.0
        # None as the action stands for the fallback control.
        self.watchdog = Watchdog(self.policy, float(content.get("deadline", 0.1)), lambda observation: None)

    def sensors(self) -> list[dict[str, Any]]:
        """The sensors of the vehicle: a speedometer. An agent that observes more overrides this."""
        return [{"type": "sensor.speedometer", "reading_frequency": 20, "id": "speed"}]

    def observe(self, input_data: Mapping[str, Any], timestamp: float) -> Any:
        """The policy's raw observation from the data of the sensors, as ``{id: (frame, data)}``.

        Gives ``speed`` in the unit of the contract and ``steering``, the last
        control's. An agent whose policy observes more overrides this.
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
        action, _ = self.watchdog.predict(self.observe(input_data, timestamp), deterministic=self._deterministic)
        values = self._fallback if action is None else self._by_name(action)
        control = self._control(values)
        self._steer = float(control.steer)
        return control

    def destroy(self) -> None:
        """Close the connections; called by the leaderboard."""
        if hasattr(self, "watchdog"):
            self.watchdog.close()
            self.policy.close()

    def _by_name(self, action: Any) -> dict[str, float]:
        if isinstance(action, Mapping):
            return _checked({name: float(value) for name, value in action.items()})
        names = self._names or self.policy.contract.action_names
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
