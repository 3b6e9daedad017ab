"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cxrssl.core.duration import duration
from cxrssl.core.interrupts import ends_between_steps

if TYPE_CHECKING:  # it imports torch, which scores of files and the like do without
    from cxrssl.run.log import Log

Batch = TypeVar("Batch")
# Plain lines come at every tenth of the work, and where a tenth takes long at least this often.
_TENTHS, _QUIET_S = 10, 60.0


def say(text: str, *, shown: bool = True) -> None:
    """Print a line of information on stderr; `warn` in `run.processes` is for faults."""
    Console(stderr=True, quiet=not shown).print(text, highlight=False, markup=False, soft_wrap=True)


class Meter:
    """Progress of one piece of work, in what it counts: images, files, draws or steps."""

    def __init__(
        self,
        title: str,
        *,
        total: int | None,
        done: int,
        unit: str,
        console: Console,
        bar: Progress | None,
    ) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._console, self._bar = console, bar
        self._task = bar.add_task(title, total=total, completed=done, count="") if bar else None
        self._start_clock(done)
        self._show(done)

    def at(self, done: int, note: str = "") -> None:
        """Show that `done` of the total is done, followed by `note`."""
        self._show(done, note)
        if self._bar is None and self._is_due(done):
            self._done_when_printed, self._printed_s = done, time.monotonic()
            parts = (f"{self._title}: {self._count(done)}", note, self._time_left(done))
            line = " ".join(part for part in parts if part)
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def at_of(self, done: int, total: int) -> None:
        """Show that `done` of a total is done that only the work itself found out.

        The first call with a total says what was there before: the time left is that of the rest.
        """
        if total != self._total:
            self._total = total
            self._start_clock(done)
            self._show(done)
        self.at(done)

    def _start_clock(self, done: int) -> None:
        self._done_at_start, self._started_s = done, time.monotonic()
        self._done_when_printed, self._printed_s = done, self._started_s

    def _show(self, done: int, note: str = "") -> None:
        """Move the bar, if there is one."""
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                total=self._total,
                completed=done,
                description=f"{self._title} {note}".rstrip(),
                count=self._count(done),
            )

    def _count(self, done: int) -> str:
        total = "" if self._total is None else f"/{self._total:,}"
        return f"{done:,}{total}{f' {self._unit}' if self._unit else ''}"

    def _is_due(self, done: int) -> bool:
        if time.monotonic() - self._printed_s > _QUIET_S:
            return True
        if self._total is None:
            return False
        tenth, last = (
            at * _TENTHS // max(1, self._total) for at in (done, self._done_when_printed)
        )
        return tenth > last

    def _time_left(self, done: int) -> str:
        if self._total is None or done >= self._total or done <= self._done_at_start:
            return ""
        rate = (time.monotonic() - self._started_s) / (done - self._done_at_start)
        return f"ETA {duration(rate * (self._total - done))}"


@contextmanager
def progress(
    title: str, *, total: int | None, done: int = 0, unit: str = "", shown: bool = True
) -> Iterator[Meter]:
    """Show work as a bar on a terminal, and as plain lines elsewhere, on stderr.

    Args:
        title: What is done.
        total: How much there is; None where only the work finds out (`Meter.at_of`).
        done: How much of it is done already.
        unit: What is counted, in the plural.
        shown: Whether anything is shown.
    """
    console = Console(stderr=True, quiet=not shown)
    if not console.is_terminal:
        yield Meter(title, total=total, done=done, unit=unit, console=console, bar=None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        yield Meter(title, total=total, done=done, unit=unit, console=console, bar=bar)


class TimedBatches(Generic[Batch]):
    """Batches of a loader, with the time that the loop has waited for them.

    On a GPU, which computes while the next batch is fetched, it is an upper bound.

    Attributes:
        seconds: Total time in `next` so far.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches, self.seconds = iter(batches), 0.0

    def __next__(self) -> Batch:
        """Return the next batch."""
        start_s = time.perf_counter()
        batch = next(self._batches)
        self.seconds += time.perf_counter() - start_s
        return batch

    def __iter__(self) -> Iterator[Batch]:
        """Return itself."""
        return self


class StepMeter:
    """Progress of a training, with the last logged loss and learning rate."""

    def __init__(self, meter: Meter, log: "Log") -> None:
        self._meter, self._log = meter, log

    def at(self, step: int, note: str) -> None:
        """Show that `step` steps are done; `note` names the epoch."""
        latest = self._log.latest
        losses = f" loss {latest['loss']:.4g} lr {latest['lr']:.3g}" if latest else ""
        self._meter.at(step, f"{note}{losses}")


@contextmanager
def training_progress(
    title: str, log: "Log", *batches: TimedBatches[Any], shown: bool
) -> Iterator[StepMeter]:
    """Show a training's steps, let Ctrl-C end it between two, and write `timing.json` at its end.

    Args:
        title: Name of the command.
        log: Log of the run: numbers of steps, last losses.
        batches: The batches that the loop waits for, one or more kinds.
        shown: Whether this process shows anything.

    Raises:
        Interrupted: If Ctrl-C or SIGTERM came too late for the last step.
    """
    start_s = time.perf_counter()
    steps = progress(title, total=log.num_steps, done=log.steps_before, shown=shown)
    with ends_between_steps(), steps as meter:
        yield StepMeter(meter, log)
    waiting_s = sum(kind.seconds for kind in batches)
    log.write_timing(seconds=time.perf_counter() - start_s, seconds_waiting=waiting_s)
