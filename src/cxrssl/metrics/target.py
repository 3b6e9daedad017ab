"""Labels needed for a target: where a learning curve reaches a score, measured or extrapolated.

Within the measured fractions it is `labels_needed` of a score that is the same in all runs. Beyond
the last one the point is that of a fitted power law, a - b n^-c, and the interval is of all curves
of `curve_families` that the scores do not refute: a fraction n is in it if some curve through the
target at n has a chi-square that exceeds the least of any curve by less than the square of a
quantile of t. What curves do beyond the last point is thereby not settled by the choice of one
family, and an end that the scores do not bound is open.

The covariance of the mean scores is that of the draws of the images, plus that of the seeds, over
S. With K fractions and S seeds the latter is from K (S - 1) differences: the variance at a fraction
is drawn towards that of all, and the correlation between fractions is one number. Where the best
curve of all fits worse than the covariance lets expect, that is scaled up (Birge's ratio); where it
fits far worse, nothing is extrapolated.

How often intervals hold the truth: benchmarks/labels_for_target.py and docs/experiments.md.

Sources: as for `curve_families`; Birge 1932, "The calculation of errors by the method of least
squares". Shapes: S seeds, R draws, K fractions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import chdtrc, stdtrit  # type: ignore[import-untyped]

from cxrssl.metrics.annotations import Floats
from cxrssl.metrics.curve_families import Families, PowerLaw, fit_power_law, whitening
from cxrssl.metrics.label_curves import LabelsNeeded, Scored, labels_needed

FARTHEST = 10.0
"""How many times the largest measured fraction curves are extrapolated to."""
LEAST_SHARES = 3
"""Measured fractions that an extrapolation needs: as many as a power law has numbers."""
Refusal = Literal["too few shares", "no interval", "no curve fits"]

_LEAST_FRACTION = 0.95
"""Fraction of the draws that must have a score, as in `label_curves`."""
_LEAST_DEVIATION = 2e-3
"""No curve of the families, whose numbers are on a grid, is truer than this."""
_PRIOR_FREEDOM = 4
"""Weight of the variance of all fractions against that of one, in degrees of freedom."""
_MOST_CORRELATION = 0.9
_LEAST_P = 1e-3
_STEPS_A_DOUBLING = 16
_BAND_STEP = 0.005


@dataclass(frozen=True)
class TargetLabels:
    """The fraction of the labels at which a curve reaches a target.

    Attributes:
        fraction: Beyond `most` it is extrapolated. 0 is fewer than `least`, inf not reached up to
            `farthest`, nan not known because a score can't be computed.
        low: Lower end of the 95 % interval; 0 and inf as for `fraction`.
        high: Upper end of the 95 % interval; inf is open.
        least: Smallest measured fraction.
        most: Largest measured fraction.
        farthest: Largest fraction that was looked at: `most` where nothing is extrapolated.
        level: What the fitted power law tends to, None without one.
        refusal: Why nothing is extrapolated, None where it is or need not be.
    """

    fraction: float
    low: float
    high: float
    least: float
    most: float
    farthest: float
    level: float | None
    refusal: Refusal | None


class Extrapolation:
    """A learning curve beyond its last point.

    Attributes:
        law: The power law that fits best.
        least: Smallest measured fraction.
        most: Largest measured fraction.
        farthest: Largest fraction that may be asked for.
    """

    def __init__(
        self, fractions: Sequence[float], means: Floats, covariance: Floats, freedom: float
    ):
        """Fit the families to means [K] at rising fractions [K] with covariance [K, K].

        Args:
            fractions: In rising order.
            means: Mean score at each.
            covariance: Of the means.
            freedom: Degrees of freedom behind the covariance, inf if it is known.
        """
        white = whitening(covariance)
        self.least, self.most = fractions[0], fractions[-1]
        self.farthest = FARTHEST * self.most
        self.law: PowerLaw = fit_power_law(fractions, means, white)
        self._families = Families(fractions, means, white)
        spare = max(1, len(fractions) - LEAST_SHARES)
        self.p = float(chdtrc(spare, self._families.chi_square))
        birge = max(1.0, self._families.chi_square / spare)
        self._limit = self._families.chi_square + birge * float(stdtrit(freedom, 0.975)) ** 2

    def holding(self, target: float) -> tuple[float, float] | None:
        """Return the first and last fraction at which a curve may be at a target, or None.

        They are 0 at the smallest measured fraction and inf at the farthest.
        """
        doublings = np.log2(self.farthest / self.least)
        grid = np.geomspace(self.least, self.farthest, int(_STEPS_A_DOUBLING * doublings) + 1)
        over = self._chi_square(grid, np.array(target)) - self._limit
        held = np.flatnonzero(over <= 0)
        if not len(held):
            return None
        first, last = int(held[0]), int(held[-1])
        low = 0.0 if first == 0 else _crossing(grid, over, first - 1)
        high = np.inf if last == len(grid) - 1 else _crossing(grid, over, last)
        return low, high

    def band(self, fractions: Floats) -> tuple[Floats, Floats]:
        """Return the least and greatest score [N] that a curve may have at fractions [N]."""
        scores = np.arange(0, 1 + _BAND_STEP, _BAND_STEP)
        chi = [self._chi_square(fractions, np.array(score)) for score in scores]
        held = np.stack(chi) <= self._limit
        center = np.clip(self.law(fractions), 0, 1)
        lows = np.where(held.any(axis=0), scores[held.argmax(axis=0)], center)
        highs = np.where(held.any(axis=0), scores[::-1][held[::-1].argmax(axis=0)], center)
        return np.minimum(lows, center), np.maximum(highs, center)

    def _chi_square(self, fractions: Floats, scores: Floats) -> Floats:
        return self._families.chi_square_through(fractions, scores, most=self._limit)


def extrapolation_of(curve: Mapping[float, Scored]) -> Extrapolation | Refusal:
    """Return a curve's extrapolation, or why there is none.

    Args:
        curve: By fraction of the labels, > 0, in any order: the same seeds on the same draws.
    """
    fractions = sorted(curve)
    if len(fractions) < LEAST_SHARES:
        return "too few shares"
    points = [curve[fraction] for fraction in fractions]
    means = np.array([point.values.mean() for point in points])
    draws = np.stack([point.replicates.mean(axis=0) for point in points])
    present = draws[:, ~np.isnan(draws).any(axis=0)]
    enough = max(2.0, _LEAST_FRACTION * draws.shape[1])
    if np.isnan(means).any() or present.shape[1] < enough:
        return "no interval"
    covariance = np.cov(present) + _LEAST_DEVIATION**2 * np.eye(len(points))
    seeds, freedom = _seed_covariance(np.stack([point.values for point in points]))
    found = Extrapolation(fractions, means, covariance + seeds, freedom)
    return "no curve fits" if found.p < _LEAST_P else found


def labels_for_target(target: float, curve: Mapping[float, Scored]) -> TargetLabels:
    """Return the fraction of the labels at which a curve reaches a target, with its interval.

    Args:
        target: A score in (0, 1).
        curve: By fraction of the labels, > 0, in any order: the same seeds on the same draws.

    Raises:
        ValueError: If the curve is empty, or seeds and draws are not as many.
    """
    one = next(iter(curve.values()), None)
    if one is None:
        raise ValueError("a curve must have label shares, got none")
    constant = Scored(np.full_like(one.values, target), np.full_like(one.replicates, target))
    measured, beyond = labels_needed(constant, curve), extrapolation_of(curve)
    if isinstance(beyond, str):
        is_needed = not (measured.share <= measured.most and measured.high <= measured.most)
        return TargetLabels(
            *(measured.share, measured.low, measured.high, measured.least, measured.most),
            *(measured.most, None, beyond if is_needed else None),
        )
    return _extrapolated(target, measured, beyond)


def _extrapolated(target: float, measured: LabelsNeeded, beyond: Extrapolation) -> TargetLabels:
    fraction, held = measured.share, beyond.holding(target)
    if np.isinf(fraction) and held is not None:
        # The fit may be above the last mean; and scores may refute a power law, not all curves.
        fraction = float(np.clip(beyond.law.reaching(target), held[0], held[1]))
        fraction = max(fraction, beyond.most) if fraction <= beyond.farthest else np.inf
    low, high = measured.low, measured.high
    if held is not None:
        low = min(low, held[0])
        # What is measured has no end here: it is open, and then that of the extrapolation counts.
        high = max(high if np.isfinite(high) else beyond.most, held[1])
    elif np.isinf(high) and np.isfinite(fraction):
        high = max(beyond.most, fraction)
    if not np.isnan(fraction):
        low, high = min(low, fraction), max(high, fraction)
    return TargetLabels(
        *(fraction, low, high, beyond.least, beyond.most, beyond.farthest, beyond.law.level, None)
    )


def _seed_covariance(values: Floats) -> tuple[Floats, float]:
    """Return the seeds' part [K, K] of the covariance of means of values [K, S], and its freedom.

    Nothing with infinite freedom for one seed: it does not tell.
    """
    num, seeds = values.shape
    if seeds == 1:
        return np.zeros((num, num)), np.inf
    deviations = values - values.mean(axis=1, keepdims=True)
    products = deviations @ deviations.T / (seeds - 1)
    variances, pooled = np.diag(products), float(np.diag(products).mean())
    weight = seeds - 1
    shrunk = (weight * variances + _PRIOR_FREEDOM * pooled) / (weight + _PRIOR_FREEDOM)
    between = (products.sum() - variances.sum()) / (num * (num - 1))
    correlation = min(max(between / max(pooled, 1e-300), 0.0), _MOST_CORRELATION)
    scale = np.outer(np.sqrt(shrunk), np.sqrt(shrunk)) / seeds
    return scale * (correlation + (1 - correlation) * np.eye(num)), float(num * (seeds - 1))


def _crossing(grid: Floats, over: Floats, index: int) -> float:
    """Return where what is over the limit passes 0 between two fractions, in their logarithm."""
    left, right = over[index], over[index + 1]
    if not np.isfinite(left - right):
        return float(grid[index + 1] if np.isinf(left) else grid[index])
    weight = left / (left - right)
    return float(grid[index] ** (1 - weight) * grid[index + 1] ** weight)
