"""Arrays in a JSON body: numbers, or for many of them the base64 text of their bytes."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

# From this many values on, base64 text is shorter than numbers and faster to write and to read.
MIN_BASE64_VALUES = 64
# Up to here float32 holds every whole number.
_MAX_EXACT = 1 << 24


def cells(array: np.ndarray, image: bool = False) -> list[Any]:
    """The rows of an array ``[n, ...]``, each as it goes into the body.

    An image is the base64 text of its bytes, rows by columns by channels. A large
    array is an object of its bytes and their type, with the shape that it has. What
    would not arrive as the same float32 that its numbers would be stays numbers.
    """
    if image:
        exact = _as_bytes(array)
        if exact is not None:
            return [_text(row) for row in exact]
    elif array[0].size >= MIN_BASE64_VALUES:
        plain = _as_plain(array)
        if plain is not None:
            name = "uint8" if plain.dtype == np.uint8 else "float32"
            return [{"base64": _text(row), "dtype": name} for row in plain]
    values: list[Any] = array.tolist() if not image else array.reshape(len(array), -1).tolist()
    return values


def _text(row: np.ndarray) -> str:
    return base64.b64encode(row.tobytes()).decode("ascii")


def _as_bytes(array: np.ndarray) -> np.ndarray | None:
    """The array as uint8 where each value is one."""
    if array.dtype == np.uint8:
        return array
    if array.min() < 0 or array.max() > 255 or (np.trunc(array) != array).any():
        return None
    return array.astype(np.uint8)


def _as_plain(array: np.ndarray) -> np.ndarray | None:
    """The array as uint8 or float32, little-endian; None where that is not what its numbers would be."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind in "iu" and (array.min() < -_MAX_EXACT or array.max() > _MAX_EXACT):
        return None
    with np.errstate(over="ignore"):
        narrow = array.astype("<f4")
    # Too large for float32: the server says so of numbers, by their place.
    return narrow if np.isfinite(narrow).all() else None
