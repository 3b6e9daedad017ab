"""Plain COCO JSON as a source; an annotation may name its `reader`.

An image without annotations is one in which nothing was found, as COCO has it. Annotations that
are to be ignored, or name an image or a category that is not listed, are left out and counted.
Where annotations name no reader, all are by "R0".
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable
from cxrssl.data.coco.shapes import NOTHING, clipped
from cxrssl.data.tables.coco_categories import Category, category, classes_of
from cxrssl.data.tables.coco_images import Films, Listing, films_of, listing
from cxrssl.data.tables.coco_marks import Mark, mark_of
from cxrssl.data.tables.files import named
from cxrssl.data.tables.rows import COLUMNS, Table, checked_rows, storable, without_truth

_MOST_NAMED = 5
_Entry = TypeVar("_Entry")


def read_coco(folder: Path) -> tuple[Table, dict[str, Path]]:
    """Read the one COCO JSON of a folder.

    Returns:
        Its table, and the file of every image, below the folder.

    Raises:
        DataError: If there is not one JSON, it is no COCO, ids are missing or given twice, or no
            annotation names an image and a category that are listed.
    """
    path, coco = _document(folder)
    categories = _entries(path, coco, "categories", lambda _, entry: category(entry))
    listings = _entries(path, coco, "images", listing)
    marks = _entries(path, coco, "annotations", mark_of)
    _check_images(path, listings, categories)
    classes, notes = classes_of(path, categories, {mark.category for mark in marks})
    named_readers = {mark.reader for mark in marks if mark.reader is not None}
    films = films_of(folder, listings, named_readers=named_readers)
    sorted_marks = _sorted_out(path, marks, listings, classes)
    rows, row_faults = _rows(sorted_marks, films, classes)
    return Table(
        rows,
        _in_order(classes),
        row_faults | films.faults,
        sizes=films.sizes,
        notes=(*notes, *films.notes, *sorted_marks.notes()),
        unmarked=_unmarked(sorted_marks, films, set(rows["image_id"])),
    ), films.files


def _entries(
    path: Path, coco: dict[str, Any], key: str, parsed: Callable[[int, dict[str, Any]], _Entry]
) -> list[_Entry]:
    """Return the entries of one of the lists of a COCO file.

    Raises:
        DataError: If there is no such list, or an entry is none of its kind.
    """
    entries = coco.get(key)
    if not isinstance(entries, list):
        found = "there is none" if key not in coco else f"found {_json_type(entries)}"
        raise DataError(f"{path} is no COCO file: expected a list {key!r}; {found}.")
    result: list[_Entry] = []
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DataError(
                f"{path}: entry {place} of {key} is {_json_type(entry)}; expected an object."
            )
        try:
            result.append(parsed(place, entry))
        except KeyError as error:
            raise DataError(f"{path}: entry {place} of {key} has no {error.args[0]}.") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"{path}: entry {place} of {key} has {printable(str(error))}."
            ) from error
    return result


def _json_type(value: object) -> str:
    """Return what JSON calls a value; its content may be anything."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")


@dataclass
class _Sorted:
    """Annotations, those that can be used apart from those that can't.

    Attributes:
        used: To be read as truth.
        left_out: The others of listed images, each with why.
        num_ignored: Of them, those that are to be ignored.
        unlisted_images: How many name an image that is not listed.
        unlisted_categories: Category id that is not listed -> how many name it.
    """

    used: list[Mark] = field(default_factory=list)
    left_out: list[tuple[Mark, str]] = field(default_factory=list)
    num_ignored: int = 0
    unlisted_images: int = 0
    unlisted_categories: Counter[int | str | None] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        """Return what was left out or changed, a sentence each."""
        counts = {
            "are to be ignored (iscrowd, ignore or difficult) and are no boxes here": (
                self.num_ignored
            ),
            "name an image that is not listed and are not used": self.unlisted_images,
            f"name a category that is not listed ({_named(self.unlisted_categories)}) and are not "
            "used": self.unlisted_categories.total(),
            "have no bbox; their box is the extent of their segmentation": (
                sum(mark.is_outlined for mark in self.used)
            ),
            "are turned boxes (rotation); the upright box around each is used, cut at the edges of "
            "the image": sum(mark.is_turned for mark in self.used),
        }
        return [f"{count} annotation(s) {what}" for what, count in counts.items() if count]


def _sorted_out(
    path: Path, marks: Sequence[Mark], listings: Iterable[Listing], classes: dict[int | str, str]
) -> _Sorted:
    images = {entry.key for entry in listings}
    result = _Sorted()
    for mark in marks:
        if mark.image not in images:
            result.unlisted_images += 1
        elif mark.category not in classes:
            result.unlisted_categories[mark.category] += 1
            result.left_out.append((mark, "name categories that are not listed"))
        elif mark.is_ignored:
            result.num_ignored += 1
            result.left_out.append((mark, "are to be ignored (iscrowd, ignore or difficult)"))
        else:
            result.used.append(mark)
    _check_listed(path, marks, images, classes, result)
    return result


