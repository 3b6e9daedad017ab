"""Who reads an image, who marks which finding, and how their boxes differ.

Turns findings into the rows of an annotation table. Draws no pixels.

Shapes: boxes [4] xyxy, whole pixels of the image.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cxrssl.core.boxes import iou_matrix
from cxrssl.core.labels import FINDINGS
from cxrssl.data.phantom.lesions import Lesion
from cxrssl.data.phantom.statistics import TRIO, FloatArray, load_statistics

READERS_AN_IMAGE = 3
_KEEP_IOU = 0.4
_NUM_TRIES = 8
_MIN_SIDE_PX = 4


@dataclass(frozen=True)
class Mark:
    """One reader's box: class name, reader id, xyxy in whole pixels of the image."""

    name: str
    reader: str
    box_px: tuple[int, int, int, int]


def draw_readers(rng: np.random.Generator, *, normal: bool) -> tuple[str, ...]:
    """Return the three readers of an image, in reading order, with the real frequencies."""
    statistics = load_statistics()
    kind = "normal" if normal else "findings"
    if rng.random() < statistics.trio_fraction[kind]:
        return TRIO
    reader_weights = statistics.other_readers[kind]
    chances = np.array(list(reader_weights.values()))
    names = list(reader_weights)
    while True:
        chosen = rng.choice(len(names), READERS_AN_IMAGE, replace=False, p=chances / chances.sum())
        readers = sorted((names[i] for i in chosen), key=lambda name: int(name[1:]))
        if tuple(readers) != TRIO:
            return tuple(readers)


def draw_marks(
    rng: np.random.Generator,
    lesions: tuple[Lesion, ...],
    readers: tuple[str, ...],
    *,
    size_px: tuple[int, int],
) -> tuple[Mark, ...]:
    """Let three readers mark the findings of one image.

    Args:
        rng: Source of every choice.
        lesions: The findings; each is marked by exactly `support` of the readers.
        readers: Three reader ids.
        size_px: Image width and height.

    Returns:
        A mark a finding and agreeing reader, by finding, then reader.
    """
    classes = load_statistics().classes
    marks = []
    for lesion in lesions:
        for reader in _marking_readers(rng, lesion.support, readers):
            box = _jittered(rng, lesion, jitter=classes[FINDINGS.index(lesion.name)].jitter)
            marks.append(Mark(lesion.name, reader, _pixel_box(box, size_px=size_px)))
    return tuple(marks)


def _marking_readers(rng: np.random.Generator, support: int, readers: tuple[str, ...]) -> list[str]:
    """Choose who marks a finding; R8, R9 and R10 differ in how often they stand alone."""
    groups = list(combinations(readers, support))
    statistics = load_statistics()
    chances = np.full(len(groups), 1 / len(groups))
    if readers == TRIO and support == 1:
        chances = statistics.solo_fractions
    if readers == TRIO and support == 2:
        chances = statistics.absent_fractions[::-1]  # combinations() leaves out the last one first
    return list(groups[int(rng.choice(len(groups), p=chances / chances.sum()))])


def _jittered(rng: np.random.Generator, lesion: Lesion, *, jitter: FloatArray) -> FloatArray:
    """Move the corners by the class's jitter, still clearly on the finding."""
    size = np.tile(lesion.box[2:] - lesion.box[:2], 2)
    for _ in range(_NUM_TRIES):
        moved = lesion.box + rng.normal(0, jitter) * size
        overlap = float(iou_matrix(lesion.box[None], moved[None])[0, 0])
        if (moved[2:] > moved[:2]).all() and overlap > _KEEP_IOU:
            return np.asarray(moved)
    return lesion.box


def _pixel_box(box: FloatArray, *, size_px: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return whole pixels inside the image, at least a few wide and high."""
    limits = np.array(size_px)
    low = np.clip(np.floor(box[:2] * limits), 0, limits - _MIN_SIDE_PX)
    high = np.clip(np.ceil(box[2:] * limits), low + _MIN_SIDE_PX, limits)
    x_min, y_min, x_max, y_max = (int(value) for value in (*low, *high))
    return x_min, y_min, x_max, y_max
