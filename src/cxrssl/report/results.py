"""What the runs of a plan came to: scores of every seed, on the same draws of the test images."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrssl.config.arms import Arm, Faults
from cxrssl.core.errors import RunError
from cxrssl.metrics.label_curves import Estimate, Scored, difference_of, mean_of


@dataclass(frozen=True)
class FinishedArm:
    """An arm with what it came to.

    Attributes:
        arm: Which one.
        folder: Its run.
        result: Content of its `metrics.json`.
    """

    arm: Arm
    folder: Path
    result: dict[str, Any]


class Results:
    """The arms of a plan that have finished.

    Attributes:
        arms: In the plan's order.
    """

    def __init__(self, arms: Sequence[FinishedArm]) -> None:
        """Take arms, of which those without the same faults are tested on the same images.

        Raises:
            RunError: If they are not, or not on the same draws of them.
        """
        self.arms = list(arms)
        self._at: dict[tuple[str, float, Faults], dict[int, FinishedArm]] = {}
        for one in arms:
            key = (one.arm.initialisation, one.arm.label_fraction, one.arm.faults)
            self._at.setdefault(key, {})[one.arm.seed] = one
        self._check_draws()

    def at(self, initialisation: str, fraction: float, faults: Faults = ()) -> list[FinishedArm]:
        """Return the finished arms of an initialisation at a label share, by seed."""
        found = self._at.get((initialisation, fraction, faults), {})
        return [found[seed] for seed in sorted(found)]

    def scored(
        self, initialisation: str, fraction: float, metric: str, faults: Faults = ()
    ) -> Scored | None:
        """Return scores by seed, None where no arm has finished or the score can't be computed."""
        return _scored(self.at(initialisation, fraction, faults), metric)

    def mean(
        self, initialisation: str, fraction: float, metric: str, faults: Faults = ()
    ) -> Estimate | None:
        """Return the mean over seeds with its interval; None likewise."""
        scored = self.scored(initialisation, fraction, metric, faults)
        return None if scored is None else mean_of(scored)

    def pair(
        self, first: tuple[str, float, Faults], second: tuple[str, float, Faults], metric: str
    ) -> tuple[Scored, Scored] | None:
        """Return two sides over the seeds that both have finished; None without any."""
        sides = self._at.get(first, {}), self._at.get(second, {})
        seeds = sorted(sides[0].keys() & sides[1].keys())
        one, other = (_scored([side[seed] for seed in seeds], metric) for side in sides)
        return None if one is None or other is None else (one, other)

    def difference(
        self, first: tuple[str, float, Faults], second: tuple[str, float, Faults], metric: str
    ) -> Estimate | None:
        """Return how much greater the first side is, seed by seed; None without a common seed."""
        both = self.pair(first, second, metric)
        return None if both is None else difference_of(*both)

    def _check_draws(self) -> None:
        """Raise a `RunError` if arms that are compared were not scored on the same images."""
        by_split: dict[bool, set[tuple[Any, ...]]] = {}
        for one in self.arms:
            result = one.result
            drawn = (result["truth_sha256"], result["seed"], result["replicates"])
            by_split.setdefault("P4" in one.arm.faults, set()).add(drawn)
        if any(len(draws) > 1 for draws in by_split.values()):
            folders = ", ".join(str(one.folder) for one in self.arms[:3])
            raise RunError(
                f"the runs ({folders}, ...) were scored on different test images or draws, so they "
                "can't be compared. Were they made from another store? Delete those folders and "
                "run `cxrssl reproduce` again."
            )


def read_results(runs: Path, arms: Sequence[Arm]) -> Results:
    """Read what the arms of a plan came to, as far as they have finished.

    Raises:
        RunError: If one was scored by an earlier version, or they can't be compared.
    """
    found = [
        FinishedArm(arm, folder, json.loads((folder / "metrics.json").read_text()))
        for arm in arms
        if ((folder := runs / arm.name) / "metrics.json").is_file()
    ]
    old = [one.arm.name for one in found if "replicate_values" not in one.result]
    if old:
        raise RunError(
            f"{runs}: {len(old)} of {len(arms)} arms were scored by an earlier version "
            f"({', '.join(old[:3])}), without intervals. Delete their folders, and run `cxrssl "
            "reproduce` again."
        )
    return Results(found)


def class_estimate(arms: Sequence[FinishedArm], name: str, metric: str) -> Estimate | None:
    """Return the mean over seeds of a class's score; None where it has none.

    Draws of single classes are not kept. The interval takes the images' part from the arms' own
    intervals, as if it were the same for their mean, which is on the safe side, and adds the
    seeds' part.
    """
    entries = [arm.result["per_class"][name][metric] for arm in arms]
    values = np.array([entry["value"] for entry in entries], np.float64)
    if not len(values) or np.isnan(values).any():
        return None
    mean = float(values.mean())
    if any(entry["low"] is None for entry in entries):
        return Estimate(mean, None, None, None)
    halves = np.array([(entry["high"] - entry["low"]) / 2 for entry in entries])
    seeds = values.var(ddof=1) / len(values) if len(values) > 1 else 0.0
    half = float(np.sqrt((halves**2).mean() + 1.96**2 * seeds))
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), None)


def _scored(arms: Sequence[FinishedArm], metric: str) -> Scored | None:
    values = [arm.result["metrics"][metric]["value"] for arm in arms]
    if not values or None in values:
        return None
    replicates = [arm.result["replicate_values"][metric] for arm in arms]
    return Scored(np.array(values, np.float64), np.array(replicates, np.float64))
