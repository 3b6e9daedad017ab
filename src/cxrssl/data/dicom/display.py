"""Stored levels to the grey that a viewer would show, with bone bright.

Order: modality table or rescale; VOI table before window (LINEAR, LINEAR_EXACT or SIGMOID), or a
robust percentile range where there is neither that can be used (`voi`); MONOCHROME1 inversion last;
padding black.
Source: DICOM PS3.3 C.11.1, C.11.2, C.7.5.1.1.2 and C.7.6.3.1.2.

Shapes: levels [H, W]; valid [H, W] bool, False where a pixel is padding.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.images import Levels, Pixels
from cxrssl.data.dicom.header import Header
from cxrssl.data.dicom.values import Table
from cxrssl.data.dicom.voi import Window

_PERCENTILES = (0.5, 99.5)
_ROWS_AT_ONCE = 64
_Value = TypeVar("_Value", np.uint8, np.uint16)


def modality_levels(stored: Levels, table: Table) -> NDArray[np.uint16]:
    """Map stored integers [H, W] through a modality table, which is rarely linear."""
    return _looked_up(stored, table.first, table.values)


def displayed(
    levels: Levels, header: Header, valid: NDArray[np.bool_] | None
) -> tuple[Pixels, str]:
    """Return what a viewer would show, and the rule that decided it.

    Args:
        levels: Stored levels, or averages of them; through the modality table where there is one.
        header: How to show them.
        valid: [H, W] bool, False where a pixel is padding; None if none is.

    Returns:
        [H, W] uint8, bone bright, padding 0; and the rule's name.
    """
    rule = "VOI LUT sequence" if header.voi else "percentile range"
    if header.window is not None:
        rule = f"window {header.window.function}"
    elif header.voi is None:
        header = replace(header, window=_percentile_window(levels, header, valid))
    if np.issubdtype(levels.dtype, np.integer):
        # Whole images come as integers: shade each level once, not each pixel.
        lowest, highest = int(levels.min()), int(levels.max())
        shades = _shaded(np.arange(lowest, highest + 1, dtype=np.float64), header)
        pixels = _looked_up(levels, lowest, shades)
    else:
        pixels = _shaded(levels.astype(np.float64), header)
    if valid is not None:
        pixels[~valid] = 0
    return pixels, rule


def _shaded(levels: NDArray[np.float64], header: Header) -> Pixels:
    """Shade levels of any shape, one by one."""
    # In place: a new array of this size costs as much as the arithmetic on it.
    modality = levels * header.slope
    modality += header.intercept
    if header.voi is not None:
        bright = (
            _looked_up(np.rint(modality), header.voi.first, header.voi.values) / header.voi.highest
        )
    else:
        assert header.window is not None
        bright = _windowed(modality, header.window)
    np.clip(bright, 0, 1, out=bright)
    if header.inverted:
        np.subtract(1, bright, out=bright)
    bright *= 255
    return np.rint(bright, out=bright).astype(np.uint8)


def _looked_up(levels: Levels, first: int, values: NDArray[_Value]) -> NDArray[_Value]:
    """Map whole levels through a table whose first entry is level `first`; the ends go on.

    In blocks of rows: where to look takes four times the room of what is found.
    """
    result = np.empty(levels.shape, dtype=values.dtype)
    for start in range(0, len(levels), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        indices = np.clip(levels[rows].astype(np.float64) - first, 0, len(values) - 1)
        result[rows] = values[indices.astype(np.int64)]
    return result


def _windowed(levels: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Apply a window, in place where it can; about [0, 1].

    Source: PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2.
    """
    centre, width = window.centre, window.width
    if window.function == "SIGMOID":
        # Beyond 50 the exponential says nothing that 8 bits could show, and overflows later.
        steep = np.clip(-4 * (levels - centre) / width, -50, 50)
        return np.asarray(1 / (1 + np.exp(steep)))
    if window.function == "LINEAR":
        centre, width = centre - 0.5, width - 1
        if width == 0:
            return (levels > centre).astype(np.float64)
    levels -= centre
    levels /= width
    levels += 0.5
    return levels


def _percentile_window(levels: Levels, header: Header, valid: NDArray[np.bool_] | None) -> Window:
    """Return the window over all but the darkest and brightest few of the valid levels."""
    valid_levels = levels if valid is None else levels[valid]
    if valid_levels.size == 0:
        return Window(0.0, 1.0, "LINEAR_EXACT")
    low, high = np.percentile(valid_levels, _PERCENTILES)
    if high <= low:
        low, high = float(valid_levels.min()), float(valid_levels.max())
    ends = sorted(float(end) * header.slope + header.intercept for end in (low, high))
    width = max(ends[1] - ends[0], 1e-6)
    return Window(ends[0] + width / 2, width, "LINEAR_EXACT")
