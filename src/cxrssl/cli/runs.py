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

    say(f"Report: {run(merged, folder, executor=executor)}")


@app.command()
def report(
    runs: Annotated[Path, typer.Argument(help="Folder of a reproduce, such as runs/demo.")],
) -> None:
    """Write the runs of a plan, as far as they are, as an HTML page; CSV, Markdown, LaTeX, JSON."""
    from cxrssl.report import report as run

    say(run(runs))
