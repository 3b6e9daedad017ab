"""The `cxrssl` command; `commands` has them all. The only door to typer."""

import atexit
import os
import shlex
import signal
import sys

from cxrssl.core.interrupts import (
    Interrupted,
    end_process,
    exit_interrupted,
    interruptible,
    skip_finalization,
)


def main() -> None:
    """Run the command line in this process and end it; Ctrl-C shows no traceback.

    A user's error is printed and ends with exit code 2; Ctrl-C ends with 130, after advice on
    resuming.
    """
    atexit.register(end_process)
    is_single_process = os.environ.get("WORLD_SIZE", "1") == "1"
    try:
        with interruptible(can_wait=is_single_process):
            _run()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if not is_single_process:
            skip_finalization(code)
        elif code in (0, 1, 2):
            # The command is done, and Python takes a moment to end.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
        raise


def _run() -> None:
    try:
        # Only here, for Ctrl-C may come while it is imported.
        from cxrssl.cli.commands import run
    except Interrupted as interrupted:
        reason = "Interrupted" if interrupted.number == signal.SIGINT else "Ended by SIGTERM"
        command = shlex.join(["cxrssl", *sys.argv[1:]])
        sys.stderr.write(f"{reason} before anything was begun. To go on:\n  {command}\n")
        exit_interrupted(interrupted.number)
    run()
