"""How each made image is stored: the mix of DICOM forms, and brightness as stored values.

Every four images in a row use each transfer syntax and each depth once, and each photometric
interpretation and window state twice, in an order of their own: short data sets hold every form,
and none depends on length.

Shapes: brightness [H, W] float32 in [0, 1]; stored [H, W] uint8 or uint16.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrssl.data.dicom.write import SYNTAXES, PixelForm
from cxrssl.data.phantom.plan import image_rng

DEPTHS = (8, 12, 14, 16)
_BLOCK = 4
_RESCALE_CHANCE = 0.2
_RESCALES = ((1.0, -1024.0), (0.5, 0.0), (2.0, 100.0))
_MARGIN = 0.04


def choose_form(seed: int, index: int) -> PixelForm:
    """Return how image `index` is stored, its window to be set by `stored_pixels`."""
    block, place = divmod(index, _BLOCK)
    rng = image_rng(seed, block, "form")
    syntaxes = rng.permutation(list(SYNTAXES))
    depths = rng.permutation(DEPTHS)
    inverted = rng.permutation([False, False, True, True])
    windowed = rng.permutation([False, False, True, True])
    rescaled = rng.random(_BLOCK) < _RESCALE_CHANCE
    kinds = rng.integers(0, len(_RESCALES), _BLOCK)
    syntax = next(name for name in SYNTAXES if name == syntaxes[place])
    return PixelForm(
        syntax=syntax,
        bits_stored=int(depths[place]),
        inverted=bool(inverted[place]),
        window=(0.0, 0.0) if windowed[place] else None,
        rescale=_RESCALES[kinds[place]] if rescaled[place] else None,
    )


def stored_pixels(
    brightness: NDArray[np.float32], form: PixelForm
) -> tuple[NDArray[np.unsignedinteger[Any]], PixelForm]:
    """Turn brightness into stored values, and fill in the window if the form asks for one.

    Args:
        brightness: [H, W] in [0, 1], dense tissue bright.
        form: What `choose_form` returned.

    Returns:
        The stored pixels [H, W], inverted if the form is, and the form with a window that shows all
        but the darkest and brightest few.
    """
    highest = 2**form.bits_stored - 1
    stored = np.rint(brightness * np.float32(highest)).astype(np.int32)
    if form.inverted:
        stored = highest - stored
    pixels = stored.astype(np.uint8 if form.bits_stored <= 8 else np.uint16)
    if form.window is None:
        return pixels, form
    slope, intercept = form.rescale or (1.0, 0.0)
    # A few thousand pixels tell where the content lies.
    low, high = np.percentile(pixels[::8, ::8], (0.5, 99.7)) * slope + intercept
    spare = _MARGIN * (high - low)
    centre, width = round((low + high) / 2), max(2, round(high - low + 2 * spare))
    complete = PixelForm(
        form.syntax, form.bits_stored, form.inverted, (float(centre), float(width)), form.rescale
    )
    return pixels, complete
