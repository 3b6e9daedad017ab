"""JPEG 2000: what a codestream says of itself, limits before it is decoded, and small decodes.

A wavelet stream holds the image at half, a quarter, ... of its size; decoding no more than is
needed takes a fourteenth of the time. Not for full decodes, which are `decoders`'.
Source: ISO/IEC 15444-1 (ITU-T T.800), A.4 (markers), A.5 (SIZ), A.6 (COD, COC), I.4 (boxes).
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrssl.core.errors import DataError

_SIZ, _COD, _COC, _SOT, _SOD, _EOC = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93, 0xFFD9
_MAX_MARKERS = 100_000
# The end of a codestream and the start of another; coded data holds no such end.
_SECOND_START = re.compile(b"\xff\xd9\0*\xff\x4f\xff\x51")
# 150 megapixels in tiles of 256 are 2,300; a decoder takes some kB for each before it begins.
_MAX_TILES = 4096
# 150 megapixels in blocks of 32x32 are 200,000; a decoder takes some 300 bytes for each,
_MAX_BLOCKS = 1_000_000
# and 2 bytes for each layer of each precinct.
_MAX_LAYERED_PRECINCTS = 2**26


@dataclass(frozen=True)
class Codestream:
    """What the markers of one codestream say.

    Attributes:
        width: Columns, without the offset.
        height: Rows, without the offset.
        num_tiles: Tiles, all together.
        num_components: Channels.
        precision: Bits of a sample.
        signed: Whether samples are two's complement.
        levels: How many times the size can be halved.
        reversible: Whether its wavelet is the 5/3 of whole numbers, not the 9/7.
        plain: Whether it is one tile without offset or subsampling, of one coding style.
    """

    width: int
    height: int
    num_tiles: int
    num_components: int
    precision: int
    signed: bool
    levels: int
    reversible: bool
    plain: bool


def read_codestream(frame: memoryview, *, width: int, height: int, name: str) -> Codestream:
    """Read the markers of a codestream, bare or in a JP2 file, and refuse what is absurd.

    Args:
        frame: The stream.
        width: Columns that it should have.
        height: Rows that it should have.
        name: What messages call the file.

    Raises:
        DataError: If it is not a codestream, is of another size, has several components, is
            followed by another, or would cost a decoder far more memory than its image takes.
    """
    frame = _unboxed(frame)
    if _SECOND_START.search(frame):
        raise DataError(f"{name}: the JPEG 2000 stream holds a second frame; expected one")
    try:
        segments = list(_segments(frame))
        sizes = [segment for marker, segment in segments if marker == _SIZ]
        styles = [(marker, segment) for marker, segment in segments if marker in (_COD, _COC)]
        if len(sizes) != 1 or not styles or styles[0][0] != _COD:
            raise _broken(name)
        stream = _described(sizes[0], styles[0][1], plain=len(styles) == 1)
        if (stream.width, stream.height, stream.num_components) != (width, height, 1):
            raise DataError(
                f"{name}: the JPEG 2000 stream holds {stream.width}x{stream.height} pixels of "
                f"{stream.num_components} component(s); the header says {width}x{height} of 1"
            )
        if stream.num_tiles > _MAX_TILES:
            raise DataError(
                f"{name}: the JPEG 2000 stream claims {stream.num_tiles} tiles; "
                f"at most {_MAX_TILES} are decoded"
            )
        layers = struct.unpack_from(">H", styles[0][1], 2)[0]
        for marker, segment in styles:
            # A COC names its component first; a COD has progression, layers and transform inside.
            style = (
                bytes(segment[1:]) if marker == _COC else bytes(segment[:1]) + bytes(segment[5:])
            )
            _check_blocks(stream, style, layers, name)
    except (struct.error, IndexError) as error:
        raise _broken(name) from error
    return stream


def levels_to_skip(stream: Codestream, *, width: int, height: int) -> int:
    """Return how often the size can be halved with both sides still at least width and height."""
    skipped = 0
    while (
        skipped < stream.levels
        and -(-stream.width // 2 ** (skipped + 1)) >= width
        and -(-stream.height // 2 ** (skipped + 1)) >= height
    ):
        skipped += 1
    return skipped


def reduced_levels(frame: memoryview, stream: Codestream, skipped: int) -> NDArray[np.float32]:
    """Decode a bare, plain codestream of one component at 1/2^skipped of its size.

    Returns:
        [ceil(H / 2^skipped), ceil(W / 2^skipped)] in the stream's own units. The low-pass samples
        lie on original pixels 0, 2^skipped, ...; not in the middle of the blocks between.
    """
    image = Image.open(BytesIO(frame), formats=["JPEG2000"])
    # Pillow rounds the reduced size where the standard (B.5) rounds up, and then calls 44 of 100
    # sizes broken; of a multiple both give the same.
    step = 2**skipped
    image._size = (-(-stream.width // step) * step, -(-stream.height // step) * step)
    image.reduce = skipped  # type: ignore[method-assign,assignment]
    levels = np.asarray(image)
    # Pillow fills up 8 or 16 bits, and lifts signed samples to start at zero.
    levels = (levels >> (8 * levels.itemsize - stream.precision)).astype(np.float32)
    if stream.signed:
        levels -= np.float32(2 ** (stream.precision - 1))
    # In whole numbers the 5/3 wavelet's high-pass samples are cut, not rounded, to a quarter too
    # much on average; that lifts the low-pass ones by half a level a halving (F.4.8; measured 0.50
    # at all depths, which is a grey level and more in images of 8 bits).
    if stream.reversible:
        levels -= np.float32(0.5 * skipped)
    return levels


def _unboxed(frame: memoryview) -> memoryview:
    """Return the codestream of a JP2 file, which DICOM forbids and some writers store."""
    if bytes(frame[4:8]) != b"jP  ":
        return frame
    at = 0
    for _ in range(_MAX_MARKERS):
        if at + 16 > len(frame):
            break
        length, kind = struct.unpack_from(">I4s", frame, at)
        header_bytes = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", frame, at + 8)
            header_bytes = 16
        if kind == b"jp2c":
            return frame[at + header_bytes :]
        if length < header_bytes:
            break
        at += length
    return frame[:0]


def _segments(frame: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield marker segments of the main header and of every tile-part's; skip the data between."""
    if bytes(frame[:2]) != b"\xff\x4f":
        raise IndexError
    at, part_end = 2, 0
    for _ in range(_MAX_MARKERS):
        # The end marker may be missing: the decoder sees to that.
        marker = struct.unpack_from(">H", frame, at)[0] if at + 2 <= len(frame) else _EOC
        if marker == _EOC or (marker == _SOD and part_end == 0):
            return
        if marker == _SOD:
            at, part_end = part_end, -1  # only a new tile-part may come now
            continue
        (length,) = struct.unpack_from(">H", frame, at + 2)
        if length < 2 or (part_end == -1 and marker != _SOT):
            raise IndexError
        if marker == _SOT:
            part_end = _part_end(frame, at)
        yield marker, frame[at + 4 : at + 2 + length]
        at += 2 + length
    raise IndexError


