"""PNG and JPEG: every kind of pixel becomes the grey it shows; what is no film is refused."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrssl.core.errors import DataError
from cxrssl.data.rasters import decode_raster, read_raster

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def pixels(content: bytes, size_px: int | None = None) -> np.ndarray:
    return decode_raster(content, name="x", size_px=size_px, fit="squash").pixels.astype(int)


def test_grey_of_eight_bits_is_itself() -> None:
    found = decode_raster(encoded(Image.fromarray(RAMP)), name="x", size_px=None, fit="squash")
    assert np.array_equal(found.pixels, RAMP)
    assert (found.original_width, found.original_height, found.route) == (16, 16, "PNG; L")


def test_grey_of_sixteen_bits_is_scaled_by_its_full_range() -> None:
    assert np.array_equal(pixels(encoded(Image.fromarray(RAMP.astype(np.uint16) * 257))), RAMP)


def test_sixteen_bits_are_averaged_before_they_are_rounded() -> None:
    levels = np.tile(np.array([[0, 200]], np.uint16), (4, 2))  # 0 and 0.78: 0.39 each on its own
    assert (pixels(encoded(Image.fromarray(levels)), 2) == 0).all()
    levels[:, 1::2] = 300
    assert (pixels(encoded(Image.fromarray(levels)), 2) == 1).all()


def test_colour_becomes_luma() -> None:
    colour = Image.new("RGB", (4, 4), (200, 100, 50))
    assert (pixels(encoded(colour)) == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)).all()


def test_one_bit_is_black_and_white() -> None:
    assert np.array_equal(pixels(encoded(Image.fromarray(RAMP > 99))), np.where(RAMP > 99, 255, 0))


def test_a_palette_is_looked_up() -> None:
    image = Image.fromarray(RAMP).convert("P")
    image.putpalette([value for level in range(256) for value in [255 - level] * 3])
    assert np.array_equal(pixels(encoded(image)), 255 - RAMP)


def test_what_is_transparent_is_laid_on_black() -> None:
    image = Image.new("LA", (4, 4), (200, 255))
    image.putpixel((1, 2), (200, 0))
    found = pixels(encoded(image))
    assert found[2, 1] == 0
    assert found[0, 0] == 200


def test_jpeg_is_near_what_was_encoded() -> None:
    content = encoded(Image.fromarray(RAMP), "JPEG", quality=95)
    assert np.abs(pixels(content) - RAMP).max() < 12


def test_an_orientation_is_not_applied_because_boxes_are_not_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.new("L", (30, 20)), "JPEG", exif=exif)
    found = decode_raster(content, name="x", size_px=None, fit="squash")
    assert found.pixels.shape == (20, 30)


def test_a_letterboxed_picture_is_centred_in_black() -> None:
    content = encoded(Image.new("L", (40, 20), 90))
    found = decode_raster(content, name="x", size_px=20, fit="letterbox").pixels
    assert found.shape == (20, 20)
    assert (found[5:15] == 90).all()
    assert (found[:5] == 0).all()
    assert (found[15:] == 0).all()


@pytest.mark.parametrize("kind", ["MPO", "PNG"])
def test_several_pictures_are_refused(kind: str) -> None:
    image = Image.new("RGB", (8, 8))
    content = encoded(image, kind, save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
    with pytest.raises(DataError, match="x: the file holds 2 pictures; expected a single"):
        pixels(content)


def huge_png(side: int) -> bytes:
    """Return a PNG that claims to be black, side x side, and holds little of it."""
    header = struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [12_300, 13_300, 60_000])
def test_more_than_150_megapixels_are_refused_by_the_header(side: int) -> None:
    with pytest.raises(DataError, match="x: the header claims more than 150 megapixels"):
        pixels(huge_png(side))


@pytest.mark.filterwarnings("error")
def test_a_large_film_is_no_warning() -> None:
    content = encoded(Image.new("L", (10_000, 9_500), 77), compress_level=1)
    assert (pixels(content, 8) == 77).all()


@pytest.mark.parametrize("content", [b"", b"no picture", b"GIF89a", huge_png(100)])
def test_what_is_no_whole_png_or_jpeg_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match="x: can't be decoded: no PNG or JPEG, or a broken one"):
        pixels(content)


def test_a_file_cut_anywhere_is_refused_or_whole() -> None:
    for kind in ("PNG", "JPEG"):
        content = encoded(Image.fromarray(RAMP), kind)
        for length in range(0, len(content) - 20, 7):
            with pytest.raises(DataError, match="x: can't be decoded"):
                pixels(content[:length])


def test_a_file_is_called_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png: not a readable file \(No such file"):
        read_raster(tmp_path / "a.png", size_px=8)
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(RAMP)))
    assert read_raster(tmp_path / "a.png", size_px=8).pixels.shape == (8, 8)
