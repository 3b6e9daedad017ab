"""What is evaluated, from a store or from COCO files, in one form."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.data.coco_files import CocoBoxes, Index
from cxrssl.data.detection import Example
from cxrssl.data.fusion import Marks
from cxrssl.metrics.annotations import Detections, Flags, Truth


@dataclass(frozen=True)
class Readings:
    """What several readers drew on N images.

    Attributes:
        marks: Their boxes; numbers of images are 0..N-1.
        looked: Reader to [N], who looked at which image.
        is_listed: Whether the source says who looked, rather than it being taken that all did.
    """

    marks: Marks
    looked: dict[str, Flags]
    is_listed: bool


@dataclass(frozen=True)
class Given:
    """A truth, its names, and what readers drew.

    Attributes:
        index: Ids and names, for reading others' results.
        truth: True boxes.
        readings: Where they are known.
    """

    index: Index
    truth: Truth
    readings: Readings | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the labels."""
        return self.index.names


def given_by_store(index: Index, examples: Sequence[Example]) -> Given:
    """Return the consensus of a store's examples, in store pixels, and its readers' boxes."""
    counts = [len(example.labels) for example in examples]
    corners = np.concatenate([e.boxes for e in examples]).astype(np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    truth = Truth(
        np.repeat(np.arange(len(examples)), counts),
        np.concatenate([e.labels for e in examples]).astype(np.int64),
        boxes,
        boxes[:, 2] * boxes[:, 3],
        np.zeros(len(boxes), bool),
        np.concatenate([e.support for e in examples]).astype(np.int64),
        len(examples),
        len(index.names),
    )
    marks = Marks(
        np.concatenate([e.reader_boxes for e in examples]).astype(np.float64),
        np.concatenate([e.reader_labels for e in examples]).astype(np.int64),
        np.array([reader for e in examples for reader in e.readers], np.str_),
        np.repeat(np.arange(len(examples)), [len(e.readers) for e in examples]),
    )
    names = _in_order(reader for e in examples for reader in e.looked)
    looked = {name: np.array([name in e.looked for e in examples]) for name in names}
    return Given(index, truth, Readings(marks, looked, is_listed=True))


def given_by_file(index: Index, boxes: CocoBoxes, readings: Readings | None) -> Given:
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
    return Given(index, truth, readings)


def readings_of(own: Index, boxes: CocoBoxes, index: Index) -> Readings:
    """Return what readers drew, from a COCO document whose annotations name a `reader`.

    Who looked at an image its entry in `images` may say, as `"readers": ["R8", "R9"]`. If none
    does, every reader of the document is taken to have looked at every image of it.

    Args:
        own: Of the readers' document.
        boxes: Likewise.
        index: Whose numbers of images and classes to use.

    Raises:
        DataError: If an annotation names no reader, or one who is not said to have looked.
    """
    nameless = int((boxes.readers == "").sum())
    if nameless:
        raise DataError(
            f"{own.path}: {nameless} of {len(boxes.readers)} annotations name no reader. Give each "
            'a "reader", such as "R8".'
        )
    image_number = np.array([index.images[key] for key in own.images], np.int64)
    label_number = np.array([index.categories[key] for key in own.categories], np.int64)
    images = image_number[boxes.images]
    names = _in_order(
        [*boxes.readers.tolist(), *(name for some in own.readers for name in some or ())]
    )
    is_listed = any(some is not None for some in own.readers)
    looked = {name: np.zeros(len(index.images), bool) for name in names}
    for number, some in zip(image_number, own.readers, strict=True):
        for name in (some or ()) if is_listed else names:
            looked[name][number] = True
    for name, image in zip(boxes.readers.tolist(), images.tolist(), strict=True):
        if not looked[name][image]:
            key = next(key for key, number in index.images.items() if number == image)
            raise DataError(
                f"{own.path}: {name} drew on image {key!r}, and is not among its readers."
            )
    corners = np.concatenate([boxes.boxes[:, :2], boxes.boxes[:, :2] + boxes.boxes[:, 2:]], axis=1)
    marks = Marks(corners, label_number[boxes.labels], boxes.readers, images)
    return Readings(marks, looked, is_listed)


def _in_order(names: Iterable[str]) -> list[str]:
    """Return each name once, R8 before R10."""
    return sorted(set(names), key=lambda name: (len(name), name))


def as_detections(boxes: CocoBoxes) -> Detections:
    """Return the results of a file."""
    return Detections(boxes.images, boxes.labels, boxes.boxes, boxes.scores)
