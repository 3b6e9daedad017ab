"""What a DICOM header says about the picture, checked before a pixel is decoded.

A value that may be free text never gets into a message; numbers and DICOM's own terms do.
Not for reading the values (`values`) and not for applying them (`display`).
Source: DICOM PS3.3, C.7.6.3 (image pixel), C.7.5.1.1.2 (padding), C.11.1 and C.11.2 (LUTs).
"""

from dataclasses import dataclass

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.dataset import MAX_PIXELS, DicomFile
from cxrssl.data.dicom.values import Table, Values
from cxrssl.data.dicom.voi import Window, functional_groups, read_voi

# The defined terms of PhotometricInterpretation, PS3.3 C.7.6.3.1.2.
_TERMS = frozenset(
    ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "XYB")
) | frozenset(
    ("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
)


@dataclass(frozen=True)
class Header:
    """One grey frame: how it is stored and how it is to be shown.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        bits_allocated: 8 or 16.
        bits_stored: 1 to bits_allocated.
        high_bit: Place of a level's highest bit in a pixel, from 0.
        signed: Whether levels are two's complement.
        inverted: Whether low levels are bright (MONOCHROME1).
        padding: Lowest and highest level that stand for "no pixel", if declared.
        slope: Stored level times this,
        intercept: plus this, is the modality level, where there is no modality table.
        modality: Modality lookup table.
        voi: Values-of-interest lookup table; before a window.
        window: The first window that is valid, where no such table is.
        warnings: What had to be guessed or contradicts itself; a sentence each, without values.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    inverted: bool
    padding: tuple[int, int] | None
    slope: float
    intercept: float
    modality: Table | None
    voi: Table | None
    window: Window | None
    warnings: tuple[str, ...]

    @property
    def shift(self) -> int:
        """Return how many bits of a pixel lie below its level."""
        return self.high_bit + 1 - self.bits_stored

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
    high_bit, signed = _high_bit(reader, allocated, stored), _is_signed(reader)
    modality = _modality(reader, signed=signed)
    slope, intercept = (1.0, 0.0) if modality else _rescale(reader)
    voi = read_voi(reader, negative=signed or intercept < 0)
    return Header(
        rows=reader.integer("Rows"),
        columns=reader.integer("Columns"),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        signed=signed,
        inverted=reader.text("PhotometricInterpretation") == "MONOCHROME1",
        padding=_padding(reader, allocated, stored, high_bit, signed),
        slope=slope,
        intercept=intercept,
        modality=modality,
        voi=voi.table,
        window=voi.window,
        warnings=(*voi.warnings, *_contradictions(reader)),
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
        photometric_text = repr(photometric) if photometric in _TERMS else "none of DICOM's terms"
        raise DataError(
            f"{name}: PhotometricInterpretation is {photometric_text}, "
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


def _high_bit(reader: Values, allocated: int, stored: int) -> int:
    """Return where a level's highest bit is; before the 2014 edition it could be above the lowest.

    Raises:
        DataError: If a level of the stored bits can't end there.
    """
    high_bit = reader.integer("HighBit", stored - 1)
    if not stored <= high_bit + 1 <= allocated:
        raise DataError(
            f"{reader.name}: HighBit is {high_bit} with {stored} bits stored in {allocated}; "
            f"expected {stored - 1} to {allocated - 1}"
        )
    return high_bit


def _is_signed(reader: Values) -> bool:
    representation = reader.integer("PixelRepresentation", 0)
    if representation not in (0, 1):
        raise DataError(
            f"{reader.name}: PixelRepresentation is {representation}; "
            "expected 0 (unsigned) or 1 (two's complement)"
        )
    return representation == 1


def _modality(reader: Values, *, signed: bool) -> Table | None:
    """Return the modality lookup table; levels without theirs are others, so a broken one ends it.

    Raises:
        DataError: If it is broken.
    """
    keyword = "ModalityLUTSequence"
    items = reader.items(keyword)
    return items[0].lookup_table(keyword, negative=signed) if items else None


def _rescale(reader: Values) -> tuple[float, float]:
    """Return slope and intercept, from the functional groups where they are only there."""
    keywords = ("RescaleSlope", "RescaleIntercept")
    sources = [reader, *functional_groups(reader, "PixelValueTransformationSequence")]
    source = next((s for s in sources if any(map(s.has, keywords))), reader)
    return source.decimal("RescaleSlope", 1.0), source.decimal("RescaleIntercept", 0.0)


def _contradictions(reader: Values) -> list[str]:
    """Return a warning if the LUT shape contradicts the photometric interpretation.

    Source: PS3.3 C.8.11.3.1.2: IDENTITY with MONOCHROME2, INVERSE with MONOCHROME1.
    """
    photometric = reader.text("PhotometricInterpretation")
    shape = reader.text("PresentationLUTShape")
    if (photometric, shape) not in (("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "IDENTITY")):
        return []
    return [
        f"PresentationLUTShape {shape} contradicts {photometric}, which was followed: "
        "see whether bone is bright"
    ]


def _padding(
    reader: Values, allocated: int, stored: int, high_bit: int, signed: bool
) -> tuple[int, int] | None:
    """Return the range of levels that stand for no pixel; often stated with the wrong sign."""
    if not reader.has("PixelPaddingValue"):
        return None
    value = reader.integer("PixelPaddingValue")
    ends = [value, reader.integer("PixelPaddingRangeLimit", value)]
    shift = high_bit + 1 - stored
    ends = [end % 2**allocated for end in ends]
    if shift and max(ends) >= 2**stored:  # stated as the pixels are, with the bits below the level
        ends = [end >> shift for end in ends]
        allocated = stored
    half = 2 ** (allocated - 1)
    if signed:
        ends = [end - 2 * half if end >= half else end for end in ends]
    elif max(ends) >= 2**stored:
        # Stated in more bits than the pixels keep, which lose the same ones.
        ends = [end % 2**stored for end in ends]
    return min(ends), max(ends)
