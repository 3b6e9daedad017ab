"""A store as detection examples: consensus boxes in store pixels, images chosen by split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.boxes import Boxes, rescaled
from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.data.fusion import consensus
from cxrssl.data.protocol import Split, split_of
from cxrssl.data.store import Store


@dataclass(frozen=True)
class Example:
    """One image with its consensus and its readers' marks.

    Attributes:
        row: Its row in the store.
        image_id: Its id.
        boxes: [N, 4] consensus boxes, xyxy, store pixels, float32.
        labels: [N] 0-based class ids.
        support: [N] readers behind each box.
        reader_boxes: [R, 4] what the readers drew, store pixels.
        reader_labels: [R] 0-based class ids.
        readers: [R] reader ids.
    """

    row: int
    image_id: str
    boxes: Boxes
    labels: NDArray[np.int64]
    support: NDArray[np.int64]
    reader_boxes: Boxes
    reader_labels: NDArray[np.int64]
    readers: tuple[str, ...]


def examples_of(store: Store, *, consensus_iou: float) -> list[Example]:
    """Return every image of a store with its consensus boxes, in store order.

    Args:
        store: An ingested data set.
        consensus_iou: Overlap above which boxes of one class are one finding, in (0, 1).
    """
    ids = {name: number for number, name in enumerate(store.classes)}
    marks = store.findings[store.findings["category"].ne(NO_FINDING)]
    by_image = {str(name): group for name, group in marks.groupby("image_id")}
    found = []
    for row, image in enumerate(store.images):
        group = by_image.get(image.image_id)
        rows = marks.iloc[:0] if group is None else group
        original_px = rows[["x_min", "y_min", "x_max", "y_max"]].to_numpy(np.float64)
        labels = rows["category"].map(ids).to_numpy().astype(np.int64)
        readers = rows["reader"].to_numpy(np.str_)
        fused = consensus(original_px, labels, readers, iou=consensus_iou)
        x_scale = image.width / image.original_width
        y_scale = image.height / image.original_height
        found.append(
            Example(
                row,
                image.image_id,
                rescaled(fused.boxes, x_scale=x_scale, y_scale=y_scale),
                fused.labels,
                fused.support,
                rescaled(original_px, x_scale=x_scale, y_scale=y_scale),
                labels,
                tuple(readers.tolist()),
            )
        )
    return found


def training_ids(store: Store, *, normals: bool) -> list[str]:
    """Return the ids of the training split, by protocol; images without a box only if `normals`.

    A store without any box is a pool: all its images count, labels or none.
    """
    marks = store.findings[store.findings["category"].ne(NO_FINDING)]
    abnormal = set(marks["image_id"].tolist())
    ids = (image.image_id for image in store.images)
    everything = normals or not store.classes
    return [n for n in ids if split_of(n) == "train" and (everything or n in abnormal)]


def in_split(examples: Sequence[Example], split: Split, *, normals: bool) -> list[Example]:
    """Return the examples of a split; images without any box only if `normals`.

    Raises:
        DataError: If there is none.
    """
    chosen = [e for e in examples if split_of(e.image_id) == split and (normals or len(e.boxes))]
    if not chosen:
        kind = "images" if normals else "images with findings"
        raise DataError(
            f"the {split} split holds none of the {len(examples)} images' {kind}. "
            "Ingest more images."
        )
    return chosen
