"""The typer application, options that several commands share, and choices of options."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cxrssl import __version__
from cxrssl.core.printable import printable_lines

app = typer.Typer(
    name="cxrssl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"cxrssl {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """How few boxes do you need? Pretraining and detection for chest radiographs."""


PatientFrom = Annotated[
    str,
    typer.Option(
        "--patient-from",
        metavar="REGEX",
        help="Finds the patient in an image's path below SOURCE, such as '^(p[0-9]+)/'; images of "
        "one patient are in one split (default: what the table says).",
    ),
]
OwnSplit = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="folders|none|FILE",
        help="The source's own split: by its folders or tables train, valid, test; not at all; or "
        "by a CSV with columns image and split (default: the table's, if it has one).",
    ),
]
Fit = Literal["squash", "letterbox"]
Protocol = Literal["published", "described", "corrected"]
Split = Literal["train", "val", "test"]
Executor = Literal["local", "slurm"]

# The help is rich markup, where a bracket has to be escaped.
CHECKPOINT = r"A finetune run, its detector/ folder, or hf-hub:ORG/NAME\[@REVISION]."

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a recipe field: a.b=value. Repeatable.", metavar="A.B=V"),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder of the run (default: runs/COMMAND/RECIPE).")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue what an interrupted call has begun.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes (default: one per core).")
]


def say(text: object, *, err: bool = False) -> None:
    """Print lines on stdout or stderr, with control characters escaped."""
    typer.echo(printable_lines(str(text)), err=err)
