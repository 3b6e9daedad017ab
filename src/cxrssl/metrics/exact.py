"""Exact bounds where every draw of a bootstrap gives the same, and its interval has no width.

A rate that is 1 on 21 films need not be 1 on others: below 0.867, all 21 would come out so less
than 5 times of 100. As the rule of three has it, about 3 / n is left open.

Sources: Clopper and Pearson 1934, Biometrika 26, 404; Hanley and Lippman-Hand 1983, JAMA 249, 1743
(rule of three); Korn and Graubard 1998, Survey Methodology 24, 193, for rates that are no whole
number of films.
"""

import numpy as np
from scipy.special import betaincinv  # type: ignore[import-untyped]

from cxrssl.metrics.bootstrap import Interval

_ALPHA = 0.05


def exact_interval(rate: float, n: int) -> Interval:
    """Return the Clopper-Pearson interval of a rate on n independent films, at 95 %.

    At 0 and 1 it has one side, which has all of the 5 %. Between them, `rate * n` successes need
    not be a whole number.

    Args:
        rate: In [0, 1].
        n: Number of films or patients, >= 1.
    """
    if rate >= 1:
        return Interval(float(betaincinv(n, 1, _ALPHA)), 1.0)
    if rate <= 0:
        return Interval(0.0, float(betaincinv(1, n, 1 - _ALPHA)))
    hits = rate * n
    low = betaincinv(hits, n - hits + 1, _ALPHA / 2)
    return Interval(float(low), float(betaincinv(hits + 1, n - hits, 1 - _ALPHA / 2)))


def exact_bound_of_none(n: int) -> Interval:
    """Return where a count a film lies, at 95 %, if n films have none: 0 to about 3 / n.

    The bound is that of a Poisson count, `-log(0.05) / n`.
    """
    return Interval(0.0, float(-np.log(_ALPHA) / n))
