"""The values of a DICOM header that decide a picture: numbers, words and lookup tables.

Not for finding them in a file (`elements`) and not for what they mean together (`header`).
Source: DICOM PS3.5, 6.2 (value representations); PS3.3, C.11.1.1 (lookup tables).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.elements import Elements, first_item

_TAGS = {
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "PixelRepresentation": 0x00280103,
    "PixelPaddingValue": 0x00280120,
    "PixelPaddingRangeLimit": 0x00280121,
    "WindowCenter": 0x00281050,
    "WindowWidth": 0x00281051,
    "RescaleIntercept": 0x00281052,
    "RescaleSlope": 0x00281053,
    "VOILUTFunction": 0x00281056,
    "ModalityLUTSequence": 0x00283000,
    "VOILUTSequence": 0x00283010,
}
_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
WANTED = frozenset(_TAGS.values())


@dataclass(frozen=True)
class Table:
    """A lookup table: level `first` shows `values[0]`; levels beyond either end, the end's value.

    Attributes:
        first: Level of the first entry.
        values: [N] uint16.
        highest: Highest value that its number of bits can hold.
    """

    first: int
    values: NDArray[np.uint16]
    highest: int


@dataclass(frozen=True)
class Values:
    """Values of one file by their keywords; `name` is what messages call the file."""

    elements: Elements
    name: str

    def value(self, keyword: str) -> memoryview:
        """Return the bytes of a value, none where the file has none."""
        return self.elements.values.get(_TAGS[keyword], memoryview(b""))

    def text(self, keyword: str) -> str:
        """Return a word or words in capitals, "" where there is none."""
        return bytes(self.value(keyword)).decode("ascii", errors="replace").strip("\0 ").upper()

    def integer(self, keyword: str, default: int | None = None) -> int:
        """Return the first of the 16-bit numbers, unsigned.

        Raises:
            DataError: If it is broken, or not there and has no default.
        """
        value = self.value(keyword)
        if len(value) == 0 and default is not None:
            return default
        return self._shorts(keyword, value, 1)[0]

    def decimal(self, keyword: str, default: float) -> float:
        """Return the first of the decimal numbers, `default` where there is none.

        Raises:
            DataError: If it is no finite number.
        """
        first = self.text(keyword).split("\\")[0].strip()
        if not first:
            return default
        try:
            number = float(first)
        except ValueError:
            raise self.broken(keyword) from None
        if not math.isfinite(number):
            raise self.broken(keyword)
        return number

    def table(self, keyword: str, *, signed: bool) -> Table | None:
        """Return the first lookup table of a sequence, None where there is none.

        Raises:
            DataError: If its bits are not 1 to 16, or it has fewer entries than it says.
        """
        if _TAGS[keyword] not in self.elements.values:
            return None
        item = first_item(self.elements, _TAGS[keyword], self.name)
        if _LUT_DESCRIPTOR not in item or _LUT_DATA not in item:
            return None
        count, first, bits = self._shorts(keyword, item[_LUT_DESCRIPTOR], 3)
        count = count or 2**16  # PS3.3 C.11.1.1: 0 means 65536
        data = item[_LUT_DATA]
        if not 1 <= bits <= 16 or len(data) < (count if bits <= 8 else 2 * count):
            raise self.broken(keyword)
        # Entries of 8 bits come as bytes or as words.
        size = 1 if len(data) < 2 * count else 2
        order = ">" if self.elements.big_endian else "<"
        values = np.frombuffer(data[: size * count], f"{order}u{size}").astype(np.uint16)
        # The descriptor has the type of the levels it maps, rescaled ones included.
        if first >= 2**15 and (signed or self.decimal("RescaleIntercept", 0.0) < 0):
            first -= 2**16
        return Table(first, values, 2**bits - 1)

    def broken(self, keyword: str) -> DataError:
        """Return the error that names a value and does not quote it."""
        return DataError(f"{self.name}: a value of the DICOM header is broken: {keyword}")

    def _shorts(self, keyword: str, value: memoryview, count: int) -> list[int]:
        if len(value) < 2 * count:
            raise self.broken(keyword)
        order = ">" if self.elements.big_endian else "<"
        return [int(number) for number in np.frombuffer(value[: 2 * count], order + "u2")]
