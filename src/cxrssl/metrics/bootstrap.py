"""Stratified bootstrap over the images of a test set: intervals and p-values.

Images are drawn within strata, an image's stratum being its rarest class; images without a finding
are a stratum of their own, and a stratum of one image joins the next rarest. Of n images n - 1 are
drawn, with replacement, and each counts n / (n - 1) times: drawing n would make the spread too
small by (n - 1) / n, which is half of it in strata of two. A class cannot vanish that is the rarest
of two images and more. One that is not can: then a mean over classes is over those present, as COCO
has it for a class without true boxes, and the class's own interval is over the draws that hold it,
or missing where that is fewer than 95 % of them.

Where it is known whose an image is, whole patients are drawn instead: all images of one count as
often, and a patient's stratum is the rarest class of all of them. Otherwise people with several
images count as several, which makes intervals too narrow.

What this can't show: how another training run would score; that takes seeds.

Sources: Rao and Wu 1988, "Resampling inference with complex survey data", for n - 1; Efron and
Tibshirani 1993, chapters 12 (standard intervals) and 16 (p-values); Davison and Hinkley 1997,
section 3.8, for drawing clusters whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cxrssl.metrics.annotations import Flags, Floats, Integers

_Z = 1.959964
"""Quantile of the normal distribution for 95 %."""
_TAILS = (0.025, 0.975)
_LEAST_FRACTION = 0.95
"""Fraction of the replicates that must have a value for its interval to be given."""


@dataclass(frozen=True)
class Interval:
    """Where a score lies with 95 % confidence; None where too few replicates have a value."""

    low: float | None
    high: float | None


def strata_of(holds: Flags) -> Integers:
    """Return the stratum of each image: the rank of its rarest class, or K for none.

    Args:
        holds: [N, K] which image holds which class. Rank 0 is the rarest; of two classes in equally
            many images, the first is the rarer.
    """
    num_images, num_classes = holds.shape
    if not num_classes:
        return np.zeros(num_images, np.int64)
    rank = np.argsort(np.argsort(holds.sum(axis=0), kind="stable"), kind="stable")
    rarest = np.where(holds, rank, num_classes).min(axis=1)
    strata: Integers = np.where(holds.any(axis=1), rarest, num_classes)
    return strata


def draws(
    strata: Integers, *, replicates: int, seed: int, clusters: Integers | None = None
) -> Iterator[Floats]:
    """Yield [N] how often each image counts, once a replicate; nothing of fewer than two to draw.

    Args:
        strata: [N] stratum of each image, the rarest first.
        replicates: Number of draws.
        seed: Random seed; replicate r is the same for any number of replicates.
        clusters: [N] number of the patient of each image, who is drawn with all of them; None to
            draw images.
    """
    if clusters is not None:
        _, cluster = np.unique(clusters, return_inverse=True)
        by_cluster = np.full(int(cluster.max(initial=-1)) + 1, np.iinfo(np.int64).max)
        np.minimum.at(by_cluster, cluster, strata)
        for weights in draws(by_cluster, replicates=replicates, seed=seed):
            yield weights[cluster]
        return
    if len(strata) < 2:
        return
    by_stratum = np.argsort(strata, kind="stable")
    first_of_stratum, sizes = _joined(strata[by_stratum])
    # One image fewer is drawn of each stratum than it holds.
    first, size = np.repeat(first_of_stratum, sizes - 1), np.repeat(sizes, sizes - 1)
    count = size / (size - 1)
    for replicate in range(replicates):
        uniform = np.random.default_rng([seed, replicate]).random(len(first))
        drawn = by_stratum[first + (uniform * size).astype(np.int64)]
        yield np.bincount(drawn, count, minlength=len(strata)).astype(np.float64, copy=False)


def _joined(strata: Integers) -> tuple[Integers, Integers]:
    """Return start and size of sorted strata; a stratum of one image joins the next."""
    _, first_of_stratum = np.unique(strata, return_index=True)
    ends = [*first_of_stratum[1:].tolist(), len(strata)]
    starts = [0]
    for end in ends:
        if end - starts[-1] > 1 and end < len(strata):
            starts.append(end)
    if len(strata) - starts[-1] < 2:
        starts.pop()
    return np.array(starts, np.int64), np.diff([*starts, len(strata)])


def interval(value: float, samples: Floats) -> Interval:
    """Return the interval of a score in [0, 1]: 1.96 standard errors to each side, within 0 and 1.

    The standard error is the deviation of the replicates. Their quantiles are not taken, because an
    average precision is greater on a draw with repeated images than on as many different ones. In
    benchmarks/interval_coverage.py, on sets of 100 images, this interval holds the AP that such
    sets have on average 94 times of 100. That of one large set is less, because average precision
    is too great where boxes are few: this interval holds it 72 times, quantiles 26 times.

    It has no width where every draw gives the same, as for a class that is never found.

    Args:
        value: The score of the images themselves.
        samples: [R] the score of each draw, nan where it has none.
    """
    spread = _standard_error(samples)
    if np.isnan(value) or spread is None:
        return Interval(None, None)
    return Interval(max(0.0, value - _Z * spread), min(1.0, value + _Z * spread))


def count_interval(value: float, samples: Floats) -> Interval:
    """Return the interval of a count an image: from the 2.5 % to the 97.5 % quantile of the draws.

    Counts are skewed, so that as many standard errors below as above end below 0. Cut there, such
    intervals held false alarms an image without findings 85 to 95 times of 100 on simulated sets of
    24 to 200 images, and erred upwards alone; quantiles held them 91 to 97 times, and err to both
    sides. On the logarithm they do as well, but not where none or few are counted (66 times).

    Args:
        value: The score of the images themselves.
        samples: [R] the score of each draw, nan where it has none.
    """
    if np.isnan(value) or _standard_error(samples) is None:
        return Interval(None, None)
    low, high = np.nanquantile(samples, _TAILS).tolist()
    return Interval(min(low, float(value)), max(high, float(value)))


def difference_interval(delta: float, samples: Floats) -> Interval:
    """Return the interval of a difference of two scores: 1.96 standard errors to each side.

    Args:
        delta: The difference on the images themselves.
        samples: [R] the difference on each draw.
    """
    spread = _standard_error(samples)
    if np.isnan(delta) or spread is None:
        return Interval(None, None)
    return Interval(delta - _Z * spread, delta + _Z * spread)


def p_value(delta: float, samples: Floats) -> float | None:
    """Return the two-sided p-value of a difference.

    The fraction of draws whose difference is at least as far from the mean of all draws as the
    observed one is from zero; (hits + 1) / (R + 1), so that it is never 0.

    Args:
        delta: The difference on the images themselves.
        samples: [R] the difference on each draw.
    """
    if np.isnan(delta) or _standard_error(samples) is None:
        return None
    present = samples[~np.isnan(samples)]
    # Differences that differ by rounding alone are equally extreme.
    hits = int((np.abs(present - present.mean()) >= abs(delta) - 1e-12).sum())
    return (hits + 1) / (len(present) + 1)


def _standard_error(samples: Floats) -> float | None:
    present = samples[~np.isnan(samples)]
    if len(present) < 2 or len(present) < _LEAST_FRACTION * len(samples):
        return None
    return float(present.std(ddof=1))
