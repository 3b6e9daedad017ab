"""Boxes in CSV files: a row a box, whatever the columns are called (`csv_columns`).

A row without a box says that its reader found nothing, or names a finding without a place. What
boxes are in is told by their numbers (`csv_units`). Several files are one table; where they name
the same images, a column must say who read them.
"""

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf, isnan, nan
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TextIO, assert_never

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable
from cxrssl.core.sizes import stated_size
from cxrssl.data.tables.csv_columns import Columns, Role, columns_of, names_patients
from cxrssl.data.tables.csv_units import unit_notes, unit_of
from cxrssl.data.tables.files import names_text
from cxrssl.data.tables.image_ids import plain_id
from cxrssl.data.tables.marks import NO_BOX, NO_READER, Corners, Mark, StatedImage, StatedMarks
from cxrssl.data.tables.rows import BoxForm
from cxrssl.data.tables.splits import SPLIT_WORDS, split_named

_SUFFIXES = (".csv", ".tsv", ".txt")
_SEPARATORS = (",", ";", "\t", "|")
_NORMAL = {
    "", "no finding", "no findings", "no_finding", "nofinding", "normal", "none", "negative",
    "background", "healthy", "nan", "null",
}  # fmt: skip
_OTHER = {"other finding", "other_finding", "other", "abnormal"}
_SEP = re.compile(r"sep=(.)", re.IGNORECASE)
_EMPTY = {"", "nan", "na", "n/a", "none", "null"}
_ONLY_CLASS = "finding"
_MAX_HEADER_CHARACTERS = 1 << 16
_MAX_ROWS = 20_000_000


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


def read_csv(
    folder: Path, tables: Sequence[Path], images: Sequence[Path], *, reads_split: bool = True
) -> StatedMarks:
    """Read the tables of boxes of a folder.

    Args:
        folder: Folder of the source.
        tables: Its files as `csv_tables` returns them.
        images: Its image files.
        reads_split: Whether a column for the split is read.

    Raises:
        DataError: If a table can't be read, a row names no image or no class, or two tables name
            the same image and none of them a reader.
    """
    unread: list[Role] = [] if reads_split else ["split"]
    files = [_read(path, names_text([path], folder), unread=unread) for path in tables]
    _check_readers(files)
    unit = unit_of([row.box for file in files for row in file.rows], images)
    drawn = _Drawn(set(), set())
    for row in (row for file in files for row in file.rows if _has_box(row)):
        drawn.classes.add(row.values["category"].casefold())
        drawn.by.add((row.values["image"], row.values["reader"]))
    marks: list[Mark] = []
    stated: list[StatedImage] = []
    for file in files:
        for row in file.rows:
            mark, image = _stated(row, file.columns.form, drawn, scale=unit.scale)
            stated.append(replace(image, table=file.name) if len(files) > 1 else image)
            if mark is not None:
                marks.append(mark)
    forms = {file.columns.form for file in files}
    form: BoxForm = forms.pop() if len(forms) == 1 else "corners"
    notes = (*_column_notes(files), *unit_notes(unit))
    return StatedMarks(tuple(tables), marks, stated, form, unit.read, notes=notes)


@dataclass(frozen=True)
class _Drawn:
    """What has a box: classes, folded, and (image, reader)."""

    classes: set[str]
    by: set[tuple[str, str]]


def _stated(
    row: _Row, form: BoxForm, drawn: _Drawn, *, scale: float
) -> tuple[Mark | None, StatedImage]:
    """Return what a row says: a box, that nothing was found, or a finding without a place."""
    values = row.values
    name, reader, category = values["image"], values["reader"], values["category"]
    kind, unmarked = _kind(values.get("kind", ""), row.place), ""
    mark: Mark | None = None
    if _has_box(row):
        if not category:
            raise DataError(f"{row.place}: the box has no class. Name one.")
        first, second, third, fourth = (value * scale for value in _corners(row.box, form))
        mark = Mark(name, reader, category, (first, second, third, fourth), row.place)
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


