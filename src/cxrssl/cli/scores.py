"""`cxrssl eval`; heavy imports wait until its arguments are checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cxrssl.cli.options import CHECKPOINT, Split, app

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
) -> None:
    """Score a detector, anyone's COCO results, or readers, with intervals.

    Either CHECKPOINT --data STORE, or --predictions P.json --truth GT.json, to which --readers
    R.json adds how far readers agree, or --readers R.json alone.
    """
    _check_inputs((checkpoint, data), (predictions, truth), readers, against)
    if checkpoint is None and (split, fusion, normals) != (None, None, None):
        raise typer.BadParameter("--split, --fusion and --normals are about a store")
    from cxrssl.cli.show_scores import print_scores
    from cxrssl.core.files import check_writable, write_json
    from cxrssl.evaluate.files import evaluate_files, evaluate_readers
    from cxrssl.evaluate.intervals import Bootstrap

    if json_ is not None:
        check_writable(json_, apart_from=(predictions, truth, readers, against))
    bootstrap = Bootstrap(replicates, seed)
    iou = consensus_iou or _CONSENSUS_IOU
    result: dict[str, Any] | None = None
    if checkpoint is not None and data is not None:
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
            against=against,
        )
    elif predictions is not None and truth is not None:
        files = predictions, truth, readers, against
        result = evaluate_files(*files, consensus_iou=iou, bootstrap=bootstrap)
    elif readers is not None:
        result = evaluate_readers(readers, consensus_iou=iou, bootstrap=bootstrap)
    if result is not None:  # of several processes one has the scores
        if json_ is not None:
            write_json(json_, result)
        print_scores(result)
        _warn(result["warnings"])


def _warn(warnings: Sequence[str]) -> None:
    from cxrssl.core.printable import printable

    for warning in warnings:
        typer.echo(f"Warning: {printable(warning)}", err=True)


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
