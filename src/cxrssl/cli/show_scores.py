"""Scores of `cxrssl eval` as tables on a terminal, with their intervals."""

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


def print_scores(scores: Mapping[str, Any]) -> None:
    """Print the content of `cxrssl eval --json` on stdout, intervals beside values."""
    console = Console(highlight=False, emoji=False)
    scores = printable_content(scores)
    if "metrics" in scores:
        _print_overall(console, scores)
        if "against" in scores:
            _print_differences(console, scores["against"])
        _print_classes(console, scores)
        _print_points(console, scores["operating_points"])
    if scores["readers"] is not None:
        _print_readers(console, scores["readers"])
    console.print(
        f"Intervals: 95 %, from {scores['replicates']} draws of the images, seed {scores['seed']}."
        if scores["replicates"]
        else "No intervals: --replicates is 0."
    )
    if "metrics" in scores:
        console.print("Small, medium and large are by area in pixels of the original images.")
    for note in scores["notes"]:
        console.print(f"Note: {printable(note)}", markup=False, soft_wrap=True)


def _print_overall(console: Console, scores: Mapping[str, Any]) -> None:
    title = (
        f"{scores['n_images']} images ({scores['n_images_without_findings']} without findings), "
        f"{scores['n_boxes']} boxes, {scores['n_detections']} detections"
    )
    table = _table(title, "metric", "value", "95 % interval")
    undefined, without_width = [], []
    for name, entry in scores["metrics"].items():
        if _has_no_width(entry):
            without_width.append(name)
        if entry["value"] is None:
            undefined.append(f"{name}: {entry['reason']}")
            continue
        table.add_row(name, *_cells(entry))
    _print(console, table)
    for line in undefined:
        console.print(f" not computed: {line}", markup=False, soft_wrap=True)
    if without_width:
        reason = scores["metrics"][without_width[0]]["reason"]
        console.print(
            f" no width: {', '.join(without_width)}: {reason}", markup=False, soft_wrap=True
        )


def _print_differences(console: Console, comparison: Mapping[str, Any]) -> None:
    title = f"against {comparison['other']}, on the same draws of the images"
    table = _table(escape(title), "metric", "value", "other", "difference", "95 % interval", "p")
    for name, entry in comparison["metrics"].items():
        if entry["delta"] is not None:
            table.add_row(name, _number(entry["value"]), *_difference_cells(entry))
    _print(console, table)


def _print_classes(console: Console, scores: Mapping[str, Any]) -> None:
    table = _table("by class", "class", "images", "boxes", "AP50", "95 %", *_CLASS_COLUMNS)
    for name, class_scores in scores["per_class"].items():
        counts = scores["classes"][name]
        values = [_number(class_scores[column]["value"]) for column in _CLASS_COLUMNS]
        images, boxes = str(counts["n_images"]), str(counts["n_boxes"])
        table.add_row(escape(name), images, boxes, *_cells(class_scores["AP50"]), *values)
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


def _print_readers(console: Console, agreement: Mapping[str, Any]) -> None:
    table = _table(
        f"readers: {agreement['images']} images looked at by two and more, {agreement['looked']}",
        *("", "images", "F1@0.4", "95 %", "F1@0.5", "IoU", "IoU>0.2"),
    )

    def add(title: str, images: str, scores: Mapping[str, Any]) -> None:
        columns = ("f1_at_0.5", "iou_mean", "iou_above_0.2_mean")
        values = [_number(scores[name]["value"]) for name in columns]
        table.add_row(escape(title), images, *_cells(scores["f1_at_0.4"]), *values)

    pairs = sorted(agreement["pairs"], key=lambda pair: -pair["images"])
    for pair in pairs[:_MOST_PAIRS]:
        add(f"{pair['a']} and {pair['b']}", str(pair["images"]), pair)
    rows = sorted(agreement["leave_one_out"], key=lambda row: -row["images"])
    for row in rows[:_MOST_PAIRS]:
        add(f"{row['reader']} and the others fused", str(row["images"]), row)
        if "model" in row:
            add("  model in their place", str(row["images"]), row["model"])
    add("all pairs of readers", str(agreement["images"]), agreement["between_readers"])
    if "model" in agreement:
        add("model and each reader", str(agreement["images"]), agreement["model"])
    _print(console, table)
    left_out = len(pairs) + len(rows) - len(pairs[:_MOST_PAIRS]) - len(rows[:_MOST_PAIRS])
    if left_out:
        console.print(f"{left_out} more rows, of no more images, are in --json.")
    if "verdict" in agreement:
        value, interval_text, p = _difference_cells(agreement["difference"]["f1_at_0.4"])[1:]
        interval = f" {interval_text}, p {p}" if interval_text else ""
        console.print(
            f"Model: {agreement['verdict']} (F1 at 0.4 {value}{interval}). It has "
            f"{agreement['model_boxes']} boxes scored {_number(agreement['score_threshold'])} and "
            f"more where a reader draws {agreement['boxes_a_reader_draws']:.0f}.",
            soft_wrap=True,
        )


def _print(console: Console, table: Table) -> None:
    """Print a table at its full width, so that nothing is cut off on a narrow terminal."""
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
    return _number(entry["value"]), _interval_text(entry)


def _difference_cells(entry: Mapping[str, Any]) -> tuple[str, str, str, str]:
    signed = "-" if entry["delta"] is None else f"{entry['delta']:+.3f}"
    p = "-" if entry["p"] is None else f"{entry['p']:.3f}"
    return _number(entry.get("other")), signed, _interval_text(entry, signed=True), p


def _interval_text(entry: Mapping[str, Any], *, signed: bool = False) -> str:
    if entry["low"] is None:
        return ""
    if _has_no_width(entry):
        return "no width"
    form = "+.3f" if signed else ".3f"
    return f"[{entry['low']:{form}}, {entry['high']:{form}}]"


def _has_no_width(entry: Mapping[str, Any]) -> bool:
    """Return whether an interval has no width, for which the entry states the reason."""
    return entry["low"] is not None and "reason" in entry


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