class _Header(NamedTuple):
    """The first line of a table of boxes, or its second where Excel's `sep=;` is the first."""

    columns: Columns
    names: list[str]
    separator: str
    line: int


def _header(path: Path) -> _Header | None:
    """Return the header of a table of boxes; None of other files."""
    found = _first_row(path)
    if found is None:
        return None
    names, separator, line = found
    columns = columns_of(names, place=f"{path.name}, line {line}")
    return None if columns is None else _Header(columns, names, separator, line)


def _first_row(path: Path) -> tuple[list[str], str, int] | None:
    """Return the cells of a file's header, its separator and its line; None of a broken file."""
    try:
        # What is no UTF-8 further on is told when the table is read.
        with _opened(path, errors="replace") as file:
            text, line = file.readline(_MAX_HEADER_CHARACTERS), 1
            stated = _SEP.fullmatch(text.strip())
            if stated:
                text, line = file.readline(_MAX_HEADER_CHARACTERS), 2
    except (OSError, EOFError, zlib.error, UnicodeError):
        return None
    separator = stated[1] if stated else max(_SEPARATORS, key=text.count)
    return next(csv.reader([text], delimiter=separator), []), separator, line


@contextmanager
def _opened(path: Path, *, errors: str = "strict") -> Iterator[TextIO]:
    """Open a table, packed or not, in UTF-8 or, if it begins so, in UTF-16 as Excel writes it."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rb") as raw:
        is_wide = raw.read(2) in (b"\xff\xfe", b"\xfe\xff")
    encoding = "utf-16" if is_wide else "utf-8-sig"
    with opener(path, "rt", encoding=encoding, errors=errors, newline="") as file:
        yield file


def _read(path: Path, name: str, *, unread: Sequence[Role] = ()) -> _File:
    """Read one table of boxes, without the columns of what is to stay unread.

    Raises:
        DataError: If it is not one, or a row is broken or names no image.
    """
    head = _header(path)
    if head is None:
        raise DataError(
            f"{name} is not a table of boxes: expected a header with a column for the image (such "
            "as image), the class (label) and the box (x_min, y_min, x_max, y_max)."
        )
    rows: list[_Row] = []
    try:
        with _opened(path) as file:
            for _ in range(head.line - 1):
                file.readline()
            reader = csv.reader(file, delimiter=head.separator, strict=True)
            next(reader)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    place = f"{name}, line {reader.line_num + head.line - 1}"
                    rows.append(_row(head.names, cells, head.columns, place))
                if len(rows) > _MAX_ROWS:
                    raise DataError(f"{name} has more than {_MAX_ROWS:,} rows. Divide it.")
    except (csv.Error, OSError, EOFError, zlib.error, UnicodeError) as error:
        raise DataError(f"{name} can't be read: {error}. Save it as CSV in UTF-8.") from error
    if not rows:
        raise DataError(f"{name} has a header and no rows. Expected a row a box.")
    return _without_other_words(_File(path, name, head.columns, rows), unread)


def _without_other_words(file: _File, unread: Sequence[Role]) -> _File:
    """Return a file without columns to stay unread, and without a split and kind of other words.

    A column may be called so and be about something else, such as the number of a fold.
    """
    roles = dict(file.columns.roles)
    words: dict[Role, frozenset[str]] = {"split": SPLIT_WORDS, "kind": frozenset(_NORMAL | _OTHER)}
    for role in set(words) & set(roles):
        cells = {row.values[role].casefold() for row in file.rows} - {""}
        if role in unread or (cells and cells.isdisjoint(words[role])):
            unused = (*file.columns.unused, roles.pop(role))
            file = replace(file, columns=replace(file.columns, roles=roles, unused=unused))
            for row in file.rows:
                row.values.pop(role)
    return file


def header_names(path: Path) -> list[str]:
    """Return the names of the columns of a CSV file; [] of other files."""
    row = _first_row(path) if _is_csv(path) else None
    return [] if row is None else row[0]


def patient_tables(files: Iterable[Path]) -> list[Path]:
    """Return the CSV files that have a column for the image and one for the patient."""
    return [path for path in files if names_patients(header_names(path))]


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
