"""Decoding: what a viewer would show, with bone bright, whatever form the file has."""

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.read import decode_dicom, read_dicom
from cxrssl.data.dicom.write import FileIdentity, PixelForm, write_dicom

REAL = os.environ.get("CXRSSL_RADIOGRAPHS")
RAMP = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)


def written(folder: Path, pixels: np.ndarray, form: PixelForm) -> Path:
    path = folder / "image.dicom"
    write_dicom(path, pixels, form=form, identity=FileIdentity(key="test"))
    return path


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "jpeg2000", "rle"])
def test_every_syntax_gives_the_same_picture(syntax: str, tmp_path: Path) -> None:
    window = (2048.0, 4096.0)
    form = PixelForm(syntax=syntax, window=window)  # type: ignore[arg-type]
    result = read_dicom(written(tmp_path, RAMP, form), size_px=None)
    assert np.array_equal(result.pixels, np.rint(np.clip(RAMP / 4095, 0, 1) * 255).astype(np.uint8))
    assert (result.original_width, result.original_height) == (64, 64)


def test_without_a_window_all_but_the_extremes_are_spread_over_the_range(tmp_path: Path) -> None:
    pixels = RAMP // 4 + 1000
    pixels[0, 0], pixels[0, 1] = 0, 4095  # one dead and one burnt pixel
    result = read_dicom(written(tmp_path, pixels, PixelForm()), size_px=None).pixels
    assert np.percentile(result, 2) < 10
    assert np.percentile(result, 98) > 245


def test_the_picture_is_squashed_to_the_asked_size(tmp_path: Path) -> None:
    pixels = np.tile(RAMP[:32], (1, 2))
    result = read_dicom(written(tmp_path, pixels, PixelForm()), size_px=16)
    assert result.pixels.shape == (16, 16)
    assert (result.original_width, result.original_height) == (128, 32)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("examples_rgb_color.dcm", "PhotometricInterpretation is 'RGB'"),
        ("rtplan.dcm", "no image"),
    ],
)
def test_what_is_no_radiograph_is_refused_with_the_reason(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_dicom(Path(str(get_testdata_file(name, download=False))), size_px=64)


def test_several_frames_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, RAMP, PixelForm())
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = 2
    dataset.save_as(path)
    with pytest.raises(DataError, match="2 frames; expected a single radiograph"):
        read_dicom(path, size_px=64)


def test_damaged_files_decode_or_are_refused_and_never_raise_anything_else(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    syntaxes = ("rle", "jpeg2000", "explicit", "implicit")
    forms = [PixelForm(syntax=syntax, window=(2048.0, 4096.0)) for syntax in syntaxes]  # type: ignore[arg-type]
    contents = [written(tmp_path, RAMP, form).read_bytes() for form in forms]
    faults = []
    for turn in range(400):
        content = np.frombuffer(contents[turn % 4], np.uint8).copy()
        offsets = generator.integers(128, 1200 if turn % 3 else len(content), size=4)
        content[offsets] = generator.integers(0, 256, size=4)
        try:
            decode_dicom(content.tobytes(), name="x", size_px=32, fit="squash", exact=turn % 5 == 0)
        except DataError as error:
            faults.append(str(error))
    assert 40 < len(faults) < 400
    assert all(fault.startswith("x: ") for fault in faults)


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "jpeg2000", "rle"])
def test_a_file_cut_anywhere_is_refused(syntax: str, tmp_path: Path) -> None:
    form = PixelForm(syntax=syntax, window=(2048.0, 4096.0))  # type: ignore[arg-type]
    content = written(tmp_path, RAMP, form).read_bytes()
    for length in range(0, len(content) - 10, 37):
        with pytest.raises(DataError, match="x: "):
            decode_dicom(content[:length], name="x", size_px=32, fit="squash", exact=False)


def test_a_broken_value_is_refused_without_being_quoted(tmp_path: Path) -> None:
    path = written(tmp_path, RAMP, PixelForm(rescale=(1234.5, 0.0)))
    content = path.read_bytes()
    assert content.count(b"1234.5") == 1
    path.write_bytes(content.replace(b"1234.5", b"DOE^J "))
    with pytest.raises(DataError, match="a value of the DICOM header is broken") as error:
        read_dicom(path, size_px=32)
    assert "DOE" not in str(error.value)


