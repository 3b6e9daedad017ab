"""Sensitivity and false alarms equal MONAI's from pycocotools' matches, and hand-made curves."""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from cases import KINDS, Case, as_coco, make, pycoco, random_case
from cxrssl.metrics.annotations import Floats
from cxrssl.metrics.froc import RATES, Froc

AT_HALF = "fp_per_normal_image_at_sens_0.5"
BOX, FAR, OFF = [10, 10, 10, 10], [50, 50, 10, 10], [100, 100, 10, 10]

many_random = pytest.mark.parametrize("seed", range(4))
of_each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def monai() -> ModuleType:
    """Import it only here: that takes seconds."""
    from monai.metrics import froc

    return froc


def curve_of(case: Case) -> Froc:
    return case.table.froc(np.ones(case.truth.num_images))


def right_and_wrong(case: Case) -> tuple[Floats, Floats, Floats]:
    """Return scores of right ones, of false alarms, and of those on images without a finding."""
    evaluation = pycoco(case, iouThrs=np.array([np.nextafter(0.4, 1)]))
    right, wrong, normal = [], [], []
    of_all = list(evaluation.params.areaRng[0])
    for image in filter(None, evaluation.evalImgs):
        if list(image["aRng"]) != of_all:
            continue
        scores, matched = np.array(image["dtScores"]), image["dtMatches"][0] > 0
        ignored = image["dtIgnore"][0].astype(bool)
        right += scores[matched & ~ignored].tolist()
        wrong += scores[~matched & ~ignored].tolist()
        if image["image_id"] - 1 not in case.truth.images:
            normal += scores[~matched & ~ignored].tolist()
    return np.array(right), np.array(wrong), np.array(normal)


def monai_curve(monai: ModuleType, case: Case) -> tuple[Floats, Floats]:
    right, wrong, _ = right_and_wrong(case)
    num_true = int((~case.truth.crowd).sum())
    # MONAI leaves the lowest threshold out; this one is below all.
    wrong = np.append(wrong, -1.0)
    curve: tuple[Floats, Floats] = monai.compute_froc_curve_data(
        wrong, right, num_true, case.truth.num_images
    )
    return curve


@many_random
@of_each_kind
def test_sensitivity_at_false_alarms_equals_monai(kind: str, seed: int, monai: ModuleType) -> None:
    case = random_case(KINDS[kind], seed)
    alarms, sensitivity = monai_curve(monai, case)
    overall = case.scores.overall
    for rate in RATES:
        value = monai.compute_froc_score(alarms, sensitivity, eval_thresholds=(rate,))
        assert overall[f"froc_at_{rate:g}"] == pytest.approx(value, abs=1e-9)
    mean = monai.compute_froc_score(alarms, sensitivity, eval_thresholds=RATES)
    assert overall["froc_mean"] == pytest.approx(mean, abs=1e-9)


@of_each_kind
def test_the_curve_equals_monai_point_by_point(kind: str, monai: ModuleType) -> None:
    case = random_case(KINDS[kind], 9)
    alarms, sensitivity = monai_curve(monai, case)
    curve = curve_of(case)
    assert np.append(0, curve.alarms) == pytest.approx(alarms[::-1], abs=1e-12)
    assert np.append(0, curve.sensitivity) == pytest.approx(sensitivity[::-1], abs=1e-12)


@many_random
@of_each_kind
def test_false_alarms_on_normal_images_equal_a_slow_count(kind: str, seed: int) -> None:
    case = random_case(KINDS[kind], seed)
    right, _, normal = right_and_wrong(case)
    num_true, num_normal = (
        (~case.truth.crowd).sum(),
        case.truth.num_images - len(set(case.truth.images)),
    )
    reached = [t for t in right if 2 * (right >= t).sum() >= num_true]
    expected = (normal >= max(reached)).sum() / num_normal if reached and num_normal else -1
    assert as_coco(case.scores.overall[AT_HALF]) == pytest.approx(expected, abs=1e-9)


