"""Differences of scores as a report shows them: none with an interval that has no width."""

from dataclasses import dataclass

from cxrssl.metrics.label_curves import Estimate
from cxrssl.report.wording import interval

NO_WIDTH = "all draws agree: no interval"
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """How much greater one score is than another, as a mean over seeds.

    Attributes:
        value: nan if it can't be computed.
        low: Lower end of the 95 % interval; None where there is none.
        high: Upper end of the 95 % interval, or None.
        p: Two-sided p-value that it is 0, or None.
        draws_agree: Whether every draw of the test images gives this value. Then drawing them again
            can't tell what other images would change, and there is no interval.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    draws_agree: bool = False

    @property
    def excludes_zero(self) -> bool:
        """Return whether there is an interval, and it leaves out zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def interval(self) -> str:
        """Return both ends of the interval, or why there is none."""
        return NO_WIDTH if self.draws_agree else interval(self.low, self.high, signed=True)


def difference_from(estimate: Estimate) -> Difference:
    """Return an estimated difference, without interval and p-value where all draws agree."""
    low, high = estimate.low, estimate.high
    if low is not None and high is not None and high - low <= _ROUNDING:
        return Difference(estimate.value, None, None, None, draws_agree=True)
    return Difference(estimate.value, low, high, estimate.p)
