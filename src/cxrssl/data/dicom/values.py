"""The values of a DICOM header that decide a picture: numbers, words and lookup tables.

pydicom reads a value where it is used, so a broken one surfaces here; its messages quote the value,
which may be the patient's, so none is passed on. Not for what values mean together (`header`).
Source: DICOM PS3.5, 6.2 (value representations); PS3.3, C.11.1.1 (lookup tables).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from cxrssl.core.errors import DataError


@dataclass(frozen=True)
class Table:
    """A lookup table: level `first` shows `values[0]`; levels beyond either end, the end's value.

    Attributes:
        first: Level of the first entry.
        values: [N] uint16.
        bits: Bits of a value as the descriptor states them, 1 to 16.
        highest: Value that is shown white.
    """

    first: int
    values: NDArray[np.uint16]
    bits: int
    highest: int


@dataclass(frozen=True)
class Values:
    """Values of one file by their keywords; `name` is what messages call the file."""

    dataset: Dataset
    name: str
    big_endian: bool

    def has(self, keyword: str) -> bool:
        """Return whether a value is there and not empty."""
        return self._first(keyword) is not None

    def text(self, keyword: str) -> str:
        """Return the first word in capitals, "" where there is none."""
        value = self._first(keyword)
        return "" if value is None else str(value).strip("\0 ").upper()

    def integer(self, keyword: str, default: int | None = None) -> int:
        """Return the first of the 16-bit numbers, as it is stated.

        Raises:
            DataError: If it is broken, or not there and has no default.
        """
        value = self._first(keyword)
        if value is None and default is not None:
            return default
        return self._short(keyword, value)

    def decimal(self, keyword: str, default: float) -> float:
        """Return the first of the decimal numbers, `default` where there is none.

        Raises:
            DataError: If it is not a finite number.
        """
        value = self._first(keyword)
        if value is None:
            return default
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise self.broken(keyword) from None
        if not math.isfinite(number):
            raise self.broken(keyword)
        return number

    def numbers(self, keyword: str) -> list[float | None]:
        """Return all of the decimal numbers; None for each that is not finite."""
        try:
            value = self._value(keyword)
        except DataError:
            # pydicom converts all or none; each may still be one.
            raw = self.dataset.get_item(keyword)
            value = getattr(raw, "value", None)
            if not isinstance(value, bytes):
                return [None]
            value = value.decode("ascii", "replace").split("\\")
        if value is None or value in ("", b""):
            return []
        return [_finite(part) for part in (value if _is_list(value) else [value])]

    def items(self, keyword: str) -> list["Values"]:
        """Return the items of a sequence, none where there is no such sequence.

        Raises:
            DataError: If it is broken.
        """
        value = self._value(keyword)
        if value is None or value in ("", b""):
            return []
        if not isinstance(value, Sequence):
            raise self.broken(keyword)
        return [Values(item, self.name, self.big_endian) for item in value]

    def lookup_table(self, keyword: str, *, negative: bool) -> Table | None:
        """Return the lookup table in this item of a sequence, None where it is empty.

        Args:
            keyword: Keyword of the sequence, for messages.
            negative: Whether the levels that it maps may be below 0.

        Raises:
            DataError: If its bits are not 1 to 16, or it has fewer entries than it says.
        """
        descriptor = self._value("LUTDescriptor")
        data = self._value("LUTData")
        if not descriptor and (data is None or data in ("", b"")):
            return None
        if isinstance(descriptor, bytes):
            descriptor = np.frombuffer(descriptor, ">u2" if self.big_endian else "<u2").tolist()
        if not _is_list(descriptor) or len(descriptor) != 3 or data is None:
            raise self.broken(keyword)
        count, first, bits = (self._short(keyword, number) % 2**16 for number in descriptor)
        count = count or 2**16  # PS3.3 C.11.1.1: 0 means 65536
        values = self._entries(keyword, data, count)
        if not 1 <= bits <= 16 or len(values) < count:
            raise self.broken(keyword)
        # The descriptor has the type of the levels it maps, rescaled ones included.
        if first >= 2**15 and negative:
            first -= 2**16
        return Table(first, values[:count], bits, 2**bits - 1)

    def broken(self, keyword: str) -> DataError:
        """Return the error that names a value and does not quote it."""
        return DataError(f"{self.name}: a value of the DICOM header is broken: {keyword}")

    def _entries(self, keyword: str, data: Any, count: int) -> NDArray[np.uint16]:  # noqa: ANN401
        if isinstance(data, bytes):
            # Entries of 8 bits come as bytes or as words.
            size = 1 if len(data) < 2 * count else 2
            kind = f"{'>' if self.big_endian else '<'}u{size}"
            return np.frombuffer(data[: len(data) // size * size], kind).astype(np.uint16)
        try:
            return (np.atleast_1d(np.asarray(data, np.int64)) % 2**16).astype(np.uint16)
        # The message quotes what is not a number.
        except (TypeError, ValueError, OverflowError):
            raise self.broken(keyword) from None

    def _short(self, keyword: str, value: Any) -> int:  # noqa: ANN401 - pydicom's
        if isinstance(value, bytes) and len(value) >= 2:
            return int.from_bytes(value[:2], "big" if self.big_endian else "little")
        if not isinstance(value, int):
            raise self.broken(keyword)
        return int(value)

    def _first(self, keyword: str) -> Any:  # noqa: ANN401 - pydicom's
        """Return the first of a value's parts; None where there is no value, or it is empty."""
        value = self._value(keyword)
        if _is_list(value) or isinstance(value, Sequence):
            return value[0] if len(value) else None
        return None if value is None or value in ("", b"") else value

    def _value(self, keyword: str) -> Any:  # noqa: ANN401 - pydicom's
        try:
            return self.dataset.get(keyword)
        except MemoryError:
            raise
        except Exception:
            raise self.broken(keyword) from None


def _is_list(value: Any) -> bool:  # noqa: ANN401 - pydicom's
    return isinstance(value, list | MultiValue)


def _finite(value: Any) -> float | None:  # noqa: ANN401 - pydicom's
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
