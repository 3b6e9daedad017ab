"""Running commands side by side on one machine, each once: a job that is done is not run again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from cxrssl.core.devices import gpu_names, num_usable_gpus
from cxrssl.core.processes import available_cores
from cxrssl.jobs.job import Job, Outcome, Watcher, last_words, without_dependents

# More processes than this would exhaust memory before they exhaust a large machine's cores.
_MOST_PROCESSES = 8
_POLL_S, _TICK_S = 0.1, 1.0


def run_locally(
    jobs: Sequence[Job], logs: Path, *, watcher: Watcher, inherit: int | None
) -> dict[str, str]:
    """Run the jobs that are not done, earlier ones first, as many at once as there are places.

    A place is a GPU, or on a machine without one a core: several runs of one thread finish sooner
    than one run of several. A job that fails keeps those that need it from running; the rest goes
    on.

    Args:
        jobs: In order of preference.
        logs: Folder for what the jobs print.
        watcher: Told what begins and ends.
        inherit: File descriptor that the jobs keep open, such as that of a lock.

    Returns:
        Why, for every job that is still not done.
    """
    logs.mkdir(parents=True, exist_ok=True)
    waiting = [job for job in jobs if not job.done]
    missing = {job.name for job in waiting}
    free, running = places(), list[_Running]()
    faults: dict[str, str] = {}
    ticked = 0.0
    with _ended_together(running):
        while waiting or running:
            for job in [j for j in waiting if not missing.intersection(j.needs)][: len(free)]:
                waiting.remove(job)
                running.append(_Running.begin(job, logs, free.pop(0), inherit=inherit))
                watcher.began(job)
            for one in [r for r in running if r.process.poll() is not None]:
                running.remove(one)
                free.append(one.place)
                ends = [one.outcome()]
                if ends[0].ok:
                    missing.discard(one.job.name)
                else:
                    waiting, others = without_dependents(waiting, one.job.name)
                    ends += others
                for outcome in ends:
                    watcher.ended(outcome)
                faults |= {end.job.name: end.fault for end in ends if not end.ok}
            if time.monotonic() - ticked > _TICK_S:
                watcher.tick()
                ticked = time.monotonic()
            time.sleep(_POLL_S)
    return faults


def places() -> list[dict[str, str]]:
    """Return the environment of each place a job can run at.

    Raises:
        RunError: If there are GPUs that torch can't use.
    """
    gpus = num_usable_gpus()
    if gpus:
        names = gpu_names(os.environ, num_gpus=gpus)
        return [{"CUDA_VISIBLE_DEVICES": name} for name in names]
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return [dict(one_thread) for _ in range(min(available_cores(), _MOST_PROCESSES))]


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
        code, seconds = self.process.wait(), time.monotonic() - self.begun
        said = "" if self.job.done else f"exit code {code}: {last_words(self.log)}"
        return Outcome(self.job, seconds, said)


@contextmanager
def _ended_together(running: list[_Running]) -> Iterator[None]:
    """End what runs when this process ends; a plain kill ends what was begun, as Ctrl-C does."""
    previous = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        for left in running:
            left.process.terminate()
            left.process.wait()
        signal.signal(signal.SIGTERM, previous)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
