"""Runs of a plan with scores that a test chooses, as `metrics.json` holds them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cxrssl.config.arms import Arm, arms_of
from cxrssl.config.load import load_recipe
from cxrssl.config.plan import Plan
from cxrssl.metrics.definitions import DEFINITIONS, PER_CLASS
from cxrssl.report.results import FinishedArm, Results
from cxrssl.reproduce.resources import Resources
from support import ROOT

REPLICATES = 200
PROVENANCE = {
    "git": {"sha": "cafe", "dirty": True},
    "versions": {"torch": "2.14.1"},
    "python": "3.11.7",
    "device": "cpu",
    "num_processes": 1,
    "num_threads": 1,
    "data_fingerprint": "f00d",
}

ANY_START = Resources({}, lambda *_: None)
"""A machine on which nothing is measured and all published weights are at hand."""


def made_plan(*changes: str, name: str = "smoke") -> Plan:
    """Return a packaged plan, changed."""
    return load_recipe(ROOT / f"recipes/plans/{name}.yaml", Plan, overrides=list(changes))


def made_result(
    value: float | None, *, split: str = "corrected", spread: float = 0.01
) -> dict[str, Any]:
    """Return the content of a `metrics.json` in which every score is `value`.

    Draws of the images move all arms of a split almost alike, as the same images do: scores that
    differ, differ by a little more or less on each.
    """
    moves = np.random.default_rng(0).normal(0, spread, REPLICATES)
    entry: dict[str, Any] = {"value": value, "low": None, "high": None}
    draws: list[float | None] = [None] * REPLICATES
    if value is not None:
        entry |= {"low": value - 0.02, "high": value + 0.02}
        draws = (value + moves * (1 + value / 1000)).tolist()
    return {
        "metrics": dict.fromkeys(DEFINITIONS, entry),
        "replicate_values": dict.fromkeys(DEFINITIONS, draws),
        "per_class": {name: dict.fromkeys(PER_CLASS, entry) for name in ("Nodule", "ILD")},
        "classes": {"Nodule": {"n_boxes": 5, "n_images": 3}, "ILD": {"n_boxes": 7, "n_images": 3}},
        "definitions": DEFINITIONS,
        "truth_sha256": split,
        "seed": 0,
        "replicates": REPLICATES,
        "n_images": 10,
        "n_boxes": 12,
        "n_classes": 2,
        "train_images": 20,
        "train_boxes": 80,
        "readers": None,
    }


def made_results(plan: Plan, score: Callable[[Arm], float | None]) -> Results:
    """Return all arms of a plan with the score that each is given, and its share of 200 films.

    A film has 4 boxes, fused from 9 of three readers.
    """
    arms = []
    for arm in arms_of(plan):
        split = "published" if "P4" in arm.faults else "corrected"
        films = round(200 * arm.label_fraction)
        counts = {"train_images": films, "train_boxes": 4 * films}
        counts |= {"train_reader_boxes": 9 * films, "train_readings": 3 * films}
        result = made_result(score(arm), split=split) | counts
        arms.append(FinishedArm(arm, Path("runs/x") / arm.name, result))
    return Results(arms)
