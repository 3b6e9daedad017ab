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
from cxrssl.data.coco.annotations import Annotations, Flags, annotations_of, find_unlisted
from cxrssl.data.coco.categories import classes_of
from cxrssl.data.coco.json import Annotation, NormalId, entries_of, read_document
from cxrssl.data.coco.shapes import NO_CORNERS, clipped
from cxrssl.data.tables.coco_images import ListedImages, locate_images
from cxrssl.data.tables.files import names_text
from cxrssl.data.tables.rows import COLUMNS, Table, checked_rows, without_truth


def read_coco(folder: Path) -> tuple[Table, dict[str, Path]]:
    """Read the one COCO JSON of a folder.

    Returns:
        Its table, and the file of every image, below the folder.

    Raises:
        DataError: If there is not one JSON, it is not COCO, ids are missing or given twice, or no
            annotation names an image and a category that are listed.
    """
    path = _document(folder)
    document = read_document(path)
    for category in document.categories:
        if category.name.strip().casefold() == NO_FINDING.casefold():
            category.name = NO_FINDING
    annotations = annotations_of(path, entries_of(path, document.annotations, Annotation))
    classes = classes_of(
        path, document.categories, lambda: set(annotations.categories), repeated=[NO_FINDING]
    )
    named_readers = set(annotations.readers) - {""}
    images = locate_images(path, folder, document.images, named_readers=named_readers)
    listed = {image.id for image in document.images}
    no_image, no_class, left_out = find_unlisted(path, annotations, listed, classes.names)
    ignored = ~no_image & ~no_class & (annotations.crowd | annotations.doubtful)
    use = _Use(~no_image & ~no_class & ~ignored, no_class, ignored)
    rows, faults = _rows(annotations, use, images, classes.names)
    ordered = dict.fromkeys(name for name in classes.names.values() if name != NO_FINDING)
    return Table(
        rows,
        tuple(ordered),
        faults | images.faults,
        sizes=images.sizes,
        notes=(*classes.notes, *images.notes, *_notes(annotations, use, left_out)),
        unmarked=_unmarked(annotations, use, images, set(rows["image_id"])),
    ), images.files


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


def _notes(entries: Annotations, use: _Use, left_out: Sequence[str]) -> list[str]:
    """Return what was left out or changed, a sentence each."""
    is_turned = np.zeros(len(use.used), bool)
    is_turned[list(entries.rotations)] = True
    is_turned &= use.used & ~np.isnan(entries.boxes).any(axis=1)
    counts = {
        "are to be ignored (iscrowd, ignore or difficult) and are not boxes here": use.ignored,
        "have no bbox; their box is the extent of their segmentation": use.used & entries.outlined,
        "are turned boxes (rotation); the upright box around each is used, cut at the edges of "
        "the image": is_turned,
    }
    notes = [f"{flags.sum()} annotation(s) {text}" for text, flags in counts.items() if flags.any()]
    return [*left_out, *notes]


def _rows(
    entries: Annotations, use: _Use, images: ListedImages, classes: Mapping[NormalId, str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the table of all readers' marks, and the faults of images."""
    corners = entries.corners()
    rows: list[tuple[object, ...]] = []
    row_numbers: list[int] = []
    faults: dict[str, str] = {}
    for row in np.flatnonzero(use.used).tolist():
        key, category = entries.images[row], entries.categories[row]
        if key is None or category is None or key not in images.ids:
            continue  # the last: its image has a fault
        image_id = images.ids[key]
        x_min, y_min, x_max, y_max = corners[row].tolist()
        box = (x_min, y_min, x_max, y_max)
        if row in entries.rotations:
            box = clipped(box, images.sizes.get(image_id))
            if np.isnan(entries.rotations[row].degrees):
                fault = f"annotation {row}: its rotation is not a number; expected degrees"
                faults.setdefault(image_id, fault)
        reader = entries.readers[row] or images.readers[key]
        rows.append((image_id, reader, classes[category], *box))
        row_numbers.append(row)
    annotated = {entries.images[n] for n in np.flatnonzero(use.used | use.no_class | use.ignored)}
    for key, image_id in images.ids.items():
        if key not in annotated:
            rows.append((image_id, images.readers[key], NO_FINDING, *NO_CORNERS))
            row_numbers.append(-1)
    table, row_faults = checked_rows(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        places=[f"annotation {number}" for number in row_numbers],
        form="sides",
    )
    return table, row_faults | faults


def _unmarked(
    entries: Annotations, use: _Use, images: ListedImages, marked: set[str]
) -> dict[str, str]:
    """Return the images of which all annotations were left out, and why."""
    reasons: dict[str, dict[str, None]] = {}
    for row in np.flatnonzero(use.no_class | use.ignored).tolist():
        key = entries.images[row]
        name = None if key is None else images.ids.get(key)
        if name is not None and name not in marked:
            reason = (
                "name categories that are not listed"
                if use.no_class[row]
                else "are to be ignored (iscrowd, ignore or difficult)"
            )
            reasons.setdefault(name, {})[reason] = None
    return {
        name: without_truth(f"all its annotations {' or '.join(reason)}")
        for name, reason in reasons.items()
    }


def coco_documents(folder: Path) -> list[Path]:
    """Return the JSON files where COCO's may lie: in the folder, or in `annotations/`."""
    for parent in (folder, folder / "annotations"):
        # A name that begins with a dot is hidden, or what another system left behind (._NAME).
        documents = sorted(path for path in parent.glob("*.json") if not path.name.startswith("."))
        if documents:
            return documents
    return []


def _document(folder: Path) -> Path:
    documents = coco_documents(folder)
    if len(documents) != 1:
        names = names_text(documents, folder) or "none"
        raise DataError(f"{folder} should hold one COCO JSON; found {names}.")
    return documents[0]
