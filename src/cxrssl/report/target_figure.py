"""The report's figures of targets: each treatment's curve over films, and beyond."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from cxrssl.config.plan import Plan
from cxrssl.metrics.target import Extrapolation, extrapolation_of
from cxrssl.report.amounts import amount_at, counted
from cxrssl.report.figures.targets import TargetLine, target_curve
from cxrssl.report.tables import role
from cxrssl.report.targets import Target
from cxrssl.report.wording import METRICS

# Beyond the last share: positions that are drawn, and how far at least.
_POSITIONS, _LEAST_TIMES = 16, 2.0
_TICKS_BEYOND = (2.0, 5.0, 10.0)


def target_figures(plan: Plan, targets: Sequence[Target]) -> Iterator[dict[str, str]]:
    """Yield a figure a target."""
    for metric, score in plan.answer.target.items():
        shown = [target for target in targets if target.metric == metric]
        if not shown:
            continue
        farthest = _farthest(shown)
        lines = [_line(plan, target, farthest) for target in shown]
        ticks = {place: text for target in shown for place, text in _ticks(target)}
        svg = target_curve(lines, metric=METRICS[metric], target=score, ticks=ticks)
        beyond = ""
        if any(line.beyond for line in lines):
            beyond = (
                "; dotted is an extrapolation, and its light band every score that a learning "
                "curve may have there"
            )
        yield {
            "svg": svg,
            "caption": f"{METRICS[metric]} over labelled films. Bands are 95 % intervals{beyond}.",
        }


def _farthest(targets: Sequence[Target]) -> float:
    """Return how many times the largest share is drawn: a little beyond what is needed."""
    needed = [target.labels.fraction / target.labels.most for target in targets]
    reached = [times for times in needed if math.isfinite(times)]
    most = max((t.labels.farthest / t.labels.most for t in targets), default=1.0)
    return min(most, max([_LEAST_TIMES, *(1.5 * times for times in reached)]))


def _line(plan: Plan, target: Target, farthest: float) -> TargetLine:
    fractions, amounts = sorted(target.curve), target.amounts
    means = [target.means[fraction] for fraction in fractions]
    needed = target.labels.fraction
    is_seen = 0 < needed <= farthest * target.labels.most
    return TargetLine(
        title=plan.treatments[target.treatment].title,
        role=role(plan, target.treatment),
        films=[amounts[fraction].films for fraction in fractions],
        means=[mean.value for mean in means],
        lows=[mean.low for mean in means],
        highs=[mean.high for mean in means],
        beyond=_beyond(target, farthest),
        reached=amount_at(amounts, needed).films if is_seen else None,
    )


def _beyond(target: Target, farthest: float) -> list[tuple[float, float, float, float]]:
    found = extrapolation_of(target.curve)
    if not isinstance(found, Extrapolation):
        return []
    fractions = np.geomspace(found.most, farthest * found.most, _POSITIONS)
    lows, highs = found.band(fractions)
    films = [amount_at(target.amounts, fraction).films for fraction in fractions.tolist()]
    columns = films, found.law(fractions).tolist(), lows.tolist(), highs.tolist()
    return list(zip(*columns, strict=True))


def _ticks(target: Target) -> Iterator[tuple[float, str]]:
    most = max(target.amounts)
    for fraction in [*target.amounts, *(times * most for times in _TICKS_BEYOND)]:
        amount = amount_at(target.amounts, fraction)
        yield amount.films, f"{round(amount.films):,}\n{counted(amount.boxes, 'box')}"
