"""The steps around the network, in NumPy: normalising and postprocessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .card import Action


def normalize(normalizer: Any, rows: np.ndarray) -> np.ndarray:
    """Apply a trained normaliser to flat rows, as its own library does; the result is float32.

    ``normalizer`` is None, a VecNormalize (``normalize_obs``), a scikit-learn
    transformer (``transform``) or a dict with ``mean`` and ``std``.
    """
    if normalizer is None:
        return np.asarray(rows, np.float32)
    if hasattr(normalizer, "normalize_obs"):
        return np.asarray(normalizer.normalize_obs(np.asarray(rows, np.float32)), np.float32)
    if hasattr(normalizer, "transform"):
        return np.asarray(normalizer.transform(np.asarray(rows, np.float32)), np.float32)
    if isinstance(normalizer, Mapping):
        unknown = set(normalizer) - {"mean", "std"}
        if unknown or len(normalizer) != 2:
            raise ValueError(f"normalizer: a dict must hold mean and std alone, got {sorted(normalizer)}")
        mean = np.asarray(normalizer["mean"], np.float64)
        std = np.asarray(normalizer["std"], np.float64)
        return ((np.asarray(rows, np.float64) - mean) / std).astype(np.float32)
    raise TypeError(f"normalizer: {type(normalizer).__name__} has neither normalize_obs nor transform and is no dict")


def postprocess(kind: str, action: Sequence[Action], rows: np.ndarray) -> np.ndarray:
    """What the server does with the network's output, in float32."""
    rows = np.asarray(rows, np.float32)
    if kind == "none":
        return rows
    low = np.array([output.low for output in action], np.float32)
    high = np.array([output.high for output in action], np.float32)
    if kind == "unscale":
        unscaled: np.ndarray = low + np.float32(0.5) * (rows + np.float32(1)) * (high - low)
        return unscaled
    clipped: np.ndarray = np.clip(rows, low, high)
    return clipped
