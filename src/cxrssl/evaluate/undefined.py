"""Why a score can't be computed, in terms of the files and options of `cxrssl eval`."""

from cxrssl.metrics.annotations import Flags, Truth
from cxrssl.metrics.definitions import DEFINITIONS
from cxrssl.metrics.froc import without_boxes
from cxrssl.metrics.scores import ScoreTable

NO_BOX = "the truth holds no box"
NO_BOX_OF_CLASS = "the truth holds no box of the class"
_NORMALS = "fp_per_normal_image_at_sens_0.5"


def reasons_of(truth: Truth, table: ScoreTable, normal: Flags) -> dict[str, str]:
    """Return a reason for every name of `DEFINITIONS`; it counts where the value is nan."""
    reasons = dict.fromkeys(DEFINITIONS, NO_BOX)
    for size in ("small", "medium", "large"):
        for name in (f"AP_{size}", f"AR_{size}"):
            reasons[name] = f"the truth holds no {size} box"
    reasons["AR_small1000_agnostic"] = reasons["AR_small"]
    for name in ("rare", "common", "frequent"):
        reasons[f"AP_{name}"] = "no class is in so many images"
    for k in (1, 2, 3):
        reasons[f"AP50_support_{k}"] = (
            "no true box has this support"
            if truth.support.any()
            else "the truth does not say how many readers drew a box"
        )
    for name in ("mean", "std"):
        reasons[f"best_iou_above_0.2_{name}"] = "no detection overlaps a true box by more than 0.2"
    reasons["ece"] = (
        "a score lies outside 0..1"
        if table.calibration is None
        else "there is no detection, or all lie on crowds"
    )
    if truth.images.size:
        reasons[_NORMALS] = (
            "no threshold finds half of the true boxes"
            if normal.any()
            else "every image has findings; with a store, --normals takes in those without"
            if not without_boxes(truth).any()
            else "no image without boxes is known to be normal"
        )
    return reasons
