"""What the runs of a plan came to: scores of every seed, on the same draws of the test images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from cxrssl.config.arms import Arm, arms_of, in_folds
from cxrssl.config.plan import Plan
from cxrssl.core.errors import RunError
from cxrssl.core.records import read_record
from cxrssl.metrics.label_curves import Estimate, Scored, difference_of, mean_of
from cxrssl.paper.faults import Faults
from cxrssl.report.differences import Difference, difference_from
from cxrssl.report.folds import fold_values, pooled_result

_REQUIRED_KEYS = (
    *("metrics", "per_class", "classes", "definitions", "truth_sha256", "seed", "replicates"),
    *("n_images", "n_boxes", "n_classes", "train_images", "train_boxes"),
)
_Z = 1.959964
"""Half width of the arms' intervals in standard errors."""


@dataclass(frozen=True)
class FinishedArm:
    """A finished arm with its scores.

    Attributes:
        arm: What was trained.
        folder: Its run.
        result: Content of its `metrics.json`; of several folds, of all together.
        fold_folders: The run of each fold, `folder` the first; () without folds.
        fold_values: Each score in every fold, on its own images, by the name of the score; None
            unless each fold has a seed of its own.
    """

    arm: Arm
    folder: Path
    result: dict[str, Any]
    fold_folders: tuple[Path, ...] = ()
    fold_values: Mapping[str, Sequence[float | None]] | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return all its runs."""
        return self.fold_folders or (self.folder,)


class Condition(NamedTuple):
    """A treatment at a label fraction, with the faults of the published code it has."""

    treatment: str
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
        self.plain = [finished for finished in arms if not finished.arm.faults]
        self._at: dict[Condition, dict[int, FinishedArm]] = {}
        for finished in arms:
            condition = Condition(
                finished.arm.treatment, finished.arm.label_fraction, finished.arm.faults
            )
            self._at.setdefault(condition, {})[finished.arm.seed] = finished
        self._check_draws()

    def at(self, condition: Condition) -> list[FinishedArm]:
        """Return the finished arms of a condition, by seed."""
        by_seed = self._at.get(condition, {})
        return [by_seed[seed] for seed in sorted(by_seed)]

    def seeds(self, condition: Condition) -> set[int]:
        """Return the seeds of a condition that have finished."""
        return set(self._at.get(condition, {}))

    def scored(
        self, condition: Condition, metric: str, seeds: Iterable[int] | None = None
    ) -> Scored | None:
        """Return scores of some seeds, None for all that have finished.

        Where each fold has a seed of its own, they are scores of the folds: each on images of its
        own, so that other images are part of what tells folds apart, and there are no draws beside.

        None where there is none, or a score can't be computed.
        """
        by_seed = self._at.get(condition, {})
        wanted_seeds = sorted(by_seed if seeds is None else seeds)
        if any(seed not in by_seed for seed in wanted_seeds):
            return None
        of_folds = [by_seed[seed].fold_values for seed in wanted_seeds]
        if of_folds and None not in of_folds:
            return _scored_by_fold([of_seed[metric] for of_seed in of_folds if of_seed is not None])
        results = [by_seed[seed].result for seed in wanted_seeds]
        values = [result["metrics"][metric]["value"] for result in results]
        if not values or None in values:
            return None
        replicates = [result["replicate_values"][metric] for result in results]
        return Scored(np.array(values, np.float64), np.array(replicates, np.float64))

    def mean(
        self, condition: Condition, metric: str, seeds: Iterable[int] | None = None
    ) -> Estimate | None:
        """Return the mean over some seeds with its interval; None where `scored` is None."""
        scored = self.scored(condition, metric, seeds)
        if scored is None:
            return None
        by_seed = self._at[condition]
        entries = [
            by_seed[seed].result["metrics"][metric]
            for seed in (by_seed if seeds is None else seeds)
        ]
        mean = mean_of(scored)
        if any(finished.fold_values is not None for finished in by_seed.values()):
            # Folds that agree say nothing of other images; all their images together do.
            return _with_ends_of(mean, entries) if mean.low == mean.high else mean
        return _exact(mean, entries)

    def difference(self, first: Condition, second: Condition, metric: str) -> Difference | None:
        """Return how much greater the first condition scores, seed by seed.

        None while one has seeds that the other lacks: it would be about other runs than the means
        that stand beside it.
        """
        if self.seeds(first) != self.seeds(second):
            return None
        scores = self.scored(first, metric), self.scored(second, metric)
        if scores[0] is None or scores[1] is None:
            return None
        return difference_from(difference_of(scores[0], scores[1]))

    def _check_draws(self) -> None:
        """Raise a `RunError` if arms that are compared were not scored on the same images."""
        by_split: dict[bool, set[tuple[Any, ...]]] = {}
        for finished in self.arms:
            result = finished.result
            drawn = (result["truth_sha256"], result["seed"], result["replicates"])
            by_split.setdefault("P4" in finished.arm.faults, set()).add(drawn)
        if any(len(draws) > 1 for draws in by_split.values()):
            folders = ", ".join(str(finished.folder) for finished in self.arms[:3])
            raise RunError(
                f"the runs ({folders}, ...) were scored on different test images or draws, so they "
                "can't be compared. Were they made from another store? Delete those folders and "
                "run `cxrssl reproduce` again."
            )


def _scored_by_fold(values: Sequence[Sequence[float | None]]) -> Scored | None:
    """Return the scores of folds, means over plan seeds, of values by seed and fold."""
    if any(value is None for of_seed in values for value in of_seed):
        return None
    means = np.array(values, np.float64).mean(axis=0)
    return Scored(means, np.repeat(means[:, None], 2, axis=1))


def _exact(estimate: Estimate, entries: Sequence[Mapping[str, Any]]) -> Estimate:
    """Return an estimate; exact ends of its runs where every draw of each gives one value.

    Seeds that all reach 1 say no more of other films than one of them.
    """
    if not all("exact_on" in entry for entry in entries):
        return estimate
    return _with_ends_of(estimate, entries)


def _with_ends_of(estimate: Estimate, entries: Sequence[Mapping[str, Any]]) -> Estimate:
    """Return an estimate whose interval holds those of its runs, as far as they have one."""
    low, high = (estimate.value if end is None else end for end in (estimate.low, estimate.high))
    lows, highs = (
        [entry[end] for entry in entries if entry[end] is not None] for end in ("low", "high")
    )
    return replace(estimate, low=min(low, *lows), high=max(high, *highs))


def read_results(runs: Path, plan: Plan) -> Results:
    """Read what the arms of a plan came to, as far as they have finished in all folds.

    Raises:
        RunError: If one was scored by an earlier version, or they can't be compared.
    """
    arms, finished = arms_of(plan), list[FinishedArm]()
    for arm in arms:
        folders = tuple(runs / run.name for run in in_folds(plan, arm))
        if not all((folder / "metrics.json").is_file() for folder in folders):
            continue
        if plan.data.folds is None:
            finished.append(FinishedArm(arm, folders[0], read_record(folders[0] / "metrics.json")))
        else:
            result = pooled_result(runs, arm, folders)
            values = fold_values(folders) if plan.data.fresh_seeds else None
            finished.append(FinishedArm(arm, folders[0], result, folders, values))
    outdated = [
        arm_result.arm.name
        for arm_result in finished
        if "replicate_values" not in arm_result.result
    ]
    if outdated:
        raise RunError(
            f"{runs}: {len(outdated)} of {len(arms)} arms were scored by an earlier version "
            f"({', '.join(outdated[:3])}), without intervals. Delete their folders, and run "
            "`cxrssl reproduce` again."
        )
    for arm_result in finished:
        missing = [key for key in _REQUIRED_KEYS if key not in arm_result.result]
        if missing:
            raise RunError(
                f"{arm_result.folder / 'metrics.json'} has no {', '.join(missing)}. Delete that "
                "folder, and run `cxrssl reproduce` again."
            )
    return Results(finished)


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
    if all("exact_on" in entry for entry in entries):
        return _exact(Estimate(mean, mean, mean, None), entries)
    images = np.mean([((entry["high"] - entry["low"]) / 2 / _Z) ** 2 for entry in entries])
    seeds = values.var(ddof=1) / len(values) if len(values) > 1 else 0.0
    freedom = (len(values) - 1) * ((images + seeds) / seeds) ** 2 if seeds > 0 else np.inf
    half = float(stdtrit(freedom, 0.975) * np.sqrt(images + seeds))
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), None)
