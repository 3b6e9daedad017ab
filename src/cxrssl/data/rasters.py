"""A radiograph from a PNG, JPEG, TIFF or BMP file to 8-bit grey levels; DICOM is `data.dicom`'s.

A picture whose EXIF or TIFF orientation says so is turned, as every viewer and labelling tool
shows it: boxes are in the coordinates of what was shown. It stays as it is stored only where the
size that a table states says that boxes are in the stored array.
One route: no reduced decode. Shapes: H, W are the picture's height and width in pixels.
"""

import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from cxrssl.core.errors import DataError
from cxrssl.core.grey_levels import is_of_few_levels
from cxrssl.core.images import Fit, Levels, Pixels, Radiograph, placed, placement, resized
from cxrssl.core.sizes import Size, is_resize_of

_MAX_PIXELS = 150_000_000
# A JPEG with further pictures behind it (MPO) is opened as a JPEG.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
# What Pillow raises on a broken file; a message of its own may quote what is in the file.
_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
)
# What undoes that which was done to the picture as it is stored (EXIF 2.32, table 6).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OPPOSITES = {6: 8, 8: 6}
_LYING = (5, 6, 7, 8)
_REDUCED_PAGE = 1
_MAX_PAGES = 32


@dataclass(frozen=True)
class _Decoded:
    """Levels [H, W], uint8 or wider; `scale` of them make one of 0..255."""

    levels: Levels
    scale: float
    route: str
    warnings: tuple[str, ...]


def decode_raster(
    content: bytes, *, name: str, size_px: int | None, fit: Fit, stated: Size | None = None
) -> Radiograph:
    """Decode the bytes of a PNG, JPEG, TIFF or BMP file.

    Colours become luma (ITU-R 601-2), 16 bits are scaled by their full range, and what is
    transparent is laid on black. Of a JPEG with further pictures (MPO), or a TIFF with reduced
    copies, the first is taken. Orientation: see the top of this file.

    Args:
        content: The whole file.
        name: What messages call it.
        size_px: Side of the square that is wanted; None for the image's own size.
        fit: How it is laid into the square.
        stated: (width, height) that a table states for it.

    Raises:
        DataError: If it is none of these, holds several radiographs, levels of no known range or
            more than 150 megapixels, or can't be decoded.
    """
    # Pillow warns from 89 megapixels on; the limit here is checked before anything is decoded.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(BytesIO(content), formats=_FORMATS) as image:
                decoded = _decoded(image, name, stated)
        except DataError:
            raise
        except Image.DecompressionBombError as error:
            raise _too_large(name) from error
        except (*_FAULTS, zlib.error) as error:
            raise DataError(
                f"{name}: can't be decoded: no PNG, JPEG, TIFF or BMP, or a broken one "
                f"({type(error).__name__})"
            ) from error
        except MemoryError as error:
            raise DataError(f"{name}: decoding it takes more memory than there is") from error
    levels, scale = decoded.levels, decoded.scale
    height, width = levels.shape
    few = is_of_few_levels(levels)
    if size_px is None:
        pixels = _rounded(levels, scale)
    else:
        place = placement(width, height, size_px=size_px, fit=fit)
        small = resized(levels, height=place.height_px, width=place.width_px)
        pixels = placed(_rounded(small, scale), place, size_px=size_px)
    return Radiograph(pixels, width, height, decoded.route, decoded.warnings, has_few_levels=few)


