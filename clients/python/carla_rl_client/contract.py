"""The contract of a served policy: from ``/metadata`` to spaces, from observations to rows, from answers to arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import spaces
from .encoding import cells
from .errors import ObservationError

_NO_ROWS = "expected at least one row, got a batch of 0"


@dataclass(frozen=True)
class Part:
    """One feature of an observation or one part of an action. ``shape`` is () for a single number."""

    name: str
    shape: tuple[int, ...]
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    discrete: bool = False
    image: bool = False
    # The space of the training in Gymnasium's words, where the server knows it.
    space: spaces.Described | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def binary(self) -> bool:
        if self.space is not None:
            return self.space.type == "MultiBinary"
        return self.discrete and self.shape != () and (self.low, self.high) == (0, 1)

    @property
    def dtype(self) -> type[np.generic]:
        """Of an action: float64 where its space has that, as Stable-Baselines3 gives it."""
        if self.binary:
            return np.int8
        if self.discrete:
            return np.int64
        return np.float64 if self.space is not None and self.space.dtype == np.float64 else np.float32

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Part:
        low, high, space = value.get("low"), value.get("high"), value.get("space")
        return cls(
            name=str(value.get("name") or ""),
            shape=tuple(int(n) for n in value.get("shape") or ()),
            low=-math.inf if low is None else float(low),
            high=math.inf if high is None else float(high),
            unit=str(value.get("unit") or ""),
            discrete=bool(value.get("discrete")),
            image=bool(value.get("image")),
            space=None if space is None else spaces.Described.parse(space),
        )


@dataclass(frozen=True)
class Contract:
    """What a policy takes and gives. A policy without names has one feature and takes arrays of its shape.

    ``recurrent`` tells that it keeps state from step to step. ``masks`` are the sizes
    of the parts of a row of action masks, () for a policy that takes none.
    ``control_hz`` is how many steps a second it was trained for, where the card says it.
    """

    model: str
    version: str
    observation: tuple[Part, ...]
    action: tuple[Part, ...]
    named: bool
    stochastic: bool
    deterministic_default: bool
    recurrent: bool = False
    masks: tuple[int, ...] = ()
    control_hz: float | None = None

    @classmethod
    def parse(cls, metadata: Mapping[str, Any]) -> Contract:
        """Read the body of ``/metadata``."""
        masks, rate = metadata.get("masks"), metadata.get("controlHz")
        return cls(
            model=str(metadata["modelName"]),
            version=str(metadata["version"]),
            observation=tuple(Part.parse(part) for part in metadata["observation"]),
            action=tuple(Part.parse(part) for part in metadata["action"]),
            named=bool(metadata["named"]),
            stochastic=bool(metadata["stochastic"]),
            deterministic_default=bool(metadata["deterministicDefault"]),
            recurrent=metadata.get("state") is not None,
            masks=() if masks is None else tuple(int(n) for n in masks["parts"]),
            control_hz=None if rate is None else float(rate),
        )

    @property
    def observation_space(self) -> Any:
        if self.named:
            return spaces.dictionary({part.name: _observation_space(part) for part in self.observation})
        return _observation_space(self.observation[0])

    @property
    def action_space(self) -> Any:
        """One space for the whole row; a Dict where an action has parts of different kinds."""
        if len(self.action) == 1:
            return _action_space(self.action[0])
        if self._mixed:
            return spaces.dictionary({name: _action_space(part) for name, part in zip(self.action_names, self.action)})
        if self.action[0].discrete:
            return spaces.multi_discrete([n for part in self.action for n in _counts(part)])
        low = np.concatenate([np.full(part.size, part.low, np.float32) for part in self.action])
        high = np.concatenate([np.full(part.size, part.high, np.float32) for part in self.action])
        return spaces.box(low, high, low.shape)

    @property
    def action_names(self) -> tuple[str, ...]:
        """The names of the parts in the order of the row; ``action`` or ``action_0`` ... where they have none."""
        if len(self.action) == 1:
            return (self.action[0].name or "action",)
        return tuple(part.name or f"action_{i}" for i, part in enumerate(self.action))

    @property
    def _mixed(self) -> bool:
        return len({part.dtype for part in self.action}) > 1

    def pack(self, observation: Any) -> tuple[list[Any], bool]:
        """The rows to send, and whether the observation is a batch ``[n, ...]`` rather than a single one.

        Images and other large arrays are base64 text of their bytes (``encoding``).
        """
        if not self.named:
            part = self.observation[0]
            if isinstance(observation, Mapping):
                raise _refused("observation", f"expected an array of shape {_words(part)}, got a mapping")
            return _plain_rows(part, _array("observation", observation))
        if isinstance(observation, Mapping):
            return self._named_rows(observation)
        if isinstance(observation, Sequence) and observation and all(isinstance(row, Mapping) for row in observation):
            return [self._one_row(i, row) for i, row in enumerate(observation)], True
        return self._named_rows(self._split(_array("observation", observation)))

    def unpack(self, actions: Sequence[Any], batched: bool) -> Any:
        """Actions as arrays ``[n, ...]``, without the first axis where the observation had none.

        Continuous actions are float32, discrete ones int64 and binary ones int8.
        Anything else in ``actions`` is a LookupError, TypeError or ValueError.
        """
        if len(self.action) == 1 and not self.action[0].name:
            return _shaped(actions, self.action[0], batched)
        columns = [self._column(actions, i, batched) for i in range(len(self.action))]
        if self._mixed:
            return dict(zip(self.action_names, columns))
        if len(columns) == 1:
            return columns[0]
        lead = (len(actions),) if batched else ()
        return np.concatenate([column.reshape((*lead, part.size)) for column, part in zip(columns, self.action)], axis=-1)

    def _column(self, actions: Sequence[Any], i: int, batched: bool) -> np.ndarray:
        part = self.action[i]
        return _shaped([row[part.name if part.name else i] for row in actions], part, batched)

    def _split(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """Flat rows, the features one after the other, by name."""
        width = sum(part.size for part in self.observation)
        if array.ndim not in (1, 2) or array.shape[-1] != width:
            names = ", ".join(part.name for part in self.observation)
            raise _refused(
                "observation", f"expected a mapping of {names}, or [{width}] or [n, {width}] numbers, got {list(array.shape)}"
            )
        parts, offset = {}, 0
        for part in self.observation:
            values = array[..., offset : offset + part.size]
            parts[part.name] = values.reshape(array.shape[:-1] + part.shape)
            offset += part.size
        return parts

    def _one_row(self, i: int, row: Mapping[str, Any]) -> Any:
        rows, batched = self._named_rows(row)
        if batched:
            raise _refused(f"observation[{i}]", "expected a single observation, got a batch")
        return rows[0]

    def _named_rows(self, observation: Mapping[str, Any]) -> tuple[list[Any], bool]:
        names = {part.name for part in self.observation}
        for name in names - set(observation):
            raise _refused(f"observation.{name}", "is missing")
        for name in set(observation) - names:
            raise _refused(f"observation.{name}", f"is unknown; the policy takes {', '.join(sorted(names))}")
        arrays = {part.name: _array(f"observation.{part.name}", observation[part.name]) for part in self.observation}
        batched, n = self._batch(arrays)
        columns = []
        for part in self.observation:
            array = arrays[part.name]
            lead = (n,) if batched else (1,)
            if part.image and array.shape[-3:] != part.shape:
                array = np.moveaxis(array, -3, -1)
            columns.append(cells(array.reshape(lead + part.shape), part.image))
        keys = [part.name for part in self.observation]
        return [dict(zip(keys, values)) for values in zip(*columns)], batched

    def _batch(self, arrays: Mapping[str, np.ndarray]) -> tuple[bool, int]:
        """Whether the arrays are a batch, and of how many rows; all must agree."""
        if all(_fits(part, arrays[part.name].shape) for part in self.observation):
            return False, 1
        first = arrays[self.observation[0].name]
        n = first.shape[0] if first.ndim else 0
        for part in self.observation:
            shape = arrays[part.name].shape
            if shape[:1] != (n,) or not (_fits(part, shape[1:]) or _loosely(part, shape[1:])):
                break
        else:
            if n == 0:
                raise _refused("observation", _NO_ROWS)
            return True, n
        for part in self.observation:
            shape = arrays[part.name].shape
            if not (_fits(part, shape) or _loosely(part, shape)):
                raise _refused(f"observation.{part.name}", f"expected the shape {_words(part)}, got {list(shape)}")
        return False, 1


def _plain_rows(part: Part, array: np.ndarray) -> tuple[list[Any], bool]:
    if _fits(part, array.shape):
        batched, array = False, array[None]
    elif array.ndim and _fits(part, array.shape[1:]):
        batched = True
    else:
        raise _refused("observation", f"expected the shape {_words(part)}, got {list(array.shape)}")
    if len(array) == 0:
        raise _refused("observation", _NO_ROWS)
    if part.image and array.shape[1:] != part.shape:
        array = np.moveaxis(array, 1, -1)
    return cells(array.reshape(len(array), *((-1,) if part.shape and not part.image else part.shape)), part.image), batched


def _fits(part: Part, shape: tuple[int, ...]) -> bool:
    """Whether an array of a shape is one value of the part. Images may have their channels first."""
    return shape == part.shape or (part.image and shape == (part.shape[2], *part.shape[:2]))


def _loosely(part: Part, shape: tuple[int, ...]) -> bool:
    """A single number may come as an array of one."""
    return part.shape == () and shape == (1,)


def _array(field: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise _refused(field, f"is no array: {error}") from error
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise _refused(field, f"expected numbers, got {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        at = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise _refused(field, f"is not finite at {at}")
    return array


def _refused(field: str, message: str) -> ObservationError:
    return ObservationError(
        f"{field}: {message}",
        details={"validation_errors": [{"field": field, "message": message, "type": "value_error"}]},
    )


def _words(part: Part) -> str:
    shape = [str(n) for n in part.shape]
    return f"[{', '.join(shape)}] or [{', '.join(['n', *shape])}]"


def _shaped(values: Sequence[Any], part: Part, batched: bool) -> np.ndarray:
    given = np.asarray(values)
    if given.dtype.kind not in "iuf":
        raise ValueError(f"{part.name or 'action'}: expected numbers, got {given.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        array = given.astype(part.dtype)
    if not np.isfinite(given).all() or not np.isfinite(array).all() or (part.discrete and (array != given).any()):
        raise ValueError(f"{part.name or 'action'}: expected finite {np.dtype(part.dtype).name} values")
    array = array.reshape((len(values), *part.shape))
    return array if batched else array.reshape(part.shape)


def _counts(part: Part) -> list[int]:
    if part.space is not None and part.space.nvec:
        return list(part.space.nvec)
    return [_categories(part)] * part.size


def _categories(part: Part) -> int:
    if part.space is not None and part.space.n:
        return part.space.n
    if not math.isfinite(part.high):
        raise NotImplementedError("the server does not say how many categories a discrete action of this policy has")
    return int(part.high) + 1


def _observation_space(part: Part) -> Any:
    if part.space is not None:
        return part.space.make()
    if part.image:
        return spaces.box(0, 255, part.shape, np.uint8)
    return spaces.box(part.low, part.high, part.shape)


def _action_space(part: Part) -> Any:
    if part.space is not None:
        return part.space.make()
    if part.binary:
        return spaces.multi_binary(part.shape)
    if part.discrete and part.shape == ():
        return spaces.discrete(_categories(part))
    if part.discrete:
        return spaces.multi_discrete(np.full(part.shape, _categories(part)))
    return spaces.box(part.low, part.high, part.shape)