def _part_end(frame: memoryview, at: int) -> int:
    """Return where the tile-part that begins at `at` ends; 0 for the last, without a length."""
    (length,) = struct.unpack_from(">I", frame, at + 6)
    # Its own marker segment and SOD take 14 bytes.
    if 0 < length < 14 or at + length > len(frame):
        raise IndexError
    return at + length if length else 0


def _described(siz: memoryview, cod: memoryview, *, plain: bool) -> Codestream:
    x1, y1, x0, y0, tile_w, tile_h, tile_x, tile_y, components = struct.unpack_from(">8IH", siz, 2)
    depth, step_x, step_y = struct.unpack_from(">3B", siz, 36)
    if not (x0 < x1 and y0 < y1 and tile_w and tile_h and tile_x <= x0 and tile_y <= y0):
        raise IndexError
    num_tiles = -(-(x1 - tile_x) // tile_w) * -(-(y1 - tile_y) // tile_h)
    return Codestream(
        width=x1 - x0,
        height=y1 - y0,
        num_tiles=num_tiles,
        num_components=components,
        precision=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        levels=cod[5],
        reversible=cod[9] == 1,
        # Tiles are reduced one by one: what is lost at their edges costs 5 to 25 dB (measured).
        plain=plain
        and num_tiles == 1
        and x0 == y0 == tile_x == tile_y == 0
        and step_x == step_y == 1,
    )


def _check_blocks(stream: Codestream, style: bytes, layers: int, name: str) -> None:
    """Refuse a coding style [Scod, levels, block width, height, mode, transform, precincts...]."""
    levels, block_w, block_h = style[1], (style[2] & 15) + 2, (style[3] & 15) + 2
    if levels > 32:
        raise IndexError
    blocks = precincts = 0
    for resolution in range(levels + 1):
        size = style[6 + resolution] if style[0] & 1 else 0xFF
        across, down = size & 15, size >> 4
        shrink = 2 ** (levels - resolution)
        width, height = -(-stream.width // shrink), -(-stream.height // shrink)
        # Every tile has at least one precinct, and every precinct one block, a resolution.
        num_precincts = max(stream.num_tiles, -(-width >> across) * -(-height >> down))
        precincts += num_precincts
        narrow, low = min(block_w, max(across - 1, 0)), min(block_h, max(down - 1, 0))
        blocks += max(num_precincts, (width >> narrow) * (height >> low))
    if blocks > _MAX_BLOCKS or precincts * (layers + 1) > _MAX_LAYERED_PRECINCTS:
        raise DataError(
            f"{name}: the JPEG 2000 stream claims {blocks} blocks in {layers} layers; "
            "far more than its image needs"
        )


def _broken(name: str) -> DataError:
    return DataError(f"{name}: pixels can't be decoded: the JPEG 2000 markers are broken")
