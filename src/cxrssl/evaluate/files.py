"""Anyone's COCO files against each other; no detector, no store, no torch."""

from pathlib import Path
from typing import Any

from cxrssl.data.coco.files import read_annotations, read_results
from cxrssl.data.coco.match import MatchedIds, match_document
from cxrssl.evaluate.inputs import as_detections, inputs_of_file, readings_of
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.paired import read_other_run
from cxrssl.evaluate.prior import prior_of_file
from cxrssl.evaluate.result import scored, scored_readers
from cxrssl.evaluate.subset import read_subset


def evaluate_files(
    predictions: Path,
    truth: Path,
    readers: Path | None = None,
    against: Path | None = None,
    *,
    consensus_iou: float,
    bootstrap: Bootstrap,
    only: Path | None = None,
    train_truth: Path | None = None,
) -> dict[str, Any]:
    """Score COCO results against a COCO data set; no detector is needed.

    Args:
        predictions: Results, or a data set whose annotations have scores.
        truth: A data set. An image without annotations is one without boxes; its `kind` may say
            more.
        readers: A data set whose annotations name a `reader`, on images of the truth.
        against: Other results, or what `--json` wrote of them.
        consensus_iou: Overlap above which the other readers' boxes are fused.
        bootstrap: Draws behind the intervals.
        only: A list of the images that are to be scored; see `evaluate.subset`.
        train_truth: Boxes of the training images, from which fixed boxes are chosen and scored
            beside the results.

    Returns:
        The content of `--json`.

    Raises:
        DataError: If a file can't be read, or files disagree about ids.
    """
    index, boxes = read_annotations(truth)
    remarks = index.remarks
    readings = None
    if readers is not None:
        readers_index, reader_boxes = read_annotations(readers, of_readers=True)
        ids = match_document(readers_index, index)
        readings = readings_of(readers_index, reader_boxes, index, ids)
        remarks += readers_index.remarks + ids.remarks
    inputs = inputs_of_file(index, boxes, readings)
    results, result_remarks = read_results(predictions, index)
    detections = as_detections(results)
    remarks += result_remarks
    subset = None if only is None else read_subset(only, index)
    other_run = None if against is None else read_other_run(against, inputs, bootstrap, subset)
    if other_run is not None:
        remarks += other_run.remarks
    if subset is not None:
        inputs, detections = subset.inputs(inputs), subset.detections(detections)
        remarks += subset.remarks
    scores = scored(
        inputs,
        detections,
        bootstrap,
        consensus_iou=consensus_iou,
        other_run=other_run,
        prior=None if train_truth is None else prior_of_file(train_truth, inputs),
        remarks=remarks,
    )
    return scores if subset is None else scores | {"only": subset.as_json()}


def evaluate_readers(
    readers: Path, *, consensus_iou: float, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Score the readers of a COCO data set against each other; see `evaluate_files`."""
    index, drawn = read_annotations(readers, of_readers=True)
    readings = readings_of(index, drawn, index, MatchedIds(index.images, index.categories))
    return scored_readers(
        readings, index.names, bootstrap, consensus_iou=consensus_iou, remarks=index.remarks
    )
