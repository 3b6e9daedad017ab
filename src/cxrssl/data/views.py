"""Two random views of a radiograph, for contrastive pretraining. Grey uint8 in, grey uint8 out.

All randomness comes from the generator that is passed in: f(seed, epoch, image, view).
Source: the paper's section III.C: crop, flip, blur, noise, in that order.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.images import Pixels, blurred, resized


@dataclass(frozen=True)
class ViewRanges:
    """What is drawn at random for a view.

    Attributes:
        size_px: Side of the view.
        crop_area: Least and largest share of the image's area, in (0, 1].
        crop_aspect: Least and largest width/height of the crop relative to the image's own.
        flip_probability: Of mirroring left to right.
        blur_sigma_px: Least and largest sigma, pixels of the view.
        blur_kernel_px: Largest side of the blur's kernel, odd.
        noise_share: Least and largest sigma of the noise as a share of the view's mean level.
    """

    size_px: int
    crop_area: tuple[float, float]
    crop_aspect: tuple[float, float]
    flip_probability: float
    blur_sigma_px: tuple[float, float]
    blur_kernel_px: int
    noise_share: tuple[float, float]


def random_view(pixels: Pixels, ranges: ViewRanges, generator: np.random.Generator) -> Pixels:
    """Return one view [size_px, size_px] uint8 of an image [H, W] uint8."""
    top, left, height, width = random_crop(
        *pixels.shape, area=ranges.crop_area, aspect=ranges.crop_aspect, generator=generator
    )
    crop = pixels[top : top + height, left : left + width].astype(np.float32)
    view = resized(crop, height=ranges.size_px, width=ranges.size_px)
    if generator.random() < ranges.flip_probability:
        view = view[:, ::-1]
    sigma_px = generator.uniform(*ranges.blur_sigma_px)
    view = blurred(np.ascontiguousarray(view), sigma_px=sigma_px, kernel_px=ranges.blur_kernel_px)
    return _with_noise(view, share=generator.uniform(*ranges.noise_share), generator=generator)


def random_crop(
    image_height: int,
    image_width: int,
    *,
    area: tuple[float, float],
    aspect: tuple[float, float],
    generator: np.random.Generator,
) -> tuple[int, int, int, int]:
    """Draw a crop: top, left, height, width in pixels.

    The share of the area is uniform in `area`, the log of the aspect uniform in `aspect`; a crop
    that would leave the image is drawn again, and after ten draws it is the largest that fits.
    """
    for _ in range(10):
        share = generator.uniform(*area)
        ratio = float(np.exp(generator.uniform(np.log(aspect[0]), np.log(aspect[1]))))
        height = round(image_height * float(np.sqrt(share / ratio)))
        width = round(image_width * float(np.sqrt(share * ratio)))
        if 0 < height <= image_height and 0 < width <= image_width:
            break
    else:
        height, width = image_height, image_width
    top = int(generator.integers(0, image_height - height + 1))
    left = int(generator.integers(0, image_width - width + 1))
    return top, left, height, width


def _with_noise(
    view: NDArray[np.float32], *, share: float, generator: np.random.Generator
) -> Pixels:
    """Add Gaussian noise whose sigma is `share` of the mean level, and clip to 0..255."""
    sigma = np.float32(share * float(view.mean()))
    noisy = view + sigma * generator.standard_normal(view.shape, dtype=np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
