"""What random views are made of: fast arithmetic on grey uint8 images, uint8 in and out.

A byte image takes a quarter of the memory of a float one, and OpenCV's byte routines a third to a
tenth of the time; what is lost is less than one of 256 grey levels a step.
Not for decoding, where nothing may be rounded (`core.images`). Shapes: H, W rows and columns.
"""

import functools
import math

import cv2
import numpy as np

from cxrssl.core.geometry import Geometry
from cxrssl.core.images import Pixels, one_thread

# A table of noise; 4 MiB stay in the processor's cache and repeat in no way that shows.
_TABLE_LENGTH, _TABLE_ZERO, _TABLE_STEPS = 2**22, 128, 31


def rescaled(pixels: Pixels, *, height: int, width: int) -> Pixels:
    """Resample pixels [H, W] to [height, width]: area averages to shrink, linear to grow."""
    one_thread()
    shrinks = height <= pixels.shape[0] and width <= pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), dtype=np.uint8)


def mirrored(pixels: Pixels) -> Pixels:
    """Turn pixels [H, W] left to right; the result is contiguous in memory."""
    one_thread()
    return np.asarray(cv2.flip(pixels, 1), dtype=np.uint8)


def blurred(pixels: Pixels, *, sigma_px: float, kernel_px: int) -> Pixels:
    """Blur pixels [H, W] with a Gaussian cut to an odd kernel of at most `kernel_px`."""
    # Beyond four sigma lies 1/16,000 of the kernel: nothing that a grey level shows.
    side = min(kernel_px, 2 * math.ceil(4 * sigma_px) + 1)
    if side < 3:
        return pixels
    one_thread()
    return np.asarray(cv2.GaussianBlur(pixels, (side, side), sigma_px), dtype=np.uint8)


def with_noise(pixels: Pixels, *, sigma: float, place: float) -> Pixels:
    """Add Gaussian noise to pixels [H, W], round, and clip to 0..255.

    The noise is cut from a table of normal numbers, which takes a twentieth of the time of drawing
    them. It ends at four sigma and has steps of sigma / 31.

    Args:
        pixels: [H, W] uint8.
        sigma: Standard deviation of the noise in grey levels, >= 0.
        place: Position of the cut in the table, in [0, 1); equal positions, equal noise.
    """
    one_thread()
    table = _normal_table(max(_TABLE_LENGTH, 4 * pixels.size))
    start = int(place * (len(table) - pixels.size))
    noise = table[start : start + pixels.size].reshape(pixels.shape)
    scale = sigma / _TABLE_STEPS
    mixed = cv2.addWeighted(pixels, 1.0, noise, scale, -_TABLE_ZERO * scale)
    return np.asarray(mixed, dtype=np.uint8)


@functools.cache
def _normal_table(length: int) -> Pixels:
    """Return normal numbers [length] as bytes: 0 is `_TABLE_ZERO`, one sigma `_TABLE_STEPS`."""
    drawn = np.random.default_rng(0x9A55).standard_normal(length, dtype=np.float32)
    steps = np.rint(_TABLE_ZERO + _TABLE_STEPS * np.clip(drawn, -4, 4))
    return np.asarray(steps, dtype=np.uint8)


def warped(pixels: Pixels, geometry: Geometry) -> Pixels:
    """Move pixels [H, W] to a view of the same size, linear between them and black beyond them."""
    one_thread()
    height, width = pixels.shape
    linear, offset = geometry.matrix[:, :2], geometry.matrix[:, 2]
    # OpenCV counts from the middle of the first pixel.
    shift = offset + linear @ (0.5, 0.5) - 0.5
    matrix = np.concatenate([linear, shift[:, None]], axis=1)
    view = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(view, dtype=np.uint8)


def with_levels(pixels: Pixels, table: Pixels) -> Pixels:
    """Replace each level of pixels [H, W] by its entry in a table [256] uint8."""
    one_thread()
    return np.asarray(cv2.LUT(pixels, table), dtype=np.uint8)