def _check_listed(
    path: Path,
    marks: Sequence[Mark],
    images: set[int | str],
    classes: dict[int | str, str],
    result: _Sorted,
) -> None:
    """Refuse a file whose annotations and lists do not belong together."""
    num_listed = len(marks) - result.unlisted_images
    if marks and not num_listed:
        raise DataError(
            f"{path}: none of its {len(marks)} annotations names a listed image. They name "
            f"{_named(Counter(mark.image for mark in marks))}; listed are "
            f"{_named(Counter(images))}. Correct image_id."
        )
    unlisted, named = result.unlisted_categories, {mark.category for mark in marks}
    if num_listed and unlisted.total() == num_listed:
        raise DataError(
            f"{path}: no annotation names a listed category. They name {_named(unlisted)}; listed "
            f"are {_named(Counter(classes))}. Correct category_id."
        )
    numbers = [key for key in classes if isinstance(key, int)]
    if 0 in unlisted and 1 in classes and max(numbers) not in named:
        raise DataError(
            f"{path}: annotations seem to count categories from 0 and the list from 1: "
            f"{unlisted[0]} name category 0, which is not listed, and none the last, "
            f"{max(numbers)}. Correct category_id, or every box gets its neighbour's class."
        )


def _rows(
    marks: _Sorted, films: Films, classes: dict[int | str, str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the table of all readers' marks, and the faults of images."""
    rows: list[tuple[object, ...]] = []
    numbers: list[int] = []
    faults: dict[str, str] = {}
    for mark in marks.used:
        if mark.image is None or mark.category is None or mark.image not in films.ids:
            continue  # the last: its image has a fault
        image_id = films.ids[mark.image]
        reader = films.readers[mark.image] if mark.reader is None else storable(mark.reader)
        corners = mark.corners
        if mark.is_turned:
            corners = clipped(corners, films.sizes.get(image_id))
        rows.append((image_id, reader, classes[mark.category], *corners))
        numbers.append(mark.number)
        if mark.fault:
            faults.setdefault(image_id, f"annotation {mark.number}: {mark.fault}")
    looked = {mark.image for mark in marks.used} | {mark.image for mark, _ in marks.left_out}
    for key, image_id in films.ids.items():
        if key not in looked:
            rows.append((image_id, films.readers[key], NO_FINDING, *NOTHING))
            numbers.append(-1)
    table, row_faults = checked_rows(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        numbers=np.array(numbers, np.int64),
        unit="annotation",
    )
    return table, row_faults | faults


def _unmarked(marks: _Sorted, films: Films, with_rows: set[str]) -> dict[str, str]:
    """Return the images of which all annotations were left out, and why."""
    whys: dict[str, dict[str, None]] = {}
    for mark, why in marks.left_out:
        name = None if mark.image is None else films.ids.get(mark.image)
        if name is not None and name not in with_rows:
            whys.setdefault(name, {})[why] = None
    return {
        name: without_truth(f"all its annotations {' or '.join(why)}") for name, why in whys.items()
    }


def _in_order(classes: dict[int | str, str]) -> tuple[str, ...]:
    keys = sorted(classes, key=lambda key: (isinstance(key, str), key))
    return tuple(dict.fromkeys(classes[key] for key in keys if classes[key] != NO_FINDING))


def _named(ids: Counter[Any]) -> str:
    """Return the first few of some ids as a text."""
    shown = [printable("none" if key is None else repr(key))[:80] for key in ids]
    rest = [f"{len(shown) - _MOST_NAMED} more"] if len(shown) > _MOST_NAMED else []
    return ", ".join([*shown[:_MOST_NAMED], *rest])


def _check_images(path: Path, listings: Sequence[Listing], categories: Sequence[Category]) -> None:
    if not listings or not categories:
        raise DataError(
            f"{path} lists {len(listings)} images and {len(categories)} categories; "
            "expected some of each."
        )
    if len({entry.key for entry in listings}) < len(listings):
        raise DataError(
            f"{path} gives one id to two images; a number and the same number as text are one id. "
            "Give each its own."
        )


def coco_documents(folder: Path) -> list[Path]:
    """Return the JSON files where COCO's may lie: in the folder, or in `annotations/`."""
    for place in (folder, folder / "annotations"):
        # A name that begins with a dot is hidden, or what another system left behind (._NAME).
        found = sorted(path for path in place.glob("*.json") if not path.name.startswith("."))
        if found:
            return found
    return []


def _document(folder: Path) -> tuple[Path, dict[str, Any]]:
    documents = coco_documents(folder)
    if len(documents) != 1:
        names = named(documents, folder) or "none"
        raise DataError(f"{folder} should hold one COCO JSON; found {names}.")
    try:
        coco = json.loads(documents[0].read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{documents[0]} is not JSON: {error}") from error
    if not isinstance(coco, dict):
        raise DataError(
            f"{documents[0]} is no COCO file: expected images, annotations and categories."
        )
    return documents[0], coco
