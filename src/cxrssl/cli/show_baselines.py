"""What `cxrssl eval` prints of fixed boxes, and of thresholds that were chosen on other images."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from cxrssl.cli.score_tables import difference_cells, number, print_table, table_of

_PRIOR_SCORES = ("froc_mean", "froc_at_0.5", "froc_at_1", "froc_at_2", "AP50", "AP40", "AP")


def print_prior(console: Console, prior: Mapping[str, Any]) -> None:
    """Print how much better a detector is than fixed boxes, and in words whether it is at all."""
    title = (
        f"a baseline without eyes: {len(prior['boxes'])} fixed boxes (at most "
        f"{prior['most_per_class']} a class) that look at no image, chosen on {prior['fitted_on']}"
    )
    columns = ("metric", "detector", "fixed boxes", "difference", "95 % interval", "p")
    table = table_of(escape(title), *columns)
    for name in _PRIOR_SCORES:
        entry = prior["differences"][name]
        if entry["delta"] is not None:
            table.add_row(name, number(entry["value"]), *difference_cells(entry))
    print_table(console, table)
    console.print(f" {prior['verdict']}", markup=False, soft_wrap=True)


def print_chosen(console: Console, chosen: Mapping[str, Any]) -> None:
    """Print thresholds that were chosen on other images, and what they come to on these."""
    on, nms, points = chosen["chosen_on"], chosen["nms"], chosen["points"]
    thinned = "" if nms is None else f", NMS IoU {nms['iou']:g}"
    kinds = list(points[0]["scored"]["fp_per_image_by_kind"])
    table = table_of(
        f"operating points{thinned}, chosen on {on['n_images']} images of the {on['split']} split, "
        "and what they come to here (IoU > 0.4)",
        *("point", "score", "sensitivity", "precision", "F1", "FP/image"),
        *(f"FP/image {kind}" for kind in kinds),
    )
    for point in points:
        thresholds = sorted({*point["thresholds"].values()})
        text = " to ".join(
            f"{value:.3f}" for value in dict.fromkeys(thresholds[:1] + thresholds[-1:])
        )
        here = point["scored"]
        values = [here[name] for name in ("sensitivity", "precision", "f1", "fp_per_image")]
        values += [here["fp_per_image_by_kind"][kind] for kind in kinds]
        table.add_row(point["name"], text, *map(number, values))
    print_table(console, table)
