"""`cxrssl recipes`: the packaged recipes and plans."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cxrssl.cli.options import app, say

if TYPE_CHECKING:
    from cxrssl.config.catalogue import PackagedRecipe


@app.command()
def recipes(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """List the recipes and plans that come with cxrssl; other commands take their names."""
    from cxrssl.config.catalogue import packaged_recipes

    packaged = packaged_recipes()
    if json_:
        entries = [
            {
                "name": recipe.name,
                "task": recipe.task,
                "command": f"cxrssl {recipe.command} {recipe.name}",
                "summary": recipe.summary,
                "cost": recipe.cost,
                "path": str(recipe.path),
            }
            for recipe in packaged
        ]
        say(json.dumps(entries, indent=2))
        return
    _print(packaged)


def _print(packaged: "Sequence[PackagedRecipe]") -> None:
    """Print a line per recipe below the command that takes it."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, emoji=False, markup=False)
    width = max(len(recipe.name) for recipe in packaged)
    command = ""
    for recipe in packaged:
        if recipe.command != command:
            command = recipe.command
            say(f"cxrssl {command} NAME")
        text = recipe.summary + (f" Cost: {recipe.cost}" if recipe.cost else "")
        if console.is_terminal:
            line = Table.grid(padding=(0, 2, 0, 0))
            line.add_column(no_wrap=True, width=width + 2)
            line.add_row(f"  {recipe.name}", text)
            console.print(line)
        else:
            say(f"  {recipe.name:<{width}}  {text}")
    say("--set a.b=value changes a field; `cxrssl recipes --json` has the path of each file.")
