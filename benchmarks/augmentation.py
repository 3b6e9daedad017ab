"""Augmentation of a labelled film at 512 px: against torchvision's, and against a training step.

The peer is torchvision.transforms.v2 with the same changes, on one grey channel and its boxes:
affine map, gamma, brightness and contrast, blur, noise, erased squares. Both start from the same
pixels, on one core, in turns in one process; the ratio is the median over the pairs of neighbours.
A step is a ResNet-50 Faster R-CNN's and an EfficientNet-Lite0's, on all cores, per image.

    python benchmarks/augmentation.py [--images 12] [--rounds 7]
"""

import argparse
import time
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from cxrssl.config.load import load_recipe, recipe_path
from cxrssl.config.schema import FinetuneRecipe
from cxrssl.core.boxes import Boxes
from cxrssl.core.pixels import rescaled
from cxrssl.data.cuts.augmentation import AugmentRanges, CutoutRanges, with_boxes
from cxrssl.data.phantom.painting import paint_image
from cxrssl.data.phantom.plan import PhantomSettings, plan_image
from cxrssl.finetune.timing import seconds_an_image

SIZE_PX = 512
MOST_OF_A_STEP = 0.1
RANGES = AugmentRanges(
    scale=(0.7, 1.4),
    shift=0.1,
    rotation_degrees=10.0,
    gamma=(0.7, 1.4),
    contrast=(0.7, 1.4),
    brightness=(-0.1, 0.1),
    blur_sigma_px=(0.0, 2.0),
    noise_share=(0.0, 0.1),
    cutout=CutoutRanges(3, (0.05, 0.2)),
)
PEER = v2.Compose(
    [
        v2.RandomAffine(RANGES.rotation_degrees, (RANGES.shift, RANGES.shift), RANGES.scale),
        v2.ColorJitter(brightness=0.1, contrast=(0.7, 1.4)),
        v2.GaussianBlur(15, (0.1, 2.0)),
        v2.ToDtype(torch.float32, scale=True),
        v2.GaussianNoise(sigma=0.05),
        v2.ToDtype(torch.uint8, scale=True),
        v2.SanitizeBoundingBoxes(labels_getter=None),
    ]
)
ERASED = v2.RandomErasing(p=0.9)


def torchvisions(pixels: NDArray[np.uint8], boxes: Boxes) -> tuple[Tensor, Tensor]:
    """Return a changed image [1, 512, 512] uint8 and its boxes as torchvision makes them."""
    image = tv_tensors.Image(torch.from_numpy(pixels)[None])
    size = (SIZE_PX, SIZE_PX)
    marked = tv_tensors.BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=size)  # type: ignore[call-overload]
    changed, moved = PEER(image, marked)
    return ERASED(changed), moved


def film(number: int) -> NDArray[np.uint8]:
    """Return a made radiograph [512, 512]."""
    painted = paint_image(plan_image(PhantomSettings(seed=5), number), seed=5)
    return rescaled(np.rint(255 * painted).astype(np.uint8), height=SIZE_PX, width=SIZE_PX)


def seconds_of_a_step(backbone: str) -> float:
    """Return the seconds that an image takes in a training step at 512 px."""
    changes = [f"model.backbone={backbone}", f"size_px={SIZE_PX}", "model.roi_align=sparse"]
    recipe = load_recipe(
        recipe_path("finetune/faster_rcnn_r50_corrected", "finetune"),
        FinetuneRecipe,
        overrides=changes,
    )
    return seconds_an_image(recipe, torch.device("cpu"))


def main() -> None:
    """Time both in turn and a step, and print the ratios; exit 1 above a tenth of a step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--smallest", action="store_true", help="as little as can be, to try it")
    options = parser.parse_args()
    if options.smallest:
        options.images, options.rounds = 1, 1
    films = [film(number) for number in range(options.images)]
    boxes = np.array([[100, 120, 220, 260], [300, 300, 360, 340]], np.float32)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    own_s, ratios = [], []
    for turn in range(options.rounds):
        for number, pixels in enumerate(films):
            begin = time.perf_counter()
            torchvisions(pixels, boxes)
            middle = time.perf_counter()
            with_boxes(pixels, boxes, RANGES, np.random.default_rng((turn, number)))
            end = time.perf_counter()
            own_s.append(end - middle)
            ratios.append((middle - begin) / (end - middle))
    torch.set_num_threads(num_threads)
    print(
        f"{1000 * median(own_s):.2f} ms an image, torchvision takes {median(ratios):.1f}x as long"
    )
    shares = []
    for backbone in ("test_resnet",) if options.smallest else ("resnet50", "tf_efficientnet_lite0"):
        step_s = seconds_of_a_step(backbone)
        shares.append(median(own_s) / step_s)
        print(f"{backbone}: {step_s:.2f} s an image in a step; augmentation adds {shares[-1]:.2%}")
    if max(shares) > MOST_OF_A_STEP and not options.smallest:
        raise SystemExit(f"more than {MOST_OF_A_STEP:.0%} of a step")


if __name__ == "__main__":
    main()
