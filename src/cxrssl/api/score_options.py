"""Options of `cxrssl.evaluate`, checked, and the scores of a detector on a store."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrssl.api.arguments import (
    PathLike,
    check_flags,
    check_one_of,
    checked_integer,
    checked_number,
    checked_path,
    checked_text,
)
from cxrssl.core.errors import ArgumentError
from cxrssl.data.protocol import SPLITS, Split
from cxrssl.evaluate.intervals import Bootstrap

_LEAST_REPLICATES = 50


@dataclass(frozen=True)
class ScoreOptions:
    """What is asked of scores, on a store or of files.

    Attributes:
        bootstrap: Draws behind the intervals.
        consensus_iou: Overlap above which readers' boxes are fused, or None.
        against: Another run's predictions or scores, or None.
        only: A list of the images that are to be scored, or None.
    """

    bootstrap: Bootstrap
    consensus_iou: float | None
    against: Path | None
    only: Path | None


@dataclass(frozen=True)
class StoreOptions:
    """What is asked of scores on a store alone; None where it is not.

    Attributes:
        split: Split that is scored.
        fusion: How readers' boxes become the truth.
        normals: Whether images without findings count.
        operating_points: File for NMS and thresholds that are chosen.
        choose_on: Split that they are chosen on.
    """

    split: Split | None
    fusion: str | None
    normals: bool | None
    operating_points: Path | None
    choose_on: Split | None

    @property
    def is_given(self) -> bool:
        """Return whether any is asked."""
        values = (self.split, self.fusion, self.normals, self.operating_points, self.choose_on)
        return any(value is not None for value in values)


def score_options(
    replicates: object,
    seed: object,
    consensus_iou: object,
    against: PathLike | None,
    only: PathLike | None,
) -> ScoreOptions:
    """Return options as they were given to `evaluate`, checked.

    Raises:
        ArgumentError: If one is of another kind, or out of its range.
    """
    bootstrap = Bootstrap(
        checked_integer("replicates", replicates, at_least=0),
        checked_integer("seed", seed, at_least=0),
    )
    if 0 < bootstrap.replicates < _LEAST_REPLICATES:
        raise ArgumentError(
            f"replicates is {bootstrap.replicates}; so few draws give no interval. Take 0, or "
            f"{_LEAST_REPLICATES} and more."
        )
    iou = (
        None
        if consensus_iou is None
        else checked_number("consensus_iou", consensus_iou, 0.01, 0.99)
    )
    return ScoreOptions(bootstrap, iou, _path("against", against), _path("only", only))


def store_options(
    split: object,
    fusion: object,
    normals: object,
    operating_points: PathLike | None,
    choose_on: object,
) -> StoreOptions:
    """Return options as they were given to `evaluate`, checked.

    Raises:
        ArgumentError: If one is of another kind, or about one that is not given.
    """
    if normals is not None:
        check_flags(normals=normals)
    if choose_on is not None and operating_points is None:
        raise ArgumentError("choose_on is about operating_points, which is not given.")
    return StoreOptions(
        _split("split", split),
        None if fusion is None else checked_text("fusion", fusion),
        None if normals is None else bool(normals),
        _path("operating_points", operating_points),
        _split("choose_on", choose_on),
    )


def _path(name: str, value: PathLike | None) -> Path | None:
    return None if value is None else checked_path(name, value)


def _split(name: str, value: object) -> Split | None:
    if value is None:
        return None
    check_one_of(name, value, SPLITS)
    return next(split for split in SPLITS if split == value)


def score_store(
    store: Path, detector: object, options: ScoreOptions, of_store: StoreOptions
) -> dict[str, Any] | None:
    """Return the scores of a detector on a split of a store; in the main process alone.

    Raises:
        CxrsslError: See `evaluate`.
    """
    from cxrssl.core.files import check_writable, write_json
    from cxrssl.evaluate.checkpoint import Extras
    from cxrssl.evaluate.checkpoint import evaluate as evaluate_checkpoint
    from cxrssl.run.process_state import process_restored

    checkpoint = _checkpoint(detector)
    points_file, choose_on = of_store.operating_points, None
    if points_file is not None:
        check_writable(points_file, apart_from=(options.against, options.only))
        choose_on = of_store.choose_on or "val"
    with process_restored():
        scores = evaluate_checkpoint(
            checkpoint,
            store,
            split=of_store.split or "test",
            fusion=of_store.fusion,
            consensus_iou=options.consensus_iou,
            normals=of_store.normals,
            bootstrap=options.bootstrap,
            extras=Extras(options.against, options.only, choose_on),
        )
    if scores is not None and points_file is not None:
        write_json(points_file, scores["chosen_points"])
    return scores


def _checkpoint(detector: object) -> Path:
    """Return the path or address of a detector that is scored on a store.

    Raises:
        ArgumentError: If it is none, or one whose detections are not those of its weights alone.
    """
    from cxrssl.api.detector import Detector

    if isinstance(detector, Detector) and detector.operating_point:
        raise ArgumentError(
            f"{detector.source}: a detector at an operating point is not scored on a store. Load "
            "it without one; operating_points=FILE says what its points come to there."
        )
    if isinstance(detector, Detector) and not detector.is_single:
        raise ArgumentError(
            f"{detector.source}: detectors whose boxes are fused are not scored on a store. Give "
            "a COCO data set, and what the detector returned for its files with threshold=0."
        )
    checkpoint = detector.source if isinstance(detector, Detector) else detector
    if not isinstance(checkpoint, str | os.PathLike):
        raise ArgumentError(
            f"a store is scored with a detector; got {type(detector).__name__}. Give the folder of "
            "a detector, or what load_detector returned; for detections, give a COCO data set."
        )
    return Path(checkpoint)
