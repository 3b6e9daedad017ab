"""Run the jobs of a plan on a Slurm cluster: all are submitted at once, with dependencies.

Slurm queues a job again that is preempted, loses its node or reaches its time limit, and the job
resumes. Jobs outlive the process that submitted them. Whatever else goes wrong, the same command
repairs: it waits for the jobs that are still in the queue (`slurm/queue.json` has their ids) and
submits those that are neither queued nor done.
"""

import importlib.util
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from cxrssl.config.plan import SlurmSection
from cxrssl.core.errors import RunError
from cxrssl.core.files import write_json
from cxrssl.core.printable import printable
from cxrssl.core.records import read_record
from cxrssl.jobs.job import NOT_RUN, Job, Outcome, Watcher, last_printed
from cxrssl.jobs.slurm_task import SlurmTask, log_of

if TYPE_CHECKING:
    from cxrssl.jobs.slurm_queue import QueuedJob

_COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "srun")
# Slurm's own default is 1001.
_MOST_OF_ARRAY = 1000
# A product may show late on a shared file system.
_TICK_S, _GRACE_S = 1.0, 10.0
_JOB_ID = re.compile(r"[0-9]{1,18}(_[0-9]{1,18})?")


def run_on_slurm(
    jobs: Sequence[Job], folder: Path, *, limits: SlurmSection, watcher: Watcher
) -> dict[str, str]:
    """Submit the jobs that are neither done nor in the queue, and wait until all have ended.

    Jobs with the same needs form an array, which waits for those needs alone. A failed job blocks
    only the jobs that need it.

    Args:
        jobs: In order of preference.
        folder: Folder of the plan, on a file system that all nodes share.
        limits: What a job asks for.
        watcher: Receives their starts and ends.

    Returns:
        For every job that is still not done, the reason.

    Raises:
        RunError: If Slurm or submitit is missing, the folder's path can't stand in a batch script,
            Slurm refuses a job, or has not answered for minutes.
    """
    _check_submitit()
    _check_commands()
    _check_paths(folder.absolute(), Path(sys.executable))
    from cxrssl.jobs.slurm_queue import QueuedJob, submit

    files = folder / "slurm"
    files.mkdir(parents=True, exist_ok=True)
    waiting = {job.name: job for job in jobs if not job.done}
    job_ids = _keep_runnable(waiting, _queued_jobs(folder))
    for group in _job_arrays(waiting, submitted=job_ids.keys()):
        needs = [job_ids[need] for need in sorted(_needs(group[0], waiting))]
        tasks = [SlurmTask(job, folder) for job in group]
        new_ids = submit(tasks, files, limits, name=slurm_name(folder), needs=needs)
        job_ids |= zip([job.name for job in group], new_ids, strict=True)
        write_json(files / "queue.json", job_ids)
    queued_jobs = {name: QueuedJob(files, number) for name, number in job_ids.items()}
    return _JobFollower(list(waiting.values()), queued_jobs, folder, watcher).wait()


def slurm_name(plan: Path) -> str:
    """Return the name that the jobs of a plan have in the queue."""
    return f"cxrssl-{plan.absolute().name}"


def check_idle(plan: Path) -> None:
    """Check that no job of a plan is in the queue: run on this machine as well, it would run twice.

    Args:
        plan: Folder of the plan, which may never have seen a cluster.

    Raises:
        RunError: If there are some, or Slurm does not answer.
    """
    if not (plan / "slurm" / "queue.json").is_file() or shutil.which("squeue") is None:
        return
    _check_submitit()
    job_ids = sorted(job.job_id for job in _queued_jobs(plan).values())
    if job_ids:
        raise RunError(
            f"{len(job_ids)} jobs of {plan} are in the Slurm queue, or Slurm does not answer "
            f"({', '.join(job_ids[:5])}). Wait for them with --executor slurm, or cancel them with "
            "scancel."
        )


def _check_submitit() -> None:
    if importlib.util.find_spec("submitit") is None:
        raise RunError("Slurm jobs need submitit, which is missing: pip install 'cxrssl[slurm]'")


def _check_commands() -> None:
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    if missing:
        raise RunError(
            f"{', '.join(missing)} not found: this machine belongs to no Slurm cluster. Run the "
            "same command on a login node of one, or run the plan here with --executor local."
        )


def _check_paths(*paths: Path) -> None:
    """Check that paths can stand in a batch script, of which sbatch reads a line at a time.

    Quotes don't hold a line break there, and in a log's path `%` and a backslash have a meaning.

    Raises:
        RunError: If one can't.
    """
    for path in paths:
        if printable(str(path)) != str(path) or any(sign in str(path) for sign in "%\\"):
            raise RunError(
                f"{str(path)!a} can't be named in a batch script: it contains a control character, "
                "% or a backslash. Run the plan in another folder (--out)."
            )


