"""YOLO's labels: a text a film, a row a box, `class x_center y_center width height` in fractions.

The label of `train/images/a.png` is `train/labels/a.txt`, as Ultralytics has it, or `a.txt` beside
it, as darknet and labelImg have it; else the file of rows whose name no other film has. A row of
more corners (segments; oriented boxes) is its extent. A row with a confidence is a detector's, and
no truth. An empty label says that its film was read and shows none of the classes; of a film
without a label nobody is known to have read it, though Ultralytics takes it for a negative.

Tried on what datumaro and labelformat write of real films; folders of other tools are as described.
Sources: docs.ultralytics.com/datasets/detect, /segment and /obb; github.com/AlexeyAB/darknet.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path, PurePath, PurePosixPath

from cxrssl.core.errors import DataError
from cxrssl.core.labels import NO_FINDING
from cxrssl.data.tables.files import is_image, names_text
from cxrssl.data.tables.label_files import ImageNames, is_link_out, label_text
from cxrssl.data.tables.marks import NO_BOX, NO_READER, Corners, Mark, StatedImage, StatedMarks
from cxrssl.data.tables.yolo_names import ClassNames, is_text_of_names, read_names

_SUFFIX = ".txt"
# What lists the images of a part of the data set, or is about all of it.
_OTHER_TEXTS = {"train.txt", "val.txt", "valid.txt", "test.txt", "default.txt"}
_HEAD_CHARACTERS = 1 << 16
_ROW = "class x_center y_center width height"
_PREDICTIONS = (
    "it has {} numbers: a box and, it seems, a confidence, which a detector writes and no reader"
)


@dataclass
class _Labels:
    """The labels of a folder.

    Attributes:
        images: Label -> names of its images, relative to the folder; of a label without an image
            the name that it would have.
        num_guessed: How many are neither in labels/ nor beside their image.
    """

    images: dict[Path, list[str]] = field(default_factory=dict)
    num_guessed: int = 0


@dataclass(frozen=True)
class _Row:
    class_id: int
    box: Corners
    line: int


@dataclass
class _Reading:
    """What was read so far, and counts for notes."""

    marks: list[Mark] = field(default_factory=list)
    images: list[StatedImage] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    class_ids: set[int] = field(default_factory=set)


def yolo_tables(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the labels of a folder, by their place and what is in them; [] if there are none.

    Texts that are called as images are may be reports: one at least has rows of numbers, or is
    empty and in labels/.
    """
    labels = _labels_in(folder, files).images
    kinds = (_kind_of(path, folder) for path in labels)
    if any(
        kind == "rows" or (kind == "empty" and _is_in_labels(path.relative_to(folder)))
        for path, kind in zip(labels, kinds, strict=True)
    ):
        return list(labels)
    return []


def read_yolo(folder: Path, files: Iterable[Path]) -> StatedMarks:
    """Read the labels of a folder, and the names of their classes.

    Raises:
        DataError: If a file of class names can't be used, two of them differ, or all labels are
            a detector's.
    """
    files = list(files)
    labels = _labels_in(folder, files)
    names = read_names(folder, files)
    reading = _Reading()
    for path, images in labels.images.items():
        _read_label(path, folder, images, names[0] if names else None, reading)
    predicted, drawn = reading.counts["predictions"], reading.counts["with rows"]
    if predicted and predicted == drawn:
        raise DataError(
            f"every label with rows ({predicted}) has a confidence in them. {_fault_of(reading)} "
            "Name a folder of labels that a reader drew."
        )
    tables = (*labels.images, *(file.path for file in names))
    classes = dict(sorted(names[0].names.items())) if names else {}
    for class_id in sorted(reading.class_ids):
        classes.setdefault(class_id, _unnamed(class_id))
    ordered = tuple(dict.fromkeys(map(_plain_class, classes.values())))
    notes = (*_name_notes(names), *_notes(reading.counts, labels))
    return StatedMarks(
        tables, reading.marks, reading.images, "center", "fraction", ordered, notes=notes
    )


