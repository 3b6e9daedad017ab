"""Slurm's queue: what it says of jobs, and following them until each has left it.

`squeue` alone is asked: small clusters have no accounting that `sacct` could tell from.
"""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrssl.core.errors import RunError
from cxrssl.jobs.job import Job, Outcome, Watcher, last_words, without_dependents
from cxrssl.jobs.slurm_task import is_seen, log_of

_ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
)
# Why a job waits that would wait for ever; squeue's words.
_HOPELESS = (
    *("BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS"),
    *("PartitionTimeLimit", "launch failed requeued held"),
)
_NOBODY = "Invalid job id specified"
"""What squeue says when it is asked for one job alone and that has long left."""
_JOB_ID = re.compile(r"[0-9]{1,18}(_[0-9]{1,18})?")
_TICK_S, _LEAST_TICKS, _MOST_TICKS = 1.0, 1, 10
# A product may show late, and a job that is queued again is nowhere for a moment.
_GRACE_S = 10.0
_SILENCE_S, _ANSWER_S = 300.0, 60.0


@dataclass(frozen=True)
class Entry:
    """A job in the queue, or one that has left it within some minutes.

    Attributes:
        state: In Slurm's words, such as `RUNNING`.
        reason: Why it waits or has failed, in Slurm's words.
        seconds: How long it has run since it was last started.
    """

    state: str
    reason: str
    seconds: float

    @property
    def has_ended(self) -> bool:
        """Return whether it has left the queue."""
        return self.state in _ENDED


def queue(numbers: Iterable[str]) -> dict[str, Entry]:
    """Return what Slurm knows of jobs, by id; those it has forgotten are left out.

    Args:
        numbers: Ids, such as `12`, or `12_3` for a job of an array.

    Raises:
        RunError: If Slurm has not answered for minutes.
    """
    wanted = set(numbers)
    if not wanted:
        return {}
    silent_since = time.monotonic()
    arrays = sorted({number.split("_")[0] for number in wanted}, key=int)
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%M|%r"]
    while True:
        code, said, fault = _answer([*command, f"--jobs={','.join(arrays)}"])
        if code == 0 or _NOBODY in fault:
            break
        if time.monotonic() - silent_since > _SILENCE_S:
            raise RunError(
                f"Slurm has not answered for {_SILENCE_S / 60:g} minutes: {fault.strip()}. The "
                "jobs go on; call the same command once it answers, and it waits for them."
            )
        time.sleep(_TICK_S)
    lines = [line.split("|", 3) for line in said.splitlines() if line.count("|") >= 3]
    found = {line[0]: Entry(line[1], line[3], _seconds(line[2])) for line in lines}
    return {number: entry for number, entry in found.items() if number in wanted}


def noted(files: Path) -> dict[str, str]:
    """Return the ids of the jobs that a plan has submitted, by name; `files` is its `slurm/`.

    Raises:
        RunError: If the file that keeps them holds something else.
    """
    path = files / "queue.json"
    if not path.is_file():
        return {}
    try:
        numbers = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        numbers = None
    if not isinstance(numbers, dict) or not all(
        isinstance(number, str) and _JOB_ID.fullmatch(number) for number in numbers.values()
    ):
        raise RunError(
            f"{path} is damaged: expected the ids of jobs by their names. See with `squeue --me` "
            "whether jobs of this plan are in the queue, cancel them, delete that file, and call "
            "again."
        )
    return numbers


def check_idle(plan: Path) -> None:
    """Check that no job of a plan is in the queue: run on this machine as well, it would run twice.

    Args:
        plan: Folder of the plan, which may never have seen a cluster.

    Raises:
        RunError: If there are some, or Slurm has not answered for minutes.
    """
    numbers = noted(plan / "slurm").values()
    if not numbers or shutil.which("squeue") is None:
        return
    live = sorted(number for number, entry in queue(numbers).items() if not entry.has_ended)
    if live:
        raise RunError(
            f"{len(live)} jobs of {plan} are in the Slurm queue ({', '.join(live[:5])}). Wait for "
            "them with --executor slurm, or cancel them with scancel."
        )


def cancel(numbers: Sequence[str]) -> None:
    """Take jobs out of the queue; those that have left it do no harm."""
    if numbers:
        _answer(["scancel", "--quiet", *numbers])


