"""YOLO labels of every tool's folders; labelformat writes and reads the same boxes."""

import re
from pathlib import Path

import pytest
from labelformat.formats import (
    YOLOv5ObjectDetectionOutput,
    YOLOv8ObjectDetectionInput,
    YOLOv8ObjectDetectionOutput,
)

from cxrssl.core.errors import DataError
from cxrssl.data.tables import Source, read_source
from cxrssl.data.tables.rows import BOX_COLUMNS
from drawn_boxes import NAMES, DrawnBoxes, boxes_of, boxes_read, fill

ROW = "0 .5 .5 .2 .4\n"
YAML = "names: [mass, node]\n"


def source(folder: Path, label: str | bytes, **others: str) -> Source:
    """Read a folder of two films, one of which has this label and one an empty one."""
    files = {"images/a.png": "", "images/b.png": "", "labels/b.txt": "", "data.yaml": YAML}
    return read_source(fill(folder, {**files, "labels/a.txt": label, **others}))


def boxes(result: Source) -> list[tuple[str, str, tuple[float, ...]]]:
    rows = result.table.rows.dropna()
    corners = rows[BOX_COLUMNS].to_numpy().round(9)
    return [
        (name, label, tuple(box.tolist()))
        for name, label, box in zip(rows["image_id"], rows["category"], corners, strict=True)
    ]


@pytest.mark.parametrize("writer", [YOLOv5ObjectDetectionOutput, YOLOv8ObjectDetectionOutput])
def test_boxes_are_those_that_labelformat_writes(writer: type, tmp_path: Path) -> None:
    drawn = DrawnBoxes()
    drawn.write_images(tmp_path / "images")
    writer(output_file=tmp_path / "data.yaml", output_split="train").save(drawn)
    result = read_source(tmp_path)
    assert (result.layout, result.faults, result.table.classes) == ("yolo", {}, NAMES)
    assert len(boxes_of(drawn.labels)) == 21
    assert boxes_read(result, tmp_path) == boxes_of(drawn.labels)
    assert set(result.table.kinds) == {"film0", "film5", "film10"}, "read, and without a box"
    assert not result.table.unread


def test_boxes_are_those_that_labelformat_reads(tmp_path: Path) -> None:
    yaml = "path: .\ntrain: images\nnames:\n  0: mass\n  1: lymph node\n"
    label = "0 0.50 0.25 0.125 0.5\r\n1 .9 .9 .2 .2\r\n0 0.3333333 0.1 0.0625 0.01\n"
    result = source(tmp_path, label, **{"data.yaml": yaml})
    reader = YOLOv8ObjectDetectionInput(input_file=tmp_path / "data.yaml", input_split="train")
    expected = boxes_of(reader.get_labels())
    assert boxes_read(result, tmp_path) == expected
    assert len(expected) == 3


BOX = (0.4, 0.3, 0.6, 0.7)


@pytest.mark.parametrize(
    ("files", "label"),
    [
        # Ultralytics, FiftyOne
        ({"images/train/a.png": "", "labels/train/a.txt": ROW, "dataset.yaml": YAML}, "mass"),
        # Roboflow
        ({"train/images/a.png": "", "train/labels/a.txt": ROW,
          "data.yaml": "train: ../train/images\nnc: 1\nnames: ['mass']\n"}, "mass"),
        # Roboflow's darknet
        ({"train/a.png": "", "train/a.txt": ROW, "train/_darknet.labels": "mass\n",
          "valid/_darknet.labels": "mass\n"}, "mass"),
        # CVAT's YOLO 1.1
        ({"obj_train_data/a.png": "", "obj_train_data/a.txt": ROW, "obj.names": "mass\nnode\n",
          "obj.data": "classes = 2\nnames = data/obj.names\n",
          "train.txt": "data/obj_train_data/a.png\n"}, "mass"),
        # labelImg
        ({"a.png": "", "a.txt": ROW, "classes.txt": "mass\r\n"}, "mass"),
        ({"images/a.png": "", "images/a.txt": ROW, "images/classes.txt": "mass"}, "mass"),
        # Folders of one's own
        ({"films/a.png": "", "Labels/a.txt": ROW, "my.yml": "names: {0: mass}\n"}, "mass"),
        ({"films/a.png": "", "boxes/a.txt": ROW}, "class 0"),
    ],
)  # fmt: skip
def test_labels_are_found_where_tools_put_them(
    files: dict[str, str | bytes], label: str, tmp_path: Path
) -> None:
    result = read_source(fill(tmp_path, files))
    assert (result.layout, result.faults) == ("yolo", {})
    assert boxes(result) == [("a", label, BOX)]
    assert any("no data.yaml" in note for note in result.notes) == (label == "class 0")
    is_guessed = any("neither in labels/ nor beside" in note for note in result.notes)
    assert is_guessed == any(name.startswith("films/") for name in files)


