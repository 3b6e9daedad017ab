"""The store: ingested radiographs as memory-mapped 8-bit pixels, with every reader's boxes.

Files: `images-00002-of-00007.arrow` (pixels and sizes), a `.json` beside each (hashes and
failures), `boxes.parquet` (original pixels), `images.parquet` (parts, patients, kinds), and
`manifest.json`, which is written last: a folder without it is an ingest that has not ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.core.images import Pixels, Placement, placement
from cxrssl.data.store_parts import (
    SCHEMA,
    STORE_VERSION,
    read_boxes,
    read_images,
    read_manifest,
    read_records,
    read_shards,
)

__all__ = ["SCHEMA", "STORE_VERSION", "Store", "StoredImage"]


@dataclass(frozen=True)
class StoredImage:
    """One row of a store, without its pixels; sizes in pixels.

    Attributes:
        part: "train", "val" or "test" where the source itself divides its images, "unused" for one
            that its division leaves out, else "".
        route: How its file was decoded.
        patient: A hash of who is shown, "" where the source does not say.
        kind: "normal" or "other finding" for an image without a box of which the source says so,
            else "".
    """

    image_id: str
    width: int
    height: int
    original_width: int
    original_height: int
    route: str
    part: str = ""
    patient: str = ""
    kind: str = ""


class Store:
    """Random access to an ingested data set; pixels stay on disk until they are asked for.

    Attributes:
        folder: Folder of the store.
        manifest: Settings, classes, counts and failures of the ingest.
        images: A row an image, sorted by image id.
        findings: Every reader's marks in the order of the source's table, columns of
            `data.tables.COLUMNS`, boxes in original pixels.
    """

    def __init__(self, folder: Path, *, classes: Sequence[str] | None = None) -> None:
        """Open a store.

        Args:
            folder: Folder of the store.
            classes: Its class names in the order that their ids are to have; None for its own.

        Raises:
            DataError: If there is none, or its ingest has not ended, or another version wrote it,
                or a part of it is missing or damaged, or it has not these classes.
        """
        self.folder = folder
        self.manifest: dict[str, Any] = read_manifest(folder)
        self._order = None if classes is None else tuple(classes)
        if sorted(self.classes) != sorted(self.manifest["classes"]):
            raise DataError(
                f"{folder} holds the classes {', '.join(self.manifest['classes']) or 'none'}; "
                f"expected {', '.join(self.classes)}, in any order."
            )
        self._table = read_shards(folder, self.manifest)
        columns = self._table.select([f.name for f in SCHEMA if f.name != "pixels"]).to_pylist()
        ids = [row["image_id"] for row in columns]
        said = read_images(folder, ids)
        self.images = [
            StoredImage(**row, part=part, patient=patient, kind=kind)
            for row, part, patient, kind in zip(
                columns, said["part"], said["patient"], said["kind"], strict=True
            )
        ]
        self.findings = read_boxes(folder, ids, self.classes)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let another process open the store itself, rather than be sent all its pixels."""
        return _reopened, (self.folder, self.fingerprint, self._order)

    def numbered_as(self, classes: Sequence[str]) -> "Store":
        """Return the same store, its class ids counted in another order of its classes.

        All that is made of it has that order: examples, splits, draws, files.

        Raises:
            DataError: If these are not its classes, or it was ingested anew meanwhile.
        """
        return _reopened(self.folder, self.fingerprint, tuple(classes))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their 0-based ids."""
        return tuple(self.manifest["classes"]) if self._order is None else self._order

    @property
    def fingerprint(self) -> str:
        """A hash of sources and settings: equal fingerprints, equal stores."""
        return str(self.manifest["fingerprint"])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def source_sha256(self) -> dict[str, str]:
        """Return the sha256 of each image's file, as ingested, by image id.

        Raises:
            DataError: If a shard's record is missing or damaged.
        """
        return read_records(self.folder, self.manifest)

    def placement(self, row: int) -> Placement:
        """Return where the original image of a row lies in its stored square."""
        image = self.images[row]
        return placement(
            image.original_width,
            image.original_height,
            size_px=self.manifest["size_px"],
            fit=self.manifest["fit"],
        )

    def pixels(self, row: int) -> Pixels:
        """Return the read-only grey image [H, W] uint8 of a row."""
        image = self.images[row]
        buffer = self._table.column("pixels")[row].as_buffer()
        return np.frombuffer(buffer, dtype=np.uint8).reshape(image.height, image.width)


def _reopened(folder: Path, fingerprint: str, classes: tuple[str, ...] | None) -> Store:
    store = Store(folder, classes=classes)
    if store.fingerprint != fingerprint:
        raise DataError(
            f"{folder} was ingested anew while it was being read. Call the same command again."
        )
    return store
