"""A DICOM file in memory as far as its picture needs it: read by pydicom, within limits.

pydicom reads what it is given, and some files are made to cost: 8 MB of empty sequence items take
it half a minute and 750 MB. So it is given only so many reads, nothing from the pixel data on, and
of a deflated data set no more than a radiograph takes. Not for what the values mean (`header`).
Source: DICOM PS3.5, 7.1 (elements), A.5 (deflated data sets); PS3.10, 7.1 (file meta information).
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from cxrssl.core.errors import DataError

MAX_PIXELS = 150_000_000
PIXEL_DATA = 0x7FE00010
_UNDEFINED_LENGTH = 0xFFFFFFFF
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
KEYWORDS = (
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "WindowCenter", "WindowWidth", "RescaleIntercept", "RescaleSlope",
    "VOILUTFunction", "ModalityLUTSequence", "VOILUTSequence", "PresentationLUTShape",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
# Every element and item takes pydicom a read or more, a radiograph's some hundreds.
_MAX_READS = 50_000
# Of a deflated data set, all that stands before its pixels; icons and curves fit.
_MAX_INFLATED_HEADER = 1 << 24
_WRITE_WITH_META = (
    "Write it with file meta information, for example with `dcmconv IN OUT` (dcmtk) or "
    "`gdcmconv IN OUT` (GDCM)"
)
# What a file without a preamble begins with: the group of its first tag, in either byte order.
_BARE_STARTS = (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08")


@dataclass(frozen=True)
class DicomFile:
    """What was found in one file.

    Attributes:
        syntax: Transfer syntax UID.
        dataset: Those elements of `KEYWORDS` that the file has.
        pixels: The value of its pixel data; if in fragments, all from the first item on.
        fragmented: Whether that is in fragments, as compressed data is.
        big_endian: Byte order of uncompressed pixels.
        words: Whether they are stated to be 16-bit words (OW).
    """

    syntax: str
    dataset: Dataset
    pixels: memoryview
    fragmented: bool
    big_endian: bool
    words: bool


@dataclass(frozen=True)
class _Header:
    """The elements before the pixel data, where its value begins, and how long it is said to be."""

    dataset: Dataset
    start: int
    length: int
    words: bool


def read_file(content: bytes, name: str) -> DicomFile:
    """Read a DICOM file up to its pixel data, and that undecoded; what follows is not looked at.

    Args:
        content: The whole file.
        name: What messages call it.

    Raises:
        DataError: If it is no DICOM file, is broken or cut, has more parts than any radiograph,
            nests them too deeply, inflates to more than one, or holds no integer pixel data.
    """
    if content[128:132] != b"DICM":
        is_bare = content[:2] in _BARE_STARTS
        advice = f". It looks like a data set alone. {_WRITE_WITH_META}" if is_bare else ""
        raise DataError(f"{name}: not a readable DICOM file: 'DICM' is missing at byte 128{advice}")
    limited = _Limited(content)
    limited.seek(132)
    with _pydicom_faults(limited, name):
        meta = read_dataset(limited, False, True, stop_when=lambda tag, _vr, _size: tag.group != 2)
        syntax = str(meta.get("TransferSyntaxUID", "")).strip("\0 ")
    if not syntax:
        raise DataError(f"{name}: no image: the file has no transfer syntax. {_WRITE_WITH_META}")
    if syntax == DeflatedExplicitVRLittleEndian:
        return _inflated(memoryview(content)[limited.tell() :], name)
    header = _read_header(limited, syntax, name)
    end = None if header.length == _UNDEFINED_LENGTH else header.start + header.length
    return _file(header, syntax, memoryview(content)[header.start : end])


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


@contextmanager
def _pydicom_faults(limited: _Limited, name: str) -> Iterator[None]:
    """Turn whatever pydicom raises into a `DataError`; its messages quote values, of patients too.

    Raises:
        DataError: For every exception but `MemoryError`.
    """
    try:
        yield
    except (DataError, MemoryError):
        raise
    except RecursionError as error:
        raise DataError(f"{name}: sequences are nested too deeply") from error
    except Exception as error:
        if limited.reads_left < 0:
            raise DataError(
                f"{name}: more elements and sequence items than any radiograph"
            ) from error
        raise DataError(
            f"{name}: the structure of the DICOM file is broken ({type(error).__name__})"
        ) from error


def _read_header(limited: _Limited, syntax: str, name: str) -> _Header:
    """Read elements up to the pixel data.

    Raises:
        DataError: As `read_file`.
    """
    pixel_element: list[tuple[str | None, int]] = []

    def is_pixel_data(tag: BaseTag, kind: str | None, length: int) -> bool:
        pixel_element[:] = [(kind, length)] if int(tag) == PIXEL_DATA else []
        return bool(pixel_element)

    with _pydicom_faults(limited, name):
        dataset = read_dataset(
            limited,
            syntax == ImplicitVRLittleEndian,
            syntax != ExplicitVRBigEndian,
            stop_when=is_pixel_data,
            specific_tags=[*map(Tag, KEYWORDS), *map(BaseTag, _FLOAT_PIXELS)],
        )
    if any(tag in dataset for tag in _FLOAT_PIXELS):
        raise DataError(f"{name}: the pixels are floating-point numbers; expected integers")
    if not pixel_element:
        raise DataError(f"{name}: no image: the file has no pixel data, or is cut inside it")
    kind, length = pixel_element[0]
    # pydicom goes back to where the element begins.
    start = limited.tell() + (12 if kind in EXPLICIT_VR_LENGTH_32 else 8)
    return _Header(dataset, start, length, words=kind in (None, "OW"))


def _file(header: _Header, syntax: str, pixels: memoryview) -> DicomFile:
    return DicomFile(
        syntax,
        header.dataset,
        pixels,
        fragmented=header.length == _UNDEFINED_LENGTH,
        big_endian=syntax == ExplicitVRBigEndian,
        words=header.words,
    )


def _inflated(deflated: memoryview, name: str) -> DicomFile:
    """Read a deflated data set: first its header, then as much as that says its pixels take.

    Raises:
        DataError: As `read_file`.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        head = inflater.decompress(deflated, _MAX_INFLATED_HEADER)
        header = _read_header(_Limited(head), DeflatedExplicitVRLittleEndian, name)
        fragmented = header.length == _UNDEFINED_LENGTH
        if header.length > 2 * MAX_PIXELS + 1 and not fragmented:
            raise DataError(
                f"{name}: the deflated data set claims {header.length >> 20} MiB of pixel data; "
                f"at most {2 * MAX_PIXELS >> 20} are read"
            )
        pixels = head[header.start :]
        num_missing = header.length - len(pixels)
        if num_missing > 0 and not fragmented:
            pixels += inflater.decompress(inflater.unconsumed_tail, num_missing)
    except zlib.error as error:
        raise DataError(f"{name}: the deflated data set is broken") from error
    if not fragmented:
        pixels = pixels[: header.length]
    return _file(header, DeflatedExplicitVRLittleEndian, memoryview(pixels))
