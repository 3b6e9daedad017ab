"""What a run says while it works: a JSON-lines log for the report, and progress for a person."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from cxrssl.core.errors import TrainingError
from cxrssl.core.files import write_text

_PLAIN_LINES = 10


class Log:
    """Append-only JSON lines; a run that goes on first drops lines after its checkpoint."""

    def __init__(
        self, path: Path, *, every_steps: int, num_steps: int, steps_done: int, writes: bool
    ) -> None:
        """Open the log of a run of `num_steps`, of which `steps_done` are done.

        Losses are due every `every_steps` steps and at the last.
        """
        self._path, self._writes = path, writes
        self._every_steps, self._num_steps = every_steps, num_steps
        if writes:
            kept = [line for line in _lines(path) if json.loads(line)["step"] <= steps_done]
            write_text(path, "".join(f"{line}\n" for line in kept))

    def losses_if_due(
        self, losses: Mapping[str, Tensor], *, steps_done: int, epoch: int, lr: float
    ) -> None:
        """Check and write the losses of a step at which they are due.

        Only then are they read from the device, which waits for it.

        Raises:
            TrainingError: If a part is infinite or not a number.
        """
        if steps_done % self._every_steps and steps_done != self._num_steps:
            return
        check_finite(losses, step=steps_done)
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        self.write(values | {"lr": lr}, steps_done=steps_done, epoch=epoch)

    def write(self, values: Mapping[str, float | None], *, steps_done: int, epoch: int) -> None:
        """Append a line."""
        if self._writes:
            with self._path.open("a") as file:
                file.write(json.dumps({"step": steps_done, "epoch": epoch, **values}) + "\n")

    def last(self, name: str) -> float:
        """Return the value of the last line that has `name`."""
        lines = [json.loads(line) for line in _lines(self._path)]
        return float(next(line[name] for line in reversed(lines) if name in line))


def check_finite(losses: Mapping[str, Tensor], *, step: int) -> None:
    """Stop a run whose loss is no number, naming the part that broke.

    Raises:
        TrainingError: If a part is infinite or not a number.
    """
    if bool(torch.isfinite(torch.stack([loss.detach() for loss in losses.values()])).all()):
        return
    parts = ", ".join(f"{name} = {float(loss):g}" for name, loss in losses.items())
    raise TrainingError(
        f"the loss is not finite at step {step}: {parts}. Lower optim.peak_lr, or set clip_norm."
    )


class Meter:
    """Progress of one piece of work."""

    def __init__(
        self, title: str, total: int, done: int, console: Console, bar: Progress | None
    ) -> None:
        self._title, self._total, self._console, self._bar = title, total, console, bar
        self._task = bar.add_task(title, total=total, completed=done) if bar else None
        self._last_tenth = done * _PLAIN_LINES // max(1, total)

    def at(self, done: int, note: str = "") -> None:
        """Say that `done` of the total is done; `note` follows it."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, description=f"{self._title} {note}")
            return
        tenth = done * _PLAIN_LINES // max(1, self._total)
        if tenth > self._last_tenth:
            self._last_tenth = tenth
            self._console.print(f"{self._title}: {done}/{self._total} {note}", highlight=False)


@contextmanager
def progress(title: str, *, total: int, done: int = 0, shown: bool = True) -> Iterator[Meter]:
    """Show work as a bar on a terminal, and as about ten plain lines elsewhere, on stderr."""
    console = Console(stderr=True, quiet=not shown)
    if not console.is_terminal:
        yield Meter(title, total, done, console, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        yield Meter(title, total, done, console, bar)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
