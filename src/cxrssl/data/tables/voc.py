"""Pascal VOC's XML: a file a film, an `object` a box, corners in pixels.

The image is the one that `filename` names, near the XML: beside it, or in a folder such as
JPEGImages/ or images/ in the place of Annotations/; else the one that is called as the XML is.
Corners are taken as they stand, as CVAT, Roboflow, datumaro and labelformat write them, from 0.
PASCAL's own files count pixels from 1: there boxes are a pixel off, to the right and below. Objects
that are `difficult` are left out, as COCO's are. An XML without an object says that its film was
read and shows none of the classes.

Tried on what datumaro and labelformat write of real films; folders of other tools are as described.
Source: Everingham and Winn, The PASCAL VOC 2012 development kit, section 8.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path, PurePosixPath

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable
from cxrssl.core.sizes import is_unreadable, stated_size, unreadable_note
from cxrssl.data.tables.files import is_image, names_text
from cxrssl.data.tables.label_files import ImageNames, is_link_out, label_content
from cxrssl.data.tables.marks import NO_BOX, NO_READER, Corners, Mark, StatedImage, StatedMarks
from cxrssl.data.tables.xml_text import Element, parse_xml, root_tag

_ROOT = "annotation"
_MASKS = {"SegmentationClass", "SegmentationObject"}
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FALSE_WORDS = {"", "0", "false", "no", "none", "unspecified"}


@dataclass
class _Reading:
    """What was read so far, and counts for notes."""

    marks: list[Mark] = field(default_factory=list)
    images: list[StatedImage] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    first_place: dict[str, str] = field(default_factory=dict)


def voc_tables(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the XML files whose root is `annotation`, and broken ones in the same folders.

    [] if there is none of the first.
    """
    tags = {
        path: None if is_link_out(path, folder) else root_tag(path)
        for path in files
        if path.suffix.lower() == ".xml"
    }
    folders = {path.parent for path, tag in tags.items() if tag == _ROOT}
    return [p for p, tag in tags.items() if tag == _ROOT or (tag is None and p.parent in folders)]


