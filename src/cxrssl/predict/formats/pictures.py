"""`overlays/`: a PNG of each file with its findings drawn on it.

Files are decoded again, at their own size and in a process of their own. A picture that is there is
not drawn again, so that a call that was cut goes on.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from cxrssl.data.image_file import read_image
from cxrssl.data.tables.rows import IMAGE_SUFFIXES
from cxrssl.drawing.overlay import write_overlay
from cxrssl.ingest.workers import read_in_worker
from cxrssl.predict.found import Found
from cxrssl.run.progress import progress

_MAX_NAME_BYTES = 200


def write(
    out: Path, found: Iterable[Found], classes: Sequence[str], *, threshold: float
) -> dict[str, str]:
    """Draw each file that could be read, with the findings that score the threshold or more."""
    folder = out / "overlays"
    names = overlay_names([image.file for image in found])
    readable = (image for image in found if not image.failure)
    missing = [image.file for image in readable if not (folder / names[image.file]).exists()]
    to_draw = set(missing)
    undrawn = (image for image in found if image.file in to_draw)
    read = partial(read_image, size_px=None, exact=True)
    failures: dict[str, str] = {}
    with progress("draw", total=len(missing)) as meter:
        decoded = zip(undrawn, read_in_worker(missing, read), strict=True)
        for number, (image, (_, radiograph)) in enumerate(decoded, start=1):
            if isinstance(radiograph, str):
                failures[image.name] = f"it can't be drawn: {radiograph}"
            else:
                path, pixels = folder / names[image.file], radiograph.pixels
                strong = image.at_least(threshold).findings
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
        plain = plain.encode(errors="backslashreplace")[:_MAX_NAME_BYTES].decode(errors="ignore")
        folded = plain.casefold()  # one name on shares that don't tell capitals
        taken[folded] += 1
        while taken[folded] > 1 and taken[f"{folded}-{taken[folded]}"]:
            taken[folded] += 1
        number = taken[folded]
        name = plain if number == 1 else f"{plain}-{number}"
        if number > 1:
            taken[name.casefold()] += 1
        names[file] = f"{name}.png"
    return names
