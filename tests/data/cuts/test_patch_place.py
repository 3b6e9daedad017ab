"""A patch is from the cell that its label says, which pixels that tell their place show."""

from dataclasses import replace

import numpy as np
import pytest

from cxrssl.data.cuts.patch_place import PatchPlace
from cxrssl.data.cuts.two_views import ViewRanges, random_view, view_generator

# Nothing but the place is drawn: crops are wide open, to see that they are not used.
RANGES = ViewRanges(60, (0.1, 0.5), (0.5, 2.0), 0.0, (0.0, 0.0), 3, (0.0, 0.0), "uniform")


def generators(epoch: int) -> tuple[np.random.Generator, np.random.Generator]:
    return view_generator(0, epoch, 3, 0), view_generator(0, epoch, 3, 1)


def starts(cut: PatchPlace, count: int) -> dict[int, set[tuple[int, int]]]:
    """Return first row and column of patches by their cells, read from pixels that hold them."""
    rows, columns = (np.uint8(axis) for axis in np.indices((60, 60)))
    found: dict[int, set[tuple[int, int]]] = {}
    for epoch in range(count):
        first, second = (cut(axis, generators(epoch)) for axis in (rows, columns))
        assert first["cell"] == second["cell"]
        top, left = int(first["patches"][0, 0, 0, 0]), int(second["patches"][0, 0, 0, 0])
        side = cut.patch_px
        assert first["patches"][0, 0, :, -1].tolist() == list(range(top, top + side))
        assert second["patches"][0, 0, -1].tolist() == list(range(left, left + side))
        found.setdefault(int(first["cell"]), set()).add((top, left))
    return found


def test_without_jitter_a_patch_is_the_middle_of_its_cell() -> None:
    by_hand = {
        3 * row + column: {(20 * row + 5, 20 * column + 5)} for row, column in np.ndindex(3, 3)
    }
    assert starts(PatchPlace(RANGES, patch_px=10, grid=3, jitter=0.0), 150) == by_hand


@pytest.mark.parametrize(("grid", "patch_px"), [(3, 12), (4, 9), (3, 40)])
def test_a_patchs_middle_is_anywhere_in_its_cell_and_nowhere_else(grid: int, patch_px: int) -> None:
    found, cell_px = starts(PatchPlace(RANGES, patch_px, grid, jitter=1.0), 1500), 60 / grid
    assert sorted(found) == list(range(grid**2))
    for cell, places in found.items():
        for axis, index in enumerate(divmod(cell, grid)):
            seen = {place[axis] for place in places}
            expected = {
                start
                for start in range(60 - patch_px + 1)
                if index * cell_px <= start + patch_px / 2 <= (index + 1) * cell_px
            }
            assert seen == expected


def test_half_the_jitter_is_the_middle_half_of_a_cell() -> None:
    found = starts(PatchPlace(RANGES, patch_px=10, grid=3, jitter=0.5), 1500)
    assert {top for top, _ in found[4]} == set(range(20, 31))  # middles of 25 to 35 px


def test_blur_and_noise_are_those_of_a_view_of_all_of_the_image() -> None:
    noisy = replace(RANGES, blur_sigma_px=(1.0, 2.0), noise_share=(0.1, 0.2), blur_kernel_px=9)
    pixels = np.random.default_rng(0).integers(0, 256, (80, 70), dtype=np.uint8)
    cut = PatchPlace(noisy, patch_px=10, grid=3, jitter=0.0)
    item = cut(pixels, generators(1))
    uncropped = replace(noisy, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0))
    view = random_view(pixels, uncropped, generators(1)[0])
    top, left = (20 * index + 5 for index in divmod(int(item["cell"]), 3))
    assert np.array_equal(item["patches"][0, 0], view[top : top + 10, left : left + 10])
    assert (item["patches"].shape, item["patches"].dtype) == ((1, 1, 10, 10), np.uint8)
    assert item["cell"].dtype == np.int64


def test_a_preview_shows_the_patch_and_its_cell_where_they_are() -> None:
    columns = np.indices((120, 180))[1]
    cut = PatchPlace(RANGES, patch_px=10, grid=3, jitter=0.0)
    item, (patch, cell) = (
        cut(np.uint8(columns), generators(1)),
        cut.preview(np.uint8(columns), generators(1)),
    )
    row, column = divmod(int(item["cell"]), 3)
    assert np.array_equal(patch.pixels, item["patches"][0, 0])
    assert f"row {row + 1}, column {column + 1}\n" in patch.caption
    # The image is twice as high as a view, and three times as wide.
    assert (patch.left_px, patch.width_px) == (60 * column + 15, 30)
    assert (patch.top_px, patch.height_px) == (40 * row + 10, 20)
    assert (cell.left_px, cell.top_px, cell.width_px, cell.height_px) == (
        *(60 * column, 40 * row),
        *(60, 40),
    )
    assert cell.pixels[0, 0] == columns[0, 60 * column]
