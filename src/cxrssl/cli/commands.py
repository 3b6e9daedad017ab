"""All commands, and what is printed where one ends otherwise than well."""

import signal
import sys
from io import TextIOWrapper

from cxrssl.cli import data, hub, predict, recipes, runs, scores, training, weights
from cxrssl.cli.interrupts import print_interrupted, print_interrupted_command, resume_advice
from cxrssl.cli.options import app, say
from cxrssl.core.disk_faults import check_current_folder, disk_fault_text
from cxrssl.core.errors import CxrsslError
from cxrssl.core.hub_address import without_secrets
from cxrssl.core.interrupts import Interrupted, exit_interrupted

__all__ = [
    "app",
    "data",
    "hub",
    "predict",
    "recipes",
    "run",
    "runs",
    "scores",
    "training",
    "weights",
]

_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


def run() -> None:
    """Run the command that `sys.argv` names.

    Raises:
        SystemExit: With 2 after the text of a user's error; as `exit_interrupted` does after
            advice on resuming; else as the command does.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that a terminal can't show must not end hours of work.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        check_current_folder()
        app()
    except Interrupted as interrupted:
        print_interrupted_command(interrupted)
        exit_interrupted(interrupted.number)
    except SystemExit as exit_error:
        # `reproduce` raises it on SIGTERM, once its jobs have ended, and typer for a
        # KeyboardInterrupt from a worker.
        if isinstance(exit_error.code, int) and exit_error.code in _INTERRUPTED:
            print_interrupted(exit_error.code - 128, resume_advice())
        raise
    except Exception as error:
        text = str(error) if isinstance(error, CxrsslError) else disk_fault_text(error)
        if text is None:
            raise
        say(f"Error: {without_secrets(text)}", err=True)
        raise SystemExit(2) from error
