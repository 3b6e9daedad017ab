"""TBX11K, by made files of its form; numbers by hand."""

from pathlib import Path
from typing import Any

import pytest

from cxrssl.data.tables import read_source
from published_data import boxes, made, read_as

TRAIN, VAL = "annotations/json/TBX11K_train.json", "annotations/json/TBX11K_val.json"
BOTH = "annotations/json/TBX11K_trainval.json"
CATEGORIES = [
    {"supercategory": "Tuberculosis", "id": number, "name": name}
    for number, name in enumerate(
        ("ActiveTuberculosis", "ObsoletePulmonaryTuberculosis", "PulmonaryTuberculosis"), start=1
    )
]


def document(names: list[str], annotations: list[tuple[int, int, list[float]]]) -> dict[str, Any]:
    return {
        "images": [
            {"file_name": name, "width": 512, "height": 512, "id": number}
            for number, name in enumerate(names, start=1)
        ],
        "annotations": [
            {"id": row, "image_id": image, "category_id": category, "bbox": box, "iscrowd": 0,
             "area": box[2] * box[3], "segmentation": []}
            for row, (image, category, box) in enumerate(annotations)
        ],
        "categories": CATEGORIES,
    }  # fmt: skip


IMAGES_TRAIN = ["health/h0001.png", "sick/s0001.png", "tb/tb0003.png", "tb/tb1199.png"]
IMAGES_VAL = ["tb/tb0005.png", "health/h0002.png"]
FILES = {
    TRAIN: document(IMAGES_TRAIN, [(3, 1, [10.5, 20, 30, 40]), (3, 2, [100, 100, 50, 60])]),
    VAL: document(IMAGES_VAL, [(1, 2, [1, 2, 3, 4])]),
    "annotations/json/all_train.json": document([*IMAGES_TRAIN, "extra/da/da0001.png"], []),
    "annotations/json/TBX11K_train_only_tb.json": document(["tb/tb0003.png"], []),
    "annotations/xml/tb0003.xml": "<annotation/>",
    "lists/TBX11K_train.txt": "\n".join(IMAGES_TRAIN),
}
OTHERS = ["test/test_0001.png", "extra/da/da0001.png"]
IMAGES = [f"imgs/{name}" for name in (*IMAGES_TRAIN, *IMAGES_VAL, *OTHERS)]
EXPECTED = {
    "h0001": [("R0", "No finding", ())],
    "s0001": [("R0", "No finding", ())],
    "tb0003": [
        ("R0", "ActiveTuberculosis", (10.5, 20, 40.5, 60)),
        ("R0", "ObsoletePulmonaryTuberculosis", (100, 100, 150, 160)),
    ],
    "tb0005": [("R0", "ObsoletePulmonaryTuberculosis", (1, 2, 4, 6))],
    "h0002": [("R0", "No finding", ())],
}


@pytest.mark.parametrize("below", ["", "TBX11K"])
def test_boxes_kinds_and_splits(below: str, tmp_path: Path) -> None:
    made(tmp_path / below, FILES, IMAGES)
    source = read_as("tbx11k", tmp_path)
    assert boxes(source) == EXPECTED
    table = source.table
    assert table.classes == ("ActiveTuberculosis", "ObsoletePulmonaryTuberculosis")
    assert table.kinds == {"h0001": "normal", "h0002": "normal", "s0001": "other finding"}
    assert set(table.unmarked) == {"tb1199"}
    assert table.unread == {"test_0001", "da0001"}
    assert table.parts == {
        **dict.fromkeys(["h0001", "s0001", "tb0003", "tb1199"], "train"),
        **dict.fromkeys(["tb0005", "h0002"], "test"),  # there is no other
        **dict.fromkeys(["test_0001", "da0001"], "unused"),
    }
    assert set(table.sizes.values()) == {(512, 512)}
    assert not source.faults
    notes = "\n".join(source.notes)
    assert "its validation images are the test" in notes
    assert "TBX11K_train_only_tb.json" in notes
    assert "not where they say" not in notes


def test_the_joined_file_has_no_split(tmp_path: Path) -> None:
    joined = document(["tb/tb0003.png", "sick/s0001.png"], [(1, 1, [10.5, 20, 30, 40])])
    source = read_as("tbx11k", made(tmp_path, {BOTH: joined}, IMAGES[1:3]))
    assert set(boxes(source)) == {"tb0003", "s0001"}
    assert not source.table.parts


@pytest.mark.parametrize(
    ("annotation", "image", "text"),
    [
        ((1, 1, [1, 2, 3, 4]), "h0001", "its folder health is of films without tuberculosis"),
        ((3, 1, [1, 2, 0, 4]), "tb0003", "annotation 2: ActiveTuberculosis has a box without an"),
        ((3, 1, [0.1, 0.1, 0.2, 0.2]), "tb0003", "fractions of the image"),
        ((3, 1, [1, 2, float("nan"), 4]), "tb0003", "no whole box"),
        ((3, 1, [1, 2, 3]), "tb0003", "no whole box"),
    ],
)
def test_bad_annotations_are_faults_of_their_image(
    annotation: tuple[int, int, list[float]], image: str, text: str, tmp_path: Path
) -> None:
    content = document(IMAGES_TRAIN, [(3, 1, [10.5, 20, 30, 40]), (3, 2, [9, 9, 5, 6])])
    entry = dict(zip(("image_id", "category_id", "bbox"), annotation, strict=True))
    content["annotations"].append(entry)
    source = read_as("tbx11k", made(tmp_path, {TRAIN: content}, IMAGES[:4]))
    assert list(source.faults) == [image]
    assert text in source.faults[image]
    assert TRAIN in source.faults[image]


def test_annotations_to_be_ignored_leave_their_image_without_truth(tmp_path: Path) -> None:
    content = document(IMAGES_TRAIN, [(3, 1, [10, 20, 30, 40]), (3, 9, [9, 9, 5, 6])])
    source = read_as("tbx11k", made(tmp_path, {TRAIN: content}, IMAGES[:4]))
    assert set(source.table.unmarked) == {"tb0003", "tb1199"}
    assert any("name a category that is not listed" in note for note in source.notes)


def test_an_image_in_both_splits_and_one_that_is_missing_are_faults(tmp_path: Path) -> None:
    val = document([*IMAGES_VAL, "tb/tb0003.png", "tb/tb9.png"], [(3, 1, [10, 20, 30, 40])])
    source = read_as("tbx11k", made(tmp_path, {**FILES, VAL: val}, IMAGES))
    assert set(source.faults) == {"tb0003", "tb9"}
    assert "two values of split" in source.faults["tb0003"]
    assert "there is no file imgs/tb/tb9.png" in source.faults["tb9"]


def test_files_of_other_content_are_not_the_data_sets(tmp_path: Path) -> None:
    other = {**document(IMAGES_VAL, []), "categories": [{"id": 1, "name": "Car"}]}
    folder = made(tmp_path, {TRAIN: other, VAL: "[]"}, IMAGES)
    assert read_source(folder).layout == "coco"
