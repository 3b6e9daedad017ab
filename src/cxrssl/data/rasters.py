"""A radiograph from a PNG or JPEG file to 8-bit grey levels; DICOM is `data.dicom`'s.

Pixels stay where they are stored: an EXIF orientation is not applied, because boxes are in the
coordinates of the stored array. One route: no reduced decode.
Shapes: H, W are the file's height and width in pixels.
"""

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from cxrssl.core.errors import DataError
from cxrssl.core.images import Fit, Levels, Pixels, Radiograph, placed, placement, resized

_MAX_PIXELS = 150_000_000
_FORMATS = ("PNG", "JPEG")
# What Pillow raises on a broken file; a message of its own may quote what is in the file.
_FAULTS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError)


def read_raster(path: Path, *, size_px: int | None, fit: Fit = "squash") -> Radiograph:
    """Decode a PNG or JPEG file; messages call it by its file name. See `decode_raster`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path.name}: not a readable file ({error.strerror})") from error
    return decode_raster(content, name=path.name, size_px=size_px, fit=fit)


def decode_raster(content: bytes, *, name: str, size_px: int | None, fit: Fit) -> Radiograph:
    """Decode the bytes of a PNG or JPEG file.

    Colours become luma (ITU-R 601-2), 16 bits are scaled by their full range, and what is
    transparent is laid on black.

    Args:
        content: The whole file.
        name: What messages call it.
        size_px: Side of the square that is wanted; None for the image's own size.
        fit: How it is laid into the square.

    Raises:
        DataError: If it is neither, holds several pictures or more than 150 megapixels, or can't
            be decoded.
    """
    # Pillow warns from 89 megapixels on; the limit here is checked before anything is decoded.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(BytesIO(content), formats=_FORMATS) as image:
                _check(image, name)
                width, height = image.size
                route = f"{image.format}; {image.mode}"
                levels, scale = _grey_levels(image)
        except DataError:
            raise
        except Image.DecompressionBombError as error:
            raise _too_large(name) from error
        except (*_FAULTS, struct.error, zlib.error) as error:
            raise DataError(
                f"{name}: can't be decoded: no PNG or JPEG, or a broken one "
                f"({type(error).__name__})"
            ) from error
        except MemoryError as error:
            raise DataError(f"{name}: decoding it takes more memory than there is") from error
    if size_px is None:
        return Radiograph(_rounded(levels, scale), width, height, route)
    where = placement(width, height, size_px=size_px, fit=fit)
    small = _rounded(resized(levels, height=where.height_px, width=where.width_px), scale)
    return Radiograph(placed(small, where, size_px=size_px), width, height, route)


def _rounded(levels: Levels, scale: float) -> Pixels:
    if levels.dtype == np.uint8:
        return levels.astype(np.uint8, copy=False)
    return np.rint(np.clip(levels / np.float32(scale), 0, 255)).astype(np.uint8)


def _check(image: Image.Image, name: str) -> None:
    """Refuse what is too large or not one picture, by the header alone."""
    if image.width * image.height > _MAX_PIXELS:
        raise _too_large(name)
    # JPEG files of several pictures (MPO), and animated PNG.
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise DataError(f"{name}: the file holds {frames} pictures; expected a single radiograph")


def _too_large(name: str) -> DataError:
    return DataError(
        f"{name}: the header claims more than 150 megapixels; at most that many are decoded"
    )


def _grey_levels(image: Image.Image) -> tuple[Levels, float]:
    """Return levels [H, W], uint8 or wider, and how many of them make one of 0..255."""
    if image.mode.startswith("I"):
        return np.asarray(image), 257.0
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    elif image.mode in ("P", "PA"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L")), 1.0
