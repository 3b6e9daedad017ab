"""Means, differences and labels needed: by hand, by simulation, and where nothing is known."""

from collections.abc import Callable, Sequence
from itertools import pairwise, permutations

import numpy as np
import pytest
from scipy import stats

from cxrssl.metrics.annotations import Floats
from cxrssl.metrics.bootstrap import interval
from cxrssl.metrics.label_curves import (
    Estimate,
    LabelsNeeded,
    Scored,
    difference_of,
    labels_needed,
    mean_difference_of,
    mean_of,
)

FRACTIONS = (0.125, 0.25, 0.5, 1.0)
STILL = np.zeros(40)
INF = float("inf")


def scored(values: Sequence[float], moves: Floats = STILL) -> Scored:
    """Return seeds that the draws of the images move alike."""
    column = np.array(values, float)
    return Scored(column, column[:, None] + moves)


def moving(deviation: float, draws: int = 40) -> Floats:
    """Return draws whose standard deviation is exactly this."""
    raw = np.random.default_rng(7).normal(size=draws)
    return deviation * (raw - raw.mean()) / raw.std(ddof=1)


def curve_of(*means: float, moves: Floats = STILL, seeds: int = 2) -> dict[float, Scored]:
    return {
        fraction: scored([mean] * seeds, moves)
        for fraction, mean in zip(FRACTIONS, means, strict=True)
    }


def ends(needed: LabelsNeeded) -> tuple[float, float, float]:
    return needed.share, needed.low, needed.high


# --- means and differences


def test_an_interval_is_that_of_welch_and_satterthwaite_by_hand() -> None:
    estimate = mean_of(scored([0.30, 0.34, 0.38], moving(0.03)))
    images, seeds = 0.03**2, 0.04**2 / 3
    freedom = (images + seeds) ** 2 / (seeds**2 / 2)
    half = stats.t(freedom).ppf(0.975) * np.sqrt(images + seeds)
    assert estimate.value == pytest.approx(0.34)
    assert (estimate.low, estimate.high) == pytest.approx((0.34 - half, 0.34 + half))
    assert estimate.p is None


def test_seeds_alone_give_the_interval_and_p_of_a_t_test() -> None:
    first, second = np.array([0.31, 0.35, 0.36, 0.30]), np.array([0.30, 0.31, 0.33, 0.31])
    estimate = difference_of(scored(first), scored(second))
    reference = stats.ttest_rel(first, second)
    assert estimate.p == pytest.approx(reference.pvalue)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(reference.confidence_interval()))


def test_one_seed_has_the_interval_of_the_images_alone() -> None:
    run = Scored(np.array([0.5]), 0.5 + moving(0.1)[None])
    estimate, images = mean_of(run), interval(0.5, run.replicates[0])
    assert (estimate.low, estimate.high) == pytest.approx((images.low, images.high))
    gap = difference_of(run, scored([0.3]))
    assert gap.p == pytest.approx(2 * stats.norm.sf(0.2 / 0.1))


def test_what_images_and_seeds_do_to_both_sides_falls_away() -> None:
    easy = np.array([0.0, 0.2, -0.1])
    first, second = scored(0.5 + easy, moving(0.2)), scored(0.4 + easy, moving(0.2))
    estimate = difference_of(first, second)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.1, 0.1, 0.1))
    assert estimate.p == pytest.approx(0, abs=1e-12)


def test_a_mean_stays_within_what_a_score_can_be() -> None:
    estimate = mean_of(scored([0.4, 0.6], moving(0.4)))
    assert (estimate.low, estimate.high) == (0, 1)


@pytest.mark.parametrize("seeds", [1, 3])
def test_identical_runs_differ_by_nothing_and_p_is_one(seeds: int) -> None:
    run = scored([0.1 + 0.2, 0.7, 0.1][:seeds], moving(0.1))
    assert difference_of(run, run) == Estimate(0, 0, 0, 1)


