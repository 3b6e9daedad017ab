"""What the runs of a plan came to: scores of every seed, on the same draws of the test images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from cxrssl.config.arms import Arm
from cxrssl.core.errors import RunError
from cxrssl.core.records import read_record
from cxrssl.metrics.label_curves import Estimate, Scored, difference_of, mean_of
from cxrssl.paper.faults import Faults

_SCORED = (
    *("metrics", "per_class", "classes", "definitions", "truth_sha256", "seed", "replicates"),
    *("n_images", "n_boxes", "n_classes", "train_images", "train_boxes"),
)
_Z = 1.959964
"""Of the arms' own intervals."""


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


class Side(NamedTuple):
    """What is compared: an initialisation at a label share, with the faults that it has."""

    initialisation: str
    label_fraction: float
    faults: Faults = ()


class Results:
    """The arms of a plan that have finished.

    Attributes:
        arms: In the plan's order.
        plain: Those without faults, which are all tested on the same images.
    """

    def __init__(self, arms: Sequence[FinishedArm]) -> None:
        """Take arms, of which those without the same faults are tested on the same images.

        Raises:
            RunError: If they are not, or not on the same draws of them.
        """
        self.arms = list(arms)
        self.plain = [one for one in arms if not one.arm.faults]
        self._at: dict[Side, dict[int, FinishedArm]] = {}
        for one in arms:
            side = Side(one.arm.initialisation, one.arm.label_fraction, one.arm.faults)
            self._at.setdefault(side, {})[one.arm.seed] = one
        self._check_draws()

    def at(self, side: Side) -> list[FinishedArm]:
        """Return the finished arms of a side, by seed."""
        found = self._at.get(side, {})
        return [found[seed] for seed in sorted(found)]

    def seeds(self, side: Side) -> set[int]:
        """Return the seeds of a side that have finished."""
        return set(self._at.get(side, {}))

    def scored(self, side: Side, metric: str, seeds: Iterable[int] | None = None) -> Scored | None:
        """Return scores of some seeds, None for all that have finished.

        None where there is none, or a score can't be computed.
        """
        own = self._at.get(side, {})
        wanted = sorted(own if seeds is None else seeds)
        if any(seed not in own for seed in wanted):
            return None
        return _scored([own[seed] for seed in wanted], metric)

    def mean(self, side: Side, metric: str) -> Estimate | None:
        """Return the mean over seeds with its interval; None likewise."""
        scored = self.scored(side, metric)
        return None if scored is None else mean_of(scored)

    def difference(self, first: Side, second: Side, metric: str) -> Estimate | None:
        """Return how much greater the first side is, seed by seed.

        None while one side has seeds that the other lacks: it would be about other runs than the
        means that stand beside it.
        """
        if self.seeds(first) != self.seeds(second):
            return None
        both = self.scored(first, metric), self.scored(second, metric)
        return None if both[0] is None or both[1] is None else difference_of(both[0], both[1])

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
        FinishedArm(arm, folder, read_record(folder / "metrics.json"))
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
    for one in found:
        missing = [key for key in _SCORED if key not in one.result]
        if missing:
            raise RunError(
                f"{one.folder / 'metrics.json'} has no {', '.join(missing)}. Delete that folder, "
                "and run `cxrssl reproduce` again."
            )
    return Results(found)


def class_estimate(arms: Sequence[FinishedArm], name: str, metric: str) -> Estimate | None:
    """Return the mean over seeds of a class's score; None where it has none.

    Draws of single classes are not kept. The interval takes the images' part from the arms' own
    intervals, as if it were the same for their mean, and the seeds' part with t as
    `metrics.label_curves` does.
    """
    entries = [arm.result["per_class"][name][metric] for arm in arms]
    values = np.array([entry["value"] for entry in entries], np.float64)
    if not len(values) or np.isnan(values).any():
        return None
    mean = float(values.mean())
    if any(entry["low"] is None for entry in entries):
        return Estimate(mean, None, None, None)
    images = np.mean([((entry["high"] - entry["low"]) / 2 / _Z) ** 2 for entry in entries])
    seeds = values.var(ddof=1) / len(values) if len(values) > 1 else 0.0
    freedom = (len(values) - 1) * ((images + seeds) / seeds) ** 2 if seeds > 0 else np.inf
    half = float(stdtrit(freedom, 0.975) * np.sqrt(images + seeds))
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), None)


def _scored(arms: Sequence[FinishedArm], metric: str) -> Scored | None:
    values = [arm.result["metrics"][metric]["value"] for arm in arms]
    if not values or None in values:
        return None
    replicates = [arm.result["replicate_values"][metric] for arm in arms]
    return Scored(np.array(values, np.float64), np.array(replicates, np.float64))
