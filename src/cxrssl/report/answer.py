"""What a plan's runs say about its question: one sentence, and what stands behind it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from cxrssl.config.plan import Plan
from cxrssl.metrics.label_curves import Estimate, LabelsNeeded, labels_needed, mean_difference_of
from cxrssl.report.results import Results
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

    Only seeds that all of these arms have finished take part.
    """
    if plan.main is None:
        return []
    main, control = plan.main, plan.initialisations[plan.main].controls[0]
    metric, found = plan.answer.metric, []
    for fraction in sorted(plan.label_fractions):
        score = results.scored(main, fraction, metric)
        curve = {
            share: scored
            for share in sorted(plan.label_fractions)
            if (scored := results.scored(control, share, metric)) is not None
        }
        if score is None or len(curve) < 2:
            continue
        if any(len(one.values) != len(score.values) for one in curve.values()):
            continue  # a plan that still runs: some seeds are missing on one side
        mean = results.mean(main, fraction, metric)
        assert mean is not None  # as its scores are there
        needs = labels_needed(score, curve)
        found.append(Saved(fraction, mean, needs, len(score.values)))
    return found


def answer(plan: Plan, results: Results, saved: list[Saved]) -> str:
    """Return the answer in one sentence, at the share and score that the plan named beforehand."""
    metric, fraction = METRICS[plan.answer.metric], plan.answer.label_fraction
    if plan.main is None:
        return _without_control(plan, results)
    own = plan.initialisations[plan.main]
    control = plan.initialisations[own.controls[0]].title
    best = results.mean(own.controls[0], max(plan.label_fractions), plan.answer.metric)
    if best is None and results.at(own.controls[0], max(plan.label_fractions)):
        return f"{metric} can't be computed: the test images hold no true box. Take more images."
    one = next((one for one in saved if one.fraction == fraction), None)
    if one is None or best is None:
        return (
            f"The runs with {labels(fraction)} of the labels, which answer it, have not all ended."
        )
    if best.value < LEAST_SCORE:
        return (
            f"Even with all labels the detector finds next to nothing ({metric} {best.value:.3f}), "
            "so nothing can be read here about labels saved."
        )
    return (
        f"With {labels(fraction)} of the labels, {own.title} reaches {metric} "
        f"{one.score.value:.3f} ({interval(one.score.low, one.score.high)}); {control} needs "
        f"{_of_labels(one.curve)} for that: {one.verdict}."
    )


def _of_labels(curve: LabelsNeeded) -> str:
    ends = f"95 % interval: {needed_interval(curve)}"
    if math.isinf(curve.share):
        return f"more than {labels(curve.most)} of them ({ends})"
    return f"{needed(curve.share, curve)} of them ({ends})"


def _without_control(plan: Plan, results: Results) -> str:
    metric = METRICS[plan.answer.metric]
    name, title = next((key, one.title) for key, one in plan.initialisations.items())
    ends = sorted(plan.label_fractions)
    few, many = (results.mean(name, share, plan.answer.metric) for share in (ends[0], ends[-1]))
    if few is None or many is None:
        return "The runs have not all ended."
    return (
        f"{title}: {metric} {many.value:.3f} ({interval(many.low, many.high)}) with "
        f"{labels(ends[-1])} of the labels and {few.value:.3f} ({interval(few.low, few.high)}) "
        f"with {labels(ends[0])}; without a control this plan can't say what pretraining is worth."
    )


def remarks(plan: Plan, results: Results) -> list[str]:
    """Return a sentence a comparison: the mean difference over all label shares."""
    metric, found = plan.answer.metric, []
    for name, own in plan.initialisations.items():
        for control in own.controls:
            both = [
                (share, results.pair((name, share, ()), (control, share, ()), metric))
                for share in sorted(plan.label_fractions)
            ]
            there = [(share, pair) for share, pair in both if pair is not None]
            most = max((len(pair[0].values) for _, pair in there), default=0)
            whole = [(share, pair) for share, pair in there if len(pair[0].values) == most]
            if whole:
                gap = mean_difference_of([pair for _, pair in whole])
                other = plan.initialisations[control].title
                text = _remark(own.title, other, METRICS[metric], gap, len(whole))
                found.append(f"{text}, {_verdict(gap, most)}.")
    return [*found, *_against_readers(plan, results)]


def _against_readers(plan: Plan, results: Results) -> Iterator[str]:
    """Yield how the first arm compares with the readers, where they were compared."""
    if not results.arms or not results.arms[0].result["readers"]:
        return
    arm, readers = results.arms[0].arm, results.arms[0].result["readers"]
    if "verdict" not in readers:
        return
    own, human = readers["model"]["f1_at_0.4"], readers["between_readers"]["f1_at_0.4"]
    if own["value"] is None or human["value"] is None:
        return
    title = plan.initialisations[arm.initialisation].title
    yield (
        f"Beside the readers, {title} with {labels(arm.label_fraction)} of the labels: "
        f"{readers['verdict']} (F1 at IoU 0.4: {own['value']:.3f} and {human['value']:.3f})."
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


def cautions(plan: Plan) -> list[str]:
    """Return what a reader must know before believing a number."""
    found = []
    if plan.data.source is None:
        found.append(
            "The images are a made phantom. It shows that the machinery works; no number here "
            "means anything clinical."
        )
    if len(plan.seeds) == 1:
        found.append(
            "One seed: the intervals are about the test images alone. Another training run would "
            "differ by more, often by a few hundredths."
        )
    return found
