"""Two random views of a radiograph, and where in it they lie. Grey uint8 in, grey uint8 out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.images import Pixels
from cxrssl.data.cuts import CutImage, Generators
from cxrssl.data.cuts.two_views import TwoViews, ViewDraw, ViewRanges, draw_view, view_of


@dataclass(frozen=True)
class PlacedViews:
    """The views of `TwoViews`, pixel by pixel, whose common places a network is to recognise.

    Attributes:
        ranges: What is drawn for a view.
    """

    ranges: ViewRanges
    title: str = "two views of each image, whose common places are to be recognised"

    def __call__(self, pixels: Pixels, generators: Generators) -> dict[str, NDArray[Any]]:
        """Return `views` [2, 1, size_px, size_px] uint8 and `places` [2, 4] float32 of an image.

        For `places` see `place_of`.
        """
        height, width = pixels.shape
        draws = [draw_view(height, width, self.ranges, generator) for generator in generators]
        views = np.stack([view_of(pixels, draw, self.ranges) for draw in draws])
        return {"views": views[:, None], "places": np.stack([place_of(draw) for draw in draws])}

    def preview(self, pixels: Pixels, generators: Generators) -> tuple[CutImage, CutImage]:
        """Return both views of an image [H, W] uint8, and how each was made."""
        return TwoViews(self.ranges).preview(pixels, generators)


def place_of(draw: ViewDraw) -> NDArray[np.float32]:
    """Return the place in the image of a view's left, top, right and bottom edge, in pixels.

    The left edge of a mirrored view lies to the right of its right edge.
    """
    left, right = draw.left, draw.left + draw.width
    if draw.is_mirrored:
        left, right = right, left
    return np.array([left, draw.top, right, draw.top + draw.height], dtype=np.float32)
