"""What is evaluated, from a store."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxrssl.data.coco.ids import normal_id
from cxrssl.data.coco.index import Index
from cxrssl.data.detection import Example, patients_of
from cxrssl.data.fusion import Marks
from cxrssl.data.store import Store
from cxrssl.evaluate.inputs import EvaluationInputs, Readings, sorted_readers
from cxrssl.evaluate.kinds import kinds_of
from cxrssl.metrics.annotations import Truth


def inputs_of_store(store: Store, examples: Sequence[Example]) -> EvaluationInputs:
    """Return the consensus of a store's examples, in original pixels, and its readers' boxes.

    Ids are those of `write_predictions`: the store's id of an image, and classes from 1.
    """
    counts = [len(example.labels) for example in examples]
    corners = np.concatenate([e.boxes_original_px for e in examples])
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    truth = Truth(
        np.repeat(np.arange(len(examples)), counts),
        np.concatenate([e.labels for e in examples]).astype(np.int64),
        boxes,
        boxes[:, 2] * boxes[:, 3],
        np.zeros(len(boxes), bool),
        np.concatenate([e.support for e in examples]).astype(np.int64),
        len(examples),
        len(store.classes),
    )
    marks = Marks(
        np.concatenate([e.reader_boxes_original_px for e in examples]),
        np.concatenate([e.reader_labels for e in examples]).astype(np.int64),
        np.array([reader for e in examples for reader in e.readers], np.str_),
        np.repeat(np.arange(len(examples)), [len(e.readers) for e in examples]),
    )
    names = sorted_readers(reader for e in examples for reader in e.looked)
    looked = {name: np.array([name in e.looked for e in examples]) for name in names}
    index = Index(
        store.folder,
        {key: number for number, key in enumerate(_ids(examples))},
        tuple(example.image_id for example in examples),
        {label: label - 1 for label in range(1, len(store.classes) + 1)},
        tuple(store.classes),
        tuple(example.looked for example in examples),
        tuple(
            (image.original_width, image.original_height)
            for image in (store.images[example.row] for example in examples)
        ),
    )
    readings = Readings(marks, looked, is_listed=True)
    kinds = kinds_of(store, examples)
    return EvaluationInputs(index, truth, readings, kinds, _patient_numbers(store, examples))


def _patient_numbers(store: Store, examples: Sequence[Example]) -> NDArray[np.int64] | None:
    """Return [N] the number of each image's patient, an image without one as its own; or None."""
    patients = patients_of(store)
    keys = [patients.get(example.image_id) or example.image_id for example in examples]
    if len(set(keys)) == len(keys):
        return None  # to draw patients is to draw images
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def _ids(examples: Sequence[Example]) -> list[int | str]:
    """Return image ids as files of results have them; as they are, if that makes two equal."""
    names = [example.image_id for example in examples]
    ids = [normal_id(name) for name in names]
    return ids if len(set(ids)) == len(ids) else list(names)
