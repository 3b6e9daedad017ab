"""COCO JSON files as a source; an annotation may name its `reader`.

All of a folder are one table: classes are merged by name, and ids are each file's own. An image
without annotations is one in which nothing was found, as COCO has it. Annotations that are to be
ignored, or name an image or a category that is not listed, are left out and counted. Where
annotations name no reader, `coco_readers` tells whose they are.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable
from cxrssl.data.coco.shapes import NO_CORNERS, clipped
from cxrssl.data.tables.coco_documents import SourceDocument, read_documents
from cxrssl.data.tables.coco_images import ListedImages, locate_images
from cxrssl.data.tables.rows import COLUMNS, Table, checked_rows, without_truth

_Classes = list[dict[str, str]]
"""Of each document, class name there -> class name."""


def read_coco(folder: Path, paths: Sequence[Path]) -> tuple[Table, dict[str, Path]]:
    """Read COCO JSON files below a folder.

    Returns:
        Their table, and the file of every image, below the folder.

    Raises:
        DataError: If one is not COCO, ids are missing or given twice, no annotation of a file
            names an image and a category that are listed, or two files partly repeat each other.
    """
    documents, notes = read_documents(folder, paths)
    classes, class_notes = _merged_classes(documents)
    images = locate_images(folder, documents)
    rows, faults = _rows(documents, images, classes)
    names = [classes[n][name] for n, d in enumerate(documents) for name in d.classes.values()]
    is_one = len(documents) == 1
    return (
        Table(
            rows,
            tuple(name for name in dict.fromkeys(names) if name != NO_FINDING),
            faults | images.faults,
            sizes=images.sizes,
            notes=(
                *notes,
                *(n if is_one else f"{d.name}: {n}" for d in documents for n in d.notes),
                *class_notes,
                *images.notes,
                *_kind_notes(images, rows),
            ),
            unmarked=_unmarked(documents, images, set(rows["image_id"])),
            patients=images.patients,
            kinds={name: images.kinds[name] for name in sorted(set(images.kinds) - _drawn(rows))},
            tables={} if is_one else images.tables,
        ),
        images.files,
    )


def _merged_classes(documents: Sequence[SourceDocument]) -> tuple[_Classes, list[str]]:
    """Return the one spelling of each document's class names, and notes on what was merged.

    Names of two documents that differ in case and blanks alone are one class; of one document they
    are two.
    """
    spellings: dict[str, str] = {}
    result: _Classes = []
    merged: list[tuple[str, str]] = []
    for document in documents:
        known, own = set(spellings.values()), list(document.classes.values())
        folded = Counter(map(_folded, own))
        names: dict[str, str] = {}
        for name in own:
            other = spellings.get(_folded(name), name)
            is_other = name not in known and other not in own and folded[_folded(name)] == 1
            names[name] = other if is_other else name
            if is_other and other != name:
                merged.append((other, name))
            spellings.setdefault(_folded(name), name)
            spellings.setdefault(name, name)
        result.append(names)
    if not merged:
        return result, []
    first, second = (repr(printable(name)) for name in merged[0])
    return result, [
        f"{len(set(merged))} class(es) are spelt in several ways, such as {first} and {second}: "
        "each is one"
    ]


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def _rows(
    documents: Sequence[SourceDocument], images: ListedImages, classes: _Classes
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the table of all readers' marks, and the faults of images."""
    rows: list[tuple[object, ...]] = []
    places: list[str] = []
    faults: dict[str, str] = {}
    annotated: set[tuple[int, object]] = set()
    for number, document in enumerate(documents):
        entries, use = document.annotations, document.use
        prefix = f"{document.name}, " if len(documents) > 1 else ""
        corners = entries.corners()
        for row in np.flatnonzero(use.used).tolist():
            key = number, entries.images[row]
            if key not in images.ids:
                continue  # its image has a fault, or it repeats another's annotations
            image_id, place = images.ids[key], f"{prefix}annotation {row}"
            x_min, y_min, x_max, y_max = corners[row].tolist()
            box = (x_min, y_min, x_max, y_max)
            if row in entries.rotations:
                box = clipped(box, images.sizes.get(image_id))
                if np.isnan(entries.rotations[row].degrees):
                    fault = f"{place}: its rotation is not a number; expected degrees"
                    faults.setdefault(image_id, fault)
            reader = entries.readers[row] or images.readers[key]
            category = classes[number][document.classes[entries.categories[row]]]
            rows.append((image_id, reader, category, *box))
            places.append(place)
        told = use.used | use.no_class | use.ignored
        annotated |= {(number, entries.images[row]) for row in np.flatnonzero(told)}
    for key, image_id in images.ids.items():
        if key not in annotated:
            rows.append((image_id, images.readers[key], NO_FINDING, *NO_CORNERS))
            places.append("annotation -1")
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    table, row_faults = checked_rows(frame, places=places, form="sides")
    return table, row_faults | faults


def _unmarked(
    documents: Sequence[SourceDocument], images: ListedImages, marked: set[str]
) -> dict[str, str]:
    """Return the images of which all annotations were left out, and why."""
    reasons: dict[str, dict[str, None]] = {}
    for number, document in enumerate(documents):
        use = document.use
        for row in np.flatnonzero(use.no_class | use.ignored).tolist():
            name = images.ids.get((number, document.annotations.images[row]))
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


def _drawn(rows: pd.DataFrame) -> set[str]:
    return set(rows.loc[rows["category"].ne(NO_FINDING), "image_id"])


def _kind_notes(images: ListedImages, rows: pd.DataFrame) -> list[str]:
    contradicted = _drawn(rows) & set(images.kinds)
    if not contradicted:
        return []
    return [
        f"{len(contradicted)} image(s) with boxes are called normal or other finding; that is not "
        "used"
    ]
