"""`cxrssl.read_dicom`."""

import os
import warnings

from cxrssl.api.arguments import checked_path
from cxrssl.core.disk_faults import disk_faults
from cxrssl.core.images import Fit, Pixels, check_square, opencv_threads_restored
from cxrssl.data.dicom.read import read_dicom as decode_file


class DecodeWarning(UserWarning):
    """What a decoder had to guess or change, or what looks wrong with an image."""


@disk_faults()
@opencv_threads_restored()
def read_dicom(
    path: str | os.PathLike[str], *, size_px: int | None = None, fit: Fit = "squash"
) -> Pixels:
    """Return the radiograph of a DICOM file as grey levels [H, W] uint8, bone bright.

    Args:
        path: Path of the file: one grey frame of at most 150 megapixels, compressed or not.
        size_px: Side of the square to return, 16 to 8192 pixels, as an ingest stores it; None for
            the rows and columns of the file.
        fit: How the image is laid into the square: `squash` stretches it, `letterbox` keeps its
            aspect and fills up with black.

    Raises:
        CxrsslError: If an argument is wrong, or the file is not DICOM, holds no such image, or
            can't be decoded.

    Warns:
        DecodeWarning: For each thing that had to be guessed or changed.
    """
    file = checked_path("path", path)
    check_square(16 if size_px is None else size_px, fit)
    radiograph = decode_file(file, size_px=size_px, fit=fit)
    for text in radiograph.warnings:
        warnings.warn(f"{file.name}: {text}", DecodeWarning, stacklevel=4)
    return radiograph.pixels
