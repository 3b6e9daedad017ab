"""What an image-level gate did, on a terminal: how well it tells images apart, and the scores."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from cxrssl.cli.score_tables import number, print_table, table_of

_SCORES = ("AP", "AP50", "AP40", "froc_mean", "froc_at_0.5", "froc_at_1", "froc_at_2", "ece")
_SUMMARY = ("AP", "AP50")


def print_gate(console: Console, scores: Mapping[str, Any]) -> None:
    """Print how well a gate tells the scored images apart, and scores with and without it.

    Args:
        console: Where to.
        scores: Content of `cxrssl eval --json` of a detector with a gate.
    """
    entry = scores["gate"][scores["split"]]
    table = table_of("with and without the image-level gate", "metric")
    for name in ("with the gate", "without", "difference"):
        table.add_column(name, justify="right")
    for name in _SCORES:
        value, other = scores["metrics"][name]["value"], scores["without_gate"][name]
        if value is not None and other is not None:
            table.add_row(name, number(value), number(other), f"{value - other:+.3f}")
    print_table(console, table)
    console.print(f" gate: {gate_text(entry)}", markup=False, soft_wrap=True)


def gate_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows on a gate in the summary of a fine-tuning; none for a detector without.

    Args:
        metrics: Content of a run's `metrics.json`.
    """
    if "gate" not in metrics:
        return []
    gate, without = metrics["gate"], metrics["without_gate"]
    scores = ", ".join(f"{name} {number(without[name])}" for name in _SUMMARY)
    return [
        ("gate on test", gate_text(gate["test"])),
        ("gate on validation", f"{gate_text(gate['val'])}; temperature {gate['temperature']:.2f}"),
        ("without the gate", scores),
    ]


def gate_text(entry: Mapping[str, Any]) -> str:
    """Return the scores of a gate on some images, and how many there were, in words."""
    counts = f"{entry['num_with_boxes']} images with boxes, {entry['num_without_boxes']} without"
    if entry["auroc"] is None:
        scores = f"not defined ({entry['reason']})"
    else:
        error = f"calibration error {number(entry['calibration_error'])}"
        scores = f"AUROC {number(entry['auroc'])}, {error}"
    if "num_emptied_with_boxes" not in entry:
        return f"{scores}; {counts}"
    with_boxes, without = entry["num_emptied_with_boxes"], entry["num_emptied_without_boxes"]
    emptied = f"it left {with_boxes} of the former and {without} of the latter no detection"
    return f"{scores}; {counts}; {emptied}"
