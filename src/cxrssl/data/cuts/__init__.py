"""What pretraining cuts from an image, one module a kind: pure functions of pixels and generators.

Shapes: H, W are the image's height and width in pixels.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.images import Pixels

Generators = tuple[np.random.Generator, np.random.Generator]
"""Two independent sources of randomness, a function of (seed, epoch, image, repeat)."""


@dataclass(frozen=True)
class CutImage:
    """A part of an image as a preview shows it.

    Attributes:
        pixels: [h, w] uint8, as the network gets it.
        left_px: First column of the crop in the image.
        top_px: First row.
        width_px: Columns.
        height_px: Rows.
        caption: What was done to it.
    """

    pixels: Pixels
    left_px: int
    top_px: int
    width_px: int
    height_px: int
    caption: str


class Cut(Protocol):
    """What a method is given of each image."""

    @property
    def title(self) -> str:
        """What a preview calls it."""
        ...

    def __call__(self, pixels: Pixels, generators: Generators) -> dict[str, NDArray[Any]]:
        """Return an item of a batch: arrays by name.

        Pixels are [V, 1, h, w] uint8, V of them an image; anything else has another dtype.

        Args:
            pixels: [H, W] uint8.
            generators: All randomness there is.
        """
        ...

    def preview(self, pixels: Pixels, generators: Generators) -> tuple[CutImage, CutImage]:
        """Return the same for a person to look at; arguments as for a call."""
        ...
