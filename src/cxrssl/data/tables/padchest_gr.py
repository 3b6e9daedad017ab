"""PadChest-GR: chest radiographs with grounded reports, read by one or two radiologists.

`grounded_reports_*.json`: a list of studies, each one image ("ImageID") and its "findings". A
finding is a sentence, "abnormal" or not, with "labels" and up to two independent sets of boxes
[x_min, y_min, x_max, y_max] as fractions of the image's sides: "boxes" is the first reader's ("R1")
and "extra_boxes" the second's ("R2"). 14 radiologists drew them, so that R1 and R2 are two of them,
and not the same in all images. A box of a finding with several labels is a box of each.

A study without an abnormal finding is normal, as R1 read it. A finding without a box has no place
to learn: where it is the only one of its image, the image is of kind "other finding", or, if other
images have boxes of that label, without truth; beside boxes it is counted in the notes.

`master_table.csv` (StudyID, ImageID, split, PatientID, prior_imageID) has the published split and
the patients, of earlier images of theirs as well, which are stored without boxes.

Source: de Castro et al., "PadChest-GR", arXiv:2411.05085, and others' loaders of the release of
2024-08-19 for the names of keys and columns. Never tried on the real files.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cxrssl.core.labels import NO_FINDING
from cxrssl.core.printable import printable
from cxrssl.data.tables.image_ids import plain_id
from cxrssl.data.tables.marks import NO_BOX, Corners, Mark, StatedImage, StatedMarks
from cxrssl.data.tables.published_files import (
    JsonObject,
    PublishedSource,
    csv_files,
    json_content,
    json_has,
    plain_file_name,
    records_of,
    single_file,
)
from cxrssl.data.tables.splits import split_named

_REPORTS = re.compile(r"grounded_reports(_\w+)?\.json")
_MASTER = "master_table.csv"
_MASTER_COLUMNS = ("StudyID", "ImageID", "split", "PatientID")
_PRIOR = "prior_imageID"
_READERS = ("R1", "R2")
_EXPECTED = (
    "a list of studies with ImageID and findings, each with abnormal, labels, boxes and extra_boxes"
)

_Boxes = list[list[float]]


class _Finding(JsonObject):
    abnormal: bool
    labels: list[str] | None = None
    boxes: _Boxes | None = None
    extra_boxes: _Boxes | None = None

    def drawn(self) -> tuple[_Boxes, _Boxes]:
        """Return the boxes of the first reader, and of the second."""
        return self.boxes or [], self.extra_boxes or []


class _Study(JsonObject, rename={"image": "ImageID"}):
    image: str
    findings: list[_Finding]


class _PlacedStudy(NamedTuple):
    study: _Study
    place: str

    def abnormal(self) -> list[_Finding]:
        """Return the findings that are there."""
        return [finding for finding in self.study.findings if finding.abnormal]


@dataclass
class _Read:
    """What was read so far."""

    marks: list[Mark] = field(default_factory=list)
    images: list[StatedImage] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


def padchest_gr_tables(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the tables of the data set in a folder; [] if its reports are not there.

    Raises:
        DataError: If one of them is there twice.
    """
    files = list(files)
    reports = [path for path in files if _REPORTS.fullmatch(path.name)]
    reports = [path for path in reports if json_has(path, "[", "ImageID", "findings")]
    master = csv_files(files, _MASTER, _MASTER_COLUMNS)
    return [single_file(folder, group) for group in (reports, master) if group] if reports else []


def read_padchest_gr(source: PublishedSource) -> StatedMarks:
    """Read the tables of the data set.

    Raises:
        DataError: If one is not of its form.
    """
    studies = list(_studies(source))
    boxed = {
        label
        for placed in studies
        for finding in placed.abnormal()
        if any(finding.drawn())
        for label in finding.labels or []
    }
    read = _Read()
    for placed in studies:
        _read_study(placed, boxed, read)
    notes = [f"{count} {text}" for text, count in read.counts.items()]
    notes += _read_master(source, {placed.study.image for placed in studies}, read)
    return StatedMarks(
        tuple(source.tables), read.marks, read.images, unit="fraction",
        notes=tuple(notes), faults=read.faults,
    )  # fmt: skip


def _studies(source: PublishedSource) -> Iterator[_PlacedStudy]:
    for path in source.tables:
        if plain_file_name(path) == _MASTER:
            continue
        name = source.name_of(path)
        for number, study in enumerate(json_content(path, name, list[_Study], expected=_EXPECTED)):
            study.image = plain_id(PurePosixPath(study.image))  # in whichever folder it lies
            yield _PlacedStudy(study, f"{name}, study {number}")


