"""Calls of commands that read films: `ingest`, `predict`."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from cxrssl.api.arguments import (
    PathLike,
    check_flags,
    check_one_of,
    checked_integer,
    checked_number,
    checked_path,
    checked_paths,
    checked_point,
    checked_text,
    checked_texts,
)
from cxrssl.core.disk_faults import disk_faults
from cxrssl.core.errors import ArgumentError
from cxrssl.core.images import Fit, check_square
from cxrssl.core.layouts import Layout
from cxrssl.core.processes import available_cores, random_state_restored

if TYPE_CHECKING:
    from cxrssl.data.tables import ReadOptions
    from cxrssl.ingest import IngestSummary
    from cxrssl.ingest.shards import Settings
    from cxrssl.predict import PointChoice, Summary


@disk_faults()
@random_state_restored()
def ingest(  # noqa: PLR0913 - a keyword for each option of the command
    source: PathLike,
    store: PathLike,
    *,
    size_px: int = 512,
    fit: Fit = "squash",
    layout: Layout = "auto",
    patient_from: str = "",
    split: str = "",
    replace: bool = False,
    num_workers: int | None = None,
    exact: bool = False,
    shard: str = "1/1",
) -> "IngestSummary":
    """Decode a folder of radiographs and their readers' boxes into a store.

    An ingest that was cut goes on where it stopped. It starts worker processes: in a script, call
    it below `if __name__ == "__main__":`.

    Args:
        source: Folder with images and a table, such as COCO or CSV, or with images alone.
        store: Folder of the store.
        size_px: Side of the stored square, 16 to 8192 pixels.
        fit: `squash` stretches an image to the square, `letterbox` pads it.
        layout: What `source` looks like.
        patient_from: Regular expression that finds the patient in an image's path below `source`.
        split: Where the source's own split is from: "", `folders`, `none`, or a CSV file.
        replace: Whether to replace a store of another source or other settings.
        num_workers: Processes; one a core if None.
        exact: Whether to decode JPEG 2000 at full resolution.
        shard: "I/N" for the I-th of N calls that share the work; the store is whole when one
            returns a `num_missing` of 0.

    Returns:
        Counts, and why for every image that could not be stored (`failures`) or may be wrong
        (`warnings`).

    Raises:
        CxrsslError: If the source can't be used at all, or the store can't be written.

    Warns:
        UserWarning: If some images could not be stored.
    """
    from cxrssl.core.images import opencv_threads_restored
    from cxrssl.core.processes import check_not_imported_by_worker, start_method_restored
    from cxrssl.ingest import ingest as run
    from cxrssl.ingest import part_of

    settings = _ingest_settings(size_px, fit, exact=exact)
    options = _read_options(layout, patient_from, split)
    check_flags(replace=replace)
    part, workers = part_of(checked_text("shard", shard)), _checked_workers(num_workers)
    folders = checked_path("source", source), checked_path("store", store)
    check_not_imported_by_worker()
    with opencv_threads_restored(), start_method_restored():
        summary = run(
            *folders, settings, options=options, num_workers=workers, part=part, replace=replace
        )
    _warn_of_failures(summary.failures, f"image(s) are not in {store}")
    return summary


@disk_faults()
@random_state_restored()
def predict(  # noqa: PLR0913 - a keyword for each option of the command
    checkpoint: PathLike | Sequence[PathLike],
    inputs: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    threshold: float | None = None,
    formats: str | Sequence[str] = ("coco", "csv", "pictures"),
    flip: bool = False,
    resume: bool = False,
    operating_point: PathLike | None = None,
    point: str | None = None,
) -> "Summary":
    """Detect in files and folders of any number, and write COCO JSON, CSV and pictures.

    A file that can't be read is listed and does not stop the rest: what it does to its decoder
    happens in a worker process. In a script, call it below `if __name__ == "__main__":`.

    Args:
        checkpoint: A finetune run, a detector's folder, or `hf-hub:ORG/NAME[@REVISION]`; or a list
            of such, whose boxes are fused (weighted boxes fusion) and whose classes must be equal.
        inputs: Image files, and folders that are searched for images.
        out: A new folder for what is found, or with `resume` one to go on with.
        threshold: Lowest score of the boxes that are drawn; the lists hold all. None for 0.3.
        formats: What to write: "coco" (JSON), "csv", "pictures" (PNG); one, or a list of them.
        flip: Whether to detect in each image flipped left to right too; boxes are fused.
        resume: Whether to go on with a prediction that was cut short.
        operating_point: File of `evaluate(..., operating_points=FILE)`, whose NMS and thresholds
            decide what is drawn and listed.
        point: Which point of it, such as `f1_by_class` or `fp_0.5`; None for `f1`.

    Returns:
        Counts, why for every file that can't be read (`failures`), and what looks wrong with those
        that can (`warnings`).

    Raises:
        CxrsslError: If there is no detector, no image, or `out` can't be used.

    Warns:
        UserWarning: If some files can't be read.
    """
    is_drawn = _what_is_drawn(threshold, operating_point, point)
    check_flags(flip=flip, resume=resume)
    checkpoints = checked_paths("checkpoint", checkpoint, "no detector is named")
    files, folder = checked_paths("inputs", inputs, "no input is named"), checked_path("out", out)
    from cxrssl.predict import predict as run
    from cxrssl.run.process_state import process_restored

    names = _checked_formats(formats)
    with process_restored():
        summary = run(
            checkpoints,
            files,
            folder,
            threshold=is_drawn,
            formats=names,
            flip=flip,
            resume=resume,
        )
    _warn_of_failures(summary.failures, "file(s) can't be read")
    return summary


def _ingest_settings(size_px: int, fit: Fit, *, exact: bool) -> "Settings":
    from cxrssl.ingest.shards import Settings

    check_square(size_px, fit)
    check_flags(exact=exact)
    return Settings(size_px, fit, exact)


def _read_options(layout: Layout, patient_from: str, split: str) -> "ReadOptions":
    from cxrssl.data.tables import ReadOptions

    check_one_of("layout", layout, get_args(Layout))
    checked_texts("patient_from and split", (patient_from, split))
    return ReadOptions(layout, patient_from, split)


def _what_is_drawn(
    threshold: object, operating_point: PathLike | None, point: object
) -> "float | PointChoice":
    """Return the least score of what `predict` draws, or the operating point.

    Raises:
        CxrsslError: If one is of another kind, or both are given.
    """
    least = None if threshold is None else checked_number("threshold", threshold, 0, 1)
    choice = checked_point(operating_point, point)
    from cxrssl.predict import least_score

    return least_score(least, choice)


def _checked_workers(num_workers: object) -> int:
    workers = available_cores() if num_workers is None else num_workers
    return checked_integer("num_workers", workers, at_least=1)


def _checked_formats(formats: str | Sequence[str]) -> list[str]:
    from cxrssl.predict import FORMATS

    names = [formats] if isinstance(formats, str) else checked_texts("formats", formats)
    if not names:
        raise ArgumentError(f"formats is empty; expected some of {', '.join(FORMATS)}.")
    for name in names:
        check_one_of("a name in formats", name, FORMATS)
    return names


def _warn_of_failures(failures: Mapping[str, str], subject: str) -> None:
    """Warn the caller of an API function with two decorators if something failed."""
    if failures:
        name, reason = next(iter(failures.items()))
        text = f"{len(failures)} {subject}, such as {name}: {reason}"
        warnings.warn(f"{text}. The summary's `failures` has them all.", stacklevel=5)
