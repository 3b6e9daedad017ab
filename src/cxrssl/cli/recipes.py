"""`cxrssl recipes`: what comes with cxrssl to run."""

import json
from typing import Annotated

import typer

from cxrssl.cli.options import app, say


@app.command()
def recipes(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """List the recipes and plans that come with cxrssl; other commands take their names."""
    from cxrssl.config.catalogue import packaged_recipes

    found = packaged_recipes()
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
            for recipe in found
        ]
        say(json.dumps(entries, indent=2))
        return
    width = max(len(recipe.name) for recipe in found)
    command = ""
    for recipe in found:
        if recipe.command != command:
            command = recipe.command
            say(f"cxrssl {command} NAME")
        cost = f" Cost: {recipe.cost}" if recipe.cost else ""
        say(f"  {recipe.name:<{width}}  {recipe.summary}{cost}")
    say("--set a.b=value changes a field; `cxrssl recipes --json` has the path of each file.")
