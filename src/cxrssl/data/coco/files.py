"""Anyone's COCO files as columns: truth with its images and categories, results, readers' boxes.

Boxes stay COCO's [x_min, y_min, width, height] in pixels, float64, as they are in the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.errors import DataError
from cxrssl.data.coco.ids import normal_id
from cxrssl.data.coco.index import Index, NormalId, Remarks, index_of, normal_ids
from cxrssl.data.coco.json import (
    Annotation,
    Document,
    Id,
    Ids,
    Raw,
    Result,
    blocks,
    content_of,
    decoded,
    extent_of,
)
from cxrssl.data.coco.match import Matched, matched, matched_document, said_of_ids

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Boxes = TypeVar("Boxes", bound="CocoBoxes")

_MOST_NAMED = 3
_MOST_PX = 1e7
"""Of coordinates and sizes: more is a mistake, and products of them would overflow."""
_IN_AN_IMAGE = "coordinates and sizes of at most 1e7 px"


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


def read_annotations(path: Path, *, of_readers: bool = False) -> tuple[Index, CocoMarks]:
    """Read a COCO document: truth, or readers' boxes, whose annotations name a `reader`.

    A true box without a width or height counts, as in pycocotools: nothing can find it.

    Args:
        path: Of the document.
        of_readers: Whether boxes are readers', each of which needs an area.

    Raises:
        DataError: If it is no COCO document, an id is given twice or not listed, or a box has no
            area.
    """
    document = decoded(path, content_of(path), Document)
    index = index_of(path, document)
    entries = list(chain.from_iterable(blocks(path, document.annotations, Annotation)))
    boxes, notes = _true_boxes(path, entries)
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
    least = _least_side(boxes)
    if of_readers:
        _refuse(path, boxes, least <= 0, "a width and a height above 0")
    _refuse(path, boxes, least < 0, "a width and a height of 0 or more")
    _refuse(path, boxes, np.abs(boxes).max(axis=1) > _MOST_PX, _IN_AN_IMAGE)
    areas_fit = (found.areas >= 0) & (found.areas <= _MOST_PX**2)
    _refuse(path, boxes, ~areas_fit, "an area from 0 to 1e14 px^2")
    notes += _said_of_truth(path, entries, int((least == 0).sum()))
    return replace(index, remarks=index.remarks + Remarks(tuple(notes))), _by_image(found)


def _true_boxes(path: Path, entries: Sequence[Annotation]) -> tuple[Floats, list[str]]:
    """Return the boxes of annotations; of one that has a polygon or mask alone, its extent.

    Raises:
        DataError: If one has neither.
    """
    sides = [entry.bbox for entry in entries]
    num_extents = 0
    for place, (box, entry) in enumerate(zip(sides, entries, strict=True)):
        if box is not None and len(box) == 4:
            continue
        extent = None if box else extent_of(entry.segmentation)
        if extent is None:
            raise DataError(
                f"{path}: entry {place} has no box; found "
                f"{'no bbox' if box is None else f'a bbox of {len(box)} numbers'} and no polygon "
                "or mask. Expected bbox [x, y, width, height], or a segmentation, whose extent is "
                "taken."
            )
        sides[place] = extent
        num_extents += 1
    boxes = np.fromiter(chain.from_iterable(b or () for b in sides), np.float64, 4 * len(sides))
    text = (
        f"{path}: {num_extents} annotation(s) have no bbox; the extent of their segmentation is "
        "taken"
    )
    return boxes.reshape(-1, 4), [text] if num_extents else []


def _said_of_truth(path: Path, entries: Sequence[Annotation], num_empty: int) -> list[str]:
    """Say which boxes of a truth count in a way that may surprise."""
    notes = []
    if num_empty:
        notes.append(
            f"{path}: {num_empty} true box(es) have no width or no height; they count as boxes to "
            "be found, as in pycocotools, and nothing overlaps them"
        )
    marked = sum(bool(e.ignore or e.difficult) and not e.iscrowd for e in entries)
    if marked:
        notes.append(
            f"{path}: {marked} annotation(s) say ignore or difficult; they count as any other, as "
            "in pycocotools, which leaves out iscrowd alone"
        )
    turned = sum(_is_turned(entry) for entry in entries)
    if turned:
        notes.append(
            f"{path}: {turned} annotation(s) are turned boxes (rotation); their bbox is scored as "
            "it is, not turned, as in pycocotools"
        )
    return notes


def _is_turned(entry: Annotation) -> bool:
    attributes = entry.attributes if isinstance(entry.attributes, dict) else {}
    for value in (entry.rotation, attributes.get("rotation")):
        try:
            if value and float(value) % 360 != 0:
                return True
        except (TypeError, ValueError, OverflowError):
            return True  # whatever it means, the box is not turned by it
    return False


class _OtherIdsError(Exception):
    """Ids of results are not the truth's, or come with file names that may be others."""


