"""How much faster a radiograph gets from a file to 512x512 than by the loop that people copy.

    python benchmarks/ingest.py [--decode-only] [--rounds 7]

The peer: pydicom `pixel_array`, `apply_modality_lut`, `apply_voi_lut`, min-max to 8 bits, inversion
of MONOCHROME1, Pillow's LANCZOS to 512. Both read the same files, from the page cache, on one
thread, in turns in one process; a ratio is the median over the pairs of neighbours. Then ingest of
a folder with one process and with two. Exits with 1 if a bar is missed.
"""

import argparse
import dataclasses
import heapq
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEGLosslessSV1

from cxrssl.core.images import Pixels
from cxrssl.data.dicom.read import read_dicom
from cxrssl.data.dicom.write import FileIdentity, PixelForm, Syntax, write_dicom
from cxrssl.data.phantom.painting import paint_image
from cxrssl.data.phantom.plan import PhantomSettings, plan_image
from cxrssl.ingest import ingest
from cxrssl.ingest.shards import Settings

SIZE_PX = 512
WIDTH_PX, HEIGHT_PX, BITS = 2446, 2788, 12
WINDOW = (2048.0, 3600.0)
# A detector's blur; makes a lossless JPEG 2000 file of 5 MB, as real films of this size are.
BLUR_PX = 0.6
BARS = {"jpeg2000": 8.0, "explicit": 8.0, "rle": 6.0, "jpeg lossless": 2.0}
PROCESSES_BAR = 1.7
FOLDER_FILES = 128  # two shards


