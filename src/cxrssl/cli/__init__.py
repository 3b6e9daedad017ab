"""The `cxrssl` command. The only door to typer."""

import typer

from cxrssl.cli import data, runs, scores
from cxrssl.cli.options import app
from cxrssl.core.errors import CxrsslError

__all__ = ["app", "data", "main", "runs", "scores"]


def main() -> None:
    """Run the command line; a user's fault is a text and exit code 2, without a traceback."""
    try:
        app()
    except CxrsslError as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from error
