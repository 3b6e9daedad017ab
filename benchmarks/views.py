"""Two views of a radiograph at 512 px, against the published pipeline of Pillow and torchvision.

The peer does what the paper's code does, in its order: histogram normalisation with NumPy, three
equal channels, random resized crop, flip and blur (k = 21) as Pillow images, a tensor, then noise.
Ours draws from the same ranges, on one uint8 channel. Both start from the same decoded images, on
one core, in turns in one process; the ratio is the median over the pairs of neighbours.

    python benchmarks/views.py [--images 12] [--rounds 7]
"""

import argparse
import time
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import transforms

from cxrssl.core.images import Intensity
from cxrssl.core.pixels import rescaled
from cxrssl.data.cuts.two_views import ViewRanges, random_view, view_generator
from cxrssl.data.phantom.painting import paint_image
from cxrssl.data.phantom.plan import PhantomSettings, plan_image

SIZE_PX = 512
BAR = 40.0
RANGES = ViewRanges(
    size_px=SIZE_PX,
    crop_area=(0.2, 1.0),
    crop_aspect=(3 / 4, 4 / 3),
    flip_probability=0.5,
    blur_sigma_px=(0.1, 2.0),
    blur_kernel_px=21,
    noise_share=(1 / 7, 1 / 4),
    noise_draw="divisor",
)
INTENSITY = Intensity(equalize=True, mean=0.0, std=1.0)
BLURRED = transforms.Compose(
    [
        transforms.RandomResizedCrop(SIZE_PX, scale=RANGES.crop_area),
        transforms.RandomHorizontalFlip(RANGES.flip_probability),
        transforms.GaussianBlur(RANGES.blur_kernel_px, RANGES.blur_sigma_px),
        transforms.ToTensor(),
    ]
)


def published(pixels: NDArray[np.uint8]) -> Tensor:
    """Return two views [2, 3, 512, 512] float32 as the paper's code makes them."""
    image = Image.fromarray(pixels).convert("RGB")
    return torch.stack([_published_view(image) for _ in range(2)])


def _published_view(image: Image.Image) -> Tensor:
    levels = np.asarray(image)[:, :, 0].ravel()
    counts, edges = np.histogram(levels, 256, density=True)
    shares = np.cumsum(counts)
    flat = np.interp(levels, edges[:-1], 255 * shares / shares[-1])
    normalised = Image.fromarray(flat.reshape(image.size[::-1]).astype(np.uint8))
    view: Tensor = BLURRED(normalised.convert("RGB"))
    sigma = view.mean() / np.random.default_rng().integers(4, 8)
    return view + torch.normal(torch.zeros(view.shape), sigma)


def ours(pixels: NDArray[np.uint8], row: int) -> Tensor:
    """Return two views [2, 1, 512, 512] uint8."""
    prepared = INTENSITY.prepare(pixels)
    views = [random_view(prepared, RANGES, view_generator(0, 0, row, view)) for view in (0, 1)]
    return torch.from_numpy(np.stack(views)[:, None])


def film(number: int) -> NDArray[np.uint8]:
    """Return a made radiograph [512, 512]."""
    painted = paint_image(plan_image(PhantomSettings(seed=5), number), seed=5)
    levels = np.rint(255 * painted).astype(np.uint8)
    return rescaled(levels, height=SIZE_PX, width=SIZE_PX)


def main() -> None:
    """Time both in turn and print the ratio; exit 1 below the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    options = parser.parse_args()
    if options.smallest:
        options.images, options.rounds = 1, 1
    torch.set_num_threads(1)
    films = [film(number) for number in range(options.images)]
    published(films[0]), ours(films[0], 0)
    peers, own = [], []
    for _ in range(options.rounds):
        start = time.perf_counter()
        for pixels in films:
            published(pixels)
        peers.append((time.perf_counter() - start) / len(films))
        start = time.perf_counter()
        for row, pixels in enumerate(films):
            ours(pixels, row)
        own.append((time.perf_counter() - start) / len(films))
    ratio = median(peer / mine for peer, mine in zip(peers, own, strict=True))
    print(f"Pillow and torchvision {1e3 * median(peers):7.2f} ms a pair of views, as published")
    print(f"cxrssl                 {1e3 * median(own):7.2f} ms   {ratio:.0f}x, bar {BAR:.0f}x")
    raise SystemExit(0 if options.smallest or ratio >= BAR else 1)


if __name__ == "__main__":
    main()