def follow(
    jobs: Sequence[Job], numbers: Mapping[str, str], plan: Path, watcher: Watcher
) -> dict[str, str]:
    """Wait until jobs have left the queue.

    Args:
        jobs: Those in the queue.
        numbers: Their ids, by name.
        plan: Folder of the plan.
        watcher: Told what begins and ends.

    Returns:
        Why, for every job that is still not done.

    Raises:
        RunError: If Slurm has not answered for minutes.
    """
    followed = _Followed(list(jobs), numbers, plan, watcher)
    ticks = _LEAST_TICKS
    while followed.left:
        for _ in range(ticks):
            watcher.tick()
            time.sleep(_TICK_S)
        ticks = _LEAST_TICKS if followed.look() else min(ticks + 1, _MOST_TICKS)
    return followed.faults


class _Followed:
    """Jobs of which some are still in the queue."""

    def __init__(
        self, jobs: list[Job], numbers: Mapping[str, str], plan: Path, watcher: Watcher
    ) -> None:
        self.left, self.faults = jobs, dict[str, str]()
        self._numbers, self._plan, self._watcher = numbers, plan, watcher
        self._last: dict[str, Entry] = {}
        self._before: dict[str, float] = {}  # seconds of what was cut, by job
        self._gone: dict[str, float] = {}  # since when, by job

    def look(self) -> bool:
        """Ask Slurm once, pass on what is new, and return whether anything was."""
        found = queue(self._numbers[job.name] for job in self.left)
        news = [self._note(job, found.get(self._numbers[job.name])) for job in self.left]
        done = [job for job in self.left if job.name in self._gone and is_seen(job.product)]
        for job in done:
            self.left.remove(job)
            self._watcher.ended(Outcome(job, self._ran(job), ""))
        faulty = {job.name: fault for job in self.left if (fault := self._fault(job))}
        for job in list(self.left):
            # One that needs another faulty one goes with that.
            if job.name in faulty and job in self.left and not faulty.keys() & set(job.needs):
                self._fail(job, faulty[job.name])
        return bool(any(news) or done or faulty)

    def _note(self, job: Job, entry: Entry | None) -> bool:
        """Remember what Slurm says of a job, and return whether it has begun or left just now."""
        name, before, was_gone = job.name, self._last.get(job.name), job.name in self._gone
        if entry is None or entry.has_ended:
            self._gone.setdefault(name, time.monotonic())
        else:
            self._gone.pop(name, None)
        leaves = name in self._gone and not was_gone
        if entry is None:
            return leaves
        if before is not None and entry.seconds < before.seconds:
            self._before[name] = self._ran(job)
        self._last[name] = entry
        begins = entry.state == "RUNNING" and (before is None or before.state != "RUNNING")
        if begins:
            self._watcher.began(job)
        return begins or leaves

    def _ran(self, job: Job) -> float:
        last = self._last.get(job.name)
        return self._before.get(job.name, 0.0) + (last.seconds if last is not None else 0.0)

    def _fault(self, job: Job) -> str:
        number, last = self._numbers[job.name], self._last.get(job.name)
        gone = self._gone.get(job.name)
        if gone is None:
            if last is not None and last.state == "PENDING" and last.reason in _HOPELESS:
                return f"Slurm job {number} was cancelled, for it would never run: {last.reason}"
            return ""
        if time.monotonic() - gone < _GRACE_S:
            return ""
        state = last.state if last is not None and last.has_ended else "no longer in the queue"
        how = state.lower().replace("_", " ")
        return f"Slurm job {number}, {how}: {last_words(self._log(job))}"

    def _log(self, job: Job) -> Path:
        """Return what tells most: the command's log, or Slurm's if the command said nothing."""
        number, folder = self._numbers[job.name], self._plan / "slurm"
        log, pickled = log_of(self._plan, job), folder / f"{number}_submitted.pkl"
        if log.is_file() and pickled.is_file() and log.stat().st_mtime >= pickled.stat().st_mtime:
            return log
        return folder / f"{number}_0_log.err"

    def _fail(self, job: Job, fault: str) -> None:
        self.left.remove(job)
        kept, others = without_dependents(self.left, job.name)
        self.left[:] = kept
        cancel([self._numbers[one.name] for one in [job, *(end.job for end in others)]])
        for end in [Outcome(job, self._ran(job), fault), *others]:
            self.faults[end.job.name] = end.fault
            self._watcher.ended(end)


def _answer(command: Sequence[str]) -> tuple[int, str, str]:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, "", f"{command[0]} took more than {_ANSWER_S:g} s"
    return done.returncode, done.stdout, done.stderr


def _seconds(elapsed: str) -> float:
    """Return the seconds of squeue's `days-hours:minutes:seconds`, 0 if it has no such thing."""
    days, _, clock = elapsed.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdecimal() for part in [*parts, days or "0"]):
        return 0.0
    total = 0
    for part in parts:
        total = 60 * total + int(part)
    return float(total + 86400 * int(days or 0))
