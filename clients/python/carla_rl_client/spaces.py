"""The spaces of a policy: those of Gymnasium where it is installed, else plain specs with the same attributes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class BoxSpec:
    """Numbers between ``low`` and ``high`` (infinite where there is no bound)."""

    low: Any
    high: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class DiscreteSpec:
    """One of ``n`` choices, from ``start``."""

    n: int
    start: int = 0
    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] = np.dtype(np.int64)


@dataclass(frozen=True)
class MultiDiscreteSpec:
    """Several choices, ``nvec`` the number of categories of each."""

    nvec: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any] = np.dtype(np.int64)


@dataclass(frozen=True)
class MultiBinarySpec:
    """Values that are 0 or 1."""

    n: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any] = np.dtype(np.int8)


@dataclass(frozen=True)
class DictSpec:
    """Spaces by name."""

    spaces: Mapping[str, Any]


def _gymnasium() -> Any:
    try:
        from gymnasium import spaces
    except ImportError:
        return None
    return spaces


def box(low: Any, high: Any, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
    """Numbers of a shape; ``low`` and ``high`` are numbers or arrays of it."""
    lows = np.broadcast_to(np.asarray(low, dtype), shape).copy()
    highs = np.broadcast_to(np.asarray(high, dtype), shape).copy()
    spaces = _gymnasium()
    if spaces is not None:
        return spaces.Box(lows, highs, shape=shape, dtype=dtype)
    return BoxSpec(lows, highs, shape, np.dtype(dtype))


def discrete(n: int, start: int = 0) -> Any:
    """One of n, from start."""
    spaces = _gymnasium()
    return DiscreteSpec(n, start) if spaces is None else spaces.Discrete(n, start=start)


def multi_discrete(nvec: Any, shape: tuple[int, ...] | None = None) -> Any:
    """One of nvec[i] for each i."""
    counts = np.asarray(nvec, np.int64)
    if shape is not None:
        counts = counts.reshape(shape)
    spaces = _gymnasium()
    return MultiDiscreteSpec(counts, counts.shape) if spaces is None else spaces.MultiDiscrete(counts)


def multi_binary(shape: tuple[int, ...]) -> Any:
    """0 or 1 for each value of a shape."""
    n = shape[0] if len(shape) == 1 else list(shape)
    spaces = _gymnasium()
    return MultiBinarySpec(n, shape) if spaces is None else spaces.MultiBinary(n)


def dictionary(parts: Mapping[str, Any]) -> Any:
    """Spaces by name."""
    spaces = _gymnasium()
    return DictSpec(dict(parts)) if spaces is None else spaces.Dict(dict(parts))


@dataclass(frozen=True)
class Described:
    """A space as ``/metadata`` has it. ``low`` and ``high`` are one bound for all values, or one for each in row-major order."""

    type: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    n: int = 0
    start: int = 0
    nvec: tuple[int, ...] = ()

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Described:
        """Read one ``space``; another type than Gymnasium's five, or counts that do not fit, are a ValueError."""
        made = cls(
            type=str(value["type"]),
            shape=tuple(int(size) for size in value["shape"]),
            dtype=np.dtype(str(value["dtype"])),
            low=_bounds(value.get("low"), -math.inf),
            high=_bounds(value.get("high"), math.inf),
            n=int(value.get("n") or 0),
            start=int(value.get("start") or 0),
            nvec=tuple(int(size) for size in value.get("nvec") or ()),
        )
        made.make()
        return made

    def make(self) -> Any:
        """The space itself."""
        if self.type == "Box":
            return box(self._all(self.low), self._all(self.high), self.shape, self.dtype)
        if self.type == "Discrete":
            return discrete(self.n, self.start)
        if self.type == "MultiDiscrete":
            return multi_discrete(self.nvec, self.shape)
        if self.type == "MultiBinary":
            return multi_binary(self.shape)
        raise ValueError(f"space: {self.type!r} is none of Box, Discrete, MultiDiscrete and MultiBinary")

    def _all(self, bounds: tuple[float, ...]) -> np.ndarray:
        array = np.asarray(bounds, np.float64)
        if not np.issubdtype(self.dtype, np.floating):
            limits = np.iinfo(self.dtype)
            array = np.clip(array, limits.min, limits.max)
        return array.reshape(self.shape) if len(bounds) > 1 else np.broadcast_to(array.reshape(()), self.shape)


def _bounds(value: Any, infinite: float) -> tuple[float, ...]:
    if not isinstance(value, list):
        value = [value]
    return tuple(infinite if one is None else float(one) for one in value)