def main() -> None:
    """Make the inputs, time both, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decode-only", action="store_true", help="leave out the two processes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    options = parser.parse_args()
    if options.smallest:
        options.rounds = 1
    cv2.setNumThreads(1)
    # Not above: every worker process imports this file anew.
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder), share=8 if options.smallest else 1)
        reached = [report(name, path, options.rounds) for name, path in files.items()]
        if not options.decode_only:
            num_files = 2 if options.smallest else FOLDER_FILES
            reached.append(report_processes(files["jpeg2000"], Path(folder), num_files))
    raise SystemExit(0 if options.smallest or all(reached) else 1)


def make_files(folder: Path, *, share: int) -> dict[str, Path]:
    """Write one film in each transfer syntax, of a share of its sides; MONOCHROME1, windowed."""
    plan = dataclasses.replace(
        plan_image(PhantomSettings(seed=5), 0),
        width_px=WIDTH_PX // share,
        height_px=HEIGHT_PX // share,
    )
    film = paint_image(plan, seed=5)
    film = cv2.GaussianBlur(film, (5, 5), BLUR_PX)
    highest = 2**BITS - 1
    pixels = highest - np.rint(film * highest).astype(np.uint16)
    files = {}
    syntaxes: tuple[Syntax, ...] = ("jpeg2000", "explicit", "rle")
    for syntax in syntaxes:
        form = PixelForm(syntax=syntax, bits_stored=BITS, inverted=True, window=WINDOW)
        files[syntax] = folder / f"{syntax}.dcm"
        write_dicom(files[syntax], pixels, form=form, identity=FileIdentity(key="benchmark"))
    dataset = pydicom.dcmread(files["explicit"])
    dataset.PixelData = encapsulate([jpeg_lossless(pixels, bits=BITS)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    files["jpeg lossless"] = folder / "jpeg_lossless.dcm"
    dataset.save_as(files["jpeg lossless"])
    return files


def by_peer(path: Path) -> Pixels:
    """Decode as the loop that people copy does."""
    dataset = pydicom.dcmread(path)
    levels = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    levels = levels - levels.min()
    grey = (levels / levels.max() * 255).astype(np.uint8)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return np.asarray(Image.fromarray(grey).resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS))


def report(name: str, path: Path, rounds: int) -> bool:
    """Time both in turns and print a line; return whether the bar was reached."""
    theirs, ours = [], []
    try:
        by_peer(path)
    except RuntimeError:  # JPEG lossless: pydicom needs pylibjpeg-libjpeg, which is GPL, or GDCM
        print(f"{name:24} not compared: no decoder for pydicom is installed")
        return True
    for number in range(rounds + 1):
        pair = seconds(lambda: by_peer(path)), seconds(lambda: read_dicom(path, size_px=SIZE_PX))
        if number:  # the first fills the page cache and loads the decoders
            theirs.append(pair[0])
            ours.append(pair[1])
    ratio = statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
    quick = read_dicom(path, size_px=SIZE_PX)
    exact = read_dicom(path, size_px=SIZE_PX, exact=True)
    line(
        f"{name} ({path.stat().st_size / 1e6:.1f} MB)",
        f"peer {min(theirs) * 1e3:6.0f} ms, ours {min(ours) * 1e3:5.0f} ms (best of {rounds})",
        ratio,
        BARS[name],
        f"PSNR to exact {psnr(quick.pixels, exact.pixels):.1f} dB",
    )
    return ratio >= BARS[name]


def report_processes(path: Path, folder: Path, num_files: int) -> bool:
    """Ingest a folder with one process and with two, in turns; return whether the bar was met."""
    source = folder / "source"
    source.mkdir()
    for number in range(num_files):
        (source / f"{number:03d}.dcm").write_bytes(path.read_bytes())
    taken: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(3):
        for workers, times in taken.items():
            store = folder / f"store_{workers}_{turn}"
            work = partial(ingest, source, store, Settings(SIZE_PX), num_workers=workers)
            times.append(seconds(work))
    ratio = statistics.median(a / b for a, b in zip(taken[1], taken[2], strict=True))
    line(
        "two processes",
        f"one {min(taken[1]):.1f} s, two {min(taken[2]):.1f} s ({num_files} files)",
        ratio,
        PROCESSES_BAR,
        "",
    )
    return ratio >= PROCESSES_BAR


def line(name: str, times: str, ratio: float, bar: float, remark: str) -> None:
    """Print one row of the table."""
    verdict = "ok" if ratio >= bar else "MISSED"
    print(f"{name:24} {times:52} {ratio:5.1f}x  bar {bar:.1f}x {verdict:7} {remark}")


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def psnr(one: Pixels, other: Pixels) -> float:
    """Return how alike two pictures [H, W] are, in dB; infinite where they are equal."""
    error = float(((one.astype(float) - other) ** 2).mean())
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def jpeg_lossless(pixels: NDArray[np.uint16], *, bits: int) -> bytes:
    """Encode [H, W] as JPEG lossless, process 14, selection value 1.

    Source: ITU-T T.81, H.1.2 (prediction from the left, from above in the first column) and annex
    C (Huffman tables).
    """
    levels = pixels.astype(np.int32)
    predicted = np.empty_like(levels)
    predicted[:, 1:] = levels[:, :-1]
    predicted[1:, 0] = levels[:-1, 0]
    predicted[0, 0] = 2 ** (bits - 1)
    # Differences are modulo 2^16; 2^15 has a category of its own, and no further bits.
    difference = ((levels - predicted + 2**15) % 2**16 - 2**15).ravel()
    category = np.frexp(np.abs(difference))[1].astype(np.int64)
    extra = np.where(difference < 0, difference + (1 << category) - 1, difference)
    extra_bits = np.where(category == 16, 0, category)
    lengths = _code_lengths(np.bincount(category, minlength=17))
    order = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
    codes, code, last = np.zeros(17, np.int64), 0, order[0][0]
    for length, symbol in order:
        code <<= length - last
        codes[symbol], last = code, length
        code += 1
    words = (codes[category] << extra_bits) | np.where(category == 16, 0, extra)
    counts = bytes(sum(length == size for length, _ in order) for size in range(1, 17))
    table = b"\0" + counts + bytes(symbol for _, symbol in order)
    height, width = pixels.shape
    frame = struct.pack(">BHHB3B", bits, height, width, 1, 1, 0x11, 0)
    scan = bytes((1, 1, 0, 1, 0, 0))
    head = b"".join(
        bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body
        for marker, body in ((0xC3, frame), (0xC4, table), (0xDA, scan))
    )
    coded = _packed(words, np.asarray(lengths)[category] + extra_bits)
    return b"\xff\xd8" + head + coded.replace(b"\xff", b"\xff\0") + b"\xff\xd9"


def _code_lengths(counts: NDArray[np.int64]) -> list[int]:
    """Return Huffman code lengths of the symbols that occur, with the code of all ones unused."""
    heap = [(int(count), [symbol]) for symbol, count in enumerate(counts) if count] + [(0, [17])]
    heapq.heapify(heap)
    lengths = [0] * 18
    while len(heap) > 1:
        (one, left), (two, right) = heapq.heappop(heap), heapq.heappop(heap)
        for symbol in left + right:
            lengths[symbol] += 1
        heapq.heappush(heap, (one + two, left + right))
    assert max(lengths) <= 16, "more than 16 bits a code"
    # The dummy has one of the longest codes; in canonical order it comes last, as all ones.
    return lengths[:17]


def _packed(words: NDArray[np.int64], lengths: NDArray[np.int64]) -> bytes:
    """Write words of so many bits one behind the other, the last byte filled up with ones."""
    ends = np.cumsum(lengths)
    bits = np.ones(-(-int(ends[-1]) // 8) * 8, dtype=np.uint8)
    for place in range(int(lengths.max())):
        longer = lengths > place
        bits[ends[longer] - 1 - place] = (words[longer] >> place) & 1
    return np.packbits(bits).tobytes()


if __name__ == "__main__":
    main()
