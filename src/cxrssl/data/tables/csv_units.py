"""What a table's boxes are in: pixels, fractions of the image, or percent of it.

A column `unit` may say so; else the numbers do, and for percent the size of the films as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, assert_never

from cxrssl.core.sizes import Size
from cxrssl.data.dicom.kind import dicom_size
from cxrssl.data.rasters import raster_size
from cxrssl.data.tables.image_ids import plain_id
from cxrssl.data.tables.rows import RASTER_SUFFIXES, BoxUnit

WrittenUnit = Literal["px", "fraction", "percent"]
UNIT_WORDS: Mapping[str, WrittenUnit] = {
    "px": "px", "pixel": "px", "pixels": "px",
    "fraction": "fraction", "fractions": "fraction", "relative": "fraction",
    "normalized": "fraction", "normalised": "fraction",
    "percent": "percent", "pct": "percent", "%": "percent",
}  # fmt: skip
"""What a column `unit` may hold, in lower case."""
# A file of fractions may hold boxes that were rounded a little beyond the edge.
_MOST_FRACTION = 1.01
_MOST_PERCENT = 100 * _MOST_FRACTION
# In films of this size and more, readers' boxes do not all end within the first 101 pixels.
_LEAST_SIDE_PX = 201
# In films of this size a box there is in a corner, where there is rarely anything to be boxed.
_LARGE_SIDE_PX = 404
_FILMS_SEEN = 16


class NamedBox(NamedTuple):
    """One row: the film as it names it, its four numbers as they stand, and where it stands."""

    film: str
    box: tuple[float, float, float, float]
    place: str


class Films:
    """The picture files of a source, to look up the sizes of those that rows name."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Take the files."""
        self._paths = {plain_id(PurePosixPath(path.name)).casefold(): path for path in paths}

    def side_px(self, film: str) -> int | None:
        """Return the shorter side of a film as its file states it; None where it can't be told."""
        name = plain_id(PurePosixPath(film.replace("\\", "/").rsplit("/", 1)[-1]))
        path = self._paths.get(name.casefold())
        size = None if path is None else _size(path)
        return None if size is None else min(size)


def unit_of(boxes: Sequence[NamedBox], films: Films) -> WrittenUnit:
    """Return the unit of a table's boxes.

    Fractions if most boxes lie in the square from 0 to 1. Percent if all do in that from 0 to 100,
    and of the films, some of which are looked into, most are too large for these to be pixels.
    """
    known = [box for box in boxes if all(map(isfinite, box.box))]
    num_inside = sum(max(box.box) <= _MOST_FRACTION for box in known)
    if known and 2 * num_inside > len(known):
        return "fraction"
    if not known or not all(map(_may_be_percent, known)):
        return "px"
    names = list(dict.fromkeys(box.film for box in known))
    step = -(-len(names) // _FILMS_SEEN)
    sides = [side for name in names[::step] if (side := films.side_px(name)) is not None]
    num_large = sum(side >= _LEAST_SIDE_PX for side in sides)
    return "percent" if 2 * num_large > len(sides) else "px"


def read_as(unit: WrittenUnit) -> tuple[BoxUnit, float]:
    """Return what boxes of a unit are read in, and what one is in it."""
    match unit:
        case "px" | "fraction":
            return unit, 1.0
        case "percent":
            return "fraction", 0.01
        case _:
            assert_never(unit)


def unit_note(unit: WrittenUnit) -> str:
    """Return what is to be said of a unit that was guessed; "" for nothing."""
    match unit:
        case "px":
            return ""
        case "fraction":
            return "boxes are between 0 and 1, and so read as fractions of width and height"
        case "percent":
            return (
                "boxes are between 0 and 100, and films are much larger: they are read as percent "
                "of width and height. If they are pixels, add a column unit that says px"
            )
        case _:
            assert_never(unit)


def percent_among_pixels(boxes: Iterable[NamedBox], films: Films) -> str:
    """Return a note on boxes in pixels that could be percent; "" if there are none.

    Some are looked into: those that lie within the first 100 pixels, of films that are large.
    """
    corner = [box for box in boxes if all(map(isfinite, box.box)) and _may_be_percent(box)]
    corner = [box for box in corner if max(box.box) > _MOST_FRACTION][: 4 * _FILMS_SEEN]
    found = [box for box in corner if (films.side_px(box.film) or 0) >= _LARGE_SIDE_PX]
    if not found:
        return ""
    return (
        f"{len(found)} box(es) lie within the first 100 pixels of large films, the first in "
        f"{found[0].place}: look whether they are percent, and write them in pixels then"
    )


def _may_be_percent(box: NamedBox) -> bool:
    return min(box.box) >= -1 and max(box.box) <= _MOST_PERCENT


def _size(path: Path) -> Size | None:
    return raster_size(path) if path.suffix.lower() in RASTER_SUFFIXES else dicom_size(path)
