"""The made chest's shape: where lungs, heart, aorta and diaphragm lie in one image.

Pure geometry, no pixels: placing a finding and drawing it ask the same functions. Chest
coordinates (u, v) are those of the mean chest, relative to image width and height; image
coordinates (x, y) are relative too. The numbers are chosen so that the real table's boxes fall on
the right organs.

Shapes: any one shape S for u, v, x, y; boxes [4] xyxy relative to the image.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

MIDLINE_U = 0.505
LUNG_TOP_V = 0.15
LUNG_WIDEST_V = 0.52
LUNG_CENTRE = 0.212
LUNG_HALF_WIDTH = 0.172
DOME_V = (0.645, 0.665)
ANGLE_DEPTH = 0.105
LEFT, RIGHT = -1, 1
"""Sides as the image shows them; the patient's left is the image's right."""


@dataclass(frozen=True)
class Anatomy:
    """One patient's build and position; angles in radians, lengths relative to the image."""

    shift_x: float
    shift_y: float
    scale_x: float
    scale_y: float
    tilt: float
    aspect: float
    rib_phase: float
    rib_slope: float
    heart_box: tuple[float, float, float, float]
    heart_density: float
    knob_box: tuple[float, float, float, float]
    knob_density: float

    def to_chest(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Map relative image coordinates [S] to chest coordinates [S]."""
        dx, dy = x - 0.5 - self.shift_x, (y - 0.45 - self.shift_y) * self.aspect
        # float32, so that canvas planes stay what they are
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        u = 0.5 + (cos * dx + sin * dy) / np.float32(self.scale_x)
        v = 0.45 + (-sin * dx + cos * dy) / np.float32(self.scale_y * self.aspect)
        return u, v

    def to_image(self, u: float, v: float) -> tuple[float, float]:
        """Map one chest point to relative image coordinates."""
        dx, dy = (u - 0.5) * self.scale_x, (v - 0.45) * self.scale_y * self.aspect
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        x = 0.5 + self.shift_x + cos * dx - sin * dy
        y = 0.45 + self.shift_y + (sin * dx + cos * dy) / self.aspect
        return float(x), float(y)


def draw_build(rng: np.random.Generator, *, aspect: float) -> Anatomy:
    """Draw a healthy chest.

    Args:
        rng: Source of every choice.
        aspect: Image height over width.
    """
    build = Anatomy(
        shift_x=float(np.clip(rng.normal(0, 0.012), -0.03, 0.03)),
        shift_y=float(np.clip(rng.normal(0, 0.016), -0.04, 0.04)),
        scale_x=float(np.clip(rng.normal(1, 0.03), 0.92, 1.07)),
        scale_y=float(np.clip(rng.normal(1, 0.035), 0.91, 1.08)),
        tilt=float(np.clip(rng.normal(0, 0.02), -0.05, 0.05)),
        aspect=aspect,
        rib_phase=float(rng.uniform()),
        rib_slope=float(rng.uniform(0.85, 1.15)),
        heart_box=(0, 0, 0, 0),
        heart_density=1.0,
        knob_box=(0, 0, 0, 0),
        knob_density=0.55,
    )
    heart_width = float(rng.uniform(0.26, 0.31))
    heart = box_around(build, 0.535, 0.60, width=heart_width, height=0.12)
    knob = box_around(build, 0.563, 0.325, width=0.062, height=0.062)
    return replace(build, heart_box=heart, knob_box=knob)


def box_around(
    anatomy: Anatomy, u: float, v: float, *, width: float, height: float
) -> tuple[float, float, float, float]:
    """Return the image box xyxy (relative) of a size in chest units around a chest point."""
    x, y = anatomy.to_image(u, v)
    half_w, half_h = width * anatomy.scale_x / 2, height * anatomy.scale_y / 2
    return x - half_w, y - half_h, x + half_w, y + half_h


def lung_profile(v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a lung's centre offset from the midline and half width at heights v, each [S]."""
    rise = np.clip((LUNG_WIDEST_V - v) / (LUNG_WIDEST_V - LUNG_TOP_V), 0, 1)
    centre = LUNG_CENTRE - 0.052 * rise
    half_width = LUNG_HALF_WIDTH * np.sqrt(1 - rise**2.6)
    return centre, half_width


def diaphragm_v(u: FloatArray) -> FloatArray:
    """Return the height of the diaphragm at each u [S]: a dome that falls to the angle."""
    dome = np.where(u < MIDLINE_U, DOME_V[0], DOME_V[1])
    across = (np.abs(u - MIDLINE_U) - 0.175) / 0.21
    return np.asarray(dome + ANGLE_DEPTH * across**2)


def lung_depth(u: FloatArray, v: FloatArray) -> FloatArray:
    """Return how deep points [S] lie inside a lung: > 0 inside, 0 at its edge, relative."""
    centre, half_width = lung_profile(v)
    across = half_width - np.abs(np.abs(u - MIDLINE_U) - centre)
    above_diaphragm = diaphragm_v(u) - v
    below_top = v - LUNG_TOP_V
    return np.asarray(np.minimum(np.minimum(across, above_diaphragm), below_top))


def rim_u(v: float, side: int) -> float:
    """Return u of a lung's lateral edge at height v on one side."""
    centre, half_width = lung_profile(np.array(v))
    return MIDLINE_U + side * float(centre + half_width)


def lung_fraction(anatomy: Anatomy, box: FloatArray) -> float:
    """Return the fraction in [0, 1] of an image box xyxy [4] that is lung."""
    x, y = np.meshgrid(np.linspace(box[0], box[2], 7), np.linspace(box[1], box[3], 7))
    return float(np.mean(lung_depth(*anatomy.to_chest(x, y)) > 0))
