"""Files of published data sets: found by name, told from others by their columns or keys.

CSV files may be packed (`.csv.gz`). What is read of a file is bounded: its bytes, its rows and the
length of a line.
"""

import csv
import gzip
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import inf, nan
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, TextIO, TypeVar

import msgspec

from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable
from cxrssl.data.tables.files import names_text
from cxrssl.data.tables.image_ids import plain_id
from cxrssl.data.tables.rows import IMAGE_SUFFIXES

_EMPTY = {"", "nan", "na", "n/a", "none", "null"}
_MAX_LINE_CHARACTERS = 1 << 20
_MAX_ROWS = 20_000_000
_MAX_JSON_BYTES = 1 << 28
_UNREADABLE = (csv.Error, OSError, EOFError, zlib.error, UnicodeDecodeError)

Content = TypeVar("Content")
JsonObject = msgspec.Struct
"""What a type of JSON objects derives from; keys that it does not have are passed over."""


class PublishedSource(NamedTuple):
    """What the reader of a published data set gets.

    Attributes:
        folder: Folder of the source.
        tables: The files that its layout reads beside images, at least one.
        files: All files of the folder, its images among them.
    """

    folder: Path
    tables: list[Path]
    files: list[Path]

    def name_of(self, path: Path) -> str:
        """Return the name of a file below the folder, for messages."""
        return names_text([path], self.folder)

    def called(self, *names: str) -> list[Path]:
        """Return the tables of these names, packed or not, in the order of the names."""
        return [path for name in names for path in self.tables if plain_file_name(path) == name]

    def other_images(self, ids: Collection[str]) -> dict[str, str]:
        """Return path below the folder -> id of the images of which none is in `ids`."""
        names = {path.relative_to(self.folder).as_posix(): path.name for path in self.files}
        images = {
            relative: plain_id(PurePosixPath(name))
            for relative, name in names.items()
            if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
        }
        return {relative: name for relative, name in images.items() if name not in ids}


class Row(NamedTuple):
    """A row of a CSV: its cells without blanks around them, and where it stands."""

    cells: list[str]
    place: str


class Record(NamedTuple):
    """A row of a CSV: its values by column, and where it stands."""

    values: dict[str, str]
    place: str


def plain_file_name(path: Path) -> str:
    """Return a file's name without `.gz`."""
    return path.name.removesuffix(".gz")


def files_named(files: Iterable[Path], *names: str) -> list[Path]:
    """Return the files that are called one of these names, packed or not."""
    return [path for path in files if plain_file_name(path) in names]


def csv_files(files: Iterable[Path], name: str, columns: Sequence[str]) -> list[Path]:
    """Return the CSV files of a name whose header has these columns."""
    return [path for path in files_named(files, name) if set(columns) <= set(header_of(path))]


def single_file(folder: Path, paths: Sequence[Path]) -> Path:
    """Return the one file of a list.

    Raises:
        DataError: If there are several.
    """
    if len(paths) > 1:
        raise DataError(
            f"the folder has {len(paths)} files that are the same table by their name: "
            f"{names_text(paths, folder)}. Leave one of them."
        )
    return paths[0]


def header_of(path: Path) -> list[str]:
    """Return the first row of a CSV; [] of a file that can't be read."""
    try:
        # What is wrong further down is told when the rows are read.
        with _opened(path, errors="replace") as file:
            line = file.readline(_MAX_LINE_CHARACTERS)
            return [cell.strip() for cell in next(csv.reader([line]), [])]
    except _UNREADABLE:
        return []


def rows_of(path: Path, name: str) -> Iterator[Row]:
    """Yield the rows of a CSV below its header, without blank ones.

    Args:
        path: Path of the file.
        name: What messages call it.

    Raises:
        DataError: If it can't be read, or is too long.
    """
    try:
        with _opened(path) as file:
            reader = csv.reader(_lines(file, name), strict=True)
            next(reader, None)
            for number, cells in enumerate(reader):
                if number >= _MAX_ROWS:
                    raise DataError(f"{name} has more than {_MAX_ROWS:,} rows. Divide it.")
                if any(cell.strip() for cell in cells):
                    place = f"{name}, line {reader.line_num}"
                    yield Row([cell.strip() for cell in cells], place)
    except _UNREADABLE as error:
        raise DataError(f"{name} can't be read: {error}. Take the file as published.") from error


