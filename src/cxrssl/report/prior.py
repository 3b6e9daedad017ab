"""The baseline without eyes beside every side of a plan: fixed boxes that look at no image."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cxrssl.config.plan import Plan
from cxrssl.metrics.label_curves import Scored, difference_of, mean_of
from cxrssl.report.differences import Difference, difference_from
from cxrssl.report.results import Condition, FinishedArm, Results
from cxrssl.report.tables import conditions_shown, role
from cxrssl.report.wording import label_percent

_SCORES = {"froc_mean": "mean FROC sensitivity", "AP50": "AP50"}


def prior_section(plan: Plan, results: Results) -> dict[str, Any] | None:
    """Return every side of a plan beside fixed boxes; None where no arm was scored beside them.

    A row has for each score the mean over seeds of the detectors, of the fixed boxes, and of their
    difference on the same draws of the test images.
    """
    rows = [
        _row(plan, condition, results.at(condition))
        for condition in conditions_shown(plan, results)
        if all("prior" in arm.result for arm in results.at(condition))
    ]
    if not rows:
        return None
    most = max(arm.result["prior"]["most_per_class"] for arm in results.plain)
    return {
        "text": (
            f"Fixed boxes, at most {most} a class, chosen on the labels that the run saw and laid "
            "on every test image whatever is on it. What is not better than they are has learnt "
            "where findings lie, if that, and nothing of the films."
        ),
        "columns": list(_SCORES.values()),
        "rows": rows,
        "verdict": _verdict(rows),
    }


def _row(plan: Plan, condition: Condition, arms: Sequence[FinishedArm]) -> dict[str, Any]:
    name, fraction, _ = condition
    return {
        "role": role(plan, name),
        "title": plan.treatments[name].title,
        "labels": label_percent(fraction),
        "cells": [_cell(arms, score) for score in _SCORES],
    }


def _cell(arms: Sequence[FinishedArm], score: str) -> dict[str, Any]:
    results = [arm.result for arm in arms]
    own = _scored([result["metrics"][score]["value"] for result in results], results, score)
    priors = [result["prior"] for result in results]
    prior = _scored([entry["metrics"][score]["value"] for entry in priors], priors, score)
    if own is None or prior is None:
        nothing = asdict(Difference(np.nan, None, None, None)) | {"value": None}
        return {"value": None, "prior": None, "delta": nothing, "is_apart": False}
    delta = difference_from(difference_of(own, prior))
    is_apart = delta.excludes_zero
    if delta.draws_agree:
        sides = results, priors
        is_apart = _exact_ends_apart(*([side["metrics"][score] for side in each] for each in sides))
    return {
        "value": mean_of(own).value,
        "prior": mean_of(prior).value,
        "delta": asdict(delta),
        "is_apart": is_apart,
    }


def _exact_ends_apart(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]
) -> bool:
    """Return whether scores that no draw changes have exact intervals that do not touch."""
    if not all("exact_on" in entry for entry in (*first, *second)):
        return False
    lows, highs = ([[e[end] for e in side] for side in (first, second)] for end in ("low", "high"))
    return bool(min(lows[0]) > max(highs[1]) or min(lows[1]) > max(highs[0]))


def _scored(
    values: Sequence[float | None], results: Sequence[dict[str, Any]], score: str
) -> Scored | None:
    """Return scores of every seed; None where one can't be computed."""
    if not values or None in values:
        return None
    replicates = [result["replicate_values"][score] for result in results]
    return Scored(np.array(values, np.float64), np.array(replicates, np.float64))


def _verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Say in words which sides can't be told from fixed boxes, by the first score."""
    unsure = [
        f"{row['title']} at {row['labels']} of the labels"
        for row in rows
        if not row["cells"][0]["is_apart"]
    ]
    worse = [
        f"{row['title']} at {row['labels']} of the labels"
        for row in rows
        if row["cells"][0]["is_apart"] and row["cells"][0]["delta"]["value"] < 0
    ]
    title = next(iter(_SCORES.values()))
    texts = []
    if unsure:
        texts.append(f"By {title} can't be told from fixed boxes: {'; '.join(unsure)}.")
    if worse:
        texts.append(f"By {title} WORSE than fixed boxes: {'; '.join(worse)}.")
    return " ".join(texts) or f"By {title} every side is better than fixed boxes."
