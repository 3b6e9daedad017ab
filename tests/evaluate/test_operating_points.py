"""Thresholds and NMS, chosen on one split and used on another and by `predict`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cxrssl.core.errors import DataError
from cxrssl.data.coco.files import read_annotations, read_results
from cxrssl.data.detection import Example, examples_of, in_split, splits_of
from cxrssl.data.protocol import Split
from cxrssl.data.store import Store
from cxrssl.evaluate.checkpoint import Extras, evaluate
from cxrssl.evaluate.choose import MOST_CANDIDATES, choose
from cxrssl.evaluate.detect import detect
from cxrssl.evaluate.files import evaluate_files
from cxrssl.evaluate.inputs import EvaluationInputs, as_detections, inputs_of_file
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.operating_points import choose_points, values_at
from cxrssl.evaluate.original import in_original_px
from cxrssl.evaluate.points_file import FORMAT, PointChoice, read_point
from cxrssl.evaluate.store_inputs import inputs_of_store
from cxrssl.metrics.annotations import Detections
from cxrssl.models.detector import Detector
from cxrssl.models.detector_folder import save_detector, weights_sha256
from cxrssl.predict import predict
from detectors import RTDETR, detector, rcnn

# Ten films with a box of class a; the detector finds eight, by falling scores, and on each film
# another that is wrong, of which those of class b score higher than all.
BOX, WRONG = [0.0, 0.0, 20.0, 20.0], [60.0, 60.0, 20.0, 20.0]
FALLING = [0.8 - n / 100 for n in range(8)]


def by_hand(folder: Path) -> tuple[EvaluationInputs, Detections]:
    images = [{"id": n, "width": 100, "height": 100} for n in range(10)]
    truth = {
        "images": images,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [{"image_id": n, "category_id": 1, "bbox": BOX} for n in range(10)],
    }
    right = [(n, 1, BOX, score) for n, score in enumerate(FALLING)]
    wrong = [(n, 1, WRONG, 0.5) for n in range(5)] + [(n, 2, WRONG, 0.9) for n in range(4)]
    found = [
        {"image_id": n, "category_id": k, "bbox": box, "score": score}
        for n, k, box, score in right + wrong
    ]
    (folder / "t.json").write_text(json.dumps(truth))
    (folder / "p.json").write_text(json.dumps(found))
    index, boxes = read_annotations(folder / "t.json")
    results, _ = read_results(folder / "p.json", index)
    return inputs_of_file(index, boxes, None), as_detections(results)


def test_thresholds_are_those_of_the_stated_targets(tmp_path: Path) -> None:
    inputs, found = by_hand(tmp_path)
    points = {point["name"]: point["thresholds"] for point in choose_points(inputs, found)}
    # F1 of all eight right with four wrong: 2 * 8 / (10 + 12); with nine wrong less. The eighth
    # scores 0.73, and what comes next 0.5: the threshold lies midway.
    assert points["f1"] == {
        "a": pytest.approx(0.615, abs=1e-6),
        "b": pytest.approx(0.615, abs=1e-6),
    }
    # b has no box, and so not a threshold of its own.
    assert points["f1_by_class"] == {
        "a": pytest.approx(0.615, abs=1e-6),
        "b": pytest.approx(0.615, abs=1e-6),
    }
    # Four wrong boxes on ten films come with the first score: .25 a film is passed at once.
    assert "fp_0.25" not in points
    assert points["fp_0.5"]["a"] == pytest.approx(0.615, abs=1e-6)
    assert points["fp_1"]["a"] == pytest.approx(0.5, abs=1e-6)
    values = values_at(inputs, found, points["f1"])
    assert values["sensitivity"] == 0.8
    assert values["precision"] == pytest.approx(8 / 12, abs=1e-6)
    assert values["f1"] == pytest.approx(16 / 22, abs=1e-6)
    assert values["fp_per_image"] == 0.4
    without_b = values_at(inputs, found, {"a": 0.73, "b": 0.95})
    assert (without_b["precision"], without_b["fp_per_image"]) == (1.0, 0.0)
    nothing = values_at(inputs, found, {"a": 1.0, "b": 1.0})
    assert (nothing["sensitivity"], nothing["precision"], nothing["f1"]) == (0.0, None, 0.0)


def test_a_class_with_enough_boxes_has_the_threshold_of_its_own_greatest_f1(
    tmp_path: Path,
) -> None:
    inputs, found = by_hand(tmp_path)
    # Class b, wrong at 0.9 on four films, now is right on six at 0.3.
    truth = replace(
        inputs.truth,
        images=np.repeat(np.arange(10), 2),
        labels=np.tile([0, 1], 10),
        boxes=np.tile(np.array(BOX), (20, 1)),
        areas=np.full(20, 400.0),
        crowd=np.zeros(20, bool),
        support=np.ones(20, np.int64),
    )
    more = Detections(
        np.concatenate([found.images, np.arange(10)]),
        np.concatenate([found.labels, np.ones(10, np.int64)]),
        np.concatenate([found.boxes, np.tile(np.array(BOX), (10, 1))]),
        np.concatenate([found.scores, np.full(10, 0.3)]),
    )
    order = np.argsort(more.images, kind="stable")
    more = Detections(*(c[order] for c in (more.images, more.labels, more.boxes, more.scores)))
    changed = replace(inputs, truth=truth)
    points = {point["name"]: point["thresholds"] for point in choose_points(changed, more)}
    assert points["f1_by_class"] == {
        "a": pytest.approx(0.615, abs=1e-6),
        "b": pytest.approx(0.3, abs=1e-6),
    }


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory, store: Store) -> tuple[Path, Detector]:
    """Save a detector with random weights, which finds the classes of the store anywhere."""
    names = dict(enumerate(store.classes))
    config = rcnn(norm="frozen", id2label=names, label2id={n: k for k, n in names.items()})
    folder = tmp_path_factory.mktemp("finder")
    made = detector(config)
    save_detector(made, folder)
    return folder, made


def split_of(store: Store, name: Split) -> list[Example]:
    splits = splits_of(store, protocol="corrected", normals=True)
    return in_split(examples_of(store, fusion="consensus", iou=0.2), splits, name)


def test_nms_after_detection_is_the_detectors_own(
    finder: tuple[Path, Detector], store: Store
) -> None:
    _, made = finder
    examples = split_of(store, "val")
    inputs = inputs_of_store(store, examples)
    chosen = choose(made, store, examples, inputs, "val", rank=0, num_processes=1)
    assert chosen.nms is not None
    assert {row["iou"] for row in chosen.nms["tried"]} == {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7}
    assert (
        chosen.nms["iou"]
        == max(chosen.nms["tried"], key=lambda row: (row["froc_mean"], -abs(row["iou"] - 0.5)))[
            "iou"
        ]
    )
    # What was chosen is what the detector now does by itself.
    own = detect(made, store, examples)
    assert (
        values_at(inputs, in_original_px(own, examples, store), chosen.points[0]["thresholds"])
        == (chosen.points[0]["chosen"])
    )
    made.family.set_nms(made.model, iou=1.0, most=MOST_CANDIDATES)
    assert len(detect(made, store, examples)[0]["scores"]) > len(own[0]["scores"])


def test_what_a_point_comes_to_is_what_predict_shows(
    finder: tuple[Path, Detector], store: Store, store_folder: Path, source: Path, tmp_path: Path
) -> None:
    folder, _ = finder
    draws = Bootstrap(0)
    # On test, because the scores of random weights on other images say nothing of these.
    extras = Extras(choose_on="test")
    content = evaluate(folder, store_folder, normals=True, bootstrap=draws, extras=extras)
    assert content is not None
    points = content["chosen_points"]
    assert points["format"] == FORMAT
    assert points["detector"]["sha256"] == weights_sha256(folder)
    assert all(point["chosen"] == point["scored"] for point in points["points"])
    assert any("chosen on the test split, and that is scored here" in text
               for text in content["warnings"])  # fmt: skip
    (tmp_path / "points.json").write_text(json.dumps(points))
    films = [source / "train" / f"{e.image_id}.dicom" for e in split_of(store, "test")]
    point = max(points["points"], key=lambda point: point["scored"]["n_boxes_shown"])
    choice = PointChoice(tmp_path / "points.json", point["name"])
    summary = predict([folder], films, tmp_path / "out", threshold=choice, formats=["coco"])
    assert summary.num_findings == summary.num_strong == point["scored"]["n_boxes_shown"] > 0
    assert f"operating point {point['name']}" in summary.operating_point
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert f"operating point {point['name']}" in written["info"]["detector"]
    # The file of these boxes has the same false positives as the evaluation says.
    truth = {
        "images": [{"id": e.image_id, "file_name": e.image_id} for e in split_of(store, "test")],
        "categories": written["categories"],
        "annotations": [
            {"image_id": e.image_id, "category_id": int(k) + 1, "bbox": xywh(box)}
            for e in split_of(store, "test")
            for k, box in zip(e.labels, e.boxes_original_px, strict=True)
        ],
    }
    (tmp_path / "t.json").write_text(json.dumps(truth))
    paths = tmp_path / "out/predictions.json", tmp_path / "t.json"
    theirs = evaluate_files(*paths, consensus_iou=0.2, bootstrap=draws)
    assert theirs["curves"]["froc"]["fp_per_image_by_kind"]["with boxes"][-1] == pytest.approx(
        point["scored"]["fp_per_image_by_kind"]["with boxes"], abs=1e-6
    )


def xywh(box: np.ndarray) -> list[float]:
    return [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]


def test_what_is_chosen_on_val_is_of_val(
    finder: tuple[Path, Detector], store: Store, store_folder: Path
) -> None:
    extras = Extras(choose_on="val")
    content = evaluate(finder[0], store_folder, normals=True, bootstrap=Bootstrap(0), extras=extras)
    assert content is not None
    assert content["chosen_points"]["chosen_on"]["split"] == "val"
    assert any("NMS IoU" in text and "val split" in text for text in content["notes"])
    assert not any("optimistic" in text for text in content["warnings"])
    # A detector without its run: which training images it saw is not known.
    num_train = len(split_of(store, "train"))
    assert content["prior"]["n_training_images"] == num_train
    assert content["prior"]["fitted_on"].startswith(f"all {num_train} images of the training split")
    assert any("images of the val split that have boxes: so few" in w for w in content["warnings"])


POINTS = {
    "format": FORMAT,
    "detector": {"source": "run", "sha256": "abc"},
    "nms": {"iou": 0.2},
    "points": [{"name": "f1", "target": "greatest F1", "thresholds": {"a": 0.4, "b": 0.1}}],
}


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        ({"detector": {"source": "other", "sha256": "x"}}, None, r"of another detector \(other\)"),
        ({}, "fp_3", r"no operating point 'fp_3'\. It has: f1"),
        ({"format": "x"}, None, r"holds no operating points"),
        ({"nms": {"iou": 7}}, None, r"iou is 7; expected a number from 0 to 1"),
        ({"nms": {"iou": True}}, None, r"iou is True; expected"),
        ({"points": [{"name": "f1", "thresholds": {"a": 1}}]}, None, r"has no threshold of b"),
        ({"points": [{"name": "f1", "thresholds": {"a": "1", "b": 0}}]}, None, r"a is '1'"),
        ({"points": 3}, None, r"lacks one of"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any], name: str | None, message: str
) -> None:
    path = tmp_path / "points.json"
    path.write_text(json.dumps(POINTS | change))
    with pytest.raises(DataError, match=message):
        read_point(PointChoice(path, name), source="run", sha256="abc", classes=("a", "b"))


def test_a_file_that_fits_is_read(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    path.write_text(json.dumps(POINTS))
    point = read_point(PointChoice(path), source="run", sha256="abc", classes=("a", "b"))
    assert (point.name, point.thresholds, point.nms_iou) == ("f1", {"a": 0.4, "b": 0.1}, 0.2)
    assert str(point) == "operating point f1 (greatest F1): score >= 0.1 to 0.4, NMS IoU 0.2"
    with pytest.raises(DataError, match=r"nowhere\.json can't be read"):
        read_point(PointChoice(tmp_path / "nowhere.json"), source="", sha256="", classes=())


def test_fused_boxes_have_no_operating_point(
    finder: tuple[Path, Detector], source: Path, tmp_path: Path
) -> None:
    choice = PointChoice(tmp_path / "points.json")
    with pytest.raises(DataError, match=r"holds thresholds of one detector"):
        predict([finder[0]], [source], tmp_path / "out", threshold=choice, flip=True)


def test_a_detector_without_nms_has_thresholds_alone(store: Store) -> None:
    from cxrssl.models.families import rtdetr_v2

    names = dict(enumerate(store.classes))
    config = rtdetr_v2.config_of(
        RTDETR | {"id2label": names, "label2id": {n: k for k, n in names.items()}},
        store_px=64,
        is_coco=False,
    )
    made = detector(config)
    examples = split_of(store, "val")
    inputs = inputs_of_store(store, examples)
    with torch.no_grad():
        chosen = choose(made, store, examples, inputs, "val", rank=0, num_processes=1)
    assert chosen.nms is None
    assert "the detector has no NMS" in chosen.note
    with pytest.raises(DataError, match="has no non-maximum suppression"):
        made.family.set_nms(made.model, iou=0.2, most=100)
