"""What a plan's runs say about its question: one sentence, and what stands behind it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from cxrssl.config.arms import arms_of
from cxrssl.config.plan import Plan
from cxrssl.metrics.label_curves import (
    Estimate,
    LabelsNeeded,
    labels_needed,
    mean_difference_of,
    mean_of,
)
from cxrssl.report.results import Results, Side
from cxrssl.report.wording import (
    METRICS,
    interval,
    is_apart,
    labels,
    needed,
    needed_interval,
)

# Below this a detector finds too little for a share of it to mean anything.
LEAST_SCORE = 0.05


@dataclass(frozen=True)
class Saved:
    """How many labels an SSL arm saved.

    Attributes:
        fraction: Share of the labels that it saw.
        score: What it reached with them.
        curve: The share with which its control reaches the same.
        seeds: How many it rests on.
    """

    fraction: float
    score: Estimate
    curve: LabelsNeeded
    seeds: int

    @property
    def verdict(self) -> str:
        """Say whether labels were saved, as far as can be told.

        With one seed it can't: where nothing is saved, its interval leaves that out in 19 to 76 of
        100 made experiments (benchmarks/labels_saved.py).
        """
        if self.seeds == 1:
            return "whether pretraining saves labels, one seed can't tell"
        if self.curve.low > self.fraction:
            return "pretraining saved labels"
        if self.curve.high < self.fraction:
            return "pretraining cost labels"
        return "whether pretraining saves labels, this experiment can't tell"


def saved_by_fraction(plan: Plan, results: Results) -> list[Saved]:
    """Return what was saved at each share that the main initialisation has, fewest labels first.

    Only seeds take part that it has finished, and its control at every share of its curve.
    """
    if plan.main is None:
        return []
    metric, found = plan.answer.metric, []
    curve = _sides(plan, plan.initialisations[plan.main].controls[0])
    for side in _sides(plan, plan.main):
        seeds = set.intersection(*(results.seeds(one) for one in [side, *curve]))
        score = results.scored(side, metric, seeds)
        points = {one.label_fraction: results.scored(one, metric, seeds) for one in curve}
        whole = {share: point for share, point in points.items() if point is not None}
        if score is None or len(whole) < max(2, len(curve)):
            continue
        needs = labels_needed(score, whole)
        found.append(Saved(side.label_fraction, mean_of(score), needs, len(seeds)))
    return found


def _sides(plan: Plan, initialisation: str) -> list[Side]:
    """Return an initialisation at each share that the plan has an arm of, fewest labels first."""
    shares = {
        arm.label_fraction
        for arm in arms_of(plan)
        if arm.initialisation == initialisation and not arm.faults
    }
    return [Side(initialisation, share) for share in sorted(shares)]


def answer(plan: Plan, results: Results, saved: list[Saved]) -> str:
    """Return the answer in one sentence, at the share and score that the plan named beforehand."""
    metric, fraction = METRICS[plan.answer.metric], plan.answer.label_fraction
    if plan.main is None:
        return _without_control(plan, results)
    own = plan.initialisations[plan.main]
    control = plan.initialisations[own.controls[0]].title
    most = _sides(plan, own.controls[0])[-1]
    best = results.mean(most, plan.answer.metric)
    if best is None and results.at(most):
        return f"{metric} can't be computed: the test images hold no true box. Take more images."
    one = next((one for one in saved if one.fraction == fraction), None)
    if one is None or best is None:
        return (
            f"The runs that answer this, with {labels(fraction)} of the labels and of the control, "
            "are not all there."
        )
    if best.value < LEAST_SCORE:
        return (
            f"Even with {labels(most.label_fraction)} of the labels the detector finds next to "
            f"nothing ({metric} {best.value:.3f}), so nothing can be read here about labels saved."
        )
    fewer = "" if one.seeds == len(plan.seeds) else f", by {one.seeds} of {len(plan.seeds)} seeds"
    return (
        f"With {labels(fraction)} of the labels, {own.title} reaches {metric} "
        f"{one.score.value:.3f} ({interval(one.score.low, one.score.high)}); {control} needs "
        f"{_of_labels(one.curve)} for that{fewer}: {one.verdict}."
    )


def _of_labels(curve: LabelsNeeded) -> str:
    ends = f"95 % interval: {needed_interval(curve)}"
    if math.isinf(curve.share):
        return f"more than {labels(curve.most)} of them ({ends})"
    return f"{needed(curve.share, curve)} of them ({ends})"


def _without_control(plan: Plan, results: Results) -> str:
    """Return what the first initialisation scores at both ends of the shares that it has."""
    metric = METRICS[plan.answer.metric]
    name, title = next((key, one.title) for key, one in plan.initialisations.items())
    sides = _sides(plan, name)
    few, many = (results.mean(side, plan.answer.metric) for side in (sides[0], sides[-1]))
    if few is None or many is None:
        return "The runs are not all there."
    return (
        f"{title}: {metric} {many.value:.3f} ({interval(many.low, many.high)}) with "
        f"{labels(sides[-1].label_fraction)} of the labels and {few.value:.3f} "
        f"({interval(few.low, few.high)}) with {labels(sides[0].label_fraction)}; without a "
        "control this plan can't say what pretraining is worth."
    )


def remarks(plan: Plan, results: Results) -> list[str]:
    """Return a sentence a comparison: the mean difference over the label shares that have ended.

    Only seeds that both sides have finished at all of them take part.
    """
    metric, found = plan.answer.metric, []
    for name, own in plan.initialisations.items():
        for control in own.controls:
            sides = [(Side(name, f), Side(control, f)) for f in sorted(plan.label_fractions)]
            common = [results.seeds(one) & results.seeds(other) for one, other in sides]
            there = [pair for pair, seeds in zip(sides, common, strict=True) if seeds]
            seeds = set.intersection(*(one for one in common if one)) if there else set()
            scored = [[results.scored(side, metric, seeds) for side in pair] for pair in there]
            pairs = [(one, other) for one, other in scored if one is not None and other is not None]
            if pairs and len(pairs) == len(there):
                gap = mean_difference_of(pairs)
                other = plan.initialisations[control].title
                text = _remark(own.title, other, METRICS[metric], gap, len(pairs))
                found.append(f"{text}, {_verdict(gap, len(seeds))}.")
    return [*found, *_against_readers(plan, results)]


def _against_readers(plan: Plan, results: Results) -> Iterator[str]:
    """Yield how the first arm compares with the readers, where they were compared."""
    if not results.plain or not results.plain[0].result["readers"]:
        return
    arm, readers = results.plain[0].arm, results.plain[0].result["readers"]
    if "verdict" not in readers:
        return
    own, human = readers["model"]["f1_at_0.4"], readers["between_readers"]["f1_at_0.4"]
    if own["value"] is None or human["value"] is None:
        return
    title = plan.initialisations[arm.initialisation].title
    yield (
        f"Beside the readers, {title} with {labels(arm.label_fraction)} of the labels (seed "
        f"{arm.seed}): {readers['verdict']} (F1 at IoU 0.4: {own['value']:.3f} and "
        f"{human['value']:.3f})."
    )


def _remark(title: str, other: str, metric: str, gap: Estimate, shares: int) -> str:
    """Return how one start compares with another, without a verdict."""
    p = "" if gap.p is None else f", p {'< 0.001' if gap.p < 0.001 else f'= {gap.p:.3f}'}"
    over = f"on average over {shares} label shares" if shares > 1 else "at one label share"
    return (
        f"{title} against {other}, label for label: {metric} {gap.value:+z.3f} {over} "
        f"(95 % interval {interval(gap.low, gap.high, signed=True)}{p})"
    )


def _verdict(gap: Estimate, seeds: int) -> str:
    if not is_apart(gap):
        return "which may be chance"
    if seeds == 1:
        return "which is more than other test images would change, and another seed may"
    return "which is more than chance"


def saved_rows(plan: Plan, saved: list[Saved]) -> list[dict[str, str]]:
    """Return a row a share: what the control needs for the same score."""
    title = "" if plan.main is None else plan.initialisations[plan.main].title
    return [
        {
            "title": title,
            "labels": labels(one.fraction),
            "needed": needed(one.curve.share, one.curve),
            "interval": needed_interval(one.curve),
        }
        for one in saved
    ]