def test_runs_that_differ_by_rounding_alone_differ_by_nothing() -> None:
    gap = difference_of(scored([0.1 + 0.2, 0.3]), scored([0.3, 0.3]))
    assert gap.p == 1
    assert gap.value == 0
    assert gap.low is not None
    assert gap.high is not None
    assert gap.low <= 0 <= gap.high


def test_seeds_are_averaged_over_shares_before_they_are_compared() -> None:
    # What a seed gains at one share it loses at the other: nothing is left to be unsure of.
    pairs = [(scored([0.5, 0.3]), scored([0.2, 0.2])), (scored([0.3, 0.5]), scored([0.2, 0.2]))]
    estimate = mean_difference_of(pairs)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.2, 0.2, 0.2))
    first_pair = difference_of(*pairs[0])
    assert first_pair.low is not None
    assert first_pair.low < -1


def test_draws_are_averaged_over_shares_too() -> None:
    moves = moving(0.1)
    pairs = [(scored([0.5], moves), scored([0.2])), (scored([0.5], -moves), scored([0.4]))]
    assert mean_difference_of(pairs).low == pytest.approx(0.2)


@pytest.mark.parametrize(("missing", "has_interval"), [(2, True), (3, False)])
def test_an_interval_needs_95_of_100_draws(missing: int, has_interval: bool) -> None:
    run = scored([0.5, 0.6], moving(0.1))
    run.replicates[0, :missing] = np.nan
    for estimate in (mean_of(run), difference_of(run, scored([0.1, 0.1]))):
        assert (estimate.low is not None) == (estimate.high is not None) == has_interval
    assert (difference_of(run, scored([0.1, 0.1])).p is not None) == has_interval


def test_a_score_that_cannot_be_computed_has_no_interval() -> None:
    estimate = mean_of(scored([0.5, np.nan]))
    assert np.isnan(estimate.value)
    assert (estimate.low, estimate.high, estimate.p) == (None, None, None)


@pytest.mark.parametrize("draws", [0, 1])
def test_too_few_draws_give_no_interval(draws: int) -> None:
    estimate = mean_of(scored([0.5, 0.6], np.zeros(draws)))
    assert (estimate.value, estimate.low, estimate.high) == (0.55, None, None)


def test_what_is_not_of_the_same_seeds_and_draws_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(2,\), \(3, 5\)"):
        Scored(np.zeros(2), np.zeros((3, 5)))
    with pytest.raises(ValueError, match=r"got \(0,\), \(0, 5\)"):
        Scored(np.zeros(0), np.zeros((0, 5)))
    # One seed would otherwise be compared with each of three.
    with pytest.raises(ValueError, match=r"same seeds and draws.*\(1, 40\)"):
        difference_of(scored([0.1]), scored([0.1, 0.2, 0.3]))
    with pytest.raises(ValueError, match="same seeds and draws"):
        mean_difference_of([])


# --- simulations: what is claimed of 100


def holds(estimate: Estimate, truth: float) -> bool:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low <= truth <= estimate.high


def experiments(images: float, correlation: float, seeds: float, *, num: int = 400) -> list[Scored]:
    """Return `num` pairs of runs of 3 seeds whose true score is 0.5, one after another.

    Args:
        images: Standard error by the test images.
        correlation: Correlation of two runs over these, in 0..1.
        seeds: Standard deviation between seeds.
    """
    rng = np.random.default_rng(11)
    runs = []
    for _ in range(num):
        draws = np.sqrt(correlation) * rng.normal(size=151) + np.sqrt(1 - correlation) * rng.normal(
            size=(2, 3, 151)
        )
        values = 0.5 + seeds * rng.normal(size=(2, 3)) + images * draws[..., 0]
        replicates = values[..., None] + images * draws[..., 1:]
        runs += [Scored(values[0], replicates[0]), Scored(values[1], replicates[1])]
    return runs


