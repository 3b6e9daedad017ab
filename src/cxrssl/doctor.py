"""`cxrssl doctor`: faults of a source, file by file, before days are spent on it.

Every file is decoded completely, by the workers of an ingest, into a temporary store of thumbnails.
From it come the decoding route of each file, the faults of files that can't be decoded, and
near-duplicates across splits.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.core.layouts import Layout
from cxrssl.data.detection import patients_of
from cxrssl.data.duplicates import near_duplicates, perceptual_hash
from cxrssl.data.protocol import split_images
from cxrssl.data.store import Store
from cxrssl.data.tables import Table, read_source
from cxrssl.data.tables.rows import BOX_COLUMNS
from cxrssl.ingest import IngestSummary, fault_of_boxes, write_store
from cxrssl.ingest.shards import Settings

_THUMBNAIL_PX = 64


def doctor(
    source_folder: Path,
    *,
    layout: Layout = "auto",
    patient_from: str = "",
    split: str = "",
    num_workers: int,
    on_images: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Examine a source folder.

    Args:
        source_folder: As for an ingest.
        layout: Which layout it has, or "auto".
        patient_from: As for an ingest.
        split: As for an ingest.
        num_workers: Processes, >= 1.
        on_images: Called with (images done, images in all) now and then.

    Returns:
        The content of `--json`: `ok`, `layout`, counts of `images`, `boxes` and `readers`,
        `classes` that have a box, `marks` (these in a line), counts of `routes`, `files` (image id
        -> its `route` or its `fault`, and `warnings` where there are any), `table` (faults of the
        table as a whole), `notes` (what was guessed or not used) and `duplicates` (pairs of images
        that are one, with their splits, bits of difference and correlation, and whether they are
        said to be of two patients; those within one split are listed, and not held to be wrong).
        `warnings` counts the images that have some: they may be as they should be, so they leave
        `ok` true.

    Raises:
        DataError: If there is no such folder.
    """
    if not source_folder.is_dir():
        raise DataError(f"{source_folder} is not a folder. Name one with a table and images.")
    try:
        source = read_source(source_folder, layout=layout, patient_from=patient_from, split=split)
    except DataError as error:
        return _report(None, [str(error)], {}, [], layout=layout)
    faults = table_faults(source.table)
    box_fault = fault_of_boxes(source)
    if box_fault is not None:
        faults.append(box_fault)
    with tempfile.TemporaryDirectory(prefix="cxrssl-doctor-") as folder:
        summary = write_store(
            source,
            Path(folder),
            Settings(_THUMBNAIL_PX, exact=True),
            num_workers=num_workers,
            on_images=on_images,
        )
        store = Store(Path(folder))
        files: dict[str, dict[str, Any]] = {
            name: {"fault": fault} for name, fault in summary.failures.items()
        }
        files |= {image.image_id: {"route": image.route} for image in store.images}
        for name, warnings in summary.warnings.items():
            files[name]["warnings"] = warnings
        return _report(summary, faults, files, _duplicates(store), layout=source.layout)


def table_faults(table: Table) -> list[str]:
    """Return the faults of a table: repeated rows, contradictions of a reader, negative corners."""
    rows, faults = table.rows, []
    duplicates = rows[rows.duplicated()]
    if len(duplicates):
        names = ", ".join(sorted(set(duplicates["image_id"]))[:3])
        faults.append(
            f"{len(duplicates)} rows repeat another row word for word, in images such as {names}. "
            "Leave them out, or a reader's box counts twice."
        )
    kinds = rows.assign(nothing=rows["category"].eq(NO_FINDING))
    kinds = kinds.groupby(["image_id", "reader"])["nothing"].agg(["any", "all"])
    contradictions = kinds[kinds["any"] & ~kinds["all"]]
    if len(contradictions):
        image, reader = contradictions.index[0]
        faults.append(
            f"{len(contradictions)} times a reader both found something and marked '{NO_FINDING}', "
            f"first {reader} in image {image}. Leave out one of the two."
        )
    negative = rows[(rows[BOX_COLUMNS] < 0).any(axis=1)]
    if len(negative):
        faults.append(
            f"{len(negative)} boxes begin left of or above their image, first in image "
            f"{negative['image_id'].iloc[0]}. Cut them at 0."
        )
    return faults


def _duplicates(store: Store) -> list[dict[str, Any]]:
    """Return the pairs of images that show the same radiograph, with their splits."""
    thumbnails = [store.pixels(row) for row in range(len(store))]
    hashes = np.array([perceptual_hash(pixels) for pixels in thumbnails], bool).reshape(-1, 256)
    ids = [image.image_id for image in store.images]
    parts = {image.image_id: image.part for image in store.images if image.part}
    patients = patients_of(store)
    split_of = split_images(ids, protocol="corrected", parts=parts, patients=patients)
    splits = [split_of.get(name, "unused") for name in ids]
    return [
        {
            "images": [store.images[pair.first].image_id, store.images[pair.second].image_id],
            "splits": [splits[pair.first], splits[pair.second]],
            "across_splits": splits[pair.first] != splits[pair.second],
            "two_patients": _are_two(patients, ids[pair.first], ids[pair.second]),
            "bits": pair.num_bits,
            "correlation": round(pair.correlation, 4),
        }
        for pair in near_duplicates(hashes, thumbnails)
    ]


def _are_two(patients: Mapping[str, str], first: str, second: str) -> bool:
    """Return whether two images are known to be of two patients."""
    return first in patients and second in patients and patients[first] != patients[second]


def _report(
    summary: IngestSummary | None,
    table: list[str],
    files: dict[str, dict[str, Any]],
    duplicates: list[dict[str, Any]],
    *,
    layout: str,
) -> dict[str, Any]:
    routes = Counter(entry["route"] for entry in files.values() if "route" in entry)
    faults = sum("fault" in entry for entry in files.values())
    leaks = any(pair["across_splits"] for pair in duplicates)
    marks = None if summary is None else summary.marks
    return {
        "ok": not (table or faults or leaks),
        "layout": layout,
        "marks": "" if marks is None else str(marks),
        "images": len(files) - faults,
        "boxes": 0 if marks is None else marks.num_boxes,
        "classes": [] if marks is None else list(marks.classes),
        "readers": 0 if marks is None else marks.num_readers,
        "faults": faults,
        "warnings": sum("warnings" in entry for entry in files.values()),
        "routes": dict(routes.most_common()),
        "table": table,
        "notes": [] if summary is None else list(summary.notes),
        "duplicates": duplicates,
        "files": dict(sorted(files.items())),
    }
