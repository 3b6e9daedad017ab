"""`cxrssl ingest`: a source folder to a store.

A fault of one file or image is listed and never stops the rest. Shards that an earlier call wrote
are used again, so a killed ingest goes on where it stopped. Several calls, on several machines, can
share the work; whichever finds all shards written finishes the store. What another source or other
settings made is not overwritten unless it is to be replaced (`data.origin`).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrssl.core.errors import DataError, RunError
from cxrssl.core.files import replacing, write_json
from cxrssl.core.lock import claimed, sole_writer
from cxrssl.data.stated_sizes import UNSCALED
from cxrssl.data.store import STORE_VERSION
from cxrssl.data.store_parts import BOXES, IMAGE_COLUMNS, IMAGES
from cxrssl.data.tables import ReadOptions, Source, Table, read_source
from cxrssl.data.tables.annotation_counts import AnnotationCounts, count_annotations
from cxrssl.data.tables.rows import BOX_COLUMNS
from cxrssl.data.tables.unread import POOL_ADVICE
from cxrssl.ingest.origin import (
    REPLACEMENT_FOLDER,
    Origin,
    difference,
    origin_of,
    put_in_place,
)
from cxrssl.ingest.shards import Settings, Shard, plan_shards
from cxrssl.ingest.workers import write_shards

_AS_IT_IS = ReadOptions()
_NO_FILE = "the table has rows for this image, and there is no file"
_NO_ROWS = (
    "there is a file, and the table has no row for it; "
    "an image without findings needs a 'No finding' row a reader"
)


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest did.

    Attributes:
        num_images: Images stored by this call's shards.
        num_reused: Those of them that an earlier call had stored.
        failures: Reason by image id, for images that could not be stored.
        num_missing: Shards that other calls have still to write; at 0 the store is complete.
        warnings: What was guessed, changed or looks wrong, for image ids that were stored; of the
            whole source if `done`.
        notes: What was guessed or left out of the source as a whole, a sentence each.
        marks: What readers marked on the images that were stored; of the whole source if `done`.
    """

    num_images: int
    num_reused: int
    failures: dict[str, str]
    num_missing: int
    warnings: dict[str, list[str]]
    notes: tuple[str, ...]
    marks: AnnotationCounts


def ingest(
    source_folder: Path,
    store_folder: Path,
    settings: Settings,
    *,
    options: ReadOptions = _AS_IT_IS,
    num_workers: int,
    part: tuple[int, int] = (1, 1),
    replace: bool = False,
    on_images: Callable[[int, int], None] | None = None,
) -> IngestSummary:
    """Decode the images of a source into a store.

    Args:
        source_folder: Images and a table in one of the layouts, or images alone.
        store_folder: Folder of the store, new or to be continued.
        settings: Size and shape of what is stored.
        options: How the source is to be read.
        num_workers: Processes, >= 1.
        part: (i, n) for the i-th of n calls that share the work, counted from 1.
        replace: Whether a store of another source or other settings is to be replaced; it stays
            whole until the new one is.
        on_images: Called with (images done, images in all) before the first shard and after each.

    Raises:
        DataError: If the source or its table can't be used at all, or a table gives no box.
        RunError: If another process writes the same shards, the store can't be written, or is one
            of another source or other settings that is not to be replaced.
    """
    if store_folder.exists() and not store_folder.is_dir():
        raise RunError(f"{store_folder} is a file; a store is a folder. Name another one.")
    source = read_source(
        source_folder,
        layout=options.layout,
        patient_from=options.patient_from,
        split=options.split,
    )
    fault = fault_of_boxes(source)
    if fault is not None:
        raise DataError(f"{source_folder}: {fault}")
    try:
        store_folder.mkdir(parents=True, exist_ok=True)
        origin = origin_of(source_folder, source, settings)
        folder = _place(store_folder, origin, source, replace=replace)
        summary = write_store(
            source, folder, settings, num_workers=num_workers, part=part, on_images=on_images
        )
        _exchange(store_folder)
        return summary
    except OSError as error:
        raise RunError(
            f"{store_folder} can't be written ({error.strerror}). Make room, or name another "
            "folder; the same call then goes on where this one stopped."
        ) from error


