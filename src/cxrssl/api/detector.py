"""`cxrssl.load_detector`: a detector to call on files and arrays.

Shapes: N boxes of an image, xyxy in pixels of it; H and W its rows and columns.
"""

import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeGuard, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cxrssl.api.arguments import (
    PathLike,
    check_flags,
    checked_number,
    checked_paths,
    checked_point,
)
from cxrssl.api.images import DecodeWarning
from cxrssl.core.devices import device_of_one_process
from cxrssl.core.disk_faults import disk_faults
from cxrssl.core.errors import ArgumentError
from cxrssl.core.images import Pixels, opencv_threads_restored
from cxrssl.data.image_file import DetectorImage, read_for_detectors, read_image
from cxrssl.drawing.overlay import overlay_image
from cxrssl.evaluate.detect import batch_size_on
from cxrssl.evaluate.points_file import PointChoice
from cxrssl.predict import least_score
from cxrssl.predict.ensemble import Ensemble, load_ensemble
from cxrssl.predict.found import Found
from cxrssl.run.memory import MEMORY_ADVICE, memory_faults
from cxrssl.run.process_state import process_restored

ImageInput: TypeAlias = str | os.PathLike[str] | NDArray[np.uint8]
"""The path of an image file, or grey levels [H, W] uint8, bone bright."""
_NAME_OF_ARRAY = Path("array")


@dataclass(frozen=True)
class Detections(Found):
    """What a detector finds in one image: `boxes`, `labels`, `scores`; see also `Found`.

    Attributes:
        classes: All classes of the detector.
        threshold: Lowest score of the findings; those below it were left out.
        operating_point: In words what left findings out in its place, empty if nothing did.
    """

    classes: tuple[str, ...] = ()
    threshold: float = 0.0
    operating_point: str = ""
    _pixels: Pixels | None = field(default=None, repr=False, compare=False)

    @opencv_threads_restored()
    def show(self) -> Image.Image:
        """Return the image with its findings drawn on it; a notebook shows what is returned.

        The file is read again, whole.
        """
        pixels = self._pixels
        if pixels is None:
            pixels = read_image(self.file, size_px=None, exact=True).pixels
        return overlay_image(pixels, self.findings, classes=self.classes, title=self.file.name)

    def _repr_png_(self) -> bytes:
        """Return `show()` as the PNG that a notebook shows for this object."""
        sink = io.BytesIO()
        self.show().save(sink, format="PNG")
        return sink.getvalue()


class Detector:
    """A detector with its weights on a device, ready to be called.

    Attributes:
        source: Its path, or its address on the Hub with the commit; for several detectors all of
            them, and how their boxes are fused.
        classes: Names of its classes.
        device: Device that it runs on.
        operating_point: In words at which point it is used, empty if at none.
    """

    def __init__(
        self, ensemble: Ensemble, device: torch.device, choice: PointChoice | None = None
    ) -> None:
        self._choice = choice
        self.source, self.classes, self.device = ensemble.source, ensemble.classes, device
        self.operating_point = "" if ensemble.point is None else str(ensemble.point)
        self._ensemble = ensemble

    def __repr__(self) -> str:
        """Name the source and the classes."""
        return f"<cxrssl detector {self.source} on {self.device}: {', '.join(self.classes)}>"

    @property
    def is_single(self) -> bool:
        """Return whether it is one detector without flipping, whose boxes are not fused."""
        return len(self._ensemble.detectors) == 1 and not self._ensemble.flip

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is a sequence, and here a path
        self, images: ImageInput, *, threshold: float | None = ...
    ) -> Detections: ...
    @overload
    def __call__(
        self, images: Sequence[ImageInput], *, threshold: float | None = ...
    ) -> list[Detections]: ...
    @disk_faults()
    @process_restored()
    @memory_faults(MEMORY_ADVICE)
    def __call__(
        self, images: ImageInput | Sequence[ImageInput], *, threshold: float | None = None
    ) -> Detections | list[Detections]:
        """Detect in one image, or in several.

        Args:
            images: The path of a DICOM, PNG, JPEG, TIFF or BMP file, or grey levels [H, W] uint8 in
                which bone is bright; or a list of such, for a list of results.
            threshold: Lowest score of the findings; 0 for all, which scores such as AP need. None
                for 0.3, or for those of the detector's operating point.

        Raises:
            CxrsslError: If a file can't be read, an array is not [H, W] uint8, something is neither
                a path nor an array, or memory runs out.

        Warns:
            DecodeWarning: For everything that had to be guessed or looks wrong; also in `warnings`
                of the result.
        """
        least = self._least_score(threshold)
        is_single_image = _is_image(images)
        image_list = [images] if _is_image(images) else images
        if not isinstance(image_list, Sequence) or isinstance(image_list, bytes | bytearray):
            raise _not_an_image(image_list)
        size = batch_size_on(self.device)
        results = [
            detections
            for start in range(0, len(image_list), size)
            for detections in self._detect(image_list[start : start + size], least)
        ]
        for detections in results:
            for text in detections.warnings:
                # Three decorators lie between here and the caller.
                warnings.warn(f"{detections.file.name}: {text}", DecodeWarning, stacklevel=5)
        return results[0] if is_single_image else results

    def _least_score(self, threshold: float | None) -> float:
        """Return the least score that the detector's operating point does not see to."""
        if threshold is not None:
            threshold = checked_number("threshold", threshold, 0, 1)
        least = least_score(threshold, self._choice)
        return 0.0 if isinstance(least, PointChoice) else least

    def _detect(self, images: Sequence[ImageInput], threshold: float) -> list[Detections]:
        pictures = [self._picture(image) for image in images]
        findings = self._ensemble.findings(pictures, self.device)
        return [
            Detections(
                file=_NAME_OF_ARRAY if isinstance(image, np.ndarray) else Path(image),
                width=picture.width,
                height=picture.height,
                findings=tuple(finding for finding in image_findings if finding.score >= threshold),
                warnings=picture.warnings,
                classes=self.classes,
                threshold=threshold,
                operating_point=self.operating_point,
                _pixels=image if isinstance(image, np.ndarray) else None,
            )
            for image, picture, image_findings in zip(images, pictures, findings, strict=True)
        ]

    def _picture(self, image: ImageInput) -> DetectorImage:
        """Return an image as the input of the detectors' processors."""
        squares = self._ensemble.squares
        if not _is_image(image):
            raise _not_an_image(image)
        if isinstance(image, np.ma.MaskedArray):
            raise _not_an_image(image)
        if not isinstance(image, np.ndarray):
            return read_for_detectors(Path(image), squares)
        if image.ndim != 2 or image.dtype != np.uint8 or not image.size:
            raise ArgumentError(
                f"an array of shape {list(image.shape)} and type {image.dtype}; expected grey "
                "levels [H, W] uint8 in which bone is bright, such as `cxrssl.read_dicom` returns."
            )
        return DetectorImage(dict.fromkeys(squares, image), image.shape[1], image.shape[0])


