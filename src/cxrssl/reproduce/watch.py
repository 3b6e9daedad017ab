"""Who watches a plan's jobs: says what ends, keeps `status.json`, and writes reports meanwhile."""

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
from cxrssl.reproduce.progress_table import ProgressTable, Row
from cxrssl.reproduce.status import Status

# Between two reports while runs are at work: one takes a core for some seconds.
_REPORT_EVERY_S, _REPORT_AT_LEAST_EVERY_S = 180.0, 900.0
_FILES = ("report.html", "report.csv", "report.md", "report.tex")


class Watch:
    """The watcher of one call of `reproduce`."""

    def __init__(self, status: Status, shown: ProgressTable, out: Path, *, held: int) -> None:
        """Watch for who holds the lock of `out` as file descriptor `held`."""
        self._status, self._shown, self._out, self._held = status, shown, out, held
        self._report: subprocess.Popen[bytes] | None = None
        self._reported = time.monotonic()
        self._is_new = False

    def __enter__(self) -> "Watch":
        self._status.write("running")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End a report that is being written, and write down how it ended."""
        if self._report is not None:
            self._report.terminate()
            self._report.wait()
        self._status.write("stopped" if kind is not None else "ended")

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._shown.say(text)

    def began(self, job: Job) -> None:
        """Take note that a job runs."""
        self._status.begin(job)

    def ended(self, outcome: Outcome) -> None:
        """Say that a job has ended, or will not run."""
        self._status.end(outcome)
        job = outcome.job
        if outcome.fault.startswith(NOT_RUN):
            return  # it is listed at the end; a failed ingest has hundreds of them
        took = f" in {duration(outcome.seconds)}" if outcome.seconds else ""
        said = _headline(job.product) if outcome.ok else f": {outcome.fault}"
        self._shown.say(
            f"[{self._status.num_done}/{len(self._status.jobs)}] {job.name} "
            f"{'done' if outcome.ok else 'FAILED'}{took}{said}"
        )
        self._is_new |= job.trains

    def tick(self) -> None:
        """Show how far all are, and begin a report where there is something new."""
        status = self._status
        left = status.write("running")
        rows = [
            Row(progress.job.name, progress.note, progress.share) for progress in status.running()
        ]
        self._shown.show(rows, done=status.num_done, total=len(status.jobs), left=left)
        is_busy = self._report is not None and self._report.poll() is None
        age = time.monotonic() - self._reported
        is_due = age > (_REPORT_EVERY_S if self._is_new else _REPORT_AT_LEAST_EVERY_S)
        if is_due and not is_busy:
            self._is_new, self._reported = False, time.monotonic()
            self._report = _begin_report(self._out, self._held)


def _begin_report(out: Path, held: int) -> "subprocess.Popen[bytes]":
    log = out / "logs" / "report.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as sink:
        command = [sys.executable, "-m", "cxrssl", "report", str(out)]
        # It keeps the folder held: one that outlives who began it must not end after a later one.
        return subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, pass_fds=(held,))


def write_report(out: Path, *, held: int) -> None:
    """Write the report of what is there, while `held` keeps others from it.

    Raises:
        RunError: If it can't be written.
    """
    if _begin_report(out, held).wait():
        said = last_printed(out / "logs" / "report.log")
        raise RunError(f"the runs have ended, and no report could be written: {said}")


def is_stale(out: Path, trainings: Sequence[Training]) -> bool:
    """Return whether a report is missing, or does not hold all runs and the plan as they are."""
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