def fault_of_boxes(source: Source) -> str | None:
    """Say why the table of a source gives no box to train on; None where it does, or for a pool."""
    usable, faults = usable_images(source)
    if source.layout == "images" or not usable:
        return None  # without a usable image every fault is listed
    if count_annotations(source, usable).num_boxes:
        return None
    first = next(iter(faults.items()), None)
    failed = f", and {len(faults)} can't be used (first {first[0]}: {first[1]})" if first else ""
    images = "1 image" if len(usable) == 1 else f"{len(usable)} images"
    notes = f" Of the table: {'; '.join(source.table.notes)}." if source.table.notes else ""
    return (
        f"its table ({source.layout} layout) gives no box: {images} can be used, none with a "
        f"box{failed}.{notes} Expected at least one box. Mend the table, or {POOL_ADVICE}."
    )


def _place(store_folder: Path, origin: Origin, source: Source, *, replace: bool) -> Path:
    """Return the folder in which the store is to be made, its origin on record there.

    Raises:
        RunError: If there is a store of another source or other settings, and `replace` is unset.
    """
    _exchange(store_folder)
    reason = difference(store_folder, origin, source)
    if reason is not None and not replace:
        raise RunError(
            f"{store_folder} {reason}. Name another folder for the new store, or say --replace to "
            "put it in the place of what is there."
        )
    folder = store_folder
    if reason is not None and (store_folder / "manifest.json").is_file():
        folder = store_folder / REPLACEMENT_FOLDER
        folder.mkdir(exist_ok=True)
    origin.write(folder)
    return folder


def _exchange(store_folder: Path) -> None:
    """Put a replacement that is whole in its place, while nobody else writes there."""
    inside = store_folder / REPLACEMENT_FOLDER
    if not (inside / "manifest.json").is_file():
        return
    # Calls that share the work may still read their last records there.
    with sole_writer(inside), sole_writer(store_folder):
        put_in_place(store_folder)


def write_store(
    source: Source,
    folder: Path,
    settings: Settings,
    *,
    num_workers: int,
    part: tuple[int, int] = (1, 1),
    on_images: Callable[[int, int], None] | None = None,
) -> IngestSummary:
    """Decode the images of a source that was read into a folder; see `ingest`."""
    usable, failures = usable_images(source)
    shards = list(plan_shards(source, usable, folder, settings=settings))
    number, num_parts = part
    assigned = [shard for shard in shards if shard.number % num_parts == number - 1]
    folder.mkdir(parents=True, exist_ok=True)
    with claimed(folder, [shard.number for shard in assigned]) as claim_all:
        settled = {shard.number for shard in assigned if shard.is_complete}
        if len(settled) < len(assigned):
            # Until all shards are of one kind again, there is no store.
            (folder / "manifest.json").unlink(missing_ok=True)
        _write(assigned, settled, num_workers=num_workers, on_images=on_images)
        missing = [shard for shard in shards if not shard.is_written]
        records = [shard.read_record() for shard in (assigned if missing else shards)]
        for record in records:
            failures |= record["failures"]
        if not missing:
            claim_all()
            failures = dict(sorted(failures.items()))
            _finish(folder, source, shards, records, failures, settings=settings)
        stored = {shard.number: len(shard.read_record()["images"]) for shard in assigned}
    images = [row["image_id"] for record in records for row in record["images"]]
    return IngestSummary(
        sum(stored.values()),
        sum(count for number, count in stored.items() if number in settled),
        failures,
        len(missing),
        _warnings(source, records),
        _notes(source, records),
        count_annotations(source, images),
    )


def part_of(text: str) -> tuple[int, int]:
    """Return (i, n) of "i/n": the i-th of n calls that share an ingest, counted from 1.

    Raises:
        DataError: If it is not of that form.
    """
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise DataError(f"--shard {text!r}: expected I/N with I from 1 to N, such as 2/8.")
    return int(number), int(of)


def usable_images(source: Source) -> tuple[list[str], dict[str, str]]:
    """Return the ids of the images that can be ingested, and the fault of every other."""
    files = {name for name, path in source.files.items() if path.is_file()}
    if source.layout == "images":
        return sorted(files - set(source.faults)), dict(source.faults)
    rows = {*source.table.rows["image_id"], *source.table.unmarked, *source.table.unread}
    faults = dict.fromkeys(rows - files, _NO_FILE) | dict.fromkeys(files - rows, _NO_ROWS)
    return sorted((rows & files) - set(source.faults)), faults | source.faults


