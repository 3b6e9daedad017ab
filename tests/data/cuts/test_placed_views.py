"""Placed views are those of other methods, and what is seen at a place is what is said to be."""

from dataclasses import replace

import numpy as np
import pytest

from cxrssl.data.cuts.placed_views import PlacedViews, place_of
from cxrssl.data.cuts.two_views import TwoViews, ViewDraw, ViewRanges, draw_view, view_of

RANGES = ViewRanges(
    size_px=48,
    crop_area=(0.2, 1.0),
    crop_aspect=(0.75, 4 / 3),
    flip_probability=0.5,
    blur_sigma_px=(0.1, 1.0),
    blur_kernel_px=21,
    noise_share=(0.125, 0.25),
    noise_draw="uniform",
)


def generators(seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    first, second = np.random.default_rng(seed).spawn(2)
    return first, second


def test_views_are_those_of_two_views_and_no_more_is_drawn() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90), dtype=np.uint8)
    for seed in range(8):
        used, others = generators(seed), generators(seed)
        item = PlacedViews(RANGES)(pixels, used)
        assert np.array_equal(item["views"], TwoViews(RANGES)(pixels, others)["views"])
        assert [g.random() for g in used] == [g.random() for g in others]
        assert item["places"].shape == (2, 4)
        assert item["places"].dtype == np.float32
        draws = [draw_view(60, 90, RANGES, generator) for generator in generators(seed)]
        assert np.array_equal(item["places"], np.stack([place_of(draw) for draw in draws]))


def test_a_mirrored_view_has_its_left_edge_on_the_right() -> None:
    draw = ViewDraw(3, 5, 20, 30, False, 0.0, 0.0, 0.0)
    assert place_of(draw).tolist() == [5, 3, 35, 23]
    assert place_of(replace(draw, is_mirrored=True)).tolist() == [35, 3, 5, 23]


@pytest.mark.parametrize("axis", [0, 1])
def test_a_view_shows_what_lies_at_its_place(axis: int) -> None:
    # Each pixel's level is its column, or its row.
    ramp = np.broadcast_to(np.arange(240, dtype=np.uint8), (240, 240))
    pixels = np.ascontiguousarray(ramp if axis == 0 else ramp.T)
    plain = replace(RANGES, blur_sigma_px=(0.0, 0.0), noise_share=(0.0, 0.0))
    mirrored = 0
    for seed in range(12):
        draw = draw_view(240, 240, plain, np.random.default_rng(seed))
        mirrored += draw.is_mirrored
        view = view_of(pixels, draw, plain).astype(np.float64)
        place = place_of(draw)
        start, end = place[axis], place[axis + 2]
        along = view.mean(axis=axis)
        expected = start + (np.arange(48) + 0.5) / 48 * (end - start) - 0.5
        assert along[2:-2] == pytest.approx(expected[2:-2], abs=1)
    assert 0 < mirrored < 12
