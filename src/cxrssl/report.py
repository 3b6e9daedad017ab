"""`cxrssl report`: the runs of a plan as one HTML page and a CSV, with the answer first."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrssl.config.load import load_recipe
from cxrssl.config.plan import Plan
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import RunError
from cxrssl.core.files import write_text
from cxrssl.data.detection import Example, examples_of, in_split, splits_of
from cxrssl.data.store import Store
from cxrssl.output.figures import Panel, gallery, label_curve
from cxrssl.output.html import render_report
from cxrssl.run.arms import FinishedArm, arms_of, read_arms

METRICS = ("AP", "AP50", "AP75", "AP_small", "AR100")
_CURVES = {
    "AP50": "AP at IoU 0.50",
    "AP": "AP at IoU 0.50:0.95",
    "AR100": "recall at 100 detections",
}
# Below the first a detector finds too little for a share of it to mean anything.
_LEAST_BASELINE, _GALLERY_IMAGES, _GALLERY_SCORE = 0.05, 4, 0.5


def report(runs: Path) -> Path:
    """Write `report.html` and `report.csv` into the folder of a plan and return the page.

    Raises:
        RunError: If the folder holds no plan, or an arm has not finished.
    """
    if not (runs / "plan.yaml").is_file():
        raise RunError(f"{runs} holds no plan.yaml. Name the folder of a `cxrssl reproduce`.")
    plan = load_recipe(runs / "plan.yaml", Plan, overrides=[])
    arms = read_arms(runs, arms_of(plan.pool_percents, plan.seeds))
    store = Store(runs / "store")
    test = _test_examples(arms[0], store)
    boxes = np.bincount(np.concatenate([e.labels for e in test]), minlength=len(store.classes))
    by_class = dict(zip(store.classes, boxes.tolist(), strict=True))
    page = render_report(
        {
            "plan": plan.name,
            "phantom": plan.data.source is None,
            "num_runs": len(arms) + len(plan.pool_percents) * len(plan.seeds),
            "num_images": len(test),
            "num_boxes": int(boxes.sum()),
            "num_classes": len(store.classes),
            "answer": answer(arms),
            "caution": _caution(plan),
            "curves": _curves(arms),
            "arms": _rows(arms),
            "several_seeds": len(plan.seeds) > 1,
            "classes": _class_rows(arms, by_class),
            "gallery": _gallery(arms[0], store, test),
            "gallery_score": _GALLERY_SCORE,
            "transfers": _transfers(arms, runs),
            "provenance": _provenance(arms[0].folder),
        }
    )
    write_text(runs / "report.csv", _csv(arms))
    write_text(runs / "report.html", page)
    return runs / "report.html"


def _test_examples(arm: FinishedArm, store: Store) -> list[Example]:
    """Return the test split as the arm's recipe has it."""
    recipe = load_recipe(arm.folder / "recipe.yaml", FinetuneRecipe, overrides=[])
    data = recipe.data
    examples = examples_of(store, fusion=data.fusion, iou=data.consensus_iou)
    splits = splits_of(store, protocol=data.protocol, normals=data.normals)
    return in_split(examples, splits, "test")


def answer(arms: Sequence[FinishedArm]) -> str:
    """Say in two sentences what the arms show, and no more: AP50 of SSL against its control."""
    shares = sorted({arm.arm.label_share for arm in arms if arm.arm.kind == "ssl"})
    gaps = [_ap50(arms, "ssl", share) - _ap50(arms, "control", share) for share in shares]
    baseline = _ap50(arms, "baseline", 1.0)
    ahead = sum(gap > 0 for gap in gaps)
    first = (
        f"With the same labels, SSL is ahead of its control at {ahead} of {len(gaps)} label shares "
        f"(AP50 {float(np.mean(gaps)):+z.3f} on average)."
    )
    if baseline < _LEAST_BASELINE:
        return (
            f"{first} The arm with all labels finds next to nothing (AP50 {baseline:.3f}), "
            "so nothing can be read here about labels saved."
        )
    kept = {kind: _least_share(arms, kind, shares, 0.95 * baseline) for kind in ("ssl", "control")}
    return (
        f"{first} 95 % of the all-label AP50 ({baseline:.3f}) is "
        f"kept {kept['ssl']} after SSL and {kept['control']} without."
    )


def _least_share(
    arms: Sequence[FinishedArm], kind: str, shares: Sequence[float], goal: float
) -> str:
    reached = [100 * share for share in shares if _ap50(arms, kind, share) >= goal]
    least = f"with {min(reached):.0f} %" if reached else "at no smaller share"
    return f"{least} of the labels"


def _ap50(arms: Sequence[FinishedArm], kind: str, share: float) -> float:
    """Return the mean over seeds of AP50."""
    own = [arm for arm in arms if arm.arm.kind == kind and arm.arm.label_share == share]
    values = [arm.metric("AP50") for arm in own]
    if not values or None in values:
        raise RunError("an arm has no AP50: the test split holds no box. Take more images.")
    return float(np.mean(np.array(values, dtype=np.float64)))


