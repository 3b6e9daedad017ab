"""Scores as tables on a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_scores(found: dict[str, Any]) -> None:
    """Print the content of `cxrssl eval --json` on stdout: overall, then by class."""
    console = Console()
    overall = Table(title=f"{found['n_images']} images, {found['n_boxes']} boxes")
    overall.add_column("metric")
    overall.add_column("value", justify="right")
    for name, entry in found["metrics"].items():
        overall.add_row(name, _number(entry["value"]))
    console.print(overall)
    columns = ("AP", "AP50", "AR100")
    classes = Table(title="by class")
    classes.add_column("class")
    for name in columns:
        classes.add_column(name, justify="right")
    for name, scores in found["per_class"].items():
        classes.add_row(name, *(_number(scores[column]) for column in columns))
    console.print(classes)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
