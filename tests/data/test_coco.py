"""COCO files as tools write them: what is to be ignored, turned, outlined, listed twice."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.tables import Source, read_source

BOX = [10, 10, 20, 20]
CORNERS = (10, 10, 30, 30)


def source(
    folder: Path,
    annotations: list[dict[str, Any]],
    /,
    *,
    files: tuple[str, ...] = ("a.png", "b.png"),
    **lists: object,
) -> Source:
    """Read a COCO file that lists `files` as images 1, 2, ... and one class, nodule, as 1."""
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    document = {
        "images": [
            {"id": number, "file_name": name, "width": 100, "height": 60}
            for number, name in enumerate(files, start=1)
        ],
        "categories": [{"id": 1, "name": "nodule"}],
        "annotations": [{"image_id": 1, "category_id": 1} | entry for entry in annotations],
    } | lists
    (folder / "labels.json").write_text(json.dumps(document))
    return read_source(folder)


def marked(**changes: object) -> dict[str, Any]:
    return {"annotations": [{"image_id": 1, "category_id": 1, "bbox": BOX} | changes]}


def rows(result: Source) -> list[tuple[object, ...]]:
    """Return image, reader, category and corners; without corners where nothing was found."""
    table = result.table.rows.itertuples(index=False)
    return [tuple(row)[:3] if math.isnan(row.x_min) else tuple(row) for row in table]


def boxes(result: Source, image: str = "a") -> list[tuple[object, ...]]:
    return [row[3:] for row in rows(result) if row[0] == image]


def noted(result: Source, text: str) -> bool:
    assert result.notes == result.table.notes
    return any(text in note for note in result.notes)


@pytest.mark.parametrize("value", [1, True, "1", "true", 1.0, "Yes"])
@pytest.mark.parametrize(
    "key", ["iscrowd", "ignore", "difficult", "is_crowd", "Difficult", "attributes"]
)
def test_what_is_to_be_ignored_is_no_box_and_counted(
    tmp_path: Path, key: str, value: object
) -> None:
    mark = {"bbox": [0, 0, 90, 50], key: {"difficult": value} if key == "attributes" else value}
    result = source(tmp_path, [{"bbox": BOX}, mark])
    assert boxes(result) == [CORNERS]
    assert noted(result, "1 annotation(s) are to be ignored (iscrowd, ignore or difficult)")


@pytest.mark.parametrize("value", [0, False, None, "0", "false", "", 0.0, float("nan")])
def test_what_is_not_to_be_ignored_is_a_box(tmp_path: Path, value: object) -> None:
    marks = [{"bbox": BOX, "iscrowd": value, "attributes": {"difficult": value}}]
    result = source(tmp_path, marks)
    assert boxes(result) == [CORNERS]
    assert result.notes == ()


def test_an_image_with_nothing_but_ignored_regions_is_neither_with_findings_nor_normal(
    tmp_path: Path,
) -> None:
    result = source(tmp_path, [{"bbox": BOX, "iscrowd": 1}])
    assert rows(result) == [("b", "R0", "No finding")]
    assert set(result.files) == {"a", "b"}
    assert result.faults == {}
    assert result.table.unmarked == {
        "a": "all its annotations are to be ignored (iscrowd, ignore or difficult): it is stored "
        "without boxes, and takes part neither as an image with findings nor as one without"
    }


def test_a_reader_of_ignored_regions_alone_is_no_reader(tmp_path: Path) -> None:
    marks = [{"bbox": BOX, "reader": "A"}, {"bbox": BOX, "reader": "B", "ignore": 1}]
    assert [row[1] for row in rows(source(tmp_path, marks)) if row[0] == "a"] == ["A"]


def test_a_turned_box_is_enclosed_by_the_convention_of_its_tool(tmp_path: Path) -> None:
    cvat = {"bbox": [40, 20, 20, 10], "attributes": {"rotation": 90.0}}
    label_studio = {"bbox": [40, 20, 20, 10], "rotation": 90}
    unturned = {"bbox": [40, 20, 20, 10], "rotation": 0, "attributes": {"rotation": 360.0}}
    result = source(tmp_path, [cvat, label_studio, unturned])
    assert boxes(result) == [(45, 15, 55, 35), (30, 20, 40, 40), (40, 20, 60, 30)]
    assert noted(result, "2 annotation(s) are turned boxes (rotation); the upright box around each")


def test_a_turned_box_is_cut_at_the_edges_of_the_image(tmp_path: Path) -> None:
    result = source(tmp_path, [{"bbox": [0, 0, 40, 40], "attributes": {"rotation": 45}}])
    ((x_min, y_min, x_max, y_max),) = boxes(result)
    assert (x_min, y_min) == (0, 0)
    assert (x_max, y_max) == pytest.approx((20 + 20 * math.sqrt(2),) * 2)


@pytest.mark.parametrize("rotation", ["left", 10**400])
def test_a_rotation_that_is_no_number_costs_its_image(tmp_path: Path, rotation: object) -> None:
    result = source(tmp_path, [{"bbox": BOX, "rotation": rotation}])
    assert result.faults == {"a": "annotation 0: its rotation is not a number; expected degrees"}


@pytest.mark.parametrize("box", [{}, {"bbox": []}, {"bbox": None}, {"bbox": [0, 0, 0, 0]}])
def test_an_outline_without_a_box_has_the_box_around_it(
    tmp_path: Path, box: dict[str, Any]
) -> None:
    outline = {"segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]}
    result = source(tmp_path, [outline | box])
    assert boxes(result) == [CORNERS]
    assert noted(result, "1 annotation(s) have no bbox; their box is the extent of their segmen")


def test_a_box_that_is_there_counts_and_not_the_outline(tmp_path: Path) -> None:
    result = source(tmp_path, [{"bbox": BOX, "segmentation": [[0, 0, 90, 0, 90, 50]]}])
    assert boxes(result) == [CORNERS]
    assert result.notes == ()


def test_four_zeros_without_an_outline_are_a_box_without_an_area(tmp_path: Path) -> None:
    result = source(tmp_path, [{"bbox": [0, 0, 0, 0]}])
    assert "nodule has a box without an area, (0, 0, 0, 0)" in result.faults["a"]


@pytest.mark.parametrize(
    "box", [[], None, [1, 2, 3], [1, 2, 3, None], [1, 2, 3, "x"], {"x": 1}, [1, 2, 3, 10**400]]
)
def test_no_box_at_all_is_told_in_the_sides_of_a_bbox(tmp_path: Path, box: object) -> None:
    result = source(tmp_path, [{"bbox": box}, {"image_id": 2, "bbox": BOX}])
    assert result.faults == {
        "a": "annotation 0: nodule has no whole box; expected four numbers: x, y, width, height"
    }
    assert boxes(result, "b") == [CORNERS]


@pytest.mark.parametrize("key", [1, 1.0, "1", "1.0"])
@pytest.mark.parametrize("listed", [1, "1"])
def test_ids_are_one_in_every_form(tmp_path: Path, key: object, listed: object) -> None:
    result = source(
        tmp_path,
        [{"image_id": key, "category_id": key, "bbox": BOX}],
        images=[{"id": listed, "file_name": "a.png"}],
        categories=[{"id": listed, "name": "nodule"}],
    )
    assert rows(result) == [("a", "R0", "nodule", *CORNERS)]


def test_words_are_ids_and_their_classes_are_in_order(tmp_path: Path) -> None:
    result = source(
        tmp_path,
        [{"category_id": "mass", "bbox": BOX}],
        categories=[{"id": name, "name": name} for name in ("nodule", "mass", 7) if name != 7]
        + [{"id": 7, "name": "seven"}],
    )
    assert result.table.classes == ("seven", "mass", "nodule")


@pytest.mark.parametrize("key", ["images", "categories"])
def test_a_number_and_the_same_number_as_text_are_not_told_apart(tmp_path: Path, key: str) -> None:
    lists = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": "1", "file_name": "b.png"}],
        "categories": [{"id": 1, "name": "nodule"}, {"id": "1", "name": "mass"}],
    }
    with pytest.raises(DataError, match=f"gives one id to two {key}"):
        source(tmp_path, [], **{key: lists[key]})


def test_annotations_of_what_is_not_listed_cost_themselves_alone(tmp_path: Path) -> None:
    marks = [
        {"bbox": BOX},
        {"image_id": 77, "bbox": BOX},
        {"image_id": None, "bbox": BOX},
        {"category_id": 5, "bbox": [0, 0, 5, 5]},
        {"image_id": 2, "category_id": "what", "bbox": BOX},
        {"category_id": None, "bbox": BOX},
    ]
    result = source(tmp_path, marks)
    assert rows(result) == [("a", "R0", "nodule", *CORNERS)]
    assert noted(result, "2 annotation(s) name an image that is not listed")
    assert noted(result, "3 annotation(s) name a category that is not listed (5, 'what', none) and")
    assert set(result.table.unmarked) == {"b"}


def test_categories_counted_from_0_in_one_list_alone_are_refused(tmp_path: Path) -> None:
    names = [{"id": 1, "name": "nodule"}, {"id": 2, "name": "mass"}]
    marks = [{"category_id": 0, "bbox": BOX}, {"category_id": 1, "bbox": BOX}]
    with pytest.raises(DataError, match="seem to count categories from 0 and the list from 1"):
        source(tmp_path, marks, categories=names)


@pytest.mark.parametrize("root", ["nodule", "findings"])
def test_an_ancestor_without_annotations_is_no_class(tmp_path: Path, root: str) -> None:
    categories = [
        {"id": 0, "name": root, "supercategory": "none"},
        {"id": 1, "name": "nodule", "supercategory": root},
        {"id": 2, "name": "mass", "supercategory": root},
    ]
    result = source(tmp_path, [{"bbox": BOX}], categories=categories)
    assert result.table.classes == ("nodule", "mass")
    assert noted(result, f"category 0 ({root}) is left out: it is the supercategory of others and")


def test_a_class_that_is_annotated_or_only_its_own_parent_stays(tmp_path: Path) -> None:
    categories = [
        {"id": 1, "name": "lesion", "supercategory": "lesion"},
        {"id": 2, "name": "mass", "supercategory": "lesion"},
        {"id": 3, "name": "line", "supercategory": "line"},
    ]
    result = source(tmp_path, [{"bbox": BOX}], categories=categories)
    assert result.table.classes == ("lesion", "mass", "line")
    assert result.notes == ()


def test_of_two_categories_of_one_name_the_one_in_use_counts(tmp_path: Path) -> None:
    twins = [{"id": 3, "name": "nodule"}, {"id": 1, "name": "nodule"}, {"id": 2, "name": "mass"}]
    result = source(tmp_path, [{"bbox": BOX}], categories=twins)
    assert result.table.classes == ("nodule", "mass")
    assert noted(result, "category 'nodule' is listed twice; the one without annotations")
    marks = [{"bbox": BOX}, {"category_id": 3, "bbox": BOX}]
    with pytest.raises(DataError, match="one name to two categories, 'nodule' to 1 and 3, and ann"):
        source(tmp_path, marks, categories=twins)


def test_a_file_under_several_ids_is_one_film_that_several_readers_marked(tmp_path: Path) -> None:
    images = [
        {"id": number, "file_name": name, "width": 100, "height": 60}
        for number, name in ((4, "a.png"), (9, "./a.png"), (2, "a.png"), (5, "b.png"))
    ]
    marks = [
        {"image_id": 9, "bbox": BOX},
        {"image_id": 4, "bbox": [12, 10, 20, 20]},
        {"image_id": 5, "bbox": BOX},
    ]
    result = source(tmp_path, marks, images=images)
    assert rows(result) == [
        ("a", "R2", "nodule", *CORNERS),
        ("a", "R1", "nodule", 12, 10, 32, 30),
        ("b", "R0", "nodule", *CORNERS),
        ("a", "R3", "No finding"),
    ]
    assert noted(
        result, "1 file(s) are listed under several image ids: each is one image, and each"
    )


def test_readers_that_are_named_stay_and_none_of_them_is_given_to_others(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": "a.png"} for number in (1, 2)]
    marks = [{"bbox": BOX, "reader": "R1"}, {"image_id": 2, "bbox": BOX}]
    result = source(tmp_path, marks, images=images)
    assert [row[1] for row in rows(result)] == ["R1", "R-2"]


def test_sizes_that_contradict_each_other_cost_the_film(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "a.png", "width": 100, "height": 60},
        {"id": 2, "file_name": "a.png", "width": 200, "height": 120},
        {"id": 3, "file_name": "b.png", "width": 100, "height": 60},
    ]
    result = source(tmp_path, [{"bbox": BOX}, {"image_id": 3, "bbox": BOX}], images=images)
    assert set(result.faults) == {"a"}
    assert "several sizes for it, 100x60 and 200x120 pixels" in result.faults["a"]
    assert set(result.files) == {"b"}


def test_one_name_in_two_folders_or_of_two_kinds_is_two_films(tmp_path: Path) -> None:
    files = ("site1/IM1.png", "site2/IM1.png", "c.png", "c.jpg")
    marks = [{"image_id": 2, "bbox": BOX}, {"image_id": 4, "bbox": BOX}]
    result = source(tmp_path, marks, files=files)
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in result.files.items()} == {
        "site1_IM1": "site1/IM1.png",
        "site2_IM1": "site2/IM1.png",
        "c_png": "c.png",
        "c_jpg": "c.jpg",
    }
    assert boxes(result, "site2_IM1") == boxes(result, "c_jpg") == [CORNERS]
    assert noted(result, "4 files share their name with another file; their image ids are made")


def test_files_that_were_guessed_are_counted_and_those_that_are_missing_cost_one_line(
    tmp_path: Path,
) -> None:
    images = [
        {"id": 1, "file_name": "images\\1/a.png"},
        {"id": 2, "file_name": "/data/upload/1/3fa2b1c4-b.png"},
        {"id": 3, "file_name": "/data/upload/1/3fa2b1c4-none.png"},
    ]
    marks = [{"image_id": number, "bbox": BOX} for number in (1, 2, 3)]
    result = source(tmp_path, marks, images=images)
    assert [row[0] for row in rows(result)] == ["a", "b"]
    assert noted(result, "2 file_name(s) are not where they say; the files were found by the last")
    assert list(result.faults) == ["3fa2b1c4-none"]


@pytest.mark.parametrize(
    "nothing",
    [
        {},
        {"width": 0, "height": 0},
        {"width": -1, "height": -1.0},
        {"width": None, "height": 60},
        {"width": "", "height": "-1"},
    ],
)
def test_a_size_that_is_not_stated_is_none(tmp_path: Path, nothing: dict[str, Any]) -> None:
    result = source(tmp_path, [{"bbox": BOX}], images=[{"id": 1, "file_name": "a.png"} | nothing])
    assert result.table.sizes == {}
    assert result.table.notes == ()


def test_a_size_that_can_not_be_read_is_said(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "a.png", "width": 100.5, "height": 60},
        {"id": 2, "file_name": "b.png", "width": "wide", "height": [60]},
    ]
    result = source(tmp_path, [{"bbox": BOX}], images=images)
    assert result.table.sizes == {}
    assert noted(
        result, "width or height of 2 image(s) is not a whole number of pixels, and is not"
    )


@pytest.mark.parametrize("side", [100, 100.0, "100"])
def test_a_size_is_read_in_every_form(tmp_path: Path, side: object) -> None:
    image = {"id": 1, "file_name": "a.png", "width": side, "height": 60}
    assert source(tmp_path, [{"bbox": BOX}], images=[image]).table.sizes == {"a": (100, 60)}


def test_half_characters_in_names_do_no_harm(tmp_path: Path) -> None:
    result = source(
        tmp_path,
        [{"bbox": BOX, "reader": "R\ud800"}, {"category_id": "\udfff", "bbox": BOX}],
        images=[{"id": 1, "file_name": "a.png"}, {"id": "\ud800", "file_name": "\ud800.png"}],
        categories=[{"id": 1, "name": "no\udc00dule", "supercategory": "\ud800"}],
    )
    result.table.rows.to_parquet(tmp_path / "rows.parquet")
    json.dumps([result.faults, result.notes, result.table.classes], ensure_ascii=False).encode()
    assert result.table.classes == ("no\\udc00dule",)


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (
            {"annotations": None},
            "Expected `array`, got `null` - at `$.annotations`. Expected an ob",
        ),
        (
            {"images": {"a": 1}},
            "Expected `array`, got `object` - at `$.images`. Expected an object",
        ),
        ({"images": ["a.png"]}, "Expected `object`, got `str` - at `$.images[0]`"),
        (
            {"annotations": [7]},
            "entry 0: Expected `object`, got `int`; found 7. Expected image_id,",
        ),
        ({"images": [{"id": 1}]}, "entry 0 of images has no file_name"),
        ({"images": [{"id": 1.5, "file_name": "a.png"}]}, "id 1.5, which is not a whole number"),
        ({"images": [{"id": 1, "file_name": 7}]}, "got `int` - at `$.images[0].file_name`"),
        ({"categories": [{"id": True, "name": "n"}]}, "got `bool` - at `$.categories[0].id`"),
        ({"categories": []}, "lists 1 images and 0 categories; expected some of each"),
        (marked(image_id=9), "none of its 1 annotations names a listed image"),
        (marked(category_id=5), "a listed category. They name 5; listed are 1. Correct"),
        (marked(image_id=[7]), "labels.json: entry 0: Expected `int"),
        (marked(category_id=True), "labels.json: entry 0: Expected `int"),
    ],
)
def test_what_can_not_be_read_is_told_with_its_place(
    tmp_path: Path, lists: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DataError) as error:
        source(tmp_path, [], files=("a.png",), **lists)
    assert expected in str(error.value)


def test_a_list_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({"shapes": [], "files": "a.png"}))
    with pytest.raises(DataError, match="missing required field `images`"):
        read_source(tmp_path)


def test_names_that_lead_out_or_may_be_a_patients_cost_their_image(tmp_path: Path) -> None:
    names = ("a.png", "b.png", "../secret.png", "Jane Doe.png", "/etc/passwd.png", "a" * 300)
    images = [{"id": number, "file_name": name} for number, name in enumerate(names, start=1)]
    marks = [{"bbox": [1, 2, 0, 4]}, {"image_id": 2, "bbox": BOX}, {"image_id": 3, "bbox": BOX}]
    (tmp_path / "secret.png").write_bytes(b"")
    result = source(tmp_path / "data", marks, images=images)
    assert set(result.files) == {"a", "b"}
    assert set(result.faults) == {"a", "secret", "image-3", "passwd", "image-5"}
    assert result.faults["a"].startswith(
        "annotation 0: nodule has a box without an area, (1, 2, 0, 4); expected a width and"
    )
    assert result.faults["secret"] == (
        "../secret.png leads out of the folder, which is not followed, and none in the folders "
        "below is called secret.png."
    )
    assert "leads out of the folder" in result.faults["passwd"]
    assert "Doe" not in str(result.faults)
    assert "secret" not in set(result.table.rows["image_id"])


def test_a_category_for_no_finding_is_no_class(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "nodule"}, {"id": 2, "name": "no finding"}]
    marks = [{"bbox": BOX}, {"image_id": 2, "category_id": 2, "bbox": BOX, "reader": None}]
    result = source(tmp_path, marks, files=("1.2.3", "1.2.4"), categories=categories)
    assert result.table.classes == ("nodule",)
    assert rows(result)[1] == ("1.2.4", "R0", "No finding")


def test_a_document_may_lie_in_annotations_and_begin_with_a_byte_order_mark(
    tmp_path: Path,
) -> None:
    source(tmp_path, [{"bbox": BOX}])
    (tmp_path / "annotations").mkdir()
    text = (tmp_path / "labels.json").read_text()
    (tmp_path / "annotations/instances.json").write_text(text, encoding="utf-8-sig")
    (tmp_path / "labels.json").unlink()
    assert boxes(read_source(tmp_path)) == [CORNERS]
