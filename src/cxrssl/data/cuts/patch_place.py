"""A patch of an image and the cell of a grid that it comes from. Grey uint8 in, grey uint8 out.

Chests are much alike in where their parts lie, so that a part tells its place. The whole image is
brought to the size of a view, blurred and given noise, and never cropped: the place is the label.

Shapes: G cells along each side, S the side of a view and p that of a patch in pixels.
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
    """A patch of an image, whose cell a network is to find.

    Attributes:
        ranges: What is drawn for the view; its crops are not used, and it must not be mirrored.
        patch_px: Side of a patch, at most the view's and at most two cells.
        grid: Cells along each side, G.
        jitter: How far the middle of a patch strays, as a share of the cell's side: 0 is the
            middle of the cell, 1 all of the cell.
    """

    ranges: ViewRanges
    patch_px: int
    grid: int
    jitter: float
    title: str = "a patch of each image, whose place is to be found"

    def __call__(self, pixels: Pixels, generators: Generators) -> dict[str, NDArray[Any]]:
        """Return `patches` [1, 1, p, p] uint8, and `cell`, counted row by row, int64."""
        patch, _, cell = self._cut(pixels, generators)
        return {"patches": patch[None, None], "cell": np.asarray(cell, dtype=np.int64)}

    def preview(self, pixels: Pixels, generators: Generators) -> tuple[CutImage, CutImage]:
        """Return the patch of an image [H, W] uint8, and its cell without blur and noise."""
        patch, (top, left), cell = self._cut(pixels, generators)
        height, width = pixels.shape
        row, column = divmod(cell, self.grid)
        text = f"patch in row {row + 1}, column {column + 1}\nof {self.grid} x {self.grid} cells"
        y, x = height / self.ranges.size_px, width / self.ranges.size_px
        place = (
            round(left * x),
            round(top * y),
            round(self.patch_px * x),
            round(self.patch_px * y),
        )
        rows, columns = (
            [round(number * side / self.grid) for number in (index, index + 1)]
            for index, side in ((row, height), (column, width))
        )
        shown = pixels[slice(*rows), slice(*columns)]
        box = (columns[0], rows[0], columns[1] - columns[0], rows[1] - rows[0])
        return CutImage(patch, *place, text), CutImage(shown, *box, "its cell")

    def _cut(self, pixels: Pixels, generators: Generators) -> tuple[Pixels, tuple[int, int], int]:
        """Return a patch [p, p], its first row and column in the view, and its cell."""
        whole = replace(self.ranges, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0))
        view = random_view(pixels, whole, generators[0])
        cell = int(generators[1].integers(self.grid**2))
        top, left = (self._start(index, generators[1]) for index in divmod(cell, self.grid))
        return view[top : top + self.patch_px, left : left + self.patch_px], (top, left), cell

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
