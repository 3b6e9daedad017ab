"""The formats that `cxrssl predict --write NAME` knows, a module each.

A format's `write` takes the folder, every file's `Found`, and of the classes, the detector's name
and the threshold what it needs. It returns why a file has no place in its output, by the file's
name, and nothing where all have. A new format is a module, its name in `Format`, and a case below.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never, get_args

from cxrssl.core.errors import DataError
from cxrssl.predict.formats import coco, csv, pictures
from cxrssl.predict.found import Found

Format = Literal["coco", "csv", "pictures"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Context:
    """What formats need beside what is found.

    Attributes:
        classes: Names of the detector's classes, 1..K.
        source: What the detector is called: a path, or a name on the Hub with its commit.
        threshold: Least score of what is shown to people; lists hold all findings.
    """

    classes: Sequence[str]
    source: str
    threshold: float


def checked_formats(names: Sequence[str]) -> tuple[Format, ...]:
    """Return the formats of these names in the order in which they are written, each once.

    Raises:
        DataError: If a name is not that of a format, or none is given.
    """
    unknown_names = [name or "''" for name in names if name not in FORMATS]
    if unknown_names:
        raise DataError(
            f"--write {', '.join(unknown_names)}: no such format. Formats: {', '.join(FORMATS)}."
        )
    if not names:
        raise DataError(f"No format to write is named. Formats: {', '.join(FORMATS)}.")
    return tuple(name for name in FORMATS if name in names)


def write_format(
    name: Format, out: Path, found: Iterable[Found], context: Context
) -> dict[str, str]:
    """Write one format into a folder.

    Args:
        name: Name of the format.
        out: The folder of the prediction.
        found: Every file, in order, those that could not be read too. It is gone through several
            times, and holds one file in memory at a time.
        context: Classes, detector and threshold.

    Returns:
        Why the format has no place for a file that could be read, by `Found.name`.

    Raises:
        OSError: If it can't be written.
    """
    classes, source, threshold = context.classes, context.source, context.threshold
    match name:
        case "coco":
            return coco.write(out, found, classes, source=source)
        case "csv":
            return csv.write(out, found)
        case "pictures":
            return pictures.write(out, found, classes, threshold=threshold)
        case _:
            assert_never(name)
