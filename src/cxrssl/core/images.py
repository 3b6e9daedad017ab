"""Plain arithmetic on grey images, and the one intensity treatment both training phases share.

With `core.pixels` the door to OpenCV. Not for decoding (`data.dicom`) and not for random views.
Shapes: H, W are the image's height and width in pixels; h, w those of the result.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, assert_never, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrssl.core.errors import ArgumentError

Pixels = NDArray[np.uint8]
Levels = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]
Fit = Literal["squash", "letterbox"]
SIZES_PX = range(16, 8193)

# From here on, averaging rows first is 2.5 times as fast as cv2's area method alone (measured).
_LARGE_PIXELS = 2**20
_ROWS_AT_ONCE = 16


def check_square(size_px: int, fit: str) -> None:
    """Check the square that images are laid into.

    Raises:
        ArgumentError: If the side is not an integer from 16 to 8192, or there is no such fit.
    """
    # 64.0 is in a range as well, and no array has so many rows.
    if not isinstance(size_px, Integral) or size_px not in SIZES_PX:
        raise ArgumentError(f"size_px is {size_px!r}; expected an integer from 16 to 8192.")
    if fit not in get_args(Fit):
        raise ArgumentError(f"fit is {fit!r}; expected {', '.join(get_args(Fit))}.")


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


@dataclass(frozen=True)
class Radiograph:
    """A decoded image.

    Attributes:
        pixels: [H, W] uint8, bone bright.
        original_width: Columns of the file.
        original_height: Rows of the file.
        route: How it was decoded, for the record.
        warnings: What had to be guessed, was changed, or looks wrong; a sentence each.
        has_few_levels: Whether the file, before it was resampled, was seen to have too few
            different levels for a radiograph.
    """

    pixels: Pixels
    original_width: int
    original_height: int
    route: str
    warnings: tuple[str, ...] = ()
    has_few_levels: bool = False


@dataclass(frozen=True)
class Placement:
    """Where an image lies in its stored square: stored = original * scale + offset.

    Attributes:
        x_scale: Stored pixels per original pixel, along x.
        y_scale: Stored pixels per original pixel, along y.
        x_offset_px: Stored pixels left of the image.
        y_offset_px: Stored pixels above it.
        width_px: Stored pixels that the image takes along x.
        height_px: Stored pixels that the image takes along y.
    """

    x_scale: float
    y_scale: float
    x_offset_px: int
    y_offset_px: int
    width_px: int
    height_px: int


def placement(original_width: int, original_height: int, *, size_px: int, fit: Fit) -> Placement:
    """Place an image in a square of `size_px`; pixels and boxes are placed by this alone.

    Args:
        original_width: Columns of the image, >= 1.
        original_height: Rows of the image, >= 1.
        size_px: Side of the square.
        fit: "squash" stretches both sides to the square; "letterbox" keeps the aspect, fills the
            long side and centres the short one, the odd pixel to the right or below.
    """
    match fit:
        case "squash":
            width_px = height_px = size_px
        case "letterbox":
            scale = size_px / max(original_width, original_height)
            width_px = max(1, round(original_width * scale))
            height_px = max(1, round(original_height * scale))
        case _:
            assert_never(fit)
    return Placement(
        width_px / original_width,
        height_px / original_height,
        (size_px - width_px) // 2,
        (size_px - height_px) // 2,
        width_px,
        height_px,
    )


def placed(content: Pixels, place: Placement, *, size_px: int) -> Pixels:
    """Lay content [height_px, width_px] uint8 into its black square [size_px, size_px]."""
    if content.shape == (size_px, size_px):
        return content
    square = np.zeros((size_px, size_px), dtype=np.uint8)
    x, y = place.x_offset_px, place.y_offset_px
    square[y : y + place.height_px, x : x + place.width_px] = content
    return square


def equalized(pixels: Pixels) -> Pixels:
    """Equalise the histogram of a grey image [H, W] uint8; an image of one value stays as it is."""
    one_thread()
    return np.asarray(cv2.equalizeHist(np.ascontiguousarray(pixels)), dtype=np.uint8)


def resized(levels: Levels, *, height: int, width: int) -> NDArray[np.float32]:
    """Resample grey levels [H, W] to [height, width]: area averages to shrink, linear to grow.

    Args:
        levels: [H, W], any real type; what is averaged is never rounded.
        height: Rows of the result, >= 1.
        width: Columns of the result, >= 1.
    """
    if levels.shape == (height, width):
        return levels.astype(np.float32, copy=False)
    shrinks = height <= levels.shape[0] and width <= levels.shape[1]
    if shrinks and levels.size >= _LARGE_PIXELS:
        levels = _row_averages(levels, np.linspace(0, levels.shape[0], height + 1))
    one_thread()
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    result = cv2.resize(
        levels.astype(np.float32, copy=False), (width, height), interpolation=method
    )
    return result.astype(np.float32, copy=False)


def box_averaged(
    levels: Levels, *, row_edges: NDArray[np.float64], column_edges: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Average grey levels over boxes that may begin and end anywhere.

    Args:
        levels: [H, W], any real type. Pixel k covers k to k + 1; beyond the image its outermost
            pixels go on.
        row_edges: [h + 1] where the boxes' rows begin and end, rising, in pixels.
        column_edges: [w + 1] the same for columns.

    Returns:
        [h, w].
    """
    averaged = _row_averages(levels, row_edges)
    turned = np.ascontiguousarray(averaged.T)
    return np.ascontiguousarray(_row_averages(turned, column_edges).T)


