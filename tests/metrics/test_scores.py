"""Scores equal those of code nobody here wrote, and on small cases what a hand works out."""

import contextlib
import io
from dataclasses import replace

import hotcoco
import numpy as np
import pandas as pd
import pytest
from faster_coco_eval import COCO as FASTER_COCO
from faster_coco_eval import COCOeval_faster
from hypothesis import given, settings
from map_boxes import mean_average_precision_for_boxes

from cases import (
    HEADLINE,
    KINDS,
    Case,
    TrueBox,
    as_coco,
    coco_results,
    coco_truth,
    make,
    mean_present,
    pick,
    pycoco,
    random_case,
    small_cases,
)
from cxrssl.metrics.annotations import Floats, Truth
from cxrssl.metrics.definitions import DEFINITIONS

ABOVE_40 = np.nextafter(0.4, 1)
BOX = [10, 10, 10, 10]
FAR = [50, 50, 10, 10]
HALF = [10, 10, 10, 6.2]  # overlaps BOX by 0.62
FOUR_TENTHS = [10, 10, 10, 4]  # by exactly 0.4


def headline(case: Case) -> list[float]:
    overall = case.scores.overall
    return [as_coco(overall[name]) for name in HEADLINE]


def by_faster_coco_eval(case: Case) -> list[float]:
    truth = FASTER_COCO(coco_truth(case))
    evaluation = COCOeval_faster(
        truth, truth.loadRes(coco_results(case)), "bbox", print_function=lambda *_: None
    )
    evaluation.run()
    return list(evaluation.stats[:12])