@pytest.mark.filterwarnings("error")
def test_nothing_of_the_patient_gets_into_warnings_logs_or_messages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    path = written(tmp_path, RAMP, PixelForm(syntax="jpeg2000", window=(2048.0, 4096.0)))
    content = path.read_bytes()
    # Names where numbers, dates, identifiers and terms belong.
    for old, new in (
        (b"20200101", b"Doe^John"),
        (b"120000", b"Doe^Jo"),
        (b"MONOCHROME2 ", b"Doe^John^Doe"),
        (b"ORIGINAL", b"Doe^John"),
    ):
        content = content.replace(old, new)
    with pytest.raises(DataError, match="PhotometricInterpretation is none of DICOM's") as error:
        decode_dicom(content, name="x", size_px=32, fit="squash", exact=False)
    assert "Doe" not in str(error.value)
    content = content.replace(b"Doe^John^Doe", b"MONOCHROME2 ")
    content = content.replace(b"1.2.840.10008.1.2.4.90", b"Doe^John.Doe^John.Doe^")
    with pytest.raises(DataError, match="decodes an unknown transfer syntax") as error:
        decode_dicom(content, name="x", size_px=32, fit="squash", exact=False)
    assert "Doe" not in str(error.value) + caplog.text


def test_no_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.dcm: not a readable file \(No such file"):
        read_dicom(tmp_path / "none.dcm", size_px=32)


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("BitsAllocated", 32, "12 bits stored in 32; a radiograph has up to 16 in 8 or 16"),
        ("BitsStored", 17, "17 bits stored in 16"),
        ("SamplesPerPixel", 3, r"is 'MONOCHROME2', 3 sample\(s\) a pixel"),
        ("Rows", 0, "the header claims 64x0 pixels; at least 1"),
    ],
)
def test_what_is_no_grey_frame_of_sixteen_bits_is_refused(
    keyword: str, value: int, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, RAMP, PixelForm())
    dataset = pydicom.dcmread(path)
    setattr(dataset, keyword, value)
    dataset.save_as(path)
    with pytest.raises(DataError, match=message):
        read_dicom(path, size_px=32)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, RAMP, PixelForm())
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.FloatPixelData = RAMP.astype("<f4").tobytes()
    dataset.BitsAllocated = 32
    dataset.save_as(path)
    with pytest.raises(DataError, match="the pixels are floating-point numbers"):
        read_dicom(path, size_px=32)


def test_big_endian_bytes_in_words_are_put_in_order(tmp_path: Path) -> None:
    pixels = (RAMP[:33, :63] >> 4).astype(np.uint8)
    path = written(tmp_path, pixels, PixelForm(bits_stored=8, window=(128.0, 256.0)))
    dataset = pydicom.dcmread(path)
    expected = read_dicom(path, size_px=None).pixels
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    big = pydicom.Dataset(dataset)
    big.file_meta = dataset.file_meta
    pydicom.dcmwrite(path, big, implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert np.array_equal(read_dicom(path, size_px=None).pixels, expected)


def test_a_letterboxed_picture_keeps_its_shape_in_a_black_square(tmp_path: Path) -> None:
    path = written(tmp_path, np.tile(RAMP[32:], (1, 2)), PixelForm(window=(2048.0, 4096.0)))
    result = read_dicom(path, size_px=32, fit="letterbox").pixels
    assert result.shape == (32, 32)
    assert (result[:12] == 0).all()
    assert (result[20:] == 0).all()
    assert (result[12:20] > 0).all()


@pytest.mark.skipif(REAL is None, reason="CXRSSL_RADIOGRAPHS names no folder of radiographs")
def test_real_radiographs_show_bright_bone_and_a_dark_background() -> None:
    paths = sorted(Path(str(REAL)).glob("*.dcm"))
    assert paths
    for path in paths:
        pixels = read_dicom(path, size_px=512).pixels
        spine = pixels[180:360, 236:276].mean()
        lungs = (pixels[180:260, 110:180].mean() + pixels[180:260, 330:400].mean()) / 2
        assert spine > lungs + 30, path.name
