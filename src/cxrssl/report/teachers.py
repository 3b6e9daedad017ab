"""What a teacher's pseudo boxes were worth, by treatment and label share."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from cxrssl.config.plan import Plan
from cxrssl.core.records import read_record
from cxrssl.report.results import FinishedArm, Results
from cxrssl.report.tables import conditions_shown, role
from cxrssl.report.wording import label_percent

_TEXT = (
    "Boxes of the teacher that counted, per image without labels, over the steps that were logged; "
    "precision and recall against hidden boxes (IoU 0.5, same class), where readers have looked. "
    "Means over runs. Where there is no box, those images taught at most what background is."
)
_COLUMNS = ("boxes an image", "precision", "recall")


def teachers_section(plan: Plan, results: Results) -> dict[str, Any] | None:
    """Return a row for each treatment and label fraction with a teacher; None without any."""
    rows = []
    for condition in conditions_shown(plan, results):
        entries = [entry for arm in results.at(condition) for entry in _entries(arm)]
        if not entries:
            continue
        found = [entry["pseudo_boxes"] for entry in entries]
        names = ("boxes_per_image", "precision", "recall")
        rows.append(
            {
                "role": role(plan, condition.treatment),
                "title": plan.treatments[condition.treatment].title,
                "labels": label_percent(condition.label_fraction),
                "images": round(fmean(entry["images"] for entry in entries)),
                "values": [_mean_of([one[name] for one in found]) for name in names],
                "runs": len(entries),
            }
        )
    return {"text": _TEXT, "columns": list(_COLUMNS), "rows": rows} if rows else None


def _entries(arm: FinishedArm) -> list[dict[str, Any]]:
    """Return `unlabelled` of each run of an arm."""
    folds = [read_record(run / "metrics.json") for run in arm.fold_folders]
    return [record["unlabelled"] for record in folds or [arm.result] if record.get("unlabelled")]


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
