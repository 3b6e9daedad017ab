"""Files that are either whole or not there: written under a temporary name, then renamed."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxrssl.core.errors import DataError, RunError

_NUMBERS = re.compile(r"\[\n\s+(?:-?[0-9.eE+-]+|null)(?:,\n\s+(?:-?[0-9.eE+-]+|null))*\n\s*\]")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of `path` when the block ends well."""
    temporary = _temporary(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder, unless it is there, and those above it.

    Raises:
        RunError: If there can be none in that place.
        OSError: For other faults of the disk.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # as in /proc
        raise RunError(
            f"{path} can't be made: no folder can be made there. Name another one."
        ) from error


def check_writable(path: Path, *, apart_from: Iterable[Path | None]) -> None:
    """Check, before long work, that a file can be written at its end.

    Args:
        path: Path of the file.
        apart_from: Files that it must not replace.

    Raises:
        DataError: If it can't, or is one of them.
    """
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is not a file that can be written. Name another.")
        if path.resolve() in {other.resolve() for other in apart_from if other is not None}:
            raise DataError(f"{path} is read by this command, and would be lost. Name another.")
        trial = _temporary(path)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise DataError(f"{path} can't be written: {error.strerror}. Name another file.") from error


def _temporary(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole; halves of characters, as file names may hold, become escapes."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write a JSON file whole, keys in the order given, a list of numbers on one line."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Return the text of a JSON file, as `write_json` writes it."""
    text = json.dumps(content, indent=2, allow_nan=False)
    # Inside a JSON string a line break is written as \n, so what is found here is a list.
    return _NUMBERS.sub(lambda match: f"[{' '.join(match[0][1:-1].split())}]", text) + "\n"
