"""The spaces of a policy: those of Gymnasium where it is installed, else plain specs with the same attributes."""

from __future__ import annotations

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
    """One of ``n`` actions, 0 to n-1."""

    n: int
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


def discrete(n: int) -> Any:
    """One of n."""
    spaces = _gymnasium()
    return DiscreteSpec(n) if spaces is None else spaces.Discrete(n)


def multi_discrete(nvec: Any) -> Any:
    """One of nvec[i] for each i."""
    counts = np.asarray(nvec, np.int64)
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
