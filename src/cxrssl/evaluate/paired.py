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
from cxrssl.metrics.annotations import Detections, Floats

_MOST = 1e9
"""More than any score, false alarms an image among them."""


@dataclass(frozen=True)
class OtherRun:
    """What is known of the other run: its detections, or the scores it was given.

    Attributes:
        path: Of the file.
        found: Its detections.
        scores: What `cxrssl eval --json` wrote.
        remarks: How its ids were brought together with the truth's.
    """

    path: Path
    found: Detections | None
    scores: dict[str, Any] | None
    remarks: Remarks = field(default_factory=Remarks)


def read_other_run(path: Path, inputs: EvaluationInputs, how: Bootstrap) -> OtherRun:
    """Read COCO results, or what an earlier `cxrssl eval --json` wrote.

    Raises:
        DataError: If it is neither, or the earlier scores are of another truth or other draws.
    """
    content = _object(content_of(path))
    if "metrics" not in content:
        results, remarks = read_results(path, inputs.index)
        return OtherRun(path, as_detections(results), None, remarks)
    for key, word, own in (
        ("truth_sha256", "truth", inputs.sha256),
        ("seed", "seed", how.seed),
        ("replicates", "number of replicates", how.replicates),
    ):
        if key in content and content[key] != own:
            raise DataError(
                f"{path} was made with another {word} ({content.get(key)}; here {own}): "
                "differences need the same draws of the same images. Evaluate it again with the "
                "same truth, --seed and --replicates, or name its predictions instead."
            )
    return OtherRun(path, None, content)


def compared(
    other_run: OtherRun,
    names: Sequence[str],
    ours: tuple[Floats, Floats],
    theirs: tuple[Floats, Floats] | None,
) -> dict[str, Any]:
    """Return how much greater each score is than the other run's.

    Args:
        other_run: The other run.
        names: Of the scores.
        ours: Values [M] and replicates [R, M].
        theirs: Likewise, where the other run's detections were scored here.
    """
    other, other_samples = theirs or _written(other_run, names, num=len(ours[1]))
    values, samples = ours
    return {
        "other": str(other_run.path),
        "metrics": {
            name: {"value": _or_none(values[place]), "other": _or_none(other[place])}
            | difference(values[place], samples[:, place], other[place], other_samples[:, place])
            for place, name in enumerate(names)
        },
    }


def _written(other_run: OtherRun, names: Sequence[str], *, num: int) -> tuple[Floats, Floats]:
    content = other_run.scores or {}
    try:
        values = [content["metrics"][name]["value"] for name in names]
        samples = [content["replicate_values"][name] for name in names]
        found = np.array(values, np.float64), np.array(samples, np.float64).reshape(-1, num).T
        if not all((np.isnan(part) | (np.abs(part) < _MOST)).all() for part in found):
            raise ValueError("a value is no score")
        return found
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{other_run.path} is no file of `cxrssl eval --json` of this version: {error!r}. "
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
        return {}  # whoever reads it as results says what is wrong
