"""A DICOM file in memory as far as its picture needs it: read by pydicom, within limits.

pydicom reads what it is given, and some files are made to cost: 8 MB of empty sequence items take
it half a minute and 750 MB. So it is given only so many reads. Not for what the values mean
(`header`).
"""

from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
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
# Every element and item takes pydicom a read or more, a radiograph's some hundreds. Compressed
# pixels are read in pieces of 8 KiB: 150 megapixels of 16 bits fit, even if nothing is gained.
_MAX_READS = 50_000


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
        DataError: If it is no DICOM file, is broken or cut, has more parts than any radiograph,
            nests them too deeply, is deflated, or holds no integer pixel data.
    """
    if content[128:132] != b"DICM":
        raise DataError(f"{name}: not a readable DICOM file: 'DICM' is missing at byte 128")
    limited = _Limited(content)
    try:
        return _read(limited, name)
    except (DataError, MemoryError):
        raise
    except RecursionError as error:
        raise DataError(f"{name}: sequences are nested too deeply") from error
    # pydicom's messages quote the values they complain of, which may be the patient's.
    except Exception as error:
        if limited.reads_left < 0:
            raise DataError(
                f"{name}: more elements and sequence items than any radiograph"
            ) from error
        raise DataError(
            f"{name}: the structure of the DICOM file is broken ({type(error).__name__})"
        ) from error


class _Limited(BytesIO):
    """Bytes that can be read from a limited number of times."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.reads_left = _MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `BytesIO` does, while there are reads left."""
        self.reads_left -= 1
        if self.reads_left < 0:
            raise OSError("no reads left")
        return super().read(size)


def _read(limited: _Limited, name: str) -> DicomFile:
    limited.seek(132)
    meta = read_dataset(limited, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if not syntax:
        raise DataError(f"{name}: no image: the file has no transfer syntax")
    if syntax == DeflatedExplicitVRLittleEndian:
        raise DataError(
            f"{name}: the data set is deflated, which no limit could be set to. "
            "Re-encode it, for example with dcmtk: dcmconv +te IN OUT"
        )
    limited.seek(0)
    wanted: list[str | int | BaseTag] = [*WANTED, *map(Tag, (*_FLOAT_PIXELS, PIXEL_DATA))]
    dataset = pydicom.dcmread(limited, specific_tags=wanted)
    if any(tag in dataset for tag in _FLOAT_PIXELS):
        raise DataError(f"{name}: the pixels are floating-point numbers; expected integers")
    if PIXEL_DATA not in dataset:
        raise DataError(f"{name}: no image: the file has no pixel data, or is cut inside it")
    pixels = dataset.get_item(PIXEL_DATA)
    undefined = bool(getattr(pixels, "is_undefined_length", False))
    return DicomFile(
        syntax,
        dataset,
        pixels.value or b"",
        fragmented=undefined or getattr(pixels, "length", 0) == 0xFFFFFFFF,
        big_endian=not dataset.original_encoding[1],
        words=pixels.VR == "OW",
    )
