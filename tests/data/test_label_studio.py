"""Label Studio's own JSON exports: percent, turned boxes, annotators, and what is no reading.

Exports here are made as Label Studio 1.23 writes them, whose real exports were read once by hand.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.tables import Source, read_source

Entry = dict[str, Any]
WIDTH, HEIGHT = 200, 100


def rectangle(label: str | None = "mass", /, **changes: object) -> Entry:
    """Return a region from 10 % to 30 % in x and from 20 % to 60 % in y."""
    value: Entry = {"x": 10, "y": 20, "width": 20, "height": 40, "rotation": 0}
    value |= {key: changes.pop(key) for key in list(changes) if key in value}
    if label is not None:
        value["rectanglelabels"] = [label]
    return {
        "id": "r1", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
        "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "value": value,
    } | changes  # fmt: skip


def annotation(*results: Entry, **changes: object) -> Entry:
    return {
        "id": 11, "completed_by": 1, "result": list(results), "was_cancelled": False,
        "ground_truth": False, "created_at": "2026-01-01T10:00:00Z",
        "updated_at": "2026-01-01T10:00:00Z", "draft_created_at": None, "lead_time": 2.5,
    } | changes  # fmt: skip


def task(image: str, *annotations: Entry, **changes: object) -> Entry:
    return {
        "id": 1, "annotations": list(annotations), "file_upload": "x", "drafts": [],
        "predictions": [], "data": {"image": image}, "meta": {}, "project": 1,
    } | changes  # fmt: skip


def source(folder: Path, *tasks: Entry, files: tuple[str, ...] = ("a.png", "b.png")) -> Source:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    (folder / "project-1.json").write_text(json.dumps(tasks))
    return read_source(folder)


def rows(result: Source) -> list[tuple[object, ...]]:
    """Return image, reader, category and corners; without corners where nothing was found."""
    table = result.table.rows.itertuples(index=False)
    return [
        tuple(row)[:3] if math.isnan(row.x_min) else (*row[:3], *(round(v, 9) for v in row[3:]))
        for row in table
    ]


def noted(result: Source, text: str) -> bool:
    return any(text in note for note in result.notes)


def test_percent_are_fractions_and_an_annotation_without_a_region_found_nothing(
    tmp_path: Path,
) -> None:
    result = source(
        tmp_path,
        task("/data/upload/1/3fa2b1c4-a.png", annotation(rectangle()), annotation(completed_by=7)),
        task("/data/local-files/?d=films/b.png", annotation(rectangle("Node"), completed_by=7)),
    )
    assert (result.layout, result.table.unit, result.faults) == ("label-studio", "fraction", {})
    assert rows(result) == [
        ("a", "R1", "mass", 0.1, 0.2, 0.3, 0.6),
        ("a", "R7", "No finding"),
        ("b", "R7", "Node", 0.1, 0.2, 0.3, 0.6),
    ]
    assert result.table.sizes == {"a": (WIDTH, HEIGHT), "b": (WIDTH, HEIGHT)}
    assert noted(result, "2 annotator(s) are readers R and their number in Label Studio")


@pytest.mark.parametrize(
    "address",
    [
        "/data/upload/1/3fa2b1c4-a.png",
        "3fa2b1c4-a.png",
        "/data/local-files/?d=some/where/a.png",
        "s3://bucket/films/a.png",
        "https://example.org/films/a.png?signature=1%2F2",
        "images/a.png",
        "C:\\films\\a.png",
    ],
)
def test_images_are_found_by_every_address(tmp_path: Path, address: str) -> None:
    result = source(tmp_path, task(address, annotation(rectangle())), files=("images/a.png",))
    assert (len(result.table.rows), result.faults) == (1, {})


def test_a_turned_rectangle_has_the_upright_box_around_it_in_pixels(tmp_path: Path) -> None:
    """A quarter turn about the top left corner, (20, 20) px, of 40 x 40 px."""
    quarter = rectangle(x=40, y=20, width=20, height=40, rotation=90)
    # Of a square of 20 px at (100, 50): half its diagonal, 10 sqrt 2, to each side of x = 100.
    eighth = rectangle(x=50, y=50, width=10, height=20, rotation=45)
    cut = rectangle(x=5, y=0, width=20, height=40, rotation=90)
    result = source(tmp_path, task("a.png", annotation(quarter, eighth, cut)))
    half = 20 * math.sqrt(2) / 2
    corners = [row[3:] for row in rows(result)]
    assert corners[0] == (0.2, 0.2, 0.4, 0.6)
    assert corners[1] == pytest.approx(
        ((100 - half) / WIDTH, 0.5, (100 + half) / WIDTH, (50 + 2 * half) / HEIGHT)
    )
    assert corners[2] == (0.0, 0.0, 0.05, 0.4)
    assert noted(result, "3 region(s) are turned; the upright box around each is used")


def test_turned_rectangles_are_those_of_label_studios_own_coco_export(tmp_path: Path) -> None:
    """Values of `bbox` as label-studio-sdk 2.1.2's converter writes them, for 200 x 200 px.

    Of images that are not square it turns percent in place of pixels (label-studio #2293).
    """
    turned = [
        rectangle(x=40, y=30, width=20, height=25, rotation=33, original_height=200),
        rectangle(x=60, y=70, width=15, height=30, rotation=-110, original_height=200),
        rectangle(x=50, y=50, width=30, height=10, rotation=200, original_height=200),
    ]
    result = source(tmp_path, task("a.png", annotation(*turned)))
    expected = [
        (52.76804824924866, 59.99999999999999, 60.77877446856829, 63.71908979787227),
        (109.73939570022995, 91.28801277688262, 66.64216154692457, 48.711987223117376),
        (43.618442752845496, 60.684938984741706, 63.221960113667876, 39.31506101525828),
    ]
    table = result.table.rows
    for row, (x, y, width, height) in enumerate(expected):
        box = table.loc[row, ["x_min", "y_min", "x_max", "y_max"]].to_numpy(float) * 200
        assert box.tolist() == pytest.approx([x, y, x + width, y + height], abs=1e-9)


def test_polygons_and_ellipses_have_the_box_around_them(tmp_path: Path) -> None:
    polygon = {"type": "polygonlabels", "value": {
        "points": [[10, 20], [30, 25], [20, 60]], "polygonlabels": ["mass"]}}  # fmt: skip
    value = {
        "x": 50,
        "y": 50,
        "radiusX": 10,
        "radiusY": 5,
        "rotation": 0,
        "ellipselabels": ["mass"],
    }
    ellipse = {"type": "ellipselabels", "value": value}
    turned = rectangle() | ellipse | {"value": value | {"rotation": 90}}
    result = source(tmp_path, task("a.png", annotation(polygon, ellipse, turned)))
    assert [row[3:] for row in rows(result)] == [
        (0.1, 0.2, 0.3, 0.6),
        (0.4, 0.45, 0.6, 0.55),
        # 20 px to the sides and 5 px up: turned, 5 px and 20 px.
        (0.475, 0.3, 0.525, 0.7),
    ]
    assert noted(result, "3 polygon(s) and ellipse(s) are read as the boxes around them")


def test_what_is_skipped_predicted_or_not_annotated_is_no_reading(tmp_path: Path) -> None:
    skipped = annotation(rectangle(), was_cancelled=True)
    old = {"completions": [{"result": [], "skipped": True}], "annotations": None}
    predicted = {"predictions": [{"result": [rectangle()]}], "drafts": [{}]}
    entry = task("b.png", **predicted)
    older = task("c.png") | old
    del older["annotations"]
    result = source(
        tmp_path, task("a.png", skipped), entry, older, task("d.png", annotation(rectangle())),
        files=("a.png", "b.png", "c.png", "d.png"),
    )  # fmt: skip
    assert [row[0] for row in rows(result)] == ["d"]
    assert result.table.unread == {"a", "b", "c"}
    assert noted(result, "2 annotations that were skipped, which are not used")
    assert noted(result, "2 predictions of a model, or drafts, which are not used")


def test_addresses_of_annotators_are_numbered_and_not_kept(tmp_path: Path) -> None:
    result = source(
        tmp_path,
        task(
            "a.png",
            annotation(rectangle(), completed_by="zoe@example.org"),
            annotation(rectangle(), completed_by={"email": "anna@example.org"}),
            annotation(rectangle(), completed_by={"id": 3, "email": "ben@example.org"}),
            annotation(rectangle(), completed_by=None),
            annotation(completed_by=None),
        ),
    )
    assert [row[1] for row in rows(result)] == ["A2", "A1", "R3", "R0", "R0-2"]
    assert "example.org" not in str((rows(result), result.notes, result.faults))
    assert noted(
        result, "2 annotator(s) are named by an address or a name: they are readers A1, A2"
    )


def test_of_several_annotations_of_one_annotator_the_last_counts(tmp_path: Path) -> None:
    late = annotation(rectangle(x=50), updated_at="2026-01-02T00:00:00Z")
    result = source(tmp_path, task("a.png", late, annotation(rectangle())), task("a.png"))
    assert [row[3] for row in rows(result)] == [0.5]
    assert noted(result, "1 annotations of an image whose annotator changed it later; the last one")


def test_labels_that_stand_apart_belong_to_their_rectangle(tmp_path: Path) -> None:
    shape = rectangle(None, type="rectangle")
    label = {"id": "r1", "type": "labels", "value": shape["value"] | {"labels": ["mass", "node"]}}
    result = source(tmp_path, task("a.png", annotation(shape, label)))
    assert [row[2] for row in rows(result)] == ["mass", "node"]


def test_boxes_of_a_project_without_labels_are_of_one_class(tmp_path: Path) -> None:
    result = source(tmp_path, task("a.png", annotation(rectangle(None, type="rectangle"))))
    assert [row[2] for row in rows(result)] == ["finding"]
    assert noted(
        result, "1 boxes without a label, of a project without labels: each is a 'finding'"
    )


BRUSH = {"type": "brushlabels", "value": {"format": "rle", "rle": [0, 1], "brushlabels": ["mass"]}}
POINT = {"type": "keypointlabels", "value": {"x": 1, "y": 1, "keypointlabels": ["tip"]}}


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (BRUSH, "annotation 0: a region was painted (brush), and has no box"),
        (POINT, "it has points and no box"),
        (rectangle(None), "a rectangle has no label"),
        (rectangle(rotation=5, original_width=None), "the image's size is not said"),
        (rectangle(rotation="left"), "its rotation is not a number of degrees"),
        (rectangle(image_rotation=90), "the image was turned while it was annotated"),
        ({"type": "choices", "value": {"choices": ["mass"]}}, "names mass without a box, a class"),
    ],
)
def test_an_image_whose_marks_are_not_whole_is_neither_with_findings_nor_normal(
    tmp_path: Path, result: Entry, why: str
) -> None:
    found = source(
        tmp_path, task("a.png", annotation(result)), task("b.png", annotation(rectangle()))
    )
    assert [row[0] for row in rows(found)] == ["b"]
    assert list(found.table.unmarked) == ["a"]
    assert why in found.table.unmarked["a"]
    assert found.faults == {}


def test_points_beside_boxes_are_counted(tmp_path: Path) -> None:
    result = source(tmp_path, task("a.png", annotation(rectangle(), POINT)))
    assert len(rows(result)) == 1
    assert noted(result, "1 point(s) or line(s) are no boxes, and are not used")


@pytest.mark.parametrize(
    ("choice", "kind"), [("Normal", "normal"), ("abnormal", "other finding"), ("PA", None)]
)
def test_a_choice_tells_the_kind_of_an_image_without_boxes(
    tmp_path: Path, choice: str, kind: str | None
) -> None:
    choices = {"id": "c", "type": "choices", "value": {"choices": [choice]}}
    result = source(tmp_path, task("a.png", annotation(choices)))
    assert rows(result) == [("a", "R1", "No finding")]
    assert result.table.kinds.get("a") == kind
    assert noted(result, "1 choice(s) of images as a whole tell nothing of") == (kind is None)


def test_a_reader_who_says_normal_and_draws_a_box_contradicts_himself(tmp_path: Path) -> None:
    choices = {"id": "c", "type": "choices", "value": {"choices": ["Normal"]}}
    result = source(tmp_path, task("a.png", annotation(rectangle(), choices)))
    assert "reader R1 both drew a box and found nothing" in result.faults["a"]


def test_a_task_of_several_images_is_divided(tmp_path: Path) -> None:
    pages = task("", annotation(rectangle(item_index=1)), data={"pages": ["a.png", "b.png"]})
    views = task(
        "",
        annotation(rectangle(to_name="lateral")),
        data={"front": "c.png", "lateral": "d.png", "patient_id": 5},
    )
    unknown = task("", annotation(rectangle(to_name="x")), data={"u": "e.png", "v": "f.png"})
    names = tuple(f"{letter}.png" for letter in "abcdef")
    result = source(tmp_path, pages, views, unknown, files=names)
    assert [row[:3] for row in rows(result)] == [
        ("a", "R1", "No finding"), ("b", "R1", "mass"), ("c", "R1", "No finding"),
        ("d", "R1", "mass"),
    ]  # fmt: skip
    assert set(result.table.unmarked) == {"e", "f"}
    assert set(result.table.patients) == {"c", "d"}
    assert len(set(result.table.patients.values())) == 1


def test_a_file_a_task_and_a_file_an_annotation_are_read_too(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/1.json").write_text(json.dumps(task("a.png", annotation(rectangle()))))
    stored = annotation(rectangle("node"), task={"id": 2, "data": {"image": "b.png"}})
    (tmp_path / "tasks/2.json").write_text("\ufeff" + json.dumps(stored), encoding="utf-8")
    result = read_source(tmp_path)
    assert [row[:3] for row in rows(result)] == [("a", "R1", "mass"), ("b", "R1", "node")]


def test_the_minimal_form_is_read(tmp_path: Path) -> None:
    region = rectangle()
    flat = region["value"] | {"original_width": WIDTH, "original_height": HEIGHT}
    common = {"id": 1, "created_at": "2026", "updated_at": "2026", "lead_time": 1.5}
    result = source(
        tmp_path,
        {"image": "/data/upload/1/3fa2b1c4-a.png", "label": [flat], "annotator": 4,
         "annotation_id": 1} | common,
        {"image": "b.png", "annotator": 5, "annotation_id": 2, "choice": "Normal"} | common,
    )  # fmt: skip
    assert rows(result) == [("a", "R4", "mass", 0.1, 0.2, 0.3, 0.6), ("b", "R5", "No finding")]
    assert dict(result.table.kinds) == {"b": "normal"}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"x": None}, "mass has no whole box; expected four numbers: x, y, width, height"),
        ({"width": -3}, "mass has a box without an area"),
        ({"x": float("nan")}, "mass has no whole box"),
        ({"x": 1e400}, "mass has no whole box"),
        ({"width": 160}, "mass has a box outside the image"),
        ({"x": "ten"}, "mass has no whole box"),
    ],
)
def test_a_box_that_is_none_costs_its_image(tmp_path: Path, value: Entry, why: str) -> None:
    result = source(tmp_path, task("a.png", annotation(rectangle(**value))))
    assert f"project-1.json, entry 0, annotation 0, region 0: {why}" in result.faults["a"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[{"annotations": [], "data": {"image": "a.png"}}', "is not JSON in UTF-8"),
        ('[{"annotations": [3], "data": {"image": "a.png"}}]', "Export the annotations themselves"),
        (
            '[{"annotations": [{"result": {}, "x": 1}], "data": {"image": "a.png"}}, 7]',
            "entry 1 is",
        ),
        ('[{"annotations": [{"result": {"x": 1}}], "data": {"image": "a"}}]', "result is dict; ex"),
        ('[{"annotations": [{"result": [4]}], "data": {"image": "a.png"}}]', "what is no object"),
        ('[{"annotations": [], "data": {"text": "so", "more": "so"}}]', "(texts: more, text)"),
        ('[{"annotations": [], "data": {}}]', "(texts: none)"),
    ],
)
def test_what_is_no_export_is_told_with_its_place(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "export.json").write_text(text)
    with pytest.raises(DataError) as error:
        read_source(tmp_path)
    assert "export.json" in str(error.value)
    assert why in str(error.value)


def test_an_image_that_is_not_there_costs_itself_alone(tmp_path: Path) -> None:
    result = source(
        tmp_path, task("a.png", annotation(rectangle())), task("n.png", annotation(rectangle()))
    )
    assert (len(rows(result)), list(result.faults)) == (1, ["n"])
    assert result.table.unread == {"b"}
