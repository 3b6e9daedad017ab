"""TBX11K: tuberculosis on chest radiographs, with boxes.

`annotations/json/TBX11K_train.json` and `TBX11K_val.json`, or without them `TBX11K_trainval.json`:
COCO files whose names are relative to `imgs/`, boxes in pixels of the published 512x512 images.
Films without boxes are normal in imgs/health, sick without tuberculosis in imgs/sick ("other
finding"); one in imgs/tb has tuberculosis that nobody boxed, and is stored without truth. Classes
are ActiveTuberculosis and ObsoletePulmonaryTuberculosis; PulmonaryTuberculosis has no box. One
reading was published: its reader is "R0".

Not read: `all_*.json` (the same with films of other data sets, imgs/extra, which have no boxes),
`annotations/xml` (the same boxes in pixels of films that were not published) and `lists`. The
labels of the test films, imgs/test, were never published: they are films that nobody read, and the
published validation split becomes the test split (`splits`).

Source: Liu et al., "Rethinking Computer-aided Tuberculosis Diagnosis", CVPR 2020, the README of
yun-liu/Tuberculosis, and others' loaders (torchxrayvision, mednet). Never tried on the real files.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from cxrssl.core.labels import NO_FINDING
from cxrssl.core.sizes import stated_size
from cxrssl.data.coco.annotations import Annotations, Flags, annotations_of, find_unlisted
from cxrssl.data.coco.json import Annotation, Id, entries_of, read_document
from cxrssl.data.tables.marks import NO_BOX, NO_READER, Corners, Mark, StatedImage, StatedMarks
from cxrssl.data.tables.published_files import (
    PublishedSource,
    files_named,
    json_has,
    single_file,
)

_SPLITS = {"TBX11K_train.json": "train", "TBX11K_val.json": "val"}
_BOTH = "TBX11K_trainval.json"
_CLASSES = ("ActiveTuberculosis", "ObsoletePulmonaryTuberculosis", "PulmonaryTuberculosis")
_KINDS = {"health": "normal", "sick": "other finding"}
_IMAGES = "imgs"


class _Box(NamedTuple):
    """An annotation's number, category id and box xyxy in pixels."""

    row: int
    category: Id
    box: Corners


@dataclass
class _Read:
    """What was read of all files."""

    marks: list[Mark] = field(default_factory=list)
    images: list[StatedImage] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def tbx11k_tables(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the files of the data set in a folder that are read; [] if there are none.

    Raises:
        DataError: If one of them is there twice.
    """
    files = list(files)
    for names in (tuple(_SPLITS), (_BOTH,)):
        groups = [
            [path for path in files_named(files, name) if json_has(path, "{", *_CLASSES[:2])]
            for name in names
        ]
        if any(groups):
            return [single_file(folder, group) for group in groups if group]
    return []


def read_tbx11k(source: PublishedSource) -> StatedMarks:
    """Read the files of the data set.

    Raises:
        DataError: If one is not COCO, or no annotation names an image and a category that are
            listed.
    """
    read = _Read()
    for path in source.tables:
        _read_file(source, path, read)
    drawn = {mark.category for mark in read.marks}
    return StatedMarks(
        tuple(source.tables), read.marks, read.images, "sides",
        classes=tuple(name for name in _CLASSES if name in drawn),
        notes=tuple(read.notes), faults=read.faults,
    )  # fmt: skip


def _read_file(source: PublishedSource, path: Path, read: _Read) -> None:
    """Add what one file says."""
    document = read_document(path)
    annotations = annotations_of(path, entries_of(path, document.annotations, Annotation))
    categories = {category.id: category.name for category in document.categories}
    ids = {image.id for image in document.images}
    no_image, no_class, notes = find_unlisted(path, annotations, ids, categories)
    read.notes += notes
    is_left_out = ~no_image & (no_class | annotations.crowd | annotations.doubtful)
    left_out = {annotations.images[row] for row in np.flatnonzero(is_left_out).tolist()}
    boxes = _boxes_by_image(annotations, ~no_image & ~is_left_out)
    for number, image in enumerate(document.images):
        place = f"{source.name_of(path)}, image {number}"
        name = _image_name(source, path, image.file_name or "")
        group = _group(image.file_name or "")
        marks = [
            Mark(name, NO_READER, categories[category], box, f"{place}, annotation {row}")
            for row, category, box in boxes.get(image.id, [])
        ]
        unmarked = ""
        if image.id in left_out:
            unmarked = f"{place}: an annotation of it is to be ignored, or names no listed category"
        elif not marks and group not in _KINDS:
            unmarked = f"{place}: it is not in health or sick, and nobody boxed what it shows"
        if marks and group in _KINDS:
            read.faults[name] = (
                f"{place} has a box, and its folder {group} is of films without tuberculosis. "
                "Correct one of them."
            )
        kind = "" if marks else _KINDS.get(group, "")
        size = stated_size(image.width, image.height)
        split = _SPLITS.get(path.name, "")
        read.images.append(StatedImage(name, place, size, "", split, kind, unmarked))
        read.marks += marks or [Mark(name, NO_READER, NO_FINDING, NO_BOX, place)]


def _boxes_by_image(annotations: Annotations, is_used: Flags) -> dict[Id, list[_Box]]:
    """Return the boxes of every image that are to be used."""
    boxes: dict[Id, list[_Box]] = {}
    corners = annotations.corners()
    for row in np.flatnonzero(is_used).tolist():
        x_min, y_min, x_max, y_max = corners[row].tolist()
        box = _Box(row, annotations.categories[row], (x_min, y_min, x_max, y_max))
        boxes.setdefault(annotations.images[row], []).append(box)
    return boxes


def _image_name(source: PublishedSource, path: Path, name: str) -> str:
    """Return the name of an image relative to the source: beside annotations/ lies imgs/."""
    root = path.parent.parent.parent
    if not (root / _IMAGES).is_dir() or not root.is_relative_to(source.folder):
        return name
    return str(PurePosixPath((root / _IMAGES).relative_to(source.folder), name))


def _group(name: str) -> str:
    """Return the folder of imgs/ that holds an image."""
    parts = [part for part in PurePosixPath(name).parts if part != _IMAGES]
    return parts[0] if len(parts) > 1 else ""
