"""`cxrssl predict`: what a detector finds in files, as COCO JSON, CSV and pictures.

A file that can't be read is listed and never stops the rest. What is done is on record at once: a
call that is cut goes on with --resume.
Shapes: N boxes of an image, xyxy in pixels of the file.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from cxrssl import __version__
from cxrssl.core.devices import device_of_one_process
from cxrssl.core.errors import RunError
from cxrssl.data.image_file import Picture, read_picture
from cxrssl.drawing.overlay import Finding, write_overlay
from cxrssl.evaluate.detect import batch_size_on
from cxrssl.hub.pull import FILES, Fetched, fetched
from cxrssl.ingest.workers import read_apart
from cxrssl.models.detector import Detector, detector_input
from cxrssl.models.detector_folder import folder_of, load_detector
from cxrssl.predict.inputs import files_in, overlay_names
from cxrssl.predict.lists import write_lists
from cxrssl.predict.record import Asked, Found, Record, check_out, files_hash, recorded, whole_text
from cxrssl.run.memory import MEMORY_ADVICE, memory_faults
from cxrssl.run.progress import progress

__all__ = ["Summary", "detections", "files_in", "overlay_names", "predict"]

# Of pictures that wait for the rest of their batch; a radiograph has 4 to 10 million.
_MOST_WAITING_PIXELS = 100_000_000


@dataclass(frozen=True)
class Summary:
    """What came of a prediction.

    Attributes:
        num_files: Files that were looked at, faulty ones included.
        num_findings: Boxes in all of them: what the lists hold.
        num_strong: Of them, those that score the threshold or more: what is drawn.
        num_strong_files: Files with such a box.
        failures: Why, for every file that can't be read.
    """

    num_files: int
    num_findings: int
    num_strong: int
    num_strong_files: int
    failures: dict[str, str]


@dataclass(frozen=True)
class _Drawing:
    """Where pictures go, and which boxes are drawn on them."""

    out: Path
    names: dict[Path, str]
    threshold: float
    classes: tuple[str, ...]

    def draw(self, file: Path, picture: Picture, findings: Sequence[Finding]) -> None:
        """Write the picture of one file, if it is to be shown."""
        if picture.shown is not None:
            strong = [finding for finding in findings if finding.score >= self.threshold]
            path = self.out / "overlays" / self.names[file]
            write_overlay(path, picture.shown, strong, classes=self.classes, title=file.name)


@memory_faults(MEMORY_ADVICE)
def predict(
    checkpoint: Path,
    inputs: Sequence[Path],
    out: Path,
    *,
    threshold: float,
    overlays: bool,
    resume: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Detect in files and folders, and write `predictions.json`, `.csv` and `overlays/`.

    Args:
        checkpoint: A finetune run, a detector's folder, or `hf-hub:ORG/NAME[@REVISION]`.
        inputs: Files, and folders that are searched for images.
        out: A new folder for what is found; `failures.json` is there if a file can't be read.
        threshold: Least score of what is drawn; the lists hold all that the detector returns.
        overlays: Whether to draw.
        resume: Whether to go on with what a call before has begun in `out`, asked for the same.
        say: Called with what is there to go on with, if `resume`.

    Raises:
        CxrsslError: If there is no detector, no image, or `out` is not new, in use or can't be
            written.
    """
    with _writing(out):
        check_out(out, resume=resume)
    place = fetched(checkpoint)
    folder = folder_of(place.folder)
    detector = load_detector(folder, source=place.source)
    files = files_in(inputs, out=out)
    with _writing(out):
        asked = Asked(__version__, _hash_of(folder), threshold, overlays, files_hash(files))
        drawing = _Drawing(out, overlay_names(files), threshold, detector.classes)
        with recorded(out, asked, resume=resume) as record:
            if resume:
                say(_what_is_there(out, record.num_done, len(files)))
            return _predicted(detector, files, drawing, record, overlays=overlays, place=place)


def _predicted(
    detector: Detector,
    files: Sequence[Path],
    drawing: _Drawing,
    record: Record,
    *,
    overlays: bool,
    place: Fetched,
) -> Summary:
    _detect_rest(detector, files, drawing, record, overlays=overlays)
    write_lists(drawing.out, record, classes=detector.classes, source=place.source)
    num_findings = num_strong = num_strong_files = 0
    failures: dict[str, str] = {}
    for found in record:
        strong = sum(finding.score >= drawing.threshold for finding in found.findings)
        num_findings += len(found.findings)
        num_strong += strong
        num_strong_files += strong > 0
        if found.failure:
            failures[found.file] = found.failure
    return Summary(len(files), num_findings, num_strong, num_strong_files, failures)


def _what_is_there(out: Path, num_done: int, num_files: int) -> str:
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


def _hash_of(folder: Path) -> str:
    """Return a hash of a detector's files: weights, configuration, image processor."""
    digest = hashlib.sha256()
    for name in FILES:
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _detect_rest(
    detector: Detector,
    files: Sequence[Path],
    drawing: _Drawing,
    record: Record,
    *,
    overlays: bool,
) -> None:
    """Put on record what is in each file that is not done, in order, or its fault."""
    device = device_of_one_process()
    detector.model.to(device).eval()
    size_px = detector.processor.size_px
    read = partial(read_picture, size_px=size_px, fit=detector.fit, to_show=overlays)
    rest = files[record.num_done :]
    with progress("predict", total=len(files), done=record.num_done) as meter:
        for batch in _batches(read_apart(rest, read), batch_size_on(device)):
            pictures = [picture for _, picture in batch if isinstance(picture, Picture)]
            results = iter(detections(detector, pictures, device))
            for file, picture in batch:
                if isinstance(picture, str):
                    record.add(Found(whole_text(str(file)), failure=picture))
                else:
                    findings = next(results)
                    drawing.draw(file, picture, findings)
                    size = picture.width, picture.height
                    record.add(Found(whole_text(str(file)), *size, findings))
                meter.at(record.num_done)


def _batches(
    pictures: Iterator[tuple[Path, Picture | str]], size: int
) -> Iterator[list[tuple[Path, Picture | str]]]:
    """Yield files as they come, `size` at a time, fewer where their pictures are large."""
    batch: list[tuple[Path, Picture | str]] = []
    for file, picture in pictures:
        batch.append((file, picture))
        read = [one for _, one in batch if isinstance(one, Picture)]
        waiting = sum(one.width * one.height for one in read)
        if len(batch) >= size or waiting > _MOST_WAITING_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


@torch.no_grad()
def detections(
    detector: Detector, pictures: Sequence[Picture], device: torch.device
) -> list[tuple[Finding, ...]]:
    """Return what a detector finds in pictures, strongest first, boxes in the files' pixels."""
    if not pictures:
        return []
    processor, classes = detector.processor, detector.classes
    squares = [torch.from_numpy(processor.square(one.levels))[None] for one in pictures]
    results = detector.model(detector_input([square.to(device) for square in squares]))
    found = []
    for picture, result in zip(pictures, results, strict=True):
        size = {"width": picture.width, "height": picture.height}
        boxes = processor.in_picture(result["boxes"].cpu(), **size).tolist()
        labels, scores = result["labels"].tolist(), result["scores"].tolist()
        rows = zip(boxes, labels, scores, strict=True)
        found.append(tuple(Finding((*box,), classes[label - 1], s) for box, label, s in rows))
    return found
