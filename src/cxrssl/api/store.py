"""`cxrssl.open_store`: the images of a store and their readers' boxes, as a sequence."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxrssl.api.arguments import checked_path
from cxrssl.api.boxes import FusedBoxes, fused_boxes
from cxrssl.core.boxes import Boxes
from cxrssl.core.disk_faults import disk_faults
from cxrssl.core.errors import ArgumentError
from cxrssl.core.images import Pixels
from cxrssl.data.detection import marks_of, store_px
from cxrssl.data.fusion import Marks, reader_array
from cxrssl.data.store import Store


@dataclass(frozen=True, eq=False)
class StoreImage:
    """One image of a store with the N boxes that its readers drew, in the order of their table.

    Attributes:
        image_id: Its id in the source.
        original_width: Columns of the image before it was laid into the store's square.
        original_height: Rows of it.
        boxes: [N, 4] xyxy float32, pixels of `image`.
        boxes_original_px: [N, 4] xyxy float64, pixels of the original image.
        labels: N class names.
        readers: N ids of the readers who drew the boxes.
        looked: Ids of all readers of the image, also of those who drew nothing.
    """

    image_id: str
    original_width: int
    original_height: int
    boxes: Boxes
    boxes_original_px: NDArray[np.float64]
    labels: tuple[str, ...]
    readers: tuple[str, ...]
    looked: tuple[str, ...]
    _store: Store
    _row: int

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same image of the same store."""
        return isinstance(other, StoreImage) and self._key == other._key

    def __hash__(self) -> int:
        """Return a hash of the store's folder and the id."""
        return hash(self._key)

    @property
    def _key(self) -> tuple[Path, str]:
        return self._store.folder, self.image_id

    @property
    def image(self) -> Pixels:
        """Grey levels [S, S] uint8, bone bright, read-only; read from disk at each use."""
        return self._store.pixels(self._row)

    def consensus(self, *, policy: str = "consensus", iou: float = 0.2) -> FusedBoxes:
        """Return the readers' boxes fused into one set, as a training with these settings has it.

        They are fused in pixels of the original image and carried to `image`.

        Args:
            policy: See `cxrssl.fuse`.
            iou: Overlap above which boxes of one class are one finding, in (0, 1).
        """
        classes = self._store.classes
        labels = np.array([classes.index(label) for label in self.labels], np.int64)
        one_image = np.zeros(len(labels), np.int64)
        marks = Marks(self.boxes_original_px, labels, reader_array(self.readers), one_image)
        fused = fused_boxes(marks, classes, policy=policy, iou=iou)
        boxes = store_px(fused.boxes, self._store, self._row).astype(np.float64)
        return replace(fused, boxes=boxes)


class StoreImages(Sequence[StoreImage]):
    """The images of a store, sorted by id: `store[0]`, `store[-5:]`, `store["image id"]`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def folder(self) -> Path:
        """Return the folder of the store."""
        return self._store.folder

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names; class ids of the store are their indices."""
        return self._store.classes

    @property
    def size_px(self) -> int:
        """Return S, the side of every image in pixels."""
        return int(self._store.manifest["size_px"])

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids of all images, in order."""
        return tuple(image.image_id for image in self._store.images)

    def to_pandas(self) -> pd.DataFrame:
        """Return every reader's rows: image_id, reader, category, and the box in original pixels.

        A row `No finding` says that a reader looked and drew nothing.
        """
        return self._store.findings.copy()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._store)

    def __contains__(self, value: object) -> bool:
        """Return whether it has an image of this id, or this image."""
        return value in self._row_of_id if isinstance(value, str) else super().__contains__(value)

    @overload
    def __getitem__(self, key: int | str) -> StoreImage: ...
    @overload
    def __getitem__(self, key: slice) -> list[StoreImage]: ...
    def __getitem__(self, key: int | str | slice) -> StoreImage | list[StoreImage]:
        """Return an image by its index or its id, or a list of images by a slice.

        Raises:
            IndexError: If the index is out of range.
            CxrsslError: If there is no such id, or the key is something else.
        """
        if isinstance(key, str):
            return self._image(self._row_of(key))
        try:
            rows = range(len(self))[None if isinstance(key, bool) else key]  # type: ignore[index]
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"a store has no image {key!r}; expected an index, an id, or a slice of indices."
            ) from error
        return [self._image(row) for row in rows] if isinstance(rows, range) else self._image(rows)

    def __repr__(self) -> str:
        """Return the folder and counts."""
        content = f"{len(self)} images of {self.size_px} px, {len(self.classes)} classes"
        return f"<cxrssl store {self.folder}: {content}>"

    @cached_property
    def _row_of_id(self) -> dict[str, int]:
        return {image.image_id: row for row, image in enumerate(self._store.images)}

    @cached_property
    def _looked(self) -> dict[str, tuple[str, ...]]:
        table = self._store.findings
        return {
            str(name): tuple(dict.fromkeys(rows))
            for name, rows in table.groupby("image_id", sort=False)["reader"]
        }

    @cached_property
    def _marks(self) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str], NDArray[np.int64]]:
        """Return boxes in original pixels, class ids, readers; and the row limits of each image."""
        marks = marks_of(self._store)
        row_limits = np.searchsorted(marks.images, np.arange(len(self) + 1))
        return marks.boxes, marks.labels, marks.readers.tolist(), row_limits

    def _row_of(self, image_id: str) -> int:
        if image_id not in self._row_of_id:
            raise ArgumentError(
                f"{self.folder} has no image {image_id!r}. Its {len(self)} images begin with "
                f"{', '.join(self.ids[:3])}; `ids` has them all."
            )
        return self._row_of_id[image_id]

    def _image(self, row: int) -> StoreImage:
        boxes, labels, readers, row_limits = self._marks
        image, rows = self._store.images[row], slice(*row_limits[row : row + 2].tolist())
        return StoreImage(
            image.image_id,
            image.original_width,
            image.original_height,
            store_px(boxes[rows], self._store, row),
            boxes[rows].copy(),
            tuple(self.classes[label] for label in labels[rows].tolist()),
            tuple(readers[rows]),
            self._looked.get(image.image_id, ()),
            self._store,
            row,
        )


@disk_faults()
def open_store(folder: str | os.PathLike[str]) -> StoreImages:
    """Open a store that `cxrssl ingest` wrote; pixels stay on disk until they are used.

    Raises:
        CxrsslError: If there is no store, its ingest has not ended, or it is damaged.
    """
    return StoreImages(Store(checked_path("folder", folder)))
