"""`cxrssl ingest`: a source folder to a store.

A fault of one file or image is listed and never stops the rest. Shards that an earlier call wrote
are used again, so a killed ingest goes on where it stopped.
"""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cxrssl.core.files import replacing, write_json
from cxrssl.data.shards import Shard, ensure_shard, plan_shards
from cxrssl.data.store import STORE_VERSION
from cxrssl.data.tables import COLUMNS, Layout, Source, read_source

_NO_FILE = "the table has rows for this image, and there is no file"
_NO_ROWS = (
    "there is a file, and the table has no row for it; "
    "an image without findings needs a 'No finding' row a reader"
)


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest did: images stored, and the fault of every image id that was not."""

    num_images: int
    num_reused: int
    failures: dict[str, str]


def ingest(
    source_folder: Path,
    store_folder: Path,
    *,
    layout: Layout = "auto",
    size_px: int,
    num_workers: int,
    on_images: Callable[[int, int], None] | None = None,
) -> IngestSummary:
    """Decode the images of a source into a store.

    Args:
        source_folder: Kaggle VinBigData layout, a COCO JSON with images, or a folder of images.
        store_folder: Where the store is written, or goes on.
        layout: Which of these it is, or "auto".
        size_px: Side of the square to which every image is squashed.
        num_workers: Processes, >= 1.
        on_images: Called with (images done, images in all) after each shard.

    Raises:
        DataError: If the source or its table can't be used at all.
    """
    source = read_source(source_folder, layout=layout)
    usable, failures = _usable(source)
    shards = list(plan_shards(source, usable, store_folder, size_px=size_px))
    total, done, reused = len(usable), 0, 0
    with ProcessPoolExecutor(max_workers=num_workers) as pool:
        for shard, was_there in zip(shards, pool.map(ensure_shard, shards), strict=True):
            done += len(shard.files)
            reused += len(shard.files) if was_there else 0
            if on_images is not None:
                on_images(done, total)
    records = [json.loads(shard.path.with_suffix(".json").read_text()) for shard in shards]
    for record in records:
        failures |= record["failures"]
    stored = [row["image_id"] for record in records for row in record["images"]]
    _finish(store_folder, source, shards, records, failures, size_px=size_px)
    return IngestSummary(len(stored), reused, failures)


def _usable(source: Source) -> tuple[list[str], dict[str, str]]:
    """Return the ids of the images that can be ingested, and the fault of every other."""
    rows = set(source.findings["image_id"])
    if source.layout == "images":
        return sorted(source.files), {}
    files = {name for name, path in source.files.items() if path.is_file()}
    failures = dict.fromkeys(rows - files, _NO_FILE) | dict.fromkeys(files - rows, _NO_ROWS)
    return sorted(rows & files), dict(sorted(failures.items()))


def _finish(
    folder: Path,
    source: Source,
    shards: list[Shard],
    records: list[dict[str, Any]],
    failures: dict[str, str],
    *,
    size_px: int,
) -> None:
    """Write the boxes and, last, the manifest; drop shards of an earlier ingest."""
    stored = {row["image_id"] for record in records for row in record["images"]}
    findings: pd.DataFrame = source.findings[source.findings["image_id"].isin(stored)]
    findings = findings.sort_values(list(COLUMNS), kind="stable", ignore_index=True)
    with replacing(folder / "boxes.parquet") as temporary:
        findings.to_parquet(temporary, index=False)
    digest = hashlib.sha256(f"{STORE_VERSION}/{size_px}/squash".encode())
    for record in records:
        for row in record["images"]:
            digest.update(f"{row['image_id']}/{row['source_sha256']}".encode())
    digest.update(findings.to_csv(index=False).encode())
    wanted = {shard.path.name for shard in shards}
    for path in folder.glob("images-*-of-*.arrow"):
        if path.name not in wanted:
            path.unlink()
            path.with_suffix(".json").unlink(missing_ok=True)
    manifest = {
        "version": STORE_VERSION,
        "fingerprint": digest.hexdigest(),
        "layout": source.layout,
        "size_px": size_px,
        "fit": "squash",
        "classes": list(source.classes),
        "num_images": len(stored),
        "shards": sorted(wanted),
        "failures": failures,
    }
    write_json(folder / "manifest.json", manifest)