def _queued_jobs(plan: Path) -> dict[str, "QueuedJob"]:
    """Return the jobs of a plan that an earlier call has submitted and that have not ended.

    Raises:
        RunError: If the file with their ids is damaged, or Slurm does not answer.
    """
    from cxrssl.jobs.slurm_queue import QueuedJob

    path = plan / "slurm" / "queue.json"
    if not path.is_file():
        return {}
    job_ids = read_record(path)
    if not all(isinstance(x, str) and _JOB_ID.fullmatch(x) for x in job_ids.values()):
        raise RunError(
            f"{path} is damaged: expected Slurm job ids. Cancel this plan's jobs if `squeue --me` "
            "lists some, delete that file, and run the same command."
        )
    jobs = {name: QueuedJob(path.parent, number) for name, number in job_ids.items()}
    return {name: job for name, job in jobs.items() if not job.done()}


def _keep_runnable(waiting: Mapping[str, Job], queued: Mapping[str, "QueuedJob"]) -> dict[str, str]:
    """Return the ids of queued jobs that can still run, by name; cancel the others.

    A job can't if it, or one that it needs, would wait for ever or has failed.
    """
    job_ids = dict[str, str]()
    for name in (name for name in _dependency_order(waiting).static_order() if name in queued):
        if queued[name].is_hopeless or not job_ids.keys() >= _needs(waiting[name], waiting):
            queued[name].cancel(check=False)
        else:
            job_ids[name] = queued[name].job_id
    return job_ids


def _job_arrays(waiting: Mapping[str, Job], *, submitted: Set[str]) -> Iterator[list[Job]]:
    """Yield jobs with the same needs on the same kind of machine, those that others need first."""
    order = _dependency_order(waiting)
    order.prepare()
    while order.is_active():
        ready = set(order.get_ready())
        order.done(*ready)
        groups: dict[tuple[frozenset[str], bool], list[Job]] = {}
        for name, job in waiting.items():
            if name in ready - submitted:
                key = frozenset(_needs(job, waiting)), job.trains
                groups.setdefault(key, []).append(job)
        for group in groups.values():
            for start in range(0, len(group), _MOST_OF_ARRAY):
                yield group[start : start + _MOST_OF_ARRAY]


def _dependency_order(waiting: Mapping[str, Job]) -> TopologicalSorter[str]:
    return TopologicalSorter({name: _needs(job, waiting) for name, job in waiting.items()})


def _needs(job: Job, waiting: Mapping[str, Job]) -> set[str]:
    """Return the names of the jobs that a job needs and that are not done."""
    return {need for need in job.needs if need in waiting}


class _JobFollower:
    """Waits for submitted jobs and reports how they end."""

    def __init__(
        self, jobs: list[Job], queued: Mapping[str, "QueuedJob"], plan: Path, watcher: Watcher
    ) -> None:
        self._unfinished, self._queued_jobs, self._plan, self._watcher = jobs, queued, plan, watcher
        self._faults = dict[str, str]()
        self._running = set[str]()
        self._seen_ended_at = dict[str, float]()

    def wait(self) -> dict[str, str]:
        """Wait until all jobs have ended; return the reason for each that is not done."""
        while self._unfinished:
            self._watcher.tick()
            time.sleep(_TICK_S)
            for job in list(self._unfinished):
                # What a job needs is judged first: Slurm may have cancelled the job because of it.
                if {other.name for other in self._unfinished}.intersection(job.needs):
                    continue
                outcome = self._outcome(job)
                if outcome is None:
                    continue
                self._unfinished.remove(job)
                if not outcome.ok:
                    self._faults[job.name] = outcome.fault
                self._watcher.ended(outcome)
        return self._faults

    def _outcome(self, job: Job) -> Outcome | None:
        """Return how a job has ended, None if it has not."""
        failed = next((need for need in job.needs if need in self._faults), None)
        if failed is not None:  # Slurm cancels it
            fault = self._faults[failed]
            return Outcome(
                job, 0.0, fault if fault.startswith(NOT_RUN) else f"{NOT_RUN} {failed} failed"
            )
        queued = self._queued_jobs[job.name]
        state = queued.state
        if state != "RUNNING":
            self._running.discard(job.name)
        elif job.name not in self._running:
            self._running.add(job.name)
            self._watcher.began(job)
        if queued.is_hopeless:
            queued.cancel(check=False)
            reason = (
                f"Slurm job {queued.job_id} would never run, and was cancelled: {queued.reason}"
            )
            return Outcome(job, 0.0, reason)
        if state == "PENDING" or not queued.done():
            return None
        if _is_visible(job.product):
            return Outcome(job, queued.seconds, "")
        if time.monotonic() - self._seen_ended_at.setdefault(job.name, time.monotonic()) < _GRACE_S:
            return None
        ending = state.lower().replace("_", " ")
        reason = f"Slurm job {queued.job_id}, {ending}: {last_printed(self._log(job))}"
        return Outcome(job, queued.seconds, reason)

    def _log(self, job: Job) -> Path:
        """Return the job's log, or Slurm's if the command did not get to print anything."""
        log, paths = log_of(self._plan, job), self._queued_jobs[job.name].paths
        submitted = paths.submitted_pickle
        if log.is_file() and log.stat().st_mtime >= submitted.stat().st_mtime:
            return log
        return paths.stderr


def _is_visible(product: Path) -> bool:
    """Return whether a file exists, as the file system's server has it."""
    if product.parent.is_dir():
        # NFS remembers for a while that a file was missing; listing the folder makes it ask again.
        next(product.parent.iterdir(), None)
    return product.is_file()
