"""Fits equal SciPy's, intervals hold made curves, and where nothing can be told that is said."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq, curve_fit
from scipy.stats import norm

from cxrssl.metrics.annotations import Floats
from cxrssl.metrics.curve_families import Families, PowerLaw, fit_power_law, whitening
from cxrssl.metrics.label_curves import Scored, labels_needed
from cxrssl.metrics.target import (
    FARTHEST,
    Extrapolation,
    extrapolation_of,
    labels_for_target,
)

SHARES = (0.0625, 0.125, 0.25, 0.5, 1.0)
INF = math.inf


def made(
    means: Floats, *, seeds: int = 3, images: float = 0.01, spread: float = 0.005, start: int = 0
) -> dict[float, Scored]:
    """Return scores of seeds on draws, by share: the last shares of SHARES if there are fewer."""
    rng = np.random.default_rng(start)
    num = len(means)
    values = means[:, None] + rng.normal(0, spread, (num, seeds))
    draws = values[..., None] + rng.normal(0, images, 100) + rng.normal(0, 0.002, (num, seeds, 100))
    return {
        share: Scored(value, drawn)
        for share, value, drawn in zip(SHARES[-num:], values, draws, strict=True)
    }


def law(n: Floats, level: float, scale: float, exponent: float) -> Floats:
    return level - scale * np.asarray(n) ** -exponent


def test_a_fit_is_that_of_scipy_with_the_same_covariance() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        level, scale, exponent = rng.uniform(0.5, 0.9), rng.uniform(0.1, 0.4), rng.uniform(0.3, 0.9)
        root = rng.normal(0, 0.004, (5, 5))
        covariance = root @ root.T + 0.002**2 * np.eye(5)
        means = law(np.array(SHARES), level, scale * 0.4, exponent)
        means = means + rng.multivariate_normal(np.zeros(5), covariance)
        found = fit_power_law(SHARES, means, whitening(covariance))
        theirs, _ = curve_fit(
            *(law, np.array(SHARES), means),
            p0=(level, scale * 0.4, exponent),
            sigma=covariance,
            absolute_sigma=True,
            bounds=((-1, 0, 0.03), (1, 50, 4)),
            max_nfev=20_000,
        )

        def chi_square(numbers: Floats, means: Floats = means, white: Floats = covariance) -> float:
            residuals = means - law(np.array(SHARES), *numbers)
            return float(residuals @ np.linalg.solve(white, residuals))

        ours = np.array([found.level, found.scale, found.exponent])
        assert chi_square(ours) <= chi_square(theirs) + 1e-4
        if chi_square(theirs) <= chi_square(ours) + 1e-4:  # SciPy stops early now and then
            assert found(np.array(SHARES)) == pytest.approx(
                law(np.array(SHARES), *theirs), abs=1e-3
            )


def test_a_power_law_is_found_exactly_where_there_is_no_noise() -> None:
    means = law(np.array(SHARES), 0.6, 0.1, 0.5)
    found = fit_power_law(SHARES, means, np.eye(5))
    assert (found.level, found.scale, found.exponent) == pytest.approx((0.6, 0.1, 0.5), abs=1e-4)
    assert found.reaching(0.55) == pytest.approx(4.0, rel=1e-3)  # 0.1 / sqrt(4) = 0.05
    assert found.reaching(0.61) == INF


def test_a_level_is_at_most_1_and_a_curve_never_falls() -> None:
    means = np.array([0.05, 0.1, 0.2, 0.4, 0.8])  # doubles with every doubling
    assert fit_power_law(SHARES, means, np.eye(5)).level <= 1
    found = fit_power_law(SHARES, means[::-1].copy(), np.eye(5))
    assert found.scale == 0
    assert found.level == pytest.approx(means.mean())
    assert found.reaching(0.9) == INF


def test_a_law_that_does_not_rise_reaches_what_it_has_at_once() -> None:
    assert PowerLaw(0.5, 0.0, 1.0).reaching(0.4) == 0
    assert PowerLaw(0.5, 0.0, 1.0).reaching(0.5) == 0


def test_the_chi_square_through_a_point_is_that_of_a_fit_that_is_held_there() -> None:
    """Against a search over all power laws through (n, y) by SciPy, none of which may be better."""
    means = np.array([0.21, 0.30, 0.36, 0.42, 0.45])
    white = whitening(0.01**2 * np.eye(5))
    families = Families(SHARES, means, white)
    at, score = 2.0, 0.49
    ours = families.chi_square_through(np.array([at]), np.array(score), most=20)[0]

    def through(n: Floats, scale: float, exponent: float) -> Floats:
        return score + scale * (at**-exponent - np.asarray(n) ** -exponent)

    (scale, exponent), _ = curve_fit(through, np.array(SHARES), means, p0=(0.2, 0.3))
    theirs = float((((means - through(np.array(SHARES), scale, exponent)) / 0.01) ** 2).sum())
    assert ours <= theirs + 0.1  # the exponents are on a grid
    assert ours >= families.chi_square
    # Far off, no curve is near.
    far = families.chi_square_through(np.array([at]), np.array(0.9), most=INF)[0]
    assert far > families.chi_square + 100
    assert families.chi_square_through(np.array([at]), np.array(0.9), most=50)[0] > 50


def test_every_family_is_followed_within_a_thousandth_or_two() -> None:
    n = np.array(SHARES)
    curves = {
        "power": 0.7 - 0.2 * n**-0.3,
        "hill": 0.7 / (1 + (0.5 / n) ** 1.0),
        "weibull": 0.5 * (1 - np.exp(-((n / 0.5) ** 0.8))),
        "logarithm": 0.3 + 0.04 * np.log2(n),
    }
    for name, means in curves.items():
        assert Families(SHARES, means, np.eye(5) / 0.002).chi_square < 5, name
    hill = curves["hill"]
    assert np.abs(fit_power_law(SHARES, hill, np.eye(5))(n) - hill).max() > 0.01


def test_within_the_curve_the_answer_is_that_of_labels_needed() -> None:
    curve = made(law(np.array(SHARES), 0.6, 0.1, 0.5))
    found = labels_for_target(0.42, curve)
    constant = Scored(np.full(3, 0.42), np.full((3, 100), 0.42))
    needed = labels_needed(constant, curve)
    assert found.fraction == needed.share
    assert found.low <= needed.low
    assert found.high >= needed.high
    assert found.refusal is None


def test_an_exact_power_law_is_carried_on_exactly() -> None:
    still = {s: Scored(np.full(2, v), np.full((2, 50), v)) for s, v in _exact().items()}
    found = labels_for_target(0.55, still)
    assert found.fraction == pytest.approx(4.0, rel=1e-2)
    assert found.low < 4 < found.high
    assert found.level == pytest.approx(0.6, abs=2e-3)


def _exact() -> dict[float, float]:
    means = law(np.array(SHARES), 0.6, 0.1, 0.5)
    return dict(zip(SHARES, means.tolist(), strict=True))


@pytest.mark.parametrize(("kind", "true"), [("power", 1.5), ("logarithm", 4.0), ("hill", 4.0)])
def test_intervals_hold_the_truth_whatever_the_family(kind: str, true: float) -> None:
    """At a rate of 95 %, 30 experiments have at least 26 that hold it in 98 of 100 cases."""
    curves = {
        "power": lambda n: 0.6 - 0.15 * n**-0.4,
        "logarithm": lambda n: 0.45 + 0.08 * np.log2(n),
        "hill": lambda n: 0.7 / (1 + (0.8 / n) ** 0.9),
    }
    curve, held = curves[kind], 0
    for start in range(30):
        scores = made(curve(np.array(SHARES)), start=start)
        # The images of this test set are not the average ones.
        move = np.random.default_rng(1000 + start).normal(0, 0.01)
        moved = {s: Scored(p.values + move, p.replicates + move) for s, p in scores.items()}
        found = labels_for_target(float(curve(np.array(true))), moved)
        held += found.low <= true <= found.high
    assert held >= 26


def test_a_curve_that_levels_off_below_the_target_is_never_said_to_reach_it() -> None:
    means = np.array([0.30, 0.44, 0.45, 0.45, 0.45])
    found = labels_for_target(0.7, made(means, spread=0.002, images=0.004))
    assert found.fraction == INF
    assert found.high == INF
    assert found.low == INF  # not even that many
    assert found.level == pytest.approx(0.45, abs=0.01)


def test_a_power_law_that_the_scores_refute_gives_no_number() -> None:
    """It fits best with a level above the target, and the curve was level long before."""
    means = 0.45 * (1 - np.exp(-8 * np.array(SHARES)))
    law_alone = fit_power_law(SHARES, means, np.eye(5))
    assert law_alone.reaching(0.495) < FARTHEST
    found = labels_for_target(0.495, made(means, images=0.004, spread=0.002))
    assert found.fraction == found.low == found.high == INF


def test_farther_than_ten_times_nothing_is_said() -> None:
    means = 0.3 + 0.02 * np.log2(SHARES)
    found = labels_for_target(0.45, made(means, spread=0.002, images=0.004))
    assert found.fraction == found.low == found.high == INF
    assert found.farthest == FARTHEST


def test_two_shares_are_not_extrapolated_from() -> None:
    curve = made(np.array([0.3, 0.4]))
    found = labels_for_target(0.6, curve)
    assert (found.fraction, found.high, found.farthest) == (INF, INF, 1.0)
    assert found.refusal == "too few shares"
    assert found.level is None
    within = labels_for_target(0.35, made(np.array([0.1, 0.6]), images=0.001))
    assert 0.5 < within.low < within.fraction < within.high < 1
    assert within.refusal is None


def test_a_curve_that_no_family_follows_is_not_extrapolated() -> None:
    means = np.array([0.5, 0.1, 0.5, 0.1, 0.2])
    found = labels_for_target(0.8, made(means, spread=0.001, images=0.001))
    assert found.refusal == "no curve fits"
    assert found.fraction == INF


def test_scores_that_cannot_be_computed_give_no_number() -> None:
    nan = Scored(np.full(2, np.nan), np.full((2, 50), np.nan))
    curve = made(np.array([0.2, 0.3, 0.4]), seeds=2) | {0.0625: nan}
    curve = {s: Scored(p.values, p.replicates[:, :50]) for s, p in curve.items()}
    found = labels_for_target(0.5, curve)
    assert math.isnan(found.fraction)
    assert found.refusal == "no interval"


def test_a_target_below_the_curve_is_reached_before_it() -> None:
    found = labels_for_target(0.05, made(law(np.array(SHARES), 0.6, 0.1, 0.5)))
    assert (found.fraction, found.low, found.high) == (0, 0, 0)


def test_a_curve_without_points_is_an_error() -> None:
    with pytest.raises(ValueError, match="label shares"):
        labels_for_target(0.5, {})


def test_the_band_and_the_interval_are_one_thing() -> None:
    curve = made(law(np.array(SHARES), 0.6, 0.1, 0.5), images=0.002, spread=0.001)
    beyond = extrapolation_of(curve)
    assert isinstance(beyond, Extrapolation)
    held = beyond.holding(0.515)
    assert held is not None
    low, high = held
    assert 1 < low < high < 10
    lows, highs = beyond.band(np.array([0.9 * low, 1.1 * low, 0.9 * high, 1.1 * high]))
    inside = (lows <= 0.515) & (highs >= 0.515)
    assert inside.tolist() == [False, True, True, False]
    center = beyond.law(np.array([2.0, 5.0]))
    lows, highs = beyond.band(np.array([2.0, 5.0]))
    assert (lows <= center).all()
    assert (highs >= center).all()


def test_one_point_that_is_measured_without_doubt_has_the_normal_interval() -> None:
    """With a known covariance and as many points as numbers, a measured point's band is its own."""
    covariance = np.diag([0.01, 0.01, 0.02]) ** 2
    found = Extrapolation((0.25, 0.5, 1.0), np.array([0.2, 0.3, 0.36]), covariance, INF)
    lows, highs = found.band(np.array([1.0]))
    half = norm.ppf(0.975) * 0.02
    assert (lows[0], highs[0]) == pytest.approx((0.36 - half, 0.36 + half), abs=0.006)


def test_more_noise_makes_intervals_wider() -> None:
    means = law(np.array(SHARES), 0.6, 0.1, 0.5)

    def low_of(images: float) -> float:
        return labels_for_target(0.53, made(means, images=images, spread=0.001)).low

    assert low_of(0.002) > low_of(0.01) > low_of(0.04)


def test_the_crossing_of_a_fit_is_where_it_has_the_score() -> None:
    found = PowerLaw(0.9, 0.3, 0.2)
    root = brentq(lambda n: float(found(np.array(n))) - 0.75, 1, 1000)
    assert found.reaching(0.75) == pytest.approx(root)
