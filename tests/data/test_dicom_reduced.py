"""JPEG 2000 at a reduced size: how near to the whole it is, and when it is not used."""

import dataclasses
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from cxrssl.core.images import Levels, Pixels, resized
from cxrssl.data.dicom import read
from cxrssl.data.dicom.read import read_dicom
from cxrssl.data.dicom.write import FileIdentity, PixelForm, write_dicom
from cxrssl.data.phantom.painting import paint_image
from cxrssl.data.phantom.plan import PhantomSettings, plan_image
from dicom_files import with_frame

LOWEST_DB = {1: 50.0, 2: 50.0, 3: 45.0}


def psnr(first: Pixels, second: Pixels) -> float:
    error = float(((first.astype(float) - second) ** 2).mean())
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def film(width: int = 900, height: int = 1021, bits: int = 12) -> np.ndarray:
    plan = dataclasses.replace(
        plan_image(PhantomSettings(seed=5), 0), width_px=width, height_px=height
    )
    return np.rint(paint_image(plan, 5) * (2**bits - 1)).astype(np.uint16)


def written(folder: Path, pixels: np.ndarray, bits: int = 12) -> Path:
    form = PixelForm("jpeg2000", bits, window=(2.0 ** (bits - 1), 0.9 * 2**bits))
    write_dicom(folder / "film.dcm", pixels, form=form, identity=FileIdentity(key="test"))
    return folder / "film.dcm"


@pytest.mark.parametrize(("size_px", "reduce"), [(500, 0), (400, 1), (224, 2), (112, 3)])
def test_the_smallest_size_that_suffices_is_decoded(
    size_px: int, reduce: int, tmp_path: Path
) -> None:
    route = read_dicom(written(tmp_path, film()), size_px=size_px).route
    assert route.endswith(f"reduce={reduce}" if reduce else "window LINEAR")


@pytest.mark.parametrize(("size_px", "reduce"), [(400, 1), (224, 2), (112, 3)])
def test_a_reduced_film_is_near_the_whole_one(size_px: int, reduce: int, tmp_path: Path) -> None:
    path = written(tmp_path, film())
    exact = read_dicom(path, size_px=size_px, exact=True)
    reduced = read_dicom(path, size_px=size_px)
    assert f"reduce={reduce}" in reduced.route
    assert "reduce" not in exact.route
    assert psnr(reduced.pixels, exact.pixels) > LOWEST_DB[reduce]


def test_samples_lie_on_whole_steps_and_resampling_must_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, film())
    exact = read_dicom(path, size_px=224, exact=True).pixels
    placed_right = psnr(read_dicom(path, size_px=224).pixels, exact)

    def plain(levels: Levels, *, row_edges: np.ndarray, column_edges: np.ndarray) -> np.ndarray:
        return resized(levels, height=len(row_edges) - 1, width=len(column_edges) - 1)

    monkeypatch.setattr(read, "box_averaged", plain)
    assert psnr(read_dicom(path, size_px=224).pixels, exact) < placed_right - 3


@pytest.mark.parametrize("width", [256, 257, 258, 259])
@pytest.mark.parametrize("height", [259, 260, 261, 262])
def test_no_size_is_too_odd_for_a_reduced_decode(width: int, height: int, tmp_path: Path) -> None:
    path = written(tmp_path, film(width, height))
    reduced, exact = read_dicom(path, size_px=64), read_dicom(path, size_px=64, exact=True)
    assert "reduce=2" in reduced.route
    assert psnr(reduced.pixels, exact.pixels) > 35  # little films have the edges of large ones


@pytest.mark.parametrize("bits", [8, 9, 13, 16])
def test_levels_of_every_depth_keep_their_scale_and_mean(bits: int, tmp_path: Path) -> None:
    pixels = film(300, 300, bits)
    path = written(tmp_path, pixels.astype(np.uint8) if bits == 8 else pixels, bits)
    reduced, exact = read_dicom(path, size_px=64), read_dicom(path, size_px=64, exact=True)
    assert "reduce=2" in reduced.route
    assert abs(reduced.pixels.mean() - exact.pixels.mean()) < 0.1


def test_a_letterboxed_film_is_reduced_for_its_own_size(tmp_path: Path) -> None:
    path = written(tmp_path, film(400, 1000))
    result = read_dicom(path, size_px=250, fit="letterbox")
    assert "reduce=2" in result.route
    assert result.pixels.shape == (250, 250)
    assert (result.pixels[:, :75] == 0).all()
    assert (result.pixels[:, 175:] == 0).all()
    exact = read_dicom(path, size_px=250, fit="letterbox", exact=True)
    assert psnr(result.pixels, exact.pixels) > 40


def signed(pixels: np.ndarray) -> bytes:
    levels = pixels.astype(np.int16)
    return encode_array(np.where(levels >= 2048, levels - 4096, levels), bits_stored=12)


@pytest.mark.parametrize(
    "encode",
    [
        lambda pixels: encode_array(pixels, bits_stored=16),
        signed,
        lambda pixels: encode_array(pixels, bits_stored=12, codec_format=1),
    ],
    ids=["precision unlike the header's", "sign unlike the header's", "JP2 file"],
)
def test_a_stream_that_can_not_be_reduced_is_decoded_whole(
    encode: Callable[[np.ndarray], bytes], tmp_path: Path
) -> None:
    path = written(tmp_path, film(300, 300))
    expected = read_dicom(path, size_px=64, exact=True)
    with_frame(path, encode(film(300, 300)), JPEG2000Lossless)
    result = read_dicom(path, size_px=64)
    assert "reduce" not in result.route
    assert np.array_equal(result.pixels, expected.pixels)


def test_a_stream_in_tiles_is_decoded_whole(tmp_path: Path) -> None:
    pixels = film(300, 300, 16)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG2000", no_jp2=True, tile_size=(101, 150))
    path = with_frame(written(tmp_path, pixels, 16), stream.getvalue(), JPEG2000Lossless)
    result = read_dicom(path, size_px=64)
    assert "reduce" not in result.route
    assert np.array_equal(result.pixels, read_dicom(path, size_px=64, exact=True).pixels)


def test_own_size_is_the_whole(tmp_path: Path) -> None:
    pixels = film(90, 101)
    result = read_dicom(written(tmp_path, pixels), size_px=None)
    assert "reduce" not in result.route
    low, width = 2048 - 0.5 - (3686.4 - 1) / 2, 3686.4 - 1
    assert np.array_equal(result.pixels, np.rint(np.clip((pixels - low) / width, 0, 1) * 255))
