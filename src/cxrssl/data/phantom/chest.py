"""Draws the chest itself: body, lungs, vessels, heart, aorta, spine, ribs and clavicles.

Adds densities layer by layer onto a canvas. Not for findings; an enlarged heart or aorta comes in
through the anatomy's boxes.

Shapes: canvas planes [h, w] float32.
"""

import numpy as np

from cxrssl.data.phantom.anatomy import DOME_V, MIDLINE_U, Anatomy, diaphragm_v
from cxrssl.data.phantom.canvas import Canvas, Plane, Point, blur, bump, noise, step, stroke

_LUNG = 0.16
_RIB_SPACING = 0.064


def draw_chest(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw a whole chest onto an empty canvas."""
    body = _body(canvas)
    canvas.density[...] = body * _soft_tissue(canvas, rng)
    # Before the heart and the aorta, which hide them.
    canvas.density[...] += vessels(canvas, rng) * np.float32(0.12)
    _draw_mediastinum(canvas, rng)
    _draw_heart(canvas)
    _draw_aorta(canvas)
    _draw_bones(canvas)
    _scatter(canvas)


def _body(canvas: Canvas) -> Plane:
    """Return the soft mask of everything that is not air around the patient."""
    away = np.abs(canvas.u - np.float32(MIDLINE_U))
    shoulder = 0.075 + 0.42 * step(canvas.v - 0.055, 0.075)
    flank = 0.035 * np.sin(np.float32(3.0) * (canvas.v - np.float32(0.2)))
    return step(np.asarray(shoulder - flank - away), 0.012)


def _soft_tissue(canvas: Canvas, rng: np.random.Generator) -> Plane:
    """Return chest wall, lungs and abdomen: dark lungs in a bright frame."""
    uneven = noise(rng, canvas.x.shape, cell_px=110) * np.float32(0.018)
    away = np.abs(canvas.u - np.float32(MIDLINE_U))
    wall = 0.50 - 0.20 * step(away - 0.44, 0.06) + uneven
    abdomen = step(canvas.v - diaphragm_v(canvas.u).astype(np.float32), 0.02)
    tissue = wall + 0.16 * abdomen * step(0.42 - away, 0.05)
    # The stomach's air lies under the patient's left dome.
    gas_u, gas_v = (canvas.u - MIDLINE_U - 0.16) / 0.07, (canvas.v - DOME_V[1] - 0.055) / 0.03
    tissue -= 0.14 * step(1 - np.sqrt(gas_u**2 + gas_v**2), 0.35) * np.float32(rng.uniform(0, 1))
    base = 0.10 * step(canvas.v - 0.55, 0.22) + 0.03 * step(0.27 - canvas.v, 0.10)
    lung = _LUNG + base + uneven
    return tissue + canvas.lung * (lung - tissue)


def _draw_mediastinum(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw the bright middle, with the dark trachea above and a hilum on each side."""
    away = np.abs(canvas.u - np.float32(MIDLINE_U))
    half_width = 0.058 + 0.020 * bump(canvas.v - 0.42, 0.10)
    centre = step(half_width - away, 0.020) * step(canvas.v - 0.12, 0.10)
    _lift(canvas, centre, 0.64)
    trachea = step(0.018 - away, 0.010) * step(0.34 - canvas.v, 0.04)
    canvas.density[...] -= trachea * np.float32(0.10)
    for side, v in ((-1, 0.425), (1, 0.405)):
        u = MIDLINE_U + side * float(rng.uniform(0.088, 0.10))
        reach = ((canvas.u - u) / 0.030) ** 2 + ((canvas.v - v) / 0.052) ** 2
        canvas.density[...] += np.exp(-reach) * canvas.lung * np.float32(0.16)


def _draw_heart(canvas: Canvas) -> None:
    """Draw the heart so that its widest part fills the anatomy's heart box."""
    anatomy = canvas.anatomy
    x0, y0, x1, y1 = anatomy.heart_box
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
    s = (canvas.x - np.float32(centre_x)) / np.float32((x1 - x0) / 2)
    size = 0.125 + 0.10 * (x1 - x0)
    # An apex that hangs low on the patient's left, a flatter border on the right.
    t = (canvas.y - np.float32(centre_y + 0.012) - 0.018 * s) / np.float32(size)
    t = np.where(t < 0, t * np.float32(0.80), t * np.float32(1.15))
    radius = np.sqrt(s**2 + t**2)
    inside = step(1.0 - radius, 0.07)
    _lift(canvas, inside, 0.62 + 0.08 * min(1.0, anatomy.heart_density))


def _draw_aorta(canvas: Canvas) -> None:
    """Draw the knob into the anatomy's box, and the descending aorta below it."""
    anatomy = canvas.anatomy
    x0, y0, x1, y1 = anatomy.knob_box
    s = (canvas.x - np.float32((x0 + x1) / 2)) / np.float32((x1 - x0) / 2)
    t = (canvas.y - np.float32((y0 + y1) / 2)) / np.float32((y1 - y0) / 2)
    radius = np.sqrt(s**2 + t**2)
    knob = step(0.95 - radius, 0.10)
    wall = bump(radius - np.float32(0.86), 0.08) * step(s + 0.2, 0.2)
    amount = np.float32(0.22 * max(0.0, anatomy.knob_density - 0.5))
    _lift(canvas, knob, 0.66)
    canvas.density[...] += knob * amount + wall * (amount * np.float32(0.5) + np.float32(0.03))
    descending = bump(canvas.u - np.float32(MIDLINE_U + 0.052), 0.014)
    below = step(canvas.y - np.float32((y0 + y1) / 2), 0.03) * step(0.66 - canvas.v, 0.05)
    canvas.density[...] += descending * below * np.float32(0.05)


def _lift(canvas: Canvas, mask: Plane, level: float) -> None:
    """Raise what is under a mask most of the way to a level: organs overlap, they do not add up."""
    missing = np.clip(np.float32(level) - canvas.density, 0.03, None)
    canvas.density[...] += mask * missing


def vessels(canvas: Canvas, rng: np.random.Generator) -> Plane:
    """Return the lung's branching markings [h, w] in [0, 1]: thick at the hila, gone at the rim."""
    height, width = canvas.x.shape
    lines: list[tuple[list[Point], float]] = []
    for side in (-1, 1):
        root_x, root_y = canvas.anatomy.to_image(MIDLINE_U + side * 0.09, 0.415)
        for angle in np.linspace(-1.25, 1.35, 9) + rng.normal(0, 0.09, 9):
            start = (root_x * width, root_y * height)
            _grow(lines, rng, start, (side, float(angle)), (0.0062 * width, 0.12 * width))
    markings = stroke((height, width), lines, blur_px=0.7)
    fading = np.clip(canvas.depth / np.float32(0.07), 0, 1)
    return np.asarray(markings * fading * canvas.lung)


def _grow(
    lines: list[tuple[list[Point], float]],
    rng: np.random.Generator,
    start: Point,
    heading: tuple[int, float],
    size: tuple[float, float],
) -> None:
    """Grow one vessel and its branches; heading is side and angle, size is thickness and length."""
    (side, angle), (thickness, length) = heading, size
    if thickness < 0.55 or length < 4:
        return
    bend = float(rng.normal(0, 0.22))
    middle = _ahead(start, side, angle, length / 2)
    end = _ahead(middle, side, angle + bend, length / 2)
    lines.append(([start, middle, end], thickness))
    for turn in (bend + float(rng.uniform(0.15, 0.5)), bend - float(rng.uniform(0.15, 0.5))):
        smaller = (thickness * 0.68, length * float(rng.uniform(0.6, 0.85)))
        _grow(lines, rng, end, (side, angle + turn), smaller)


def _ahead(start: Point, side: int, angle: float, length: float) -> Point:
    return (
        start[0] + side * float(np.cos(angle)) * length,
        start[1] + float(np.sin(angle)) * length,
    )


def _draw_bones(canvas: Canvas) -> None:
    anatomy = canvas.anatomy
    away = np.abs(canvas.u - np.float32(MIDLINE_U))
    cage = step(0.405 - away - 0.16 * step(0.30 - canvas.v, 0.15), 0.02)
    bones = _posterior_ribs(anatomy, canvas.v, away) * np.float32(0.085)
    bones += _anterior_ribs(anatomy, canvas.v, away) * np.float32(0.045)
    bones *= cage
    bones += _clavicles(canvas, away) * np.float32(0.10)
    canvas.density[...] += bones + _spine(canvas, away)


def _posterior_ribs(anatomy: Anatomy, v: Plane, away: Plane) -> Plane:
    """Return the back arcs: from the spine a little up, then down along the wall."""
    across = away / np.float32(0.385)
    drop = 0.10 * across**2.2 * anatomy.rib_slope - 0.05 * across
    phase = (v - drop) / np.float32(_RIB_SPACING) + np.float32(anatomy.rib_phase)
    inside = step(away - 0.045, 0.01) * step(0.76 - v, 0.05) * step(v - 0.10, 0.03)
    return _bands(phase, half_width=0.21) * inside


def _anterior_ribs(anatomy: Anatomy, v: Plane, away: Plane) -> Plane:
    """Return the front ends: steeper, down towards the middle, ending before the sternum."""
    across = away / np.float32(0.385)
    drop = -0.21 * across * anatomy.rib_slope
    phase = (v - drop) / np.float32(_RIB_SPACING * 1.25) + np.float32(anatomy.rib_phase * 1.7)
    inside = step(away - 0.13, 0.05) * step(0.66 - v, 0.05) * step(v - 0.18, 0.04)
    return _bands(phase, half_width=0.20) * inside


def _bands(phase: Plane, *, half_width: float) -> Plane:
    """Return a band a unit of phase, with brighter edges as cortical bone has."""
    distance = np.abs(phase - np.floor(phase) - np.float32(0.5))
    band = step(half_width - distance, 0.05)
    return band * np.float32(0.8) + bump(distance - np.float32(half_width - 0.03), 0.035) * 0.45


def _clavicles(canvas: Canvas, away: Plane) -> Plane:
    """Return both collar bones: low at the sternum, high at the shoulder, with a slight S."""
    along = (away - np.float32(0.035)) / np.float32(0.36)
    middle = 0.215 - 0.085 * along + 0.012 * np.sin(np.float32(6.0) * along)
    distance = np.abs(canvas.v - middle)
    extent = step(away - 0.035, 0.01) * step(0.40 - away, 0.02)
    rim = bump(distance - np.float32(0.010), 0.003) * np.float32(0.4)
    return (step(0.0125 - distance, 0.004) * np.float32(0.8) + rim) * extent


def _spine(canvas: Canvas, away: Plane) -> Plane:
    """Return vertebrae, seen faintly through the mediastinum."""
    column = step(0.034 - away, 0.006)
    phase = canvas.v / np.float32(0.047)
    discs = bump(phase - np.floor(phase) - np.float32(0.5), 0.13)
    return column * (0.075 - 0.045 * discs) * step(canvas.v - 0.02, 0.03)


def _scatter(canvas: Canvas) -> None:
    """Lift shadows with a wide veil of scattered light."""
    veil = blur(canvas.density, 30.0)
    canvas.density[...] = np.float32(0.90) * canvas.density + np.float32(0.10) * veil
