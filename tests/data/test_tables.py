"""Tables and layouts: what is wrong is said with its place, and nothing odd passes in silence."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.tables import COLUMNS, checked_id, read_kaggle_table, read_source

HEADER = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"


def table(folder: Path, text: str) -> Path:
    path = folder / "train.csv"
    path.write_text(text)
    return path


def test_kaggle_rows_keep_reader_class_and_box(tmp_path: Path) -> None:
    text = HEADER + "a,Pulmonary Fibrosis,13,R8,1,2,3,4\nb,No finding,14,R9,,,,\n"
    found = read_kaggle_table(table(tmp_path, text))
    assert list(found.columns) == list(COLUMNS)
    assert found.iloc[0].tolist() == ["a", "R8", "Pulmonary fibrosis", 1, 2, 3, 4]
    assert found.iloc[1]["category"] == "No finding"
    assert pd.isna(found.iloc[1]["x_min"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image_id,class_name\na,ILD\n",
            r"train.csv has no column class_id, rad_id, x_min, .*; it has",
        ),
        (HEADER, "has a header and no rows"),
        ("", "is no table"),
        (HEADER + "a,Pneumonia,3,R8,1,2,3,4\n", "class 'Pneumonia' is not one of"),
        (HEADER + "a,ILD,5,R8,1,2,3,4\na,ILD,5,R8,1,,3,4\n", "line 3: ILD in image a has no whole"),
        (
            HEADER + "a,ILD,5,,1,2,3,4\n",
            "line 2: image_id, class_name and rad_id must not be empty",
        ),
        (HEADER + "a,ILD,5,R8,one,2,3,4\n", "column x_min holds something that is no number"),
    ],
    ids=["column", "rows", "empty", "class", "box", "reader", "number"],
)
def test_a_faulty_table_is_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_kaggle_table(table(tmp_path, text))


def test_a_missing_folder_or_table_names_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        read_source(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"train.csv is missing"):
        read_source(tmp_path, layout="kaggle")
    with pytest.raises(DataError, match="holds no DICOM, PNG or JPEG"):
        read_source(tmp_path)


def coco(folder: Path, **changes: object) -> None:
    document = {
        "images": [{"id": 7, "file_name": "one.png"}, {"id": 8, "file_name": "two.png"}],
        "categories": [{"id": 2, "name": "Lung"}, {"id": 1, "name": "Heart"}],
        "annotations": [
            {"image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4], "reader": "R5"},
        ],
    } | changes
    (folder / "labels.json").write_text(json.dumps(document))
    (folder / "images").mkdir(exist_ok=True)
    for name in ("one.png", "two.png"):
        (folder / "images" / name).write_bytes(b"")


def test_coco_boxes_become_corners_and_an_image_without_any_is_read_as_normal(
    tmp_path: Path,
) -> None:
    coco(tmp_path)
    found = read_source(tmp_path)
    assert (found.layout, found.classes) == ("coco", ("Heart", "Lung"))
    assert found.findings.iloc[0].tolist() == ["one", "R5", "Lung", 1, 2, 4, 6]
    assert found.findings.iloc[1]["category"] == "No finding"
    assert {name: path.name for name, path in found.files.items()} == {
        "one": "one.png", "two": "two.png",
    }  # fmt: skip


def test_coco_annotations_must_name_what_is_listed(tmp_path: Path) -> None:
    coco(tmp_path, annotations=[{"image_id": 9, "category_id": 2, "bbox": [1, 2, 3, 4]}])
    with pytest.raises(DataError, match="names image 9 and category 2"):
        read_source(tmp_path)
    coco(tmp_path, annotations=[{"image_id": 7, "category_id": 2, "bbox": [1, 2, 3]}])
    with pytest.raises(DataError, match=r"labels\.json is no COCO file: .*expected 4"):
        read_source(tmp_path)
    twins = [{"id": 7, "file_name": "a/one.png"}, {"id": 8, "file_name": "b/one.png"}]
    coco(tmp_path, images=twins, annotations=[])
    with pytest.raises(DataError, match="lists two images named one"):
        read_source(tmp_path)
    twins = [{"id": 7, "file_name": "one.png"}, {"id": 7, "file_name": "two.png"}]
    coco(tmp_path, images=twins, annotations=[])
    with pytest.raises(DataError, match="gives one id to two images"):
        read_source(tmp_path)
    coco(tmp_path, categories=[])
    with pytest.raises(DataError, match="lists 2 images and 0 categories"):
        read_source(tmp_path)


def test_coco_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "secret.png"
    outside.write_bytes(b"")
    inner = tmp_path / "data"
    inner.mkdir()
    coco(inner, images=[{"id": 7, "file_name": "../secret.png"}])
    found = read_source(inner)
    assert found.files["secret"] != outside
    assert not found.files["secret"].is_file()


@pytest.mark.parametrize("name", ["../a", "a b", ".hidden", "", "a/b"])
def test_ids_that_are_no_safe_file_names_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="only letters, digits"):
        checked_id(name)
