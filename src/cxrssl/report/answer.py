"""What a plan's runs say about its question: one sentence, and what stands behind it.

`report.treatments` has the sentences of treatments that the answer is not about.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cxrssl.config.arms import arms_of
from cxrssl.config.difference_words import subject
from cxrssl.config.plan import Plan
from cxrssl.metrics.label_curves import (
    Estimate,
    LabelsNeeded,
    labels_needed,
    mean_difference_of,
)
from cxrssl.report.amounts import (
    Amount,
    Amounts,
    amount_at,
    amount_of,
    amounts_of,
    boxes_text,
    counted,
    range_text,
    share_text,
)
from cxrssl.report.differences import Difference, difference_from
from cxrssl.report.results import Condition, Results
from cxrssl.report.wording import (
    METRICS,
    interval,
    label_percent,
    needed,
    needed_interval,
)

# Below this score a detector finds too little to compare label fractions.
LEAST_SCORE = 0.05
_NEAR_CEILING = 0.95


@dataclass(frozen=True)
class Saved:
    """How many labels a treatment saved at one label fraction.

    Attributes:
        subject: What saved them or not: pretraining, or the treatment's title.
        fraction: Fraction of the labels that it was fine-tuned on, in (0, 1].
        score: Mean over seeds with these labels.
        curve: The fraction with which the control reaches the same score.
        seeds: Number of the plan's seeds behind it.
        repeats: Trainings with a seed of their own behind it: seeds, or folds that have one each.
        own: Films and boxes of that label fraction.
        control: Films and boxes of the control at each of its label fractions.
    """

    subject: str
    fraction: float
    score: Estimate
    curve: LabelsNeeded
    seeds: int
    repeats: int
    own: Amount
    control: Amounts

    @property
    def is_told(self) -> bool:
        """Whether the verdict says that labels were saved, or cost."""
        curve = self.curve
        return self.repeats > 1 and (curve.low > self.fraction or curve.high < self.fraction)

    @property
    def verdict(self) -> str:
        """Say whether labels were saved, as far as can be told.

        With one seed it can't: where nothing is saved, the interval excludes that in 19 to 76 of
        100 simulated experiments (benchmarks/labels_saved.py).
        """
        if self.repeats == 1:
            return f"whether {self.subject} saves labels, one seed can't tell"
        if self.curve.low > self.fraction:
            return f"{self.subject} saved labels"
        if self.curve.high < self.fraction:
            return f"{self.subject} cost labels"
        return f"whether {self.subject} saves labels, this experiment can't tell"


def saved_by_fraction(plan: Plan, results: Results) -> list[Saved]:
    """Return what the main treatment saved at each of its label fractions, fewest first."""
    if plan.main is None:
        return []
    return saved_against(plan, results, plan.main, plan.treatments[plan.main].controls[0])


def saved_against(plan: Plan, results: Results, treatment: str, control: str) -> list[Saved]:
    """Return what a treatment saved against a control, at each label fraction, fewest first.

    Only seeds take part that it has finished, and its control at every fraction of its curve.
    """
    metric, saved = plan.answer.metric, []
    curve = conditions_of(plan, control)
    amounts, name = amounts_of(results, curve), subject(plan, treatment)
    for condition in conditions_of(plan, treatment):
        seeds = set.intersection(*map(results.seeds, [condition, *curve]))
        score = results.scored(condition, metric, seeds)
        mean = results.mean(condition, metric, seeds)
        points = {point.label_fraction: results.scored(point, metric, seeds) for point in curve}
        scored_points = {fraction: point for fraction, point in points.items() if point is not None}
        own = amount_of(results.at(condition))
        if score is None or mean is None or own is None or len(scored_points) < max(2, len(curve)):
            continue
        needs = labels_needed(score, scored_points)
        repeats = len(score.values)
        share = condition.label_fraction
        saved.append(Saved(name, share, mean, needs, len(seeds), repeats, own, amounts))
    return saved


def conditions_of(plan: Plan, treatment: str) -> list[Condition]:
    """Return a treatment's conditions in the plan, without faults, fewest labels first."""
    fractions = {
        arm.label_fraction for arm in arms_of(plan) if arm.treatment == treatment and not arm.faults
    }
    return [Condition(treatment, fraction) for fraction in sorted(fractions)]


def answer(plan: Plan, results: Results, saved: list[Saved]) -> str:
    """Return the answer in one sentence, at the label fraction and score that the plan names."""
    if plan.main is None:
        return _without_control(plan, results)
    reason = why_no_answer(plan, results, plan.treatments[plan.main].controls[0], saved)
    return sentence(plan, plan.main, saved) if reason is None else reason


