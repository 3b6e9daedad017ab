"""The `images` of a COCO file: the file and the readers of each.

A file that is listed under several ids is one image that several readers marked, one listing each.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cxrssl.core.errors import DataError
from cxrssl.core.sizes import Size, agreed_size, is_unreadable, stated_size, unreadable_note
from cxrssl.data.coco.json import Id, Image
from cxrssl.data.tables.image_ids import LONGEST_ID, image_ids, plain_id
from cxrssl.data.tables.lookup import Location, locate
from cxrssl.data.tables.rows import is_id

NO_READER = "R0"
_BAD_NAME = (
    "its file name has characters other than letters, digits, '.', '_' and '-', a leading dot, or "
    f"more than {LONGEST_ID} characters. Rename it."
)


@dataclass(frozen=True)
class ListedImages:
    """The images of a COCO file.

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


def locate_images(
    path: Path, folder: Path, images: Sequence[Image], *, named_readers: Collection[str]
) -> ListedImages:
    """Find the file of every listed image.

    Args:
        path: Path of the COCO file, for messages.
        folder: Folder of the source.
        images: The listed images; ids are distinct.
        named_readers: Readers that annotations name; none of them is given to a listing.

    Raises:
        DataError: If one has no `file_name`.
    """
    names = [image.file_name for image in images if image.file_name is not None]
    if len(names) < len(images):
        row = next(row for row, image in enumerate(images) if image.file_name is None)
        raise DataError(f"{path}: entry {row} of images has no file_name. Name the image's file.")
    locations = locate(folder, names)
    groups: dict[PurePosixPath, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        if not locations[name].fault:
            groups[locations[name].path].append(row)
    ids, notes = image_ids(groups)
    max_listings = max(map(len, groups.values()), default=0)
    prefix = _reader_prefix(named_readers, max_listings=max_listings)
    found_images = ListedImages({}, {}, {}, {}, {}, notes)
    for file, rows in groups.items():
        listings = [images[row] for row in rows]
        _add(found_images, folder / file, f"image-{rows[0]}", listings, ids.get(file, ""), prefix)
    for row, name in enumerate(names):
        if locations[name].fault:
            _add_fault(found_images, f"image-{row}", locations[name])
    counts = {
        "file_name(s) are not where they say; the files were found by the last part of the name, "
        "which no other file has": sum(
            location.is_guess and not location.fault for location in locations.values()
        ),
        "file(s) are listed under several image ids: each is one image, and each of its ids "
        f"one reader ({prefix}1, {prefix}2, in the list's order) where annotations name none": (
            sum(len(rows) > 1 for rows in groups.values())
        ),
    }
    found_images.notes.extend(f"{count} {text}" for text, count in counts.items() if count)
    num_unreadable = sum(is_unreadable(i.width) or is_unreadable(i.height) for i in images)
    if num_unreadable:
        found_images.notes.append(unreadable_note(num_unreadable))
    return found_images


def _add(
    found_images: ListedImages,
    file: Path,
    fault_key: str,
    listings: Sequence[Image],
    name: str,
    prefix: str,
) -> None:
    """Add the image of a file; `name` is its image id, "" if there can be none."""
    if not _is_short_id(name):
        found_images.faults[fault_key] = _BAD_NAME
        return
    size, contradiction = agreed_size(stated_size(i.width, i.height) for i in listings)
    if contradiction:
        found_images.faults[name] = f"{contradiction}."
        return
    if size is not None:
        found_images.sizes[name] = size
    found_images.files[name] = file
    for number, listing in enumerate(listings, start=1):
        found_images.ids[listing.id] = name
        found_images.readers[listing.id] = NO_READER if len(listings) == 1 else f"{prefix}{number}"


def _add_fault(images: ListedImages, fault_key: str, location: Location) -> None:
    """Add the fault of a listing without a file, under the image id that it would have had."""
    image_id = plain_id(location.path)
    if not _is_short_id(image_id):
        images.faults[fault_key] = _BAD_NAME
    else:
        is_taken = image_id in images.files or image_id in images.faults
        images.faults[fault_key if is_taken else image_id] = f"{location.fault}."


def _is_short_id(name: str) -> bool:
    return is_id(name) and len(name) <= LONGEST_ID


def _reader_prefix(named_readers: Collection[str], *, max_listings: int) -> str:
    """Return what goes in front of a listing's number to name a reader who is none of these."""
    prefix = "R"
    while any(f"{prefix}{number}" in named_readers for number in range(1, max_listings + 1)):
        prefix += "-"
    return prefix
