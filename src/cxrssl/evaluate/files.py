"""Anyone's COCO files against each other; no detector, no store, no torch."""

from pathlib import Path
from typing import Any

from cxrssl.data.coco.files import read_annotations, read_results
from cxrssl.data.coco.index import Remarks
from cxrssl.data.coco.match import MatchedIds, match_document
from cxrssl.evaluate.inputs import as_detections, inputs_of_file, readings_of
from cxrssl.evaluate.intervals import Bootstrap
from cxrssl.evaluate.paired import read_other_run
from cxrssl.evaluate.result import scored, scored_readers


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
        bootstrap: Draws behind the intervals.

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
    other_run = None if against is None else read_other_run(against, inputs, bootstrap)
    remarks += result_remarks + (Remarks() if other_run is None else other_run.remarks)
    return scored(
        inputs,
        as_detections(results),
        bootstrap,
        consensus_iou=consensus_iou,
        other_run=other_run,
        remarks=remarks,
    )


def evaluate_readers(
    readers: Path, *, consensus_iou: float, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Score the readers of a COCO data set against each other; see `evaluate_files`."""
    index, drawn = read_annotations(readers, of_readers=True)
    readings = readings_of(index, drawn, index, MatchedIds(index.images, index.categories))
    return scored_readers(
        readings, index.names, bootstrap, consensus_iou=consensus_iou, remarks=index.remarks
    )
