"""The baseline without eyes: fixed boxes of the training images, scored beside a detector."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.data.coco.files import CocoAnnotations, read_annotations
from cxrssl.data.coco.index import Index, Remarks
from cxrssl.evaluate.inputs import EvaluationInputs
from cxrssl.evaluate.intervals import Films, entries
from cxrssl.evaluate.kinds import kinds_of_file
from cxrssl.evaluate.paired import differences
from cxrssl.metrics.annotations import Detections, Floats, Integers, Truth
from cxrssl.metrics.prior import MOST_PER_CLASS, FixedBoxes, fit_fixed_boxes

SCORES = (
    *("froc_mean", "froc_at_0.125", "froc_at_0.25", "froc_at_0.5", "froc_at_1", "froc_at_2"),
    *("froc_at_4", "froc_at_8", "AP", "AP50", "AP75", "AP40", "AR100"),
)
"""What fixed boxes are compared by."""
_KEPT = ("froc_mean", "froc_at_1", "AP", "AP50", "AP40")
"""Whose replicates are kept, for means over seeds."""
_TOLD = ("froc_mean", "AP50")
_TITLES = {"froc_mean": "mean FROC sensitivity", "AP50": "AP50"}
_DIGITS = 6


@dataclass(frozen=True)
class Prior:
    """Fixed boxes, and what they are laid on.

    Attributes:
        fixed: The boxes.
        fitted_on: Which training images they were chosen on, in words.
        detections: The boxes on every image that is scored.
        remarks: What was left out or looks wrong.
    """

    fixed: FixedBoxes
    fitted_on: str
    detections: Detections
    remarks: Remarks = field(default_factory=Remarks)


def prior_of_inputs(training: EvaluationInputs, scored: EvaluationInputs, fitted_on: str) -> Prior:
    """Choose fixed boxes on training images, and lay them on those that are scored.

    Args:
        training: True boxes of the training images, with the classes of what is scored.
        scored: What is scored; both state the sizes of their images.
        fitted_on: Which training images these are, in words.
    """
    truth = training.truth
    corners = np.concatenate([truth.boxes[:, :2], truth.boxes[:, :2] + truth.boxes[:, 2:]], axis=1)
    relative = corners / np.tile(_sizes(training.index), 2)[truth.images]
    rows = ~truth.crowd & (relative[:, 2:] > relative[:, :2]).all(axis=1)
    fixed = fit_fixed_boxes(
        truth.images[rows],
        truth.labels[rows],
        relative[rows],
        num_images=truth.num_images,
        num_classes=truth.num_classes,
    )
    notes: tuple[str, ...] = ()
    if fixed.num_left_out:
        notes = (
            f"the fixed boxes were chosen from {fixed.num_boxes} training boxes; "
            f"{fixed.num_left_out} more, of classes with many, were left out at random",
        )
    return Prior(fixed, fitted_on, fixed.on(_sizes(scored.index)), Remarks(notes))


def prior_of_file(path: Path, scored: EvaluationInputs) -> Prior:
    """Choose fixed boxes on the images of a COCO document.

    Its classes are found by their names; boxes of others are left out.

    Raises:
        DataError: If it can't be read, shares no class with what is scored, holds no box of one,
            or an image of either has no width and height.
    """
    index, boxes = read_annotations(path)
    numbers = {name: number for number, name in enumerate(scored.classes)}
    label_of = np.array([numbers.get(name, -1) for name in index.names], np.int64)
    labels = label_of[boxes.labels]
    num_others = int((labels < 0).sum())
    if num_others == len(labels):
        raise DataError(
            f"{path} holds {len(labels)} boxes, none of a class of {scored.index.path}: its "
            f"classes are {', '.join(index.names)}, and those scored {', '.join(scored.classes)}. "
            "Give the training images of the same classes."
        )
    training = _training_inputs(index, boxes, labels, scored)
    prior = prior_of_inputs(training, scored, f"the {len(index.images)} images of {path}")
    notes, warnings = prior.remarks.notes, list[str]()
    if num_others:
        notes += (
            f"{path}: {num_others} boxes of classes that are not scored are left out of the "
            "fixed boxes",
        )
    both = {*index.file_names} & {*scored.index.file_names} - {None}
    if both:
        warnings.append(
            f"{path}: {len(both)} of its images are scored as well, such as {min(map(str, both))}: "
            "the fixed boxes have seen them, and come out too good"
        )
    return Prior(prior.fixed, prior.fitted_on, prior.detections, Remarks(notes, tuple(warnings)))


def _training_inputs(
    index: Index, boxes: CocoAnnotations, labels: Integers, scored: EvaluationInputs
) -> EvaluationInputs:
    rows = labels >= 0
    truth = Truth(
        boxes.images[rows],
        labels[rows],
        boxes.boxes[rows],
        boxes.areas[rows],
        boxes.crowd[rows],
        boxes.support[rows],
        len(index.images),
        len(scored.classes),
    )
    return EvaluationInputs(index, truth, None, kinds_of_file(index, truth))


def _sizes(index: Index) -> Floats:
    """Return [N, 2] width and height of the images, pixels.

    Raises:
        DataError: If one has none.
    """
    sizes = index.sizes or (None,) * len(index.images)
    missing = [key for key, size in zip(index.images, sizes, strict=True) if size is None]
    if missing:
        raise DataError(
            f"{index.path}: {len(missing)} of {len(sizes)} images have no width and height, such "
            f"as {missing[0]!r}; fixed boxes are fractions of them. State them in `images`."
        )
    return np.array(sizes, np.float64).reshape(-1, 2)


def prior_as_json(
    prior: Prior,
    classes: tuple[str, ...],
    names: tuple[str, ...],
    ours: tuple[Floats, Floats],
    theirs: tuple[Floats, Floats],
    films: dict[str, Films],
) -> dict[str, Any]:
    """Return the baseline and how much better the detector is, as they are written.

    Args:
        prior: The fixed boxes.
        classes: Names of the classes.
        names: Names of the M scores.
        ours: Values [M] and replicates [R, M] of the detector.
        theirs: Those of the fixed boxes, on the same draws.
        films: What each score rests on.
    """
    columns = [names.index(name) for name in SCORES]
    own, other = ((values[columns], samples[:, columns]) for values, samples in (ours, theirs))
    gaps = differences(SCORES, own, other)
    fixed, reasons = prior.fixed, dict.fromkeys(SCORES, "the truth holds no box")
    xywh = np.concatenate([fixed.boxes[:, :2], fixed.boxes[:, 2:] - fixed.boxes[:, :2]], axis=1)
    rows = zip(fixed.labels.tolist(), xywh.round(_DIGITS).tolist(), fixed.scores, strict=True)
    metrics, found = (entries(SCORES, *side, reasons, films) for side in (other, own))
    return {
        "what": "fixed boxes that look at no image, chosen on training boxes (a position prior)",
        "fitted_on": prior.fitted_on,
        "n_training_images": fixed.num_images,
        "n_training_boxes": fixed.num_boxes,
        "n_training_boxes_left_out": fixed.num_left_out,
        "most_per_class": MOST_PER_CLASS,
        "boxes": [
            {"class": classes[label], "bbox_fraction": box, "score": round(float(score), _DIGITS)}
            for label, box, score in rows
        ],
        "metrics": metrics,
        "differences": gaps,
        "verdict": " ".join(
            verdict(name, gaps[name], found[name], metrics[name]) for name in _TOLD
        ),
        "replicate_values": {
            name: [None if np.isnan(v) else float(f"{v:.6g}") for v in theirs[1][:, n].tolist()]
            for name, n in ((name, names.index(name)) for name in _KEPT)
        },
    }


def verdict(
    name: str, gap: Mapping[str, Any], found: Mapping[str, Any], fixed: Mapping[str, Any]
) -> str:
    """Return in a sentence whether a detector is better than fixed boxes, by one score.

    Args:
        name: `froc_mean` or `AP50`.
        gap: An entry of `differences`.
        found: The detector's entry, whose exact bounds count where every draw gives the gap.
        fixed: That of the fixed boxes.
    """
    title = _TITLES[name]
    if gap["delta"] is None:
        return f"By {title} nothing can be told: it can't be computed."
    values = f"{gap['value']:.3f} against {gap['other']:.3f}"
    low, high = gap["low"], gap["high"]
    if low is not None:
        ends = f"{values}, difference {gap['delta']:+.3f}, {low:+.3f} to {high:+.3f}"
    elif "exact_on" in found and "exact_on" in fixed:
        low, high = found["low"] - fixed["high"], found["high"] - fixed["low"]
        ends = f"{values}, the same on every draw; exact bounds on {found['exact_on']}"
    else:
        return f"By {title} nothing can be told: {values}, without an interval."
    if low > 0:
        return f"By {title} the detector is better than fixed boxes that look at no image ({ends})."
    if high < 0:
        return f"By {title} the detector is WORSE than fixed boxes that look at no image ({ends})."
    return f"By {title} the detector can't be told from fixed boxes that look at no image ({ends})."
