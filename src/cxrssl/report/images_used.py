"""Which images of the store the runs of a plan used, and why they left out the others."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cxrssl.report.results import Results
from cxrssl.report.wording import label_percent

_PARTS = ("train", "val", "test")


def images_used(results: Results) -> dict[str, Any] | None:
    """Return a row for each share of the labels; None where no run says what it used.

    Runs of one share differ by their seeds in which labels they see, and so in boxes; by their
    folds in all numbers.
    """
    by_fraction: dict[float, list[dict[str, Any]]] = {}
    num_folds = 0
    for finished in results.plain:
        result = finished.result
        # Runs of earlier versions have none.
        usages = result.get("usages") or ([result["usage"]] if "usage" in result else [])
        by_fraction.setdefault(finished.arm.label_fraction, []).extend(usages)
        num_folds = max(num_folds, len(finished.fold_folders))
    by_fraction = {share: runs for share, runs in by_fraction.items() if runs}
    if not by_fraction:
        return None
    first = next(iter(by_fraction.values()))[0]
    return {
        "stored": first["stored"],
        "not_stored": first["not_stored"],
        "folds": num_folds,
        "rows": [_row(label_percent(share), runs) for share, runs in sorted(by_fraction.items())],
    }


def _row(labels: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    left_out = [run["left_out"] for run in runs]
    reasons = dict.fromkeys(reason for counts in left_out for reason in counts)
    return {
        "labels": labels,
        "parts": [
            {
                "images": _span(run["used"].get(part, 0) for run in runs),
                "boxes": _span(run["boxes"].get(part, 0) for run in runs),
            }
            for part in _PARTS
        ],
        "num_left_out": _span(sum(counts.values()) for counts in left_out),
        "left_out": "; ".join(
            f"{_span(counts.get(reason, 0) for counts in left_out)} {reason}" for reason in reasons
        ),
    }


def _span(numbers: Iterable[int]) -> str:
    """Return a number of several runs, or its least and its most."""
    several = list(numbers)
    least, most = min(several), max(several)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