def _write(
    assigned: Sequence[Shard],
    settled: set[int],
    *,
    num_workers: int,
    on_images: Callable[[int, int], None] | None,
) -> None:
    report = on_images or (lambda _done, _total: None)
    total = sum(len(shard.files) for shard in assigned)
    done = sum(len(shard.files) for shard in assigned if shard.number in settled)
    report(done, total)
    unwritten = [shard for shard in assigned if shard.number not in settled]
    for shard in unwritten:
        # What a killed call left behind.
        for path in shard.path.parent.glob(f"{shard.path.stem}.*.tmp"):
            path.unlink()
    for shard in write_shards(unwritten, num_workers=num_workers):
        done += len(shard.files)
        report(done, total)


def _distinct(versions: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return each set of decoders that shards were written with, once."""
    return [dict(pairs) for pairs in sorted({tuple(sorted(entry.items())) for entry in versions})]


def _warnings(source: Source, records: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Return warnings by image id about stored images, from the table and from decoders."""
    unmarked = source.table.unmarked
    warnings: dict[str, list[str]] = {}
    for record in records:
        for name in (row["image_id"] for row in record["images"]):
            sentences = [unmarked[name]] if name in unmarked else []
            sentences += record["warnings"].get(name, [])
            if sentences:
                warnings[name] = sentences
    return warnings


def _notes(source: Source, records: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return notes on the source as a whole."""
    num_scaled = sum(len(record["box_scales"]) for record in records)
    scaled = (
        f"boxes of {num_scaled} image(s) are scaled, because the table states another size of the "
        "same shape than their files have"
    )
    return (*source.notes, scaled) if num_scaled and source.table.unit == "px" else source.notes


def _in_file_px(rows: pd.DataFrame, records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return rows with their boxes in pixels of the files, where the table has another size."""
    scales = {name: scale for record in records for name, scale in record["box_scales"].items()}
    if not scales:
        return rows
    each = np.array([scales.get(name, UNSCALED) for name in rows["image_id"]], np.float64)  # [N, 2]
    return rows.assign(**(rows[BOX_COLUMNS] * np.tile(each, 2)))


def _said_of_images(table: Table, ids: Sequence[str], *, with_boxes: set[str]) -> pd.DataFrame:
    """Return what a table says of images, columns `IMAGE_COLUMNS`, sorted by id."""
    rows = [
        (
            name,
            table.parts.get(name, ""),
            table.patients.get(name, ""),
            "" if name in with_boxes else table.kinds.get(name, ""),
        )
        for name in sorted(ids)
    ]
    return pd.DataFrame(rows, columns=list(IMAGE_COLUMNS), dtype=str)


def _finish(
    folder: Path,
    source: Source,
    shards: Sequence[Shard],
    records: Sequence[dict[str, Any]],
    failures: dict[str, str],
    *,
    settings: Settings,
) -> None:
    """Write the boxes and, last, the manifest; drop what an earlier ingest left."""
    # A manifest never stands beside boxes that are not its own.
    (folder / "manifest.json").unlink(missing_ok=True)
    stored = {row["image_id"] for record in records for row in record["images"]}
    rows: pd.DataFrame = source.table.rows
    findings = _in_file_px(rows[rows["image_id"].isin(stored)].reset_index(drop=True), records)
    with replacing(folder / BOXES) as temporary:
        findings.to_parquet(temporary, index=False)
    ids = [row["image_id"] for record in records for row in record["images"]]
    images = _said_of_images(source.table, ids, with_boxes=set(findings.dropna()["image_id"]))
    with replacing(folder / IMAGES) as temporary:
        images.to_parquet(temporary, index=False)
    digest = hashlib.sha256(str(settings).encode())
    for record in records:
        for row in record["images"]:
            digest.update(f"{row['image_id']}/{row['source_sha256']}".encode())
    digest.update(json.dumps(source.table.classes).encode())
    digest.update(findings.to_csv(index=False).encode())
    digest.update(images.to_csv(index=False).encode())
    names = {path.name for shard in shards for path in (shard.path, shard.record)}
    for path in folder.glob("images-*-of-*"):
        if path.name not in names:
            path.unlink()
    for path in folder.glob("*.tmp"):
        path.unlink()
    manifest = {
        "version": STORE_VERSION,
        "fingerprint": digest.hexdigest(),
        "layout": source.layout,
        "made": source.is_made,
        "size_px": settings.size_px,
        "fit": settings.fit,
        "exact": settings.exact,
        "classes": list(source.table.classes),
        "num_images": len(stored),
        "shards": [shard.path.name for shard in shards],
        "decoders": _distinct(record["decoders"] for record in records),
        "failures": failures,
        "warnings": _warnings(source, records),
        "notes": list(_notes(source, records)),
    }
    write_json(folder / "manifest.json", manifest)
