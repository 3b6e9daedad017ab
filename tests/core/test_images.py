"""Image arithmetic: resampling keeps means, equalising fills the range, blur spreads a point."""

from itertools import pairwise
from multiprocessing import get_context

import cv2
import numpy as np
import pytest

from cxrssl.core.images import (
    Fit,
    Intensity,
    Placement,
    box_averaged,
    equalized,
    one_thread,
    placed,
    placement,
    resized,
)


def test_shrinking_by_a_whole_factor_averages_blocks() -> None:
    levels = np.arange(16, dtype=np.float32).reshape(4, 4)
    blocks = levels.reshape(2, 2, 2, 2).mean(axis=(1, 3))
    assert np.array_equal(resized(levels, height=2, width=2), blocks)


def test_equalising_fills_the_range_and_keeps_the_order() -> None:
    pixels = np.repeat(np.arange(100, 132, dtype=np.uint8), 32).reshape(32, 32)
    result = equalized(pixels)
    assert (result.min(), result.max()) == (0, 255)
    assert (np.diff(result[:, 0].astype(int)) > 0).all()


def test_intensity_without_equalisation_leaves_pixels_alone() -> None:
    pixels = np.full((4, 4), 7, dtype=np.uint8)
    assert Intensity(equalize=False, mean=0.5, std=0.25).prepare(pixels) is pixels


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
def test_large_images_are_averaged_as_opencv_does(kind: type) -> None:
    levels = np.random.default_rng(0).integers(0, 200, (1111, 1237)).astype(kind)
    one_thread()
    expected = cv2.resize(levels.astype(np.float32), (97, 103), interpolation=cv2.INTER_AREA)
    assert np.allclose(resized(levels, height=103, width=97), expected, atol=1e-3)


def test_whole_numbers_are_averaged_without_rounding() -> None:
    levels = np.tile(np.array([[0, 1]], np.uint16), (2, 1))
    assert resized(levels, height=1, width=1).item() == 0.5


def resize_in_child(_: int) -> float:
    one_thread()
    return float(resized(np.ones((1500, 1500), np.float32), height=100, width=100).mean())


def test_a_process_forked_after_resizing_can_resize() -> None:
    resized(np.ones((1500, 1500), np.float32), height=100, width=100)
    with get_context("fork").Pool(1) as pool:
        assert pool.map_async(resize_in_child, [0]).get(timeout=60) == [1.0]


def averaged_slowly(line: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Average a line, whose ends go on, by a thousand samples a box."""
    means = []
    for begin, end in pairwise(edges):
        at = begin + (np.arange(1000) + 0.5) / 1000 * (end - begin)
        means.append(line[np.clip(np.floor(at).astype(int), 0, len(line) - 1)].mean())
    return np.array(means)


@pytest.mark.parametrize("edges", [(-0.6, 11.3), (0.25, 11.8), (0.0, 11.0), (9.5, 13.0)])
def test_boxes_may_begin_and_end_anywhere(edges: tuple[float, float]) -> None:
    line = np.random.default_rng(0).random(11)
    cuts = np.linspace(*edges, 6)
    all_edges = np.array([0.0, 5.0])
    rows = box_averaged(np.tile(line[:, None], (1, 5)), row_edges=cuts, column_edges=all_edges)
    columns = box_averaged(np.tile(line, (5, 1)), row_edges=all_edges, column_edges=cuts)
    assert np.allclose(rows[:, 0], averaged_slowly(line, cuts), atol=2e-3)
    assert np.allclose(columns[0], rows[:, 0], atol=1e-6)


def test_squashing_fills_the_square() -> None:
    result = placement(2446, 2788, size_px=512, fit="squash")
    assert result == Placement(512 / 2446, 512 / 2788, 0, 0, 512, 512)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((200, 100), (0, 25, 100, 50)),
        ((100, 200), (25, 0, 50, 100)),
        ((300, 299), (0, 0, 100, 100)),
    ],
)
def test_letterboxing_keeps_the_aspect_and_centres(
    size: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    result = placement(*size, size_px=100, fit="letterbox")
    assert (result.x_offset_px, result.y_offset_px, result.width_px, result.height_px) == expected


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize("size", [(2446, 2788), (1, 5000), (5000, 1), (7, 7), (512, 512)])
def test_the_corners_of_an_image_land_on_the_corners_of_its_content(
    size: tuple[int, int], fit: Fit
) -> None:
    place = placement(*size, size_px=64, fit=fit)
    assert place.x_offset_px >= 0
    assert place.y_offset_px >= 0
    assert size[0] * place.x_scale == pytest.approx(place.width_px)
    assert size[1] * place.y_scale == pytest.approx(place.height_px)
    assert max(place.width_px, place.height_px) == 64
    assert place.x_offset_px + place.width_px <= 64
    assert place.y_offset_px + place.height_px <= 64


def test_content_is_laid_where_it_is_placed() -> None:
    place = placement(30, 10, size_px=9, fit="letterbox")
    content = np.full((place.height_px, place.width_px), 5, np.uint8)
    result = placed(content, place, size_px=9)
    assert result.sum() == 5 * content.size
    assert (result[3:6] == 5).all()
