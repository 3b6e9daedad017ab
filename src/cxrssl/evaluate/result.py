"""All scores of a set of detections, with intervals, in the form that is written."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cxrssl.data.coco.index import Remarks
from cxrssl.evaluate.curves import curves, operating_points
from cxrssl.evaluate.films import films_of, films_of_class
from cxrssl.evaluate.inputs import EvaluationInputs, Readings, any_shared
from cxrssl.evaluate.intervals import Bootstrap, Films, Measure, drawn_of, entries, replicated
from cxrssl.evaluate.kinds import images_of
from cxrssl.evaluate.mismatches import mismatch_warnings
from cxrssl.evaluate.paired import OtherRun, compared
from cxrssl.evaluate.prior import Prior, prior_as_json
from cxrssl.evaluate.readers import ReaderTable
from cxrssl.evaluate.undefined import NO_BOX_OF_CLASS, reasons_of
from cxrssl.metrics.annotations import Detections, Floats
from cxrssl.metrics.bootstrap import strata_of
from cxrssl.metrics.definitions import DEFINITIONS, PER_CLASS
from cxrssl.metrics.scores import ScoreTable

_NAMES = tuple(DEFINITIONS)
_NONE = Remarks()
_CLASS_REASONS = dict.fromkeys(PER_CLASS, NO_BOX_OF_CLASS)


class ScoreMeasure:
    """Scores of detections as one row of values: overall, then class by class."""

    def __init__(self, inputs: EvaluationInputs, detections: Detections) -> None:
        """Match detections with the truth."""
        self.table = ScoreTable(inputs.truth, detections, inputs.normal)

    def __call__(self, weights: Floats) -> Floats:
        """Return the values where image n counts `weights[n]` times."""
        scores = self.table(weights)
        overall = np.array([scores.overall[name] for name in _NAMES])
        by_class = np.stack([scores.per_class[name] for name in PER_CLASS], axis=1)
        return np.concatenate([overall, by_class.reshape(-1)])


def scored(
    inputs: EvaluationInputs,
    detections: Detections,
    bootstrap: Bootstrap,
    *,
    consensus_iou: float,
    other_run: OtherRun | None = None,
    prior: Prior | None = None,
    remarks: Remarks = _NONE,
) -> dict[str, Any]:
    """Score detections against a truth.

    Args:
        inputs: The truth, its names, and its readers if they are to be compared.
        detections: Detections on its images.
        bootstrap: Draws behind the intervals.
        consensus_iou: Overlap above which readers' boxes are fused.
        other_run: Another run, compared draw by draw.
        prior: Fixed boxes on the same images, compared draw by draw.
        remarks: Notes and warnings from reading the files.

    Returns:
        The content of `--json`.
    """
    measure = ScoreMeasure(inputs, detections)
    measures: dict[str, Measure] = {"own": measure}
    readers = _readers(
        inputs.readings, detections, len(inputs.classes), consensus_iou=consensus_iou
    )
    if readers is not None:
        measures["readers"] = readers
    if other_run is not None and other_run.detections is not None:
        measures["other_run"] = ScoreMeasure(inputs, other_run.detections)
    if prior is not None:
        measures["prior"] = ScoreMeasure(inputs, prior.detections)
        remarks += prior.remarks
    measured = _measured(measures, inputs, bootstrap)
    films, ours = films_of(inputs), measured["own"]
    content = _content(inputs, measure.table, ours, films, bootstrap)
    content["readers"] = None if readers is None else readers.as_json(*measured["readers"])
    if prior is not None:
        theirs = measured["prior"]
        content["prior"] = prior_as_json(prior, inputs.classes, _NAMES, ours, theirs, films)
    warnings = [*mismatch_warnings(measure.table, inputs, detections)]
    if other_run is not None:
        content["against"] = compared(other_run, _NAMES, ours, measured.get("other_run"))
        warnings += _warnings_of_other(other_run, measures.get("other_run"), inputs)
    return content | asdict(remarks + Remarks(warnings=tuple(warnings)))


def _warnings_of_other(
    other_run: OtherRun, measure: Measure | None, inputs: EvaluationInputs
) -> list[str]:
    if not isinstance(measure, ScoreMeasure) or other_run.detections is None:
        return []
    of_other = mismatch_warnings(measure.table, inputs, other_run.detections)
    return [f"{other_run.path}: {warning}" for warning in of_other]


def scored_readers(
    readings: Readings,
    classes: Sequence[str],
    bootstrap: Bootstrap,
    *,
    consensus_iou: float,
    remarks: Remarks = _NONE,
) -> dict[str, Any]:
    """Score readers against each other, without a detector.

    Returns:
        The content of `--json`.
    """
    table = ReaderTable(readings, None, num_classes=len(classes), consensus_iou=consensus_iou)
    marks = readings.marks
    num_images = len(next(iter(readings.looked.values())))
    holds = np.zeros((num_images, len(classes)), bool)
    holds[marks.images, marks.labels] = True
    (samples,) = replicated([table], strata_of(holds), bootstrap)
    return {
        "readers": table.as_json(table(np.ones(num_images)), samples),
        "n_images": num_images,
        "n_boxes": len(marks),
        "n_classes": len(classes),
        "seed": bootstrap.seed,
        "replicates": bootstrap.replicates,
        "drawn": drawn_of(None, num_images),
    } | asdict(remarks)


def _measured(
    measures: dict[str, Measure], inputs: EvaluationInputs, bootstrap: Bootstrap
) -> dict[str, tuple[Floats, Floats]]:
    """Return each measure's values [M], and its replicates [R, M]."""
    ones, strata = np.ones(inputs.truth.num_images), strata_of(inputs.truth.holds)
    drawn = replicated([*measures.values()], strata, bootstrap, inputs.clusters)
    values = [measure(ones) for measure in measures.values()]
    return dict(zip(measures, zip(values, drawn, strict=True), strict=True))


