"""Boxes in CSV files: a row a box, whatever the columns are called (`csv_columns`).

A row without a box says that its reader found nothing, or names a finding without a place. What
boxes are in is told by their numbers (`csv_units`). Several files are one table; where they name
the same images, a column must say who read them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan, nan
from pathlib import Path, PurePosixPath
from typing import NamedTuple, assert_never

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable
from cxrssl.core.sizes import stated_size
from cxrssl.data.tables.csv_columns import Columns, Role, columns_of, names_patients
from cxrssl.data.tables.csv_files import FirstRow, first_row, header_names, is_csv, rows_below
from cxrssl.data.tables.csv_units import (
    UNIT_WORDS,
    Films,
    NamedBox,
    WrittenUnit,
    percent_among_pixels,
    read_as,
    unit_note,
    unit_of,
)
from cxrssl.data.tables.files import names_text
from cxrssl.data.tables.image_ids import plain_id
from cxrssl.data.tables.marks import NO_BOX, NO_READER, Corners, Mark, StatedImage, StatedMarks
from cxrssl.data.tables.rows import BoxForm
from cxrssl.data.tables.splits import SPLIT_WORDS, split_named

_NORMAL = {
    "", "no finding", "no findings", "no_finding", "nofinding", "normal", "none", "negative",
    "background", "healthy", "nan", "null",
}  # fmt: skip
_OTHER = {"other finding", "other_finding", "other", "abnormal"}
_EMPTY = {"", "nan", "na", "n/a", "none", "null"}
_ONLY_CLASS = "finding"
# Of fewer boxes the numbers may lie where they do by chance, as in a table a film.
_FEW_BOXES = 8


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
    return [path for path in files if is_csv(path) and _header(path) is not None]


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
    films = Films(images)
    unit = _unit(files, films)
    read_in, scale = read_as(unit)
    drawn = _Drawn(set(), set())
    for file in files:
        for row in file.rows:
            if _has_box(row) and not _is_placeholder(row, file.columns.form):
                drawn.classes.add(row.values["category"].casefold())
                drawn.by.add((row.values["image"], row.values["reader"]))
    marks: list[Mark] = []
    stated: list[StatedImage] = []
    for file in files:
        for row in file.rows:
            mark, image = _stated(row, file.columns.form, drawn, scale=scale)
            stated.append(replace(image, table=file.name) if len(files) > 1 else image)
            if mark is not None:
                marks.append(mark)
    forms = {file.columns.form for file in files}
    form: BoxForm = forms.pop() if len(forms) == 1 else "corners"
    told = all(_told_unit(file) for file in files if any(_named_boxes(file)))
    boxes = (box for file in files for box in _named_boxes(file))
    among_pixels = percent_among_pixels(boxes, films) if unit == "px" and not told else ""
    notes = [*_column_notes(files), "" if told else unit_note(unit), among_pixels]
    notes = [note for note in notes if note]
    return StatedMarks(tuple(tables), marks, stated, form, read_in, notes=tuple(notes))


def _unit(files: Sequence[_File], films: Films) -> WrittenUnit:
    """Return the unit of the boxes of all tables.

    Raises:
        DataError: If a table says two, or tables are in different ones.
    """
    of_file = {file.name: list(_named_boxes(file)) for file in files}
    together = unit_of([box for boxes in of_file.values() for box in boxes], films)
    units: dict[str, WrittenUnit] = {}
    for file in files:
        boxes, told = of_file[file.name], _told_unit(file)
        if told or len(boxes) >= _FEW_BOXES:
            units[file.name] = told or unit_of(boxes, films)
    for name, unit in units.items():
        first = next(iter(units))
        if unit != units[first]:
            raise DataError(
                f"boxes of {first} seem to be in {units[first]} and those of {name} in {unit}. "
                "Write both in one unit, or say it in a column unit (px, fraction or percent)."
            )
    return next(iter(units.values()), together)


def _told_unit(file: _File) -> WrittenUnit | None:
    """Return the unit that a table's column says, None if it has none.

    Raises:
        DataError: If it says two, or another.
    """
    told = {UNIT_WORDS[word]: row.place for row in file.rows if (word := _unit_word(row))}
    if len(told) > 1:
        (first, place), (second, other_place) = list(told.items())[:2]
        raise DataError(
            f"{place} says that its box is in {first}, and {other_place} in {second}. Write all "
            "boxes of the table in one unit."
        )
    return next(iter(told), None)


def _unit_word(row: _Row) -> str:
    word = row.values.get("unit", "").casefold()
    if word and word not in UNIT_WORDS:
        raise DataError(
            f"{row.place}: the unit is {printable(word[:50])!r}; expected px, fraction or percent."
        )
    return word


def _named_boxes(file: _File) -> Iterator[NamedBox]:
    """Yield the boxes of a table that readers drew."""
    for row in file.rows:
        if _has_box(row) and not _is_placeholder(row, file.columns.form):
            yield NamedBox(row.values["image"], _corners(row.box, file.columns.form), row.place)


def _is_placeholder(row: _Row, form: BoxForm) -> bool:
    """Return whether a row of a normal film has numbers that are no box, such as 0, 0, 1, 1."""
    if row.values["category"].casefold() not in _NORMAL:
        return False
    x_min, y_min, x_max, y_max = box = _corners(row.box, form)
    return not (x_max > x_min and y_max > y_min) or box == (0, 0, 1, 1)


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
    if _has_box(row) and not _is_placeholder(row, form):
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


class _Header(NamedTuple):
    """The first row of a table of boxes, and what its columns hold."""

    columns: Columns
    row: FirstRow


def _header(path: Path) -> _Header | None:
    """Return the header of a table of boxes; None of other files."""
    row = first_row(path)
    if row is None:
        return None
    columns = columns_of(row.cells, place=f"{path.name}, line {row.line}")
    return None if columns is None else _Header(columns, row)


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
    rows = [
        _row(head.row.cells, cells, head.columns, f"{name}, line {line}")
        for line, cells in rows_below(path, head.row, name=name)
    ]
    if not rows:
        raise DataError(f"{name} has a header and no rows. Expected a row a box.")
    return _without_other_words(_File(path, name, head.columns, rows), unread)


def _without_other_words(file: _File, unread: Sequence[Role]) -> _File:
    """Return a file without columns to stay unread, or whose words are not those of their role.

    A column may be called so and be about something else, such as the number of a fold.
    """
    roles = dict(file.columns.roles)
    words: dict[Role, frozenset[str]] = {
        "split": SPLIT_WORDS,
        "kind": frozenset(_NORMAL | _OTHER),
        "unit": frozenset(UNIT_WORDS),
    }
    for role in set(words) & set(roles):
        cells = {row.values[role].casefold() for row in file.rows} - {""}
        if role in unread or (cells and cells.isdisjoint(words[role])):
            unused = (*file.columns.unused, roles.pop(role))
            file = replace(file, columns=replace(file.columns, roles=roles, unused=unused))
            for row in file.rows:
                row.values.pop(role)
    return file


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
