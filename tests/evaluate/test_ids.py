"""Whose image and category an id is: numbers, texts and words, file names and stems."""

import contextlib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cxrssl.core.errors import DataError
from cxrssl.data.tables.image_ids import image_ids
from cxrssl.evaluate.files import evaluate_files
from cxrssl.evaluate.intervals import Bootstrap

Form = Callable[[int], int | float | str]

BOX, SIDE, FAR = [10, 10, 20, 20], [30, 5, 20, 30], [70, 70, 9, 9]


def truth_of(*names: str | None, first: int = 1, **changes: object) -> dict[str, Any]:
    """Return a truth: in the first image a nodule at BOX, in the second a mass at SIDE."""
    images = [{"id": first + n, "width": 100, "height": 80} for n in range(len(names))]
    named = [
        i if name is None else i | {"file_name": name}
        for i, name in zip(images, names, strict=True)
    ]
    return {
        "images": named,
        "categories": [{"id": 1, "name": "nodule"}, {"id": 2, "name": "mass"}],
        "annotations": [
            {"id": 1, "image_id": first, "category_id": 1, "bbox": BOX, "area": 400, "iscrowd": 0},
            {
                "id": 2,
                "image_id": first + 1,
                "category_id": 2,
                "bbox": SIDE,
                "area": 600,
                "iscrowd": 0,
            },
        ],
    } | changes


TRUTH = truth_of("a.png", "b.png", "c.png")
TWO_FOLDERS = truth_of("s1/im.png", "s2/im.png", "c.png")


def truth_without_boxes(first: int, second: int) -> dict[str, Any]:
    kinds = [{"id": first, "name": "nodule"}, {"id": second, "name": "mass"}]
    return TRUTH | {"categories": kinds, "annotations": []}


def results_of(*images: object, categories: tuple[object, object] = (1, 2)) -> list[dict[str, Any]]:
    """Return results that find both boxes in the first two images, and nothing in the third."""
    first, second = categories
    rows = [(images[0], first, BOX, 0.9), (images[1], second, SIDE, 0.8)]
    rows += [(image, first, FAR, 0.3) for image in images[2:]]
    keys = ("image_id", "category_id", "bbox", "score")
    return [dict(zip(keys, row, strict=True)) for row in rows]


def document_of(results: object, names: dict[Any, str | None], **changes: object) -> dict[str, Any]:
    images = [
        {"id": key} if name is None else {"id": key, "file_name": name}
        for key, name in names.items()
    ]
    return TRUTH | {"images": images, "annotations": results} | changes


def scored(folder: Path, predictions: object, truth: object = TRUTH) -> dict[str, Any]:
    paths = folder / "p.json", folder / "t.json"
    for path, content in zip(paths, (predictions, truth), strict=True):
        path.write_text(json.dumps(content))
    return evaluate_files(*paths, consensus_iou=0.2, bootstrap=Bootstrap(0))


def values(content: dict[str, Any]) -> list[float | None]:
    return [content["metrics"][name]["value"] for name in ("AP", "AP50", "AP_small", "AR100")]


