"""A source's own division into training, validation and test images.

It comes from a column of its table, from the names of its folders or tables (on request: tools
divide at random, and by image), or from a file beside it. Images of one patient are in one of the
three.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable
from cxrssl.data.tables.csv_columns import image_and_split_columns
from cxrssl.data.tables.csv_files import first_row, rows_below
from cxrssl.data.tables.image_ids import plain_id

_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
SPLIT_WORDS = frozenset(_NAMES)
"""What a table may call a part, in lower case."""
UNUSED = "unused"
"""Part of an image that its source's own division leaves out."""
_WORD_ENDS = re.compile(r"[ _.-]+")


@dataclass(frozen=True)
class StatedSplit:
    """What the tables of a source say of its division.

    Attributes:
        parts: Image id -> part as a table or the published data set has it.
        tables: Image id -> names of the tables that name it, of a source with several.
    """

    parts: Mapping[str, str]
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def split_named(text: str, *, place: str) -> str:
    """Return "train", "val" or "test" as a table names it; "" for nothing.

    Raises:
        DataError: If it is none of these.
    """
    plain = text.strip().casefold()
    if not plain:
        return ""
    if plain not in _NAMES:
        raise DataError(
            f"{place}: the split is {printable(text[:50])!r}; expected train, val or test. Correct "
            "it, or say --split none to divide the images anew."
        )
    return _NAMES[plain]


def parts_of(
    folder: Path,
    files: Mapping[str, Path],
    stated: StatedSplit,
    patients: Mapping[str, str],
    split: str,
    *,
    unusable: Collection[str] = (),
) -> tuple[dict[str, str], list[str]]:
    """Return the part of each image in the source's own division, {} without one, and notes.

    Args:
        folder: Folder of the source.
        files: Image id -> file below the folder.
        stated: What its tables say.
        patients: Image id -> patient, where one is known.
        split: Where the division is from: "" for the table alone, "folders" for the names of
            folders or else of tables, "none", or the path of a CSV file with a row an image.
        unusable: Images that can't take part whatever their part is.

    Raises:
        DataError: If there is no such division, it names an unknown image, or images of one
            patient are in several parts.
    """
    places: dict[str, str] = {}
    match split:
        case "":
            # Without a table there is nothing to be divided.
            is_pool = set(files) <= set(unusable)
            parts, notes = dict(stated.parts), []
            if not (is_pool or parts):
                notes = _unasked_notes(folder, files, stated.tables)
        case "none":
            notes = ["the source's own split is not used"] if stated.parts else []
            return {}, notes
        case "folders":
            parts, notes = _parts_of_names(folder, files, stated.tables), []
        case _:
            parts, places = _parts_of_file(Path(split), folder, files)
            is_other = bool(stated.parts)
            notes = ["the split of the table is not used: a file takes its place"] * is_other
    parts = {name: part for name, part in parts.items() if name in files}
    if not parts:
        return {}, notes
    _check_patients(parts, patients, places)
    left_out = set(files) - set(parts)
    num_unused = len(left_out - set(unusable))
    parts, more_notes = _with_test(parts, is_asked_for=split != "")
    if parts:
        counts = Counter(parts.values())
        shown = ", ".join(f"{counts[n]} {n}" for n in ("train", "val", "test") if counts[n])
        notes.append(f"the source's own split is used: {shown}")
        parts |= dict.fromkeys(left_out, UNUSED)
    if num_unused and parts:
        notes.append(f"{num_unused} image(s) are in no part of the split, and take part in none")
    return parts, [*notes, *more_notes]


def _with_test(parts: dict[str, str], *, is_asked_for: bool) -> tuple[dict[str, str], list[str]]:
    """Return a division that has images for training and for the test, {} if it has no test.

    Raises:
        DataError: If it has no training images, or no test where it was asked for.
    """
    present = set(parts.values())
    if "train" not in present:
        raise DataError(
            f"the source's split has no training images; it has {', '.join(sorted(present))}. Say "
            "--split none to divide its images anew."
        )
    if "test" in present:
        return parts, []
    if "val" in present:
        return {name: "test" if part == "val" else part for name, part in parts.items()}, [
            "the split has no test images: its validation images are the test, and training images "
            "are set aside for validation"
        ]
    if is_asked_for:
        raise DataError(
            "all images of the split that was asked for are for training; expected some for the "
            "test or validation. Say --split none to divide the images anew."
        )
    return {}, ["all images of the split are for training: it is not used, and images are divided"]


def _check_patients(
    parts: Mapping[str, str], patients: Mapping[str, str], places: Mapping[str, str]
) -> None:
    """Raise a `DataError` if a patient is in two parts."""
    first: dict[str, str] = {}
    leaks: list[tuple[str, str]] = []
    for name, part in parts.items():
        before = first.setdefault(patients.get(name) or name, name)
        if parts[before] != part:
            leaks.append((before, name))
    if leaks:
        before, name = (
            f"{image} ({parts[image]}{f', {places[image]}' if image in places else ''})"
            for image in leaks[0]
        )
        raise DataError(
            f"the split puts a patient into two of its parts: {before} and {name} are of one "
            f"patient, and {len(leaks) - 1} more image(s) like this. Correct the split, or say "
            "--split none to divide the images anew, by patient."
        )


