"""A level is some of a pixel's bits: in every codec the same ones, whatever the others hold."""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from openjpeg.utils import encode_array
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.read import read_dicom
from dicom_files import LOSSLESS, coded, dicom_file, extended, levels_of, with_frame

ROWS, COLUMNS = 61, 83
RAMP = (np.add.outer(np.arange(ROWS) ** 2, np.arange(COLUMNS) * 7) % 4096).astype(np.uint16)
SIGNED = RAMP.astype(np.int16) - 2048
# A burnt-in text, in bits 12, 13 and 15.
OVERLAY = np.zeros((ROWS, COLUMNS), np.uint16)
OVERLAY[20:30, 10:40] = 0xB000
SMOOTH = np.add.outer(np.arange(64) * 20, np.arange(64) * 30).astype(np.uint16)


@pytest.mark.parametrize("codec", LOSSLESS)
def test_an_overlay_above_the_stored_bits_is_cleared_and_said(codec: str, tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "x", RAMP | OVERLAY, codec, BitsStored=12, HighBit=11)
    levels, remarks = levels_of(path)
    assert np.array_equal(levels, RAMP)
    assert any("bits above BitsStored are set in 300 of 5063 pixels" in text for text in remarks)
    assert read_dicom(path, size_px=16).warnings[-1:] == remarks[-1:]


@pytest.mark.parametrize("codec", LOSSLESS)
@pytest.mark.parametrize("above", ["zeros", "sign", "overlay"])
def test_the_sign_is_the_highest_stored_bit(codec: str, above: str, tmp_path: Path) -> None:
    samples = SIGNED.view(np.uint16)
    if above != "sign":
        samples = samples & 0x0FFF
    if above == "overlay":
        samples = samples | OVERLAY
    values = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}
    levels, remarks = levels_of(dicom_file(tmp_path / "x", samples, codec, **values))
    assert np.array_equal(levels, SIGNED)
    assert any("bits above" in text for text in remarks) == (above == "overlay")


