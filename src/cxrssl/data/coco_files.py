"""Anyone's COCO files as columns: truth with its images and categories, results, readers' boxes.

Boxes stay COCO's [x_min, y_min, width, height] in pixels, float64, as they are in the file.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.errors import DataError
from cxrssl.data.coco_json import Annotation, Document, Id, Raw, Result, blocks, content_of, decoded

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Boxes = TypeVar("Boxes", bound="CocoBoxes")

_MOST_NAMED = 3
_MOST_PX = 1e7
"""Of coordinates and sizes: more is a mistake, and products of them would overflow."""
_IN_AN_IMAGE = "coordinates and sizes of at most 1e7 px"


@dataclass(frozen=True)
class Index:
    """Images and categories of a document, in the order of their ids.

    Attributes:
        path: Of the document.
        images: Id to number.
        file_names: Of each image, None where the file gives none.
        categories: Id to number.
        names: Of each category.
        readers: Of each image, who looked at it; None where the file does not say.
    """

    path: Path
    images: dict[Id, int]
    file_names: tuple[str | None, ...]
    categories: dict[Id, int]
    names: tuple[str, ...]
    readers: tuple[tuple[str, ...] | None, ...]


@dataclass(frozen=True)
class CocoBoxes:
    """Boxes sorted by image; within one in the order of the file.

    Attributes:
        images: [N] number of the image.
        labels: [N] number of the category.
        boxes: [N, 4] xywh, pixels.
    """

    images: Integers
    labels: Integers
    boxes: Floats


@dataclass(frozen=True)
class CocoMarks(CocoBoxes):
    """Annotations.

    Attributes:
        areas: [N] px^2, as given, else width times height.
        crowd: [N] whether a box stands for many.
        support: [N] readers behind a box, 0 where the file does not say.
        readers: [N] who drew it, "" where the file does not say.
    """

    areas: Floats
    crowd: NDArray[np.bool_]
    support: Integers
    readers: NDArray[np.str_]


@dataclass(frozen=True)
class CocoResults(CocoBoxes):
    """Detections.

    Attributes:
        scores: [N].
    """

    scores: Floats


def read_annotations(path: Path) -> tuple[Index, CocoMarks]:
    """Read a COCO document: truth, or readers' boxes, whose annotations name a `reader`.

    Raises:
        DataError: If it is no COCO document, an id is given twice or not listed, or a box has no
            area.
    """
    document = decoded(path, content_of(path), Document)
    index = _indexed(path, document)
    entries = list(chain.from_iterable(blocks(path, document.annotations, Annotation)))
    boxes = _boxes(entries)
    given = np.array([np.nan if e.area is None else e.area for e in entries], np.float64)
    found = CocoMarks(
        _numbers(path, [e.image_id for e in entries], index.images, "image"),
        _numbers(path, [e.category_id for e in entries], index.categories, "category"),
        boxes,
        np.where(np.isnan(given), boxes[:, 2] * boxes[:, 3], given),
        np.array([bool(e.iscrowd) for e in entries], bool),
        np.array([e.support for e in entries], np.int64),
        np.array([e.reader or "" for e in entries], np.str_),
    )
    _refuse(path, boxes, _least_side(boxes) <= 0, "a width and a height above 0")
    _refuse(path, boxes, np.abs(boxes).max(axis=1) > _MOST_PX, _IN_AN_IMAGE)
    areas_fit = (found.areas >= 0) & (found.areas <= _MOST_PX**2)
    _refuse(path, boxes, ~areas_fit, "an area from 0 to 1e14 px^2")
    return index, _by_image(found)


def read_results(path: Path, truth: Index) -> CocoResults:
    """Read detections on the images of a truth: COCO results, or a document with scores.

    Boxes without a width or height are kept; they overlap nothing.

    Raises:
        DataError: If it is neither, an image or category is not the truth's, or a size is negative.
    """
    raw = _raw_results(path, truth)
    parts = []
    for entries in blocks(path, raw, Result):
        images = _numbers(path, [e.image_id for e in entries], truth.images, "image")
        labels = _numbers(path, [e.category_id for e in entries], truth.categories, "category")
        scores = np.array([e.score for e in entries], np.float64)
        parts.append((images, labels, _boxes(entries), scores))
    raw.clear()  # it may be a gigabyte
    found = CocoResults(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    boxes = found.boxes
    _refuse(path, boxes, _least_side(boxes) < 0, "a width and a height of 0 or more")
    _refuse(path, boxes, np.abs(boxes).max(axis=1) > _MOST_PX, _IN_AN_IMAGE)
    return _by_image(found)


def _raw_results(path: Path, truth: Index) -> list[Raw]:
    """Return the entries of results, unparsed, after checking ids that a document lists."""
    content = content_of(path)
    if content.lstrip()[:1] != b"{":
        return decoded(path, content, list[Raw])
    document = decoded(path, content, Document)
    check_listed(_indexed(path, document), truth)
    return document.annotations


def check_listed(own: Index, truth: Index) -> None:
    """Check that a document means the same by its ids as the truth does.

    Raises:
        DataError: If it has an image or category that the truth lacks, or calls otherwise.
    """
    for word, ids, others, names, true_names in (
        ("image", own.images, truth.images, own.file_names, truth.file_names),
        ("category", own.categories, truth.categories, own.names, truth.names),
    ):
        _numbers(own.path, list(ids), others, word)
        for key, number in ids.items():
            name, true_name = names[number], true_names[others[key]]
            if None not in (name, true_name) and name != true_name:
                raise DataError(
                    f"{own.path}: {word} {key!r} is {name!r}, and in {truth.path} {true_name!r}. "
                    "Give both files the same ids."
                )


def _indexed(path: Path, document: Document) -> Index:
    """Number images and categories by their ids, numbers before words, as pycocotools sorts."""
    images = sorted(document.images, key=lambda image: (isinstance(image.id, str), image.id))
    classes = sorted(document.categories, key=lambda kind: (isinstance(kind.id, str), kind.id))
    names = [kind.name for kind in classes]
    for word, keys in (
        ("image id", [image.id for image in images]),
        ("category id", [kind.id for kind in classes]),
        ("category name", names),
    ):
        twice = [key for key, number in Counter(keys).items() if number > 1]
        if twice:
            raise DataError(f"{path} lists {word} {twice[0]!r} twice. Give each its own.")
        if not keys:
            raise DataError(f"{path} lists no {word}; expected some.")
    return Index(
        path,
        {image.id: number for number, image in enumerate(images)},
        tuple(image.file_name for image in images),
        {kind.id: number for number, kind in enumerate(classes)},
        tuple(names),
        tuple(None if i.readers is None else tuple(dict.fromkeys(i.readers)) for i in images),
    )


def _boxes(entries: Sequence[Annotation] | Sequence[Result]) -> Floats:
    flat = chain.from_iterable([entry.bbox for entry in entries])
    return np.fromiter(flat, np.float64, 4 * len(entries)).reshape(-1, 4)


def _numbers(path: Path, keys: Sequence[Id], number_of: dict[Id, int], word: str) -> Integers:
    """Return the number of each id.

    Raises:
        DataError: If one is not listed.
    """
    try:
        return np.fromiter(map(number_of.__getitem__, keys), np.int64, len(keys))
    except KeyError:
        unknown = list(dict.fromkeys(key for key in keys if key not in number_of))
    words = {str(key): key for key in number_of}
    hint = ""
    if str(unknown[0]) in words:
        hint = f" (it lists {words[str(unknown[0])]!r}: a number and a word are different ids)"
    raise DataError(
        f"{path}: {len(unknown)} {word} id(s) are not listed by the truth, such as "
        f"{', '.join(map(repr, unknown[:_MOST_NAMED]))}{hint}. Leave them out, or list them."
    )


def _least_side(boxes: Floats) -> Floats:
    return np.minimum(boxes[:, 2], boxes[:, 3])


def _refuse(path: Path, boxes: Floats, bad: NDArray[np.bool_], expected: str) -> None:
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        box = ", ".join(f"{value:g}" for value in boxes[place])
        raise DataError(
            f"{path}: {int(bad.sum())} box(es) without {expected}, the first is entry {place} "
            f"[{box}]. Mend it, or leave it out."
        )


def _by_image(found: Boxes) -> Boxes:
    if (np.diff(found.images) >= 0).all():
        return found
    order = np.argsort(found.images, kind="stable")
    columns = {field.name: getattr(found, field.name)[order] for field in fields(found)}
    return replace(found, **columns)
