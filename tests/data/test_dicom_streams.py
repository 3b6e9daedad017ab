"""Compressed pixel data that is damaged, is another kind's, or holds more than one picture."""

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from openjpeg.utils import encode_array
from pydicom.encaps import get_frame
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxrssl.core.errors import DataError
from cxrssl.data.dicom.decoders import run_lengths
from cxrssl.data.dicom.read import decode_dicom, read_dicom
from dicom_files import coded, dicom_file, levels_of, with_frame, with_values

SIDE = 128
NOISE = np.random.default_rng(0).normal(0, 20, (SIDE, SIDE))
FILM = (np.add.outer(np.arange(SIDE) ** 1.5, np.arange(SIDE) * 12.0) + 100 + NOISE).clip(0, 4095)
FILM = FILM.astype(np.uint16)
SMALL = (FILM >> 4).astype(np.uint8)

STREAMS = {
    "uncompressed": (FILM.tobytes(), ExplicitVRLittleEndian),
    "JPEG 2000": (encode_array(FILM, bits_stored=16), JPEG2000Lossless),
    "JPEG-LS": (coded(FILM, "jpeg-ls"), JPEGLSLossless),
    "JPEG lossless": (coded(FILM, "jpeg lossless"), JPEGLosslessSV1),
    "JPEG extended": (
        bytes(imagecodecs.jpeg8_encode(FILM, level=100, bitspersample=12)),
        JPEGExtended12Bit,
    ),
    "JPEG baseline": (bytes(imagecodecs.jpeg8_encode(SMALL, level=100)), JPEGBaseline8Bit),
}
SYNTAXES = {
    **{kind: syntax for kind, (_, syntax) in STREAMS.items()},
    "RLE": RLELossless,
    "high-throughput": HTJ2KLossless,
}


def film(folder: Path, stream: bytes | list[bytes], syntax: str, **values: object) -> Path:
    return with_frame(dicom_file(folder / "film.dcm", FILM), stream, syntax, **values)


def renamed(path: Path, old: str, new: str) -> Path:
    """Put another transfer syntax into a file, which pydicom would not write."""
    elements = [
        struct.pack("<H", len(uid) + len(uid) % 2) + uid.encode() + b"\0" * (len(uid) % 2)
        for uid in (old, new)
    ]
    content = path.read_bytes()
    assert content.count(elements[0]) == 1
    path.write_bytes(content.replace(*elements))
    return path


def decodes(content: bytes) -> bool:
    try:
        decode_dicom(content, name="x", size_px=None, fit="squash", exact=True)
    except DataError:
        return False
    return True


def mutants(stream: bytes, start: int, count: int = 40) -> list[bytes]:
    """Return streams with a bit changed, and such whose middle is missing but not their end."""
    generator = np.random.default_rng(1)
    changed = []
    for number, place in enumerate(generator.integers(start, len(stream) - 4, count)):
        if number % 2:
            changed.append(stream[:place] + stream[place + 64 : -2] + stream[-2:])
        else:
            flipped = stream[place] ^ 1 << int(generator.integers(8))
            changed.append(stream[:place] + bytes((flipped,)) + stream[place + 1 :])
    return changed


@pytest.mark.parametrize(
    ("codec", "syntax", "lowest"),
    [("jpeg-ls", JPEGLSLossless, 36), ("jpeg 2000", JPEG2000Lossless, 15)],
)
def test_damage_that_a_decoder_can_see_is_refused(
    codec: str, syntax: str, lowest: int, tmp_path: Path
) -> None:
    """What charls and OpenJPEG refuse is refused; a wavelet's changed bit neither can tell."""
    decode = {"jpeg-ls": imagecodecs.jpegls_decode, "jpeg 2000": imagecodecs.jpeg2k_decode}[codec]
    stream = coded(FILM, codec)
    assert np.array_equal(levels_of(film(tmp_path, stream, syntax))[0], FILM)
    refused = 0
    for mutant in mutants(stream, 200):
        try:
            decode(mutant)
            decodes_alone = True
        except RuntimeError:
            decodes_alone = False
        ours = decodes(film(tmp_path, mutant, syntax).read_bytes())
        assert decodes_alone or not ours
        refused += not ours
    assert refused >= lowest


