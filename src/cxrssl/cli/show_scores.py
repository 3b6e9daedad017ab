"""Scores of `cxrssl eval` as tables on a terminal, with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from cxrssl.cli.score_tables import (
    cells,
    difference_cells,
    has_no_width,
    number,
    print_table,
    table_of,
)
from cxrssl.cli.show_baselines import print_chosen, print_prior
from cxrssl.cli.show_gate import print_gate
from cxrssl.core.printable import printable, printable_content

_CLASS_COLUMNS = ("AP", "AP40", "AR100")
_MOST_PAIRS = 6


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
        _print_besides(console, scores)
    if scores["readers"] is not None:
        _print_readers(console, scores["readers"])
    console.print(_intervals_text(scores))
    if "metrics" in scores:
        console.print("Small, medium and large are by area in pixels of the original images.")
    for note in scores["notes"]:
        console.print(f"Note: {printable(note)}", markup=False, soft_wrap=True)


def _print_besides(console: Console, scores: Mapping[str, Any]) -> None:
    """Print what some evaluations have: chosen thresholds, a gate, fixed boxes."""
    if "chosen_points" in scores:
        print_chosen(console, scores["chosen_points"])
    if "gate" in scores:
        print_gate(console, scores)
    if "prior" in scores:
        print_prior(console, scores["prior"])


def _intervals_text(scores: Mapping[str, Any]) -> str:
    """Say what was drawn for the intervals."""
    if not scores["replicates"]:
        return "No intervals: --replicates is 0."
    drawn = scores["drawn"]
    what = "the images" if drawn["unit"] == "images" else f"{drawn['n']} {drawn['unit']}"
    return f"Intervals: 95 %, from {scores['replicates']} draws of {what}, seed {scores['seed']}."


def _print_overall(console: Console, scores: Mapping[str, Any]) -> None:
    only = f" of {scores['only']['of']}, by --only" if "only" in scores else ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in scores["kinds"].items())
    title = (
        f"{scores['n_images']} images{only} ({kinds}), "
        f"{scores['n_boxes']} boxes, {scores['n_detections']} detections"
    )
    table = table_of(title, "metric", "value", "95 % interval")
    undefined, without_width = [], []
    for name, entry in scores["metrics"].items():
        if has_no_width(entry):
            without_width.append(name)
        if entry["value"] is None:
            undefined.append(f"{name}: {entry['reason']}")
            continue
        table.add_row(name, *cells(entry))
    print_table(console, table)
    for line in undefined:
        console.print(f" not computed: {line}", markup=False, soft_wrap=True)
    if without_width:
        reason = scores["metrics"][without_width[0]]["reason"]
        console.print(
            f" no width: {', '.join(without_width)}: {reason}", markup=False, soft_wrap=True
        )


def _print_differences(console: Console, comparison: Mapping[str, Any]) -> None:
    title = f"against {comparison['other']}, on the same draws of the images"
    table = table_of(escape(title), "metric", "value", "other", "difference", "95 % interval", "p")
    for name, entry in comparison["metrics"].items():
        if entry["delta"] is not None:
            table.add_row(name, number(entry["value"]), *difference_cells(entry))
    print_table(console, table)


def _print_classes(console: Console, scores: Mapping[str, Any]) -> None:
    table = table_of("by class", "class", "images", "boxes", "AP50", "95 %", *_CLASS_COLUMNS)
    for name, class_scores in scores["per_class"].items():
        counts = scores["classes"][name]
        values = [number(class_scores[column]["value"]) for column in _CLASS_COLUMNS]
        images, boxes = str(counts["n_images"]), str(counts["n_boxes"])
        table.add_row(escape(name), images, boxes, *cells(class_scores["AP50"]), *values)
    print_table(console, table)


def _print_points(console: Console, points: Sequence[Mapping[str, Any]]) -> None:
    names = ("score_threshold", "sensitivity", "precision", "fp_per_image")
    kinds = list(points[0]["fp_per_image_by_kind"]) if points else []
    table = table_of(
        "thresholds (all classes, IoU > 0.4), chosen on these images, so that they flatter",
        "point",
        *("score", "sensitivity", "precision", "FP/image"),
        *(f"FP/image {kind}" for kind in kinds),
    )
    for point in points:
        title = point["point"].replace(" false positives an image", " FP/image")
        by_kind = point["fp_per_image_by_kind"]
        values = (*(point[name] for name in names), *(by_kind[kind] for kind in kinds))
        table.add_row(title, *map(number, values))
    if points:
        print_table(console, table)


def _print_readers(console: Console, agreement: Mapping[str, Any]) -> None:
    table = table_of(
        f"readers: {agreement['images']} images looked at by two and more, {agreement['looked']}",
        *("", "images", "F1@0.4", "95 %", "F1@0.5", "IoU", "IoU>0.2"),
    )

    def add(title: str, images: str, scores: Mapping[str, Any]) -> None:
        columns = ("f1_at_0.5", "iou_mean", "iou_above_0.2_mean")
        values = [number(scores[name]["value"]) for name in columns]
        table.add_row(escape(title), images, *cells(scores["f1_at_0.4"]), *values)

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
    print_table(console, table)
    left_out = len(pairs) + len(rows) - len(pairs[:_MOST_PAIRS]) - len(rows[:_MOST_PAIRS])
    if left_out:
        console.print(f"{left_out} more rows, of no more images, are in --json.")
    if "verdict" in agreement:
        value, interval_text, p = difference_cells(agreement["difference"]["f1_at_0.4"])[1:]
        interval = f" {interval_text}, p {p}" if interval_text else ""
        console.print(
            f"Model: {agreement['verdict']} (F1 at 0.4 {value}{interval}). It has "
            f"{agreement['model_boxes']} boxes scored {number(agreement['score_threshold'])} and "
            f"more where a reader draws {agreement['boxes_a_reader_draws']:.0f}.",
            soft_wrap=True,
        )
