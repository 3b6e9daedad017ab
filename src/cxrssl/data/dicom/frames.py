"""The compressed frame of a DICOM file, and limits on it before a decoder sees it.

JPEG 2000 has its own module (`jpeg2000`); decoding is `stored`'s.
Source: DICOM PS3.5, A.4 (fragments) and annex G (RLE); ITU-T T.81, B.1 and B.2 (JPEG markers);
ITU-T T.87, C.2.2 (JPEG-LS).
"""

import re
import struct
from io import BytesIO
from itertools import pairwise

from pydicom.encaps import generate_fragments, parse_basic_offsets

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.header import Header

_RLE_HEADER_BYTES = 64
# Start of a frame: all SOFs of JPEG, JPEG-LS's, and the hierarchical one.
_FRAME_STARTS = frozenset((*range(0xC0, 0xD0), 0xDE, 0xF7)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_ANY_FRAME_START = re.compile(b"\xff[" + re.escape(bytes(sorted(_FRAME_STARTS))) + b"]")
_MAX_SEGMENTS = 10_000


def joined_fragments(pixels: bytes, name: str) -> memoryview:
    """Return the one frame in a fragmented pixel data value.

    The offset table in front is not used: a single frame is all the fragments together.

    Raises:
        DataError: If the fragments are broken, or hold nothing.
    """
    buffer = BytesIO(pixels)
    try:
        parse_basic_offsets(buffer)
        fragments = list(generate_fragments(buffer))
    # pydicom's messages quote what it found.
    except (ValueError, struct.error) as error:
        raise DataError(f"{name}: the fragments of the pixel data are broken") from error
    if not any(fragments):
        raise DataError(f"{name}: no image: the pixel data is empty")
    return memoryview(fragments[0] if len(fragments) == 1 else b"".join(fragments))


def check_jpeg(frame: memoryview, header: Header, name: str) -> None:
    """Refuse a JPEG or JPEG-LS stream whose frame is not the one that the header describes.

    Raises:
        DataError: If size or components differ, there are several frames, or it is cut or broken.
    """
    size, scan = _jpeg_size(frame, name)
    if size != (header.columns, header.rows, 1):
        raise DataError(
            f"{name}: the JPEG stream holds {size[0]}x{size[1]} pixels of {size[2]} component(s); "
            f"the header says {header.columns}x{header.rows} of 1"
        )
    # In coded data no byte 0xFF is followed by one of these. Decoders fill up a cut stream.
    if not re.compile(b"\xff\xd9").search(frame, scan):
        raise DataError(f"{name}: the JPEG stream is cut: it has no end marker")
    if _ANY_FRAME_START.search(frame, scan):
        raise DataError(f"{name}: the JPEG stream holds a second frame; expected one")


def check_rle(frame: memoryview, header: Header, name: str) -> None:
    """Refuse run-length coded data whose segments are not one for each byte of a pixel.

    Raises:
        DataError: If their number or places are not possible.
    """
    expected = header.bits_allocated // 8
    if len(frame) < _RLE_HEADER_BYTES:
        raise DataError(f"{name}: the pixel data is cut inside the RLE header")
    count, *offsets = struct.unpack_from("<16I", frame)
    starts = [*offsets[:expected], len(frame)]
    in_order = all(start < stop for start, stop in pairwise(starts))
    if count != expected or offsets[0] != _RLE_HEADER_BYTES or not in_order:
        raise DataError(
            f"{name}: the RLE header's {count} segment(s) don't fit; "
            f"expected {expected} within {len(frame)} bytes"
        )


def _jpeg_size(frame: memoryview, name: str) -> tuple[tuple[int, int, int], int]:
    """Return width, height and components of the first frame, and where its scan begins."""
    broken = DataError(f"{name}: pixels can't be decoded: the JPEG markers are broken")
    if bytes(frame[:2]) != b"\xff\xd8":
        raise broken
    sizes: list[tuple[int, int, int]] = []
    at = 2
    for _ in range(_MAX_SEGMENTS):
        while bytes(frame[at : at + 2]) == b"\xff\xff":  # fill bytes
            at += 1
        if at + 4 > len(frame) or frame[at] != 0xFF:
            raise broken
        marker, (length,) = frame[at + 1], struct.unpack_from(">H", frame, at + 2)
        if marker == _START_OF_SCAN and len(sizes) == 1:
            return sizes[0], at
        if marker in _FRAME_STARTS:
            if at + 10 > len(frame) or sizes:
                raise broken
            _, height, width, components = struct.unpack_from(">BHHB", frame, at + 4)
            sizes.append((width, height, components))
        at += 2 + length
    raise broken
