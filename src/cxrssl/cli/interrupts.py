"""What a command that Ctrl-C or a plain kill has ended says: what is kept, and how to go on."""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from cxrssl.cli.options import say
from cxrssl.core.interrupts import Interrupted, pending_signal

# What a command leaves behind, and an option that it then needs to go on, if any.
_KEPT = {
    "phantom": ("The folder is not complete: delete it first.", ""),
    "ingest": ("Kept: the parts of the store that are done.", ""),
    "predict": ("Kept: the files that are done.", "--resume"),
    "reproduce": ("Kept: the jobs that are done, and the checkpoints of the others.", ""),
    "push": ("Nothing half-written is on the Hub.", ""),
}


@contextmanager
def says_when_interrupted(text: Callable[[], str]) -> Iterator[None]:
    """Say what `text` returns when this block is interrupted; it is asked only then."""
    try:
        yield
    except Interrupted as interrupted:
        interrupted.add_note(text())
        raise
    except KeyboardInterrupt as error:
        # Of a worker, which hands it on as what its work came to.
        raise _with_note(Interrupted(signal.SIGINT), text()) from error
    except Exception as error:
        # Such as a loader's, whose workers the same signal has ended.
        number = pending_signal()
        if number is None:
            raise
        raise _with_note(Interrupted(number), text()) from error


def _with_note(interrupted: Interrupted, note: str) -> Interrupted:
    interrupted.add_note(note)
    return interrupted


def end(interrupted: Interrupted) -> NoReturn:
    """Say what is kept, and end this process as a shell and a batch system expect.

    Raises:
        SystemExit: With 130 for Ctrl-C.
    """
    notes: list[str] = getattr(interrupted, "__notes__", [])
    say_interrupted(interrupted.number, notes[0] if notes else kept_of_command())
    if interrupted.number == signal.SIGTERM:
        # A batch system tells by the signal that it was not the command's own end.
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    raise SystemExit(128 + interrupted.number)


def say_interrupted(number: int, kept: str) -> None:
    """Say what has ended a command, and what is kept; of several processes one does."""
    if is_main_process():
        how = "Interrupted" if number == signal.SIGINT else "Ended by SIGTERM"
        say(f"{how}. {kept}", err=True)


def is_main_process() -> bool:
    """Return whether this process speaks for those that a launcher started together."""
    return os.environ.get("RANK", "0") == "0"


def works_alone() -> bool:
    """Return whether no launcher has started others with this process."""
    return os.environ.get("WORLD_SIZE", "1") == "1"


def kept_of_command() -> str:
    """Say what the command of this process leaves behind, and that the same one goes on."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    kept, option = _KEPT.get(command, ("Nothing is kept.", ""))
    arguments = sys.argv[1:] if option in ("", *sys.argv) else [*sys.argv[1:], option]
    return f"{kept} To go on:\n  {shlex.join(['cxrssl', *arguments])}"


def kept_of_run(command: str, folder: Path) -> str:
    """Say what is kept of an interrupted training, and how to go on with it."""
    from cxrssl.core.records import read_record
    from cxrssl.run.folder import checkpointed_step, is_finished

    if is_finished(folder):
        return f"{folder} holds the finished run."
    if not (folder / "recipe.yaml").is_file():
        return kept_of_command()
    go_on = f"To go on:\n  {shlex.join(['cxrssl', command, '--resume', '--out', str(folder)])}"
    step = checkpointed_step(folder)
    if step is None:
        return f"{folder} has no checkpoint yet; it will begin again from its first step. {go_on}"
    length = folder / "length.json"
    total = f" of {read_record(length, 'num_steps')['num_steps']}" if length.is_file() else ""
    return f"Kept: the checkpoint of step {step}{total} in {folder}. {go_on}"
