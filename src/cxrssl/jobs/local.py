"""Run commands side by side on one machine, each once: a job that is done is not run again."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cxrssl.core.devices import gpu_names, num_usable_gpus
from cxrssl.core.processes import available_cores
from cxrssl.jobs.job import NOT_RUN, Job, Outcome, Watcher, last_printed

# More processes than this would exhaust memory before they exhaust a large machine's cores.
_MOST_PROCESSES = 8
_POLL_S, _TICK_S = 0.1, 1.0


def run_locally(
    jobs: Sequence[Job], logs: Path, *, watcher: Watcher, inherit: int | None
) -> dict[str, str]:
    """Run the jobs that are not done, earlier ones first, as many at once as there are places.

    A place is a GPU, or on a machine without one a core: several runs of one thread finish sooner
    than one run of several. A failed job blocks only the jobs that need it.

    Args:
        jobs: In order of preference.
        logs: Folder for the output of the jobs.
        watcher: Receives their starts and ends.
        inherit: File descriptor that the jobs keep open, such as that of a lock.

    Returns:
        For every job that is still not done, the reason.
    """
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
            for ended in [r for r in running if r.process.poll() is not None]:
                running.remove(ended)
                free.append(ended.place)
                outcomes = [ended.outcome()]
                if outcomes[0].ok:
                    missing.discard(ended.job.name)
                else:
                    waiting, blocked = _without_dependents(waiting, ended.job.name)
                    outcomes += blocked
                for outcome in outcomes:
                    watcher.ended(outcome)
                faults |= {end.job.name: end.fault for end in outcomes if not end.ok}
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


def _without_dependents(waiting: Sequence[Job], failed: str) -> tuple[list[Job], list[Outcome]]:
    """Return the jobs that can still run when one has failed, and the outcomes of the others."""
    blocking, kept, blocked = {failed}, list(waiting), list[Outcome]()
    while True:
        hit = [job for job in kept if blocking.intersection(job.needs)]
        if not hit:
            return kept, blocked
        blocked += [Outcome(job, 0.0, f"{NOT_RUN} {failed} failed") for job in hit]
        blocking |= {job.name for job in hit}
        kept = [job for job in kept if job.name not in blocking]


@dataclass(frozen=True)
class _Running:
    job: Job
    process: "subprocess.Popen[bytes]"
    place: dict[str, str]
    log: Path
    begun: float

    @classmethod
    def begin(
        cls, job: Job, logs: Path, place: dict[str, str], *, inherit: int | None
    ) -> "_Running":
        log = logs / f"{job.name}.log"
        process = job.start(log, place, keep_open=inherit)
        return cls(job, process, place, log, time.monotonic())

    def outcome(self) -> Outcome:
        # The product decides, not the exit code: an ingest that listed faulty files ends with 1.
        code, seconds = self.process.wait(), time.monotonic() - self.begun
        fault = "" if self.job.done else f"exit code {code}: {last_printed(self.log)}"
        return Outcome(self.job, seconds, fault)


@contextmanager
def _ended_together(running: list[_Running]) -> Iterator[None]:
    """End what runs when this process ends."""
    try:
        yield
    finally:
        for left in running:
            left.process.terminate()
            left.process.wait()
