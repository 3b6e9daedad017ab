"""Running commands on a Slurm cluster: all are submitted at once, and wait for each other there.

A job that is preempted, or reaches its time limit, is queued again and goes on. Whoever submits may
be killed: the jobs stay in the queue, and the next call finds them by `slurm/queue.json`.
"""

import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from graphlib import TopologicalSorter
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from cxrssl.core.errors import RunError
from cxrssl.core.files import write_json
from cxrssl.core.printable import printable
from cxrssl.jobs.job import Job, Watcher
from cxrssl.jobs.slurm_queue import cancel, follow, noted, queue
from cxrssl.jobs.slurm_task import SlurmTask

if TYPE_CHECKING:
    from submitit import AutoExecutor

_COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "srun")
# Slurm's own default is 1001.
_MOST_OF_ARRAY = 1000
# How long before its time limit a job is told, so that it can be queued again.
_NOTICE_S, _NOTICE_SHARE = 90, 0.2


@dataclass(frozen=True)
class Limits:
    """What a job asks of the cluster.

    Attributes:
        partition: Name of one, None for the cluster's default.
        account: Who pays, None for the user's default.
        minutes: Time limit of a job; one that reaches it is queued again and goes on.
        gpus: Of a job that trains; others get none.
        cpus: Of a job.
        memory_gb: Of a job.
        most_at_once: Jobs of one array that run side by side.
        requeues: How often a job may reach its time limit.
    """

    partition: str | None
    account: str | None
    minutes: int
    gpus: int
    cpus: int
    memory_gb: int
    most_at_once: int
    requeues: int


def run_on_slurm(
    jobs: Sequence[Job], folder: Path, *, limits: Limits, watcher: Watcher
) -> dict[str, str]:
    """Submit the jobs that are neither done nor in the queue, and wait until all have left it.

    Jobs that need the same ones form an array, which waits for those alone. A job that fails keeps
    those that need it from running; the rest goes on. Jobs outlive this process.

    Args:
        jobs: In order of preference.
        folder: The plan's, on a file system that all nodes have.
        limits: What a job asks for.
        watcher: Told what begins and ends.

    Returns:
        Why, for every job that is still not done.

    Raises:
        RunError: If there is no Slurm or submitit, the folder's path can't stand in a batch
            script, Slurm refuses the jobs, or it has not answered
            for minutes.
    """
    _check_tools()
    _check_paths(folder.absolute(), Path(sys.executable))
    files = folder / "slurm"
    files.mkdir(parents=True, exist_ok=True)
    waiting = {job.name: job for job in jobs if not job.done}
    with _ended_quietly():
        numbers = _in_queue(waiting, noted(files))
        for group in _groups(waiting, already=set(numbers)):
            executor = _executor(files, limits, trains=group[0].trains)
            executor.update_parameters(
                slurm_additional_parameters=_when(
                    [numbers[need] for need in _needs(group[0], waiting)]
                )
            )
            tasks = [
                SlurmTask.of(job, _ancestors(job, waiting), folder, limits.cpus) for job in group
            ]
            numbers |= zip([job.name for job in group], _submit(executor, tasks), strict=True)
            write_json(files / "queue.json", numbers)
        return follow(list(waiting.values()), numbers, folder.absolute(), watcher)


def _check_tools() -> None:
    if importlib.util.find_spec("submitit") is None:
        raise RunError(
            "Slurm is spoken to by submitit, which is not installed: pip install 'cxrssl[slurm]'"
        )
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    if missing:
        raise RunError(
            f"{', '.join(missing)} can't be found: this machine belongs to no Slurm cluster. Call "
            "the same command on a login node of one, or run the plan here with --executor local."
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
                f"{str(path)!a} can't be named in a batch script: a control character, % or a "
                "backslash is in it. Run the plan in another folder (--out)."
            )


def _in_queue(waiting: Mapping[str, Job], noted: Mapping[str, str]) -> dict[str, str]:
    """Return the ids of jobs that an earlier call has submitted and that still may do their work.

    A job whose needs have failed since would end at once: it is cancelled, to be submitted anew.
    """
    found = queue(noted[name] for name in waiting if name in noted)
    numbers, cut = dict[str, str](), list[str]()
    for name in _order(waiting).static_order():
        number = noted.get(name, "")
        if number not in found or found[number].has_ended:
            continue
        if numbers.keys() >= _needs(waiting[name], waiting):
            numbers[name] = number
        else:
            cut.append(number)
    cancel(cut)
    return numbers


