"""The unit of an ingest: a shard of images, decoded by one process and written whole.

A shard that is there already for the same files and settings is not written again.

A fault of one file or image is listed in the shard's record and never stops the rest.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxrssl.core.errors import DataError
from cxrssl.core.files import replacing, write_json
from cxrssl.core.images import Fit
from cxrssl.data.blank_images import blank_warning
from cxrssl.data.file_content import file_content
from cxrssl.data.image_file import decode_image, is_raster
from cxrssl.data.stated_sizes import UNSCALED, Scale, scale_of_boxes, scale_warning
from cxrssl.data.store import SCHEMA, STORE_VERSION
from cxrssl.data.tables import Source
from cxrssl.data.tables.rows import BOX_COLUMNS, BoxUnit

SHARD_IMAGES = 64
_DECODERS = (
    "imagecodecs", "numpy", "opencv-python-headless", "pillow", "pydicom",
)  # fmt: skip
# Goes up when pixels, sizes or warnings of a file come out otherwise: older shards are then redone.
_DECODE_VERSION = 3


@dataclass(frozen=True)
class Settings:
    """What shapes a stored image.

    Attributes:
        size_px: Side of the stored square.
        fit: `squash` to the square, or `letterbox` into it.
        exact: Whether JPEG 2000 is decoded whole even where less would do.
    """

    size_px: int
    fit: Fit = "squash"
    exact: bool = False

    def __str__(self) -> str:
        """Return a text that differs where stores would."""
        return f"{STORE_VERSION}/{self.size_px}/{self.fit}/{'exact' if self.exact else 'fast'}"


@dataclass(frozen=True)
class Shard:
    """One unit of work, all a worker process needs.

    Attributes:
        path: The Arrow file it becomes.
        number: Index among all shards, from 0.
        files: Image id -> file.
        boxes: Image id -> [N, 4] boxes in `unit`, where there are any.
        unit: Original pixels, or fractions of the image's sides.
        sizes: Image id -> (width, height) that the table states, where it does.
        settings: What shapes an image.
        fingerprint: Equal for equal files, boxes and settings.
        fatal: Image id -> how its decoder ended the process. These are not opened again.
    """

    path: Path
    number: int
    files: dict[str, Path]
    boxes: dict[str, NDArray[np.float64]]
    unit: BoxUnit
    sizes: dict[str, tuple[int, int]]
    settings: Settings
    fingerprint: str
    fatal: Mapping[str, str] = field(default_factory=dict)

    @property
    def record(self) -> Path:
        """The JSON beside it: hashes and failures; written last."""
        return self.path.with_suffix(".json")

    @property
    def progress_path(self) -> Path:
        """The file that names the image being decoded, while the shard is written."""
        return self.path.with_suffix(".at.tmp")

    @property
    def is_written(self) -> bool:
        """Return whether it has been written, for the same files and settings."""
        record = self.read_record()
        return (
            record.get("fingerprint") == self.fingerprint
            and self.path.is_file()
            and (self.path.stat().st_size == record.get("bytes"))
        )

    @property
    def is_complete(self) -> bool:
        """Return whether it is there and nothing is left to try: a fault may have been mended."""
        return self.is_written and not self.read_record()["failures"]

    def read_record(self) -> dict[str, Any]:
        """Return the record; {} where there is none, or a broken one."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def without(self, image_id: str, *, fault: str) -> "Shard":
        """Return the shard with one image that is not to be opened again."""
        return replace(self, fatal={**self.fatal, image_id: fault})


