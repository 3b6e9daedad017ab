"""A store as detection examples: fused boxes in store pixels, images chosen by split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrssl.core.boxes import Boxes, rescaled
from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.data.fusion import (
    MAX_BOXES_PER_CLASS,
    Fused,
    Marks,
    crowded_images,
    fuse,
    reader_array,
    reader_of,
)
from cxrssl.data.protocol import Protocol, Split, split_images
from cxrssl.data.store import Store
from cxrssl.data.tables.rows import BOX_COLUMNS


@dataclass(frozen=True)
class Example:
    """One image with its consensus and its readers' marks.

    Attributes:
        row: Row of the image in the store.
        image_id: Id of the image.
        boxes: [N, 4] fused boxes, xyxy, store pixels, float32.
        labels: [N] 0-based class ids.
        support: [N] readers behind each box.
        reader_boxes: [R, 4] what the readers drew, store pixels.
        reader_labels: [R] 0-based class ids.
        readers: [R] reader ids.
        box_of_mark: [R] which of the N boxes each mark is part of, -1 for none.
        looked: Readers who looked at the image, whether they drew something or not.
        boxes_original_px: [N, 4] the fused boxes in the original image, float64, as they were
            before they were carried to the store.
        reader_boxes_original_px: [R, 4] the readers' boxes in the original image, float64.
    """

    row: int
    image_id: str
    boxes: Boxes
    labels: NDArray[np.int64]
    support: NDArray[np.int64]
    reader_boxes: Boxes
    reader_labels: NDArray[np.int64]
    readers: tuple[str, ...]
    box_of_mark: NDArray[np.int64]
    looked: tuple[str, ...] = ()
    boxes_original_px: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4)))
    reader_boxes_original_px: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4)))


def examples_of(store: Store, *, fusion: str, iou: float) -> list[Example]:
    """Return the images of a store with their fused boxes, in store order.

    Args:
        store: An ingested data set.
        fusion: `consensus`, `wbf`, `union`, `majority:K` or `single:READER`; see `data.fusion`.
            With a single reader, images that reader never read are no examples.
        iou: Overlap above which boxes of one class are one finding, in (0, 1).

    Raises:
        DataError: If there is no such fusion or reader.
    """
    marks = marks_of(store)
    fused = fuse(marks, policy=fusion, iou=iou)
    mark_ends = np.searchsorted(marks.images, np.arange(len(store) + 1))
    box_ends = np.searchsorted(fused.images, np.arange(len(store) + 1))
    looked: dict[str, dict[str, None]] = {}
    for image_id, reader in store.findings[["image_id", "reader"]].itertuples(index=False):
        looked.setdefault(image_id, {})[reader] = None
    return [
        _example(
            store,
            row,
            marks,
            fused,
            (slice(*mark_ends[row : row + 2]), slice(*box_ends[row : row + 2])),
            tuple(looked.get(store.images[row].image_id, ())),
        )
        for row in _rows_read_by(store, reader_of(fusion))
    ]


def marks_of(store: Store) -> Marks:
    """Return every reader's boxes: image number = row in the store, original pixels.

    Sorted by image; within one, in the order of the source's table.
    """
    row_of = {image.image_id: row for row, image in enumerate(store.images)}
    class_of = {name: number for number, name in enumerate(store.classes)}
    drawn = store.findings[store.findings["category"].ne(NO_FINDING)]
    images = drawn["image_id"].map(row_of).to_numpy().astype(np.int64)
    labels = drawn["category"].map(class_of).to_numpy().astype(np.int64)
    crowded = crowded_images(images, labels)
    if len(crowded):
        raise DataError(
            f"image {store.images[crowded[0]].image_id} of {store.folder} has more than "
            f"{MAX_BOXES_PER_CLASS:,} boxes of one class, and {len(crowded) - 1} other images. "
            "Leave them out of the table, and ingest again."
        )
    order = np.argsort(images, kind="stable")
    return Marks(
        drawn[BOX_COLUMNS].to_numpy(np.float64)[order],
        labels[order],
        reader_array(drawn["reader"].tolist())[order],
        images[order],
    )


def findings_of(store: Store, rows: Sequence[int]) -> NDArray[np.bool_] | None:
    """Return which image of `rows` has which class by any reader, [N, K]; None without classes."""
    if not store.classes:
        return None
    marks = marks_of(store)
    has_class = np.zeros((len(store), len(store.classes)), dtype=bool)
    has_class[marks.images, marks.labels] = True
    return has_class[np.asarray(rows, dtype=np.int64)]


def _rows_read_by(store: Store, reader: str | None) -> list[int]:
    if reader is None:
        return list(range(len(store)))
    read_ids = set(store.findings.loc[store.findings["reader"].eq(reader), "image_id"])
    if not read_ids:
        readers = ", ".join(sorted(set(store.findings["reader"]))[:20]) or "none"
        raise DataError(f"no image was read by {reader!r}; the store's readers are {readers}.")
    return [row for row, image in enumerate(store.images) if image.image_id in read_ids]


def _example(
    store: Store,
    row: int,
    marks: Marks,
    fused: Fused,
    part: tuple[slice, slice],
    looked: tuple[str, ...],
) -> Example:
    drawn, fused_rows = part
    of_mark = fused.box_of_mark[drawn]
    return Example(
        row,
        store.images[row].image_id,
        store_px(fused.boxes[fused_rows], store, row),
        fused.labels[fused_rows],
        fused.support[fused_rows],
        store_px(marks.boxes[drawn], store, row),
        marks.labels[drawn],
        tuple(marks.readers[drawn].tolist()),
        np.where(of_mark < 0, -1, of_mark - fused_rows.start),
        looked,
        fused.boxes[fused_rows],
        marks.boxes[drawn],
    )


def store_px(boxes_original_px: NDArray[np.float64], store: Store, row: int) -> Boxes:
    """Carry boxes [N, 4] of an original image to its stored copy, float32."""
    placement = store.placement(row)
    return rescaled(
        boxes_original_px,
        x_scale=placement.x_scale,
        y_scale=placement.y_scale,
        x_offset_px=placement.x_offset_px,
        y_offset_px=placement.y_offset_px,
    )


def splits_of(store: Store, *, protocol: Protocol, normals: bool) -> dict[str, Split]:
    """Return the split of every image that takes part, in the order of the source's table.

    A store without any class is a pool: all its images are for training, whatever the protocol.

    Args:
        store: An ingested data set.
        protocol: Rule of the split.
        normals: Whether images without findings take part; only `corrected` knows how.

    Raises:
        DataError: If `normals` are wanted of a protocol that leaves them out.
    """
    if normals and protocol != "corrected":
        raise DataError(
            f"protocol {protocol} splits images with findings alone, as the paper does. "
            "Set normals to false, or take protocol corrected."
        )
    if not store.classes:
        return {image.image_id: "train" for image in store.images}
    drawn = store.findings[store.findings["category"].ne(NO_FINDING)]
    chosen = store.findings if normals else drawn
    ids = [str(name) for name in pd.unique(chosen["image_id"])]
    parts = {image.image_id: image.part for image in store.images if image.part}
    return split_images(ids, protocol=protocol, parts=parts, patients=patients_of(store))


def patients_of(store: Store) -> dict[str, str]:
    """Return the patient of each image of a store of which one is known, a hash."""
    return {image.image_id: image.patient for image in store.images if image.patient}


def unread_ids(store: Store, splits: Mapping[str, Split]) -> list[str]:
    """Return the images without a row that are not held out, nor show a patient who is.

    Held out are validation and test images, by `splits` or by the source's own split.

    Args:
        store: An ingested data set.
        splits: What `splits_of` returns.
    """
    patients, read = patients_of(store), set(store.findings["image_id"])
    held_out = {patients.get(name) for name, split in splits.items() if split != "train"} - {None}
    return [
        image.image_id
        for image in store.images
        if image.image_id not in read
        and image.part not in ("val", "test")
        and patients.get(image.image_id) not in held_out
    ]


def training_ids(store: Store, *, protocol: Protocol, normals: bool, fusion: str) -> list[str]:
    """Return the training images whose labels a run may be given, in the order of the table.

    Args:
        store: An ingested data set.
        protocol: Rule of the split.
        normals: Whether images without findings take part.
        fusion: As for `examples_of`: with a single reader, images that reader never read are none.

    Raises:
        DataError: As `splits_of` and `examples_of` do.
    """
    splits = splits_of(store, protocol=protocol, normals=normals)
    read = {store.images[row].image_id for row in _rows_read_by(store, reader_of(fusion))}
    return [name for name, split in splits.items() if split == "train" and name in read]


def in_split(examples: Sequence[Example], splits: dict[str, Split], split: Split) -> list[Example]:
    """Return the examples of a split, in their order; `splits` is what `splits_of` returns.

    Raises:
        DataError: If there is none.
    """
    chosen = [e for e in examples if splits.get(e.image_id) == split]
    if not chosen:
        raise DataError(
            f"the {split} split holds none of the {len(examples)} images: {len(splits)} of them "
            "take part. Ingest more images."
        )
    return chosen
