"""A source folder: which layout it has, its image files and its table.

Layouts: `kaggle` (VinBigData: `train.csv`, `train/*.dicom`), `physionet` (VinDr-CXR 1.0.0:
`annotations/*.csv`, `train/*.dicom`, `test/*.dicom`), `coco` (one COCO JSON and its images; an
annotation may name its `reader`) and `images` (a folder of images without boxes: a pool).
No table is ignored in silence: a folder with one that none of these reads is a pool only where its
user says so, and what a layout doesn't use is in the notes of the source.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal, assert_never

import pandas as pd

from cxrssl.core.errors import DataError
from cxrssl.data.tables.coco import coco_documents, read_coco
from cxrssl.data.tables.files import (
    image_files,
    is_image,
    list_folder,
    names_text,
    unused_notes,
)
from cxrssl.data.tables.image_ids import image_ids, plain_id
from cxrssl.data.tables.rows import COLUMNS, Table, is_id
from cxrssl.data.tables.unread import POOL_ADVICE, table_files, unread_tables_error
from cxrssl.data.tables.vindr import physionet_table, read_physionet, read_table

LayoutName = Literal["kaggle", "physionet", "coco", "images"]
Layout = Literal["auto", "kaggle", "physionet", "coco", "images"]

PHANTOM_FILE = "phantom.json"
"""Lies in what `cxrssl phantom` made."""
_TWO_FILES = "two files have this image id, and the table can mean either. Rename one of them"
_BAD_NAME = (
    "its file name has characters other than letters, digits, '.', '_' and '-', or a leading dot. "
    "Rename it"
)


@dataclass(frozen=True)
class Source:
    """Files and findings of one source folder.

    Attributes:
        layout: Which layout it is.
        files: Image id -> file.
        table: What the readers marked; without rows for a pool.
        faults: Image id, or place of a bad name, -> why that image can't be used; the table's
            faults among them.
        is_made: Whether `cxrssl phantom` made it.
        notes: What was guessed or not used, a sentence each; the table's among them.
    """

    layout: LayoutName
    files: dict[str, Path]
    table: Table
    faults: dict[str, str] = field(default_factory=dict)
    is_made: bool = False
    notes: tuple[str, ...] = ()


def read_source(folder: Path, *, layout: Layout = "auto") -> Source:
    """Read the table of a source folder and list its image files.

    Raises:
        DataError: If the folder, its table or a column is missing, or the table is empty.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder. Name one that holds train.csv, annotations/, a COCO JSON, "
            "or images."
        )
    name = layout_of(folder) if layout == "auto" else layout
    try:
        source = _read(folder, name)
    except DataError as error:
        if name == "images":
            raise
        raise DataError(f"{str(error).rstrip('.')}. Or {POOL_ADVICE}.") from error
    return replace(source, notes=(*source.notes, *_unused_notes(folder, source)))


def _read(folder: Path, layout: LayoutName) -> Source:
    match layout:
        case "kaggle":
            table = read_table(kaggle_table(folder))
            source = _with_files(layout, table, [folder / "train"])
            return replace(source, is_made=(folder / PHANTOM_FILE).is_file())
        case "physionet":
            table = read_physionet(folder)
            return _with_files(layout, table, [folder / "train", folder / "test"])
        case "coco":
            table, files = read_coco(folder)
            return Source(layout, files, table, table.faults, notes=table.notes)
        case "images":
            source = _with_files(layout, Table(pd.DataFrame(columns=list(COLUMNS)), ()), [folder])
            if not source.files and not source.faults:
                raise DataError(
                    f"{folder} holds no DICOM, PNG, JPEG, TIFF or BMP file, no table and no COCO "
                    "JSON."
                )
            return source
        case _:
            assert_never(layout)


def layout_of(folder: Path) -> LayoutName:
    """Return the layout of a folder, by the table that it holds.

    Raises:
        DataError: If it looks as if a table is missing, or holds tables that no layout reads: as a
            pool it would hide what it is.
    """
    if kaggle_table(folder).is_file():
        return "kaggle"
    if physionet_table(folder, "train").is_file():
        return "physionet"
    if coco_documents(folder):
        return "coco"
    files = list_folder(folder).files
    tables = table_files(files, [path for path in files if is_image(path)])
    if tables:
        raise unread_tables_error(folder, tables)
    is_divided = (folder / "train").is_dir() and (folder / "test").is_dir()
    if is_divided or (folder / "annotations").is_dir():
        raise DataError(
            f"{folder} has folders of an annotated data set, and neither train.csv, "
            f"annotations_train.csv nor a COCO JSON. Put the table there, or {POOL_ADVICE}."
        )
    return "images"


def _unused_notes(folder: Path, source: Source) -> list[str]:
    """Say what lies in a source folder and is not used by its layout."""
    listing = list_folder(folder)
    used = {path.absolute() for path in (*source.files.values(), *_tables_read(folder, source))}
    unused = [path for path in listing.files if path.absolute() not in used]
    images = [path for path in unused if is_image(path)]
    tables = table_files(unused, [*source.files.values(), *images])
    notes = []
    if tables:
        notes.append(f"tables that are not used: {names_text(tables, folder)}")
    # The images of a pool that are left have names that can't be used, and are faults.
    if images and source.layout != "images":
        notes.append(
            f"{len(images)} image file(s) that the {source.layout} layout does not use: "
            f"{names_text(images, folder)}"
        )
    shown = {*images, *tables}
    return notes + unused_notes(listing, [path for path in unused if path not in shown])


def _tables_read(folder: Path, source: Source) -> list[Path]:
    match source.layout:
        case "kaggle":
            return [kaggle_table(folder), folder / PHANTOM_FILE]
        case "physionet":
            kinds, parts = ("annotations", "image_labels"), ("train", "test")
            return [physionet_table(folder, part, kind=kind) for kind in kinds for part in parts]
        case "coco":
            return coco_documents(folder)
        case "images":
            return []
        case _:
            assert_never(source.layout)


def kaggle_table(folder: Path) -> Path:
    """Return where Kaggle's table lies, zipped or not."""
    zipped = folder / "train.csv.gz"
    return zipped if zipped.is_file() else folder / "train.csv"


def _with_files(layout: LayoutName, table: Table, folders: list[Path]) -> Source:
    files: dict[str, Path] = {}
    faults = dict(table.faults)
    notes: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is missing. Expected the image files there.")
        paths = {PurePosixPath(path.relative_to(folder)): path for path in image_files(folder)}
        if layout == "images":
            ids, notes = image_ids(paths)
        else:  # ids as a table has them; of two files of one name it may mean either
            ids = {path: plain_id(path) for path in paths if is_id(plain_id(path))}
        for number, (relative, path) in enumerate(paths.items(), start=1):
            if relative not in ids:
                # Not quoted: a file name may be a patient's.
                faults[f"{folder.name}-file-{number}"] = f"{_BAD_NAME} (in the order of names)"
            elif ids[relative] in files:
                faults[ids[relative]] = _TWO_FILES
            else:
                files[ids[relative]] = path
    return Source(layout, files, table, faults, notes=(*table.notes, *notes))
