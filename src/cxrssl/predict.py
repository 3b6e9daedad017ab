"""`cxrssl predict`: what a detector finds in files, as COCO JSON, CSV and pictures.

A file that can't be read is listed and never stops the rest.
Shapes: N boxes of an image, xyxy in pixels of the file.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from cxrssl.core.errors import DataError, RunError
from cxrssl.core.files import replacing, write_json
from cxrssl.data.pictures import Picture, read_picture
from cxrssl.data.tables.rows import IMAGE_SUFFIXES
from cxrssl.data.tables.source import image_files
from cxrssl.data.workers import read_apart
from cxrssl.models.detector import Detector, detector_input
from cxrssl.models.detector_folder import folder_of, load_detector
from cxrssl.output.overlay import Finding, write_overlay
from cxrssl.run.hub import fetched
from cxrssl.run.memory import keep_freed_memory
from cxrssl.run.progress import progress

_MOST_NAME_BYTES = 200
_COLUMNS = ("file", "class", "score", "x_min", "y_min", "x_max", "y_max", "width", "height")


@dataclass(frozen=True)
class Found:
    """What a detector finds in one file.

    Attributes:
        file: As it was named.
        width: Its columns.
        height: Its rows.
        findings: Strongest first; boxes in its pixels.
    """

    file: Path
    width: int
    height: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Summary:
    """What came of a prediction.

    Attributes:
        num_files: Files that were looked at, faulty ones included.
        num_findings: Boxes in all of them.
        failures: Why, for every file that can't be read.
    """

    num_files: int
    num_findings: int
    failures: dict[str, str]


def predict(
    checkpoint: Path, inputs: Sequence[Path], out: Path, *, threshold: float, overlays: bool
) -> Summary:
    """Detect in files and folders, and write `predictions.json`, `.csv` and `overlays/`.

    Args:
        checkpoint: A finetune run, a detector's folder, or `hf-hub:ORG/NAME[@REVISION]`.
        inputs: Files, and folders that are searched for images.
        out: A new folder for what is found; `failures.json` is there if a file can't be read.
        threshold: Least score of what is drawn; the lists hold all that the detector returns.
        overlays: Whether to draw.

    Raises:
        CxrsslError: If there is no detector, no image, or `out` is not new or can't be written.
    """
    place = fetched(checkpoint)
    detector = load_detector(folder_of(place.folder), source=place.source)
    files = files_in(inputs)
    if out.is_dir() and any(out.iterdir()):
        raise RunError(f"{out} is not empty. Name another folder with --out.")
    names = overlay_names(files)

    def show(picture: Picture, found: Found) -> None:
        if picture.shown is not None:
            strong = [one for one in found.findings if one.score >= threshold]
            path, title = out / "overlays" / names[found.file], found.file.name
            with _writing(out):
                write_overlay(path, picture.shown, strong, classes=detector.classes, title=title)

    found, failures = _detected(detector, files, show, overlays=overlays)
    with _writing(out):
        _write_lists(out, found, classes=detector.classes, source=place.source)
        if failures:
            write_json(out / "failures.json", failures)
    return Summary(len(files), sum(len(one.findings) for one in found), failures)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{out} can't be written ({error.strerror}). Make room, or name another folder."
        ) from error


def files_in(inputs: Sequence[Path]) -> list[Path]:
    """Return the files named, and the images in the folders named, each once.

    Raises:
        DataError: If one is not there, or none is an image.
    """
    found: dict[Path, Path] = {}
    for path in inputs:
        if not path.exists():
            raise DataError(f"{path} is no file and no folder. Expected DICOM, PNG or JPEG.")
        for file in image_files(path) if path.is_dir() else [path]:
            found.setdefault(file.resolve(), file)
    if not found:
        places = ", ".join(str(path) for path in inputs)
        raise DataError(f"{places} holds no DICOM, PNG or JPEG file.")
    return list(found.values())


def overlay_names(files: Sequence[Path]) -> dict[Path, str]:
    """Return a name for the picture of each file; files of one name get numbers."""
    names: dict[Path, str] = {}
    taken: Counter[str] = Counter()
    for file in files:
        plain = file.stem if file.suffix.lower() in IMAGE_SUFFIXES else file.name
        # File systems take 255 bytes, and a temporary file has a longer name.
        plain = plain.encode(errors="backslashreplace")[:_MOST_NAME_BYTES].decode(errors="ignore")
        same = plain.casefold()  # one name on shares that don't tell capitals
        taken[same] += 1
        while taken[same] > 1 and taken[f"{same}-{taken[same]}"]:
            taken[same] += 1
        number = taken[same]
        name = plain if number == 1 else f"{plain}-{number}"
        if number > 1:
            taken[name.casefold()] += 1
        names[file] = f"{name}.png"
    return names


def _detected(
    detector: Detector,
    files: Sequence[Path],
    show: Callable[[Picture, Found], None],
    *,
    overlays: bool,
) -> tuple[list[Found], dict[str, str]]:
    """Return what is in each file that can be read, and the fault of every other."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        keep_freed_memory()
    detector.model.to(device).eval()
    own = detector.processor
    read = partial(read_picture, size_px=own.size_px, fit=detector.fit, to_show=overlays)
    found: list[Found] = []
    failures: dict[str, str] = {}
    with progress("predict", total=len(files)) as meter:
        for done, (file, picture) in enumerate(read_apart(files, read), start=1):
            if isinstance(picture, str):
                failures[str(file)] = picture
            else:
                found.append(
                    Found(
                        file, picture.width, picture.height, detections(detector, picture, device)
                    )
                )
                show(picture, found[-1])
            meter.at(done)
    return found, failures