def test_equal_names_in_two_folders_are_two_films(tmp_path: Path) -> None:
    for split, row in (("train", ROW), ("valid", "0 .5 .5 .5 .5\n")):
        fill(tmp_path, {f"{split}/images/a.png": "", f"{split}/labels/a.txt": row})
        fill(tmp_path, {f"{split}/films/b.png": "", f"{split}/boxes/b.txt": row})
    expected = {"train": BOX, "valid": (0.25, 0.25, 0.75, 0.75)}
    assert {name: box for name, _, box in boxes(read_source(tmp_path))} == {
        f"{split}_{name}": box
        for split, box in expected.items()
        for name in ("images_a", "films_b")
    }


@pytest.mark.parametrize(
    ("row", "box"),
    [
        ("\ufeff1 .5 .5 .2 .4\r\n\r\n  \r\n", BOX),
        ("1.0\t.5 .5   .2 .4", BOX),
        ("1 .4 .3 .6 .4 .5 .7\n", BOX),  # a segment
        ("1 .5 .3 .6 .5 .5 .7 .4 .5\n", BOX),  # a turned box
    ],
)
def test_a_row_is_a_box_or_the_extent_of_an_outline(
    row: str, box: tuple[float, ...], tmp_path: Path
) -> None:
    result = source(tmp_path, row)
    assert boxes(result) == [("a", "node", box)]
    is_outline = len(row.split()) > 5
    assert any(note.startswith("1 row(s) are outlines") for note in result.notes) == is_outline


def test_keypoints_are_left_out_where_the_yaml_says_that_there_are_some(tmp_path: Path) -> None:
    yaml = YAML + "kpt_shape: [1, 3]\n"
    result = source(tmp_path, "0 .5 .5 .2 .4 .9 .9 2\n", **{"data.yaml": yaml})
    assert boxes(result) == [("a", "mass", BOX)]
    assert "1 row(s) have keypoints, which are not used" in result.notes


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("0 .5 .5 .2\n", "labels/a.txt, line 1: it has 4 numbers; expected class x_center"),
        (ROW + "mass .5 .5 .2 .4\n", "labels/a.txt, line 2: field 1 is not a number"),
        ("0 .5 .5 .2 .4 # 1\n", "labels/a.txt, line 1: field 6 is not a number"),
        ("-1 .5 .5 .2 .4\n", "labels/a.txt, line 1: the class is -1; expected a whole number"),
        ("0.5 .5 .5 .2 .4\n", "labels/a.txt, line 1: the class is 0.5"),
        ("nan .5 .5 .2 .4\n", "labels/a.txt, line 1: the class is nan"),
        ("2 .5 .5 .2 .4\n", "line 1: the class is 2, and data.yaml names 2, from 0 to 1"),
        ("\n0 nan .5 .2 .4\n", "labels/a.txt, line 2: mass has no whole box"),
        ("0 .5 .5 inf .4\n", "labels/a.txt, line 1: mass has no whole box"),
        ("0 .1 nan .5 .2 .5 .9\n", "labels/a.txt, line 1: mass has no whole box"),
        ("0 .5 .5 0 .4\n", "labels/a.txt, line 1: mass has a box without an area"),
        ("0 .5 .5 -.2 .4\n", "labels/a.txt, line 1: mass has a box without an area"),
        ("0 20 10 8 8\n", "labels/a.txt, line 1: mass has a box outside the image, (20, 10, 8, 8)"),
        ("0 .5 .5 .2 .4 \xe9\n".encode("latin-1"), "labels/a.txt, line 1: not UTF-8"),
        (ROW.encode("utf-16"), "labels/a.txt, line 1: not UTF-8"),
        (b"\0" * 99, "labels/a.txt, line 1: field 1 is not a number"),
        (ROW * 1_300_000, "labels/a.txt has more than 16 MiB"),
    ],
)  # fmt: skip
def test_a_bad_row_is_a_fault_of_its_image_that_names_the_row(
    label: str | bytes, text: str, tmp_path: Path
) -> None:
    result = source(tmp_path, label)
    assert list(result.faults) == ["a"]
    assert text in result.faults["a"]
    assert result.table.kinds == {"b": "normal"}
    assert not result.table.unread


