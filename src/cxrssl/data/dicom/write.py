"""Writes radiographs as DICOM files, in the forms that archives hold them.

For made images: the phantom and tests. Not for changing real files, and not for structured
reports. Every form is lossless, and a file is a function of its arguments: no clock, no random
identifiers.

Shapes: pixels [H, W] unsigned integers, as stored (a MONOCHROME1 file's are inverted by the
caller).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from cxrssl.core.errors import DataError
from cxrssl.core.files import replacing
from cxrssl.data.dicom import encoders

Syntax = Literal["explicit", "implicit", "jpeg2000", "rle"]

SYNTAXES: dict[Syntax, UID] = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "jpeg2000": JPEG2000Lossless,
    "rle": RLELossless,
}
_MODALITIES = {
    "DX": DigitalXRayImageStorageForPresentation,
    "CR": ComputedRadiographyImageStorage,
}
_MAX_BITS = 16


@dataclass(frozen=True)
class PixelForm:
    """How pixels are stored, and how they are meant to be shown.

    `window` is (centre, width) and applies after `rescale`, which is (slope, intercept).
    """

    syntax: Syntax = "explicit"
    bits_stored: int = 12
    inverted: bool = False
    window: tuple[float, float] | None = None
    rescale: tuple[float, float] | None = None


@dataclass(frozen=True)
class FileIdentity:
    """Who and what a made file says it is; `key` decides its identifiers."""

    key: str
    patient: str = "PHANTOM"
    modality: Literal["DX", "CR"] = "DX"
    date: str = "20200101"
    spacing_mm: float = 0.35


def write_dicom(
    path: Path, pixels: NDArray[np.unsignedinteger[Any]], *, form: PixelForm, identity: FileIdentity
) -> None:
    """Write one frontal radiograph, first under a temporary name.

    Args:
        path: File to write; its folder exists.
        pixels: [H, W] as stored, below 2 ** form.bits_stored: uint8 for up to 8 bits, else uint16.
        form: Transfer syntax, depth, photometric interpretation and display values.
        identity: Patient and identifiers.

    Raises:
        DataError: If the pixels do not fit the form.
    """
    _check(path, pixels, form)
    dataset = _describe(pixels, form, identity)
    match form.syntax:
        case "jpeg2000":
            _put_frame(dataset, encoders.jpeg2000(pixels, bits=form.bits_stored))
        case "rle":
            _put_frame(dataset, encoders.run_lengths(pixels))
        case "explicit" | "implicit":
            dataset.PixelData = _little_endian(pixels)
            dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
        case _:
            assert_never(form.syntax)
    with replacing(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)


def _put_frame(dataset: Dataset, frame: bytes) -> None:
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def identifier(*parts: str) -> str:
    """Return a DICOM UID that is a function of its parts, under the root for UUIDs."""
    digest = hashlib.blake2b("/".join(parts).encode(), digest_size=16).digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"


def _check(path: Path, pixels: NDArray[np.unsignedinteger[Any]], form: PixelForm) -> None:
    if not 1 <= form.bits_stored <= _MAX_BITS:
        raise DataError(
            f"{path.name}: bits_stored is {form.bits_stored}; expected 1 to {_MAX_BITS}. "
            "Choose another depth."
        )
    expected = np.uint8 if form.bits_stored <= 8 else np.uint16
    if pixels.ndim != 2 or pixels.dtype != expected:
        raise DataError(
            f"{path.name}: pixels are {pixels.dtype} with {pixels.ndim} axes; expected "
            f"{np.dtype(expected)} [H, W] for {form.bits_stored} bits. Convert them first."
        )
    highest = int(pixels.max(initial=0))
    if highest >= 2**form.bits_stored:
        raise DataError(
            f"{path.name}: the highest pixel is {highest}; expected less than "
            f"{2**form.bits_stored} for {form.bits_stored} bits. Scale them, or store more bits."
        )


def _little_endian(pixels: NDArray[np.unsignedinteger[Any]]) -> bytes:
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    return data + b"\0" * (len(data) % 2)  # DICOM values have an even length


def _describe(
    pixels: NDArray[np.unsignedinteger[Any]], form: PixelForm, identity: FileIdentity
) -> Dataset:
    storage = _MODALITIES[identity.modality]
    instance = identifier(identity.key, "instance")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = UID(instance)
    meta.ImplementationClassUID = UID(identifier("cxrssl", "implementation"))
    meta.ImplementationVersionName = "CXRSSL"
    meta.TransferSyntaxUID = SYNTAXES[form.syntax]
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = storage, UID(instance)
    dataset.StudyInstanceUID = UID(identifier(identity.key, "study"))
    dataset.SeriesInstanceUID = UID(identifier(identity.key, "series"))
    _describe_study(dataset, identity)
    _describe_pixels(dataset, pixels, form)
    return dataset


def _describe_study(dataset: Dataset, identity: FileIdentity) -> None:
    dataset.PatientName = identity.patient
    dataset.PatientID = identity.patient
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.StudyDate = dataset.ContentDate = identity.date
    dataset.StudyTime = dataset.ContentTime = "120000"
    dataset.StudyID = dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.Modality = identity.modality
    dataset.Manufacturer = "cxrssl phantom"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.ImagerPixelSpacing = [f"{identity.spacing_mm:.4f}"] * 2
    dataset.PixelSpacing = [f"{identity.spacing_mm:.4f}"] * 2


def _describe_pixels(
    dataset: Dataset, pixels: NDArray[np.unsignedinteger[Any]], form: PixelForm
) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if form.inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = (int(side) for side in pixels.shape)
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = form.bits_stored
    dataset.HighBit = form.bits_stored - 1
    dataset.PixelRepresentation = 0
    dataset.PresentationLUTShape = "INVERSE" if form.inverted else "IDENTITY"
    if form.rescale is not None:
        dataset.RescaleSlope, dataset.RescaleIntercept = (f"{x:g}" for x in form.rescale)
        dataset.RescaleType = "US"
    if form.window is not None:
        dataset.WindowCenter, dataset.WindowWidth = (f"{x:g}" for x in form.window)
