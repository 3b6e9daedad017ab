"""Patches of an image and the cells of a grid that they come from. Grey uint8 in, grey uint8 out.

Chests are much alike in where their parts lie, so that a part tells its place. The whole image is
brought to the size of a view, blurred and given noise, and never cropped: the place is the label.

Shapes: G cells along each side, V patches of an image, p the side of a patch in pixels.
Source: Bai et al., MICCAI 2019, arXiv 1907.02757, section 2: there nine boxes whose places follow
from the planes of a cardiac scan; here the cells of a grid.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.images import Pixels
from cxrssl.data.cuts import CutImage, Generators
from cxrssl.data.cuts.two_views import ViewRanges, random_view

Generator = np.random.Generator


@dataclass(frozen=True)
class PatchPlace:
    """Patches of an image, each of another cell, which a network is to find.

    Attributes:
        ranges: What is drawn for the view; its crops are not used, and it must not be mirrored.
        patch_px: Side of a patch, at most the view's and at most two cells.
        num_patches: Patches of an image, at most as many as cells.
        grid: Cells along each side, G.
        jitter: How far the middle of a patch strays, as a share of the cell's side: 0 is the
            middle of the cell, 1 all of the cell.
    """

    ranges: ViewRanges
    patch_px: int
    num_patches: int
    grid: int
    jitter: float
    title: str = "patches of each image, whose places are to be found"

    def __call__(self, pixels: Pixels, generators: Generators) -> dict[str, NDArray[Any]]:
        """Return `patches` [V, 1, p, p] uint8, and `cell` [V], counted row by row, int64."""
        patches, cells, _ = self._cut(pixels, generators)
        return {"patches": patches[:, None], "cell": cells}

    def preview(self, pixels: Pixels, generators: Generators) -> tuple[CutImage, CutImage]:
        """Return the first two patches of an image [H, W] uint8."""
        patches, cells, starts = self._cut(pixels, generators)
        y, x = (side / self.ranges.size_px for side in pixels.shape)
        first, second = (
            CutImage(
                patches[index],
                left_px=round(starts[index][1] * x),
                top_px=round(starts[index][0] * y),
                width_px=round(self.patch_px * x),
                height_px=round(self.patch_px * y),
                caption=self._caption(int(cells[index])),
            )
            for index in (0, 1)
        )
        return first, second

    def _caption(self, cell: int) -> str:
        row, column = divmod(cell, self.grid)
        return f"row {row + 1}, column {column + 1}\nof {self.grid} x {self.grid} cells"

    def _cut(
        self, pixels: Pixels, generators: Generators
    ) -> tuple[Pixels, NDArray[np.int64], list[tuple[int, int]]]:
        """Return patches [V, p, p], their cells [V], and first row and column of each."""
        whole = replace(self.ranges, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0))
        view, side = random_view(pixels, whole, generators[0]), self.patch_px
        cells = generators[1].permutation(self.grid**2)[: self.num_patches]
        starts = []
        for cell in cells.tolist():
            row, column = divmod(cell, self.grid)
            starts.append((self._start(row, generators[1]), self._start(column, generators[1])))
        patches = [view[top : top + side, left : left + side] for top, left in starts]
        return np.stack(patches), cells, starts

    def _start(self, index: int, generator: Generator) -> int:
        """Draw where a patch in the index-th row or column of cells begins, in pixels.

        A patch lies inside the view, so in an outer cell a large one strays less.
        """
        cell_px = self.ranges.size_px / self.grid
        middle = (index + 0.5) * cell_px - self.patch_px / 2
        stray = self.jitter * cell_px / 2
        first = max(0, math.ceil(middle - stray))
        last = min(self.ranges.size_px - self.patch_px, math.floor(middle + stray))
        if first > last:  # no whole pixel, or none inside the view: the nearest one that is
            return min(max(0, round(middle)), self.ranges.size_px - self.patch_px)
        return int(generator.integers(first, last + 1))
