"""`cxrssl predict`: what detectors find in image files, written in the formats that are asked for.

A file that can't be read is listed and never stops the rest. What is done is on record at once: a
call that is cut goes on with --resume. The formats are written when all files are done.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cxrssl import __version__
from cxrssl.core.devices import device_of_one_process
from cxrssl.core.errors import DataError, RunError
from cxrssl.core.files import write_json
from cxrssl.core.printable import valid_text
from cxrssl.data.image_file import DetectorImage, read_for_detectors
from cxrssl.evaluate.detect import batch_size_on
from cxrssl.evaluate.points_file import OperatingPoint, PointChoice, point_choice
from cxrssl.ingest.workers import read_in_worker
from cxrssl.predict.ensemble import Ensemble, load_ensemble
from cxrssl.predict.formats import FORMATS, Context, Format, checked_formats, write_format
from cxrssl.predict.found import Finding, Found
from cxrssl.predict.inputs import files_in
from cxrssl.predict.record import PredictionSettings, Record, check_out, files_hash, recorded
from cxrssl.run.memory import MEMORY_ADVICE, memory_faults
from cxrssl.run.progress import progress

__all__ = [
    "FORMATS",
    "Finding",
    "Found",
    "PointChoice",
    "Summary",
    "least_score",
    "point_choice",
    "predict",
]

DEFAULT_THRESHOLD = 0.3
"""Least score of boxes that are drawn, where neither another nor an operating point is asked."""
# Of images that wait for the rest of their batch; a radiograph has 4 to 10 million.
_MAX_WAITING_PIXELS = 100_000_000


@dataclass(frozen=True)
class Summary:
    """What came of a prediction.

    Attributes:
        formats: The formats that were written, in order.
        num_files: Files that were looked at, those that could not be read included.
        num_read: Files that could be read.
        num_findings: Boxes in all of them: what the lists hold.
        num_strong: Boxes that score the threshold or more: those that are drawn.
        num_strong_files: Files with such a box.
        failures: Why, for every file that could not be read or written; `failures.json`.
        warnings: What had to be guessed, was changed or looks wrong, for files that were read;
            `warnings.json`.
        operating_point: What decided which boxes are listed and drawn, in words; empty if all are
            listed.
    """

    formats: tuple[Format, ...]
    num_files: int
    num_read: int
    num_findings: int
    num_strong: int
    num_strong_files: int
    failures: dict[str, str]
    warnings: dict[str, tuple[str, ...]]
    operating_point: str = ""


def least_score(threshold: float | None, choice: PointChoice | None) -> float | PointChoice:
    """Return what decides which boxes are drawn, of a threshold and an operating point.

    Raises:
        DataError: If both are given.
    """
    if choice is None:
        return DEFAULT_THRESHOLD if threshold is None else threshold
    if threshold is not None:
        raise DataError(
            "--threshold and --operating-point were both given. Leave one out: an operating point "
            "has thresholds of its own."
        )
    return choice


@memory_faults(MEMORY_ADVICE)
def predict(
    checkpoints: Sequence[Path],
    inputs: Sequence[Path],
    out: Path,
    *,
    threshold: float | PointChoice,
    formats: Sequence[str] = FORMATS,
    flip: bool = False,
    resume: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Detect in files and folders, and write what is found.

    Args:
        checkpoints: Finetune runs, detectors' folders, or `hf-hub:ORG/NAME[@REVISION]`. The boxes
            of several are fused, and must be of the same classes.
        inputs: Files, and folders that are searched for images.
        out: A new folder for what is found. `failures.json` is there if a file can't be read, and
            `warnings.json` if something looks wrong with one.
        threshold: Least score of what is drawn, and the lists hold all that the detectors return;
            or an operating point, and all that is drawn or listed reaches its thresholds.
        formats: Names of `FORMATS`. A call that goes on may name others than the one before; what
            that has written stays.
        flip: Whether the detectors also look at each image flipped left to right; boxes are fused.
        resume: Whether to go on with what a call before has begun in `out`, asked for the same.
        say: Called with what is there to go on with, if `resume`.

    Raises:
        CxrsslError: If there is no detector, no image, no such format, or `out` is not new, in use
            or can't be written.
    """
    format_names = checked_formats(formats)
    with _writing(out):
        check_out(out, resume=resume)
    choice = threshold if isinstance(threshold, PointChoice) else None
    least = 0.0 if isinstance(threshold, PointChoice) else threshold
    ensemble = load_ensemble(checkpoints, flip=flip, choice=choice)
    point = "" if ensemble.point is None else ensemble.point.record
    files = files_in(inputs, out=out)
    with _writing(out):
        settings = PredictionSettings(
            __version__, ensemble.sha256, flip, least, files_hash(files), point
        )
        with recorded(out, settings, resume=resume) as record:
            if resume:
                say(_resume_text(out, record.num_done, len(files)))
            _detect_undone(ensemble, files, record)
            context = Context(ensemble.classes, ensemble.source, least)
            unwritten: dict[str, str] = {}
            for name in format_names:
                unwritten |= write_format(name, out, record, context)
            summary = _summary(record, format_names, unwritten, least, ensemble.point)
            if summary.failures:
                write_json(out / "failures.json", summary.failures)
            if summary.warnings:
                write_json(out / "warnings.json", summary.warnings)
            return summary


