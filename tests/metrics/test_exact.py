"""Exact bounds equal scipy's, and the rule of three."""

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from cxrssl.metrics.exact import exact_bound_of_none, exact_interval


@pytest.mark.parametrize("n", [1, 2, 7, 21, 300])
def test_bounds_equal_those_of_scipy(n: int) -> None:
    all_right = binomtest(n, n, alternative="greater").proportion_ci(0.95, method="exact")
    assert exact_interval(1.0, n).low == pytest.approx(all_right.low, abs=1e-9)
    assert exact_interval(1.0, n).high == 1
    none_right = binomtest(0, n, alternative="less").proportion_ci(0.95, method="exact")
    assert exact_interval(0.0, n).high == pytest.approx(none_right.high, abs=1e-9)
    assert exact_interval(0.0, n).low == 0
    for hits in range(1, n, max(1, n // 5)):
        both = binomtest(hits, n).proportion_ci(0.95, method="exact")
        ours = exact_interval(hits / n, n)
        assert [ours.low, ours.high] == pytest.approx([both.low, both.high], abs=1e-9)
    # Garwood's interval of a Poisson count of 0, one-sided.
    assert exact_bound_of_none(n).high == pytest.approx(chi2.ppf(0.95, 2) / 2 / n)


def test_what_is_perfect_on_21_films_may_be_wrong_in_one_of_seven() -> None:
    assert exact_interval(1.0, 21).low == pytest.approx(0.867, abs=5e-4)
    assert exact_interval(1.0, 300).low == pytest.approx(1 - 3 / 300, abs=1e-4)


def test_a_rate_that_is_no_whole_number_of_films_lies_between_its_neighbours() -> None:
    lows = [exact_interval(rate, 20).low for rate in (0.5, 0.525, 0.55)]
    assert np.diff([low or 0 for low in lows]).min() > 0
