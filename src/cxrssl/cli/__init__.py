"""The `cxrssl` command. The only door to typer."""

import sys
from io import TextIOWrapper

from cxrssl.cli import data, hub, runs, scores
from cxrssl.cli.faults import told
from cxrssl.cli.options import app, say
from cxrssl.core.errors import CxrsslError
from cxrssl.core.hub_address import without_secrets

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
        say(f"Error: {without_secrets(str(error))}", err=True)
        raise SystemExit(2) from error
    except Exception as error:
        text = told(error)
        if text is None:
            raise
        say(f"Error: {without_secrets(text)}", err=True)
        raise SystemExit(2) from error
