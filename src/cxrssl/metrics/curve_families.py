"""Families of learning curves, fitted to a few scores that are not independent.

A curve is a - b h(n): h falls with the fraction n of the labels, b >= 0, and a <= 1 is where the
curve levels off. A power law has h(n) = n^-c: what is missing to its level falls by the same factor
with every doubling. Measured curves also bend otherwise, so an interval must not rest on the power
law alone: `Families` holds power laws, Hill curves 1 / (1 + (n / d)^c), Weibull curves
exp(-(n / d)^c), and the straight line in the logarithm of n, which has no level. For a given h all
are linear in a and b.

Sources: Figueroa et al. 2012, "Predicting sample size required for classification performance"
(power law); Hestness et al. 2017, arXiv 1712.00409, and Rosenfeld et al. 2020, arXiv 1909.12673
(power laws of deep networks); Mahmood et al. 2022, arXiv 2207.01725, and Viering and Loog 2022,
arXiv 2103.10948 (other families, and how far off one family alone is).

Shapes: K measured fractions, J curves of the families, N fractions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxrssl.metrics.annotations import Floats

_EXPONENTS = np.geomspace(0.03, 4, 60)
_HILL_EXPONENTS = np.geomspace(0.2, 3, 32)
_WEIBULL_EXPONENTS = np.geomspace(0.2, 1.5, 20)
_MIDPOINTS = np.geomspace(1 / 64, 4, 65)
"""Of Hill and Weibull curves, in multiples of the largest measured fraction."""
_MOST_CURVES = 1000
"""Where more are near, scores are so unsure that every second or third of a grid is as good."""
_REFINEMENTS, _FINER = 4, 41
_TINY = 1e-15


@dataclass(frozen=True)
class PowerLaw:
    """score = level - scale n^-exponent, with n the fraction of the labels.

    Attributes:
        level: What the score tends to, at most 1.
        scale: How far it is below at all labels; 0 for a curve that does not rise.
        exponent: How fast it gets there.
    """

    level: float
    scale: float
    exponent: float

    def __call__(self, fractions: Floats) -> Floats:
        """Return the scores at fractions [N] of the labels."""
        scores: Floats = self.level - self.scale * np.asarray(fractions) ** -self.exponent
        return scores

    def reaching(self, score: float) -> float:
        """Return the fraction of the labels at which it reaches a score, inf if never."""
        if self.level <= score or self.scale <= 0:
            return np.inf if self.level < score or self.scale > 0 else 0.0
        with np.errstate(over="ignore"):
            return float((self.scale / (self.level - score)) ** (1 / self.exponent))


def whitening(covariance: Floats) -> Floats:
    """Return W [K, K], with which residuals r have the chi-square |W r|^2."""
    inverse: Floats = np.linalg.inv(np.linalg.cholesky(covariance))
    return inverse


def fit_power_law(fractions: Sequence[float], means: Floats, white: Floats) -> PowerLaw:
    """Return the power law of the least chi-square, by generalised least squares.

    Args:
        fractions: [K] fractions of the labels, above 0.
        means: [K] scores at them.
        white: [K, K] what `whitening` returns.
    """
    n, exponents = np.asarray(fractions, float), _EXPONENTS
    for _ in range(_REFINEMENTS):
        levels, scales, chi = _least_squares(means, white, n[None] ** -exponents[:, None])
        best = int(np.argmin(chi))
        low, high = exponents[max(best - 1, 0)], exponents[min(best + 1, len(exponents) - 1)]
        law = PowerLaw(float(levels[best]), float(scales[best]), float(exponents[best]))
        exponents = np.geomspace(low, high, _FINER)
    return law


class Families:
    """Curves of all families through a few scores, on a grid of what is not linear in them.

    Attributes:
        chi_square: The least of any curve.
    """

    def __init__(self, fractions: Sequence[float], means: Floats, white: Floats) -> None:
        """Fit scores `means` [K] at `fractions` [K], which have the whitening `white` [K, K]."""
        self._fractions, self._means, self._white = np.asarray(fractions, float), means, white
        self._shapes = self._shapes_at(self._fractions)  # [J, K]
        _, _, chi = _least_squares(means, white, self._shapes[:-1])
        _, _, chi_line = _least_squares(means, white, self._shapes[-1:], most=np.inf)
        self._least = np.append(chi, chi_line)  # [J]
        self.chi_square = float(self._least.min())

    def chi_square_through(self, fractions: Floats, scores: Floats, *, most: float) -> Floats:
        """Return [N] the least chi-square of the curves that have a score at each fraction.

        Args:
            fractions: [N], above 0.
            scores: [N], or one for all.
            most: Curves of a greater chi-square are left out; inf where no other is there.
        """
        near = np.flatnonzero(self._least <= most)
        if not len(near):
            return np.full(len(fractions), np.inf)
        near = near[:: 1 + (len(near) - 1) // _MOST_CURVES]
        near = np.union1d(near, int(self._least.argmin()))
        at = self._shapes_at(fractions)[near, :, None]  # [J, N, 1]
        ones, shapes = self._white.sum(axis=1), self._shapes[near]
        scores = np.broadcast_to(scores, len(fractions))
        residuals = self._white @ self._means - scores[:, None] * ones  # [N, K]
        # Through the score the curve is score + b (h(n) - h): one number b is left to fit.
        gains = at * ones - (shapes @ self._white.T)[:, None]  # [J, N, K]
        square = np.maximum((gains**2).sum(axis=-1), _TINY)
        product = (gains * residuals).sum(axis=-1)
        with np.errstate(over="ignore"):
            limits = (1 - scores) / np.maximum(at[..., 0], _TINY)
        limits[near == len(self._shapes) - 1] = np.inf
        scale = np.clip(product / square, 0, limits)
        chi = (residuals**2).sum(axis=-1) - 2 * scale * product + scale**2 * square
        least: Floats = chi.min(axis=0)
        return least

    def _shapes_at(self, fractions: Floats) -> Floats:
        """Return h [J, N] of every curve; the last is the straight line in the logarithm."""
        n = np.asarray(fractions, float) / self._fractions.max()
        power = n[None] ** -_EXPONENTS[:, None]
        over = n[None] / _MIDPOINTS[:, None]  # [midpoints, N]
        hill = 1 / (1 + over[None] ** _HILL_EXPONENTS[:, None, None])
        weibull = np.exp(-(over[None] ** _WEIBULL_EXPONENTS[:, None, None]))
        return np.concatenate(
            [power, hill.reshape(-1, len(n)), weibull.reshape(-1, len(n)), -np.log(n)[None]]
        )


def _least_squares(
    means: Floats, white: Floats, shapes: Floats, *, most: float = 1.0
) -> tuple[Floats, Floats, Floats]:
    """Return levels, scales and chi-squares [J] of curves with shapes [J, K], levels up to most."""
    ones, y, h = white.sum(axis=1), white @ means, shapes @ white.T
    flat = np.full(len(h), min(most, float(ones @ y / (ones @ ones))))
    candidates = [(flat, np.zeros(len(h)))]
    if np.isfinite(most):
        residuals = y - most * ones
        scale = np.maximum(0, -(h @ residuals) / np.maximum((h**2).sum(axis=1), _TINY))
        candidates.append((np.full(len(h), most), scale))
    cross, square = h @ ones, (h**2).sum(axis=1)
    determinant = (ones @ ones) * square - cross**2
    is_regular = determinant > _TINY
    determinant = np.where(is_regular, determinant, 1.0)
    level = (square * (ones @ y) - cross * (h @ y)) / determinant
    scale = (cross * (ones @ y) - (ones @ ones) * (h @ y)) / determinant
    is_free = is_regular & (level <= most) & (scale >= 0)
    candidates.append((np.where(is_free, level, flat), np.where(is_free, scale, 0.0)))
    levels, scales = (np.stack(values) for values in zip(*candidates, strict=True))  # [3, J]
    chi = ((y - levels[..., None] * ones + scales[..., None] * h) ** 2).sum(axis=-1)
    best = chi.argmin(axis=0), np.arange(len(h))
    return levels[best], scales[best], chi[best]
