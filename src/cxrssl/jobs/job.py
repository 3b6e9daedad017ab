"""Jobs of a plan: `cxrssl` commands, each done once its product is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

NOT_RUN = "not run, because"
"""How the fault of a job begins that has not failed itself."""


@dataclass(frozen=True)
class Job:
    """One `cxrssl` command.

    Attributes:
        name: Unique; its log is `NAME.log`.
        arguments: What follows `cxrssl`.
        product: The file whose presence says that the job is done.
        needs: Names of the jobs whose products it reads.
        not_resumable: A folder that a cut run leaves and that must go before another; or None.
        trains: Whether it has use for a GPU.
    """

    name: str
    arguments: tuple[str, ...]
    product: Path
    needs: tuple[str, ...] = ()
    not_resumable: Path | None = None
    trains: bool = False

    @property
    def done(self) -> bool:
        """Return whether the product is there."""
        return self.product.is_file()


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: Which one.
        seconds: How long it ran, the wait for a place left out; 0 where that is not known.
        fault: Why its product is not there, empty if it is.
    """

    job: Job
    seconds: float
    fault: str

    @property
    def ok(self) -> bool:
        """Return whether the product is there."""
        return not self.fault


class Watcher(Protocol):
    """Who is told what an executor does."""

    def began(self, job: Job) -> None:
        """Take note that a job runs."""

    def ended(self, outcome: Outcome) -> None:
        """Take note that a job has ended, or will not run."""

    def tick(self) -> None:
        """Look around; called every second or so while jobs run or wait."""


def last_words(log: Path) -> str:
    """Return the last line that a job said, and where all of it is."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line.strip() for line in text.splitlines()]
    last = next((line for line in reversed(lines) if line), "nothing was said")
    return f"{last} (all of it in {log})"


def without_dependents(waiting: Sequence[Job], failed: str) -> tuple[list[Job], list[Outcome]]:
    """Return the jobs that can still run when one has failed, and how the others end."""
    gone, kept, ended = {failed}, list(waiting), list[Outcome]()
    while True:
        hit = [job for job in kept if gone.intersection(job.needs)]
        if not hit:
            return kept, ended
        ended += [Outcome(job, 0.0, f"{NOT_RUN} {failed} failed") for job in hit]
        gone |= {job.name for job in hit}
        kept = [job for job in kept if job.name not in gone]
