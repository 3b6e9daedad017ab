"""Which findings an image holds and where, by the real table's numbers and the made chest.

Decides, draws nothing: `opacities` and `borders` paint what is decided here, `readers` mark it.

Shapes: boxes [4] xyxy relative to the image, float64; K = 14 classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from cxrssl.core.boxes import iou_matrix
from cxrssl.core.labels import FINDINGS
from cxrssl.data.phantom.anatomy import LEFT, RIGHT, Anatomy, lung_fraction, rim_u
from cxrssl.data.phantom.statistics import (
    MIDLINE_CLASSES,
    ClassStatistics,
    FloatArray,
    PlaceStatistics,
    load_statistics,
)

INVENTED_FRACTION = 0.25
"""Fraction of the one-reader findings that are in the reader's eye only."""

_STRENGTH = {1: 0.62, 2: 0.9, 3: 1.0}
_MIN_SIDE, _MAX_SIDE = 0.022, 0.62
_MAX_OVERLAP = 0.05
_ENOUGH_LUNG = 0.6
_NUM_CANDIDATES = 24
# Standard normal deviates of statistics.QUANTILE_LEVELS.
_DEVIATES = np.array([-1.64485, -1.28155, -0.67449, 0.0, 0.67449, 1.28155, 1.64485])
_TAIL = 2.2


@dataclass(frozen=True)
class Lesion:
    """One finding: strength 0 is a reader's invention and is not drawn."""

    name: str
    box: FloatArray
    support: int
    strength: float


@lru_cache(maxsize=1)
def presence_probabilities() -> FloatArray:
    """Return [K] chances of independent draws that give the real fractions without empty draws.

    Dropping the empty draws divides every fraction by P(any); the fixed point undoes that.
    """
    fractions = np.array([statistics.image_fraction for statistics in load_statistics().classes])
    chances = fractions.copy()
    for _ in range(200):
        chances = fractions * (1 - np.prod(1 - chances))
    return np.asarray(chances)


def draw_lesions(rng: np.random.Generator, anatomy: Anatomy) -> tuple[tuple[Lesion, ...], Anatomy]:
    """Draw the findings of an image that has at least one.

    Args:
        rng: Source of every choice.
        anatomy: The healthy chest.

    Returns:
        The findings, and the chest with the heart and aorta that they ask for.
    """
    chances = presence_probabilities()
    present = rng.random(len(FINDINGS)) < chances
    while not present.any():
        present = rng.random(len(FINDINGS)) < chances
    lesions: list[Lesion] = []
    for statistics in np.array(load_statistics().classes, dtype=object)[present]:
        lesions += _draw_class(rng, anatomy, statistics)
    for lesion in lesions:
        if lesion.strength > 0:
            anatomy = _with_organ(anatomy, lesion)
    return tuple(lesions), anatomy


def _draw_class(
    rng: np.random.Generator, anatomy: Anatomy, statistics: ClassStatistics
) -> list[Lesion]:
    num_lesions = 1 + int(rng.choice(len(statistics.lesions), p=_chances(statistics.lesions)))
    lesions: list[Lesion] = []
    for _ in range(num_lesions):
        box = _free_box(rng, anatomy, statistics, [lesion.box for lesion in lesions])
        if box is None:
            continue
        support = 1 + int(rng.choice(3, p=_chances(statistics.support)))
        # A chest has one heart and one aorta: a second box can only be a reader's own.
        is_second = bool(lesions) and statistics.name in MIDLINE_CLASSES
        support = 1 if is_second else support
        is_invented = is_second or (support == 1 and rng.random() < INVENTED_FRACTION)
        strength = 0.0 if is_invented else _STRENGTH[support] * float(rng.uniform(0.92, 1.08))
        lesions.append(Lesion(statistics.name, box, support, strength))
    return lesions


def _free_box(
    rng: np.random.Generator,
    anatomy: Anatomy,
    statistics: ClassStatistics,
    taken: list[FloatArray],
) -> FloatArray | None:
    """Return the first box that lies well and free of the class's others, or the best one."""
    best, best_fraction = None, -1.0
    side_chances = _chances(np.array([place.fraction for place in statistics.places]))
    side = int(rng.choice(len(side_chances), p=side_chances))
    for attempt in range(_NUM_CANDIDATES):
        if attempt == _NUM_CANDIDATES // 2 and best is None:
            side = len(side_chances) - 1 - side
        values = _draw_place(rng, statistics.places[side])
        box = _fit(statistics.name, anatomy, values, LEFT if side == 0 else RIGHT)
        if taken and iou_matrix(box[None], np.stack(taken)).max() > _MAX_OVERLAP:
            continue
        fraction = 1.0 if statistics.name in _FITTERS else lung_fraction(anatomy, box)
        if fraction > best_fraction:
            best, best_fraction = box, fraction
        if fraction >= _ENOUGH_LUNG:
            break
    return best


