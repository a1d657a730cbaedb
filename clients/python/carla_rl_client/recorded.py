"""Steps that a server recorded, as ``carla-rl experience export`` wrote them: arrays, episodes and a Minari dataset."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Episode:
    """Consecutive steps of one session.

    ``observations`` and ``actions`` are as of ``Recorded``, ``rewards`` are NaN where none was told, and
    ``terminated`` and ``truncated`` are what was told of the last step. ``rows`` are the steps' places in the export.
    """

    session: str
    number: int
    rows: npt.NDArray[np.intp]
    observations: Array | dict[str, Array]
    actions: Array
    rewards: Array
    terminated: bool
    truncated: bool

    def __len__(self) -> int:
        return len(self.rows)


class Recorded:
    """The steps of an export, one to a row.

    ``columns`` has the arrays by the names of docs/experience.md, such as ``observation.speed`` and ``action.steer``.
    ``layout`` says what they mean, None where the export has none (JSON Lines).
    """

    def __init__(self, columns: Mapping[str, Array], layout: dict[str, Any] | None = None) -> None:
        self.columns = dict(columns)
        self.layout = layout

    def __len__(self) -> int:
        return len(self.columns["sequence"])

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def __repr__(self) -> str:
        return f"<Recorded: {len(self)} steps of {len(self.columns)} columns>"

    def _parts(self, prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix).removeprefix("."): x for name, x in self.columns.items() if name == prefix or name.startswith(prefix + ".")}

    @property
    def observations(self) -> Array | dict[str, Array]:
        """[n, ...] of a policy whose observation is one array, a dict of such arrays by feature of one with several."""
        parts = self._parts("observation")
        return next(iter(parts.values())) if len(parts) == 1 else parts

    @property
    def actions(self) -> Array:
        """[n, values], the actions one after the other as they left; without the last axis where there is one choice."""
        return self._joined("action")

    @property
    def raw_actions(self) -> Array:
        """As ``actions``, before the safety envelope."""
        return self._joined("raw_action")

    def _joined(self, prefix: str) -> Array:
        parts = list(self._parts(prefix).values())
        if len(parts) == 1:
            x = parts[0]
            return x if x.ndim > 1 or x.dtype.kind in "iu" else x[:, None]
        return np.concatenate([x.reshape(len(self), -1) for x in parts], axis=1)

    def episodes(self) -> Iterator[Episode]:
        """The episodes of all sessions, in the order in which they began.

        An episode ends where the next one begins, where an outcome said that it did, and where steps are missing.
        """
        columns = self.columns
        open_: dict[tuple[str, str], list[int]] = {}
        done: list[list[int]] = []
        for i in range(len(self)):
            if not columns["session"][i]:
                continue
            key = (str(columns["run"][i]), str(columns["session"][i]))
            rows = open_.get(key)
            if rows:
                last = rows[-1]
                ended = columns["terminated"][last] or columns["truncated"][last] or columns["first"][i]
                next_ = columns["episode"][last] == columns["episode"][i] and int(columns["session_step"][last]) + 1 == int(columns["session_step"][i])
                if ended or not next_:
                    done.append(rows)
                    rows = None
            if not rows:
                rows = open_[key] = []
            rows.append(i)
        for rows in sorted([*done, *open_.values()], key=lambda rows: rows[0]):
            yield self._episode(np.asarray(rows, np.intp))

    def _episode(self, rows: npt.NDArray[np.intp]) -> Episode:
        observations, columns, last = self.observations, self.columns, rows[-1]
        return Episode(
            session=str(columns["session"][last]),
            number=int(columns["episode"][last]),
            rows=rows,
            observations={name: x[rows] for name, x in observations.items()} if isinstance(observations, dict) else observations[rows],
            actions=self.actions[rows],
            rewards=columns["reward"][rows],
            terminated=bool(columns["terminated"][last]),
            truncated=bool(columns["truncated"][last]),
        )

    def to_minari(self, dataset_id: str, **about: Any) -> Any:
        """Make a Minari dataset of the episodes, and return it.

        It has one observation more than actions: where an episode terminated its last observation stands for the one
        behind it, which no policy was asked about; elsewhere the last step gives its observation alone. Rewards that
        nobody told are 0. ``about`` goes to ``minari.create_dataset_from_buffers``, such as ``algorithm_name``,
        ``description`` or ``data_format``. It needs ``minari`` and ``gymnasium``; so does what it writes with.
        """
        minari = _needed("minari")
        episode_buffer = importlib.import_module("minari.data_collector.episode_buffer").EpisodeBuffer
        buffers = []
        for episode in self.episodes():
            steps = len(episode) if episode.terminated else len(episode) - 1
            if steps < 1:
                continue
            observations = episode.observations
            if episode.terminated:
                observations = (
                    {name: np.concatenate([x, x[-1:]]) for name, x in observations.items()}
                    if isinstance(observations, dict)
                    else np.concatenate([observations, observations[-1:]])
                )
            ends = np.zeros(steps, bool)
            ends[-1] = True
            buffers.append(
                episode_buffer(
                    id=len(buffers),
                    observations=observations,
                    actions=episode.actions[:steps],
                    rewards=list(np.nan_to_num(episode.rewards[:steps], nan=0.0)),
                    terminations=list(ends & episode.terminated),
                    truncations=list(ends & (not episode.terminated)),
                )
            )
        if not buffers:
            raise ValueError("no episode of a session has two steps: there is nothing to make a dataset of")
        about.setdefault("observation_space", self._observation_space())
        about.setdefault("action_space", self._action_space())
        return minari.create_dataset_from_buffers(dataset_id, buffers, **about)

    def _observation_space(self) -> Any:
        spaces = _needed("gymnasium").spaces
        observations = self.observations
        bounds = {part.get("name") or "": part for part in (self.layout or {}).get("features") or []}

        def box(name: str, x: Array) -> Any:
            low, high = _bounds(bounds.get(name, {}))
            return spaces.Box(low, high, x.shape[1:], x.dtype)

        if isinstance(observations, dict):
            return spaces.Dict({name: box(name, x) for name, x in observations.items()})
        return box(next(iter(self._parts("observation"))), observations)

    def _action_space(self) -> Any:
        spaces = _needed("gymnasium").spaces
        parts, actions = (self.layout or {}).get("actions") or [], self.actions
        if len(parts) == 1 and parts[0].get("discrete") and actions.ndim == 1:
            low, high = int(parts[0].get("low") or 0), int(parts[0].get("high") or actions.max())
            return spaces.Discrete(high - low + 1, start=low)
        low_high = [_bounds(part) for part in parts for _ in range(int(part["size"]))]
        if len(low_high) != int(np.prod(actions.shape[1:])):
            low_high = [(-np.inf, np.inf)] * int(np.prod(actions.shape[1:]))
        low, high = (np.array(x, actions.dtype if actions.dtype.kind == "f" else np.float32).reshape(actions.shape[1:]) for x in zip(*low_high, strict=True))
        return spaces.Box(low, high, actions.shape[1:], actions.dtype)


def _bounds(part: Mapping[str, Any]) -> tuple[float, float]:
    low, high = part.get("low"), part.get("high")
    return -np.inf if low is None else float(low), np.inf if high is None else float(high)


def _needed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"this needs {module}: pip install {module}") from error


def read_export(path: str | os.PathLike[str]) -> Recorded:
    """The steps of a file that ``carla-rl experience export`` wrote: .npz, .jsonl, or .parquet, which needs pyarrow."""
    name = os.fspath(path)
    kind = os.path.splitext(name)[1].lower()
    if kind == ".npz":
        with np.load(name, allow_pickle=False) as arrays:
            columns = {key: arrays[key] for key in arrays.files if key != "layout"}
            layout = json.loads(arrays["layout"].item()) if "layout" in arrays.files else None
        return Recorded(columns, layout)
    if kind == ".parquet":
        return _read_parquet(name)
    if kind == ".jsonl":
        with open(name, encoding="utf-8") as lines:
            return _of_rows([json.loads(line) for line in lines])
    raise ValueError(f"{name}: want a file that ends with .npz, .parquet or .jsonl")


def _read_parquet(name: str) -> Recorded:
    _needed("pyarrow")
    table = importlib.import_module("pyarrow.parquet").read_table(name)
    meta = (table.schema.metadata or {}).get(b"carla_rl.layout")
    layout = None if meta is None else json.loads(meta)
    shapes = _shapes(layout)
    columns: dict[str, Array] = {}
    for field in table.schema:
        column = table[field.name].combine_chunks()
        if str(field.type).startswith("list"):
            values = column.flatten().to_numpy(zero_copy_only=False)
            columns[field.name] = values.reshape((len(column), *shapes.get(field.name, [-1 if len(column) else 0])))
        elif str(field.type) in ("string", "large_string"):
            columns[field.name] = np.array([v or "" for v in column.to_pylist()], str)
        elif str(field.type).startswith("timestamp"):
            columns[field.name] = column.cast("int64").to_numpy().astype("datetime64[us]")
        else:
            columns[field.name] = column.to_numpy(zero_copy_only=False)
    return Recorded(columns, layout)


def _shapes(layout: Mapping[str, Any] | None) -> dict[str, list[int]]:
    """The shapes of columns that are arrays."""
    if layout is None:
        return {}
    shapes = {"action_masks": [int(layout.get("masks", 0))]}
    for prefixes, parts in ((("observation",), layout.get("features") or layout["inputs"]), (("action", "raw_action"), layout["actions"])):
        for i, part in enumerate(parts):
            shape = list(part.get("shape") or [part.get("size", part.get("width"))])
            name = part.get("name") or (str(i) if len(parts) > 1 else "")
            for prefix in prefixes:
                shapes[f"{prefix}.{name}" if name else prefix] = shape
    return shapes


_NUMBERS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


def _of_rows(rows: list[dict[str, Any]]) -> Recorded:
    flat: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            inner = value if name in ("observation", "action", "raw_action") and isinstance(value, dict) else {"": value}
            for part, x in inner.items():
                flat.setdefault(f"{name}.{part}" if part else name, []).append(x)
    if any(len(values) != len(rows) for values in flat.values()):
        raise ValueError("the steps are of policies with different features or actions: export them by version")
    return Recorded({name: _column(name, values) for name, values in flat.items()})


_TEXTS = ("run", "request_id", "session", "model", "version", "digest", "interventions", "info")
_COUNTS = ("sequence", "episode", "session_step", "seed", "draw_step", "draw_row")


def _column(name: str, values: list[Any]) -> Array:
    if name in ("interventions", "info"):
        return np.array(["" if v is None else json.dumps(v) for v in values], str)
    if name in _TEXTS:
        return np.array([v or "" for v in values], str)
    if name in _COUNTS:
        return np.array(values, np.uint64)
    if name == "time":
        return np.array([v.removesuffix("Z") for v in values], "datetime64[us]")
    if name in ("first", "deterministic", "terminated", "truncated"):
        return np.array(values, bool)
    if name in ("value", "log_prob", "reward"):
        return np.array([np.nan if v is None else _NUMBERS.get(v, v) for v in values], np.float64)
    if name.endswith("_ns") or name == "request_row":
        return np.array(values, np.int64)
    return np.array(_numbers(values), np.float32)


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    return _NUMBERS.get(value, value) if isinstance(value, str) else value
