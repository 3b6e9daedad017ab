"""Progress of long work, for a person: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PLAIN_LINES = 10


def say(text: str, *, shown: bool = True) -> None:
    """Print a line for a person to know, on stderr; `warn` in `run.start` is for what is amiss."""
    Console(stderr=True, quiet=not shown).print(text, highlight=False, markup=False, soft_wrap=True)


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
