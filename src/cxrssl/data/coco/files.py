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
from cxrssl.data.coco.annotations import Annotations, annotations_of, find_unlisted
from cxrssl.data.coco.ids import normal_id
from cxrssl.data.coco.index import Index, Remarks, index_of
from cxrssl.data.coco.json import (
    Document,
    Id,
    Ids,
    NormalId,
    Raw,
    Result,
    TrueAnnotation,
    blocks,
    content_of,
    decoded,
    entries_of,
    normal_ids,
    read_document,
    text_of,
)
from cxrssl.data.coco.match import MatchedIds, match_document, match_ids, remarks_on_ids

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Boxes = TypeVar("Boxes", bound="CocoBoxes")

_MAX_PX = 1e7
"""Of coordinates and sizes: more is a mistake, and products of them would overflow."""


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
class CocoAnnotations(CocoBoxes):
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
        scores: [N] scores; a higher one is surer.
    """

    scores: Floats


def read_annotations(path: Path, *, of_readers: bool = False) -> tuple[Index, CocoAnnotations]:
    """Read a COCO document: truth, or readers' boxes, whose annotations name a `reader`.

    As in pycocotools, a true box without a width or height counts (nothing can find it), and what
    names no listed image or category does not.

    Args:
        path: Path of the document.
        of_readers: Whether boxes are readers', each of which needs an area.

    Raises:
        DataError: If it is not a COCO document, an id is given twice, no annotation names what is
            listed, or a box has no area.
    """
    document = read_document(path)
    entries = entries_of(path, document.annotations, TrueAnnotation)
    columns = annotations_of(path, entries)
    index = index_of(path, document, lambda: set(columns.categories))
    no_image, no_class, left_out = find_unlisted(path, columns, index.images, index.categories)
    boxes = columns.boxes
    if np.isnan(boxes).any():
        row = int(np.isnan(boxes).any(axis=1).argmax())
        raise DataError(
            f"{path}: entry {row} has no box; found {text_of(document.annotations[row])}. Expected "
            "bbox [x, y, width, height], or a segmentation, whose extent is taken."
        )
    stated = np.array([np.nan if e.area is None else e.area for e in entries], np.float64)
    areas = np.where(np.isnan(stated), boxes[:, 2] * boxes[:, 3], stated)
    if of_readers:
        _refuse(path, boxes, _least_side(boxes) <= 0, "a width and a height above 0")
    _check_possible(path, boxes)
    _refuse(path, boxes, ~((areas >= 0) & (areas <= _MAX_PX**2)), "an area from 0 to 1e14 px^2")
    used = ~no_image & ~no_class
    annotations = CocoAnnotations(
        np.array([index.images.get(key, -1) for key in columns.images], np.int64)[used],
        np.array([index.categories.get(key, -1) for key in columns.categories], np.int64)[used],
        boxes[used],
        areas[used],
        columns.crowd[used],
        np.array([e.support for e in entries], np.int64)[used],
        np.array(columns.readers, np.str_)[used],
    )
    remarks = index.remarks + _remarks_on_truth(path, columns, left_out)
    return replace(index, remarks=remarks), _by_image(annotations)


def _remarks_on_truth(path: Path, annotations: Annotations, left_out: Sequence[str]) -> Remarks:
    """Say which boxes of a truth count in a way that may surprise, or not at all."""
    counts = {
        "annotation(s) have no bbox; the extent of their segmentation is taken": (
            annotations.outlined.sum()
        ),
        "true box(es) have no width or no height; they count as boxes to be found, as in "
        "pycocotools, and nothing overlaps them": (_least_side(annotations.boxes) == 0).sum(),
        "annotation(s) say ignore or difficult; they count as any other, as in pycocotools, which "
        "leaves out iscrowd alone": (annotations.doubtful & ~annotations.crowd).sum(),
        "annotation(s) are turned boxes (rotation); their bbox is scored as it is, not turned, as "
        "in pycocotools": len(annotations.rotations),
    }
    notes = tuple(f"{path}: {count} {text}" for text, count in counts.items() if count)
    return Remarks(notes, tuple(f"{path}: {text}" for text in left_out))


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
        truth_ids = MatchedIds(truth.images, truth.categories)
        results = _result_columns(path, raw, ids or truth_ids, truth)
    except _OtherIdsError:
        ids = _matched_list(path, raw, truth)
        results = _result_columns(path, raw, ids, truth)
    raw.clear()  # it may be a gigabyte
    _check_possible(path, results.boxes)
    if ids is not None:
        return _by_image(results), ids.remarks
    keys = list(truth.images)
    used_keys = [keys[number] for number in np.unique(results.images).tolist()]
    return _by_image(results), remarks_on_ids(path, used_keys, truth)


def _result_columns(path: Path, raw: Sequence[Raw], ids: MatchedIds, truth: Index) -> CocoResults:
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
            images = _numbers_of([e.image_id for e in entries], ids.images)
            labels = _numbers_of([e.category_id for e in entries], ids.categories)
        except KeyError as error:
            if is_truths:
                raise _OtherIdsError from None
            raise DataError(
                f"{path}: a detection names the image or category {error.args[0]!r}, which the "
                "file does not list. List it, or leave the detection out."
            ) from error
        scores = np.array([e.score for e in entries], np.float64)
        flat = chain.from_iterable([e.bbox for e in entries])
        boxes = np.fromiter(flat, np.float64, 4 * len(entries)).reshape(-1, 4)
        parts.append((images, labels, boxes, scores))
    return CocoResults(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _raw_results(path: Path, truth: Index) -> tuple[list[Raw], MatchedIds | None]:
    """Return the entries of results, unparsed, and whose the ids are that a document lists."""
    content = content_of(path)
    if content.lstrip()[:1] != b"{":
        return decoded(path, content, list[Raw]), None
    document = read_document(path, content)
    index = index_of(path, document, lambda: _used_categories(path, document))
    ids = match_document(index, truth)
    num_missing = len(truth.images) - len(set(ids.images.values()))
    warnings = (
        f"{path} lists {len(ids.images)} of the {len(truth.images)} images of {truth.path}; the "
        f"other {num_missing} count as images in which nothing was detected",
    )
    remarks = index.remarks + ids.remarks + Remarks(warnings=warnings if num_missing else ())
    return document.annotations, replace(ids, remarks=remarks)


def _matched_list(path: Path, raw: Sequence[Raw], truth: Index) -> MatchedIds:
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
    categories = dict.fromkeys(normal_ids(path, list(classes), "category"))
    return match_ids(path, images, categories, truth)


def _numbers_of(ids: Sequence[Id], number_of: Mapping[NormalId, int]) -> Integers:
    """Return the number of each id; 1.0 and "1" are 1.

    Raises:
        KeyError: If one has none.
    """
    try:
        return np.fromiter(map(number_of.__getitem__, ids), np.int64, len(ids))  # type: ignore[arg-type]
    except KeyError:
        pass
    try:
        numbers = {key: number_of[normal_id(key)] for key in set(ids)}
    except ValueError as error:
        raise KeyError(str(error)) from error
    return np.fromiter(map(numbers.__getitem__, ids), np.int64, len(ids))


def _used_categories(path: Path, document: Document) -> set[NormalId]:
    keys = {entry.category_id for part in blocks(path, document.annotations, Ids) for entry in part}
    return set(normal_ids(path, list(keys), "category"))


def _least_side(boxes: Floats) -> Floats:
    return np.minimum(boxes[:, 2], boxes[:, 3])


def _check_possible(path: Path, boxes: Floats) -> None:
    _refuse(path, boxes, _least_side(boxes) < 0, "a width and a height of 0 or more")
    too_far = np.abs(boxes).max(axis=1) > _MAX_PX
    _refuse(path, boxes, too_far, "coordinates and sizes of at most 1e7 px")


def _refuse(path: Path, boxes: Floats, is_bad: NDArray[np.bool_], expected: str) -> None:
    if is_bad.any():
        row = int(np.flatnonzero(is_bad)[0])
        box = ", ".join(f"{value:g}" for value in boxes[row])
        raise DataError(
            f"{path}: {int(is_bad.sum())} box(es) without {expected}, the first is entry {row} "
            f"[{box}]. Mend it, or leave it out."
        )


def _by_image(boxes: Boxes) -> Boxes:
    if (np.diff(boxes.images) >= 0).all():
        return boxes
    order = np.argsort(boxes.images, kind="stable")
    columns = {field.name: getattr(boxes, field.name)[order] for field in fields(boxes)}
    return replace(boxes, **columns)
