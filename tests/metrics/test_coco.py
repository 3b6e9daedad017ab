"""COCO's numbers on cases small enough to work out by hand."""

import pytest
import torch

from cxrssl.metrics.coco import Detections, Truth, coco_scores

BOX = [10.0, 10.0, 20.0, 20.0]
FAR = [50.0, 50.0, 60.0, 60.0]
HALF = [10.0, 10.0, 20.0, 16.2]  # overlaps BOX by 0.62


def found(*entries: tuple[list[float], float, int]) -> Detections:
    return Detections(
        boxes=torch.tensor([box for box, _, _ in entries]).reshape(-1, 4),
        scores=torch.tensor([score for _, score, _ in entries]),
        labels=torch.tensor([label for _, _, label in entries], dtype=torch.int64),
    )


def truth(*entries: tuple[list[float], int]) -> Truth:
    return Truth(
        boxes=torch.tensor([box for box, _ in entries]).reshape(-1, 4),
        labels=torch.tensor([label for _, label in entries], dtype=torch.int64),
    )


def test_a_perfect_detection_scores_one() -> None:
    scores = coco_scores([found((BOX, 0.9, 1))], [truth((BOX, 1))], classes=["a", "b"])
    assert scores["metrics"]["AP"] == scores["metrics"]["AR100"] == pytest.approx(1)
    assert scores["per_class"]["a"] == pytest.approx({"AP": 1, "AP50": 1, "AR100": 1})
    assert scores["per_class"]["b"] == {"AP": None, "AP50": None, "AR100": None}


def test_an_overlap_of_0_62_counts_at_three_of_ten_thresholds() -> None:
    scores = coco_scores([found((HALF, 0.9, 1))], [truth((BOX, 1))], classes=["a"])["metrics"]
    assert scores["AP"] == pytest.approx(0.3, abs=1e-6)  # 0.50, 0.55, 0.60
    assert scores["AP50"] == pytest.approx(1)
    assert scores["AP75"] == pytest.approx(0)


def test_a_stronger_false_alarm_halves_the_precision() -> None:
    detections = [found((FAR, 0.9, 1), (BOX, 0.8, 1))]
    scores = coco_scores(detections, [truth((BOX, 1))], classes=["a"])
    assert scores["metrics"]["AP50"] == pytest.approx(0.5)
    assert scores["per_class"]["a"]["AP50"] == pytest.approx(0.5)


def test_one_of_two_found_gives_51_of_101_recall_points() -> None:
    scores = coco_scores([found((BOX, 0.9, 1))], [truth((BOX, 1), (FAR, 1))], classes=["a"])
    assert scores["metrics"]["AP50"] == pytest.approx(51 / 101)
    assert scores["metrics"]["AR100"] == pytest.approx(0.5)


def test_the_mean_is_over_classes_with_truth() -> None:
    detections = [found((BOX, 0.9, 1), (FAR, 0.9, 3))]
    scores = coco_scores(detections, [truth((BOX, 1), (FAR, 2))], classes=["a", "b", "c"])
    assert scores["metrics"]["AP50"] == pytest.approx(0.5)
    assert [scores["per_class"][name]["AP50"] for name in "abc"] == [pytest.approx(1), 0, None]


def test_no_detection_is_zero_and_no_truth_cannot_be_computed() -> None:
    assert coco_scores([found()], [truth((BOX, 1))], classes=["a"])["metrics"]["AP"] == 0
    assert coco_scores([found()], [truth()], classes=["a"])["metrics"]["AP"] is None
