"""How far a plan is: jobs, epochs and time left, for a person and for `status.json`."""

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
# So often `status.json` is written at least: its age tells whether whoever writes it lives.
_ALIVE_S = 30.0
# A share of less says too little about how long the rest takes.
_LEAST_SHARE = 0.05


@dataclass
class Progress:
    """One job as it stands.

    Attributes:
        job: Its command.
        training: What it trains, None for a job that makes a store.
        state: Where it is.
        begun: When it began, by `time.monotonic`, in this call.
        seconds: How long it ran, once it has ended; None where that is not known.
        fault: Why it failed.
        share_before: How much of it an earlier call has done.
    """

    job: Job
    training: Training | None
    state: State = "waiting"
    begun: float = 0.0
    seconds: float | None = None
    fault: str = ""
    share_before: float = 0.0

    def step(self) -> tuple[int, int, int] | None:
        """Return steps done, steps in all and the epoch from 0; None before the first log line."""
        if self.training is None:
            return None
        line, length = last_line(self.training.folder), self.training.folder / "length.json"
        if line is None or not length.is_file():
            return None
        return int(line["step"]), int(read_record(length, "num_steps")["num_steps"]), line["epoch"]

    def share_saved(self) -> float:
        """Return how much of its steps the last checkpoint has, from which a cut run goes on."""
        if self.training is None or self.step() is None:
            return 0.0
        steps = [
            int(path.name.removeprefix("step-"))
            for path in self.training.folder.glob("checkpoints/step-*[0-9]")
        ]
        length = read_record(self.training.folder / "length.json", "num_steps")
        return max(steps, default=0) / max(1, int(length["num_steps"]))

    @property
    def share(self) -> float | None:
        """Return how much of its steps is done, None where that is not known."""
        steps = self.step()
        return None if steps is None else steps[0] / max(1, steps[1])

    @property
    def note(self) -> str:
        """Say where it is."""
        steps = self.step()
        if steps is None or self.training is None:
            return "starts" if self.training is not None else "at work"
        done, total, epoch = steps
        if done >= total:
            return "scores" if self.job.arguments[0] == "finetune" else "ends"
        return f"step {done} of {total}, epoch {epoch + 1}"

    def work(self, labelled: int, pool: int) -> float:
        """Return about how many images it trains on, each as often as it comes."""
        return 0.0 if self.training is None else self.training.visits(labelled=labelled, pool=pool)


@dataclass
class Status:
    """All jobs of a plan as they stand.

    Attributes:
        plan: Its name.
        path: Of `status.json`.
        jobs: All of them, by name.
        places: How many run side by side.
        out: Folder of the plan.
    """

    plan: str
    path: Path
    jobs: dict[str, Progress]
    places: int
    out: Path
    _written: str = field(default="", repr=False)
    _wrote: float = field(default=0.0, repr=False)

    def begin(self, job: Job) -> None:
        """Take note that a job runs."""
        progress = self.jobs[job.name]
        progress.state, progress.begun = "running", time.monotonic()
        progress.share_before = progress.share_saved()

    def end(self, outcome: Outcome) -> None:
        """Take note that a job has ended, or will not run."""
        progress = self.jobs[outcome.job.name]
        progress.state = "done" if outcome.ok else "failed"
        progress.seconds, progress.fault = outcome.seconds or None, outcome.fault
        self.write("running")

    @property
    def num_done(self) -> int:
        """Return how many jobs are done."""
        return sum(progress.state == "done" for progress in self.jobs.values())

    def running(self) -> list[Progress]:
        """Return the jobs at work."""
        return [progress for progress in self.jobs.values() if progress.state == "running"]

    def seconds_left(self) -> float | None:
        """Return about how long the rest takes, None while nothing tells."""
        images = int(TRAIN_FRACTION * _images(self.out / "store")), _images(self.out / "pool")
        rates = {kind: self._rate(kind, images) for kind in ("pretrain", "finetune")}
        total = 0.0
        for progress in self.jobs.values():
            if progress.training is None or progress.state in ("done", "failed"):
                continue
            rate = rates[progress.job.arguments[0]]
            share = (progress.share or 0.0) if progress.state == "running" else 0.0
            if rate is None or not images[0]:
                return None
            total += rate * progress.work(*images) * (1 - share)
        return total / self.places

    def _rate(self, kind: str, images: tuple[int, int]) -> float | None:
        """Return seconds a unit of work over the jobs of a kind that tell."""
        seconds = work = 0.0
        for progress in self.jobs.values():
            if progress.training is None or progress.job.arguments[0] != kind:
                continue
            if progress.state == "done" and progress.seconds:
                seconds += progress.seconds
                work += (1 - progress.share_before) * progress.work(*images)
            new_share = (progress.share or 0.0) - progress.share_before
            if progress.state == "running" and new_share >= _LEAST_SHARE:
                seconds += time.monotonic() - progress.begun
                work += new_share * progress.work(*images)
        return seconds / work if work else None

    def write(self, state: Literal["running", "ended", "stopped"]) -> float | None:
        """Write `status.json` if it would say something new, or has long said the same.

        Returns:
            The seconds that are left, None where nothing tells or the plan does not run.
        """
        left = self.seconds_left() if state == "running" else None
        content: dict[str, Any] = {
            "plan": self.plan,
            "state": state,
            "done": self.num_done,
            "total": len(self.jobs),
            "seconds_left": None if left is None else round(left),
            "jobs": [_entry(progress) for progress in self.jobs.values()],
        }
        text = json.dumps(content)
        if text != self._written or time.monotonic() - self._wrote > _ALIVE_S:
            self._written, self._wrote = text, time.monotonic()
            write_json(
                self.path, {"updated": datetime.now(UTC).isoformat("T", "seconds")} | content
            )
        return left


def _images(store: Path) -> int:
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
    """Return every job as an earlier call has left it, with the seconds that it noted."""
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
