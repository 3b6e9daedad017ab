"""`--only`: scores of the images that a file names are those of a truth that holds them alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.coco.files import read_annotations
from cxrssl.evaluate.files import evaluate_files
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.subset import read_subset

NUM = 12
IMAGES = [
    {"id": n, "file_name": f"set/film{n}.png", "width": 100, "height": 100, "readers": ["A", "B"]}
    for n in range(NUM)
]
CLASSES = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
BOXES = [
    {"image_id": n, "category_id": 1 + n % 2, "bbox": [n, n, 20, 20], "reader": "AB"[n % 2]}
    for n in range(NUM - 2)
]
FOUND = [
    {"image_id": n, "category_id": 1 + n % 2, "bbox": [n + n % 5, n, 20, 20], "score": 0.9 - n / 20}
    for n in range(NUM)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    truth = {"images": IMAGES, "categories": CLASSES, "annotations": BOXES}
    (tmp_path / "t.json").write_text(json.dumps(truth))
    (tmp_path / "p.json").write_text(json.dumps(FOUND))
    return tmp_path


def scores(folder: Path, only: Path | None, truth: str = "t", found: str = "p") -> dict[str, Any]:
    return evaluate_files(
        folder / f"{found}.json",
        folder / f"{truth}.json",
        folder / f"{truth}.json",
        folder / f"{found}.json",
        consensus_iou=0.2,
        bootstrap=Bootstrap(50),
        only=only,
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "7\n\nset/film2.png\r\nfilm11.png\n film4 \n"),
        ("list.csv", "\ufeffsplit,image_id\ntest,7\ntest,film2.png\n\ntest,11\ntest,4\n"),
        ("list.csv", "note,File Name\n,film4.png\n,7\n,11\nx,film2\n"),
        ("list.tsv", "ward\tImage Index\n1\tfilm4.png\n2\t7\n\n3\t11\n1\tfilm2\n"),
        ("semicolons.csv", "id;ward\n4;a,b\n7;\n11;\n2;\n"),
        ("list", 'image_id,note\n4,"a,\nb"\n7,\n11,\n2,\n'),
    ],
)
def test_they_are_those_of_a_truth_with_these_images_alone(
    folder: Path, name: str, text: str
) -> None:
    only = folder / name
    only.write_text(text)
    kept = {2, 4, 7, 11}
    small = {
        "images": [image for image in IMAGES if image["id"] in kept],
        "categories": CLASSES,
        "annotations": [box for box in BOXES if box["image_id"] in kept],
    }
    (folder / "small.json").write_text(json.dumps(small))
    found = [box for box in FOUND if box["image_id"] in kept]
    (folder / "found.json").write_text(json.dumps(found))
    ours, theirs = scores(folder, only), scores(folder, None, "small", "found")
    assert ours.pop("only") == {"file": str(only), "n_images": 4, "of": NUM}
    assert ours["n_images"] == 4
    assert ours["n_boxes"] == 3
    for content in (ours, theirs):
        for key in ("against", "notes", "warnings"):
            content.pop(key)
    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.txt", "7\nfilm99.png\n", r"x\.txt, line 2: film99\.png is none of the 12 images"),
        ("x.csv", "image_id\n7\n99\n", r"x\.csv, line 3: 99 is none of the 12 images"),
        ("x.txt", "\n \n", r"x\.txt names no image"),
        ("x.csv", "image_id\n", r"x\.csv names no image"),
        ("x.csv", "film\n7\n", r"x\.csv has the columns 'film'; expected one, and not two"),
        ("x.csv", "image_id,a\n,7\n", r"x\.csv, line 2: no image_id"),
    ],
)
def test_what_is_amiss_is_told_with_its_line(
    folder: Path, name: str, text: str, message: str
) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=message):
        scores(folder, folder / name)


def test_an_image_that_is_named_twice_counts_once_and_is_said(folder: Path) -> None:
    (folder / "x.txt").write_text("7\nfilm7.png\n2\n")
    content = scores(folder, folder / "x.txt")
    assert content["n_images"] == 2
    assert any("1 line(s) name an image that is named before, the first is line 2" in note
               for note in content["notes"])  # fmt: skip


def test_a_name_of_two_images_is_refused(folder: Path) -> None:
    images = [*IMAGES[:-1], {"id": NUM - 1, "file_name": "other/film2.png"}]
    truth = {"images": images, "categories": CLASSES, "annotations": BOXES}
    (folder / "t.json").write_text(json.dumps(truth))
    (folder / "x.txt").write_text("film2.png\n")
    with pytest.raises(DataError, match=r"line 1: film2\.png could be 2 images"):
        evaluate_files(
            folder / "p.json",
            folder / "t.json",
            consensus_iou=0.2,
            bootstrap=Bootstrap(0),
            only=folder / "x.txt",
        )


def test_what_follows_a_dot_in_an_id_is_part_of_it(folder: Path) -> None:
    images = [{"id": n, "file_name": f"1.2.{n}"} for n in range(12)]
    (folder / "uids.json").write_text(
        json.dumps({"images": images, "categories": CLASSES, "annotations": BOXES})
    )
    (folder / "uids.txt").write_text("1.2.3\n1.2.4.png\n")
    index, _ = read_annotations(folder / "uids.json")
    assert read_subset(folder / "uids.txt", index).numbers.tolist() == [3, 4]
    (folder / "uids.txt").write_text("1.2.99\n")
    with pytest.raises(DataError, match="is none of the 12 images"):
        read_subset(folder / "uids.txt", index)