def _caution(plan: Plan) -> str:
    if len(plan.seeds) == 1:
        return (
            "One seed and one test set: differences between arms carry no interval here, and a few "
            "hundredths of AP50 are within what another seed would change."
        )
    return f"Lines are means over {len(plan.seeds)} seeds, dots are single runs; no interval yet."


def _curves(arms: Sequence[FinishedArm]) -> list[dict[str, str]]:
    figures = []
    for metric, caption in _CURVES.items():
        points = {
            kind: [
                (arm.arm.label_share, arm.metric(metric) or 0.0)
                for arm in arms
                if arm.arm.kind == kind
            ]
            for kind in ("ssl", "control")
        }
        baseline = [arm.metric(metric) or 0.0 for arm in arms if arm.arm.kind == "baseline"]
        # With all labels there is no pool: the baseline is where the controls end.
        points["control"] += [(1.0, value) for value in baseline]
        svg = label_curve(points, metric=metric, baseline=float(np.mean(baseline)))
        figures.append({"svg": svg, "caption": f"{metric}: {caption}, test split."})
    return figures


def _title(arm: FinishedArm) -> str:
    return (
        arm.arm.kind if arm.arm.kind == "baseline" else f"{arm.arm.kind} {arm.arm.pool_percent} %"
    )


def _rows(arms: Sequence[FinishedArm]) -> list[dict[str, Any]]:
    return [
        {
            "kind": arm.arm.kind,
            "title": _title(arm),
            "label_share": arm.arm.label_share,
            "train_images": arm.result["train_images"],
            "seed": arm.arm.seed,
            "scores": [arm.metric(name) for name in METRICS],
        }
        for arm in arms
    ]


def _class_rows(arms: Sequence[FinishedArm], boxes: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "boxes": boxes[name],
            "scores": [arm.result["per_class"][name]["AP50"]["value"] for arm in arms],
        }
        for name in sorted(boxes, key=lambda name: -boxes[name])
    ]


def _transfers(arms: Sequence[FinishedArm], runs: Path) -> list[dict[str, Any]]:
    rows = []
    for arm in (arm for arm in arms if arm.arm.kind == "ssl"):
        record = json.loads((arm.folder / "transfer.json").read_text())["transfers"][-1]
        pretraining = runs / arm.arm.pretraining
        made = json.loads((pretraining / "metrics.json").read_text())
        counts = {k: len(record[k]) for k in ("matched", "missing", "reshaped", "unexpected")}
        rows.append(
            counts
            | {
                "name": f"{_title(arm)}, seed {arm.arm.seed}",
                "pool_images": made["num_images"],
                "loss": made["loss"],
                "chance_loss": made["chance_loss"],
                "arrived": record["arrived"],
                "sha256": record["loaded_sha256"],
            }
        )
    return rows


def _gallery(arm: FinishedArm, store: Store, test: Sequence[Example]) -> str:
    """Draw the first test images that an arm's predictions are for."""
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in json.loads((arm.folder / "predictions.json").read_text()):
        if entry["score"] >= _GALLERY_SCORE:
            found.setdefault(entry["image_id"], []).append(entry)
    panels = []
    for example in test[:_GALLERY_IMAGES]:
        entries = found.get(example.image_id, [])
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (entry["bbox"] for entry in entries)]
        panels.append(
            Panel(
                example.image_id,
                store.pixels(example.row),
                example.boxes,
                [
                    f"{store.classes[label]} {support}"
                    for label, support in zip(example.labels, example.support, strict=True)
                ],
                np.array(boxes, dtype=np.float32).reshape(-1, 4),
                [f"{store.classes[e['category_id'] - 1]} {e['score']:.2f}" for e in entries],
            )
        )
    return gallery(panels)


def _provenance(folder: Path) -> dict[str, str]:
    record = json.loads((folder / "provenance.json").read_text())
    git = record["git"]
    commit = (
        "not a checkout" if git is None else git["sha"] + (" (changed)" if git["dirty"] else "")
    )
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return {
        "commit": commit,
        "versions": f"Python {record['python']}, {versions}",
        "device": f"{record['device']}, {record['num_processes']} process(es)",
        "data": record["data_fingerprint"],
    }


def _csv(arms: Sequence[FinishedArm]) -> str:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["arm", "pool_percent", "seed", "train_images", *METRICS])
    for arm in arms:
        scores = ["" if value is None else f"{value:.6f}" for value in map(arm.metric, METRICS)]
        writer.writerow(
            [arm.arm.kind, arm.arm.pool_percent, arm.arm.seed, arm.result["train_images"], *scores]
        )
    return sink.getvalue()
