"""Tables and layouts: what is wrong is said with its place, and nothing odd passes in silence."""

import gzip
from pathlib import Path

import pandas as pd
import pytest

from cxrssl.core.errors import DataError
from cxrssl.core.labels import FINDINGS, LOCAL_FINDINGS
from cxrssl.data.tables import COLUMNS, read_source, read_table
from cxrssl.data.tables.rows import is_id

HEADER = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
PHYSIONET = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n"
AGREED = "image_id,class_name,x_min,y_min,x_max,y_max\n"


def table(folder: Path, text: str) -> Path:
    path = folder / "train.csv"
    path.write_text(text)
    return path


def test_kaggle_rows_keep_reader_class_and_box_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = HEADER + "b,No finding,14,R9,,,,\na,Pulmonary Fibrosis,13,R8,1,2,3,4\n"
    result = read_table(table(tmp_path, text))
    assert list(result.rows.columns) == list(COLUMNS)
    assert result.rows.iloc[1].tolist() == ["a", "R8", "Pulmonary fibrosis", 1, 2, 3, 4]
    assert result.rows.iloc[0]["category"] == "No finding"
    assert pd.isna(result.rows.iloc[0]["x_min"])
    assert (result.classes, result.faults, result.parts) == (FINDINGS, {}, {})


def test_a_zipped_table_is_the_same_table(tmp_path: Path) -> None:
    text = HEADER + "a,ILD,5,R8,1,2,3,4\n"
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(text.encode()))
    plain, zipped = read_table(table(tmp_path, text)), read_table(tmp_path / "train.csv.gz")
    assert plain.rows.equals(zipped.rows)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(text.encode())[:-9])
    with pytest.raises(DataError, match=r"cut\.csv\.gz is not a table"):
        read_table(tmp_path / "cut.csv.gz")


@pytest.mark.parametrize(
    "change", [str.upper, str.lower, str.title], ids=["upper", "lower", "title"]
)
def test_class_names_are_known_in_any_case_and_spelt_in_one(tmp_path: Path, change: object) -> None:
    lines = [f"a,{change(name)},{number},R8,1,2,3,4\n" for number, name in enumerate(FINDINGS)]  # type: ignore[operator]
    result = read_table(table(tmp_path, HEADER + "".join(lines)))
    assert tuple(result.rows["category"]) == FINDINGS
    lines = [f"a,R8,{change(name)},1,2,3,4\n" for name in LOCAL_FINDINGS]  # type: ignore[operator]
    result = read_table(table(tmp_path, PHYSIONET + "".join(lines)))
    assert tuple(result.rows["category"]) == LOCAL_FINDINGS
    assert len(LOCAL_FINDINGS) == 22
    assert set(FINDINGS) < set(LOCAL_FINDINGS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image_id,class_name\na,ILD\n",
            r"train.csv has no column x_min, y_min, x_max, y_max; it has image_id, class_name",
        ),
        (
            "image_id,class_name,class_id,x_min,y_min,x_max,y_max\na,ILD,5,1,2,3,4\n",
            r"train.csv has no column rad_id",
        ),
        (HEADER, "has a header and no rows"),
        ("", "is not a table"),
        (
            HEADER + "a,Pneumonia,3,R8,1,2,3,4\n",
            "line 2: class 'Pneumonia' is not one of",
        ),
        (HEADER + "a,Edema,3,R8,1,2,3,4\n", "line 2: class 'Edema' is not one of"),
        (
            HEADER + "a,ILD,5,,1,2,3,4\n",
            "line 2: image_id, class_name and rad_id must not be empty",
        ),
        (
            HEADER + "a,ILD,4,R8,1,2,3,4\n",
            "line 2: class_id is 4 and class_name ILD, whose id is 5. Correct one",
        ),
    ],
    ids=["columns", "reader-column", "rows", "empty", "class", "physionet-class", "reader", "id"],
)
def test_a_faulty_table_is_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(table(tmp_path, text))


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("a,ILD,5,R8,1,,3,4", "line 3: ILD has no whole box; expected four numbers"),
        ("a,ILD,5,R8,one,2,3,4", "line 3: ILD has no whole box"),
        ("a,ILD,5,R8,1,2,inf,4", "line 3: ILD has no whole box"),
        ("a,ILD,5,R8,3,2,3,4", r"line 3: ILD has a box without an area, (3, 2, 3, 4); expected"),
        ("a,ILD,5,R8,1,9,3,4", r"line 3: ILD has a box without an area"),
    ],
    ids=["missing", "word", "infinite", "flat", "swapped"],
)
def test_a_faulty_row_costs_its_image_and_no_other(tmp_path: Path, row: str, fault: str) -> None:
    text = f"{HEADER}b,ILD,5,R8,1,2,3,4\n{row}\nc,No finding,14,R8,0,0,1,1\n"
    result = read_table(table(tmp_path, text))
    assert set(result.faults) == {"a"}
    assert result.faults["a"].startswith(fault)
    assert result.rows["image_id"].tolist() == ["b", "a", "c"]
    assert pd.isna(result.rows["x_max"].iloc[2])


