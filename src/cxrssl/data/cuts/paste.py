"""Small findings of labelled radiographs, pasted into other ones with a soft rim.

Source: Kisantal et al., arXiv 1902.07296: small objects are copied to random places, a little
larger or smaller and turned, over no other object. A finding has a box and no outline here, so its
box is pasted and fades out around it.

Shapes: H, W are an image's height and width in pixels; N boxes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.boxes import Boxes
from cxrssl.core.geometry import Geometry, turned
from cxrssl.core.images import Pixels
from cxrssl.core.pixels import warped

Generator = np.random.Generator
Area = tuple[float, float, float, float]
_TRIES = 10
"""Places that are tried for a finding before it is left out."""
_LEAST_SIDE_PX = 1.0
_RIM_SIGMA = 0.15
"""Sigma of the rim as a share of the box's shorter side."""
_RIM_SIGMAS = 2.0
"""Sigmas beyond the box at which the rim ends."""


@dataclass(frozen=True)
class PasteRanges:
    """What is drawn for an image.

    Attributes:
        probability: Of pasting anything.
        most: Findings that are pasted, or fewer.
        scale: Least and largest size as a multiple of the finding's own.
        rotation_degrees: Largest turn to either side.
    """

    probability: float
    most: int
    scale: tuple[float, float]
    rotation_degrees: float


@dataclass(frozen=True)
class Place:
    """Where a finding goes.

    Attributes:
        box: [4] float32 xyxy of the pasted finding, pixels of the image that it is pasted into.
        geometry: From the finding's own image to that image.
    """

    box: Boxes
    geometry: Geometry


def is_small(boxes: Boxes, *, side_px: int, largest_side: float) -> NDArray[np.bool_]:
    """Return [N] whether neither side of a box [N, 4] is above a share of the image's side."""
    sides = boxes[:, 2:] - boxes[:, :2]
    small: NDArray[np.bool_] = np.all(sides <= largest_side * side_px, axis=1)
    return small


def number_of_pastes(ranges: PasteRanges, generator: Generator) -> int:
    """Draw how many findings an image is to get."""
    if generator.random() >= ranges.probability:
        return 0
    return int(generator.integers(1, ranges.most + 1))


def draw_place(
    box: Boxes, taken: Boxes, area: Area, ranges: PasteRanges, generator: Generator
) -> Place | None:
    """Draw a place for a finding; None if none of ten is free.

    The pasted box, its rim included, lies in the area and over none of the boxes that are there.

    Args:
        box: [4] xyxy of the finding in its own image.
        taken: [N, 4] boxes in the image that it is pasted into.
        area: xyxy of that image.
        ranges: What is drawn.
        generator: All randomness there is.
    """
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    left, top, right, bottom = area
    for _ in range(_TRIES):
        scale = generator.uniform(*ranges.scale)
        degrees = generator.uniform(-ranges.rotation_degrees, ranges.rotation_degrees)
        x, y = generator.uniform(left, right), generator.uniform(top, bottom)
        shift = (x - float(middle[0]), y - float(middle[1]))
        geometry = turned(
            scale=scale,
            rotation_degrees=degrees,
            centre=(float(middle[0]), float(middle[1])),
            shift_px=shift,
        )
        pasted = geometry.boxes(box)[0]
        rim = _RIM_SIGMAS * _RIM_SIGMA * scale * min(box[2] - box[0], box[3] - box[1])
        outer = pasted + np.array([-rim, -rim, rim, rim])
        is_inside = bool(left <= outer[0] and top <= outer[1] and outer[2] <= right)
        is_inside &= outer[3] <= bottom and bool(np.all(pasted[2:] - pasted[:2] >= _LEAST_SIDE_PX))
        if is_inside and not _meets(outer, taken):
            return Place(pasted, geometry)
    return None


def _meets(box: NDArray[np.floating], others: Boxes) -> bool:
    """Return whether a box [4] shares any area with one of others [N, 4]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return bool(np.any(np.all(sides > 0, axis=1)))


def paste(pixels: Pixels, finding: Pixels, box: Boxes, place: Place) -> Pixels:
    """Return an image [H, W] with a finding of another image of its size pasted into it.

    Args:
        pixels: [H, W] uint8, the image that it is pasted into.
        finding: [H, W] uint8, the image that has it.
        box: [4] xyxy of the finding there.
        place: Where it goes.
    """
    height, width = pixels.shape
    sigma = _RIM_SIGMA * float(min(box[2] - box[0], box[3] - box[1]))
    rim = _RIM_SIGMAS * sigma + 1
    outer = place.geometry.boxes(box + np.array([-rim, -rim, rim, rim]))[0]
    x0, y0 = (max(0, int(np.floor(edge))) for edge in outer[:2])
    x1, y1 = min(width, int(np.ceil(outer[2]))), min(height, int(np.ceil(outer[3])))
    x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
    there = place.geometry.inverse().points(np.stack([x, y], axis=-1))
    beyond = np.clip(np.maximum(box[:2] - there, there - box[2:]), 0, None)
    distance = np.hypot(beyond[..., 0], beyond[..., 1])
    weight = np.exp(-0.5 * (distance / sigma) ** 2)
    is_there = np.all((there >= 0) & (there <= (width, height)), axis=-1)
    weight[(distance > _RIM_SIGMAS * sigma) | ~is_there] = 0
    moved = warped(finding, place.geometry)[y0:y1, x0:x1]
    result = pixels.copy()
    region = result[y0:y1, x0:x1]
    region[:] = np.rint(region + weight * (moved.astype(np.float64) - region)).astype(np.uint8)
    return result
