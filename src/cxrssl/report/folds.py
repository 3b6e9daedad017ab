"""Runs of several folds as one: their out-of-fold detections, pooled and scored together."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxrssl.config.arms import Arm
from cxrssl.config.load import load_recipe
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.errors import RunError
from cxrssl.core.files import write_json
from cxrssl.core.records import read_record
from cxrssl.data.coco.files import read_results
from cxrssl.data.detection import examples_of
from cxrssl.data.store import Store
from cxrssl.evaluate.inputs import as_detections
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.result import scored
from cxrssl.evaluate.store_inputs import inputs_of_store
from cxrssl.metrics.annotations import Detections

_COUNTS = (
    "train_images", "train_images_with_boxes", "train_boxes", "train_reader_boxes",
    "train_readings",
)  # fmt: skip


def pooled_result(runs: Path, arm: Arm, folders: Sequence[Path]) -> dict[str, Any]:
    """Return scores on the images of all folds, each detected in by the run that did not see it.

    They are kept in the folder of the plan until a run changes.

    Args:
        runs: Folder of the plan.
        arm: The arm that the runs are of, without a fold.
        folders: The run of each fold.

    Raises:
        RunError: If an image is in the test of two folds.
    """
    records = [folder / "metrics.json" for folder in folders]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in records)).hexdigest()
    kept = runs / "folds" / f"{arm.name}.json"
    if kept.is_file():
        result = read_record(kept)
        if result.get("of_runs") == digest:
            return result
    result = _scored(runs, folders) | _mean_counts([read_record(path) for path in records])
    write_json(kept, result | {"of_runs": digest})
    return read_record(kept)


def fold_values(folders: Sequence[Path]) -> dict[str, list[float | None]]:
    """Return each score of the runs of folds, on the test images of each, by name."""
    scores = [read_record(folder / "metrics.json", "metrics")["metrics"] for folder in folders]
    return {name: [of_fold[name]["value"] for of_fold in scores] for name in scores[0]}


def _scored(runs: Path, folders: Sequence[Path]) -> dict[str, Any]:
    data = load_recipe(folders[0] / "recipe.yaml", FinetuneRecipe, overrides=[]).data
    paths = [folder / "predictions.json" for folder in folders]
    tested = [str(image["id"]) for path in paths for image in read_record(path, "images")["images"]]
    if len(set(tested)) < len(tested):
        raise RunError(
            f"{runs}: an image is in the test of two folds, so that their scores can't be pooled. "
            "Delete the runs of the folds, and run `cxrssl reproduce` again."
        )
    store = Store(runs / "store")
    all_examples = examples_of(store, fusion=data.fusion, iou=data.consensus_iou)
    examples = [example for example in all_examples if example.image_id in set(tested)]
    inputs = inputs_of_store(store, examples)
    parts = [as_detections(read_results(path, inputs.index)[0]) for path in paths]
    detections = Detections(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )
    return scored(inputs, detections, Bootstrap(), consensus_iou=data.consensus_iou)


def _mean_counts(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the training images and boxes of a fold, on average, and the usage of each."""
    counts: dict[str, Any] = {
        name: round(float(np.mean([record[name] for record in records])))
        for name in _COUNTS
        if all(name in record for record in records)
    }
    return counts | {"usages": [record["usage"] for record in records if "usage" in record]}
