"""Stable-Baselines3 agents as artifacts: the zip of ``save``, the wrappers' part of the policy, and golden vectors."""

from __future__ import annotations

import copy
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .card import Action, Feature

MODEL_NAME = "model.zip"
STATISTICS_NAME = "vecnormalize.pkl"
# What the zip would say of the machine that trained and of its last steps; load sets all of it anew.
_NOT_SAVED = [
    "tensorboard_log",
    "ep_info_buffer",
    "ep_success_buffer",
    "lr_schedule",
    "_last_obs",
    "_last_original_obs",
    "_last_episode_starts",
]
# Libraries whose classes the server knows without their code.
_KNOWN = ("stable_baselines3.", "sb3_contrib.", "torch.")
# Bounds beyond this are those of the type rather than of what is observed.
_FAR = 1e3


class Agent:
    """An agent and what stands between its environment and its ``predict``.

    ``env`` is the environment that it was trained in, with its wrappers; the agent's
    own where it is None. ``normalizer`` is a VecNormalize for an agent without one.
    """

    def __init__(self, model: Any, env: Any = None, normalizer: Any = None) -> None:
        self.model = model
        self.frames: Any = None
        self.normalizer: Any = None
        self.normalized_first = False
        self._steps: list[Callable[[Any], Any]] = []
        env = env if env is not None else (normalizer if normalizer is not None else model.get_env())
        self.space = self._follow(env)
        if normalizer is not None and self.normalizer is None:
            self._normalize(normalizer)
        elif normalizer is not None and normalizer is not self.normalizer:
            raise ValueError("normalizer: the environment has another VecNormalize")

    def _follow(self, env: Any) -> Any:
        """The steps of the wrappers, the innermost first; returns the space of a raw observation."""
        from stable_baselines3.common.vec_env import VecEnvWrapper, VecFrameStack, VecNormalize, VecTransposeImage
        from stable_baselines3.common.vec_env.vec_extract_dict_obs import VecExtractDictObs

        wrappers = []
        while isinstance(env, VecEnvWrapper):
            wrappers.append(env)
            # Statistics that were read from a file have no environment.
            env = env.__dict__.get("venv")
        for wrapper in reversed(wrappers):
            if isinstance(wrapper, VecNormalize):
                self._normalize(wrapper)
            elif isinstance(wrapper, VecFrameStack):
                self._stack(wrapper)
            elif isinstance(wrapper, VecExtractDictObs):
                raise TypeError("env: VecExtractDictObs takes one part of an observation; the server cannot")
            elif not isinstance(wrapper, VecTransposeImage) and self._changes(wrapper):
                raise TypeError(f"env: {type(wrapper).__name__} changes observations in a way that the server does not know")
        if env is not None:
            return env.observation_space
        return wrappers[-1].observation_space if wrappers else self.model.observation_space

    @staticmethod
    def _changes(wrapper: Any) -> bool:
        return bool(wrapper.observation_space != wrapper.venv.observation_space)

    def _normalize(self, normalizer: Any) -> None:
        if self.normalizer is not None:
            raise TypeError("env: it has two VecNormalize; the server runs one")
        self.normalizer = normalizer
        self.normalized_first = self.frames is None
        self._steps.append(lambda observation: normalizer.normalize_obs(copy.deepcopy(observation)))

    def _stack(self, wrapper: Any) -> None:
        from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

        if self.frames is not None:
            raise TypeError("env: it has two VecFrameStack; the server runs one")
        self.frames = wrapper.stacked_obs
        one = StackedObservations(1, self.frames.n_stack, self.frames.observation_space, self._channels())
        self._steps.append(one.reset)

    def _channels(self) -> Any:
        """Along which axis each part is stacked, as the wrapper has it."""
        if hasattr(self.frames, "sub_stacked_observations"):
            return {key: _order(part) for key, part in self.frames.sub_stacked_observations.items()}
        return _order(self.frames)

    def frame_stack(self) -> Any:
        """The value of ``frame_stack`` in the card, None without a stack."""
        if self.frames is None:
            return None
        value: dict[str, Any] = {"frames": int(self.frames.n_stack)}
        if self.normalizer is not None:
            value["order"] = "normalize_then_stack" if self.normalized_first else "stack_then_normalize"
        value["channels_order"] = self._channels()
        return value

    def action(self, observation: Any) -> np.ndarray:
        """What the agent does first in an episode when its environment shows a raw observation."""
        batch = _each(observation, lambda part: np.asarray(part)[None])
        for step in self._steps:
            batch = step(batch)
        action, _ = self.model.predict(self._transposed(batch), deterministic=True)
        first: np.ndarray = np.asarray(np.asarray(action)[0])
        return first

    def _transposed(self, batch: Any) -> Any:
        """Images with their channels where the agent's space has them."""
        spaces = self.model.observation_space

        def one(part: np.ndarray, space: Any) -> np.ndarray:
            if part.ndim == 4 and part.shape[1:] != space.shape and np.moveaxis(part, -1, 1).shape[1:] == space.shape:
                return np.moveaxis(part, -1, 1)
            return part

        if isinstance(batch, Mapping):
            return {key: one(part, spaces[key]) for key, part in batch.items()}
        return one(np.asarray(batch), spaces)

    def draw(self, count: int) -> list[Any]:
        """Raw observations: near the statistics of the training where there are any, else within the bounds."""
        generator = np.random.default_rng(0)
        rms = getattr(self.normalizer, "obs_rms", None)
        if hasattr(self.space, "spaces"):
            parts = self.space.spaces
            return [
                {key: _draw(generator, space, rms.get(key) if isinstance(rms, dict) else None) for key, space in parts.items()}
                for _ in range(count)
            ]
        return [_draw(generator, self.space, rms) for _ in range(count)]

    def save(self, directory: pathlib.Path) -> list[str]:
        """Write the zip and the statistics; returns the names of the files."""
        self.model.save(directory / MODEL_NAME, exclude=_NOT_SAVED)
        if self.normalizer is None or not self.normalizer.norm_obs:
            (directory / STATISTICS_NAME).unlink(missing_ok=True)
            return [MODEL_NAME]
        self.normalizer.save(str(directory / STATISTICS_NAME))
        return [MODEL_NAME, STATISTICS_NAME]


