"""The compressed frame of a DICOM file, and limits on it before a decoder sees it.

JPEG 2000 has its own module (`jpeg2000`); decoding is `stored`'s.
Source: DICOM PS3.5, A.4 (fragments) and annex G (RLE); ITU-T T.81, B.1 and B.2 (JPEG markers);
ITU-T T.87, C.2.2 (JPEG-LS).
"""

import re
import struct
from dataclasses import dataclass
from itertools import pairwise

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.header import Header

_ITEM, _END_OF_ITEMS = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_MAX_FRAGMENTS = 100_000
_RLE_HEADER_BYTES = 64
# Start of a frame: all SOFs of JPEG, JPEG-LS's, and the hierarchical one.
_FRAME_STARTS = frozenset((*range(0xC0, 0xD0), 0xDE, 0xF7)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_ANY_FRAME_START = re.compile(b"\xff[" + re.escape(bytes(sorted(_FRAME_STARTS))) + b"]")
_MAX_SEGMENTS = 10_000
_JPEG_LS = "JPEG-LS"
_PROCESSES = {
    0xC0: "JPEG baseline",
    0xC1: "JPEG extended",
    0xC2: "JPEG progressive",
    0xC3: "JPEG lossless",
    0xF7: _JPEG_LS,
}


@dataclass(frozen=True)
class JpegStream:
    """What the markers of a JPEG or JPEG-LS stream say.

    Attributes:
        width: Columns.
        height: Rows.
        num_components: Channels.
        precision: Bits of a sample.
        process: "JPEG baseline", ..., or "JPEG-LS".
        scan: Offset of its first scan in bytes.
    """

    width: int
    height: int
    num_components: int
    precision: int
    process: str
    scan: int


def joined_fragments(pixels: memoryview, name: str) -> memoryview:
    """Return the one frame in a fragmented pixel data value.

    The offset table in front is not used: a single frame is all the fragments together. pydicom
    would cut a fragment that is longer than what is there without a word.

    Raises:
        DataError: If the fragments are broken or cut, hold nothing, or hold several frames.
    """
    fragments: list[memoryview] = []
    at = 0
    while bytes(pixels[at : at + 4]) == _ITEM and len(fragments) <= _MAX_FRAGMENTS:
        length = int.from_bytes(pixels[at + 4 : at + 8], "little")
        if at + 8 + length > len(pixels):
            raise DataError(
                f"{name}: the file is cut inside its pixel data, or a fragment lies: it claims "
                f"{length} bytes, and {max(len(pixels) - at - 8, 0)} are left"
            )
        fragments.append(pixels[at + 8 : at + 8 + length])
        at += 8 + length
    if at >= len(pixels):
        raise DataError(f"{name}: the file is cut inside its pixel data: no end of the fragments")
    if bytes(pixels[at : at + 4]) != _END_OF_ITEMS or not fragments:
        raise DataError(f"{name}: the fragments of the pixel data are broken")
    content = [fragment for fragment in fragments[1:] if fragment]
    if not content:
        raise DataError(f"{name}: no image: the pixel data is empty")
    # Where compressed data begins anew, so does a frame; NumberOfFrames says nothing of it.
    if sum(stream_kind(fragment) is not None for fragment in content) > 1:
        raise DataError(
            f"{name}: the pixel data holds several frames, the header speaks of one; "
            "expected a single radiograph"
        )
    return content[0] if len(content) == 1 else memoryview(b"".join(content))


def stream_kind(frame: memoryview) -> str | None:
    """Return what compressed data is by its first bytes; None where they are none that is known."""
    start = bytes(frame[:8])
    if start[:4] == b"\xff\x4f\xff\x51" or start[4:8] == b"jP  ":
        return "JPEG 2000"
    if start[:3] == b"\xff\xd8\xff":
        try:
            return read_jpeg(frame, "").process
        except DataError:
            return "JPEG"
    if len(frame) >= _RLE_HEADER_BYTES:
        count, *offsets = struct.unpack_from("<16I", frame)
        used, unused = offsets[:count], offsets[count:]
        rising = all(before < after for before, after in pairwise(used))
        if 1 <= count <= 15 and offsets[0] == _RLE_HEADER_BYTES and rising and not any(unused):
            return "RLE"
    return None


def check_jpeg(frame: memoryview, header: Header, name: str) -> JpegStream:
    """Refuse a JPEG or JPEG-LS stream whose frame is not the one that the header describes.

    Raises:
        DataError: If size or components differ, there are several frames, or it is cut or broken.
    """
    stream = read_jpeg(frame, name)
    size = stream.width, stream.height, stream.num_components
    if size != (header.columns, header.rows, 1):
        raise DataError(
            f"{name}: the JPEG stream holds {size[0]}x{size[1]} pixels of {size[2]} component(s); "
            f"the header says {header.columns}x{header.rows} of 1"
        )
    # In coded data no byte 0xFF is followed by one of these. Decoders fill up a cut stream.
    if not re.compile(b"\xff\xd9").search(frame, stream.scan):
        raise DataError(f"{name}: the JPEG stream is cut: it has no end marker")
    if _ANY_FRAME_START.search(frame, stream.scan):
        raise DataError(f"{name}: the JPEG stream holds a second frame; expected one")
    return stream


def check_rle(frame: memoryview, header: Header, name: str) -> None:
    """Refuse run-length coded data whose segments are not one for each byte of a pixel.

    Raises:
        DataError: If their number or places are not possible.
    """
    expected = header.bits_allocated // 8
    if len(frame) < _RLE_HEADER_BYTES:
        raise DataError(f"{name}: the pixel data is cut inside the RLE header")
    count, *offsets = struct.unpack_from("<16I", frame)
    segment_starts = [*offsets[:expected], len(frame)]
    in_order = all(start < stop for start, stop in pairwise(segment_starts))
    if count != expected or offsets[0] != _RLE_HEADER_BYTES or not in_order:
        raise DataError(
            f"{name}: the RLE header's {count} segment(s) don't fit; "
            f"expected {expected} within {len(frame)} bytes"
        )


def read_jpeg(frame: memoryview, name: str) -> JpegStream:
    """Read the markers of a JPEG or JPEG-LS stream up to its first scan.

    Raises:
        DataError: If they are broken, or there is not one frame.
    """
    broken = DataError(f"{name}: pixels can't be decoded: the JPEG markers are broken")
    if bytes(frame[:2]) != b"\xff\xd8":
        raise broken
    frames: list[tuple[int, int, int, int, int]] = []
    at = 2
    for _ in range(_MAX_SEGMENTS):
        while bytes(frame[at : at + 2]) == b"\xff\xff":  # fill bytes
            at += 1
        if at + 4 > len(frame) or frame[at] != 0xFF:
            raise broken
        marker, (length,) = frame[at + 1], struct.unpack_from(">H", frame, at + 2)
        if marker == _START_OF_SCAN and len(frames) == 1:
            kind, precision, height, width, components = frames[0]
            process = _PROCESSES.get(kind, "JPEG of a rare kind")
            return JpegStream(width, height, components, precision, process, at)
        if marker in _FRAME_STARTS:
            if at + 10 > len(frame) or frames:
                raise broken
            frames.append((marker, *struct.unpack_from(">BHHB", frame, at + 4)))
        at += 2 + length
    raise broken
