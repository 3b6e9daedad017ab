"""CSV files as Excel and others write them: their separator, encoding and first row, and rows."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from cxrssl.core.errors import DataError

_SUFFIXES = (".csv", ".tsv", ".txt")
_SEPARATORS = (",", ";", "\t", "|")
_SEP = re.compile(r"sep=(.)", re.IGNORECASE)
_MAX_HEADER_CHARACTERS = 1 << 16
_MAX_ROWS = 20_000_000


class FirstRow(NamedTuple):
    """The cells of a file's first row, or its second where Excel's `sep=;` is the first."""

    cells: list[str]
    separator: str
    line: int


def is_csv(path: Path) -> bool:
    """Return whether a file may be CSV, packed or not, by its suffix."""
    return path.name.lower().removesuffix(".gz").endswith(_SUFFIXES)


def first_row(path: Path) -> FirstRow | None:
    """Return the first row of a file; None if it can't be read."""
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
    return FirstRow(next(csv.reader([text], delimiter=separator), []), separator, line)


def header_names(path: Path) -> list[str]:
    """Return the names of the columns of a CSV file; [] of other files."""
    row = first_row(path) if is_csv(path) else None
    return [] if row is None else row.cells


def rows_below(path: Path, head: FirstRow, *, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the cells of each row below the first but for empty ones.

    Args:
        path: The file.
        head: Its first row.
        name: What messages call it.

    Raises:
        DataError: If it can't be read, or has more than 20 million rows.
    """
    try:
        with _opened(path) as file:
            for _ in range(head.line - 1):
                file.readline()
            reader = csv.reader(file, delimiter=head.separator, strict=True)
            next(reader)
            for number, cells in enumerate(reader):
                if number == _MAX_ROWS:
                    raise DataError(f"{name} has more than {_MAX_ROWS:,} rows. Divide it.")
                if any(cell.strip() for cell in cells):
                    yield reader.line_num + head.line - 1, cells
    except (csv.Error, OSError, EOFError, zlib.error, UnicodeError) as error:
        raise DataError(f"{name} can't be read: {error}. Save it as CSV in UTF-8.") from error


@contextmanager
def _opened(path: Path, *, errors: str = "strict") -> Iterator[TextIO]:
    """Open a table, packed or not, in UTF-8 or, if it begins so, in UTF-16 as Excel writes it."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rb") as raw:
        is_wide = raw.read(2) in (b"\xff\xfe", b"\xfe\xff")
    encoding = "utf-16" if is_wide else "utf-8-sig"
    with opener(path, "rt", encoding=encoding, errors=errors, newline="") as file:
        yield file