def read_results(path: Path, truth: Index) -> tuple[CocoResults, Remarks]:
    """Read detections on the images of a truth: COCO results, or a document with scores.

    Boxes without a width or height are kept; they overlap nothing. Where ids don't fit, images are
    found by file name or stem, and a document's categories by name.

    Returns:
        The detections, and what had to be done to bring them together with the truth.

    Raises:
        DataError: If it is neither, an image or category is not the truth's, or a size is negative.
    """
    raw, ids = _raw_results(path, truth)
    try:
        found = _result_columns(path, raw, ids or Matched(truth.images, truth.categories), truth)
    except _OtherIdsError:
        ids = _matched_list(path, raw, truth)
        found = _result_columns(path, raw, ids, truth)
    raw.clear()  # it may be a gigabyte
    boxes = found.boxes
    _refuse(path, boxes, _least_side(boxes) < 0, "a width and a height of 0 or more")
    _refuse(path, boxes, np.abs(boxes).max(axis=1) > _MOST_PX, _IN_AN_IMAGE)
    if ids is not None:
        return _by_image(found), ids.remarks
    keys = list(truth.images)
    seen = [keys[number] for number in np.unique(found.images).tolist()]
    return _by_image(found), said_of_ids(path, seen, truth)


def _result_columns(path: Path, raw: Sequence[Raw], ids: Matched, truth: Index) -> CocoResults:
    """Return results as columns.

    Raises:
        _OtherIdsError: If the truth's own ids were to be used, and don't fit, or files are named.
    """
    is_truths = ids.images is truth.images
    parts = []
    for entries in blocks(path, raw, Result):
        if is_truths and entries and entries[0].file_name is not None:
            raise _OtherIdsError
        try:
            images = _places([e.image_id for e in entries], ids.images)
            labels = _places([e.category_id for e in entries], ids.categories)
        except KeyError:
            if is_truths:
                raise _OtherIdsError from None
            raise
        scores = np.array([e.score for e in entries], np.float64)
        flat = chain.from_iterable([e.bbox for e in entries])
        boxes = np.fromiter(flat, np.float64, 4 * len(entries)).reshape(-1, 4)
        parts.append((images, labels, boxes, scores))
    return CocoResults(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _raw_results(path: Path, truth: Index) -> tuple[list[Raw], Matched | None]:
    """Return the entries of results, unparsed, and whose the ids are that a document lists."""
    content = content_of(path)
    if content.lstrip()[:1] != b"{":
        return decoded(path, content, list[Raw]), None
    document = decoded(path, content, Document)
    index = index_of(path, document)
    found = matched_document(index, truth)
    missing = len(truth.images) - len(set(found.images.values()))
    warnings = (
        f"{path} lists {len(found.images)} of the {len(truth.images)} images of {truth.path}; the "
        f"other {missing} count as images in which nothing was detected",
    )
    remarks = index.remarks + found.remarks + Remarks(warnings=warnings if missing else ())
    return document.annotations, replace(found, remarks=remarks)


def _matched_list(path: Path, raw: Sequence[Raw], truth: Index) -> Matched:
    """Find the images and categories of a list of results.

    Raises:
        DataError: If they are not the truth's, or one image id has two file names.
    """
    images: dict[NormalId, str | None] = {}
    keys: dict[tuple[Id, str | None], None] = {}
    classes: dict[Id, None] = {}
    for part in blocks(path, raw, Ids):
        keys |= dict.fromkeys((entry.image_id, entry.file_name) for entry in part)
        classes |= dict.fromkeys(entry.category_id for entry in part)
    ids = normal_ids(path, [key for key, _ in keys], "image")
    for key, (_, name) in zip(ids, keys, strict=True):
        if images.setdefault(key, name) != name:
            raise DataError(
                f"{path}: image {key!r} has the file names {images[key]!r} and {name!r}. Give each "
                "image an id of its own."
            )
    categories = dict.fromkeys(normal_ids(path, classes, "category"))
    return matched(path, images, categories, truth)


def _places(keys: Sequence[Id], number_of: Mapping[NormalId, int]) -> Integers:
    """Return the number of each id; 1.0 and "1" are 1.

    Raises:
        KeyError: If one has none.
    """
    try:
        return np.fromiter(map(number_of.__getitem__, keys), np.int64, len(keys))  # type: ignore[arg-type]
    except KeyError:
        pass
    try:
        numbers = {key: number_of[normal_id(key)] for key in set(keys)}
    except ValueError as error:
        raise KeyError(str(error)) from error
    return np.fromiter(map(numbers.__getitem__, keys), np.int64, len(keys))


def _numbers(
    path: Path, keys: Sequence[Id], number_of: Mapping[NormalId, int], word: str
) -> Integers:
    """Return the number of each id of a document.

    Raises:
        DataError: If one is not listed.
    """
    try:
        return _places(keys, number_of)
    except KeyError:
        normal = normal_ids(path, dict.fromkeys(keys), word)
    unknown = [key for key in normal if key not in number_of]
    raise DataError(
        f"{path}: {len(unknown)} {word} id(s) are not listed, and annotations have them, such as "
        f"{', '.join(map(repr, unknown[:_MOST_NAMED]))}. Leave the annotations out, or list them."
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
