"""Operating points as a file: written by `cxrssl eval`, read by `cxrssl predict`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrssl import __version__
from cxrssl.core.errors import DataError
from cxrssl.core.printable import printable
from cxrssl.data.coco.json import content_of

FORMAT = "cxrssl operating points 1"
DEFAULT = "f1"
_MAX_BYTES = 10_000_000
_ADVICE = "Expected a file of `cxrssl eval CHECKPOINT --data STORE --operating-points FILE`."


@dataclass(frozen=True)
class PointChoice:
    """A point of a file that is to be used.

    Attributes:
        path: The file.
        name: Name of the point; None for that of the greatest F1.
    """

    path: Path
    name: str | None = None


def point_choice(path: Path | None, name: str | None) -> PointChoice | None:
    """Return the point that is to be used, None if there is no file of points.

    Raises:
        DataError: If a point is named, and no file.
    """
    if path is not None:
        return PointChoice(path, name)
    if name is not None:
        raise DataError("--point names a point of --operating-point FILE, which is missing.")
    return None


@dataclass(frozen=True)
class OperatingPoint:
    """At which scores the boxes of a detector are shown, and how they are thinned out before.

    Attributes:
        name: Short name, such as `f1` or `fp_0.5`.
        target: What it was chosen for, in words.
        thresholds: Least score of each class.
        nms_iou: Overlap above which the weaker of two detections of a class goes; None for a
            detector without such a step.
    """

    name: str
    target: str
    thresholds: Mapping[str, float]
    nms_iou: float | None

    @property
    def record(self) -> str:
        """All that decides which boxes are shown."""
        return f"{self}; {json.dumps(dict(self.thresholds))}"

    def __str__(self) -> str:
        """Return what it does, in words."""
        scores = dict.fromkeys(sorted(self.thresholds.values()))
        ends = " to ".join(f"{score:.4g}" for score in dict.fromkeys([min(scores), max(scores)]))
        nms = "" if self.nms_iou is None else f", NMS IoU {self.nms_iou:g}"
        return f"operating point {self.name} ({self.target}): score >= {ends}{nms}"


def points_as_json(
    detector: Mapping[str, str],
    classes: Sequence[str],
    nms: Mapping[str, Any] | None,
    chosen_on: Mapping[str, Any],
    points: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the content of the file.

    Args:
        detector: `source` and `sha256` of the detector's weights.
        classes: Names of its classes.
        nms: `iou` that was chosen and how; None for a detector without NMS.
        chosen_on: Images that all was chosen on.
        points: `name`, `target`, `thresholds` and what they come to, of each point.
    """
    return {
        "format": FORMAT,
        "version": __version__,
        "detector": dict(detector),
        "classes": list(classes),
        "nms": None if nms is None else dict(nms),
        "chosen_on": dict(chosen_on),
        "points": [dict(point) for point in points],
    }


def read_point(
    choice: PointChoice, *, source: str, sha256: str, classes: Sequence[str]
) -> OperatingPoint:
    """Read one point of a file, for a detector.

    Args:
        choice: The file, which may come from anyone, and the point.
        source: What the detector is called.
        sha256: Hash of its weights.
        classes: Names of its classes.

    Raises:
        DataError: If it is no such file, is of another detector, or has no such point.
    """
    path = choice.path
    content = _content(path)
    of_file = content["detector"]
    if not isinstance(of_file, dict) or of_file.get("sha256") != sha256:
        named = of_file.get("source") if isinstance(of_file, dict) else None
        raise DataError(
            f"{path} holds operating points of another detector "
            f"({printable(str(named))[:200]}): its weights are not those of {source}, and its "
            "thresholds mean nothing here. Make the file of this detector: cxrssl eval CHECKPOINT "
            "--data STORE --operating-points FILE."
        )
    points = {point.get("name"): point for point in content["points"] if isinstance(point, dict)}
    wanted = choice.name or DEFAULT
    if wanted not in points:
        names = printable(", ".join(map(str, points)))[:500]
        raise DataError(f"{path} has no operating point {wanted!r}. It has: {names}.")
    nms = content["nms"]
    iou = None if nms is None else _fraction(path, nms, "iou")
    stated = points[wanted].get("thresholds")
    missing = [label for label in classes if not isinstance(stated, dict) or label not in stated]
    if missing:
        raise DataError(
            f"{path}: the point {wanted!r} has no threshold of {', '.join(missing[:5])}. {_ADVICE}"
        )
    thresholds = {label: _fraction(path, stated, label) for label in classes}
    return OperatingPoint(
        wanted, printable(str(points[wanted].get("target", "")))[:200], thresholds, iou
    )


def _content(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path} has over {_MAX_BYTES:,} bytes. {_ADVICE}")
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}. {_ADVICE}") from error
    try:
        content = json.loads(content_of(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON. {_ADVICE}") from error
    keys = ("detector", "nms", "points")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path} holds no operating points. {_ADVICE}")
    if any(key not in content for key in keys) or not isinstance(content["points"], list):
        raise DataError(f"{path} lacks one of {', '.join(keys)}. {_ADVICE}")
    return content


def _fraction(path: Path, values: object, key: str) -> float:
    value = values.get(key) if isinstance(values, dict) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:  # type: ignore[operator]
        raise DataError(f"{path}: {key} is {value!r}; expected a number from 0 to 1. {_ADVICE}")
    return float(value)  # type: ignore[arg-type]
