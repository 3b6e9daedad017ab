"""Tests of a split: whether two parts of a data set look like random draws from one population.

Not for telling how large a difference is; report the two means or proportions beside every p-value.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact  # type: ignore[import-untyped]

# Values that differ by rounding alone are equally extreme.
_SLACK = 1e-9


def permutation_p(
    first: NDArray[np.number],
    second: NDArray[np.number],
    *,
    seed: int,
    num_permutations: int = 10_000,
) -> float | None:
    """Return the two-sided p-value for a difference of two means, None where a part is empty.

    Members are redistributed at random to two parts of the same sizes; p is the fraction of
    permutations whose means are at least as far apart, the observed one included: (hits + 1) /
    (permutations + 1), so never 0. A permutation is drawn as how many of each distinct value a part
    holds, which has the same distribution as shuffling the members and is cheap for counts.

    Args:
        first: [N] values of one part.
        second: [M] values of the other.
        seed: Random seed of the permutations.
        num_permutations: Number of permutations, >= 1.

    Source: Phipson and Smyth 2010, "Permutation p-values should never be zero", for the + 1.
    """
    if not len(first) or not len(second):
        return None
    values, counts = np.unique(np.concatenate([first, second]), return_counts=True)
    values = values.astype(np.float64)
    generator = np.random.default_rng(seed)
    dealt = generator.multivariate_hypergeometric(
        counts, len(second), size=num_permutations, method="marginals"
    )
    total = float(counts @ values)

    def gap(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.abs(sums / len(second) - (total - sums) / len(first))

    observed = gap(np.asarray([second.astype(np.float64).sum()]))[0]
    hits = int((gap(dealt @ values) >= observed * (1 - _SLACK) - _SLACK).sum())
    return (hits + 1) / (num_permutations + 1)


def fisher_p(*, hits: tuple[int, int], sizes: tuple[int, int]) -> float | None:
    """Return Fisher's exact two-sided p-value for two proportions, None where a part is empty.

    The p-value is the chance of all tables with the same margins that are at most as likely as the
    one found. Swapping the parts changes nothing.

    Args:
        hits: Members with the property in each part.
        sizes: Members of each part, >= hits.

    Source: Fisher 1922.
    """
    if not sizes[0] or not sizes[1]:
        return None
    without = sizes[0] - hits[0], sizes[1] - hits[1]
    return float(fisher_exact([hits, without]).pvalue)


def holm_adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for their number, in the same order; None stays None.

    Rejecting those at or below 0.05 wrongly rejects any at all with a chance of 5 % at most.

    Source: Holm 1979.
    """
    ranked = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(ranked):
        largest = max(largest, min(1.0, p * (len(ranked) - rank)))
        adjusted[index] = largest
    return adjusted
