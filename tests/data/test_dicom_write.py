"""A written DICOM file reads back as what was written, and says what it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.write import SYNTAXES, FileIdentity, PixelForm, Syntax, write_dicom

IDENTITY = FileIdentity(key="test 1")


def some_pixels(bits: int, *, height: int = 61, width: int = 47) -> np.ndarray[Any, Any]:
    """Return random pixels [H, W] that use the whole depth; odd sides make an odd byte count."""
    rng = np.random.default_rng(bits)
    dtype = np.uint8 if bits <= 8 else np.uint16
    pixels = rng.integers(0, 2**bits, (height, width)).astype(dtype)
    pixels[0, 0], pixels[0, 1] = 0, 2**bits - 1
    return pixels


@pytest.mark.parametrize("bits", [8, 12, 14, 16])
@pytest.mark.parametrize("syntax", list(SYNTAXES))
def test_decoding_returns_the_stored_pixels(tmp_path: Path, syntax: Syntax, bits: int) -> None:
    pixels = some_pixels(bits)
    path = tmp_path / "a.dicom"
    write_dicom(path, pixels, form=PixelForm(syntax, bits_stored=bits), identity=IDENTITY)
    dataset = pydicom.dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == SYNTAXES[syntax]
    assert dataset.BitsStored == bits
    np.testing.assert_array_equal(dataset.pixel_array, pixels)


def test_another_key_gives_other_identifiers(tmp_path: Path) -> None:
    uids = set()
    for key in ("one", "two"):
        write_dicom(
            tmp_path / key, some_pixels(12), form=PixelForm(), identity=FileIdentity(key=key)
        )
        dataset = pydicom.dcmread(tmp_path / key)
        uids |= {dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID}
    assert len(uids) == 6
    assert all(uid.is_valid for uid in uids)


def test_display_values_are_written(tmp_path: Path) -> None:
    form = PixelForm("explicit", 12, True, window=(1900.0, 2500.0), rescale=(0.5, -1024.0))
    write_dicom(tmp_path / "a", some_pixels(12), form=form, identity=IDENTITY)
    dataset = pydicom.dcmread(tmp_path / "a")
    assert dataset.PhotometricInterpretation == "MONOCHROME1"
    assert (dataset.WindowCenter, dataset.WindowWidth) == (1900, 2500)
    assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (0.5, -1024)


def test_a_file_without_window_says_nothing_of_one(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a", some_pixels(12), form=PixelForm(), identity=IDENTITY)
    dataset = pydicom.dcmread(tmp_path / "a")
    assert "WindowCenter" not in dataset
    assert "RescaleSlope" not in dataset
    assert dataset.PatientName == "PHANTOM"
    assert dataset.ViewPosition == "PA"


def test_no_temporary_file_is_left(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dicom", some_pixels(8), form=PixelForm("rle", 8), identity=IDENTITY)
    assert [path.name for path in tmp_path.iterdir()] == ["a.dicom"]


def test_a_pixel_too_bright_for_the_depth_is_an_error(tmp_path: Path) -> None:
    pixels = np.full((4, 4), 4096, dtype=np.uint16)
    with pytest.raises(
        DataError, match=r"a\.dicom: the highest pixel is 4096; .* 4096 for 12 bits"
    ):
        write_dicom(tmp_path / "a.dicom", pixels, form=PixelForm(), identity=IDENTITY)


def test_pixels_of_another_type_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pixels are uint16 with 2 axes; expected uint8"):
        write_dicom(
            tmp_path / "a",
            np.zeros((4, 4), np.uint16),
            form=PixelForm(bits_stored=8),
            identity=IDENTITY,
        )


def test_an_impossible_depth_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="bits_stored is 17; expected 1 to 16"):
        write_dicom(
            tmp_path / "a",
            np.zeros((4, 4), np.uint16),
            form=PixelForm(bits_stored=17),
            identity=IDENTITY,
        )
