"""The store: ingested radiographs as memory-mapped 8-bit pixels, with every reader's boxes.

Files: `images-00002-of-00007.arrow` (pixels and sizes), a `.json` beside each (hashes and
failures), `boxes.parquet` (original pixels), and `manifest.json`, which is written last: a folder
without it is an ingest that has not ended.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cxrssl.core.errors import DataError
from cxrssl.core.images import Pixels, Placement, placement

STORE_VERSION = 2
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("pixels", pa.large_binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("part", pa.string()),
        ("route", pa.string()),
    ]
)


@dataclass(frozen=True)
class StoredImage:
    """One row of a store, without its pixels; sizes in pixels.

    `part` is "train" or "test" where the source itself divides its images, else "".
    """

    image_id: str
    width: int
    height: int
    original_width: int
    original_height: int
    part: str
    route: str


class Store:
    """Random access to an ingested data set; pixels stay on disk until they are asked for.

    Attributes:
        folder: Where it lies.
        manifest: Settings, classes, counts and failures of the ingest.
        images: A row an image, sorted by image id.
        findings: Every reader's marks in the order of the source's table, columns of
            `data.tables.COLUMNS`, boxes in original pixels.
    """

    def __init__(self, folder: Path) -> None:
        """Open a store.

        Raises:
            DataError: If there is none, or its ingest has not ended, or another version wrote it.
        """
        manifest = folder / "manifest.json"
        if not manifest.is_file():
            raise DataError(
                f"{folder} is no finished store (manifest.json is missing). "
                f"Run `cxrssl ingest SOURCE {folder}`."
            )
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        if self.manifest["version"] != STORE_VERSION:
            raise DataError(
                f"{folder} was written as store version {self.manifest['version']}; "
                f"this cxrssl reads {STORE_VERSION}. Ingest it again."
            )
        self._table = _mapped(folder, self.manifest["shards"])
        columns = self._table.select([f.name for f in SCHEMA if f.name != "pixels"]).to_pylist()
        self.images = [StoredImage(**row) for row in columns]
        self.findings = pd.read_parquet(folder / "boxes.parquet")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their 0-based ids."""
        return tuple(self.manifest["classes"])

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
            DataError: If a shard's record is missing.
        """
        records = [Path(name).with_suffix(".json").name for name in self.manifest["shards"]]
        paths = [_part(self.folder, name) for name in records]
        images = [
            one for path in paths for one in json.loads(path.read_text(encoding="utf-8"))["images"]
        ]
        return {one["image_id"]: one["source_sha256"] for one in images}

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


def _mapped(folder: Path, shards: list[str]) -> pa.Table:
    tables = []
    for name in shards:
        mapped = pa.memory_map(str(_part(folder, name)))
        tables.append(pa.ipc.open_file(mapped).read_all())
    return pa.concat_tables(tables) if tables else SCHEMA.empty_table()


def _part(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise DataError(
            f"{path} is missing from the store. Ingest again: it redoes only what is gone."
        )
    return path
