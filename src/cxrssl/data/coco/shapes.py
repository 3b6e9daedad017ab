"""Boxes of what COCO annotations draw: outlines, masks and turned boxes.

Corners are x_min, y_min, x_max, y_max in pixels; NaN throughout for what has no extent.
"""

import math

import numpy as np

Corners = tuple[float, float, float, float]
NO_CORNERS: Corners = (math.nan, math.nan, math.nan, math.nan)

# More runs or pixels than any radiograph's mask has.
_MAX_PIXELS = 1 << 32


def segmentation_extent(segmentation: object) -> Corners:
    """Return the box around a COCO `segmentation`: polygons, or a run-length coded mask."""
    if isinstance(segmentation, dict):
        return _mask_extent(segmentation.get("size"), segmentation.get("counts"))
    if not isinstance(segmentation, list):
        return NO_CORNERS
    # One polygon without the list around it, flat or of pairs, is met as well.
    is_single = not any(isinstance(part, list) and len(part) != 2 for part in segmentation)
    polygons = [segmentation] if is_single else segmentation
    try:
        points = [np.asarray(part, np.float64).reshape(-1, 2) for part in polygons if part]
    except (TypeError, ValueError, OverflowError):  # words, lists of several lengths, odd counts
        return NO_CORNERS
    if not points or min(map(len, points)) < 3:
        return NO_CORNERS
    stacked = np.concatenate(points)
    if not np.isfinite(stacked).all():
        return NO_CORNERS
    (x_min, y_min), (x_max, y_max) = stacked.min(axis=0).tolist(), stacked.max(axis=0).tolist()
    return x_min, y_min, x_max, y_max


def rotated_extent(corners: Corners, degrees: float, *, around_corner: bool) -> Corners:
    """Return the upright box around a box that is turned.

    Args:
        corners: The box before it is turned.
        degrees: Clockwise on the screen.
        around_corner: Whether it turns about its top left corner, or about its centre.
    """
    x_min, y_min, x_max, y_max = corners
    pivot_x, pivot_y = (
        (x_min, y_min) if around_corner else ((x_min + x_max) / 2, (y_min + y_max) / 2)
    )
    # At a quarter, half or whole turn these are whole numbers, which radians are not.
    cos, sin = (round(f(math.radians(degrees % 360)), 15) for f in (math.cos, math.sin))
    offsets = [(x - pivot_x, y - pivot_y) for x in (x_min, x_max) for y in (y_min, y_max)]
    xs = [pivot_x + x * cos - y * sin for x, y in offsets]
    ys = [pivot_y + x * sin + y * cos for x, y in offsets]
    return min(xs), min(ys), max(xs), max(ys)


def clipped(corners: Corners, size: tuple[int, int] | None) -> Corners:
    """Cut a box at the edges of its image, as far as the (width, height) of that is known."""
    width, height = size or (math.inf, math.inf)
    x_min, y_min, x_max, y_max = corners
    return max(x_min, 0.0), max(y_min, 0.0), min(x_max, width), min(y_max, height)


def _mask_extent(size: object, counts: object) -> Corners:
    """Return the extent of a mask whose pixels, column by column, are runs of 0, 1, 0, ..."""
    if not isinstance(size, list) or not isinstance(counts, list | str):
        return NO_CORNERS
    try:
        height, width = (int(side) for side in size)
        runs = _runs(counts) if isinstance(counts, str) else [int(count) for count in counts]
    except (TypeError, ValueError, OverflowError):
        return NO_CORNERS
    if min(height, width) < 1 or height * width > _MAX_PIXELS:
        return NO_CORNERS
    if min(runs, default=-1) < 0 or sum(runs) != height * width:
        return NO_CORNERS
    ends = np.cumsum(np.array([0, *runs], np.int64))
    first, last = ends[1:-1:2], ends[2::2] - 1
    first, last = first[last >= first], last[last >= first]
    if not len(first):
        return NO_CORNERS
    is_in_one_column = first // height == last // height
    top = np.where(is_in_one_column, first % height, 0).min()
    bottom = np.where(is_in_one_column, last % height, height - 1).max()
    left, right = first.min() // height, last.max() // height
    return float(left), float(top), float(right + 1), float(bottom + 1)


def _runs(text: str) -> list[int]:
    """Decode COCO's text of runs.

    A character holds five bits above code 48, the lowest first, and bit 5 says that more follow;
    from the fourth run on, it is the difference to the last run but one that is held.

    Raises:
        ValueError: If it is not such a text.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise ValueError("no run-length code")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("a run-length code that ends too early")
    return runs
