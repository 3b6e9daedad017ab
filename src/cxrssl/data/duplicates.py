"""Near-duplicates: images so alike that they are one radiograph twice.

VinDr-CXR has no patient ids, so the least that can be checked is that no image of the test split is
also in training, under another id, windowed or compressed again.

An image becomes a hash of 256 bits, images with a band of bits in common become candidates, and a
candidate pair is one if its hashes differ in few bits and its thumbnails correlate. Bands keep the
number of comparisons near the number of images.

Shapes: N images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.images import Pixels, equalized, low_frequencies

_SIDE = 16
# Of 1,025 NIH radiographs of 691 patients no two different ones were nearer than 58 bits, or
# correlated above 0.942. Copies (JPEG at quality 30, half the size, gamma 1.5, equalised, noise of
# 8 levels) differed in at most 20 bits and correlated above 0.985, 99 times of 100. A copy that is
# cropped, or so windowed that much of it is clipped, may pass.
_MAX_BITS = 23
_MIN_CORRELATION = 0.97
# Two hashes that differ in at most 23 of 256 bits are equal in one of 24 bands at least.
_NUM_BANDS = _MAX_BITS + 1

Hashes = NDArray[np.bool_]


@dataclass(frozen=True)
class DuplicatePair:
    """Two images that are one: rows, bits in which their hashes differ, and correlation."""

    first: int
    second: int
    num_bits: int
    correlation: float


def perceptual_hash(pixels: Pixels) -> Hashes:
    """Return 256 bits of an image [H, W] uint8: which of its coarse cosine waves are strong.

    Equal for copies that were resized, windowed or compressed again, but for a few bits.

    Source: Zauner, Implementation and benchmarking of perceptual image hash functions, 2010, 3.2.1;
    with 16x16 coefficients in place of 8x8, because chests are all alike at the coarsest scales.
    """
    waves = low_frequencies(equalized(pixels), num=_SIDE)
    return np.asarray(waves > np.median(waves)).reshape(-1)


def near_duplicates(hashes: Hashes, thumbnails: Sequence[Pixels]) -> list[DuplicatePair]:
    """Return the pairs of images that are one, each once, sorted by rows.

    Of several images with one hash, each is paired with the first of them alone.

    Args:
        hashes: [N, 256] of `perceptual_hash`.
        thumbnails: N images [h, w] uint8 of one size.
    """
    # Images of one hash stand behind the first of them: many copies of one image are compared with
    # that one, not all with all. Images without a picture are no copies of each other.
    rows = np.flatnonzero([np.ptp(image) > 0 for image in thumbnails])
    _, first_of, group = np.unique(hashes[rows], axis=0, return_index=True, return_inverse=True)
    copies = np.stack([first_of[group.reshape(-1)], np.arange(len(rows))], axis=1)
    candidates = [first_of[pairs] for pairs in _candidates(hashes[rows][first_of])]
    copies = copies[copies[:, 0] != copies[:, 1]]
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *candidates, copies])
    pairs = np.sort(rows[pairs], axis=1)
    duplicates = []
    for first, second in np.unique(pairs, axis=0).tolist():
        num_bits = int((hashes[first] != hashes[second]).sum())
        correlation = _correlation(thumbnails[first], thumbnails[second])
        if correlation >= _MIN_CORRELATION:
            duplicates.append(DuplicatePair(first, second, num_bits, correlation))
    return duplicates


def _candidates(hashes: Hashes) -> list[NDArray[np.int64]]:
    """Return pairs [P, 2] of rows whose hashes differ in at most `_MAX_BITS`, some repeatedly."""
    packed = np.packbits(hashes, axis=1)
    candidates = []
    for band in np.array_split(np.arange(hashes.shape[1]), _NUM_BANDS):
        key = hashes[:, band] @ (1 << np.arange(len(band)))
        order = np.argsort(key, kind="stable")
        # Equal keys are neighbours now: compare each row with the next, then the one after it, ...
        starts = np.arange(len(order))
        for step in range(1, len(order)):
            starts = starts[starts + step < len(order)]
            starts = starts[key[order[starts]] == key[order[starts + step]]]
            if not len(starts):
                break
            pairs = np.stack([order[starts], order[starts + step]], axis=1)
            distances = np.bitwise_count(packed[pairs[:, 0]] ^ packed[pairs[:, 1]]).sum(axis=1)
            candidates.append(np.sort(pairs[distances <= _MAX_BITS], axis=1))
    return candidates


def _correlation(first: Pixels, second: Pixels) -> float:
    levels = [equalized(image).astype(np.float64) for image in (first, second)]
    a, b = (image - image.mean() for image in levels)
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / norm) if norm > 0 else 1.0
