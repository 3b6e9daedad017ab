"""Plain COCO JSON as a source; an annotation may name its `reader`.

An image without annotations is one in which nothing was found, as COCO has it. Annotations that
are to be ignored, or name an image or a category that is not listed, are left out and counted.
Where annotations name no reader, all are by "R0".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.data.coco.annotations import Annotations, Flags, annotations_of, unlisted
from cxrssl.data.coco.categories import classes_of
from cxrssl.data.coco.json import Annotation, Category, NormalId, entries_of, read_document
from cxrssl.data.coco.shapes import NOTHING, clipped
from cxrssl.data.tables.coco_images import Films, films_of
from cxrssl.data.tables.files import named
from cxrssl.data.tables.rows import COLUMNS, Table, checked_rows, without_truth


def read_coco(folder: Path) -> tuple[Table, dict[str, Path]]:
    """Read the one COCO JSON of a folder.

    Returns:
        Its table, and the file of every image, below the folder.

    Raises:
        DataError: If there is not one JSON, it is no COCO, ids are missing or given twice, or no
            annotation names an image and a category that are listed.
    """
    path = _document(folder)
    document = read_document(path)
    for category in document.categories:
        _spell_no_finding(category)
    found = annotations_of(path, entries_of(path, document.annotations, Annotation))
    classes = classes_of(
        path, document.categories, lambda: set(found.categories), repeated=[NO_FINDING]
    )
    named_readers = set(found.readers) - {""}
    films = films_of(path, folder, document.images, named_readers=named_readers)
    listed = {image.id for image in document.images}
    no_image, no_class, left_out = unlisted(path, found, listed, classes.names)
    ignored = ~no_image & ~no_class & (found.crowd | found.doubtful)
    use = _Use(~no_image & ~no_class & ~ignored, no_class, ignored)
    rows, faults = _rows(found, use, films, classes.names)
    ordered = dict.fromkeys(name for name in classes.names.values() if name != NO_FINDING)
    return Table(
        rows,
        tuple(ordered),
        faults | films.faults,
        sizes=films.sizes,
        notes=(*classes.notes, *films.notes, *_notes(found, use, left_out)),
        unmarked=_unmarked(found, use, films, set(rows["image_id"])),
    ), films.files


def _spell_no_finding(category: Category) -> None:
    if category.name.strip().casefold() == NO_FINDING.casefold():
        category.name = NO_FINDING


@dataclass(frozen=True)
class _Use:
    """What is made of each annotation, [N] each; those of unlisted images are in none of them.

    Attributes:
        used: It is read as truth.
        no_class: Its category is not listed.
        ignored: It says that it is to be ignored.
    """

    used: Flags
    no_class: Flags
    ignored: Flags


def _notes(found: Annotations, use: _Use, left_out: Sequence[str]) -> list[str]:
    """Return what was left out or changed, a sentence each."""
    is_turned = np.zeros(len(use.used), bool)
    is_turned[list(found.rotations)] = True
    is_turned &= use.used & ~np.isnan(found.boxes).any(axis=1)
    counts = {
        "are to be ignored (iscrowd, ignore or difficult) and are no boxes here": use.ignored,
        "have no bbox; their box is the extent of their segmentation": use.used & found.outlined,
        "are turned boxes (rotation); the upright box around each is used, cut at the edges of "
        "the image": is_turned,
    }
    said = [f"{which.sum()} annotation(s) {what}" for what, which in counts.items() if which.any()]
    return [*left_out, *said]


def _rows(
    found: Annotations, use: _Use, films: Films, classes: Mapping[NormalId, str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the table of all readers' marks, and the faults of images."""
    corners = found.corners()
    rows: list[tuple[object, ...]] = []
    numbers: list[int] = []
    faults: dict[str, str] = {}
    for number in np.flatnonzero(use.used).tolist():
        key, category = found.images[number], found.categories[number]
        if key is None or category is None or key not in films.ids:
            continue  # the last: its image has a fault
        image_id = films.ids[key]
        x_min, y_min, x_max, y_max = corners[number].tolist()
        box = (x_min, y_min, x_max, y_max)
        if number in found.rotations:
            box = clipped(box, films.sizes.get(image_id))
            if np.isnan(found.rotations[number].degrees):
                why = f"annotation {number}: its rotation is no number; expected degrees"
                faults.setdefault(image_id, why)
        reader = found.readers[number] or films.readers[key]
        rows.append((image_id, reader, classes[category], *box))
        numbers.append(number)
    looked = {found.images[n] for n in np.flatnonzero(use.used | use.no_class | use.ignored)}
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


def _unmarked(found: Annotations, use: _Use, films: Films, with_rows: set[str]) -> dict[str, str]:
    """Return the images of which all annotations were left out, and why."""
    whys: dict[str, dict[str, None]] = {}
    for number in np.flatnonzero(use.no_class | use.ignored).tolist():
        key = found.images[number]
        name = None if key is None else films.ids.get(key)
        if name is not None and name not in with_rows:
            why = (
                "name categories that are not listed"
                if use.no_class[number]
                else "are to be ignored (iscrowd, ignore or difficult)"
            )
            whys.setdefault(name, {})[why] = None
    return {
        name: without_truth(f"all its annotations {' or '.join(why)}") for name, why in whys.items()
    }


def coco_documents(folder: Path) -> list[Path]:
    """Return the JSON files where COCO's may lie: in the folder, or in `annotations/`."""
    for place in (folder, folder / "annotations"):
        # A name that begins with a dot is hidden, or what another system left behind (._NAME).
        found = sorted(path for path in place.glob("*.json") if not path.name.startswith("."))
        if found:
            return found
    return []


def _document(folder: Path) -> Path:
    documents = coco_documents(folder)
    if len(documents) != 1:
        names = named(documents, folder) or "none"
        raise DataError(f"{folder} should hold one COCO JSON; found {names}.")
    return documents[0]
