"""Whether a DICOM file holds an image at all, by its first bytes; not whether it can be decoded.

Archives and CDs hold directories, reports, presentation states and treatment plans beside images,
in files of the same names and suffixes. Source: DICOM PS3.4 B.5, PS3.6 A, PS3.10 7.1.
"""

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID

from cxrssl.core.sizes import Size, stated_size

_PREAMBLE_BYTES = 132
# What names the object begins in the file's first elements; a hostile header gets no more.
_HEAD_BYTES = 4096
_PRIVATE_HEAD_BYTES = 1 << 20
_SOP_CLASS, _SOP_INSTANCE, _ROWS = 0x00080016, 0x00080018, 0x00280010
_COLUMNS, _BITS = 0x00280011, 0x00280100


def is_dicom(path: Path) -> bool:
    """Return whether a file begins as PS3.10 has it; False where it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE_BYTES)[128:] == b"DICM"
    except OSError:
        return False


def kind_without_image(path: Path) -> str | None:
    """Return what a DICOM file holds where that is not an image, such as "Basic Text SR".

    The words are the standard's own, never the file's.

    Returns:
        None for an image, and where it can't be told: the decoder then says what is wrong.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head = file.read(_HEAD_BYTES)
            if head[128:_PREAMBLE_BYTES] != b"DICM":
                return None
            sop_class = _sop_class(head)
            if sop_class is None:
                return None
            if UID(sop_class).name == sop_class:  # not in the standard
                longer_head = head + file.read(_PRIVATE_HEAD_BYTES - len(head))
                return (
                    None
                    if "Rows" in _up_to_bits(longer_head, [_ROWS])
                    else "a private object without rows"
                )
    # What pydicom raises on broken headers is of many types, and its words may quote values.
    except Exception:
        return None
    name = UID(sop_class).name
    return None if "Image" in name else name.removesuffix(" Storage")


def dicom_size(path: Path) -> Size | None:
    """Return (width, height) in pixels as a DICOM file states them; None where it can't be told."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = _up_to_bits(file.read(_PRIVATE_HEAD_BYTES), [_ROWS, _COLUMNS])
        return stated_size(dataset.get("Columns"), dataset.get("Rows"))
    # As above: of many types, and its words may quote values.
    except Exception:
        return None


def _sop_class(head: bytes) -> str | None:
    """Return the class of the object in the file, which the file meta information repeats."""
    dataset = read_partial(
        BytesIO(head),
        stop_when=lambda tag, _kind, _length: tag > _SOP_INSTANCE,
        specific_tags=[BaseTag(_SOP_CLASS)],
    )
    meta = dataset.file_meta.get("MediaStorageSOPClassUID")
    value = meta or dataset.get("SOPClassUID")
    return str(value) if value else None


def _up_to_bits(head: bytes, tags: Sequence[int]) -> FileDataset:
    """Return these elements of a file's head, of those up to the bits of its pixels."""
    return read_partial(
        BytesIO(head),
        stop_when=lambda tag, _kind, _length: tag > _BITS,
        specific_tags=[*map(BaseTag, tags)],
    )
