"""What annotation tools and people write: which functions find and read each of these layouts.

Each has a module here, whose docstring says what is read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from cxrssl.core.layouts import ToolName
from cxrssl.data.tables.csv_boxes import csv_tables, read_csv
from cxrssl.data.tables.files import is_image
from cxrssl.data.tables.label_studio import read_label_studio
from cxrssl.data.tables.label_studio_tasks import label_studio_tables
from cxrssl.data.tables.marks import StatedMarks
from cxrssl.data.tables.masks import unnamed_masks
from cxrssl.data.tables.vindr import has_findings
from cxrssl.data.tables.voc import read_voc, voc_images, voc_tables
from cxrssl.data.tables.yolo import read_yolo, yolo_tables


def tool_tables(layout: ToolName, folder: Path, files: Sequence[Path]) -> list[Path]:
    """Return the files of a folder that a layout reads beside images; [] if it is not of it."""
    match layout:
        case "label-studio":
            return label_studio_tables(files)
        case "csv":
            return [path for path in csv_tables(files) if not _is_vindr_below(path, folder)]
        case "yolo":
            return yolo_tables(folder, files)
        case "voc":
            return voc_tables(folder, files)
        case _:
            assert_never(layout)


def read_tool(
    layout: ToolName,
    folder: Path,
    files: Sequence[Path],
    tables: Sequence[Path],
    *,
    reads_split: bool,
) -> tuple[StatedMarks, list[Path]]:
    """Read the tables of a layout; return what they say, and the image files it may be about.

    Args:
        layout: Which it is.
        folder: Folder of the source.
        files: All files below it.
        tables: What `tool_tables` returns.
        reads_split: Whether a split that a table states is read.

    Raises:
        DataError: If they can't be read.
    """
    images = [path for path in files if is_image(path)]
    match layout:
        case "label-studio":
            return read_label_studio(folder, tables), images
        case "csv":
            return read_csv(folder, tables, images, reads_split=reads_split), images
        case "yolo":
            masks = _unlabelled_masks(folder, files, images, ".txt")
            return read_yolo(folder, [path for path in files if path not in masks]), images
        case "voc":
            masks = _unlabelled_masks(folder, files, images, ".xml")
            images = voc_images(folder, [path for path in images if path not in masks])
            return read_voc(folder, tables, images), images
        case _:
            assert_never(layout)


def _unlabelled_masks(
    folder: Path, files: Sequence[Path], images: Sequence[Path], suffix: str
) -> set[Path]:
    """Return the masks of images that have no label of their own, which has this suffix."""
    labels = (path for path in files if path.suffix.lower() == suffix)
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in labels]
    return unnamed_masks(folder, images, names)


def _is_vindr_below(path: Path, folder: Path) -> bool:
    """Return whether a table is of VinDr-CXR and lies in a folder that should be named instead."""
    is_official = path.name.removesuffix(".gz") in ("train.csv", "annotations_train.csv")
    return is_official and path.parent != folder and has_findings(path)
