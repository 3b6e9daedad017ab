"""`cxrssl reproduce` and `cxrssl report`; heavy imports wait until one runs."""

from pathlib import Path
from typing import Annotated

import typer

from cxrssl.cli.options import Executor, Set, app, say


@app.command()
def reproduce(
    plan: Annotated[str, typer.Argument(help="A packaged plan, such as demo, or a file.")],
    set_: Set = None,
    out: Annotated[Path | None, typer.Option("--out", help="runs/NAME if not given.")] = None,
    executor: Annotated[Executor, typer.Option(help="This machine, or a Slurm cluster.")] = "local",
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time that a plan such as own may take, such as 30m, 2h or 1d: its sizes are "
            "decided from it.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List all runs and about what they cost; run none.")
    ] = False,
) -> None:
    """Run all of a plan, then the report. Called again, it goes on, or says it is done."""
    from cxrssl.config.catalogue import recipe_path
    from cxrssl.config.load import load_recipe
    from cxrssl.config.plan import Plan, within

    merged = load_recipe(recipe_path(plan, "plan"), Plan, overrides=set_ or [])
    if budget is not None:
        merged = within(merged, _hours(budget))
    folder = out or Path("runs") / merged.name
    from cxrssl.finetune.timing import seconds_an_image as of_finetune
    from cxrssl.pretrain.timing import seconds_an_image as of_pretrain
    from cxrssl.reproduce.resources import Resources
    from cxrssl.weights import fault_of_start

    resources = Resources({"pretrain": of_pretrain, "finetune": of_finetune}, fault_of_start)
    if dry_run:
        from cxrssl.reproduce.costs import print_costs

        print_costs(merged, folder, resources)
        return
    from cxrssl.reproduce import reproduce as run

    say(f"Report: {run(merged, folder, resources=resources, executor=executor)}")


def _hours(budget: str) -> float:
    from cxrssl.core.duration import hours_of

    try:
        return hours_of(budget)
    except ValueError as error:
        raise typer.BadParameter(f"--budget: {error}") from error


@app.command()
def report(
    runs: Annotated[Path, typer.Argument(help="Folder of a reproduce, such as runs/demo.")],
) -> None:
    """Write the runs of a plan, as far as they are, as an HTML page; CSV, Markdown, LaTeX, JSON."""
    from cxrssl.report import report as run

    say(run(runs))