def pycoco(results: list[dict[str, Any]], truth: dict[str, Any]) -> list[float]:
    """Return AP, AP50, small AP and AR100 of files whose ids need no repair."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco_truth = COCO()
        coco_truth.dataset = json.loads(json.dumps(truth))
        coco_truth.createIndex()
        evaluation = COCOeval(
            coco_truth, coco_truth.loadRes(json.loads(json.dumps(results))), "bbox"
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(evaluation.stats[index]) for index in (0, 1, 3, 8)]


@pytest.mark.parametrize("form", [int, float, str, lambda key: f"{key}.0"])
@pytest.mark.parametrize("of_truth", [int, float, str])
def test_ids_as_numbers_text_and_floats_are_one(tmp_path: Path, form: Form, of_truth: Form) -> None:
    truth = json.loads(json.dumps(TRUTH))
    for entry in (*truth["images"], *truth["categories"]):
        entry["id"] = of_truth(entry["id"])
    truth["annotations"][0]["image_id"] = 1.0  # forms may differ within a file
    results = results_of(*map(form, (1, 2, 3)), categories=(form(1), form(2)))
    content = scored(tmp_path, results, truth)
    assert values(content) == pytest.approx(pycoco(results_of(1, 2, 3), TRUTH), abs=1e-9)
    assert (content["notes"], content["warnings"]) == ((), ())


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("000012.jpg", "000034.jpg", "000056.jpg"), (12, 34, 56)),
        (("000012.jpg", "000034.jpg", "000056.jpg"), ("000012", "000034", "000056")),
        (("x/12.dcm", "x/34.dcm", "x/56.dicom"), (12, 34, 56)),
        (("x/12.dcm", "x\\34.dcm", "56"), ("12", "34.png", "/data/x/56.png")),
        (("1.2.840.1", "1.2.840.2", "1.2.840.3"), ("1.2.840.1", "1.2.840.2", "1.2.840.3.dcm")),
        (("s1/im.png", "s2/im.png", "c.png"), ("s1/im", "/data/s2/im.png", "c")),
        (("im.png", "s2/im.png", "c.png"), ("im.png", "s2/im.png", "c.png")),
    ],
)
def test_file_names_are_found_with_other_folders_and_suffixes(
    tmp_path: Path, names: tuple[str, ...], ids: tuple[object, ...]
) -> None:
    content = scored(tmp_path, results_of(*ids), truth_of(*names))
    assert values(content) == pytest.approx(pycoco(results_of(1, 2, 3), TRUTH), abs=1e-9)
    assert "p.json was matched by file name with" in content["notes"][0]


def test_results_that_name_files_beside_ids_are_matched_by_them(tmp_path: Path) -> None:
    # ids that fit, and are numbers of other files: as ultralytics writes them for 3.png, 1.png
    truth = truth_of("3.png", "1.png", "2.png")
    results = results_of(3, 1, 2)
    named = [entry | {"file_name": f"{entry['image_id']}.png"} for entry in results]
    assert values(scored(tmp_path, named, truth))[0] == pytest.approx(1)
    content = scored(tmp_path, results, truth)
    assert values(content)[0] == 0
    assert (
        "might be file names: 1 is the id of '3.png' and the name of '1.png'"
        in content["warnings"][0]
    )


def test_ids_that_are_numbers_of_their_own_files_are_no_reason_to_warn(tmp_path: Path) -> None:
    truth = truth_of("0001.png", "0002.png", "0003.png")
    assert scored(tmp_path, results_of(1, 2, 3), truth)["warnings"] == ()


def test_a_document_of_other_ids_is_matched_by_file_name(tmp_path: Path) -> None:
    # As `cxrssl predict` writes: images numbered as they came, paths as they were named.
    names = {1: "/films/c.dicom", 2: "/films/b.dicom", 3: "/films/a.dicom"}
    content = scored(tmp_path, document_of(results_of(3, 2, 1), names))
    assert values(content)[0] == pytest.approx(1)
    assert "such as '/films/c.dicom' with 'c.png'" in content["notes"][0]


def test_a_document_of_other_categories_is_matched_by_their_names(tmp_path: Path) -> None:
    shifted = [{"id": 0, "name": "nodule"}, {"id": 1, "name": "mass"}]
    content = document_of(
        results_of("a", "b", categories=(0, 1)),
        {"a": None, "b": None, "c": None},
        categories=shifted,
    )
    scores = scored(tmp_path, content)
    assert values(scores)[0] == pytest.approx(1)
    assert "categories of" in scores["notes"][1]
    assert "were matched by name" in scores["notes"][1]


def test_images_that_a_document_does_not_list_are_warned_of(tmp_path: Path) -> None:
    content = scored(tmp_path, document_of(results_of("a", "b"), {"a": None, "b": None}))
    assert "lists 2 of the 3 images of" in content["warnings"][0]


def test_images_of_another_size_are_warned_of(tmp_path: Path) -> None:
    content = document_of(results_of("a", "b", "c"), {"a": None, "b": None, "c": None})
    content["images"][0] |= {"width": 64, "height": 64}
    content["images"][1] |= {"width": -1, "height": None}  # not known
    scores = scored(tmp_path, content)
    assert "1 image(s) are of another size" in scores["warnings"][0]
    assert "such as 'a' of 64 x 64 px there 100 x 80" in scores["warnings"][0]


@pytest.mark.parametrize(
    ("predictions", "truth", "message"),
    [
        (
            results_of("x", "b"),
            TRUTH,
            "1 image id.s. are not listed.*'x' .nor is 'x' the name of",
        ),
        (results_of("im", "c"), TWO_FOLDERS, "'im' could be 's1/im.png', 's2/im.png'"),
        (results_of("s3/im", "c"), TWO_FOLDERS, "'s3/im' the name of"),
        (results_of("u/a.png", "v/a.png"), TRUTH, "'u/a.png' and 'v/a.png' would both be 'a.png'"),
        (results_of(1, "b"), TRUTH, "1 image id.s. are not listed.*nor is 1 the name"),
        (
            results_of(7, 8),
            TRUTH | {"images": [{"id": 1}, {"id": 2}]},
            "such as 7, 8. Leave them out",
        ),
        (
            document_of(results_of(1, 2), {1: "b.png", 2: "d.png", 3: "c.png"}),
            TRUTH,
            "image 1 is 'b.png', and in .*t.json 'a.png'",
        ),
        (
            [
                r | {"file_name": name}
                for r, name in zip(results_of(1, 1), ("a.png", "c.png"), strict=True)
            ],
            TRUTH,
            "image 1 has the file names 'a.png' and 'c.png'",
        ),
        (
            results_of(1, 2, categories=(0, 1)),
            TRUTH,
            "ids seem to begin at 0, and the truth's are 1, 2. Add 1 to each",
        ),
        (results_of(1, 2, categories=("0", 1.0)), TRUTH, "ids seem to begin at 0"),
        (
            results_of(1, 2, categories=(1, 2)),
            truth_without_boxes(0, 1),
            "ids seem to begin at 1, and the truth's are 0, 1. Subtract 1 from each",
        ),
        (
            results_of(1, 2, categories=(0, 1)),
            truth_without_boxes(7, 9),
            "seem to begin at 0, and the truth's are 7, 9. Replace 0 by 7, 1 by 9",
        ),
        (
            results_of(1, 2, categories=(1, 90)),
            TRUTH,
            "such as 90; the truth's are 1, 2. Leave them out",
        ),
        (results_of(1.5, 2), TRUTH, "image id that can't be used: the id 1.5"),
    ],
)
def test_what_may_be_another_image_or_category_is_refused(
    tmp_path: Path, predictions: object, truth: object, message: str
) -> None:
    with pytest.raises(DataError, match=f"(?s)p.json.*{message}"):
        scored(tmp_path, predictions, truth)


def test_true_boxes_of_no_size_no_crowd_flag_and_no_bbox_score_as_in_pycocotools(
    tmp_path: Path,
) -> None:
    truth = json.loads(json.dumps(TRUTH))
    first = {"image_id": 3, "category_id": 1, "area": 0, "iscrowd": 0}
    truth["annotations"] += [
        {"id": 3, "bbox": [5, 5, 0, 0], **first},
        {"id": 4, "bbox": [50, 5, 0, 10], **first, "ignore": 1},
    ]
    results = [*results_of(1, 2, 3), {**results_of(3, 3)[0], "bbox": [5, 5, 0, 0]}]
    expected = pycoco(results, truth)
    incomplete = json.loads(json.dumps(truth))
    incomplete["annotations"][0] |= {"iscrowd": None, "area": None, "difficult": 1}
    incomplete["annotations"][1] |= {
        "bbox": None,
        "segmentation": [[30, 5, 50, 5, 50, 35], [30, 9, 40, 9, 40, 10]],
    }
    content = scored(tmp_path, results, incomplete)
    assert values(content) == pytest.approx(expected, abs=1e-9)
    assert 0 < expected[0] < 1
    notes = " ".join(content["notes"])
    assert "1 annotation(s) have no bbox; the extent of their segmentation is taken" in notes
    assert "2 true box(es) have no width or no height; they count" in notes
    assert "2 annotation(s) say ignore or difficult; they count as any other" in notes


def test_annotations_of_what_is_not_listed_are_left_out_as_in_pycocotools_and_warned_of(
    tmp_path: Path,
) -> None:
    truth = json.loads(json.dumps(TRUTH))
    other = {"bbox": FAR, "area": 81, "iscrowd": 0}
    truth["annotations"] += [
        {"id": 3, "image_id": 8, "category_id": 1, **other},
        {"id": 4, "image_id": 3, "category_id": 7, **other},
    ]
    expected = pycoco(results_of(1, 2, 3), truth)
    content = scored(tmp_path, results_of(1, 2, 3), truth)
    assert values(content) == pytest.approx(expected, abs=1e-9)
    assert content["n_boxes"] == 2
    images, categories = content["warnings"]
    assert "t.json: 1 annotation(s) name an image that is not listed (8) and are not us" in images
    assert "1 annotation(s) name a category that is not listed (7) and are not used" in categories


@pytest.mark.parametrize("flag", [1, True, "1", "true", 0, "0", "false", None, "", math.nan])
def test_a_crowd_is_one_in_every_form(tmp_path: Path, flag: object) -> None:
    is_crowd = flag in (1, "1", "true")
    truth, other_form = (json.loads(json.dumps(TRUTH)) for _ in range(2))
    truth["annotations"][0]["iscrowd"] = int(is_crowd)
    other_form["annotations"][0]["iscrowd"] = flag
    content = scored(tmp_path, results_of(1, 2, 3), other_form)
    assert values(content) == pytest.approx(pycoco(results_of(1, 2, 3), truth), abs=1e-9)
    assert content["n_crowds"] == is_crowd


def test_four_zeros_beside_an_outline_are_no_box(tmp_path: Path) -> None:
    truth = json.loads(json.dumps(TRUTH))
    outline = [[10, 10, 30, 10, 30, 30, 10, 30]]
    truth["annotations"][0] |= {"bbox": [0, 0, 0, 0], "area": None, "segmentation": outline}
    content = scored(tmp_path, results_of(1, 2), truth)
    assert values(content)[0] == pytest.approx(1)
    assert "1 annotation(s) have no bbox; the extent of their segmentation" in content["notes"][0]


def test_ids_that_ingest_makes_of_equal_names_are_found(tmp_path: Path) -> None:
    truth = truth_of("all/s1/im.png", "all/s2/im.png", "all/s2/im.jpg")
    paths = [PurePosixPath(image["file_name"]) for image in truth["images"]]
    ids, _ = image_ids(paths)
    assert sorted(ids.values()) == ["s1_im", "s2_im_jpg", "s2_im_png"]
    content = scored(tmp_path, results_of(*(ids[path] for path in paths)), truth)
    assert values(content) == pytest.approx(pycoco(results_of(1, 2, 3), truth), abs=1e-9)
    assert "was matched by file name" in " ".join(content["notes"])


def test_true_boxes_that_are_turned_are_scored_as_they_are_and_said(tmp_path: Path) -> None:
    truth = json.loads(json.dumps(TRUTH))
    truth["annotations"][0]["rotation"] = 30
    truth["annotations"][1]["attributes"] = {"rotation": 360.0, "occluded": False}
    content = scored(tmp_path, results_of(1, 2), truth)
    assert values(content) == pytest.approx(pycoco(results_of(1, 2), truth), abs=1e-9)
    assert "1 annotation(s) are turned boxes (rotation)" in " ".join(content["notes"])


def test_readers_are_matched_by_file_name_too(tmp_path: Path) -> None:
    def read(name: str, images: tuple[object, ...]) -> dict[str, Any]:
        number = dict(zip((1, 2, 3), images, strict=True))
        marks = [
            annotation | {"image_id": number[annotation["image_id"]], "reader": reader}
            for annotation in TRUTH["annotations"]
            for reader in ("R1", "R2")
        ]
        content = TRUTH | {"images": [{"id": key} for key in images], "annotations": marks}
        (tmp_path / name).write_text(json.dumps(content))
        return evaluate_files(
            tmp_path / "p.json",
            tmp_path / "t.json",
            tmp_path / name,
            consensus_iou=0.2,
            bootstrap=Bootstrap(0),
        )

    scored(tmp_path, results_of(1, 2, 3))
    by_id, by_stem = read("ids.json", (1, 2, 3)), read("stems.json", ("a", "b", "c"))
    assert by_id["readers"] == by_stem["readers"]
    assert by_stem["readers"]["between_readers"]["f1_at_0.4"]["value"] == 1
    assert by_id["notes"] == ()
    assert "stems.json was matched by file name" in by_stem["notes"][0]


def test_corners_in_place_of_sides_are_warned_of(tmp_path: Path) -> None:
    def corners(entry: dict[str, Any]) -> dict[str, Any]:
        x, y, width, height = entry["bbox"]
        return entry | {"bbox": [x, y, x + width, y + height]}

    low = [entry | {"bbox": [60, 50, 20, 20]} for entry in TRUTH["annotations"]]
    truth = TRUTH | {"annotations": low}
    results = [entry | {"bbox": [60, 50, 20, 20]} for entry in results_of(1, 2)]
    assert scored(tmp_path, results, truth)["warnings"] == ()
    warning, *_ = scored(tmp_path, [corners(entry) for entry in results], truth)["warnings"]
    assert warning.startswith("2 of 2 detections end outside of their images")
    wrong = truth | {"annotations": [corners(entry) for entry in low]}
    warning, *_ = scored(tmp_path, results, wrong)["warnings"]
    assert warning.startswith("2 of 2 true boxes end outside of their images")
    without_sizes = truth | {"images": [{"id": key} for key in (1, 2)]}
    warnings = scored(tmp_path, [corners(entry) for entry in results], without_sizes)["warnings"]
    assert not any("end outside of their images" in sentence for sentence in warnings)


def test_another_run_that_overlaps_nothing_is_warned_of(tmp_path: Path) -> None:
    results = results_of(1, 2, 3)
    scored(tmp_path, results)
    away = [entry | {"bbox": [500, 500, 10, 10]} for entry in results]
    (tmp_path / "other.json").write_text(json.dumps(away))
    files = tmp_path / "p.json", tmp_path / "t.json", None, tmp_path / "other.json"
    *_, warning = evaluate_files(*files, consensus_iou=0.2, bootstrap=Bootstrap(0))["warnings"]
    assert "other.json: none of 3 detections overlaps any" in warning


def test_a_category_that_only_holds_others_is_left_out_and_it_is_said(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "nodule", "supercategory": "none"},
        {"id": 1, "name": "nodule", "supercategory": "nodule"},
        {"id": 2, "name": "mass", "supercategory": "nodule"},
    ]
    truth = TRUTH | {"categories": categories}
    content = scored(tmp_path, results_of(1, 2, 3), truth)
    assert list(content["per_class"]) == ["nodule", "mass"]
    assert values(content)[0] == pytest.approx(1)
    assert (
        "category 0 (nodule) is left out: it is the supercategory of others" in content["notes"][0]
    )
    document = document_of(results_of(1, 2, 3), {1: None, 2: None, 3: None}, categories=categories)
    assert values(scored(tmp_path, document, truth))[0] == pytest.approx(1)
    # One that has boxes is a class, and so is one that calls itself its own.
    kinds = [kind | {"supercategory": "nodule"} for kind in TRUTH["categories"]]
    empty = truth_of("a.png", "b.png", categories=kinds)
    empty["annotations"].pop(0)
    assert list(scored(tmp_path, [], empty)["per_class"]) == ["nodule", "mass"]
    kinds[0]["supercategory"] = "x"
    content = scored(tmp_path, [], TRUTH | {"categories": kinds})
    assert list(content["per_class"]) == ["nodule", "mass"]


def test_nothing_that_overlaps_anything_is_warned_of(tmp_path: Path) -> None:
    away = [entry | {"bbox": [500, 500, 10, 10]} for entry in results_of(1, 2, 3)]
    first_warning, warning = scored(tmp_path, away)["warnings"]
    assert first_warning.startswith("3 of 3 detections end outside of their images")
    assert "none of 3 detections overlaps any of 2 true boxes by IoU 0.1" in warning
    assert "reach to x 510, y 510, the true boxes to x 50, y 35" in warning
    (warning,) = scored(tmp_path, results_of(1, 2, 3, categories=(2, 1)))["warnings"]
    assert "overlaps a true box of its own category" in warning
    assert scored(tmp_path, [])["warnings"] == ()
    inside = results_of(1, 2, 3)
    assert scored(tmp_path, inside, TRUTH | {"annotations": []})["warnings"] == ()
