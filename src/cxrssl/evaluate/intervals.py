"""Values with their intervals, as they are written, and the replicates that intervals come from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxrssl.metrics.annotations import Floats, Integers
from cxrssl.metrics.bootstrap import count_interval, difference_interval, draws, interval, p_value
from cxrssl.metrics.definitions import COUNTS
from cxrssl.run.progress import progress

Measure = Callable[[Floats], Floats]
"""From the weights of the images [N] to values [M], nan for what can't be computed."""

_TOO_FEW = "no interval: it can't be computed in more than 5 % of the replicates"
NO_SPREAD = (
    "the interval has no width: every draw of the images gives this value, and what the images "
    "don't hold, drawing them again can't show"
)
_NO_WIDTH = 1e-12
_NO_REPLICATES = "no interval: no replicates were drawn"


@dataclass(frozen=True)
class Bootstrap:
    """Settings of the bootstrap behind intervals.

    Attributes:
        replicates: Draws of the test images; 0 for no intervals.
        seed: Random seed of the draws.
    """

    replicates: int = 1000
    seed: int = 0


def replicated(measures: Sequence[Measure], strata: Integers, bootstrap: Bootstrap) -> list[Floats]:
    """Return [R, M] for each measure: its values on every draw of the images."""
    rows: list[list[Floats]] = [[] for _ in measures]
    num_draws, is_shown = bootstrap.replicates, len(strata) > 2000
    with progress("bootstrap", total=num_draws, unit="draws", shown=is_shown) as meter:
        for weights in draws(strata, replicates=bootstrap.replicates, seed=bootstrap.seed):
            for values, measure in zip(rows, measures, strict=True):
                values.append(measure(weights))
            meter.at(len(rows[0]))
    ones = np.ones(len(strata))
    return [
        np.stack(values) if values else np.zeros((0, len(measure(ones))))
        for values, measure in zip(rows, measures, strict=True)
    ]


def entry(value: float, samples: Floats, *, reason: str, is_count: bool = False) -> dict[str, Any]:
    """Return a value with its interval, or why there is none, or why it has no width.

    Args:
        value: nan if it can't be computed.
        samples: [R] its replicates.
        reason: Why the value can't be computed, if it can't.
        is_count: Whether it counts things an image, and can be more than 1.
    """
    if np.isnan(value):
        return {"value": None, "low": None, "high": None, "reason": reason}
    ends = count_interval(value, samples) if is_count else interval(value, samples)
    content: dict[str, Any] = {"value": float(value), "low": ends.low, "high": ends.high}
    if ends.low is None or ends.high is None:
        content["reason"] = _TOO_FEW if len(samples) else _NO_REPLICATES
    elif ends.high - ends.low < _NO_WIDTH:
        content["reason"] = NO_SPREAD
    return content


def entries(
    names: Sequence[str], values: Floats, samples: Floats, reasons: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return entries by name, for values [M] and their replicates [R, M]."""
    return {
        name: entry(
            values[column],
            samples[:, column],
            reason=reasons[name],
            is_count=name in COUNTS,
        )
        for column, name in enumerate(names)
    }


def difference(
    value: float, samples: Floats, other: float, other_samples: Floats
) -> dict[str, float | None]:
    """Return how much greater a value is than another on the same draws of the same images.

    Args:
        value: nan if it can't be computed; then nothing can.
        samples: [R] its replicates.
        other: The value that it is compared with.
        other_samples: [R] replicates of `other`, on the same draws.
    """
    if np.isnan(value) or np.isnan(other):
        return {"delta": None, "low": None, "high": None, "p": None}
    delta, gaps = float(value - other), samples - other_samples
    ends = difference_interval(delta, gaps)
    return {"delta": delta, "low": ends.low, "high": ends.high, "p": p_value(delta, gaps)}
