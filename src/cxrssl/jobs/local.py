"""Run the jobs of a plan in parallel on this machine; finished jobs are not run again."""

import os
import subprocess
import time
from collections.abc import Sequence
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
    """Run the jobs that are not done in their order, one per GPU at a time.

    Without a GPU it is one per core: several runs of one thread finish sooner than one run of
    several. A failed job blocks only the jobs that need it.

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
    free_environments, running = job_environments(), list[_Running]()
    faults: dict[str, str] = {}
    ticked = 0.0
    try:
        while waiting or running:
            ready = [job for job in waiting if not missing.intersection(job.needs)]
            for job in ready[: len(free_environments)]:
                waiting.remove(job)
                running.append(_Running.begin(job, logs, free_environments.pop(0), inherit=inherit))
                watcher.began(job)
            for finished in [r for r in running if r.process.poll() is not None]:
                running.remove(finished)
                free_environments.append(finished.environment)
                outcomes = [finished.outcome()]
                if outcomes[0].ok:
                    missing.discard(finished.job.name)
                else:
                    waiting, blocked = _without_dependents(waiting, finished.job.name)
                    outcomes += blocked
                for outcome in outcomes:
                    watcher.ended(outcome)
                faults |= {end.job.name: end.fault for end in outcomes if not end.ok}
            if time.monotonic() - ticked > _TICK_S:
                watcher.tick()
                ticked = time.monotonic()
            time.sleep(_POLL_S)
    finally:  # also if this process is interrupted
        for run in running:
            run.process.terminate()
            run.process.wait()
    return faults


def job_environments() -> list[dict[str, str]]:
    """Return the environment variables of each job that can run at once: its GPU, or its core.

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
    failed_names, runnable, blocked = {failed}, list(waiting), list[Outcome]()
    while True:
        dependents = [job for job in runnable if failed_names.intersection(job.needs)]
        if not dependents:
            return runnable, blocked
        blocked += [Outcome(job, 0.0, f"{NOT_RUN} {failed} failed") for job in dependents]
        failed_names |= {job.name for job in dependents}
        runnable = [job for job in runnable if job.name not in failed_names]


@dataclass(frozen=True)
class _Running:
    job: Job
    process: "subprocess.Popen[bytes]"
    environment: dict[str, str]
    log: Path
    begun: float

    @classmethod
    def begin(
        cls, job: Job, logs: Path, environment: dict[str, str], *, inherit: int | None
    ) -> "_Running":
        log = logs / f"{job.name}.log"
        process = job.start(log, environment, keep_open=inherit)
        return cls(job, process, environment, log, time.monotonic())

    def outcome(self) -> Outcome:
        # The product decides, not the exit code: an ingest that listed faulty files ends with 1.
        code, seconds = self.process.wait(), time.monotonic() - self.begun
        fault = "" if self.job.done else f"exit code {code}: {last_printed(self.log)}"
        return Outcome(self.job, seconds, fault)
