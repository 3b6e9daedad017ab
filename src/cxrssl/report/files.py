"""The report's tables as CSV, Markdown and LaTeX, and the answer as JSON."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import pandas as pd

from cxrssl.core.markdown import plain
from cxrssl.core.printable import plain_cell, printable
from cxrssl.report.results import Results
from cxrssl.report.wording import interval


def as_csv(results: Results) -> str:
    """Return a line an arm, every score with its interval over the images."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    names = list(results.arms[0].result["metrics"]) if results.arms else []
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    writer.writerow(["initialisation", "label_fraction", "seed", "faults", "train_images", *ends])
    for one in results.arms:
        entries = [one.result["metrics"][name] for name in names]
        cells = [entry[key] for entry in entries for key in ("value", "low", "high")]
        arm = one.arm
        writer.writerow(
            [
                *(plain_cell(arm.initialisation), f"{arm.label_fraction:g}", arm.seed),
                plain_cell("+".join(arm.faults)),
                one.result["train_images"],
                *("" if value is None else f"{value:.6f}" for value in cells),
            ]
        )
    return sink.getvalue()


def as_markdown(answer: str, remarks: Sequence[str], table: dict[str, Any]) -> str:
    """Return the answer and table I."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    heads = _heads(table)
    rows = [[plain(cell) for cell in cells] for cells in _rows(table)]
    return "\n".join(
        [
            plain(answer),
            "",
            *(f"* {plain(remark)}" for remark in remarks),
            "",
            line(heads),
            line(["---"] * len(heads)),
            *(line(row) for row in rows),
            "",
        ]
    )


def as_latex(table: dict[str, Any]) -> str:
    """Return table I as a tabular; it needs the package booktabs."""
    frame = pd.DataFrame(_rows(table), columns=_heads(table))
    return frame.to_latex(index=False, escape=True, column_format=f"ll{'r' * (frame.shape[1] - 2)}")


def _heads(table: dict[str, Any]) -> list[str]:
    scores = [name for column in table["columns"] for name in _pair(column, table)]
    return ["start", "labels", "images", "seeds", *scores]


def _pair(column: dict[str, str], table: dict[str, Any]) -> list[str]:
    return [column["label"], column["paper_label"]] if table["has_paper"] else [column["label"]]


def _rows(table: dict[str, Any]) -> list[list[str]]:
    found = []
    for row in table["rows"]:
        cells = [printable(row["title"]), row["labels"], str(row["images"]), str(row["seeds"])]
        for cell in row["cells"]:
            cells.append(_number(cell))
            if table["has_paper"]:
                cells.append("" if cell["paper"] is None else f"{cell['paper']:.3f}")
        found.append(cells)
    return found


def _number(cell: dict[str, Any]) -> str:
    if cell["value"] is None:
        return "-"
    if cell["low"] is None:
        return f"{cell['value']:.3f}"
    return f"{cell['value']:.3f} ({interval(cell['low'], cell['high'])})"