def test_what_a_detector_wrote_is_no_truth(tmp_path: Path) -> None:
    result = source(tmp_path / "one", ROW + "0 .5 .5 .2 .4 .93\n", **{"labels/b.txt": ROW})
    assert list(result.faults) == ["a"]
    assert (
        "labels/a.txt, line 2: it has 6 numbers: a box and, it seems, a conf"
        in (result.faults["a"])
    )
    with pytest.raises(DataError, match=r"every label with rows \(1\) has a confidence in them"):
        source(tmp_path / "all", "0 .5 .5 .2 .4 .93\n")


def test_an_empty_label_is_a_reading_and_no_label_is_none(tmp_path: Path) -> None:
    files = {"images/c.png": "", "labels/d.txt": ROW, "labels/e.txt": ""}
    result = source(tmp_path, ROW, **files)
    rows = result.table.rows
    assert rows["image_id"].tolist() == ["a", "b"]
    assert rows["category"].tolist() == ["mass", "No finding"]
    assert result.table.kinds == {"b": "normal"}
    assert result.table.unread == {"c"}
    assert result.faults["d"].startswith("labels/d.txt, line 1: there is no file")
    assert result.faults["e"].startswith("labels/e.txt: there is no file")
    only_empty = fill(tmp_path / "empty", {"images/a.png": "", "labels/a.txt": " \n"})
    assert read_source(only_empty).table.kinds == {"a": "normal"}


def test_a_class_called_no_finding_is_a_reading(tmp_path: Path) -> None:
    # As conversions of VinBigData have it.
    result = source(tmp_path, "1 .5 .5 1 1\n", **{"data.yaml": "names: [mass, No finding]\n"})
    assert boxes(result) == []
    assert result.table.kinds == {"a": "normal", "b": "normal"}
    assert result.table.classes == ("mass",)
    assert any(note.startswith("1 row(s) are of a class called 'No") for note in result.notes)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names: [yes, no]", "the name of class 0 is 'True'; expected text. Put it in quotes"),
        ("names: [mass]\nnc: 3", "data.yaml: nc is 3, and names has 1"),
        ("names:", "names is neither a list of class names nor a mapping"),
        ("names: {-1: mass}", "names has the class id '-1'"),
        ("names: [[mass]]", "the name of class 0"),
        ("names: [mass", "data.yaml is not YAML"),
        ("a: &a [1]\nnames: *a", "anchors and aliases (& and *) are not read"),
        ("names: !!python/object/apply:os.getcwd []", "python/object/apply:os.getcwd' is not read"),
        (b"names: [\xe9]", "data.yaml, line 1: not UTF-8"),
    ],
)  # fmt: skip
def test_a_yaml_that_can_not_be_meant_is_an_error(
    yaml: str | bytes, message: str, tmp_path: Path
) -> None:
    files: dict[str, str | bytes] = {"images/a.png": "", "labels/a.txt": ROW, "data.yaml": yaml}
    with pytest.raises(DataError, match=re.escape(message)):
        read_source(fill(tmp_path, files))