def why_no_answer(plan: Plan, results: Results, control: str, saved: Sequence[Saved]) -> str | None:
    """Return why it can't be said what was saved against a control, None where it can."""
    metric, fraction = METRICS[plan.answer.metric], plan.answer.label_fraction
    conditions = conditions_of(plan, control)
    if not conditions:
        return f"{plan.treatments[control].title} has no arm in the plan to be compared with."
    all_labels = conditions[-1]
    control_score = results.mean(all_labels, plan.answer.metric)
    if control_score is None and results.at(all_labels) and plan.data.fresh_seeds:
        return f"{metric} can't be computed in every fold: take fewer folds, or more images."
    if control_score is None and results.at(all_labels):
        return f"{metric} can't be computed: the test images hold no true box. Take more images."
    if control_score is None or all(saving.fraction != fraction for saving in saved):
        return (
            f"The runs that answer this, with {label_percent(fraction)} of the labels and of the "
            "control, are not all there."
        )
    if control_score.value < LEAST_SCORE:
        return (
            f"Even with {label_percent(all_labels.label_fraction)} of the labels the detector "
            f"finds next to nothing ({metric} {control_score.value:.3f}), so nothing can be read "
            "here about labels saved."
        )
    return None


def sentence(plan: Plan, treatment: str, saved: Sequence[Saved]) -> str:
    """Return what a treatment saved at the answer's label fraction, which is among `saved`."""
    metric, fraction = METRICS[plan.answer.metric], plan.answer.label_fraction
    section = plan.treatments[treatment]
    control = plan.treatments[section.controls[0]].title
    (saving,) = (saving for saving in saved if saving.fraction == fraction)
    score, seeds = saving.score, ""
    if saving.seeds < len(plan.seeds):
        seeds = f", by {saving.seeds} of {len(plan.seeds)} seeds"
    return (
        f"With {share_text({fraction: saving.own}, fraction)}, {section.title} reaches {metric} "
        f"{score.value:.3f} ({interval(score.low, score.high)}); {control} needs "
        f"{_labels_needed_text(saving)} for that{seeds}: {saving.verdict}."
    )


def _labels_needed_text(saving: Saved) -> str:
    """Return films, boxes and share that the control needs, with the interval in films."""
    curve, amounts = saving.curve, saving.control
    low, high = curve.low, curve.high
    ends = f"95 % interval: {range_text(amounts, low, high, least=curve.least)}"
    if math.isnan(curve.share):
        return f"a number of films that is not known ({ends})"
    if 0 < curve.share < math.inf:
        amount, share = amount_at(amounts, curve.share), needed(curve.share, curve)
        films, about = counted(amount.films, "film"), "about "
    elif curve.share <= 0:
        amount, share = amount_at(amounts, curve.least), needed(curve.share, curve)
        films, about = f"fewer than {counted(amount.films, 'film')}", ""
    else:
        amount, share = amount_at(amounts, curve.most), label_percent(curve.most)
        films, about = f"more than {counted(amount.films, 'film')}", ""
    boxes = f"{about}{counted(amount.boxes, 'box')}"
    return f"{films} ({boxes}; {share} of the labels; {ends})"


def _without_control(plan: Plan, results: Results) -> str:
    """Return what the first treatment scores with the fewest and with the most labels."""
    metric = METRICS[plan.answer.metric]
    name, treatment = next(iter(plan.treatments.items()))
    conditions = conditions_of(plan, name)
    fewest, most = conditions[0], conditions[-1]
    few, many = (results.mean(condition, plan.answer.metric) for condition in (fewest, most))
    if few is None or many is None:
        return "The runs are not all there."
    amounts = amounts_of(results, conditions)
    more, fewer = (share_text(amounts, side.label_fraction) for side in (most, fewest))
    return (
        f"{treatment.title}: {metric} {many.value:.3f} ({interval(many.low, many.high)}) with "
        f"{more} and {few.value:.3f} ({interval(few.low, few.high)}) with {fewer}; without a "
        "control this plan can't say what it is worth."
    )


