"""Anyone's COCO files: what is accepted, what is refused and in which words."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from cxrssl.core.errors import DataError
from cxrssl.evaluate.files import evaluate_files
from cxrssl.evaluate.intervals import Bootstrap

BOX, FAR = [10, 10, 20, 20], [100, 100, 20, 20]
TRUTH: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png"}, {"id": 2}, {"id": 3}],
    "categories": [{"id": 7, "name": "Nodule/Mass"}, {"id": 9, "name": "ILD"}],
    "annotations": [
        {"id": 0, "image_id": 1, "category_id": 7, "bbox": BOX},
        {"id": 1, "image_id": 2, "category_id": 9, "bbox": BOX, "area": 400, "iscrowd": 0},
    ],
}


def result(**changes: object) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 7, "bbox": BOX, "score": 0.9} | changes


def scores(
    folder: Path, predictions: object, truth: object = TRUTH, *, replicates: int = 0
) -> dict[str, Any]:
    paths = folder / "predictions.json", folder / "truth.json"
    for path, content in zip(paths, (predictions, truth), strict=True):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return evaluate_files(*paths, consensus_iou=0.2, bootstrap=Bootstrap(replicates))


def changed(kind: str, index: int = 0, **changes: object) -> dict[str, Any]:
    """Return the truth with one entry changed; a value of ... is left out."""
    content: dict[str, Any] = json.loads(json.dumps(TRUTH))
    content[kind][index] |= changes
    content[kind][index] = {k: v for k, v in content[kind][index].items() if v is not ...}
    return content


def test_what_is_found_is_scored_by_the_names_of_the_truth(tmp_path: Path) -> None:
    content = scores(tmp_path, [result()], replicates=20)
    assert (content["n_images"], content["n_boxes"], content["n_classes"]) == (3, 2, 2)
    assert content["n_images_without_findings"] == 1
    assert content["metrics"]["AP"]["value"] == pytest.approx(0.5)
    assert content["per_class"]["Nodule/Mass"]["AP50"]["value"] == pytest.approx(1)
    assert content["per_class"]["ILD"]["AP50"]["value"] == 0
    assert content["classes"]["ILD"] == {"n_boxes": 1, "n_images": 1}
    assert (content["seed"], content["replicates"]) == (0, 20)
    assert (
        set(content["definitions"]) == set(content["metrics"]) == set(content["replicate_values"])
    )
    json.dumps(content, allow_nan=False)


def test_names_that_others_rely_on_are_all_there(tmp_path: Path) -> None:
    names = (
        "AP AP50 AP75 AP_small AP_medium AP_large AR1 AR10 AR100 AR_small AR_medium AR_large "
        "AR100_agnostic AR_small1000_agnostic AP40 AP40_voc froc_mean froc_at_1 best_iou_mean "
        "best_iou_std fp_per_normal_image_at_sens_0.5 ece"
    )
    metrics = scores(tmp_path, [result()], replicates=20)["metrics"]
    assert set(names.split()) <= set(metrics)
    for name, entry in metrics.items():
        assert {"value", "low", "high"} <= set(entry), name
        assert (entry["value"] is None) <= bool(entry.get("reason")), name


def test_no_prediction_at_all_scores_zero(tmp_path: Path) -> None:
    metrics = scores(tmp_path, [])["metrics"]
    assert (
        metrics["AP"]["value"]
        == metrics["froc_mean"]["value"]
        == metrics["best_iou_mean"]["value"]
        == 0
    )
    assert metrics["ece"] == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "there is no detection, or all lie on crowds",
    }


def test_a_truth_without_boxes_has_no_scores_but_false_alarms_are_counted(tmp_path: Path) -> None:
    content = scores(tmp_path, [result()], TRUTH | {"annotations": []})
    assert content["metrics"]["AP"]["reason"] == "the truth holds no box"
    assert content["n_images_without_findings"] == 3
    # One false alarm, scored 0.9.
    assert content["metrics"]["ece"]["value"] == pytest.approx(0.9)


def test_false_alarms_on_normal_images_count_where_coco_does_not_see_them(tmp_path: Path) -> None:
    truth = TRUTH | {
        "categories": [{"id": 7, "name": "a"}, {"id": 9, "name": "b"}, {"id": 8, "name": "c"}]
    }
    both = [result(), result(image_id=2, category_id=9)]
    quiet = scores(tmp_path, both, truth)["metrics"]
    loud = scores(tmp_path, [*both, result(image_id=3, category_id=8, score=1)], truth)["metrics"]
    assert loud["AP"]["value"] == quiet["AP"]["value"] == pytest.approx(1)
    name = "fp_per_normal_image_at_sens_0.5"
    assert (quiet[name]["value"], loud[name]["value"]) == (0, 1)
    assert loud["froc_at_0.125"]["value"] < quiet["froc_at_0.125"]["value"] == 1


def test_an_interval_without_a_width_gives_way_to_an_exact_bound(tmp_path: Path) -> None:
    truth = TRUTH | {
        "images": [{"id": n} for n in range(30)],
        "annotations": [
            {"image_id": n, "category_id": 7 + n % 2 * 2, "bbox": BOX} for n in range(20)
        ],
    }
    content = scores(tmp_path, [result(image_id=n) for n in range(0, 8, 2)], truth, replicates=50)
    entry = content["per_class"]["ILD"]["AP50"]
    none_of_ten = binomtest(0, 10, alternative="less").proportion_ci(0.95, method="exact")
    assert (entry["value"], entry["low"]) == (0, 0)
    assert entry["high"] == pytest.approx(none_of_ten.high)
    assert entry["exact_on"] == "10 films"
    assert "Clopper-Pearson, one-sided, 95 %" in entry["exact"]
    assert "reason" not in entry
    assert content["metrics"]["AP50_support_1"]["reason"].startswith("the truth does not say")


def test_without_normal_images_it_is_said_why_there_is_no_number(tmp_path: Path) -> None:
    truth = TRUTH | {"images": TRUTH["images"][:2]}
    entry = scores(tmp_path, [result()], truth)["metrics"]["fp_per_normal_image_at_sens_0.5"]
    assert entry["value"] is None
    assert "every image has findings" in entry["reason"]


def test_scores_outside_0_to_1_are_ranked_and_have_no_calibration(tmp_path: Path) -> None:
    metrics = scores(tmp_path, [result(score=-3.5), result(score=7, bbox=FAR)])["metrics"]
    assert metrics["AP50"]["value"] == pytest.approx(0.25)
    assert metrics["ece"]["reason"] == "a score lies outside 0..1"


def test_ids_are_taken_as_they_come_words_and_numbers(tmp_path: Path) -> None:
    truth = {
        "images": [{"id": "x"}, {"id": 10**20}, {"id": 3}],
        "categories": [{"id": "n", "name": "Nodule"}],
        "annotations": [
            {"image_id": name, "category_id": "n", "bbox": BOX} for name in ("x", 10**20)
        ],
    }
    results = [result(image_id=name, category_id="n") for name in (10**20, "x")]
    assert scores(tmp_path, results, truth)["metrics"]["AP"]["value"] == pytest.approx(1)


def test_a_detection_without_a_size_is_a_false_alarm(tmp_path: Path) -> None:
    content = scores(tmp_path, [result(bbox=[15, 15, 0, 0], score=0.95), result()])
    assert content["n_detections"] == 2
    assert content["per_class"]["Nodule/Mass"]["AP50"]["value"] == pytest.approx(0.5)


def test_a_data_set_with_scores_is_taken_as_results(tmp_path: Path) -> None:
    document = TRUTH | {"annotations": [result()]}
    assert scores(tmp_path, document)["metrics"]["AP"]["value"] == pytest.approx(0.5)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    byte_order_mark = "\N{ZERO WIDTH NO-BREAK SPACE}"
    assert scores(tmp_path, [result()], byte_order_mark + json.dumps(TRUTH))["n_boxes"] == 2
    for content in ([result()], TRUTH | {"annotations": [result()]}):
        assert scores(tmp_path, byte_order_mark + json.dumps(content))["n_detections"] == 1


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([result(image_id=4), result(image_id=5)], "2 image id.s. are not listed .* such as 4, 5"),
        ([result(category_id=1)], "1 category id.s. are not listed by the truth, such as 1"),
        ([result(), result(bbox=[1, 1, -2, 5])], "a height of 0 or more, the first is entry 1"),
        ([result(bbox=[1e300, 1, 2, 2])], "coordinates and sizes of at most 1e7 px"),
        ([result(bbox=[1, 1, 2e7, 2])], "coordinates and sizes of at most 1e7 px"),
        ([result(), result(bbox=[1, 1, 2])], "entry 1: Expected `array` of length 4"),
        ([result(bbox=[1, 1, 2, "5"])], "entry 0: Expected `float`, got `str`"),
        ([result(bbox=None)], r"entry 0: Expected `array`, got `null` - at `\$.bbox`"),
        ([result(score=None)], "entry 0: Expected `float`, got `null`"),
        ([result(image_id=True)], "entry 0: Expected `int . float . str`, got `bool`"),
        ([{"image_id": 1, "category_id": 7, "bbox": BOX}], "missing required field `score`"),
        ([result(score=math.nan)], "is not JSON.*It holds NaN, which is not a JSON number"),
        ([result(bbox=[0, 0, math.inf, 1])], "is not JSON.*It holds Infinity"),
        ("[{]", "is not JSON"),
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('"results"', "is not a COCO file"),
        ({"predictions": []}, "is not a COCO file.*missing required field `images`"),
        ([7], "entry 0: Expected `object`, got `int`"),
        (
            TRUTH | {"images": [{"id": 1, "file_name": "b.png"}], "annotations": [result()]},
            "image 1 is 'b.png', and in .*truth.json 'a.png'. Give both files the same ids",
        ),
        (
            TRUTH | {"categories": [{"id": 7, "name": "Edema"}], "annotations": [result()]},
            "category 7 is 'Edema', and in .*truth.json 'Nodule/Mass'",
        ),
        (TRUTH | {"annotations": [result(image_id=8)]}, "names the image or category 8, which the"),
        (TRUTH | {"annotations": [result(category_id=8)]}, "category 8, which the file does not l"),
    ],
)  # fmt: skip
def test_predictions_that_can_not_be_right_are_refused(
    tmp_path: Path, predictions: object, message: str
) -> None:
    with pytest.raises(DataError, match=f"(?s)predictions.json.*{message}"):
        scores(tmp_path, predictions)


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        (changed("annotations", bbox=[1, 1, -3, 5]), "without a width and a height of 0 or more"),
        (changed("annotations", area=-1), "without an area from 0 to 1e14"),
        (changed("annotations", support=-1), "Expected `int` >= 0"),
        (changed("annotations", area=1e300), "without an area from 0 to 1e14"),
        (changed("annotations", support=2**70), "Expected `int`"),
        (changed("annotations", bbox=[1e8, 1, 5, 5]), "coordinates and sizes of at most 1e7 px"),
        (changed("annotations", bbox=...), 'entry 0 has no box; found {"id": 0, "image_id": 1'),
        (changed("annotations", bbox=[1, 1, 2]), r"entry 0 has no box; found .*\[1, 1, 2\]"),
        (changed("annotations", bbox=[], segmentation=[[1, 2, 3]]), r"entry 0 has no box"),
        (changed("annotations", bbox=..., segmentation={"counts": "x"}), "or a segmentation"),
        (TRUTH | {"images": [{"id": 4}]}, "none of its 2 annotations names a listed image"),
        (TRUTH | {"categories": [{"id": 4, "name": "n"}]}, "no annotation names a listed categor"),
        (changed("annotations", image_id=1.5), "the id 1.5, which is not a whole number"),
        (changed("images", 1, id=1), "gives one id to two images, 1"),
        (changed("images", 1, id="1"), "gives one id to two images, 1"),
        (changed("categories", 1, id=7.0), "gives one id to two categories, 7 .1, 1.0"),
        (changed("categories", 1, id=7), "gives one id to two categories, 7 .1, 1.0"),
        (changed("categories", 1, name="Nodule/Mass"), "one name to two categories"),
        (TRUTH | {"images": [], "annotations": []}, "lists 0 images and 2 categories"),
        (TRUTH | {"categories": [], "annotations": []}, "lists 3 images and 0 categories"),
        ([], "is not a COCO file"),
    ],
)  # fmt: skip
def test_a_truth_that_can_not_be_right_is_refused(
    tmp_path: Path, truth: object, message: str
) -> None:
    with pytest.raises(DataError, match=f"truth.json.*{message}"):
        scores(tmp_path, [], truth)


@pytest.mark.parametrize("missing", ["nowhere.json", "."])
def test_a_file_that_is_not_there_is_said(tmp_path: Path, missing: str) -> None:
    scores(tmp_path, [])
    for files in ((missing, "truth.json"), ("predictions.json", missing)):
        with pytest.raises(DataError, match=r"can't be read: .*Name a JSON file"):
            evaluate_files(
                *(tmp_path / name for name in files),
                consensus_iou=0.2,
                bootstrap=Bootstrap(0),
            )


def test_intervals_are_the_same_each_time_and_another_seed_gives_others(tmp_path: Path) -> None:
    boxes = [[10 + n, 10, 20, 20] for n in range(30)]
    truth = TRUTH | {
        "images": [{"id": n} for n in range(30)],
        "annotations": [
            {"image_id": n, "category_id": 7, "bbox": box} for n, box in enumerate(boxes)
        ],
    }
    results = [result(image_id=n, bbox=[10 + n + n % 7, 10, 20, 20]) for n in range(30)]
    (tmp_path / "p.json").write_text(json.dumps(results))
    (tmp_path / "t.json").write_text(json.dumps(truth))
    first, again, other_seed = (
        evaluate_files(
            tmp_path / "p.json",
            tmp_path / "t.json",
            consensus_iou=0.2,
            bootstrap=Bootstrap(50, seed),
        )["metrics"]["AP"]
        for seed in (0, 0, 1)
    )
    assert first == again != other_seed
    assert first["value"] == other_seed["value"]
    assert 0 <= first["low"] < first["value"] < first["high"] <= 1
