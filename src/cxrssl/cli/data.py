"""Commands about data: phantom, describe, ingest, doctor. Heavy imports wait until one runs."""

from pathlib import Path
from typing import Annotated

import typer

from cxrssl.cli.interrupts import explain_interrupts, ingest_resume_advice
from cxrssl.cli.options import Fit, OwnSplit, PatientFrom, Protocol, Workers, app
from cxrssl.core.layouts import Layout


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to create; must be empty or absent.")],
    images: Annotated[int, typer.Option(min=1, help="Number of radiographs.")] = 100,
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed: the same seed gives the same bytes.")
    ] = 0,
    normals: Annotated[
        float,
        typer.Option(
            min=0, max=0.99, help="Fraction of images without findings (0.707 in VinDr-CXR)."
        ),
    ] = 0.3,
    min_side: Annotated[int, typer.Option(min=128, help="Shortest side, pixels.")] = 800,
    max_side: Annotated[int, typer.Option(min=128, max=4000, help="Longest side, pixels.")] = 1200,
    workers: Workers = None,
) -> None:
    """Make a chest data set of DICOM files read by several readers, in Kaggle VinBigData layout."""
    from cxrssl.core.processes import available_cores
    from cxrssl.data.phantom import make_phantom
    from cxrssl.run.progress import progress

    with progress("phantom", total=images, unit="images") as meter:
        numbers = iter(range(1, images + 1))
        summary = make_phantom(
            out,
            num_images=images,
            seed=seed,
            normal_share=normals,
            min_side_px=min_side,
            max_side_px=max_side,
            num_workers=workers or available_cores(),
            on_image=lambda: meter.at(next(numbers)),
        )
    typer.echo(
        f"{out}: {summary.num_images} images, {summary.num_normal_images} of them without a "
        f"finding; {summary.num_boxes} boxes by {summary.num_readers} readers"
    )
    typer.echo("Made images: nothing measured on them means anything clinical.")


@app.command()
def describe(
    table: Annotated[
        Path, typer.Argument(help="Annotation table, .csv or .csv.gz; no images are needed.")
    ],
    protocol: Annotated[
        Protocol, typer.Option(help="Splits as in the paper's code, its text, or corrected.")
    ] = "corrected",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write figures and describe.json here.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Say what is in an annotation table: counts, splits, balance, fusion, agreement, drift."""
    import json

    from cxrssl.cli.show_description import print_description
    from cxrssl.describe import describe as run

    description = run(
        table, protocol=protocol, out=out, say=lambda line: typer.echo(line, err=True)
    )
    if json_:
        typer.echo(json.dumps(description, indent=2, allow_nan=False))
    else:
        print_description(description)


@app.command()
def ingest(
    source: Annotated[
        Path, typer.Argument(help="Folder with images and a table, or with images alone.")
    ],
    store: Annotated[
        Path, typer.Argument(help="Folder of the store; an interrupted ingest continues.")
    ],
    layout: Annotated[Layout, typer.Option(help="Layout of SOURCE.")] = "auto",
    patient_from: PatientFrom = "",
    split: OwnSplit = "",
    # No recipe takes larger ones.
    size: Annotated[
        int, typer.Option(min=16, max=8192, help="Side of the stored square images, in pixels.")
    ] = 512,
    fit: Annotated[Fit, typer.Option(help="Stretch images to the square, or pad them.")] = "squash",
    exact: Annotated[
        bool, typer.Option("--exact", help="Decode JPEG 2000 at full resolution.")
    ] = False,
    shard: Annotated[
        str, typer.Option(help="I/N: ingest only the I-th of N parts, a call each.")
    ] = "1/1",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a store of another source or settings.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Decode DICOM, PNG, JPEG, TIFF or BMP files and boxes into a store; exit 1 if some failed.

    Images that look wrong (blank, few grey levels) are stored, and listed as warnings.
    """
    from cxrssl.cli.show_diagnosis import print_ingest
    from cxrssl.cli.show_summary import print_next_after_ingest
    from cxrssl.core.processes import available_cores
    from cxrssl.data.tables import ReadOptions
    from cxrssl.ingest import ingest as run
    from cxrssl.ingest import part_of
    from cxrssl.ingest.shards import Settings
    from cxrssl.run.progress import progress

    with explain_interrupts(lambda: ingest_resume_advice(store)):
        with progress("ingest", total=None, unit="images") as meter:
            summary = run(
                source,
                store,
                Settings(size, fit, exact),
                options=ReadOptions(layout, patient_from, split),
                part=part_of(shard),
                replace=replace,
                num_workers=workers or available_cores(),
                on_images=meter.at_of,
            )
        print_ingest(vars(summary), store=store)
        if not summary.num_missing:
            print_next_after_ingest(store, has_boxes=summary.marks.num_boxes > 0)
    if summary.failures:
        raise typer.Exit(1)


@app.command()
def doctor(
    source: Annotated[
        Path, typer.Argument(help="Folder with images and a table, or with images alone.")
    ],
    layout: Annotated[Layout, typer.Option(help="Layout of SOURCE.")] = "auto",
    patient_from: PatientFrom = "",
    split: OwnSplit = "",
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    workers: Workers = None,
) -> None:
    """Decode every file of a source, check its table, find duplicates; exit 1 if any is wrong.

    Warnings (a blank picture, something guessed) are listed and leave the exit code 0.
    """
    from cxrssl.cli.show_diagnosis import print_diagnosis, print_json
    from cxrssl.core.processes import available_cores
    from cxrssl.doctor import doctor as run
    from cxrssl.run.progress import progress

    with progress("doctor", total=None, unit="images", shown=not json_) as meter:
        diagnosis = run(
            source,
            layout=layout,
            patient_from=patient_from,
            split=split,
            num_workers=workers or available_cores(),
            on_images=meter.at_of,
        )
    print_json(diagnosis) if json_ else print_diagnosis(diagnosis)
    if not diagnosis["ok"]:
        raise typer.Exit(1)
