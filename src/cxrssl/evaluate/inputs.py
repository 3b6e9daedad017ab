"""What is evaluated, from a store or from COCO files, in one form."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.data.coco.files import CocoAnnotations, CocoResults
from cxrssl.data.coco.index import Index
from cxrssl.data.coco.match import MatchedIds
from cxrssl.data.fusion import Marks
from cxrssl.evaluate.kinds import Kind, kinds_of_file, normal_of
from cxrssl.metrics.annotations import Detections, Flags, Integers, Truth


@dataclass(frozen=True)
class Readings:
    """Boxes of several readers on N images.

    Attributes:
        marks: Their boxes; numbers of images are 0..N-1.
        looked: [N] whether a reader looked at each image, by reader.
        is_listed: Whether the source lists who looked; otherwise every reader is taken to have
            looked at every image.
    """

    marks: Marks
    looked: dict[str, Flags]
    is_listed: bool


@dataclass(frozen=True)
class EvaluationInputs:
    """A truth, its names, and what readers drew.

    Attributes:
        index: Ids and names, for reading other files of results.
        truth: True boxes.
        readings: Boxes of the readers, None where they are not known.
        kinds: [N] what each image is.
        clusters: [N] number of each image's patient, None where patients are not known.
    """

    index: Index
    truth: Truth
    readings: Readings | None
    kinds: tuple[Kind, ...]
    clusters: Integers | None = None

    @property
    def normal(self) -> Flags:
        """[N] which images count as normal."""
        return normal_of(self.kinds)

    @property
    def sha256(self) -> str:
        """A fingerprint of boxes, ids and names; evaluations of the same have the same."""
        names = json.dumps([list(self.index.images), list(self.index.categories), self.classes])
        return hashlib.sha256(f"{self.truth.sha256} {names}".encode()).hexdigest()

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the labels."""
        return self.index.names


def inputs_of_file(
    index: Index, boxes: CocoAnnotations, readings: Readings | None
) -> EvaluationInputs:
    """Return the truth of a COCO document."""
    truth = Truth(
        boxes.images,
        boxes.labels,
        boxes.boxes,
        boxes.areas,
        boxes.crowd,
        boxes.support,
        len(index.images),
        len(index.names),
    )
    return EvaluationInputs(index, truth, readings, kinds_of_file(index, truth))


def readings_of(
    readers_index: Index, boxes: CocoAnnotations, index: Index, ids: MatchedIds
) -> Readings:
    """Return what readers drew, from a COCO document whose annotations name a `reader`.

    Who looked at an image its entry in `images` may say, as `"readers": ["R8", "R9"]`. If none
    does, every reader of the document is taken to have looked at every image of it.

    Args:
        readers_index: Index of the readers' document.
        boxes: Boxes of the readers' document.
        index: Index whose numbers of images and classes the result has.
        ids: These numbers by the ids of the readers' document.

    Raises:
        DataError: If an annotation names no reader, or one not listed as having looked, or is a
            crowd, or no image was looked at by two.
    """
    path, listed = readers_index.path, readers_index.readers
    nameless = int((boxes.readers == "").sum())
    if nameless:
        raise DataError(
            f"{path}: {nameless} of {len(boxes.readers)} annotations name no reader. Give each "
            'a "reader", such as "R8".'
        )
    if boxes.crowd.any():
        raise DataError(
            f"{path}: {int(boxes.crowd.sum())} annotations are crowds, which no reader draws. "
            "Leave them out."
        )
    image_number = np.array([ids.images[key] for key in readers_index.images], np.int64)
    label_number = np.array([ids.categories[key] for key in readers_index.categories], np.int64)
    images = image_number[boxes.images]
    names = sorted_readers(
        [*boxes.readers.tolist(), *(name for row in listed for name in row or ())]
    )
    is_listed = any(row is not None for row in listed)
    looked = {name: np.zeros(len(index.images), bool) for name in names}
    for image, row in zip(image_number, listed, strict=True):
        for name in (row or ()) if is_listed else names:
            looked[name][image] = True
    for name, image in zip(boxes.readers.tolist(), images.tolist(), strict=True):
        if not looked[name][image]:
            key = next(key for key, number in ids.images.items() if number == image)
            raise DataError(f"{path}: {name} drew on image {key!r}, and is not among its readers.")
    if not any_shared(looked):
        raise DataError(
            f"{path}: no image was looked at by two of its {len(names)} reader(s). Agreement "
            "needs some that were."
        )
    corners = np.concatenate([boxes.boxes[:, :2], boxes.boxes[:, :2] + boxes.boxes[:, 2:]], axis=1)
    marks = Marks(corners, label_number[boxes.labels], boxes.readers, images)
    return Readings(marks, looked, is_listed)


def sorted_readers(names: Iterable[str]) -> list[str]:
    """Return each name once, R8 before R10."""
    return sorted(set(names), key=lambda name: (len(name), name))


def any_shared(looked: Mapping[str, Flags]) -> bool:
    """Return whether two readers looked at one image."""
    return bool(len(looked) and np.sum(list(looked.values()), axis=0).max(initial=0) >= 2)


def as_detections(boxes: CocoResults) -> Detections:
    """Return the results of a file."""
    return Detections(boxes.images, boxes.labels, boxes.boxes, boxes.scores)
