"""The task on a node of a Slurm cluster: one `cxrssl` command, resumed after interruptions."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxrssl.core.errors import RunError
from cxrssl.core.lock import sole_user
from cxrssl.jobs.job import Job, last_printed

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

# Processes that a command had started still print something when it was ended.
_OUTPUT_DELAY_S = 2.0
# A training that is asked to end saves its step first.
_SAVE_TIME_S = 30.0
# Longer than the time that clusters grant between SIGTERM and SIGKILL.
_KILL_DELAY_S = 900.0


@dataclass(frozen=True)
class SlurmTask:
    """A job that submitit pickles at submission and calls each time Slurm starts it.

    Slurm starts it in the folder that it was submitted from, so its paths may be relative.

    Attributes:
        job: The job.
        plan: Folder of the plan.
    """

    job: Job
    plan: Path

    def __call__(self) -> None:
        """Run the command unless its product exists.

        Raises:
            RunError: If the product still does not exist. The Slurm job fails then, and Slurm
                cancels those that depend on it.
        """
        log = log_of(self.plan, self.job)
        lock = self.plan / "locks" / self.job.name
        for folder in (log.parent, lock):
            folder.mkdir(parents=True, exist_ok=True)
        # A caller that was killed while it submitted may have submitted this job twice.
        with sole_user(
            lock, on_wait=lambda: _append(log, "Waiting: this job runs already.")
        ) as lock_fd:
            if self.job.done:
                return
            try:
                code = self._command(log, lock_fd)
            except Exception as error:  # by submitit: the time limit was reached too often
                time.sleep(_OUTPUT_DELAY_S)
                _append(log, str(error))
                raise
        if not self.job.done:
            raise RunError(f"exit code {code}: {last_printed(log)}")

    def checkpoint(self) -> "DelayedSubmission":
        """Return what runs after a requeue: the same, because commands resume."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _command(self, log: Path, lock_fd: int) -> int:
        cpus = os.environ["SLURM_CPUS_PER_TASK"]
        threads = {"OMP_NUM_THREADS": cpus, "MKL_NUM_THREADS": cpus}
        process = self.job.start(log, threads, keep_open=lock_fd, preexec=_ignore_time_limit)
        try:
            code = process.wait()
        finally:
            process.terminate()
            try:
                process.wait(_SAVE_TIME_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if code in (-signal.SIGTERM, 128 + signal.SIGTERM) and not self.job.done:
            # Slurm is about to kill this job: to make room for another, and then it queues this
            # one again, or because it was cancelled. A job that ends by itself before that counts
            # as ended, and would not be queued again.
            time.sleep(_KILL_DELAY_S)
        return code


def log_of(plan: Path, job: Job) -> Path:
    """Return the file with the output of a job."""
    return plan / "logs" / f"{job.name}.log"


def _append(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _ignore_time_limit() -> None:
    # Slurm announces the time limit to all processes of a job; submitit alone handles it.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
