"""A chest radiograph from a DICOM file to 8-bit grey levels in which bone is bright.

Order of the steps: modality LUT or rescale; area resampling; VOI LUT (a sequence before a window;
LINEAR, LINEAR_EXACT or SIGMOID), or a robust percentile range where there is none; MONOCHROME1
inversion last.
Source: DICOM PS3.3 C.11.1, C.11.2 and C.7.6.3. The one difference: pixels are resampled before the
VOI step, which changes a picture only where a pixel's neighbours are clipped, and is many times
faster.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from cxrssl.core.errors import DataError
from cxrssl.core.images import Pixels, resized

_PERCENTILES = (0.5, 99.5)
_MAX_PIXELS = 150_000_000


@dataclass(frozen=True)
class Radiograph:
    """A decoded image.

    Attributes:
        pixels: [H, W] uint8, bone bright.
        original_width: Columns of the file.
        original_height: Rows of the file.
        route: How it was decoded, for the record.
    """

    pixels: Pixels
    original_width: int
    original_height: int
    route: str


def read_dicom(path: Path, *, size_px: int | None) -> Radiograph:
    """Decode a DICOM file, squashed to a square of `size_px`, or in its own size for None.

    Raises:
        DataError: If the file is no DICOM image, not one grey frame, or can't be decoded.
    """
    try:
        return _shown(pydicom.dcmread(path), path.name, size_px=size_px)
    except DataError:
        raise
    except (pydicom.errors.InvalidDicomError, OSError) as error:
        raise DataError(f"{path.name}: not a readable DICOM file ({error})") from error
    # pydicom reads a value where it is used, so a broken one may surface anywhere; its message
    # quotes the value, which may be the patient's, so only its kind is passed on.
    except Exception as error:
        raise DataError(
            f"{path.name}: a value of the DICOM header is broken ({type(error).__name__})"
        ) from error


def _shown(dataset: Dataset, name: str, *, size_px: int | None) -> Radiograph:
    _check_header(dataset, name)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    levels = _stored_levels(dataset, name)
    modality = apply_modality_lut(levels, dataset).astype(np.float32)
    if not np.isfinite(modality).all():
        raise DataError(f"{name}: rescale slope or intercept make levels that are no numbers")
    height, width = (rows, columns) if size_px is None else (size_px, size_px)
    small = resized(modality, height=height, width=width)
    shown, voi = _voi(small, dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1.0 - shown
    pixels = np.rint(shown * 255).astype(np.uint8)
    syntax = dataset.file_meta.TransferSyntaxUID.name
    return Radiograph(
        pixels, columns, rows, f"{syntax}; {dataset.PhotometricInterpretation}; {voi}"
    )


def _check_header(dataset: Dataset, name: str) -> None:
    missing = [key for key in ("Rows", "Columns", "PixelData", "BitsStored") if key not in dataset]
    if missing or "TransferSyntaxUID" not in dataset.file_meta:
        raise DataError(
            f"{name}: no image: the file has no {', '.join(missing) or 'transfer syntax'}"
        )
    photometric = dataset.get("PhotometricInterpretation")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(
            f"{name}: PhotometricInterpretation is {photometric!r}; "
            "a radiograph is MONOCHROME1 or MONOCHROME2"
        )
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames != 1:
        raise DataError(f"{name}: {frames} frames; expected a single radiograph")
    if int(dataset.Rows) * int(dataset.Columns) > _MAX_PIXELS:
        raise DataError(
            f"{name}: the header claims {dataset.Columns}x{dataset.Rows} pixels; "
            "at most 150 megapixels are decoded"
        )


def _stored_levels(dataset: Dataset, name: str) -> NDArray[np.generic]:
    try:
        levels = np.asarray(dataset.pixel_array)
    except (KeyboardInterrupt, SystemExit):
        raise
    # Decoders raise whatever they like on a broken stream, and the one in Rust panics with a
    # BaseException; one broken file must not end an ingest; the reason is kept.
    except BaseException as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{name}: pixels can't be decoded: {reason}") from error
    if levels.shape != (dataset.Rows, dataset.Columns):
        raise DataError(
            f"{name}: pixels of shape {levels.shape}; "
            f"expected one grey frame of {dataset.Columns}x{dataset.Rows}"
        )
    return levels


def _voi(levels: NDArray[np.float32], dataset: Dataset) -> tuple[NDArray[np.float32], str]:
    """Return what a viewer would show, float32 in [0, 1], and the rule that decided it."""
    if "VOILUTSequence" in dataset and len(dataset.VOILUTSequence) > 0:
        table = apply_voi_lut(np.rint(levels).astype(np.int32), dataset, prefer_lut=True)
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return np.clip(table / np.float32(2**bits - 1), 0, 1).astype(np.float32), "VOI LUT sequence"
    window = _window(dataset)
    if window is not None:
        function = str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR")
        return _windowed(levels, *window, function), f"window {function}"
    low, high = np.percentile(levels, _PERCENTILES)
    if high <= low:
        low, high = float(levels.min()), float(levels.max())
    scaled = (levels - low) / max(high - low, 1e-6)
    return np.clip(scaled, 0, 1).astype(np.float32), "percentile range"


def _window(dataset: Dataset) -> tuple[float, float] | None:
    """Return the first window's centre and width in modality units, None where there is none."""
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centre is None or width is None:
        return None
    centres, widths = (
        np.atleast_1d(np.asarray(centre, float)),
        np.atleast_1d(np.asarray(width, float)),
    )
    if centres.size == 0 or widths.size == 0 or widths[0] < 1:
        return None
    return float(centres[0]), float(widths[0])


def _windowed(
    levels: NDArray[np.float32], centre: float, width: float, function: str
) -> NDArray[np.float32]:
    """Apply a window; float32 in [0, 1]. Source: DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (levels - centre) / width)), dtype=np.float32)
    if function == "LINEAR_EXACT":
        shown = (levels - centre) / width + 0.5
    else:
        shown = (levels - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5
    return np.asarray(np.clip(shown, 0, 1), dtype=np.float32)