@pytest.mark.parametrize(
    ("images", "correlation", "seeds", "least", "most"),
    [
        (0.02, 1.0, 0.002, 0.91, 0.985),
        (0.02, 1.0, 0.02, 0.91, 0.985),
        (0.004, 1.0, 0.03, 0.89, 0.98),
    ],
    ids=["images", "both", "seeds"],
)
def test_a_mean_s_interval_holds_the_truth_95_times_of_100(
    images: float, correlation: float, seeds: float, least: float, most: float
) -> None:
    covered = [holds(mean_of(run), 0.5) for run in experiments(images, correlation, seeds)]
    assert len(covered) == 800
    assert least < np.mean(covered) < most


@pytest.mark.parametrize(
    ("images", "correlation", "seeds", "least", "most"),
    [
        (0.02, 0.99, 0.02, 0.91, 0.985),
        (0.02, 0.9, 0.01, 0.92, 0.995),  # images differently for each seed: counted in both parts
        (0.02, 0.9, 0.0, 0.95, 1.0),
    ],
)
def test_equal_starts_are_called_different_5_times_of_100_or_fewer(
    images: float, correlation: float, seeds: float, least: float, most: float
) -> None:
    runs = experiments(images, correlation, seeds)
    estimates = [difference_of(*pair) for pair in zip(runs[::2], runs[1::2], strict=True)]
    covered = np.array([holds(estimate, 0) for estimate in estimates])
    different = np.array([estimate.p is not None and estimate.p < 0.05 for estimate in estimates])
    assert len(covered) == 400
    assert (covered != different).all()
    assert least < covered.mean() <= most


def test_intervals_of_labels_needed_hold_the_truth_and_the_share_is_not_biased() -> None:
    rng, truth = np.random.default_rng(3), np.array([0.2, 0.1, 0.15, 0.2, 0.25])
    covered, errors = [], []
    for _ in range(150):
        draws = 0.02 * np.sqrt(0.9) * rng.normal(size=101)
        draws = draws + 0.02 * np.sqrt(0.1) * rng.normal(size=(5, 3, 101))
        values = truth[:, None] + 0.01 * rng.normal(size=(5, 3)) + draws[..., 0]
        runs = [
            Scored(scores, scores[:, None] + of_draws[:, 1:])
            for scores, of_draws in zip(values, draws, strict=True)
        ]
        needed = labels_needed(runs[0], dict(zip(FRACTIONS, runs[1:], strict=True)))
        covered.append(needed.low <= 0.5 <= needed.high)
        errors.append(np.log2(np.clip(needed.share, 0.125, 1) / 0.5))
    assert np.mean(covered) > 0.89
    assert abs(np.median(errors)) < 0.15
    assert np.std(errors) > 0.05


# --- labels needed


def test_between_two_shares_the_curve_is_straight_in_their_logarithm() -> None:
    needed = labels_needed(scored([0.25, 0.25]), curve_of(0.1, 0.2, 0.3, 0.4))
    assert ends(needed) == pytest.approx((0.25 * 2**0.5,) * 3)
    assert (needed.least, needed.most) == (0.125, 1.0)


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_a_score_of_the_curve_s_own_needs_exactly_its_share(fraction: float) -> None:
    thirds = (1 / 3, 0.1 + 0.3, 0.7 / 1.1, 0.9)
    curve = {x / 3: y for x, y in zip(FRACTIONS, curve_of(*thirds).values(), strict=True)}
    needed = labels_needed(curve[fraction / 3], curve)
    assert needed.share == fraction / 3
    # An interval that leaves the share out by rounding would claim that labels were saved or lost.
    assert needed.low <= fraction / 3 <= needed.high


def test_rounding_does_not_put_a_score_beyond_the_curve() -> None:
    curve = curve_of(0.3, 0.4, 0.5, 0.6)
    assert labels_needed(scored([0.6 + 1e-15] * 2), curve).share == 1
    assert labels_needed(scored([0.3 - 1e-15] * 2), curve).share == 0.125


