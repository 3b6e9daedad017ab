"""The report's tables as CSV, Markdown and LaTeX, and the answer as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cxrssl.core.markdown import plain
from cxrssl.core.printable import plain_cell, printable
from cxrssl.report.results import Results
from cxrssl.report.treatments import treatment_cells
from cxrssl.report.wording import interval

# Empty where a run of an earlier version did not record it.
_COUNTS = ("train_images", "train_boxes", "train_reader_boxes", "train_readings")


def as_csv(results: Results) -> str:
    """Return a line an arm, every score with its interval over the images."""
    names = list(results.arms[0].result["metrics"]) if results.arms else []
    ends = {"": "value", "_low": "low", "_high": "high"}
    columns = ["treatment", "label_fraction", "seed", "faults", *_COUNTS]
    columns += [f"{name}{end}" for name in names for end in ends]
    rows = [
        [
            plain_cell(finished.arm.treatment),
            f"{finished.arm.label_fraction:g}",
            finished.arm.seed,
            plain_cell("+".join(finished.arm.faults)),
            *(finished.result.get(name) for name in _COUNTS),
            *(finished.result["metrics"][name][key] for name in names for key in ends.values()),
        ]
        for finished in results.arms
    ]
    text: str = pd.DataFrame(rows, columns=columns).to_csv(index=False, float_format="%.6f")
    return text


def as_markdown(
    answer: str,
    remarks: Sequence[str],
    table: Mapping[str, Any],
    treatments: Mapping[str, Any] | None,
) -> str:
    """Return the answer, the treatments and table I; `treatments` is None without a control."""
    lines = [plain(answer), "", *(f"* {plain(remark)}" for remark in remarks), ""]
    if treatments is not None:
        lines += [*_markdown_table(*treatment_cells(treatments)), ""]
    lines += _markdown_table(_heads(table), _rows(table))
    return "\n".join([*lines, ""])


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [heads, ["---"] * len(heads), *([plain(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def as_latex(table: Mapping[str, Any]) -> str:
    """Return table I as a tabular; it needs the package booktabs."""
    frame = pd.DataFrame(_rows(table), columns=_heads(table))
    return frame.to_latex(index=False, escape=True, column_format=f"ll{'r' * (frame.shape[1] - 2)}")


def _heads(table: Mapping[str, Any]) -> list[str]:
    keys = ("label", "paper_label") if table["has_paper"] else ("label",)
    scores = [column[key] for column in table["columns"] for key in keys]
    return ["treatment", "labels", "images", "seeds", *scores]


def _rows(table: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for row in table["rows"]:
        cells = [printable(row["title"]), row["labels"], str(row["images"]), str(row["seeds"])]
        for cell in row["cells"]:
            cells.append(_number(cell))
            if table["has_paper"]:
                cells.append("" if cell["paper"] is None else f"{cell['paper']:.3f}")
        rows.append(cells)
    return rows


def _number(cell: dict[str, Any]) -> str:
    if cell["value"] is None:
        return "-"
    if cell["low"] is None:
        return f"{cell['value']:.3f}"
    return f"{cell['value']:.3f} ({interval(cell['low'], cell['high'])})"
