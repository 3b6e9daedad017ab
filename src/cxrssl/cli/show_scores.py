"""Scores of `cxrssl eval` as tables on a terminal: what was found, for whom, and how surely."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from cxrssl.core.printable import printable, printable_content

_CLASS_COLUMNS = ("AP", "AP40", "AR100")
_MOST_PAIRS, _WIDEST = 6, 10_000


def print_scores(found: Mapping[str, Any]) -> None:
    """Print the content of `cxrssl eval --json` on stdout, intervals beside values."""
    console = Console(highlight=False, emoji=False)
    found = printable_content(found)
    if "metrics" in found:
        _print_overall(console, found)
        if "against" in found:
            _print_differences(console, found["against"])
        _print_classes(console, found)
        _print_points(console, found["operating_points"])
    if found["readers"] is not None:
        _print_readers(console, found["readers"])
    console.print(
        f"Intervals: 95 %, from {found['replicates']} draws of the images, seed {found['seed']}."
        if found["replicates"]
        else "No intervals: --replicates is 0."
    )
    if "metrics" in found:
        console.print("Small, medium and large are by area in pixels of the original images.")
    for note in found["notes"]:
        console.print(f"Note: {printable(note)}", markup=False, soft_wrap=True)


def _print_overall(console: Console, found: Mapping[str, Any]) -> None:
    title = (
        f"{found['n_images']} images ({found['n_images_without_findings']} without findings), "
        f"{found['n_boxes']} boxes, {found['n_detections']} detections"
    )
    table = _table(title, "metric", "value", "95 % interval")
    unknown, narrow = [], []
    for name, entry in found["metrics"].items():
        if _has_no_width(entry):
            narrow.append(name)
        if entry["value"] is None:
            unknown.append(f"{name}: {entry['reason']}")
            continue
        table.add_row(name, *_cells(entry))
    _print(console, table)
    for line in unknown:
        console.print(f" not computed: {line}", markup=False, soft_wrap=True)
    if narrow:
        reason = found["metrics"][narrow[0]]["reason"]
        console.print(f" no width: {', '.join(narrow)}: {reason}", markup=False, soft_wrap=True)


def _print_differences(console: Console, rival: Mapping[str, Any]) -> None:
    title = f"against {rival['other']}, on the same draws of the images"
    table = _table(escape(title), "metric", "value", "other", "difference", "95 % interval", "p")
    for name, entry in rival["metrics"].items():
        if entry["delta"] is not None:
            table.add_row(name, _number(entry["value"]), *_gap_cells(entry))
    _print(console, table)


def _print_classes(console: Console, found: Mapping[str, Any]) -> None:
    table = _table("by class", "class", "images", "boxes", "AP50", "95 %", *_CLASS_COLUMNS)
    for name, scores in found["per_class"].items():
        counts = found["classes"][name]
        values = [_number(scores[column]["value"]) for column in _CLASS_COLUMNS]
        images, boxes = str(counts["n_images"]), str(counts["n_boxes"])
        table.add_row(escape(name), images, boxes, *_cells(scores["AP50"]), *values)
    _print(console, table)


def _print_points(console: Console, points: Sequence[Mapping[str, Any]]) -> None:
    names = ("score_threshold", "sensitivity", "precision", "fp_per_image", "fp_per_normal_image")
    table = _table(
        "thresholds (all classes, IoU > 0.4)",
        "point",
        *("score", "sensitivity", "precision", "FP/image", "FP/normal image"),
    )
    for point in points:
        title = point["point"].replace(" false positives an image", " FP/image")
        table.add_row(title, *(_number(point[name]) for name in names))
    if points:
        _print(console, table)


def _print_readers(console: Console, found: Mapping[str, Any]) -> None:
    table = _table(
        f"readers: {found['images']} images looked at by two and more, {found['looked']}",
        *("", "images", "F1@0.4", "95 %", "F1@0.5", "IoU", "IoU>0.2"),
    )

    def add(title: str, images: str, scores: Mapping[str, Any]) -> None:
        columns = ("f1_at_0.5", "iou_mean", "iou_above_0.2_mean")
        values = [_number(scores[name]["value"]) for name in columns]
        table.add_row(escape(title), images, *_cells(scores["f1_at_0.4"]), *values)

    pairs = sorted(found["pairs"], key=lambda pair: -pair["images"])
    for pair in pairs[:_MOST_PAIRS]:
        add(f"{pair['a']} and {pair['b']}", str(pair["images"]), pair)
    rows = sorted(found["leave_one_out"], key=lambda row: -row["images"])
    for row in rows[:_MOST_PAIRS]:
        add(f"{row['reader']} and the others fused", str(row["images"]), row)
        if "model" in row:
            add("  model in their place", str(row["images"]), row["model"])
    add("all pairs of readers", str(found["images"]), found["between_readers"])
    if "model" in found:
        add("model and each reader", str(found["images"]), found["model"])
    _print(console, table)
    left_out = len(pairs) + len(rows) - len(pairs[:_MOST_PAIRS]) - len(rows[:_MOST_PAIRS])
    if left_out:
        console.print(f"{left_out} more rows, of no more images, are in --json.")
    if "verdict" in found:
        value, between, p = _gap_cells(found["difference"]["f1_at_0.4"])[1:]
        interval = f" {between}, p {p}" if between else ""
        console.print(
            f"Model: {found['verdict']} (F1 at 0.4 {value}{interval}). It has "
            f"{found['model_boxes']} boxes scored {_number(found['score_threshold'])} and more "
            f"where a reader draws {found['boxes_a_reader_draws']:.0f}.",
            soft_wrap=True,
        )


def _print(console: Console, table: Table) -> None:
    """Print a table at its full width: nothing is cut off, a narrow terminal breaks the lines."""
    needed = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def _table(title: str, first: str, *names: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cells(entry: Mapping[str, Any]) -> tuple[str, str]:
    return _number(entry["value"]), _between(entry)


def _gap_cells(entry: Mapping[str, Any]) -> tuple[str, str, str, str]:
    signed = "-" if entry["delta"] is None else f"{entry['delta']:+.3f}"
    p = "-" if entry["p"] is None else f"{entry['p']:.3f}"
    return _number(entry.get("other")), signed, _between(entry, signed=True), p


def _between(entry: Mapping[str, Any], *, signed: bool = False) -> str:
    if entry["low"] is None:
        return ""
    if _has_no_width(entry):
        return "no width"
    form = "+.3f" if signed else ".3f"
    return f"[{entry['low']:{form}}, {entry['high']:{form}}]"


def _has_no_width(entry: Mapping[str, Any]) -> bool:
    """Return whether an interval is given with a reason why it has no width."""
    return entry["low"] is not None and "reason" in entry


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