def _summary(
    record: Record,
    formats: tuple[Format, ...],
    unwritten: dict[str, str],
    threshold: float,
    point: OperatingPoint | None,
) -> Summary:
    num_read = num_findings = num_strong = num_strong_files = 0
    failures: dict[str, str] = {}
    warnings: dict[str, tuple[str, ...]] = {}
    for found in record:
        strong = len(found.at_least(threshold))
        num_read += not found.failure
        num_findings += len(found)
        num_strong += strong
        num_strong_files += strong > 0
        failure = found.failure or unwritten.get(found.name)
        if failure:
            failures[found.name] = failure
        if found.warnings:
            warnings[found.name] = found.warnings
    counts = (record.num_done, num_read, num_findings, num_strong, num_strong_files)
    return Summary(formats, *counts, failures, warnings, "" if point is None else str(point))


def _resume_text(out: Path, num_done: int, num_files: int) -> str:
    if num_done:
        return f"{out}: {num_done} of {num_files} files are done; going on with the rest."
    return f"{out} holds no file that is done; beginning with the first of {num_files}."


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{out} can't be written ({error.strerror or error}). Make room and call the same "
            "command with --resume, or name another folder."
        ) from error


def _detect_undone(ensemble: Ensemble, files: Sequence[Path], record: Record) -> None:
    """Put on record what is in each file that is not done, in order, or why it can't be read."""
    undone = files[record.num_done :]
    if not undone:
        return
    device = device_of_one_process()
    ensemble.to(device)
    read = partial(read_for_detectors, squares=ensemble.squares)
    with progress("predict", total=len(files), done=record.num_done, unit="files") as meter:
        for batch in _batches(read_in_worker(undone, read), batch_size_on(device)):
            images = [image for _, image in batch if isinstance(image, DetectorImage)]
            results = iter(ensemble.findings(images, device))
            for file, image in batch:
                if isinstance(image, str):
                    record.add(Found(file, failure=valid_text(image)))
                else:
                    warnings = tuple(map(valid_text, image.warnings))
                    size = image.width, image.height
                    record.add(Found(file, *size, next(results), warnings))
                meter.at(record.num_done)


def _batches(
    images: Iterator[tuple[Path, DetectorImage | str]], size: int
) -> Iterator[list[tuple[Path, DetectorImage | str]]]:
    """Yield files as they come, `size` at a time, fewer where their images are large."""
    batch: list[tuple[Path, DetectorImage | str]] = []
    num_pixels = 0
    for file, image in images:
        batch.append((file, image))
        if isinstance(image, DetectorImage):
            num_pixels += image.width * image.height
        if len(batch) >= size or num_pixels > _MAX_WAITING_PIXELS:
            yield batch
            batch, num_pixels = [], 0
    if batch:
        yield batch