def test_names_come_from_one_file_or_from_several_that_agree(tmp_path: Path) -> None:
    assert source(tmp_path / "same", ROW, **{"classes.txt": "mass\nnode\n"}).faults == {}
    with pytest.raises(DataError, match=r"data\.yaml and classes\.txt name the classes different"):
        source(tmp_path / "other", ROW, **{"classes.txt": "node\nmass\n"})
    with pytest.raises(DataError, match=r"classes\.txt, line 2: expected the name of class 1"):
        source(tmp_path / "blank", ROW, **{"classes.txt": "mass\n\nnode\n"})
    with pytest.raises(DataError, match=r"classes\.txt, line 1: expected the name of class 0"):
        source(tmp_path / "empty", ROW, **{"classes.txt": ""})
    twice = source(tmp_path / "twice", ROW, **{"data.yaml": "names: {0: mass, 3: mass}\n"})
    assert twice.table.classes == ("mass",)
    assert "1 class name(s) stand for several ids there: each name is one class" in twice.notes


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    fill(tmp_path, {"elsewhere/a.txt": "0 .1 .1 .1 .1\n"})
    folder = fill(tmp_path / "set", {"images/a.png": "", "images/b.png": "", "labels/b.txt": ROW})
    (folder / "labels/a.txt").symlink_to(tmp_path / "elsewhere/a.txt")
    result = read_source(folder)
    assert list(result.faults) == ["a"]
    assert "labels/a.txt is a link out of the folder" in result.faults["a"]
    (folder / "labels/b.txt").unlink()
    with pytest.raises(DataError, match="no table of the layout yolo"):
        read_source(folder, layout="yolo")


def test_reports_called_as_their_films_are_no_labels(tmp_path: Path) -> None:
    fill(tmp_path, {"a.png": "", "a.txt": "Heart of normal size.\n"})
    with pytest.raises(DataError, match="no layout reads them"):
        read_source(tmp_path)
    with pytest.raises(DataError, match="no table of the layout yolo"):
        read_source(tmp_path, layout="yolo")


def test_a_label_in_labels_goes_before_one_beside_its_image(tmp_path: Path) -> None:
    result = source(tmp_path, ROW, **{"images/a.txt": "1 .1 .1 .1 .1\n"})
    assert boxes(result) == [("a", "mass", BOX)]
    assert "tables that are not used: images/a.txt" in result.notes


def test_names_of_classes_in_one_line_are_called_so(tmp_path: Path) -> None:
    rows = "0 .5 .5 .2 .2\n1 .5 .5 .2 .2\n"
    files = {"a.png": "", "labels/a.txt": rows, "classes.txt": "mass, effusion\n"}
    fault = read_source(fill(tmp_path, files)).faults["a"]
    assert "Its one name seems to be several: write one a line." in fault


def test_masks_are_films_only_with_a_label_of_their_own(tmp_path: Path) -> None:
    files = {
        "images/a.png": "",
        "masks/a.png": "",
        "labels/a.txt": ROW,
        "classes.txt": "mass\nnode",
    }
    result = read_source(fill(tmp_path, files))
    assert set(result.files.values()) == {tmp_path / "images/a.png"}
    assert any("passed over as masks" in note for note in result.notes)
    fill(tmp_path, {"masks/a.txt": ROW})
    assert set(read_source(tmp_path).files.values()) == {
        tmp_path / "images/a.png",
        tmp_path / "masks/a.png",
    }


def test_masks_of_a_divided_folder_are_no_films(tmp_path: Path) -> None:
    names = ("images/train/a.png", "masks/train/a.png")
    files = {"labels/train/a.txt": ROW, "classes.txt": "mass\nnode"} | dict.fromkeys(names, "")
    result = read_source(fill(tmp_path, files))
    assert result.files == {"a": tmp_path / "images/train/a.png"}
    assert not result.table.unread
