"""Finds the few values of a DICOM file that decide its picture, and its pixel data, in memory.

pydicom makes an object of every element and calls itself for nested sequences: 8 MB of empty items
cost it half a minute and 750 MB, and its warnings quote values, a patient's name among them. Here
the file is walked once, without recursion; what is not wanted is stepped over and never read.
Not for what values are (`values`) or mean (`header`).
Source: DICOM PS3.5, 7.1 and 7.5 (elements, sequences), A.4 and A.5; PS3.10, 7.1 (file meta).
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from cxrssl.core.errors import DataError

IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"

PIXEL_DATA = 0x7FE00010
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
_TRANSFER_SYNTAX = 0x00020010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
# Value representations with a length of four bytes; all others have two (PS3.5, 7.1.2).
_LONG = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_MAX_DEPTH = 32
_MAX_ELEMENTS = 200_000
# 150 megapixels of 16 bits, and a generous header.
_MAX_INFLATED = 2 * 150_000_000 + 2**24
_INFLATED_AT_ONCE = 2**24


@dataclass(frozen=True)
class Elements:
    """What was found in one file.

    Attributes:
        syntax: Its transfer syntax UID.
        values: Value of each wanted element that is there; of a sequence, its items.
        big_endian: Byte order of values and uncompressed pixels.
        implicit: Whether elements state no value representation.
        pixels: Value of the pixel data; of fragmented data, everything that follows.
        fragmented: Whether the pixel data has no length of its own, as compressed data has.
        words: Whether the pixel data is stated to be 16-bit words (OW).
    """

    syntax: str
    values: dict[int, memoryview]
    big_endian: bool
    implicit: bool
    pixels: memoryview
    fragmented: bool
    words: bool


class _Element(NamedTuple):
    """Head of an element: where its value is; `length` is None where it is undefined."""

    tag: int
    kind: bytes
    value: int
    length: int | None


class _Walk(NamedTuple):
    """How a stretch of bytes is read."""

    data: memoryview
    name: str
    big_endian: bool
    implicit: bool


def read_elements(content: bytes, name: str, wanted: frozenset[int]) -> Elements:
    """Walk a DICOM file up to its pixel data.

    Args:
        content: The whole file.
        name: What messages call it.
        wanted: Tags whose values are kept.

    Raises:
        DataError: If it is no DICOM file, is cut or broken, nests sequences deeper than 32, has
            more than 200,000 elements before its pixels, inflates beyond 150 megapixels, or holds
            no integer pixel data.
    """
    if content[128:132] != b"DICM":
        raise DataError(f"{name}: not a readable DICOM file: 'DICM' is missing at byte 128")
    syntax, start = _file_meta(_Walk(memoryview(content), name, False, False))
    data = memoryview(content)[start:]
    if syntax == DEFLATED:
        data = memoryview(_inflated(data, name))
    # Some writers state one form and write the other; the first element tells.
    implicit = not _states_kind(data, 0) if len(data) >= 6 else syntax == IMPLICIT
    walk = _Walk(data, name, syntax == BIG_ENDIAN, implicit)
    values: dict[int, memoryview] = {}
    for element, end in _elements(walk, 0):
        if element.tag in _FLOAT_PIXELS:
            raise DataError(f"{name}: the pixels are floating-point numbers; expected integers")
        if element.tag == PIXEL_DATA:
            fragmented = element.length is None
            pixels = data[element.value :] if fragmented else data[element.value : end]
            words = element.kind == b"OW"
            return Elements(syntax, values, walk.big_endian, implicit, pixels, fragmented, words)
        if element.tag in wanted:
            values[element.tag] = data[element.value : end]
    raise DataError(f"{name}: no image: the file has no pixel data, or is cut before it")


def first_item(elements: Elements, sequence: int, name: str) -> dict[int, memoryview]:
    """Return the values in the first item of a sequence that was found; {} without an item.

    Raises:
        DataError: If the sequence is broken.
    """
    data = elements.values[sequence]
    walk = _Walk(data, name, elements.big_endian, elements.implicit)
    item = _element_at(walk, 0) if len(data) else None
    if item is None or item.tag == _SEQUENCE_END:
        return {}
    if item.tag != _ITEM:
        raise _broken(name)
    end = len(data) if item.length is None else item.value + item.length
    found = _elements(walk._replace(data=data[:end]), item.value)
    return {element.tag: data[element.value : stop] for element, stop in found}


def _file_meta(walk: _Walk) -> tuple[str, int]:
    """Return the transfer syntax UID, and where the data set begins."""
    syntax = ""
    at = 132
    while at + 8 <= len(walk.data):
        element = _element_at(walk, at)
        if element.tag >> 16 != 2:
            break
        if element.length is None:
            raise _broken(walk.name)
        at = element.value + element.length
        if element.tag == _TRANSFER_SYNTAX:
            value = bytes(walk.data[element.value : at])
            syntax = value.decode("ascii", errors="replace").strip("\0 ")
    if not syntax:
        raise DataError(f"{walk.name}: no image: the file has no transfer syntax")
    return syntax, at


def _inflated(data: memoryview, name: str) -> bytearray:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    content = bytearray()
    try:
        while data and not inflate.eof:
            content += inflate.decompress(data, _INFLATED_AT_ONCE)
            data = memoryview(inflate.unconsumed_tail)
            if len(content) > _MAX_INFLATED:
                raise DataError(
                    f"{name}: the deflated data set is larger than {_MAX_INFLATED // 10**6} MB"
                )
    except zlib.error as error:
        raise DataError(f"{name}: the deflated data set is broken") from error
    return content


def _elements(walk: _Walk, at: int) -> Iterator[tuple[_Element, int]]:
    """Yield the elements of one level, and where each ends; pixel data is the last."""
    count = 0
    while at + 8 <= len(walk.data):
        element = _element_at(walk, at)
        if element.tag in (_ITEM_END, _SEQUENCE_END):
            return
        count += 1
        if element.tag == PIXEL_DATA:
            length = element.length
            yield element, len(walk.data) if length is None else element.value + length
            return
        if element.length is None:
            end, count = _end_of_undefined(walk, element, count)
        else:
            end = element.value + element.length
        if end > len(walk.data):
            raise DataError(f"{walk.name}: the file is cut inside its header")
        if count > _MAX_ELEMENTS:
            raise _too_many(walk.name)
        yield element, end
        at = end


def _end_of_undefined(walk: _Walk, element: _Element, count: int) -> tuple[int, int]:
    """Return where an element of undefined length ends, and the count with what is in it."""
    # What is of unknown kind and undefined length is implicit inside (PS3.5, 6.2.2).
    if element.kind == b"UN":
        walk = walk._replace(implicit=True)
    at = element.value
    levels = [False]  # for every open sequence and item: whether it is an item
    while levels:
        inner = _element_at(walk, at)
        at = inner.value
        count += 1
        if count > _MAX_ELEMENTS:
            raise _too_many(walk.name)
        if inner.tag == (_ITEM_END if levels[-1] else _SEQUENCE_END):
            levels.pop()
        elif levels[-1] == (inner.tag == _ITEM):
            raise _broken(walk.name)
        elif inner.length is None:
            levels.append(not levels[-1])
            if len(levels) > 2 * _MAX_DEPTH:
                raise DataError(f"{walk.name}: sequences are nested deeper than {_MAX_DEPTH}")
        else:
            at += inner.length
    return at, count


def _element_at(walk: _Walk, at: int) -> _Element:
    order = ">" if walk.big_endian else "<"
    try:
        group, number = struct.unpack_from(order + "HH", walk.data, at)
        tag = group << 16 | number
        # Items have no kind; writers of explicit files put implicit elements into private ones.
        if walk.implicit or group == 0xFFFE or not _states_kind(walk.data, at):
            kind, value = b"", at + 8
            (length,) = struct.unpack_from(order + "I", walk.data, at + 4)
        elif (kind := bytes(walk.data[at + 4 : at + 6])) in _LONG:
            value = at + 12
            (length,) = struct.unpack_from(order + "I", walk.data, at + 8)
        else:
            value = at + 8
            (length,) = struct.unpack_from(order + "H", walk.data, at + 6)
    except struct.error as error:
        raise DataError(f"{walk.name}: the file is cut inside its header") from error
    return _Element(tag, kind, value, None if length == _UNDEFINED else length)


def _states_kind(data: memoryview, at: int) -> bool:
    """Whether an element says its value representation: two capital letters behind the tag."""
    return all(0x41 <= byte <= 0x5A for byte in data[at + 4 : at + 6])


def _broken(name: str) -> DataError:
    return DataError(f"{name}: the structure of the DICOM file is broken")


def _too_many(name: str) -> DataError:
    return DataError(f"{name}: more than {_MAX_ELEMENTS:,} elements before the pixel data")