def records_of(path: Path, name: str, columns: Sequence[str]) -> list[Record]:
    """Return the rows of a CSV by column.

    Args:
        path: Path of the file.
        name: What messages call it.
        columns: Columns to read; its header has them.

    Raises:
        DataError: If it can't be read, has a column twice or no row, or a row has another number
            of cells than the header.
    """
    header = header_of(path)
    twice = [column for column in columns if header.count(column) > 1]
    if twice:
        raise DataError(f"{name}, line 1: the column {twice[0]!r} is there twice. Remove one.")
    numbers = {column: header.index(column) for column in columns}
    records = []
    for row in rows_of(path, name):
        if len(row.cells) != len(header):
            raise DataError(
                f"{row.place}: it has {len(row.cells)} cells, and the header {len(header)}. Take "
                "the file as published."
            )
        values = {column: row.cells[number] for column, number in numbers.items()}
        records.append(Record(values, row.place))
    if not records:
        raise DataError(f"{name} has a header and no rows. Take the file as published.")
    return records


def number_in(text: str) -> float:
    """Return the number in a cell; NaN for an empty cell, inf for what is not a number."""
    if text.casefold() in _EMPTY:
        return nan
    try:
        return float(text)
    except ValueError:
        return inf


def json_content(path: Path, name: str, kind: type[Content], *, expected: str) -> Content:
    """Return the content of a JSON file.

    Args:
        path: Path of the file.
        name: What messages call it.
        kind: Type of the content.
        expected: What it should be, for messages.

    Raises:
        DataError: If it can't be read, is too large, or of another type.
    """
    try:
        return msgspec.json.decode(_json_bytes(path, name), type=kind)
    except msgspec.ValidationError as error:
        raise DataError(f"{name}: {printable(str(error))}. Expected {expected}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not JSON: {error}. Take the file as published.") from error


def json_has(path: Path, start: Literal["[", "{"], *words: str) -> bool:
    """Return whether a file begins as JSON's list or object and has these words in quotes.

    It may not be JSON throughout: what is wrong with it is said when it is read.
    """
    try:
        content = _json_bytes(path, path.name)
    except DataError:
        return False
    is_begun = content[:1024].lstrip()[:1] == start.encode()
    return is_begun and all(f'"{word}"'.encode() in content for word in words)


def images_folder(source: PublishedSource, table: Path, candidates: Sequence[str]) -> PurePosixPath:
    """Return which folder beside a table holds its images, relative to the source.

    The first of the candidates that exists; where none does, the folder of the table.
    """
    for candidate in candidates:
        if (table.parent / candidate).is_dir():
            return PurePosixPath((table.parent / candidate).relative_to(source.folder))
    return PurePosixPath(table.parent.relative_to(source.folder))


def _json_bytes(path: Path, name: str) -> bytes:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise DataError(f"{name} has more than {_MAX_JSON_BYTES >> 20} MiB. Divide it.")
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise DataError(f"{name} can't be read: {error.strerror}. Make it readable.") from error


def _lines(file: TextIO, name: str) -> Iterator[str]:
    while line := file.readline(_MAX_LINE_CHARACTERS):
        if len(line) == _MAX_LINE_CHARACTERS:
            raise DataError(
                f"{name} has a line of more than {_MAX_LINE_CHARACTERS:,} characters. Take the "
                "file as published."
            )
        yield line


@contextmanager
def _opened(path: Path, *, errors: str = "strict") -> Iterator[TextIO]:
    if path.suffix.lower() == ".gz":
        with gzip.open(path, "rt", encoding="utf-8-sig", errors=errors, newline="") as file:
            yield file
    else:
        with path.open(encoding="utf-8-sig", errors=errors, newline="") as file:
            yield file
