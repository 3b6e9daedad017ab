"""The stored levels of one frame, exactly and in full.

Uncompressed here, all else by `decoders`. What a level is: bits HighBit + 1 - BitsStored to HighBit
of a sample, in every codec; the others may hold an overlay (PS3.5, 8.1.1).

Not for decodes at a smaller size (`jpeg2000`) and not for showing (`display`).
Shapes: levels [H, W] uint8, int8, uint16 or int16.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import JPEGLossless, JPEGLosslessSV1

from cxrssl.core.errors import DataError
from cxrssl.data.dicom import decoders
from cxrssl.data.dicom.advice import codec_of, decode_advice, syntax_name
from cxrssl.data.dicom.dataset import DicomFile
from cxrssl.data.dicom.frames import check_jpeg, check_rle, joined_fragments, stream_kind
from cxrssl.data.dicom.header import Header
from cxrssl.data.dicom.jpeg2000 import read_codestream

Stored = decoders.Samples

_FEW_BYTES, _BLOCK_BYTES = 16, 512

_KINDS = {
    decoders.JPEG: "JPEG",
    decoders.JPEG_LS: "JPEG-LS",
    decoders.JPEG_2000: "JPEG 2000",
    decoders.RLE: "RLE",
}


@dataclass(frozen=True)
class _Sample:
    """What a stream says of its samples: bits, and whether they are two's complement."""

    precision: int
    signed: bool = False


def stored_levels(file: DicomFile, header: Header, name: str) -> tuple[Stored, tuple[str, ...]]:
    """Return the levels of the whole frame, and warnings about them.

    Raises:
        DataError: If the pixel data is cut, is not what the header says, or can't be decoded.
    """
    advice = decode_advice(file.syntax)
    if advice is not None:
        raise DataError(f"{name}: pixels can't be decoded: {advice}")
    codec = codec_of(file.syntax)
    if (codec is not None) != file.fragmented:
        raise _unlike_the_syntax(file, header, name)
    if codec is None:
        samples, remarks = _native_samples(file, header, name)
        levels, level_remarks = _levels(samples, _Sample(header.bits_allocated), header, name)
        return levels, (*remarks, *level_remarks)
    frame = joined_fragments(file.pixels, name)
    kind = stream_kind(frame)
    # A stream of no known kind goes on: it is told where it is broken.
    if kind is None and len(frame) - _native_bytes(header) in (0, 1):
        kind = "uncompressed"
    if kind is not None and not _fits(kind, codec):
        raise _other_stream(kind, file.syntax, name)
    sample, remarks = _checked(frame, codec, file.syntax, header, name)
    samples = _decoded(frame, codec, file.syntax, header, name)
    levels, level_remarks = _levels(samples, sample, header, name)
    return levels, (*remarks, *level_remarks)


def _fits(kind: str, codec: str) -> bool:
    """Return whether a decoder is one for streams of a kind."""
    if codec == decoders.JPEG:
        return kind.startswith("JPEG") and kind not in ("JPEG-LS", "JPEG 2000")
    return kind in (_KINDS[codec], "JPEG" if codec == decoders.JPEG_LS else "")


def _other_stream(kind: str, syntax: str, name: str) -> DataError:
    subject = f"the pixel data is {kind}" if kind == "uncompressed" else f"the stream is {kind}"
    return DataError(
        f"{name}: pixels can't be decoded: {subject}, the header says {syntax_name(syntax)}. "
        "Correct the transfer syntax in the file meta information, or export the file again"
    )


def _unlike_the_syntax(file: DicomFile, header: Header, name: str) -> DataError:
    """Return the error for fragments where none belong, or none where some do."""
    value = file.pixels
    if file.fragmented:
        value = joined_fragments(value, name)
    kind = stream_kind(value)
    if kind is None and len(value) - _native_bytes(header) in (0, 1):
        kind = "uncompressed"
    if kind is not None and (kind == "uncompressed") != (codec_of(file.syntax) is None):
        return _other_stream(kind, file.syntax, name)
    return DataError(
        f"{name}: pixel data {'in' if file.fragmented else 'without'} fragments; "
        f"{syntax_name(file.syntax)} has it {'without' if file.fragmented else 'in'}"
    )


def _native_bytes(header: Header) -> int:
    return header.rows * header.columns * header.bits_allocated // 8


