"""Progress of long work, for a person: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cxrssl.core.duration import duration
from cxrssl.core.interrupts import ends_between_steps

if TYPE_CHECKING:  # it imports torch, which scores of files and the like do without
    from cxrssl.run.log import Log

Batch = TypeVar("Batch")
# Plain lines come at every tenth of the work, and where a tenth takes long at least this often.
_TENTHS, _QUIET_S = 10, 60.0


def say(text: str, *, shown: bool = True) -> None:
    """Print a line for a person to know, on stderr; `warn` in `run.processes` is for faults."""
    Console(stderr=True, quiet=not shown).print(text, highlight=False, markup=False, soft_wrap=True)


class Meter:
    """Progress of one piece of work."""

    def __init__(
        self, title: str, total: int, done: int, console: Console, bar: Progress | None
    ) -> None:
        self._title, self._total, self._console, self._bar = title, total, console, bar
        self._task = bar.add_task(title, total=total, completed=done) if bar else None
        self._begun_at, self._begun = done, time.monotonic()
        self._printed_at, self._printed = done, self._begun

    def at(self, done: int, note: str = "") -> None:
        """Say that `done` of the total is done; `note` follows it."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, description=f"{self._title} {note}")
        elif self._is_due(done):
            self._printed_at, self._printed = done, time.monotonic()
            parts = (f"{self._title}: {done}/{self._total}", note, self._time_left(done))
            line = " ".join(part for part in parts if part)
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _is_due(self, done: int) -> bool:
        tenth, last = (at * _TENTHS // max(1, self._total) for at in (done, self._printed_at))
        return tenth > last or time.monotonic() - self._printed > _QUIET_S

    def _time_left(self, done: int) -> str:
        if done >= self._total or done <= self._begun_at:
            return ""
        rate = (time.monotonic() - self._begun) / (done - self._begun_at)
        return f"ETA {duration(rate * (self._total - done))}"


@contextmanager
def progress(title: str, *, total: int, done: int = 0, shown: bool = True) -> Iterator[Meter]:
    """Show work as a bar on a terminal, and as plain lines elsewhere, on stderr."""
    console = Console(stderr=True, quiet=not shown)
    if not console.is_terminal:
        yield Meter(title, total, done, console, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        yield Meter(title, total, done, console, bar)


class TimedBatches(Generic[Batch]):
    """Batches of a loader, with how long the loop has waited for them.

    On a GPU, which computes while the next batch is fetched, that is the most it can have waited.

    Attributes:
        seconds: In `next` so far.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches, self.seconds = iter(batches), 0.0

    def __next__(self) -> Batch:
        """Return the next batch."""
        begun = time.perf_counter()
        batch = next(self._batches)
        self.seconds += time.perf_counter() - begun
        return batch

    def __iter__(self) -> Iterator[Batch]:
        """Return itself."""
        return self


class StepMeter:
    """Progress of a training, with the losses that its log has read last."""

    def __init__(self, meter: Meter, log: "Log") -> None:
        self._meter, self._log = meter, log

    def at(self, step: int, note: str) -> None:
        """Say that so many steps are done; `note` names the epoch."""
        latest = self._log.latest
        losses = f" loss {latest['loss']:.4g} lr {latest['lr']:.3g}" if latest else ""
        self._meter.at(step, f"{note}{losses}")


@contextmanager
def training_progress(
    title: str, log: "Log", batches: TimedBatches[Batch], *, shown: bool
) -> Iterator[StepMeter]:
    """Show a training's steps, let Ctrl-C end it between two, and write `timing.json` at its end.

    Args:
        title: Of the command.
        log: Knows how many steps there are and are done, and the losses.
        batches: Know how long the loop waited for them.
        shown: Whether this process shows anything.

    Raises:
        Interrupted: If Ctrl-C or SIGTERM came too late for the last step.
    """
    begun = time.perf_counter()
    steps = progress(title, total=log.num_steps, done=log.steps_before, shown=shown)
    with ends_between_steps(), steps as meter:
        yield StepMeter(meter, log)
    log.write_timing(seconds=time.perf_counter() - begun, seconds_waiting=batches.seconds)
