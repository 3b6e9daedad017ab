"""`cxrssl eval`: every score of a detector or of anyone's COCO files, with intervals.

All scores come from one match table, and so do the replicates behind their intervals.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxrssl.core.errors import DataError
from cxrssl.data.coco_files import Index, check_listed, read_annotations, read_results
from cxrssl.data.detection import Example, examples_of, in_split, splits_of
from cxrssl.data.protocol import Split
from cxrssl.data.store import Store
from cxrssl.evaluate.detect import ImageDetections, detect_in_turn, detections_of
from cxrssl.evaluate.given import as_detections, given_by_file, given_by_store, readings_of
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.result import scored, scored_readers
from cxrssl.evaluate.rival import read_rival
from cxrssl.models.detector import Detector
from cxrssl.models.detector_folder import folder_of, load_detector
from cxrssl.run.memory import keep_freed_memory
from cxrssl.run.start import start_processes

WITH_INTERVALS, NO_INTERVALS = Bootstrap(), Bootstrap(replicates=0)


def evaluate(
    checkpoint: Path,
    store_folder: Path,
    *,
    split: Split,
    fusion: str,
    consensus_iou: float,
    normals: bool,
    bootstrap: Bootstrap = WITH_INTERVALS,
    against: Path | None = None,
) -> dict[str, Any] | None:
    """Score a detector folder, or the run that holds one, on a split of a store.

    The store is split by the protocol the detector was trained under, so that what it is tested on
    is what it never saw. Processes of one launch share the images.

    Returns:
        The content of `--json`; None in all processes but the main one.

    Raises:
        DataError: If the detector or the store can't be used, or classes, size or fit differ.
    """
    processes = start_processes()
    folder = folder_of(checkpoint)
    detector = load_detector(folder)
    store = Store(store_folder)
    _check_store(detector, store, folder)
    splits = splits_of(store, protocol=detector.protocol, normals=normals)
    examples = in_split(examples_of(store, fusion=fusion, iou=consensus_iou), splits, split)
    given = given_by_store(index_of(store, examples), examples)
    rival = None if against is None else read_rival(against, given, bootstrap)
    if processes.device.type == "cpu":
        keep_freed_memory()
    detector.model.to(processes.device)
    found = detect_in_turn(
        detector,
        store,
        examples,
        rank=processes.process_index,
        num_processes=processes.num_processes,
    )
    if not processes.is_main_process:
        return None
    return scored(given, detections_of(found), bootstrap, consensus_iou=consensus_iou, rival=rival)


def evaluate_files(
    predictions: Path,
    truth: Path,
    readers: Path | None = None,
    against: Path | None = None,
    *,
    consensus_iou: float,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Score COCO results against a COCO data set; no detector is needed.

    Args:
        predictions: Results, or a data set whose annotations have scores.
        truth: A data set. An image without annotations is one without findings.
        readers: A data set whose annotations name a `reader`, on images of the truth.
        against: Other results, or what `--json` wrote of them.
        consensus_iou: Overlap above which the other readers' boxes are fused.
        bootstrap: Intervals.

    Returns:
        The content of `--json`.

    Raises:
        DataError: If a file can't be read, or files disagree about ids.
    """
    index, boxes = read_annotations(truth)
    readings = None
    if readers is not None:
        own, drawn = read_annotations(readers)
        check_listed(own, index)
        readings = readings_of(own, drawn, index)
    given = given_by_file(index, boxes, readings)
    found = as_detections(read_results(predictions, index))
    rival = None if against is None else read_rival(against, given, bootstrap)
    return scored(given, found, bootstrap, consensus_iou=consensus_iou, rival=rival)


def evaluate_readers(
    readers: Path, *, consensus_iou: float, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Score the readers of a COCO data set against each other; see `evaluate_files`."""
    index, drawn = read_annotations(readers)
    readings = readings_of(index, drawn, index)
    if len(readings.looked) < 2:
        raise DataError(
            f"{readers} has boxes of {len(readings.looked)} reader(s); expected two and more."
        )
    return scored_readers(readings, index.names, bootstrap, consensus_iou=consensus_iou)


def scores_of(
    found: Sequence[ImageDetections],
    examples: Sequence[Example],
    store: Store,
    *,
    consensus_iou: float,
    bootstrap: Bootstrap = NO_INTERVALS,
) -> dict[str, Any]:
    """Score detections, one entry an example, against the readers' consensus.

    Without replicates readers are left out too: that is for scores while a detector is trained.
    """
    given = given_by_store(index_of(store, examples), examples)
    if not bootstrap.replicates:
        given = replace(given, readings=None)
    return scored(given, detections_of(found), bootstrap, consensus_iou=consensus_iou)


def index_of(store: Store, examples: Sequence[Example]) -> Index:
    """Return what ids mean in results on some images of a store: see `as_coco`."""
    return Index(
        store.folder,
        {example.image_id: number for number, example in enumerate(examples)},
        (None,) * len(examples),
        {label: label - 1 for label in range(1, len(store.classes) + 1)},
        tuple(store.classes),
        tuple(example.looked for example in examples),
    )


def _check_store(detector: Detector, store: Store, folder: Path) -> None:
    """Raise a `DataError` if a store's classes, size or fit are not the detector's."""
    if store.classes != detector.classes:
        raise DataError(
            f"{folder} finds {', '.join(detector.classes)}; {store.folder} holds "
            f"{', '.join(store.classes)}. Evaluate on a store with the detector's classes."
        )
    own, given = detector.processor, store.manifest
    if (own.size_px, own.fit) != (given["size_px"], given["fit"]):
        raise DataError(
            f"{folder} was trained on images of {own.size_px} px, {own.fit}; {store.folder} holds "
            f"{given['size_px']} px, {given['fit']}. Ingest the images again as the detector needs."
        )