def _checked_device(device: str | torch.device) -> torch.device:
    """Return a device on which this process can have tensors.

    Raises:
        ArgumentError: If there is none of that name.
    """
    try:
        zero = torch.zeros(1, device=device)
        zero.item()  # which the device "meta" has not
        return zero.device
    except (AssertionError, RuntimeError, TypeError) as error:  # as torch has them, by device
        reason = str(error).splitlines()[0]
        raise ArgumentError(
            f"device is {device!r}, which torch can't use here: {reason}. Expected cpu, or "
            "cuda or cuda:N where there is such a GPU."
        ) from error


def _is_image(value: object) -> TypeGuard[ImageInput]:
    """Return whether a value is the path of an image, or an array of any shape."""
    return isinstance(value, str | os.PathLike | np.ndarray)


def _not_an_image(value: object) -> ArgumentError:
    """Return the error for a value that is neither a path nor an array, nor a list of these."""
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return ArgumentError(
        f"a detector got {module}{kind.__qualname__}; expected the path of an image file, "
        "a NumPy array of grey levels [H, W] uint8 in which bone is bright, or a list of "
        'such. For a PIL image, give np.asarray(image.convert("L")); for a torch tensor of that '
        "shape and type, tensor.numpy()."
    )


@disk_faults()
@process_restored()
@memory_faults(MEMORY_ADVICE)
def load_detector(
    checkpoint: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    flip: bool = False,
    device: str | torch.device | None = None,
    operating_point: PathLike | None = None,
    point: str | None = None,
) -> Detector:
    """Load a detector that `cxrssl finetune` trained; no code from outside is run.

    Args:
        checkpoint: A finetune run, its `detector/` folder, or `hf-hub:ORG/NAME[@REVISION]`; or a
            list of them, of the same classes, whose boxes are fused.
        flip: Whether each image is also looked at flipped left to right; boxes are fused.
        device: Device that it runs on; None for a GPU if there is one, else the CPU.
        operating_point: File of `evaluate(..., operating_points=FILE)` of this detector, whose NMS
            and thresholds decide what it finds.
        point: Which point of it, such as `f1_by_class` or `fp_0.5`; None for `f1`.

    Raises:
        CxrsslError: If there is no such detector, it can't be fetched or loaded completely, classes
            differ, the operating point is not of it, or the GPU can't be used.
    """
    target = device_of_one_process() if device is None else _checked_device(device)
    check_flags(flip=flip)
    choice = checked_point(operating_point, point)
    ensemble = load_ensemble(
        checked_paths("checkpoint", checkpoint, "no detector is named"), flip=flip, choice=choice
    )
    ensemble.to(target)
    return Detector(ensemble, target, choice)