def test_an_id_that_is_none_is_a_fault_named_by_its_line_and_never_quoted(tmp_path: Path) -> None:
    text = f"{HEADER}DOE^JANE,ILD,5,R8,1,2,3,4\n../b,ILD,5,R8,1,2,3,4\nc,ILD,5,R8,1,2,3,4\n"
    result = read_table(table(tmp_path, text))
    assert set(result.faults) == {"line-2", "line-3"}
    assert "characters other than letters" in result.faults["line-2"]
    assert result.rows["image_id"].tolist() == ["c"]


def physionet(folder: Path, **tables: str) -> Path:
    """Make a PhysioNet folder: every table, and an empty file for each image it should hold."""
    texts = {
        "annotations_train": PHYSIONET + "a,R1,Edema,1,2,3,4\na,R2,No finding,,,,\n",
        "annotations_test": AGREED + "t,Rib fracture,1,2,3,4\n",
        "image_labels_train": "image_id,rad_id,Edema\na,R1,1\na,R2,0\nn,R1,0\nn,R3,0\n",
        "image_labels_test": "image_id,Edema\nt,0\nu,0\n",
    } | tables
    (folder / "annotations").mkdir()
    for name, text in texts.items():
        (folder / "annotations" / f"{name}.csv").write_text(text)
    for part, names in (("train", "an"), ("test", "tu")):
        (folder / part).mkdir()
        for name in names:
            (folder / part / f"{name}.dicom").write_bytes(b"")
    return folder


def test_physionet_has_two_parts_and_the_test_part_is_what_five_readers_agreed_on(
    tmp_path: Path,
) -> None:
    result = read_source(physionet(tmp_path))
    assert result.layout == "physionet"
    assert result.table.classes == LOCAL_FINDINGS
    assert result.table.parts == {"a": "train", "n": "train", "t": "test", "u": "test"}
    rows = result.table.rows[["image_id", "reader", "category"]].to_numpy().tolist()
    assert rows == [
        ["a", "R1", "Edema"],
        ["a", "R2", "No finding"],
        ["n", "R1", "No finding"],
        ["n", "R3", "No finding"],
        ["t", "consensus", "Rib fracture"],
        ["u", "consensus", "No finding"],
    ]
    assert {name: path.parent.name for name, path in result.files.items()} == result.table.parts


def test_an_image_in_both_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="both hold image a and 0 more"):
        read_source(physionet(tmp_path, annotations_test=AGREED + "a,Edema,1,2,3,4\n"))


def test_physionet_without_its_test_table_is_refused(tmp_path: Path) -> None:
    folder = physionet(tmp_path)
    (folder / "annotations" / "annotations_test.csv").unlink()
    with pytest.raises(
        DataError, match=r"annotations_test\.csv is not a file\. .*physionet layout"
    ):
        read_source(folder)


def test_a_file_with_an_odd_name_is_a_fault_and_files_of_one_name_are_several_images(
    tmp_path: Path,
) -> None:
    for name in ("a.png", "b.dcm", "Jane Doe.png", "deeper/a.jpg", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "1.2.840.7").write_bytes(bytes(128) + b"DICM")
    result = read_source(tmp_path)
    assert set(result.files) == {"a", "deeper_a", "b", "1.2.840.7"}
    assert result.notes == (
        "2 files share their name with another file; their image ids are made of folder and name, "
        "such as a",
        "files that are not read: .txt (1)",
    )
    assert set(result.faults) == {f"{tmp_path.name}-file-2"}
    assert "Doe" not in str(result.faults)


def test_a_missing_folder_or_table_names_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        read_source(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"train.csv is not a file"):
        read_source(tmp_path, layout="kaggle")
    with pytest.raises(DataError, match="holds no DICOM, PNG, JPEG, TIFF or BMP"):
        read_source(tmp_path)


def test_an_annotated_data_set_without_its_table_is_not_taken_for_a_pool(tmp_path: Path) -> None:
    folder = physionet(tmp_path)
    for path in (folder / "annotations").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="or say --layout images to take all its images as a pool"):
        read_source(folder)
    assert read_source(folder, layout="images").layout == "images"


def test_rows_of_image_labels_are_checked_too(tmp_path: Path) -> None:
    labels = "image_id,Edema\nt,0\nSmith^John 1933,0\n"
    result = read_source(physionet(tmp_path, image_labels_test=labels))
    assert "test-labels-line-3" in result.faults
    assert "Smith" not in str(result.faults) + str(result.table.rows.to_numpy().tolist())
    path = tmp_path / "annotations/image_labels_test.csv"
    path.write_text("image_id,Edema\nt,0\n,0\n")
    with pytest.raises(DataError, match="line 3: image_id must not be empty"):
        read_source(tmp_path)


def test_a_table_of_one_part_says_which(tmp_path: Path) -> None:
    folder = physionet(tmp_path) / "annotations"
    assert read_table(folder / "annotations_train.csv").parts == {"a": "train"}
    assert read_table(folder / "annotations_test.csv").parts == {"t": "test"}


