"""Reliability and its error by hand, and as hotcoco and torchmetrics have them."""

import numpy as np
import pytest
from hotcoco.metrics import calibration_curve, calibration_error

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
        is_counted = ~image["dtIgnore"][0].astype(bool)
        scores += np.array(image["dtScores"])[is_counted].tolist()
        right += (image["dtMatches"][0] > 0)[is_counted].tolist()
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
    bins, ours = calibration_curve(*by_coco(case), n_bins=10), reliability(case)
    assert ours.count.tolist() == [entry["count"] for entry in bins]
    filled = ours.count > 0
    for values, name in ((ours.confidence, "avg_confidence"), (ours.precision, "avg_accuracy")):
        expected = np.where(filled, [entry[name] for entry in bins], np.nan)
        assert values == pytest.approx(expected, abs=1e-9, nan_ok=True)


def by_hand() -> Case:
    truth = [(0, 0, BOX), (0, 0, FAR), (1, 0, BOX)]
    detections = [
        *((0, 0, BOX, 1.0), (0, 0, FAR, 0.9), (1, 0, FAR, 0.92)),
        *((1, 0, BOX, 0.14), (1, 0, [0, 90, 5, 5], 0.1), (0, 0, [0, 90, 5, 5], 0.0)),
    ]
    return make(truth, detections, num_images=2)


def test_bins_by_hand_a_score_of_one_is_in_the_last() -> None:
    ours = reliability(by_hand())
    assert ours.count.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 3]
    nothing = [np.nan] * 7
    assert ours.confidence == pytest.approx([0, 0.12, *nothing, 2.82 / 3], nan_ok=True)
    assert ours.precision == pytest.approx([0, 0.5, *nothing, 2 / 3], nan_ok=True)


def test_a_detection_on_a_crowd_is_out_and_a_missed_box_does_not_count() -> None:
    truth, crowd = [(0, 0, BOX), (0, 0, FAR), (0, 0, [90, 0, 5, 5])], [False, True, False]
    case = make(truth, [(0, 0, BOX, 0.85), (0, 0, FAR, 0.25)], crowd=crowd)
    assert reliability(case).count.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    assert case.scores.overall["ece"] == pytest.approx(0.15)


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