def is_agent(policy: Any) -> bool:
    """Whether it is an algorithm of Stable-Baselines3 or one built like them."""
    return all(hasattr(policy, name) for name in ("policy", "observation_space", "action_space", "predict", "save"))


def foreign(model: Any) -> list[str]:
    """The classes of the agent's network whose code the server would need."""
    classes = {type(model.policy), *(type(module) for module in model.policy.modules())}
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in classes}
    return sorted(name for name in names if not name.startswith(_KNOWN))


def size(space: Any) -> int:
    """The number of values of an observation."""
    if hasattr(space, "spaces"):
        return sum(size(part) for part in space.spaces.values())
    return math.prod(space.shape or ())


def observation_value(observation: Any, features: Sequence[Feature] | None) -> Any:
    """A raw observation as the card has it: nested numbers, by name where there are names."""
    if isinstance(observation, Mapping):
        return {key: plain(part) for key, part in observation.items()}
    if not features:
        return plain(observation)
    flat, offset, named = np.asarray(observation).reshape(-1), 0, {}
    if flat.size != sum(feature.size for feature in features):
        raise ValueError(f"observation: the features have {sum(f.size for f in features)} values, the agent takes {flat.size}")
    for feature in features:
        part = flat[offset : offset + feature.size]
        named[feature.name] = plain(part[0] if feature.shape is None else part.reshape([int(n) for n in feature.shape]))
        offset += feature.size
    return named


def action_value(action: np.ndarray, outputs: Sequence[Action] | None) -> Any:
    """An action as the card has it."""
    flat = np.asarray(action).reshape(-1)
    if not outputs:
        return plain(flat)
    if flat.size != len(outputs):
        raise ValueError(f"action: {len(outputs)} names for an action of {flat.size} values")
    return {output.name: plain(value) for output, value in zip(outputs, flat)}


def plain(value: Any) -> Any:
    """Numbers of Python; float32 as the shortest decimal that reads back as the same."""
    array = np.asarray(value)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    if array.ndim:
        return [plain(part) for part in array]
    if array.dtype.kind == "f":
        return float(str(array[()]))
    return int(array)


def _each(observation: Any, do: Callable[[Any], Any]) -> Any:
    if isinstance(observation, Mapping):
        return {key: do(part) for key, part in observation.items()}
    return do(observation)


def _order(stack: Any) -> str:
    return "first" if stack.channels_first else "last"


def _draw(generator: np.random.Generator, space: Any, rms: Any) -> Any:
    kind = type(space).__name__
    if kind == "Discrete":
        return np.int64(space.start + generator.integers(space.n))
    if kind == "MultiDiscrete":
        return generator.integers(space.nvec)
    if kind == "MultiBinary":
        return generator.integers(0, 2, space.shape).astype(np.int8)
    if kind != "Box":
        raise TypeError(f"observation: a space of the kind {kind} is not served")
    low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
    if space.dtype.kind in "iu":
        return generator.integers(space.low, space.high, endpoint=True).astype(space.dtype)
    if rms is not None and np.shape(rms.mean) == space.shape:
        drawn = generator.normal(rms.mean, np.sqrt(rms.var) + 1e-3)
    else:
        near = (low > -_FAR) & (high < _FAR)
        drawn = np.where(near, generator.uniform(np.where(near, low, 0), np.where(near, high, 1)), generator.normal(size=space.shape))
    return np.clip(drawn, low, high).astype(np.float32)
