"""COCO in several files, in the folders that CVAT, Roboflow, Label Studio and FiftyOne write."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.tables import Source, read_source

BOX = [10, 10, 20, 20]
OTHER_BOX = [40, 10, 20, 20]
Marks = list[tuple[str, str, list[float]]]
"""File name, class and bbox of each annotation."""


def write(
    path: Path,
    files: list[str],
    marks: Marks,
    /,
    *,
    classes: tuple[str, ...] = ("nodule", "mass"),
    image: dict[str, Any] | None = None,
    annotation: dict[str, Any] | None = None,
) -> None:
    """Write a COCO file with ids from 1."""
    document = {
        "info": {},
        "images": [
            {"id": number, "file_name": name, "width": 100, "height": 60} | (image or {})
            for number, name in enumerate(files, start=1)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(classes, start=1)],
        "annotations": [
            {"id": number, "image_id": files.index(name) + 1, "bbox": box,
             "category_id": classes.index(label) + 1} | (annotation or {})
            for number, (name, label, box) in enumerate(marks, start=1)
        ],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def rows(result: Source) -> set[tuple[object, ...]]:
    """Return file, reader, category and corner; without the corner where nothing was found."""
    root = next(iter(result.files.values())).parents[8]
    return {
        (result.files[row.image_id].relative_to(root).name, row.reader, row.category)
        + (() if math.isnan(row.x_min) else (row.x_min, row.y_min))
        for row in result.table.rows.itertuples(index=False)
    }


def noted(result: Source, text: str) -> bool:
    return any(text in note for note in result.notes)


PARTS = {"train": "a.png", "val": "b.png", "test": "c.png"}
FOLDERS = {
    "cvat": ("annotations/instances_{}.json", "images/{}/{}", "{}"),
    "coco 2017": ("annotations/instances_{}2017.json", "{}2017/{}", "{}"),
    "roboflow": ("{}/_annotations.coco.json", "{}/{}", "{}"),
    "fiftyone": ("{}/labels.json", "{}/data/{}", "{}"),
    "label studio": ("{}/result.json", "{}/images/{}", "images/{}"),
    "windows": ("{}/result.json", "{}/images/{}", "images\\{}"),
    "beside": ("{}.json", "{}/{}", "{}"),
    "upwards": ("{}/labels.json", "films/{}/{}", "../films/{part}/{}"),
}


@pytest.mark.parametrize("tool", FOLDERS)
@pytest.mark.parametrize("name", ["", "same.png"])
def test_the_parts_of_a_tools_folder_are_one_source(tmp_path: Path, tool: str, name: str) -> None:
    """With ids that repeat and, where `name` is given, files of one name in each part."""
    table, place, stated = FOLDERS[tool]
    classes = {
        "test": ("mass", "effusion"),
        "train": ("nodule", "mass"),
        "val": ("Mass ", "nodule"),
    }
    for part, own in PARTS.items():
        file = name or own
        images(tmp_path, place.format(part, file))
        said = stated.format(file, part=part)
        marks: Marks = [(said, classes[part][0], [10, 10, 20, 20])]
        write(tmp_path / table.format(part), [said], marks, classes=classes[part])
    result = read_source(tmp_path)
    assert (result.layout, result.faults) == ("coco", {})
    assert result.table.classes == ("mass", "effusion", "nodule")
    found = {
        result.files[row.image_id].relative_to(tmp_path).as_posix(): (row.reader, row.category)
        for row in result.table.rows.itertuples(index=False)
    }
    assert found == {
        place.format("train", name or "a.png"): ("R0", "nodule"),
        place.format("val", name or "b.png"): ("R0", "mass"),
        place.format("test", name or "c.png"): ("R0", "mass"),
    }
    assert noted(result, "1 class(es) are spelt in several ways, such as 'mass' and 'Mass '")
    assert not noted(result, "tables that are not used")
    assert not noted(result, "are not where they say")


def test_files_of_two_readers_are_two_readers_and_which_is_said(tmp_path: Path) -> None:
    images(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    write(tmp_path / "anna/labels.json", ["a.png", "b.png"], [("a.png", "mass", BOX)])
    write(
        tmp_path / "ben/labels.json",
        ["b.png", "c.png", "a.png"],
        [("a.png", "nodule", OTHER_BOX), ("c.png", "mass", BOX)],
    )
    result = read_source(tmp_path)
    table = result.table.rows[["image_id", "reader", "category"]].to_numpy().tolist()
    assert sorted(table) == [
        ["a", "R1", "mass"],
        ["a", "R2", "nodule"],
        ["b", "R1", "No finding"],
        ["b", "R2", "No finding"],
        ["c", "R2", "mass"],
    ]
    assert noted(
        result,
        "2 files list the same images: each is one reader where annotations name none "
        "(R1: anna/labels.json, R2: ben/labels.json)",
    )


@pytest.mark.parametrize("copy", ["all", "train", "both"])
def test_the_same_annotation_in_two_files_is_no_second_reader(tmp_path: Path, copy: str) -> None:
    """A split beside the whole, Roboflow's copy in the root: whichever of them is first."""
    images(tmp_path, "a.png", "b.png", "c.png")
    part: Marks = [("a.png", "mass", BOX), ("a.png", "nodule", OTHER_BOX)]
    names = {"all": "all.json", "train": "0.json", "both": "all.json"}
    whole = ["b.png", "a.png", "c.png"]
    files = whole if copy == "both" else ["a.png", "b.png"]
    write(tmp_path / "train.json", files, part)
    shuffled = part[::-1] + ([] if copy == "both" else [("c.png", "mass", BOX)])
    write(tmp_path / names[copy], whole, shuffled, classes=("mass", "nodule"))
    result = read_source(tmp_path)
    assert set(result.table.rows["reader"]) == {"R0"}
    assert len(result.table.rows) == 4
    assert noted(result, "box for box: they are used once, and are no second reader")


