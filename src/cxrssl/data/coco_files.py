"""Anyone's COCO files as columns: truth with its images and categories, results, readers' boxes.

Boxes stay COCO's [x_min, y_min, width, height] in pixels, float64, as they are in the file.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.errors import DataError
from cxrssl.data.coco_json import Annotation, Document, Id, Raw, Result, blocks, content_of, decoded

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MOST_NAMED = 3


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
        areas: [N] px^2, as given, else width times height.
        crowd: [N] whether a box stands for many.
        support: [N] readers behind a box, 0 where the file does not say.
        readers: [N] who drew it, "" where the file does not say.
        scores: [N], nan for annotations.
    """

    images: Integers
    labels: Integers
    boxes: Floats
    areas: Floats
    crowd: NDArray[np.bool_]
    support: Integers
    readers: NDArray[np.str_]
    scores: Floats


def read_annotations(path: Path) -> tuple[Index, CocoBoxes]:
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
    found = CocoBoxes(
        _numbers(path, [e.image_id for e in entries], index.images, "image"),
        _numbers(path, [e.category_id for e in entries], index.categories, "category"),
        boxes,
        np.where(np.isnan(given), boxes[:, 2] * boxes[:, 3], given),
        np.array([bool(e.iscrowd) for e in entries], bool),
        np.array([e.support for e in entries], np.int64),
        np.array([e.reader or "" for e in entries], np.str_),
        np.full(len(entries), np.nan),
    )
    _refuse(path, found, _least_side(boxes) <= 0, "a width and a height above 0")
    _refuse(path, found, found.areas < 0, "an area of 0 or more")
    _refuse(path, found, found.support < 0, "a support of 0 or more")
    return index, _by_image(found)


def read_results(path: Path, truth: Index) -> CocoBoxes:
    """Read detections on the images of a truth: COCO results, or a document with scores.

    Boxes without a width or height are kept; they overlap nothing.

    Raises:
        DataError: If it is neither, an image or category is not the truth's, or a size is negative.
    """
    content = content_of(path)
    if content.lstrip()[:1] == b"{":
        document = decoded(path, content, Document)
        check_listed(_indexed(path, document), truth)
        raw = document.annotations
    else:
        raw = decoded(path, content, list[Raw])
    found = _results(path, raw, truth)
    _refuse(path, found, _least_side(found.boxes) < 0, "a width and a height of 0 or more")
    return _by_image(found)


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


def _results(path: Path, raw: Sequence[Raw], truth: Index) -> CocoBoxes:
    parts = []
    for entries in blocks(path, raw, Result):
        images = _numbers(path, [e.image_id for e in entries], truth.images, "image")
        labels = _numbers(path, [e.category_id for e in entries], truth.categories, "category")
        scores = np.array([e.score for e in entries], np.float64)
        parts.append((images, labels, _boxes(entries), scores))
    images, labels, boxes, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
    nothing = np.zeros(len(images), np.int64)
    areas = boxes[:, 2] * boxes[:, 3]
    nobody = np.zeros(len(images), "<U1")
    return CocoBoxes(images, labels, boxes, areas, nothing > 0, nothing, nobody, scores)


def _boxes(entries: Sequence[Annotation] | Sequence[Result]) -> Floats:
    flat = chain.from_iterable([entry.bbox for entry in entries])
    return np.fromiter(flat, np.float64, 4 * len(entries)).reshape(-1, 4)


def _numbers(path: Path, keys: Sequence[Id], number_of: dict[Id, int], word: str) -> Integers:
    """Return the number of each id.

    Raises:
        DataError: If one is not listed.
    """
    try:
        return np.array([number_of[key] for key in keys], np.int64)
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


def _refuse(path: Path, found: CocoBoxes, bad: NDArray[np.bool_], expected: str) -> None:
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        box = ", ".join(f"{value:g}" for value in found.boxes[place])
        raise DataError(
            f"{path}: {int(bad.sum())} box(es) without {expected}, the first is entry {place} "
            f"[{box}]. Mend it, or leave it out."
        )


def _by_image(found: CocoBoxes) -> CocoBoxes:
    order = np.argsort(found.images, kind="stable")
    return CocoBoxes(*(getattr(found, field.name)[order] for field in fields(found)))
