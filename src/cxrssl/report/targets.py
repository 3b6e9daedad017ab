"""What each treatment needs for the targets that a plan names: films, boxes and minutes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cxrssl.config.plan import Plan
from cxrssl.metrics.label_curves import Estimate, Scored
from cxrssl.metrics.target import FARTHEST, LEAST_SHARES, TargetLabels, labels_for_target
from cxrssl.report.amounts import (
    Amount,
    Amounts,
    amount_at,
    amounts_of,
    boxes_text,
    counted,
    end_text,
    to_two_digits,
)
from cxrssl.report.answer import conditions_of
from cxrssl.report.results import Results
from cxrssl.report.tables import role
from cxrssl.report.wording import METRICS

INTRODUCTION = (
    "Within the measured shares, where the curve of a treatment first reaches the target. "
    "Beyond its last share that is an extrapolation, by the power law that fits its scores best: "
    "score = a - b n^-c, with n films. The interval holds every number of films at which some "
    "learning curve may be at the target, of several families, by test images and, from two seeds "
    'on, by seeds. "Or more" is an end that the scores do not bound, as is usual in an '
    "extrapolation: its lower end is what can be relied on. "
    f"Farther than {FARTHEST:g} times the largest share nothing is said."
)
ONE_SEED = (
    " With one seed all intervals are too narrow, the more the farther they reach: what another "
    "seed would change is not in them."
)
_REFUSALS = {
    "too few shares": f"{LEAST_SHARES} label shares are needed to extrapolate, so farther than "
    "that can't be told",
    "no interval": "the scores have no intervals, so farther than that can't be told",
    "no curve fits": "its scores follow no learning curve, so farther than that can't be told",
}


@dataclass(frozen=True)
class Target:
    """What one treatment needs for one target.

    Attributes:
        metric: Name of the score.
        score: What it is to be.
        treatment: Key in the plan.
        labels: Fractions of the labels, extrapolated beyond the last.
        amounts: Films and boxes at each measured fraction.
        curve: Scores by fraction.
        means: Their means over seeds, by fraction.
        seeds: Number of seeds behind it.
    """

    metric: str
    score: float
    treatment: str
    labels: TargetLabels
    amounts: Amounts
    curve: dict[float, Scored]
    means: dict[float, Estimate]
    seeds: int


def targets_of(plan: Plan, results: Results) -> list[Target]:
    """Return the plan's targets, by treatment in the plan's order.

    Only seeds take part that a treatment has finished at all of its label fractions; one
    without such a seed, or without a score, is left out.
    """
    targets = []
    for metric, score in plan.answer.target.items():
        for name in plan.treatments:
            conditions = conditions_of(plan, name)
            seeds = set.intersection(*map(results.seeds, conditions)) if conditions else set()
            points = {c.label_fraction: results.scored(c, metric, seeds) for c in conditions}
            curve = {fraction: point for fraction, point in points.items() if point is not None}
            if not seeds or len(curve) < len(conditions):
                continue
            estimates = {c.label_fraction: results.mean(c, metric, seeds) for c in conditions}
            means = {fraction: mean for fraction, mean in estimates.items() if mean is not None}
            amounts = amounts_of(results, conditions)
            labels = labels_for_target(score, curve)
            repeats = len(next(iter(curve.values())).values)
            targets.append(Target(metric, score, name, labels, amounts, curve, means, repeats))
    return targets


def target_remarks(plan: Plan, targets: Sequence[Target]) -> list[str]:
    """Return a sentence a target: what each treatment needs, and what is extrapolated."""
    sentences = []
    for metric, score in plan.answer.target.items():
        parts = [
            f"{plan.treatments[target.treatment].title} {_needs(plan, target)}"
            for target in targets
            if target.metric == metric
        ]
        goal = f"For {METRICS[metric]} {score:g}"
        if parts:
            sentences.append(f"{goal}: {'; '.join(parts)}.")
        else:
            sentences.append(f"{goal}: the runs that tell this are not all there.")
    if targets and plan.answer.reading is not None:
        sentences.append(reading_text(plan))
    return sentences


def reading_text(plan: Plan) -> str:
    """Return what reader minutes rest on, empty where the plan has no reading times."""
    reading = plan.answer.reading
    if reading is None:
        return ""
    return (
        f"Reader minutes are by the plan's assumption of {reading.seconds_per_image:g} s an image "
        f"and {reading.seconds_per_box:g} s a box, of every reader who read it: nobody measured "
        "them."
    )


def target_rows(plan: Plan, targets: Sequence[Target]) -> list[dict[str, str]]:
    """Return a row a target and treatment."""
    return [
        {
            "role": role(plan, target.treatment),
            "title": plan.treatments[target.treatment].title,
            "target": f"{METRICS[target.metric]} {target.score:g}",
            "films": _films(target),
            "boxes": _boxes(plan, target),
            "interval": interval_text(target),
            "how": _how(target),
        }
        for target in targets
    ]


def target_json(target: Target) -> dict[str, Any]:
    """Return a target for programs: fractions of the labels, films and boxes."""
    labels = target.labels
    is_known = 0 < labels.fraction < math.inf
    amount = amount_at(target.amounts, labels.fraction) if is_known else None
    return {
        "metric": target.metric,
        "score": target.score,
        "treatment": target.treatment,
        "label_fraction": labels.fraction,
        "low": labels.low,
        "high": labels.high,
        "measured_from": labels.least,
        "measured_to": labels.most,
        "extrapolated": labels.fraction > labels.most and is_known,
        "films": None if amount is None else amount.films,
        "boxes": None if amount is None else amount.boxes,
        "seeds": target.seeds,
        "refusal": labels.refusal,
    }


def interval_text(target: Target) -> str:
    """Return the 95 % interval in films."""
    labels, amounts = target.labels, target.amounts
    low, high, least = labels.low, labels.high, labels.least
    if math.isnan(low) or math.isnan(high):
        return "not known"
    if math.isinf(low):
        return f"more than {counted(amount_at(amounts, labels.farthest).films, 'film')}"
    if math.isinf(high):
        if low <= 0:
            return "not bounded on either side"
        return f"{end_text(amounts, low, least=least)} or more"
    if high <= 0:
        return end_text(amounts, high, least=least)
    if low <= 0:
        return f"up to {end_text(amounts, high, least=least)}"
    ends = (counted(amount_at(amounts, end).films, "film") for end in (low, high))
    first, last = ends
    return f"{first.removesuffix(' films').removesuffix(' film')} to {last}"


def _needs(plan: Plan, target: Target) -> str:
    """Return the part of a sentence about one treatment, from its verb on."""
    labels, amounts = target.labels, target.amounts
    interval = f"95 % interval: {interval_text(target)}"
    if math.isnan(labels.fraction):
        return "has a score that can't be computed"
    if labels.fraction <= 0:
        fewest = amount_at(amounts, labels.least)
        return f"reaches it with fewer than {counted(fewest.films, 'film')} ({interval})"
    measured = counted(amount_at(amounts, labels.most).films, "film")
    if math.isinf(labels.fraction):
        return f"does not reach it with the {measured} measured: {_why_not(target)} ({interval})"
    amount = _amount(target)
    boxes = boxes_text(amount, plan.answer.reading)
    needs = f"needs about {counted(amount.films, 'film')} ({boxes}; {interval})"
    if labels.fraction <= labels.most:
        return needs
    return f"{needs}, extrapolated beyond the {measured} measured"


def _why_not(target: Target) -> str:
    labels = target.labels
    if labels.refusal is not None:
        return _REFUSALS[labels.refusal]
    farthest = counted(amount_at(target.amounts, labels.farthest).films, "film")
    if labels.level is not None and labels.level <= target.score:
        return f"its fitted curve levels off at {labels.level:.3f}"
    if math.isinf(labels.low):
        return f"no learning curve that fits its scores reaches it with {farthest}"
    return f"by its fitted curve it takes more than {farthest}, and farther is not extrapolated"


def _films(target: Target) -> str:
    labels = target.labels
    if math.isinf(labels.fraction):
        is_level = labels.level is not None and labels.level <= target.score
        if is_level and labels.refusal is None:
            return "not reached"
        return f"more than {counted(amount_at(target.amounts, labels.farthest).films, 'film')}"
    if not labels.fraction > 0:
        return end_text(target.amounts, labels.fraction, least=labels.least)
    return f"about {counted(_amount(target).films, 'film')}"


def _amount(target: Target) -> Amount:
    """Return what is needed, to two digits where it is extrapolated."""
    labels = target.labels
    amount = amount_at(target.amounts, labels.fraction)
    return amount if labels.fraction <= labels.most else to_two_digits(amount)


def _boxes(plan: Plan, target: Target) -> str:
    fraction = target.labels.fraction
    if not 0 < fraction < math.inf:
        return ""
    return f"about {boxes_text(_amount(target), plan.answer.reading)}"


def _how(target: Target) -> str:
    labels = target.labels
    if math.isnan(labels.fraction):
        return "a score can't be computed"
    if math.isinf(labels.fraction):
        return _why_not(target)
    if labels.fraction <= 0:
        return "at the smallest share measured already"
    if labels.fraction <= labels.most:
        return "measured"
    times = labels.fraction / labels.most
    return f"extrapolated, {times:.1f} times what was measured"
