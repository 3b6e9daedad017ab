"""Which decoder reads what, that they agree, and what is said where there is none."""

import hashlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_files
from pydicom.uid import (
    MPEG2MPML,
    AllTransferSyntaxes,
    JPEGLossless,
    JPEGLosslessSV1,
)

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.advice import decode_advice
from cxrssl.data.dicom.read import read_dicom
from dicom_files import coded, dicom_file, levels_of, with_frame

PIXELS = (np.add.outer(np.arange(61) ** 2, np.arange(83) * 7) % 4096).astype(np.uint16)
STREAM = coded(PIXELS, "jpeg lossless")


# What pydicom needs libjpeg for, which is GPL: levels as that gave them (pylibjpeg-libjpeg 2.5.0).
LEVELS_BLAKE2 = {
    "JPEGLSNearLossless_08.dcm": "437c12a5b7e56802",
    "JPEGLSNearLossless_16.dcm": "b8090dca8578ccd0",
}
EXTENDED_MEAN = 14.3830
# The same pictures in another form.
TWINS = {"MR_small_jpeg_ls_lossless.dcm": "MR_small.dcm"}


@pytest.mark.filterwarnings("ignore")
def test_pydicoms_own_grey_files_give_the_levels_that_pydicom_gives() -> None:
    agreed = 0
    for path in sorted(map(Path, get_testdata_files())):
        try:
            result = levels_of(path)[0] if path.is_file() else None
        except DataError:
            continue
        if result is None:
            continue
        if path.name in LEVELS_BLAKE2:
            digest = hashlib.blake2b(result.astype("<u2").tobytes(), digest_size=8).hexdigest()
            assert digest == LEVELS_BLAKE2[path.name], path.name
        elif path.name in ("JPGExtended.dcm", "JPEG-lossy.dcm"):  # of one picture
            assert result.mean() == pytest.approx(EXTENDED_MEAN, abs=0.02)
            assert np.array_equal(result, levels_of(path.with_name("JPGExtended.dcm"))[0])
        else:
            twin = TWINS.get(path.name, path.name)
            expected = pydicom.dcmread(path.with_name(twin)).pixel_array
            assert np.array_equal(result, expected), path.name
        agreed += 1
    assert agreed == 49


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
def test_jpeg_lossless_gives_what_was_encoded(syntax: str, tmp_path: Path) -> None:
    path = with_frame(dicom_file(tmp_path / "image.dcm", PIXELS), STREAM, syntax)
    assert np.array_equal(levels_of(path)[0], PIXELS)


def test_a_jpeg_stream_without_its_end_is_refused(tmp_path: Path) -> None:
    path = with_frame(dicom_file(tmp_path / "image.dcm", PIXELS), STREAM[:-100], JPEGLosslessSV1)
    with pytest.raises(DataError, match="the JPEG stream is cut: it has no end marker"):
        read_dicom(path, size_px=32)


def test_what_can_be_decoded_needs_no_advice() -> None:
    decoded = [uid for uid in AllTransferSyntaxes if decode_advice(uid) is None]
    assert len(decoded) == 16


def test_a_build_without_a_codec_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        available = False

    monkeypatch.setattr(imagecodecs, "JPEG2K", Bare)
    assert decode_advice("1.2.840.10008.1.2.4.90") == (
        "this build of imagecodecs has no JPEG2K, which JPEG 2000 Image Compression (Lossless "
        "Only) needs: pip install --force-reinstall imagecodecs"
    )


@pytest.mark.parametrize("uid", [MPEG2MPML, "1.2.840.10008.1.2.4.110"])
def test_what_no_package_decodes_is_to_be_stored_otherwise(uid: str) -> None:
    assert "store the file uncompressed or as JPEG 2000 lossless" in str(decode_advice(uid))


def test_a_transfer_syntax_that_is_none_is_not_quoted() -> None:
    result = str(decode_advice("Doe^John"))
    assert "an unknown transfer syntax" in result
    assert "Doe" not in result


def test_the_message_for_a_missing_decoder_says_what_to_do(tmp_path: Path) -> None:
    path = with_frame(dicom_file(tmp_path / "image.dcm", PIXELS), STREAM, MPEG2MPML)
    message = r"image\.dcm: pixels can't be decoded: no package .* decodes MPEG2 .*: store the file"
    with pytest.raises(DataError, match=message):
        read_dicom(path, size_px=32)
