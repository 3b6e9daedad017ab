"""What predict reads: in the coordinates that an ingest has, and any viewer."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from cxrssl.data.image_file import read_picture
from cxrssl.data.rasters import read_raster


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
    picture = read_picture(path, size_px=10, fit="squash", to_show=True)
    assert (picture.width, picture.height) == (10, 20)
    assert np.array_equal(picture.levels, shown)
    assert picture.shown is not None
    assert np.array_equal(picture.shown, read_raster(path, size_px=None).pixels)


def test_a_bmp_is_a_picture(tmp_path: Path) -> None:
    levels = np.arange(200, dtype=np.uint8).reshape(10, 20)
    Image.fromarray(levels).save(tmp_path / "a.bmp")
    picture = read_picture(tmp_path / "a.bmp", size_px=10, fit="squash", to_show=False)
    assert np.array_equal(picture.levels, levels)
