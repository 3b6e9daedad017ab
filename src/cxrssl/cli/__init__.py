"""The `cxrssl` command; `commands` has them all. The only door to typer."""

import atexit
import os
import sys

from cxrssl.core.interrupts import (
    Interrupted,
    exit_interrupted,
    interruptible,
    raise_exit_signal,
)


def main() -> None:
    """Run the command line; neither a user's error nor Ctrl-C shows a traceback.

    An error is printed and ends with exit code 2; Ctrl-C ends with 130, after advice on resuming.
    """
    atexit.register(raise_exit_signal)  # the first that is registered is the last that is called
    is_single_process = os.environ.get("WORLD_SIZE", "1") == "1"
    with interruptible(can_wait=is_single_process):
        try:
            # Only here, for Ctrl-C may come while it is imported.
            from cxrssl.cli.commands import run
        except Interrupted as interrupted:
            sys.stderr.write("Interrupted before anything was begun.\n")
            exit_interrupted(interrupted.number)
        run()
