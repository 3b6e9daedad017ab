"""JSON that runs and plans leave in their folders, read again: a damaged file is named."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxrssl.core.errors import RunError
from cxrssl.core.printable import printable

UNFINISHED_PREDICTION = "unfinished.jsonl"
"""File in the folder of a prediction that has not ended: what was asked for, then a line a file."""
_ADVICE = (
    "A run's folder is damaged, or of another version: take it from a backup, or delete it and run "
    "the same command again."
)
_FAULTS = (AttributeError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError)


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return the content of a JSON file.

    Raises:
        RunError: If it can't be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path} can't be read: {error.strerror}. {_ADVICE}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not JSON ({printable(str(error))}). {_ADVICE}") from error


def read_record(path: Path, *keys: str) -> dict[str, Any]:
    """Return the content of a JSON file that is a mapping and has some keys.

    Raises:
        RunError: If it is none, or a key is missing.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise RunError(f"{path} holds no mapping. {_ADVICE}")
    missing = [key for key in keys if key not in content]
    if missing:
        raise RunError(f"{path} has no {', '.join(missing)}. {_ADVICE}")
    return content


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Let what is amiss in a record, as its values are taken out of it, be told with its file.

    Raises:
        RunError: If the block finds another type or another key than it looks for.
    """
    try:
        yield
    except _FAULTS as error:
        fault = f"{type(error).__name__}: {printable(str(error))[:200]}"
        raise RunError(f"{path} is not as it was written ({fault}). {_ADVICE}") from error


def num_lines(path: Path) -> int:
    """Return the number of whole lines of a file, 0 if there is none."""
    try:
        with path.open("rb") as file:
            return sum(line.endswith(b"\n") for line in file)
    except FileNotFoundError:
        return 0
