"""The unit of an ingest: a shard of images, decoded by one process and written whole.

A shard that is there already for the same files and settings is not written again.

A fault of one file or image is listed in the shard's record and never stops the rest.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxrssl.core.errors import DataError
from cxrssl.core.files import replacing, write_json
from cxrssl.data.dicom.read import read_dicom
from cxrssl.data.rasters import read_raster
from cxrssl.data.store import SCHEMA, STORE_VERSION
from cxrssl.data.tables import COLUMNS, Source

SHARD_IMAGES = 64
# A box may end on the last pixel's far edge, and readers' tools round; more outside is a fault.
_EDGE_TOLERANCE_PX = 1.0


@dataclass(frozen=True)
class Shard:
    """One unit of work, all a worker process needs."""

    path: Path
    files: dict[str, Path]
    boxes: dict[str, NDArray[np.float64]]
    size_px: int
    fingerprint: str


def plan_shards(
    source: Source, usable: list[str], folder: Path, *, size_px: int
) -> Iterator[Shard]:
    """Cut the usable images, sorted ids, into shards that depend on nothing else."""
    coordinates = list(COLUMNS[3:])
    boxes = {
        str(name): group[coordinates].to_numpy(np.float64)
        for name, group in source.findings.dropna(subset=coordinates, how="all").groupby("image_id")
    }
    count = -(-len(usable) // SHARD_IMAGES)
    for number in range(count):
        ids = usable[number * SHARD_IMAGES : (number + 1) * SHARD_IMAGES]
        files = {name: source.files[name] for name in ids}
        own = {name: boxes[name] for name in ids if name in boxes}
        path = folder / f"images-{number:05d}-of-{count:05d}.arrow"
        yield Shard(path, files, own, size_px, _fingerprint(files, own, size_px))


def _fingerprint(
    files: dict[str, Path], boxes: dict[str, NDArray[np.float64]], size_px: int
) -> str:
    digest = hashlib.sha256(f"{STORE_VERSION}/{size_px}/squash".encode())
    for name, path in files.items():
        stat = path.stat()
        digest.update(f"{name}/{stat.st_size}/{stat.st_mtime_ns}".encode())
        digest.update(boxes[name].tobytes() if name in boxes else b"-")
    return digest.hexdigest()


def ensure_shard(shard: Shard) -> bool:
    """Write a shard unless it is there already; return whether it was."""
    record = shard.path.with_suffix(".json")
    if shard.path.is_file() and record.is_file():
        if json.loads(record.read_text())["fingerprint"] == shard.fingerprint:
            return True
        record.unlink()
    images: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    with (
        replacing(shard.path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
    ):
        for name, path in shard.files.items():
            try:
                row = _decoded(name, path, shard)
            except DataError as error:
                failures[name] = str(error)
                continue
            writer.write_batch(pa.RecordBatch.from_pylist([row], schema=SCHEMA))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            images.append({"image_id": name, "source_sha256": digest})
    write_json(record, {"fingerprint": shard.fingerprint, "images": images, "failures": failures})
    return False


def _decoded(name: str, path: Path, shard: Shard) -> dict[str, Any]:
    if path.suffix.lower() in {".dicom", ".dcm"}:
        image = read_dicom(path, size_px=shard.size_px)
        pixels, width, height, route = (
            image.pixels,
            image.original_width,
            image.original_height,
            image.route,
        )
    else:
        pixels, width, height, route = read_raster(path, size_px=shard.size_px)
    _check_boxes(shard.boxes.get(name), width=width, height=height)
    return {
        "image_id": name,
        "pixels": pixels.tobytes(),
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "original_width": width,
        "original_height": height,
        "route": route,
    }


def _check_boxes(boxes: NDArray[np.float64] | None, *, width: int, height: int) -> None:
    if boxes is None:
        return
    limits = np.array([width, height, width, height]) + _EDGE_TOLERANCE_PX
    bad = (
        ~np.isfinite(boxes).all(axis=1)
        | (boxes < -_EDGE_TOLERANCE_PX).any(axis=1)
        | (boxes > limits).any(axis=1)
    )
    if bad.any():
        box = ", ".join(f"{value:g}" for value in boxes[bad][0])
        raise DataError(
            f"{int(bad.sum())} box(es) outside the image of {width}x{height} pixels, "
            f"the first ({box})"
        )
    flat = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    if flat.any():
        box = ", ".join(f"{value:g}" for value in boxes[flat][0])
        raise DataError(
            f"{int(flat.sum())} box(es) without an area, the first ({box}); "
            "expected x_min < x_max and y_min < y_max"
        )
