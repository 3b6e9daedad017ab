"""Boxes in CSV files: a row a box, whatever the columns are called (`csv_columns`).

A row without a box says that its reader found nothing, or names a finding without a place. Boxes
are pixels, or fractions of the image where none of a file's is above 1. Several files are one
table; where they name the same images, a column must say who read them.
"""

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isfinite, isnan, nan
from pathlib import Path, PurePosixPath
from typing import TextIO, assert_never

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable
from cxrssl.core.sizes import stated_size
from cxrssl.data.tables.csv_columns import Columns, columns_of
from cxrssl.data.tables.files import names_text
from cxrssl.data.tables.image_ids import plain_id
from cxrssl.data.tables.marks import NO_BOX, NO_READER, Corners, Mark, StatedImage, StatedMarks
from cxrssl.data.tables.rows import BoxForm, BoxUnit
from cxrssl.data.tables.splits import split_named

_SUFFIXES = (".csv", ".tsv", ".txt")
_SEPARATORS = (",", ";", "\t", "|")
_NORMAL = {
    "", "no finding", "no findings", "no_finding", "nofinding", "normal", "none", "negative",
    "background", "healthy", "nan", "null",
}  # fmt: skip
_OTHER = {"other finding", "other_finding", "other", "abnormal"}
_EMPTY = {"", "nan", "na", "n/a", "none", "null"}
_ONLY_CLASS = "finding"
_MAX_HEADER_CHARACTERS = 1 << 16
_MAX_ROWS = 20_000_000
# A file of fractions may hold boxes that were rounded a little beyond the edge.
_MOST_FRACTION = 1.01


@dataclass(frozen=True)
class _Row:
    """One row: values by role, and the four numbers of its box; NaN for an empty cell."""

    values: dict[str, str]
    box: Corners
    place: str


@dataclass(frozen=True)
class _File:
    """A table of boxes that was read."""

    path: Path
    name: str
    columns: Columns
    rows: list[_Row]


def csv_tables(files: Iterable[Path]) -> list[Path]:
    """Return the files that are tables of boxes by their header.

    Raises:
        DataError: If a table of boxes has one column twice.
    """
    return [path for path in files if _is_csv(path) and _header(path) is not None]


def read_csv(folder: Path, tables: Sequence[Path]) -> StatedMarks:
    """Read the tables of boxes of a folder.

    Raises:
        DataError: If a table can't be read, a row names no image or no class, or two tables name
            the same image and none of them a reader.
    """
    files = [_read(path, names_text([path], folder)) for path in tables]
    _check_readers(files)
    unit = _unit(files)
    drawn = _Drawn(set(), set())
    for row in (row for file in files for row in file.rows if _has_box(row)):
        drawn.classes.add(row.values["category"].casefold())
        drawn.by.add((row.values["image"], row.values["reader"]))
    marks: list[Mark] = []
    images: list[StatedImage] = []
    for file in files:
        for row in file.rows:
            mark, image = _stated(row, file.columns.form, drawn)
            images.append(image)
            if mark is not None:
                marks.append(mark)
    forms = {file.columns.form for file in files}
    form: BoxForm = forms.pop() if len(forms) == 1 else "corners"
    notes = (*_column_notes(files), *_unit_notes(unit))
    return StatedMarks(tuple(tables), marks, images, form, unit, notes=notes)


@dataclass(frozen=True)
class _Drawn:
    """What has a box: classes, folded, and (image, reader)."""

    classes: set[str]
    by: set[tuple[str, str]]


def _stated(row: _Row, form: BoxForm, drawn: _Drawn) -> tuple[Mark | None, StatedImage]:
    """Return what a row says: a box, that nothing was found, or a finding without a place."""
    values = row.values
    name, reader, category = values["image"], values["reader"], values["category"]
    kind, unmarked = _kind(values.get("kind", ""), row.place), ""
    mark: Mark | None = None
    if _has_box(row):
        if not category:
            raise DataError(f"{row.place}: the box has no class. Name one.")
        mark = Mark(name, reader, category, _corners(row.box, form), row.place)
    elif category.casefold() in _NORMAL:
        mark, kind = Mark(name, reader, NO_FINDING, NO_BOX, row.place), kind or "normal"
    elif category.casefold() in drawn.classes:
        unmarked = f"{row.place} names {printable(category)} without a box, a class that has boxes"
    else:
        kind = "other finding"
        if (name, reader) not in drawn.by:
            mark = Mark(name, reader, NO_FINDING, NO_BOX, row.place)
    size = stated_size(values.get("image_width"), values.get("image_height"))
    split = split_named(values.get("split", ""), place=row.place)
    patient = values.get("patient", "")
    return mark, StatedImage(name, row.place, size, patient, split, kind, unmarked)


def _has_box(row: _Row) -> bool:
    return not all(map(isnan, row.box))


def _corners(box: Corners, form: BoxForm) -> Corners:
    first, second, third, fourth = box
    match form:
        case "corners":
            return box
        case "sides":
            return first, second, first + third, second + fourth
        case "center":
            half = third / 2, fourth / 2
            return first - half[0], second - half[1], first + half[0], second + half[1]
        case _:
            assert_never(form)


