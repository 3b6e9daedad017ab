"""Random changes of labelled images: boxes move with pixels, no box is lost, levels are as said."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from cxrssl.data.cuts.augmentation import (
    AugmentRanges,
    CutoutRanges,
    _random_levels,
    augmented,
    cut_out,
    cut_squares,
    draw_geometry,
    share_that_keeps_its_place,
    with_boxes,
)

STILL = AugmentRanges(
    (1.0, 1.0), 0.0, 0.0, (1.0, 1.0), (1.0, 1.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), None
)
MOVING = replace(STILL, scale=(0.7, 1.4), shift=0.2, rotation_degrees=10.0)
SIDE = 128


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def film_with_a_mark(box: tuple[int, int, int, int]) -> np.ndarray:
    pixels = np.full((SIDE, SIDE), 40, np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = 250
    return pixels


def test_ranges_of_nothing_change_nothing() -> None:
    pixels, boxes = film_with_a_mark((30, 40, 60, 70)), np.array([[30, 40, 60, 70]], np.float32)
    view, moved = with_boxes(pixels, boxes, STILL, generator())
    assert np.array_equal(view, pixels)
    assert np.array_equal(moved, boxes)


@pytest.mark.parametrize("seed", range(12))
def test_a_box_moves_with_its_film(seed: int) -> None:
    box = (50, 40, 80, 62)
    ranges = replace(MOVING, rotation_degrees=0.0)
    view, moved = with_boxes(
        film_with_a_mark(box), np.array([box], np.float32), ranges, generator(seed)
    )
    rows, columns = np.nonzero(view > 145)
    found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert np.abs(moved[0] - found).max() <= 1.0


def test_the_middle_of_every_box_stays_in_view() -> None:
    boxes = np.array([[0, 0, 20, 20], [100, 110, 128, 128]], np.float32)
    sizes = set()
    for seed in range(60):
        geometry = draw_geometry(boxes, MOVING, generator(seed), size=(SIDE, SIDE))
        if geometry is not None:
            middles = geometry.points((boxes[:, :2] + boxes[:, 2:]) / 2)
            assert bool(np.all((middles >= 0) & (middles <= SIDE)))
            sizes.add(round(float(np.sqrt(np.linalg.det(geometry.matrix[:, :2]))), 3))
    assert len(sizes) > 20
    assert 0.7 <= min(sizes) < 0.8


def test_an_augmentation_that_would_empty_a_film_leaves_it_in_its_place_and_counts_it() -> None:
    far, middle = np.array([[0, 0, 8, 8]], np.float32), np.array([[60, 60, 68, 68]], np.float32)
    large = replace(STILL, scale=(6.0, 7.0))
    pixels = film_with_a_mark((0, 0, 8, 8))
    view, moved = with_boxes(pixels, far, large, generator())
    assert np.array_equal(view, pixels)
    assert np.array_equal(moved, far)
    share = share_that_keeps_its_place([far, middle, far, middle], large, generator(), side_px=SIDE)
    assert share == 0.5
    assert share_that_keeps_its_place([far], STILL, generator(), side_px=SIDE) == 0.0


def test_a_view_is_a_function_of_its_generator() -> None:
    ranges = replace(
        MOVING, gamma=(0.7, 1.4), noise_share=(0.0, 0.1), cutout=CutoutRanges(3, (0.1, 0.2))
    )
    pixels, boxes = film_with_a_mark((50, 40, 80, 62)), np.array([[50, 40, 80, 62]], np.float32)
    first, second = (augmented(pixels, boxes, ranges, generator(4)) for _ in range(2))
    other = augmented(pixels, boxes, ranges, generator(5))
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.squares, second.squares)
    assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize("gamma", [0.6, 1.0, 1.7])
@pytest.mark.parametrize("contrast", [0.5, 1.0, 1.6])
def test_levels_are_torchvisions(gamma: float, contrast: float) -> None:
    pixels = generator(1).integers(60, 190, (SIDE, SIDE)).astype(np.uint8)
    ranges = replace(STILL, gamma=(gamma, gamma), contrast=(contrast, contrast))
    result = _random_levels(pixels, ranges, generator()).astype(float) / 255
    float_film = torch.from_numpy(pixels / 255)[None].float()
    expected = reference.adjust_contrast(reference.adjust_gamma(float_film, gamma), contrast)
    assert np.abs(result - expected[0].numpy()).max() <= 0.6 / 255


def test_brightness_is_added_as_a_share_of_white() -> None:
    pixels = np.full((4, 4), 100, np.uint8)
    brighter = _random_levels(pixels, replace(STILL, brightness=(0.2, 0.2)), generator())
    assert np.array_equal(brighter, np.full((4, 4), 151))


def test_squares_take_no_more_than_a_third_of_a_box() -> None:
    box = np.array([[0, 0, 30, 10]], np.float32)
    squares = np.array([[0, 0, 9, 10], [10, 0, 12, 10], [40, 40, 60, 60], [0, 0, 60, 60]])
    assert cut_squares(squares, box).tolist() == [[0, 0, 9, 10], [40, 40, 60, 60]]
    pixels = film_with_a_mark((0, 0, 64, 128))
    cut = cut_out(pixels.copy(), squares[2:3])
    assert set(np.unique(cut[40:60, 40:60])) == {145}
    assert int((cut != pixels).sum()) == 400
    ranges = replace(STILL, cutout=CutoutRanges(40, (0.3, 0.5)))
    for seed in range(20):
        marked = film_with_a_mark((20, 20, 60, 60))
        view, _ = with_boxes(
            marked, np.array([[20, 20, 60, 60]], np.float32), ranges, generator(seed)
        )
        assert (view[20:60, 20:60] == 250).mean() >= 2 / 3 - 0.02
