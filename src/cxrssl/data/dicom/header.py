"""What a DICOM header says about the picture, checked before a pixel is decoded.

A value that may be free text never gets into a message; numbers and DICOM's own terms do.
Not for reading the values (`values`) and not for applying them (`display`).
Source: DICOM PS3.3, C.7.6.3 (image pixel), C.7.5.1.1.2 (padding), C.11.1 and C.11.2 (LUTs).
"""

from dataclasses import dataclass

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.dataset import DicomFile
from cxrssl.data.dicom.values import Table, Values

MAX_PIXELS = 150_000_000

# The defined terms of PhotometricInterpretation, PS3.3 C.7.6.3.1.2.
_TERMS = frozenset(
    ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "XYB")
) | frozenset(
    ("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
)


@dataclass(frozen=True)
class Window:
    """Which levels are shown, in modality units; `function` is LINEAR, LINEAR_EXACT or SIGMOID."""

    centre: float
    width: float
    function: str


@dataclass(frozen=True)
class Header:
    """One grey frame: how it is stored and how it is to be shown.

    Attributes:
        rows: Its height in pixels.
        columns: Its width in pixels.
        bits_allocated: 8 or 16.
        bits_stored: 1 to bits_allocated.
        signed: Whether levels are two's complement.
        inverted: Whether low levels are bright (MONOCHROME1).
        padding: Lowest and highest level that stand for "no pixel", if declared.
        slope: Stored level times this,
        intercept: plus this, is the modality level, where there is no modality table.
        modality: Modality lookup table.
        voi: Values-of-interest lookup table; before a window.
        window: The first window.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    inverted: bool
    padding: tuple[int, int] | None
    slope: float
    intercept: float
    modality: Table | None
    voi: Table | None
    window: Window | None

    @property
    def photometric(self) -> str:
        """Return DICOM's term."""
        return "MONOCHROME1" if self.inverted else "MONOCHROME2"


def read_header(file: DicomFile, name: str) -> Header:
    """Read and check the values of one grey frame.

    Raises:
        DataError: If a value is missing or broken, or the file is not one grey frame of at most
            150 megapixels and 16 bits.
    """
    reader = Values(file.dataset, name, file.big_endian)
    allocated, stored = _check_frame(reader)
    signed = bool(reader.integer("PixelRepresentation", 0))
    modality = reader.table("ModalityLUTSequence", signed=signed)
    voi = reader.table("VOILUTSequence", signed=signed)
    return Header(
        rows=reader.integer("Rows"),
        columns=reader.integer("Columns"),
        bits_allocated=allocated,
        bits_stored=stored,
        signed=signed,
        inverted=reader.text("PhotometricInterpretation") == "MONOCHROME1",
        padding=_padding(reader, allocated, stored, signed),
        slope=1.0 if modality else reader.decimal("RescaleSlope", 1.0),
        intercept=0.0 if modality else reader.decimal("RescaleIntercept", 0.0),
        modality=modality,
        voi=voi,
        window=None if voi else _window(reader),
    )


def _check_frame(reader: Values) -> tuple[int, int]:
    """Refuse what is not one grey frame; return bits allocated and stored."""
    name = reader.name
    needed = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation")
    missing = [keyword for keyword in needed if not reader.has(keyword)]
    if missing:
        raise DataError(f"{name}: no image: the file has no {', '.join(missing)}")
    photometric = reader.text("PhotometricInterpretation")
    if (
        photometric not in ("MONOCHROME1", "MONOCHROME2")
        or reader.integer("SamplesPerPixel", 1) != 1
    ):
        found = repr(photometric) if photometric in _TERMS else "none of DICOM's terms"
        raise DataError(
            f"{name}: PhotometricInterpretation is {found}, "
            f"{reader.integer('SamplesPerPixel', 1)} sample(s) a pixel; "
            "a radiograph is MONOCHROME1 or MONOCHROME2 and has one"
        )
    frames = reader.decimal("NumberOfFrames", 1)
    if frames > 1:
        # A number of many digits may be a date in the wrong place.
        count = f"{frames:.0f}" if frames < 1000 else "many"
        raise DataError(f"{name}: {count} frames; expected a single radiograph")
    rows, columns = reader.integer("Rows"), reader.integer("Columns")
    if rows < 1 or columns < 1 or rows * columns > MAX_PIXELS:
        raise DataError(
            f"{name}: the header claims {columns}x{rows} pixels; "
            "at least 1 and at most 150 megapixels are decoded"
        )
    allocated, stored = reader.integer("BitsAllocated"), reader.integer("BitsStored")
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise DataError(
            f"{name}: {stored} bits stored in {allocated}; a radiograph has up to 16 in 8 or 16"
        )
    return allocated, stored


def _padding(reader: Values, allocated: int, stored: int, signed: bool) -> tuple[int, int] | None:
    """Return the range of levels that stand for no pixel; often stated with the wrong sign."""
    if not reader.has("PixelPaddingValue"):
        return None
    value = reader.integer("PixelPaddingValue")
    ends = [value, reader.integer("PixelPaddingRangeLimit", value)]
    half = 2 ** (allocated - 1)
    ends = [end % (2 * half) for end in ends]
    if signed:
        ends = [end - 2 * half if end >= half else end for end in ends]
    elif max(ends) >= 2**stored:
        # Stated in more bits than the pixels keep, which lose the same ones.
        ends = [end % 2**stored for end in ends]
    return min(ends), max(ends)


def _window(reader: Values) -> Window | None:
    """Return the first window; None where it is missing or its width is not valid."""
    if not reader.text("WindowCenter") or not reader.text("WindowWidth"):
        return None
    function = reader.text("VOILUTFunction") or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise DataError(
            f"{reader.name}: VOILUTFunction is none of LINEAR, LINEAR_EXACT and SIGMOID"
        )
    centre, width = reader.decimal("WindowCenter", 0.0), reader.decimal("WindowWidth", 0.0)
    # PS3.3 C.11.2.1.2.1 and C.11.2.1.3: LINEAR is defined from 1 on, the others above 0.
    valid = width >= 1 if function == "LINEAR" else width > 0
    return Window(centre, width, function) if valid else None
