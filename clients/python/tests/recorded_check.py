"""Run by test_recorded.py, with pyarrow and Minari: an export as Parquet and as a dataset against its arrays."""

import sys

import minari
import numpy as np
import pyarrow.parquet

from carla_rl_client import read_export

want, got = read_export(sys.argv[1]), read_export(sys.argv[2])
assert got.layout == want.layout
assert sorted(got.columns) == sorted(want.columns)
for name, column in want.columns.items():
    assert got[name].dtype == column.dtype or column.dtype.kind == "U", (name, got[name].dtype, column.dtype)
    np.testing.assert_array_equal(got[name], column, name)

table = pyarrow.parquet.read_table(sys.argv[2])
assert table.num_rows == len(want) and table["reward"].null_count == 3
assert str(table.schema.field("time").type) == "timestamp[us, tz=UTC]"

dataset = got.to_minari("drive/test-v0", description="a test", data_format="arrow")
assert dataset.total_episodes == 3, dataset.total_episodes
assert [len(e.actions) for e in dataset] == [4, 1, 1]
first, second, third = minari.load_dataset("drive/test-v0")
assert first.terminations.tolist() == [False, False, False, True] and not first.truncations.any()
assert first.observations["speed"].tolist() == [0, 1, 2, 3, 3]
assert first.rewards.tolist() == [0, 0.5, 1, 1.5]
assert second.observations["speed"].tolist() == [4, 5] and second.truncations.tolist() == [True]
assert third.rewards.tolist() == [0]
np.testing.assert_array_equal(np.asarray(first.actions), want.actions[:4])
assert dataset.observation_space["speed"].high == 200, dataset.observation_space
print("all of it")