@pytest.mark.parametrize("kind", [kind for kind in STREAMS if kind != "uncompressed"])
def test_a_stream_cut_anywhere_is_refused(kind: str, tmp_path: Path) -> None:
    stream, syntax = STREAMS[kind]
    values = {} if kind != "JPEG baseline" else {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    for length in range(64, len(stream) - 8, len(stream) // 23):
        with pytest.raises(DataError):
            read_dicom(film(tmp_path, stream[:length], syntax, **values), size_px=None)


def test_a_cut_high_throughput_stream_is_refused(tmp_path: Path) -> None:
    stream = coded(FILM, "htj2k")
    assert np.array_equal(levels_of(film(tmp_path, stream, HTJ2KLossless))[0], FILM)
    for length in range(200, len(stream) - 8, len(stream) // 23):
        with pytest.raises(DataError):
            read_dicom(film(tmp_path, stream[:length], HTJ2KLossless), size_px=None)


def is_related(kind: str, other: str) -> bool:
    """Return whether a stream of one kind may stand under the syntax of another."""
    lossy_or_not = {"JPEG baseline", "JPEG extended", "JPEG lossless"}
    wavelets = {"JPEG 2000", "high-throughput"}
    return kind == other or {kind, other} <= lossy_or_not or {kind, other} <= wavelets


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("stated", SYNTAXES)
def test_a_stream_of_another_kind_is_named(kind: str, stated: str, tmp_path: Path) -> None:
    stream, _ = STREAMS[kind]
    path = film(tmp_path, stream, RLELossless)
    if SYNTAXES[stated] != RLELossless:
        renamed(path, RLELossless, SYNTAXES[stated])
    if kind == stated == "uncompressed":
        with pytest.raises(DataError, match="pixel data in fragments; Explicit VR Little Endian"):
            read_dicom(path, size_px=None)
        return
    name = SYNTAXES[stated].name
    if not is_related(kind, stated):
        with pytest.raises(DataError) as error:
            read_dicom(path, size_px=None)
        subject = "the pixel data is" if kind == "uncompressed" else "the stream is"
        assert f"{subject} {kind}, the header says {name}. Correct the" in str(error.value)
        return
    result = read_dicom(path, size_px=None)
    lossless = {kind, stated} - {"JPEG lossless"} != {kind, stated}
    text = f"the stream is {kind}, the header says {name}"
    assert (text in result.warnings) == (lossless and kind != stated)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless, RLELossless, JPEGLossless])
def test_uncompressed_pixels_under_a_compressed_syntax_are_named(
    syntax: str, tmp_path: Path
) -> None:
    path = renamed(dicom_file(tmp_path / "x", FILM), ExplicitVRLittleEndian, syntax)
    with pytest.raises(DataError, match="the pixel data is uncompressed, the header says "):
        read_dicom(path, size_px=None)


def test_a_stream_under_a_syntax_without_compression_is_named(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "x", FILM)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = coded(FILM, "jpeg-ls") + b"\0"
    dataset.save_as(path)
    message = "the stream is JPEG-LS, the header says Explicit VR Little Endian"
    with pytest.raises(DataError, match=message):
        read_dicom(path, size_px=None)


@pytest.mark.parametrize("kind", [kind for kind in STREAMS if kind != "uncompressed"])
def test_two_frames_without_a_number_of_frames_are_refused(kind: str, tmp_path: Path) -> None:
    stream, syntax = STREAMS[kind]
    padded = stream + b"\0" * (len(stream) % 2)
    path = film(tmp_path, [padded, padded], syntax)
    with pytest.raises(DataError, match="the pixel data holds several frames"):
        read_dicom(path, size_px=None)
    halves = film(tmp_path, [padded[:1000], padded[1000:]], syntax)
    assert np.array_equal(levels_of(halves)[0], levels_of(film(tmp_path, stream, syntax))[0])


@pytest.mark.parametrize("kind", [kind for kind in STREAMS if kind != "uncompressed"])
def test_two_frames_in_one_fragment_are_refused(kind: str, tmp_path: Path) -> None:
    stream, syntax = STREAMS[kind]
    path = film(tmp_path, stream + b"\0" * (len(stream) % 2) + stream, syntax)
    with pytest.raises(DataError, match="stream holds a second frame; expected one"):
        read_dicom(path, size_px=32)


def test_two_run_length_frames_are_refused(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "x", FILM, "rle")
    frame = get_frame(pydicom.dcmread(path).PixelData, 0)
    with_frame(path, [frame, frame], RLELossless)
    with pytest.raises(DataError, match="the pixel data holds several frames"):
        read_dicom(path, size_px=None)


@pytest.mark.parametrize("codec", ["explicit", "implicit", "big endian", "deflated", "rle"])
@pytest.mark.parametrize("side", ["Rows", "Columns"])
@pytest.mark.parametrize("value", [32, 64, 100, 127])
def test_pixel_data_of_more_than_its_picture_is_refused(
    codec: str, side: str, value: int, tmp_path: Path
) -> None:
    path = with_values(dicom_file(tmp_path / "x", FILM, codec), **{side: value})
    with pytest.raises(DataError, match="the pixel data is longer than its picture"):
        read_dicom(path, size_px=None)


@pytest.mark.parametrize("codec", ["explicit", "big endian", "deflated", "rle"])
@pytest.mark.parametrize(("rows", "columns"), [(128, 90), (90, 128), (127, 90), (90, 127)])
@pytest.mark.parametrize("side", ["Rows", "Columns"])
def test_one_row_or_column_more_is_refused(
    codec: str, rows: int, columns: int, side: str, tmp_path: Path
) -> None:
    """A column less in the header shears the picture, and leaves less than a row."""
    path = dicom_file(tmp_path / "x", FILM[:rows, :columns].copy(), codec)
    with_values(path, **{side: {"Rows": rows, "Columns": columns}[side] - 1})
    with pytest.raises(DataError, match="the pixel data is longer than its picture"):
        read_dicom(path, size_px=None)


@pytest.mark.parametrize("codec", ["explicit", "rle"])
@pytest.mark.parametrize("pixels", [FILM, SMALL])
def test_a_second_frame_behind_the_first_is_refused(
    codec: str, pixels: np.ndarray, tmp_path: Path
) -> None:
    both = np.concatenate([pixels, pixels])
    path = with_values(dicom_file(tmp_path / "x", both, codec), Rows=SIDE)
    with pytest.raises(DataError, match="the pixel data is longer than its picture"):
        read_dicom(path, size_px=None)


@pytest.mark.parametrize(
    ("content", "accepted"),
    [
        (bytes(128), True),
        (b"\x20" * 128, True),
        (bytes(510), True),
        (b"\0\1\2\3\4\5", True),
        (b"\0\1" * 64, False),
        (bytes(512), False),
    ],
)
def test_padding_behind_the_pixels_is_left_out_and_said(
    content: bytes, accepted: bool, tmp_path: Path
) -> None:
    path = dicom_file(tmp_path / "x", FILM[:, :32].copy())
    dataset = pydicom.dcmread(path)
    dataset.PixelData += content
    dataset.save_as(path)
    if accepted:
        levels, remarks = levels_of(path)
        assert np.array_equal(levels, FILM[:, :32])
        assert remarks == (f"{len(content)} bytes behind the pixels were left out",)
    else:
        with pytest.raises(DataError, match="longer than its picture"):
            read_dicom(path, size_px=None)


def rle(*segments: bytes) -> memoryview:
    """Return an RLE frame of segments as they are."""
    segment_starts = np.cumsum([64, *map(len, segments[:-1])]).tolist()
    table = struct.pack("<16I", len(segments), *segment_starts, *[0] * (15 - len(segments)))
    return memoryview(table + b"".join(segments))


# 4 x 4 pixels: seven literal bytes, a run of eight, one literal byte.
RUNS = b"\x06abcdefg\xf9z\x00y"
EXPANDED = b"abcdefgzzzzzzzzy"


@pytest.mark.parametrize(
    "segment",
    [
        RUNS,
        RUNS + b"\0",
        RUNS + b"\x20",
        RUNS + b"\xff",
        RUNS + b"\x80",
        RUNS + b"\0\0",
        RUNS + b"\x20" * 40,
        RUNS + b"\x80" * 999,
        RUNS[:-2] + b"\x03yyyy",  # a literal run that overshoots
        RUNS[:-2] + b"\xfdy",  # a repeat that overshoots
        RUNS[:-2] + b"\xfdy\x20",
        RUNS[:-2] + b"\x7fy",  # a literal run cut where the picture ends
        RUNS[:8] + b"\x80\x80" + RUNS[8:],  # "no run" between runs
    ],
)
def test_runs_are_decoded_up_to_the_picture(segment: bytes) -> None:
    """PS3.5, G.3.1 and G.3.2."""
    assert run_lengths(rle(segment), rows=4, columns=4).tobytes() == EXPANDED
    both = run_lengths(rle(segment, RUNS), rows=4, columns=4)
    assert both.tobytes() == bytes(byte for byte in EXPANDED for _ in range(2))


@pytest.mark.parametrize(
    "segment", [RUNS[:-1], RUNS[:-2], RUNS[:3], b"\x80" * 40, RUNS[:-2] + b"\xfd"]
)
def test_too_few_runs_are_refused(segment: bytes) -> None:
    with pytest.raises(ValueError, match="a segment is too short"):
        run_lengths(rle(segment), rows=4, columns=4)


@pytest.mark.parametrize("more", [RUNS, b"\xfda", b"\x03abcd"])
def test_runs_of_another_row_are_refused(more: bytes) -> None:
    with pytest.raises(ValueError, match="a segment holds more than its picture"):
        run_lengths(rle(RUNS + more), rows=4, columns=4)


def test_padded_segments_are_read_as_pydicom_reads_them(tmp_path: Path) -> None:
    path = dicom_file(tmp_path / "x", SMALL, "rle")
    frame = get_frame(pydicom.dcmread(path).PixelData, 0)
    for padding in (b"\0\0", b"\x20\x20", b"\x80" * 64):
        with_frame(path, frame + padding, RLELossless)
        assert np.array_equal(levels_of(path)[0], SMALL)
        assert np.array_equal(pydicom.dcmread(path).pixel_array, SMALL)


@pytest.mark.parametrize("claim", [10_000, 2**31, 4_294_900_000])
def test_a_fragment_longer_than_what_is_there_is_refused(claim: int, tmp_path: Path) -> None:
    stream = coded(FILM, "jpeg-ls")
    content = film(tmp_path, stream, JPEGLSLossless).read_bytes()
    length = struct.pack("<I", len(stream) + len(stream) % 2)
    at = content.index(stream[:16]) - 4
    assert content[at : at + 4] == length
    longer = content[:at] + struct.pack("<I", len(stream) + claim) + content[at + 4 :]
    for trailing in (b"", b"\0" * 8):
        with pytest.raises(DataError, match=r"cut inside its pixel data, or a fragment lies"):
            decode_dicom(longer + trailing, name="x", size_px=None, fit="squash", exact=True)
    # One that takes the end marker and what follows for its own.
    longer = content[:at] + struct.pack("<I", len(stream) + 1000) + content[at + 4 :]
    with pytest.raises(DataError, match="the fragments of the pixel data are broken"):
        decode_dicom(longer + b"\1" * 5000, name="x", size_px=None, fit="squash", exact=True)


def test_a_sequence_delimiter_inside_a_stream_does_not_end_it(tmp_path: Path) -> None:
    """pydicom ends a value of undefined length at the first bytes that look like its end."""
    stream = bytearray(coded(FILM, "jpeg 2000"))
    comment = b"\xff\x64" + struct.pack(">HH", 12, 0) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    at = stream.index(b"\xff\x52")
    path = film(tmp_path, bytes(stream[:at] + comment + stream[at:]), JPEG2000Lossless)
    assert np.array_equal(levels_of(path)[0], FILM)
