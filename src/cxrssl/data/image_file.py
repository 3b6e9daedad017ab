"""An image file as a detector takes it and as a person sees it: DICOM, PNG, JPEG, TIFF or BMP.

Shapes: H, W the image's rows and columns, S the side of a detector's square. An image with an EXIF
orientation is turned, as an ingest does and every viewer: H, W and boxes are of what is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cxrssl.core.images import Fit, Pixels
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
class Picture:
    """One decoded file.

    Attributes:
        levels: For each square asked for, what the detector's image processor takes: [S, S] of a
            DICOM file, laid into the square as an ingest does, and [H, W] of any other, uint8.
        width: W.
        height: H.
        warnings: What had to be guessed, was changed, or looks wrong; a sentence each.
    """

    levels: dict[Square, Pixels]
    width: int
    height: int
    warnings: tuple[str, ...] = ()


def read_picture(path: Path, squares: Sequence[Square]) -> Picture:
    """Decode a file for detectors; messages call it by its name.

    Args:
        path: A PNG, JPEG, TIFF or BMP file by its suffix, else DICOM.
        squares: One or more; a DICOM file is decoded for each.

    Raises:
        DataError: If it can't be read or decoded.
    """
    content = file_content(path, name=path.name)
    is_raster = _is_raster(path)
    if is_raster:
        whole = decode_raster(content, name=path.name, size_px=None, fit="squash")
        decoded = dict.fromkeys(squares, whole)
    else:
        decoded = {
            square: decode_dicom(content, name=path.name, **square._asdict(), exact=False)
            for square in squares
        }
    first = decoded[squares[0]]
    blank = blank_warning(first, content, name=path.name, fit=squares[0].fit, is_raster=is_raster)
    warnings = first.warnings if blank is None else (*first.warnings, blank)
    levels = {square: image.pixels for square, image in decoded.items()}
    return Picture(levels, first.original_width, first.original_height, warnings)


def read_shown(path: Path) -> Pixels:
    """Decode a file at its own size, [H, W] uint8, bone bright; messages call it by its name.

    Raises:
        DataError: If it can't be read or decoded.
    """
    content = file_content(path, name=path.name)
    if _is_raster(path):
        return decode_raster(content, name=path.name, size_px=None, fit="squash").pixels
    return decode_dicom(content, name=path.name, size_px=None, fit="squash", exact=True).pixels


def _is_raster(path: Path) -> bool:
    return path.suffix.lower() in RASTER_SUFFIXES
