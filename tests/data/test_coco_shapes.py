"""Boxes around outlines, masks and turned boxes; masks are judged by pycocotools."""

import math

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from cxrssl.data.coco.shapes import clipped, rotated_extent, segmentation_extent


@pytest.mark.parametrize(
    "segmentation",
    [
        [[10, 12, 30, 12, 30, 40]],
        [[10, 12, 20, 12, 20, 20], [15, 30, 30, 30, 30, 40]],
        [[], [10, 12, 30, 12, 30, 40]],
        [10, 12, 30, 12, 30, 40],
        [[10, 12], [30, 12], [30, 40]],
        [["10", "12", 30, 12, 30.0, 40]],
    ],
    ids=["one", "several", "empty", "flat", "pairs", "words"],
)
def test_the_extent_of_polygons_is_that_of_all_their_points(segmentation: object) -> None:
    assert segmentation_extent(segmentation) == (10, 12, 30, 40)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("packed", [True, False])
def test_the_extent_of_a_mask_is_that_of_pycocotools(seed: int, packed: bool) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((rng.integers(1, 90), rng.integers(1, 90)), np.uint8)
    for _ in range(seed):
        y, x = rng.integers(0, mask.shape[0]), rng.integers(0, mask.shape[1])
        mask[y : y + rng.integers(1, 30), x : x + rng.integers(1, 30)] = 1
    coded = coco_mask.encode(np.asfortranarray(mask))
    column_wise = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], column_wise]))).tolist()
    counts = np.diff([0, *edges, mask.size]).tolist()
    size = [int(side) for side in mask.shape]
    result = segmentation_extent(
        {"size": size, "counts": coded["counts"].decode() if packed else counts}
    )
    x, y, width, height = coco_mask.toBbox(coded).tolist()
    if mask.any():
        assert result == (x, y, x + width, y + height)
    else:
        assert all(map(math.isnan, result))


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        [[]],
        "word",
        7,
        [[1, 2, 3]],
        [[1, 2, 3, 4]],
        [[1, 2, "x", 4, 5, 6]],
        [[1, 2, None, 4, 5, 6]],
        [{"x": 1}],
        {"counts": [1, 2]},
        {"size": [2, 2], "counts": [1, 2]},
        {"size": [2, 2], "counts": [9, -5]},
        {"size": [2, 2], "counts": "~~~"},
        {"size": [2, 2], "counts": "o"},
        {"size": [2, 2, 2], "counts": [4, 4]},
        {"size": [1 << 40, 1 << 40], "counts": [0, 1 << 80]},
        {"size": [2, 2], "counts": [4]},
        {"size": None, "counts": None},
    ],
)
def test_what_has_no_extent_is_no_box(segmentation: object) -> None:
    assert all(map(math.isnan, segmentation_extent(segmentation)))


def test_a_box_turned_about_its_centre_is_enclosed() -> None:
    # cos 30 = 0.866, sin 30 = 0.5: each side is 20 (0.866 + 0.5) = 27.32 long, about (20, 20).
    half = 10 * (math.cos(math.pi / 6) + 0.5)
    result = rotated_extent((10, 10, 30, 30), 30, around_corner=False)
    assert result == pytest.approx((20 - half, 20 - half, 20 + half, 20 + half))
    back = rotated_extent((10, 10, 30, 30), -330, around_corner=False)
    assert back == pytest.approx(result)


def test_a_quarter_turn_exchanges_the_sides_exactly() -> None:
    assert rotated_extent((10, 10, 50, 30), 90, around_corner=False) == (20, 0, 40, 40)
    # Clockwise about (10, 10): what went to the right goes down, what went down goes to the left.
    assert rotated_extent((10, 10, 50, 30), 90, around_corner=True) == (-10, 10, 10, 50)
    assert rotated_extent((10, 10, 50, 30), 270, around_corner=True) == (10, -30, 30, 10)
    assert rotated_extent((10, 10, 50, 30), 180, around_corner=True) == (-30, -10, 10, 10)


def test_boxes_are_cut_at_edges_that_are_known() -> None:
    assert clipped((-5, -5, 105, 65), (100, 60)) == (0, 0, 100, 60)
    assert clipped((-5, 5, 105, 65), None) == (0, 5, 105, 65)
