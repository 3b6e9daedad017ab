"""The arms of a plan: which there are, where each lies, and what each came to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cxrssl.core.errors import RunError
from cxrssl.run.folder import is_finished

Kind = Literal["baseline", "ssl", "control"]


@dataclass(frozen=True)
class Arm:
    """One fine-tuning run of a plan.

    Attributes:
        kind: `baseline` sees all labels; `ssl` starts from a backbone pretrained on the pool, and
            `control` does not; both see the labels that the pool leaves.
        pool_percent: Share of the training images in the pool; 0 for the baseline.
        seed: Of the run.
    """

    kind: Kind
    pool_percent: int
    seed: int

    @property
    def name(self) -> str:
        """Return what its folder is called."""
        share = "" if self.kind == "baseline" else f"-{self.pool_percent}"
        return f"{self.kind}{share}-seed{self.seed}"

    @property
    def pretraining(self) -> str:
        """Return what the folder of its pretraining is called."""
        return f"pretrain-{self.pool_percent}-seed{self.seed}"

    @property
    def label_share(self) -> float:
        """Return the share of the training labels it sees."""
        return (100 - self.pool_percent) / 100


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

    def metric(self, name: str) -> float | None:
        """Return an overall score, None if it can't be computed."""
        value: float | None = self.result["metrics"][name]["value"]
        return value


def arms_of(pool_percents: Sequence[int], seeds: Sequence[int]) -> list[Arm]:
    """Return every arm, most labels first, SSL before its control."""
    arms = [Arm("baseline", 0, seed) for seed in seeds]
    for percent in sorted(pool_percents):
        arms += [Arm("ssl", percent, seed) for seed in seeds]
        arms += [Arm("control", percent, seed) for seed in seeds]
    return arms


def read_arms(runs: Path, arms: Sequence[Arm]) -> list[FinishedArm]:
    """Read what the arms of a plan came to.

    Raises:
        RunError: If one has not finished.
    """
    waiting = [arm.name for arm in arms if not is_finished(runs / arm.name)]
    if waiting:
        raise RunError(
            f"{runs}: {len(waiting)} of {len(arms)} arms have not finished "
            f"({', '.join(waiting[:3])}). Run `cxrssl reproduce` again: it goes on from there."
        )
    found = [
        FinishedArm(
            arm, runs / arm.name, json.loads((runs / arm.name / "metrics.json").read_text())
        )
        for arm in arms
    ]
    old = [one.arm.name for one in found if "replicate_values" not in one.result]
    if old:
        raise RunError(
            f"{runs}: {len(old)} of {len(arms)} arms were scored by an earlier version "
            f"({', '.join(old[:3])}), without intervals. Delete their folders, and run `cxrssl "
            "reproduce` again."
        )
    return found
