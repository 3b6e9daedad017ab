"""What a source folder holds: its image files, and the findings that each reader marked.

Layouts: `kaggle` (VinBigData: `train.csv`, `train/*.dicom`), `coco` (one COCO JSON and its images;
an annotation may name its `reader`) and `images` (a folder of images without boxes: a pool).
Pixels are not opened here.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from cxrssl.core.errors import DataError
from cxrssl.core.labels import FINDINGS, NO_FINDING, canonical_name

Layout = Literal["auto", "kaggle", "coco", "images"]

KAGGLE_COLUMNS = (
    "image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max",
)  # fmt: skip
COLUMNS = ("image_id", "reader", "category", "x_min", "y_min", "x_max", "y_max")
_IMAGE_SUFFIXES = {".dicom", ".dcm", ".png", ".jpg", ".jpeg"}
_IMAGE_ID = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Source:
    """Files and findings of one source folder.

    Attributes:
        layout: Which layout it is.
        files: Image id -> file.
        findings: A row a mark, columns `COLUMNS`; boxes xyxy in original pixels, float64. A reader
            who found nothing in an image has one row of category "No finding" with NaN for a box.
        classes: Class names in the order of their ids.
    """

    layout: str
    files: dict[str, Path]
    findings: pd.DataFrame
    classes: tuple[str, ...]


def read_source(folder: Path, *, layout: Layout = "auto") -> Source:
    """Read the table of a source folder and list its image files.

    Raises:
        DataError: If the folder, its table or a column is missing, or the table is empty.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is no folder. Name one that holds train.csv, a COCO JSON, or images."
        )
    found = _layout_of(folder) if layout == "auto" else layout
    if found == "kaggle":
        findings = read_kaggle_table(folder / "train.csv")
        return Source("kaggle", _image_files(folder / "train"), findings, FINDINGS)
    if found == "coco":
        return _read_coco(folder)
    files = _image_files(folder)
    if not files:
        raise DataError(
            f"{folder} holds no DICOM, PNG or JPEG file, and no train.csv or COCO JSON."
        )
    return Source("images", files, pd.DataFrame(columns=list(COLUMNS)), ())


def read_kaggle_table(path: Path) -> pd.DataFrame:
    """Read a table in Kaggle VinBigData form (`.csv` or `.csv.gz`) into rows of `COLUMNS`.

    Raises:
        DataError: If the file or a column is missing, it has no rows, a class is unknown, or a
            finding has no box.
    """
    if not path.is_file():
        raise DataError(
            f"{path} is missing. The kaggle layout needs train.csv beside the folder train/."
        )
    try:
        table = pd.read_csv(path, dtype={"image_id": str, "rad_id": str, "class_name": str})
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is no table: {error}. Expected columns {', '.join(KAGGLE_COLUMNS)}."
        ) from error
    missing = [name for name in KAGGLE_COLUMNS if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; "
            f"it has {', '.join(map(str, table.columns))}. "
            f"Expected {', '.join(KAGGLE_COLUMNS)}."
        )
    if table.empty:
        raise DataError(
            f"{path} has a header and no rows. Expected at least one row an image and reader."
        )
    return _kaggle_rows(table, path)


def _kaggle_rows(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    required = table[["image_id", "class_name", "rad_id"]]
    if required.isna().any(axis=None):
        row = int(required.isna().any(axis=1).to_numpy().argmax()) + 2
        raise DataError(f"{path}, line {row}: image_id, class_name and rad_id must not be empty.")
    names = {name: canonical_name(name) for name in table["class_name"].unique()}
    rows = pd.DataFrame(
        {
            "image_id": table["image_id"],
            "reader": table["rad_id"],
            "category": table["class_name"].map(names),
        }
    )
    for column in COLUMNS[3:]:
        try:
            rows[column] = pd.to_numeric(table[column]).astype("float64")
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}: column {column} holds something that is no number: {error}"
            ) from error
    bare = rows[rows["category"].ne(NO_FINDING) & rows[list(COLUMNS[3:])].isna().any(axis=1)]
    if not bare.empty:
        first = bare.iloc[0]
        raise DataError(
            f"{path}, line {int(bare.index[0]) + 2}: {first['category']} in image "
            f"{first['image_id']} has no whole box. "
            "Fill in x_min, y_min, x_max, y_max."
        )
    return rows


