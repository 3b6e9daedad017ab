"""object-CXR: foreign objects on chest radiographs (JF Healthcare, MIDL 2020).

`train.csv` and `dev.csv` (image_name or image_path, annotation), the images in train/ and dev/. An
annotation is a list of shapes between semicolons, each the number of its type and coordinates in
pixels: 0, a rectangle, and 1, an ellipse, by two corners x1 y1 x2 y2; 2, a polygon x1 y1 x2 y2 x3
y3 ... The box of each is its extent, and the one class "Foreign object". An image without an
annotation was read, and shows no foreign object within the lungs; what else it shows is not known,
so it is not called normal. Twelve radiologists annotated, one of them each image; who is not said:
the reader is "R0".

train.csv is the published training split, and dev.csv the validation split. The annotations of the
test split were never published, so that the validation split becomes the test split (`splits`).

Source: the README of jfhealthcare/object-CXR. Never tried on the real files.
"""

import re
from collections import Counter
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable
from cxrssl.data.tables.marks import NO_BOX, NO_READER, Corners, Mark, StatedImage, StatedMarks
from cxrssl.data.tables.published_files import (
    PublishedSource,
    files_named,
    header_of,
    images_folder,
    number_in,
    plain_file_name,
    records_of,
    rows_of,
    single_file,
)

_SPLITS = {"train.csv": "train", "dev.csv": "val"}
_IMAGE_COLUMNS = ("image_name", "image_path")
_ANNOTATION = "annotation"
_CLASS = "Foreign object"
_SHAPES = {"0": "rectangle", "1": "ellipse", "2": "polygon"}
_NUMBER = r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?"
_SHAPE = re.compile(rf"[012](?:\s+{_NUMBER}){{4,}}")
_LONGEST_SHOWN = 60


class _Shape(NamedTuple):
    """The kind of a shape and its extent xyxy in pixels."""

    kind: str
    box: Corners


def object_cxr_tables(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the tables of the data set in a folder; [] if there are none.

    Any project may have a train.csv: these have two columns, and shapes in the second.

    Raises:
        DataError: If one of them is there twice.
    """
    files = list(files)
    groups = [[path for path in files_named(files, name) if _is_table(path)] for name in _SPLITS]
    return [single_file(folder, group) for group in groups if group]


def read_object_cxr(source: PublishedSource) -> StatedMarks:
    """Read the tables of the data set.

    Raises:
        DataError: If one can't be read, or names no image.
    """
    marks: list[Mark] = []
    images: list[StatedImage] = []
    faults: dict[str, str] = {}
    kinds: Counter[str] = Counter()
    for path in source.tables:
        split, column = _SPLITS[plain_file_name(path)], _image_column(path)
        folder = images_folder(source, path, (plain_file_name(path).removesuffix(".csv"),))
        for values, place in records_of(path, source.name_of(path), (column, _ANNOTATION)):
            if not values[column]:
                raise DataError(f"{place}: the column {column} is empty. Name the image.")
            name = str(folder / values[column].replace("\\", "/").rsplit("/", 1)[-1])
            images.append(StatedImage(name, place, split=split))
            shapes = _shapes(values[_ANNOTATION])
            if isinstance(shapes, str):
                faults.setdefault(name, f"{place}: {shapes}")
                continue
            kinds.update(shape.kind for shape in shapes)
            marks += [Mark(name, NO_READER, _CLASS, shape.box, place) for shape in shapes]
            if not shapes:
                marks.append(Mark(name, NO_READER, NO_FINDING, NO_BOX, place))
    notes = _notes(kinds)
    return StatedMarks(tuple(source.tables), marks, images, notes=notes, faults=faults)


def _is_table(path: Path) -> bool:
    header = header_of(path)
    if len(header) != 2 or header[0] not in _IMAGE_COLUMNS or header[1] != _ANNOTATION:
        return False
    try:
        texts = (row.cells[1] for row in rows_of(path, path.name) if len(row.cells) == 2)
        text = next((text for text in texts if text), "")
    except DataError:
        return False
    return _SHAPE.fullmatch(text.split(";")[0].strip()) is not None


def _image_column(path: Path) -> str:
    return next(column for column in _IMAGE_COLUMNS if column in header_of(path))


def _shapes(annotation: str) -> list[_Shape] | str:
    """Return the shapes of an annotation, or what is wrong with it."""
    shapes = []
    for text in annotation.split(";"):
        if not text.strip():
            continue
        kind, *cells = text.split()
        numbers = list(map(number_in, cells))
        is_polygon = kind == "2" and len(numbers) >= 6 and len(numbers) % 2 == 0
        if kind not in _SHAPES or not (is_polygon or (kind != "2" and len(numbers) == 4)):
            return (
                f"the shape {printable(text.strip()[:_LONGEST_SHOWN])!r} can't be read; expected a "
                "type (0, 1 or 2), and after it x1 y1 x2 y2, or three points and more for type 2."
            )
        shapes.append(_Shape(_SHAPES[kind], _box(numbers, is_polygon=is_polygon)))
    return shapes


def _box(numbers: list[float], *, is_polygon: bool) -> Corners:
    if not is_polygon:
        x_min, y_min, x_max, y_max = numbers
        return x_min, y_min, x_max, y_max
    if not all(map(isfinite, numbers)):
        return NO_BOX  # a fault of its image
    xs, ys = numbers[0::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _notes(kinds: Counter[str]) -> tuple[str, ...]:
    outlines = " and ".join(
        f"{kinds[kind]} {kind}(s)" for kind in ("ellipse", "polygon") if kinds[kind]
    )
    return (f"{outlines}: the box of each is its extent",) if outlines else ()
