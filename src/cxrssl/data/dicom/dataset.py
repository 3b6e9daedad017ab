"""A DICOM file in memory as far as its picture needs it: read by pydicom, within limits.

pydicom reads what it is given, and some files are made to cost: 8 MB of empty sequence items take
it half a minute and 750 MB. What such files need is looked for before it begins. Not for what the
values mean (`header`).
"""

from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from cxrssl.core.errors import DataError

PIXEL_DATA = 0x7FE00010
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
WANTED = (
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "WindowCenter", "WindowWidth", "RescaleIntercept", "RescaleSlope",
    "VOILUTFunction", "ModalityLUTSequence", "VOILUTSequence",
)  # fmt: skip
# A radiograph has some dozens; compressed pixel data may come in so many fragments, not more.
_MAX_ITEMS = 20_000
_ITEM_MARKS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
# The file meta information, with the transfer syntax in it, is the first thing after 132 bytes.
_META_BYTES = 4096


@dataclass(frozen=True)
class DicomFile:
    """What was found in one file.

    Attributes:
        syntax: Its transfer syntax UID.
        dataset: The values in `WANTED` that it has.
        pixels: The value of its pixel data.
        fragmented: Whether that is in fragments, as compressed data is.
        big_endian: Byte order of uncompressed pixels.
        words: Whether they are stated to be 16-bit words (OW).
    """

    syntax: str
    dataset: Dataset
    pixels: bytes
    fragmented: bool
    big_endian: bool
    words: bool


def read_file(content: bytes, name: str) -> DicomFile:
    """Read a DICOM file up to its pixel data, and that undecoded.

    Args:
        content: The whole file.
        name: What messages call it.

    Raises:
        DataError: If it is no DICOM file, is broken or cut, has more sequence items than any
            radiograph, nests them too deeply, is deflated, or holds no integer pixel data.
    """
    if content[128:132] != b"DICM":
        raise DataError(f"{name}: not a readable DICOM file: 'DICM' is missing at byte 128")
    if sum(content.count(mark) for mark in _ITEM_MARKS) > _MAX_ITEMS:
        raise DataError(f"{name}: more than {_MAX_ITEMS:,} sequence items")
    if DeflatedExplicitVRLittleEndian.encode() in content[:_META_BYTES]:
        raise DataError(
            f"{name}: the data set is deflated, which no limit could be set to. "
            "Re-encode it, for example with dcmtk: dcmconv +te IN OUT"
        )
    dataset = _dataset(content, name)
    if any(tag in dataset for tag in _FLOAT_PIXELS):
        raise DataError(f"{name}: the pixels are floating-point numbers; expected integers")
    if PIXEL_DATA not in dataset:
        raise DataError(f"{name}: no image: the file has no pixel data, or is cut inside it")
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    if not syntax:
        raise DataError(f"{name}: no image: the file has no transfer syntax")
    pixels = dataset.get_item(PIXEL_DATA)
    return DicomFile(
        syntax,
        dataset,
        pixels.value or b"",
        fragmented=bool(getattr(pixels, "is_undefined_length", False))
        or getattr(pixels, "length", 0) == 0xFFFFFFFF,
        big_endian=not dataset.original_encoding[1],
        words=pixels.VR == "OW",
    )


def _dataset(content: bytes, name: str) -> Dataset:
    wanted: list[str | int | BaseTag] = [*WANTED, *map(Tag, (*_FLOAT_PIXELS, PIXEL_DATA))]
    try:
        return pydicom.dcmread(BytesIO(content), specific_tags=wanted)
    except MemoryError:
        raise
    # Its messages quote the values they complain of, which may be the patient's.
    except RecursionError as error:
        raise DataError(f"{name}: sequences are nested too deeply") from error
    except Exception as error:
        raise DataError(
            f"{name}: the structure of the DICOM file is broken ({type(error).__name__})"
        ) from error
