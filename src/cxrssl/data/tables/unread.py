"""Files that look like tables of annotations where no layout reads them.

A folder that holds some is not taken for a pool of images unless its user says so: a table that is
ignored in silence costs every box.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from cxrssl.core.errors import DataError
from cxrssl.data.tables.files import names_text
from cxrssl.data.tables.rows import BOX_COLUMNS
from cxrssl.data.tables.unread_tools import tool_advice

POOL_ADVICE = "say --layout images to take all its images as a pool without boxes"
_TABLES = {
    ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".xlsx", ".xls", ".ods", ".parquet",
    ".feather", ".arrow", ".yaml", ".yml", ".sqlite", ".db", ".h5", ".hdf5", ".mat", ".pkl",
    ".npy", ".npz", ".tfrecord",
}  # fmt: skip
_TEXTS = {".txt", ".dat", ".tab"}
_PACKED = {".gz", ".bz2", ".xz", ".zip", ".zst"}
# What such files are called tells of the data set as a whole, and of no image.
_PROSE = re.compile(
    r"(readme|licen[cs]e|copying|notice|authors|attributions?|credits|citations?|changelog|"
    r"changes|contributing|terms|index\.html|(md5|sha\d+)(sum)?s?|checksums?|manifest-\w+)"
    r"([._ -].*)?",
    re.IGNORECASE,
)
_KNOWN_TABLES = {
    f"{name}{end}" for name in ("train.csv", "annotations_train.csv") for end in ("", ".gz")
}
_SEPARATORS = (",", ";", "\t", "|", " ")
_LINES_SEEN = 5
_LINE_CHARACTERS = 4096


def table_files(files: Iterable[Path], images: Sequence[Path]) -> list[Path]:
    """Return the files that look like tables of annotations, in their order.

    By their suffix, packed or not; text files by their first lines, which are rows, or because
    they are named as an image is (YOLO). READMEs, licences, attributions and checksums are none.
    """
    stems = {path.stem for path in images}
    return [path for path in files if _is_table(path, stems)]


def unread_tables_error(folder: Path, tables: Sequence[Path]) -> DataError:
    """Return the error for a folder whose tables no layout reads, with what to do."""
    return DataError(
        f"{folder} has files that look like tables of annotations, and no layout reads them where "
        f"they are: {names_text(tables, folder)}. {_advice(folder, tables)} Or {POOL_ADVICE}."
    )


def _is_table(path: Path, image_stems: set[str]) -> bool:
    if _PROSE.fullmatch(path.name):
        return False
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    if not suffixes:
        return False
    if suffixes[-1] in _TABLES:
        return True
    return suffixes[-1] in _TEXTS and (path.stem in image_stems or _holds_rows(path))


def _holds_rows(path: Path) -> bool:
    """Return whether the first lines of a text are rows of a table.

    They have the same number of fields, two or more. A single line, and words between blanks, may
    be prose, unless all but the first field are numbers.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            lines = [file.readline(_LINE_CHARACTERS).strip() for _ in range(_LINES_SEEN)]
    except OSError:
        return False
    lines = [line for line in lines if line]
    for separator in _SEPARATORS:
        fields = [[field for field in line.split(separator) if field] for line in lines]
        if len({len(row) for row in fields}) != 1 or len(fields[0]) < 2:
            continue
        if separator != " " and len(lines) > 1:
            return True
        if all(_is_number(field) for row in fields for field in row[1:]):
            return True
    return False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _advice(folder: Path, tables: Sequence[Path]) -> str:
    """Say how the first kind of table that is recognised can be read."""
    nested = [path.parent for path in tables if path.name in _KNOWN_TABLES]
    roots = sorted({place.parent if place.name == "annotations" else place for place in nested})
    if roots and folder not in roots:
        return f"Those in {names_text(roots, folder)} are read when that folder is named instead."
    if any(path.suffix == ".txt" for path in tables):
        return (
            "YOLO labels are read if one of them at least has rows of numbers (class x_center "
            "y_center width height), and it is called as an image is or lies in labels/."
        )
    for path in tables:
        known = tool_advice(path)
        if known:
            return f"{names_text([path], folder)} {known}"
    if any(path.suffix == ".xml" for path in tables):
        return (
            "XML is read if it is Pascal VOC's, whose root is annotation. CVAT's own is not: "
            "export COCO or Pascal VOC from it."
        )
    for path in tables:
        if path.suffix == ".csv" and _has_kaggle_columns(path):
            return (
                f"{names_text([path], folder)} has the columns of the kaggle layout: name it "
                "train.csv, and put the images into train/ beside it."
            )
    return (
        "What is read: a CSV with columns for the image, the class and the box, COCO JSON, Label "
        "Studio's JSON, YOLO labels, Pascal VOC's XML, train.csv with images in train/ (kaggle), "
        "annotations/annotations_train.csv (physionet), or the files of a published data set under "
        "their own names (rsna, nih, tbx11k, chestx-det, object-cxr, padchest-gr)."
    )


def _has_kaggle_columns(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline(4096)
    except OSError:
        return False
    names = {name.strip().strip('"') for name in header.split(",")}
    return {"image_id", "class_name", *BOX_COLUMNS} <= names
