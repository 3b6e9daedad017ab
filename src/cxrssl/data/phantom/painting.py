"""Draws a planned image: chest, then findings, then film noise, at the image's own size.

Shapes: image [H, W] float32, 0 (dark) to 1 (bright); canvas [h, w] is smaller.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cxrssl.data.phantom import borders, opacities
from cxrssl.data.phantom.canvas import LONG_SIDE, Canvas, Patch, blank_canvas, enlarge, patch_at
from cxrssl.data.phantom.chest import draw_chest
from cxrssl.data.phantom.lesions import Lesion
from cxrssl.data.phantom.plan import ImagePlan, image_rng

_Painter = Callable[[Patch, np.random.Generator, float], None]

# The heart and the aorta are not here: the chest is drawn with them, at the finding's box.
_PAINTERS: dict[str, _Painter] = {
    "Pneumothorax": borders.paint_air,
    "ILD": opacities.paint_interstitial,
    "Lung Opacity": opacities.paint_opacity,
    "Infiltration": opacities.paint_infiltration,
    "Consolidation": opacities.paint_consolidation,
    "Atelectasis": opacities.paint_atelectasis,
    "Pleural effusion": borders.paint_effusion,
    "Pleural thickening": borders.paint_thick_pleura,
    "Pulmonary fibrosis": opacities.paint_fibrosis,
    "Nodule/Mass": opacities.paint_nodule,
    "Calcification": opacities.paint_calcification,
    "Other lesion": opacities.paint_device,
}
"""Painters in drawing order: air first, since it empties what it covers; small hard things last."""


def paint_image(plan: ImagePlan, seed: int) -> NDArray[np.float32]:
    """Draw a planned image.

    Args:
        plan: What to draw.
        seed: The data set's seed; strokes and noise are a function of it and the plan's index.

    Returns:
        [H, W] float32 in [0, 1], dense tissue bright, air dark, as large as the plan says.
    """
    shrink = min(1.0, LONG_SIDE / max(plan.width_px, plan.height_px))
    canvas = blank_canvas(
        plan.anatomy, width=round(plan.width_px * shrink), height=round(plan.height_px * shrink)
    )
    draw_chest(canvas, image_rng(seed, plan.index, "chest"))
    _paint_lesions(canvas, plan.lesions, image_rng(seed, plan.index, "findings"))
    full = enlarge(canvas.density, width=plan.width_px, height=plan.height_px)
    return _expose(full, image_rng(seed, plan.index, "film"))


def _paint_lesions(canvas: Canvas, lesions: tuple[Lesion, ...], rng: np.random.Generator) -> None:
    for name, paint in _PAINTERS.items():
        for lesion in lesions:
            if lesion.name == name and lesion.strength > 0:
                paint(patch_at(canvas, lesion.box), rng, lesion.strength)


def _expose(density: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the image [H, W] in [0, 1]: exposure, and noise where few photons came through."""
    gain = np.float32(rng.uniform(0.70, 0.80))
    offset = np.float32(rng.uniform(0.02, 0.06))
    grain = rng.standard_normal(density.shape, dtype=np.float32)
    grain *= np.float32(rng.uniform(0.006, 0.012)) * (np.float32(0.45) + np.clip(density, 0, 1.2))
    return np.asarray(np.clip(gain * density + offset + grain, 0, 1), dtype=np.float32)