def remarks(plan: Plan, results: Results) -> list[str]:
    """Return a sentence a comparison: the mean difference over the label fractions that have ended.

    Only seeds take part that both conditions have finished at all of them.
    """
    metric, texts = plan.answer.metric, []
    for name, treatment in plan.treatments.items():
        for control in treatment.controls:
            pairs = [
                (Condition(name, fraction), Condition(control, fraction))
                for fraction in sorted(plan.label_fractions)
            ]
            common = [results.seeds(first) & results.seeds(second) for first, second in pairs]
            started = [pair for pair, seeds in zip(pairs, common, strict=True) if seeds]
            seeds = set.intersection(*filter(None, common)) if started else set()
            scores = [
                [results.scored(condition, metric, seeds) for condition in pair] for pair in started
            ]
            scored = [
                (first, second)
                for first, second in scores
                if first is not None and second is not None
            ]
            if scored and len(scored) == len(started):
                difference = difference_from(mean_difference_of(scored))
                control_title = plan.treatments[control].title
                subject = f"{treatment.title} against {control_title}, label for label"
                over = "at one label share"
                if len(scored) > 1:
                    over = f"on average over {len(scored)} label shares"
                value = f"{METRICS[metric]} {difference.value:+z.3f} {over}"
                films = results.plain[0].result["n_images"]
                repeats = len(scored[0][0].values)
                told = _told(difference, num_repeats=repeats, num_films=films)
                texts.append(f"{subject}: {value}{told}.")
    return [*texts, *_ceiling_remarks(plan, results), *_reader_remarks(plan, results)]


def _ceiling_remarks(plan: Plan, results: Results) -> Iterator[str]:
    """Yield that the answer's score is near its ceiling with the fewest labels, where it is."""
    if plan.main is None:
        return
    control = plan.treatments[plan.main].controls[0]
    fewest = conditions_of(plan, control)[0]
    score = results.mean(fewest, plan.answer.metric)
    if score is not None and score.value >= _NEAR_CEILING:
        metric = METRICS[plan.answer.metric]
        yield (
            f"{metric} is {score.value:.3f} already with {label_percent(fewest.label_fraction)} of "
            f"the labels and the control ({plan.treatments[control].title}), so that it leaves "
            "little to save: another answer.metric may tell more, such as AP, which asks for "
            "tighter boxes."
        )


def _reader_remarks(plan: Plan, results: Results) -> Iterator[str]:
    """Yield how the first arm compares with the readers, where they were compared."""
    if not results.plain or not results.plain[0].result["readers"]:
        return
    arm, readers = results.plain[0].arm, results.plain[0].result["readers"]
    if "verdict" not in readers:
        return
    model, human = (readers[key]["f1_at_0.4"]["value"] for key in ("model", "between_readers"))
    if model is None or human is None:
        return
    title = plan.treatments[arm.treatment].title
    yield (
        f"Beside the readers, {title} with {label_percent(arm.label_fraction)} of the labels (seed "
        f"{arm.seed}): {readers['verdict']} (F1 at IoU 0.4: {model:.3f} and {human:.3f})."
    )


def _told(difference: Difference, *, num_repeats: int, num_films: int) -> str:
    """Return what follows a difference: interval, p-value and verdict, or why there are none."""
    if difference.draws_agree:
        return (
            f", the same on every draw of the {counted(num_films, 'test film')}, so that they "
            "can't tell what other films would change"
        )
    p = difference.p
    p_text = "" if p is None else f", p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"
    verdict = "which is more than chance"
    if not difference.excludes_zero:
        verdict = "which may be chance"
    elif num_repeats == 1:
        verdict = "which is more than other test images would change, and another seed may"
    return f" (95 % interval {difference.interval}{p_text}), {verdict}"


def saved_rows(plan: Plan, saved: list[Saved]) -> list[dict[str, str]]:
    """Return a row a label fraction: what the control needs for the same score."""
    title = "" if plan.main is None else plan.treatments[plan.main].title
    return [
        {
            "title": title,
            "labels": label_percent(saving.fraction),
            "amount": _amount_text(saving.own, plan),
            "needed": needed(saving.curve.share, saving.curve),
            "needed_amount": _needed_amount(plan, saving),
            "interval": needed_interval(saving.curve),
            "interval_films": range_text(
                saving.control, saving.curve.low, saving.curve.high, least=saving.curve.least
            ),
        }
        for saving in saved
    ]


def _needed_amount(plan: Plan, saving: Saved) -> str:
    """Return films, boxes and minutes that the control needs; empty where that is out of range."""
    share = saving.curve.share
    if not 0 < share < math.inf:
        return ""
    return f"about {_amount_text(amount_at(saving.control, share), plan)}"


def _amount_text(amount: Amount, plan: Plan) -> str:
    return f"{counted(amount.films, 'film')}, {boxes_text(amount, plan.answer.reading)}"