def plan_shards(
    source: Source, usable: list[str], folder: Path, *, settings: Settings
) -> Iterator[Shard]:
    """Cut the usable images, sorted ids, into shards that depend on nothing else."""
    rows = source.table.rows
    drawn = rows[rows["image_id"].isin(set(usable))].dropna(subset=BOX_COLUMNS)
    boxes = {
        str(name): group[BOX_COLUMNS].to_numpy(np.float64)
        for name, group in drawn.groupby("image_id", sort=False)
    }
    count = -(-len(usable) // SHARD_IMAGES)
    for number in range(count):
        ids = usable[number * SHARD_IMAGES : (number + 1) * SHARD_IMAGES]
        files = {name: source.files[name] for name in ids}
        shard_boxes = {name: boxes[name] for name in ids if name in boxes}
        path = folder / f"images-{number:05d}-of-{count:05d}.arrow"
        sizes = {name: source.table.sizes[name] for name in ids if name in source.table.sizes}
        unit = source.table.unit
        fingerprint = _fingerprint(files, shard_boxes, sizes, f"{settings}/{unit}")
        yield Shard(path, number, files, shard_boxes, unit, sizes, settings, fingerprint)


def _fingerprint(
    files: dict[str, Path],
    boxes: dict[str, NDArray[np.float64]],
    sizes: dict[str, tuple[int, int]],
    settings: str,
) -> str:
    digest = hashlib.sha256(f"{settings}/{_DECODE_VERSION}".encode())
    for name, path in files.items():
        stat = path.stat()
        digest.update(f"{name}/{path.suffix}/{stat.st_size}/{stat.st_mtime_ns}".encode())
        digest.update(boxes[name].tobytes() if name in boxes else b"-")
        digest.update(str(sizes.get(name, "")).encode())
    return digest.hexdigest()


def write_shard(shard: Shard, *, before_image: Callable[[str], None]) -> None:
    """Decode and write a shard, its record last; `before_image` is called with each image's id."""
    shard.record.unlink(missing_ok=True)
    images: list[dict[str, Any]] = []
    failures: dict[str, str] = dict(shard.fatal)
    warnings: dict[str, list[str]] = {}
    scales: dict[str, Scale] = {}
    with (
        replacing(shard.path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
    ):
        for name in shard.files:
            if name in shard.fatal:
                continue
            before_image(name)
            try:
                image = decoded(shard, name)
            except DataError as error:
                failures[name] = str(error)
                continue
            writer.write_batch(pa.RecordBatch.from_pylist([image.row], schema=SCHEMA))
            images.append({"image_id": name, "source_sha256": image.source_sha256})
            if image.warnings:
                warnings[name] = list(image.warnings)
            if image.box_scale != UNSCALED:
                scales[name] = image.box_scale
    record = {
        "fingerprint": shard.fingerprint,
        "bytes": shard.path.stat().st_size,
        "decoders": {name: version(name) for name in _DECODERS},
        "images": images,
        "failures": dict(sorted(failures.items())),
        "warnings": warnings,
        "box_scales": scales,
    }
    write_json(shard.record, record)


@dataclass(frozen=True)
class StoredRow:
    """One decoded image.

    Attributes:
        row: Row in the store: column -> value.
        source_sha256: SHA-256 of its file.
        warnings: What a user should know about it, a sentence each.
        box_scale: (x, y) that carries the table's boxes to pixels of its file.
    """

    row: dict[str, Any]
    source_sha256: str
    warnings: tuple[str, ...]
    box_scale: Scale


def decoded(shard: Shard, name: str) -> StoredRow:
    """Decode one image of a shard.

    Raises:
        DataError: If it, its stated size, or a box on it, is faulty.
    """
    path = shard.files[name]
    content = file_content(path, name=name)
    settings, stated = shard.settings, shard.sizes.get(name)
    image = decode_image(
        content,
        path,
        name=name,
        size_px=settings.size_px,
        fit=settings.fit,
        exact=settings.exact,
        stated=stated,
    )
    size = image.original_width, image.original_height
    boxes, warnings = shard.boxes.get(name), image.warnings
    scale = scale_of_boxes(boxes, stated=stated, size=size, unit=shard.unit)
    is_scaled = scale != UNSCALED and shard.unit == "px"
    if is_scaled and boxes is not None and stated is not None:
        warnings = (*warnings, scale_warning(len(boxes), stated=stated, size=size))
    row = {
        "image_id": name,
        "pixels": image.pixels.tobytes(),
        "width": image.pixels.shape[1],
        "height": image.pixels.shape[0],
        "original_width": size[0],
        "original_height": size[1],
        "route": image.route,
    }
    blank = blank_warning(image, content, name=name, fit=settings.fit, is_raster=is_raster(path))
    if blank is not None:
        warnings = (*warnings, blank)
    return StoredRow(row, hashlib.sha256(content).hexdigest(), warnings, scale)
