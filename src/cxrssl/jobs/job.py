"""Jobs of a plan: `cxrssl` commands, each of which is done once its product exists."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

NOT_RUN = "not run, because"
"""Start of the fault of a job that was not run because another one failed."""


@dataclass(frozen=True)
class Job:
    """One `cxrssl` command.

    Attributes:
        name: Unique; its log is `NAME.log`.
        arguments: What follows `cxrssl`.
        product: File that exists once the job is done.
        needs: Names of the jobs whose products it reads.
        not_resumable: Folder to delete before a retry, because the job can't resume from it.
        trains: Whether it uses a GPU.
    """

    name: str
    arguments: tuple[str, ...]
    product: Path
    needs: tuple[str, ...] = ()
    not_resumable: Path | None = None
    trains: bool = False

    @property
    def done(self) -> bool:
        """Return whether the product exists."""
        return self.product.is_file()

    def start(
        self,
        log: Path,
        settings: Mapping[str, str],
        *,
        keep_open: int | None,
        preexec: Callable[[], None] | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Start the command.

        Args:
            log: File that its output is appended to.
            settings: Environment variables to add to those of this process.
            keep_open: File descriptor that the command inherits, such as that of a lock.
            preexec: Called in the new process before the command.
        """
        if self.not_resumable is not None:
            shutil.rmtree(self.not_resumable, ignore_errors=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "cxrssl", *self.arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | settings,
                pass_fds=() if keep_open is None else (keep_open,),
                preexec_fn=preexec,
            )


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: The job.
        seconds: How long it ran, without waiting in a queue; 0 if unknown.
        fault: Why its product does not exist; empty if it does.
    """

    job: Job
    seconds: float
    fault: str

    @property
    def ok(self) -> bool:
        """Return whether the product exists."""
        return not self.fault


class Watcher(Protocol):
    """Receives the events of an executor."""

    def began(self, job: Job) -> None:
        """Note that a job has started."""

    def ended(self, outcome: Outcome) -> None:
        """Note that a job has ended, or will not run."""

    def tick(self) -> None:
        """Update what is shown; called about once a second while jobs run or wait."""


def last_printed(log: Path) -> str:
    """Return the last line of a log, and the path of the log."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line.strip() for line in text.splitlines()]
    last = next((line for line in reversed(lines) if line), "nothing was printed")
    return f"{last} (full log: {log})"
