"""NIH's list of boxes; pandas is the judge of the real tables."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.tables.nih import nih_tables, read_nih
from cxrssl.data.tables.patients import nih_patient
from cxrssl.data.tables.published_files import PublishedSource
from published_data import boxes, made, package_data, patients, read_as

LIST_NAME, ENTRIES_NAME = "BBox_List_2017.csv", "Data_Entry_2017.csv"
HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
ROWS = (
    "00000013_005.png,Infiltrate,225.5,547.25,86,79,,,\n"
    "00000013_005.png,Mass,10,20,30,40,,,\n00000045_001.png,Effusion,1,2,3,4,,,\n"
)
ENTRIES = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    + "".join(
        f"{name},{findings},0,{int(name[:8])},58,M,PA,2682,2749,0.143,0.143,\n"
        for name, findings in [
            ("00000013_005.png", "Infiltration|Mass|Effusion"),
            ("00000045_001.png", "Effusion|Hernia"),
            ("00000045_002.png", "No Finding"),
            ("00000046_000.png", "Hernia"),
            ("00000099_000.png", "No Finding"),
        ]
    )
)
IMAGES = [
    "images_001/images/00000013_005.png", "images_001/images/00000045_001.png",
    "images_002/images/00000045_002.png", "images_002/images/00000046_000.png",
]  # fmt: skip
BOXES = {
    "00000013_005": [
        ("R0", "Infiltration", (225.5, 547.25, 311.5, 626.25)),
        ("R0", "Mass", (10, 20, 40, 60)),
    ],
    "00000045_001": [("R0", "Effusion", (1, 2, 4, 6))],
}


@pytest.mark.parametrize(
    "text",
    [
        HEADER + ROWS,
        HEADER + ROWS.replace(",,,\n", "\n"),
        "﻿" + (HEADER + ROWS).replace("\n", "\r\n"),
        "Image Index,Finding Label,x,y,w,h\n" + ROWS.replace(",,,\n", "\n"),
    ],
)
def test_boxes_are_read_and_other_films_are_not_called_normal(text: str, tmp_path: Path) -> None:
    source = read_as("nih", made(tmp_path, {LIST_NAME: text}, IMAGES))
    assert boxes(source) == BOXES
    # A film that nobody read is of somebody.
    names = ["00000013_005", "00000045_001", "00000045_002", "00000046_000"]
    groups = [names[:1], names[1:3], names[3:]]
    assert patients(source) == set(map(frozenset, groups))
    assert set(source.table.sizes.values()) == {(1024, 1024)}
    assert source.table.unread == {"00000045_002", "00000046_000"}
    assert "1 box(es) of 'Infiltrate' are 'Infiltration' here" in source.notes
    assert not source.faults


def test_reports_tell_normal_films(tmp_path: Path) -> None:
    files = {LIST_NAME: HEADER + ROWS, ENTRIES_NAME: ENTRIES, "test_list.txt": "a.png\nb.png\n"}
    source = read_as("nih", made(tmp_path, files, IMAGES))
    assert boxes(source) == {**BOXES, "00000045_002": [("reports", "No finding", ())]}
    assert source.table.kinds == {"00000045_002": "normal"}
    assert frozenset({"00000045_001", "00000045_002"}) in patients(source)
    # The size of the film before NIH resized it is no size of the published one.
    assert set(source.table.sizes.values()) == {(1024, 1024)}
    assert list(source.table.unmarked) == ["00000046_000"]
    assert not source.table.unread
    assert not source.faults
    notes = "\n".join(source.notes)
    assert "1 film(s) are normal by their reports alone (reader 'reports')" in notes
    # Of 00000013_005, the effusion; a hernia is never boxed.
    assert "1 film(s) with boxes have another of the boxed findings in their report" in notes
    assert f"1 row(s) of {ENTRIES_NAME} are of films that are not in the folder" in notes


def test_the_later_file_of_entries_is_read(tmp_path: Path) -> None:
    later = ENTRIES.replace("00000046_000.png,Hernia", "00000046_000.png,No Finding")
    files = {LIST_NAME: HEADER + ROWS, ENTRIES_NAME: ENTRIES, "Data_Entry_2017_v2020.csv": later}
    source = read_as("nih", made(tmp_path, files, IMAGES))
    assert set(source.table.kinds) == {"00000045_002", "00000046_000"}
    assert f"tables that are not used: {ENTRIES_NAME}" in source.notes


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("00000045_001.png,Mass,1,2,3\n", "line 5: it has 5 cells; expected image, finding, x"),
        ("00000045_001.png,Mass,1,2,3,4,5\n", "line 5: it has 7 cells"),
        (",Mass,1,2,3,4\n", "line 5: the image or the finding is missing"),
        ("00000045_001.png,,1,2,3,4\n", "line 5: the image or the finding is missing"),
    ],
)
def test_a_row_that_can_not_be_read_is_an_error(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_as("nih", made(tmp_path, {LIST_NAME: HEADER + ROWS + row}, IMAGES))


def test_a_list_without_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{LIST_NAME} has no row"):
        read_as("nih", made(tmp_path, {LIST_NAME: HEADER}, IMAGES))


@pytest.mark.parametrize(
    ("row", "film", "text"),
    [
        ("00000045_001.png,Mass,1,2,x,4\n", "00000045_001", "line 5: Mass has no whole box"),
        ("00000045_001.png,Mass,1,2,-3,4\n", "00000045_001", "without an area, (1, 2, -3, 4)"),
        ("00000045_001.png,Mass,nan,2,3,4\n", "00000045_001", "no whole box"),
        ("00000077_001.png,Mass,1,2,3,4\n", "00000077_001", "there is no file 00000077_001 in"),
    ],
)
def test_a_bad_box_is_a_fault_of_its_film(row: str, film: str, text: str, tmp_path: Path) -> None:
    source = read_as("nih", made(tmp_path, {LIST_NAME: HEADER + ROWS + row}, IMAGES))
    assert list(source.faults) == [film]
    assert text in source.faults[film]


def test_names_of_films_tell_patients() -> None:
    assert nih_patient("images/00000013_005.png") == "00000013"
    assert [nih_patient(name) for name in ("36199.png", "13_005.png", "00000013_005_a.png")] == [
        ""
    ] * 3


def test_the_real_tables_are_read_as_pandas_reads_them(tmp_path: Path) -> None:
    lists, lines = (
        gzip.decompress(package_data(f"{name}.gz").read_bytes()).decode()
        for name in (LIST_NAME, "Data_Entry_2017_v2020.csv")
    )
    listed = {line.split(",")[0] for line in lists.splitlines()}
    entry_lines = lines.splitlines(keepends=True)
    kept = [line for row, line in enumerate(entry_lines) if row < 5000 or line[:16] in listed]
    made(tmp_path, {LIST_NAME: lists, "Data_Entry_2017_v2020.csv": "".join(kept)})
    tables = nih_tables(tmp_path, sorted(tmp_path.iterdir()))
    frame = pd.read_csv(
        tmp_path / LIST_NAME, names=["image", "label", "x", "y", "w", "h", *"abc"], skiprows=1
    )
    entries = pd.read_csv(tmp_path / "Data_Entry_2017_v2020.csv", index_col="Image Index")
    normal = entries.index[entries["Finding Labels"].eq("No Finding")]
    others = entries.index.difference(normal).difference(frame["image"])
    films = [*normal[:50], *others[:30], *frame["image"].unique()]
    stated = read_nih(PublishedSource(tmp_path, tables, [tmp_path / name for name in films]))
    marks = [mark for mark in stated.marks if mark.reader == "R0"]
    assert len(marks) == len(frame) == 984
    assert [f"{mark.image}.png" for mark in marks] == frame["image"].tolist()
    expected = frame["label"].replace({"Infiltrate": "Infiltration"})
    assert [mark.category for mark in marks] == expected.tolist()
    corners = frame[["x", "y", "x", "y"]].to_numpy()
    corners[:, 2:] += frame[["w", "h"]].to_numpy()
    np.testing.assert_array_equal([mark.box for mark in marks], corners)
    assert {f"{m.image}.png" for m in stated.marks if m.reader == "reports"} == set(normal[:50])
    assert {f"{image.name}.png" for image in stated.images if image.unmarked} == set(others[:30])
    found = entries["Finding Labels"].str.split("|").explode()
    pairs = set(found[found.isin(set(expected))].items())
    partly = {name for name, _ in pairs - set(zip(frame["image"], expected, strict=True))}
    num_partly = len(partly & set(frame["image"]))
    assert num_partly == 521
    assert any(note.startswith("521 film(s) with boxes have another") for note in stated.notes)
    stated_patients = {f"{image.name}.png": int(image.patient) for image in stated.images}
    assert stated_patients == entries["Patient ID"].loc[list(stated_patients)].to_dict()
