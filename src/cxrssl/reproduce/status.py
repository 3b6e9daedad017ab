"""Progress of a plan: state of its jobs and time left, as shown and in `status.json`."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cxrssl.core.files import write_json
from cxrssl.core.records import read_record, reading
from cxrssl.data.protocol import TRAIN_FRACTION
from cxrssl.jobs.job import Job, Outcome
from cxrssl.reproduce.jobs import Training
from cxrssl.run.log import last_line

State = Literal["waiting", "running", "done", "failed"]
# `status.json` is written at least this often: its age tells whether the process is alive.
_ALIVE_S = 30.0
# A smaller fraction says too little about the time left.
_LEAST_FRACTION = 0.05


@dataclass
class Progress:
    """Progress of one job.

    Attributes:
        job: Its command.
        training: What it trains, None for a job that makes a store.
        state: Its state.
        begun: When it began, by `time.monotonic`, in this call.
        seconds: How long it ran, once it has ended; None where that is not known.
        fault: Why it failed.
        fraction_before: Fraction of its steps that an earlier call has done.
    """

    job: Job
    training: Training | None
    state: State = "waiting"
    begun: float = 0.0
    seconds: float | None = None
    fault: str = ""
    fraction_before: float = 0.0

    def step(self) -> tuple[int, int, int] | None:
        """Return steps done, steps in all and the epoch from 0; None before the first log line."""
        if self.training is None:
            return None
        line, length = last_line(self.training.folder), self.training.folder / "length.json"
        if line is None or not length.is_file():
            return None
        return int(line["step"]), int(read_record(length, "num_steps")["num_steps"]), line["epoch"]

    def saved_fraction(self) -> float:
        """Return the fraction of its steps at the last checkpoint, from which it resumes."""
        if self.training is None or self.step() is None:
            return 0.0
        steps = [
            int(path.name.removeprefix("step-"))
            for path in self.training.folder.glob("checkpoints/step-*[0-9]")
        ]
        length = read_record(self.training.folder / "length.json", "num_steps")
        return max(steps, default=0) / max(1, int(length["num_steps"]))

    @property
    def fraction(self) -> float | None:
        """Return the fraction of its steps that is done, None if unknown."""
        steps = self.step()
        return None if steps is None else steps[0] / max(1, steps[1])

    @property
    def note(self) -> str:
        """Return its progress in words."""
        steps = self.step()
        if steps is None or self.training is None:
            return "starts" if self.training is not None else "at work"
        done, total, epoch = steps
        if done >= total:
            return "scores" if self.job.arguments[0] == "finetune" else "ends"
        return f"step {done} of {total}, epoch {epoch + 1}"

    def work(self, labelled: int, pool: int) -> float:
        """Return about how many images it trains on, counting repeated visits."""
        return 0.0 if self.training is None else self.training.work(labelled=labelled, pool=pool)


@dataclass
class Status:
    """Progress of all jobs of a plan.

    Attributes:
        plan: Name of the plan.
        path: Path of `status.json`.
        jobs: Progress of every job, by name.
        num_parallel: How many jobs run at once.
        out: Folder of the plan.
    """

    plan: str
    path: Path
    jobs: dict[str, Progress]
    num_parallel: int
    out: Path
    _written: str = field(default="", repr=False)
    _written_at: float = field(default=0.0, repr=False)

    def begin(self, job: Job) -> None:
        """Record that a job has started."""
        progress = self.jobs[job.name]
        progress.state, progress.begun = "running", time.monotonic()
        progress.fraction_before = progress.saved_fraction()

    def end(self, outcome: Outcome) -> None:
        """Record that a job has ended, or will not run."""
        progress = self.jobs[outcome.job.name]
        progress.state = "done" if outcome.ok else "failed"
        progress.seconds, progress.fault = outcome.seconds or None, outcome.fault
        self.write("running")

    @property
    def num_done(self) -> int:
        """Return how many jobs are done."""
        return sum(progress.state == "done" for progress in self.jobs.values())

    def running(self) -> list[Progress]:
        """Return the running jobs."""
        return [progress for progress in self.jobs.values() if progress.state == "running"]

    def seconds_left(self) -> float | None:
        """Return the estimated time left in seconds, None while there is no estimate."""
        labelled, pool = _num_images(self.out / "store"), _num_images(self.out / "pool")
        images = int(TRAIN_FRACTION * labelled), pool
        rates = {kind: self._rate(kind, images) for kind in ("pretrain", "finetune")}
        total = 0.0
        for progress in self.jobs.values():
            if progress.training is None or progress.state in ("done", "failed"):
                continue
            rate = rates[progress.job.arguments[0]]
            fraction = (progress.fraction or 0.0) if progress.state == "running" else 0.0
            if rate is None or not images[0]:
                return None
            total += rate * progress.work(*images) * (1 - fraction)
        return total / self.num_parallel

    def _rate(self, kind: str, images: tuple[int, int]) -> float | None:
        """Return the seconds per unit of work over the measured jobs of a kind."""
        seconds = work = 0.0
        for progress in self.jobs.values():
            if progress.training is None or progress.job.arguments[0] != kind:
                continue
            if progress.state == "done" and progress.seconds:
                seconds += progress.seconds
                work += (1 - progress.fraction_before) * progress.work(*images)
            new_fraction = (progress.fraction or 0.0) - progress.fraction_before
            if progress.state == "running" and new_fraction >= _LEAST_FRACTION:
                seconds += time.monotonic() - progress.begun
                work += new_fraction * progress.work(*images)
        return seconds / work if work else None

    def write(self, state: Literal["running", "ended", "stopped"]) -> float | None:
        """Write `status.json` if it has changed, or was not written for a while.

        Returns:
            The seconds left, None if unknown or the plan does not run.
        """
        seconds_left = self.seconds_left() if state == "running" else None
        content: dict[str, Any] = {
            "plan": self.plan,
            "state": state,
            "done": self.num_done,
            "total": len(self.jobs),
            "seconds_left": None if seconds_left is None else round(seconds_left),
            "jobs": [_entry(progress) for progress in self.jobs.values()],
        }
        text = json.dumps(content)
        if text != self._written or time.monotonic() - self._written_at > _ALIVE_S:
            self._written, self._written_at = text, time.monotonic()
            write_json(
                self.path, {"updated": datetime.now(UTC).isoformat("T", "seconds")} | content
            )
        return seconds_left


def _num_images(store: Path) -> int:
    """Return how many images a store has, 0 before it is there."""
    manifest = store / "manifest.json"
    return int(read_record(manifest, "num_images")["num_images"]) if manifest.is_file() else 0


def _entry(progress: Progress) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": progress.job.name, "state": progress.state}
    if progress.state == "running":
        steps = progress.step()
        entry["note"] = progress.note
        entry["step"], entry["num_steps"] = steps[:2] if steps is not None else (None, None)
    if progress.seconds is not None:
        entry["seconds"] = round(progress.seconds, 1)
    if progress.fault:
        entry["fault"] = progress.fault
    return entry


def progress_of(
    jobs: Sequence[Job], trainings: Sequence[Training], path: Path
) -> dict[str, Progress]:
    """Return the progress of every job after earlier calls, with the seconds on record."""
    by_name = {training.job.name: training for training in trainings}
    seconds: dict[str, float] = {}
    if path.is_file():
        before = read_record(path, "jobs")["jobs"]
        with reading(path):
            seconds = {
                entry["name"]: float(entry["seconds"]) for entry in before if "seconds" in entry
            }
    return {
        job.name: Progress(
            job,
            by_name.get(job.name),
            "done" if job.done else "waiting",
            seconds=seconds.get(job.name) if job.done else None,
        )
        for job in jobs
    }