@torch.no_grad()
def detections(detector: Detector, picture: Picture, device: torch.device) -> tuple[Finding, ...]:
    """Return what a detector finds in a picture, strongest first, boxes in the file's pixels."""
    own, classes = detector.processor, detector.classes
    square = torch.from_numpy(own.square(picture.levels))[None]
    result: dict[str, Tensor] = detector.model(detector_input([square.to(device)]))[0]
    boxes = own.in_picture(result["boxes"].cpu(), width=picture.width, height=picture.height)
    rows = zip(boxes.tolist(), result["labels"].tolist(), result["scores"].tolist(), strict=True)
    return tuple(Finding(tuple(box), classes[label - 1], score) for box, label, score in rows)


def _text(path: Path) -> TextIO:
    """Open a CSV; bytes of a file name that are no UTF-8 are written as escapes."""
    return path.open("w", newline="", encoding="utf-8", errors="backslashreplace")


def _write_lists(out: Path, found: Sequence[Found], *, classes: Sequence[str], source: str) -> None:
    info = {"description": "boxes found by a detector", "detector": source}
    content = {"info": info} | as_coco_dataset(found, classes=classes)
    write_json(out / "predictions.json", content)
    with replacing(out / "predictions.csv") as temporary, _text(temporary) as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for one in found:
            for finding in one.findings:
                box = [f"{side:.2f}" for side in finding.box]
                score = f"{finding.score:.5f}"
                writer.writerow([one.file, finding.label, score, *box, one.width, one.height])


def as_coco_dataset(found: Sequence[Found], *, classes: Sequence[str]) -> dict[str, Any]:
    """Return detections as a COCO data set, each annotation with its `score`.

    Its `annotations` alone are COCO results. Boxes are xywh in pixels of the file.
    """
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    number_of = {name: number for number, name in enumerate(classes, start=1)}
    images = [
        {"id": number, "file_name": str(one.file), "width": one.width, "height": one.height}
        for number, one in enumerate(found, start=1)
    ]
    annotations = list(_annotations(found, number_of))
    return {"images": images, "categories": categories, "annotations": annotations}


def _annotations(found: Sequence[Found], number_of: dict[str, int]) -> Iterator[dict[str, Any]]:
    number = 0
    for image, one in enumerate(found, start=1):
        for finding in one.findings:
            number += 1
            x0, y0, x1, y1 = finding.box
            yield {
                "id": number,
                "image_id": image,
                "category_id": number_of[finding.label],
                "bbox": [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)],
                "area": round((x1 - x0) * (y1 - y0), 2),
                "iscrowd": 0,
                "score": round(finding.score, 5),
            }
