"""The RSNA Pneumonia Detection Challenge of 2018, stage 2, as Kaggle has it.

`stage_2_train_labels.csv` (patientId, x, y, width, height, Target): a row a box of the one class
"Lung Opacity", with Target 1; a row with Target 0 and without a box says that the film was read and
shows none. `stage_2_detailed_class_info.csv` (patientId, class) tells which of these are normal.
Films are `stage_2_train_images/<patientId>.dcm`, of 1024x1024 pixels, in which boxes are; a resized
copy is scaled. The films of stage_2_test_images have no row. Of each film one reading was
published: its reader is "R0".

patientId names a film, and not a person: the films are NIH's, which have several of many people.
`pneumonia-challenge-dataset-mappings_2018.json` (RSNA; `subset_img_id`, `img_id`) names the NIH
film of each; where it lies in the folder, patients are known.

Source: Shih et al., "Augmenting the National Institutes of Health Chest Radiograph Dataset with
Expert Annotations of Possible Pneumonia", Radiology: AI 2019, and the challenge's data page.
Never tried on the real films, nor on the real class and mapping files; `stage_2_train_labels.csv`
was, as torchxrayvision ships it.
"""

from collections.abc import Iterable, Mapping
from math import isnan
from pathlib import Path
from typing import NamedTuple

from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable
from cxrssl.data.tables.marks import NO_BOX, NO_READER, Mark, StatedImage, StatedMarks
from cxrssl.data.tables.nih import FILM_SIZE
from cxrssl.data.tables.patients import nih_patient
from cxrssl.data.tables.published_files import (
    JsonObject,
    PublishedSource,
    Record,
    csv_files,
    files_named,
    json_content,
    json_has,
    number_in,
    records_of,
    single_file,
)

_LABELS = "stage_2_train_labels.csv"
_DETAILS = "stage_2_detailed_class_info.csv"
_MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
_BOX = ("x", "y", "width", "height")
_LABEL_COLUMNS = ("patientId", *_BOX, "Target")
_DETAIL_COLUMNS = ("patientId", "class")
_CLASS = "Lung Opacity"
_KINDS = {"Normal": "normal", "No Lung Opacity / Not Normal": "other finding", _CLASS: ""}


class _MappedFilm(JsonObject):
    img_id: str
    subset_img_id: str | None = None


class _Detail(NamedTuple):
    """The class of a film, and where it stands."""

    name: str
    place: str


def rsna_tables(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the tables of the data set in a folder; [] if its labels are not there.

    Raises:
        DataError: If one of them is there twice.
    """
    files = list(files)
    groups = [
        csv_files(files, _LABELS, _LABEL_COLUMNS),
        csv_files(files, _DETAILS, _DETAIL_COLUMNS),
        [p for p in files_named(files, _MAPPING) if json_has(p, "[", "subset_img_id", "img_id")],
    ]
    return [single_file(folder, group) for group in groups if group] if groups[0] else []


def read_rsna(source: PublishedSource) -> StatedMarks:
    """Read the tables of the data set.

    Raises:
        DataError: If one can't be read.
    """
    (path,) = source.called(_LABELS)
    labels = records_of(path, source.name_of(path), _LABEL_COLUMNS)
    details, faults = _details(source)
    patients = _patients(source)
    marks: list[Mark] = []
    images: list[StatedImage] = []
    for record in labels:
        name = record.values["patientId"]
        detail = details.get(name)
        kind = _KINDS.get(detail.name, "") if detail else ""
        images.append(StatedImage(name, record.place, FILM_SIZE, patients.get(name, ""), kind=kind))
        mark = _mark(record)
        fault = mark if isinstance(mark, str) else _contradiction(mark, detail)
        if fault:
            faults.setdefault(name, fault)
        elif isinstance(mark, Mark):
            marks.append(mark)
    names = {image.name for image in images}
    images += [
        StatedImage(path, _MAPPING, patient=patients[name])
        for path, name in source.other_images(names).items()
        if name in patients
    ]
    notes = _notes(names, details, patients)
    return StatedMarks(
        tuple(source.tables), marks, images, "sides", notes=tuple(notes), faults=faults
    )


def _mark(record: Record) -> Mark | str:
    """Return what a row of the labels says, or what is wrong with it."""
    values, place = record
    name, target = values["patientId"], values["Target"]
    x, y, width, height = (number_in(values[column]) for column in _BOX)
    is_empty = all(map(isnan, (x, y, width, height)))
    if target == "1":
        return Mark(name, NO_READER, _CLASS, (x, y, x + width, y + height), place)
    if target != "0":
        return f"{place}: Target is {printable(target[:50])!r}; expected 0 or 1."
    if not is_empty:
        return f"{place}: Target is 0, no lung opacity, and the row has a box. Correct one of them."
    return Mark(name, NO_READER, NO_FINDING, NO_BOX, place)


def _contradiction(mark: Mark, detail: _Detail | None) -> str:
    """Return how a row of the labels contradicts the class of its film; "" if it does not."""
    is_drawn = mark.category == _CLASS
    if detail is None or is_drawn == (detail.name == _CLASS):
        return ""
    return (
        f"{mark.place} has Target {int(is_drawn)}, and {detail.place} the class {detail.name!r}. "
        "Correct one of them."
    )


def _details(source: PublishedSource) -> tuple[dict[str, _Detail], dict[str, str]]:
    """Return the class of every film, and faults by film."""
    details: dict[str, _Detail] = {}
    faults: dict[str, str] = {}
    for path in source.called(_DETAILS):
        for values, place in records_of(path, source.name_of(path), _DETAIL_COLUMNS):
            name, detail = values["patientId"], _Detail(values["class"], place)
            before = details.setdefault(name, detail)
            if detail.name not in _KINDS:
                expected = ", ".join(map(repr, _KINDS))
                shown = printable(detail.name[:50])
                faults.setdefault(name, f"{place}: the class is {shown!r}; expected {expected}.")
            elif before.name != detail.name:
                faults.setdefault(
                    name,
                    f"{before.place} and {place} give it two classes. Correct one of them.",
                )
    return details, faults


def _patients(source: PublishedSource) -> dict[str, str]:
    """Return the patient of every film, as the file that maps films to NIH's says."""
    patients = {}
    for path in source.called(_MAPPING):
        expected = "a list of objects with subset_img_id and img_id"
        films = json_content(path, source.name_of(path), list[_MappedFilm], expected=expected)
        for film in films:
            patient = nih_patient(film.img_id)
            if film.subset_img_id and patient:
                patients[film.subset_img_id] = patient
    return patients


def _notes(
    names: set[str], details: Mapping[str, _Detail], patients: Mapping[str, str]
) -> list[str]:
    notes = []
    if not details:
        notes.append(
            f"{_DETAILS} is not there: which films without lung opacity are normal is not known"
        )
    num_unknown = sum(name not in details for name in names)
    if details and num_unknown:
        notes.append(f"{num_unknown} film(s) have no row in {_DETAILS}: their kind is not known")
    num_unused = sum(name not in names for name in details)
    if num_unused:
        notes.append(f"{num_unused} film(s) of {_DETAILS} have no row in {_LABELS}: not used")
    if not patients:
        notes.append(
            "patientId names a film, not a person: films of one person may be on both sides of a "
            f"split. RSNA's {_MAPPING} in the folder tells who is who"
        )
    elif num_strangers := sum(name not in patients for name in names):
        notes.append(f"{num_strangers} film(s) are not in {_MAPPING}: their patient is not known")
    return notes
