"""Paints the findings that lie within the lung, each with its own brightness, edge and texture.

Shapes: patch planes [h, w] float32; `amount` is added density, already scaled by the finding's
strength.
"""

import numpy as np

from cxrssl.data.phantom.canvas import Patch, Plane, Point, blur, bump, noise, step, stroke


def paint_consolidation(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Paint a dense, nearly even area with a soft edge and dark bronchi in it."""
    wobble = noise(rng, patch.s.shape, cell_px=_cell(patch, 0.35)) * np.float32(0.07)
    inside = step(0.93 - _radius(patch, 2.8) + wobble, 0.20)
    lines = [
        ([patch.point(-0.7 * patch.side, 0.05), patch.point(0.55 * patch.side, float(end))], 1.8)
        for end in rng.uniform(-0.7, 0.7, 3)
    ]
    bronchi = stroke(patch.s.shape, lines, blur_px=0.6)
    patch.add(inside * (1 - 0.4 * bronchi) * _within(patch), 0.50 * strength)


def paint_infiltration(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Paint several soft patches that leave air between them."""
    cell = _cell(patch, 0.30)
    blotches = step(noise(rng, patch.s.shape, cell_px=cell) + 0.05, 0.6)
    inside = step(1.0 - _radius(patch, 3.0), 0.14)
    patch.add(blotches * inside * _within(patch), 0.40 * strength)


def paint_opacity(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Paint an even haze, brightest in the middle, through which vessels show."""
    uneven = 1 + noise(rng, patch.s.shape, cell_px=_cell(patch, 0.6)) * np.float32(0.06)
    haze = np.exp(-1.0 * _radius(patch, 2.0) ** 3.2) * uneven
    patch.add(haze * _within(patch), 0.46 * strength)


def paint_nodule(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Paint a ball with a clear edge, dense in the middle."""
    radius = _radius(patch, 2.0)
    wobble = noise(rng, patch.s.shape, cell_px=_cell(patch, 0.4)) * np.float32(0.035)
    ball = np.sqrt(np.clip(1.0 - (radius * np.float32(0.98) + wobble) ** 2, 0, 1))
    patch.add(ball * np.float32(0.45) + step(0.95 - radius + wobble, 0.10) * 0.55, 0.52 * strength)


def paint_calcification(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Paint one or a few hard specks, the brightest thing in a lung."""
    size = 0.5 * min(patch.width_px, patch.height_px)
    specks = np.zeros_like(patch.s)
    num_specks = 1 if size < 6 else int(rng.integers(4, 7))
    for i in range(num_specks):
        s, t = (0.0, 0.0) if num_specks == 1 else rng.uniform(-0.62, 0.62, 2)
        reach = 0.75 if num_specks == 1 else max(2.2 / size, float(rng.uniform(0.20, 0.34)))
        squeeze = float(rng.uniform(0.75, 1.3)) if i else 1.0
        radius = np.hypot((patch.s - s) * squeeze, (patch.t - t) / squeeze)
        specks = np.maximum(specks, step(reach - radius, 0.06))
    patch.density[...] += specks * np.float32(0.68 * (0.5 + 0.5 * strength))


def paint_interstitial(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Paint a net of fine bright lines around dark holes over a large area."""
    cell = float(np.clip(_cell(patch, 0.13), 7, 15))
    net = np.zeros_like(patch.s)
    for _ in range(2):
        net = np.maximum(net, bump(noise(rng, patch.s.shape, cell_px=cell), 0.26))
    inside = step(1.0 - _radius(patch, 3.2), 0.12) * _within(patch)
    patch.add((net - np.float32(0.28)) * inside, 0.46 * strength)


def paint_fibrosis(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Paint bright streaks that run together towards the hilum, with a little haze."""
    lean = float(rng.uniform(-0.35, 0.35))
    lines: list[tuple[list[Point], float]] = []
    thickness = float(np.clip(0.085 * min(patch.width_px, patch.height_px), 1.8, 4.5))
    for i, start in enumerate(np.linspace(-0.85, 0.85, 5)):
        kink = float(rng.normal(0, 0.18))
        outer = patch.point(0.92 * patch.side, float(start))
        middle = patch.point(0.0, float(start) * 0.6 + kink + lean * 0.5)
        inner = patch.point(-0.92 * patch.side, float(start) * 0.35 + lean)
        lines.append(([outer, middle, inner], thickness * (1.25 if i % 2 else 0.9)))
    streaks = stroke(patch.s.shape, lines, blur_px=0.45)
    haze = step(0.95 - _radius(patch, 2.5), 0.3) * np.float32(0.16)
    ends = step(1.0 - np.abs(patch.s), 0.16)
    patch.add(np.maximum(streaks * ends, haze) * _within(patch), 0.56 * strength)


def paint_atelectasis(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Paint a sharp wedge of collapsed lung that points at the hilum."""
    outward = patch.s * patch.side
    lean = float(rng.uniform(-0.25, 0.25))
    spread = np.float32(0.16) + np.float32(0.36) * (outward + 1)
    wedge = step(spread - np.abs(patch.t - lean * outward), 0.06) * step(
        1.0 - np.abs(patch.s), 0.05
    )
    rim = bump(np.abs(patch.t - lean * outward) - spread, 0.07) * step(1.0 - np.abs(patch.s), 0.05)
    patch.add((wedge * np.float32(0.72) + rim * np.float32(0.4)) * _within(patch), 0.52 * strength)


def paint_device(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Paint what no lung grows: a metal case, outlined, with a coiled lead. For "Other lesion"."""
    thin = min(patch.width_px, patch.height_px)
    line = float(np.clip(0.05 * thin, 1.3, 3.0))
    top = float(rng.choice([-1.0, 1.0]))
    low, high = sorted((-0.92 * top, 0.25 * top))
    corners = [(-0.9, low), (0.9, low), (0.9, high), (-0.9, high), (-0.9, low)]
    case = stroke(patch.s.shape, [([patch.point(s, t) for s, t in corners], line * 1.5)])
    inner = (np.abs(patch.s) < 0.9) & (patch.t > low) & (patch.t < high)
    turns = np.linspace(0, 1, 40)
    lead = [
        patch.point(float(0.8 * np.sin(9 * turn)), float(top * (0.25 + 0.68 * turn)))
        for turn in turns
    ]
    wire = stroke(patch.s.shape, [(lead, line)])
    metal = np.maximum(case, np.maximum(wire, inner.astype(np.float32) * np.float32(0.12)))
    patch.density[...] += metal * np.float32(0.62 * (0.4 + 0.6 * strength))


def _radius(patch: Patch, power: float) -> Plane:
    """Return how far out each point of the box lies, 1 at the edge of a superellipse."""
    inner = np.abs(patch.s) ** power + np.abs(patch.t) ** power
    return np.asarray(inner ** (1 / power), dtype=np.float32)


def _within(patch: Patch) -> Plane:
    """Return the soft lung mask, not quite 0 outside: lung reaches behind the heart."""
    return np.float32(0.15) + np.float32(0.85) * blur(patch.lung, 1.0)


def _cell(patch: Patch, fraction: float) -> float:
    """Return a texture's cell in canvas pixels as a fraction of the box's shorter side."""
    return max(3.0, fraction * min(patch.width_px, patch.height_px))
