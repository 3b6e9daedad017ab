"""Plain arithmetic on grey images, and the one intensity treatment both training phases share.

The only door to OpenCV. Not for decoding (`data.dicom`) and not for random views (`data.views`).
Shapes: H, W are the image's height and width in pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Intensity:
    """How grey levels reach a network; pretraining and detection use, and record, the same one.

    Attributes:
        equalize: Whether the histogram of every image is equalised first.
        mean: Subtracted from pixels in [0, 1].
        std: Divides what is left, > 0.
    """

    equalize: bool
    mean: float
    std: float

    def prepare(self, pixels: Pixels) -> Pixels:
        """Return `pixels` [H, W] uint8 as training sees them, still uint8 in 0..255."""
        return equalized(pixels) if self.equalize else pixels


def equalized(pixels: Pixels) -> Pixels:
    """Equalise the histogram of a grey image [H, W] uint8; an image of one value stays as it is."""
    return np.asarray(cv2.equalizeHist(np.ascontiguousarray(pixels)), dtype=np.uint8)


def resized(levels: NDArray[np.float32], *, height: int, width: int) -> NDArray[np.float32]:
    """Resample grey levels [H, W] to [height, width]: area averages to shrink, linear to grow."""
    if levels.shape == (height, width):
        return levels
    shrinks = height <= levels.shape[0] and width <= levels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(levels, (width, height), interpolation=method).astype(np.float32, copy=False)


def blurred(pixels: NDArray[np.float32], *, sigma_px: float, kernel_px: int) -> NDArray[np.float32]:
    """Blur an image [H, W] with a Gaussian cut to an odd kernel of at most `kernel_px`."""
    # Beyond four sigma the kernel adds nothing but time.
    side = min(kernel_px, 2 * int(np.ceil(4 * sigma_px)) + 1)
    if side < 3:
        return pixels
    return cv2.GaussianBlur(pixels, (side, side), sigma_px).astype(np.float32, copy=False)
