"""Watching a plan's jobs: prints which end, updates `status.json`, and writes reports meanwhile."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from cxrssl.core.duration import duration
from cxrssl.core.errors import RunError
from cxrssl.core.records import read_record, reading
from cxrssl.jobs.job import NOT_RUN, Job, Outcome, last_printed
from cxrssl.reproduce.jobs import Training
from cxrssl.reproduce.progress_table import ProgressTable
from cxrssl.reproduce.status import Status

# Between two reports while runs are at work: one takes a core for some seconds.
_REPORT_EVERY_S, _REPORT_AT_LEAST_EVERY_S = 180.0, 900.0
_FILES = ("report.html", "report.csv", "report.md", "report.tex")


class Watch:
    """The watcher of one call of `reproduce`."""

    def __init__(self, status: Status, table: ProgressTable, out: Path, *, lock_fd: int) -> None:
        """Watch a plan in folder `out`, whose lock is held as file descriptor `lock_fd`."""
        self._status, self._table, self._out, self._lock_fd = status, table, out, lock_fd
        self._report: subprocess.Popen[bytes] | None = None
        self._reported_at = time.monotonic()
        self._has_news = False

    def __enter__(self) -> "Watch":
        self._status.write("running")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop a report that is being written, and record how the call ended."""
        if self._report is not None:
            self._report.terminate()
            self._report.wait()
        self._status.write("stopped" if kind is not None else "ended")

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._table.say(text)

    def began(self, job: Job) -> None:
        """Record that a job has started."""
        self._status.begin(job)

    def ended(self, outcome: Outcome) -> None:
        """Record and print that a job has ended, or will not run."""
        self._status.end(outcome)
        job = outcome.job
        if outcome.fault.startswith(NOT_RUN):
            return  # it is listed at the end; a failed ingest has hundreds of them
        took = f" in {duration(outcome.seconds)}" if outcome.seconds else ""
        text = _headline(job.product) if outcome.ok else f": {outcome.fault}"
        self._table.say(
            f"[{self._status.num_done}/{len(self._status.jobs)}] {job.name} "
            f"{'done' if outcome.ok else 'FAILED'}{took}{text}"
        )
        self._has_news |= job.trains

    def tick(self) -> None:
        """Update the progress, and begin a report if there is something new."""
        status = self._status
        seconds_left = status.write("running")
        running, total = status.running(), len(status.jobs)
        self._table.show(running, done=status.num_done, total=total, seconds_left=seconds_left)
        is_busy = self._report is not None and self._report.poll() is None
        age = time.monotonic() - self._reported_at
        is_due = age > (_REPORT_EVERY_S if self._has_news else _REPORT_AT_LEAST_EVERY_S)
        if is_due and not is_busy:
            self._has_news, self._reported_at = False, time.monotonic()
            self._report = _begin_report(self._out, self._lock_fd)


def _begin_report(out: Path, lock_fd: int) -> "subprocess.Popen[bytes]":
    log = out / "logs" / "report.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as sink:
        command = [sys.executable, "-m", "cxrssl", "report", str(out)]
        # It keeps the folder held: one that outlives who began it must not end after a later one.
        return subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, pass_fds=(lock_fd,))


def write_report(out: Path, *, lock_fd: int) -> None:
    """Write the report of the finished runs; the lock stays held through `lock_fd`.

    Raises:
        RunError: If it can't be written.
    """
    if _begin_report(out, lock_fd).wait():
        text = last_printed(out / "logs" / "report.log")
        raise RunError(f"the runs have ended, and no report could be written: {text}")


def is_stale(out: Path, trainings: Sequence[Training]) -> bool:
    """Return whether the report is missing, or older than the plan or one of its runs."""
    report = out / "report.json"
    if not all((out / name).is_file() for name in (report.name, *_FILES)):
        return True
    arms = [training for training in trainings if training.job.arguments[0] == "finetune"]
    if set(read_record(report, "arms")["arms"]) != {arm.job.name for arm in arms}:
        return True
    written = report.stat().st_mtime_ns
    sources = [out / "plan.yaml", *(training.job.product for training in trainings)]
    return any(path.stat().st_mtime_ns > written for path in sources)


def _headline(product: Path) -> str:
    if product.name != "metrics.json":
        return ""
    metrics = read_record(product)
    with reading(product):
        if "metrics" not in metrics:
            chance = metrics.get("chance_loss")  # not every method has one
            beside = "" if chance is None else f" (chance {chance:.3f})"
            return f", loss {metrics['loss']:.3f}{beside}"
        value = metrics["metrics"]["AP50"]["value"]
        return f", AP50 {value:.3f}" if value is not None else ""
