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
from cxrssl.data.tables.rows import COLUMNS, Table, checked_rows, is_id

NO_READER = "R0"


def read_coco(folder: Path) -> tuple[Table, dict[str, Path]]:
    """Read the one COCO JSON of a folder.

    Returns:
        Its table, and the file of every image, beside the JSON or in `images/`.

    Raises:
        DataError: If there is not one JSON, it is no COCO, or ids are missing or given twice.
    """
    path, coco = _document(folder)
    try:
        classes = {int(entry["id"]): str(entry["name"]) for entry in coco["categories"]}
        names = {entry["id"]: str(entry["file_name"]) for entry in coco["images"]}
        marks = [_mark(entry) for entry in coco["annotations"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no COCO file: {error!r} is missing or of another type."
        ) from error
    _check_entries(path, coco, names, classes)
    ids, files, faults = _files(folder, names, path)
    rows: list[tuple[object, ...]] = []
    for number, (image, reader, category, box) in enumerate(marks):
        if image not in names or category not in classes:
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
    ordered = tuple(classes[key] for key in sorted(classes))
    return Table(table, ordered, row_faults | faults), files


def _mark(entry: dict[str, Any]) -> tuple[Any, str, int, tuple[float, ...]]:
    x, y, width, height = (float(value) for value in entry["bbox"])
    reader = str(entry.get("reader", NO_READER))
    return entry["image_id"], reader, int(entry["category_id"]), (x, y, x + width, y + height)


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
        if not is_id(own.stem):
            faults[f"image-{place}"] = (
                "its file name has characters other than letters, digits, '.', '_' and '-', or a "
                "leading dot. Rename it."
            )
        elif own.is_absolute() or ".." in own.parts:
            faults[own.stem] = "its file_name leads out of the folder. Expected a name inside it."
        elif own.stem in files:
            raise DataError(f"{path} lists two images named {own.stem}. Rename one of them.")
        else:
            ids[key] = own.stem
            beside = folder / own
            files[own.stem] = beside if beside.is_file() else folder / "images" / own
    return ids, files, faults


def _document(folder: Path) -> tuple[Path, dict[str, Any]]:
    documents = sorted(folder.glob("*.json"))
    if len(documents) != 1:
        names = ", ".join(path.name for path in documents) or "none"
        raise DataError(f"{folder} should hold one COCO JSON; found {names}.")
    try:
        coco = json.loads(documents[0].read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{documents[0]} is not JSON: {error}") from error
    if not isinstance(coco, dict):
        raise DataError(
            f"{documents[0]} is no COCO file: expected images, annotations and categories."
        )
    return documents[0], coco