def _draw_place(rng: np.random.Generator, place: PlaceStatistics) -> FloatArray:
    """Draw (cx, cy, log w, log h) [4] with the place's correlations and quantiles."""
    correlated = place.factor @ rng.standard_normal(4)
    deviates = np.clip(correlated, -_TAIL, _TAIL)
    knots = np.concatenate([[-_TAIL], _DEVIATES, [_TAIL]])
    values = []
    for deviate, quantiles in zip(deviates, place.quantiles, strict=True):
        extension = (_TAIL - _DEVIATES[-1]) / (_DEVIATES[-1] - _DEVIATES[-2])
        low = quantiles[0] - (quantiles[1] - quantiles[0]) * min(extension, 0.8)
        high = quantiles[-1] + (quantiles[-1] - quantiles[-2]) * min(extension, 0.8)
        values.append(np.interp(deviate, knots, np.concatenate([[low], quantiles, [high]])))
    return np.array(values)


def _fit(name: str, anatomy: Anatomy, values: FloatArray, side: int) -> FloatArray:
    """Return the box [4] in the image for a draw in the mean chest, on the organ of its class."""
    width, height = np.clip(np.exp(values[2:]), _MIN_SIDE, _MAX_SIDE)
    centre = np.array([values[0], values[1]])
    if name in _FITTERS:
        centre, width, height = _FITTERS[name](centre, float(width), float(height), side)
    x, y = anatomy.to_image(float(centre[0]), float(centre[1]))
    half = np.array([width * anatomy.scale_x, height * anatomy.scale_y]) / 2
    low = np.clip(np.array([x, y]) - half, 0.004, 0.97)
    high = np.clip(np.array([x, y]) + half, low + _MIN_SIDE, 0.996)
    return np.concatenate([low, high])


_Placed = tuple[FloatArray, float, float]


def _fit_heart(centre: FloatArray, width: float, height: float, side: int) -> _Placed:
    """Keep an enlarged heart wider than a healthy one, over the spine, above the diaphragm."""
    del side
    width = float(np.clip(width, 0.39, 0.58))
    u = np.clip(centre[0], 0.505, 0.505 + 0.36 * width)
    return np.array([u, np.clip(centre[1], 0.53, 0.655)]), width, min(height, 0.2)


def _fit_knob(centre: FloatArray, width: float, height: float, side: int) -> _Placed:
    """Keep an enlarged knob beside the spine and larger than a healthy one."""
    del side
    width, height = max(width, 0.1), max(height, 0.1)
    return np.array([np.clip(centre[0], 0.56, 0.64), np.clip(centre[1], 0.26, 0.41)]), width, height


def _fit_effusion(centre: FloatArray, width: float, height: float, side: int) -> _Placed:
    """Set the box into the costophrenic angle, its outer edge on the lung's."""
    width, height = float(np.clip(width, 0.075, 0.32)), float(np.clip(height, 0.08, 0.45))
    foot = np.clip(centre[1] + height / 2, 0.72, 0.765)
    v = foot - height / 2
    u = rim_u(float(v), side) - side * (width / 2 - 0.008)
    return np.array([u, v]), width, height


def _fit_rim(centre: FloatArray, width: float, height: float, side: int) -> _Placed:
    """Lay the box over the lung's lateral or apical edge."""
    v = float(np.clip(centre[1], 0.15 + 0.35 * height, 0.73 - height / 2))
    apical = v < 0.27
    u = rim_u(max(v, 0.165), side) - side * (0.32 if apical else 0.18) * width
    return np.array([u, v]), width, max(height, 0.035)


def _fit_air(centre: FloatArray, width: float, height: float, side: int) -> _Placed:
    """Let the air lie against the lateral wall."""
    width, height = float(np.clip(width, 0.09, 0.3)), float(np.clip(height, 0.12, 0.5))
    v = float(np.clip(centre[1], 0.155 + height / 2, max(0.73 - height / 2, 0.155 + height / 2)))
    widest = rim_u(min(v + height / 2, 0.52), side)
    return np.array([widest - side * (width / 2 - 0.005), v]), width, height


_FITTERS: dict[str, Callable[[FloatArray, float, float, int], _Placed]] = {
    "Cardiomegaly": _fit_heart,
    "Aortic enlargement": _fit_knob,
    "Pleural effusion": _fit_effusion,
    "Pleural thickening": _fit_rim,
    "Pneumothorax": _fit_air,
}


def _with_organ(anatomy: Anatomy, lesion: Lesion) -> Anatomy:
    x0, y0, x1, y1 = (float(value) for value in lesion.box)
    if lesion.name == "Cardiomegaly":
        return replace(anatomy, heart_box=(x0, y0, x1, y1), heart_density=lesion.strength)
    if lesion.name == "Aortic enlargement":
        return replace(anatomy, knob_box=(x0, y0, x1, y1), knob_density=lesion.strength)
    return anatomy


def _chances(weights: FloatArray) -> FloatArray:
    return np.asarray(weights / weights.sum())
