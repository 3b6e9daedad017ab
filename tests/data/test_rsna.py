"""RSNA Pneumonia Detection Challenge; pandas is the judge of the real table of labels."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.tables.published_files import PublishedSource
from cxrssl.data.tables.rsna import read_rsna
from published_data import boxes, made, package_data, patients, read_as

LABELS = (
    "patientId,x,y,width,height,Target\n"
    "n1,,,,,0\nn2,,,,,0\np1,264.0,152.0,213.0,379.0,1\np1,562.0,152.0,256.0,453.0,1\n"
)
CLASSES = (
    "patientId,class\nn1,Normal\nn2,No Lung Opacity / Not Normal\n"
    "p1,Lung Opacity\np1,Lung Opacity\n"
)
MAPPING = [
    {"subset_img_id": "n1", "img_id": "00000013_005.png", "orig_labels": ["No Finding"]},
    {"subset_img_id": "p1", "img_id": "00000013_006.png", "StudyInstanceUID": "1.2"},
    {"subset_img_id": "t1", "img_id": "00000013_007.png"},
    {"subset_img_id": None, "img_id": "00000014_000.png"},
]
LABELS_NAME, CLASSES_NAME = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
MAPPING_NAME = "pneumonia-challenge-dataset-mappings_2018.json"
IMAGES = [f"stage_2_train_images/{name}.png" for name in ("n1", "n2", "p1")]


def test_films_boxes_and_kinds(tmp_path: Path) -> None:
    images = [*IMAGES, "stage_2_test_images/t1.png"]
    files = {LABELS_NAME: LABELS, CLASSES_NAME: CLASSES, MAPPING_NAME: MAPPING}
    source = read_as("rsna", made(tmp_path, files, images))
    assert boxes(source) == {
        "n1": [("R0", "No finding", ())],
        "n2": [("R0", "No finding", ())],
        # 264 + 213, 152 + 379; 562 + 256, 152 + 453
        "p1": [
            ("R0", "Lung Opacity", (264, 152, 477, 531)),
            ("R0", "Lung Opacity", (562, 152, 818, 605)),
        ],
    }
    table = source.table
    assert table.classes == ("Lung Opacity",)
    assert table.kinds == {"n1": "normal", "n2": "other finding"}
    assert patients(source) == {frozenset({"n1", "p1", "t1"})}
    assert set(table.sizes.values()) == {(1024, 1024)}
    assert table.unread == {"t1"}
    assert not source.faults
    assert not table.parts
    assert f"1 film(s) are not in {MAPPING_NAME}: their patient is not known" in source.notes
    assert {path.name for path in source.tables} == {LABELS_NAME, CLASSES_NAME, MAPPING_NAME}


def test_labels_alone_tell_neither_kind_nor_patient(tmp_path: Path) -> None:
    source = read_as(
        "rsna", made(tmp_path, {LABELS_NAME: "﻿" + LABELS.replace("\n", "\r\n")}, IMAGES)
    )
    assert not source.table.kinds
    assert not source.table.patients
    assert any(note.startswith(f"{CLASSES_NAME} is not there") for note in source.notes)
    assert any("patientId names a film, not a person" in note for note in source.notes)


@pytest.mark.parametrize(
    ("labels", "classes", "film", "texts"),
    [
        ("n1,1,2,3,4,0\n", "", "n1", [f"{LABELS_NAME}, line 6: Target is 0", "has a box"]),
        ("n1,1,,,,0\n", "", "n1", ["line 6: Target is 0"]),
        ("n1,1,2,3,4,1\n", "", "n1", ["line 6 has Target 1", f"{CLASSES_NAME}, line 2", "Normal"]),
        ("p1,,,,,1\n", "", "p1", ["line 6: Lung Opacity has no whole box"]),
        ("p1,1,2,0,4,1\n", "", "p1", ["line 6: Lung Opacity has a box without an area"]),
        ("p1,inf,2,3,4,1\n", "", "p1", ["line 6: Lung Opacity has no whole box"]),
        ("p1,.1,.1,.2,.2,1\n", "", "p1", ["seems to be in fractions"]),
        ("p1,,,,,0\n", "", "p1", ["line 6 has Target 0", "'Lung Opacity'"]),
        ("n1,,,,,2\n", "", "n1", ["line 6: Target is '2'; expected 0 or 1"]),
        ("", "n1,Lung Opacity\n", "n1", [f"{CLASSES_NAME}, line 2 and", "line 6", "two classes"]),
        ("", "n1,normal\n", "n1", [f"{CLASSES_NAME}, line 6: the class is 'normal'; expected"]),
        ("x1,1,2,3,4,1\n", "", "x1", ["there is no file x1"]),
    ],
)
def test_rows_that_contradict_are_a_fault_of_their_film(
    labels: str, classes: str, film: str, texts: list[str], tmp_path: Path
) -> None:
    files = {LABELS_NAME: LABELS + labels, CLASSES_NAME: CLASSES + classes}
    source = read_as("rsna", made(tmp_path, files, IMAGES))
    assert list(source.faults) == [film]
    assert all(text in source.faults[film] for text in texts), source.faults
    assert not source.table.unread


def test_another_table_of_that_name_is_not_the_challenges(tmp_path: Path) -> None:
    made(tmp_path, {LABELS_NAME: "patientId,label\np1,1\n"}, IMAGES)
    with pytest.raises(DataError, match="no layout reads them"):
        read_as("rsna", tmp_path)
    with pytest.raises(DataError, match="holds no table of the layout rsna"):
        read_as("rsna", tmp_path, named="rsna")
    made(tmp_path, {LABELS_NAME: LABELS, f"copy/{LABELS_NAME}": LABELS})
    with pytest.raises(
        DataError, match=rf"2 files .* by their name: copy/{LABELS_NAME}, {LABELS_NAME}"
    ):
        read_as("rsna", tmp_path)


def test_the_real_table_of_labels_is_read_as_pandas_reads_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(package_data("kaggle_stage_2_train_labels.csv.zip")) as archive:
        (tmp_path / LABELS_NAME).write_bytes(archive.read(archive.namelist()[0]))
    stated = read_rsna(PublishedSource(tmp_path, [tmp_path / LABELS_NAME], []))
    expected = pd.read_csv(tmp_path / LABELS_NAME)
    assert not stated.faults
    assert len(stated.marks) == len(expected) == 30227
    assert [mark.image for mark in stated.marks] == expected["patientId"].tolist()
    is_drawn = [mark.category == "Lung Opacity" for mark in stated.marks]
    assert is_drawn == expected["Target"].eq(1).tolist()
    corners = expected[["x", "y", "x", "y"]].to_numpy()
    corners[:, 2:] += expected[["width", "height"]].to_numpy()
    np.testing.assert_array_equal([mark.box for mark in stated.marks], corners)
