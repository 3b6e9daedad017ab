"""Scores over seeds and label fractions: means, differences, and how many labels were saved.

Each run has a score on one test set and on draws of its images. The draws are the same for all
runs, and the seeds are shared: seed s of two treatments sees the same labelled images. So a
difference is taken seed by seed and draw by draw, and what both sides have in common falls away.

An interval is about other test images of the same kind and other seeds, both at once. The variance
of a mean over S seeds is that of the draws plus, over S, that of the seeds:

    V = var over draws of the mean over seeds + (var over seeds of the scores) / S

The half width is the root of V times a quantile of t with Satterthwaite's degrees of freedom:
infinitely many for the draws and S - 1 for the seeds, so (S - 1) (V / seeds' part)^2 of the sum.
How seeds take these images differently is in both parts, and is not taken out of one: intervals are
too wide where it is most of V, as it can be in differences. With one seed there is no second part:
the interval is about the images alone, and must be shown with that remark.

Of 100 simulated experiments with 3 seeds, intervals hold the truth 92 to 99 times, least where
seeds are nearly all of V, and p is below 0.05 in 1 to 7 where nothing differs. With 2 seeds that
are nearly all of V, intervals are too narrow: 88 times. Shapes: S seeds, R draws.

Sources: Satterthwaite 1946, "An approximate distribution of estimates of variance components";
Efron and Tibshirani 1993, chapters 6 (standard errors) and 12 (standard intervals); Fieller 1954,
"Some problems in interval estimation", for an interval of what is not found different.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression  # type: ignore[import-untyped]
from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]

from cxrssl.metrics.annotations import Floats, Integers

_LEAST_FRACTION = 0.95
"""Fraction of the draws that must have a score for its interval to be given, as in `bootstrap`."""
_ROUNDING = 1e-12
"""Scores that differ by less are the same."""
_STEPS_BETWEEN = 16
"""Positions tested between two label fractions; between these the ends are interpolated."""


@dataclass(frozen=True)
class Scored:
    """Scores of one treatment at one label fraction.

    Attributes:
        values: [S] score of each seed's run; nan is one that can't be computed.
        replicates: [S, R] score on each draw of the images; nan for one that can't be computed.
            Where each seed has test images of its own, `values` repeated: what other images change
            is then part of what other seeds do.
    """

    values: Floats
    replicates: Floats

    def __post_init__(self) -> None:
        """Raise a `ValueError` if there is no seed, or the replicates are of other seeds."""
        values, replicates = self.values.shape, self.replicates.shape
        if len(values) != 1 or len(replicates) != 2 or values != replicates[:1] or not values[0]:
            raise ValueError(f"expected values [S], replicates [S, R]; got {values}, {replicates}")


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        value: nan if it can't be computed.
        low: Lower end of the 95 % interval; None where the value or more than 5 % of the draws
            can't be computed.
        high: Upper end of the 95 % interval, or None.
        p: Two-sided p-value that it is 0; None where there is no interval, and for a mean that is
            not a difference.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class LabelsNeeded:
    """The fraction of the labels at which a curve reaches a score.

    Attributes:
        share: Within `least` and `most`; 0 for fewer than `least`, inf for more than `most`, which
            is more than the data can tell, and nan where a score can't be computed.
        low: Lower end of the 95 % interval; 0 and inf as for `share`.
        high: Upper end of the 95 % interval; 0 and inf as for `share`.
        least: Smallest label fraction of the curve.
        most: Largest label fraction of the curve.
    """

    share: float
    low: float
    high: float
    least: float
    most: float


def mean_of(scored: Scored) -> Estimate:
    """Return the mean over seeds with its interval, within 0 and 1."""
    estimate = _estimate(scored.values, scored.replicates)
    if estimate.low is None or estimate.high is None:
        return Estimate(estimate.value, None, None, None)
    return Estimate(estimate.value, max(0.0, estimate.low), min(1.0, estimate.high), None)


def difference_of(first: Scored, second: Scored) -> Estimate:
    """Return how much greater the first is on average, seed by seed and draw by draw.

    Raises:
        ValueError: If they have not as many seeds and draws.
    """
    return mean_difference_of([(first, second)])


def mean_difference_of(pairs: Sequence[tuple[Scored, Scored]]) -> Estimate:
    """Return how much greater the firsts are on average over the pairs, such as label fractions.

    A seed's differences are averaged over the pairs before seeds are compared, because pairs that
    share a seed also share what is particular about it.

    Args:
        pairs: One or more, all of the same seeds on the same draws.

    Raises:
        ValueError: If there is none, or they have not as many seeds and draws.
    """
    shapes = {scored.replicates.shape for pair in pairs for scored in pair}
    if len(shapes) != 1:
        raise ValueError(f"pairs must have the same seeds and draws, got [S, R] of {shapes}")
    return _estimate(
        np.mean([first.values - second.values for first, second in pairs], axis=0),
        np.mean([first.replicates - second.replicates for first, second in pairs], axis=0),
    )


def labels_needed(score: Scored, curve: Mapping[float, Scored]) -> LabelsNeeded:
    """Return the fraction of the labels at which a curve reaches a score, with its interval.

    The fraction: means over seeds, which fall by chance alone, are fitted by the nearest curve that
    never falls (isotonic regression), straight in the logarithm of the fraction between its points,
    as learning curves nearly are. Where the fit is flat at the score, the fraction is the first
    that reaches it: that many labels are enough, and no plateau makes more of what was saved.

    The interval: from the first to the last fraction at which the curve, without the fit, is not
    different from the score (`difference_of`), so it holds a plateau. It is open where the curve's
    end is not different. If it excludes the score's own fraction, p < 0.05 for the difference.

    In benchmarks/labels_saved.py, 3 seeds, it held the truth 95 to 97 times of 100, quantiles of a
    bootstrap of images and seeds 81 to 99 times; where nothing was saved it excluded that fraction
    4 to 5 times. The fraction was 0.04 doublings too great at most. With one seed 21 to 83 held.

    Args:
        score: [S] seeds on [R] draws.
        curve: By fraction of the labels, > 0, in any order: the same seeds on the same draws. The
            interval is open where there is no interval of the difference.

    Raises:
        ValueError: If the curve is empty, or seeds and draws are not as many.
    """
    fractions = sorted(curve)
    if not fractions or fractions[0] <= 0:
        raise ValueError(f"a curve must have label shares above 0, got {fractions}")
    points = [curve[fraction] for fraction in fractions]
    means = np.array([point.values.mean() for point in points])
    position = _position_reaching(float(score.values.mean()), means)
    low, high = _range_not_different(score, points)
    if not np.isnan(position):
        # Between two points the fit may reach the score elsewhere than the means do.
        low, high = min(low, position), max(high, position)
    fraction, low, high = (_fraction_at(end, fractions) for end in (position, low, high))
    return LabelsNeeded(fraction, low, high, fractions[0], fractions[-1])


def _estimate(values: Floats, replicates: Floats) -> Estimate:
    """Return the mean of values [S] with replicates [S, R]; p is that it is 0."""
    value = float(values.mean())
    draws = replicates.mean(axis=0)
    present = draws[~np.isnan(draws)]
    if np.isnan(value) or len(present) < max(2.0, _LEAST_FRACTION * len(draws)):
        return Estimate(value, None, None, None)
    seeds = float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
    variance = float(present.var(ddof=1)) + seeds
    spread = np.sqrt(variance)
    # Where seeds agree to the last bit nothing about them is estimated.
    freedom = np.inf if seeds <= _ROUNDING**2 else (len(values) - 1) * (variance / seeds) ** 2
    half = float(stdtrit(freedom, 0.975) * spread)
    if abs(value) <= _ROUNDING:
        return Estimate(0.0, -half, half, 1.0)
    p = float(2 * stdtr(freedom, -abs(value) / max(spread, _ROUNDING**2)))
    return Estimate(value, value - half, value + half, p)


def _position_reaching(value: float, means: Floats) -> float:
    """Return the position where a curve's fit first reaches a value, nan if not computable.

    1.5 is half-way from its second point to the third; -inf is below all points, inf above.
    """
    if np.isnan(value) or np.isnan(means).any():
        return np.nan
    short = value - isotonic_regression(means).x
    return 0.0 if abs(short[0]) <= _ROUNDING else _first_crossing(np.arange(len(means)), short)


def _range_not_different(score: Scored, points: Sequence[Scored]) -> tuple[float, float]:
    """Return the first and last position at which a curve is not different from a score."""
    positions = np.arange((len(points) - 1) * _STEPS_BETWEEN + 1) / _STEPS_BETWEEN
    gaps = [difference_of(score, _between(points, float(position))) for position in positions]
    above = np.array([-np.inf if gap.low is None else gap.low for gap in gaps])
    below = np.array([-np.inf if gap.high is None else -gap.high for gap in gaps])
    return _first_crossing(positions, above), -_first_crossing(-positions[::-1], below[::-1])


def _first_crossing(positions: Floats | Integers, gaps: Floats) -> float:
    """Return the first position with a gap <= 0, -inf if that is the start, inf if none has.

    Positions [G] rise, and gaps [G] are straight between them.
    """
    first = int(np.argmax(gaps <= _ROUNDING))
    if gaps[first] > _ROUNDING:
        return np.inf
    if first == 0:
        return -np.inf
    # A gap of 0 but for rounding is reached at the position itself.
    before, after = gaps[first - 1], 0.0 if gaps[first] >= -_ROUNDING else gaps[first]
    step = positions[first] - positions[first - 1]
    return float(positions[first - 1] + step * (before / (before - after)))


def _between(points: Sequence[Scored], position: float) -> Scored:
    """Return a curve at a position, straight between its points."""
    first, weight = int(position), position % 1
    if not weight:
        return points[first]
    left, right = points[first], points[first + 1]
    return Scored(
        (1 - weight) * left.values + weight * right.values,
        (1 - weight) * left.replicates + weight * right.replicates,
    )


def _fraction_at(position: float, fractions: Sequence[float]) -> float:
    """Return the label fraction at a position, straight in its logarithm, exact at a point."""
    if not np.isfinite(position):
        return 0.0 if position < 0 else position
    first, weight = int(position), position % 1
    if not weight:
        return fractions[first]
    return float(fractions[first] ** (1 - weight) * fractions[first + 1] ** weight)
