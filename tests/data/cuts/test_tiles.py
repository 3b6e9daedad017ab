"""Tiles lie in their cells, are shuffled as their label says, and orders are far apart."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from cxrssl.data.cuts.tiles import NUM_TILES, Tiles, tile_orders, tiles_of
from cxrssl.data.cuts.two_views import ViewRanges, random_view, view_generator

RANGES = ViewRanges(64, (0.5, 1.0), (1.0, 1.0), 0.0, (0.1, 0.5), 3, (0.1, 0.2), "uniform")
PIXELS = np.random.default_rng(0).integers(0, 256, (80, 70), dtype=np.uint8)


def generators(epoch: int) -> tuple[np.random.Generator, np.random.Generator]:
    return view_generator(0, epoch, 3, 0), view_generator(0, epoch, 3, 1)


@pytest.mark.parametrize(("num_orders", "least"), [(2, 9), (10, 8), (30, 7), (100, 6), (1000, 4)])
def test_orders_are_permutations_that_differ_in_many_places(num_orders: int, least: int) -> None:
    orders = tile_orders(num_orders)
    assert orders.shape == (num_orders, 9)
    assert orders[0].tolist() == list(range(9))
    assert all(sorted(order) == list(range(9)) for order in orders.tolist())
    some = orders[:200].tolist()
    distances = [
        sum(a != b for a, b in zip(first, second, strict=True))
        for first, second in combinations(some, 2)
    ]
    assert min(distances) >= least
    assert len({tuple(order) for order in orders.tolist()}) == num_orders


def test_a_tile_lies_in_its_cell_and_somewhere_else_each_time() -> None:
    rows, columns = np.divmod(np.arange(64 * 64), 64)
    by_row, by_column = (axis.reshape(64, 64).astype(np.uint8) for axis in (rows, columns))
    tops = set()
    for seed in range(50):
        first, second = (
            tiles_of(view, 16, np.random.default_rng(seed)) for view in (by_row, by_column)
        )
        for cell in range(NUM_TILES):
            top, left = int(first[cell, 0, 0]), int(second[cell, 0, 0])
            assert cell // 3 * 21 <= top <= cell // 3 * 21 + 5
            assert cell % 3 * 21 <= left <= cell % 3 * 21 + 5
            assert np.array_equal(first[cell, :, 0], np.arange(top, top + 16))
            assert np.array_equal(second[cell, 0], np.arange(left, left + 16))
        tops.add(int(first[4, 0, 0]))
    assert tops == set(range(21, 27))


def test_the_label_is_the_order_of_the_tiles() -> None:
    cut = Tiles(RANGES, tile_px=21, num_orders=30)  # a whole cell: nothing is left to chance
    labels = set()
    for epoch in range(60):
        item = cut(PIXELS, generators(epoch))
        assert item["tiles"].shape == (9, 1, 21, 21)
        view = random_view(PIXELS, RANGES, generators(epoch)[0])
        order = tile_orders(30)[int(item["order"])]
        for place, cell in enumerate(order.tolist()):
            top, left = cell // 3 * 21, cell % 3 * 21
            assert np.array_equal(item["tiles"][place, 0], view[top : top + 21, left : left + 21])
        labels.add(int(item["order"]))
    assert 20 < len(labels) <= 30
    assert item["order"].dtype == np.int64


def test_a_preview_shows_the_tiles_as_they_are_trained_on() -> None:
    cut = Tiles(replace(RANGES, size_px=66), tile_px=20, num_orders=30)
    item, (view, sheet) = cut(PIXELS, generators(1)), cut.preview(PIXELS, generators(1))
    assert view.pixels.shape == (66, 66)
    assert np.array_equal(sheet.pixels[20:40, 40:60], item["tiles"][5, 0])
    assert sheet.caption == f"its tiles in order {int(item['order']) + 1} of 30"
    assert (sheet.left_px, sheet.width_px) == (view.left_px, view.width_px)