def test_a_copy_in_the_root_needs_no_images_of_its_own(tmp_path: Path) -> None:
    images(tmp_path, "train/a.png", "valid/b.png")
    write(tmp_path / "train/_annotations.coco.json", ["a.png"], [("a.png", "mass", BOX)])
    write(tmp_path / "valid/_annotations.coco.json", ["b.png"], [("b.png", "mass", BOX)])
    whole: Marks = [("b.png", "mass", BOX), ("a.png", "mass", BOX)]
    write(tmp_path / "_annotations.coco.json", ["a.png", "b.png"], whole)
    result = read_source(tmp_path)
    assert (len(result.table.rows), result.faults) == (2, {})
    assert set(result.table.rows["reader"]) == {"R0"}


def test_a_missing_image_is_not_that_of_another_part(tmp_path: Path) -> None:
    images(tmp_path, "train/a.png", "valid/b.png")
    write(tmp_path / "train/labels.json", ["a.png"], [("a.png", "mass", BOX)])
    write(tmp_path / "valid/labels.json", ["a.png"], [("a.png", "nodule", OTHER_BOX)])
    result = read_source(tmp_path)
    assert result.table.rows["category"].tolist() == ["mass"]
    (fault,) = result.faults.values()
    assert "no such file where valid/labels.json says, and the one elsewhere" in fault


