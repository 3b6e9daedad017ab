"""The `cxrssl` command. The only door to typer."""

import signal
import sys
from io import TextIOWrapper

from cxrssl.cli import data, hub, predict, recipes, runs, scores, training
from cxrssl.cli.faults import told
from cxrssl.cli.interrupts import end, kept_of_command, say_interrupted, works_alone
from cxrssl.cli.options import app, say
from cxrssl.core.errors import CxrsslError
from cxrssl.core.hub_address import without_secrets
from cxrssl.core.interrupts import Interrupted, interruptible

__all__ = ["app", "data", "hub", "main", "predict", "recipes", "runs", "scores", "training"]

_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


def main() -> None:
    """Run the command line; neither a user's fault nor Ctrl-C shows a traceback.

    A fault is a text and exit code 2; Ctrl-C ends with 130, after saying what is kept.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that a terminal can't show must not cost the work of hours.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with interruptible(can_wait=works_alone()):
            app()
    except Interrupted as interrupted:
        end(interrupted)
    except SystemExit as ended:
        # So `reproduce` ends on SIGTERM, once the jobs that it has begun have ended, and typer on
        # a KeyboardInterrupt that a worker hands on.
        if isinstance(ended.code, int) and ended.code in _INTERRUPTED:
            say_interrupted(ended.code - 128, kept_of_command())
        raise
    except Exception as error:
        text = str(error) if isinstance(error, CxrsslError) else told(error)
        if text is None:
            raise
        say(f"Error: {without_secrets(text)}", err=True)
        raise SystemExit(2) from error
