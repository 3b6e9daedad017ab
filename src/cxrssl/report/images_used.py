"""Which images of the store the runs of a plan used, and why they left out the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrssl.data.usage import left_out_text
from cxrssl.report.results import Results
from cxrssl.report.wording import label_percent

_PARTS = ("train", "val", "test")


def images_used(results: Results) -> dict[str, Any] | None:
    """Return a row for each share of the labels; None where no run says what it used.

    Runs of one share differ by their seeds in which labels they see, and so in boxes.
    """
    by_fraction: dict[float, list[dict[str, Any]]] = {}
    for finished in results.plain:
        usage = finished.result.get("usage")
        if usage is not None:  # runs of earlier versions have none
            by_fraction.setdefault(finished.arm.label_fraction, []).append(usage)
    if not by_fraction:
        return None
    first = next(iter(by_fraction.values()))[0]
    return {
        "stored": first["stored"],
        "not_stored": first["not_stored"],
        "rows": [_row(label_percent(share), runs) for share, runs in sorted(by_fraction.items())],
    }


def _row(labels: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    left_out = runs[0]["left_out"]
    return {
        "labels": labels,
        "parts": [
            {"images": _span(runs, "used", part), "boxes": _span(runs, "boxes", part)}
            for part in _PARTS
        ],
        "num_left_out": sum(left_out.values()),
        "left_out": left_out_text(left_out),
    }


def _span(runs: Sequence[Mapping[str, Any]], kind: str, part: str) -> str:
    """Return a number of several runs, or its least and its most."""
    numbers = [run[kind].get(part, 0) for run in runs]
    least, most = min(numbers), max(numbers)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