def checked_id(name: str) -> str:
    """Return an image id that is safe as a file name.

    Raises:
        DataError: If it has a character other than letters, digits, dot, dash and underscore.
    """
    if not _IMAGE_ID.fullmatch(name) or name.startswith("."):
        raise DataError(
            f"image id {name!r}: only letters, digits, '.', '_' and '-' are allowed, "
            "and no leading dot."
        )
    return name


def _layout_of(folder: Path) -> Literal["kaggle", "coco", "images"]:
    if (folder / "train.csv").is_file():
        return "kaggle"
    return "coco" if list(folder.glob("*.json")) else "images"


def _image_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is missing. Expected the image files there.")
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in _IMAGE_SUFFIXES or not path.is_file():
            continue
        if path.stem in files:
            raise DataError(
                f"{path} and {files[path.stem].name} have one image id. Keep one of them."
            )
        files[checked_id(path.stem)] = path
    return files


def _read_coco(folder: Path) -> Source:
    path, coco = _coco_document(folder)
    try:
        classes = {int(entry["id"]): str(entry["name"]) for entry in coco["categories"]}
        images = {entry["id"]: str(entry["file_name"]) for entry in coco["images"]}
        marks = [
            (
                entry["image_id"],
                str(entry.get("reader", "R0")),
                int(entry["category_id"]),
                _xywh(entry["bbox"]),
            )
            for entry in coco["annotations"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no COCO file: {error!r} is missing or of another type."
        ) from error
    if not images or not classes:
        raise DataError(
            f"{path} lists {len(images)} images and {len(classes)} categories; "
            "expected some of each."
        )
    if len(images) < len(coco["images"]):
        raise DataError(f"{path} gives one id to two images. Give each its own.")
    files: dict[str, Path] = {}
    for name in images.values():
        if Path(name).stem in files:
            raise DataError(f"{path} lists two images named {Path(name).stem}. Rename one of them.")
        files[checked_id(Path(name).stem)] = _inside(folder, name)
    rows: list[tuple[object, ...]] = []
    for image, reader, category, (x, y, width, height) in marks:
        if image not in images or category not in classes:
            raise DataError(
                f"{path}: an annotation names image {image!r} and category {category!r}, "
                "and one of them is not listed."
            )
        rows.append(
            (Path(images[image]).stem, reader, classes[category], x, y, x + width, y + height)
        )
    marked = {row[0] for row in rows}
    nothing = (float("nan"),) * 4
    rows += [(image_id, "R0", NO_FINDING, *nothing) for image_id in files if image_id not in marked]
    names = tuple(classes[key] for key in sorted(classes))
    return Source("coco", files, pd.DataFrame(rows, columns=list(COLUMNS)), names)


def _xywh(box: Any) -> tuple[float, float, float, float]:  # noqa: ANN401 - straight from JSON
    x, y, width, height = (float(value) for value in box)
    return x, y, width, height


def _coco_document(folder: Path) -> tuple[Path, dict[str, Any]]:
    documents = sorted(folder.glob("*.json"))
    if len(documents) != 1:
        names = ", ".join(path.name for path in documents) or "none"
        raise DataError(f"{folder} should hold one COCO JSON; found {names}.")
    try:
        coco = json.loads(documents[0].read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{documents[0]} is not JSON: {error}") from error
    if not isinstance(coco, dict):
        raise DataError(
            f"{documents[0]} is no COCO file: expected images, annotations and categories."
        )
    return documents[0], coco


def _inside(folder: Path, name: str) -> Path:
    """Return the file a COCO entry names, beside the JSON or in `images/`, never elsewhere."""
    for base in (folder, folder / "images"):
        path = base / name
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            return path
    return folder / "images" / Path(name).name