def test_a_score_above_the_curve_needs_more_than_the_data_can_tell() -> None:
    curve = curve_of(0.1, 0.2, 0.3, 0.4)
    assert ends(labels_needed(scored([0.5, 0.5]), curve)) == (INF, INF, INF)
    unsure = curve_of(0.1, 0.2, 0.3, 0.4, moves=moving(0.03))
    share, low, high = ends(labels_needed(scored([0.45, 0.45]), unsure))
    # 0.45 - 1.96 * 0.03 = 0.3912, which the curve has 0.912 of the way from a half to all labels.
    assert (share, high) == (INF, INF)
    assert low == pytest.approx(0.5 * 2**0.912, rel=1e-3)


def test_a_score_below_the_curve_needs_less_than_its_least_share() -> None:
    curve = curve_of(0.1, 0.2, 0.3, 0.4)
    assert ends(labels_needed(scored([0.05, 0.05]), curve)) == (0, 0, 0)
    unsure = curve_of(0.1, 0.2, 0.3, 0.4, moves=moving(0.03))
    share, low, high = ends(labels_needed(scored([0.05, 0.05]), unsure))
    assert (share, low) == (0, 0)
    assert high == pytest.approx(0.125 * 2**0.088, rel=1e-3)


def test_means_that_fall_by_chance_are_pooled_first() -> None:
    # 0.35 and 0.25 become 0.3 twice; 0.2 is half-way from the first point there.
    curve = curve_of(0.1, 0.35, 0.25, 0.5)
    assert labels_needed(scored([0.2, 0.2]), curve).share == pytest.approx(0.125 * 2**0.5)
    share, low, high = ends(labels_needed(scored([0.3, 0.3]), curve))
    assert share == 0.25
    # The means themselves cross 0.3 at 0.8 of the first step, and at last at 0.2 of the third.
    assert low == pytest.approx(0.125 * 2**0.8)
    assert high == pytest.approx(0.5 * 2**0.2)


def test_an_interval_holds_its_own_share_where_the_fit_reaches_the_score_earlier() -> None:
    # The means reach 0.25 at 3/4 of the second step, the fit (0.15, 0.15, 0.3) at 2/3.
    needed = labels_needed(scored([0.25, 0.25]), curve_of(0.2, 0.1, 0.3, 0.4))
    assert ends(needed) == pytest.approx((0.25 * 2 ** (2 / 3),) * 2 + (0.25 * 2**0.75,))


def test_a_plateau_needs_the_first_share_that_reaches_it_and_the_interval_holds_it_all() -> None:
    curve = curve_of(0.1, 0.3, 0.3, 0.3)
    assert ends(labels_needed(scored([0.3, 0.3]), curve)) == (0.25, 0.25, INF)
    inner = curve_of(0.1, 0.3, 0.3, 0.5)
    assert ends(labels_needed(scored([0.3, 0.3]), inner)) == (0.25, 0.25, 0.5)
    outer = curve_of(0.3, 0.3, 0.4, 0.5)
    assert ends(labels_needed(scored([0.3, 0.3]), outer)) == (0.125, 0, 0.25)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.1, (0, 0, 0)), (0.3, (0.25, 0, INF)), (0.5, (INF, INF, INF))],
)
def test_a_curve_of_one_share_tells_the_side(
    value: float, expected: tuple[float, float, float]
) -> None:
    needed = labels_needed(scored([value]), {0.25: scored([0.3])})
    assert ends(needed) == expected
    assert (needed.least, needed.most) == (0.25, 0.25)


