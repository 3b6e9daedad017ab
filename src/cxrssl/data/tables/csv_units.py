"""What a table's boxes are in: pixels, fractions of the image, or percent of it.

A column `unit` may say so; else the numbers do, and for percent the size of the films as well.
"""

from collections import defaultdict
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
# In films of this size and more, the first 101 pixels are a corner, and readers' boxes do not all
# lie there.
_LARGE_SIDE_PX = 404
# Films above this size have room for boxes beyond; all of them before it are worth a note.
_LEAST_PX = 201
_FILMS_SEEN = 16


class NamedBox(NamedTuple):
    """One row: the film as it names it, the corners of its box, and where it stands."""

    film: str
    corners: tuple[float, float, float, float]
    place: str


class Films:
    """The picture files of a source, to look up the sizes of those that rows name."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Take the files."""
        self._paths: dict[str, list[Path]] = defaultdict(list)
        for path in paths:
            self._paths[plain_id(PurePosixPath(path.name)).casefold()].append(path)

    def side_px(self, film: str) -> int | None:
        """Return the shorter side of a film as its file states it; None where it can't be told.

        Of several files that may be meant, such as a film and a small copy, that of the largest.
        """
        name = plain_id(PurePosixPath(film.replace("\\", "/").rsplit("/", 1)[-1]))
        sizes = [_size(path) for path in self._paths.get(name.casefold(), [])]
        return max((min(size) for size in sizes if size is not None), default=None)


def unit_of(boxes: Sequence[NamedBox], films: Films) -> WrittenUnit:
    """Return the unit of a table's boxes.

    Fractions if most boxes lie in the square from 0 to 1. Percent if all do in that from 0 to 100,
    and of the films, some of which are looked into, most are too large for these to be pixels.
    """
    known = [box for box in boxes if all(map(isfinite, box.corners))]
    num_inside = sum(max(box.corners) <= _MOST_FRACTION for box in known)
    if known and 2 * num_inside > len(known):
        return "fraction"
    if not known or not all(map(_may_be_percent, known)):
        return "px"
    sides = _sides(known, films)
    num_large = sum(side >= _LARGE_SIDE_PX for side in sides)
    return "percent" if 2 * num_large > len(sides) else "px"


def _sides(boxes: Sequence[NamedBox], films: Films) -> list[int]:
    """Return the shorter sides of some of the films that boxes name, where they are known."""
    names = list(dict.fromkeys(box.film for box in boxes))
    step = -(-len(names) // _FILMS_SEEN)
    return [side for name in names[::step] if (side := films.side_px(name)) is not None]


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
    known = [box for box in boxes if all(map(isfinite, box.corners))]
    corner = [box for box in known if _may_be_percent(box) and max(box.corners) > _MOST_FRACTION]
    if corner and len(corner) == len(known) and max(_sides(corner, films), default=0) > _LEAST_PX:
        return (
            "all boxes lie between 0 and 100, and are read as pixels. If they are percent of width "
            "and height, add a column unit that says percent"
        )
    corner = corner[: 4 * _FILMS_SEEN]
    found = [box for box in corner if (films.side_px(box.film) or 0) >= _LARGE_SIDE_PX]
    if not found:
        return ""
    return (
        f"{len(found)} box(es) lie within the first 100 pixels of large films, the first in "
        f"{found[0].place}: look whether they are percent, and write them in pixels then"
    )


def _may_be_percent(box: NamedBox) -> bool:
    return min(box.corners) >= -1 and max(box.corners) <= _MOST_PERCENT


def _size(path: Path) -> Size | None:
    return raster_size(path) if path.suffix.lower() in RASTER_SUFFIXES else dicom_size(path)
