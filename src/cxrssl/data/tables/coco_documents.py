"""The COCO JSON files of a folder: which of its JSON files they are, and what each says.

CVAT writes `annotations/instances_{train,val,test}.json`, Roboflow `_annotations.coco.json` beside
the images of `train/`, `valid/` and `test/`, FiftyOne `labels.json` beside `data/`, Label Studio
`result.json` beside `images/`: all files of a folder are one source.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.data.coco.annotations import Annotations, Flags, annotations_of, find_unlisted
from cxrssl.data.coco.categories import classes_of
from cxrssl.data.coco.json import Annotation, Image, NormalId, entries_of, is_dataset, read_document
from cxrssl.data.tables.files import names_text
from cxrssl.data.tables.json_head import HEAD_BYTES, json_head

_LISTS = re.compile(rb'"(images|annotations)"\s*:\s*\[')


@dataclass(frozen=True)
class Use:
    """What is made of each annotation, [N] each; those of unlisted images are in none of them.

    Attributes:
        used: It is read as truth.
        no_class: Its category is not listed.
        ignored: It says that it is to be ignored.
    """

    used: Flags
    no_class: Flags
    ignored: Flags


@dataclass(frozen=True)
class SourceDocument:
    """One COCO JSON of a source.

    Attributes:
        name: Its path below the folder, for messages.
        place: Its folder below the source's.
        stem: Its name without suffix.
        images: The listed images; ids are distinct.
        annotations: As columns.
        use: What is made of each annotation.
        classes: Category id -> class name, "No finding" among them.
        has_scores: Whether all its annotations have a score, as detections do.
        has_boxes: Whether an annotation has a box or an outline, or there is no annotation.
        notes: What was left out, a sentence each.
    """

    name: str
    place: PurePosixPath
    stem: str
    images: Sequence[Image]
    annotations: Annotations
    use: Use
    classes: dict[NormalId, str]
    has_scores: bool
    has_boxes: bool
    notes: tuple[str, ...]


def coco_documents(files: Iterable[Path]) -> list[Path]:
    """Return the files that are COCO data sets by their content, with an image listed.

    One that breaks off, or holds what is no JSON, is one by how it begins.
    """
    return [path for path in files if path.suffix.lower() == ".json" and _is_coco(path)]


def possible_documents(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the JSON files where COCO's may lie, whatever is in them, to say what is wrong.

    In the folder or, where it has none, in `annotations/`; a list is none.
    """
    candidates = [p for p in files if p.suffix.lower() == ".json" and not _is_list(p)]
    for parent in (folder, folder / "annotations"):
        documents = [path for path in candidates if path.parent == parent]
        if documents:
            return documents
    return []


def the_document(folder: Path, files: Iterable[Path]) -> Path:
    """Return the one file of a folder that may be meant for COCO, though it is not.

    Raises:
        DataError: If there is not one.
    """
    every = [path for path in files if path.suffix.lower() == ".json"]
    documents = possible_documents(folder, every)
    if len(documents) != 1:
        names = names_text(documents or every, folder) or "none"
        raise DataError(
            f"{folder} should hold a COCO JSON, an object with images, annotations and categories; "
            f"found {names}."
        )
    return documents[0]


def read_documents(folder: Path, paths: Sequence[Path]) -> tuple[list[SourceDocument], list[str]]:
    """Read the COCO files of a folder.

    Returns:
        Those that hold truth, in the order of their paths; and a sentence on each other, and on
        what looks odd in one.

    Raises:
        DataError: If there is none, one is not COCO, ids are missing or given twice, or no
            annotation names an image and a category that are listed.
    """
    documents = [_read(folder, path) for path in paths]
    truths = [document for document in documents if document.has_boxes and not document.has_scores]
    notes = []
    for document in documents:
        if not truths:
            if document.has_scores:
                notes.append(
                    f"all annotations of {document.name} have a score, as detections do; they are "
                    "taken as truth"
                )
        elif document.has_scores:
            notes.append(
                f"{document.name} is not used: all its annotations have a score, as detections do, "
                "and another file holds truth"
            )
        elif not document.has_boxes:
            notes.append(f"{document.name} is not used: its annotations have no boxes")
        elif len(truths) > 1 and not document.annotations.images:
            notes.append(
                f"{document.name} lists {len(document.images)} image(s) and no annotation: they "
                "are taken as read, and nothing was found in them"
            )
    return truths or documents, notes


def _read(folder: Path, path: Path) -> SourceDocument:
    document = read_document(path)
    for category in document.categories:
        if category.name.strip().casefold() == NO_FINDING.casefold():
            category.name = NO_FINDING
    entries = entries_of(path, document.annotations, Annotation)
    annotations = annotations_of(path, entries)
    classes = classes_of(
        path, document.categories, lambda: set(annotations.categories), repeated=[NO_FINDING]
    )
    nameless = next((n for n, image in enumerate(document.images) if image.file_name is None), None)
    if nameless is not None:
        raise DataError(f"{path}: entry {nameless} of images has no file_name. Name the file.")
    listed = {image.id for image in document.images}
    no_image, no_class, left_out = find_unlisted(path, annotations, listed, classes.names)
    ignored = ~no_image & ~no_class & (annotations.crowd | annotations.doubtful)
    use = Use(~no_image & ~no_class & ~ignored, no_class, ignored)
    relative = PurePosixPath(path.relative_to(folder).as_posix())
    return SourceDocument(
        names_text([path], folder),
        relative.parent,
        path.stem,
        document.images,
        annotations,
        use,
        classes.names,
        bool(entries) and all(_is_score(entry.score) for entry in entries),
        not entries or any(e.bbox is not None or bytes(e.segmentation) != b"null" for e in entries),
        (*classes.notes, *_notes(annotations, use, left_out)),
    )


def _notes(entries: Annotations, use: Use, left_out: Sequence[str]) -> list[str]:
    """Return what was left out or changed, a sentence each."""
    is_turned = np.zeros(len(use.used), bool)
    is_turned[list(entries.rotations)] = True
    is_turned &= use.used & ~np.isnan(entries.boxes).any(axis=1)
    counts = {
        "are to be ignored (iscrowd, ignore or difficult) and are not boxes here": use.ignored,
        "have no bbox; their box is the extent of their segmentation": use.used & entries.outlined,
        "are turned boxes (rotation); the upright box around each is used, cut at the edges of "
        "the image": is_turned,
    }
    notes = [f"{flags.sum()} annotation(s) {text}" for text, flags in counts.items() if flags.any()]
    return [*left_out, *notes]


def _is_score(value: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_coco(path: Path) -> bool:
    """Return whether a file is a COCO data set that lists an image."""
    head = json_head(path)
    if head is None or head.first != b"{":
        return False
    if not head.is_whole:
        return _LISTS.search(head.content) is not None
    is_coco = is_dataset(head.content)
    return _LISTS.search(head.content[:HEAD_BYTES]) is not None if is_coco is None else is_coco


def _is_list(path: Path) -> bool:
    head = json_head(path)
    return head is not None and head.first == b"["
