"""Plain COCO JSON as a source; an annotation may name its `reader`.

An image without annotations is one in which nothing was found, as COCO has it; where annotations
name no reader, all are by "R0".
"""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.data.tables.rows import COLUMNS, IMAGE_SUFFIXES, Table, checked_rows, is_id

NO_READER = "R0"
# File systems take 255 bytes, and suffixes are added.
_LONGEST_ID = 200


def read_coco(folder: Path) -> tuple[Table, dict[str, Path]]:
    """Read the one COCO JSON of a folder.

    Returns:
        Its table, and the file of every image, beside the JSON or in `images/`.

    Raises:
        DataError: If there is not one JSON, it is no COCO, or ids are missing or given twice.
    """
    path, coco = _document(folder)
    try:
        classes = {int(entry["id"]): _word(entry, "name") for entry in coco["categories"]}
        names = {entry["id"]: _word(entry, "file_name") for entry in coco["images"]}
        marks = [_mark(entry) for entry in coco["annotations"]]
        _check_entries(path, coco, names, classes)
        listed = [image in names and kind in classes for image, _, kind, _ in marks]
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise DataError(
            f"{path} is no COCO file: {error!r} is missing or of another type."
        ) from error
    ids, files, faults = _files(folder, names, path)
    rows: list[tuple[object, ...]] = []
    for number, (image, reader, category, box) in enumerate(marks):
        if not listed[number]:
            raise DataError(
                f"{path}: annotation {number} names image {image!r} and category {category!r}, "
                "and one of them is not listed."
            )
        if image in ids:
            rows.append((ids[image], reader, classes[category], *box))
    marked = {row[0] for row in rows}
    nothing = (float("nan"),) * 4
    rows += [(name, NO_READER, NO_FINDING, *nothing) for name in files if name not in marked]
    table, row_faults = checked_rows(
        pd.DataFrame(rows, columns=list(COLUMNS)), first=0, unit="annotation"
    )
    ordered = tuple(classes[key] for key in sorted(classes) if classes[key] != NO_FINDING)
    return Table(table, ordered, row_faults | faults), files


def _mark(entry: dict[str, Any]) -> tuple[Any, str, int, tuple[float, ...]]:
    """Return image id, reader, category id and box; NaN for a box that is none."""
    reader = entry.get("reader")
    box = entry.get("bbox")
    corners = (float("nan"),) * 4
    if isinstance(box, list) and len(box) == 4:
        x, y, width, height = (float(value) for value in box)
        corners = x, y, x + width, y + height
    name = NO_READER if reader is None else str(reader)
    return entry["image_id"], name, int(entry["category_id"]), corners


def _word(entry: dict[str, Any], key: str) -> str:
    """Return a text; a category for no finding in our spelling."""
    word = entry[key]
    if not isinstance(word, str):
        raise TypeError(f"{key} of {entry.get('id')!r}")
    return NO_FINDING if word.strip().casefold() == NO_FINDING.casefold() else word


def _check_entries(
    path: Path, coco: dict[str, Any], names: dict[Any, str], classes: dict[int, str]
) -> None:
    if not names or not classes:
        raise DataError(
            f"{path} lists {len(names)} images and {len(classes)} categories; "
            "expected some of each."
        )
    if len(names) < len(coco["images"]):
        raise DataError(f"{path} gives one id to two images. Give each its own.")
    if len(set(classes.values())) < len(coco["categories"]):
        raise DataError(f"{path} gives one id or name to two categories. Give each its own.")


def _files(
    folder: Path, names: dict[Any, str], path: Path
) -> tuple[dict[Any, str], dict[str, Path], dict[str, str]]:
    """Return COCO id -> image id, image id -> file, and the faults of names that are unusable."""
    ids: dict[Any, str] = {}
    files: dict[str, Path] = {}
    faults: dict[str, str] = {}
    for place, (key, name) in enumerate(names.items()):
        own = PurePosixPath(name.replace("\\", "/"))
        image_id = own.stem if own.suffix.lower() in IMAGE_SUFFIXES else own.name
        if not is_id(image_id) or len(image_id) > _LONGEST_ID:
            faults[f"image-{place}"] = (
                "its file name has characters other than letters, digits, '.', '_' and '-', or a "
                "leading dot. Rename it."
            )
        elif own.is_absolute() or ".." in own.parts:
            faults[image_id] = "its file_name leads out of the folder. Expected a name inside it."
        elif image_id in files:
            raise DataError(f"{path} lists two images named {image_id}. Rename one of them.")
        else:
            ids[key] = image_id
            beside = folder / own
            files[image_id] = beside if beside.is_file() else folder / "images" / own
    return ids, files, faults


def coco_documents(folder: Path) -> list[Path]:
    """Return the JSON files where COCO's may lie: in the folder, or in `annotations/`."""
    return sorted(folder.glob("*.json")) or sorted((folder / "annotations").glob("*.json"))


def _document(folder: Path) -> tuple[Path, dict[str, Any]]:
    documents = coco_documents(folder)
    if len(documents) != 1:
        names = ", ".join(path.name for path in documents) or "none"
        raise DataError(f"{folder} should hold one COCO JSON; found {names}.")
    try:
        coco = json.loads(documents[0].read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{documents[0]} is not JSON: {error}") from error
    if not isinstance(coco, dict):
        raise DataError(
            f"{documents[0]} is no COCO file: expected images, annotations and categories."
        )
    return documents[0], coco