def test_an_interval_ends_where_the_difference_begins_to_be_one() -> None:
    rng = np.random.default_rng(2)

    def noisy(mean: float) -> Scored:
        return Scored(mean + rng.normal(0, 0.004, 3), mean + rng.normal(0, 0.01, (3, 300)))

    score, curve = noisy(0.3), {x: noisy(0.1 * k) for k, x in enumerate(FRACTIONS, 1)}
    needed = labels_needed(score, curve)
    for end, side in ((needed.low, "low"), (needed.high, "high")):
        position = np.log2(end / FRACTIONS[0])
        before = int(position)
        left, right = curve[FRACTIONS[before]], curve[FRACTIONS[before + 1]]
        weight = position - before
        between = Scored(
            left.values * (1 - weight) + right.values * weight,
            left.replicates * (1 - weight) + right.replicates * weight,
        )
        assert getattr(difference_of(score, between), side) == pytest.approx(0, abs=1e-4)
    assert FRACTIONS[0] < needed.low < needed.share < needed.high < FRACTIONS[-1]


def test_an_interval_above_the_own_share_is_a_difference_at_that_share() -> None:
    rng, outcomes = np.random.default_rng(4), set()
    for _ in range(60):
        common = rng.normal(0, 0.02, 60)
        runs = [
            scored(mean + rng.normal(0, 0.01, 3), common + rng.normal(0, 0.005, (3, 60)))
            for mean in (0.24, 0.1, 0.2, 0.3, 0.4)
        ]
        needed = labels_needed(runs[0], dict(zip(FRACTIONS, runs[1:], strict=True)))
        gap = difference_of(runs[0], runs[2])
        if needed.low > 0.25:
            assert gap.low is not None
            assert gap.low > 0
        outcomes.add(needed.low > 0.25)
    assert outcomes == {True, False}


@pytest.mark.parametrize("spoil", ["score", "curve"])
def test_a_score_that_cannot_be_computed_leaves_all_open(spoil: str) -> None:
    score, curve = scored([0.25, 0.25]), curve_of(0.1, 0.2, 0.3, 0.4)
    (score if spoil == "score" else curve[1.0]).values[0] = np.nan
    share, low, high = ends(labels_needed(score, curve))
    assert np.isnan(share)
    assert high == INF
    assert low == (0 if spoil == "score" else pytest.approx(0.25 * 2**0.5))


def test_draws_without_a_value_leave_both_ends_open() -> None:
    score = scored([0.25, 0.25])
    score.replicates[0, :10] = np.nan
    interval_ends = ends(labels_needed(score, curve_of(0.1, 0.2, 0.3, 0.4)))
    assert interval_ends == (pytest.approx(0.25 * 2**0.5), 0, INF)


def test_labels_needed_is_the_same_again_and_in_any_order() -> None:
    score = scored([0.25, 0.28], moving(0.01))
    curve = curve_of(0.1, 0.2, 0.3, 0.4, moves=moving(0.02)[::-1])
    results = {
        labels_needed(score, {fraction: curve[fraction] for fraction in order})
        for order in permutations(FRACTIONS)
    }
    assert len(results) == 1
    assert curve == dict(sorted(curve.items()))


def test_more_spread_never_makes_the_interval_narrower() -> None:
    intervals = []
    for deviation in (0.0, 0.01, 0.03, 0.1, 0.3):
        moves = moving(deviation)
        needed = labels_needed(scored([0.27, 0.27], moves), curve_of(0.1, 0.2, 0.3, 0.4))
        assert needed.share == pytest.approx(0.25 * 2**0.7)
        intervals.append((needed.low, needed.high))
    for (low, high), (lower, higher) in pairwise(intervals):
        assert lower <= low <= high <= higher
    assert intervals[-1] == (0, INF)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (dict, r"shares above 0, got \[\]"),
        (lambda: {0.0: scored([0.1]), 1.0: scored([0.2])}, r"shares above 0, got \[0.0, 1.0\]"),
        (lambda: {0.5: scored([0.1, 0.2])}, "same seeds and draws"),
    ],
)
def test_a_curve_that_cannot_be_read_is_refused(
    curve: Callable[[], dict[float, Scored]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        labels_needed(scored([0.15]), curve())
