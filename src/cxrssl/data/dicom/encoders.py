"""Pixels to compressed frames without loss, by imagecodecs: for the files that `write` makes.

With `decoders` the only door to imagecodecs.
Source: DICOM PS3.5, annex G (RLE).
"""

import struct
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

_MAX_SEGMENTS = 15


def jpeg2000(pixels: NDArray[np.unsignedinteger[Any]], *, bits: int) -> bytes:
    """Encode [H, W] uint8 or uint16 as a bare JPEG 2000 codestream of `bits`, reversibly."""
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels, level=0, codecformat="j2k", reversible=True, bitspersample=bits
        )
    )


def run_lengths(pixels: NDArray[np.unsignedinteger[Any]]) -> bytes:
    """Encode [H, W] uint8 or uint16 as an RLE frame: a segment a byte, the high bytes first.

    No run crosses from one row into the next (G.3.1), and every segment has an even length.
    """
    size = pixels.dtype.itemsize
    planes = np.ascontiguousarray(pixels).astype(f">u{size}").view(np.uint8)
    segments = []
    for plane in range(size):
        coded = bytes(imagecodecs.packbits_encode(planes[:, plane::size].copy(), axis=-1))
        segments.append(coded + b"\0" * (len(coded) % 2))
    segment_starts = np.cumsum([64, *map(len, segments[:-1])]).tolist()
    table = struct.pack("<16I", size, *segment_starts, *[0] * (_MAX_SEGMENTS - size))
    return table + b"".join(segments)
