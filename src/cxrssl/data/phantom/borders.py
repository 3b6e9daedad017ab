"""Paints the findings that lie along the lung's edge: fluid, thick pleura and air.

Shapes: patch planes [h, w] float32; outward is 1 at the lateral edge of the box, -1 at the medial
one.
"""

import numpy as np

from cxrssl.data.phantom.canvas import Patch, Plane, blur, bump, noise, step


def paint_effusion(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Fill the costophrenic angle up to a meniscus that climbs the wall."""
    outward = np.clip(patch.s * patch.side, -1.2, 1.2)
    climb = ((outward + 1) / 2).clip(0, 1) ** np.float32(rng.uniform(1.4, 2.2))
    surface = np.float32(0.55) - np.float32(1.45) * climb
    # The fluid goes on to the floor, also where the box stops short of it.
    fluid = step(patch.t - surface, 0.12) * step(1.02 - np.abs(patch.s), 0.08)
    reach = blur(step(patch.depth + np.float32(0.012), 0.012), 1.0)
    patch.add(fluid * reach, 0.62 * strength)


def paint_thick_pleura(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Line the lung's edge inside the box with a bright, lumpy rim."""
    lumps = 1 + np.float32(0.25) * noise(rng, patch.s.shape, cell_px=7.0)
    thickness = np.float32(0.019) * lumps
    rim = step(thickness - np.abs(patch.depth - np.float32(0.008)), 0.006)
    ends = step(1.0 - np.abs(patch.s), 0.12) * step(1.0 - np.abs(patch.t), 0.12)
    patch.add(rim * ends, 0.58 * strength)


def paint_air(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Empty the outer part of the box of all markings, and draw the edge of the fallen lung."""
    outward = patch.s * patch.side
    # A crescent that closes at the upper and the lower end of the box.
    edge = np.float32(rng.uniform(-0.85, -0.65)) + np.float32(1.5) * np.abs(patch.t) ** 3
    air = step(outward - edge, 0.05) * _in_box(patch) * patch.lung
    calm = np.float32(0.05)
    weight = air * np.float32(min(1.0, 0.92 * strength))
    patch.density[...] += weight * (calm - patch.density)
    line = bump(outward - edge, 0.055) * _in_box(patch) * patch.lung
    patch.add(line, 0.40 * strength)


def _in_box(patch: Patch) -> Plane:
    return step(1.02 - np.abs(patch.s), 0.05) * step(1.02 - np.abs(patch.t), 0.05)