def _labels_in(folder: Path, files: Iterable[Path]) -> _Labels:
    """Pair the texts of a folder with its images."""
    paths = {PurePosixPath(path.relative_to(folder)): path for path in files}
    texts = {name: path for name, path in paths.items() if _may_be_label(path)}
    labels = _Labels()
    others: list[PurePosixPath] = []
    for name, path in paths.items() if texts else ():
        if name.suffix.lower() == _SUFFIX or not is_image(path):
            continue
        label = next((texts[place] for place in _places(name) if place in texts), None)
        if label is None:
            others.append(name)
        else:
            labels.images.setdefault(label, []).append(str(name))
    unpaired = {name: path for name, path in texts.items() if path not in labels.images}
    kinds = {name: _kind_of(path, folder) for name, path in unpaired.items()}
    _add_others(labels, unpaired, kinds, ImageNames(others))
    return labels


def _add_others(
    labels: _Labels,
    texts: Mapping[PurePosixPath, Path],
    kinds: Mapping[PurePosixPath, str],
    images: ImageNames,
) -> None:
    """Add the texts of rows that lie elsewhere than the label of an image, or have none."""
    folders = {path.parent for path in labels.images}
    for name, path in texts.items():
        kind = kinds[name]
        if kind != "rows" and not (kind == "empty" and _is_in_labels(name)):
            continue
        image = images.with_name(name.stem, near=name.parent)
        if image is not None:
            labels.images[path] = [str(image)]
            labels.num_guessed += 1
        elif path.parent in folders or _is_in_labels(name):
            labels.images[path] = [str(_with_last(name.with_suffix(""), "labels", "images"))]


def _may_be_label(path: Path) -> bool:
    is_text = path.suffix.lower() == _SUFFIX
    return is_text and path.name.lower() not in _OTHER_TEXTS and not is_text_of_names(path)


def _places(image: PurePosixPath) -> Iterator[PurePosixPath]:
    """Yield where the label of an image may lie."""
    label = image.with_suffix(_SUFFIX)
    yield _with_last(label, "images", "labels")
    yield label


