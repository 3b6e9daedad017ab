"""Reliability and its error by hand, and as hotcoco and torchmetrics have them."""

import numpy as np
import pytest
import torch
from hotcoco.metrics import calibration_curve, calibration_error
from torchmetrics.functional.classification import binary_calibration_error

from cases import KINDS, Case, make, pycoco, random_case
from cxrssl.metrics.annotations import Flags, Floats
from cxrssl.metrics.calibration import Reliability

BOX, FAR = [10, 10, 10, 10], [50, 50, 10, 10]

many_random = pytest.mark.parametrize("seed", range(4))
of_each_kind = pytest.mark.parametrize("kind", KINDS)


def reliability(case: Case) -> Reliability:
    table = case.table.calibration
    assert table is not None
    return table(np.ones(case.truth.num_images))


def by_coco(case: Case) -> tuple[Floats, Flags]:
    """Return scores of the detections not on a crowd, and whether they are right."""
    scores, right = [], []
    evaluation = pycoco(case, iouThrs=np.array([np.nextafter(0.4, 1)]), areaRng=[[0, 1e10]])
    for image in filter(None, evaluation.evalImgs):
        kept = ~image["dtIgnore"][0].astype(bool)
        scores += np.array(image["dtScores"])[kept].tolist()
        right += (image["dtMatches"][0] > 0)[kept].tolist()
    return np.array(scores), np.array(right, bool)


@many_random
@of_each_kind
def test_the_error_equals_hotcoco(kind: str, seed: int) -> None:
    case = random_case(KINDS[kind], seed)
    expected, _ = calibration_error(*by_coco(case), n_bins=10)
    assert case.scores.overall["ece"] == pytest.approx(expected, abs=1e-9)


@many_random
@of_each_kind
def test_the_bins_equal_hotcoco(kind: str, seed: int) -> None:
    case = random_case(KINDS[kind], seed)
    bins, own = calibration_curve(*by_coco(case), n_bins=10), reliability(case)
    assert own.count.tolist() == [one["count"] for one in bins]
    filled = own.count > 0
    for values, name in ((own.confidence, "avg_confidence"), (own.precision, "avg_accuracy")):
        expected = np.where(filled, [one[name] for one in bins], np.nan)
        assert values == pytest.approx(expected, abs=1e-9, nan_ok=True)


@many_random
def test_the_error_equals_torchmetrics_where_no_score_is_at_the_end_of_a_bin(seed: int) -> None:
    case = random_case(KINDS["plain"], seed)
    scores, right = (torch.from_numpy(column) for column in by_coco(case))
    expected = binary_calibration_error(scores, right.int(), n_bins=10, norm="l1")
    # It bins and adds in float32.
    assert case.scores.overall["ece"] == pytest.approx(float(expected), abs=1e-6)


def by_hand() -> Case:
    truth = [(0, 0, BOX), (0, 0, FAR), (1, 0, BOX)]
    found = [
        *((0, 0, BOX, 1.0), (0, 0, FAR, 0.9), (1, 0, FAR, 0.92)),
        *((1, 0, BOX, 0.14), (1, 0, [0, 90, 5, 5], 0.1), (0, 0, [0, 90, 5, 5], 0.0)),
    ]
    return make(truth, found, num_images=2)


def test_bins_by_hand_a_score_of_one_is_in_the_last() -> None:
    own = reliability(by_hand())
    assert own.count.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 3]
    nothing = [np.nan] * 7
    assert own.confidence == pytest.approx([0, 0.12, *nothing, 2.82 / 3], nan_ok=True)
    assert own.precision == pytest.approx([0, 0.5, *nothing, 2 / 3], nan_ok=True)


def test_the_error_by_hand() -> None:
    gaps = 1 * 0 + 2 * abs(0.5 - 0.12) + 3 * abs(2 / 3 - 0.94)
    assert reliability(by_hand()).ece == pytest.approx(gaps / 6)
    assert by_hand().scores.overall["ece"] == pytest.approx(gaps / 6)


def test_an_image_drawn_twice_counts_twice() -> None:
    table = by_hand().table.calibration
    assert table is not None
    own = table(np.array([2.0, 0.0]))
    assert own.count.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 4]
    assert own.ece == pytest.approx((4 * (1 - 0.95)) / 6)


def test_scores_that_are_right_as_often_as_they_say_have_no_error() -> None:
    found = [(n, 0, BOX if n < 3 else FAR, 0.75) for n in range(4)]
    case = make([(n, 0, BOX) for n in range(4)], found, num_images=4)
    assert case.scores.overall["ece"] == 0


def test_a_detection_on_a_crowd_is_out_and_a_missed_box_does_not_count() -> None:
    truth, crowd = [(0, 0, BOX), (0, 0, FAR), (0, 0, [90, 0, 5, 5])], [False, True, False]
    case = make(truth, [(0, 0, BOX, 0.85), (0, 0, FAR, 0.25)], crowd=crowd)
    assert reliability(case).count.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    assert case.scores.overall["ece"] == pytest.approx(0.15)


def test_a_second_detection_of_a_box_is_wrong() -> None:
    case = make([(0, 0, BOX)], [(0, 0, BOX, 0.85), (0, 0, BOX, 0.85)])
    assert case.scores.overall["ece"] == pytest.approx(0.35)


@pytest.mark.parametrize("score", [-0.01, 1.01])
def test_scores_that_are_no_shares_have_no_error(score: float) -> None:
    case = make([(0, 0, BOX)], [(0, 0, BOX, score), (0, 0, FAR, 0.5)])
    assert case.table.calibration is None
    assert np.isnan(case.scores.overall["ece"])
    assert case.scores.overall["AR100"] == pytest.approx(1)


def test_no_detection_has_no_error() -> None:
    case = make([(0, 0, BOX)], [])
    assert np.isnan(reliability(case).ece)
    assert reliability(case).count.tolist() == [0] * 10
