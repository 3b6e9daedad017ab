"""What the files of an annotation tool or data set say, and how it becomes a table.

A layout's module reads its files into `StatedMarks`, in which images go by the names that stand
there. `assembled` finds their files, gives them ids and checks their rows, for all layouts alike.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable
from cxrssl.core.sizes import Size
from cxrssl.data.tables.image_ids import LONGEST_ID, image_ids, plain_id
from cxrssl.data.tables.lookup import Location, locate
from cxrssl.data.tables.rows import (
    COLUMNS,
    IMAGE_SUFFIXES,
    BoxForm,
    BoxUnit,
    Table,
    checked_rows,
    is_id,
    without_truth,
)

NO_READER = "R0"
"""The reader of marks that name none."""
NO_BOX = (float("nan"),) * 4
_BAD_NAME = (
    "its file name has characters other than letters, digits, '.', '_' and '-', a leading dot, or "
    f"more than {LONGEST_ID} characters. Rename it."
)

Corners = tuple[float, float, float, float]


class Mark(NamedTuple):
    """One box of one reader, or a reader's word that there is none.

    Attributes:
        image: Name of the image's file as it stands there, with or without folders and suffix.
        reader: Id of the reader.
        category: Name of the class, or "No finding" for an image without boxes that was read.
        box: Corners xyxy in the unit of the marks; NaN for none.
        place: Where it stands, such as "boxes.csv, line 3".
    """

    image: str
    reader: str
    category: str
    box: Corners
    place: str


@dataclass(frozen=True)
class StatedImage:
    """What a file says of one image.

    Attributes:
        name: Name of the image's file, as in its marks.
        place: Where it stands, such as "boxes.csv, line 3".
        size: (width, height) in pixels, or None.
        patient: Who is shown, "" where it is not said.
        split: "train", "val" or "test", "" where it is not said.
        kind: "normal" or "other finding", "" where it is not said.
        unmarked: Why its marks can't be used as the whole truth of it; "" if they can.
        fault: Why the image can't be used at all, with the place; "" if it can.
        table: Name of the file that says so, "" where a source has one or a file an image.
    """

    name: str
    place: str
    size: Size | None = None
    patient: str = ""
    split: str = ""
    kind: str = ""
    unmarked: str = ""
    fault: str = ""
    table: str = ""


@dataclass(frozen=True)
class StatedMarks:
    """What the files of a layout say.

    Attributes:
        tables: The files that were read.
        marks: Boxes of readers, in the order of the files.
        images: What is said of images, perhaps several times of one; images without a mark are
            taken as not read.
        form: How the files write a box, for messages.
        unit: What `marks` gives boxes in.
        classes: Class names in the order of their ids; None for the order of the alphabet.
        notes: What was guessed or left out, a sentence each.
        faults: Name of an image -> why it can't be used; `images` has it as well.
    """

    tables: tuple[Path, ...]
    marks: Sequence[Mark]
    images: Sequence[StatedImage] = ()
    form: BoxForm = "corners"
    unit: BoxUnit = "px"
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)


def assembled(
    folder: Path, image_paths: Iterable[Path], stated: StatedMarks
) -> tuple[Table, dict[str, Path]]:
    """Bring what a layout's files say into the form of all tables.

    Args:
        folder: Folder of the source.
        image_paths: Its image files.
        stated: What its files say.

    Returns:
        The table, and the file of every image of it and of every image that nobody read.
    """
    paths = {PurePosixPath(path.relative_to(folder)): path for path in image_paths}
    ids, notes = image_ids(paths)
    places: dict[str, str] = {}
    for name, place in [(m.image, m.place) for m in stated.marks] + [
        (image.name, image.place) for image in stated.images
    ]:
        places.setdefault(name, place)
    found = _find(folder, places, paths, ids)
    facts = _merged_facts(stated.images, found)
    rows, faults = _rows(stated, found.ids)
    stated_faults = {found.ids[n]: why for n, why in stated.faults.items() if n in found.ids}
    faults = found.faults | _contradictions(stated.marks, found.ids) | faults | facts.faults
    faults |= stated_faults
    unmarked = {name: why for name, why in facts.unmarked.items() if name not in faults}
    rows = rows[~rows["image_id"].isin(set(unmarked))].reset_index(drop=True)
    files = {ids[path]: file for path, file in paths.items() if path in ids}
    unread = frozenset(set(files) - set(rows["image_id"]) - set(unmarked) - set(faults))
    for number, path in enumerate(paths, start=1):
        if path not in ids:
            faults[f"{folder.name if is_id(folder.name) else 'image'}-file-{number}"] = _BAD_NAME
    classes, class_notes = _classes(stated)
    num_repeated = int(rows[rows["category"].ne(NO_FINDING)].duplicated().sum())
    if num_repeated:
        class_notes.append(
            f"{num_repeated} row(s) repeat another of the same reader word for word. Leave them "
            "out of the table, or that reader's box counts twice"
        )
    return Table(
        rows.assign(category=rows["category"].map(classes)),
        _ordered(stated, classes),
        faults,
        facts.splits,
        facts.sizes,
        (*stated.notes, *class_notes, *notes, *found.notes, *_unread_notes(unread)),
        unmarked,
        unread,
        stated.unit,
        facts.patients,
        facts.kinds,
        {name: tuple(tables) for name, tables in facts.tables.items()},
    ), files


@dataclass(frozen=True)
class _FoundImages:
    """Stated name -> image id; faults by image id or place; and what was guessed."""

    ids: dict[str, str]
    faults: dict[str, str]
    notes: list[str]


def _find(
    folder: Path,
    places: Mapping[str, str],
    paths: Collection[PurePosixPath],
    ids: Mapping[PurePosixPath, str],
) -> _FoundImages:
    """Find the file of every stated name, given with the place where it stands first."""
    locations = locate(folder, places, among=paths)
    other_suffix = _with_other_suffix(folder, locations, paths)
    locations |= other_suffix
    found, faults, num_guesses = dict[str, str](), dict[str, str](), 0
    present = set(ids.values())
    for number, (name, location) in enumerate(locations.items(), start=1):
        if not location.fault and location.path not in ids:
            fault = f"{location.path.name} is not an image file that can be used"
            location = Location(location.path, fault=fault)
        if location.fault:
            image_id = plain_id(location.path)
            usable = is_id(image_id) and len(image_id) <= LONGEST_ID
            is_free = usable and image_id not in present and image_id not in faults
            key = image_id if is_free else f"image-{number}"
            faults[key] = f"{places[name]}: {f'{location.fault}.' if usable else _BAD_NAME}"
            continue
        found[name] = ids[location.path]
        num_guesses += location.is_guess and name not in other_suffix
    notes = []
    if other_suffix:
        notes.append(
            f"{len(other_suffix)} image name(s) end in another suffix than the image that is there "
            "under that name"
        )
    if num_guesses:
        notes.append(
            f"{num_guesses} image name(s) are not where they say; the files were found by the last "
            "part of the name, which no other file has"
        )
    return _FoundImages(found, faults, notes)


def _with_other_suffix(
    folder: Path, locations: Mapping[str, Location], paths: Collection[PurePosixPath]
) -> dict[str, Location]:
    """Return the images that names mean which are found under another suffix alone.

    Such as `a.dicom`, of which somebody made `a.png`.
    """
    stems = {
        name: name[: -len(PurePosixPath(name).suffix)]
        for name, location in locations.items()
        if location.fault and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
    }
    found = locate(folder, stems.values(), among=paths)
    taken = {location.path for location in locations.values() if not location.fault}
    return {
        name: found[stem]
        for name, stem in stems.items()
        if not found[stem].fault and found[stem].path not in taken
    }


def _rows(stated: StatedMarks, ids: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the checked rows of marks whose image has a file, and faults by image id."""
    marks = [mark for mark in stated.marks if mark.image in ids]
    rows = pd.DataFrame(
        [(ids[m.image], m.reader, m.category, *m.box) for m in marks], columns=list(COLUMNS)
    )
    places = [mark.place for mark in marks]
    return checked_rows(rows, places=places, form=stated.form, unit=stated.unit)


