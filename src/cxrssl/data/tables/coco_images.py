"""The `images` of a COCO file: which film each of them is, and who reads it.

A file that is listed under several ids is one film that several readers marked, a listing each.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cxrssl.core.sizes import Size
from cxrssl.data.coco.ids import normal_id
from cxrssl.data.tables.image_ids import LONGEST_ID, image_ids, plain_id
from cxrssl.data.tables.lookup import Location, located
from cxrssl.data.tables.rows import is_id
from cxrssl.data.tables.sizes import agreed_size, is_unreadable, stated_size, unreadable_note

NO_READER = "R0"
_BAD_NAME = (
    "its file name has characters other than letters, digits, '.', '_' and '-', a leading dot, or "
    f"more than {LONGEST_ID} characters. Rename it."
)


@dataclass(frozen=True)
class Listing:
    """One entry of `images`.

    Attributes:
        number: Its place, from 0.
        key: Its id.
        file_name: As stated.
        size: (width, height) as stated, in pixels.
        is_size_unreadable: Whether one of them is stated as something else.
    """

    number: int
    key: int | str
    file_name: str
    size: Size | None
    is_size_unreadable: bool


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

    ids: dict[int | str, str]
    readers: dict[int | str, str]
    files: dict[str, Path]
    sizes: dict[str, Size]
    faults: dict[str, str]
    notes: list[str]


def listing(number: int, entry: dict[str, Any]) -> Listing:
    """Return an entry of `images`.

    Raises:
        KeyError: If it has no id or file_name.
        TypeError: If one of them is of another type.
        ValueError: If the id is no whole number.
    """
    name = entry["file_name"]
    if not isinstance(name, str):
        raise TypeError("a file_name that is no text")
    sides = entry.get("width"), entry.get("height")
    is_unread = any(map(is_unreadable, sides))
    return Listing(number, normal_id(entry["id"]), name, stated_size(*sides), is_unread)


def films_of(folder: Path, listings: Sequence[Listing], *, named_readers: Collection[str]) -> Films:
    """Find the file of every listing.

    Args:
        folder: Of the source.
        listings: All of them, ids distinct.
        named_readers: Readers that annotations name; none of them is given to a listing.
    """
    locations = located(folder, (entry.file_name for entry in listings))
    groups: dict[PurePosixPath, list[Listing]] = defaultdict(list)
    for entry in listings:
        location = locations[entry.file_name]
        if not location.fault:
            groups[location.place].append(entry)
    ids, notes = image_ids(groups)
    most = max(map(len, groups.values()), default=0)
    prefix = _reader_prefix(named_readers, most=most)
    films = Films({}, {}, {}, {}, {}, notes)
    for place, group in groups.items():
        _add(films, folder / place, group, ids.get(place, ""), prefix)
    for entry in listings:
        if locations[entry.file_name].fault:
            _add_fault(films, entry, locations[entry.file_name])
    counts = {
        "file_name(s) are not where they say; the files were found by the last part of the name, "
        "which no other file has": sum(
            location.is_guess and not location.fault for location in locations.values()
        ),
        "file(s) are listed under several image ids: each is one film, and each of its ids "
        f"one reader ({prefix}1, {prefix}2, in the list's order) where annotations name none": (
            sum(len(group) > 1 for group in groups.values())
        ),
    }
    films.notes.extend(f"{count} {what}" for what, count in counts.items() if count)
    num_unreadable = sum(entry.is_size_unreadable for entry in listings)
    if num_unreadable:
        films.notes.append(unreadable_note(num_unreadable))
    return films


def _add(films: Films, file: Path, group: list[Listing], name: str, prefix: str) -> None:
    """Add the film of a file; `name` is its image id, "" if there can be none."""
    if not _is_short_id(name):
        films.faults[f"image-{group[0].number}"] = _BAD_NAME
        return
    size, contradiction = agreed_size(entry.size for entry in group)
    if contradiction:
        films.faults[name] = f"{contradiction}."
        return
    if size is not None:
        films.sizes[name] = size
    films.files[name] = file
    for number, entry in enumerate(group, start=1):
        films.ids[entry.key] = name
        films.readers[entry.key] = NO_READER if len(group) == 1 else f"{prefix}{number}"


def _add_fault(films: Films, entry: Listing, location: Location) -> None:
    """Add the fault of a listing without a file, under the image id that it would have had."""
    name, by_number = plain_id(location.place), f"image-{entry.number}"
    if not _is_short_id(name):
        films.faults[by_number] = _BAD_NAME
    else:
        is_taken = name in films.files or name in films.faults
        films.faults[by_number if is_taken else name] = f"{location.fault}."


def _is_short_id(name: str) -> bool:
    return is_id(name) and len(name) <= LONGEST_ID


def _reader_prefix(named_readers: Collection[str], *, most: int) -> str:
    """Return what goes in front of a listing's number to name a reader who is none of these."""
    prefix = "R"
    while any(f"{prefix}{number}" in named_readers for number in range(1, most + 1)):
        prefix += "-"
    return prefix
