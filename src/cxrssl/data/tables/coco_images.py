"""The `images` of a COCO file: which film each of them is, and who reads it.

A file that is listed under several ids is one film that several readers marked, a listing each.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cxrssl.core.errors import DataError
from cxrssl.core.sizes import Size, agreed_size, is_unreadable, stated_size, unreadable_note
from cxrssl.data.coco.json import Id, Image
from cxrssl.data.tables.image_ids import LONGEST_ID, image_ids, plain_id
from cxrssl.data.tables.lookup import Location, located
from cxrssl.data.tables.rows import is_id

NO_READER = "R0"
_BAD_NAME = (
    "its file name has characters other than letters, digits, '.', '_' and '-', a leading dot, or "
    f"more than {LONGEST_ID} characters. Rename it."
)


@dataclass(frozen=True)
class Films:
    """The films of a COCO file.

    Attributes:
        ids: COCO id -> image id.
        readers: COCO id -> reader of annotations that name none.
        files: Image id -> file.
        sizes: Image id -> stated (width, height).
        faults: Image id, or the place of a name that can be none -> why it can't be used.
        notes: What was guessed, a sentence each.
    """

    ids: dict[Id, str]
    readers: dict[Id, str]
    files: dict[str, Path]
    sizes: dict[str, Size]
    faults: dict[str, str]
    notes: list[str]


def films_of(
    path: Path, folder: Path, images: Sequence[Image], *, named_readers: Collection[str]
) -> Films:
    """Find the file of every listed image.

    Args:
        path: Of the COCO file, for messages.
        folder: Of the source.
        images: All that are listed, ids distinct.
        named_readers: Readers that annotations name; none of them is given to a listing.

    Raises:
        DataError: If one has no `file_name`.
    """
    names = [image.file_name for image in images if image.file_name is not None]
    if len(names) < len(images):
        row = next(row for row, image in enumerate(images) if image.file_name is None)
        raise DataError(f"{path}: entry {row} of images has no file_name. Name the image's file.")
    locations = located(folder, names)
    groups: dict[PurePosixPath, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        if not locations[name].fault:
            groups[locations[name].place].append(row)
    ids, notes = image_ids(groups)
    most = max(map(len, groups.values()), default=0)
    prefix = _reader_prefix(named_readers, most=most)
    films = Films({}, {}, {}, {}, {}, notes)
    for place, rows in groups.items():
        listed = [images[row] for row in rows]
        _add(films, folder / place, f"image-{rows[0]}", listed, ids.get(place, ""), prefix)
    for row, name in enumerate(names):
        if locations[name].fault:
            _add_fault(films, f"image-{row}", locations[name])
    counts = {
        "file_name(s) are not where they say; the files were found by the last part of the name, "
        "which no other file has": sum(
            location.is_guess and not location.fault for location in locations.values()
        ),
        "file(s) are listed under several image ids: each is one film, and each of its ids "
        f"one reader ({prefix}1, {prefix}2, in the list's order) where annotations name none": (
            sum(len(rows) > 1 for rows in groups.values())
        ),
    }
    films.notes.extend(f"{count} {what}" for what, count in counts.items() if count)
    num_unreadable = sum(is_unreadable(i.width) or is_unreadable(i.height) for i in images)
    if num_unreadable:
        films.notes.append(unreadable_note(num_unreadable))
    return films


def _add(
    films: Films, file: Path, number: str, listed: Sequence[Image], name: str, prefix: str
) -> None:
    """Add the film of a file; `name` is its image id, "" if there can be none."""
    if not _is_short_id(name):
        films.faults[number] = _BAD_NAME
        return
    size, contradiction = agreed_size(stated_size(image.width, image.height) for image in listed)
    if contradiction:
        films.faults[name] = f"{contradiction}."
        return
    if size is not None:
        films.sizes[name] = size
    films.files[name] = file
    for place, image in enumerate(listed, start=1):
        films.ids[image.id] = name
        films.readers[image.id] = NO_READER if len(listed) == 1 else f"{prefix}{place}"


def _add_fault(films: Films, number: str, location: Location) -> None:
    """Add the fault of a listing without a file, under the image id that it would have had."""
    name = plain_id(location.place)
    if not _is_short_id(name):
        films.faults[number] = _BAD_NAME
    else:
        is_taken = name in films.files or name in films.faults
        films.faults[number if is_taken else name] = f"{location.fault}."


def _is_short_id(name: str) -> bool:
    return is_id(name) and len(name) <= LONGEST_ID


def _reader_prefix(named_readers: Collection[str], *, most: int) -> str:
    """Return what goes in front of a listing's number to name a reader who is none of these."""
    prefix = "R"
    while any(f"{prefix}{number}" in named_readers for number in range(1, most + 1)):
        prefix += "-"
    return prefix
