"""Scores of a detector on a split of a store, against the consensus and beside the readers."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.data.coco.ids import normal_id
from cxrssl.data.coco.index import Index, Remarks
from cxrssl.data.detection import Example, examples_of, in_split, splits_of
from cxrssl.data.fusion import Marks
from cxrssl.data.protocol import Split
from cxrssl.data.store import Store
from cxrssl.evaluate.detect import ImageDetections, detect_in_turn
from cxrssl.evaluate.inputs import EvaluationInputs, Readings, sorted_readers
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.original import in_original_px
from cxrssl.evaluate.paired import read_other_run
from cxrssl.evaluate.result import scored
from cxrssl.evaluate.settings import Settings, settings_of
from cxrssl.hub.pull import fetch
from cxrssl.metrics.annotations import Truth
from cxrssl.metrics.scores import ScoreTable
from cxrssl.models.detector import Detector
from cxrssl.models.detector_folder import folder_of, load_detector, weights_sha256
from cxrssl.run.memory import MEMORY_ADVICE, memory_faults
from cxrssl.run.processes import leave_process_group, start_processes

_DEFAULT = Bootstrap()


@memory_faults(MEMORY_ADVICE)
def evaluate(
    checkpoint: Path,
    store_folder: Path,
    *,
    split: Split = "test",
    fusion: str | None = None,
    consensus_iou: float | None = None,
    normals: bool | None = None,
    bootstrap: Bootstrap = _DEFAULT,
    against: Path | None = None,
) -> dict[str, Any] | None:
    """Score a detector folder, or the run that holds one, on a split of a store.

    The store is split by the protocol the detector was trained under, so that what it is tested on
    is what it never saw; what is not asked for is as its run had it. All scores are in pixels of
    the original images. Processes of one launch share the images.

    Returns:
        The content of `--json`, with the settings, and under `detector` where it came from and the
        hash of its weights; None in all processes but the main one.

    Args:
        checkpoint: A finetune run, a detector's folder, or `hf-hub:ORG/NAME[@REVISION]`.
        store_folder: Store of the images.
        split: Split of the store.
        fusion: How readers' boxes become the truth; None for as in the detector's run.
        consensus_iou: Overlap above which they are fused; None for as in the run.
        normals: Whether images without findings count; None for as in the run.
        bootstrap: Draws behind the intervals.
        against: Another run's predictions or scores, or None.

    Raises:
        HubError: If the detector is on the Hub and can't be had.
        DataError: If the detector or the store can't be used, or classes, size or fit differ.
    """
    processes = start_processes()
    location = fetch(checkpoint)
    folder = folder_of(location.folder)
    detector = load_detector(folder, source=location.source)
    store = Store(store_folder)
    _check_store(detector, store, location.source)
    settings, remarks = settings_of(
        location.folder, split, fusion=fusion, consensus_iou=consensus_iou, normals=normals
    )
    examples = _examples(store, detector, settings)
    inputs = inputs_of_store(store, examples)
    other_run = None if against is None else read_other_run(against, inputs, bootstrap)
    remarks += Remarks() if other_run is None else other_run.remarks
    detector.model.to(processes.device)
    rank, num_processes = processes.process_index, processes.num_processes
    detections = detect_in_turn(detector, store, examples, rank=rank, num_processes=num_processes)
    leave_process_group()
    if not processes.is_main_process:
        return None
    boxes, iou = in_original_px(detections, examples, store), settings.consensus_iou
    scores = scored(
        inputs, boxes, bootstrap, consensus_iou=iou, other_run=other_run, remarks=remarks
    )
    detector_record = {"source": location.source, "sha256": weights_sha256(folder)}
    return scores | asdict(settings) | {"detector": detector_record}


def _examples(store: Store, detector: Detector, settings: Settings) -> list[Example]:
    splits = splits_of(store, protocol=detector.protocol, normals=settings.normals)
    fused = examples_of(store, fusion=settings.fusion, iou=settings.consensus_iou)
    return in_split(fused, splits, settings.split)


def scores_of(
    detections: Sequence[ImageDetections],
    examples: Sequence[Example],
    store: Store,
    settings: Settings,
) -> dict[str, Any]:
    """Score detections in store pixels, one entry an example, as `evaluate` does."""
    inputs, boxes = inputs_of_store(store, examples), in_original_px(detections, examples, store)
    scores = scored(inputs, boxes, _DEFAULT, consensus_iou=settings.consensus_iou)
    return scores | asdict(settings)


def values_of(
    detections: Sequence[ImageDetections], examples: Sequence[Example], store: Store
) -> dict[str, float | None]:
    """Return the overall scores alone, by name, for scores while a detector is trained."""
    boxes = in_original_px(detections, examples, store)
    table = ScoreTable(inputs_of_store(store, examples).truth, boxes)
    overall = table(np.ones(len(examples))).overall
    return {name: None if np.isnan(value) else value for name, value in overall.items()}


def inputs_of_store(store: Store, examples: Sequence[Example]) -> EvaluationInputs:
    """Return the consensus of a store's examples, in original pixels, and its readers' boxes.

    Ids are those of `write_predictions`: the store's id of an image, and classes from 1.
    """
    counts = [len(example.labels) for example in examples]
    corners = np.concatenate([e.boxes_original_px for e in examples])
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    truth = Truth(
        np.repeat(np.arange(len(examples)), counts),
        np.concatenate([e.labels for e in examples]).astype(np.int64),
        boxes,
        boxes[:, 2] * boxes[:, 3],
        np.zeros(len(boxes), bool),
        np.concatenate([e.support for e in examples]).astype(np.int64),
        len(examples),
        len(store.classes),
    )
    marks = Marks(
        np.concatenate([e.reader_boxes_original_px for e in examples]),
        np.concatenate([e.reader_labels for e in examples]).astype(np.int64),
        np.array([reader for e in examples for reader in e.readers], np.str_),
        np.repeat(np.arange(len(examples)), [len(e.readers) for e in examples]),
    )
    names = sorted_readers(reader for e in examples for reader in e.looked)
    looked = {name: np.array([name in e.looked for e in examples]) for name in names}
    index = Index(
        store.folder,
        {key: number for number, key in enumerate(_ids(examples))},
        tuple(example.image_id for example in examples),
        {label: label - 1 for label in range(1, len(store.classes) + 1)},
        tuple(store.classes),
        tuple(example.looked for example in examples),
        tuple(
            (image.original_width, image.original_height)
            for image in (store.images[example.row] for example in examples)
        ),
    )
    return EvaluationInputs(index, truth, Readings(marks, looked, is_listed=True))


def _ids(examples: Sequence[Example]) -> list[int | str]:
    """Return image ids as files of results have them; as they are, if that makes two equal."""
    names = [example.image_id for example in examples]
    ids = [normal_id(name) for name in names]
    return ids if len(set(ids)) == len(ids) else list(names)


def _check_store(detector: Detector, store: Store, source: str) -> None:
    """Raise a `DataError` if a store's classes, size or fit are not the detector's."""
    if store.classes != detector.classes:
        raise DataError(
            f"{source} finds {', '.join(detector.classes)}; {store.folder} holds "
            f"{', '.join(store.classes)}. Evaluate on a store with the detector's classes."
        )
    processor, stored = detector.processor, store.manifest
    if (processor.size_px, processor.fit) != (stored["size_px"], stored["fit"]):
        raise DataError(
            f"{source} was trained on images of {processor.size_px} px, {processor.fit}; "
            f"{store.folder} holds {stored['size_px']} px, {stored['fit']}. Ingest the images "
            "again as the detector needs."
        )