def raster_size(path: Path) -> Size | None:
    """Return (width, height) in pixels as a file states them; None where it can't be told.

    Nothing is decoded, and an orientation is not applied.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                return image.size
    except (*_FAULTS, Image.DecompressionBombError):
        return None


def _rounded(levels: Levels, scale: float) -> Pixels:
    if levels.dtype == np.uint8:
        return levels.astype(np.uint8, copy=False)
    return np.rint(np.clip(levels / np.float32(scale), 0, 255)).astype(np.uint8)


def _decoded(image: Image.Image, name: str, stated: Size | None) -> _Decoded:
    warnings = _checked(image, name)
    route = f"{image.format}; {image.mode}"
    # Both before anything is decoded: Pillow turns a TIFF as it loads it, and forgets the tag.
    orientation = _orientation(image)
    is_white_zero, num_bits = _tiff_levels(image)
    is_turned_already = image.format == "TIFF"
    stored = image.size
    if is_turned_already and orientation in _LYING:
        stored = stored[1], stored[0]
    is_to_turn = orientation in _TURNS and not _is_stated_as_stored(stated, stored, orientation)
    if orientation in _TURNS:
        warnings.append(
            f"orientation {orientation}: the picture is turned, as viewers show it"
            if is_to_turn
            else f"orientation {orientation} is not applied: the size that the table states is "
            "that of the picture as it is stored"
        )
    if is_to_turn and not is_turned_already:
        image = image.transpose(_TURNS[orientation])
    elif is_turned_already and orientation in _TURNS and not is_to_turn:
        image.load()
        image = image.transpose(_TURNS[_OPPOSITES.get(orientation, orientation)])
    levels, scale = _grey_levels(image)
    if scale != 1.0 and num_bits < 16:
        scale = (2**num_bits - 1) / 255
    if is_white_zero and levels.dtype != np.uint8:  # of 8 bits and less, Pillow has turned them
        levels = (2**num_bits - 1) - levels
    return _Decoded(levels, scale, route, tuple(warnings))


def _checked(image: Image.Image, name: str) -> list[str]:
    """Refuse by the header alone what is too large, not one picture or of no known range.

    Returns:
        Warnings about it.
    """
    if image.width * image.height > _MAX_PIXELS:
        raise _too_large(name)
    if image.format == "TIFF" and image.mode in ("F", "I"):
        raise DataError(
            f"{name}: a TIFF of 32-bit, signed or floating point levels, whose range is not known. "
            "Save it with 8 or 16 bits without sign"
        )
    frames = getattr(image, "n_frames", 1)
    if frames == 1:
        return []
    if image.format == "MPO" or _are_reduced_copies(image, frames):
        return [f"the file holds {frames} pictures; the first, which is the full one, is taken"]
    raise DataError(f"{name}: the file holds {frames} pictures; expected a single radiograph")


def _are_reduced_copies(image: Image.Image, frames: int) -> bool:
    """Return whether this is a TIFF, and every page but the first is marked as a smaller copy."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or frames > _MAX_PAGES:
        return False
    pages = []
    for number in range(1, frames):
        image.seek(number)
        pages.append(_tiff_tag(image, ExifTags.Base.NewSubfileType, 0) & _REDUCED_PAGE)
    image.seek(0)
    return all(pages)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF or TIFF orientation; 1, as it is, where there is none or none is readable."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _FAULTS:  # a picture was never refused for its EXIF
        return 1
    return value if isinstance(value, int) else 1


def _is_stated_as_stored(stated: Size | None, stored: Size, orientation: int) -> bool:
    """Return whether a stated size fits the picture as it is stored, and not as it is shown."""
    if stated is None or orientation not in _LYING:
        return False
    shown = stored[1], stored[0]
    return is_resize_of(stated, stored) and not is_resize_of(stated, shown)


def _tiff_levels(image: Image.Image) -> tuple[bool, int]:
    """Return whether 0 is white in a TIFF, and bits a level; False and 16 for other files."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False, 16
    bits = _tiff_tag(image, ExifTags.Base.BitsPerSample, 16)
    return _tiff_tag(image, ExifTags.Base.PhotometricInterpretation, 1) == 0, bits


def _tiff_tag(image: TiffImagePlugin.TiffImageFile, tag: int, default: int) -> int:
    value = image.tag_v2.get(tag, default)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else default


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
