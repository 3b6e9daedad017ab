"""An image file as a detector wants it and as a person does: DICOM, PNG, JPEG, TIFF or BMP.

Shapes: H, W the picture's rows and columns, S the side of a detector's square. A picture with an
EXIF orientation is turned, as an ingest does and every viewer: H, W and boxes are of what is shown.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cxrssl.core.images import Fit, Pixels
from cxrssl.data.dicom.read import decode_dicom
from cxrssl.data.file_content import file_content
from cxrssl.data.rasters import decode_raster
from cxrssl.data.tables.rows import RASTER_SUFFIXES


@dataclass(frozen=True)
class Picture:
    """One decoded file.

    Attributes:
        levels: What the detector's image processor takes: [S, S] of a DICOM file, laid into its
            square as an ingest does, and [H, W] of any other, uint8.
        shown: [H, W] uint8 to draw on, or None if nothing is to be drawn.
        width: W.
        height: H.
    """

    levels: Pixels
    shown: Pixels | None
    width: int
    height: int


def read_picture(path: Path, *, size_px: int, fit: Fit, to_show: bool) -> Picture:
    """Decode a file; messages call it by its name.

    Args:
        path: A PNG, JPEG, TIFF or BMP file by its suffix, else DICOM.
        size_px: S.
        fit: How a DICOM image is laid into the square.
        to_show: Whether it is to be drawn on; a DICOM file is then decoded a second time, whole.

    Raises:
        DataError: If it can't be read or decoded.
    """
    content = file_content(path, name=path.name)
    if path.suffix.lower() in RASTER_SUFFIXES:
        found = decode_raster(content, name=path.name, size_px=None, fit=fit)
        shown = found.pixels if to_show else None
        return Picture(found.pixels, shown, found.original_width, found.original_height)
    decode = partial(decode_dicom, content, name=path.name, fit=fit)
    small = decode(size_px=size_px, exact=False)
    shown = decode(size_px=None, exact=True).pixels if to_show else None
    return Picture(small.pixels, shown, small.original_width, small.original_height)