def test_two_states_of_one_list_are_refused(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b.png")
    old: Marks = [("a.png", "mass", BOX), ("b.png", "mass", BOX)]
    new: Marks = [("a.png", "mass", BOX), ("b.png", "mass", OTHER_BOX)]
    write(tmp_path / "new.json", ["a.png", "b.png"], new)
    write(tmp_path / "old.json", ["a.png", "b.png"], old)
    with pytest.raises(DataError, match=r"new.json and old.json list the same images, and 1 of 2"):
        read_source(tmp_path)
    # Readers who began with the same boxes say who they are.
    for name, marks in (("new", new), ("old", old)):
        write(tmp_path / f"{name}.json", ["a.png", "b.png"], marks, annotation={"reader": name})
    assert len(read_source(tmp_path).table.rows) == 4


def test_parts_that_all_list_every_image_are_no_readers_who_found_nothing(tmp_path: Path) -> None:
    names = [f"{letter}.png" for letter in "abcdef"]
    images(tmp_path, *names)
    write(tmp_path / "train.json", names, [(name, "mass", BOX) for name in names[:4]])
    write(tmp_path / "val.json", names, [(name, "mass", BOX) for name in names[4:]])
    with pytest.raises(
        DataError, match=r"list the same 6 image\(s\), and none of them has annotat"
    ):
        read_source(tmp_path)


def test_one_list_with_every_image_twice_is_used_once(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    write(
        tmp_path / "x.json",
        ["a.png", "./a.png"],
        [("a.png", "mass", BOX), ("./a.png", "mass", BOX)],
    )
    result = read_source(tmp_path)
    assert result.table.rows["reader"].tolist() == ["R0"]
    assert noted(result, "listed under several image ids of x.json with the very same boxes")


def test_what_is_no_coco_is_passed_over_beside_one_that_is(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    write(tmp_path / "labels.json", ["a.png"], [("a.png", "mass", BOX)])
    write(tmp_path / "predictions.json", ["a.png"], [("a.png", "mass", [1, 1, 5, 5])],
          annotation={"score": 0.5})  # fmt: skip
    write(tmp_path / "tags.json", ["a.png"], [("a.png", "mass", BOX)], annotation={"bbox": None})
    write(tmp_path / "empty.json", [], [])
    (tmp_path / "results.json").write_text('[{"image_id": 1, "category_id": 1, "bbox": [1,1,1,1]}]')
    (tmp_path / "phantom.json").write_text('{"seed": 3}')
    (tmp_path / "dataset.json").write_text(json.dumps({"dm_format_version": "1.0", "items": [],
                                                       "categories": {}}))  # fmt: skip
    result = read_source(tmp_path)
    assert (result.layout, len(result.table.rows)) == ("coco", 1)
    assert noted(result, "predictions.json is not used: all its annotations have a score")
    assert noted(result, "tags.json is not used: its annotations have no boxes")
    assert noted(result, "tables that are not used: dataset.json, empty.json, phantom.json and 1")


def test_a_lone_file_of_detections_is_said_to_be_one(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    write(tmp_path / "p.json", ["a.png"], [("a.png", "mass", BOX)], annotation={"score": 0.5})
    assert noted(read_source(tmp_path), "all annotations of p.json have a score, as detections do")


def test_a_part_that_breaks_off_is_not_passed_over(tmp_path: Path) -> None:
    images(tmp_path, "train/a.png", "val/b.png")
    write(tmp_path / "train/labels.json", ["a.png"], [("a.png", "mass", BOX)])
    write(tmp_path / "val/labels.json", ["b.png"], [("b.png", "mass", BOX)])
    path = tmp_path / "val/labels.json"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(DataError, match=r"val/labels\.json is not JSON"):
        read_source(tmp_path)


def test_a_part_without_annotations_is_said(tmp_path: Path) -> None:
    images(tmp_path, "train/a.png", "val/b.png")
    write(tmp_path / "train/labels.json", ["a.png"], [("a.png", "mass", BOX)])
    write(tmp_path / "val/labels.json", ["b.png"], [])
    result = read_source(tmp_path)
    assert noted(result, "val/labels.json lists 1 image(s) and no annotation: they are taken as re")


def test_faults_name_the_file_and_the_entry(tmp_path: Path) -> None:
    images(tmp_path, "train/a.png", "val/b.png")
    write(tmp_path / "train/labels.json", ["a.png"], [("a.png", "mass", BOX)])
    write(tmp_path / "val/labels.json", ["b.png"], [("b.png", "mass", [1, 2, 0, 4])])
    result = read_source(tmp_path)
    assert result.faults["b"].startswith("val/labels.json, annotation 0: mass has a box without an")


@pytest.mark.parametrize("key", ["patient_id", "patient", "subject_id"])
def test_patients_of_images_are_read_and_contradictions_cost_the_image(
    tmp_path: Path, key: str
) -> None:
    images(tmp_path, "a.png", "b.png", "c.png")
    write(tmp_path / "0.json", ["a.png"], [("a.png", "mass", BOX)], image={key: "Doe"})
    write(tmp_path / "1.json", ["b.png"], [("b.png", "mass", BOX)], image={key: 7})
    write(tmp_path / "2.json", ["c.png", "b.png"], [("b.png", "mass", OTHER_BOX)], image={key: " "})
    result = read_source(tmp_path)
    patients = result.table.patients
    assert (set(patients), len(set(patients.values())), result.faults) == ({"a", "b"}, 2, {})
    write(tmp_path / "2.json", ["c.png", "a.png"], [("a.png", "mass", OTHER_BOX)], image={key: 1.5})
    assert noted(read_source(tmp_path), f"{key} of 2 image(s) is neither a text nor a whole number")
    write(tmp_path / "2.json", ["c.png", "a.png"], [("a.png", "mass", OTHER_BOX)], image={key: "X"})
    result = read_source(tmp_path)
    assert result.faults == {
        "a": "0.json, entry 0 of images and 2.json, entry 1 of images give it two patients; it has "
        "one. Correct one of them."
    }
    assert set(result.table.patients) >= {"b", "c"}
    assert result.table.patients["b"] == patients["b"]


def test_kinds_of_images_without_boxes_are_read(tmp_path: Path) -> None:
    images(tmp_path, *(f"{letter}.png" for letter in "abcd"))
    write(tmp_path / "n.json", ["a.png"], [], image={"kind": "Normal"})
    write(tmp_path / "o.json", ["b.png"], [], image={"kind": "other finding"})
    write(tmp_path / "x.json", ["c.png"], [("c.png", "mass", BOX)], image={"kind": "normal"})
    write(tmp_path / "y.json", ["d.png"], [], image={"kind": "train"})
    result = read_source(tmp_path)
    assert dict(result.table.kinds) == {"a": "normal", "b": "other finding"}
    assert noted(result, "1 image(s) with boxes are called normal or other finding; that is not us")
    assert noted(result, "kind of 1 image(s) is neither 'normal' nor 'other finding', and is not")


def test_classes_of_one_file_that_differ_in_case_alone_stay_two(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b.png")
    write(tmp_path / "0.json", ["a.png"], [("a.png", "Mass", BOX)], classes=("Mass", "mass"))
    write(tmp_path / "1.json", ["b.png"], [("b.png", "mass", BOX)], classes=("mass", "MASS"))
    assert read_source(tmp_path).table.classes == ("Mass", "mass", "MASS")


def test_a_list_of_results_alone_is_no_truth(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    (tmp_path / "r.json").write_text('[{"image_id": 1, "category_id": 1, "bbox": [1, 1, 1, 1]}]')
    with pytest.raises(DataError, match="no layout reads them"):
        read_source(tmp_path)
    with pytest.raises(
        DataError, match=r"should hold a COCO JSON, an object with .* found r\.json"
    ):
        read_source(tmp_path, layout="coco")


def divided(folder: Path, *, names: tuple[str, ...], again: str = "") -> Source:
    """Read two lists that are named after parts; `again` is in both, with the same box."""
    images(folder, *names)
    half = len(names) // 2
    first, second = list(names[:half]), list(names[half:]) + [again] * bool(again)
    for part, listed in (("train", first), ("val", second)):
        marks = [(name, "mass", BOX) for name in listed]
        write(folder / f"annotations/instances_{part}.json", listed, marks)
    return read_source(folder, split="folders")


def test_lists_that_are_named_after_parts_divide_films_of_one_folder(tmp_path: Path) -> None:
    result = divided(tmp_path, names=("images/a.png", "images/b.png"))
    assert result.table.parts == {"a": "train", "b": "test"}
    assert not read_source(tmp_path).table.parts
    assert any(
        "names of a split, train (1), val (1)" in note for note in read_source(tmp_path).notes
    )


def test_a_film_in_the_lists_of_two_parts_is_refused_even_with_the_same_boxes(
    tmp_path: Path,
) -> None:
    names = ("images/a.png", "images/b.png")
    with pytest.raises(DataError, match=r"image a is in train by annotations/instances_train.json"):
        divided(tmp_path, names=names, again="images/a.png")


def test_folders_and_lists_fill_each_other_in_and_must_agree(tmp_path: Path) -> None:
    result = divided(tmp_path, names=("train/a.png", "images/b.png"))
    assert result.table.parts == {"a": "train", "b": "test"}
    with pytest.raises(
        DataError, match=r"image c is in train by .*_train.json and in test by its f"
    ):
        divided(tmp_path / "other", names=("test/c.png", "images/d.png"))


def test_a_split_that_was_asked_for_and_has_no_test_is_refused(tmp_path: Path) -> None:
    images(tmp_path, "train/a.png", "train/b.png")
    write(tmp_path / "x.json", ["train/a.png", "train/b.png"], [("train/a.png", "mass", BOX)])
    with pytest.raises(DataError, match="all images of the split that was asked for are for train"):
        read_source(tmp_path, split="folders")