def voc_images(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the images of a folder, without the masks of PASCAL's segmentations."""
    return [
        path
        for path in files
        if is_image(path) and not _MASKS & set(path.relative_to(folder).parts[:-1])
    ]


def read_voc(folder: Path, tables: Sequence[Path], images: Iterable[Path]) -> StatedMarks:
    """Read the XML files of a folder.

    What is wrong with a file is a fault of its image.

    Args:
        folder: Folder of the source.
        tables: Its files as `voc_tables` returns them.
        images: Its images as `voc_images` returns them.
    """
    names = ImageNames(PurePosixPath(path.relative_to(folder)) for path in images)
    reading = _Reading()
    for path in tables:
        _read_file(path, folder, names, reading)
    notes = (*_notes(reading.counts), *_list_notes(folder, tables))
    return StatedMarks(tuple(tables), reading.marks, reading.images, notes=notes)


def _read_file(path: Path, folder: Path, names: ImageNames, reading: _Reading) -> None:
    """Read one file; what is wrong with it is a fault of its image."""
    place = names_text([path], folder)
    relative = PurePosixPath(path.relative_to(folder))
    own_image = names.with_name(relative.stem, near=relative.parent)
    name, fault, unmarked = str(own_image or relative.with_suffix("")), "", ""
    marks: list[Mark] = []
    counts = Counter[str]()
    size = None
    try:
        root = parse_xml(label_content(path, folder), place=place)
        name, is_own = _image_of(root, relative, place, names)
        counts["own name"] += is_own
        size = _size(root, counts)
        marks = list(_marks(root, name, place, counts))
    except DataError as error:
        fault = str(error)
    before = reading.first_place.setdefault(name, place)
    if before != place and not fault:
        fault = (
            f"{before} and {place} are of one image, and the format names no reader. Leave one of "
            "them out."
        )
    if fault:
        reading.images.append(StatedImage(name, place, fault=fault))
        return
    reading.counts.update(counts)
    if not marks and counts["ignored"]:
        unmarked = f"{place}: all its objects are to be ignored (difficult)"
    elif not marks:
        marks = [Mark(name, NO_READER, NO_FINDING, NO_BOX, place)]
    is_normal = bool(marks) and all(mark.category == NO_FINDING for mark in marks)
    kind = "normal" if is_normal else ""
    reading.marks.extend(marks)
    reading.images.append(StatedImage(name, place, size, kind=kind, unmarked=unmarked))


def _image_of(
    root: Element, path: PurePosixPath, place: str, names: ImageNames
) -> tuple[str, bool]:
    """Return the name of the image, and whether only the XML's own name leads to it.

    Raises:
        DataError: If the XML names one image and is called as another is.
    """
    own_image = names.with_name(path.stem, near=path.parent)
    stated = root.text_of("filename")
    last_part = stated.replace("\\", "/").rsplit("/", maxsplit=1)[-1]
    image = names.with_name(last_part, near=path.parent) if last_part else None
    if image is not None and own_image is not None and image != own_image:
        raise DataError(
            f"{place}: its filename is that of one image, and its own name that of another. "
            "Correct the one that is wrong."
        )
    if image is not None:
        return str(image), False
    if own_image is not None:
        return str(own_image), bool(stated)
    return stated or path.stem, False


def _marks(root: Element, name: str, place: str, counts: Counter[str]) -> Iterator[Mark]:
    """Yield the boxes of an image.

    Raises:
        DataError: If an object has no name or no box.
    """
    for part in root.parts:
        if part.tag != "object":
            continue
        category = part.text_of("name")
        if not category:
            raise DataError(f"{place}, line {part.line}: the object has no name. Name its class.")
        if part.text_of("difficult").casefold() not in _FALSE_WORDS:
            counts["ignored"] += 1
            continue
        where = f"{place}, line {part.line}"
        if category.casefold() == NO_FINDING.casefold():
            counts["no finding"] += 1
            yield Mark(name, NO_READER, NO_FINDING, NO_BOX, where)
        else:
            yield Mark(name, NO_READER, category, _box(part, category, where), where)


def _box(part: Element, category: str, where: str) -> Corners:
    bounds = part.part("bndbox")
    if bounds is None:
        raise DataError(
            f"{where}: {printable(category[:50])} has no bndbox; expected one with "
            f"{', '.join(_CORNERS)} in pixels."
        )
    x_min, y_min, x_max, y_max = (_number(bounds.text_of(tag)) for tag in _CORNERS)
    return x_min, y_min, x_max, y_max


def _number(text: str) -> float:
    """Return the number of a text; inf for what is none."""
    try:
        return float(text)
    except ValueError:
        return inf


def _size(root: Element, counts: Counter[str]) -> tuple[int, int] | None:
    size = root.part("size")
    if size is None:
        return None
    width, height = size.text_of("width"), size.text_of("height")
    counts["unreadable size"] += is_unreadable(width) or is_unreadable(height)
    return stated_size(width, height)


def _notes(counts: Counter[str]) -> list[str]:
    told = {
        "XML file(s) name an image that is not there; the one of the XML's own name is used": (
            counts["own name"]
        ),
        "object(s) are to be ignored (difficult) and are not boxes here": counts["ignored"],
        f"object(s) are called {NO_FINDING!r}: each says so of its image, and its box is not "
        "used": counts["no finding"],
    }
    notes = [f"{count} {text}" for text, count in told.items() if count]
    if counts["unreadable size"]:
        notes.append(unreadable_note(counts["unreadable size"]))
    return notes


def _list_notes(folder: Path, tables: Sequence[Path]) -> list[str]:
    """Say that lists of images, which divide them, are not read."""
    lists = {place / "ImageSets" for path in tables for place in (path.parent, path.parent.parent)}
    found = sorted(place for place in lists if place.is_relative_to(folder) and place.is_dir())
    if not found:
        return []
    return [f"lists of images are not read: {names_text(found, folder)}"]
