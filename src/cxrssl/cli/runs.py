"""Commands about runs: predict, reproduce, report; heavy imports wait as well."""

from pathlib import Path
from typing import Annotated

import typer

from cxrssl.cli.options import CHECKPOINT, ExecutorName, Resume, Set, app, say
from cxrssl.core.printable import printable


@app.command()
def predict(
    checkpoint: Annotated[Path, typer.Argument(help=CHECKPOINT)],
    inputs: Annotated[list[Path], typer.Argument(help="DICOM, PNG, JPEG, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for what is found.")],
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Least score of what is drawn; lists hold all.")
    ] = 0.3,
    overlays: Annotated[bool, typer.Option(help="Draw what is found on each image.")] = True,
    resume: Resume = False,
) -> None:
    """Detect in image files: COCO JSON, CSV and pictures."""
    from cxrssl.data.tables.files import notes_on_search
    from cxrssl.predict import predict as run
    from cxrssl.run.processes import prepare_command

    prepare_command()
    for folder in (path for path in inputs if path.is_dir()):
        for note in notes_on_search(folder):
            say(printable(f"note: {folder}: {note}"), err=True)
    found = run(
        checkpoint,
        inputs,
        out,
        threshold=threshold,
        overlays=overlays,
        resume=resume,
        say=lambda line: say(line, err=True),
    )
    for name, reason in list(found.failures.items())[:20]:
        reason = reason.removeprefix(f"{Path(name).name}: ")
        say(f"{printable(name)}: {printable(reason)}", err=True)
    looked = found.num_files - len(found.failures)
    drawn = "drawn on" if overlays else "in"
    say(
        f"{found.num_strong} boxes at score >= {threshold:g} {drawn} {found.num_strong_files} of "
        f"{looked} images; {found.num_findings} findings in {looked} of {found.num_files} files "
        f"are in the lists: {out}"
    )
    if found.failures:
        many = f"{len(found.failures)} file{'s' if len(found.failures) > 1 else ''}"
        say(f"{many} can't be read; see {out}/failures.json", err=True)
        raise typer.Exit(1)


@app.command()
def reproduce(
    plan: Annotated[str, typer.Argument(help="A packaged plan, such as demo, or a file.")],
    set_: Set = None,
    out: Annotated[Path | None, typer.Option("--out", help="runs/NAME if not given.")] = None,
    executor: Annotated[
        ExecutorName, typer.Option(help="This machine, or a Slurm cluster.")
    ] = ExecutorName.local,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List all runs and about what they cost; run none.")
    ] = False,
) -> None:
    """Run all of a plan, then the report. Called again, it goes on, or says it is done."""
    from cxrssl.config.catalogue import recipe_path
    from cxrssl.config.load import load_recipe
    from cxrssl.config.plan import Plan

    merged = load_recipe(recipe_path(plan, "plan"), Plan, overrides=set_ or [])
    folder = out or Path("runs") / merged.name
    if dry_run:
        from cxrssl.finetune.timing import seconds_an_image as of_finetune
        from cxrssl.pretrain.timing import seconds_an_image as of_pretrain
        from cxrssl.reproduce.costs import print_costs

        print_costs(merged, folder, timed={"pretrain": of_pretrain, "finetune": of_finetune})
        return
    from cxrssl.reproduce import reproduce as run

    say(f"Report: {run(merged, folder, executor=executor.value)}")


@app.command()
def report(
    runs: Annotated[Path, typer.Argument(help="Folder of a reproduce, such as runs/demo.")],
) -> None:
    """Write the runs of a plan, as far as they are, as an HTML page; CSV, Markdown, LaTeX, JSON."""
    from cxrssl.report import report as run

    say(run(runs))
