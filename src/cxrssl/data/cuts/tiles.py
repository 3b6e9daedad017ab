"""Nine tiles of a view in a shuffled order. Grey uint8 in, grey uint8 out.

A view is a 3x3 grid of cells; each gives a tile that lies somewhere in its cell, so that tiles do
not meet and the lines at their edges do not give the order away.

Shapes: P orders, t the side of a tile in pixels.
Source: Noroozi and Favaro, arXiv 1603.09246, section 3.3 and algorithm 1.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.images import Pixels
from cxrssl.data.cuts import CutImage, Generators
from cxrssl.data.cuts.two_views import ViewRanges, random_view, view_image

GRID = 3
NUM_TILES = GRID * GRID
# Of 362,880 orders; the best of so many drawn ones are as far apart as the best of all.
_NUM_CANDIDATES = 2**14


@dataclass(frozen=True)
class Tiles:
    """Nine tiles of a view, whose order a network is to find.

    Attributes:
        ranges: What is drawn for the view.
        tile_px: Side of a tile, at most a third of the view's.
        num_orders: Into how many different orders tiles may be shuffled.
    """

    ranges: ViewRanges
    tile_px: int
    num_orders: int
    title: str = "nine tiles of each view, whose order is to be found"

    def __call__(self, pixels: Pixels, generators: Generators) -> dict[str, NDArray[Any]]:
        """Return `tiles` [9, 1, t, t] uint8 as shuffled, and `order`, the index of it, int64."""
        view = random_view(pixels, self.ranges, generators[0])
        return self._shuffled(view, generators[1])

    def preview(self, pixels: Pixels, generators: Generators) -> tuple[CutImage, CutImage]:
        """Return the view of an image [H, W] uint8, and its tiles as they are shuffled."""
        view = view_image(pixels, self.ranges, generators[0])
        cut = self._shuffled(view.pixels, generators[1])
        rows = cut["tiles"].reshape(GRID, GRID, self.tile_px, self.tile_px)
        side = GRID * self.tile_px
        sheet = rows.transpose(0, 2, 1, 3).reshape(side, side)
        caption = f"its tiles in order {int(cut['order']) + 1} of {self.num_orders}"
        place = (view.left_px, view.top_px, view.width_px, view.height_px)
        return view, CutImage(sheet, *place, caption)

    def _shuffled(self, view: Pixels, generator: np.random.Generator) -> dict[str, NDArray[Any]]:
        tiles = tiles_of(view, self.tile_px, generator)
        order = int(generator.integers(self.num_orders))
        shuffled = tiles[tile_orders(self.num_orders)[order]]
        return {"tiles": shuffled[:, None], "order": np.asarray(order, dtype=np.int64)}


def tiles_of(view: Pixels, tile_px: int, generator: np.random.Generator) -> Pixels:
    """Return a tile [9, tile_px, tile_px] from each cell of a view [S, S], row by row.

    Where the side is not a multiple of three, its last pixels are in no cell.
    """
    cell_px = len(view) // GRID
    offsets = generator.integers(0, cell_px - tile_px + 1, size=(NUM_TILES, 2))
    tiles = []
    for cell, (down, right) in enumerate(offsets.tolist()):
        top, left = cell // GRID * cell_px + down, cell % GRID * cell_px + right
        tiles.append(view[top : top + tile_px, left : left + tile_px])
    return np.stack(tiles)


@cache
def tile_orders(num_orders: int) -> NDArray[np.int64]:
    """Return orders [P, 9] that differ in many places, the same for equal P.

    An order holds the cell whose tile is shown at each place. The first is the true one; each
    further one is the candidate that is farthest from the nearest before it, in places that differ.
    """
    generator = np.random.default_rng(NUM_TILES)
    sorted_rows = np.tile(np.arange(NUM_TILES), (_NUM_CANDIDATES, 1))
    candidates = generator.permuted(sorted_rows, axis=1)
    candidates[0] = np.arange(NUM_TILES)
    nearest = np.full(_NUM_CANDIDATES, NUM_TILES + 1)
    summed = np.zeros(_NUM_CANDIDATES, dtype=np.int64)
    chosen = [0]
    while len(chosen) < num_orders:
        distances = (candidates != candidates[chosen[-1]]).sum(axis=1)
        nearest, summed = np.minimum(nearest, distances), summed + distances
        chosen.append(int(np.argmax(nearest * NUM_TILES * num_orders + summed)))
    return candidates[chosen]
