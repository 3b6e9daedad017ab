"""A source folder: which layout it has, its image files and its table.

Layouts: `kaggle` (VinBigData: `train.csv`, `train/*.dicom`), `physionet` (VinDr-CXR 1.0.0:
`annotations/*.csv`, `train/*.dicom`, `test/*.dicom`), `coco` (COCO JSON files and their images; an
annotation may name its `reader`), those of annotation tools (`tools`) and of published data sets
(`published`), and `images` (a folder of images without boxes: a pool).
No table is ignored in silence: a folder with one that none of these reads is a pool only where its
user says so, and what a layout doesn't use is in the notes of the source.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import assert_never

import pandas as pd

from cxrssl.core.errors import DataError
from cxrssl.core.layouts import Layout, LayoutName
from cxrssl.data.tables.coco import read_coco
from cxrssl.data.tables.coco_documents import coco_documents, possible_documents, the_document
from cxrssl.data.tables.csv_boxes import patient_tables
from cxrssl.data.tables.files import (
    FolderContents,
    image_files,
    is_image,
    list_folder,
    names_text,
    unused_notes,
)
from cxrssl.data.tables.image_ids import image_ids, plain_id
from cxrssl.data.tables.marks import StatedMarks, assembled
from cxrssl.data.tables.masks import masks_of, unnamed_masks
from cxrssl.data.tables.patients import compiled, patients_of
from cxrssl.data.tables.published import published_tables, read_published
from cxrssl.data.tables.published_files import PublishedSource
from cxrssl.data.tables.rows import COLUMNS, Table, is_id
from cxrssl.data.tables.splits import StatedSplit, parts_of
from cxrssl.data.tables.tools import read_tool, tool_tables
from cxrssl.data.tables.unread import POOL_ADVICE, table_files, unread_tables_error
from cxrssl.data.tables.unread_tools import tool_advice
from cxrssl.data.tables.vindr import has_findings, physionet_table, read_physionet, read_table

# A folder of several is what comes first; the others' tables are in its notes.
_TOLD_APART: tuple[LayoutName, ...] = (
    "kaggle", "physionet",
    "rsna", "nih", "tbx11k", "chestx-det", "object-cxr", "padchest-gr",
    "coco", "label-studio", "csv", "yolo", "voc",
)  # fmt: skip

PHANTOM_FILE = "phantom.json"
"""Lies in what `cxrssl phantom` made."""
_TWO_FILES = "two files have this image id, and the table can mean either. Rename one of them"
_BAD_NAME = (
    "its file name has characters other than letters, digits, '.', '_' and '-', or a leading dot. "
    "Rename it"
)


@dataclass(frozen=True)
class ReadOptions:
    """How a source folder is to be read; see `read_source`."""

    layout: Layout = "auto"
    patient_from: str = ""
    split: str = ""


@dataclass(frozen=True)
class Source:
    """Files and findings of one source folder.

    Attributes:
        layout: Which layout it is.
        files: Image id -> file.
        table: What the readers marked; without rows for a pool.
        faults: Image id, or place of a bad name, -> why that image can't be used; the table's
            faults among them.
        tables: The files beside images that its layout reads.
        is_made: Whether `cxrssl phantom` made it.
        notes: What was guessed or not used, a sentence each; the table's among them.
    """

    layout: LayoutName
    files: dict[str, Path]
    table: Table
    faults: dict[str, str] = field(default_factory=dict)
    tables: tuple[Path, ...] = ()
    is_made: bool = False
    notes: tuple[str, ...] = ()


def read_source(
    folder: Path, *, layout: Layout = "auto", patient_from: str = "", split: str = ""
) -> Source:
    """Read the table of a source folder and list its image files.

    Args:
        folder: Folder of the source.
        layout: Which layout it is, or "auto".
        patient_from: Regular expression that finds the patient in a file's path below the folder;
            "" for what the table or the data set's own names say.
        split: Where the source's own split is from: "" for its table, "folders", "none", or the
            path of a CSV file; see `data.tables.splits`.

    Raises:
        DataError: If the folder, its table or a column is missing, the table is empty, or patients
            or the split can't be had as asked for.
    """
    pattern = compiled(patient_from) if patient_from else None
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder. Name one that holds images, and a table of their boxes "
            "where there are some."
        )
    contents = list_folder(folder)
    name = layout_of(folder, contents) if layout == "auto" else layout
    try:
        source = _read(folder, name, contents, reads_split=split == "")
    except DataError as error:
        if layout != "auto" or name == "images":
            raise
        raise DataError(f"{str(error).rstrip('.')}. Or {POOL_ADVICE}.") from error
    table, files = source.table, source.files
    patients, patient_notes = patients_of(folder, files, table.patients, pattern)
    unusable = set(files) - set(table.rows["image_id"]) | set(source.faults)
    stated = StatedSplit(table.parts, table.tables)
    parts, part_notes = parts_of(folder, files, stated, patients, split, unusable=unusable)
    table = replace(table, patients=patients, parts=parts)
    unused = _unused_notes(folder, contents, source)
    notes = (*source.notes, *patient_notes, *part_notes, *unused)
    return replace(source, table=table, notes=notes)


def _read(
    folder: Path, layout: LayoutName, contents: FolderContents, *, reads_split: bool
) -> Source:
    tables = tables_of(folder, layout, contents)
    match layout:
        case "kaggle":
            source = _with_files(layout, read_table(kaggle_table(folder)), [folder / "train"])
            is_made = (folder / PHANTOM_FILE).is_file()
            return replace(source, is_made=is_made, tables=tuple(tables))
        case "physionet":
            table = read_physionet(folder)
            source = _with_files(layout, table, [folder / "train", folder / "test"])
            return replace(source, tables=tuple(tables))
        case "coco":
            tables = tables or [the_document(folder, contents.files)]
            table, files = read_coco(folder, tables)
            return Source(layout, files, table, table.faults, tuple(tables), notes=table.notes)
        case "rsna" | "nih" | "tbx11k" | "chestx-det" | "object-cxr" | "padchest-gr":
            published = PublishedSource(folder, _some(tables, layout), contents.files)
            images = [path for path in contents.files if is_image(path)]
            return _assembled(layout, folder, images, read_published(layout, published))
        case "label-studio" | "yolo" | "voc" | "csv":
            tables = _some(tables, layout)
            stated, images = read_tool(
                layout, folder, contents.files, tables, reads_split=reads_split
            )
            return _assembled(layout, folder, images, stated)
        case "images":
            table = Table(pd.DataFrame(columns=list(COLUMNS)), ())
            masks = masks_of(folder, contents.files)
            source = _with_files(layout, table, [folder], without=masks)
            if not source.files and not source.faults:
                raise DataError(
                    f"{folder} holds no DICOM, PNG, JPEG, TIFF or BMP file, no table and no COCO "
                    "JSON."
                )
            return source
        case _:
            assert_never(layout)


def _some(tables: list[Path], layout: LayoutName) -> list[Path]:
    if not tables:
        raise DataError(f"the folder holds no table of the layout {layout}. Name another layout.")
    return tables


def _assembled(layout: LayoutName, folder: Path, images: list[Path], stated: StatedMarks) -> Source:
    names = {mark.image for mark in stated.marks} | {image.name for image in stated.images}
    masks = unnamed_masks(folder, images, names)
    table, files = assembled(folder, [path for path in images if path not in masks], stated)
    return Source(layout, files, table, table.faults, stated.tables, notes=table.notes)


def tables_of(folder: Path, layout: LayoutName, contents: FolderContents) -> list[Path]:
    """Return the files of a folder that a layout reads beside images; [] if it is not of it."""
    match layout:
        case "kaggle":
            return [kaggle_table(folder), folder / PHANTOM_FILE] if is_kaggle(folder) else []
        case "physionet":
            if not physionet_table(folder, "train").is_file():
                return []
            kinds, parts = ("annotations", "image_labels"), ("train", "test")
            return [physionet_table(folder, part, kind=kind) for kind in kinds for part in parts]
        case "coco":
            return coco_documents(contents.files)
        case "rsna" | "nih" | "tbx11k" | "chestx-det" | "object-cxr" | "padchest-gr":
            return published_tables(layout, folder, contents.files)
        case "label-studio" | "yolo" | "voc" | "csv":
            return tool_tables(layout, folder, contents.files)
        case "images":
            return []
        case _:
            assert_never(layout)


def layout_of(folder: Path, contents: FolderContents) -> LayoutName:
    """Return the layout of a folder, by the table that it holds.

    Raises:
        DataError: If it looks as if a table is missing, or holds tables that no layout reads: as a
            pool it would hide what it is.
    """
    for layout in _TOLD_APART:
        if tables_of(folder, layout, contents):
            return layout
    if kaggle_table(folder).is_file() and (folder / "train").is_dir():
        return "kaggle"  # which says what is wrong with it
    files = contents.files
    documents = possible_documents(folder, files)
    if documents and not any(map(tool_advice, documents)):
        return "coco"  # likewise
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


def _unused_notes(folder: Path, contents: FolderContents, source: Source) -> list[str]:
    """Say what lies in a source folder and is not used by its layout."""
    used = {path.absolute() for path in (*source.files.values(), *source.tables)}
    unused = [path for path in contents.files if path.absolute() not in used]
    masks = masks_of(folder, contents.files) & set(unused)
    images = [path for path in unused if is_image(path) and path not in masks]
    tables = table_files(unused, [*source.files.values(), *images])
    notes = []
    if tables:
        notes.append(f"tables that are not used: {names_text(tables, folder)}")
    of_patients = patient_tables(tables)
    if of_patients:
        notes.append(
            f"{names_text(of_patients, folder)} names patients, and is not read: put its column "
            "into the table of boxes, or films of one patient are divided"
        )
    # The images of a pool that are left have names that can't be used, and are faults.
    if images and source.layout != "images":
        notes.append(
            f"{len(images)} image file(s) that the {source.layout} layout does not use: "
            f"{names_text(images, folder)}"
        )
    if masks:
        notes.append(
            f"{len(masks)} image file(s) are passed over as masks of others, by their names: "
            f"{names_text(sorted(masks), folder)}"
        )
    shown = {*images, *tables, *masks}
    return notes + unused_notes(contents, [path for path in unused if path not in shown])


def is_kaggle(folder: Path) -> bool:
    """Return whether a folder holds Kaggle's table, by its columns and one class at least."""
    path = kaggle_table(folder)
    if not (path.is_file() and (folder / "train").is_dir()):
        return False
    return (folder / PHANTOM_FILE).is_file() or has_findings(path)


def kaggle_table(folder: Path) -> Path:
    """Return where Kaggle's table lies, zipped or not."""
    zipped = folder / "train.csv.gz"
    return zipped if zipped.is_file() else folder / "train.csv"


def _with_files(
    layout: LayoutName, table: Table, folders: list[Path], *, without: Collection[Path] = ()
) -> Source:
    files: dict[str, Path] = {}
    faults = dict(table.faults)
    notes: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is missing. Expected the image files there.")
        images = [path for path in image_files(folder) if path not in without]
        paths = {PurePosixPath(path.relative_to(folder)): path for path in images}
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
