"""PadChest-GR, by made files of its form; numbers by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.tables import read_source
from published_data import boxes, made, patients, read_as

NAME, MASTER = "grounded_reports_20240819.json", "master_table.csv"
FOLDER = "Padchest_GR_files"
Boxes = Sequence[Sequence[float]]


def finding(*labels: str, first: Boxes = (), second: Boxes = ()) -> dict[str, Any]:
    return {
        "sentence_en": "x.", "sentence_es": "x.", "abnormal": True, "labels": list(labels),
        "boxes": list(first), "extra_boxes": list(second), "locations": [], "progression": None,
    }  # fmt: skip


NEGATIVE = {"sentence_en": "No nodules.", "sentence_es": "Sin nódulos.", "abnormal": False}
A, B, C = [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 1.0, 0.75], [0, 0, 0.25, 0.25]


def study(image: str, *findings: dict[str, Any]) -> dict[str, Any]:
    return {
        "StudyID": f"s-{image}", "ImageID": f"{image}.png", "PreviousStudyID": None,
        "PreviousImageID": None, "findings": list(findings),
    }  # fmt: skip


STUDIES = [
    study("two", finding("nodule", first=[A, B], second=[C]), finding("cardiomegaly", first=[B])),
    study("labels", finding("nodule", "mass", first=[A])),
    study("normal", NEGATIVE),
    study("silent"),
    study("unplaced", finding("scoliosis"), NEGATIVE),
    study("unboxed", finding("nodule")),
    study("beside", finding("nodule", first=[C]), finding("scoliosis")),
    study("second", finding("nodule", second=[A])),
]
HEADER = (
    "StudyID,ImageID,label,boxes_count,extra_boxes_count,prior_study,prior_imageID,split,"
    "PatientID\n"
)
SPLITS = ("train", "train", "validation", "test", "train", "train", "train", "train")
ROWS = "".join(
    f"{entry['StudyID']},{entry['ImageID']},nodule,1,0,,{prior},{split},p{split}{number % 3}\n"
    for number, (entry, split) in enumerate(zip(STUDIES, SPLITS, strict=True))
    for prior in ["prior.png" if number == 0 else "absent.png"]
)
IMAGES = [f"{FOLDER}/{entry['ImageID']}" for entry in STUDIES]


def test_two_readers_kinds_and_what_has_no_box(tmp_path: Path) -> None:
    source = read_as("padchest-gr", made(tmp_path, {NAME: STUDIES}, IMAGES))
    nothing = [("R1", "No finding", ())]
    assert boxes(source) == {
        "two": [
            ("R1", "nodule", tuple(A)), ("R1", "nodule", tuple(B)), ("R2", "nodule", tuple(C)),
            ("R1", "cardiomegaly", tuple(B)),
        ],
        "labels": [("R1", "nodule", tuple(A)), ("R1", "mass", tuple(A))],
        "normal": nothing,
        "silent": nothing,
        "unplaced": nothing,
        "beside": [("R1", "nodule", tuple(C))],
        "second": [("R2", "nodule", tuple(A)), *nothing],
    }  # fmt: skip
    table = source.table
    assert table.unit == "fraction"
    assert table.classes == ("cardiomegaly", "mass", "nodule")
    assert table.kinds == {"normal": "normal", "silent": "normal", "unplaced": "other finding"}
    assert set(table.unmarked) == {"unboxed"}
    assert f"{NAME}, study 5 names nodule without a box" in table.unmarked["unboxed"]
    assert not source.faults
    assert source.notes == (
        "1 finding(s) have boxes by R1 alone in images in which R2 drew others: R2 may not have "
        "been asked",
        "1 finding(s) have several labels: each of their boxes is a box of every label",
        "1 abnormal finding(s) have no box, beside others in the image that have: left out",
        f"{MASTER} is not there: the published split and the patients are not known",
    )


def test_the_master_table_has_splits_and_patients(tmp_path: Path) -> None:
    files = {NAME: STUDIES, MASTER: HEADER + ROWS}
    images = [*IMAGES, "prior_studies/prior.png"]
    source = read_as("padchest-gr", made(tmp_path, files, images))
    table = source.table
    ids = [entry["ImageID"].removesuffix(".png") for entry in STUDIES]
    splits = [split.replace("validation", "val") for split in SPLITS]
    assert table.parts == {**dict(zip(ids, splits, strict=True)), "prior": "unused"}
    groups = [[0, 6], [1, 4, 7], [2], [3], [5]]
    named = [frozenset(ids[number] for number in group) for group in groups]
    assert patients(source) == {named[0] | {"prior"}, *named[1:]}
    assert table.unread == {"prior"}
    assert not source.faults


@pytest.mark.parametrize(
    ("findings", "text"),
    [
        ([finding("nodule", first=[[0.1, 0.2, 0.3]])], "other than four numbers"),
        ([finding(first=[A])], "a finding has boxes and no label"),
        ([finding("nodule", first=[[0.3, 0.2, 0.1, 0.4]])], "without an area"),
        ([finding("nodule", second=[[10, 20, 30, 40]])], "seems to be in pixels"),
        ([finding("nodule", first=[[-0.5, 0.2, 0.3, 0.4]])], "outside the image"),
    ],
)
def test_a_bad_box_is_a_fault_of_its_image(
    findings: list[dict[str, Any]], text: str, tmp_path: Path
) -> None:
    files = {NAME: [*STUDIES, study("bad", *findings)]}
    source = read_as("padchest-gr", made(tmp_path, files, [*IMAGES, f"{FOLDER}/bad.png"]))
    assert list(source.faults) == ["bad"]
    assert f"{NAME}, study 8" in source.faults["bad"]
    assert text in source.faults["bad"]
    assert not source.table.unread


def test_contradictions_name_both_places(tmp_path: Path) -> None:
    files = {NAME: [*STUDIES, study("two", NEGATIVE)], MASTER: HEADER + ROWS}
    files[MASTER] += "s-normal,normal.png,Normal,0,0,,,train,pvalidation2\n"
    source = read_as("padchest-gr", made(tmp_path, files, IMAGES))
    assert set(source.faults) == {"two", "normal"}
    assert "study 0, abnormal finding 0" in source.faults["two"]
    assert "study 8" in source.faults["two"]
    assert (
        f"{MASTER}, line 4 and {MASTER}, line 10 give it two values of split"
        in (source.faults["normal"])
    )


def test_a_split_that_is_none_is_an_error(tmp_path: Path) -> None:
    files = {NAME: STUDIES, MASTER: HEADER + ROWS.replace(",validation,", ",valuation,")}
    with pytest.raises(DataError, match=rf"{MASTER}, line 4: the split is 'valuation'"):
        read_as("padchest-gr", made(tmp_path, files, IMAGES))


@pytest.mark.parametrize(
    "content", [{"findings": [], "ImageID": 1}, [{"ImageID": "a.png"}], "[1,", "", b"\xff[\xfe"]
)
def test_other_reports_are_not_the_data_sets(content: object, tmp_path: Path) -> None:
    made(tmp_path, {f"json/{NAME}": content}, ["a.png"])
    with pytest.raises(DataError, match=f"no layout reads them where they are: json/{NAME}"):
        read_source(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([study("a", {"abnormal": None})], "Expected `bool`, got `null` .*Expected a list of stud"),
        ([study("a", {"labels": []})], "missing required field `abnormal`"),
        ('[{"ImageID": "a.png", "findings": []}', "is not JSON"),
        ('[{"ImageID": "a.png", "findings": [NaN]}]', "is not JSON"),
    ],
)
def test_what_is_wrong_with_reports_is_said(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{NAME}.*{message}"):
        read_source(made(tmp_path, {NAME: content}, ["a.png"]))
