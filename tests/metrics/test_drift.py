"""Tests of a split: against counting every case by hand, and fair where the split is."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrssl.metrics.drift import fisher_p, holm_adjusted, permutation_p

VALUES = st.lists(st.integers(0, 6), min_size=1, max_size=6)


def p_of_all_permutations(first: list[int], second: list[int]) -> float:
    """Deal the members in every possible way."""
    members = [*first, *second]
    observed = abs(np.mean(first) - np.mean(second))
    gaps = []
    for chosen in combinations(range(len(members)), len(second)):
        others = [members[k] for k in range(len(members)) if k not in chosen]
        gaps.append(abs(np.mean([members[k] for k in chosen]) - np.mean(others)))
    return float(np.mean(np.array(gaps) >= observed - 1e-9))


@settings(max_examples=40, deadline=None)
@given(VALUES, VALUES)
def test_random_deals_come_near_all_deals(first: list[int], second: list[int]) -> None:
    p = permutation_p(np.array(first), np.array(second), seed=0)
    assert p == pytest.approx(p_of_all_permutations(first, second), abs=0.03)


def test_fractions_are_dealt_like_counts() -> None:
    first, second = np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.3, 0.4, 0.7])
    tenfold = permutation_p(first * 10, second * 10, seed=0)
    assert permutation_p(first, second, seed=0) == pytest.approx(tenfold)
    assert tenfold == pytest.approx(p_of_all_permutations([1, 2, 3], [2, 3, 4, 7]), abs=0.03)


def test_the_p_value_is_never_zero_and_tells_how_many_deals_were_made() -> None:
    first, second = np.zeros(200), np.ones(200)
    assert permutation_p(first, second, seed=0, num_permutations=99) == pytest.approx(0.01)


def test_equal_values_show_no_drift() -> None:
    assert permutation_p(np.full(5, 3.0), np.full(7, 3.0), seed=0) == 1.0


def test_one_seed_gives_one_p_value() -> None:
    first, second = np.arange(20), np.arange(3, 18)
    p_values = {permutation_p(first, second, seed=seed, num_permutations=500) for seed in (1, 1, 2)}
    assert len(p_values) == 2


def test_a_fair_split_is_called_unfair_one_time_in_twenty() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        drawn = generator.poisson(4, size=60)
        p = permutation_p(drawn[:40], drawn[40:], seed=0, num_permutations=400)
        assert p is not None
        hits += p <= 0.05
    # 20 expected, with a standard deviation of 4.4.
    assert 7 <= hits <= 33


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (0, 0)])
def test_an_empty_part_has_no_p_value(sizes: tuple[int, int]) -> None:
    assert permutation_p(np.zeros(sizes[0]), np.zeros(sizes[1]), seed=0) is None
    assert fisher_p(hits=(0, 0), sizes=sizes) is None


def test_the_lady_tasting_tea() -> None:
    # Source: Fisher 1935; three of four cups right: 34/70 on both sides.
    assert fisher_p(hits=(3, 1), sizes=(4, 4)) == pytest.approx(34 / 70)
    assert fisher_p(hits=(4, 0), sizes=(4, 4)) == pytest.approx(2 / 70)


def test_holm_multiplies_the_smallest_most_and_keeps_order_and_gaps() -> None:
    # 0.01 x 3, 0.02 x 2, and 0.03 x 1, which may not fall below the one before.
    adjusted = holm_adjusted([0.03, None, 0.01, 0.02])
    assert adjusted == [pytest.approx(0.04), None, pytest.approx(0.03), pytest.approx(0.04)]


def test_holm_stays_a_probability() -> None:
    assert holm_adjusted([0.6, 0.9]) == [1.0, 1.0]
    assert holm_adjusted([]) == []
