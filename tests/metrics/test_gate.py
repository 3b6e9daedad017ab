"""Scores of a gate's p, by hand: pairs of images for AUROC, bins for the calibration error."""

import numpy as np
import pytest

from cxrssl.metrics.gate import gate_scores


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_sums_by_hand(seed: int) -> None:
    generator = np.random.default_rng(seed)
    has_boxes = generator.random(60) < 0.6
    p = np.clip(generator.normal(0.3 + 0.3 * has_boxes, 0.25), 0, 1).astype(np.float32)
    p[:6] = p[6:12]  # ties
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high in p[has_boxes]
        for low in p[~has_boxes]
    ]
    error = 0.0
    for number in range(10):
        inside = (p >= number / 10) & ((p < (number + 1) / 10) | (number == 9))
        if inside.any():
            gap = abs(p[inside].mean(dtype=float) - has_boxes[inside].mean())
            error += inside.mean() * gap
    scores = gate_scores(p, has_boxes)
    assert scores.auroc == pytest.approx(np.mean(pairs), abs=1e-6)
    assert scores.calibration_error == pytest.approx(error, abs=1e-6)
    assert (scores.num_with_boxes, scores.num_without_boxes) == (
        has_boxes.sum(),
        (~has_boxes).sum(),
    )
    assert scores.reason is None


@pytest.mark.parametrize(("kind", "word"), [(True, "with"), (False, "without")])
def test_one_kind_of_image_has_no_scores_and_a_reason(kind: bool, word: str) -> None:
    scores = gate_scores(np.full(5, 0.5, np.float32), np.full(5, kind))
    assert (scores.auroc, scores.calibration_error) == (None, None)
    assert (
        scores.as_json()["reason"]
        == f"all 5 images are {word} boxes, so that none can be told apart"
    )
    assert scores.num_with_boxes + scores.num_without_boxes == 5
