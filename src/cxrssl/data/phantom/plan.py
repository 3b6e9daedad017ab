"""One made image but for its pixels: id, size, chest, findings, readers and marks.

A plan is a function of (seed, index, settings) only, so that a data set of any length starts the
same and workers can be any number. Planning is cheap beside painting: a few milliseconds an image.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from cxrssl.data.phantom.anatomy import Anatomy, draw_build
from cxrssl.data.phantom.lesions import Lesion, draw_lesions
from cxrssl.data.phantom.readers import Mark, draw_marks, draw_readers

MIN_ASPECT, MEAN_ASPECT, MAX_ASPECT = 0.90, 1.14, 1.31
_BLOCK = 10


@dataclass(frozen=True)
class PhantomSettings:
    """What decides a data set, besides its length."""

    seed: int
    normal_share: float = 0.3
    min_side_px: int = 800
    max_side_px: int = 1200


@dataclass(frozen=True)
class ImagePlan:
    """One image before it is drawn; lesion boxes relative, mark boxes in pixels."""

    image_id: str
    index: int
    width_px: int
    height_px: int
    anatomy: Anatomy
    lesions: tuple[Lesion, ...]
    readers: tuple[str, ...]
    marks: tuple[Mark, ...]


def image_rng(seed: int, index: int, purpose: str) -> np.random.Generator:
    """Return the generator for one purpose of one image; purposes never share numbers."""
    key = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=4).digest(), "big")
    return np.random.default_rng([seed, index, key])


def image_id(seed: int, index: int) -> str:
    """Return 32 hexadecimal digits, as Kaggle VinBigData names its images."""
    return hashlib.blake2b(f"cxrssl phantom {seed} {index}".encode(), digest_size=16).hexdigest()


def plan_image(settings: PhantomSettings, index: int) -> ImagePlan:
    """Plan image `index` of the data set that `settings` describe."""
    rng = image_rng(settings.seed, index, "plan")
    width_px, height_px = _draw_size(rng, settings)
    normal = _is_normal(settings, index)
    anatomy = draw_build(rng, aspect=height_px / width_px)
    lesions: tuple[Lesion, ...] = ()
    if not normal:
        lesions, anatomy = draw_lesions(rng, anatomy)
    readers = draw_readers(rng, normal=normal)
    marks = draw_marks(rng, lesions, readers, size_px=(width_px, height_px))
    return ImagePlan(
        image_id(settings.seed, index),
        index,
        width_px,
        height_px,
        anatomy,
        lesions,
        readers,
        marks,
    )


def _is_normal(settings: PhantomSettings, index: int) -> bool:
    """Decide by stratified draws, ten images at a time, so that short sets keep the fraction."""
    block, place = divmod(index, _BLOCK)
    rng = image_rng(settings.seed, block, "normal")
    draws = (rng.permutation(_BLOCK) + rng.random()) / _BLOCK
    return bool(draws[place] < settings.normal_share)


def _draw_size(rng: np.random.Generator, settings: PhantomSettings) -> tuple[int, int]:
    """Return width and height, both within the settings' sides."""
    lowest, highest = settings.min_side_px, settings.max_side_px
    reach = highest / lowest
    aspect = float(rng.triangular(MIN_ASPECT, MEAN_ASPECT, MAX_ASPECT))
    aspect = float(np.clip(aspect, max(MIN_ASPECT, 1 / reach), min(MAX_ASPECT, reach)))
    # Sides that are nearly one leave a range that may be empty by a rounding.
    longest = float(rng.uniform(min(lowest * max(aspect, 1 / aspect), highest), highest))
    width, height = (longest / aspect, longest) if aspect >= 1 else (longest, longest * aspect)
    return (
        int(np.clip(round(width), lowest, highest)),
        int(np.clip(round(height), lowest, highest)),
    )
