"""The `cxrssl` command. The only door to typer."""

import errno
import sys
from io import TextIOWrapper

import typer

from cxrssl.cli import data, hub, runs, scores
from cxrssl.cli.options import app
from cxrssl.core.errors import CxrsslError
from cxrssl.core.places import without_secrets

__all__ = ["app", "data", "hub", "main", "runs", "scores"]


def main() -> None:
    """Run the command line; a user's fault is a text and exit code 2, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A name that a terminal can't show must not cost the work of hours.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except CxrsslError as error:
        typer.echo(f"Error: {without_secrets(str(error))}", err=True)
        raise SystemExit(2) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        reached = "a limit on files (ulimit -f) is reached"
        what = reached if error.errno == errno.EFBIG else "the disk is full"
        typer.echo(
            f"Error: {what} ({error.filename or error}). What was finished is whole. "
            "Free some room and call the same command again (a run with --resume): it goes on.",
            err=True,
        )
        raise SystemExit(2) from error
