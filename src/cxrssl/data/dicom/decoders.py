"""Compressed frames to samples, by imagecodecs alone.

One library, so that no two decoders can disagree, and one that refuses damage: charls, behind its
JPEG-LS, refuses 57 of 60 streams with a changed bit and every cut one, libjpeg (GPL) none.
Measured on 2446x2788 of 12 bits, one core: JPEG lossless 58 ms (libjpeg-turbo 3) where pylibjpeg
takes 410 and dicomsdl 115, RLE 10 ms where pylibjpeg takes 24; 1500x1300: JPEG-LS 32 ms where
pylibjpeg takes 153, JPEG of 12 bits 14 and 56. JPEG 2000 takes what it takes elsewhere: all have
OpenJPEG.

With `encoders` the only door to imagecodecs. Not for checks of a stream (`frames`, `jpeg2000`), and
not for what the bits of a sample mean (`stored`).
Source: DICOM PS3.5, annex G (RLE).
"""

import struct
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from cxrssl.core.images import joined_bytes

Samples = NDArray[np.uint8] | NDArray[np.int8] | NDArray[np.uint16] | NDArray[np.int16]
# A build of imagecodecs may lack some of its codecs.
JPEG, JPEG_LS, JPEG_2000, RLE = "JPEG8", "JPEGLS", "JPEG2K", "PACKBITS"
_NO_RUN = 128


class LongSegmentError(ValueError):
    """An RLE segment goes on with other pixels where the picture ends."""


def is_available(codec: str) -> bool:
    """Return whether this build of imagecodecs has a codec, by its name there."""
    return bool(getattr(imagecodecs, codec).available)


def decoded(frame: memoryview, codec: str) -> NDArray[Any]:
    """Decode a checked JPEG, JPEG-LS or JPEG 2000 stream: [H, W] of 8 or 16 bits, as it says.

    JPEG is baseline, extended, progressive or lossless; JPEG 2000 bare or in a JP2 file, and also
    high-throughput: OpenJPEG refuses cut streams of that kind, which OpenJPH shows.

    Raises:
        Exception: Whatever imagecodecs raises on a broken stream.
    """
    decode = {
        JPEG: imagecodecs.jpeg8_decode,
        JPEG_LS: imagecodecs.jpegls_decode,
        JPEG_2000: imagecodecs.jpeg2k_decode,
    }[codec]
    samples: NDArray[Any] = decode(bytes(frame))
    return samples


def run_lengths(
    frame: memoryview, *, rows: int, columns: int
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a checked RLE frame of one or two segments: [rows, columns] uint8 or uint16.

    Never writes more than is asked for, whatever the runs say: what a segment holds beyond is
    padding (G.3.2), or the rest of its last run.

    Raises:
        LongSegmentError: If a segment holds a row or a column more.
        ValueError: If a segment is too short.
        Exception: Whatever imagecodecs raises on one that is broken.
    """
    count, *segment_starts = struct.unpack_from("<16I", frame)
    segment_ends = [*segment_starts[1:count], len(frame)]
    planes = np.empty((count, rows * columns), dtype=np.uint8)
    for plane, start, end in zip(planes, segment_starts, segment_ends, strict=False):
        segment = bytes(frame[start:end])
        try:
            size = len(imagecodecs.packbits_decode(segment, out=plane))
        except imagecodecs.PackbitsError:
            # Too long, or ending inside a run: seldom, and a hundred times slower.
            trimmed = _trimmed(segment, plane.size, surplus=min(rows, columns))
            size = len(imagecodecs.packbits_decode(trimmed, out=plane))
        if size != plane.size:
            raise ValueError("a segment is too short")
    if count == 1:
        return planes.reshape(rows, columns)
    # In the file the high ones come first.
    return joined_bytes(high=planes[0], low=planes[1]).reshape(rows, columns)


def _trimmed(segment: bytes, size: int, *, surplus: int) -> bytes:
    """Return the runs of a segment that give `size` bytes, the last one shortened to fit.

    Raises:
        LongSegmentError: If runs that give `surplus` bytes more follow.
        ValueError: If it holds fewer.
    """
    at = done = 0
    while at < len(segment):
        head, run, stop = _run(segment, at)
        if done + run < size:
            done += run
            at = stop
            continue
        if stop > len(segment) and not (head < _NO_RUN and at + 1 + size - done <= len(segment)):
            break
        last = size - done
        if head < _NO_RUN:
            # What a repeat overshoots by is nothing; a literal run's further bytes are pixels.
            _check_padding(segment[stop:], surplus - len(segment[at + 1 + last : stop]))
            return segment[:at] + bytes((last - 1,)) + segment[at + 1 : at + 1 + last]
        _check_padding(segment[stop:], surplus)
        # A run of one byte can't be told as a repeat: its head would be "no run".
        head = 257 - last if last > 1 else 0
        return segment[:at] + bytes((head, segment[at + 1]))
    raise ValueError("a segment is too short")


def _run(segment: bytes, at: int) -> tuple[int, int, int]:
    """Return the head of the run at a place, how many bytes it gives, and where the next begins."""
    head = segment[at]
    if head == _NO_RUN:
        return head, 0, at + 1
    return (head, head + 1, at + head + 2) if head < _NO_RUN else (head, 257 - head, at + 2)


def _check_padding(trailing: bytes, surplus: int) -> None:
    """Refuse what follows the last run of a picture if it is further pixels, not padding.

    Raises:
        LongSegmentError: If it gives `surplus` bytes, and is not one value again and again.
    """
    if surplus > 0 and trailing.count(trailing[:1]) == len(trailing):
        return
    at = done = 0
    while done < surplus:
        if at >= len(trailing):
            return
        _, run, at = _run(trailing, at)
        if at > len(trailing):
            return
        done += run
    raise LongSegmentError("a segment holds more than its picture")
