"""What a table's boxes are in: pixels, fractions of the image, or percent of it.

No column says so; the numbers do, and for percent the size of the images beside the table.
"""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Literal, NamedTuple, assert_never

from cxrssl.core.sizes import Size
from cxrssl.data.dicom.kind import dicom_size
from cxrssl.data.rasters import raster_size
from cxrssl.data.tables.rows import RASTER_SUFFIXES, BoxUnit

WrittenUnit = Literal["px", "fraction", "percent"]
# A file of fractions may hold boxes that were rounded a little beyond the edge.
_MOST_FRACTION = 1.01
_MOST_PERCENT = 100 * _MOST_FRACTION
# In images of this size and more, readers' boxes do not all end within the first 101 pixels.
_LEAST_SIDE_PX = 201
_IMAGES_SEEN = 16


class Unit(NamedTuple):
    """What boxes are written in, what they are read in, and what one is in the other."""

    written: WrittenUnit
    read: BoxUnit
    scale: float


def unit_of(boxes: Sequence[Sequence[float]], images: Sequence[Path]) -> Unit:
    """Return the unit of boxes, each four numbers, in a folder with these image files.

    Fractions if most boxes lie in the square from 0 to 1. Percent if all do in that from 0 to 100,
    and images, of which some are looked into, are too large for these to be pixels.
    """
    known = [box for box in boxes if all(map(isfinite, box))]
    num_inside = sum(max(box) <= _MOST_FRACTION for box in known)
    if known and 2 * num_inside > len(known):
        return Unit("fraction", "fraction", 1.0)
    if known and all(_is_percent(box) for box in known) and _are_larger(images):
        return Unit("percent", "fraction", 0.01)
    return Unit("px", "px", 1.0)


def unit_notes(unit: Unit) -> list[str]:
    """Return what is to be said of a unit that was guessed."""
    match unit.written:
        case "px":
            return []
        case "fraction":
            return [
                "boxes are between 0 and 1, and so read as fractions of the image's width and "
                "height"
            ]
        case "percent":
            return [
                "boxes are between 0 and 100, and images are much larger: they are read as percent "
                "of the image's width and height"
            ]
        case _:
            assert_never(unit.written)


def _is_percent(box: Sequence[float]) -> bool:
    return min(box) >= -1 and max(box) <= _MOST_PERCENT


def _are_larger(images: Sequence[Path]) -> bool:
    """Return whether images are larger than percent; False if none can be looked into."""
    step = max(1, len(images) // _IMAGES_SEEN)
    sizes = [size for path in images[::step] if (size := _size(path)) is not None]
    return bool(sizes) and min(min(size) for size in sizes) >= _LEAST_SIDE_PX


def _size(path: Path) -> Size | None:
    return raster_size(path) if path.suffix.lower() in RASTER_SUFFIXES else dicom_size(path)
