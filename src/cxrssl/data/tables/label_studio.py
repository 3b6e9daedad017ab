"""Label Studio's own JSON exports as a source.

An annotator is a reader. An annotation without a region is a reader who found nothing; a skipped
one, a task without annotations and a model's predictions are no reading. Rectangles, and the extent
of polygons and ellipses, are boxes; masks that were painted are none that can be told.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable
from cxrssl.data.tables.files import names_text
from cxrssl.data.tables.label_studio_regions import Region, labels_by_region, region_of
from cxrssl.data.tables.label_studio_tasks import Annotation, Task, tasks_of
from cxrssl.data.tables.marks import NO_BOX, NO_READER, Mark, StatedImage, StatedMarks
from cxrssl.data.tables.stated_patients import PATIENT_KEYS, stated_patient

_NORMAL = {
    "normal", "no finding", "no findings", "no_finding", "nofinding", "healthy", "negative"
}  # fmt: skip
_OTHER = {"other finding", "other findings", "other_finding", "abnormal", "other"}
_ONLY_CLASS = "finding"
_SHAPELESS = {"labels", "relation"}
_NO_IMAGE = "its task has several images, and to_name is none of their keys in data"


@dataclass(frozen=True)
class _Reading:
    """What one annotator said of one image; `choices` are of the image as a whole."""

    image: str
    reader: int | str | None
    time: str
    place: str
    regions: list[Region] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)


def read_label_studio(folder: Path, tables: Sequence[Path]) -> StatedMarks:
    """Read the Label Studio exports of a folder.

    Raises:
        DataError: If one can't be read, or a task names no image file.
    """
    tasks = [t for path in tables for t in tasks_of(path, names_text([path], folder))]
    counts: Counter[str] = Counter()
    readings = [reading for task in tasks for reading in _readings(task, counts)]
    latest, num_older = _latest(readings)
    if num_older:
        counts["annotations of an image whose annotator changed it later; the last one counts"] = (
            num_older
        )
    readers = _reader_names(latest)
    drawn = {label.casefold() for r in latest for s in r.regions if s.is_box for label in s.labels}
    boxed = {r.image for r in latest if any(region.is_box for region in r.regions)}
    if not drawn:
        counts[f"boxes without a label, of a project without labels: each is a {_ONLY_CLASS!r}"] = (
            sum(region.is_box for reading in latest for region in reading.regions)
        )
    marks: list[Mark] = []
    images = [image for task in tasks for image in _images(task)]
    for reading in latest:
        images.append(_stated_image(reading, drawn, is_boxed=reading.image in boxed))
        marks += _marks(reading, readers[reading.place, reading.image], drawn)
    notes = (*_shape_notes(latest), *(f"{n} {text}" for text, n in counts.items() if n))
    return StatedMarks(
        tuple(tables),
        marks,
        images,
        "sides",
        "fraction",
        notes=(*_reader_notes(latest), *notes, *_choice_notes(latest)),
    )


def _images(task: Task) -> Iterator[StatedImage]:
    patient = stated_patient(task.data.get(key) for key in PATIENT_KEYS)
    for names in task.images.values():
        for name in names:
            yield StatedImage(name, task.place, patient=patient)


def _readings(task: Task, counts: Counter[str]) -> Iterator[_Reading]:
    """Yield what each annotator of a task said of each of its images; count what is left out."""
    counts["predictions of a model, or drafts, which are not used"] += task.num_predictions
    for annotation in task.annotations:
        if annotation.is_skipped:
            counts["annotations that were skipped, which are not used"] += 1
            continue
        readings = {
            name: _Reading(name, annotation.reader, annotation.time, annotation.place)
            for names in task.images.values()
            for name in names
        }
        _sort(annotation, task, readings, counts)
        yield from readings.values()


def _sort(
    annotation: Annotation, task: Task, readings: Mapping[str, _Reading], counts: Counter[str]
) -> None:
    """Give each result of an annotation to the image it is of."""
    apart = labels_by_region(annotation.results)
    found = [(result, region_of(result, apart)) for result in annotation.results]
    region_ids = {str(result.get("id")) for result, region in found if region is not None}
    for result, region in found:
        choices = _choices(result)
        if region is None and (not choices or str(result.get("id")) in region_ids):
            if str(result.get("type")) not in _SHAPELESS:
                what = printable(str(result.get("type")))[:40]
                counts[f"results of type {what}, or of a single region, which are not used"] += 1
            continue
        name = _image_of(result, task)
        if name is None and region is not None:
            region = replace(region, fault=_NO_IMAGE)
        for reading in readings.values() if name is None else [readings[name]]:
            if region is not None:
                reading.regions.append(region)
            reading.choices.extend(choices)


def _choices(result: Mapping[str, Any]) -> list[str]:
    """Return the classes of an image as a whole that an entry of `result` names."""
    value = result.get("value")
    choices = value.get("choices") if isinstance(value, dict) else None
    if result.get("type") != "choices" or not isinstance(choices, list):
        return []
    return [choice.strip() for choice in choices if isinstance(choice, str)]


def _image_of(result: Mapping[str, Any], task: Task) -> str | None:
    """Return the name of the image that an entry of `result` is of, None if it can't be told."""
    key = result.get("to_name")
    names = task.images.get(key) if isinstance(key, str) else None
    if names is None and len(task.images) == 1:
        names = next(iter(task.images.values()))
    index = result.get("item_index") or 0
    if names is None or not isinstance(index, int) or not 0 <= index < len(names):
        return None
    return names[index]