def _with_last(path: PurePosixPath, part: str, other: str) -> PurePosixPath:
    """Return a path in which the last folder called `part` is called `other`."""
    parts = list(path.parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == part:
            parts[index] = other
            break
    return PurePosixPath(*parts)


def _is_in_labels(path: PurePath) -> bool:
    return "labels" in (part.casefold() for part in path.parent.parts)


def _kind_of(path: Path, folder: Path) -> str:
    """Return "rows" or "empty" for what a label may be, by its first line; "other" for a text."""
    if is_link_out(path, folder):
        return "other"
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            lines = file.read(_HEAD_CHARACTERS).split("\n")
    except OSError:
        return "other"
    fields = next((line.split() for line in lines if line.strip()), [])
    if not fields:
        return "empty"
    # The class and what is surely whole of a box, should the line go on.
    numbers = [_number(text) for text in fields[:5]]
    is_row = len(numbers) == 5 and None not in numbers and (numbers[0] or 0.0).is_integer()
    return "rows" if is_row else "other"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read_label(
    path: Path, folder: Path, images: list[str], names: ClassNames | None, reading: _Reading
) -> None:
    """Read one label; what is wrong with it is a fault of its images."""
    place = names_text([path], folder)
    counts = Counter[str]()
    fault = ""
    try:
        rows = list(_rows(label_text(path, folder), place, names, counts))
    except DataError as error:
        rows, fault = [], str(error)
    reading.counts.update(counts)
    reading.counts["with rows"] += bool(rows or counts or fault)
    for image in images:
        marks = [_mark(row, image, place, names) for row in rows]
        reading.counts["no finding"] += sum(mark.category == NO_FINDING for mark in marks)
        if not marks and not fault:
            marks = [Mark(image, NO_READER, NO_FINDING, NO_BOX, place)]
        is_normal = bool(marks) and all(mark.category == NO_FINDING for mark in marks)
        kind = "normal" if is_normal else ""
        reading.images.append(StatedImage(image, place, kind=kind, fault=fault))
        reading.marks.extend(marks)
    reading.class_ids.update(row.class_id for row in rows)


def _mark(row: _Row, image: str, place: str, names: ClassNames | None) -> Mark:
    name = _plain_class(_name_of(row.class_id, names))
    box = NO_BOX if name == NO_FINDING else row.box
    return Mark(image, NO_READER, name, box, f"{place}, line {row.line}")


def _rows(text: str, place: str, names: ClassNames | None, counts: Counter[str]) -> Iterator[_Row]:
    """Yield the rows of a label.

    Raises:
        DataError: If one is broken.
    """
    has_keypoints = names is not None and names.has_keypoints
    for line, fields in enumerate((line.split() for line in text.split("\n")), start=1):
        if not fields:
            continue
        where = f"{place}, line {line}"
        numbers = [_number(text) for text in fields]
        values = [nan if value is None else value for value in numbers]
        if None in numbers:  # not quoted: a text may be anything, a report among it
            word = f"field {numbers.index(None) + 1} is not a number; expected {_ROW}"
            raise DataError(f"{where}: {word}.")
        if len(values) < 5:
            raise DataError(f"{where}: it has {len(values)} numbers; expected {_ROW}.")
        class_id = _class_id(values[0], names, where)
        if len(values) == 5 or has_keypoints:
            counts["keypoints"] += has_keypoints
            yield _Row(class_id, _from_center(values[1:5]), line)
        elif len(values) % 2 == 0:
            counts["predictions"] = 1  # labels, not rows
            raise DataError(f"{where}: {_PREDICTIONS.format(len(values))}; expected {_ROW}.")
        else:
            counts["outlines"] += 1
            yield _Row(class_id, _extent(values[1:]), line)


def _class_id(value: float, names: ClassNames | None, where: str) -> int:
    if not isfinite(value) or not value.is_integer() or value < 0:
        raise DataError(
            f"{where}: the class is {value:g}; expected a whole number from 0 on, in {_ROW}."
        )
    class_id = int(value)
    if names is not None and class_id not in names.names:
        least, most = min(names.names), max(names.names)
        # All names in one line, as a list is often written.
        is_list = len(names.names) == 1 and re.search(r"[\s,;]", names.names[least]) is not None
        hint = " Its one name seems to be several: write one a line." if is_list else ""
        raise DataError(
            f"{where}: the class is {class_id}, and {names.place} names {len(names.names)}, from "
            f"{least} to {most}. Name it there, or correct the row.{hint}"
        )
    return class_id


def _from_center(values: list[float]) -> Corners:
    x, y, width, height = values
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _extent(values: list[float]) -> Corners:
    if not all(map(isfinite, values)):
        return NO_BOX
    xs, ys = values[0::2], values[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _name_of(class_id: int, names: ClassNames | None) -> str:
    return _unnamed(class_id) if names is None else names.names[class_id]


def _unnamed(class_id: int) -> str:
    return f"class {class_id}"


def _plain_class(name: str) -> str:
    return NO_FINDING if name.casefold() == NO_FINDING.casefold() else name


def _fault_of(reading: _Reading) -> str:
    return next(image.fault for image in reading.images if image.fault)


def _name_notes(names: list[ClassNames]) -> Iterator[str]:
    if not names:
        yield (
            "no data.yaml, obj.names or classes.txt names the classes: they are called class 0, "
            "class 1 and so on"
        )
        return
    yield f"class names are those of {names[0].place}"
    repeated = [name for name, count in Counter(names[0].names.values()).items() if count > 1]
    if repeated:
        yield f"{len(repeated)} class name(s) stand for several ids there: each name is one class"
    if names[0].splits:
        yield (
            f"how {names[0].place} divides the images ({', '.join(names[0].splits)}) is not read "
            "from there"
        )


def _notes(counts: Mapping[str, int], labels: _Labels) -> list[str]:
    told = {
        "label(s) are neither in labels/ nor beside their image; their images were found by the "
        "name, which no other has": labels.num_guessed,
        "row(s) are outlines or turned boxes; the upright box around each is used": counts[
            "outlines"
        ],
        "row(s) have keypoints, which are not used": counts["keypoints"],
        f"row(s) are of a class called {NO_FINDING!r}: each says so of its image, and its box is "
        "not used": counts["no finding"],
    }
    return [f"{count} {text}" for text, count in told.items() if count]
