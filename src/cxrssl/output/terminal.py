"""Findings of a command as text on a terminal."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table


def print_diagnosis(found: dict[str, Any]) -> None:
    """Print the content of `cxrssl doctor --json` on stdout: what is wrong, then what is well."""
    console = Console(highlight=False)
    for fault in found["table"]:
        console.print(f"table: {fault}", markup=False, soft_wrap=True)
    for name, entry in found["files"].items():
        if "fault" in entry:
            fault = entry["fault"].removeprefix(f"{name}: ")
            console.print(f"{name}: {fault}", markup=False, soft_wrap=True)
    across = [pair for pair in found["duplicates"] if pair["across_splits"]]
    for pair in across:
        (first, second), (one, other) = pair["images"], pair["splits"]
        console.print(
            f"{first} ({one}) and {second} ({other}) are one image: {pair['bits']} of 256 bits "
            f"differ, correlation {pair['correlation']:.3f}. Leave one of them out.",
            markup=False,
            soft_wrap=True,
        )
    routes = Table(title=f"{found['images']} images decoded")
    routes.add_column("route")
    routes.add_column("images", justify="right")
    for route, count in found["routes"].items():
        routes.add_row(route, str(count))
    console.print(routes)
    within = len(found["duplicates"]) - len(across)
    if within:
        console.print(f"{within} pairs of images within one split are one image; --json has them.")
    if found["ok"]:
        console.print("Nothing is wrong.")
        return
    console.print(
        f"{found['faults']} files, {len(found['table'])} things about the table and "
        f"{len(across)} pairs across splits are wrong."
    )


def print_json(found: dict[str, Any]) -> None:
    """Print one JSON object on stdout, and nothing else."""
    # Not by rich, which would turn ":heart:" into a picture.
    sys.stdout.write(json.dumps(found, indent=2, allow_nan=False) + "\n")