def _latest(readings: Iterable[_Reading]) -> tuple[list[_Reading], int]:
    """Return the last reading of each image by each annotator, and how many are older."""
    kept: dict[tuple[object, ...], _Reading] = {}
    num_older = 0
    for number, reading in enumerate(readings):
        is_named = reading.reader is not None
        key = (reading.image, reading.reader if is_named else (None, number))
        before = kept.get(key)
        num_older += before is not None
        if before is None or before.time <= reading.time:
            kept[key] = reading
    return list(kept.values()), num_older


def _reader_names(readings: Sequence[_Reading]) -> dict[tuple[str, str], str]:
    """Return place and image -> reader: by the annotator's number, never by an address."""
    texts = sorted({reading.reader for reading in readings if isinstance(reading.reader, str)})
    numbers = {text: number for number, text in enumerate(texts, start=1)}
    nameless: Counter[str] = Counter()
    names: dict[tuple[str, str], str] = {}
    for reading in readings:
        if isinstance(reading.reader, int):
            name = f"R{reading.reader}"
        elif reading.reader is not None:
            name = f"A{numbers[reading.reader]}"
        else:
            nameless[reading.image] += 1
            count = nameless[reading.image]
            name = NO_READER if count == 1 else f"{NO_READER}-{count}"
        names[reading.place, reading.image] = name
    return names


def _stated_image(reading: _Reading, drawn: set[str], *, is_boxed: bool) -> StatedImage:
    """Return what a reading says of its image as a whole; `is_boxed`: somebody drew a box."""
    sizes = [region.size for region in reading.regions if region.size]
    choices = {choice.casefold() for choice in reading.choices}
    kind = "other finding" if choices & _OTHER else "normal" if choices & _NORMAL else ""
    return StatedImage(
        reading.image,
        reading.place,
        sizes[0] if sizes else None,
        kind="" if is_boxed else kind,
        unmarked=_why_unmarked(reading, drawn),
    )


def _why_unmarked(reading: _Reading, drawn: set[str]) -> str:
    """Return why the boxes of a reading are not all that its annotator marked, "" if they are."""
    for region in reading.regions:
        if region.fault:
            return f"{reading.place}: a {region.shape} has no box that can be told: {region.fault}"
        if region.is_area:
            return f"{reading.place}: a region was painted ({region.shape}), and has no box"
        if region.is_box and drawn and not region.labels:
            return f"{reading.place}: a {region.shape} has no label"
    if any(region.is_box for region in reading.regions):
        return ""
    if reading.regions:
        return f"{reading.place}: it has points and no box"
    without = next((choice for choice in reading.choices if choice.casefold() in drawn), None)
    if without is not None:
        return f"{reading.place} names {printable(without)} without a box, a class that has boxes"
    return ""


def _marks(reading: _Reading, reader: str, drawn: set[str]) -> Iterator[Mark]:
    """Yield the boxes of a reading, or that nothing was found; both if it contradicts itself."""
    boxes = [region for region in reading.regions if region.is_box]
    is_normal = any(choice.casefold() in _NORMAL for choice in reading.choices)
    if not boxes or is_normal:
        yield Mark(reading.image, reader, NO_FINDING, NO_BOX, reading.place)
    for number, region in enumerate(boxes):
        if region.fault:
            continue  # its image is left out
        for label in region.labels or ([] if drawn else [_ONLY_CLASS]):
            category = NO_FINDING if label.casefold() == NO_FINDING.casefold() else label
            yield Mark(
                reading.image, reader, category, region.box, f"{reading.place}, region {number}"
            )


def _shape_notes(readings: Iterable[_Reading]) -> Iterator[str]:
    regions = [region for reading in readings for region in reading.regions]
    counts = {
        "polygon(s) and ellipse(s) are read as the boxes around them": (
            sum(region.is_box and region.shape != "rectangle" for region in regions)
        ),
        "region(s) are turned; the upright box around each is used, cut at the image's edges": (
            sum(region.is_turned for region in regions)
        ),
        "region(s) were painted and have no box: their images are taken as not fully marked": (
            sum(region.is_area for region in regions)
        ),
        "point(s) or line(s) are no boxes, and are not used": (
            sum(not region.is_box and not region.is_area for region in regions)
        ),
    }
    yield from (f"{count} {text}" for text, count in counts.items() if count)


def _reader_notes(readings: Iterable[_Reading]) -> Iterator[str]:
    keys = {reading.reader for reading in readings}
    num_ids = sum(isinstance(key, int) for key in keys)
    num_texts = sum(isinstance(key, str) for key in keys)
    if num_ids:
        yield f"{num_ids} annotator(s) are readers R and their number in Label Studio"
    if num_texts:
        yield (
            f"{num_texts} annotator(s) are named by an address or a name: they are readers A1, A2, "
            "... in the order of the alphabet, and the names are not kept"
        )
    if None in keys:
        yield "annotations that do not say who made them (completed_by) are one reader's each"


def _choice_notes(readings: Iterable[_Reading]) -> Iterator[str]:
    counts = Counter(choice for reading in readings for choice in reading.choices)
    other = {c: n for c, n in counts.items() if c.casefold() not in _NORMAL | _OTHER}
    if other:
        shown = ", ".join(f"{printable(c)[:40]!r} ({n})" for c, n in list(other.items())[:5])
        yield (
            f"{sum(other.values())} choice(s) of images as a whole tell nothing of boxes and are "
            f"not used, such as {shown}"
        )