def test_ids_that_pandas_takes_for_nothing_are_ids(tmp_path: Path) -> None:
    result = read_table(table(tmp_path, HEADER + "NA,ILD,5,null,1,2,3,4\n"))
    assert result.rows.iloc[0].tolist()[:2] == ["NA", "null"]


@pytest.mark.parametrize("name", ["../a", "a b", ".hidden", "", "a/b"])
def test_ids_that_are_no_safe_file_names_are_refused(name: str) -> None:
    assert not is_id(name)


def test_ids_with_the_suffix_of_a_file_are_that_files(tmp_path: Path) -> None:
    text = (
        HEADER
        + "aa.dicom,ILD,5,R8,1,2,3,4\nbb.DCM,No finding,14,R8,,,,\n1.2.840,ILD,5,R8,1,2,3,4\n"
    )
    (tmp_path / "train").mkdir()
    for name in ("aa.dicom", "bb.dcm", "1.2.840.png"):
        (tmp_path / "train" / name).write_bytes(b"")
    result = read_source(table(tmp_path, text).parent)
    assert result.table.rows["image_id"].tolist() == ["aa", "bb", "1.2.840"]
    assert set(result.files) == {"aa", "bb", "1.2.840"}
    assert result.faults == {}
    assert result.notes == (
        "2 image_id(s) end in the suffix of a file, such as .dicom; it is left out",
    )


def test_ids_that_differ_by_their_suffix_alone_are_two_files(tmp_path: Path) -> None:
    text = HEADER + "aa.png,ILD,5,R8,1,2,3,4\naa.jpg,ILD,5,R8,1,2,3,4\nbb.png,ILD,5,R8,1,2,3,4\n"
    result = read_table(table(tmp_path, text))
    assert set(result.faults) == {"aa"}
    assert "several suffixes" in result.faults["aa"]


def test_the_suffix_is_left_out_in_image_labels_too(tmp_path: Path) -> None:
    labels = "image_id,Edema\nt.dicom,0\nu.dicom,0\n"
    result = read_source(physionet(tmp_path, image_labels_test=labels))
    assert {name for name, part in result.table.parts.items() if part == "test"} == {"t", "u"}


def test_an_unknown_class_costs_its_rows_and_is_said(tmp_path: Path) -> None:
    text = (
        HEADER
        + "a,ILD,5,R8,1,2,3,4\na,Pneumonia,99,R8,1,2,3,4\nb,Pneumonia,99,R8,1,2,3,4\n"
        + "c,Edema,98,R8,1,2,,4\nd,ILD,5,R8,4,2,3,4\n"
    )
    result = read_table(table(tmp_path, text))
    assert result.rows["image_id"].tolist() == ["a", "d"]
    assert result.notes == (
        "3 row(s) have a class that is not one of VinDr-CXR's and are not used: 'Pneumonia' (2), "
        "'Edema' (1)",
    )
    assert set(result.unmarked) == {"b", "c"}
    assert "neither as an image with findings nor as one without" in result.unmarked["b"]
    # Lines are counted as the file has them.
    assert result.faults["d"].startswith("line 6: ILD has a box without an area")


def test_an_unknown_class_makes_no_image_of_physionet_one_without_findings(tmp_path: Path) -> None:
    annotations = PHYSIONET + "a,R1,Edema,1,2,3,4\nn,R1,Foreign body,1,2,3,4\n"
    result = read_source(physionet(tmp_path, annotations_train=annotations))
    assert set(result.table.unmarked) == {"n"}
    assert "n" not in set(result.table.rows["image_id"])
    assert result.table.parts["n"] == "train"
    assert "annotations_train.csv: 1 row(s) have a class" in result.notes[0]


SIZED = HEADER.strip() + ",width,height\n"


def test_sizes_are_read_and_rows_that_contradict_each_other_cost_their_image(
    tmp_path: Path,
) -> None:
    rows = [
        "a,ILD,5,R8,1,2,3,4,100,60",
        "a,ILD,5,R9,1,2,3,4,,",
        "b,ILD,5,R8,1,2,3,4,100,60",
        "b,ILD,5,R9,1,2,3,4,100,61",
        "c,ILD,5,R8,1,2,3,4,-1,0",
        "d,ILD,5,R8,1,2,3,4,wide,60",
        "e,ILD,5,R8,1,2,3,4,1e300,60",
    ]
    result = read_table(table(tmp_path, SIZED + "\n".join(rows) + "\n"))
    assert result.sizes == {"a": (100, 60)}
    assert set(result.faults) == {"b"}
    assert "several sizes for it, 100x60 and 100x61 pixels" in result.faults["b"]
    assert result.notes == (
        "width or height of 2 image(s) is not a whole number of pixels, and is not used",
    )


def test_a_boxs_width_and_height_are_no_size_of_the_image(tmp_path: Path) -> None:
    rows = ["a,ILD,5,R8,1,2,31,42,30,40", "a,ILD,5,R9,1,2,3,4,2,2", "b,No finding,14,R8,,,,,,"]
    result = read_table(table(tmp_path, SIZED + "\n".join(rows) + "\n"))
    assert (result.sizes, result.faults) == ({}, {})
    assert result.notes == ("columns width and height are those of the boxes, and are not used",)