@dataclass(frozen=True)
class _Facts:
    """What was said of images, by image id."""

    sizes: dict[str, Size] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    tables: dict[str, dict[str, None]] = field(default_factory=dict)
    unmarked: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def _merged_facts(images: Sequence[StatedImage], found: _FoundImages) -> _Facts:
    """Bring together what was said of each image; what contradicts itself is a fault."""
    facts = _Facts()
    first: dict[tuple[str, str], StatedImage] = {}
    for image in images:
        image_id = found.ids.get(image.name)
        if image_id is None:
            continue
        _add_reason(facts, image_id, image)
        if image.table:
            facts.tables.setdefault(image_id, {})[image.table] = None
        told: list[tuple[str, dict[str, str] | dict[str, Size], str | Size | None]] = [
            ("size", facts.sizes, image.size),
            ("patient", facts.patients, image.patient),
            ("split", facts.splits, image.split),
        ]
        if image.kind and facts.kinds.get(image_id) != "other finding":
            facts.kinds[image_id] = image.kind  # one reader's finding is another's normal
        for what, values, value in told:
            if not value:
                continue
            before = first.setdefault((what, image_id), image)
            values.setdefault(image_id, value)  # type: ignore[arg-type]
            if values[image_id] != value:
                # Values are not quoted: one may be a patient's.
                facts.faults.setdefault(
                    image_id,
                    f"{before.place} and {image.place} give it two values of {what}; it has one. "
                    "Correct one of them.",
                )
    return facts