@pytest.mark.parametrize("codec", LOSSLESS)
@pytest.mark.parametrize("bits", [5, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_pixels_of_one_byte_are_no_other(
    codec: str, bits: int, signed: bool, tmp_path: Path
) -> None:
    levels = (RAMP.astype(int) % 2**bits) - (2 ** (bits - 1) if signed else 0)
    samples = (levels.astype(np.uint8) & (2**bits - 1)) | (0x60 if bits == 5 else 0)
    values = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(signed)}
    path = dicom_file(tmp_path / "x", samples.astype(np.uint8), codec, **values)
    assert np.array_equal(levels_of(path)[0], levels)


@pytest.mark.parametrize("codec", LOSSLESS)
@pytest.mark.parametrize(("stored", "high_bit"), [(12, 15), (10, 12), (8, 15)])
@pytest.mark.parametrize("signed", [False, True])
def test_levels_end_at_the_high_bit(
    codec: str, stored: int, high_bit: int, signed: bool, tmp_path: Path
) -> None:
    """PS3.5, 8.1.1: what lies beside the stored bits is no level, on either side."""
    levels = (RAMP.astype(int) % 2**stored) - (2 ** (stored - 1) if signed else 0)
    shift = high_bit + 1 - stored
    samples = (levels & (2**stored - 1)) << shift
    samples |= np.arange(COLUMNS) % 2**shift  # below
    samples |= (0x7 << (high_bit + 1)) & 0xFFFF  # above
    values = {"BitsStored": stored, "HighBit": high_bit, "PixelRepresentation": int(signed)}
    path = dicom_file(tmp_path / "x", samples.astype(np.uint16), codec, **values)
    result, remarks = levels_of(path)
    assert np.array_equal(result, levels)
    assert f"levels are bits {shift} to {high_bit} of a pixel, as HighBit says" in remarks


def test_jpeg_extended_is_masked_and_shifted_as_well(tmp_path: Path) -> None:
    levels = SMOOTH // 4 + 100  # of 10 bits
    plain = extended(tmp_path / "a", levels | 0xC00, BitsStored=10, HighBit=9)
    result, remarks = levels_of(plain)
    assert np.abs(result.astype(int) - levels).max() <= 8
    assert "bits above BitsStored are set in 4096 of 4096 pixels" in remarks[0]
    shifted = extended(tmp_path / "b", SMOOTH // 16 << 4 | 8, BitsStored=8, HighBit=11)
    assert np.abs(levels_of(shifted)[0].astype(int) - SMOOTH // 16).max() <= 1


def test_a_jpeg_of_signed_levels_has_them_signed(tmp_path: Path) -> None:
    levels = (SMOOTH % 2048).astype(np.int16) - 2048 + 100  # negative, away from the ends
    levels[levels > -100] = -100
    path = extended(
        tmp_path / "x",
        levels.view(np.uint16) & 0xFFF,
        level=100,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=1,
    )
    assert np.abs(levels_of(path)[0].astype(int) - levels).max() < 64


@pytest.mark.parametrize(("stored", "high_bit"), [(12, 10), (12, 16), (8, 3), (16, 14)])
def test_a_high_bit_that_no_level_can_end_at_is_refused(
    stored: int, high_bit: int, tmp_path: Path
) -> None:
    path = dicom_file(tmp_path / "x", RAMP, BitsStored=stored, HighBit=high_bit)
    with pytest.raises(DataError, match=f"HighBit is {high_bit} with {stored} bits stored in 16"):
        read_dicom(path, size_px=None)


def test_a_high_bit_above_the_streams_own_bits_is_refused(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "x", RAMP)
    stream = encode_array(RAMP, bits_stored=12)
    with_frame(path, stream, JPEG2000Lossless, BitsStored=12, HighBit=15)
    with pytest.raises(DataError, match="HighBit is 15; the stream's samples have 12 bits"):
        read_dicom(path, size_px=None)


def test_without_a_high_bit_levels_begin_at_the_lowest(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "x", RAMP, BitsStored=12)
    dataset = pydicom.dcmread(path)
    del dataset.HighBit
    dataset.save_as(path)
    assert np.array_equal(levels_of(path)[0], RAMP)


@pytest.mark.parametrize("value", [2, 3, 255, 65535])
def test_a_pixel_representation_that_is_none_is_refused(value: int, tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "x", RAMP, PixelRepresentation=value)
    with pytest.raises(DataError, match=f"PixelRepresentation is {value}; expected 0"):
        read_dicom(path, size_px=None)


def test_an_overlay_is_not_seen_in_a_small_picture(tmp_path: Path) -> None:
    """A wavelet mixes a pixel's bits with its neighbours': no smaller decode can clear them."""
    levels = np.add.outer(np.arange(300) * 7, np.arange(300) * 6).astype(np.uint16)
    overlay = np.zeros_like(levels)
    overlay[100:120, 50:250] = 0xF000
    window = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 4096}
    clean = dicom_file(tmp_path / "a", levels, **window)
    for high_bit, shift in ((11, 0), (15, 4)):
        samples = levels << shift if shift else levels | overlay
        path = dicom_file(tmp_path / "b", samples, "jpeg 2000", **(window | {"HighBit": high_bit}))
        result = read_dicom(path, size_px=64)
        assert "reduce" not in result.route
        assert np.array_equal(result.pixels, read_dicom(clean, size_px=64).pixels)


@pytest.mark.parametrize("stored", [8, 12, 16])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_a_jpeg_of_eight_bits_may_be_allocated_sixteen(
    syntax: str, stored: int, tmp_path: Path
) -> None:
    pixels = (SMOOTH >> 4).astype(np.uint8)
    path = dicom_file(tmp_path / "x", SMOOTH, BitsStored=stored, HighBit=stored - 1)
    stream = bytes(imagecodecs.jpeg8_encode(pixels, level=100))
    if syntax == JPEGExtended12Bit:
        stream = stream.replace(b"\xff\xc0", b"\xff\xc1", 1)
    result, remarks = levels_of(with_frame(path, stream, syntax))
    assert np.abs(result.astype(int) - pixels).max() <= 2
    assert not remarks


@pytest.mark.parametrize("codec", ["jpeg lossless", "jpeg-ls", "jpeg 2000", "htj2k"])
def test_eight_bits_of_every_codec_may_be_allocated_sixteen(codec: str, tmp_path: Path) -> None:
    pixels = (RAMP >> 4).astype(np.uint8)
    path = dicom_file(tmp_path / "x", RAMP, codec, BitsStored=8, HighBit=7)
    with_frame(path, coded(pixels, codec), pydicom.dcmread(path).file_meta.TransferSyntaxUID)
    assert np.array_equal(levels_of(path)[0], pixels)


@pytest.mark.parametrize(
    ("codec", "syntax"),
    [
        ("jpeg lossless", JPEGLosslessSV1),
        ("jpeg-ls", JPEGLSLossless),
        ("jpeg 2000", JPEG2000Lossless),
    ],
)
def test_more_bits_than_are_allocated_are_refused(codec: str, syntax: str, tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "x", (RAMP >> 4).astype(np.uint8))
    with_frame(path, coded(RAMP, codec), syntax)
    with pytest.raises(DataError, match="samples have 16 bits; the header allocates 8"):
        read_dicom(path, size_px=None)


def test_a_scan_header_that_ends_its_spectrum_at_nought_is_read(tmp_path: Path) -> None:
    plain = extended(tmp_path / "a", SMOOTH, BitsStored=12, HighBit=11)
    stream = pydicom.encaps.get_frame(pydicom.dcmread(plain).PixelData, 0)
    scan = stream.index(b"\xff\xda")
    assert stream[scan + 7 : scan + 10] == bytes((0, 63, 0))  # Ss, Se, Ah and Al
    odd = stream[: scan + 8] + b"\0" + stream[scan + 9 :]
    path = dicom_file(tmp_path / "b", SMOOTH, BitsStored=12, HighBit=11)
    with_frame(path, odd, JPEGExtended12Bit)
    assert np.array_equal(levels_of(path)[0], levels_of(plain)[0])
    assert np.abs(levels_of(path)[0].astype(int) - SMOOTH).max() <= 8


@pytest.mark.parametrize("codec", ["jpeg-ls", "jpeg lossless", "jpeg 2000"])
def test_a_sign_that_the_stream_has_no_room_for_is_guessed_and_said(
    codec: str, tmp_path: Path
) -> None:
    levels = (RAMP % 256).astype(np.int16) - 128
    path = dicom_file(tmp_path / "x", levels.view(np.uint16), codec, PixelRepresentation=1)
    with_frame(
        path,
        coded(levels.astype(np.uint8), codec),
        pydicom.dcmread(path).file_meta.TransferSyntaxUID,
    )
    result, remarks = levels_of(path)
    assert np.array_equal(result, levels)
    assert "the header says 16 with one: the highest of them was taken for it" in remarks[0]


def test_a_signed_stream_of_unsigned_levels_is_said(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "x", RAMP << 4, "jpeg 2000 signed")
    result, remarks = levels_of(path)
    assert np.array_equal(result, RAMP << 4)
    assert remarks == ("the stream's samples are signed, the header says that they are not",)
