"""The `cxrssl` command. The only door to typer."""

import signal
import sys
from io import TextIOWrapper

from cxrssl.cli import data, hub, predict, recipes, runs, scores, training
from cxrssl.cli.faults import disk_fault_text
from cxrssl.cli.interrupts import (
    exit_interrupted,
    is_single_process,
    print_interrupted,
    resume_advice,
)
from cxrssl.cli.options import app, say
from cxrssl.core.errors import CxrsslError
from cxrssl.core.hub_address import without_secrets
from cxrssl.core.interrupts import Interrupted, interruptible

__all__ = ["app", "data", "hub", "main", "predict", "recipes", "runs", "scores", "training"]

_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


def main() -> None:
    """Run the command line; neither a user's error nor Ctrl-C shows a traceback.

    An error is printed and ends with exit code 2; Ctrl-C ends with 130, after advice on resuming.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that a terminal can't show must not end hours of work.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with interruptible(can_wait=is_single_process()):
            app()
    except Interrupted as interrupted:
        exit_interrupted(interrupted)
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
