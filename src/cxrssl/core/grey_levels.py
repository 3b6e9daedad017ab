"""Whether a picture has the grey levels of a radiograph, or came out blank or posterised.

On 1,181 real chest radiographs the fewest levels are 108, the narrowest range 107 and the most
common level's largest share 44 %, at their own size; 46, 57 and 35 % at 16 x 16 pixels.
Not why: that needs the file (`data.blank`).
"""

from dataclasses import dataclass

import numpy as np

from cxrssl.core.images import Levels, Pixels

# 13 bits in the 16 of a PNG file leave 33 levels, 14 bits a range of 64.
_MIN_LEVELS = 40
_MIN_RANGE = 65
_MAX_FRACTION = 0.98
_SAMPLE_SIDE = 64


@dataclass(frozen=True)
class GreyLevels:
    """The levels of one picture.

    Attributes:
        count: How many different ones, of 256.
        darkest: The lowest.
        brightest: The highest.
        most_common: The one that most pixels have.
        fraction: The fraction of pixels that have it.
        fraction_at_ends: The fraction of pixels that are at 0 or 255.
    """

    count: int
    darkest: int
    brightest: int
    most_common: int
    fraction: float
    fraction_at_ends: float

    @property
    def fault(self) -> str | None:
        """What is wrong with them, as the end of a sentence; None where nothing is."""
        if self.count == 1:
            return f"is blank: every pixel has grey level {_named(self.most_common)}"
        if self.fraction > _MAX_FRACTION:
            return (
                f"is nearly blank: {100 * self.fraction:.1f} % of it has grey level "
                f"{_named(self.most_common)}"
            )
        if self.fraction_at_ends > _MAX_FRACTION:
            percent = f"{100 * self.fraction_at_ends:.1f} %"
            return f"is black and white: {percent} of it has level 0 or 255"
        if self.count < _MIN_LEVELS:
            return f"is posterised: {self.count} of 256 grey levels are left"
        if self.brightest - self.darkest < _MIN_RANGE:
            return (
                f"has hardly any contrast: its grey levels are {self.darkest} to {self.brightest} "
                "of 0 to 255"
            )
        return None


def grey_levels(pixels: Pixels) -> GreyLevels:
    """Count the levels of pixels, uint8 of any shape, one or more."""
    counts = np.bincount(pixels.ravel(), minlength=256)
    present = np.flatnonzero(counts)
    most_common = int(counts.argmax())
    return GreyLevels(
        count=len(present),
        darkest=int(present[0]),
        brightest=int(present[-1]),
        most_common=most_common,
        fraction=float(counts[most_common] / pixels.size),
        fraction_at_ends=float((counts[0] + counts[255]) / pixels.size),
    )


def is_of_few_levels(levels: Levels) -> bool:
    """Return whether levels [H, W] of any type have too few different values for a radiograph.

    Before resampling, which makes more of them. A sample shows that there are enough; only where it
    does not, all are counted.
    """
    rows, columns = (max(1, side // _SAMPLE_SIDE) for side in levels.shape)
    sample = levels[::rows, ::columns]
    return len(np.unique(sample)) < _MIN_LEVELS and len(np.unique(levels)) < _MIN_LEVELS


def _named(level: int) -> str:
    return {0: "0 (black)", 255: "255 (white)"}.get(level, str(level))
