"""What a job does on a node of a Slurm cluster: one `cxrssl` command, once, from where it was cut.

submitit pickles a `SlurmTask` when a job is submitted, and calls it each time the job is started.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING

from cxrssl.core.errors import RunError
from cxrssl.core.lock import sole_user
from cxrssl.jobs.job import NOT_RUN, Job

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

# A file system of many machines may show a new file late.
_GRACE_S, _LOOK_S = 10.0, 1.0
_SETTLE_S = 2.0
_TRIES = 5


@dataclass(frozen=True)
class SlurmTask:
    """One command and what it asks for before it runs.

    Attributes:
        job: Its product and what is not resumable are absolute paths.
        ancestors: All jobs, not done when it was submitted, that it needs or that those need, the
            first of all first; products are absolute paths.
        plan: Folder of the plan, absolute.
        workplace: Folder that the command runs in, which its paths are relative to.
        cpus: Threads that it computes with.
    """

    job: Job
    ancestors: tuple[Job, ...]
    plan: Path
    workplace: Path
    cpus: int

    @classmethod
    def of(cls, job: Job, ancestors: Sequence[Job], plan: Path, cpus: int) -> "SlurmTask":
        """Return a task that runs where this process does, whose paths hold anywhere."""
        before = tuple(_absolute(one) for one in ancestors)
        return cls(_absolute(job), before, plan.absolute(), Path.cwd(), cpus)

    def __call__(self) -> None:
        """Run the command unless its product is there, or that of a job before it is not.

        Raises:
            SystemExit: If the product is still not there.
        """
        path = log_of(self.plan, self.job)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log:
            try:
                self._run(log)
            except Exception as error:
                # Such as: a job has reached its time limit too often. That is to be the last line,
                # and a pool of processes that was cut still has something to say.
                time.sleep(_SETTLE_S)
                log.write(f"{error}\n".encode())
                raise
        if not self.job.done:
            raise SystemExit(1)

    def checkpoint(self) -> "DelayedSubmission":
        """Return what runs when Slurm starts the job again: the same, for commands go on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _run(self, log: IO[bytes]) -> None:
        lost = next((one for one in self.ancestors if not arrives(one.product)), None)
        if lost is not None:
            log.write(f"{NOT_RUN} {lost.name} failed\n".encode())
            return
        lock = self.plan / "locks" / self.job.name
        lock.mkdir(parents=True, exist_ok=True)

        def wait() -> None:
            log.write(b"This job runs already; waiting for it to end.\n")
            log.flush()

        with sole_user(lock, on_wait=wait) as held:
            if self.job.done:
                return
            if self.job.not_resumable is not None:
                shutil.rmtree(self.job.not_resumable, ignore_errors=True)
            code = self._command(log, held)
            if code == -signal.SIGTERM and not self.job.done:
                _queue_again()

    def _command(self, log: IO[bytes], held: int) -> int:
        threads = {"OMP_NUM_THREADS": str(self.cpus), "MKL_NUM_THREADS": str(self.cpus)}
        process = subprocess.Popen(
            [sys.executable, "-m", "cxrssl", *self.job.arguments],
            cwd=self.workplace,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | threads,
            pass_fds=(held,),
            preexec_fn=_deaf_to_limit,
        )
        with _ends_with_this(process):
            return process.wait()


def _absolute(job: Job) -> Job:
    cut = None if job.not_resumable is None else job.not_resumable.absolute()
    return replace(job, product=job.product.absolute(), not_resumable=cut)


def log_of(plan: Path, job: Job) -> Path:
    """Return where what a job prints is kept."""
    return plan / "logs" / f"{job.name}.log"


def arrives(product: Path) -> bool:
    """Return whether a file is there, or comes within some seconds."""
    deadline = time.monotonic() + _GRACE_S
    while not is_seen(product):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def is_seen(product: Path) -> bool:
    """Return whether a file is there, as the file system's server has it."""
    if product.parent.is_dir():
        # NFS remembers for a while that a file was missing; to list the folder makes it ask anew.
        next(product.parent.iterdir(), None)
    return product.is_file()


def _deaf_to_limit() -> None:
    # It tells that the time limit is near, to every process of the job; submitit listens.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


@contextmanager
def _ends_with_this(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Pass a plain kill on to a process, and end it before this one leaves the block."""

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        process.terminate()

    previous = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        signal.signal(signal.SIGTERM, previous)


def _queue_again() -> None:
    """Queue this job again if it was ended to make room for another.

    A cluster may grant time between SIGTERM and the end, and takes a job that ends in it for
    complete. One that a user has cancelled, or Slurm has queued again, is no longer running.
    """
    number = os.environ["SLURM_JOB_ID"]
    if "JobState=RUNNING" in _scontrol("--oneliner", "show", "job", number).split():
        _scontrol("requeue", number)


def _scontrol(*arguments: str) -> str:
    """Return what `scontrol` says.

    Raises:
        RunError: If it fails again and again.
    """
    command = ["scontrol", *arguments]
    for _ in range(_TRIES):
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            preexec_fn=_deaf_to_kill,
        )
        if done.returncode == 0:
            return done.stdout
        time.sleep(_LOOK_S)
    raise RunError(f"`{' '.join(command)}` says: {done.stderr.strip()}. The same command goes on.")


def _deaf_to_kill() -> None:
    # A job gets SIGTERM twice: from Slurm, and a moment later by srun, which passes on its own.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
