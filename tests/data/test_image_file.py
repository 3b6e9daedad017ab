"""What predict reads: in the coordinates that an ingest has, and any viewer."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from cxrssl.data.dicom.read import read_dicom
from cxrssl.data.image_file import Square, read_for_detectors, read_image
from dicom_files import dicom_file

SQUARE = Square(10, "squash")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "TIFF"])
def test_a_turned_picture_is_read_as_it_is_shown_and_as_it_is_stored(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 6
    levels = np.arange(200, dtype=np.uint8).reshape(10, 20)
    Image.fromarray(levels).save(path, exif=exif)
    # Pillow turns a TIFF as it loads it, and the others when it is asked to. Opened by its name, a
    # TIFF without compression is mapped into memory, and Pillow 13 then takes the sides wrongly.
    image = Image.open(BytesIO(path.read_bytes()))
    shown = np.asarray(image if image.format == "TIFF" else ImageOps.exif_transpose(image))
    picture = read_for_detectors(path, [SQUARE])
    assert (picture.width, picture.height) == (10, 20)
    assert np.array_equal(picture.pixels[SQUARE], shown)
    assert np.array_equal(read_image(path, size_px=None).pixels, shown)
    assert picture.warnings == ("orientation 6: the picture is turned, as viewers show it",)


def test_a_bmp_is_a_picture(tmp_path: Path) -> None:
    levels = np.arange(200, dtype=np.uint8).reshape(10, 20)
    Image.fromarray(levels).save(tmp_path / "a.bmp")
    picture = read_for_detectors(tmp_path / "a.bmp", [SQUARE])
    assert np.array_equal(picture.pixels[SQUARE], levels)
    assert picture.warnings == ()


def test_a_picture_of_few_levels_is_warned_of_whatever_its_sides(tmp_path: Path) -> None:
    levels = np.tile(np.arange(7, dtype=np.uint8) * 30, (50, 20))
    Image.fromarray(levels).save(tmp_path / "mask.png")
    for square in (SQUARE, Square(10, "letterbox")):
        (warning,) = read_for_detectors(tmp_path / "mask.png", [square]).warnings
        assert warning.startswith("the picture is posterised: 7 of 256 grey levels are left")


def test_a_dicom_file_is_read_for_each_square_as_an_ingest_reads_it(source: Path) -> None:
    path = next((source / "train").glob("*.dicom"))
    squares = (Square(64, "squash"), Square(48, "letterbox"))
    picture = read_for_detectors(path, squares)
    for square in squares:
        ingested = read_dicom(path, size_px=square.size_px, fit=square.fit)
        assert np.array_equal(picture.pixels[square], ingested.pixels)
    shown = read_image(path, size_px=None, exact=True).pixels
    assert shown.shape == (picture.height, picture.width)
    assert np.array_equal(shown, read_dicom(path, size_px=None, exact=True).pixels)


def test_a_dicom_file_brings_its_decoders_warnings_and_says_when_it_is_blank(
    tmp_path: Path,
) -> None:
    levels = np.arange(120 * 100, dtype=np.uint16).reshape(120, 100)
    path = dicom_file(tmp_path / "odd.dcm", levels, WindowCenter=900_000, WindowWidth=1)
    (warning,) = read_for_detectors(path, [SQUARE]).warnings
    assert warning == (
        "the picture is blank: every pixel has grey level 0 (black); "
        "its window lies beside (nearly) all of its levels"
    )
    path = dicom_file(tmp_path / "half.dcm", levels, WindowCenter=2000)
    (warning,) = read_for_detectors(path, [SQUARE]).warnings
    assert "a window has only one of WindowCenter and WindowWidth" in warning
