"""`cxrssl predict` and its messages; heavy imports wait until it runs."""

from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxrssl.cli.interrupts import explain_interrupts, predict_resume_advice
from cxrssl.cli.options import CHECKPOINT, Resume, app, say
from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable

if TYPE_CHECKING:
    from cxrssl.predict import Summary

_MOST_LINES = 20

PointsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="JSON",
        help="File of `cxrssl eval --operating-points`: its NMS and thresholds decide what is "
        "drawn and listed.",
    ),
]
PointName = Annotated[
    str | None,
    typer.Option(help="Which point of it: f1 (default), f1_by_class, fp_0.5 and others."),
]


@app.command()
def predict(
    checkpoint: Annotated[Path, typer.Argument(help=CHECKPOINT)],
    inputs: Annotated[list[Path], typer.Argument(help="DICOM, PNG, JPEG, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for what is found.")],
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Minimum score of drawn boxes; lists hold all (default: 0.3)."
        ),
    ] = None,
    write: Annotated[
        list[str] | None,
        typer.Option(
            "--write",
            metavar="FORMAT",
            help="What to write: coco (JSON), csv, pictures (PNG). Repeatable; all if not given.",
        ),
    ] = None,
    overlays: Annotated[
        bool | None, typer.Option(help="Whether to write pictures, where --write is not given.")
    ] = None,
    with_: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="CHECKPOINT",
            help="A further detector of the same classes; boxes are fused. Repeatable.",
        ),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Also detect in each image flipped; boxes are fused.")
    ] = False,
    resume: Resume = False,
    operating_point: PointsFile = None,
    point: PointName = None,
) -> None:
    """Detect in image files: COCO JSON, CSV and pictures."""
    with explain_interrupts(lambda: predict_resume_advice(out)):
        from cxrssl.predict import DEFAULT_THRESHOLD, least_score, point_choice
        from cxrssl.predict import predict as run
        from cxrssl.run.processes import prepare_command

        prepare_command()
        least = least_score(threshold, point_choice(operating_point, point))
        formats = _formats(write, overlays=overlays)
        _say_notes_on_search(inputs)
        summary = run(
            [checkpoint, *(with_ or [])],
            inputs,
            out,
            threshold=least,
            formats=formats,
            flip=flip,
            resume=resume,
            say=lambda line: say(line, err=True),
        )
    with explain_interrupts(lambda: f"{out} holds all that was found."):
        shown = summary.operating_point
        shown = shown or f"score >= {DEFAULT_THRESHOLD if threshold is None else threshold:g}"
        _say_summary(summary, out, shown)


def _say_summary(summary: "Summary", out: Path, shown: str) -> None:
    """Print what was found, what is amiss, and how many files can't be read.

    Raises:
        typer.Exit: With 1 if some can't.
    """
    _say_warnings(summary.warnings, out)
    _say_failures(summary.failures)
    say(_result(summary, out, shown))
    if summary.failures:
        is_all_unread = len(summary.failures) == summary.num_files - summary.num_read
        how = "read" if is_all_unread else "read or drawn"
        say(f"{_files(summary.failures)} can't be {how}; see {out}/failures.json", err=True)
        raise typer.Exit(1)


def _say_notes_on_search(inputs: Sequence[Path]) -> None:
    from cxrssl.data.tables.files import notes_on_search

    for folder in (path for path in inputs if path.is_dir()):
        for note in notes_on_search(folder):
            say(printable(f"note: {folder}: {note}"), err=True)


def _formats(write: Sequence[str] | None, *, overlays: bool | None) -> tuple[str, ...]:
    from cxrssl.predict.formats import FORMATS

    if write is None:
        return tuple(name for name in FORMATS if name != "pictures" or overlays is not False)
    if overlays is not None:
        raise DataError(
            "--write and --overlays or --no-overlays were both given. Use --write alone, with "
            "`pictures` for what --overlays does."
        )
    return tuple(write)


def _say_warnings(warnings: Mapping[str, Sequence[str]], out: Path) -> None:
    """Print each warning once, with its first file, the most frequent first."""
    files_of: dict[str, list[str]] = {}
    for file, texts in warnings.items():
        for text in texts:
            files_of.setdefault(text, []).append(file)
    ranked = sorted(files_of.items(), key=lambda entry: -len(entry[1]))
    for text, files in ranked[:_MOST_LINES]:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        say(f"warning: {printable(files[0])}{more}: {printable(text)}", err=True)
    if warnings:
        say(f"Warnings about {_files(warnings)}; see {out}/warnings.json", err=True)


def _say_failures(failures: Mapping[str, str]) -> None:
    for name, reason in list(failures.items())[:_MOST_LINES]:
        reason = reason.removeprefix(f"{Path(name).name}: ")
        say(f"{printable(name)}: {printable(reason)}", err=True)


def _files(names: Sized) -> str:
    return f"{len(names)} file{'s' if len(names) > 1 else ''}"


def _result(summary: "Summary", out: Path, shown: str) -> str:
    num_read = summary.num_read
    drawn = "drawn on" if "pictures" in summary.formats else "in"
    in_lists = " are in the lists" if {"coco", "csv"} & set(summary.formats) else ""
    return (
        f"{summary.num_strong} boxes at {shown} {drawn} {summary.num_strong_files} "
        f"of {num_read} images; {summary.num_findings} findings in {num_read} of "
        f"{summary.num_files} files{in_lists}: {out}"
    )
