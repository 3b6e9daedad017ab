"""`Found`: what a detector returns for an image, as columns and as a table."""

import os
from pathlib import Path

import numpy as np
import pytest

from cxrssl.predict.found import Finding, Found

FOUND = Found(
    Path("films/a.dcm"),
    3000,
    2500,
    (
        Finding((10.0, 20.5, 110.0, 220.0), "Nodule/Mass", 0.9),
        Finding((0.0, 0.0, 3000.0, 2500.0), "ILD", 0.25),
    ),
)


def test_columns_and_the_table_hold_the_same_boxes_in_the_same_order() -> None:
    table = FOUND.to_pandas()
    assert list(table) == ["file", "class", "score", "x_min", "y_min", "x_max", "y_max"]
    assert table["class"].tolist() == list(FOUND.labels) == ["Nodule/Mass", "ILD"]
    assert np.array_equal(table[["x_min", "y_min", "x_max", "y_max"]].to_numpy(), FOUND.boxes)
    assert table["score"].tolist() == FOUND.scores.tolist() == [0.9, 0.25]
    assert set(table["file"]) == {"films/a.dcm"}
    assert [finding.label for finding in FOUND] == ["Nodule/Mass", "ILD"]


def test_an_image_without_findings_has_empty_columns_of_the_same_shape() -> None:
    empty = Found(Path("a.png"), 9, 9)
    assert (len(empty), empty.boxes.shape, empty.scores.shape) == (0, (0, 4), (0,))
    table = empty.to_pandas()
    assert (len(table), list(table)) == (0, list(FOUND.to_pandas()))
    assert table.dtypes.to_dict() == FOUND.to_pandas().dtypes.to_dict()


@pytest.mark.parametrize(("threshold", "count"), [(0.0, 2), (0.25, 2), (0.26, 1), (0.95, 0)])
def test_a_threshold_keeps_what_reaches_it(threshold: float, count: int) -> None:
    assert FOUND.at_least(threshold).findings == FOUND.findings[:count]


def test_a_file_name_that_is_not_utf8_keeps_its_path_and_has_a_name() -> None:
    path = Path(os.fsdecode(b"J\xfcrgen.png"))
    assert Found(path).file == path
    assert Found(path).name == "J\\udcfcrgen.png"