def _groups(waiting: Mapping[str, Job], *, already: set[str]) -> Iterator[list[Job]]:
    """Yield jobs that need the same ones and the same machine, before those that need them."""
    order = _order(waiting)
    order.prepare()
    while order.is_active():
        ready = set(order.get_ready())
        order.done(*ready)
        groups: dict[tuple[frozenset[str], bool], list[Job]] = {}
        for name, job in waiting.items():
            if name in ready - already:
                key = frozenset(_needs(job, waiting)), job.trains
                groups.setdefault(key, []).append(job)
        for group in groups.values():
            for start in range(0, len(group), _MOST_OF_ARRAY):
                yield group[start : start + _MOST_OF_ARRAY]


def _order(waiting: Mapping[str, Job]) -> TopologicalSorter[str]:
    return TopologicalSorter({name: _needs(job, waiting) for name, job in waiting.items()})


def _needs(job: Job, waiting: Mapping[str, Job]) -> set[str]:
    """Return what a job needs and is not done."""
    return {need for need in job.needs if need in waiting}


def _executor(files: Path, limits: Limits, *, trains: bool) -> "AutoExecutor":
    import submitit

    executor = submitit.AutoExecutor(
        folder=files, cluster="slurm", slurm_max_num_timeout=limits.requeues
    )
    executor.update_parameters(
        name=f"cxrssl-{files.parent.absolute().name}",
        timeout_min=limits.minutes,
        mem_gb=limits.memory_gb,
        nodes=1,
        tasks_per_node=1,
        cpus_per_task=limits.cpus,
        gpus_per_node=(limits.gpus or None) if trains else None,
        slurm_partition=limits.partition,
        slurm_account=limits.account,
        slurm_array_parallelism=limits.most_at_once,
        slurm_signal_delay_s=round(min(_NOTICE_S, 60 * limits.minutes * _NOTICE_SHARE)),
        # Since Slurm 22.05 srun has one CPU, whatever the job has.
        slurm_srun_args=[f"--cpus-per-task={limits.cpus}"],
    )
    return executor


def _when(numbers: Sequence[str]) -> dict[str, str | bool]:
    """Return when jobs may start: after others, however these end.

    `afterok` would leave jobs in the queue for ever when what they need fails, and hold an ingest
    that listed faulty files for failed. Jobs look themselves whether what they need is there.
    """
    asked: dict[str, str | bool] = {"requeue": True, "kill-on-invalid-dep": "yes"}
    return asked | ({"dependency": ":".join(["afterany", *sorted(numbers)])} if numbers else {})


def _ancestors(job: Job, waiting: Mapping[str, Job]) -> list[Job]:
    """Return what a job needs and is not done, and what that needs, the first of all first."""
    order, wanted = list(_order(waiting).static_order()), _needs(job, waiting)
    for name in reversed(order):
        if name in wanted:
            wanted |= _needs(waiting[name], waiting)
    return [waiting[name] for name in order if name in wanted]


def _submit(executor: "AutoExecutor", tasks: Sequence[SlurmTask]) -> list[str]:
    """Submit tasks as one array and return their ids."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError
    from submitit.helpers import clean_env

    # Inside of a job, sbatch would take what is said of that job for what is asked for these.
    outside = clean_env() if "SLURM_JOB_ID" in os.environ else nullcontext()
    conf = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    try:
        # What sbatch says is in the error; submitit prints it as well.
        with outside, redirect_stderr(StringIO()):
            os.environ.update(conf)
            with executor.batch():
                submitted = [executor.submit(task) for task in tasks]
    except (FailedJobError, FailedSubmissionError) as error:
        said = printable(" ".join(str(error).split()))
        raise RunError(
            f"sbatch has refused a job: {said} Mend the section `slurm` of the plan, such as "
            "--set slurm.partition=NAME, and call the same command."
        ) from error
    return [job.job_id for job in submitted]


@contextmanager
def _ended_quietly() -> Iterator[None]:
    """Let a plain kill end this process as Ctrl-C does, with what it has begun to write whole."""
    previous = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
