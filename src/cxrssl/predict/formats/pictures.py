"""`overlays/`: a PNG of each file with its findings drawn on it.

Files are decoded again, at their own size and in a process of their own. A picture that is there is
not drawn again, so that a call that was cut goes on.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from cxrssl.data.image_file import read_shown
from cxrssl.data.tables.rows import IMAGE_SUFFIXES
from cxrssl.drawing.overlay import write_overlay
from cxrssl.ingest.workers import read_apart
from cxrssl.predict.found import Found
from cxrssl.run.progress import progress

_MOST_NAME_BYTES = 200


def write(
    out: Path, found: Iterable[Found], classes: Sequence[str], *, threshold: float
) -> dict[str, str]:
    """Draw each file that could be read, with the findings that score the threshold or more."""
    folder = out / "overlays"
    names = overlay_names([image.file for image in found])
    read = (image for image in found if not image.failure)
    missing = [image.file for image in read if not (folder / names[image.file]).exists()]
    wanted = set(missing)
    rest = (image for image in found if image.file in wanted)
    failures: dict[str, str] = {}
    with progress("draw", total=len(missing)) as meter:
        decoded = zip(rest, read_apart(missing, read_shown), strict=True)
        for number, (image, (_, pixels)) in enumerate(decoded, start=1):
            if isinstance(pixels, str):
                failures[image.name] = f"it can't be drawn: {pixels}"
            else:
                path, strong = folder / names[image.file], image.at_least(threshold).findings
                write_overlay(path, pixels, strong, classes=classes, title=image.file.name)
            meter.at(number)
    return failures


def overlay_names(files: Sequence[Path]) -> dict[Path, str]:
    """Return a name for the picture of each file; files of one name get numbers."""
    names: dict[Path, str] = {}
    taken: Counter[str] = Counter()
    for file in files:
        plain = file.stem if file.suffix.lower() in IMAGE_SUFFIXES else file.name
        # File systems take 255 bytes, and a temporary file has a longer name.
        plain = plain.encode(errors="backslashreplace")[:_MOST_NAME_BYTES].decode(errors="ignore")
        same = plain.casefold()  # one name on shares that don't tell capitals
        taken[same] += 1
        while taken[same] > 1 and taken[f"{same}-{taken[same]}"]:
            taken[same] += 1
        number = taken[same]
        name = plain if number == 1 else f"{plain}-{number}"
        if number > 1:
            taken[name.casefold()] += 1
        names[file] = f"{name}.png"
    return names
