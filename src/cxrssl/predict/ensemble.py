"""Detectors that look at images: one, or several whose boxes are fused, each flipped too if asked.

Shapes: S the side of a detector's square; N boxes of an image, xyxy in pixels of the file's image.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cxrssl.core.boxes import flipped as flipped_boxes
from cxrssl.core.errors import DataError
from cxrssl.data.image_file import DetectorImage, Square
from cxrssl.evaluate.points_file import OperatingPoint, PointChoice, read_point
from cxrssl.hub.pull import FILES, fetch
from cxrssl.models.detector import Detector, detector_input
from cxrssl.models.detector_folder import folder_of, load_detector, weights_sha256
from cxrssl.predict.found import Finding
from cxrssl.predict.fuse import IOU, fused


@dataclass(frozen=True)
class Ensemble:
    """One or more detectors of the same classes.

    Attributes:
        detectors: The first decides the order of the classes.
        source: What they are called, and how their boxes are fused if they are.
        flip: Whether each detector also looks at the image flipped left to right.
        sha256: A hash of the detectors' files, in order.
        point: The operating point whose thresholds findings reach; None for all findings.
    """

    detectors: tuple[Detector, ...]
    source: str
    flip: bool
    sha256: str
    point: OperatingPoint | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of labels 1..K."""
        return self.detectors[0].classes

    @property
    def squares(self) -> tuple[Square, ...]:
        """The different squares that the detectors take."""
        return tuple(dict.fromkeys(map(square_of, self.detectors)))

    def to(self, device: torch.device) -> None:
        """Move the detectors to a device, ready to detect."""
        for detector in self.detectors:
            detector.model.to(device).eval()

    def findings(
        self, images: Sequence[DetectorImage], device: torch.device
    ) -> list[tuple[Finding, ...]]:
        """Return what is found in each image, highest score first.

        Args:
            images: Read for `squares`.
            device: Device of the detectors.
        """
        views = (False, True) if self.flip else (False,)
        passes = [
            detections(detector, images, device, flipped=flipped)
            for detector in self.detectors
            for flipped in views
        ]
        if len(passes) == 1:
            return [self._shown(findings) for findings in passes[0]]
        max_findings = max(detector.processor.findings_per_image for detector in self.detectors)
        return [
            fused(findings, width=image.width, height=image.height, max_findings=max_findings)
            for image, *findings in zip(images, *passes, strict=True)
        ]

    def _shown(self, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        if self.point is None:
            return findings
        least = self.point.thresholds
        return tuple(finding for finding in findings if finding.score >= least[finding.label])


def load_ensemble(
    checkpoints: Sequence[Path], *, flip: bool, choice: PointChoice | None = None
) -> Ensemble:
    """Load one or more detectors.

    Args:
        checkpoints: Finetune runs, detectors' folders, or `hf-hub:ORG/NAME[@REVISION]`.
        flip: Whether each also looks at the flipped image.
        choice: The operating point at which a single detector is used, or None.

    Raises:
        HubError: If one is on the Hub and can't be had.
        DataError: If one is not a detector, is named twice, or has other classes than the first; or
            if an operating point is not of the detector, or is asked for of several or flipped.
        TransferError: If weights do not fit their configuration.
    """
    pulled = [fetch(checkpoint) for checkpoint in checkpoints]
    folders = [folder_of(detector_folder.folder) for detector_folder in pulled]
    detectors = [
        load_detector(folder, source=detector_folder.source)
        for folder, detector_folder in zip(folders, pulled, strict=True)
    ]
    sources = [detector_folder.source for detector_folder in pulled]
    for number in range(1, len(detectors)):
        if folders[number].resolve() in {folder.resolve() for folder in folders[:number]}:
            raise DataError(f"{sources[number]} is named twice. Name each detector once.")
        _check_classes(detectors[0].classes, detectors[number].classes, sources[0], sources[number])
    source = _source(sources, flip=flip)
    point = None
    if choice is not None:
        if flip or len(sources) > 1:
            raise DataError(
                f"{choice.path} holds thresholds of one detector that looks at each image once, "
                "and fused boxes have other scores. Leave out --with and --flip, or take "
                "--threshold."
            )
        point = _applied(choice, detectors[0], folders[0], sources[0])
        source += f"; {point}"
    return Ensemble(tuple(detectors), source, flip, _hash_of(folders), point)


def _applied(choice: PointChoice, detector: Detector, folder: Path, source: str) -> OperatingPoint:
    """Read an operating point of a detector, and give the detector its NMS."""
    sha256 = weights_sha256(folder)
    point = read_point(choice, source=source, sha256=sha256, classes=detector.classes)
    if point.nms_iou is not None:
        most = detector.config.detections_per_image
        detector.family.set_nms(detector.model, iou=point.nms_iou, most=most)
    return point


def _check_classes(
    first: Sequence[str], other: Sequence[str], first_source: str, other_source: str
) -> None:
    if set(first) == set(other):
        return
    parts = []
    for source, classes, other_classes in (
        (first_source, first, other),
        (other_source, other, first),
    ):
        missing = [name for name in classes if name not in other_classes]
        if missing:
            parts.append(f"{source} alone has {', '.join(missing)}")
    raise DataError(
        f"{first_source} and {other_source} have different classes: {'; '.join(parts)}. Boxes are "
        "fused of detectors with the same classes only."
    )


def _source(sources: Sequence[str], *, flip: bool) -> str:
    views = ", each image also flipped left to right" if flip else ""
    how = f"{views}; weighted boxes fusion, IoU {IOU}" if flip or len(sources) > 1 else ""
    return " + ".join(sources) + how


def _hash_of(folders: Sequence[Path]) -> str:
    """Return a hash of detectors' files: weights, configuration, image processor."""
    digest = hashlib.sha256()
    for folder in folders:
        for name in FILES:
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def square_of(detector: Detector) -> Square:
    """Return the square that a detector takes."""
    return Square(detector.processor.size_px, detector.fit)


@torch.no_grad()
def detections(
    detector: Detector,
    images: Sequence[DetectorImage],
    device: torch.device,
    *,
    flipped: bool = False,
) -> list[tuple[Finding, ...]]:
    """Return what a detector finds in images, highest score first.

    Args:
        detector: On `device`, in evaluation mode.
        images: Read for the detector's square.
        device: Device of the detector.
        flipped: Whether it is shown the images flipped left to right; boxes are turned back.
    """
    if not images:
        return []
    processor, square = detector.processor, square_of(detector)
    levels = [processor.square(image.pixels[square]) for image in images]
    if flipped:
        levels = [np.ascontiguousarray(pixels[:, ::-1]) for pixels in levels]
    tensors = [torch.from_numpy(pixels)[None].to(device) for pixels in levels]
    results = detector.model(detector_input(tensors))
    findings = []
    for image, result in zip(images, results, strict=True):
        boxes = result["boxes"].cpu()
        if flipped:
            boxes = torch.from_numpy(flipped_boxes(boxes.numpy(), width_px=square.size_px))
        boxes = processor.in_picture(boxes, width=image.width, height=image.height)
        labels, scores = result["labels"].tolist(), result["scores"].tolist()
        rows = zip(boxes.tolist(), labels, scores, strict=True)
        names = detector.classes
        findings.append(tuple(Finding((*box,), names[label - 1], s) for box, label, s in rows))
    return findings
