"""Scores of a detector on a split of a store, against the consensus and beside the readers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrssl.core.errors import DataError
from cxrssl.data.coco.index import Remarks
from cxrssl.data.detection import Example
from cxrssl.data.protocol import Split
from cxrssl.data.store import Store
from cxrssl.evaluate.detect import ImageDetections, detect_in_turn
from cxrssl.evaluate.gate import before_gate, gate_entry
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.original import in_original_px
from cxrssl.evaluate.prior import Prior
from cxrssl.evaluate.result import scored
from cxrssl.evaluate.settings import Settings, settings_of
from cxrssl.evaluate.split_store import SplitStore, ToScore, prior_of_store, remarks_on
from cxrssl.evaluate.store_inputs import inputs_of_store
from cxrssl.evaluate.training_images import overlap_remarks, seen_by_the_run
from cxrssl.hub.pull import Fetched, fetch
from cxrssl.metrics.annotations import Detections
from cxrssl.metrics.scores import ScoreTable
from cxrssl.models.detector import Detector
from cxrssl.models.detector_folder import folder_of, load_detector, weights_sha256
from cxrssl.run.memory import MEMORY_ADVICE, memory_faults
from cxrssl.run.processes import leave_process_group, start_processes

_DEFAULT = Bootstrap()
_MOST_NAMES = 20
"""Names of classes that a message lists."""


@dataclass(frozen=True)
class Extras:
    """What an evaluation of a detector takes in besides.

    Attributes:
        against: Another run's predictions or scores.
        only: A list of the images that are to be scored; see `evaluate.subset`.
        choose_on: Split on which NMS and thresholds are chosen; None for the detector's own NMS,
            and no thresholds.
    """

    against: Path | None = None
    only: Path | None = None
    choose_on: Split | None = None


_NO_EXTRAS = Extras()


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
    extras: Extras = _NO_EXTRAS,
) -> dict[str, Any] | None:
    """Score a detector folder, or the run that holds one, on a split of a store.

    The store is split by the protocol the detector was trained under, so that what it is tested on
    is what it never saw. Classes are matched by name, and have the detector's order in the scores.
    All scores are in pixels of the original images, with fixed boxes of the training images beside
    the detector. Processes of one launch share the images.

    Returns:
        The content of `--json`: scores and settings, the `detector` with the hash of its weights,
        and what was chosen if asked for. None in all processes but the main one.

    Args:
        checkpoint: A finetune run, a detector's folder, or `hf-hub:ORG/NAME[@REVISION]`.
        store_folder: Store of the images.
        split: Split of the store.
        fusion: How readers' boxes become the truth; None for as in the detector's run.
        consensus_iou: Overlap above which they are fused; None for as in the run.
        normals: Whether images without findings count; None for as in the run.
        bootstrap: Draws behind the intervals.
        extras: What else is wanted.

    Raises:
        HubError: If the detector is on the Hub and can't be had.
        DataError: If the detector or the store can't be used, or classes, size or fit differ.
    """
    processes, location = start_processes(), fetch(checkpoint)
    detector, record = _loaded(location)
    store, order = _store_as_of(detector, store_folder, location.source)
    settings, remarks = settings_of(
        location.folder, split, fusion=fusion, consensus_iou=consensus_iou, normals=normals
    )
    split_store = SplitStore(store, detector, settings)
    images = split_store.to_score(bootstrap, extras.against, extras.only)
    prior = prior_of_store(store, *split_store.training(location.folder), images.inputs)
    detector.model.to(processes.device)
    rank, num_processes = processes.process_index, processes.num_processes
    chosen = split_store.chosen(extras.choose_on, rank=rank, num_processes=num_processes)
    to_score = images.examples
    remarks += order + remarks_on(chosen, split) + overlap_remarks(store, location.folder, to_score)
    detections = detect_in_turn(detector, store, to_score, rank=rank, num_processes=num_processes)
    leave_process_group()
    if not processes.is_main_process:
        return None
    boxes = in_original_px(detections, to_score, store)
    scores = _scored(images, boxes, bootstrap, settings, prior, remarks) | {"detector": record}
    scores |= _of_gate(detections, to_score, store, split)
    if chosen is not None:
        scores["chosen_points"] = chosen.content(record, images.inputs, boxes)
    return scores


def _loaded(location: Fetched) -> tuple[Detector, dict[str, str]]:
    """Return a detector, and what is recorded of it."""
    folder = folder_of(location.folder)
    detector = load_detector(folder, source=location.source)
    return detector, {"source": location.source, "sha256": weights_sha256(folder)}


def _scored(
    images: ToScore,
    boxes: Detections,
    bootstrap: Bootstrap,
    settings: Settings,
    prior: Prior | None,
    remarks: Remarks,
) -> dict[str, Any]:
    """Score detections in original pixels, and say of which images and by which settings."""
    scores = scored(
        images.inputs,
        boxes,
        bootstrap,
        consensus_iou=settings.consensus_iou,
        other_run=images.other_run,
        prior=prior,
        remarks=remarks + images.remarks,
    )
    only = {} if images.subset is None else {"only": images.subset.as_json()}
    return scores | asdict(settings) | only


def scores_of(
    detections: Sequence[ImageDetections],
    examples: Sequence[Example],
    store: Store,
    settings: Settings,
    train: Sequence[Example],
) -> dict[str, Any]:
    """Score detections in store pixels, one entry an example, as `evaluate` does.

    Args:
        detections: Detections on each example.
        examples: The images that are scored.
        store: Their store.
        settings: What is recorded of the truth.
        train: The images whose labels the detector was trained on.
    """
    inputs, boxes = inputs_of_store(store, examples), in_original_px(detections, examples, store)
    scores = scored(
        inputs,
        boxes,
        _DEFAULT,
        consensus_iou=settings.consensus_iou,
        prior=prior_of_store(store, train, seen_by_the_run(len(train)), inputs),
    )
    return scores | asdict(settings) | _of_gate(detections, examples, store, settings.split)


def _of_gate(
    detections: Sequence[ImageDetections], examples: Sequence[Example], store: Store, split: Split
) -> dict[str, Any]:
    """Return what an image-level gate did on a split; nothing for a detector without one.

    Returns:
        `gate`, how well it tells the images apart, under the name of the split; `without_gate`, the
        overall scores of the same detector's boxes before the gate.
    """
    before = before_gate(detections)
    if before is None:
        return {}
    entry, without = gate_entry(detections, examples), values_of(before, examples, store)
    return {"gate": {split: entry}, "without_gate": without}


def values_of(
    detections: Sequence[ImageDetections], examples: Sequence[Example], store: Store
) -> dict[str, float | None]:
    """Return the overall scores alone, by name, for scores while a detector is trained."""
    boxes = in_original_px(detections, examples, store)
    inputs = inputs_of_store(store, examples)
    table = ScoreTable(inputs.truth, boxes, inputs.normal)
    overall = table(np.ones(len(examples))).overall
    return {name: None if np.isnan(value) else value for name, value in overall.items()}


def _store_as_of(detector: Detector, folder: Path, source: str) -> tuple[Store, Remarks]:
    """Open a store with the class ids of a detector, and note where its own are others.

    Class ids are matched here and nowhere else. It is the store that gets the detector's, and not
    detections that get the store's, because fixed boxes and draws of the films depend on the order
    of the classes: so they are those of a store that has the detector's order.

    Raises:
        DataError: If its classes, size or fit are not the detector's.
    """
    store, remarks = Store(folder), Remarks()
    _check_store(detector, store, source)
    if store.classes != detector.classes:
        note = f"{folder} has the detector's classes in another order; they were matched by name"
        store, remarks = store.numbered_as(detector.classes), Remarks((note,))
    return store, remarks


def _check_store(detector: Detector, store: Store, source: str) -> None:
    """Raise a `DataError` if a store's classes, size or fit are not the detector's."""
    if set(store.classes) != set(detector.classes):
        raise DataError(
            f"{source} and {store.folder} have different classes: "
            f"{_differences((source, detector.classes), (str(store.folder), store.classes))}. "
            "Evaluate on a store with the detector's classes."
        )
    processor, stored = detector.processor, store.manifest
    if (processor.size_px, processor.fit) != (stored["size_px"], stored["fit"]):
        raise DataError(
            f"{source} was trained on images of {processor.size_px} px, {processor.fit}; "
            f"{store.folder} holds {stored['size_px']} px, {stored['fit']}. Ingest the images "
            "again as the detector needs."
        )


def _differences(*sides: tuple[str, Sequence[str]]) -> str:
    """Say which names each of two sides has alone, and how many both have."""
    (_, first), (_, second) = sides
    both, parts = set(first) & set(second), []
    for name, classes in sides:
        alone = [label for label in classes if label not in both]
        if alone:
            more = f" and {len(alone) - _MOST_NAMES} more" if len(alone) > _MOST_NAMES else ""
            parts.append(f"{name} alone has {', '.join(alone[:_MOST_NAMES])}{more}")
    return "; ".join([*parts, f"both have {len(both)} class(es)"])