def _native_samples(
    file: DicomFile, header: Header, name: str
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return a view of uncompressed samples as they are stored, and warnings.

    Raises:
        DataError: If there are fewer, or a row or a column more.
    """
    size, expected = header.bits_allocated // 8, _native_bytes(header)
    surplus = len(file.pixels) - expected
    amount = (
        f"{len(file.pixels)} bytes, and {header.columns}x{header.rows} pixels of "
        f"{header.bits_allocated} bits take {expected}"
    )
    if surplus < 0:
        kind = stream_kind(file.pixels)
        if kind is not None:
            raise _other_stream(kind, file.syntax, name)
        raise DataError(f"{name}: the pixel data is cut: {amount}")
    if surplus > 1 and not _is_padding(bytes(file.pixels[expected:]), header):
        raise DataError(
            f"{name}: the pixel data is longer than its picture: {amount}. "
            "The header's size is wrong, or there are several frames"
        )
    remarks = (f"{surplus} bytes behind the pixels were left out",) if surplus > 1 else ()
    order = ">" if file.big_endian else "<"
    if size == 1 and file.big_endian and file.words:
        # Bytes that were swapped with the words they were put in; the last may lack its partner.
        big_endian_words = np.frombuffer(file.pixels[: len(file.pixels) // 2 * 2], ">u2")
        swapped = big_endian_words.astype("<u2").view(np.uint8)[: header.rows * header.columns]
        return swapped.reshape(header.rows, header.columns), remarks
    samples = np.frombuffer(file.pixels[:expected], f"{order}u{size}")
    return samples.reshape(header.rows, header.columns), remarks


def _is_padding(surplus: bytes, header: Header) -> bool:
    """Return whether bytes behind the pixels are padding.

    A row or a column that the header leaves out is as long as a side, and shears or cuts the
    picture; a few bytes are less, and what fills up a block of a disk is of one value.
    """
    shortest = min(header.rows, header.columns) * header.bits_allocated // 8
    few = len(surplus) < min(shortest, _FEW_BYTES)
    blank = len(surplus) < _BLOCK_BYTES and surplus.count(surplus[:1]) == len(surplus)
    return few or blank


def _checked(
    frame: memoryview, codec: str, syntax: str, header: Header, name: str
) -> tuple[_Sample, tuple[str, ...]]:
    """Check a stream before a decoder sees it; return what it says of its samples, and remarks.

    Raises:
        DataError: If it is broken, or not what the header says.
    """
    if codec == decoders.RLE:
        check_rle(frame, header, name)
        return _Sample(header.bits_allocated), ()
    if codec == decoders.JPEG_2000:
        codestream = read_codestream(frame, width=header.columns, height=header.rows, name=name)
        sample, process = _Sample(codestream.precision, codestream.signed), ""
    else:
        jpeg = check_jpeg(frame, header, name)
        sample, process = _Sample(jpeg.precision), jpeg.process
    if sample.precision > header.bits_allocated:
        raise DataError(
            f"{name}: the stream's samples have {sample.precision} bits; the header allocates "
            f"{header.bits_allocated}"
        )
    lossless = syntax in (JPEGLossless, JPEGLosslessSV1)
    if codec == decoders.JPEG and lossless != (process == "JPEG lossless"):
        return sample, (f"the stream is {process}, the header says {syntax_name(syntax)}",)
    return sample, ()


def _decoded(frame: memoryview, codec: str, syntax: str, header: Header, name: str) -> NDArray[Any]:
    shape = header.rows, header.columns
    try:
        if codec == decoders.RLE:
            return decoders.run_lengths(frame, rows=header.rows, columns=header.columns)
        samples = decoders.decoded(frame, codec)
    except MemoryError:
        raise
    except decoders.LongSegmentError as error:
        raise DataError(
            f"{name}: the pixel data is longer than its picture of {shape[1]}x{shape[0]} pixels. "
            "The header's size is wrong, or there are several frames"
        ) from error
    # Decoders raise whatever they like on a broken stream; one broken file must not end an ingest.
    # Their messages may quote anything.
    except Exception as error:
        raise DataError(
            f"{name}: pixels can't be decoded: the {syntax_name(syntax)} stream is broken "
            f"({type(error).__name__})"
        ) from error
    if samples.shape != shape or samples.dtype.itemsize > 2 or samples.dtype.kind not in "ui":
        raise DataError(
            f"{name}: pixels of shape {samples.shape}; "
            f"expected one grey frame of {header.columns}x{header.rows}"
        )
    return samples


def _levels(
    samples: NDArray[Any], sample: _Sample, header: Header, name: str
) -> tuple[Stored, tuple[str, ...]]:
    """Return the bits of samples that hold the level, with the sign that the header says.

    Raises:
        DataError: If the samples have too few.
    """
    remarks: list[str] = []
    bits, shift = min(sample.precision, header.bits_stored), header.shift
    if shift:
        if sample.precision <= header.high_bit:
            raise DataError(
                f"{name}: HighBit is {header.high_bit}; the stream's samples have "
                f"{sample.precision} bits"
            )
        remarks.append(f"levels are bits {shift} to {header.high_bit} of a pixel, as HighBit says")
    elif sample.signed and not header.signed:
        remarks.append("the stream's samples are signed, the header says that they are not")
    elif header.signed and not sample.signed and bits < header.bits_stored:
        remarks.append(
            f"the stream's samples have {bits} bits without a sign, the header says "
            f"{header.bits_stored} with one: the highest of them was taken for it"
        )
    unsigned = samples.astype(f"u{samples.dtype.itemsize}", copy=False)
    if sample.signed:  # what is above the precision is its sign again
        unsigned = unsigned & unsigned.dtype.type(2**sample.precision - 1)
    levels, num_masked = _masked(
        unsigned >> shift if shift else unsigned, bits, signed=header.signed
    )
    if num_masked and not shift:
        remarks.append(
            f"bits above BitsStored are set in {num_masked} of {levels.size} pixels; they are no "
            "part of the level, and were cleared"
        )
    return levels, tuple(remarks)


def _masked(samples: NDArray[Any], bits: int, *, signed: bool) -> tuple[Stored, int]:
    """Return the lowest bits of unsigned samples, and how many had more than a level above them."""
    container = 8 * samples.dtype.itemsize
    unused = container - bits
    levels: Stored
    if not signed:
        if unused == 0 or int(samples.max()) < 2**bits:
            return samples, 0
        levels = samples & samples.dtype.type(2**bits - 1)
        return levels, int(np.count_nonzero(levels != samples))
    levels = samples.view(f"i{samples.dtype.itemsize}")
    if unused == 0:
        return levels, 0
    # Shifting up and down again copies the highest stored bit into the unused ones.
    levels = (levels << unused) >> unused
    differs = levels.view(samples.dtype) != samples
    # Negative levels without their sign in the unused bits are not an overlay.
    num_masked = int(np.count_nonzero(samples[differs] >> bits)) if differs.any() else 0
    return levels, num_masked