def _row_averages(levels: Levels, edges: NDArray[np.float64]) -> NDArray[np.float32]:
    """Average rows [H, W] between neighbouring edges [h + 1]: [h, W].

    A block of rows at a time is converted and summed while the processor's cache holds it; no
    second image of the full size is made.
    """
    first, last, weights = _box_weights(edges, levels.shape[0])
    result = np.empty((len(first), levels.shape[1]), dtype=np.float32)
    for start in range(0, len(first), _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, len(first))
        top = first[start]
        block = levels[top : last[stop - 1]].astype(np.float32)
        for row in range(start, stop):
            begin, end = first[row], last[row]
            # einsum, not `@`: a BLAS would start threads for so little.
            np.einsum(
                "i,ij->j",
                weights[row, : end - begin],
                block[begin - top : end - top],
                out=result[row],
            )
    return result


def _box_weights(
    edges: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return each box's first pixel [h], the one behind its last [h], and its pixels' shares."""
    first = np.clip(np.floor(edges[:-1]).astype(np.int64), 0, count - 1)
    last = np.clip(np.ceil(edges[1:]).astype(np.int64), first + 1, count)
    borders = first[:, None] + np.arange(int((last - first).max()) + 1)  # [h, pixels + 1]
    # The outermost pixels go on beyond the image.
    begins = np.where(borders <= 0, -np.inf, np.where(borders >= count, np.inf, borders))
    shares = np.diff(np.clip(begins, edges[:-1, None], edges[1:, None]), axis=1)
    shares /= np.diff(edges)[:, None]
    return first, last, shares.astype(np.float32)


def one_thread() -> None:
    """Let OpenCV start no threads of its own.

    They gain nothing on images this small, and a process that is forked once they are there hangs
    when it touches them, so everything here that could start them calls this first.
    """
    # To set what is set already would touch them, too.
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)


@contextmanager
def opencv_threads_restored() -> Iterator[None]:
    """Let OpenCV start no threads inside the block, and as many as before behind it."""
    before = cv2.getNumThreads()
    one_thread()
    try:
        yield
    finally:
        if cv2.getNumThreads() != before:
            cv2.setNumThreads(before)


def joined_bytes(*, high: Pixels, low: Pixels) -> NDArray[np.uint16]:
    """Put the two bytes of 16-bit levels [N] together; four times as fast as shifting does."""
    one_thread()
    pairs = cv2.merge([low[:, None], high[:, None]])  # [N, 1, 2]
    return pairs.reshape(-1).view("<u2").astype(np.uint16, copy=False)


def low_frequencies(pixels: Pixels, *, num: int) -> NDArray[np.float32]:
    """Return the `num` x `num` coarsest cosine coefficients of an image [H, W] uint8, DC apart.

    The coefficients are those of its area average at 4 `num` pixels a side; the first row and
    column, which tell of brightness and large gradients, are left out.
    """
    one_thread()
    small = cv2.resize(pixels.astype(np.float32), (4 * num, 4 * num), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.dct(small)[1 : num + 1, 1 : num + 1], dtype=np.float32)