def _read_study(placed: _PlacedStudy, boxed: set[str], read: _Read) -> None:
    """Add what is said of one image."""
    study, place = placed
    findings = placed.abnormal()
    kind, unmarked = ("", "") if findings else ("normal", "")
    fault = next(filter(None, map(_fault, findings)), "")
    if fault:
        read.faults.setdefault(study.image, f"{place}: {fault}")
    marks = [] if fault else list(_marks(study.image, findings, place))
    unplaced = [finding for finding in findings if not any(finding.drawn())]
    if findings and not marks and not fault:
        labels = {label for finding in unplaced for label in finding.labels or []}
        if labels & boxed:
            shown = printable(sorted(labels & boxed)[0])
            unmarked = f"{place} names {shown} without a box, a class that has boxes"
        else:
            kind = "other finding"
    elif unplaced:
        text = "abnormal finding(s) have no box, beside others in the image that have: left out"
        read.counts[text] += len(unplaced)
    _count(findings, read.counts)
    if not any(mark.reader == _READERS[0] for mark in marks) and not fault and not unmarked:
        marks.append(Mark(study.image, _READERS[0], NO_FINDING, NO_BOX, place))
    read.marks += marks
    read.images.append(StatedImage(study.image, place, kind=kind, unmarked=unmarked))


def _marks(image: str, findings: Sequence[_Finding], place: str) -> Iterator[Mark]:
    for number, finding in enumerate(findings):
        for reader, boxes in zip(_READERS, finding.drawn(), strict=True):
            for x_min, y_min, x_max, y_max in boxes:
                box: Corners = (x_min, y_min, x_max, y_max)
                for label in finding.labels or []:
                    yield Mark(image, reader, label, box, f"{place}, abnormal finding {number}")


def _fault(finding: _Finding) -> str:
    """Return why a finding can't be used, "" if it can."""
    boxes = [box for drawn in finding.drawn() for box in drawn]
    if any(len(box) != 4 for box in boxes):
        return "a box has other than four numbers; expected [x_min, y_min, x_max, y_max]."
    if boxes and not finding.labels:
        return "a finding has boxes and no label. Name its label."
    return ""


def _count(findings: Sequence[_Finding], counts: Counter[str]) -> None:
    """Count what a user of the boxes should know."""
    drawn = [finding.drawn() for finding in findings]
    several = [
        finding for finding in findings if any(finding.drawn()) and len(finding.labels or []) > 1
    ]
    if several:
        counts["finding(s) have several labels: each of their boxes is a box of every label"] += (
            len(several)
        )
    has_second = any(second for _, second in drawn)
    num_single = sum(bool(first) and not second for first, second in drawn)
    if has_second and num_single:
        counts[
            "finding(s) have boxes by R1 alone in images in which R2 drew others: R2 may not have "
            "been asked"
        ] += num_single


def _read_master(source: PublishedSource, names: set[str], read: _Read) -> list[str]:
    """Add splits and patients.

    Returns:
        Notes, a sentence each.

    Raises:
        DataError: If a split is none.
    """
    tables = source.called(_MASTER)
    if not tables:
        return [f"{_MASTER} is not there: the published split and the patients are not known"]
    present = {plain_id(PurePosixPath(image.name)) for image in source.files}
    told: dict[tuple[str, str, str], str] = {}
    for path in tables:
        for values, place in records_of(path, source.name_of(path), _columns(path)):
            split = split_named(values["split"], place=place)
            image = plain_id(PurePosixPath(values["ImageID"]))
            told.setdefault((image, split, values["PatientID"]), place)
            prior = plain_id(PurePosixPath(values.get(_PRIOR, "")))
            if prior in present:
                told.setdefault((prior, "", values["PatientID"]), place)
    strangers = {image for image, _, _ in told} - names
    for (image, split, patient), place in told.items():
        if image not in strangers or image in present:
            read.images.append(StatedImage(image, place, patient=patient, split=split))
    num_unknown = len(names - {image for image, _, _ in told})
    if num_unknown:
        return [f"{num_unknown} image(s) have no row in {_MASTER}: their split is not known"]
    return []


def _columns(path: Path) -> tuple[str, ...]:
    has_prior = bool(csv_files([path], _MASTER, [_PRIOR]))
    return (*_MASTER_COLUMNS, _PRIOR) if has_prior else _MASTER_COLUMNS
