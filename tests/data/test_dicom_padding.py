"""Padding: pixels that stand for none take no part in anything, and are black."""

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless

from cxrssl.data.dicom.read import read_dicom
from dicom_files import dicom_file


def stored(folder: Path, levels: np.ndarray, **values: object) -> Path:
    """Write 12-bit levels as they are, signed or not, with header values by keyword."""
    signed = int(levels.dtype.kind == "i")
    form = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": signed} | values
    return dicom_file(folder / "image.dcm", levels.view(np.uint16), **form)


def shown(path: Path, size_px: int | None = None) -> np.ndarray:
    return read_dicom(path, size_px=size_px).pixels.astype(int)


def padded(folder: Path, value: int, **values: object) -> Path:
    """Write a ramp whose left quarter and one pixel in the middle are padding."""
    levels = np.tile(np.linspace(1000, 2000, 64).astype(np.uint16), (64, 1))
    levels[:, :15] = levels[40, 40] = value
    window = {"WindowCenter": 1500.5, "WindowWidth": 1001}
    return stored(folder, levels, PixelPaddingValue=value, **(window | values))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("value", [0, 4095])
def test_padding_is_black(photometric: str, value: int, tmp_path: Path) -> None:
    result = shown(padded(tmp_path, value, PhotometricInterpretation=photometric))
    assert (result[:, :15] == 0).all()
    assert result[40, 40] == 0
    assert result[:, 20:40].min() > 0


def test_padding_takes_no_part_in_its_neighbours_averages(tmp_path: Path) -> None:
    result = shown(padded(tmp_path, 4095), 16)
    levels = np.linspace(1000, 2000, 64).astype(int)
    expected = np.rint((levels.reshape(16, 4).mean(axis=1) - 1000) / 1000 * 255)
    assert (result[:, :3] == 0).all()  # columns 0 to 11
    assert (result[:, 3] == 0).all()  # 12 to 15, of which only 15 is there
    assert np.abs(result[:, 4:] - expected[4:]).max() <= 1


def test_padding_takes_no_part_in_the_percentile_range(tmp_path: Path) -> None:
    result = shown(padded(tmp_path, 0, WindowCenter=None, WindowWidth=None))
    assert result[:, 15:20].min() < 10
    assert result[:, -5:].max() > 245
    assert "percentile range" in read_dicom(tmp_path / "image.dcm", size_px=None).route


def test_a_padding_range_takes_all_between_its_limits(tmp_path: Path) -> None:
    levels = np.tile(np.linspace(0, 63, 64).astype(np.uint16), (64, 1))
    path = stored(
        tmp_path,
        levels,
        PixelPaddingValue=20,
        PixelPaddingRangeLimit=10,
        WindowCenter=32,
        WindowWidth=64,
    )
    result = shown(path)
    assert (result[:, 10:21] == 0).all()
    assert (result[:, [9, 21]] > 0).all()


def test_a_negative_padding_value_may_be_stated_unsigned(tmp_path: Path) -> None:
    levels = np.tile(np.linspace(-2000, 2000, 64).astype(np.int16), (48, 1))
    levels[:10] = -2000
    path = stored(tmp_path, levels, WindowCenter=0, WindowWidth=4096)
    content = path.read_bytes()
    tag = struct.pack("<HH", 0x0028, 0x1050)
    padding = struct.pack("<HH2sHH", 0x0028, 0x0120, b"US", 2, 2**16 - 2000)
    assert content.count(tag) == 1
    path.write_bytes(content.replace(tag, padding + tag))
    assert (shown(path)[:10] == 0).all()


def test_an_image_that_is_all_padding_is_black(tmp_path: Path) -> None:
    path = stored(tmp_path, np.full((64, 64), 7, np.uint16), PixelPaddingValue=7)
    assert (shown(path, 16) == 0).all()


def test_where_padding_is_declared_jpeg_2000_is_decoded_whole(tmp_path: Path) -> None:
    path = padded(tmp_path, 0)
    expected = shown(path, 16)
    dataset = pydicom.dcmread(path)
    dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", j2k_cr=None)
    dataset.save_as(path)
    assert "reduce" not in read_dicom(path, size_px=16).route
    assert np.array_equal(shown(path, 16), expected)


@pytest.mark.parametrize("stated", [4000, 4000 << 4])
def test_padding_is_found_where_levels_end_at_a_higher_bit(stated: int, tmp_path: Path) -> None:
    """PixelPaddingValue as the level or, by the letter, as the whole pixel."""
    levels = np.tile(np.linspace(1000, 2000, 64).astype(np.uint16), (64, 1))
    levels[:, :15] = 4000
    window = {"WindowCenter": 1500.5, "WindowWidth": 1001}
    path = stored(tmp_path, levels << 4, PixelPaddingValue=stated, HighBit=15, **window)
    assert (shown(path)[:, :15] == 0).all()
    assert shown(path)[:, 20:40].min() > 0