def test_some_random_case_reaches_half_with_normal_images() -> None:
    values = [
        random_case(KINDS[kind], seed).scores.overall[AT_HALF]
        for kind in KINDS
        for seed in range(4)
    ]
    assert 3 < (~np.isnan(values)).sum() < len(values)


def two_of_four() -> Case:
    """Return four images, two of them normal, whose threshold falls step by step by hand."""
    truth = [(0, 0, BOX), (0, 0, FAR), (1, 0, BOX), (1, 1, FAR)]
    detections = [
        *((0, 0, BOX, 0.9), (2, 0, BOX, 0.8), (1, 0, BOX, 0.7), (2, 1, BOX, 0.6)),
        *((3, 0, BOX, 0.5), (1, 1, FAR, 0.4), (1, 0, OFF, 0.3)),
    ]
    return make(truth, detections, num_images=4, num_classes=2)


def test_a_curve_by_hand() -> None:
    curve = curve_of(two_of_four())
    assert (4 * curve.sensitivity).tolist() == [1, 1, 2, 2, 2, 3, 3]
    assert (4 * curve.alarms).tolist() == [0, 1, 1, 2, 3, 3, 4]
    assert (2 * curve.normal_alarms).tolist() == [0, 1, 1, 2, 3, 3, 3]
    assert two_of_four().table.froc.scores.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]


def test_no_normal_image_or_half_never_found_cannot_be_computed() -> None:
    alone = make([(0, 0, BOX)], [(0, 0, BOX, 0.5)])
    assert np.isnan(alone.scores.overall[AT_HALF])
    third = make([(0, 0, BOX), (0, 0, FAR), (0, 0, OFF)], [(0, 0, BOX, 0.5)], num_images=2)
    assert np.isnan(third.scores.overall[AT_HALF])
    assert third.scores.overall["froc_at_1"] == pytest.approx(1 / 3)


def test_half_is_reached_though_its_float_is_a_little_less() -> None:
    curve = Froc(2.0, np.array([0.1 + 0.2, 0.7 - 0.2]) - 1e-16, np.zeros(2), np.array([1.0, 2.0]))
    assert curve.sensitivity[1] < 0.5
    assert curve.normal_alarms_at(0.5) == 2


def test_a_crowd_is_not_to_be_found_its_detections_no_alarms_and_its_image_not_normal() -> None:
    truth, crowd = [(0, 0, BOX), (1, 0, BOX)], [False, True]
    detections = [(0, 0, BOX, 0.5), (1, 0, BOX, 0.9), (1, 0, [12, 12, 5, 5], 0.8), (1, 0, FAR, 0.6)]
    curve = curve_of(make(truth, detections, num_images=2, crowd=crowd))
    assert curve.sensitivity.tolist() == [0, 0, 0, 1]
    assert curve.alarms.tolist() == [0, 0, 0.5, 0.5]
    assert np.isnan(curve.normal_alarms).all()


def test_precision_is_the_share_of_detections_so_far_that_are_right() -> None:
    precision = two_of_four().table.froc.precision()
    assert precision == pytest.approx([1, 1 / 2, 2 / 3, 2 / 4, 2 / 5, 3 / 6, 3 / 7])


def test_precision_leaves_detections_on_a_crowd_out() -> None:
    detections = [(0, 0, FAR, 0.9), (0, 0, BOX, 0.8), (0, 0, OFF, 0.7)]
    case = make([(0, 0, BOX), (0, 0, FAR)], detections, crowd=[False, True])
    assert case.table.froc.precision() == pytest.approx([0, 1, 1 / 2])


def test_no_true_box_has_no_sensitivity() -> None:
    case = random_case(replace(KINDS["plain"], crowds=1.0), 0)
    assert np.isnan(curve_of(case).sensitivity).all()
    assert np.isnan([case.scores.overall[f"froc_at_{rate:g}"] for rate in RATES]).all()
