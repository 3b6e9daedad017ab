"""Another run that a run is compared with, on the same draws of the same images."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.data.coco.files import read_results
from cxrssl.data.coco.index import Remarks
from cxrssl.data.coco.json import content_of
from cxrssl.evaluate.inputs import EvaluationInputs, as_detections
from cxrssl.evaluate.intervals import Bootstrap, difference
from cxrssl.evaluate.subset import Subset
from cxrssl.metrics.annotations import Detections, Floats

_MOST = 1e9
"""More than any score, including false alarms an image."""


@dataclass(frozen=True)
class OtherRun:
    """Another run: its detections, or the scores that an earlier evaluation wrote.

    Attributes:
        path: The file.
        detections: Its detections, or None.
        scores: Content of `cxrssl eval --json`, or None.
        remarks: How its ids were matched with the truth's.
    """

    path: Path
    detections: Detections | None
    scores: dict[str, Any] | None
    remarks: Remarks = field(default_factory=Remarks)


def read_other_run(
    path: Path, inputs: EvaluationInputs, bootstrap: Bootstrap, subset: Subset | None = None
) -> OtherRun:
    """Read COCO results, or what an earlier `cxrssl eval --json` wrote.

    Args:
        path: The file.
        inputs: What is evaluated, all images of it.
        bootstrap: Draws behind the intervals.
        subset: Those that are scored; None for all.

    Raises:
        DataError: If it is neither, or the earlier scores are of another truth or other draws.
    """
    content = _object(content_of(path))
    if "metrics" not in content:
        results, remarks = read_results(path, inputs.index)
        detections = as_detections(results)
        if subset is not None:
            detections = subset.detections(detections)
        return OtherRun(path, detections, None, remarks)
    inputs = inputs if subset is None else subset.inputs(inputs)
    for key, name, expected in (
        ("truth_sha256", "truth", inputs.sha256),
        ("seed", "seed", bootstrap.seed),
        ("replicates", "number of replicates", bootstrap.replicates),
    ):
        if key in content and content[key] != expected:
            _check_order(path, content.get("classes"), inputs.classes)
            raise DataError(
                f"{path} was made with another {name} ({content.get(key)}; here {expected}): "
                "differences need the same draws of the same images. Evaluate it again with the "
                "same truth, --only, --seed and --replicates, or name its predictions instead."
            )
    return OtherRun(path, None, content)


def _check_order(path: Path, stated: object, classes: Sequence[str]) -> None:
    """Raise a `DataError` if scores of the same classes have them in another order."""
    names = [*stated] if isinstance(stated, dict) else []
    if names != list(classes) and sorted(names) == sorted(classes):
        raise DataError(
            f"{path} was made with the classes in another order ({', '.join(names)}; here "
            f"{', '.join(classes)}), on which draws of the images depend: scores of detectors with "
            "different orders can't be paired. Name its predictions instead, in which each "
            "category has its name."
        )


def compared(
    other_run: OtherRun,
    names: Sequence[str],
    ours: tuple[Floats, Floats],
    theirs: tuple[Floats, Floats] | None,
) -> dict[str, Any]:
    """Return how much greater each score is than the other run's.

    Args:
        other_run: The other run.
        names: Names of the M scores.
        ours: Values [M] and replicates [R, M].
        theirs: Those of the other run, where its detections were scored here; else None.
    """
    theirs = theirs or _written(other_run, names, num_replicates=len(ours[1]))
    return {"other": str(other_run.path), "metrics": differences(names, ours, theirs)}


def differences(
    names: Sequence[str], ours: tuple[Floats, Floats], theirs: tuple[Floats, Floats]
) -> dict[str, dict[str, Any]]:
    """Return how much greater each score is than another's on the same draws, by name.

    Args:
        names: Names of the M scores.
        ours: Values [M] and replicates [R, M].
        theirs: Those of the other.
    """
    (values, samples), (other, other_samples) = ours, theirs
    return {
        name: {"value": _or_none(values[n]), "other": _or_none(other[n])}
        | difference(values[n], samples[:, n], other[n], other_samples[:, n])
        for n, name in enumerate(names)
    }


def _written(
    other_run: OtherRun, names: Sequence[str], *, num_replicates: int
) -> tuple[Floats, Floats]:
    content = other_run.scores or {}
    try:
        values = [content["metrics"][name]["value"] for name in names]
        samples = [content["replicate_values"][name] for name in names]
        columns = (
            np.array(values, np.float64),
            np.array(samples, np.float64).reshape(-1, num_replicates).T,
        )
        if not all((np.isnan(part) | (np.abs(part) < _MOST)).all() for part in columns):
            raise ValueError("a value is not a score")
        return columns
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{other_run.path} is not a file of `cxrssl eval --json` of this version: {error!r}. "
            "Evaluate it again, or name its predictions instead."
        ) from error


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _object(content: bytes) -> dict[str, Any]:
    """Return an object of JSON, an empty one for a list or what is not JSON at all."""
    if content.lstrip()[:1] != b"{":
        return {}
    try:
        return dict(json.loads(content))
    except (ValueError, RecursionError):
        return {}  # reading it as results then says what is wrong
