"""Files that lie: refused for what they are, in little memory, before a decoder sees them."""

import json
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from openjpeg.utils import encode_array

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.read import decode_dicom

EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
J2K, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
SV1, JPEG_LS, BASELINE = (f"1.2.840.10008.1.2.4.{last}" for last in (70, 80, 50))
SPARE_MB = 600

# What the limits are tested with: little more memory than the modules themselves take.
CHILD = """
import json, resource, sys
from pathlib import Path
from cxrssl.core.errors import DataError
from cxrssl.data.dicom.read import decode_dicom
import imagecodecs, pydicom, PIL.Jpeg2KImagePlugin
imagecodecs.JPEG8.available, imagecodecs.JPEGLS.available, imagecodecs.JPEG2K.available
folder, spare = Path(sys.argv[1]), int(sys.argv[2]) << 20
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + spare, used + spare))
results = {}
for path in sorted(folder.iterdir()):
    try:
        found = decode_dicom(path.read_bytes(), name="x", size_px=64, fit="squash", exact=False)
        results[path.name] = f"decoded: {found.route}"
    except DataError as error:
        results[path.name] = str(error)
print(json.dumps(results))
"""


def element(tag: int, kind: bytes, value: bytes, *, length: int | None = None) -> bytes:
    """Return one explicit element; `length` may lie."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, kind)
    length = len(value) if length is None else length
    if kind in (b"SQ", b"OB", b"OW", b"UN"):
        return head + struct.pack("<HI", 0, length) + value
    return head + struct.pack("<H", length) + value


def short(tag: int, number: int) -> bytes:
    return element(tag, b"US", struct.pack("<H", number))


def image(*, rows: int = 64, columns: int = 64, bits: int = 16, before: bytes = b"") -> bytes:
    """Return the elements of a grey image, up to its pixel data."""
    return (
        before
        + short(0x00280002, 1)
        + element(0x00280004, b"CS", b"MONOCHROME2 ")
        + short(0x00280010, rows)
        + short(0x00280011, columns)
        + short(0x00280100, bits)
        + short(0x00280101, bits)
        + short(0x00280103, 0)
    )


def in_file(syntax: str, dataset: bytes) -> bytes:
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    return b"\0" * 128 + b"DICM" + element(0x00020010, b"UI", uid) + dataset


def fragments(*values: bytes) -> bytes:
    items = [struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value for value in (b"", *values)]
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return element(0x7FE00010, b"OB", b"".join(items) + end, length=0xFFFFFFFF)


def deflated(dataset: bytes, *, blocks: int = 0) -> bytes:
    """Deflate a data set and blocks of 16 MiB of zeros behind it, a thousandth of their size."""
    deflate = zlib.compressobj(1, wbits=-15)
    parts = [deflate.compress(dataset)]
    parts += [deflate.compress(bytes(1 << 24)) for _ in range(blocks)]
    return b"".join((*parts, deflate.flush()))


def opened(count: int) -> bytes:
    """Return sequences of undefined length, each with an item that holds the next."""
    sequence = element(0x00400275, b"SQ", b"", length=0xFFFFFFFF)
    return (sequence + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * count


def jpeg(width: int, height: int, *, components: int = 1, frame: int = 0xC3) -> bytes:
    """Return the markers of a JPEG stream, and no more."""
    parts = b"".join(bytes((number + 1, 0x11, 0)) for number in range(components))
    sof = struct.pack(">BHHB", 16, height, width, components) + parts
    scan = b"\xff\xda" + struct.pack(">H", 8) + b"\x01\x01\x00\x01\x00\x00"
    return (
        b"\xff\xd8\xff"
        + bytes((frame,))
        + struct.pack(">H", len(sof) + 2)
        + sof
        + scan
        + b"\xff\xd9"
    )


def codestream(**changes: bytes) -> bytes:
    """Return a JPEG 2000 stream of 64x64, with bytes written over it at `at_<offset>`."""
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    stream = bytearray(encode_array(pixels, bits_stored=16))
    for place, value in changes.items():
        at = int(place.removeprefix("at_"))
        stream[at : at + len(value)] = value
    return bytes(stream)


# What may stand behind the pixel data, and is none of a radiograph's business.
AFTER = {
    "a length that lies": element(0xFFFCFFFC, b"OB", b"", length=0xFFFFFFF0),
    "many elements": element(0x7FE10010, b"LO", b"") * 300_000,
    "a private value": element(0x7FE11010, b"OB", bytes(1 << 20)),
    "a broken tag": b"\xe1\x7f\x10",
    "no element": b"\0" * 4096,
    "text": b"Doe^John" * 999,
    "an open sequence": opened(100_000),
    "a second value": element(0x7FE00010, b"OW", bytes(8192)),
}


# Offsets in a codestream: SIZ's Xsiz at 8, XTsiz at 24, Csiz at 40; COD's block size at 55.
def hostile_files() -> dict[str, bytes]:
    plain = element(0x7FE00010, b"OW", bytes(64 * 64 * 2))
    wide_open = image(rows=12000, columns=12000)
    inner = b""
    for _ in range(3000):  # of known length: nested as deep, and stepped over
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        inner = element(0x00400275, b"SQ", item)
    empty_items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000
    runs = bytes((129, 0)) * 4_000_000
    rle = struct.pack("<16I", 2, 64, 64 + len(runs) // 2, *[0] * 13) + runs
    huge = struct.pack(">2I", 60000, 60000)
    small_tiles = codestream(at_8=struct.pack(">2I", 4096, 4096), at_24=struct.pack(">2I", 8, 8))
    wide = struct.pack(">2I", 12000, 12000)
    small_blocks = codestream(at_8=wide, at_24=wide, at_55=b"\0\0")
    return {
        "claimed": in_file(EXPLICIT, image(rows=60000, columns=60000) + plain),
        "nested": in_file(EXPLICIT, image(before=opened(100_000)) + plain),
        "nested_known": in_file(EXPLICIT, image(before=inner) + plain),
        "items": in_file(
            EXPLICIT, element(0x00400275, b"SQ", empty_items, length=0xFFFFFFFF) + image() + plain
        ),
        "elements": in_file(
            EXPLICIT, element(0x00090010, b"LO", b"") * 1_000_000 + image() + plain
        ),
        "deflated": in_file(DEFLATED, deflated(b"", blocks=40)),
        "deflated_header": in_file(
            DEFLATED, deflated(element(0x00091010, b"OB", b"", length=1 << 30), blocks=40)
        ),
        "deflated_pixels": in_file(
            DEFLATED,
            deflated(image() + element(0x7FE00010, b"OW", b"", length=1 << 30), blocks=40),
        ),
        "deflated_wide": in_file(
            DEFLATED,
            deflated(wide_open + element(0x7FE00010, b"OW", b"", length=8192), blocks=40),
        ),
        "deflated_after": in_file(DEFLATED, deflated(image() + plain, blocks=40)),
        "deflated_cut": in_file(DEFLATED, deflated(image() + plain)[:-9]),
        "deflated_not": in_file(DEFLATED, image() + plain),
        "j2k_size": in_file(J2K, image() + fragments(codestream(at_8=huge))),
        "j2k_tiles": in_file(J2K, image(rows=4096, columns=4096) + fragments(small_tiles)),
        "j2k_blocks": in_file(J2K, image(rows=12000, columns=12000) + fragments(small_blocks)),
        "j2k_components": in_file(J2K, image() + fragments(codestream(at_40=b"\x40\0"))),
        "j2k_text": in_file(J2K, image() + fragments(b"Doe^John" * 100)),
        "jpeg_size": in_file(SV1, image() + fragments(jpeg(60000, 60000))),
        "jpeg_components": in_file(SV1, image() + fragments(jpeg(64, 64, components=3))),
        "jpeg_second": in_file(SV1, image() + fragments(jpeg(64, 64) + jpeg(60000, 60000))),
        "jpeg_none": in_file(SV1, image() + fragments(b"\xff\xd8" + b"\xff\xfe\0\x02" * 20_000)),
        "jpeg_baseline": in_file(
            BASELINE, image(bits=8) + fragments(jpeg(60000, 60000, frame=0xC0))
        ),
        "jpeg_ls": in_file(JPEG_LS, image() + fragments(jpeg(60000, 60000, frame=0xF7))),
        "rle_runs": in_file(RLE, image() + fragments(rle)),
        "rle_count": in_file(RLE, image() + fragments(struct.pack("<16I", 15, 64, *[0] * 14))),
        "rle_places": in_file(
            RLE, image() + fragments(struct.pack("<16I", 2, 64, 2**31, *[0] * 13) + bytes(64))
        ),
        "fragment": in_file(J2K, image() + fragments(codestream())[:-100]),
        "no_fragments": in_file(J2K, image() + plain),
        "in_fragments": in_file(EXPLICIT, image() + fragments(bytes(64 * 64 * 2))),
        "long": in_file(
            EXPLICIT, image() + element(0x7FE00010, b"OW", bytes(100), length=0x7FFFFFFE)
        ),
        "after": in_file(EXPLICIT, image() + plain + AFTER["a length that lies"]),
        "cut": in_file(EXPLICIT, image() + element(0x00281050, b"DS", b"1", length=5000)),
    }


EXPECTED = {
    "claimed": "the header claims 60000x60000 pixels; at least 1 and at most 150 megapixels",
    "nested": "sequences are nested too deeply",
    "nested_known": "decoded: Explicit VR Little Endian",
    "items": "more elements and sequence items than any radiograph",
    "elements": "more elements and sequence items than any radiograph",
    "deflated": "more elements and sequence items than any radiograph",
    "deflated_header": "the file has no pixel data",
    "deflated_pixels": "the deflated data set claims 1024 MiB of pixel data; at most 286 are read",
    "deflated_wide": "the pixel data is cut: 8192 bytes, and 12000x12000 pixels of 16 bits",
    "deflated_after": "decoded: Deflated Explicit VR Little Endian",
    "deflated_cut": "x: ",
    "deflated_not": "the deflated data set is broken",
    "j2k_size": "the JPEG 2000 stream holds 60000x60000 pixels of 1 component(s); "
    "the header says 64x64 of 1",
    "j2k_tiles": "the JPEG 2000 stream claims 262144 tiles; at most 4096 are decoded",
    "j2k_blocks": "the JPEG 2000 stream claims 11996743 blocks in 1 layers",
    "j2k_components": "the JPEG 2000 stream holds 64x64 pixels of 16384 component(s)",
    "j2k_text": "the JPEG 2000 markers are broken",
    "jpeg_size": "the JPEG stream holds 60000x60000 pixels of 1 component(s); "
    "the header says 64x64 of 1",
    "jpeg_components": "the JPEG stream holds 64x64 pixels of 3 component(s)",
    "jpeg_second": "the JPEG stream holds a second frame; expected one",
    "jpeg_none": "the JPEG markers are broken",
    "jpeg_baseline": "the JPEG stream holds 60000x60000 pixels",
    "jpeg_ls": "the JPEG stream holds 60000x60000 pixels",
    "rle_runs": "the pixel data is longer than its picture of 64x64 pixels",
    "rle_count": "the RLE header's 15 segment(s) don't fit; expected 2 within 64 bytes",
    "rle_places": "the RLE header's 2 segment(s) don't fit; expected 2 within 128 bytes",
    "fragment": "the file is cut inside its pixel data, or a fragment lies",
    "no_fragments": "the pixel data is uncompressed, "
    "the header says JPEG 2000 Image Compression (Lossless Only)",
    "in_fragments": "pixel data in fragments; Explicit VR Little Endian has it without",
    "long": "the pixel data is cut: 100 bytes, and 64x64 pixels of 16 bits take 8192",
    "after": "decoded: Explicit VR Little Endian",
    "cut": "the file has no pixel data, or is cut inside it",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Decode every hostile file in a process that may take little more memory than it has."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, content in hostile_files().items():
        (folder / name).write_bytes(content)
    command = [sys.executable, "-c", CHILD, str(folder), str(SPARE_MB)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Doe" not in done.stdout + done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_lying_file_is_refused_for_its_lie(name: str, outcomes: dict[str, str]) -> None:
    assert EXPECTED[name] in outcomes[name]
    assert "memory" not in outcomes[name]


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
@pytest.mark.parametrize("case", AFTER)
def test_what_stands_behind_the_pixels_neither_costs_nor_fails(case: str, syntax: str) -> None:
    levels = np.arange(64 * 64, dtype="<u2").tobytes()
    plain = image() + element(0x7FE00010, b"OW", levels)
    files = [plain, plain + AFTER[case]]
    if syntax == DEFLATED:
        files = [deflated(dataset) for dataset in files]
    took, pictures = [], []
    for dataset in files:
        content = in_file(syntax, dataset)
        begun = time.process_time()
        result = decode_dicom(content, name="x", size_px=None, fit="squash", exact=True)
        took.append(time.process_time() - begun)
        pictures.append(result)
    assert np.array_equal(pictures[0].pixels, pictures[1].pixels)
    assert pictures[1].warnings == ()
    assert took[1] < took[0] + 0.5


@pytest.mark.parametrize("case", AFTER)
def test_what_stands_behind_fragments_neither_costs_nor_fails(case: str) -> None:
    plain = image() + fragments(codestream())
    pictures = [
        decode_dicom(in_file(J2K, dataset), name="x", size_px=None, fit="squash", exact=True)
        for dataset in (plain, plain + AFTER[case])
    ]
    assert np.array_equal(pictures[0].pixels, pictures[1].pixels)


@pytest.mark.parametrize("start", [0, 132])
def test_without_file_meta_information_a_tool_that_writes_it_is_named(start: int) -> None:
    dataset = element(0x00080016, b"UI", b"1.2\0") + image()
    content = b"\0" * 128 + b"DICM" + dataset if start else dataset
    with pytest.raises(
        DataError, match=r"for example with `dcmconv IN OUT` .* or `gdcmconv IN OUT`"
    ):
        decode_dicom(content, name="x", size_px=None, fit="squash", exact=True)


def test_what_is_no_dicom_file_is_not_to_be_converted() -> None:
    with pytest.raises(DataError, match=r"'DICM' is missing at byte 128$"):
        decode_dicom(b"\x89PNG" * 99, name="x", size_px=None, fit="squash", exact=True)
