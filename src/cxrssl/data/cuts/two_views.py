"""Two random views of a radiograph. Grey uint8 in, grey uint8 out.

All randomness comes from the generator that is passed in: f(seed, epoch, image, view).
Source: the paper's section III.C: crop, flip, blur, noise, in that order.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from cxrssl.core.images import Pixels
from cxrssl.core.pixels import blurred, mirrored, rescaled, with_noise
from cxrssl.data.cuts import CutImage, Generators

NoiseDraw = Literal["uniform", "divisor"]
Generator = np.random.Generator


@dataclass(frozen=True)
class ViewRanges:
    """What is drawn at random for a view.

    Attributes:
        size_px: Side of the view.
        crop_area: Least and largest fraction of the image's area, in (0, 1].
        crop_aspect: Least and largest width/height of the crop relative to the image's own.
        flip_probability: Probability of mirroring left to right.
        blur_sigma_px: Least and largest sigma, pixels of the view.
        blur_kernel_px: Largest side of the blur's kernel, odd.
        noise_share: Least and largest sigma of the noise as a share of the view's mean level, > 0
            for `divisor`.
        noise_draw: `uniform` draws the share uniformly (the paper's text); `divisor` draws a whole
            number by which the mean is divided (its code: 4, 5, 6 or 7).
    """

    size_px: int
    crop_area: tuple[float, float]
    crop_aspect: tuple[float, float]
    flip_probability: float
    blur_sigma_px: tuple[float, float]
    blur_kernel_px: int
    noise_share: tuple[float, float]
    noise_draw: NoiseDraw


@dataclass(frozen=True)
class ViewDraw:
    """What was drawn for one view: all that sets it apart from another view of its image.

    Attributes:
        top: First row of the crop, pixels of the image.
        left: First column.
        height: Rows of the crop.
        width: Columns.
        is_mirrored: Whether it is turned left to right.
        blur_sigma_px: Sigma of the blur, pixels of the view.
        noise_share: Sigma of the noise as a share of the view's mean level.
        noise_place: Which noise, in [0, 1).
    """

    top: int
    left: int
    height: int
    width: int
    is_mirrored: bool
    blur_sigma_px: float
    noise_share: float
    noise_place: float


@dataclass(frozen=True)
class TwoViews:
    """Two random views of an image, which a network is to recognise as one.

    Attributes:
        ranges: What is drawn for a view.
    """

    ranges: ViewRanges
    title: str = "two views of each image, to be recognised as one"

    def __call__(self, pixels: Pixels, generators: Generators) -> dict[str, NDArray[Any]]:
        """Return `views` [2, 1, size_px, size_px] uint8 of an image [H, W] uint8."""
        return self.of_films(pixels, pixels, generators)

    def of_films(
        self, first: Pixels, second: Pixels, generators: Generators
    ) -> dict[str, NDArray[Any]]:
        """Return `views` as for a call, one each of two images [H, W] uint8."""
        films = zip((first, second), generators, strict=True)
        views = [random_view(pixels, self.ranges, generator) for pixels, generator in films]
        return {"views": np.stack(views)[:, None]}

    def preview(self, pixels: Pixels, generators: Generators) -> tuple[CutImage, CutImage]:
        """Return both views of an image [H, W] uint8, and how each was made."""
        first, second = (view_image(pixels, self.ranges, generator) for generator in generators)
        return first, second


def view_image(pixels: Pixels, ranges: ViewRanges, generator: Generator) -> CutImage:
    """Return `random_view` of an image [H, W] uint8 with what was drawn for it."""
    height, width = pixels.shape
    draw = draw_view(height, width, ranges, generator)
    fraction = draw.height * draw.width / pixels.size
    mirror = ", mirrored" if draw.is_mirrored else ""
    noise = f"blur {draw.blur_sigma_px:.1f} px, noise {draw.noise_share:.0%}"
    caption = f"crop {fraction:.0%}{mirror}\n{noise}"
    view = view_of(pixels, draw, ranges)
    return CutImage(view, draw.left, draw.top, draw.width, draw.height, caption)


def view_generator(seed: int, epoch: int, row: int, view: int) -> Generator:
    """Return the randomness of one view (0, 1, ...) of the store's image `row` in an epoch."""
    return np.random.default_rng(np.random.SeedSequence((seed, epoch, row, view, 0x1A6E)))


def random_view(pixels: Pixels, ranges: ViewRanges, generator: Generator) -> Pixels:
    """Return one view [size_px, size_px] uint8 of an image [H, W] uint8."""
    height, width = pixels.shape
    return view_of(pixels, draw_view(height, width, ranges, generator), ranges)


def draw_view(
    image_height: int, image_width: int, ranges: ViewRanges, generator: Generator
) -> ViewDraw:
    """Draw what a view of an image of that size, in pixels, will be."""
    top, left, height, width = random_crop(
        image_height,
        image_width,
        area=ranges.crop_area,
        aspect=ranges.crop_aspect,
        generator=generator,
    )
    return ViewDraw(
        top,
        left,
        height,
        width,
        is_mirrored=bool(generator.random() < ranges.flip_probability),
        blur_sigma_px=float(generator.uniform(*ranges.blur_sigma_px)),
        noise_share=_noise_share(ranges, generator),
        noise_place=float(generator.random()),
    )


def view_of(pixels: Pixels, draw: ViewDraw, ranges: ViewRanges) -> Pixels:
    """Return the view [size_px, size_px] uint8 of an image [H, W] uint8 that was drawn.

    Unlike the published code's, noise is clipped to 0..255: a detector's input is, too.
    """
    crop = pixels[draw.top : draw.top + draw.height, draw.left : draw.left + draw.width]
    view = rescaled(crop, height=ranges.size_px, width=ranges.size_px)
    if draw.is_mirrored:
        view = mirrored(view)
    view = blurred(view, sigma_px=draw.blur_sigma_px, kernel_px=ranges.blur_kernel_px)
    sigma = draw.noise_share * float(view.mean())
    return with_noise(view, sigma=sigma, place=draw.noise_place)


def random_crop(
    image_height: int,
    image_width: int,
    *,
    area: tuple[float, float],
    aspect: tuple[float, float],
    generator: Generator,
) -> tuple[int, int, int, int]:
    """Draw a crop: top, left, height, width in pixels.

    The fraction of the area is uniform in `area`, the log of the aspect uniform in `aspect`; a crop
    that would leave the image is drawn again, and after ten draws it is the largest that fits.
    """
    for _ in range(10):
        fraction = generator.uniform(*area)
        ratio = math.exp(generator.uniform(math.log(aspect[0]), math.log(aspect[1])))
        height = round(image_height * math.sqrt(fraction / ratio))
        width = round(image_width * math.sqrt(fraction * ratio))
        if 0 < height <= image_height and 0 < width <= image_width:
            break
    else:
        height, width = image_height, image_width
    top = int(generator.integers(0, image_height - height + 1))
    left = int(generator.integers(0, image_width - width + 1))
    return top, left, height, width


def _noise_share(ranges: ViewRanges, generator: Generator) -> float:
    lowest, highest = ranges.noise_share
    match ranges.noise_draw:
        case "uniform":
            return float(generator.uniform(lowest, highest))
        case "divisor":
            return 1 / int(generator.integers(round(1 / highest), round(1 / lowest) + 1))
        case _:
            assert_never(ranges.noise_draw)