def _add_reason(facts: _Facts, image_id: str, image: StatedImage) -> None:
    """Add why an image, or its marks, can't be used, where that is said."""
    if image.fault:
        facts.faults.setdefault(image_id, image.fault)
    if image.unmarked:
        facts.unmarked.setdefault(image_id, without_truth(image.unmarked))


def _contradictions(marks: Sequence[Mark], ids: Mapping[str, str]) -> dict[str, str]:
    """Return the images in which one reader both drew a box and found nothing."""
    first: dict[tuple[str, str, bool], Mark] = {}
    faults: dict[str, str] = {}
    for mark in marks:
        image_id = ids.get(mark.image)
        if image_id is None:
            continue
        is_drawn = mark.category != NO_FINDING
        first.setdefault((image_id, mark.reader, is_drawn), mark)
        other = first.get((image_id, mark.reader, not is_drawn))
        if other is not None:
            faults.setdefault(
                image_id,
                f"{other.place} and {mark.place} contradict each other: reader "
                f"{printable(mark.reader)} both drew a box and found nothing. Leave out one of "
                "them.",
            )
    return faults


def _classes(stated: StatedMarks) -> tuple[dict[str, str], list[str]]:
    """Return the one spelling of every class name that marks have, and a note on others.

    Names that differ in case and blanks alone are one class, spelt as it first stands.
    """
    spellings: dict[str, dict[str, None]] = defaultdict(dict)
    for name in [*(stated.classes or ()), *(mark.category for mark in stated.marks)]:
        spellings[" ".join(name.split()).casefold()][name] = None
    classes = {
        name: " ".join(next(iter(names)).split()) for names in spellings.values() for name in names
    }
    several = [names for names in spellings.values() if len(names) > 1]
    notes = []
    if several:
        shown = ", ".join(repr(printable(name)) for name in several[0])
        notes.append(
            f"{len(several)} class(es) are spelt in several ways, such as {shown}: each is one"
        )
    return classes, notes


def _ordered(stated: StatedMarks, classes: Mapping[str, str]) -> tuple[str, ...]:
    names = dict.fromkeys(classes.values())
    names.pop(NO_FINDING, None)
    if stated.classes is None:
        return tuple(sorted(names, key=lambda name: (name.casefold(), name)))
    return tuple(names)


def _unread_notes(unread: frozenset[str]) -> list[str]:
    if not unread:
        return []
    return [
        f"{len(unread)} image(s) have no row, so nobody is known to have read them: they are "
        "stored without boxes, and take part neither as images with findings nor as ones without"
    ]
