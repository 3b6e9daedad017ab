"""Values with their intervals, as they are written, and the replicates that intervals come from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxrssl.metrics.annotations import Floats, Integers
from cxrssl.metrics.bootstrap import count_interval, difference_interval, draws, interval, p_value
from cxrssl.metrics.definitions import COUNTS
from cxrssl.metrics.exact import exact_bound_of_none, exact_interval
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


@dataclass(frozen=True)
class Films:
    """How many films a score rests on, for exact bounds where an interval has no width.

    Attributes:
        num: Number of them; 0 for a score that has no such bound.
        unit: What is counted: films, or patients where they are known.
    """

    num: int = 0
    unit: str = "films"


_NO_FILMS = Films()
_NOTHING: Mapping[str, Films] = {}


def replicated(
    measures: Sequence[Measure],
    strata: Integers,
    bootstrap: Bootstrap,
    clusters: Integers | None = None,
) -> list[Floats]:
    """Return [R, M] for each measure: its values on every draw of the images.

    Args:
        measures: What is computed on each draw.
        strata: [N] stratum of each image.
        bootstrap: Number of draws, and their seed.
        clusters: [N] number of the patient of each image, drawn whole; None to draw images.
    """
    rows: list[list[Floats]] = [[] for _ in measures]
    num_draws, is_shown = bootstrap.replicates, len(strata) > 2000
    weights_of_draws = draws(strata, replicates=num_draws, seed=bootstrap.seed, clusters=clusters)
    with progress("bootstrap", total=num_draws, unit="draws", shown=is_shown) as meter:
        for weights in weights_of_draws:
            for values, measure in zip(rows, measures, strict=True):
                values.append(measure(weights))
            meter.at(len(rows[0]))
    ones = np.ones(len(strata))
    return [
        np.stack(values) if values else np.zeros((0, len(measure(ones))))
        for values, measure in zip(rows, measures, strict=True)
    ]


def drawn_of(clusters: Integers | None, num_images: int) -> dict[str, Any]:
    """Return what a bootstrap draws, as it is written: `n` of a `unit`."""
    if clusters is None:
        return {"unit": "images", "n": num_images}
    return {"unit": "patients", "n": len(np.unique(clusters))}


def entry(
    value: float,
    samples: Floats,
    *,
    reason: str,
    is_count: bool = False,
    films: Films = _NO_FILMS,
) -> dict[str, Any]:
    """Return a value with its interval, or why there is none, or why it has no width.

    An interval without width gives way to an exact one, where it is known on how many films.

    Args:
        value: nan if it can't be computed.
        samples: [R] its replicates.
        reason: Why the value can't be computed, if it can't.
        is_count: Whether it counts things an image, and can be more than 1.
        films: On how many it rests.
    """
    if np.isnan(value):
        return {"value": None, "low": None, "high": None, "reason": reason}
    ends = count_interval(value, samples) if is_count else interval(value, samples)
    content: dict[str, Any] = {"value": float(value), "low": ends.low, "high": ends.high}
    if ends.low is None or ends.high is None:
        content["reason"] = _TOO_FEW if len(samples) else _NO_REPLICATES
    elif ends.high - ends.low < _NO_WIDTH:
        content |= _exact(value, films, is_count=is_count) or {"reason": NO_SPREAD}
    return content


def _exact(value: float, films: Films, *, is_count: bool) -> dict[str, Any] | None:
    """Return the exact interval of a value that every draw gives; None where there is none."""
    if not films.num or (is_count and value > 0):
        return None
    sides = "two-sided" if 0 < value < 1 else "one-sided"
    ends = exact_bound_of_none(films.num) if is_count else exact_interval(value, films.num)
    method = "Poisson" if is_count else "Clopper-Pearson"
    return {
        "low": ends.low,
        "high": ends.high,
        "exact": f"every draw gives this value; the bound is exact: {method}, {sides}, 95 %",
        "exact_on": f"{films.num} {films.unit if films.num > 1 else films.unit.rstrip('s')}",
    }


def entries(
    names: Sequence[str],
    values: Floats,
    samples: Floats,
    reasons: Mapping[str, str],
    films: Mapping[str, Films] = _NOTHING,
) -> dict[str, dict[str, Any]]:
    """Return entries by name, for values [M], their replicates [R, M] and what they rest on."""
    return {
        name: entry(
            values[column],
            samples[:, column],
            reason=reasons[name],
            is_count=name in COUNTS,
            films=films.get(name, _NO_FILMS),
        )
        for column, name in enumerate(names)
    }


def difference(
    value: float, samples: Floats, other: float, other_samples: Floats
) -> dict[str, Any]:
    """Return how much greater a value is than another on the same draws of the same images.

    Where every draw gives this difference, there is no interval, and the reason is said.

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
    if ends.low is not None and ends.high is not None and ends.high - ends.low < _NO_WIDTH:
        return {"delta": delta, "low": None, "high": None, "p": None, "reason": NO_SPREAD}
    return {"delta": delta, "low": ends.low, "high": ends.high, "p": p_value(delta, gaps)}
