"""Messages of commands that Ctrl-C or SIGTERM has ended: what is kept, and how to resume."""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cxrssl.cli.options import say
from cxrssl.core.interrupts import Interrupted, pending_signal

# By command: what is kept, and the option that it needs to resume, if any.
_KEPT_BY_COMMAND = {
    "phantom": ("The folder is not complete: delete it first.", ""),
    "ingest": ("Nothing is changed.", ""),
    "predict": ("Nothing is changed.", "--resume"),
    "reproduce": ("Kept: the jobs that are done, and the checkpoints of the others.", ""),
    "push": ("Nothing half-written is on the Hub.", ""),
}


@contextmanager
def explain_interrupts(text: Callable[[], str]) -> Iterator[None]:
    """Add a note to the interrupt of this block; `text` is called only then."""
    try:
        yield
    except Interrupted as interrupted:
        interrupted.add_note(text())
        raise
    except (KeyboardInterrupt, Exception) as error:
        # Ctrl-C in a worker, or an error of a loader whose workers the same signal has ended.
        is_ctrl_c = isinstance(error, KeyboardInterrupt)
        signal_number = signal.SIGINT if is_ctrl_c else pending_signal()
        if signal_number is None:
            raise
        interrupt = Interrupted(signal_number)
        interrupt.add_note(text())
        raise interrupt from error


def print_interrupted_command(interrupted: Interrupted) -> None:
    """Print what has ended a command, what is kept, and how to go on."""
    notes: list[str] = getattr(interrupted, "__notes__", [])
    print_interrupted(interrupted.number, notes[0] if notes else resume_advice())


def print_interrupted(signal_number: int, advice: str) -> None:
    """Print what has ended a command, and the advice; of several processes the main one does."""
    if is_main_process():
        reason = "Interrupted" if signal_number == signal.SIGINT else "Ended by SIGTERM"
        say(f"{reason}. {advice}", err=True)


def is_main_process() -> bool:
    """Return whether this is the main process of a launch."""
    return os.environ.get("RANK", "0") == "0"


def resume_advice() -> str:
    """Return what this process's command leaves behind, and the command that resumes it."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    return _advice(*_KEPT_BY_COMMAND.get(command, ("Nothing is kept.", "")))


def ingest_resume_advice(store: Path) -> str:
    """Return what is kept of an interrupted ingest, and the command that resumes it."""
    is_begun = store.is_dir() and any(store.iterdir())
    return _advice(
        "Kept: the parts of the store that are done." if is_begun else "Nothing is kept.", ""
    )


def predict_resume_advice(out: Path) -> str:
    """Return what is kept of an interrupted prediction, and the command that resumes it."""
    # Not from cxrssl.predict: the signal may have come while that was imported.
    from cxrssl.core.records import UNFINISHED_PREDICTION, num_lines

    num_done = num_lines(out / UNFINISHED_PREDICTION) - 1
    if num_done < 1:
        return _advice("Nothing is kept.", "")
    files = "1 file that is" if num_done == 1 else f"{num_done} files that are"
    return _advice(f"Kept: {files} done, in {out}.", "--resume")


def _advice(kept_text: str, option: str) -> str:
    arguments = sys.argv[1:] if option in ("", *sys.argv) else [*sys.argv[1:], option]
    return f"{kept_text} To go on:\n  {shlex.join(['cxrssl', *arguments])}"


def run_resume_advice(command: str, folder: Path) -> str:
    """Return what is kept of an interrupted training, and the command that resumes it."""
    from cxrssl.core.records import read_record
    from cxrssl.run.folder import checkpointed_step, is_finished

    if is_finished(folder):
        return f"{folder} holds the finished run."
    if not (folder / "recipe.yaml").is_file():
        return resume_advice()
    follow = f"To go on:\n  {shlex.join(['cxrssl', command, '--resume', '--out', str(folder)])}"
    step = checkpointed_step(folder)
    if step is None:
        return f"{folder} has no checkpoint yet; it will begin again from its first step. {follow}"
    length = folder / "length.json"
    total = f" of {read_record(length, 'num_steps')['num_steps']}" if length.is_file() else ""
    return f"Kept: the checkpoint of step {step}{total} in {folder}. {follow}"