def _content(
    inputs: EvaluationInputs,
    table: ScoreTable,
    measured: tuple[Floats, Floats],
    films: dict[str, Films],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    values, samples = measured
    truth, num = inputs.truth, len(_NAMES)
    images_per_class = truth.holds.sum(axis=0).tolist()
    boxes = np.bincount(truth.labels[~truth.crowd], minlength=truth.num_classes).tolist()
    by_class = values[num:].reshape(len(inputs.classes), -1)
    drawn = samples[:, num:].reshape(len(samples), *by_class.shape)
    return {
        "metrics": entries(_NAMES, values, samples, reasons_of(truth, table, inputs.normal), films),
        "per_class": {
            name: entries(
                *(PER_CLASS, by_class[label], drawn[:, label], _CLASS_REASONS),
                films_of_class(inputs, label),
            )
            for label, name in enumerate(inputs.classes)
        },
        "n_images": truth.num_images,
        "n_boxes": int((~truth.crowd).sum()),
        "n_crowds": int(truth.crowd.sum()),
        "n_classes": len(inputs.classes),
        "n_images_without_findings": truth.num_images - len(np.unique(truth.images)),
        "kinds": {kind: int(images.sum()) for kind, images in images_of(inputs.kinds).items()},
        "n_detections": table.num_detections,
        "classes": {
            name: {"n_boxes": boxes[label], "n_images": images_per_class[label]}
            for label, name in enumerate(inputs.classes)
        },
        "seed": bootstrap.seed,
        "replicates": bootstrap.replicates,
        "drawn": drawn_of(inputs.clusters, truth.num_images),
        "definitions": DEFINITIONS,
        "truth_sha256": inputs.sha256,
        "operating_points": operating_points(table, images_of(inputs.kinds)),
        "curves": curves(table, inputs.classes, images_of(inputs.kinds)),
        "replicate_values": _rounded(samples[:, :num]),
    }


def _readers(
    readings: Readings | None, detections: Detections, num_classes: int, *, consensus_iou: float
) -> ReaderTable | None:
    """Return the comparison with readers, None where no image was looked at by two."""
    if readings is None or not any_shared(readings.looked):
        return None
    return ReaderTable(readings, detections, num_classes=num_classes, consensus_iou=consensus_iou)


def _rounded(samples: Floats) -> dict[str, list[float | None]]:
    """Return replicates by name, to six digits, which is more than they can tell."""
    return {
        name: [None if np.isnan(v) else float(f"{v:.6g}") for v in samples[:, column].tolist()]
        for column, name in enumerate(_NAMES)
    }
