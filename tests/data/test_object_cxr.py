"""object-CXR, by made files of its form; numbers by hand, of a polygon OpenCV's."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.tables import read_source
from published_data import boxes, made, read_as

POLYGON = np.array([[100, 50], [140, 60], [120, 90], [90, 80]])
TRAIN = (
    "image_name,annotation\n"
    f"00001.jpg,0 10 20 30 40;1 5.5 6 7 8;2 {' '.join(map(str, POLYGON.ravel()))}\n"
    "00002.jpg,\n"
)
DEV = "image_name,annotation\n08001.jpg,2 1 2 3 4 5 1;\n08002.jpg,\n"
IMAGES = ["train/00001.jpg", "train/00002.jpg", "dev/08001.jpg", "dev/08002.jpg"]


@pytest.mark.parametrize("column", ["image_name", "image_path"])
def test_boxes_and_splits(column: str, tmp_path: Path) -> None:
    prefix = "/path/" if column == "image_path" else ""
    train, dev = (text.replace("\n0", f"\n{prefix}0") for text in (TRAIN, DEV))
    texts = {"train.csv": train, "dev.csv": dev}
    files = {name: text.replace("image_name", column) for name, text in texts.items()}
    source = read_as("object-cxr", made(tmp_path, files, IMAGES))
    x, y, width, height = cv2.boundingRect(POLYGON)  # of the last pixels, too
    assert boxes(source) == {
        "00001": [
            ("R0", "Foreign object", (10, 20, 30, 40)),
            ("R0", "Foreign object", (5.5, 6, 7, 8)),
            ("R0", "Foreign object", (x, y, x + width - 1, y + height - 1)),
        ],
        "00002": [("R0", "No finding", ())],
        "08001": [("R0", "Foreign object", (1, 1, 5, 4))],
        "08002": [("R0", "No finding", ())],
    }
    table = source.table
    assert table.parts == {"00001": "train", "00002": "train", "08001": "test", "08002": "test"}
    assert not table.kinds
    assert not source.faults
    assert source.notes[0] == "1 ellipse(s) and 2 polygon(s): the box of each is its extent"
    assert any("its validation images are the test" in note for note in source.notes)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        ("3 1 2 3 4", "the shape '3 1 2 3 4' can't be read; expected a type (0, 1 or 2)"),
        ("0 1 2 3", "the shape '0 1 2 3' can't be read"),
        ("0 1 2 3 4 5 6", "can't be read"),
        ("2 1 2 3 4", "can't be read"),
        ("2 1 2 3 4 5 6 7", "can't be read"),
        ("0 1 2 3 4;rectangle", "the shape 'rectangle' can't be read"),
        ("0 30 2 3 4", "without an area, (30, 2, 3, 4)"),
        ("0 1 2 x 4", "no whole box"),
        ("2 1 2 3 nan 5 6", "no whole box"),
        ("0 0.1 0.2 0.3 0.4", "seems to be in fractions"),
    ],
)
def test_a_bad_shape_is_a_fault_of_its_image(annotation: str, text: str, tmp_path: Path) -> None:
    files = {"train.csv": f"{TRAIN}00003.jpg,{annotation}\n"}
    source = read_as("object-cxr", made(tmp_path, files, [*IMAGES[:2], "train/00003.jpg"]))
    assert list(source.faults) == ["00003"]
    assert "train.csv, line 4" in source.faults["00003"]
    assert text in source.faults["00003"]
    assert not source.table.unread


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (",0 1 2 3 4\n", "line 4: the column image_name is empty"),
        ("00003.jpg\n", "line 4: it has 1 cells, and the header 2"),
        ("00003.jpg,0 1,2\n", "line 4: it has 3 cells, and the header 2"),
    ],
)
def test_a_row_that_can_not_be_read_is_an_error(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_as("object-cxr", made(tmp_path, {"train.csv": TRAIN + row}, IMAGES))


@pytest.mark.parametrize(
    "text",
    [
        "image_name,annotation\na.jpg,cat\nb.jpg,dog\n",
        "image_name,annotation\na.jpg,\nb.jpg,\n",
        "image_name,annotation\n",
        "image_name,annotation,quality\na.jpg,0 1 2 3 4,good\n",
        "id,annotation\na.jpg,0 1 2 3 4\n",
        "",
    ],
)
def test_a_strangers_train_csv_is_not_the_data_sets(text: str, tmp_path: Path) -> None:
    made(tmp_path, {"data/train.csv": text}, ["data/a.jpg"])
    with pytest.raises(DataError, match=r"data/train\.csv"):
        read_source(tmp_path)


def test_a_table_of_corners_of_that_name_is_read_as_one(tmp_path: Path) -> None:
    text = "image,label,xmin,ymin,xmax,ymax\na.jpg,mass,1,2,11,12\n"
    assert read_source(made(tmp_path, {"train.csv": text}, ["train/a.jpg"])).layout == "csv"