def _kind(text: str, place: str) -> str:
    """Return the kind of image that a cell names, "" for an empty one.

    Raises:
        DataError: If it names another.
    """
    plain = text.casefold()
    if not plain:
        return ""
    if plain in _NORMAL:
        return "normal"
    if plain in _OTHER:
        return "other finding"
    raise DataError(
        f"{place}: the kind of image is {printable(text[:50])!r}; expected normal, other finding, "
        "or an empty cell."
    )


def _is_csv(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(_SUFFIXES)


def _header(path: Path) -> tuple[Columns, list[str], str] | None:
    """Return the columns, the header and the separator of a table of boxes; None of others."""
    try:
        with _opened(path) as file:
            line = file.readline(_MAX_HEADER_CHARACTERS)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None
    separator = max(_SEPARATORS, key=line.count)
    header = next(csv.reader([line], delimiter=separator), [])
    columns = columns_of(header, place=f"{path.name}, line 1")
    return None if columns is None else (columns, header, separator)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if path.suffix.lower() == ".gz":
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    else:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file


def _read(path: Path, name: str) -> _File:
    """Read one table of boxes.

    Raises:
        DataError: If it is not one, or a row is broken or names no image.
    """
    head = _header(path)
    if head is None:
        raise DataError(
            f"{name} is not a table of boxes: expected a header with a column for the image (such "
            "as image), the class (label) and the box (x_min, y_min, x_max, y_max)."
        )
    columns, header, separator = head
    rows: list[_Row] = []
    try:
        with _opened(path) as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            next(reader)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    rows.append(_row(header, cells, columns, f"{name}, line {reader.line_num}"))
                if len(rows) > _MAX_ROWS:
                    raise DataError(f"{name} has more than {_MAX_ROWS:,} rows. Divide it.")
    except (csv.Error, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{name} can't be read: {error}. Save it as CSV in UTF-8.") from error
    if not rows:
        raise DataError(f"{name} has a header and no rows. Expected a row a box.")
    return _File(path, name, columns, rows)


def _row(header: Sequence[str], cells: Sequence[str], columns: Columns, place: str) -> _Row:
    if len(cells) != len(header):
        raise DataError(
            f"{place}: it has {len(cells)} cells, and the header {len(header)}. Put cells that "
            "hold a separator in quotes."
        )
    cell = dict(zip(header, (text.strip() for text in cells), strict=True))
    values: dict[str, str] = {role: cell[name] for role, name in columns.roles.items()}
    if not values["image"]:
        raise DataError(f"{place}: the column {columns.roles['image']} is empty. Name the image.")
    values["reader"] = values.get("reader") or NO_READER
    values.setdefault("category", _ONLY_CLASS)
    if values["category"].casefold() in _EMPTY:
        values["category"] = ""
    first, second, third, fourth = (_number(cell[name]) for name in columns.box)
    row = _Row(values, (first, second, third, fourth), place)
    if "category" not in columns.roles and not _has_box(row):
        values["category"] = ""
    return row


def _number(text: str) -> float:
    """Return the number in a cell; NaN for an empty cell, inf for what is not a number."""
    if text.casefold() in _EMPTY:
        return nan
    try:
        # A comma for the point, as in a table between semicolons.
        return float(text.replace(",", "."))
    except ValueError:
        return inf


def _unit(files: Sequence[_File]) -> BoxUnit:
    """Return what boxes are in: fractions if most of them lie in the square from 0 to 1."""
    boxes = [row.box for file in files for row in file.rows if all(map(isfinite, row.box))]
    inside = sum(max(box) <= _MOST_FRACTION for box in boxes)
    return "fraction" if boxes and 2 * inside > len(boxes) else "px"


def _unit_notes(unit: BoxUnit) -> list[str]:
    if unit == "px":
        return []
    return ["boxes are between 0 and 1, and so read as fractions of the image's width and height"]


def _column_notes(files: Sequence[_File]) -> Iterator[str]:
    """Yield which column was taken for what, and which are not used."""
    for file in files:
        columns = file.columns
        roles = ", ".join(
            f"{role.replace('_', ' ')}: {printable(name)}" for role, name in columns.roles.items()
        )
        box = ", ".join(map(printable, columns.box))
        yield f"{file.name} is read as image boxes ({roles}; box: {box})"
        unused = [name for name in columns.unused if name.strip()]
        if unused:
            shown = ", ".join(map(printable, unused[:8]))
            more = f" and {len(unused) - 8} more" if len(unused) > 8 else ""
            yield f"columns of {file.name} that are not used: {shown}{more}"
        if "category" not in columns.roles:
            yield f"{file.name} has no column for the class: every box is a {_ONLY_CLASS!r}"


def _check_readers(files: Sequence[_File]) -> None:
    """Raise a `DataError` if tables without a column for readers name the same image."""
    first: dict[str, tuple[str, str]] = {}
    for file in files:
        if "reader" in file.columns.roles:
            continue
        for row in file.rows:
            name = plain_id(PurePosixPath(row.values["image"]))
            before, place = first.setdefault(name, (file.name, row.place))
            if before != file.name:
                raise DataError(
                    f"{place} and {row.place} are of one image, and neither table has a column "
                    "for the reader. Add one (reader) if several people drew boxes, or leave one "
                    "of the tables out."
                )
