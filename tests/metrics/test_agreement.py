"""Agreement of two readers: by hand, against a slow transcription, and the same from both sides."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrssl.core.boxes import iou_matrix
from cxrssl.metrics.agreement import Pairs, f1_at, mean_overlap, pairs_of

# Small whole numbers, so that equal overlaps, which a greedy match must break, are common.
BOX = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 4)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
SIDE = st.lists(st.tuples(BOX, st.integers(0, 1)), max_size=6)
Side = list[tuple[tuple[int, int, int, int], int]]


def paired(first: Side, second: Side) -> Pairs:
    boxes = [np.array([box for box, _ in side], float).reshape(-1, 4) for side in (first, second)]
    groups = [np.array([group for _, group in side], np.int64) for side in (first, second)]
    return pairs_of(boxes[0], groups[0], boxes[1], groups[1])


def numbers(pairs: Pairs) -> list[object]:
    all_pairs, close_pairs = mean_overlap(pairs, above=None), mean_overlap(pairs, above=0.2)
    scores = [f1_at(pairs, 0.2), f1_at(pairs, 0.4), f1_at(pairs, 1.0)]
    return [all_pairs.num_pairs, close_pairs.num_pairs, *scores]


def means(pairs: Pairs) -> list[float]:
    overlaps = mean_overlap(pairs, above=None), mean_overlap(pairs, above=0.2)
    return [
        value for overlap in overlaps for value in (overlap.mean, overlap.std) if value is not None
    ]


# A: (0, 0, 10, 10). Beside it B overlaps by 90/110, C by 10/190, and D is apart.
A, B, C, D = (0, 0, 10, 10), (1, 0, 11, 10), (9, 0, 19, 10), (50, 50, 60, 60)


def test_every_pair_of_one_kind_counts_and_a_threshold_drops_the_far_ones() -> None:
    pairs = paired([(A, 0), (A, 1)], [(B, 0), (C, 0), (D, 0)])
    all_pairs, close_pairs = mean_overlap(pairs, above=None), mean_overlap(pairs, above=0.2)
    expected = np.array([90 / 110, 10 / 190, 0])
    assert all_pairs.num_pairs == 3
    assert all_pairs.mean == pytest.approx(expected.mean())
    assert all_pairs.std == pytest.approx(np.sqrt(((expected - expected.mean()) ** 2).sum() / 3))
    assert (close_pairs.mean, close_pairs.std, close_pairs.num_pairs) == (
        pytest.approx(90 / 110),
        0.0,
        1,
    )


def test_an_overlap_equal_to_the_threshold_is_no_pair_but_a_match() -> None:
    pairs = paired([((0, 0, 10, 10), 0)], [((0, 0, 10, 5), 0)])
    assert mean_overlap(pairs, above=0.5).num_pairs == 0
    assert f1_at(pairs, 0.5) == 1.0


def test_the_greatest_overlap_is_matched_first() -> None:
    # B is nearest to B, so A is left with C, which is too far.
    assert f1_at(paired([(A, 0), (B, 0)], [(B, 0), (C, 0)]), 0.4) == pytest.approx(2 / 4)


def test_a_tie_is_broken_by_the_boxes_not_by_their_rows_or_sides() -> None:
    # A chain, each overlapping the next by a third: matched from its end two pairs are found, from
    # its middle one.
    chain = [((x, 0, x + 10, 10), 0) for x in (0, 5, 10, 15)]
    scores = {
        f1_at(paired(list(first), list(second)), 0.3)
        for sides in ((chain[::2], chain[1::2]), (chain[1::2], chain[::2]))
        for first in permutations(sides[0])
        for second in permutations(sides[1])
    }
    assert scores == {1.0}


def test_nothing_drawn_has_no_mean_and_no_score() -> None:
    pairs = paired([], [])
    assert mean_overlap(pairs, above=None).mean is None
    assert mean_overlap(pairs, above=None).std is None
    assert f1_at(pairs, 0.4) is None


@settings(max_examples=150, deadline=None)
@given(SIDE, SIDE)
def test_both_sides_see_the_same_agreement(first: Side, second: Side) -> None:
    forward, backward = paired(first, second), paired(second, first)
    assert numbers(forward) == numbers(backward)
    assert means(forward) == pytest.approx(means(backward))


@settings(max_examples=150, deadline=None)
@given(SIDE, SIDE, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(first: Side, second: Side, random: object) -> None:
    shuffled = [random.sample(side, len(side)) for side in (first, second)]  # type: ignore[attr-defined]
    assert numbers(paired(*shuffled)) == numbers(paired(first, second))
    assert means(paired(*shuffled)) == pytest.approx(means(paired(first, second)))


@settings(max_examples=150, deadline=None)
@given(SIDE, SIDE)
def test_pairs_are_those_of_a_plain_double_loop(first: Side, second: Side) -> None:
    slow = [
        (float(iou_matrix(np.array([a], float), np.array([b], float))[0, 0]), i, j)
        for i, (a, kind_a) in enumerate(first)
        for j, (b, kind_b) in enumerate(second)
        if kind_a == kind_b
    ]
    pairs = paired(first, second)
    assert sorted(zip(pairs.first, pairs.second, strict=True)) == sorted(s[1:] for s in slow)
    assert list(pairs.iou) == pytest.approx(sorted((s[0] for s in slow), reverse=True))
    iou_of = dict(zip(zip(pairs.first, pairs.second, strict=True), pairs.iou, strict=True))
    assert all(iou_of[i, j] == pytest.approx(iou) for iou, i, j in slow)
