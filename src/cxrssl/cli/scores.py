"""`cxrssl eval`; heavy imports wait until its arguments are checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxrssl.cli.options import CHECKPOINT, Split, app

if TYPE_CHECKING:
    from cxrssl.evaluate.intervals import Bootstrap

_LEAST_REPLICATES = 50
_CONSENSUS_IOU = 0.2


def _replicates(number: int) -> int:
    if number and number < _LEAST_REPLICATES:
        raise typer.BadParameter(f"{number} draws say nothing: 0, or {_LEAST_REPLICATES} and more")
    return number


Checkpoint = Annotated[Path | None, typer.Argument(help=CHECKPOINT)]
Data = Annotated[Path | None, typer.Option("--data", help="Store with the images to detect in.")]
StoreSplit = Annotated[Split | None, typer.Option(help="Split of the store (default: test).")]
Fusion = Annotated[
    str | None,
    typer.Option(
        help="How readers' boxes become the truth: consensus, wbf, union, majority:K or "
        "single:READER (default: as in the detector's run)."
    ),
]
Only = Annotated[
    Path | None,
    typer.Option(
        help="Score these images alone: a text file with an id or file name a line, or a CSV file "
        "with a column for the image."
    ),
]
OperatingPoints = Annotated[
    Path | None,
    typer.Option(
        metavar="JSON",
        help="Choose NMS and score thresholds on the split --choose-on, score with that NMS, and "
        "write them here for `cxrssl predict --operating-point`.",
    ),
]
ChooseOn = Annotated[
    Split | None,
    typer.Option(help="Split that --operating-points are chosen on (default: val)."),
]
TrainTruth = Annotated[
    Path | None,
    typer.Option(
        help="COCO dataset of the training images: the best fixed boxes of it are scored beside "
        "the results (a store has its own)."
    ),
]
Normals = Annotated[
    bool | None,
    typer.Option(
        "--normals/--no-normals",
        help="Whether images without findings count (default: as in the detector's run).",
    ),
]
Predictions = Annotated[
    Path | None, typer.Option(help="COCO results, instead of a checkpoint and a store.")
]
TruthFile = Annotated[Path | None, typer.Option(help="COCO dataset with the true boxes.")]
Readers = Annotated[
    Path | None, typer.Option(help="COCO dataset whose annotations name their reader.")
]
ConsensusIou = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=0.99,
        help="IoU above which readers' boxes are fused (default: as in the detector's run, or "
        "0.2).",
    ),
]
Against = Annotated[
    Path | None, typer.Option(help="Predictions of another run, or its --json, to compare with.")
]
Replicates = Annotated[
    int,
    typer.Option(callback=_replicates, help="Bootstrap replicates; 0 for no intervals."),
]
Seed = Annotated[int, typer.Option(min=0, help="Random seed of the bootstrap.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write all scores to this JSON file.")]


@app.command("eval")
def evaluate(
    checkpoint: Checkpoint = None,
    data: Data = None,
    split: StoreSplit = None,
    fusion: Fusion = None,
    normals: Normals = None,
    predictions: Predictions = None,
    truth: TruthFile = None,
    readers: Readers = None,
    consensus_iou: ConsensusIou = None,
    against: Against = None,
    replicates: Replicates = 1000,
    seed: Seed = 0,
    json_: Json = None,
    only: Only = None,
    operating_points: OperatingPoints = None,
    choose_on: ChooseOn = None,
    train_truth: TrainTruth = None,
) -> None:
    """Score a detector, anyone's COCO results, or readers, with intervals.

    Either CHECKPOINT --data STORE, or --predictions P.json --truth GT.json, to which --readers
    R.json adds how far readers agree, or --readers R.json alone.
    """
    _check_inputs((checkpoint, data), (predictions, truth), readers, against)
    of_store = (split, fusion, normals, operating_points, choose_on)
    _check_belongings(of_store, (train_truth,), only, (checkpoint, predictions))
    points_split = _split_of_points(operating_points, choose_on)
    from cxrssl.evaluate.intervals import Bootstrap

    _check_outputs(
        json_, operating_points, (predictions, truth, readers, against, only, train_truth)
    )
    bootstrap = Bootstrap(replicates, seed)
    if checkpoint is not None and data is not None:
        from cxrssl.evaluate.checkpoint import Extras
        from cxrssl.evaluate.checkpoint import evaluate as run
        from cxrssl.run.processes import prepare_command

        prepare_command()
        result = run(
            checkpoint,
            data,
            split=split or "test",
            fusion=fusion,
            consensus_iou=consensus_iou,
            normals=normals,
            bootstrap=bootstrap,
            extras=Extras(against, only, points_split),
        )
    else:
        iou = consensus_iou or _CONSENSUS_IOU
        files = predictions, truth, readers, against, only, train_truth
        result = _scores_of_files(*files, iou=iou, bootstrap=bootstrap)
    if result is not None:  # of several processes one has the scores
        _write_and_print(result, json_, operating_points)


def _scores_of_files(
    predictions: Path | None,
    truth: Path | None,
    readers: Path | None,
    against: Path | None,
    only: Path | None,
    train_truth: Path | None,
    *,
    iou: float,
    bootstrap: "Bootstrap",
) -> dict[str, Any]:
    """Score results against a truth, or readers against each other."""
    from cxrssl.evaluate.files import evaluate_files, evaluate_readers

    if predictions is not None and truth is not None:
        return evaluate_files(
            *(predictions, truth, readers, against),
            consensus_iou=iou,
            bootstrap=bootstrap,
            only=only,
            train_truth=train_truth,
        )
    assert readers is not None  # `_check_inputs` lets nothing else through
    return evaluate_readers(readers, consensus_iou=iou, bootstrap=bootstrap)


def _split_of_points(operating_points: Path | None, choose_on: Split | None) -> Split | None:
    """Return the split that operating points are chosen on, None if none are."""
    if operating_points is not None:
        return choose_on or "val"
    if choose_on is not None:
        raise typer.BadParameter("--choose-on is about --operating-points, which is not given")
    return None


def _check_outputs(
    json_: Path | None, operating_points: Path | None, inputs: Sequence[Path | None]
) -> None:
    """Check that files can be written, and are none of those that are read."""
    from cxrssl.core.files import check_writable

    if json_ is not None:
        check_writable(json_, apart_from=(*inputs, operating_points))
    if operating_points is not None:
        check_writable(operating_points, apart_from=inputs)


def _write_and_print(
    result: dict[str, Any], json_: Path | None, operating_points: Path | None
) -> None:
    from cxrssl.cli.show_scores import print_scores
    from cxrssl.core.files import write_json

    if json_ is not None:
        write_json(json_, result)
    if operating_points is not None:
        write_json(operating_points, result["chosen_points"])
    print_scores(result)
    _warn(result["warnings"])


def _warn(warnings: Sequence[str]) -> None:
    from cxrssl.core.printable import printable

    for warning in warnings:
        typer.echo(f"Warning: {printable(warning)}", err=True)


def _check_belongings(
    of_store: Sequence[object],
    of_files: Sequence[object],
    only: Path | None,
    scored: tuple[Path | None, Path | None],
) -> None:
    """Raise a usage error if an option does not belong to what is scored."""
    checkpoint, predictions = scored
    if checkpoint is None and any(value is not None for value in of_store):
        raise typer.BadParameter(
            "--split, --fusion, --normals, --operating-points and --choose-on are about a store"
        )
    if predictions is None and any(value is not None for value in of_files):
        raise typer.BadParameter("--train-truth is about --predictions; a store has its own")
    if checkpoint is None and predictions is None and only is not None:
        raise typer.BadParameter("--only is about a detector, and readers alone have none")


def _check_inputs(
    store_inputs: tuple[Path | None, Path | None],
    file_inputs: tuple[Path | None, Path | None],
    readers: Path | None,
    against: Path | None,
) -> None:
    """Raise a usage error unless the arguments are one of the three complete forms."""
    num_store, num_files = (
        sum(value is not None for value in pair) for pair in (store_inputs, file_inputs)
    )
    is_complete = {
        (2, 0): readers is None,
        (0, 2): True,
        (0, 0): readers is not None and against is None,
    }
    if not is_complete.get((num_store, num_files), False):
        raise typer.BadParameter(
            "expected CHECKPOINT --data STORE, or --predictions P.json --truth GT.json (with "
            "--readers R.json), or --readers R.json alone"
        )
