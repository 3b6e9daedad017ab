"""`cxrssl reproduce`: all runs of a plan, then the report. Called again, it goes on.

Each run is a `cxrssl` command of its own, so that it can be repeated by hand.
"""

import shlex
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal, NoReturn

from cxrssl.config.plan import Plan
from cxrssl.core.errors import RunError
from cxrssl.core.files import make_folder
from cxrssl.core.interrupts import Interrupted
from cxrssl.core.lock import sole_user
from cxrssl.jobs.job import NOT_RUN, Job
from cxrssl.jobs.local import job_environments, run_locally
from cxrssl.jobs.slurm import check_idle, run_on_slurm, slurm_name
from cxrssl.reproduce.checks import check, check_folder, write_plan
from cxrssl.reproduce.folds import write_folds
from cxrssl.reproduce.images import PlanImages, check_images
from cxrssl.reproduce.jobs import Training, data_jobs, trainings
from cxrssl.reproduce.progress_table import ProgressTable, open_progress_table
from cxrssl.reproduce.resources import Resources
from cxrssl.reproduce.same_sources import check_same_sources
from cxrssl.reproduce.sizing import sized
from cxrssl.reproduce.status import Status, progress_of
from cxrssl.reproduce.watch import Watch, is_stale, write_report

Executor = Literal["local", "slurm"]


def reproduce(plan: Plan, out: Path, *, resources: Resources, executor: Executor = "local") -> Path:
    """Run what is not done of a plan and return the report.

    Args:
        plan: Data, recipes, treatments, label fractions and seeds.
        out: Folder of all runs.
        resources: What it can count on; a plan with a section `sizing` is sized by them.
        executor: `local` runs on this machine, `slurm` submits to a cluster and waits.

    Raises:
        RecipeError: If a recipe of the plan is missing or does not fit.
        DataError: If the source can't be read.
        RunError: If the runs don't fit together or have no images, `out` belongs to another plan,
            the source has changed since its store was made, or a run failed; all others have run
            then, and the report shows them.
    """
    plan = sized(plan, out, resources)
    runs = trainings(plan, out)
    check(plan, runs, resources)
    check_folder(out, plan)
    check_same_sources(plan, out)
    check_images(PlanImages(plan, out), runs)
    make_folder(out)
    with _exit_on_sigterm(), open_progress_table() as table:

        def wait() -> None:
            table.say(f"{out}: another `cxrssl reproduce`, or a run it began, is at work; waiting.")

        with sole_user(out, on_wait=wait) as lock_fd:
            write_plan(out, plan, runs)
            write_folds(plan, out)
            return _run(plan, out, runs, executor, table, lock_fd)


def _run(
    plan: Plan,
    out: Path,
    runs: list[Training],
    executor: Executor,
    table: ProgressTable,
    lock_fd: int,
) -> Path:
    jobs = [*data_jobs(plan, out), *(run.job for run in runs)]
    report, path = out / "report.html", out / "status.json"
    num_parallel = len(job_environments()) if executor == "local" else plan.slurm.most_at_once
    status = Status(plan.name, path, progress_of(jobs, runs, path), num_parallel, out)
    if status.num_done == len(jobs) and not is_stale(out, runs):
        table.say(f"{out} is complete, {len(jobs)} of {len(jobs)} jobs are done: nothing to do.")
        return report
    table.say(
        f"{plan.name}: {len(jobs)} jobs, {status.num_done} done before. How far it is: {path}, "
        f"{report}; logs: {out / 'logs'}"
    )
    with Watch(status, table, out, lock_fd=lock_fd) as watch:
        faults = _execute(plan, out, jobs, executor, watch, lock_fd)
    if not faults:
        write_report(out, lock_fd=lock_fd)
        return report
    table.say("Writing a report of the runs that are done.")
    write_report(out, lock_fd=lock_fd)
    raise RunError(_failure_text(faults, len(jobs), report))


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that this process cleans up as it does after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _failure_text(faults: Mapping[str, str], total: int, report: Path) -> str:
    failed = {name: reason for name, reason in faults.items() if not reason.startswith(NOT_RUN)}
    lines = [f"  {name}: {reason}" for name, reason in failed.items()]
    if len(faults) > len(failed):
        lines.append(f"  {len(faults) - len(failed)} more depend on these, and were not run")
    return "\n".join(
        [
            f"{len(faults)} of {total} jobs are not done:",
            *lines,
            "Correct what the log says and run the same command: it goes on from here. "
            f"{report} shows the others.",
        ]
    )


def _execute(
    plan: Plan, out: Path, jobs: list[Job], executor: Executor, watch: Watch, lock_fd: int
) -> dict[str, str]:
    if executor == "local":
        check_idle(out)
        return run_locally(jobs, out / "logs", watcher=watch, inherit=lock_fd)
    try:
        return run_on_slurm(jobs, out, limits=plan.slurm, watcher=watch)
    except (KeyboardInterrupt, SystemExit, Interrupted):
        watch.say(
            "Submitted jobs stay in the Slurm queue. Run the same command to wait for them, or "
            f"cancel them: scancel --me --name={shlex.quote(slurm_name(out))}"
        )
        raise