def _parts_of_names(
    folder: Path, files: Mapping[str, Path], tables: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    """Return the part of each image by its folder, or the name of the table that names it.

    Raises:
        DataError: If neither is named so, or they contradict each other.
    """
    known: dict[str, str] = {}
    for image_id, path in files.items():
        # Of each part, what says so.
        said = {_part_of_path(PurePosixPath(table)): table for table in tables.get(image_id, ())}
        said[_part_of_path(path.relative_to(folder).parent)] = "its folder"
        said.pop("", None)
        if len(said) > 1:
            (first, name), (second, other_name) = list(said.items())[:2]
            raise DataError(
                f"--split folders: the image {image_id} is in {first} by {name} and in {second} by "
                f"{other_name}. Correct one of them, or say --split none to divide the images anew."
            )
        known.update(dict.fromkeys([image_id] if said else [], next(iter(said), "")))
    if not known:
        raise DataError(
            f"--split folders: no image of {folder} lies in a folder train, valid (or val) or "
            "test, and no two tables are named so."
        )
    return known


def _part_of_path(path: PurePath) -> str:
    """Return the part that a path names; the deepest that does."""
    for name in reversed(path.parts):
        words = {word.rstrip("0123456789") for word in _WORD_ENDS.split(name.casefold())}
        parts = {_NAMES[word] for word in words if word in _NAMES}
        if len(parts) == 1:
            return parts.pop()
    return ""


def _unasked_notes(
    folder: Path, files: Mapping[str, Path], tables: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """Say that names of folders or tables divide images, where nobody asked to follow them."""
    of_folders = Counter(_part_of_path(path.relative_to(folder).parent) for path in files.values())
    of_tables = Counter(_part_of_path(PurePosixPath(n)) for names in tables.values() for n in names)
    for what, counts in (
        ("images lie in folders", of_folders),
        ("tables have the names", of_tables),
    ):
        del counts[""]
        if len(counts) < 2:
            continue
        shown = ", ".join(f"{part} ({count})" for part, count in sorted(counts.items()))
        return [
            f"{what} of a split, {shown}, which is not used: images are divided by a hash. Say "
            "--split folders to keep it"
        ]
    return []


def _parts_of_file(
    path: Path, folder: Path, files: Mapping[str, Path]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the part of each image that a file names, and where it does.

    Raises:
        DataError: If it can't be read, names an image that is not there, or one in two parts.
    """
    by_name = _names(folder, files)
    parts: dict[str, str] = {}
    places: dict[str, str] = {}
    for line, name, text in _rows(path):
        place = f"{path.name}, line {line}"
        image_id = next((by_name[form] for form in _forms(name) if form in by_name), None)
        if image_id is None:
            raise DataError(
                f"{place} names an image that is not in {folder}. Expected the name of an image "
                "file, or the image id."
            )
        part = split_named(text, place=place)
        if not part:
            raise DataError(f"{place}: the split is empty; expected train, val or test.")
        if parts.setdefault(image_id, part) != part:
            raise DataError(
                f"{places[image_id]} and {place} put one image into {parts[image_id]} and {part}. "
                "Correct one of them."
            )
        places.setdefault(image_id, place)
    return parts, places


def _rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, image and split of each row of a file."""
    head = first_row(path)
    if head is None:
        raise DataError(
            f"--split {path}: it can't be read. Expected folders, none, or a CSV file with the "
            "columns image and split."
        )
    place = f"{path.name}, line {head.line}"
    image, split = image_and_split_columns(head.cells, place=place)
    for line, cells in rows_below(path, head, name=str(path)):
        if len(cells) <= max(image, split):
            raise DataError(
                f"{path.name}, line {line}: it has {len(cells)} cells, and the header more."
            )
        yield line, cells[image].strip(), cells[split].strip()


def _names(folder: Path, files: Mapping[str, Path]) -> dict[str, str]:
    """Return image ids by all names that mean one image: id, path below the folder, file name."""
    names: dict[str, str] = {}
    ambiguous: set[str] = set()
    for image_id, path in files.items():
        relative = PurePosixPath(path.relative_to(folder).as_posix())
        for name in {str(relative), relative.name, plain_id(relative)} - {image_id}:
            if names.setdefault(name, image_id) != image_id:
                ambiguous.add(name)
    usable = {name: image_id for name, image_id in names.items() if name not in ambiguous}
    usable |= {image_id: image_id for image_id in files}
    folded = Counter(name.casefold() for name in usable)
    others = {n.casefold(): i for n, i in usable.items() if folded[n.casefold()] == 1}
    return others | usable


def _forms(name: str) -> Iterator[str]:
    """Yield what a stated name may be in `_names`: as it is first, its last part without suffix."""
    path = PurePosixPath(name.replace("\\", "/"))
    for form in (name, str(path), path.name, plain_id(PurePosixPath(path.name))):
        yield form
        yield form.casefold()
