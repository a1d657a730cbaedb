"""The environment of the demo policy against the drives that other languages are held to."""

import copy
import json
import sys

from conftest import ROOT

sys.path.insert(0, str(ROOT / "training"))
import vectors  # noqa: E402

RECORDED = json.loads((ROOT / "training" / "drive_vectors.json").read_text(encoding="utf-8"))


def test_the_recorded_drives_are_those_of_the_environment():
    assert vectors.differences(RECORDED, vectors.vectors()) == []


def test_a_drive_that_differs_is_noticed():
    other = copy.deepcopy(RECORDED)
    other["roads"][1]["drives"][0]["states"][100][3] += 1e-6
    assert len(vectors.differences(RECORDED, other)) == 1
    other["roads"][0]["drives"][1]["crashed"] = False
    other["roads"][0]["drives"][0]["points"].append(1)
    assert len(vectors.differences(RECORDED, other)) == 3
