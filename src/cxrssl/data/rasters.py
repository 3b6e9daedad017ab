"""A radiograph from a PNG or JPEG file to 8-bit grey levels; DICOM is `data.dicom`'s."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cxrssl.core.errors import DataError
from cxrssl.core.images import Pixels, resized


def read_raster(path: Path, *, size_px: int | None) -> tuple[Pixels, int, int, str]:
    """Decode a PNG or JPEG, squashed to a square of `size_px`, or in its own size for None.

    Returns:
        Pixels [H, W] uint8, original width, original height, and the route for the record.

    Raises:
        DataError: If it can't be decoded.
    """
    try:
        with Image.open(path) as image:
            kind, mode, (width, height) = image.format, image.mode, image.size
            grey = _grey_levels(image)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path.name}: can't be decoded: {error}") from error
    if size_px is not None:
        grey = resized(grey, height=size_px, width=size_px)
    pixels = np.rint(np.clip(grey, 0, 255)).astype(np.uint8)
    return pixels, width, height, f"{kind}; {mode}"


def _grey_levels(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return grey levels [H, W] float32 in 0..255; a 16-bit file is scaled by its full range."""
    if image.mode.startswith("I"):
        return (np.asarray(image, dtype=np.float32) / 257.0).astype(np.float32)
    return np.asarray(image.convert("L"), dtype=np.float32)
