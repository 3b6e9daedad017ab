"""ChestX-Det and ChestX-Det10: films of NIH ChestX-ray14 that three radiologists boxed.

`ChestX_Det_train.json` and `ChestX_Det_test.json` (13 classes), or ChestX-Det10's `train.json` and
`test.json` (10 classes): lists of {"file_name", "syms": [class, ...], "boxes": [[x1, y1, x2, y2],
...]}, and in the first "polygons", which are not read: boxes enclose them. Images lie in train/ and
test/ (or train_data/, test_data/). The two files are the published split. Boxes are in pixels of
NIH's 1024x1024 films; a resized copy is scaled. One reading was published: its reader is "R0".

A film without boxes was read, and shows none of the classes. It is not called normal: of the 764
such films of ChestX-Det10, 153 have findings in ChestX-Det, of the classes that it added but for
one. Where films are numbered anew (36199.png), patients are not known.

Source: Lian et al., "A Structure-Aware Relation Network for Thoracic Diseases Detection and
Segmentation", and Liu et al., "ChestX-Det10", arXiv:2006.10550, and their repositories' READMEs.
Never tried on the real films; the four real JSON files were read.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cxrssl.core.labels import NO_FINDING
from cxrssl.data.tables.marks import NO_BOX, NO_READER, Mark, StatedImage, StatedMarks
from cxrssl.data.tables.nih import FILM_SIZE
from cxrssl.data.tables.patients import nih_patient
from cxrssl.data.tables.published_files import (
    JsonObject,
    PublishedSource,
    files_named,
    images_folder,
    json_content,
    json_has,
    single_file,
)

_SPLITS = {
    "ChestX_Det_train.json": "train", "ChestX_Det_test.json": "test",
    "train.json": "train", "test.json": "test",
}  # fmt: skip
# ChestX-Det has all films of ChestX-Det10: of both, it is the one that is read.
_VERSIONS = (("ChestX_Det_train.json", "ChestX_Det_test.json"), ("train.json", "test.json"))
_KEYS = ("file_name", "syms", "boxes")
_EXPECTED = "a list of objects with file_name, syms and boxes [[x1, y1, x2, y2], ...]"


class _Entry(JsonObject):
    file_name: str
    syms: list[str]
    boxes: list[list[float]]


class _Read(NamedTuple):
    """What was read of all files."""

    marks: list[Mark]
    images: list[StatedImage]
    faults: dict[str, str]


def chestx_det_tables(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the files of the data set in a folder, of its later version; [] if there are none.

    Raises:
        DataError: If one of them is there twice.
    """
    files = list(files)
    for names in _VERSIONS:
        groups = [
            [path for path in files_named(files, name) if json_has(path, "[", *_KEYS)]
            for name in names
        ]
        if any(groups):
            return [single_file(folder, group) for group in groups if group]
    return []


def read_chestx_det(source: PublishedSource) -> StatedMarks:
    """Read the files of the data set.

    Raises:
        DataError: If one is not of its form.
    """
    read = _Read([], [], {})
    for path in source.tables:
        _read_file(source, path, read)
    num_unknown = sum(not image.patient for image in read.images)
    notes = []
    if num_unknown:
        notes.append(
            f"{num_unknown} film(s) have names that tell no patient: whether films of one person "
            "are on both sides of a split is not known"
        )
    return StatedMarks(
        tuple(source.tables), read.marks, read.images, notes=tuple(notes), faults=read.faults
    )


def _read_file(source: PublishedSource, path: Path, read: _Read) -> None:
    """Add what one file says."""
    name, split = source.name_of(path), _SPLITS[path.name]
    folder = images_folder(source, path, (split, f"{split}_data/{split}", f"{split}_data"))
    entries = json_content(path, name, list[_Entry], expected=_EXPECTED)
    for number, entry in enumerate(entries):
        place, image = f"{name}, entry {number}", str(folder / entry.file_name)
        patient = nih_patient(entry.file_name)
        read.images.append(StatedImage(image, place, FILM_SIZE, patient, split))
        fault = _fault(entry)
        if fault:
            read.faults.setdefault(image, f"{place}: {fault}")
            continue
        if not entry.syms:
            read.marks.append(Mark(image, NO_READER, NO_FINDING, NO_BOX, place))
        for category, (x_min, y_min, x_max, y_max) in zip(entry.syms, entry.boxes, strict=True):
            read.marks.append(Mark(image, NO_READER, category, (x_min, y_min, x_max, y_max), place))


def _fault(entry: _Entry) -> str:
    """Return why an entry can't be used, "" if it can."""
    if len(entry.syms) != len(entry.boxes):
        return (
            f"it has {len(entry.syms)} class(es) (syms) and {len(entry.boxes)} box(es); expected "
            "as many of one as of the other."
        )
    if any(len(box) != 4 for box in entry.boxes):
        return "a box has other than four numbers; expected x1, y1, x2, y2."
    if not all(category.strip() for category in entry.syms):
        return "a class (syms) has no name. Name it."
    return ""
