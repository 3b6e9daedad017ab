"""The result of `cxrssl describe` as tables on a terminal."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrssl.core.printable import printable_content

_MOST_FAULTS = 5


def print_description(description: dict[str, Any]) -> None:
    """Print the content of `cxrssl describe --json` on stdout, as tables."""
    console = Console(highlight=False, emoji=False)
    description = printable_content(description)
    console.print(_overview(description))
    console.print(_classes(description))
    if description["inter_reader"]:
        console.print(_agreement(description["inter_reader"]))
    for note in description["notes"]:
        console.print(f"note: {escape(note)}", soft_wrap=True)
    faults = description["faults"]
    if faults:
        console.print(f"{len(faults)} image(s) left out because of their rows:")
    for image_id, reason in list(faults.items())[:_MOST_FAULTS]:
        console.print(f"  {escape(f'{image_id}: {reason}')}", soft_wrap=True)
    if len(faults) > _MOST_FAULTS:
        console.print(f"  and {len(faults) - _MOST_FAULTS} more: --json lists them all")


def _overview(description: dict[str, Any]) -> Table:
    table = Table(show_header=False, title=f"protocol {description['protocol']}")
    table.add_column()
    table.add_column()
    split, support, fusion = description["split"], description["support"], description["fusion"]
    boxes = description["split_drift"]["boxes_per_image"]
    table.add_row(
        "images",
        f"{description['images']:,}, {description['images_with_findings']:,} with findings",
    )
    table.add_row("boxes", f"{description['boxes']:,} by {description['readers']} readers")
    if description["reader_groups"]:
        group = description["reader_groups"][0]
        readers = escape(", ".join(group["readers"]))
        table.add_row("most read by", f"{readers}: {group['share']:.1%} of images with findings")
    table.add_row("split", ", ".join(f"{name} {number:,}" for name, number in split.items()))
    total = description["fused_boxes"]
    table.add_row("fused boxes", f"{total:,} ({fusion['policy']} at IoU {fusion['iou']})")
    shares = ", ".join(f"{n}: {number / max(1, total):.1%}" for n, number in support.items())
    table.add_row("by number of readers", shares)
    table.add_row(
        "boxes an image",
        f"train {_number(boxes['train'], 2)}, test {_number(boxes['test'], 2)}; "
        f"p {_p_value(boxes['p_value'])}, Holm {_p_value(boxes['p_holm'])}",
    )
    epoch, expected = description["oversampled_epoch"], description["oversampled_epoch_expected"]
    table.add_row(
        "oversampled epoch",
        f"{epoch:,} images" + ("" if epoch == expected else f" (expected value {expected:,})"),
    )
    return table


def _classes(description: dict[str, Any]) -> Table:
    table = Table(title="by class: images, and whether the split is a fair draw")
    table.add_column("class")
    for name in ("train", "epoch", "% train", "% test", "p", "Holm"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, train in description["train_images_per_class"].items():
        test = description["split_drift"]["per_class"][name]
        table.add_row(
            escape(name),
            f"{train:,}",
            f"{description['oversampled_images_per_class'][name]:,}",
            _percent(test["train"]),
            _percent(test["test"]),
            _p_value(test["p_value"]),
            _p_value(test["p_holm"]),
        )
    return table


def _agreement(entries: list[dict[str, Any]]) -> Table:
    table = Table(title="readers against each other, test split, boxes of one class")
    table.add_column("readers")
    table.add_column("images", justify="right")
    for name in ("IoU, all pairs", "IoU, above 0.2", "F1@0.4", "F1@0.5"):
        table.add_column(name, justify="right")
    for all_pairs, overlapping in zip(entries[::2], entries[1::2], strict=True):
        table.add_row(
            escape(f"{all_pairs['a']} - {all_pairs['b']}"),
            f"{all_pairs['images']:,}",
            f"{_number(all_pairs['iou_mean'])} ± {_number(all_pairs['iou_std'])}",
            f"{_number(overlapping['iou_mean'])} ± {_number(overlapping['iou_std'])}",
            _number(all_pairs["f1_at_0.4"]),
            _number(all_pairs["f1_at_0.5"]),
        )
    return table


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _p_value(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
