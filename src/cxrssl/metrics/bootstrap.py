"""Intervals by drawing the images of a test set anew: what another such set might have shown.

Images are drawn with replacement within strata, an image's stratum being its rarest class; images
without a finding are a stratum of their own. So a replicate holds as many images of each stratum as
the set does, and a class cannot vanish that is the rarest of any image. One that always comes with
rarer classes can: then a mean over classes is over those present, as COCO has it for a class
without true boxes, and the class's own interval is over the replicates that hold it.

What this can't show: how another training run would score (that takes seeds), or people with
several images in the set, who count as several here and make intervals too narrow. A class in one
image has that image in every replicate, and an interval of no width.

Sources: Efron and Tibshirani 1993, chapter 13 (percentile interval); Davison and Hinkley 1997,
sections 2.4 (strata) and 4.4 (p-values).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cxrssl.metrics.annotations import Flags, Floats, Integers

LEVEL = 0.95
_LEAST_SHARE = 0.95
"""Of the replicates that a value must exist in for its interval to be given."""


@dataclass(frozen=True)
class Interval:
    """The middle `LEVEL` of replicates; None where too few of them have a value."""

    low: float | None
    high: float | None


def strata_of(holds: Flags) -> Integers:
    """Return the stratum of each image: its rarest class, or the number of classes for none.

    Args:
        holds: [N, K] which image holds which class. Of two classes in equally many images, the
            first is the rarer.
    """
    num_images, num_classes = holds.shape
    if not num_classes:
        return np.zeros(num_images, np.int64)
    rank = np.argsort(np.argsort(holds.sum(axis=0), kind="stable"), kind="stable")
    rarest = np.where(holds, rank, num_classes).argmin(axis=1)
    found: Integers = np.where(holds.any(axis=1), rarest, num_classes)
    return found


def draws(strata: Integers, *, replicates: int, seed: int) -> Iterator[Floats]:
    """Yield [N] how often each image is drawn, once a replicate.

    Args:
        strata: [N] of each image.
        replicates: How many.
        seed: Replicate r is the same for any number of them.
    """
    by_stratum = np.argsort(strata, kind="stable")
    _, starts, sizes = np.unique(strata[by_stratum], return_index=True, return_counts=True)
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    for replicate in range(replicates):
        uniform = np.random.default_rng([seed, replicate]).random(len(strata))
        drawn = by_stratum[start + (uniform * size).astype(np.int64)]
        yield np.bincount(drawn, minlength=len(strata)).astype(np.float64)


def interval(values: Floats) -> Interval:
    """Return the percentile interval of a score over replicates [R]; nan is one without it."""
    present = values[~np.isnan(values)]
    if not len(present) or len(present) < _LEAST_SHARE * len(values):
        return Interval(None, None)
    low, high = np.quantile(present, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def p_value(differences: Floats) -> float | None:
    """Return the two-sided p-value of a difference, from its replicates [R].

    Twice the share of replicates on the other side of zero, or on it; (hits + 1) / (R + 1), so that
    it is never 0. It is about 0.05 where the interval just reaches zero.
    """
    present = differences[~np.isnan(differences)]
    if not len(present) or len(present) < _LEAST_SHARE * len(differences):
        return None
    hits = min(int((present <= 0).sum()), int((present >= 0).sum()))
    return min(1.0, 2 * (hits + 1) / (len(present) + 1))
