"""Boxes of a table held against the file that they are for: they lie in it, or are refused."""

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.errors import DataError
from cxrssl.core.sizes import Size, is_resize_of
from cxrssl.data.tables.rows import BoxUnit

Scale = tuple[float, float]
UNSCALED: Scale = (1.0, 1.0)
# A box may end on the last pixel's far edge, and readers' tools round; more outside is a fault.
_EDGE_TOLERANCE_PX = 1.0


def scale_of_boxes(
    boxes: NDArray[np.float64] | None, *, stated: Size | None, size: Size, unit: BoxUnit = "px"
) -> Scale:
    """Return what carries an image's boxes to its file: file = table * (x, y).

    Args:
        boxes: [N, 4] xyxy in `unit`, or None.
        stated: (width, height) that the table states, or None.
        size: (width, height) of the file.
        unit: Pixels of the table, or fractions of the image's sides.

    Raises:
        DataError: If the stated size is that of another picture, or a box is outside.
    """
    drawn_on = size if stated is None else stated
    if not is_resize_of(drawn_on, size):
        turned = ", with the sides exchanged" if is_resize_of(drawn_on[::-1], size) else ""
        raise DataError(
            f"the table states {_text(drawn_on)} pixels for it and the file has {_text(size)}"
            f"{turned}: boxes of one do not fit the other. Take the file that was annotated, or "
            "correct the size"
        )
    if boxes is None:
        return UNSCALED
    width, height = drawn_on if unit == "px" else (1, 1)
    tolerance = np.tile([_EDGE_TOLERANCE_PX * width, _EDGE_TOLERANCE_PX * height], 2)
    tolerance /= np.tile(drawn_on, 2)
    limits = np.array([width, height, width, height]) + tolerance
    is_outside = (boxes < -tolerance).any(axis=1) | (boxes > limits).any(axis=1)
    if is_outside.any():
        box = ", ".join(f"{value:g}" for value in boxes[is_outside][0])
        raise DataError(
            f"{int(is_outside.sum())} box(es) outside the image of {_text(drawn_on)} pixels, "
            f"the first ({box})"
        )
    return size[0] / width, size[1] / height


def scale_warning(num_boxes: int, *, stated: Size, size: Size) -> str:
    """Return the warning about an image whose boxes were scaled."""
    return (
        f"the table states {_text(stated)} pixels and the file has {_text(size)}, of the same "
        f"shape: {num_boxes} box(es) are scaled to the file"
    )


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
