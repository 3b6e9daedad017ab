"""What a viewer would show: every rule against pydicom's own, or numbers worked out by hand."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from openjpeg.utils import encode_array
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEG2000Lossless, RLELossless

from cxrssl.data.dicom.read import read_dicom
from dicom_files import dicom_file, with_frame

WINDOWS = [
    ("LINEAR", 2048.0, 4096.0),
    ("LINEAR", 1000.0, 1.0),
    ("LINEAR", 1000.5, 2.0),
    ("LINEAR_EXACT", 1000.0, 0.5),
    ("LINEAR_EXACT", 2048.0, 4096.0),
    ("SIGMOID", 2048.0, 1024.0),
    ("SIGMOID", 2048.0, 0.01),
]


def ramp(bits: int, *, signed: bool = False) -> np.ndarray:
    """Return [48, 64] levels over the whole range of so many bits."""
    low = -(2 ** (bits - 1)) if signed else 0
    levels = np.linspace(low, low + 2**bits - 1, 48 * 64).reshape(48, 64)
    size = 1 if bits <= 8 else 2
    return np.rint(levels).astype(f"{'i' if signed else 'u'}{size}")


def stored(folder: Path, levels: np.ndarray, *, bits: int = 12, **values: object) -> Path:
    """Write levels as they are, signed or not, with header values by keyword."""
    unsigned = levels.view(f"u{levels.dtype.itemsize}")
    signed = int(levels.dtype.kind == "i")
    form = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": signed}
    return dicom_file(folder / "image.dcm", unsigned, **form, **values)


def shown(path: Path, size_px: int | None = None) -> np.ndarray:
    return read_dicom(path, size_px=size_px).pixels.astype(int)


def table(entries: np.ndarray, *, first: int, bits: int, packed: bool = False) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", entries.astype("u1" if packed else "<u2").tobytes())
    return item


def by_pydicom(path: Path) -> np.ndarray:
    """Return what pydicom shows, in grey levels: its output range is the stored one, rescaled."""
    dataset = pydicom.dcmread(path)
    levels = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    low = -(2 ** (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
    ends = np.array([low, low + 2**dataset.BitsStored - 1], float)
    ends = ends * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    return np.rint(np.clip((levels - ends[0]) / (ends[1] - ends[0]), 0, 1) * 255).astype(int)


@pytest.mark.filterwarnings("ignore:overflow")  # pydicom's own sigmoid
@pytest.mark.parametrize(("function", "centre", "width"), WINDOWS)
def test_every_window_function_shows_what_pydicom_shows(
    function: str, centre: float, width: float, tmp_path: Path
) -> None:
    path = stored(
        tmp_path, ramp(12), WindowCenter=centre, WindowWidth=width, VOILUTFunction=function
    )
    assert np.abs(shown(path) - by_pydicom(path)).max() <= 1
    assert f"window {function}" in read_dicom(path, size_px=None).route


@pytest.mark.parametrize("bits", [8, 9, 10, 11, 13, 14, 15, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_every_depth_shows_what_pydicom_shows(bits: int, signed: bool, tmp_path: Path) -> None:
    values = {"WindowCenter": 2.0 ** (bits - 1) + 7, "WindowWidth": 2.0**bits - 3}
    path = stored(
        tmp_path, ramp(bits, signed=signed), bits=bits, RescaleSlope=2, RescaleIntercept=7, **values
    )
    assert np.abs(shown(path) - by_pydicom(path)).max() <= 1


def test_an_unknown_window_function_gives_way_and_is_said_without_being_quoted(
    tmp_path: Path,
) -> None:
    path = stored(tmp_path, ramp(12), WindowCenter=2048, WindowWidth=100, VOILUTFunction="DOE")
    result = read_dicom(path, size_px=None)
    bare = read_dicom(stored(tmp_path, ramp(12)), size_px=None)
    assert np.array_equal(result.pixels, bare.pixels)
    assert "percentile range" in result.route
    assert result.warnings == (
        "VOILUTFunction is none of LINEAR, LINEAR_EXACT and SIGMOID: the percentile range was used",
    )


def test_the_first_of_several_windows_decides(tmp_path: Path) -> None:
    single = stored(tmp_path, ramp(12), WindowCenter=1000, WindowWidth=500)
    expected = shown(single)
    several = stored(tmp_path, ramp(12), WindowCenter=[1000, 3000], WindowWidth=[500, 9])
    assert np.array_equal(shown(several), expected)


def test_a_lookup_table_goes_before_a_window(tmp_path: Path) -> None:
    entries = np.arange(4096)[::-1] * 16
    path = stored(
        tmp_path,
        ramp(12),
        WindowCenter=2048,
        WindowWidth=4096,
        VOILUTSequence=[table(entries, first=0, bits=16)],
    )
    expected = np.rint(entries[ramp(12)] / 65535 * 255)
    assert np.array_equal(shown(path), expected)
    assert "VOI LUT sequence" in read_dicom(path, size_px=None).route


def test_beyond_a_lookup_table_its_ends_go_on(tmp_path: Path) -> None:
    entries = np.array([10, 20, 30, 250])
    path = stored(
        tmp_path, ramp(12, signed=True), VOILUTSequence=[table(entries, first=-2, bits=8)]
    )
    levels = np.clip(ramp(12, signed=True).astype(int), -2, 1)
    assert np.array_equal(shown(path), entries[levels + 2])


def test_entries_of_eight_bits_may_be_packed(tmp_path: Path) -> None:
    entries = np.arange(256)
    item = table(entries, first=0, bits=8, packed=True)
    path = stored(tmp_path, ramp(8), bits=8, VOILUTSequence=[item])
    assert np.array_equal(shown(path), ramp(8))


def test_a_modality_table_is_applied_before_resampling(tmp_path: Path) -> None:
    # Level 0 becomes 0, level 1 becomes 4000, level 2 becomes 100: no mean of levels tells that.
    levels = np.tile(np.array([[0, 2], [2, 0]], np.uint16), (32, 32))
    item = table(np.array([0, 4000, 100]), first=0, bits=12)
    path = stored(tmp_path, levels, ModalityLUTSequence=[item], WindowCenter=100.5, WindowWidth=201)
    assert (shown(path, 16) == round(50 / 200 * 255)).all()


def test_inversion_comes_last(tmp_path: Path) -> None:
    window = {"WindowCenter": 1000, "WindowWidth": 300, "VOILUTFunction": "SIGMOID"}
    plain = shown(stored(tmp_path, ramp(12), **window))
    inverted = stored(tmp_path, ramp(12), PhotometricInterpretation="MONOCHROME1", **window)
    assert np.abs(shown(inverted) - (255 - plain)).max() <= 1


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("bits", [11, 16])
def test_signed_levels_show_the_same_compressed(syntax: str, bits: int, tmp_path: Path) -> None:
    window = {"WindowCenter": 0, "WindowWidth": 2**bits}
    levels = ramp(bits, signed=True)
    path = stored(tmp_path, levels, bits=bits, **window)
    expected, small = shown(path), shown(path, 16)
    if syntax == RLELossless:
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
    else:
        with_frame(path, encode_array(levels, bits_stored=bits), JPEG2000Lossless)
    assert np.array_equal(shown(path), expected)
    assert np.abs(shown(path, 16) - small).max() <= 6  # J2K at a reduced size