def by_hotcoco(case: Case) -> list[float]:
    truth = hotcoco.COCO(coco_truth(case))
    evaluation = hotcoco.COCOeval(truth, truth.loadRes(coco_results(case)), "bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.run()
    return list(evaluation.stats)


def without(case: Case, *, truth: bool = False, detections: bool = False) -> Case:
    if truth:
        none = make([], [], num_images=case.truth.num_images, num_classes=case.truth.num_classes)
        case = replace(case, truth=none.truth)
    if detections:
        case = replace(case, detections=pick(case.detections, np.zeros(0, np.int64)))
    return case


def crowded(num_detections: int) -> Case:
    """Return two images full of detections, most of one class; the weakest are the best."""
    rng = np.random.default_rng(5)
    truth = [(n % 2, n % 2, [20 * n, 0, 10, 10 + n]) for n in range(20)]
    detections = []
    for rank in range(num_detections):
        image, label, box = truth[rng.integers(20)]
        moved = np.array(box) + rng.integers(-5, 6, 4) * (1 - rank / num_detections)
        label = label if rng.random() < 0.8 else 1 - label
        detections.append((image, label, moved.tolist(), round(1 - rank / num_detections, 2)))
    return make(truth, detections, num_images=2, num_classes=2)


def edge_cases() -> dict[str, Case]:
    case = random_case(KINDS["sized"], 1)
    half = 0.5
    return {
        "no detection": without(case, detections=True),
        "no truth": without(case, truth=True),
        "nothing": without(case, truth=True, detections=True),
        "only crowds": replace(case, truth=replace(case.truth, crowd=case.truth.crowd | True)),
        "more than 100 detections of a class in an image": crowded(300),
        "all scores equal": replace(
            case, detections=replace(case.detections, scores=case.detections.scores * 0)
        ),
        "area exactly 32^2 is small and medium": make(
            [(0, 0, [0, 0, 32, 32])], [(0, 0, [0, 0, 32, 32], half)]
        ),
        "area exactly 96^2 is medium and large": make(
            [(0, 0, [0, 0, 96, 96])], [(0, 0, [0, 0, 96, 96], half)]
        ),
        "false alarms exactly at the ends of sizes": make(
            [(0, 0, [0, 0, 16, 16]), (0, 0, [0, 0, 48, 48]), (0, 0, [200, 200, 99, 99])],
            [
                (0, 0, [100, 0, 32, 32], 0.9),
                (0, 0, [300, 0, 96, 96], 0.8),
                (0, 0, [0, 0, 16, 16], 0.7),
                (0, 0, [0, 0, 48, 48], 0.6),
                (0, 0, [200, 200, 99, 99], 0.5),
            ],
        ),
        "detections without an area": make(
            [(0, 0, BOX)], [(0, 0, [10, 10, 0, 10], 0.9), (0, 0, [10, 10, 0, 0], 0.8)]
        ),
    }


HEADLINE_CASES = edge_cases() | {
    f"{kind}-{seed}": random_case(KINDS[kind], seed) for kind in KINDS for seed in range(5)
}
many_random = pytest.mark.parametrize("seed", range(5))
of_each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize("case", HEADLINE_CASES.values(), ids=HEADLINE_CASES)
def test_headline_numbers_equal_three_other_programs(case: Case) -> None:
    ours = headline(case)
    assert ours == pytest.approx(list(pycoco(case).stats), abs=1e-9)
    assert ours == pytest.approx(by_hotcoco(case), abs=1e-9)
    assert ours == pytest.approx(by_faster_coco_eval(case), abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(case=small_cases())
def test_headline_numbers_equal_pycocotools_on_small_whole_boxes(case: Case) -> None:
    assert headline(case) == pytest.approx(list(pycoco(case).stats), abs=1e-9)


@many_random
@of_each_kind
def test_scores_of_each_class_equal_pycocotools(kind: str, seed: int) -> None:
    case = random_case(KINDS[kind], seed)
    reference = pycoco(case).eval
    precision, recall = reference["precision"][..., 0, 2], reference["recall"][:, :, 0, 2]
    per_class = case.scores.per_class
    assert np.isnan(per_class["AP"]).tolist() == (recall[0] < 0).tolist()
    for name, values in {
        "AP": precision.mean(axis=(0, 1)),
        "AP50": precision[0].mean(axis=0),
        "AP75": precision[5].mean(axis=0),
        "AR100": recall.mean(axis=0),
    }.items():
        assert np.nan_to_num(per_class[name], nan=-1) == pytest.approx(values, abs=1e-9)


@of_each_kind
def test_curves_equal_pycocotools(kind: str) -> None:
    case = random_case(KINDS[kind], 3)
    reference = pycoco(case).eval
    for rule, label in [(0, 0), (5, 1), (12, 2), (40, 0)]:
        curve = case.table.precision.curves(rule)[label]
        size, iou = divmod(rule, 10)
        if rule == 40:
            evaluation = pycoco(case, iouThrs=np.array([ABOVE_40])).eval
            index = (0, slice(None), label, 0, 2)
        else:
            evaluation, index = reference, (iou, slice(None), label, size, 2)
        assert curve.precision == pytest.approx(
            np.maximum(evaluation["precision"][index], 0), abs=1e-9
        )
        # At recall 0 pycocotools has the score of the first detection, right or wrong.
        scores = np.nan_to_num(curve.scores, nan=0)[1:]
        assert scores == pytest.approx(np.maximum(evaluation["scores"][index], 0)[1:], abs=1e-9)


def agnostic(case: Case, most: int, size: int) -> float:
    evaluation = pycoco(case, useCats=0, maxDets=[1, 10, most])
    return mean_present(evaluation.eval["recall"][:, 0, size, 2])


@many_random
@of_each_kind
def test_recall_whatever_the_class_equals_pycocotools(kind: str, seed: int) -> None:
    case = random_case(KINDS[kind], seed)
    overall = case.scores.overall
    assert as_coco(overall["AR100_agnostic"]) == pytest.approx(agnostic(case, 100, 0), abs=1e-9)
    small = as_coco(overall["AR_small1000_agnostic"])
    assert small == pytest.approx(agnostic(case, 1000, 1), abs=1e-9)


def test_recall_whatever_the_class_is_of_the_strongest_100_and_1000() -> None:
    case = crowded(2600)
    assert np.bincount(case.detections.images).min() > 1000
    overall = case.scores.overall
    assert overall["AR100_agnostic"] == pytest.approx(agnostic(case, 100, 0), abs=1e-9)
    assert overall["AR100_agnostic"] < agnostic(case, 101, 0)
    small = overall["AR_small1000_agnostic"]
    assert small == pytest.approx(agnostic(case, 1000, 1), abs=1e-9)
    assert agnostic(case, 100, 1) < small < agnostic(case, 1300, 1)


@many_random
@of_each_kind
def test_ap40_equals_pycocotools_just_above_four_tenths(kind: str, seed: int) -> None:
    case = random_case(KINDS[kind], seed)
    reference = pycoco(case, iouThrs=np.array([ABOVE_40])).eval["precision"][0, :, :, 0, 2]
    scores = case.scores
    assert as_coco(scores.overall["AP40"]) == pytest.approx(mean_present(reference), abs=1e-9)
    per_class = np.nan_to_num(scores.per_class["AP40"], nan=-1)
    assert per_class == pytest.approx(reference.mean(axis=0), abs=1e-9)


def dyadic_case(seed: int) -> Case:
    """Return a case of numbers that float32 holds, without crowds and tied scores.

    map_boxes has neither: its sort by score is not stable. Overlaps of exactly 0.4 come up.
    """
    case = random_case(replace(KINDS["tied"], num_images=20), seed)
    order = np.random.default_rng(seed).permutation(len(case.detections.scores))
    return replace(case, detections=replace(case.detections, scores=order / 1024))


def by_map_boxes(case: Case) -> tuple[float, Floats]:
    truth, detections = case.truth, case.detections

    def corners(boxes: Floats) -> dict[str, Floats]:
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        return {"XMin": low[:, 0], "XMax": high[:, 0], "YMin": low[:, 1], "YMax": high[:, 1]}

    boxes = {"ImageID": truth.images, "LabelName": truth.labels.astype(str)}
    annotations = pd.DataFrame(boxes | corners(truth.boxes))
    # It sees no image that has no row, and skips the class "nan": an image without a finding.
    normal = np.setdiff1d(np.arange(truth.num_images), truth.images)
    rows_of_none = pd.DataFrame({"ImageID": normal, "LabelName": "nan"})
    annotations = pd.concat([annotations, rows_of_none])
    # It takes the detections of an image in the order of the rows.
    rows = np.argsort(-detections.scores)
    columns = {"ImageID": detections.images[rows], "LabelName": detections.labels[rows].astype(str)}
    columns |= {"Conf": detections.scores[rows]} | corners(detections.boxes[rows])
    mean, by_class = mean_average_precision_for_boxes(
        annotations.to_numpy(),
        pd.DataFrame(columns).to_numpy(),
        iou_threshold=ABOVE_40,
        verbose=False,
    )
    values = np.full(truth.num_classes, np.nan)
    for name, (value, _) in by_class.items():
        values[int(name)] = value
    return mean, values


@pytest.mark.parametrize("seed", range(10))
def test_ap40_voc_equals_map_boxes(seed: int) -> None:
    case = dyadic_case(seed)
    mean, per_class = by_map_boxes(case)
    assert case.scores.overall["AP40_voc"] == pytest.approx(mean, abs=1e-9)
    ours = case.scores.per_class["AP40_voc"]
    assert ours == pytest.approx(per_class, abs=1e-9, nan_ok=True)
    assert mean > 0.1


def test_an_overlap_of_exactly_four_tenths_counts_in_neither() -> None:
    case = make([(0, 0, BOX)], [(0, 0, FOUR_TENTHS, 0.9)])
    assert case.scores.overall["best_iou_mean"] == 0.4
    assert case.scores.overall["AP40"] == case.scores.overall["AP40_voc"] == 0
    assert case.scores.overall["froc_at_8"] == 0
    above = make([(0, 0, BOX)], [(0, 0, [10, 10, 10, 4.0001], 0.9)]).scores.overall
    assert [above[name] for name in ("AP40", "AP40_voc", "froc_at_8")] == pytest.approx([1] * 3)


def test_a_detection_of_a_found_box_is_voc_s_false_alarm_though_another_box_is_free() -> None:
    # The second detection is nearest the first box, and COCO gives it the free one beside.
    truth = [(0, 0, [0, 0, 10, 10]), (0, 0, [0, 2, 10, 10])]
    case = make(truth, [(0, 0, [0, 0, 10, 10], 0.9), (0, 0, [0, 0.5, 10, 10], 0.8)])
    assert case.scores.overall["AP40"] == pytest.approx(1)
    assert case.scores.overall["AP40_voc"] == pytest.approx(0.5)


@pytest.mark.parametrize("num_true", [7, 100, 250])
def test_a_recall_reaches_the_points_that_comparing_says(num_true: int) -> None:
    # 29 of 100 times 100 is a little less than 29 in float64, and yet reaches 0.29.
    table = make([(0, 0, BOX), (1, 0, BOX)], [(0, 0, BOX, 0.9)], num_images=2).table
    for num_found in range(1, num_true):
        sampled = table.precision(np.array([num_found, num_true - num_found], float)).sampled[0, 0]
        reached = (np.linspace(0, 1, 101) <= num_found / num_true).sum()
        assert sampled == pytest.approx(reached / 101, abs=1e-9)


def test_no_detection_is_zero_and_no_truth_cannot_be_computed() -> None:
    assert make([(0, 0, BOX)], []).scores.overall["AP"] == 0
    overall = make([], [(0, 0, BOX, 0.9)]).scores.overall
    assert list(overall) == list(DEFINITIONS)
    assert {name for name, value in overall.items() if not np.isnan(value)} == {"ece"}
    assert np.isnan(list(make([], []).scores.overall.values())).all()


def by_support(number: int, case: Case) -> float:
    return case.scores.overall[f"AP50_support_{number}"]


def test_boxes_of_other_supports_are_neither_found_nor_false_alarms() -> None:
    boxes = [[0, 0, 9, 9], [20, 0, 9, 9], [40, 0, 9, 9], [60, 0, 9, 9], [80, 0, 9, 9]]
    scores = [0.9, 0.8, 0.7, 0.6, 0.95]
    detections = [(0, 0, box, score) for box, score in zip(boxes, scores, strict=True)]
    case = make(
        [(0, 0, box) for box in boxes],
        [*detections, (0, 0, [0, 50, 9, 9], 0.75)],
        support=[1, 2, 3, 5, 0],
    )
    assert by_support(1, case) == pytest.approx(1)
    assert by_support(2, case) == pytest.approx(1)
    # The false alarm of 0.75 is before two of three readers' boxes and more: 1/2, then 2/3.
    assert by_support(3, case) == pytest.approx(2 / 3)
    assert np.isnan(by_support(3, make([(0, 0, boxes[2])], [detections[2]], support=[2])))


def test_a_detection_prefers_a_box_of_the_support_to_a_nearer_one_of_another() -> None:
    truth = [(0, 0, [0, 0, 10, 10]), (0, 0, [0, 0, 10, 8])]
    case = make(truth, [(0, 0, [0, 0, 10, 10], 0.9)], support=[1, 2])
    assert [by_support(1, case), by_support(2, case)] == pytest.approx([1, 1])


def test_classes_are_rare_to_10_images_common_to_100_and_frequent_from_101() -> None:
    truth: list[TrueBox] = []
    for label, num_images in enumerate((1, 10, 11, 100, 101)):
        truth += [(image, label, BOX) for image in range(num_images)]
    # Two boxes in an image are one image; a class in none is no rare one.
    truth += [(0, 1, FAR)]
    fractions = (1.0, 0.0, 1.0, 0.5, 0.2)
    detections = [
        (image, label, BOX, 0.9)
        for image, label, box in truth
        if box is BOX and image < fractions[label] * (1, 10, 11, 100, 101)[label]
    ]
    overall = make(truth, detections, num_images=101, num_classes=6).scores.overall
    assert overall["AP_rare"] == pytest.approx((1 + 0) / 2)
    assert overall["AP_common"] == pytest.approx((1 + 51 / 101) / 2)
    # 21 of 101 found: recalls 0, 0.01, ..., 0.20.
    assert overall["AP_frequent"] == pytest.approx(21 / 101)


def best_overlaps(case: Case) -> Floats:
    """Return each true box's greatest overlap, crowds left out, by a slow double loop."""
    values = []
    for row in np.flatnonzero(~case.truth.crowd):
        x, y, w, h = case.truth.boxes[row]
        best = 0.0
        for detection in range(len(case.detections.scores)):
            if case.detections.images[detection] != case.truth.images[row]:
                continue
            if case.detections.labels[detection] != case.truth.labels[row]:
                continue
            u, v, p, q = case.detections.boxes[detection]
            across, down = min(x + w, u + p) - max(x, u), min(y + h, v + q) - max(y, v)
            shared = max(across, 0.0) * max(down, 0.0)
            best = max(best, shared / (w * h + p * q - shared))
        values.append(best)
    return np.array(values)


@many_random
@of_each_kind
def test_best_overlap_equals_a_slow_loop(kind: str, seed: int) -> None:
    case = random_case(KINDS[kind], seed)
    overall, best = case.scores.overall, best_overlaps(case)
    near = best[best > 0.2]
    assert overall["best_iou_mean"] == pytest.approx(best.mean(), abs=1e-9)
    assert overall["best_iou_std"] == pytest.approx(best.std(), abs=1e-7)
    assert overall["best_iou_above_0.2_mean"] == pytest.approx(near.mean(), abs=1e-9)
    assert overall["best_iou_above_0.2_std"] == pytest.approx(near.std(), abs=1e-7)


def test_best_overlap_is_of_the_class_zero_without_one_and_of_no_crowd() -> None:
    # 0.62, none of its class, none at all, exactly 0.2, and a crowd that is covered.
    truth = [(0, 0, BOX), (0, 1, FAR), (1, 0, BOX), (1, 0, [80, 0, 10, 10]), (1, 0, [0, 80, 5, 5])]
    detections = [
        *((0, 0, HALF, 0.1), (0, 0, [10, 10, 10, 1], 0.9), (0, 0, FAR, 0.9)),
        *((1, 0, [80, 0, 10, 2], 0.5), (1, 0, [0, 80, 5, 5], 0.5)),
    ]
    crowd = [False, False, False, False, True]
    overall = make(truth, detections, num_images=2, num_classes=2, crowd=crowd).scores.overall
    best = np.array([0.62, 0, 0, 0.2])
    assert overall["best_iou_mean"] == pytest.approx(best.mean())
    assert overall["best_iou_std"] == pytest.approx(best.std())
    assert overall["best_iou_above_0.2_mean"] == pytest.approx(0.62)
    assert overall["best_iou_above_0.2_std"] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("kind", ["plain", "sparse"])
def test_the_order_of_an_image_s_detections_changes_nothing(kind: str) -> None:
    case = random_case(KINDS[kind], 4)
    shuffle = np.random.default_rng(0).permutation(len(case.detections.scores))
    order = shuffle[np.argsort(case.detections.images[shuffle], kind="stable")]
    assert (order != np.arange(len(order))).any()
    other = replace(case, detections=pick(case.detections, order)).scores
    assert other.overall == pytest.approx(case.scores.overall, abs=1e-12, nan_ok=True)
    for name, values in case.scores.per_class.items():
        assert other.per_class[name] == pytest.approx(values, abs=1e-12, nan_ok=True)


def test_a_truth_s_fingerprint_changes_with_every_column() -> None:
    truth = random_case(KINDS["crowds"], 0).truth
    assert len(truth.images) > 1

    def other(name: str) -> Truth:
        column = getattr(truth, name).copy()
        column[-1] = ~column[-1] if column.dtype == bool else column[-1] + 1
        return replace(truth, **{name: column})

    columns = ("images", "labels", "boxes", "areas", "crowd", "support")
    prints = {other(name).sha256 for name in columns}
    prints |= {replace(truth, num_images=99).sha256, replace(truth, num_classes=9).sha256}
    assert len(prints | {truth.sha256}) == 9
    assert replace(truth).sha256 == truth.sha256
