"""Running commands side by side, each once: a job whose product is there is not run again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch

from cxrssl.run.cores import available_cores

# More processes than this would exhaust memory before they exhaust a large machine's cores.
_MOST_PROCESSES = 8


@dataclass(frozen=True)
class Job:
    """One `cxrssl` command.

    Attributes:
        name: Unique; its log is `NAME.log`.
        arguments: What follows `cxrssl`.
        product: The file whose presence says that the job is done.
        needs: Names of the jobs whose products it reads.
        not_resumable: A folder that a cut run leaves and that must go before another; or None.
    """

    name: str
    arguments: tuple[str, ...]
    product: Path
    needs: tuple[str, ...] = ()
    not_resumable: Path | None = None

    @property
    def done(self) -> bool:
        """Return whether the product is there."""
        return self.product.is_file()


@dataclass(frozen=True)
class Outcome:
    """How a job ended; `exit_code` is negative for a signal, `log` is where it speaks."""

    job: Job
    ok: bool
    exit_code: int
    seconds: float
    log: Path

    @property
    def fault(self) -> str:
        """Say how it failed: exit code, and the last line that it said."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "nothing was said")
        return f"exit code {self.exit_code}: {last} (all of it in {self.log})"


def run_jobs(
    jobs: Sequence[Job], logs: Path, *, on_end: Callable[[Outcome], None], inherit: int | None
) -> dict[str, str]:
    """Run the jobs that are not done, earlier ones first, as many at once as there are places.

    A place is a GPU, or on a machine without one a core: several runs of one thread finish sooner
    than one run of several. A job that fails keeps those that need it from running; the rest goes
    on.

    Args:
        jobs: In order of preference.
        logs: Folder for what the jobs print.
        on_end: Called as each ends.
        inherit: File descriptor that the jobs keep open, such as that of a lock.

    Returns:
        Why, for every job that is still not done.
    """
    logs.mkdir(parents=True, exist_ok=True)
    waiting = [job for job in jobs if not job.done]
    missing = {job.name for job in waiting}
    free = _places()
    running: list[_Running] = []
    faults: dict[str, str] = {}
    # A plain kill ends what was begun, as Ctrl-C does.
    previous = signal.signal(signal.SIGTERM, _end)
    try:
        while waiting or running:
            for job in [j for j in waiting if not missing.intersection(j.needs)]:
                if not free:
                    break
                waiting.remove(job)
                running.append(_Running.begin(job, logs, free.pop(0), inherit=inherit))
            for ended in [r for r in running if r.process.poll() is not None]:
                running.remove(ended)
                free.append(ended.place)
                outcome = ended.outcome()
                on_end(outcome)
                if outcome.ok:
                    missing.discard(outcome.job.name)
                else:
                    faults[outcome.job.name] = outcome.fault
                    waiting = _without_dependents(waiting, outcome.job.name, faults)
            time.sleep(0.1)
    finally:
        for left in running:
            left.process.terminate()
            left.process.wait()
        signal.signal(signal.SIGTERM, previous)
    return faults


@dataclass(frozen=True)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    place: dict[str, str]
    log: Path
    begun: float

    @classmethod
    def begin(
        cls, job: Job, logs: Path, place: dict[str, str], *, inherit: int | None
    ) -> "_Running":
        if job.not_resumable is not None:
            shutil.rmtree(job.not_resumable, ignore_errors=True)
        log = logs / f"{job.name}.log"
        command = [sys.executable, "-m", "cxrssl", *job.arguments]
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | place,
                pass_fds=() if inherit is None else (inherit,),
            )
        return cls(job, process, place, log, time.monotonic())

    def outcome(self) -> Outcome:
        # The product decides, not the exit code: an ingest that listed faulty files ends with 1.
        seconds = time.monotonic() - self.begun
        return Outcome(self.job, self.job.done, self.process.wait(), seconds, self.log)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _places() -> list[dict[str, str]]:
    """Return the environment of each place a job can run at."""
    gpus = torch.cuda.device_count()
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": str(number)} for number in range(gpus)]
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return [dict(one_thread) for _ in range(min(available_cores(), _MOST_PROCESSES))]


def _without_dependents(waiting: list[Job], failed: str, faults: dict[str, str]) -> list[Job]:
    """Take all that needs a failed job out of `waiting`, noting why in `faults`."""
    gone, kept = {failed}, waiting
    while True:
        hit = [job for job in kept if gone.intersection(job.needs)]
        if not hit:
            return kept
        for job in hit:
            faults[job.name] = f"not run, because {failed} failed"
        gone |= {job.name for job in hit}
        kept = [job for job in kept if job.name not in gone]
