"""Patches are from the cells that their labels say, which pixels that tell their place show."""

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
        assert first["cell"].tolist() == second["cell"].tolist()
        assert len(set(first["cell"].tolist())) == cut.num_patches
        side = cut.patch_px
        for cell, down, right in zip(
            first["cell"].tolist(), first["patches"][:, 0], second["patches"][:, 0], strict=True
        ):
            top, left = int(down[0, 0]), int(right[0, 0])
            assert down[:, -1].tolist() == list(range(top, top + side))
            assert right[-1].tolist() == list(range(left, left + side))
            found.setdefault(cell, set()).add((top, left))
    return found


def test_without_jitter_a_patch_is_the_middle_of_its_cell() -> None:
    by_hand = {
        3 * row + column: {(20 * row + 5, 20 * column + 5)} for row, column in np.ndindex(3, 3)
    }
    assert starts(PatchPlace(RANGES, patch_px=10, num_patches=3, grid=3, jitter=0.0), 50) == by_hand


@pytest.mark.parametrize(("grid", "patch_px"), [(3, 12), (4, 9), (3, 40)])
def test_a_patchs_middle_is_anywhere_in_its_cell_and_nowhere_else(grid: int, patch_px: int) -> None:
    found, cell_px = starts(PatchPlace(RANGES, patch_px, 4, grid, jitter=1.0), 500), 60 / grid
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
    found = starts(PatchPlace(RANGES, patch_px=10, num_patches=3, grid=3, jitter=0.5), 300)
    assert {top for top, _ in found[4]} == set(range(20, 31))  # middles of 25 to 35 px


def test_blur_and_noise_are_those_of_a_view_of_all_of_the_image() -> None:
    noisy = replace(RANGES, blur_sigma_px=(1.0, 2.0), noise_share=(0.1, 0.2), blur_kernel_px=9)
    pixels = np.random.default_rng(0).integers(0, 256, (80, 70), dtype=np.uint8)
    cut = PatchPlace(noisy, patch_px=10, num_patches=3, grid=3, jitter=0.0)
    item = cut(pixels, generators(1))
    uncropped = replace(noisy, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0))
    view = random_view(pixels, uncropped, generators(1)[0])
    for patch, cell in zip(item["patches"], item["cell"].tolist(), strict=True):
        top, left = (20 * index + 5 for index in divmod(cell, 3))
        assert np.array_equal(patch[0], view[top : top + 10, left : left + 10])
    assert (item["patches"].shape, item["patches"].dtype) == ((3, 1, 10, 10), np.uint8)
    assert (item["cell"].shape, item["cell"].dtype) == ((3,), np.int64)


def test_a_preview_shows_patches_where_they_are() -> None:
    pixels = np.uint8(np.indices((120, 180))[1])
    cut = PatchPlace(RANGES, patch_px=10, num_patches=3, grid=3, jitter=0.0)
    item = cut(pixels, generators(1))
    for index, shown in enumerate(cut.preview(pixels, generators(1))):
        row, column = divmod(int(item["cell"][index]), 3)
        assert np.array_equal(shown.pixels, item["patches"][index, 0])
        assert f"row {row + 1}, column {column + 1}\n" in shown.caption
        # The image is twice as high as a view, and three times as wide.
        assert (shown.left_px, shown.width_px) == (60 * column + 15, 30)
        assert (shown.top_px, shown.height_px) == (40 * row + 10, 20)
