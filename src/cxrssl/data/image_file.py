"""An image file as a detector takes it and as a person sees it: DICOM, PNG, JPEG, TIFF or BMP.

Shapes: H, W the image's rows and columns, S the side of a detector's square. An image with an EXIF
orientation is turned, as an ingest does and every viewer: H, W and boxes are of what is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cxrssl.core.images import Fit, Pixels, Radiograph
from cxrssl.core.sizes import Size
from cxrssl.data.blank_images import blank_warning
from cxrssl.data.dicom.read import decode_dicom
from cxrssl.data.file_content import file_content
from cxrssl.data.rasters import decode_raster
from cxrssl.data.tables.rows import RASTER_SUFFIXES


class Square(NamedTuple):
    """The square that a detector takes.

    Attributes:
        size_px: S.
        fit: How a DICOM image is laid into it.
    """

    size_px: int
    fit: Fit


@dataclass(frozen=True)
class DetectorImage:
    """One decoded file.

    Attributes:
        pixels: By square, uint8, what the image processor of a detector with that square takes:
            [S, S] of a DICOM file, laid into the square as an ingest does, [H, W] of any other.
        width: W.
        height: H.
        warnings: What had to be guessed, was changed, or looks wrong; a sentence each.
    """

    pixels: dict[Square, Pixels]
    width: int
    height: int
    warnings: tuple[str, ...] = ()


def is_raster(path: Path) -> bool:
    """Return whether a file is PNG, JPEG, TIFF or BMP by its suffix; any other is DICOM."""
    return path.suffix.lower() in RASTER_SUFFIXES


def decode_image(
    content: bytes,
    path: Path,
    *,
    name: str,
    size_px: int | None,
    fit: Fit,
    exact: bool,
    stated: Size | None = None,
) -> Radiograph:
    """Decode the content of a file by `decode_raster` or `decode_dicom`, as its suffix says.

    For DICOM `stated` is not used, and for rasters `exact`.

    Raises:
        DataError: If it can't be decoded.
    """
    if is_raster(path):
        return decode_raster(content, name=name, size_px=size_px, fit=fit, stated=stated)
    return decode_dicom(content, name=name, size_px=size_px, fit=fit, exact=exact)


def read_image(
    path: Path,
    *,
    size_px: int | None,
    fit: Fit = "squash",
    exact: bool = False,
    stated: Size | None = None,
) -> Radiograph:
    """Read and decode an image file; messages call it by its name. See `decode_image`.

    Raises:
        DataError: If it can't be read or decoded.
    """
    content = file_content(path, name=path.name)
    return decode_image(
        content, path, name=path.name, size_px=size_px, fit=fit, exact=exact, stated=stated
    )


def read_for_detectors(path: Path, squares: Sequence[Square]) -> DetectorImage:
    """Decode a file for detectors; messages call it by its name.

    Args:
        path: A PNG, JPEG, TIFF or BMP file by its suffix, else DICOM.
        squares: One or more; a DICOM file is decoded for each.

    Raises:
        DataError: If it can't be read or decoded.
    """
    content = file_content(path, name=path.name)
    decode = partial(decode_image, content, path, name=path.name, exact=False)
    if is_raster(path):
        decoded = dict.fromkeys(squares, decode(size_px=None, fit="squash"))
    else:
        decoded = {square: decode(size_px=square.size_px, fit=square.fit) for square in squares}
    first = decoded[squares[0]]
    blank = blank_warning(
        first, content, name=path.name, fit=squares[0].fit, is_raster=is_raster(path)
    )
    warnings = first.warnings if blank is None else (*first.warnings, blank)
    pixels = {square: image.pixels for square, image in decoded.items()}
    return DetectorImage(pixels, first.original_width, first.original_height, warnings)
