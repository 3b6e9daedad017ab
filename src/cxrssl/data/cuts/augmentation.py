"""Random changes of a radiograph for training a detector: geometry, grey levels, cut squares.

Grey uint8 in, grey uint8 out. All randomness comes from the generator that is passed in.
Sources: scale jitter, arXiv 2012.07177; squares, arXiv 1708.04552.

Shapes: H, W are the image's height and width in pixels, which a view has too; N boxes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.boxes import Boxes
from cxrssl.core.geometry import Geometry, clipped, identity, turned
from cxrssl.core.images import Pixels
from cxrssl.core.pixels import blurred, warped, with_levels, with_noise

Range = tuple[float, float]
Generator = np.random.Generator
_DRAWS = 10
"""How often a geometry is drawn that loses no box."""
_LEAST_SIDE_PX = 1.0
_MOST_CUT = 1 / 3
"""Share of a box that squares may take."""
_BLUR_KERNEL_PX = 63


@dataclass(frozen=True)
class CutoutRanges:
    """What is drawn for the squares of a view.

    Attributes:
        most: Squares of a view, or fewer.
        side: Least and largest side as a share of the image's shorter one, in (0, 1].
    """

    most: int
    side: Range


@dataclass(frozen=True)
class AugmentRanges:
    """What is drawn for a view.

    Attributes:
        scale: Least and largest size as a multiple of the image's own; its logarithm is uniform.
        shift: Largest shift along each side as a share of it, in [0, 1].
        rotation_degrees: Largest turn to either side.
        gamma: Least and largest exponent of the levels as shares of white; its logarithm is
            uniform.
        contrast: Least and largest multiple of the difference from the image's mean.
        brightness: Least and largest share of white that is added.
        blur_sigma_px: Least and largest sigma of the blur.
        noise_share: Least and largest sigma of the noise as a share of the mean level.
        cutout: Squares that are made grey, None for none.
    """

    scale: Range
    shift: float
    rotation_degrees: float
    gamma: Range
    contrast: Range
    brightness: Range
    blur_sigma_px: Range
    noise_share: Range
    cutout: CutoutRanges | None


@dataclass(frozen=True)
class Augmented:
    """A view of an image.

    Attributes:
        pixels: [H, W] uint8, without its squares.
        geometry: From the image to the view.
        squares: [K, 4] int64 xyxy, pixels of the view, what is to be cut; see `cut_out`.
    """

    pixels: Pixels
    geometry: Geometry
    squares: NDArray[np.int64]


def augmented(
    pixels: Pixels, boxes: Boxes, ranges: AugmentRanges, generator: Generator
) -> Augmented:
    """Return a random view of an image [H, W] uint8 that shows the middle of each of its boxes.

    Where none of ten geometries does, the image keeps its place.
    """
    geometry = None
    if moves(ranges):
        geometry = draw_geometry(boxes, ranges, generator, size=(pixels.shape[1], pixels.shape[0]))
    view = pixels if geometry is None else warped(pixels, geometry)
    view = _random_levels(view, ranges, generator)
    sigma_px = generator.uniform(*ranges.blur_sigma_px)
    view = blurred(view, sigma_px=sigma_px, kernel_px=_BLUR_KERNEL_PX)
    sigma = generator.uniform(*ranges.noise_share) * float(view.mean())
    if sigma > 0:
        view = with_noise(view, sigma=sigma, place=generator.random())
    squares = _random_squares(view.shape, ranges.cutout, generator)
    return Augmented(view, geometry or identity(), squares)


def with_boxes(
    pixels: Pixels, boxes: Boxes, ranges: AugmentRanges, generator: Generator
) -> tuple[Pixels, Boxes]:
    """Return a random view of an image [H, W] uint8, and its boxes [N, 4] xyxy in the view."""
    view = augmented(pixels, boxes, ranges, generator)
    height, width = pixels.shape
    moved = clipped(view.geometry.boxes(boxes), width_px=width, height_px=height)
    shown = view.pixels
    cut = cut_squares(view.squares, moved)
    if len(cut):
        shown = cut_out(shown.copy(), cut)
    return shown, moved


def moves(ranges: AugmentRanges) -> bool:
    """Return whether anything may change its place."""
    is_fixed = ranges.scale == (1.0, 1.0) and ranges.shift == ranges.rotation_degrees == 0
    return not is_fixed


def draw_geometry(
    boxes: Boxes, ranges: AugmentRanges, generator: Generator, *, size: tuple[int, int]
) -> Geometry | None:
    """Draw a map that keeps the middle of each box [N, 4] in view, and at least a pixel of it.

    Args:
        boxes: [N, 4] xyxy, pixels of the image.
        ranges: What is drawn.
        generator: All randomness there is.
        size: (width, height) of the image in pixels.

    Returns:
        The map; None if none of ten keeps all boxes, and the image is to stay as it is.
    """
    sides = np.array(size, np.float64)
    middles = (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2
    for _ in range(_DRAWS):
        geometry = turned(
            scale=_log_uniform(ranges.scale, generator),
            rotation_degrees=generator.uniform(-ranges.rotation_degrees, ranges.rotation_degrees),
            centre=(sides[0] / 2, sides[1] / 2),
            shift_px=tuple(generator.uniform(-ranges.shift, ranges.shift, size=2) * sides),
        )
        moved = geometry.points(middles)
        shown = clipped(geometry.boxes(boxes), width_px=size[0], height_px=size[1])
        are_seen = np.all(shown[:, 2:] - shown[:, :2] >= _LEAST_SIDE_PX)
        if bool(are_seen and np.all((moved >= 0) & (moved <= sides))):
            return geometry
    return None


def share_that_keeps_its_place(
    boxes_of_images: Sequence[Boxes], ranges: AugmentRanges, generator: Generator, *, side_px: int
) -> float:
    """Return the share of images of which none of ten geometries keeps all boxes.

    Args:
        boxes_of_images: [N, 4] of each image, at least one image.
        ranges: What is drawn.
        generator: All randomness there is.
        side_px: Side of the images.
    """
    if not moves(ranges):
        return 0.0
    size = (side_px, side_px)
    drawn = [draw_geometry(boxes, ranges, generator, size=size) for boxes in boxes_of_images]
    return sum(geometry is None for geometry in drawn) / len(drawn)


def cut_squares(squares: NDArray[np.int64], boxes: Boxes) -> NDArray[np.int64]:
    """Return those of the squares [K, 4] that leave two thirds of each box [N, 4], in turn."""
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    taken = np.zeros(len(boxes))
    kept = []
    for square in squares:
        sides = np.minimum(boxes[:, 2:], square[2:]) - np.maximum(boxes[:, :2], square[:2])
        more = np.prod(np.clip(sides, 0, None), axis=1)
        if bool(np.all(taken + more <= _MOST_CUT * area)):
            taken += more
            kept.append(square)
    return np.array(kept, np.int64).reshape(-1, 4)


def cut_out(pixels: Pixels, squares: NDArray[np.int64]) -> Pixels:
    """Make squares [K, 4] of pixels [H, W] as grey as their mean, in place, and return them."""
    level = np.uint8(round(float(pixels.mean())))
    for left, top, right, bottom in squares:
        pixels[top:bottom, left:right] = level
    return pixels


def _random_levels(pixels: Pixels, ranges: AugmentRanges, generator: Generator) -> Pixels:
    """Change the levels of an image by a random gamma, contrast and brightness, in that order."""
    gamma = _log_uniform(ranges.gamma, generator)
    contrast = generator.uniform(*ranges.contrast)
    brightness = generator.uniform(*ranges.brightness)
    if (gamma, contrast, brightness) == (1.0, 1.0, 0.0):
        return pixels
    levels = (np.arange(256) / 255) ** gamma
    mean = float(levels @ np.bincount(pixels.ravel(), minlength=256)) / pixels.size
    changed = (levels - mean) * contrast + mean + brightness
    table = np.rint(255 * np.clip(changed, 0, 1)).astype(np.uint8)
    return with_levels(pixels, table)


def _random_squares(
    shape: tuple[int, ...], ranges: CutoutRanges | None, generator: Generator
) -> NDArray[np.int64]:
    """Draw squares [K, 4] xyxy with their middle in an image, cut to it."""
    if ranges is None:
        return np.empty((0, 4), np.int64)
    count = int(generator.integers(0, ranges.most + 1))
    height, width = shape
    side = generator.uniform(*ranges.side, size=count) * min(shape)
    x, y = generator.uniform(0, width, size=count), generator.uniform(0, height, size=count)
    edges = np.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], axis=1)
    limits = (width, height, width, height)
    return np.rint(np.clip(edges, 0, limits)).astype(np.int64)


def _log_uniform(ends: Range, generator: Generator) -> float:
    low, high = ends
    return math.exp(generator.uniform(math.log(low), math.log(high)))
