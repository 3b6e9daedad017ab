"""Box arithmetic, against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrssl.core.boxes import flipped, iou_matrix, rescaled

SIDE = st.floats(0, 100, width=32)


def test_overlap_of_half_shifted_squares_is_a_third() -> None:
    result = iou_matrix(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0], [5, 5, 6, 6.0]]))
    assert result.tolist() == [[pytest.approx(1 / 3), 0.0]]


def test_boxes_without_area_overlap_nothing() -> None:
    point = np.array([[1, 1, 1, 1.0]])
    assert iou_matrix(point, point).tolist() == [[0.0]]


@given(st.lists(st.tuples(SIDE, SIDE, SIDE, SIDE), max_size=5))
def test_flipping_twice_is_the_identity(corners: list[tuple[float, ...]]) -> None:
    boxes = np.array(corners, dtype=np.float32).reshape(-1, 4)
    twice = flipped(flipped(boxes, width_px=128), width_px=128)
    assert np.allclose(twice, boxes, atol=1e-4)


def test_flipping_mirrors_left_to_right_and_keeps_the_order_of_the_corners() -> None:
    boxes = np.array([[10, 20, 30, 50]], dtype=np.float32)
    assert flipped(boxes, width_px=100).tolist() == [[70, 20, 90, 50]]


def test_rescaling_uses_each_axis_own_factor() -> None:
    boxes = np.array([[10, 20, 30, 40]], dtype=np.float64)
    assert rescaled(boxes, x_scale=0.5, y_scale=2).tolist() == [[5, 40, 15, 80]]
