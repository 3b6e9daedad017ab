"""DICOM files that tests of decoding make themselves: any samples, in any transfer syntax.

Encoders are imagecodecs', openjpeg's and pydicom's; what is written is read back by the product.
"""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxrssl.data.dicom.dataset import read_file
from cxrssl.data.dicom.header import read_header
from cxrssl.data.dicom.stored import stored_levels
from cxrssl.data.dicom.write import FileIdentity, PixelForm, write_dicom

NATIVE = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
COMPRESSED = {
    "rle": RLELossless,
    "jpeg lossless": JPEGLosslessSV1,
    "jpeg-ls": JPEGLSLossless,
    "jpeg 2000": JPEG2000Lossless,
    "jpeg 2000 signed": JPEG2000Lossless,
    "htj2k": HTJ2KLossless,
}
LOSSLESS = (*NATIVE, *COMPRESSED)


def coded(samples: np.ndarray, codec: str) -> bytes:
    """Encode unsigned samples [H, W] of 8 or 16 bits, every bit of them, without loss."""
    bits = 8 * samples.itemsize
    match codec:
        case "jpeg lossless":
            return bytes(
                imagecodecs.jpeg8_encode(samples, lossless=True, predictor=1, bitspersample=bits)
            )
        case "jpeg-ls":
            return bytes(imagecodecs.jpegls_encode(samples))
        case "jpeg 2000":
            return encode_array(samples, bits_stored=bits)
        case "jpeg 2000 signed":
            return encode_array(samples.view(f"i{samples.itemsize}"), bits_stored=bits)
        case "htj2k":
            return bytes(imagecodecs.htj2k_encode(samples, reversible=True))
    raise ValueError(codec)


def dicom_file(path: Path, samples: np.ndarray, codec: str = "explicit", **values: object) -> Path:
    """Write unsigned samples [H, W], every bit as it is, with header values by keyword."""
    bits = 8 * samples.itemsize
    form = PixelForm(bits_stored=bits)
    write_dicom(path, samples, form=form, identity=FileIdentity(key="test"))
    if codec == "rle":
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        dataset.save_as(path)
    elif codec in COMPRESSED:
        with_frame(path, coded(samples, codec), COMPRESSED[codec])
    return with_values(path, NATIVE.get(codec), **values)


def with_values(path: Path, syntax: str | None = None, **values: object) -> Path:
    """Set header values by keyword, None for empty; pixels of a new byte order are swapped."""
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    if syntax is None:
        dataset.save_as(path)
        return path
    if syntax == ExplicitVRBigEndian and dataset.BitsAllocated == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    # A dataset of another kind of reading must be built anew to be written otherwise.
    anew = Dataset(dataset)
    anew.file_meta = dataset.file_meta
    pydicom.dcmwrite(
        path,
        anew,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return path


def with_frame(path: Path, stream: bytes | list[bytes], syntax: str, **values: object) -> Path:
    """Put a compressed stream, or several fragments, into a file."""
    dataset = pydicom.dcmread(path)
    fragments = [stream] if isinstance(stream, bytes) else stream
    dataset.PixelData = encapsulate(fragments, has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def extended(path: Path, samples: np.ndarray, *, level: int = 98, **values: object) -> Path:
    """Write samples of 12 bits as JPEG Extended, which loses a little."""
    dicom_file(path, samples)
    stream = imagecodecs.jpeg8_encode(samples, level=level, bitspersample=12)
    return with_frame(path, bytes(stream), JPEGExtended12Bit, **values)


def levels_of(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the stored levels of a file, and what is said of them."""
    file = read_file(path.read_bytes(), path.name)
    return stored_levels(file, read_header(file, path.name), path.name)
