"""Fused boxes: worked out by hand, and against the paper's steps in plain Python."""

import warnings

import numpy as np
import pytest

from cxrssl.predict.found import Finding
from cxrssl.predict.fuse import fused
from fused_boxes import assert_same, by_the_paper


def test_two_passes_worked_out_by_hand() -> None:
    # IoU of the first two: 38 * 40 / (2 * 1600 - 1520) = 0.905. Edges are weighted by 0.9 and 0.6:
    # x_min = (0.9 * 10 + 0.6 * 12) / 1.5 = 10.8.
    passes = [
        [Finding((10, 10, 50, 50), "a", 0.9), Finding((60, 60, 90, 90), "a", 0.8)],
        [Finding((12, 10, 52, 50), "a", 0.6), Finding((10, 10, 50, 50), "b", 0.3)],
    ]
    assert_same(
        fused(passes, width=100, height=200, max_findings=100),
        [
            Finding((10.8, 10, 50.8, 50), "a", 0.75),  # (0.9 + 0.6) / 2
            Finding((60, 60, 90, 90), "a", 0.4),  # of one pass of two: 0.8 / 2
            Finding((10, 10, 50, 50), "b", 0.15),  # of another class: fused with none
        ],
    )


def test_the_score_counts_passes_not_boxes() -> None:
    # Two boxes of one pass in one place count as two of two passes: min(T, N) / N = 1.
    twice = [Finding((10, 10, 50, 50), "a", 0.8), Finding((10, 10, 50, 51), "a", 0.4)]
    (only,) = fused([twice, []], width=100, height=100, max_findings=100)
    assert only.score == pytest.approx(0.6)
    # Three boxes of two passes count as two.
    (only,) = fused([twice, twice[:1]], width=100, height=100, max_findings=100)
    assert only.score == pytest.approx((0.8 + 0.4 + 0.8) / 3)


def test_findings_of_no_area_or_at_the_edge_raise_no_warning_and_are_cut_to_the_most() -> None:
    passes = [
        [
            Finding((0, 0, 100, 200), "a", 0.5),
            Finding((0, 7, 0, 9), "a", 0.9),
            Finding((0, 0, 9, 9), "a", 0.0),
            Finding((99.9, 0, 100, 200), "a", 0.2),
        ],
        [],
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = fused(passes, width=100, height=200, max_findings=9)
        assert [finding.score for finding in both] == [0.25, 0.1]
        assert fused(passes, width=100, height=200, max_findings=1) == both[:1]
        assert fused([[], []], width=100, height=200, max_findings=9) == ()


@pytest.mark.parametrize("seed", range(20))
def test_random_passes_are_fused_as_the_paper_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, height = 2500, 3000
    centres = rng.uniform(300, 2200, (6, 2))
    passes = []
    for _ in range(rng.integers(2, 5)):
        findings = []
        for _ in range(rng.integers(0, 15)):
            centre = centres[rng.integers(6)] + rng.normal(0, 40, 2)
            half = rng.uniform(80, 250, 2)
            corners = (*(centre - half).tolist(), *(centre + half).tolist())
            findings.append(Finding(corners, "abc"[rng.integers(3)], float(rng.uniform(0.05, 1))))
        passes.append(sorted(findings, key=lambda finding: -finding.score))
    assert_same(
        fused(passes, width=width, height=height, max_findings=1000),
        by_the_paper(passes, len(passes)),
    )
