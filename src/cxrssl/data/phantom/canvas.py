"""The grid that a chest is drawn on, and the few brushes that everything is drawn with.

A canvas is smaller than the image: anatomy and findings have no detail beyond it, and film noise
is added after enlarging. Density is what the beam met, 0 (air) to about 1 (bone, metal); bright
means dense.

Shapes: canvas [h, w] float32; a patch is the part of a canvas under a finding's box, plus a margin.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cxrssl.data.phantom.anatomy import Anatomy, lung_depth

Plane = NDArray[np.floating[Any]]
Point = tuple[float, float]

LONG_SIDE = 512
SUPERSAMPLING = 3


@dataclass(frozen=True)
class Canvas:
    """A drawing in progress: `density` changes, the rest is where things are.

    `x`, `y` are relative image coordinates, `u`, `v` chest coordinates, `depth` how deep a point
    lies in a lung, `lung` that depth as a soft mask in [0, 1]; all [h, w] float32.
    """

    anatomy: Anatomy
    x: Plane
    y: Plane
    u: Plane
    v: Plane
    depth: Plane
    lung: Plane
    density: Plane


def blank_canvas(anatomy: Anatomy, *, width: int, height: int) -> Canvas:
    """Return an empty canvas of a size in canvas pixels for one chest."""
    line_x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) / np.float32(width)
    line_y = (np.arange(height, dtype=np.float32) + np.float32(0.5)) / np.float32(height)
    x, y = np.meshgrid(line_x, line_y)
    u, v = (plane.astype(np.float32) for plane in anatomy.to_chest(x, y))
    depth = lung_depth(u, v).astype(np.float32)
    lung = blur(step(depth, 0.012), 1.2)
    return Canvas(anatomy, x, y, u, v, depth, lung, np.zeros_like(x))


def step(value: Plane, width: float) -> Plane:
    """Return a smooth step [S] from 0 to 1 as value goes from -width to +width."""
    t = np.clip(value * np.float32(0.5 / width) + np.float32(0.5), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def bump(value: Plane, width: float) -> Plane:
    """Return a bell [S] of height 1 around value 0 with a standard deviation of `width`."""
    return np.asarray(np.exp(-0.5 * (value / np.float32(width)) ** 2))


def blur(plane: Plane, radius_px: float) -> Plane:
    """Blur a [h, w] plane; wide blurs work on a smaller copy, which looks the same and is fast."""
    height, width = plane.shape
    factor = max(1, int(radius_px / 2.5))
    image = Image.fromarray(plane)
    if factor > 1:
        image = image.reduce(factor)
    small = _gauss(np.asarray(image, dtype=np.float32), radius_px / factor)
    if factor == 1:
        return small
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def _gauss(plane: Plane, sigma: float) -> Plane:
    # Pillow blurs no float images; a separable kernel of a few taps costs little.
    reach = max(1, int(np.ceil(2.5 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(reach, reach) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(plane, padding, mode="edge")
        length = plane.shape[axis]
        plane = np.zeros_like(plane)
        for i, weight in enumerate(kernel):
            plane += weight * padded.take(np.arange(i, i + length), axis=axis)
    return plane


def enlarge(plane: Plane, *, width: int, height: int) -> Plane:
    """Return a [h, w] plane at another size, bicubic."""
    image = Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32)


def noise(rng: np.random.Generator, shape: tuple[int, ...], *, cell_px: float) -> Plane:
    """Return smooth noise [h, w] of mean 0 and deviation about 1, with blobs of `cell_px`."""
    height, width = shape
    rows, columns = (max(3, int(np.ceil(side / cell_px)) + 1) for side in shape)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return enlarge(coarse, width=width, height=height) * np.float32(1.25)


def stroke(
    shape: tuple[int, ...], lines: list[tuple[list[Point], float]], *, blur_px: float = 0.5
) -> Plane:
    """Draw polylines.

    Args:
        shape: Height and width in canvas pixels.
        lines: Points (x, y) and width of each line, in canvas pixels.
        blur_px: Softness, in canvas pixels.

    Returns:
        [h, w] float32 in [0, 1], 1 on a line.
    """
    height, width = shape
    size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    image = Image.new("L", size)
    brush = ImageDraw.Draw(image)
    for points, thickness in lines:
        scaled = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
        brush.line(scaled, fill=255, width=max(1, round(thickness * SUPERSAMPLING)), joint="curve")
    sharp = np.asarray(image.reduce(SUPERSAMPLING), dtype=np.float32) / np.float32(255)
    return blur(sharp, blur_px)


@dataclass(frozen=True)
class Patch:
    """The canvas under one box, planes [h, w].

    `s` and `t` run from -1 to 1 across the box, left to right and top to bottom. `density` is a
    view: adding to it draws. `side` is -1 in the image's left half, else 1. `width_px` and
    `height_px` are the box's size in canvas pixels.
    """

    s: Plane
    t: Plane
    depth: Plane
    lung: Plane
    density: Plane
    side: int
    width_px: float
    height_px: float

    def add(self, shape: Plane, amount: float) -> None:
        """Add a shape [h, w] in [0, 1] to the drawing, less so where it is dense already."""
        room = np.clip(1.22 - self.density, 0.25, 1.0) if amount > 0 else np.float32(1)
        self.density[...] += np.float32(amount) * shape * room

    def point(self, s: float, t: float) -> Point:
        """Return box coordinates as patch pixels, for `stroke`."""
        height, width = self.s.shape
        steps = (self.s[0, -1] - self.s[0, 0]) / (width - 1)
        rises = (self.t[-1, 0] - self.t[0, 0]) / (height - 1)
        x, y = (s - self.s[0, 0]) / steps, (t - self.t[0, 0]) / rises
        return float(x) + 0.5, float(y) + 0.5


def patch_at(canvas: Canvas, box: NDArray[np.floating]) -> Patch:
    """Return the patch under a box xyxy [4], relative to the image, with a margin of a quarter."""
    height, width = canvas.x.shape
    scale = np.array([width, height, width, height])
    x0, y0, x1, y1 = (float(value) for value in box * scale)
    margin = 2 + 0.25 * max(x1 - x0, y1 - y0)
    left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
    right, bottom = min(width, int(x1 + margin) + 1), min(height, int(y1 + margin) + 1)
    part = (slice(top, bottom), slice(left, right))
    centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return Patch(
        s=((canvas.x[part] - centre_x) / ((box[2] - box[0]) / 2)).astype(np.float32),
        t=((canvas.y[part] - centre_y) / ((box[3] - box[1]) / 2)).astype(np.float32),
        depth=canvas.depth[part],
        lung=canvas.lung[part],
        density=canvas.density[part],
        side=-1 if centre_x < 0.5 else 1,
        width_px=x1 - x0,
        height_px=y1 - y0,
    )
