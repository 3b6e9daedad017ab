"""The stored levels of one frame, exactly and in full.

Uncompressed here, RLE and JPEG lossless by imagecodecs (`lossless`), all else by pydicom's plugin
pylibjpeg.

Not for decodes at a smaller size (`jpeg2000`) and not for showing (`display`).
Shapes: levels [H, W] uint8, int8, uint16 or int16.
"""

import struct

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.advice import PLUGIN, decode_advice, syntax_name
from cxrssl.data.dicom.dataset import DicomFile
from cxrssl.data.dicom.frames import check_jpeg, check_rle, joined_fragments
from cxrssl.data.dicom.header import Header
from cxrssl.data.dicom.jpeg2000 import read_codestream
from cxrssl.data.dicom.lossless import jpeg_lossless, run_lengths

Stored = NDArray[np.uint8] | NDArray[np.int8] | NDArray[np.uint16] | NDArray[np.int16]


def stored_levels(file: DicomFile, header: Header, name: str) -> Stored:
    """Return the levels of the whole frame.

    Raises:
        DataError: If the pixel data is cut, is not what the header says, or can't be decoded.
    """
    encapsulated = _is_encapsulated(file, name)
    if encapsulated != file.fragmented:
        raise DataError(
            f"{name}: pixel data {'in' if file.fragmented else 'without'} fragments; "
            f"{syntax_name(file.syntax)} has it {'in' if encapsulated else 'without'}"
        )
    if not encapsulated:
        return _meaningful(_native_levels(file, header, name), header)
    frame = joined_fragments(file.pixels, name)
    if file.syntax == RLELossless:
        check_rle(frame, header, name)
    elif file.syntax in JPEG2000TransferSyntaxes:
        read_codestream(frame, width=header.columns, height=header.rows, name=name)
    elif file.syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
        check_jpeg(frame, header, name)
    else:  # no stream reaches a decoder unchecked
        raise DataError(f"{name}: {syntax_name(file.syntax)} is not decoded")
    return _decoded(frame, file.syntax, header, name)


def _is_encapsulated(file: DicomFile, name: str) -> bool:
    advice = decode_advice(file.syntax)
    if advice is not None:
        raise DataError(f"{name}: pixels can't be decoded: {advice}")
    return bool(UID(file.syntax).is_encapsulated)


def _native_levels(file: DicomFile, header: Header, name: str) -> Stored:
    """Return a view of uncompressed levels as they are stored, unused bits and all."""
    size = header.bits_allocated // 8
    count = header.rows * header.columns
    if len(file.pixels) < count * size:
        raise DataError(
            f"{name}: the pixel data is cut: {len(file.pixels)} bytes, and "
            f"{header.columns}x{header.rows} pixels of {header.bits_allocated} bits take "
            f"{count * size}"
        )
    order = ">" if file.big_endian else "<"
    if size == 1 and file.big_endian and file.words:
        # Bytes that were swapped with the words they were put in; the last may lack its partner.
        words = np.frombuffer(file.pixels[: len(file.pixels) // 2 * 2], ">u2")
        return words.astype("<u2").view(np.uint8)[:count].reshape(header.rows, header.columns)
    levels = np.frombuffer(file.pixels[: count * size], f"{order}u{size}")
    return levels.reshape(header.rows, header.columns)


def _meaningful(levels: Stored, header: Header) -> Stored:
    """Return levels without what other bits than the stored ones hold, such as an overlay."""
    unused = header.bits_allocated - header.bits_stored
    levels = levels.astype(f"u{levels.dtype.itemsize}", copy=False)
    if header.signed:
        levels = levels.view(f"i{levels.dtype.itemsize}")
        # Shifting up and down again copies the highest stored bit into the unused ones.
        return levels if unused == 0 else (levels << unused) >> unused
    if unused == 0 or int(levels.max()) < 2**header.bits_stored:
        return levels
    return levels & levels.dtype.type(2**header.bits_stored - 1)


def _decoded(frame: memoryview, syntax: str, header: Header, name: str) -> Stored:
    try:
        levels = _by_codec(frame, syntax, header)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    # Decoders raise whatever they like on a broken stream, and the one in Rust panics with a
    # BaseException; one broken file must not end an ingest. Their messages may quote anything.
    except BaseException as error:
        raise DataError(
            f"{name}: pixels can't be decoded: the {syntax_name(syntax)} stream is broken "
            f"({type(error).__name__})"
        ) from error
    if levels.shape != (header.rows, header.columns) or levels.dtype.itemsize > 2:
        raise DataError(
            f"{name}: pixels of shape {levels.shape}; "
            f"expected one grey frame of {header.columns}x{header.rows}"
        )
    return levels


def _by_codec(frame: memoryview, syntax: str, header: Header) -> Stored:
    levels: Stored
    shape = header.rows, header.columns
    if syntax == RLELossless:
        content = run_lengths(frame, num_pixels=header.rows * header.columns)
        return _meaningful(content.reshape(shape), header)
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        levels = jpeg_lossless(frame)
        # Eight bits in sixteen are valid; more bits than the header allows are not.
        if 8 * levels.dtype.itemsize <= header.bits_allocated and levels.shape == shape:
            return _meaningful(levels.astype(f"u{header.bits_allocated // 8}", copy=False), header)
        raise ValueError("the stream is not what the header says")
    return _by_pydicom(frame, syntax, header)


def _by_pydicom(frame: memoryview, syntax: str, header: Header) -> Stored:
    # Only what was checked reaches the decoder: one frame in one fragment, and numbers.
    pad = b"\0" * (len(frame) % 2)
    length = struct.pack("<I", len(frame) + len(pad))
    value = b"".join((b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0", length, frame, pad))
    levels, _ = get_decoder(UID(syntax)).as_array(
        value,
        index=0,
        decoding_plugin=PLUGIN,
        rows=header.rows,
        columns=header.columns,
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=header.bits_allocated,
        bits_stored=header.bits_stored,
        photometric_interpretation=header.photometric,
        pixel_representation=int(header.signed),
        pixel_keyword="PixelData",
    )
    return np.asarray(levels)
