"""PNG, JPEG, TIFF, BMP: every kind of pixel becomes its grey; what is no film is refused."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrssl.core.errors import DataError
from cxrssl.data.image_file import read_image
from cxrssl.data.rasters import decode_raster

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def pixels(content: bytes, size_px: int | None = None) -> np.ndarray:
    return decode_raster(content, name="x", size_px=size_px, fit="squash").pixels.astype(int)


def test_grey_of_eight_bits_is_itself() -> None:
    result = decode_raster(encoded(Image.fromarray(RAMP)), name="x", size_px=None, fit="squash")
    assert np.array_equal(result.pixels, RAMP)
    assert (result.original_width, result.original_height, result.route) == (16, 16, "PNG; L")


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
    result = pixels(encoded(image))
    assert result[2, 1] == 0
    assert result[0, 0] == 200


def test_jpeg_is_near_what_was_encoded() -> None:
    content = encoded(Image.fromarray(RAMP), "JPEG", quality=95)
    assert np.abs(pixels(content) - RAMP).max() < 12


# What EXIF 2.32 (table 6) says of row 0 and column 0 as they are stored, done with numpy.
SHOWN = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.T,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].T,
    8: lambda stored: np.rot90(stored),
}
FILM = np.arange(150, dtype=np.uint8).reshape(10, 15)


def with_orientation(kind: str, orientation: int, levels: np.ndarray = FILM) -> bytes:
    if kind == "TIFF":
        return encoded(Image.fromarray(levels), kind, tiffinfo={0x0112: orientation})
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if kind == "JPEG" else {}
    return encoded(Image.fromarray(levels), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_a_picture_is_turned_as_viewers_show_it_unless_the_table_says_otherwise(
    kind: str, orientation: int
) -> None:
    content = with_orientation(kind, orientation)
    shown = SHOWN[orientation](FILM)

    def decoded(stated: tuple[int, int] | None) -> tuple[np.ndarray, tuple[str, ...]]:
        result = decode_raster(content, name="x", size_px=None, fit="squash", stated=stated)
        assert (result.original_width, result.original_height) == result.pixels.shape[::-1]
        return result.pixels.astype(int), result.warnings

    for stated in (None, shown.shape[::-1], (shown.shape[1] * 4, shown.shape[0] * 4), (7, 900)):
        pixels, warnings = decoded(stated)
        assert np.abs(pixels - shown).max() <= 2
        assert len(warnings) == (orientation != 1)
        assert all("the picture is turned, as viewers show it" in sentence for sentence in warnings)
    pixels, warnings = decoded((15, 10))
    if orientation < 5:  # the same size as it is stored and as it is shown
        assert np.abs(pixels - shown).max() <= 2
    else:
        assert np.abs(pixels - FILM).max() <= 2
        assert "is not applied: the size that the table states" in warnings[0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_turned_too(kind: str) -> None:
    content = with_orientation(kind, 6, FILM.astype(np.uint16) * 257)
    assert np.array_equal(pixels(content), np.rot90(FILM, -1))


@pytest.mark.parametrize("orientation", [0, 9, 4000])
def test_an_orientation_that_is_none_is_no_turn(orientation: int) -> None:
    content = with_orientation("PNG", orientation)
    assert np.array_equal(pixels(content), FILM)


def test_a_broken_exif_costs_no_picture() -> None:
    content = with_orientation("JPEG", 6)
    place = content.index(b"Exif") + 6
    broken = content[:place] + b"\xff" * 12 + content[place + 12 :]
    assert np.abs(pixels(broken) - FILM).max() <= 2


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_is_read(compression: str, dtype: type) -> None:
    levels = RAMP.astype(dtype) * (257 if dtype is np.uint16 else 1)
    assert np.array_equal(
        pixels(encoded(Image.fromarray(levels), "TIFF", compression=compression)), RAMP
    )


def tiff_of_16_bits(levels: np.ndarray, *, order: str, photometric: int, bits: int = 16) -> bytes:
    """Return a TIFF of one strip, written here from TIFF 6.0; of 12 bits, two levels in three."""
    height, width = levels.shape
    if bits == 12:
        pairs = levels.reshape(-1, 2).astype(np.uint32)
        joined = pairs[:, 0] << 12 | pairs[:, 1]
        strip = b"".join(int(value).to_bytes(3, "big") for value in joined)
    else:
        strip = levels.astype(f"{order}u2").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (277, 1),
            (278, height), (279, len(strip))]  # fmt: skip
    start = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = sorted([*((tag, 4, 1, value) for tag, value in tags), (273, 4, 1, start)])
    body = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}H", len(entries)) + body + bytes(4) + strip


def test_tiff_of_either_byte_order_and_with_white_at_zero_is_read() -> None:
    levels = RAMP.astype(np.uint16) * 257
    for order in "<>":
        content = tiff_of_16_bits(levels, order=order, photometric=1)
        assert np.array_equal(pixels(content), RAMP)
    assert np.array_equal(pixels(tiff_of_16_bits(levels, order="<", photometric=0)), 255 - RAMP)
    eight = encoded(Image.fromarray(RAMP), "TIFF")
    place = eight.index(struct.pack("<HHI", 262, 3, 1)) + 8
    white_at_zero = eight[:place] + bytes(2) + eight[place + 2 :]
    assert np.array_equal(pixels(white_at_zero), 255 - RAMP)


def test_twelve_bits_are_scaled_by_twelve() -> None:
    levels = np.rint(RAMP * (4095 / 255)).astype(np.uint16)
    assert np.array_equal(pixels(tiff_of_16_bits(levels, order="<", photometric=1, bits=12)), RAMP)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_tiff_levels_of_no_known_range_are_refused(dtype: type) -> None:
    content = encoded(Image.fromarray(RAMP.astype(dtype)), "TIFF")
    with pytest.raises(DataError, match="x: a TIFF of 32-bit, signed or floating point levels"):
        pixels(content)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "1"])
def test_bmp_is_read(mode: str) -> None:
    image = Image.fromarray(RAMP).convert(mode)
    assert np.array_equal(pixels(encoded(image, "BMP")), np.asarray(image.convert("L")))


def test_sixteen_bits_that_hold_few_keep_their_scale() -> None:
    levels = RAMP.astype(np.uint16) * 16
    content = encoded(Image.fromarray(levels))
    result = decode_raster(content, name="x", size_px=None, fit="squash")
    assert np.array_equal(result.pixels, np.rint(levels / 257))  # ingest warns of what is left


def test_a_letterboxed_picture_is_centred_in_black() -> None:
    content = encoded(Image.new("L", (40, 20), 90))
    result = decode_raster(content, name="x", size_px=20, fit="letterbox").pixels
    assert result.shape == (20, 20)
    assert (result[5:15] == 90).all()
    assert (result[:5] == 0).all()
    assert (result[15:] == 0).all()


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_several_pictures_are_refused(kind: str) -> None:
    image = Image.new("RGB", (8, 8))
    content = encoded(image, kind, save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
    with pytest.raises(DataError, match="x: the file holds 2 pictures; expected a single"):
        pixels(content)


@pytest.mark.parametrize("kind", ["MPO", "TIFF"])
def test_of_a_picture_with_previews_the_first_is_taken_and_that_is_said(kind: str) -> None:
    preview = Image.new("L", (4, 4))
    preview.encoderinfo = {"tiffinfo": {254: 1}}  # TIFF 6.0: a reduced copy
    image = Image.fromarray(RAMP)
    content = encoded(image, kind, save_all=True, append_images=[preview], quality=100)
    result = decode_raster(content, name="x", size_px=None, fit="squash")
    assert np.abs(result.pixels.astype(int) - RAMP).max() <= 2
    assert result.warnings == (
        "the file holds 2 pictures; the first, which is the full one, is taken",
    )


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


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_a_large_film_is_no_warning() -> None:
    content = encoded(Image.new("L", (10_000, 9_500), 77), compress_level=1)
    assert (pixels(content, 8) == 77).all()


@pytest.mark.parametrize("content", [b"", b"no picture", b"GIF89a", huge_png(100)])
def test_what_is_no_whole_png_or_jpeg_is_refused(content: bytes) -> None:
    with pytest.raises(
        DataError, match="x: can't be decoded: no PNG, JPEG, TIFF or BMP, or a broken one"
    ):
        pixels(content)


def test_a_file_cut_anywhere_is_refused_or_whole() -> None:
    for kind in ("PNG", "JPEG", "TIFF", "BMP"):
        content = encoded(Image.fromarray(RAMP), kind)
        for length in range(0, len(content) - 20, 7):
            with pytest.raises(DataError, match="x: can't be decoded"):
                pixels(content[:length])


def test_a_file_is_called_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png: not a readable file \(No such file"):
        read_image(tmp_path / "a.png", size_px=8)
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(RAMP)))
    assert read_image(tmp_path / "a.png", size_px=8).pixels.shape == (8, 8)
