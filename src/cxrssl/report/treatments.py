"""Each treatment of a plan: in what it differs from its controls, and what it came to."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cxrssl.config.arms import arms_of, in_folds, pairs_of, pretrainings_of
from cxrssl.config.difference_words import Known, difference_text, differences
from cxrssl.config.plan import Plan
from cxrssl.core.records import read_record, reading
from cxrssl.metrics.drift import holm_adjusted
from cxrssl.models.stages import body_parameters
from cxrssl.report.amounts import amount_at, boxes_text, counted, range_text
from cxrssl.report.answer import Saved, saved_against, sentence, why_no_answer
from cxrssl.report.differences import Difference
from cxrssl.report.fairness import Recipes
from cxrssl.report.results import Condition, Results
from cxrssl.report.tables import role
from cxrssl.report.wording import METRICS, label_percent, needed, needed_interval

_NOT_YET = "not known before runs of both have ended and recorded their recipes"
_MAY_BE_CHANCE = 0.05
# Pretrainings of earlier versions, which name no method, were of this one.
_FIRST_METHOD = {"title": "SimCLR"}


def other_answers(plan: Plan, results: Results) -> list[str]:
    """Return the answer's sentence for every other treatment that has a control, where it has one.

    Treatments whose runs are not all there are in the table. A verdict that does not outlast the
    correction for the number of comparisons says so.
    """
    texts, corrected = [], _corrected(plan, results)
    for name, section in plan.treatments.items():
        if not section.controls or name == plan.main:
            continue
        control = section.controls[0]
        saved = saved_against(plan, results, name, control)
        if why_no_answer(plan, results, control, saved) is None:
            text, p = sentence(plan, name, saved), corrected[name, control]
            fraction = plan.answer.label_fraction
            is_told = any(saving.is_told for saving in saved if saving.fraction == fraction)
            if is_told and len(corrected) > 1 and p is not None and p >= _MAY_BE_CHANCE:
                text = (
                    f"{text[:-1]}, taken by itself: among {len(corrected)} comparisons it may be "
                    f"chance (p = {p:.3f} after Holm)."
                )
            texts.append(text)
    return texts


def _corrected(plan: Plan, results: Results) -> dict[tuple[str, str], float | None]:
    """Return p of every treatment and control at the answer's labels, corrected for their number.

    A comparison that is not there yet counts as one that may be anything.
    """
    p_values: dict[tuple[str, str], float | None] = {}
    for name, section in plan.treatments.items():
        for control in section.controls:
            fraction = plan.answer.label_fraction
            sides = Condition(name, fraction), Condition(control, fraction)
            difference = results.difference(*sides, plan.answer.metric)
            p_values[name, control] = None if difference is None else difference.p
    adjusted = holm_adjusted([1.0 if p is None else p for p in p_values.values()])
    pairs = zip(p_values.items(), adjusted, strict=True)
    return {pair: None if p is None else p_holm for (pair, p), p_holm in pairs}


def comparisons_note(plan: Plan) -> list[str]:
    """Return how many comparisons the plan makes, if they are several, and what follows."""
    number = sum(len(section.controls) for section in plan.treatments.values())
    if number < 2:
        return []
    return [
        f"The plan compares {number} times a treatment with a control. Every interval and p-value "
        "is of one comparison alone, and not corrected for their number: where nothing differs, "
        "one in 20 would still seem to differ. The table of treatments has p-values that are "
        "corrected."
    ]


def known_of(runs: Path, plan: Plan, pool_images: int | None, recipes: Recipes) -> Known:
    """Return what runs recorded of the plan's pretrainings, and the number of images in the pool.

    Args:
        runs: Folder of the plan.
        plan: The plan.
        pool_images: Number of images in the pool; None without one.
        recipes: What its finished runs recorded.
    """
    methods: dict[str, str] = {}
    arms = [run for arm in arms_of(plan) for run in in_folds(plan, arm)]
    for pretraining in pretrainings_of(arms):
        path = runs / pretraining.name / "metrics.json"
        if pretraining.key not in methods and path.is_file():
            record = read_record(path)
            with reading(path):
                methods[pretraining.key] = str(record.get("method", _FIRST_METHOD)["title"])
    parameters = body_parameters(recipe.backbone for recipe in recipes.values())
    return Known(methods, pool_images, parameters)


def treatment_section(
    plan: Plan, results: Results, recipes: Recipes, known: Known
) -> dict[str, Any] | None:
    """Return a row a treatment and control; None without a control, or before an arm has ended.

    Args:
        plan: The plan.
        results: Its finished arms.
        recipes: What their runs recorded.
        known: What else is known of its runs.
    """
    if plan.main is None or not results.arms:
        return None
    fraction, metric = plan.answer.label_fraction, METRICS[plan.answer.metric]
    words = _words(plan, recipes, known)
    rows = [row for name in plan.treatments for row in _rows(plan, results, name, words)]
    compared = [row for row in rows if row["control"]]
    for row in rows:
        row["p_holm"] = None
    for row, p_holm in zip(compared, _corrected(plan, results).values(), strict=True):
        row["p_holm"] = p_holm
    number = len(compared)
    labels = label_percent(fraction)
    correction = (
        f" p (Holm) is corrected for the {number} comparisons of this table; intervals are not."
        if number > 1
        else ""
    )
    return {
        "text": (
            "In what each treatment differs from its control, by the recipes that their runs "
            "recorded; with how many labels the control reaches the same score; and how far apart "
            f"they are with {labels} of the labels. In all else both are equal: images, labels, "
            f"seeds, detector and labelled steps.{_backbones_note(known)}{correction}"
        ),
        "labels": labels,
        "metric": metric,
        "corrected": number > 1,
        "rows": rows,
    }


def _backbones_note(known: Known) -> str:
    """Say what another backbone changes with it; empty where all have the same."""
    if not known.parameters:
        return ""
    return (
        " Another backbone has other widths, another number of parameters, and its own kind of "
        "pyramid: what such a pair differs by is the whole of it, and not its weights alone."
    )


def _words(plan: Plan, recipes: Recipes, known: Known) -> dict[tuple[str, str], str]:
    """Return in what treatments differ from their controls, or why that is not known."""
    words: dict[tuple[str, str], str] = {}
    for arm, control in pairs_of(plan):
        names = arm.treatment, control.treatment
        if words.get(names, _NOT_YET) == _NOT_YET:
            words[names] = _NOT_YET
            if arm.name in recipes and control.name in recipes:
                pair = recipes[arm.name], recipes[control.name]
                words[names] = difference_text(differences(plan, names, pair, known))
    return words


def _rows(
    plan: Plan, results: Results, name: str, words: Mapping[tuple[str, str], str]
) -> Iterator[dict[str, Any]]:
    section, fraction = plan.treatments[name], plan.answer.label_fraction
    first: dict[str, Any] = {"role": role(plan, name), "title": section.title}
    if not section.controls:
        yield first | _cells(None, None) | {"control": "", "differs": ""}
    for control in section.controls:
        sides = Condition(name, fraction), Condition(control, fraction)
        difference = results.difference(*sides, plan.answer.metric)
        saved = saved_against(plan, results, name, control)
        is_known = why_no_answer(plan, results, control, saved) is None
        saving = next(entry for entry in saved if entry.fraction == fraction) if is_known else None
        texts = {
            "control": plan.treatments[control].title,
            "differs": words.get((name, control), "they have no label share in common"),
        }
        yield first | _cells(difference, saving) | texts


def _cells(difference: Difference | None, saving: Saved | None) -> dict[str, Any]:
    """Return labels saved and the difference of a row, None for what is not known."""
    nothing = dict.fromkeys(("value", "low", "high", "p")) | {"draws_agree": False}
    cells = nothing if difference is None else asdict(difference)
    texts = dict.fromkeys(("needed", "unit", "needed_amount", "interval", "interval_films"), "")
    if saving is not None:
        curve, amounts = saving.curve, saving.control
        texts = {
            "needed": needed(curve.share, curve),
            "unit": "of the labels" if 0 < curve.share < math.inf else "",
            "needed_amount": _amount(saving),
            "interval": needed_interval(curve),
            "interval_films": range_text(amounts, curve.low, curve.high, least=curve.least),
        }
    return cells | texts


def _amount(saving: Saved) -> str:
    """Return films and boxes that the control needs; empty where that is out of range."""
    share = saving.curve.share
    if not 0 < share < math.inf:
        return ""
    amount = amount_at(saving.control, share)
    return f"about {counted(amount.films, 'film')}, {boxes_text(amount, None)}"


def treatment_cells(section: Mapping[str, Any]) -> tuple[Sequence[str], list[list[str]]]:
    """Return the head and the rows of a section as text."""
    heads = [
        "treatment",
        "control",
        "differs from it by",
        "the control needs",
        f"difference of {section['metric']} with {section['labels']} of the labels",
    ]
    if section["corrected"]:
        heads.append("p (Holm)")
    rows = []
    for row in section["rows"]:
        cells = [row["title"], row["control"] or "-", row["differs"] or "-", _needed(row)]
        cells.append(_difference(row))
        if section["corrected"]:
            cells.append(_p_text(row["p_holm"]))
        rows.append(cells)
    return heads, rows


def _p_text(p: float | None) -> str:
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _needed(row: Mapping[str, Any]) -> str:
    if not row["needed"]:
        return "-"
    amount = f", {row['needed_amount']}" if row["needed_amount"] else ""
    return f"{row['needed']}{amount} ({row['interval']})"


def _difference(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "-"
    if row["low"] is None:
        return f"{row['value']:+z.3f} (no interval)"
    return f"{row['value']:+z.3f} ({row['low']:+z.3f} to {row['high']:+z.3f})"
